"""How spaces are stored.

::

    workspace "jobs" ── instance 7 ──┬── variable "task" ── id 8, fifo ──┬── value 4
                                     │                                   ├── value 5
                                     │                                   └── claim 3
                                     └── variable "best" ── id 9, single ─── value 41

Keys under ("space",):
    ("name", workspace)                -> Workspace: instance, owner, persistent
    ("instance", instance)             -> the workspace's name; while it is there, it may be used
    ("variable", instance, name)       -> Variable
    ("value", id, index)               -> record (see `values`)
    ("wait", id, kind, ticket, session, waiter) -> nothing; kind 0 finds, 1 fetches; oldest first
    ("mail", session, waiter)          -> Mail: what a waiter was given
    ("claim", id, index)               -> ClaimRecord: session, when, record, About
    ("about", id, index)               -> About: tries, expiry; only where there is something to say
    ("later", id, at, index)           -> Later: record, About; a value that is shown at a time
    ("due", at, id, index)             -> Due: what is to be done then: show it, or drop it
    ("trash", "variable", id)          -> nothing: values to be deleted in batches
    ("trash", "instance", instance)    -> nothing: variables to be deleted in batches
    ("number",)                        -> the last instance or variable id that was given

Held by a session (see `entrepot.engine.held`):
    ("waiter", waiter)                 -> HeldWaiter: which variable, kind, ticket
    ("claim", id, index)               -> key of the variable
    ("producer", producer)             -> key of the variable
    ("space", name)                    -> the instance: it ends with its owner

Times are in microseconds since the epoch.

Bells: ("session", session), rung when mail comes for it; ("room", variable id), when a bounded
variable has room again; ("due",), when something is to be done at a time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from entrepot.engine.keys import Prefix, pack_int
from entrepot.engine.protocol import Transaction
from entrepot.errors import LimitError, NotFoundError, TypeMismatchError

__all__ = [
    "MODES",
    "About",
    "ClaimRecord",
    "HeldWaiter",
    "Mail",
    "More",
    "Owner",
    "Variable",
    "Workspace",
]

SPACE = Prefix("space")
NAME = Prefix("name", of=SPACE)
INSTANCE = Prefix("instance", of=SPACE)
VARIABLE = Prefix("variable", of=SPACE)
VALUE = Prefix("value", of=SPACE)
WAIT = Prefix("wait", of=SPACE)
MAIL = Prefix("mail", of=SPACE)
CLAIM = Prefix("claim", of=SPACE)
ABOUT = Prefix("about", of=SPACE)
LATER = Prefix("later", of=SPACE)
DUE = Prefix("due", of=SPACE)
TRASH = Prefix("trash", of=SPACE)
NUMBER = SPACE.key("number")

UNKNOWN, FIFO, LIFO, MULTI, SINGLE = range(5)
MODES: Final = ("unknown", "fifo", "lifo", "multi", "single")

FIND, FETCH = 0, 1

WAIT_FOR_ROOM, REFUSE, DROP_OLDEST = range(3)
WHEN_FULL: Final = ("wait", "error", "drop_oldest")

NEVER_HAD: Final = -1
"""The number of producers of a variable that never had one."""

LEFT: Final = -1
"""The owner of a workspace that stayed when its owner left."""


class Owner(NamedTuple):
    """Who would own a workspace, and what is to become of it afterwards."""

    session: int
    client: int = 0
    label: str = ""
    is_kept: bool = False


class Workspace(msgspec.Struct, array_like=True):
    """A name and the instance that it stands for at present."""

    instance: int
    """0: it lives in the other, durable tier."""
    owner: int
    """Session that owns it; 0: nobody yet; LEFT: its owner left, and nobody may own it again."""
    owner_pid: int
    created_s: float
    client: int = 0
    """Which of the clients that the owner's process serves, or 0: the process itself."""
    label: str = ""
    """What the owner says of itself."""
    is_kept: bool = False
    """It stays when its owner leaves."""


class More(msgspec.Struct, array_like=True):
    """What few variables have: bounds, times, tries, producers. Zero means none."""

    max_values: int = 0
    max_bytes: int = 0
    when_full: int = WAIT_FOR_ROOM
    ttl_s: float = 0
    max_tries: int = 0
    failed: str = ""
    """The variable that takes what was tried in vain so often."""
    size: int = 0
    """Bytes of the values that are there."""
    delayed: int = 0
    """How many values are shown later."""
    timed: int = 0
    """How many values something is to be done with at a time, those included."""
    producers: int = NEVER_HAD
    lowest: int = 0
    """Of a lifo variable: the index of the value that went behind all others last."""


class About(msgspec.Struct, array_like=True):
    """What is known of a value besides its bytes."""

    tries: int = 0
    """How often it was claimed."""
    expires_us: int = 0
    """When it is dropped; 0: never."""
    reason: str = ""
    """Why the last try failed."""


class Later(msgspec.Struct, array_like=True):
    """A value that is shown at a time."""

    record: bytes
    about: About


