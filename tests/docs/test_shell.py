"""Every command is documented, and every command that is documented exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from entrepot.cli.application import COMMANDS, GROUPS

ROOT = Path(__file__).parents[2]


def test_the_readme_names_every_command() -> None:
    (line,) = (
        line for line in (ROOT / "README.md").read_text().splitlines() if "**From a shell**" in line
    )
    named = set(re.findall(r"`(?:entrepot )?([a-z]+)`", line))
    assert named >= set(COMMANDS)


@pytest.mark.parametrize("group", GROUPS)
def test_the_manual_names_every_command_of_a_group(group: str) -> None:
    text = (ROOT / "docs" / "shell.md").read_text()
    named = set(re.findall(rf"^\| `entrepot {group} ([a-z-]+)", text, re.MULTILINE))
    assert named == set(import_module(f"entrepot.cli.{group}").COMMANDS)
