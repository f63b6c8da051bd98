"""What variables with rules do besides: bounds, expiry, delays, counts of tries.

A variable without `More` never comes here, so that what most programs do stays as fast as
it is.
"""

from __future__ import annotations

import time

from entrepot import settings
from entrepot.arena.bulk import Bulk
from entrepot.engine.keys import Prefix, unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import FullError, LimitError
from entrepot.layers import values
from entrepot.layers.spaces.records import (
    ABOUT,
    DROP_OLDEST,
    DUE,
    DUE_BELL,
    LATER,
    REFUSE,
    SINGLE,
    VALUE,
    About,
    Due,
    Later,
    More,
    Variable,
    about_key,
    decode_about,
    decode_later,
    due_key,
    encode,
    later_key,
    room_bell,
)
from entrepot.layers.tier import release_record

__all__ = ["Overdue"]


class Overdue(Exception):  # noqa: N818 not an error: the caller does what is due, and comes again
    """Something was to be done with values of the variable before this."""


def now_us() -> int:
    """Return the time."""
    return int(time.time() * 1e6)


def next_due_us(tx: Transaction) -> int | None:
    """Return when something is to be done next, or None."""
    found = tx.range(DUE.begin, DUE.end, limit=1)
    if not found:
        return None
    at_us = DUE.tail(found[0][0])[0]
    assert isinstance(at_us, int)
    return at_us


def check_due(tx: Transaction, more: More) -> None:
    """See that what was to be done with the variable's values until now is done.

    Raises:
        Overdue: It is not.
    """
    if more.timed:
        at_us = next_due_us(tx)
        if at_us is not None and at_us <= now_us():
            raise Overdue


def size_of(record: bytes) -> int:
    """Return how many bytes a value takes, in the catalog and outside."""
    ref = values.bulk_ref(record)
    return len(record) + (ref.size if ref is not None else 0)


def make_room(tx: Transaction, bulk: Bulk, variable: Variable, size: int) -> bool:
    """See that there is room for a value; False if the caller has to wait for it.

    Raises:
        FullError: There is none, and the variable refuses then.
        LimitError: There never will be.
    """
    more = variable.more
    assert more is not None
    if not (more.max_bytes or more.max_values):
        return True
    if more.max_bytes and size > more.max_bytes:
        raise LimitError(f"the value takes {size} bytes, the variable at most {more.max_bytes}")
    while variable.count and variable.mode != SINGLE:
        is_full = bool(more.max_values) and variable.count >= more.max_values
        is_full |= bool(more.max_bytes) and more.size + size > more.max_bytes
        if not is_full:
            return True
        if more.when_full == REFUSE:
            raise FullError(
                f"the variable is full: {variable.count} values of {more.size} bytes",
                "fetch some, or declare it with a larger bound",
            )
        if more.when_full != DROP_OLDEST:
            return False
        _drop_oldest(tx, bulk, variable)
    return True


def _drop_oldest(tx: Transaction, bulk: Bulk, variable: Variable) -> None:
    begin = variable.values
    key, record = tx.range(begin, VALUE.int(variable.id) + b"\xff", limit=1)[0]
    index = unpack(key)[-1]
    assert isinstance(index, int)
    tx.delete(key)
    release_record(tx, bulk, record)
    variable.count -= 1
    variable.first = index + 1
    note_removed(tx, variable, index, record)


def note_placed(
    tx: Transaction, key: bytes, variable: Variable, index: int, record: bytes, about: About | None
) -> None:
    """Note that a value is in a variable now, and what is known of it."""
    more = variable.more
    assert more is not None
    more.size += size_of(record)
    if about is None or not (about.tries or about.expires_us):
        return
    tx.put(about_key(variable.id, index), encode(about))
    if about.expires_us:
        more.timed += 1
        _schedule(tx, about.expires_us, variable.id, index, Due(key, False))


def note_removed(tx: Transaction, variable: Variable, index: int, record: bytes) -> About | None:
    """Note that a value is not in a variable any more; return what was known of it."""
    more = variable.more
    assert more is not None
    more.size -= size_of(record)
    if more.max_values or more.max_bytes:
        tx.ring(room_bell(variable.id))
    raw = tx.pop(about_key(variable.id, index))
    if raw is None:
        return None
    about = decode_about(raw)
    if about.expires_us:
        more.timed -= 1
        tx.delete(due_key(about.expires_us, variable.id, index))
    return about


def delay(
    tx: Transaction,
    key: bytes,
    variable: Variable,
    index: int,
    record: bytes,
    about: About,
    delay_s: float,
) -> None:
    """Hold a value back; it is shown in its variable after a time."""
    more = variable.more = variable.more or More()
    at_us = now_us() + int(delay_s * 1e6)
    tx.put(later_key(variable.id, at_us, index), encode(Later(record, about)))
    more.delayed += 1
    more.timed += 1
    _schedule(tx, at_us, variable.id, index, Due(key, True))


def _schedule(tx: Transaction, at_us: int, id: int, index: int, due: Due) -> None:
    tx.put(due_key(at_us, id, index), encode(due))
    tx.ring(DUE_BELL)


def take_delayed(tx: Transaction, variable: Variable, at_us: int, index: int) -> Later | None:
    """Take a value that was held back."""
    raw = tx.pop(later_key(variable.id, at_us, index))
    if raw is None:
        return None
    more = variable.more
    assert more is not None
    more.delayed -= 1
    more.timed -= 1
    return decode_later(raw)


def count_bytes(tx: Transaction, variable: Variable) -> int:
    """Return how many bytes the values of a variable take, by looking at each."""
    prefix = Prefix(variable.id, of=VALUE)
    return sum(size_of(record) for _, record in tx.range(prefix.begin, prefix.end))


def counts(tx: Transaction, variable: Variable) -> dict[str, tuple[int, int]]:
    """Return what is counted of a variable with rules, and what is there."""
    more = variable.more
    assert more is not None
    about, later = Prefix(variable.id, of=ABOUT), Prefix(variable.id, of=LATER)
    delayed = len(tx.range(later.begin, later.end))
    known = [decode_about(raw) for _, raw in tx.range(about.begin, about.end)]
    expiring = sum(1 for each in known if each.expires_us)
    found = {"delayed": (more.delayed, delayed), "timed": (more.timed, delayed + expiring)}
    if more.max_bytes:
        found["bytes"] = (more.size, count_bytes(tx, variable))
    return found


def sweep(tx: Transaction, bulk: Bulk, id: int) -> bool:
    """Delete some of what is known of the values of a deleted variable; tell if more is left."""
    about, later = Prefix(id, of=ABOUT), Prefix(id, of=LATER)
    known = tx.range(about.begin, about.end, limit=settings.BATCH_KEYS)
    for key, raw in known:
        index = about.tail(key)[0]
        assert isinstance(index, int)
        tx.delete(key)
        tx.delete(due_key(decode_about(raw).expires_us, id, index))
    held_back = tx.range(later.begin, later.end, limit=settings.BATCH_KEYS)
    for key, raw in held_back:
        at_us, index = later.tail(key)
        assert isinstance(at_us, int)
        assert isinstance(index, int)
        tx.delete(key)
        tx.delete(due_key(at_us, id, index))
        release_record(tx, bulk, decode_later(raw).record)
    return max(len(known), len(held_back)) == settings.BATCH_KEYS
