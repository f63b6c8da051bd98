"""Loans: blobs that stay where they are for programs that have no session of their own.

A gateway's client maps the arena, and looks at what it was told of for as long as it likes. It
sets no pins; the gateway's process is a user of these blobs for it, until the client gives them
back or leaves. If the gateway dies, its loans end with its session.

Keys::

    ("held", session, "loan", number)  -> which blob: offset, size (8 + 8)
"""

from __future__ import annotations

import itertools
import struct

from entrepot.arena.bulk import Bulk, Ref
from entrepot.engine import held
from entrepot.engine.keys import Prefix
from entrepot.engine.protocol import Engine, Transaction

__all__ = ["lend", "register", "take_back", "take_back_deleted"]

_ref = struct.Struct("<QQ")
_numbers = itertools.count(1)


def register(engine: Engine, bulk: Bulk) -> None:
    """Tell an engine what becomes of the loans of the dead."""

    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        bulk.release(tx, Ref(*_ref.unpack(value)))

    engine.on_release("loan", release)


def lend(tx: Transaction, engine: Engine, bulk: Bulk, ref: Ref) -> bytes:
    """Keep a blob in its place for somebody; return the key to end that with."""
    bulk.retain(tx, ref)
    key = engine.session.held_key("loan", next(_numbers))
    tx.put(key, _ref.pack(*ref))
    return key


def take_back(tx: Transaction, bulk: Bulk, key: bytes) -> None:
    """End a loan, if it has not ended yet."""
    value = tx.pop(key)
    if value is not None:
        bulk.release(tx, Ref(*_ref.unpack(value)))


def take_back_deleted(tx: Transaction, bulk: Bulk, size: int) -> bool:
    """End loans of blobs that nobody else uses, oldest first, until `size` bytes are free.

    Returns:
        Whether some have ended: of any gateway, which need not know.
    """
    lent: dict[Ref, list[bytes]] = {}
    for session in held.holders(tx):
        prefix = Prefix(session, "loan", of=held.HELD)
        for key, value in tx.range(prefix.begin, prefix.end):
            lent.setdefault(Ref(*_ref.unpack(value)), []).append(key)
    ended = 0
    for ref, keys in lent.items():
        if ended >= size:
            break
        if bulk.users(tx, ref) == len(keys):
            for key in keys:
                take_back(tx, bulk, key)
            ended += max(ref.size, 1)
    return ended > 0
