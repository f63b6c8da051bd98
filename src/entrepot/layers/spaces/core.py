"""What a transaction does to a variable: store, find, fetch, claim, wait, give back.

A store, in one step: gives the value to all who wait in find; then, if someone waits in
fetch, to the one who waits longest, and does not keep it; else keeps it (NetWorkSpaces'
rule). So a value goes to at most one fetch. What is given to a waiter lies in its mail
until it takes it. Whoever waits, or holds a claim, says so under its session: if the
process dies, the value goes back to its place.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Container, Sequence
from typing import Final, NamedTuple

from entrepot import settings
from entrepot.arena.bulk import Bulk, Draft
from entrepot.engine import failpoints
from entrepot.engine.held import held_key
from entrepot.engine.keys import Prefix, after, pack_int, pack_str, unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError
from entrepot.layers import values
from entrepot.layers.spaces import rules
from entrepot.layers.spaces.records import (
    DUE,
    FETCH,
    FIFO,
    FIND,
    LATER,
    LIFO,
    MAIL,
    MODES,
    MULTI,
    NEVER_HAD,
    SINGLE,
    UNKNOWN,
    VALUE,
    VARIABLE,
    WAIT,
    About,
    ClaimRecord,
    HeldWaiter,
    Mail,
    More,
    Variable,
    claim_key,
    decode_claim,
    decode_due,
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

__all__ = ["Ending", "News", "Position", "Taken", "Want"]


class Taken(NamedTuple):
    """A value that was found or fetched."""

    id: int
    """The variable's."""
    index: int  # pyright: ignore[reportIncompatibleMethodOverride] tuple's method is not wanted
    found: Found
    about: About | None = None
    """What was known of it, if something was."""
    key: bytes = b""
    """The variable's, where several were asked."""


class News(enum.Enum):
    """What a waiter is told instead of a value."""

    DELETED = 0
    """The variable was deleted."""
    NO_PRODUCER = 1
    """All who would have stored a value have ended."""


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


class Hush(NamedTuple):
    """Waiters whom no bell need wake: who stores looks at their mail itself, at once."""

    session: int
    numbers: Container[int]


# Storing.


def store(
    tx: Transaction,
    bulk: Bulk,
    instance: int,
    key: bytes,
    record: bytes | tuple[values.Encoded, Draft],
    ttl_s: float | None = None,
    hush: Hush | None = None,
) -> int | None:
    """Store a value in the variable at `key`; return its index, or None if it is full.

    Raises:
        FullError: It is full, and refuses then.
        LimitError: The value is larger than its bound.
        Overdue: First, something else is to be done.
    """
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else new_variable(tx, instance, FIFO)
    about = None
    if variable.more is not None or ttl_s is not None:
        more = variable.more = variable.more or More()
        rules.check_due(tx, more)
        has_room = rules.make_room(tx, bulk, variable, rules.size_of(_record_of(record)))
        if not has_room:
            return None
        ttl_s = more.ttl_s if ttl_s is None else ttl_s
        if ttl_s:
            about = About(expires_us=rules.now_us() + int(ttl_s * 1e6))
    if not isinstance(record, bytes):
        bulk.seal(tx, record[1])
        record = _record_of(record)
    if variable.mode == UNKNOWN:
        variable.mode = FIFO
    index = variable.next
    variable.next = index + 1
    if not variable.finders and not variable.fetchers and variable.more is None:
        if variable.mode == SINGLE and variable.count:
            _drop_only(tx, bulk, variable)
        tx.put(variable.values + pack_int(index), record)
        variable.count += 1
        variable.last = index
    else:
        _keep(tx, bulk, key, variable, index, record, about, hush)
    tx.put(key, encode(variable))
    return index


def _record_of(record: bytes | tuple[values.Encoded, Draft]) -> bytes:
    return record if isinstance(record, bytes) else values.bulk_record(record[0], record[1].ref)


