"""The reference engine: a sorted dict in one process. Slow, obvious, the specification.

The store is a chain of frozen states; a commit replaces the current one::

    MemoryStore.state ──► State(version 7)      what new transactions see
                          State(version 6)      lives while a reader still looks at it

A transaction is a state and the changes to it. `write` rehearses: it runs its function
twice on the same state and keeps the second result, so that a side effect shows in the
first unit test instead of in a cluster, where a conflict makes every function run again.

Several engines on one store stand for several processes: each has a session of its own,
and `end_session` is the kill -9.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, TypeVarTuple

from entrepot import settings
from entrepot.engine.held import held_key, release_batch
from entrepot.engine.keys import bounded
from entrepot.engine.protocol import Bell, Item, Release, Seen, Transaction
from entrepot.errors import ClosedError, TypeMismatchError

__all__ = ["MemoryEngine", "MemorySession", "MemoryStore", "MemoryTransaction"]

Ts = TypeVarTuple("Ts")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class State:
    """What the store holds after one commit. Nobody changes it: the next commit copies it."""

    version: int
    items: dict[bytes, bytes]
    order: list[bytes]
    """The keys of `items`, sorted."""


@dataclass(eq=False, slots=True)
class Sleeper:
    """One task that waits, in whatever event loop."""

    bells: frozenset[Bell]
    loop: asyncio.AbstractEventLoop
    woken: asyncio.Event


@dataclass(eq=False)
class MemoryStore:
    """What several memory engines share: the states, the bells and who is dead."""

    state: State = field(default_factory=lambda: State(0, {}, []))
    rung: dict[Bell, int] = field(default_factory=dict[Bell, int])
    """The version of the commit that last rang each bell."""

    sessions: int = 0
    """How many sessions there ever were: the next one's id follows it."""
    dead: set[int] = field(default_factory=set[int])

    readers: Counter[int] = field(default_factory=Counter[int])
    """How many readers look at each version."""
    sleepers: dict[Sleeper, None] = field(default_factory=dict["Sleeper", None])

    writing: threading.Lock = field(default_factory=threading.Lock)
    changed: threading.Condition = field(default_factory=threading.Condition)
    """Guards all of the above; notified when a bell was rung."""
    busy: threading.local = field(default_factory=threading.local)
    """Whether this thread is inside a transaction."""


class MemoryTransaction:
    """A state, and in `write` the changes to it."""

    def __init__(self, state: State, *, writable: bool) -> None:
        self._state = state
        self._writable = writable
        self._open = True
        self._changes: dict[bytes, bytes | None] = {}
        self._bells: list[Bell] = []

    @property
    def version(self) -> int:
        """In `write` that of the commit to come, in `read` that of the snapshot."""
        return self._state.version + self._writable

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None."""
        self._check()
        if key in self._changes:
            return self._changes[key]
        return self._state.items.get(key)

    def range(
        self, begin: bytes, end: bytes, *, limit: int | None = None, reverse: bool = False
    ) -> list[Item]:
        """Return (key, value) for begin <= key < end, in order, at most `limit` of them."""
        self._check()
        order = self._state.order
        stored = order[bisect.bisect_left(order, begin) : bisect.bisect_left(order, end)]
        changed = [key for key in self._changes if begin <= key < end]
        keys = sorted({*stored, *changed} if changed else stored, reverse=reverse)
        found: list[Item] = []
        for key in keys:
            if limit is not None and len(found) >= limit:
                break
            value = self.get(key)
            if value is not None:
                found.append((key, value))
        return found

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of `key`."""
        self._check(change=True)
        # A bytearray or a view could change behind our back; the other engines refuse them too.
        if type(key) is not bytes or type(value) is not bytes:
            raise TypeMismatchError(f"put of {type(key).__name__} and {type(value).__name__}")
        self._changes[bounded(key)] = value

    def insert(self, key: bytes, value: bytes) -> bool:
        """Set the value of `key` if it has none; tell whether it was set."""
        if self.get(key) is not None:
            return False
        self.put(key, value)
        return True

    def delete(self, key: bytes) -> bool:
        """Remove `key`; tell whether it was there."""
        return self.pop(key) is not None

    def pop(self, key: bytes) -> bytes | None:
        """Remove `key` and return the value that it had, or None."""
        self._check(change=True)
        value = self.get(key)
        if value is not None:
            self._changes[key] = None
        return value

    def ring(self, bell: Bell) -> None:
        """Wake whoever waits for `bell`, after the commit."""
        self._check(change=True)
        self._bells.append(bell)

    def close(self) -> tuple[State, list[Bell]]:
        """End the transaction; return the state that a commit of it makes, and the bells."""
        self._open = False
        items, order = self._state.items, self._state.order
        if self._changes:
            items, order = dict(items), list(order)
        for key, value in self._changes.items():
            if value is None:
                if items.pop(key, None) is not None:
                    del order[bisect.bisect_left(order, key)]
            else:
                if key not in items:
                    bisect.insort(order, key)
                items[key] = value
        return State(self.version, items, order), self._bells

    def _check(self, *, change: bool = False) -> None:
        assert self._open, "a transaction was used after its function returned"
        assert self._writable or not change, "a function given to `read` changes something"


class MemorySession:
    """The life of one engine on a store."""

    def __init__(self, session: int) -> None:
        self._id = session

    @property
    def id(self) -> int:
        """A number that no other session of the store ever had."""
        return self._id

    def held_key(self, kind: str, *elements: str | int) -> bytes:
        """Return the key under which this session writes that it holds something."""
        return held_key(self._id, kind, *elements)