class Due(msgspec.Struct, array_like=True):
    """What is to be done at a time: show a value that was held back, or drop one."""

    variable_key: bytes
    is_delayed: bool


class Variable(msgspec.Struct, array_like=True):
    """A variable: how its values are taken, and what is known of them."""

    id: int
    mode: int
    first: int
    """No value that is there has a smaller index; nearly always that of the oldest."""
    last: int
    """No value that is there has a larger index; nearly always that of the newest."""
    next: int
    """The index of the next value."""
    count: int
    """How many values are there; those claimed or handed to a waiter are not."""
    fetchers: int
    finders: int
    claimed: int
    values: bytes
    """The packed beginning of the keys of its values."""
    more: More | None = None


class Mail(msgspec.Struct, array_like=True):
    """What a waiter was given: a value, or news."""

    id: int
    index: int
    """Of a value; else which news it is."""
    record: bytes | None
    about: About | None = None


class HeldWaiter(msgspec.Struct, array_like=True):
    """What it takes to undo a wait."""

    variable_key: bytes
    id: int
    kind: int
    ticket: int
    since_s: float = 0
    others: list[tuple[bytes, int]] = []
    """Key and id of the other variables in whose lines it stands too."""

    def places(self) -> list[tuple[bytes, int]]:
        """Return key and id of all variables in whose lines it stands."""
        return [(self.variable_key, self.id), *self.others]


class ClaimRecord(msgspec.Struct, array_like=True):
    """A value that somebody works on."""

    session: int
    since_s: float
    record: bytes
    about: About | None = None


encode = msgspec.msgpack.Encoder().encode
decode_workspace = msgspec.msgpack.Decoder(Workspace).decode
decode_variable = msgspec.msgpack.Decoder(Variable).decode
decode_mail = msgspec.msgpack.Decoder(Mail).decode
decode_held_waiter = msgspec.msgpack.Decoder(HeldWaiter).decode
decode_claim = msgspec.msgpack.Decoder(ClaimRecord).decode
decode_about = msgspec.msgpack.Decoder(About).decode
decode_later = msgspec.msgpack.Decoder(Later).decode
decode_due = msgspec.msgpack.Decoder(Due).decode


def value_key(id: int, index: int) -> bytes:
    """Return the key of one value of a variable."""
    return VALUE.int(id) + pack_int(index)


def claim_key(id: int, index: int) -> bytes:
    """Return the key of a claimed value of a variable."""
    return CLAIM.int(id) + pack_int(index)


def about_key(id: int, index: int) -> bytes:
    """Return the key of what is known of a value."""
    return ABOUT.int(id) + pack_int(index)


def later_key(id: int, at_us: int, index: int) -> bytes:
    """Return the key of a value that is shown later."""
    return b"".join((LATER.int(id), pack_int(at_us), pack_int(index)))


def due_key(at_us: int, id: int, index: int) -> bytes:
    """Return the key of what is to be done with a value at a time."""
    return b"".join((DUE.int(at_us), pack_int(id), pack_int(index)))


def mail_key(session: int, waiter: int) -> bytes:
    """Return the key of what a waiter was given."""
    return MAIL.int(session) + pack_int(waiter)


def wait_key(id: int, kind: int, ticket: int, session: int, waiter: int) -> bytes:
    """Return the key of a waiter's place in the line."""
    who = (pack_int(session), pack_int(waiter))
    return b"".join((WAIT.int(id), pack_int(kind), pack_int(ticket), *who))


DUE_BELL: Final = b"spaces due"
"""Rung when something is to be done at a time."""


def room_bell(id: int) -> bytes:
    """Return the bell that is rung when a bounded variable has room again."""
    return b"room" + id.to_bytes(8, "big")


def session_bell(session: int) -> bytes:
    """Return the bell that is rung when mail comes for a session."""
    return b"session" + session.to_bytes(8, "big")


def mode_number(mode: object) -> int:
    """Return the number of a mode.

    Raises:
        LimitError: There is no such mode.
        TypeMismatchError: It is not a string.
    """
    if not isinstance(mode, str):
        raise TypeMismatchError(f"mode is {mode!r}, a {type(mode).__name__}", "give a string")
    if mode not in MODES[1:]:
        raise LimitError(f"mode is {mode!r}", f"the modes are {', '.join(MODES[1:])}")
    return MODES.index(mode)


def next_number(tx: Transaction) -> int:
    """Return a number for a new instance or variable."""
    last = tx.get(NUMBER)
    number = 1 + (int.from_bytes(last, "big") if last else 0)
    tx.put(NUMBER, number.to_bytes(8, "big"))
    return number


def new_variable(tx: Transaction, instance: int, mode: int) -> Variable:
    """Return a new variable of an instance that exists; the caller puts it.

    Raises:
        NotFoundError: The workspace was deleted.
    """
    if tx.get(INSTANCE.int(instance)) is None:
        raise NotFoundError(
            "the workspace was deleted, or its owner ended", "open it again with depot.space(name)"
        )
    id = next_number(tx)
    return Variable(id, mode, 0, -1, 0, 0, 0, 0, 0, VALUE.int(id))
