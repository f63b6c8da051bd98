"""`--data-dir`: what lives in a directory on disk of its own is reached from a shell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

import entrepot


@pytest.fixture
def disk(home: Path) -> Path:
    """A directory with one of each thing that is on disk; the default one has nothing."""
    directory = home / "my disk"
    with entrepot.open(data_directory=directory) as depot:
        depot.table("shop/orders").put("first", {"price": 5})
        depot.stream("shop/clicks", shards=2).append("click")
        depot.container("shop").put("notes/today.txt", "rain")
        depot.space("jobs", persistent=True).store("task", 42)
        lines = depot.lines("train", persistent=True)
        with lines.writer() as writer:
            writer.write("epoch 1")
        depot.objects.put("kept", name="anchor")  # or the memory tier would be gone
    return directory


SEEN = [
    ("table ls", "shop/orders"),
    ("table get shop/orders first", "5"),
    ("table scan shop/orders", "first"),
    ("table count shop/orders", "1"),
    ("stream ls", "shop/clicks"),
    ("stream info shop/clicks", "1 d"),
    ("stream tail shop/clicks --no-follow", "click"),
    ("stream groups shop/clicks", "0 groups"),
    ("container", "shop"),
    ("container ls shop", "notes/"),
    ("container get shop/notes/today.txt", "rain"),
    ("ls", "jobs"),
    ("spaces", "jobs"),
    ("get jobs/task", "42"),
    ("stat jobs", "jobs"),
    ("top", "jobs"),
    ("tail train", "epoch 1"),
    ("doctor", "sound"),
    ("gc", "Collected"),
]


@pytest.mark.parametrize(("words", "seen"), SEEN, ids=[words for words, _ in SEEN])
def test_a_command_looks_where_it_is_told_that_data_lives(
    run: Run, disk: Path, home: Path, words: str, seen: str
) -> None:
    assert seen in run(*words.split(), "--data-dir", disk).out
    assert not (home / "data").exists(), "nothing is made in the default directory"


def test_the_option_may_stand_in_front_of_a_command_of_a_group(run: Run, disk: Path) -> None:
    assert "shop/orders" in run("table", "--data-dir", disk, "ls").out
    assert run("container", "--data-directory", disk, "--json").document == ["shop"]


def test_what_is_written_goes_where_it_is_told(run: Run, disk: Path, home: Path) -> None:
    (home / "a.csv").write_text("id,n\none,1\n")
    for words in (
        "table put shop/orders second price=7",
        f"table import shop/more {home / 'a.csv'} --key id",
        "table update shop/orders second price=8",
        "stream create shop/new",
        "stream append shop/new record",
        "stream resize shop/new 3",
        f"container put {home / 'a.csv'} shop/files/a.csv",
        f"container append {home / 'a.csv'} shop/files/a.csv",
        "container mkdir shop/empty",
        "container create lab",
        "put --value 7 --space kept --variable n --persistent",
        "table rm shop/orders first",
        "container rm-container lab --yes",
    ):
        run(*words.split(), "--data-dir", disk)
    assert not (home / "data").exists()
    with entrepot.open(data_directory=disk) as depot:
        assert depot.table("shop/orders").get("second") == {"price": 8}
        assert depot.table("shop/more").count() == 1
        assert depot.stream("shop/new").info().shards == 3
        assert depot.container("shop").get("files/a.csv") == b"id,n\none,1\n" * 2
        assert depot.space("kept", create=False).find("n", timeout=0) == 7
        assert depot.containers() == ["shop"]


def test_a_hint_says_the_directory_again(run: Run, disk: Path) -> None:
    said = run("table", "get", "shop/orders", "none", "--data-dir", disk, status=1).err
    assert f"--data-dir '{disk}'" in said


def test_a_depot_that_is_on_disk_only_is_found_there(run: Run, disk: Path, home: Path) -> None:
    run("rm", "--all", "--keep", "--depot", "default", "--data-dir", disk)
    assert run("ls", "--depots", "--json").document == []
    assert run("ls", "--depots", "--data-dir", disk, "--json").document == ["default"]
    assert "shop/orders" in run("table", "ls", "--data-dir", disk).out
    run("rm", "--all", "--depot", "default", "--data-dir", disk)
    assert not (disk / "default").exists()


def test_doctor_without_a_depot_judges_the_directory_that_is_named(run: Run, home: Path) -> None:
    assert str(home / "there") in run("doctor", "--data-dir", home / "there").out


def test_a_program_is_run_with_the_directory(home: Path) -> None:
    script = home / "script.py"
    script.write_text("import entrepot; print(entrepot.open().data_path)")
    words = ["-m", "entrepot", "run", "--data-dir", "there", str(script)]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, cwd=home
    )
    assert done.stdout.strip() == str(home / "there" / "default")
