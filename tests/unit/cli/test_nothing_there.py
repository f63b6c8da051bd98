"""What a stranger sees where there is nothing yet, or nothing any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import entrepot
from entrepot import settings
from entrepot.cli import doctor


@pytest.mark.parametrize(
    "words", [("ls",), ("ls", "jobs"), ("get", "x"), ("rm", "x"), ("stat",), ("top",), ("gc",)]
)
def test_without_a_depot_a_command_says_where_it_looked_and_how_one_begins(
    run, home: Path, words: tuple[str, ...]
) -> None:
    said = run(*words, status=1)
    assert f"there is no depot 'default' in {home / 'memory'}" in said.err
    assert "entrepot put --value 42 --name answer" in said.err
    assert not (home / "memory").exists()


def test_the_hint_of_how_a_depot_begins_is_true(run, home: Path) -> None:
    run("put", "--value", "42", "--name", "answer")
    assert run("get", "answer").out.strip() == "42"


def test_rm_of_the_last_value_says_that_the_depot_is_gone(run, home: Path) -> None:
    run("put", "--value", "1", "--name", "a")
    run("put", "--value", "2", "--name", "b")
    assert "gone" not in run("rm", "a").out
    assert "nothing is left in depot 'default': it is gone" in run("rm", "b").out
    assert "the last value" in run("ls", status=1).err


def test_a_depot_that_somebody_uses_is_not_called_gone(run, home: Path) -> None:
    with entrepot.open() as depot:
        depot.objects.put(1, name="a")
        assert "gone" not in run("rm", "a").out


def test_doctor_without_a_depot_says_whether_one_can_be_made(run, home: Path) -> None:
    said = run("doctor").out
    assert str(home / "memory") in said
    assert str(home / "data") in said
    assert "no depot yet: one can be made" in said
    document = run("doctor", "--json").document
    assert document["sound"] is True
    assert document["problems"] == []
    assert not (home / "memory").exists(), "looking makes nothing"


def test_doctor_without_a_depot_names_what_keeps_one_from_being_made(
    run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "memory").mkdir(mode=0o755)
    (home / "memory").chmod(0o755)
    said = run("doctor", status=1).out
    assert f"chmod 700 {home / 'memory'}" in said
    (home / "memory").chmod(0o700)
    monkeypatch.setattr(doctor, "ROOM_MIN", 1 << 60)
    assert "left, a depot begins with" in run("doctor", status=1).out
    monkeypatch.setattr(settings, "memory_root", lambda: Path("/proc/nothing/here"))
    assert run("doctor", "--json", status=1).document["problems"]


def test_doctor_of_a_depot_that_was_named_and_is_not_there_is_an_error(run, home: Path) -> None:
    assert "there is no depot 'nope'" in run("doctor", "-d", "nope", status=1).err


def test_a_value_goes_to_the_standard_output(home: Path) -> None:
    with entrepot.open() as depot:
        depot.objects.put(b"\x00raw\xff", name="raw")
    done = subprocess.run(
        [sys.executable, "-m", "entrepot", "get", "raw", "--out", "-"],
        capture_output=True,
        check=False,
        cwd=home,
    )
    assert done.stdout == b"\x00raw\xff"
    assert done.returncode == 0
    assert not (home / "-").exists()
