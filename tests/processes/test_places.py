"""Where depots live, and what is wrong there.

Guaranteed: each fault is a clear error that names the place; no process dies of it (no
SIGBUS); and the depot is unharmed where the fault was not in it.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import places, settings
from support.conditions import wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root: chown and mount")


def open_elsewhere(
    peer: Peer, home: Home, *, memory: str | None = None, **environment: str
) -> object:
    """Let a peer open the depot; return what it said, or the error."""

    def go(here: Any) -> str:
        os.environ.update(environment)
        with entrepot.open(
            home.name, directory=home.root, data_directory=home.data, memory=memory
        ) as depot:
            return f"{depot.objects.count()} objects"

    asked = peer.begin(go)
    try:
        return asked.result()
    except entrepot.EntrepotError as error:
        return error


@pytest.fixture
def stranger(peers: Start) -> Peer:
    """Return a process that has no depot open."""
    return peers(opens=False)


# Removed.


def test_a_depot_removed_under_a_process_that_waits_ends_the_wait(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        waiter = peers()
        asked = waiter.begin(lambda here: here.depot.space("s").fetch("v"))
        wait_until(lambda: depot.space("s").variables(), "the peer waits")
        depot.destroy()
        error = asked.error()
    assert isinstance(error, entrepot.ClosedError)
    assert str(home.path) in str(error)


@pytest.mark.parametrize("how", ["destroyed", "rm -r", "rm -r of the root"])
def test_a_process_whose_depot_was_removed_can_close_it_and_open_a_new_one(
    home: Home, peers: Start, how: str
) -> None:
    peer = peers()

    def look(here: Any) -> None:
        here.id = here.depot.objects.put(np.full(300_000, 7, np.uint8))
        here.seen = here.depot.objects.get(here.id)

    def go_on(here: Any) -> bool:
        still = bool((here.seen == 7).all())
        here.depot.close()
        here.depot = entrepot.open(home.name, directory=home.root, data_directory=home.data)
        return still and not here.depot.objects.exists(here.id)

    peer.run(look)
    if how == "destroyed":
        home.open().destroy()
    else:
        shutil.rmtree(home.path if how == "rm -r" else home.root)
    assert peer.run(go_on)


# Not ours.


@needs_root
def test_a_depot_of_another_user_is_refused(home: Home, stranger: Peer) -> None:
    with home.open("64M") as depot:
        depot.objects.put(1)
    os.chown(home.path, 65534, 65534)
    error = open_elsewhere(stranger, home)
    assert isinstance(error, entrepot.AccessDeniedError)
    assert "65534" in str(error)
    os.chown(home.path, 0, 0)
    assert open_elsewhere(stranger, home) == "1 objects"


@needs_root
def test_a_root_of_another_user_is_refused(home: Home, stranger: Peer) -> None:
    os.chown(home.root, 65534, 65534)
    assert isinstance(open_elsewhere(stranger, home), entrepot.AccessDeniedError)
    assert list(home.root.iterdir()) == []


def test_a_depot_that_others_may_enter_is_refused(home: Home, stranger: Peer) -> None:
    with home.open("64M") as depot:
        depot.objects.put(1)
    home.path.chmod(0o750)
    error = open_elsewhere(stranger, home)
    assert isinstance(error, entrepot.AccessDeniedError)
    assert f"chmod 700 {home.path}" in str(error)
    home.path.chmod(0o700)
    assert open_elsewhere(stranger, home) == "1 objects"


@pytest.mark.parametrize("what", ["depot", "root"])
def test_a_depot_reached_through_a_link_is_refused(
    home: Home, stranger: Peer, tmp_path: Path, what: str
) -> None:
    with home.open("64M") as depot:
        depot.objects.put(1)
    link = home.root / "link" if what == "depot" else tmp_path / "link"
    link.symlink_to(home.path if what == "depot" else home.root)
    linked = Home(home.root, home.data) if what == "depot" else Home(link, home.data)
    linked.name = "link" if what == "depot" else home.name
    error = open_elsewhere(stranger, linked)
    assert isinstance(error, entrepot.AccessDeniedError)
    assert str(link) in str(error)
    link.unlink()


def test_a_file_in_the_place_of_a_depot_is_refused(home: Home, stranger: Peer) -> None:
    home.path.write_text("mine")
    assert isinstance(open_elsewhere(stranger, home), entrepot.AccessDeniedError)
    assert home.path.read_text() == "mine"
    home.path.unlink()


# Another version, damage.


def test_a_depot_of_another_version_is_refused_and_left_alone(home: Home, stranger: Peer) -> None:
    with home.open("64M") as depot:
        depot.objects.put(1)
    file = home.path / "format"
    text = file.read_text()
    file.write_text(text.replace("entrepot 1 ", "entrepot 999 "))
    error = open_elsewhere(stranger, home)
    assert isinstance(error, entrepot.FormatError)
    assert "999" in str(error)
    file.write_text(text)
    assert open_elsewhere(stranger, home) == "1 objects"


@pytest.mark.parametrize("text", ["", "entrepot\n", "entrepot x y z\n", "\x00\xff" * 50])
def test_a_format_file_that_is_garbage_is_a_clear_error(
    home: Home, stranger: Peer, text: str
) -> None:
    home.is_damaged = True
    with home.open("64M") as depot:
        depot.objects.put(1)
    (home.path / "format").write_text(text)
    error = open_elsewhere(stranger, home)
    assert isinstance(error, entrepot.CorruptError)
    assert str(home.path / "format") in str(error)


@pytest.mark.parametrize("damage", ["garbage", "half", "one page"])
def test_a_damaged_catalog_is_a_clear_error_and_kills_nobody(
    home: Home, stranger: Peer, damage: str
) -> None:
    home.is_damaged = True
    with home.open("64M") as depot:
        for _ in range(700):
            depot.objects.put(bytes(10_000))
    data = home.path / "catalog" / "data.mdb"
    size = data.stat().st_size
    if damage == "garbage":
        data.write_bytes(os.urandom(size))
    else:
        os.truncate(data, {"half": size // 2, "one page": 4096}[damage])
    for _ in range(2):  # looking at it does not repair it
        error = open_elsewhere(stranger, home)
        assert isinstance(error, entrepot.CorruptError), error
        assert str(home.path / "catalog") in str(error)


@pytest.mark.parametrize("size", [0, 1000, 20_000_000])
def test_a_truncated_arena_is_a_clear_error(home: Home, stranger: Peer, size: int) -> None:
    home.is_damaged = True
    with home.open("64M") as depot:
        depot.objects.put(np.zeros(5_000_000, np.uint8))
    os.truncate(home.path / "arena", size)
    for _ in range(2):
        error = open_elsewhere(stranger, home)
        assert isinstance(error, entrepot.CorruptError), error
        assert str(home.path / "arena") in str(error)


@pytest.mark.parametrize("name", ["bells", "pins", "sessions", "growth", "catalog/lock.mdb"])
def test_a_side_file_that_is_lost_while_nobody_is_there_is_made_again(
    home: Home, stranger: Peer, name: str
) -> None:
    with home.open("64M") as depot:
        depot.objects.put(1)
    (home.path / name).unlink()
    assert open_elsewhere(stranger, home) == "1 objects"


def test_a_depot_that_was_half_made_by_a_killed_process_is_made_anew(
    home: Home, stranger: Peer
) -> None:
    home.path.mkdir(mode=0o700)
    (home.path / "catalog").mkdir()
    assert open_elsewhere(stranger, home, memory="64M") == "0 objects"


# Places that cannot be used.


def test_a_missing_entrepot_dir_is_made(peers: Start, tmp_path: Path) -> None:
    where = tmp_path / "a" / "b"

    def go(here: Any) -> Path:
        with entrepot.open() as depot:
            depot.objects.put(1)
            return depot.path

    peer = peers(opens=False, environment={"ENTREPOT_DIR": str(where), "ENTREPOT_MEMORY": "64M"})
    assert peer.run(go) == where / "default"


def test_an_entrepot_dir_that_cannot_be_made_is_a_clear_error(peers: Start, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    peer = peers(opens=False, environment={"ENTREPOT_DIR": str(file / "sub")})
    error = peer.begin(lambda here: entrepot.open().close()).error()
    assert isinstance(error, entrepot.AccessDeniedError)
    assert str(file) in str(error)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_an_entrepot_dir_that_cannot_be_written_is_a_clear_error(
    peers: Start, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    peer = peers(opens=False, environment={"ENTREPOT_DIR": str(tmp_path / "x")})
    error = peer.begin(lambda here: entrepot.open().close()).error()
    tmp_path.chmod(0o700)
    assert isinstance(error, entrepot.AccessDeniedError)


def test_a_dev_shm_that_is_too_small_is_passed_over_for_a_disk_and_said_once(
    small_memory: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = small_memory("64m")
    monkeypatch.delenv("ENTREPOT_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(settings, "memory_root", lambda: small / "entrepot-0")
    monkeypatch.setattr(places, "_told", set())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in range(2):
            with entrepot.open("lab", data_directory=tmp_path / "data") as depot:
                assert depot.path.is_relative_to(tmp_path / "cache")
                assert depot.objects.get(depot.objects.put(number)) == number
                depot.destroy()
    assert len(told) == 1
    assert str(small) in str(told[0].message)
    assert "ENTREPOT_DIR" in str(told[0].message)
    assert Path(told[0].filename) == Path(__file__), "it points at the line that opened"


def test_a_file_system_without_room_for_a_depot_is_a_clear_error_and_left_clean(
    small_memory: Callable[[str], Path], stranger: Peer, tmp_path: Path
) -> None:
    full = Home(small_memory("5m") / "root", tmp_path / "data")
    error = open_elsewhere(stranger, full, memory="64M")
    assert isinstance(error, entrepot.OutOfMemoryError)
    assert not full.path.exists()


@pytest.mark.parametrize("size", [20_000, 100_000, 3_000_000, 12_000])
def test_a_file_system_that_fills_up_is_a_clear_error_and_the_depot_goes_on(
    small_memory: Callable[[str], Path], peers: Start, tmp_path: Path, size: int
) -> None:
    # The depot believes that it has more memory than there is: reserving must find out.
    full = Home(small_memory("40m") / "root", tmp_path / "data")
    with full.open("400M") as depot, Peer(full) as peer:

        def fill(here: Any) -> tuple[list[int], str]:
            ids: list[int] = []
            try:
                while True:
                    ids.append(int(here.depot.objects.put(np.full(size, len(ids) % 251, np.uint8))))
            except entrepot.OutOfMemoryError as error:
                return ids, str(error)

        ids, error = peer.run(fill)
        assert len(ids) * size > 10_000_000, error
        for number, id in enumerate(ids):
            assert (depot.objects.get(id) == number % 251).all()
        for id in ids:
            depot.objects.delete(id)
        depot.collect()
        again, _ = peer.run(fill)
        assert len(again) >= len(ids) * 0.9
        assert depot.check() == []
        depot.destroy()


def test_a_disk_that_fills_up_is_a_clear_error_and_the_durable_tier_goes_on(
    small_memory: Callable[[str], Path], home: Home, peers: Start
) -> None:
    home.data = small_memory("24m") / "data"
    with home.open("64M") as depot:
        space = depot.space("p", persistent=True)
        stored = 0
        error: Exception | None = None
        while error is None:
            try:
                space.store("v", np.full(500_000, stored, np.uint8))
                stored += 1
            except entrepot.DiskFullError as full:
                error = full
        assert str(home.data) in str(error)
        assert stored > 10
        assert depot.check() == []
        assert [int(space.fetch("v", timeout=0)[0]) for _ in range(stored)] == list(range(stored))
        for number in range(stored // 2):
            space.store("v", np.full(500_000, number, np.uint8))
        assert depot.check() == []
        depot.delete_space("p")


# After a reboot.


@pytest.mark.parametrize("how", ["memory is gone", "the boot is another one"])
def test_a_persistent_workspace_survives_a_reboot_and_nothing_else_does(
    home: Home, stranger: Peer, how: str
) -> None:
    def before(here: Any) -> None:
        with entrepot.open(home.name, directory=home.root, data_directory=home.data) as depot:
            space = depot.space("p", persistent=True)
            space.declare("last", "lifo")
            for number in range(3):
                space.store("v", np.full(500_000, number, np.uint8))
                space.store("last", number)
            space.claim("v")
            depot.space("volatile").store("v", 1)
            depot.objects.put(1, name="n")
            os._exit(0)  # as a crash: the claim is not given back

    peer = Peer()
    peer.begin(before)
    assert peer.process.wait(60) == 0
    peer.close()
    if how == "memory is gone":
        shutil.rmtree(home.path)
    else:
        file = home.path / "format"
        words = file.read_text().split()
        file.write_text(" ".join([*words[:2], "another-boot", *words[3:]]) + "\n")

    def after(here: Any) -> tuple[list[int], list[int], list[str], int]:
        with entrepot.open(home.name, directory=home.root, data_directory=home.data) as depot:
            space = depot.space("p")
            values = [int(space.fetch("v", timeout=0)[0]) for _ in range(3)]
            last = [space.fetch("last", timeout=0) for _ in range(3)]
            return values, last, [info.name for info in depot.spaces()], depot.objects.count()

    assert stranger.run(after) == ([0, 1, 2], [2, 1, 0], ["p"], 0)


def test_the_durable_tier_of_another_version_is_refused(home: Home, stranger: Peer) -> None:
    with home.open("64M") as depot:
        depot.space("p", persistent=True).store("v", 1)
    file = home.data / home.name / "format"
    text = file.read_text()
    file.write_text(text.replace("entrepot 1 ", "entrepot 999 "))

    def look(here: Any) -> object:
        with entrepot.open(home.name, directory=home.root, data_directory=home.data) as depot:
            return depot.space("p", persistent=True).find("v", timeout=0)

    error = stranger.begin(look).error()
    assert isinstance(error, entrepot.FormatError)
    file.write_text(text)
    assert stranger.run(look) == 1