def _keep(
    tx: Transaction,
    bulk: Bulk,
    key: bytes,
    variable: Variable,
    index: int,
    record: bytes,
    about: About | None = None,
    hush: Hush | None = None,
) -> None:
    """Give a value to who waits for it, or put it at its place; the caller puts the variable."""
    if (variable.finders or variable.fetchers) and _hand_out(
        tx, bulk, variable, index, record, about, hush
    ):
        return
    if about is not None:
        if about.expires_us and about.expires_us <= rules.now_us():
            release_record(tx, bulk, record)
            return
        variable.more = variable.more or More()
    if variable.mode == SINGLE and variable.count:
        if _locate(tx, variable)[0] > index:  # it was taken, and there is a newer one
            release_record(tx, bulk, record)
            return
        _drop_only(tx, bulk, variable)
    tx.put(variable.values + pack_int(index), record)
    variable.first = min(variable.first, index) if variable.count else index
    variable.last = max(variable.last, index) if variable.count else index
    variable.count += 1
    if variable.more is not None:
        rules.note_placed(tx, key, variable, index, record, about)


def put_back(
    tx: Transaction,
    bulk: Bulk,
    key: bytes,
    id: int,
    index: int,
    record: bytes,
    about: About | None = None,
) -> None:
    """Return a value that was taken to its place, or to whoever waits for one.

    Where the variable was deleted meanwhile, or a single one has a newer value, it is gone.
    """
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else None
    if variable is None or variable.id != id:
        release_record(tx, bulk, record)
        return
    _keep(tx, bulk, key, variable, index, record, about)
    tx.put(key, encode(variable))


def put_back_draft(tx: Transaction, bulk: Bulk, key: bytes, taken: Taken, draft: Draft) -> None:
    """Return a value whose bytes were given up and written anew."""
    bulk.seal(tx, draft)
    record = values.with_ref(taken.found[0], draft.ref)
    put_back(tx, bulk, key, taken.id, taken.index, record, taken.about)


def _hand_out(
    tx: Transaction,
    bulk: Bulk,
    variable: Variable,
    index: int,
    record: bytes,
    about: About | None,
    hush: Hush | None,
) -> bool:
    """Give a value to all finders and to the oldest fetcher; tell whether one took it."""
    mail = encode(Mail(variable.id, index, record, about))
    if variable.finders:
        finders = waiters(tx, variable.id, FIND)
        ref = values.bulk_ref(record)
        if ref is not None:
            bulk.retain(tx, ref, len(finders))
        for line in finders:
            deliver(tx, variable.id, line, mail, hush)
        variable.finders = 0
    if not variable.fetchers:
        return False
    deliver(tx, variable.id, waiters(tx, variable.id, FETCH, limit=1)[0], mail, hush)
    variable.fetchers -= 1
    if failpoints.ARMED:
        failpoints.hit("spaces.handed")
    return True


class InLine(NamedTuple):
    """Somebody's place in a line."""

    place: bytes
    session: int
    waiter: int
    is_elsewhere: bool
    """Whether it stands in the lines of other variables too."""


def waiters(tx: Transaction, id: int, kind: int, limit: int | None = None) -> list[InLine]:
    begin = WAIT.int(id) + pack_int(kind)
    found: list[InLine] = []
    for key, value in tx.range(begin, after(begin), limit=limit):
        _, session, waiter = unpack(key[len(begin) :])
        assert isinstance(session, int)
        assert isinstance(waiter, int)
        found.append(InLine(key, session, waiter, bool(value)))
    return found


def deliver(tx: Transaction, id: int, line: InLine, mail: bytes, hush: Hush | None = None) -> None:
    """Give a waiter its mail; it leaves the line of the variable `id`, and all others."""
    tx.delete(line.place)
    tx.put(mail_key(line.session, line.waiter), mail)
    if hush is None or line.session != hush.session or line.waiter not in hush.numbers:
        tx.ring(session_bell(line.session))
    if line.is_elsewhere:
        held = tx.get(held_key(line.session, "waiter", line.waiter))
        assert held is not None, "somebody waits who does not know it"
        _leave_lines(tx, Waiter(line.session, line.waiter), decode_held_waiter(held), id)


def _leave_lines(tx: Transaction, waiter: Waiter, wait: HeldWaiter, besides: int) -> None:
    """Take a waiter out of all lines but that of the variable `besides`."""
    for key, id in wait.places():
        if id == besides:
            continue
        tx.delete(wait_key(id, wait.kind, wait.ticket, waiter.session, waiter.number))
        raw = tx.get(key)
        variable = decode_variable(raw) if raw is not None else None
        if variable is None or variable.id != id:
            continue  # it is just being deleted, and all who wait for it are told
        if wait.kind == FETCH:
            variable.fetchers -= 1
        else:
            variable.finders -= 1
        tx.put(key, encode(variable))


