"""What a transaction does to a variable: store, find, fetch, claim, wait, give back.

A store, in one step: gives the value to all who wait in find; then, if someone waits in
fetch, to the one who waits longest, and does not keep it; else keeps it (NetWorkSpaces'
rule). So a value goes to at most one fetch. What is given to a waiter lies in its mail
until it takes it. Whoever waits, or holds a claim, says so under its session: if the
process dies, the value goes back to its place.
"""

from __future__ import annotations

import time
from typing import Final, Literal, NamedTuple

from entrepot.arena.bulk import Bulk, Draft
from entrepot.engine import failpoints
from entrepot.engine.held import held_key
from entrepot.engine.keys import Prefix, after, pack_int, unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError
from entrepot.layers import values
from entrepot.layers.spaces.records import (
    FETCH,
    FIFO,
    FIND,
    LIFO,
    MAIL,
    MODES,
    MULTI,
    SINGLE,
    UNKNOWN,
    VALUE,
    WAIT,
    ClaimRecord,
    HeldWaiter,
    Mail,
    Variable,
    claim_key,
    decode_claim,
    decode_held_waiter,
    decode_mail,
    decode_variable,
    encode,
    mail_key,
    new_variable,
    session_bell,
    value_key,
    wait_key,
)
from entrepot.layers.tier import Found, can_pin, open_record, release_record

__all__ = ["Position", "Taken", "Want"]


class Taken(NamedTuple):
    """A value that was found or fetched."""

    id: int
    """The variable's."""
    index: int  # pyright: ignore[reportIncompatibleMethodOverride] tuple's method is not wanted
    found: Found


class Position(NamedTuple):
    """Where an iterator stands: behind the value `index` of the variable `id`."""

    id: int
    index: int  # pyright: ignore[reportIncompatibleMethodOverride] tuple's method is not wanted


class Noted(NamedTuple):
    """A claim that was made, if its transaction was committed."""

    id: int
    index: int  # pyright: ignore[reportIncompatibleMethodOverride] tuple's method is not wanted
    since_s: float


class Want(NamedTuple):
    """What a call asks of a variable."""

    kind: int
    """FIND leaves the value, FETCH takes it."""
    claim: bool = False
    """With FETCH: hold the value until it is done with or given back."""
    in_order: bool = False
    """An iterator asks: fifo and single only."""
    after: Position | None = None
    """With `in_order`: only values behind this one."""
    only_next: bool = False
    """With FETCH and `after`: refuse, rather than take one that is not behind it."""
    noted: list[Noted] | None = None
    """With `claim`: where it is noted what was claimed, before the commit."""
    opened: bool = True
    """Whether the bytes are wanted at once; else the caller looks at them later."""


FIND_ONE: Final = Want(FIND)
FETCH_ONE: Final = Want(FETCH)
CLAIM_ONE: Final = Want(FETCH, claim=True)


class Waiter(NamedTuple):
    """Who waits: the session, and a number of its own."""

    session: int
    number: int


# Storing.


def store(
    tx: Transaction,
    bulk: Bulk,
    instance: int,
    key: bytes,
    record: bytes | tuple[values.Encoded, Draft],
) -> int:
    """Store a value in the variable at `key`; return its index."""
    if not isinstance(record, bytes):
        encoded, draft = record
        bulk.seal(tx, draft)
        record = values.bulk_record(encoded, draft.ref)
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else new_variable(tx, instance, FIFO)
    if variable.mode == UNKNOWN:
        variable.mode = FIFO
    index = variable.next
    variable.next = index + 1
    if (variable.finders or variable.fetchers) and _hand_out(tx, bulk, variable, index, record):
        tx.put(key, encode(variable))
        return index
    if variable.mode == SINGLE and variable.count:
        _drop_only(tx, bulk, variable)
    tx.put(variable.values + pack_int(index), record)
    variable.count += 1
    variable.last = index
    tx.put(key, encode(variable))
    return index


