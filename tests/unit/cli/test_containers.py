"""`entrepot container`: objects put, got and removed, streamed in pieces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

import entrepot
from entrepot.cli import container as command

LARGE = os.urandom(3 * (1 << 20) + 17)


@pytest.fixture
def depot(home: object) -> Iterator[entrepot.Depot]:
    with entrepot.open() as made:
        yield made


@pytest.fixture
def users(depot: entrepot.Depot) -> entrepot.Container:
    container = depot.create_container("users")
    container.put("files/a.txt", "text")
    container.put("files/deep/b", b"12345")
    container.put("top", b"")
    return container


def test_containers_are_made_and_listed(depot: entrepot.Depot, run: Run) -> None:
    assert "0 containers in depot default" in run("container").out
    assert "made container one" in run("container", "create", "one").out
    assert run("container", "create", "two", "--json").document == {"made": "two"}
    assert "2 containers in depot default" in run("container").out
    assert run("container", "--json").document == ["one", "two"]
    assert "one" in run("container", "create", "one", status=1).err
    assert "error: " in run("container", "create", "a/b", status=1).err
    assert depot.containers() == ["one", "two"]


def test_what_is_in_a_container_is_listed(users: entrepot.Container, run: Run) -> None:
    assert run("container", "ls", "users").out.split() == ["files/", "top"]
    assert run("container", "ls", "users/files/").out.split() == ["files/a.txt", "files/deep/"]
    assert run("container", "ls", "users", "-r").out.split() == [
        "files/",
        "files/a.txt",
        "files/deep/",
        "files/deep/b",
        "top",
    ]
    assert run("container", "ls", "users/top").out.split() == ["top"]
    said = run("container", "ls", "users/files", "--long").out
    for part in ("Kind", "object", "directory", "4 B"):
        assert part in said
    found = run("container", "ls", "users/files", "--json").document
    assert [(each["path"], each["kind"], each["size"]) for each in found] == [
        ("files/a.txt", "object", 4),
        ("files/deep", "directory", 0),
    ]


def test_a_large_object_goes_in_and_out_in_pieces(
    depot: entrepot.Depot, home: Path, run: Run
) -> None:
    file, back = home / "large.bin", home / "back.bin"
    file.write_bytes(LARGE)
    assert "3.0 MiB put into users/a/b" in run("container", "put", file, "users/a/b").out
    assert "3.0 MiB written to" in run("container", "get", "users/a/b", back).out
    assert back.read_bytes() == LARGE
    found = run("container", "get", "users/a/b", back, "--json").document
    assert found == {"file": str(back), "bytes": len(LARGE)}
    run("container", "append", file, "users/a/b")
    assert depot.container("users").get("a/b") == LARGE * 2
    assert [path.name for path in home.iterdir() if path.name.startswith(".")] == []


def test_an_object_comes_from_stdin_and_goes_to_stdout(depot: entrepot.Depot, run: Run) -> None:
    run("container", "put", "-", "users/a", given=b"one\n")
    found = run("container", "append", "-", "users/a", "--json", given=b"two\n").document
    assert found == {"path": "users/a", "bytes": 4}
    assert run("container", "get", "users/a").out == "one\ntwo\n"
    assert run("container", "get", "users/a", "-").out == "one\ntwo\n"
    said = run("container", "get", "users/a", "--json", status=2).err
    assert "name a FILE" in said


def test_a_file_keeps_its_name_in_a_container_or_directory(
    depot: entrepot.Depot, home: Path, run: Run
) -> None:
    file = home / "a.txt"
    file.write_text("text")
    assert "users/a.txt" in run("container", "put", file, "users").out
    assert "users/d/a.txt" in run("container", "put", file, "users/d/").out
    target = home / "target"
    target.mkdir()
    run("container", "get", "users/d/a.txt", target)
    assert (target / "a.txt").read_text() == "text"
    assert depot.container("users").get("a.txt") == b"text"


def test_directories_are_made_and_removed(
    depot: entrepot.Depot, users: entrepot.Container, run: Run
) -> None:
    assert "made users/x/y" in run("container", "mkdir", "users/x/y").out
    assert run("container", "mkdir", "users/x/z", "--json").document == {"made": "users/x/z"}
    assert "removed users/x/y" in run("container", "rm", "users/x/y").out
    said = run("container", "rm", "users/files", status=1).err
    assert "not empty" in said
    assert "-r removes it" in said
    assert run("container", "rm", "-r", "users/files", "--json").document == {
        "removed": "users/files"
    }
    assert "removed users/top" in run("container", "rm", "users/top").out
    assert [entry.path for entry in users.list(recursive=True)] == ["x", "x/z"]


def test_a_container_is_removed_when_that_is_confirmed(
    depot: entrepot.Depot, users: entrepot.Container, run: Run
) -> None:
    for given in (b"", b"n\n"):
        said = run("container", "rm-container", "users", status=1, given=given).err
        assert "with all that is in it?" in said
    assert depot.containers() == ["users"]
    assert "removed container users" in run("container", "rm-container", "users", given=b"y\n").out
    depot.create_container("users")
    found = run("container", "rm-container", "users", "--yes", "--json").document
    assert found == {"removed": "users"}
    assert depot.containers() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ls", "nope"], "there is no container 'nope' in depot default (there is: users)"),
        (["ls", "users/nope"], "entrepot container ls users"),
        (["get", "users/nope"], "entrepot container ls users -r"),
        (["get", "users"], "names a container"),
        (["get", "users/files"], "directory"),
        (["get", "users/top", "no/where"], "there is no 'no'"),
        (["put", "no-file", "users/x"], "there is no 'no-file'"),
        (["put", ".", "users/x"], "is a directory"),
        (["put", "-", "users"], "names a container"),
        (["put", "-", "users/files"], "directory"),
        (["put", "-", "users/top/x"], "top"),
        (["append", "-", "users/files"], "directory"),
        (["rm", "users/nope"], "entrepot container ls users -r"),
        (["rm", "-r", "users/nope"], "entrepot container ls users -r"),
        (["rm", "users"], "entrepot container rm-container users"),
        (["mkdir", "users/top"], "top"),
        (["mkdir", "users"], "names a container"),
        (["rm-container", "nope", "-y"], "there is no container 'nope'"),
        (["rm-container", "users/top", "-y"], "entrepot container rm -r users/top"),
        (["ls", "users", "-d", "nope"], "there is no depot 'nope'"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line_with_a_next_step(
    depot: entrepot.Depot,
    users: entrepot.Container,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    words: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(home)
    before = [entry.path for entry in users.list(recursive=True)]
    said = run("container", *words, status=1, given=b"data").err
    assert says in said.replace("\nhint:  ", " (").replace("users\n", "users)")
    assert "Traceback" not in said
    assert [entry.path for entry in users.list(recursive=True)] == before


def test_a_file_that_fails_half_way_leaves_the_object_that_was_there(
    users: entrepot.Container, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "large"
    file.write_bytes(LARGE)
    read, pieces = command._read, iter(range(2))

    def failing(*arguments: object) -> bytes:
        if next(pieces, None) is None:
            raise entrepot.UnavailableError("the disk is away")
        return read(*arguments)

    monkeypatch.setattr(command, "_read", failing)
    assert "the disk is away" in run("container", "put", file, "users/files/a.txt", status=1).err
    assert users.get("files/a.txt") == b"text"


def test_an_object_that_fails_half_way_leaves_the_file_that_was_there(
    users: entrepot.Container, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "kept"
    file.write_text("before")

    def failing(*arguments: object) -> bytes:
        raise entrepot.CorruptError("a piece is damaged")

    monkeypatch.setattr("entrepot.layers.containers.ObjectReader.read", failing)
    assert "a piece is damaged" in run("container", "get", "users/top", file, status=1).err
    assert file.read_text() == "before"
    assert [path.name for path in home.iterdir() if path.name.startswith(".k")] == []


def test_an_append_says_that_it_appended(home: Path, run: Run) -> None:
    (home / "f").write_text("abc")
    for _ in range(2):
        assert "3 B appended to users/f" in run("container", "append", home / "f", "users/f").out
    assert run("container", "get", "users/f").out == "abcabc"


@pytest.mark.parametrize("command", ["get", "stat", "rm"])
def test_a_table_where_an_object_is_asked_for_says_who_knows_it(run: Run, command: str) -> None:
    run("table", "put", "users/people", "ann", "age=42")
    run("put", "--value", "42", "--name", "answer")
    said = run(command, "users/people", status=1).err
    assert "entrepot container ls users" in said
    assert "`entrepot ls`" in run(command, "nobody", status=1).err