# Taking.


def find(tx: Transaction, bulk: Bulk, key: bytes) -> bytes | Found | None:
    """Return a value of the variable at `key` and leave it there; None if there is none.

    A record that is all there comes bare: this is the hottest function of the layer.
    """
    raw = tx.get(key)
    if raw is None:
        return None
    variable = decode_variable(raw)
    if variable.more is not None:
        rules.check_due(tx, variable.more)
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
        Overdue: First, something else is to be done.
    """
    raw = tx.get(key)
    if raw is None:
        if want.after is not None:
            raise Ended
        return None
    variable = decode_variable(raw)
    if variable.more is not None:
        rules.check_due(tx, variable.more)
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
    found = _open_taken(tx, bulk, record, want.opened)
    tx.delete(variable.values + pack_int(index))
    about = _note_removed(tx, variable, index, record)
    if want.claim:
        variable.claimed += 1
        about = put_claim(tx, key, session, variable.id, index, record, about, want.noted)
    else:
        release_record(tx, bulk, record)
    tx.put(key, encode(variable))
    return Taken(variable.id, index, found, about)


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


def _note_removed(tx: Transaction, variable: Variable, index: int, record: bytes) -> About | None:
    """Note that a value is not there any more; return what was known of it."""
    variable.count -= 1
    if not variable.count:
        variable.first, variable.last = variable.next, variable.next - 1
    elif index == variable.first:
        variable.first = index + 1
    elif index == variable.last:
        variable.last = index - 1
    return None if variable.more is None else rules.note_removed(tx, variable, index, record)


def _drop_only(tx: Transaction, bulk: Bulk, variable: Variable) -> None:
    """Remove the value of a single variable."""
    index, record = _locate(tx, variable)
    tx.delete(variable.values + pack_int(index))
    release_record(tx, bulk, record)
    _note_removed(tx, variable, index, record)
    variable.first = variable.next - 1


def fetch(tx: Transaction, bulk: Bulk, key: bytes) -> Taken | None:
    """Take a value out of the variable at `key`: the fast form of `take`.

    Raises:
        OutOfPins: It could not be looked at without a copy.
        Overdue: First, something else is to be done.
    """
    raw = tx.get(key)
    if raw is None:
        return None
    variable = decode_variable(raw)
    if variable.more is not None:
        rules.check_due(tx, variable.more)
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
    about = _note_removed(tx, variable, index, record)
    tx.put(key, encode(variable))
    if record[0] < values.BULK:
        return Taken(variable.id, index, (record, None), about)
    found = _open_taken(tx, bulk, record)
    release_record(tx, bulk, record)
    return Taken(variable.id, index, found, about)


# Waiting.


def take_any(
    tx: Transaction, bulk: Bulk, keys: Sequence[bytes], want: Want, session: int
) -> Taken | None:
    """Find or fetch a value of the first of several variables that has one."""
    for key in keys:
        taken = take(tx, bulk, key, want, session)
        if taken is not None:
            return taken._replace(key=key)
    return None


def take_or_wait(
    tx: Transaction,
    bulk: Bulk,
    instance: int,
    keys: Sequence[bytes],
    want: Want,
    waiter: Waiter,
) -> Taken | News | None:
    """As `take_any`; where there is no value, join the lines and return None.

    Returns news if none of the variables will ever have one.
    """
    taken = take_any(tx, bulk, keys, want, waiter.session)
    if taken is not None:
        return taken
    variables: list[Variable] = []
    for key in keys:
        raw = tx.get(key)
        found = decode_variable(raw) if raw is not None else new_variable(tx, instance, UNKNOWN)
        variables.append(found)
    if all(map(is_over, variables)):
        return News.NO_PRODUCER
    ticket = tx.version
    (first, *others) = places = [(key, v.id) for key, v in zip(keys, variables, strict=True)]
    held = HeldWaiter(*first, want.kind, ticket, time.time(), others)
    tx.put(held_key(waiter.session, "waiter", waiter.number), encode(held))
    mark = b"" if len(places) == 1 else b"+"
    for (key, id), variable in zip(places, variables, strict=True):
        tx.put(wait_key(id, want.kind, ticket, waiter.session, waiter.number), mark)
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
    """Tell whether the variable at `key` has a value just now, or rules by which it may."""
    raw = tx.get(key)
    if raw is None:
        return False
    variable = decode_variable(raw)
    return variable.count > 0 or variable.more is not None


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


def collect(tx: Transaction, bulk: Bulk, want: Want, waiter: Waiter) -> Taken | News | None:
    """Take what was given to a waiter, or leave the line where nothing was: then None.

    Returns news if that is what it was given. (Not an exception: that would undo the
    transaction, and the wait would not have ended.)

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
        return News(mail.index)
    found, about = _open_taken(tx, bulk, mail.record, want.opened), mail.about
    key = next(key for key, id in wait.places() if id == mail.id)
    if want.claim:
        raw = tx.get(key)
        if raw is not None:
            variable = decode_variable(raw)
            if variable.id == mail.id:
                variable.claimed += 1
                tx.put(key, encode(variable))
        about = put_claim(
            tx, key, waiter.session, mail.id, mail.index, mail.record, about, want.noted
        )
    else:
        release_record(tx, bulk, mail.record)
    return Taken(mail.id, mail.index, found, about, key)