def put_back(tx: Transaction, bulk: Bulk, key: bytes, id: int, index: int, record: bytes) -> None:
    """Return a value that was taken to its place, or to whoever waits for one.

    Where the variable was deleted meanwhile, or a single one has a newer value, it is gone.
    """
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else None
    if variable is None or variable.id != id:
        release_record(tx, bulk, record)
        return
    if (variable.finders or variable.fetchers) and _hand_out(tx, bulk, variable, index, record):
        tx.put(key, encode(variable))
        return
    is_taken = variable.mode == SINGLE and variable.count > 0
    if is_taken and _locate(tx, variable)[0] > index:
        release_record(tx, bulk, record)
    else:
        if is_taken:  # by an older one, which was given back before
            _drop_only(tx, bulk, variable)
        tx.put(value_key(id, index), record)
        variable.count += 1
        variable.first = min(variable.first, index)
        variable.last = max(variable.last, index)
    tx.put(key, encode(variable))


def put_back_draft(tx: Transaction, bulk: Bulk, key: bytes, taken: Taken, draft: Draft) -> None:
    """Return a value whose bytes were given up and written anew."""
    bulk.seal(tx, draft)
    record = values.with_ref(taken.found[0], draft.ref)
    put_back(tx, bulk, key, taken.id, taken.index, record)


def _hand_out(tx: Transaction, bulk: Bulk, variable: Variable, index: int, record: bytes) -> bool:
    """Give a value to all finders and to the oldest fetcher; tell whether one took it."""
    mail = encode(Mail(variable.id, index, record))
    if variable.finders:
        finders = waiters(tx, variable.id, FIND)
        ref = values.bulk_ref(record)
        if ref is not None:
            bulk.retain(tx, ref, len(finders))
        for place, session, waiter in finders:
            deliver(tx, place, session, waiter, mail)
        variable.finders = 0
    if not variable.fetchers:
        return False
    place, session, waiter = waiters(tx, variable.id, FETCH, limit=1)[0]
    deliver(tx, place, session, waiter, mail)
    variable.fetchers -= 1
    if failpoints.ARMED:
        failpoints.hit("spaces.handed")
    return True


def waiters(
    tx: Transaction, id: int, kind: int, limit: int | None = None
) -> list[tuple[bytes, int, int]]:
    begin = WAIT.int(id) + pack_int(kind)
    found: list[tuple[bytes, int, int]] = []
    for key, _ in tx.range(begin, after(begin), limit=limit):
        _, session, waiter = unpack(key[len(begin) :])
        assert isinstance(session, int)
        assert isinstance(waiter, int)
        found.append((key, session, waiter))
    return found


def deliver(tx: Transaction, place: bytes, session: int, waiter: int, mail: bytes) -> None:
    tx.delete(place)
    tx.put(mail_key(session, waiter), mail)
    tx.ring(session_bell(session))


# Taking.


def find(tx: Transaction, bulk: Bulk, key: bytes) -> bytes | Found | None:
    """Return a value of the variable at `key` and leave it there; None if there is none.

    A record that is all there comes bare: this is the hottest function of the layer.
    """
    raw = tx.get(key)
    if raw is None:
        return None
    variable = decode_variable(raw)
    if not variable.count:
        return None
    record = tx.get(variable.values + pack_int(variable.first)) if variable.mode != LIFO else None
    if record is None or variable.mode == MULTI:
        record = _locate(tx, variable)[1]
    return record if record[0] < values.BULK else open_record(tx, bulk, record)


def take(tx: Transaction, bulk: Bulk, key: bytes, want: Want, session: int) -> Taken | None:
    """Find or fetch a value of the variable at `key`; None if there is none.

    Raises:
        ConflictError: An iterator asks, and the variable is lifo or multi.
        Ended: An iterator asks, and its variable was deleted since.
        OutOfPins: It is taken, and could not be looked at without a copy.
    """
    raw = tx.get(key)
    if raw is None:
        if want.after is not None:
            raise Ended
        return None
    variable = decode_variable(raw)
    if want.in_order:
        located = _locate_next(tx, variable, want)
    elif variable.count:
        located = _locate(tx, variable)
    else:
        return None
    if located is None:
        return None
    index, record = located
    if want.kind == FIND:
        return Taken(variable.id, index, open_record(tx, bulk, record))
    taken = Taken(variable.id, index, _open_taken(tx, bulk, record, want.opened))
    tx.delete(variable.values + pack_int(index))
    _note_removed(variable, index)
    if want.claim:
        variable.claimed += 1
        put_claim(tx, key, session, variable.id, index, record, want.noted)
    else:
        release_record(tx, bulk, record)
    tx.put(key, encode(variable))
    return taken


