"""The application: help, versions, mistakes, and what is loaded when."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
from typer.testing import CliRunner

from entrepot.cli.application import COMMANDS, GROUPS, application


def test_help_lists_every_command_and_loads_none() -> None:
    code = (
        "import sys; from entrepot.cli import main; sys.argv = ['entrepot', '--help']\n"
        "try: main()\n"
        "finally: assert not [m for m in sys.modules if m.startswith(('entrepot.cli.', 'numpy'))"
        " and m != 'entrepot.cli.application'], sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, summary in COMMANDS.items():
        assert name in done.stdout
        assert summary.split()[0] in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_options_that_all_have(name: str, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = CliRunner().invoke(application([name]), [name, "--help"])
    assert result.exit_code == 0
    options = {"--depot", "--directory", "--data-dir", "--json"}
    if name in ("run", "worker"):
        options -= {"--json"}  # what they print is the program's
    if name in ("demo", "bench"):
        options -= {"--data-dir"}  # all that they use is in memory
    for option in options:
        assert option in result.output


INNER = [(g, name) for g in GROUPS for name in import_module(f"entrepot.cli.{g}").COMMANDS]


@pytest.mark.parametrize(("group", "name"), INNER, ids=map(" ".join, INNER))
def test_every_command_of_a_group_has_help_and_the_options_that_all_have(
    group: str, name: str, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    words = [group, name, "-h"]
    result = CliRunner().invoke(application(words), words)
    assert result.exit_code == 0
    for option in ("--depot", "--directory", "--data-dir", "--json"):
        assert option in result.output
    listed = CliRunner().invoke(application([group]), [group, "--help"]).output
    assert f" {name} " in listed
    assert import_module(f"entrepot.cli.{group}").COMMANDS[name].__doc__


@pytest.mark.parametrize("group", GROUPS)
def test_a_mistyped_command_of_a_group_is_a_usage_error(group: str) -> None:
    words = [group, "lss"]
    result = CliRunner().invoke(application(words), words)
    assert result.exit_code == 2
    assert "No such command 'lss'" in result.output


def test_a_mistyped_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(application(["lss"]), ["lss"])
    assert result.exit_code == 2
    assert "No such command 'lss'" in result.output


def test_the_version_is_printed_by_python_m_entrepot() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "entrepot", "--version"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("entrepot ")