def end_wait(tx: Transaction, bulk: Bulk, waiter: Waiter, held: bytes) -> None:
    """Undo a wait: leave the line, and put back what was given and not taken."""
    wait = decode_held_waiter(held)
    mail = _pop_mail(tx, waiter, wait)
    if mail is None or mail.record is None:
        return
    if wait.kind == FETCH:
        key = next(key for key, id in wait.places() if id == mail.id)
        put_back(tx, bulk, key, mail.id, mail.index, mail.record, mail.about)
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
    _leave_lines(tx, waiter, wait, besides=0)
    return None


# Claims.


def put_claim(
    tx: Transaction,
    key: bytes,
    session: int,
    id: int,
    index: int,
    record: bytes,
    about: About | None,
    noted: list[Noted] | None,
) -> About:
    """Note that a session works on a value that it took; return what is known of it now."""
    since_s = time.time()
    if noted is not None:
        noted.append(Noted(id, index, since_s))
    about = About(1) if about is None else About(about.tries + 1, about.expires_us, about.reason)
    tx.put(claim_key(id, index), encode(ClaimRecord(session, since_s, record, about)))
    tx.put(held_key(session, "claim", id, index), key)
    if failpoints.ARMED:
        failpoints.hit("spaces.claimed")
    return about


class Ending(NamedTuple):
    """How a claim ends."""

    is_done: bool = False
    """The value is gone; else it goes back."""
    to_back: bool = False
    """It goes behind all others; else to its place."""
    delay_s: float = 0
    """It is shown again after so long."""
    reason: str = ""
    """Why it was not done."""
    target: bytes | None = None
    """Key of a variable that it goes into instead."""


DONE: Final = Ending(is_done=True)
UNDONE: Final = Ending()


def end_claim(
    tx: Transaction, bulk: Bulk, session: int, id: int, index: int, ending: Ending
) -> bool | None:
    """End a claim as `ending` says; tell whether its value was there until now.

    None if there was no such claim.
    """
    key = tx.pop(held_key(session, "claim", id, index))
    return None if key is None else release_claim(tx, bulk, key, id, index, ending)


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
        end_claim(tx, bulk, session, noted.id, noted.index, UNDONE)