class Ended(Exception):  # noqa: N818 not an error: iteration is over
    """The variable that an iterator walks through was deleted."""


class OutOfPins(Exception):  # noqa: N818 not an error: the caller takes another way
    """All pins are set, so the bytes would be copied inside a write, for which others wait.

    Who takes a value claims it first, unopened, and copies its bytes in a read.
    """


def _open_taken(tx: Transaction, bulk: Bulk, record: bytes, opened: bool = True) -> Found:
    """Return a record that is being taken, its bytes pinned unless they are not wanted yet."""
    if record[0] < values.BULK or not opened:
        return record, None
    if not can_pin(bulk):
        raise OutOfPins
    return open_record(tx, bulk, record)


def _locate(tx: Transaction, variable: Variable) -> tuple[int, bytes]:
    """Return (index, record) of the value that is next by the variable's mode."""
    if variable.mode == LIFO:
        index = variable.last
        record = tx.get(variable.values + pack_int(index))
        if record is None:
            end = variable.values + pack_int(index)
            found = tx.range(variable.values, end, limit=1, reverse=True)
            index, record = _item(found)
            variable.last = index
        return index, record
    index = variable.first
    if variable.mode == MULTI and variable.count > 1:
        # A random place, and the next value from there: even unless there are many gaps.
        import random  # multi variables are rare, and this loads OpenSSL

        place = random.randint(index, variable.last)  # noqa: S311 no secret
        found = _from(tx, variable.id, place)
        return _item(found or _from(tx, variable.id, index))
    record = tx.get(variable.values + pack_int(index))
    if record is None:
        index, record = _item(_from(tx, variable.id, index))
        variable.first = index
    return index, record


def _locate_next(tx: Transaction, variable: Variable, want: Want) -> tuple[int, bytes] | None:
    """Return (index, record) of the oldest value, for a find of the oldest behind a position."""
    after = want.after
    if after is not None and after.id != variable.id:
        raise Ended
    if variable.mode in (LIFO, MULTI):
        raise ConflictError(
            f"the variable is {MODES[variable.mode]}; iterators need fifo or single",
            "use find() or fetch() in a loop",
        )
    index = variable.first
    if after is not None and want.kind == FIND:
        index = max(index, after.index + 1)
    found = _from(tx, variable.id, index) if variable.count else []
    if not found:
        return None
    located = _item(found)
    if want.only_next and after is not None and located[0] <= after.index:
        raise ConflictError("values are fetched in order, and there are older ones")
    return located


def _from(tx: Transaction, id: int, index: int) -> list[tuple[bytes, bytes]]:
    return tx.range(value_key(id, index), VALUE.int(id) + b"\xff", limit=1)


