"""What an engine is: READ THIS FIRST.

An engine is a transactional, ordered store of bytes that several processes share. All
data models stand on the four verbs below, and on nothing else::

    engine.read(fn, *args)     fn(tx, *args) on one consistent snapshot
    engine.write(fn, *args)    fn(tx, *args) serializable; all or nothing
    engine.wait(bells, seen)   until a commit rang one of the bells after `seen`
    engine.session             this process's life in the depot

Keys are tuples in an order-preserving encoding (`entrepot.engine.keys`), packed by the
caller: a layer keeps the packed beginning of its keys and appends to it. This shape is
FoundationDB's; etcd and TiKV fit under it too.

Rules for a function that is given to `read` or `write`:

- It may run more than once, so it has no side effects but those on `tx` (and pins, which
  undo themselves). What it returns is the result of the run that was committed.
- It is short: no I/O, no pickling, no user code, no other transaction.
- Nothing of `tx` is used after it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, TypeVar, TypeVarTuple

__all__ = ["Bell", "Engine", "Item", "Release", "Seen", "Session", "Transaction"]

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

Bell: TypeAlias = bytes
"""A name that waiters and ringers agree on; by custom the packed key of what changes."""

Seen: TypeAlias = "tuple[int, ...]"
"""The state of some bells at one moment, from `Engine.listen`."""

Item: TypeAlias = "tuple[bytes, bytes]"

Release: TypeAlias = "Callable[[Transaction, int, bytes, bytes], None]"
"""Gives back what a dead session held: (tx, session id, rest of the held key, its value)."""


class Transaction(Protocol):
    """One consistent view of the store, and inside `write` the changes to it."""

    @property
    def version(self) -> int:
        """In `write`: larger than that of every earlier commit. In `read`: that of the snapshot."""
        ...

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""
        ...

    def range(
        self, begin: bytes, end: bytes, *, limit: int | None = None, reverse: bool = False
    ) -> list[Item]:
        """Return (key, value) for begin <= key < end, in order, at most `limit` of them."""
        ...

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of `key`."""
        ...

    def insert(self, key: bytes, value: bytes) -> bool:
        """Set the value of `key` if it has none; tell whether it was set."""
        ...

    def delete(self, key: bytes) -> bool:
        """Remove `key`; tell whether it was there."""
        ...

    def pop(self, key: bytes) -> bytes | None:
        """Remove `key` and return the value that it had, or None."""
        ...

    def ring(self, bell: Bell) -> None:
        """Wake whoever waits for `bell`, after the commit."""
        ...


class Session(Protocol):
    """The life of one process in a depot.

    What it holds is written under `held_key`; when the process ends, cleanly or by
    kill -9, whoever notices first gives all of it back (`Engine.reap`).
    """

    @property
    def id(self) -> int:
        """A number that no other session of this depot ever had, before or after a reboot."""
        ...

    def held_key(self, kind: str, *elements: str | int) -> bytes:
        """Return the key under which this session writes that it holds something."""
        ...


class Engine(Protocol):
    """A transactional, ordered store of bytes."""

    @property
    def name(self) -> str:
        """`volatile` or `durable`, for messages."""
        ...

    @property
    def session(self) -> Session:
        """This process's session."""
        ...

    def read(self, fn: Callable[[Transaction, *Ts], R], /, *args: *Ts) -> R:
        """Run fn(tx, ...) on one consistent snapshot and return what it returns."""
        ...

    def get(self, key: bytes) -> bytes | None:
        """Return the value of one key: the short form of a `read` of just that."""
        ...

    def write(self, fn: Callable[[Transaction, *Ts], R], /, *args: *Ts) -> R:
        """Run fn(tx, ...) and commit: all or nothing, as if no other write ran meanwhile.

        Raises:
            OutOfMemoryError: The volatile tier has reached the depot's `memory` setting.
            DiskFullError: The disk of the durable tier is full.
            UnavailableError: A stopped process holds the write lock; its pid is in the message.
        """
        ...

    def listen(self, bells: Sequence[Bell]) -> Seen:
        """Return the state of the bells, to be read before the condition is checked."""
        ...

    def wait(self, bells: Sequence[Bell], seen: Seen, timeout: float | None = None) -> bool:
        """Sleep until a bell was rung since `seen`; False when `timeout` seconds passed.

        May also return early, so the caller checks its condition again. Sleeps in slices of
        at most a second and reaps dead sessions in between, so that a process killed after
        its commit and before its wake-up strands nobody.
        """
        ...

    async def wait_async(
        self, bells: Sequence[Bell], seen: Seen, timeout: float | None = None
    ) -> bool:
        """As `wait`, without blocking the event loop and without a thread for each waiter."""
        ...

    def on_release(self, kind: str, release: Release) -> None:
        """Say how things of one kind are given back when the session that held them is dead."""
        ...

    def reap(self) -> int:
        """Give back what dead sessions held in this engine; return how many were dead."""
        ...

    def oldest_snapshot(self) -> int | None:
        """Return the version of the oldest snapshot that a reader still uses; None if none."""
        ...