def release_claim(
    tx: Transaction, bulk: Bulk, key: bytes, id: int, index: int, ending: Ending
) -> bool:
    """End a claim whose held key is gone; tell whether its value was there until now."""
    raw = tx.pop(claim_key(id, index))
    if raw is None:
        return False  # the variable was deleted, and the value with it
    claim = decode_claim(raw)
    record, about = claim.record, claim.about or About(1)
    found = tx.get(key)
    variable = decode_variable(found) if found is not None else None
    if variable is None or variable.id != id:
        release_record(tx, bulk, record)
        return False
    variable.claimed -= 1
    if ending.reason:
        about.reason = ending.reason
    more = variable.more
    to_back = ending.to_back and variable.mode != SINGLE  # which has one place only
    if ending.is_done:
        release_record(tx, bulk, record)
        tell_if_over(tx, variable)  # those who wait may have waited for this value
    elif ending.target is not None:
        if ending.target != key:
            tell_if_over(tx, variable)
        tx.put(key, encode(variable))
        put_into(tx, bulk, VARIABLE.tail(key)[0], ending.target, record, None)
        return True
    elif more is not None and more.max_tries and about.tries >= more.max_tries:
        instance, name = VARIABLE.tail(key)
        target = VARIABLE.int(_int(instance)) + pack_str(more.failed or f"{name}.failed")
        if target != key:
            tell_if_over(tx, variable)
        tx.put(key, encode(variable))
        put_into(tx, bulk, instance, target, record, About(about.tries, 0, about.reason))
        return True
    elif ending.delay_s:
        if to_back:
            index = _back_index(variable)
        rules.delay(tx, key, variable, index, record, about, ending.delay_s)
    else:
        if to_back:
            index = _back_index(variable)
        _keep(tx, bulk, key, variable, index, record, about)
    tx.put(key, encode(variable))
    return True


def _back_index(variable: Variable) -> int:
    """Return an index behind all others, which no value of the variable ever had."""
    if variable.mode == LIFO:
        more = variable.more = variable.more or More()
        more.lowest -= 1
        return more.lowest
    index = variable.next
    variable.next = index + 1
    return index


def put_into(
    tx: Transaction, bulk: Bulk, instance: object, key: bytes, record: bytes, about: About | None
) -> None:
    """Put a value that was taken out of one variable into another, also if that is full."""
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else new_variable(tx, _int(instance), FIFO)
    if variable.mode == UNKNOWN:
        variable.mode = FIFO
    index = variable.next
    variable.next = index + 1
    if about is None and variable.more is not None and variable.more.ttl_s:
        about = About(expires_us=rules.now_us() + int(variable.more.ttl_s * 1e6))
    _keep(tx, bulk, key, variable, index, record, about)
    tx.put(key, encode(variable))


def remove(tx: Transaction, bulk: Bulk, key: bytes, index: int) -> bool:
    """Remove one value from its variable; tell whether it was still there."""
    raw = tx.get(key)
    if raw is None:
        return False
    variable = decode_variable(raw)
    record = tx.pop(variable.values + pack_int(index))
    if record is None:
        return False
    release_record(tx, bulk, record)
    _note_removed(tx, variable, index, record)
    tx.put(key, encode(variable))
    return True


def lost(tx: Transaction, key: bytes, indexes: Sequence[int]) -> list[int]:
    """Return which values of a variable are neither there, nor claimed, nor held back."""
    raw = tx.get(key)
    if raw is None:
        return list(indexes)
    variable = decode_variable(raw)
    later = set[int]()
    if variable.more is not None and variable.more.delayed:
        prefix = Prefix(variable.id, of=LATER)
        later = {_int(prefix.tail(k)[1]) for k, _ in tx.range(prefix.begin, prefix.end)}
    return [
        index
        for index in indexes
        if tx.get(value_key(variable.id, index)) is None
        and tx.get(claim_key(variable.id, index)) is None
        and index not in later
    ]


def move(tx: Transaction, bulk: Bulk, instance: int, source: bytes, target: bytes) -> bool:
    """Move the next value of one variable into another; tell whether there was one.

    What was known of the value is forgotten.

    Raises:
        FullError: The target is full, and refuses then.
        NoRoom: The target is full, and one waits for it then.
        Overdue: First, something else is to be done.
    """
    raw = tx.get(source)
    if raw is None:
        return False
    variable = decode_variable(raw)
    if variable.more is not None:
        rules.check_due(tx, variable.more)
    if not variable.count:
        return False
    index, record = _locate(tx, variable)
    tx.delete(variable.values + pack_int(index))
    _note_removed(tx, variable, index, record)
    tx.put(source, encode(variable))
    raw = tx.get(target)
    found = decode_variable(raw) if raw is not None else None
    if (
        found is not None
        and found.more is not None
        and (found.more.max_values or found.more.max_bytes)
    ):
        if not rules.make_room(tx, bulk, found, rules.size_of(record)):
            raise NoRoom(found.id)
        tx.put(target, encode(found))
    put_into(tx, bulk, instance, target, record, None)
    return True