def _item(found: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    assert found, "a variable counts values that are not there"
    index = unpack(found[0][0])[-1]
    assert isinstance(index, int)
    return index, found[0][1]


def _note_removed(variable: Variable, index: int) -> None:
    variable.count -= 1
    if not variable.count:
        variable.first, variable.last = variable.next, variable.next - 1
    elif index == variable.first:
        variable.first = index + 1
    elif index == variable.last:
        variable.last = index - 1


def _drop_only(tx: Transaction, bulk: Bulk, variable: Variable) -> None:
    """Remove the value of a single variable."""
    index, record = _locate(tx, variable)
    tx.delete(variable.values + pack_int(index))
    release_record(tx, bulk, record)
    _note_removed(variable, index)
    variable.first = variable.next - 1


def fetch(tx: Transaction, bulk: Bulk, key: bytes) -> Taken | None:
    """Take a value out of the variable at `key`: the fast form of `take`.

    Raises:
        OutOfPins: It could not be looked at without a copy.
    """
    raw = tx.get(key)
    if raw is None:
        return None
    variable = decode_variable(raw)
    if not variable.count:
        return None
    if variable.mode <= FIFO:
        index = variable.first
        record = tx.pop(variable.values + pack_int(index))
        if record is None:
            index, record = _item(_from(tx, variable.id, index))
            tx.delete(variable.values + pack_int(index))
            variable.first = index
    else:
        index, record = _locate(tx, variable)
        tx.delete(variable.values + pack_int(index))
    _note_removed(variable, index)
    tx.put(key, encode(variable))
    if record[0] < values.BULK:
        return Taken(variable.id, index, (record, None))
    found = _open_taken(tx, bulk, record)
    release_record(tx, bulk, record)
    return Taken(variable.id, index, found)


# Waiting.


def take_or_wait(
    tx: Transaction, bulk: Bulk, instance: int, key: bytes, want: Want, waiter: Waiter
) -> Taken | None:
    """As `take`; where there is no value, join the line and return None."""
    taken = take(tx, bulk, key, want, waiter.session)
    if taken is not None:
        return taken
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else new_variable(tx, instance, UNKNOWN)
    ticket = tx.version
    held = HeldWaiter(key, variable.id, want.kind, ticket)
    tx.put(held_key(waiter.session, "waiter", waiter.number), encode(held))
    tx.put(wait_key(variable.id, want.kind, ticket, waiter.session, waiter.number), b"")
    if want.kind == FETCH:
        variable.fetchers += 1
    else:
        variable.finders += 1
    tx.put(key, encode(variable))
    return None


def id_of(tx: Transaction, key: bytes) -> int:
    """Return the id of the variable at `key`, or 0 if there is none."""
    raw = tx.get(key)
    return 0 if raw is None else decode_variable(raw).id


def has_value(tx: Transaction, key: bytes) -> bool:
    """Tell whether the variable at `key` has a value just now."""
    raw = tx.get(key)
    return raw is not None and decode_variable(raw).count > 0


def has_mail(tx: Transaction, waiter: Waiter) -> bool:
    """Tell whether something was given to a waiter."""
    return tx.get(mail_key(waiter.session, waiter.number)) is not None


def mail_of(tx: Transaction, session: int) -> list[int]:
    """Return the waiters of a session to whom something was given."""
    prefix = Prefix(session, of=MAIL)
    found: list[int] = []
    for key, _ in tx.range(prefix.begin, prefix.end):
        number = prefix.tail(key)[0]
        assert isinstance(number, int)
        found.append(number)
    return found


def open_mail(tx: Transaction, bulk: Bulk, waiter: Waiter) -> Found:
    """Look at what was given to a waiter, and leave it there."""
    raw = tx.get(mail_key(waiter.session, waiter.number))
    assert raw is not None, "somebody else took a waiter's mail"
    record = decode_mail(raw).record
    assert record is not None
    return open_record(tx, bulk, record)


def collect(
    tx: Transaction, bulk: Bulk, want: Want, waiter: Waiter
) -> Taken | Literal[False] | None:
    """Take what was given to a waiter, or leave the line where nothing was: then None.

    Returns False if the variable was deleted while it waited. (Not an exception: that would
    undo the transaction, and the wait would not have ended.)

    Raises:
        OutOfPins: It could not be looked at without a copy; the wait has not ended.
    """
    held = tx.pop(held_key(waiter.session, "waiter", waiter.number))
    assert held is not None, "a wait ended twice"
    wait = decode_held_waiter(held)
    mail = _pop_mail(tx, waiter, wait)
    if mail is None:
        return None
    if mail.record is None:
        return False
    found = _open_taken(tx, bulk, mail.record, want.opened)
    taken = Taken(mail.id, mail.index, found)
    if want.claim:
        raw = tx.get(wait.variable_key)
        if raw is not None:
            variable = decode_variable(raw)
            if variable.id == mail.id:
                variable.claimed += 1
                tx.put(wait.variable_key, encode(variable))
        key = wait.variable_key
        put_claim(tx, key, waiter.session, mail.id, mail.index, mail.record, want.noted)
    else:
        release_record(tx, bulk, mail.record)
    return taken


def end_wait(tx: Transaction, bulk: Bulk, waiter: Waiter, held: bytes) -> None:
    """Undo a wait: leave the line, and put back what was given and not taken."""
    wait = decode_held_waiter(held)
    mail = _pop_mail(tx, waiter, wait)
    if mail is None or mail.record is None:
        return
    if wait.kind == FETCH:
        put_back(tx, bulk, wait.variable_key, mail.id, mail.index, mail.record)
    else:
        release_record(tx, bulk, mail.record)


def cancel_wait(tx: Transaction, bulk: Bulk, waiter: Waiter) -> None:
    """Undo a wait of this session, if it has not ended."""
    held = tx.pop(held_key(waiter.session, "waiter", waiter.number))
    if held is not None:
        end_wait(tx, bulk, waiter, held)


def _pop_mail(tx: Transaction, waiter: Waiter, wait: HeldWaiter) -> Mail | None:
    """Take a waiter's mail; where there is none, take it out of the line."""
    raw = tx.pop(mail_key(waiter.session, waiter.number))
    if raw is not None:
        return decode_mail(raw)
    tx.delete(wait_key(wait.id, wait.kind, wait.ticket, waiter.session, waiter.number))
    raw = tx.get(wait.variable_key)
    assert raw is not None, "a variable with waiters went without telling them"
    variable = decode_variable(raw)
    if wait.kind == FETCH:
        variable.fetchers -= 1
    else:
        variable.finders -= 1
    tx.put(wait.variable_key, encode(variable))
    return None


# Claims.


def put_claim(
    tx: Transaction,
    key: bytes,
    session: int,
    id: int,
    index: int,
    record: bytes,
    noted: list[Noted] | None,
) -> None:
    """Note that a session works on a value that it took."""
    since_s = time.time()
    if noted is not None:
        noted.append(Noted(id, index, since_s))
    tx.put(claim_key(id, index), encode(ClaimRecord(session, since_s, record)))
    tx.put(held_key(session, "claim", id, index), key)
    if failpoints.ARMED:
        failpoints.hit("spaces.claimed")


def end_claim(tx: Transaction, bulk: Bulk, session: int, id: int, index: int, done: bool) -> bool:
    """End a claim: the value is gone, or back at its place. Tell whether there was one."""
    key = tx.pop(held_key(session, "claim", id, index))
    if key is None:
        return False
    release_claim(tx, bulk, key, id, index, done=done)
    return True


def open_claim(tx: Transaction, bulk: Bulk, id: int, index: int) -> Found | None:
    """Look at what is claimed; None if the variable was deleted, and the value with it."""
    raw = tx.get(claim_key(id, index))
    return None if raw is None else open_record(tx, bulk, decode_claim(raw).record)


def undo_claim(tx: Transaction, bulk: Bulk, session: int, noted: Noted) -> None:
    """Give back what was claimed, if that was committed.

    If it was not, another thread of this session may have claimed the same value since.
    """
    raw = tx.get(claim_key(noted.id, noted.index))
    if raw is not None and decode_claim(raw).since_s == noted.since_s:
        end_claim(tx, bulk, session, noted.id, noted.index, done=False)


def release_claim(
    tx: Transaction, bulk: Bulk, key: bytes, id: int, index: int, *, done: bool
) -> None:
    """End a claim whose held key is gone."""
    raw = tx.pop(claim_key(id, index))
    if raw is None:
        return  # the variable was deleted, and the value with it
    record = decode_claim(raw).record
    found = tx.get(key)
    variable = decode_variable(found) if found is not None else None
    if variable is not None and variable.id == id:
        variable.claimed -= 1
        tx.put(key, encode(variable))
    if done:
        release_record(tx, bulk, record)
    else:
        put_back(tx, bulk, key, id, index, record)
