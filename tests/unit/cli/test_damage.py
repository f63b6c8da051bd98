"""Damaged depots: `doctor` says what is wrong and what to do, and `rm --all` does it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import entrepot

DATA = "catalog/data.mdb"


def shorten(file: Path) -> None:
    os.truncate(file, 5000)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def garble(file: Path) -> None:
    file.write_bytes(random.Random(7).randbytes(file.stat().st_size))


def make_newer(file: Path) -> None:
    file.write_text(file.read_text().replace("entrepot 1 ", "entrepot 999 "))


@pytest.fixture
def lab(home: Path) -> Path:
    """A depot whose catalog is several pages deep; returns its directory in memory."""
    with entrepot.open("lab") as depot:
        depot.objects.put(np.zeros(1_000_000), name="big")
        for number in range(300):
            depot.objects.put(str(number) * 100)
        depot.space("kept", persistent=True).store("task", 1)
        return depot.path


damaged = pytest.mark.parametrize(
    ("name", "damage", "word"),
    [
        (DATA, shorten, "damaged"),
        (DATA, garble, "damaged"),
        ("format", garble, "does not describe a depot"),
        ("format", empty, "is lost or empty"),
        ("format", make_newer, "has format 999"),
        ("arena", shorten, "bytes long"),
        (DATA, empty, "is lost or empty"),
        (DATA, Path.unlink, "is lost or empty"),
        ("catalog", shutil.rmtree, "is lost or empty"),
        ("format", Path.unlink, "is lost or empty"),
    ],
)
removable = pytest.mark.parametrize(
    ("name", "damage"),
    [
        (DATA, shorten),
        (DATA, garble),
        (DATA, empty),
        (DATA, Path.unlink),
        ("catalog", shutil.rmtree),
        ("format", garble),
        ("format", make_newer),
        ("format", Path.unlink),
        ("arena", empty),
    ],
)


@damaged
def test_doctor_says_what_is_damaged_and_what_to_do(
    run, lab: Path, name: str, damage: Callable[[Path], object], word: str
) -> None:
    damage(lab / name)
    said = run("doctor", "-d", "lab", status=1)
    assert word in said.out
    assert str(lab) in said.out
    assert "entrepot rm --all --keep --depot lab" in said.out
    assert "keeps what is on disk" in said.out


@damaged
def test_doctor_says_it_in_json_too(
    run, lab: Path, name: str, damage: Callable[[Path], object], word: str
) -> None:
    damage(lab / name)
    document = run("doctor", "-d", "lab", "--json", status=1).document
    assert document["sound"] is False
    assert word in document["problems"][0]
    assert "entrepot rm --all --keep --depot lab" in document["advice"]


def test_a_default_depot_that_lost_its_format_file_is_not_called_missing(run, home: Path) -> None:
    with entrepot.open() as depot:
        depot.objects.put(1)
    (depot.path / "format").unlink()
    for command in ("doctor", "ls"):
        said = run(command, status=1)
        assert "is lost or empty" in said.out + said.err
    assert (depot.path / "catalog" / "data.mdb").exists(), "looking destroys nothing"


def test_what_doctor_advises_works_as_it_is_typed(run, lab: Path, home: Path) -> None:
    elsewhere = home / "else where"
    with entrepot.open("lab", directory=elsewhere) as depot:
        depot.objects.put(1)
    garble(elsewhere / "lab" / DATA)
    advice = run("doctor", "-d", "lab", "--directory", elsewhere, "--json", status=1).document
    assert f"--depot lab --directory '{elsewhere}'" in advice["advice"]
    run("rm", "--all", "--keep", "--depot", "lab", "--directory", elsewhere)
    assert lab.exists()


@pytest.mark.parametrize(("name", "damage"), [(DATA, garble), ("format", make_newer)])
def test_doctor_tells_damage_on_disk_from_damage_in_memory(
    run, lab: Path, home: Path, name: str, damage: Callable[[Path], object]
) -> None:
    data = home / "data" / "lab"
    damage(data / name)
    said = run("doctor", "-d", "lab", status=1)
    assert str(data) in said.out
    assert "entrepot rm --all --depot lab" in said.out
    assert "--keep" not in said.out


@removable
def test_a_damaged_depot_is_removed_with_all_that_it_was(
    run, lab: Path, home: Path, name: str, damage: Callable[[Path], object]
) -> None:
    damage(lab / name)
    assert "removed depot lab" in run("rm", "--all", "--depot", "lab").out
    assert list((home / "memory").iterdir()) == []
    assert list((home / "data").iterdir()) == []
    assert "there is no depot 'lab'" in run("rm", "--all", "--depot", "lab", status=1).err


def test_what_is_on_disk_is_kept_when_that_is_asked(run, lab: Path) -> None:
    garble(lab / DATA)
    said = run("rm", "--all", "--keep", "--depot", "lab").out
    assert "what it has on disk stays" in said
    assert run("get", "kept/task", "-d", "lab").out.strip() == "1"
    entrepot.open("lab").close()
    assert "there is no depot 'lab'" in run("rm", "--all", "--keep", "-d", "lab", status=1).err


def test_a_depot_that_is_only_on_disk_is_removed(run, lab: Path, home: Path) -> None:
    shutil.rmtree(lab)
    run("rm", "--all", "--depot", "lab")
    assert list((home / "data").iterdir()) == []


def test_what_is_on_disk_is_not_taken_from_a_depot_in_another_directory(
    run, lab: Path, home: Path
) -> None:
    elsewhere = home / "elsewhere"
    with entrepot.open("lab", directory=elsewhere) as depot:
        depot.objects.put(1)
    words = ("rm", "--all", "--depot", "lab", "--directory", elsewhere)
    assert f"belongs to the depot in {lab}" in run(*words, status=1).err
    run(*words, "--keep")
    assert run("get", "kept/task", "-d", "lab").out.strip() == "1"
    run("rm", "--all", "--depot", "lab")
    assert not (home / "data" / "lab").exists()


def test_a_directory_that_is_no_depots_is_never_removed(run, home: Path) -> None:
    precious = home / "memory" / "photos" / "cat.jpg"
    precious.parent.mkdir(mode=0o700, parents=True)
    precious.parent.parent.chmod(0o700)
    precious.write_text("meow")
    assert "there is no depot" in run("rm", "--all", "-d", "photos", status=1).err
    (precious.parent / "format").write_text("jpg")
    assert "cat.jpg" in run("rm", "--all", "-d", "photos", status=1).err
    assert precious.read_text() == "meow"
    run("rm", "--all", "-d", "..", status=1)


def test_a_depot_that_is_a_link_is_not_removed_through_it(run, lab: Path) -> None:
    lab.with_name("link").symlink_to(lab)
    assert "link" in run("rm", "--all", "-d", "link", status=1).err
    assert (lab / "format").exists()