class MemoryEngine:
    """An engine on a store that lives in this process, alone or shared with other engines."""

    def __init__(self, store: MemoryStore | None = None, *, name: str = "volatile") -> None:
        self.store = store if store is not None else MemoryStore()
        self._name = name
        self._closed = False
        self._releases: dict[str, Release] = {}
        with self.store.changed:
            self.store.sessions += 1
            self._session = MemorySession(self.store.sessions)

    @property
    def name(self) -> str:
        """`volatile` or `durable`, for messages."""
        return self._name

    @property
    def session(self) -> MemorySession:
        """This engine's session."""
        return self._session

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def read(self, fn: Callable[[Transaction, *Ts], R], /, *args: *Ts) -> R:
        """Run fn(tx, ...) on one consistent snapshot and return what it returns."""
        store = self.store
        with self._transaction():
            with store.changed:
                state = store.state
                store.readers[state.version] += 1
            tx = MemoryTransaction(state, writable=False)
            try:
                return fn(tx, *args)
            finally:
                tx.close()
                with store.changed:
                    store.readers[state.version] -= 1
                    store.readers += Counter()  # forgets the versions that nobody reads

    def get(self, key: bytes) -> bytes | None:
        return self.read(_get, key)

    def write(self, fn: Callable[[Transaction, *Ts], R], /, *args: *Ts) -> R:
        """Run fn(tx, ...) twice on the same state and commit what the second run did."""
        store = self.store
        with self._transaction(), store.writing:
            rehearsal = MemoryTransaction(store.state, writable=True)
            try:
                fn(rehearsal, *args)
            finally:
                rehearsal.close()
            tx = MemoryTransaction(store.state, writable=True)
            try:
                result = fn(tx, *args)
            finally:
                state, bells = tx.close()
            with store.changed:
                store.state = state
                if bells:
                    store.rung.update(dict.fromkeys(bells, state.version))
                    self._wake(bells)
            return result

    def listen(self, bells: Sequence[Bell]) -> Seen:
        """Return the state of the bells, to be read before the condition is checked."""
        with self.store.changed:
            return tuple(self.store.rung.get(bell, 0) for bell in bells)

    def wait(self, bells: Sequence[Bell], seen: Seen, timeout: float | None = None) -> bool:
        """Sleep until a bell was rung since `seen`; False when `timeout` seconds passed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self.store.changed:
                slice_s = _slice_s(deadline)
                self.store.changed.wait_for(
                    lambda: self._closed or self.listen(bells) != seen, slice_s
                )
            self._check_open()
            if self.listen(bells) != seen:
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            self.reap()

    async def wait_async(
        self, bells: Sequence[Bell], seen: Seen, timeout: float | None = None
    ) -> bool:
        """As `wait`, without blocking the event loop and without a thread for each waiter."""
        deadline = None if timeout is None else time.monotonic() + timeout
        sleeper = Sleeper(frozenset(bells), asyncio.get_running_loop(), asyncio.Event())
        with self.store.changed:
            self.store.sleepers[sleeper] = None
        try:
            while True:
                self._check_open()
                # Cleared before the look: a ring after it sets the event again.
                sleeper.woken.clear()
                if self.listen(bells) != seen:
                    return True
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_slice_s(deadline)):
                        await sleeper.woken.wait()
                self.reap()
        finally:
            with self.store.changed:
                del self.store.sleepers[sleeper]

    def on_release(self, kind: str, release: Release) -> None:
        """Say how things of one kind are given back when the session that held them is dead."""
        self._releases[kind] = release

    def reap(self) -> int:
        """Give back what dead sessions held; return how many were dead."""
        with self.store.changed:
            dead = sorted(self.store.dead)
        for session in dead:
            while self.write(release_batch, session, self._releases):
                pass
        with self.store.changed:
            # Two engines may reap at once; each death is counted by one of them.
            counted = self.store.dead.intersection(dead)
            self.store.dead -= counted
        return len(counted)

    def oldest_snapshot(self) -> int | None:
        """Return the version of the oldest snapshot that a reader still uses; None if none."""
        with self.store.changed:
            return min(self.store.readers, default=None)

    def end_session(self) -> None:
        """Die as by kill -9: hold on to everything, until an engine of the store reaps."""
        with self.store.changed:
            self.store.dead.add(self._session.id)
            self._closed = True
            self._wake()

    def close(self) -> None:
        """Give back what the session held and end it."""
        if not self._closed:
            while self.write(release_batch, self._session.id, self._releases):
                pass
            with self.store.changed:
                self._closed = True
                self._wake()

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        """Refuse to begin a transaction when closed, or inside another one of this thread."""
        self._check_open()
        busy = self.store.busy
        assert not getattr(busy, "inside", False), "a transaction inside a transaction"
        busy.inside = True
        try:
            yield
        finally:
            busy.inside = False

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the {self._name} engine is closed")

    def _wake(self, bells: list[Bell] | None = None) -> None:
        """Wake the threads and the tasks that wait for one of the bells, or all of them."""
        self.store.changed.notify_all()
        for sleeper in self.store.sleepers:
            if bells is None or not sleeper.bells.isdisjoint(bells):
                # A loop that was closed while its task waited has nobody left to wake.
                with contextlib.suppress(RuntimeError):
                    sleeper.loop.call_soon_threadsafe(sleeper.woken.set)


def _slice_s(deadline: float | None) -> float:
    """Return how long to sleep before looking again."""
    if deadline is None:
        return settings.WAIT_SLICE_S
    return max(0.0, min(settings.WAIT_SLICE_S, deadline - time.monotonic()))


def _get(tx: Transaction, key: bytes) -> bytes | None:
    return tx.get(key)
