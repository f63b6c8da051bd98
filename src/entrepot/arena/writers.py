"""Writers: programs without a session that write into the arena.

A gateway's client maps the arena and writes its blobs itself. If the gateway dies, it may still
be copying: what the gateway had not sealed must be nobody else's until that process is gone.

Keys::

    ("held", session, "writer", process id)  -> when the process began (8)
    ("writer", offset, process id)           -> the same, for a deleted extent that it may know
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from entrepot.engine.held import HELD
from entrepot.engine.keys import Prefix, pack_int
from entrepot.engine.protocol import Engine, Transaction

__all__ = ["forget", "guard", "guards", "note", "register", "unguard", "writers_of"]

WRITER = Prefix("writer")
_STAT_BEGAN = 19
"""Which word behind the name in /proc/PID/stat tells when a process began."""

Guards = dict[int, bool]
"""By offset: whether somebody who may write there lives."""


def register(engine: Engine) -> None:
    """Tell an engine that the writers of a dead gateway are nothing to give back."""

    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        pass  # extents come before writers: they have been guarded by now

    engine.on_release("writer", release)


def note(tx: Transaction, engine: Engine, pid: int) -> None:
    """Note that a process writes into what this session has not sealed."""
    began = _began(pid)
    if began is not None:
        tx.put(engine.session.held_key("writer", pid), began)


def forget(tx: Transaction, engine: Engine, pid: int) -> None:
    """Note that a process does not write any more."""
    tx.delete(engine.session.held_key("writer", pid))


def writers_of(tx: Transaction, session: int) -> list[tuple[int, bytes]]:
    """Return who writes into what a session has not sealed, and lives."""
    prefix = Prefix(session, "writer", of=HELD)
    items = ((_int(prefix, key), began) for key, began in tx.range(prefix.begin, prefix.end))
    return [(pid, began) for pid, began in items if _began(pid) == began]


def guard(tx: Transaction, offset: int, writers: Iterable[tuple[int, bytes]]) -> None:
    """Keep a deleted extent from being used again while one of these processes lives."""
    for pid, began in writers:
        tx.put(WRITER.int(offset) + pack_int(pid), began)


def guards(tx: Transaction) -> Guards:
    """Return which extents are guarded: mostly none."""
    found: Guards = {}
    for key, began in tx.range(WRITER.begin, WRITER.end):
        offset, pid = WRITER.tail(key)
        assert isinstance(offset, int)
        assert isinstance(pid, int)
        found[offset] = found.get(offset, False) or _began(pid) == began
    return found


def unguard(tx: Transaction, offset: int) -> None:
    """Forget who wrote into an extent."""
    prefix = Prefix(offset, of=WRITER)
    for key, _ in tx.range(prefix.begin, prefix.end):
        tx.delete(key)


def _began(pid: int) -> bytes | None:
    """Return when a process began, which tells it from a later one; None if it is gone."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    words = status.rpartition(")")[2].split()
    if words[0] in "ZX":
        return None
    return int(words[_STAT_BEGAN]).to_bytes(8, "big")


def _int(prefix: Prefix, key: bytes) -> int:
    number = prefix.tail(key)[0]
    assert isinstance(number, int)
    return number
