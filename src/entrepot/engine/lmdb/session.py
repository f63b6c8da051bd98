"""The sessions of a depot on one machine: who is here, and who has died.

A session is a slot: a number, a record in the volatile catalog, and a POSIX record lock on
the byte of that number in one file. The kernel drops the lock when the process ends,
however it ends; so a record whose byte is unlocked belongs to the dead.

`lockf`, not `flock`: a forked child would keep an flock of its parent alive. The price: the
file is opened once per process, since closing any descriptor of it drops all locks.

Keys::

    ("slot", number)  -> Slot: session id, process id, command line, when it began
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from entrepot import settings
from entrepot.engine import failpoints, held
from entrepot.engine.keys import Prefix
from entrepot.engine.lmdb.locks import lock_holder
from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import LimitError

__all__ = ["LmdbSession", "Slot", "slots"]

SLOT = Prefix("slot")


class Slot(msgspec.Struct, array_like=True, frozen=True):
    """Who has a slot."""

    session: int
    pid: int
    command: str
    started_s: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Slot).decode


def slots(tx: Transaction) -> dict[int, Slot]:
    """Return who has which slot, the dead included."""
    found: dict[int, Slot] = {}
    for key, value in tx.range(SLOT.begin, SLOT.end):
        number = SLOT.tail(key)[0]
        assert isinstance(number, int)
        found[number] = _decode(value)
    return found


class LmdbSession:
    """This process's session, and how it sees the others."""

    id: int
    slot: int

    def __init__(self, lock_file: Path) -> None:
        """Open the lock file; `begin` takes a slot."""
        self._lock_file = lock_file
        self._fd = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._first_use: Callable[[], None] = _not_begun

    def __getattr__(self, name: str) -> int:
        """Begin when a forked child first asks for its id or slot: until then it has none."""
        if name not in ("id", "slot"):
            raise AttributeError(name)
        self._first_use()
        return vars(self)[name]

    def begin(self, engine: Engine, prepare: Callable[[int], None]) -> None:
        """Take a slot in the catalog of the volatile engine.

        Args:
            engine: The volatile engine.
            prepare: Makes ready what belongs to a slot, before anyone sees that it is taken.

        Raises:
            LimitError: All slots are taken.
        """
        self._engine = engine
        self.slot, self.id = engine.write(self._take_slot, _new_id(), prepare)
        self._first_use = _not_begun

    def _take_slot(
        self, tx: Transaction, session: int, prepare: Callable[[int], None]
    ) -> tuple[int, int]:
        taken = slots(tx)
        for number in range(settings.SESSIONS_MAX):
            # A lock without a record: the record of its owner was lost in a crash of the
            # catalog's file system, or belongs to a session that is just ending.
            if number not in taken and self._lock(number):
                break
        else:
            raise LimitError(
                f"all {settings.SESSIONS_MAX} sessions of the depot are in use",
                "'entrepot doctor' lists the processes",
            )
        if failpoints.ARMED:
            failpoints.hit("session.locked")
        prepare(number)
        slot = Slot(session, os.getpid(), _command(), time.time())
        tx.put(SLOT.int(number), _encode(slot))
        return number, session

    def _lock(self, number: int) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError:
            return False
        return True

    def held_key(self, kind: str, *elements: str | int) -> bytes:
        """Return the key under which this session writes that it holds something."""
        return held.held_key(self.id, kind, *elements)

    def live_sessions(self) -> set[int]:
        """Return the sessions whose processes run."""
        everyone = self._engine.read(slots)
        return {self.id} | {
            slot.session for number, slot in everyone.items() if self.is_locked(number)
        }

    def is_locked(self, number: int) -> bool:
        """Tell whether the owner of a slot lives."""
        if number == vars(self).get("slot"):
            return True
        return lock_holder(self._fd, number, 1) is not None

    def alive(self, tx: Transaction) -> list[int]:
        """Return the slots whose owners live."""
        return [number for number in slots(tx) if self.is_locked(number)]

    def free_dead_slots(self) -> int:
        """Free the slots of the dead, when all that they held was given back."""
        dead = [
            (number, slot.session)
            for number, slot in self._engine.read(slots).items()
            if not self.is_locked(number)
        ]
        for number, session in dead:
            self._engine.write(_free_slot, number, session)
        return len(dead)

    def close_after_fork(self, first_use: Callable[[], None]) -> None:
        """Close what a forked child inherited: the locks are the parent's.

        Whoever asks for its id calls `first_use`.
        """
        os.close(self._fd)
        del self.id, self.slot
        self._first_use = first_use

    def reopen(self) -> None:
        """Open the lock file again, in a forked child."""
        self._fd = os.open(self._lock_file, os.O_RDWR | os.O_CLOEXEC)

    def forget(self) -> None:
        """Close the lock file without a word: the session is dead to others. May be repeated."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def end(self) -> int:
        """Free the slot, when all it held was given back; return how many others are left."""
        try:
            self.free_dead_slots()
            self._engine.write(_free_slot, self.slot, self.id)
            return len(self._engine.read(slots))
        finally:
            self.forget()


def _not_begun() -> None:
    raise AttributeError("the session has not begun")


def _free_slot(tx: Transaction, number: int, session: int) -> None:
    value = tx.get(SLOT.int(number))
    prefix = Prefix(session, of=held.HELD)
    if value is None or _decode(value).session != session:
        return
    if tx.range(prefix.begin, prefix.end, limit=1):
        return
    tx.delete(SLOT.int(number))


def _new_id() -> int:
    return (int.from_bytes(os.urandom(8), "big") >> 2) + 1


def _command() -> str:
    words = [Path(word).name if at == 0 else word for at, word in enumerate(sys.argv)]
    return " ".join(words)[:200] or Path(sys.executable).name