class NoRoom(Exception):  # noqa: N818 not an error: the caller waits for room
    """The variable of an id is full, and nothing was changed."""

    def __init__(self, id: int) -> None:
        self.id = id


# Producers.


def add_producer(tx: Transaction, instance: int, key: bytes, session: int, number: int) -> None:
    """Note that a session is going to store values."""
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else new_variable(tx, instance, UNKNOWN)
    more = variable.more = variable.more or More()
    more.producers = 1 if more.producers == NEVER_HAD else more.producers + 1
    tx.put(held_key(session, "producer", number), variable.id.to_bytes(8, "big") + key)
    tx.put(key, encode(variable))


def end_producer(tx: Transaction, session: int, number: int) -> None:
    """Note that it is not, any more."""
    held = tx.pop(held_key(session, "producer", number))
    if held is not None:
        release_producer(tx, held)


def release_producer(tx: Transaction, held: bytes) -> None:
    """Count a producer less, of whom `held` tells; after the last, tell those who wait in vain."""
    id, key = int.from_bytes(held[:8], "big"), held[8:]
    raw = tx.get(key)
    variable = decode_variable(raw) if raw is not None else None
    if variable is None or variable.id != id:
        return  # it was deleted, and perhaps made anew
    assert variable.more is not None, "a variable that has producers has more"
    variable.more.producers -= 1
    tell_if_over(tx, variable)
    tx.put(key, encode(variable))


def is_over(variable: Variable) -> bool:
    """Tell whether a variable has no value, and will never have one.

    A value that somebody claimed, or that is held back, may come back.
    """
    more = variable.more
    if more is None or more.producers:
        return False
    return not (variable.count or variable.claimed or more.delayed)


def tell_if_over(tx: Transaction, variable: Variable) -> None:
    """Tell those who wait in vain; the caller puts the variable."""
    if is_over(variable) and (variable.finders or variable.fetchers):
        news = encode(Mail(variable.id, News.NO_PRODUCER.value, None))
        for kind in (FIND, FETCH):
            for line in waiters(tx, variable.id, kind):
                if line.is_elsewhere and _may_get_one(tx, line, variable.id):
                    continue
                deliver(tx, variable.id, line, news)
                if kind == FETCH:
                    variable.fetchers -= 1
                else:
                    variable.finders -= 1


def _may_get_one(tx: Transaction, line: InLine, besides: int) -> bool:
    """Tell whether another variable that a waiter waits for may have a value some time."""
    held = tx.get(held_key(line.session, "waiter", line.waiter))
    assert held is not None, "somebody waits who does not know it"
    for key, id in decode_held_waiter(held).places():
        raw = tx.get(key) if id != besides else None
        if raw is not None and not is_over(decode_variable(raw)):
            return True
    return False


# What is due.


def tend(tx: Transaction, bulk: Bulk) -> bool:
    """Show and drop the values whose time has come; tell whether more of them are left."""
    now_us = rules.now_us()
    found = tx.range(DUE.begin, DUE.int(now_us + 1), limit=settings.BATCH_KEYS)
    for due_key, raw in found:
        tx.delete(due_key)
        at_us, id, index = map(_int, DUE.tail(due_key))
        due = decode_due(raw)
        held = tx.get(due.variable_key)
        variable = decode_variable(held) if held is not None else None
        if variable is None or variable.id != id:
            continue  # it was deleted: the trash has the value
        if due.is_delayed:
            later = rules.take_delayed(tx, variable, at_us, index)
            if later is not None:
                _keep(tx, bulk, due.variable_key, variable, index, later.record, later.about)
                tell_if_over(tx, variable)  # if it has expired meanwhile
        else:
            record = tx.pop(variable.values + pack_int(index))
            if record is not None:
                _note_removed(tx, variable, index, record)
                release_record(tx, bulk, record)
        tx.put(due.variable_key, encode(variable))
    return len(found) == settings.BATCH_KEYS


def _int(element: object) -> int:
    assert isinstance(element, int)
    return element
