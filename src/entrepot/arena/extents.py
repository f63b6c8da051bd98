"""Ranges of the arena: which are free, which are not, kept in the volatile catalog.

::

    0                                                    top          reserved      size_max
    | blob | free | blob | held | limbo | free | blob |   fresh        |  not reserved |

    free    in two tables, by offset and by size; neighbours are merged
    held    taken by a session that has not sealed it yet
    limbo   deleted, and perhaps still seen by a reader, or written by a dead gateway's client
    fresh   reserved, and never touched: 30 to 50 times slower to fill than what is warm,
            so it is used last

Keys under ("arena",):
    ("state",)                 -> State: top, reserved, bytes and number of blobs
    ("at", offset)             -> size of a free extent
    ("size", size, offset)     -> nothing
    ("limbo", version, offset) -> size

Best fit, lowest offset first. All functions are pure, on a transaction.
"""

from __future__ import annotations

import msgspec

from entrepot.engine.keys import Prefix, after, pack_int
from entrepot.engine.protocol import Transaction

__all__ = [
    "Place",
    "State",
    "add_limbo",
    "allocate",
    "count_blob",
    "free",
    "free_extents",
    "get_state",
    "largest_free",
    "limbo",
    "limbo_is_empty",
    "pop_limbo",
    "put_state",
    "take_limbo",
    "trim",
]

ARENA = Prefix("arena")
STATE = ARENA.key("state")
FREE_AT = Prefix("at", of=ARENA)
FREE_SIZE = Prefix("size", of=ARENA)
LIMBO = Prefix("limbo", of=ARENA)


Place = tuple[int, int]
"""Where a deleted extent is among the others: version of the deletion, offset."""


