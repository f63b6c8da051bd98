"""A disk that runs full under tables, streams and containers.

Guaranteed:

1. What does not fit is refused with a DiskFullError that says where, and changes nothing: no
   part of it is seen, and no file of it is left.
2. What was there is still there, and can be read.
3. As soon as there is room, made by deleting or otherwise, work goes on.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import entrepot
from entrepot.errors import DiskFullError
from entrepot.layers import containers
from support.homes import Home
from support.peers import Peer

SIZE, BALLAST, RESERVE = "12m", 4_000_000, 100_000
LARGE, MIDDLE, SMALL = 400_000, 40_000, 100
Write = Callable[[entrepot.Depot, int], object]
Look = Callable[[entrepot.Depot], dict[int, bytes]]


def body(number: int, size: int) -> bytes:
    return f"{number:9} ".encode() + bytes([number % 256]) * size


def pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]


def cut(data: bytes, size: int) -> dict[int, bytes]:
    """Return the pieces of a body, by their numbers."""
    parts = [data[at : at + size + 10] for at in range(0, len(data), size + 10)]
    return {int(part[:9]): part for part in parts}


def objects_in(depot: entrepot.Depot, directory: str) -> dict[int, bytes]:
    container = depot.container("c")
    if directory not in container:
        return {}
    paths = [info.path for info in container.list(directory)]
    return {int(path.rpartition("/")[2]): container.get(path) for path in paths}


def records(depot: entrepot.Depot) -> dict[int, bytes]:
    found = depot.stream("c/s").tail(since="earliest", timeout=0)
    return {int(record.data[:9]): record.data for record in found}


KINDS: dict[str, tuple[int, Write, Look]] = {
    "items": (
        MIDDLE,
        lambda depot, n: depot.table("c/t").put(f"{n}", {"a": body(n, MIDDLE)}),
        lambda depot: {int(key): item["a"] for key, item in depot.table("c/t").scan()},
    ),
    "updates": (
        MIDDLE,
        lambda depot, n: depot.table("c/t").update(f"{n}", "a = :a", a=body(n, MIDDLE)),
        lambda depot: {int(key): item["a"] for key, item in depot.table("c/t").scan()},
    ),
    "records": (
        MIDDLE,
        lambda depot, n: depot.stream("c/s", shards=1).append(body(n, MIDDLE)),
        records,
    ),
    "small objects": (
        MIDDLE,
        lambda depot, n: depot.container("c").put(f"small/{n}", body(n, MIDDLE)),
        lambda depot: objects_in(depot, "small"),
    ),
    "large objects": (
        LARGE,
        lambda depot, n: depot.container("c").put(f"large/{n}", body(n, LARGE)),
        lambda depot: objects_in(depot, "large"),
    ),
    "streamed objects": (
        LARGE,
        lambda depot, n: depot.container("c").put(f"large/{n}", pieces(body(n, LARGE))),
        lambda depot: objects_in(depot, "large"),
    ),
    "new objects by appends": (
        LARGE,
        lambda depot, n: depot.container("c").append(f"large/{n}", pieces(body(n, LARGE))),
        lambda depot: objects_in(depot, "large"),
    ),
    "appends": (
        MIDDLE,
        lambda depot, n: depot.container("c").append("log", body(n, MIDDLE)),
        lambda depot: cut(depot.container("c").get("log"), MIDDLE),
    ),
    "large appends": (
        LARGE,
        lambda depot, n: depot.container("c").append("log", pieces(body(n, LARGE))),
        lambda depot: cut(depot.container("c").get("log"), LARGE),
    ),
}


class Disk:
    """A small disk, and what takes some room there."""

    def __init__(self, at: Path) -> None:
        self.ballast = at / "ballast"
        self.ballast.write_bytes(bytes(BALLAST))
        self.reserve = at / "reserve"
        self.reserve.write_bytes(bytes(RESERVE))
        self._rest = at / "rest"

    def take_the_rest(self) -> None:
        """Leave no room at all."""
        fd = os.open(self._rest, os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(fd, bytes(4096)):
                pass
        os.close(fd)


@pytest.fixture
def small_disk(home: Home, small_memory: Callable[[str], Path]) -> Disk:
    """Let the depot's durable tier be on a small disk."""
    home.data = small_memory(SIZE) / "data"
    home.data.mkdir(mode=0o700)
    return Disk(home.data.parent)


def fill(depot: entrepot.Depot, write: Write, first: int) -> tuple[int, str]:
    """Write until there is no room; return the number that found none, and what was said."""
    number = first
    while True:
        try:
            write(depot, number)
        except DiskFullError as error:
            return number, str(error)
        number += 1


