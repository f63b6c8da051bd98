"""Homes: where the depots of one test live, and the look around when the test is over.

Import `home`, `peers` into a conftest to have them as fixtures.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import entrepot
from support.peers import Peer

__all__ = ["Home", "assert_sound", "home", "memory_directory", "peers"]


class Home:
    """The directories of one depot."""

    name = "lab"
    is_damaged = False
    """Set by a test that leaves the depot as nobody should find it."""

    def __init__(self, root: Path, data: Path) -> None:
        self.root = root
        self.data = data
        self.path = root / self.name

    def open(self, memory: int | str | None = None) -> entrepot.Depot:
        """Open the depot in this process."""
        return entrepot.open(
            self.name, directory=self.root, data_directory=self.data, memory=memory
        )

    def open_beside(self, root: Path, data: Path | None = None) -> entrepot.Depot:
        """Open another depot of the same name, elsewhere."""
        data = root / "data-beside" if data is None else data
        return entrepot.open(
            self.name, directory=root / "beside", data_directory=data, memory="64M"
        )


def memory_directory() -> Path:
    """Return a new directory in memory, or where temporary files are if there is none."""
    shared = Path("/dev/shm")
    usable = shared.is_dir() and os.access(shared, os.W_OK)
    return Path(tempfile.mkdtemp(prefix="entrepot-test-", dir=shared if usable else None))


def assert_sound(depot: entrepot.Depot) -> None:
    """Fail unless the depot is sound and nobody but this process holds anything of it."""
    depot.collect()
    assert depot.check() == []
    sessions = depot.sessions()
    assert [session.pid for session in sessions] == [os.getpid()]
    mine = {kind: n for kind, n in sessions[0].held.items() if kind not in ("extent", "space")}
    assert mine == {}, "this process still holds something"
    arena = depot.statistics().arena
    assert (arena.limbo, arena.pinned) == (0, 0), arena
    for space in depot.spaces():
        for variable in depot.space(space.name).variables():
            assert (variable.fetchers, variable.finders, variable.claimed) == (0, 0, 0), variable


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Return the home of a depot that is not there yet; look for leaks when the test is over."""
    root = memory_directory()
    found = Home(root, tmp_path / "data")
    try:
        yield found
        gc.collect()
        if not found.is_damaged and (found.path / "format").exists():
            with found.open() as depot:
                assert_sound(depot)
                depot.destroy()
        if not found.is_damaged:
            assert sorted(path.name for path in root.iterdir()) in ([], [".lock"])
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def peers(home: Home) -> Iterator[Callable[..., Peer]]:
    """Return what starts a peer with the depot of `home` open; all end before the test does."""
    started: list[Peer] = []

    def start(*, opens: bool = True, environment: dict[str, str] | None = None) -> Peer:
        peer = Peer(home if opens else None, environment=environment)
        started.append(peer)
        return peer

    yield start
    problems = [problem for peer in started if (problem := _end(peer))]
    assert not problems, problems


def _end(peer: Peer) -> str:
    if peer.process.poll() is None:
        peer.resume()
    try:
        peer.close()
    except AssertionError as error:
        return str(error)
    return ""