class State(msgspec.Struct, array_like=True):
    """How far the arena is used and reserved, in bytes from its beginning."""

    top: int
    reserved: int
    used: int = 0
    """Bytes in sealed blobs."""
    blobs: int = 0
    """How many sealed blobs there are."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


def get_state(tx: Transaction) -> State:
    """Return how far the arena is used and reserved."""
    value = tx.get(STATE)
    return State(0, 0) if value is None else _decode(value)


def put_state(tx: Transaction, state: State) -> None:
    """Set how far the arena is used and reserved."""
    assert 0 <= state.top <= state.reserved
    tx.put(STATE, _encode(state))


def count_blob(tx: Transaction, size: int, blobs: int) -> None:
    """Note that a blob came (1) or went (-1)."""
    state = get_state(tx)
    state.used += size * blobs
    state.blobs += blobs
    put_state(tx, state)


def largest_free(tx: Transaction) -> int:
    """Return the size of the largest free extent, or 0."""
    found = tx.range(FREE_SIZE.begin, FREE_SIZE.end, limit=1, reverse=True)
    return _number(FREE_SIZE, found[0][0]) if found else 0


def allocate(tx: Transaction, size: int, *, fresh: bool) -> int | None:
    """Take an extent of `size` bytes: a free one, or if `fresh` also one nobody touched.

    Returns its offset, or None where there is none.
    """
    found = tx.range(FREE_SIZE.int(size), FREE_SIZE.end, limit=1)
    if found:
        free_size, offset = FREE_SIZE.tail(found[0][0])
        assert isinstance(free_size, int)
        assert isinstance(offset, int)
        assert free_size >= size
        _remove(tx, offset, free_size)
        if free_size > size:
            _insert(tx, offset + size, free_size - size)
        return offset
    if not fresh:
        return None
    state = get_state(tx)
    offset = state.top
    last = _before(tx, offset)
    if last is not None and sum(last) == offset:  # the free extent at the end serves too
        offset = last[0]
    if offset + size > state.reserved:
        return None
    if last is not None and offset == last[0]:
        _remove(tx, *last)
    state.top = offset + size
    put_state(tx, state)
    return offset


def free(tx: Transaction, offset: int, size: int) -> None:
    """Give an extent back, merged with its free neighbours."""
    if size == 0:
        return
    following = tx.get(FREE_AT.int(offset + size))
    if following is not None:
        following_size = int.from_bytes(following, "big")
        _remove(tx, offset + size, following_size)
        size += following_size
    previous = _before(tx, offset)
    if previous is not None and sum(previous) == offset:
        _remove(tx, *previous)
        offset, size = previous[0], previous[1] + size
    _insert(tx, offset, size)


def trim(tx: Transaction) -> State | None:
    """Cut the free extent at the end off; return the state before, or None if there is none."""
    state = get_state(tx)
    last = _before(tx, state.top)
    before = State(state.top, state.reserved, state.used, state.blobs)
    if last is not None and sum(last) == state.top:
        _remove(tx, *last)
        state.top = last[0]
    if state.top == state.reserved:
        return None
    state.reserved = state.top
    put_state(tx, state)
    return before


def free_extents(tx: Transaction) -> list[tuple[int, int]]:
    """Return (offset, size) of all free extents, by offset."""
    return [
        (_number(FREE_AT, key), int.from_bytes(value, "big"))
        for key, value in tx.range(FREE_AT.begin, FREE_AT.end)
    ]


def add_limbo(tx: Transaction, offset: int, size: int) -> None:
    """Put a deleted extent where it waits until no reader can see it."""
    tx.put(LIMBO.int(tx.version) + pack_int(offset), size.to_bytes(8, "big"))


def limbo(
    tx: Transaction, limit: int | None = None, behind: Place | None = None
) -> list[tuple[int, int, int]]:
    """Return (version of the deletion, offset, size) of deleted extents, oldest first.

    With `behind`, those after it.
    """
    begin = LIMBO.begin if behind is None else after(LIMBO.int(behind[0]) + pack_int(behind[1]))
    found: list[tuple[int, int, int]] = []
    for key, value in tx.range(begin, LIMBO.end, limit=limit):
        version, offset = LIMBO.tail(key)
        assert isinstance(version, int)
        assert isinstance(offset, int)
        found.append((version, offset, int.from_bytes(value, "big")))
    return found


def limbo_is_empty(tx: Transaction) -> bool:
    """Tell whether no deleted extent waits."""
    return not tx.range(LIMBO.begin, LIMBO.end, limit=1)


def take_limbo(tx: Transaction, version: int, offset: int) -> None:
    """Take a deleted extent as it is, without freeing it first."""
    was_there = tx.delete(LIMBO.int(version) + pack_int(offset))
    assert was_there, f"extent at {offset} is not in limbo"


def pop_limbo(tx: Transaction, version: int, offset: int) -> int:
    """Free one deleted extent, if nobody did so yet; return its size or 0."""
    value = tx.pop(LIMBO.int(version) + pack_int(offset))
    if value is None:
        return 0
    size = int.from_bytes(value, "big")
    free(tx, offset, size)
    return size


def _insert(tx: Transaction, offset: int, size: int) -> None:
    tx.put(FREE_AT.int(offset), size.to_bytes(8, "big"))
    tx.put(FREE_SIZE.int(size) + pack_int(offset), b"")


def _remove(tx: Transaction, offset: int, size: int) -> None:
    was_free = tx.delete(FREE_AT.int(offset))
    had_size = tx.delete(FREE_SIZE.int(size) + pack_int(offset))
    assert was_free, f"extent at {offset} is not free"
    assert had_size, f"free extent at {offset} has not {size} bytes"


def _before(tx: Transaction, offset: int) -> tuple[int, int] | None:
    """Return the free extent that begins last before `offset`."""
    found = tx.range(FREE_AT.begin, FREE_AT.int(offset), limit=1, reverse=True)
    if not found:
        return None
    return _number(FREE_AT, found[0][0]), int.from_bytes(found[0][1], "big")


def _number(prefix: Prefix, key: bytes) -> int:
    number = prefix.tail(key)[0]
    assert isinstance(number, int)
    return number
