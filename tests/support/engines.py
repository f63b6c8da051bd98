"""LMDB engines by themselves, without a depot around them."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

from entrepot import settings
from entrepot.engine.lmdb import LmdbEngine, LmdbSession
from entrepot.engine.lmdb.locks import GrowthLock
from entrepot.engine.protocol import Transaction
from support.homes import memory_directory
from support.peers import Peer

__all__ = ["die_holding", "fresh_lmdb", "open_lmdb"]


@contextlib.contextmanager
def open_lmdb(
    root: Path, *, volatile: bool, bytes_max: int = settings.GIB
) -> Generator[LmdbEngine]:
    """Open the engine whose files are in `root`, made if they are not there."""
    growth = GrowthLock(
        root / "growth",
        bytes_max=bytes_max,
        used=lambda: (root / "catalog" / "data.mdb").stat().st_size,
    )
    session = LmdbSession(root / "sessions")

    def reap() -> None:
        engine.reap()

    engine = LmdbEngine(
        root / "catalog",
        volatile=volatile,
        bells=_bells(root / "bells"),
        session=session,
        growth_guard=growth.guard,
        between_slices=reap,
        make_room=lambda: False,
    )
    session.begin(engine, lambda slot: None)
    try:
        yield engine
    finally:
        session.end()
        engine.close()
        growth.close()


@contextlib.contextmanager
def fresh_lmdb(
    *, volatile: bool, directory: Path | None = None, bytes_max: int = settings.GIB
) -> Generator[LmdbEngine]:
    """Open an engine in a new directory, removed at the end."""
    root = memory_directory() if directory is None else directory
    root.mkdir(exist_ok=True)
    try:
        with open_lmdb(root, volatile=volatile, bytes_max=bytes_max) as engine:
            yield engine
    finally:
        shutil.rmtree(root)


def die_holding(engine: LmdbEngine, kind: str, count: int) -> int:
    """Let another process hold things in the same engine and be killed; return its session."""

    def hold(here: Any, root: Path, volatile: bool) -> int:
        here.stack = contextlib.ExitStack()
        other = here.stack.enter_context(open_lmdb(root, volatile=volatile))

        def put(tx: Transaction) -> None:
            for index in range(count):
                tx.put(other.session.held_key(kind, index), b"%d" % index)

        other.write(put)
        return other.session.id

    with Peer() as peer:
        session = peer.run(hold, engine.path.parent, engine.name == "volatile")
        peer.begin(lambda here: os.kill(here.pid, signal.SIGKILL))
        peer.wait_for_death()
    return session


def _bells(path: Path) -> memoryview:
    length = settings.BELLS_PER_ENGINE * 4
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, length)
        return memoryview(mmap.mmap(fd, length))
    finally:
        os.close(fd)