def assert_no_file_is_lost(depot: entrepot.Depot) -> None:
    assert depot.check() == []
    assert depot.attached.durable().files is not None
    assert all("file" not in session.held for session in depot.sessions())


@pytest.mark.parametrize("kind", KINDS)
def test_what_finds_no_room_changes_nothing_and_goes_on_when_there_is_some(
    home: Home, small_disk: Disk, kind: str
) -> None:
    size, write, look = KINDS[kind]
    with home.open("64M") as depot:
        full, said = fill(depot, write, 0)
        assert full * size > 2_000_000
        assert "disk" in said
        assert "full" in said
        for _ in range(3):
            with pytest.raises(DiskFullError):
                write(depot, full)
        expected = {number: body(number, size) for number in range(full)}
        assert look(depot) == expected
        assert_no_file_is_lost(depot)
        small_disk.ballast.unlink()
        again, _ = fill(depot, write, full)
        assert (again - full) * size > BALLAST // 2
        assert look(depot) == expected | {n: body(n, size) for n in range(full, again)}
        assert_no_file_is_lost(depot)
        small_disk.reserve.unlink()  # to delete takes some room too
        depot.delete_container("c")
        depot.collect()
        assert_no_file_is_lost(depot)
        write(depot, 0)
        assert look(depot) == {0: body(0, size)}


def test_room_is_made_by_deleting_on_a_full_disk(home: Home, small_disk: Disk) -> None:
    with home.open("64M") as depot:
        container = depot.container("c")
        full, _ = fill(depot, KINDS["large objects"][1], 0)
        fill(depot, KINDS["items"][1], 0)
        small_disk.reserve.unlink()  # to delete takes some room too
        for number in range(full):
            container.delete(f"large/{number}")
        assert objects_in(depot, "large") == {}
        again, _ = fill(depot, KINDS["large objects"][1], 0)
        assert again > full // 2
        assert_no_file_is_lost(depot)


def test_threads_that_share_a_commit_without_room_each_have_their_own_answer(
    home: Home, small_disk: Disk
) -> None:
    with home.open("64M") as depot:
        table = depot.table("c/t")
        done: dict[str, int] = {}
        refused: dict[str, str] = {}

        def work(name: str, size: int) -> None:
            number = 0
            while name not in refused and number < 2000:
                try:
                    table.put(f"{name}-{number}", {"a": bytes(size)})
                except DiskFullError as error:
                    refused[name] = str(error)
                else:
                    number += 1
                    done[name] = number

        sizes = {f"{name}{size}": size for name in "ab" for size in (MIDDLE, LARGE)}
        threads = [threading.Thread(target=work, args=each) for each in sizes.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(refused) == set(sizes)
        found = dict(table.scan())
        assert set(found) == {f"{name}-{n}" for name in done for n in range(done[name])}
        for key, item in found.items():
            assert item["a"] == bytes(sizes[key.partition("-")[0]])
        assert_no_file_is_lost(depot)


def test_a_depot_on_a_full_disk_can_be_closed_and_opened_and_read(
    home: Home, small_disk: Disk, peers: Callable[..., Peer]
) -> None:
    with home.open("64M") as depot:
        depot.table("c/t").put("k", {"a": 1})
        fill(depot, KINDS["large objects"][1], 0)
        peer = peers()
        peer.run(lambda here: here.depot.stream("c/s", shards=1).consumer("g") and None)
        depot.attached.durable().commits.write(containers.delete_container, "c")
        small_disk.take_the_rest()
        fill(depot, lambda depot, n: depot.table("other/t").put(f"{n}", {"a": body(n, SMALL)}), 0)
        peer.kill()
    with home.open() as depot:
        assert depot.table("other/t").get("0") == {"a": body(0, SMALL)}
        assert depot.containers() == ["other"]
        small_disk.ballast.unlink()
        depot.collect()
        assert depot.check() == []
        assert list((depot.data_path / "files").iterdir()) == []


def test_an_append_that_finds_no_room_for_its_copy_says_where(
    home: Home, small_memory: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = small_memory("2m")
    with home.open("64M") as depot:
        depot.container("c").put("log", b"before")
        with monkeypatch.context() as patched:
            patched.setattr(tempfile, "tempdir", str(small))
            with pytest.raises(DiskFullError, match=str(small)):
                depot.container("c").append("log", pieces(bytes(8_000_000)))
        assert depot.container("c").get("log") == b"before"
        depot.container("c").append("log", pieces(bytes(8_000_000)))
        assert depot.container("c").info("log").size == 8_000_006
