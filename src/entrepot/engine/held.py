"""What sessions hold, so that it can be given back when they die.

Keys::

    ("held", session id, kind, …)  -> whatever the kind's release function needs

A layer writes such a key in the transaction that takes something (a claim, an extent, a
place among the waiters) and deletes it in the one that gives it back. The release function
of the kind gives it back for a dead session, in one transaction with the deletion.
"""

from __future__ import annotations

from collections.abc import Mapping

from entrepot import settings
from entrepot.engine.keys import Prefix, after, bounded, pack_int, pack_str, unpack
from entrepot.engine.protocol import Release, Transaction
from entrepot.errors import CorruptError

__all__ = ["HELD", "count_held", "held_key", "holders", "release_batch"]

HELD = Prefix("held")


def held_key(session: int, kind: str, *elements: str | int) -> bytes:
    """Return the key under which `session` writes that it holds something."""
    parts = [pack_int(e) if isinstance(e, int) else pack_str(e) for e in elements]
    return bounded(b"".join((HELD.begin, pack_int(session), pack_str(kind), *parts)))


def holders(tx: Transaction) -> list[int]:
    """Return the ids of the sessions that hold something."""
    found: list[int] = []
    begin = HELD.begin
    while items := tx.range(begin, HELD.end, limit=1):
        session = HELD.tail(items[0][0])[0]
        assert isinstance(session, int)
        found.append(session)
        begin = after(HELD.int(session))
    return found


def count_held(tx: Transaction, session: int) -> dict[str, int]:
    """Return how many things of each kind `session` holds."""
    counts: dict[str, int] = {}
    prefix = Prefix(session, of=HELD)
    for key, _ in tx.range(prefix.begin, prefix.end):
        kind = str(prefix.tail(key)[0])
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def release_batch(
    tx: Transaction,
    session: int,
    releases: Mapping[str, Release],
    batch: int = settings.BATCH_KEYS,
) -> bool:
    """Give back up to `batch` things that a dead session held; tell whether more may be left."""
    prefix = Prefix(session, of=HELD)
    items = tx.range(prefix.begin, prefix.end, limit=batch)
    for key, value in items:
        kind = unpack(key[len(prefix.begin) :])[0]
        release = releases.get(kind) if isinstance(kind, str) else None
        if release is None:
            raise CorruptError(f"session {session:016x} holds a {kind!r}, which nobody can release")
        rest = key[len(prefix.begin) + len(Prefix(kind).begin) :]
        tx.delete(key)
        release(tx, session, rest, value)
    return len(items) == batch
