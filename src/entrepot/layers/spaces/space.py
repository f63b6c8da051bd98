"""A workspace as a program uses it."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar, TypeVarTuple

from entrepot import settings
from entrepot.arena.bulk import Bulk, Draft
from entrepot.engine import failpoints
from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import (
    EntrepotError,
    LimitError,
    NotFoundError,
    ProducersGoneError,
    TypeMismatchError,
    WaitTimeoutError,
)
from entrepot.layers import values
from entrepot.layers.spaces import core, workspaces
from entrepot.layers.spaces.claim import Claim
from entrepot.layers.spaces.core import News, Taken, Waiter, Want
from entrepot.layers.spaces.iterator import Values
from entrepot.layers.spaces.producer import Producer
from entrepot.layers.spaces.records import (
    DUE_BELL,
    FETCH,
    FIND,
    UNKNOWN,
    WHEN_FULL,
    mode_number,
    room_bell,
    session_bell,
)
from entrepot.layers.spaces.rules import Overdue, next_due_us, now_us
from entrepot.layers.spaces.workspaces import ClaimInfo, ValueInfo, VariableInfo, WaiterInfo
from entrepot.layers.tier import Tier, load
from entrepot.waiting import Deadline

__all__ = ["Space"]

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_KEYS_MAX = 1024

_waiter_numbers = itertools.count(1)


class Space:
    """Named variables whose values are stored, found and fetched.

    Variables come into being when they are used. Their mode says which value is next:
    `fifo` (as stored: the default), `lifo`, `multi` (any one at random), `single` (only the
    last one stored is kept). The model is that of NetWorkSpaces, a tuple space.
    """

    def __init__(self, name: str, tier: Tier, instance: int, *, persistent: bool) -> None:
        self.name = name
        self.persistent = persistent
        self.use(tier)
        self._instance = instance
        self._keys: dict[str, bytes] = {}
        self._is_brisk = False
        """Whether the last wait in line was short."""
        self._dry: set[bytes] = set()
        """Keys of variables that had no value when one was last wanted."""

    def use(self, tier: Tier) -> None:
        """Work with this tier from now on: when a depot closes, with one that is closed."""
        self._tier = tier
        self._engine = tier.engine
        self._bulk = tier.bulk

    @property
    def engine(self) -> Engine:
        """The engine of its tier: for the async twin, not for programs."""
        return self._engine

    @property
    def bulk(self) -> Bulk:
        """Where its big values go: for who writes them piece by piece."""
        return self._bulk

    def __repr__(self) -> str:
        return f"<Space {self.name!r}{' persistent' if self.persistent else ''}>"

    # Storing, finding, fetching.

    def store(
        self,
        variable: str,
        value: object,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Store a value. Whoever waits for one gets it in the same step.

        Args:
            variable: Its name.
            value: Anything that can be pickled; arrays and dataframes are not copied on the way.
            ttl: Seconds after which the value is dropped; by default the variable's (`declare`).
            timeout: Most seconds to wait for room in a bounded variable that lets one wait.

        Raises:
            NotFoundError: The workspace was deleted.
            TypeMismatchError: The value cannot be pickled, or `variable` is not a string.
            OutOfMemoryError: The depot is full.
            FullError: The variable is bounded, full, and refuses then.
            WaitTimeoutError: It had no room in time.

        Cost: one write transaction; a value over about 128 kB one more.
        """
        record = values.encode(value)
        try:
            key = self._keys[variable]
        except (KeyError, TypeError):
            key = self._key(variable)
        if ttl is None and type(record) is bytes:  # nearly always
            write = self._engine.write
            try:
                if write(core.store, self._bulk, self._instance, key, record) is not None:
                    return
            except Overdue:
                pass  # then the long way
        self.store_record(variable, record, ttl=ttl, timeout=timeout)

    def store_record(
        self,
        variable: str,
        record: bytes | values.Encoded,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
        hush: core.Hush | None = None,
    ) -> int:
        """Store what a value was encoded to; see `entrepot.layers.values`. Return its index.

        With `hush`, the caller then looks for whom of these waiters there is mail.
        """
        if ttl is None and isinstance(record, bytes):
            key = self._keys.get(variable) or self._key(variable)
            write = self._engine.write
            with contextlib.suppress(Overdue):  # then the long way
                index = write(core.store, self._bulk, self._instance, key, record, None, hush)
                if index is not None:
                    return index
        if isinstance(record, bytes):
            return self._store_when_due(variable, record, ttl, timeout)
        with self._bulk.draft(record.buffers) as draft:
            return self._store_when_due(variable, (record, draft), ttl, timeout)

    def store_draft(
        self,
        variable: str,
        encoded: values.Encoded,
        draft: Draft,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Store a value whose bytes were written into a draft of `bulk`."""
        self._store_when_due(variable, (encoded, draft), ttl, timeout)

    def _store_when_due(
        self,
        variable: str,
        record: bytes | tuple[values.Encoded, Draft],
        ttl: float | None,
        timeout: float | None,
    ) -> int:
        """Store a value when there is room, and when what was due before is done."""
        ttl = None if ttl is None else _checked_ttl(ttl)
        index = self.try_store(variable, record, ttl)
        if index is not None:
            return index
        deadline = Deadline(timeout)
        while True:
            bells = self.room_bells(variable)
            seen = self._engine.listen(bells)
            index = self.try_store(variable, record, ttl)
            if index is not None:
                return index
            left = deadline.left()
            if left == 0:
                raise self.had_no_room(variable, deadline)
            self._engine.wait(bells, seen, self.until_due(left))

    # The steps of a store, for this class and its async twin.

    def room_bells(self, variable: str) -> list[bytes]:
        """Return what is rung when a variable has room again, or something is due."""
        return [room_bell(self.id_of(variable)), DUE_BELL]

    def try_store(
        self,
        variable: str,
        record: bytes | tuple[values.Encoded, Draft],
        ttl: float | None,
    ) -> int | None:
        """Store a value and return its index; None if one has to wait for room."""
        key = self._key(variable)
        return self._write(core.store, self._bulk, self._instance, key, record, ttl)

    def had_no_room(self, variable: str, deadline: Deadline) -> WaitTimeoutError:
        """Return the error for a store whose time is over."""
        return WaitTimeoutError(
            f"{self.name}/{variable} had no room within {deadline.timeout} seconds",
            "fetch some values, or declare it with a larger bound",
        )

    def until_due(self, left: float | None) -> float | None:
        """Do what is due, and return how long to sleep: until the next time, at most `left`."""
        while True:
            at_us = self._engine.read(next_due_us)
            if at_us is None:
                return left
            seconds = (at_us - now_us()) / 1e6
            if seconds > 0:
                return seconds if left is None else min(left, seconds)
            self.tend()

    def tend(self) -> None:
        """Show and drop the values of all spaces of the tier whose time has come."""
        while self._engine.write(core.tend, self._bulk):
            pass

    def _write(self, fn: Callable[[Transaction, *Ts], R], *args: *Ts) -> R:
        """Write; first do what is due, if `fn` says so."""
        while True:
            try:
                return self._engine.write(fn, *args)
            except Overdue:
                self.tend()

    def _read(self, fn: Callable[[Transaction, *Ts], R], *args: *Ts) -> R:
        """Read; first do what is due, if `fn` says so."""
        while True:
            try:
                return self._engine.read(fn, *args)
            except Overdue:
                self.tend()

    def try_find(self, variable: str, default: Any = None) -> Any:
        """Return a value and leave it there; `default` if there is none.

        Cost: one read transaction.
        """
        try:
            key = self._keys[variable]
        except (KeyError, TypeError):
            key = self._key(variable)
        try:
            found = self._engine.read(core.find, self._bulk, key)
        except Overdue:
            found = self._read(core.find, self._bulk, key)
        if found is None:
            self._check_open()
            return default
        return values.decode(found) if isinstance(found, bytes) else load(found)

    def try_fetch(self, variable: str, default: Any = None) -> Any:
        """Take a value; `default` if there is none. Nobody else gets it.

        Cost: one write transaction.
        """
        try:
            key = self._keys[variable]
        except (KeyError, TypeError):
            key = self._key(variable)
        try:
            taken = self._engine.write(core.fetch, self._bulk, key)
        except (core.OutOfPins, Overdue):
            taken = self.take(variable, core.FETCH_ONE)
        if taken is None:
            self._check_open()
            return default
        return self.loaded(taken, variable)

    def find(self, variable: str, *, timeout: float | None = None) -> Any:
        """Return a value and leave it there; wait for one if there is none.

        Args:
            variable: Its name.
            timeout: Most seconds to wait; None waits for ever, 0 does not wait.

        Raises:
            WaitTimeoutError: No value came in time.
            NotFoundError: The workspace, or while waiting the variable, was deleted.
            ProducersGoneError: All its producers have ended, and there is no value.
        """
        key = self._key(variable)
        try:
            found = self._engine.read(core.find, self._bulk, key)
        except Overdue:
            found = self._read(core.find, self._bulk, key)
        if found is not None:
            return values.decode(found) if isinstance(found, bytes) else load(found)
        return self.loaded(self.wait(variable, core.FIND_ONE, timeout))

    def fetch(self, variable: str, *, timeout: float | None = None) -> Any:
        """Take a value; wait for one if there is none. Nobody else gets it.

        Those who wait are served in the order in which they came. A value that was handed to a
        process that dies before it has it goes back to its place; one that it had is gone with
        it: see `claim`. If the wait is cut short (time, Ctrl-C), nothing is taken.

        Args:
            variable: Its name.
            timeout: Most seconds to wait; None waits for ever, 0 does not wait.

        Raises:
            WaitTimeoutError: No value came in time.
            NotFoundError: The workspace, or while waiting the variable, was deleted.
            ProducersGoneError: All its producers have ended, and there is no value.
        """
        key = self._key(variable)
        taken = None
        if key not in self._dry:
            with contextlib.suppress(core.OutOfPins, Overdue):  # then the long way
                taken = self._engine.write(core.fetch, self._bulk, key)
        if taken is None:
            taken = self.wait(variable, core.FETCH_ONE, timeout)
        return self.loaded(taken, variable)

    def claim(self, variable: str, *, timeout: float | None = None) -> Claim:
        """Take a value to work on it: it returns to its place if the work is not done.

        ::

            with space.claim("task") as claim:
                work(claim.value)

        At the end of the block the value is gone. If the block raises, or the process dies,
        it is back where it was, for the next one who asks.

        Args:
            variable: Its name.
            timeout: As in `fetch`.

        Raises:
            WaitTimeoutError: No value came in time.
            NotFoundError: The workspace, or while waiting the variable, was deleted.
        """
        with self._claiming() as want:
            return self.claimed(variable, self.wait(variable, want, timeout))

    def try_claim(self, variable: str) -> Claim | None:
        """As `claim`; None if there is no value."""
        with self._claiming() as want:
            taken = self.take(variable, want)
            return None if taken is None else self.claimed(variable, taken)

    # Several variables.

    def fetch_any(
        self, variables: Iterable[str], *, timeout: float | None = None
    ) -> tuple[str, Any]:
        """Take a value of the first of several variables that has one; wait for one.

        Who waits stands in the line of each variable, and is served there in its turn.

        Args:
            variables: Their names; the first that has a value wins.
            timeout: As in `fetch`.

        Returns:
            The name of the variable, and the value.

        Raises:
            LimitError: No variable is named.
            WaitTimeoutError: No value came in time.
            NotFoundError: The workspace, or while waiting one of the variables, was deleted.
            ProducersGoneError: None of them has producers any more, nor a value.
        """
        names = self.names_of(variables)
        taken = self.wait(names, core.FETCH_ONE, timeout)
        name = self.name_of(names, taken)
        return name, self.loaded(taken, name)

    def try_fetch_any(self, variables: Iterable[str]) -> tuple[str, Any] | None:
        """As `fetch_any`; None if there is no value."""
        names = self.names_of(variables)
        taken = self.take(names, core.FETCH_ONE)
        if taken is None:
            return None
        name = self.name_of(names, taken)
        return name, self.loaded(taken, name)

    def claim_any(self, variables: Iterable[str], *, timeout: float | None = None) -> Claim:
        """Claim a value of the first of several variables that has one; see `claim`.

        The claim's `variable` says which it was.
        """
        names = self.names_of(variables)
        with self._claiming() as want:
            taken = self.wait(names, want, timeout)
            return self.claimed(self.name_of(names, taken), taken)

    def move(self, source: str, target: str, *, timeout: float | None = None) -> None:
        """Take the next value of a variable and store it in another, in one step.

        The value itself is not touched: a big one is not copied.

        Args:
            source: Where it is taken; waits for a value if there is none.
            target: Where it goes; waits for room if that is bounded and lets one wait.
            timeout: Most seconds to wait for both.

        Raises:
            WaitTimeoutError: No value, or no room, came in time.
            FullError: `target` is full, and refuses then.
        """
        deadline = Deadline(timeout)
        while True:
            seen_keys = [*self.room_bells(target), session_bell(self._engine.session.id)]
            seen = self._engine.listen(seen_keys)
            try:
                if self.try_move(source, target):
                    return
            except core.NoRoom:
                left = deadline.left()
                if left == 0:
                    raise self.had_no_room(target, deadline) from None
                self._engine.wait(seen_keys, seen, self.until_due(left))
                continue
            self.wait(source, core.FIND_ONE, deadline.left())

    def try_move(self, source: str, target: str) -> bool:
        """As `move`, without waiting for a value; tell whether there was one."""
        keys = self._key(source), self._key(target)
        is_moved = self._write(core.move, self._bulk, self._instance, *keys)
        if not is_moved:
            self._check_open()
        return is_moved

    # Producers.

    def producer(self, variable: str) -> Producer:
        """Say that this process is going to store values: `with space.producer("task"): …`.

        When the last producer of a variable has ended, or died, and no value is left, those who
        wait for one get a ProducersGoneError, and their iterators end. While there never was
        one, they wait.
        """
        return Producer(self._tier, self._instance, self.name, variable, self._key(variable))

    @contextlib.contextmanager
    def _claiming(self) -> Generator[Want]:
        """Give back what the block claims, if it is cut short: by Ctrl-C after the commit."""
        noted: list[core.Noted] = []
        with self._undoing(noted):
            yield core.CLAIM_ONE._replace(noted=noted)

    @contextlib.contextmanager
    def _undoing(self, noted: list[core.Noted]) -> Generator[None]:
        """Give back what the block notes as claimed, if it is cut short."""
        try:
            yield
        except BaseException:
            for claim in noted:
                session = self._engine.session.id
                self._engine.write(core.undo_claim, self._bulk, session, claim)
            raise

    # Iterators.

    def ifind(self, variable: str, *, timeout: float | None = None) -> Values:
        """Iterate over the values, oldest first, each once; wait for more at the end.

        Iteration ends when the variable is deleted. Values that others take meanwhile are
        passed over.

        Args:
            variable: Its name; fifo or single.
            timeout: Most seconds to wait for each value: then WaitTimeoutError.
        """
        return Values(self, variable, FIND, wait=True, timeout=timeout)

    def ifetch(self, variable: str, *, timeout: float | None = None) -> Values:
        """As `ifind`, taking the values."""
        return Values(self, variable, FETCH, wait=True, timeout=timeout)

    def ifind_try(self, variable: str) -> Values:
        """As `ifind`, ending where there is no further value."""
        return Values(self, variable, FIND, wait=False, timeout=None)

    def ifetch_try(self, variable: str) -> Values:
        """As `ifetch`, ending where there is no further value."""
        return Values(self, variable, FETCH, wait=False, timeout=None)

    # Variables.

    def declare(
        self,
        variable: str,
        mode: str | None = None,
        *,
        max_values: int | None = None,
        max_bytes: int | str | None = None,
        when_full: str | None = None,
        ttl: float | None = None,
        max_tries: int | None = None,
        failed: str | None = None,
    ) -> None:
        """Say how a variable behaves. What is left out stays as it is.

        Args:
            variable: Its name.
            mode: "fifo", "lifo", "multi" or "single"; once given, it stays.
            max_values: So many values at most; 0 for no bound.
            max_bytes: Values of so many bytes in all at most, in the catalog and outside; 0 for
                no bound. `"512M"` is fine too.
            when_full: What becomes of a value that has no room: "wait" (the default), "error",
                or "drop_oldest" to make room. Values that are given back always have room.
            ttl: Seconds after which a value is dropped, unless its store says otherwise; 0: never.
            max_tries: A value that was claimed so often and not done goes into the variable
                `failed`, with its reason; 0 for no bound.
            failed: The name of that variable; by default this one's with ".failed" behind.

        Raises:
            ConflictError: It has another mode.
            LimitError: There is no such mode, or a bound is negative.
        """
        number = UNKNOWN if mode is None else mode_number(mode)
        changes: dict[str, Any] = {}
        for field, bound in (("max_values", max_values), ("max_tries", max_tries)):
            if bound is not None:
                changes[field] = _check_bound(field, bound)
        if max_bytes is not None:
            changes["max_bytes"] = settings.parse_size(max_bytes, "max_bytes")
        if when_full is not None:
            if when_full not in WHEN_FULL:
                raise LimitError(
                    f"when_full is {when_full!r}", f"it is one of {', '.join(WHEN_FULL)}"
                )
            changes["when_full"] = WHEN_FULL.index(when_full)
        if ttl is not None:
            changes["ttl_s"] = _checked_ttl(ttl)
        if failed is not None:
            changes["failed"] = values.check_name(failed, "variable name")
        self._engine.write(workspaces.declare, self._instance, self._key(variable), number, changes)

    def peek(self, variable: str, *, limit: int = 10) -> list[ValueInfo]:
        """Return what can be said of the oldest values without taking or loading them."""
        self._tier.notice_dead()
        return self._read(workspaces.list_values, self._key(variable), limit)

    def remove(self, variable: str, index: int) -> bool:
        """Remove one value, whichever is next; tell whether it was still there.

        Args:
            variable: Its name.
            index: The value's, as `peek` tells it.

        Raises:
            TypeMismatchError: It is no whole number.
        """
        if isinstance(index, bool) or not isinstance(index, int):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeMismatchError(f"index is {index!r}, a {type(index).__name__}", "give an int")
        if abs(index) >= 1 << 63:
            return False  # no value ever had it
        return self._write(core.remove, self._bulk, self._key(variable), index)

    def lost(self, variable: str, indexes: Iterable[int]) -> list[int]:
        """Return which of some values are gone: neither shown, nor claimed, nor held back.

        Raises:
            NotFoundError: The workspace was deleted.
        """
        self._check_open()
        return self._engine.read(core.lost, self._key(variable), list(indexes))

    def claims(self, variable: str | None = None) -> list[ClaimInfo]:
        """Return who works on which value, of one variable or of all."""
        key = None if variable is None else self._key(variable)
        self._tier.notice_dead()
        return self._engine.read(workspaces.list_claims, self._instance, key)

    def waiters(self, variable: str | None = None) -> list[WaiterInfo]:
        """Return who waits for a value, of one variable or of all, by arrival."""
        key = None if variable is None else self._key(variable)
        self._tier.notice_dead()
        return self._engine.read(workspaces.list_waiters, self._instance, key)

    def mention(self, variable: str) -> None:
        """Note that there is a variable of this name, of a mode that is yet unknown."""
        if not self.id_of(variable):
            self._engine.write(workspaces.mention, self._instance, self._key(variable))

    def id_of(self, variable: str) -> int:
        """Return what tells a variable from another of its name, before or after; 0 if none."""
        return self._engine.read(core.id_of, self._key(variable))

    def delete(self, variable: str) -> bool:
        """Delete a variable and its values; tell whether it was there.

        Those who wait for it get a NotFoundError, their iterators end.
        """
        was_there = self._engine.write(workspaces.delete_variable, self._key(variable))
        self._sweep()
        return was_there

    def variables(self) -> list[VariableInfo]:
        """Return the variables by name, with how many values and waiters they have.

        Raises:
            NotFoundError: The workspace was deleted.
        """
        self._tier.notice_dead()
        self.until_due(0)
        found = self._engine.read(workspaces.list_variables, self._instance)
        if not found:
            self._check_open()
        return found

    # Inside.

    def _key(self, variable: str) -> bytes:
        key = self._keys.get(variable) if isinstance(variable, str) else None  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        if key is None:
            key = workspaces.variable_key(
                self._instance, values.check_name(variable, "variable name")
            )
            if len(self._keys) >= _KEYS_MAX:
                self._keys.clear()
                self._dry.clear()
            self._keys[variable] = key
        return key

    def take(self, variable: str | tuple[str, ...], want: Want) -> Taken | None:
        """Find or fetch a value without waiting; None if there is none."""
        run = self._read if want.kind == FIND else self._write
        session = self._engine.session.id
        keys = self._all_keys(variable)
        try:
            if len(keys) == 1:
                taken = run(core.take, self._bulk, keys[0], want, session)
            else:
                taken = run(core.take_any, self._bulk, keys, want, session)
        except core.OutOfPins:
            taken = self._take_copy(keys, want)
        if taken is None:
            self._check_open()
        return taken

    def _all_keys(self, variable: str | tuple[str, ...]) -> list[bytes]:
        if isinstance(variable, tuple):
            return [self._key(name) for name in variable]
        return [self._key(variable)]

    def names_of(self, variables: Iterable[str]) -> tuple[str, ...]:
        """Return the names of several variables, each once.

        Raises:
            LimitError: There is none.
        """
        if isinstance(variables, str):
            raise TypeMismatchError(f"variables is {variables!r}", "give a list of names")
        names = tuple(dict.fromkeys(variables))
        if not names:
            raise LimitError("no variable is named", "name one at least")
        return names

    def name_of(self, names: tuple[str, ...], taken: Taken) -> str:
        """Return which of several variables a value was taken from."""
        if len(names) == 1:
            return names[0]
        return next(name for name in names if self._key(name) == taken.key)

    def _take_copy(self, keys: list[bytes], want: Want) -> Taken | None:
        """Take a value that cannot be pinned: claim it, copy its bytes, let go of it.

        Nobody else waits while they are copied.
        """
        noted = [] if want.noted is None else want.noted
        held = want._replace(claim=True, noted=noted, opened=False)
        session = self._engine.session.id
        with self._undoing(noted):
            while True:
                taken = self._write(core.take_any, self._bulk, keys, held, session)
                if taken is None:
                    return None
                found = self._engine.read(core.open_claim, self._bulk, taken.id, taken.index)
                if found is None or not want.claim:
                    self.end_claim(taken, core.DONE)
                if found is not None:  # else the variable was deleted just now
                    return taken._replace(found=found)

    def _check_open(self) -> None:
        """Nothing was found: say so if that is because the workspace was deleted.

        What the dead had taken is there again soon, also for those who only try, in turns.
        """
        self._tier.notice_dead()
        if not self._engine.read(workspaces.exists, self._instance):
            raise NotFoundError(
                f"the workspace {self.name!r} was deleted, or its owner ended",
                "open it again with depot.space(name)",
            )

    def _sweep(self) -> None:
        while self._engine.write(workspaces.sweep, self._bulk):
            pass

    def loaded(self, taken: Taken, variable: str | None = None) -> Any:
        """Return the value of what was taken; put it back if it cannot be loaded here.

        Args:
            taken: What was found, or taken out.
            variable: Where it was taken out of, or None if it is still there.
        """
        try:
            return load(taken.found)
        except BaseException:  # also an interrupted load loses nothing
            if variable is not None:
                self.restore(variable, taken)
            raise

    def restore(self, variable: str, taken: Taken) -> None:
        """Put back what was taken out."""
        key = self._key(variable)
        record, view = taken.found
        if view is None:
            self._engine.write(
                core.put_back, self._bulk, key, taken.id, taken.index, record, taken.about
            )
            return
        with self._bulk.draft([view]) as draft:
            self._engine.write(core.put_back_draft, self._bulk, key, taken, draft)

    def end_claim(self, taken: Taken, ending: core.Ending) -> None:
        """End the claim of what was taken, where there is no `Claim` of it."""
        session = self._engine.session.id
        self._engine.write(core.end_claim, self._bulk, session, taken.id, taken.index, ending)

    def claimed(self, variable: str, taken: Taken) -> Claim:
        """Return the claim of what was taken; give it back if it cannot be loaded here."""
        session = self._engine.session.id
        try:
            return Claim(self._tier, variable, session, taken, self._key)
        except BaseException:
            self.end_claim(taken, core.UNDONE)
            raise

    def wait(self, variable: str | tuple[str, ...], want: Want, timeout: float | None) -> Taken:
        """Take a value of a variable, or of one of several; or wait for one.

        Raises:
            WaitTimeoutError: No value came in time.
            NotFoundError: The variable was deleted.
            ProducersGoneError: It has no producers any more, and no value.
        """
        deadline = Deadline(timeout)
        engine = self._engine
        if deadline.timeout == 0:
            taken = self.take(variable, want)
            if taken is None:
                raise self.came_too_late(variable, deadline)
            return taken
        if not want.in_order and isinstance(variable, str):
            # Two processes that answer each other need no line, no mail and no sleep; nor a write
            # in vain, that gets into the other's way, where the last fetch had to look too.
            key = self._key(variable)
            looks = 0
            # A partner who answered soon the last time is worth a longer look than one who sleeps.
            most = settings.LOOK_COUNT_BRISK if self._is_brisk else settings.LOOK_COUNT
            while looks < most and not engine.read(core.has_value, key):
                looks += 1
                if not looks % settings.LOOKS_PER_YIELD:
                    os.sched_yield()  # the one who will store may need this very processor
            if looks:
                self._dry.add(key)
            else:
                self._dry.discard(key)
        waiter = self.new_waiter()
        bells = [session_bell(waiter.session), DUE_BELL]
        began_s = time.monotonic()
        try:
            taken = self.join_line(variable, want, waiter)
            if isinstance(taken, Taken):
                return taken
            while True:
                seen = engine.listen(bells)
                seconds = self.until_due(deadline.left())
                if engine.read(core.has_mail, waiter) or deadline.left() == 0:
                    break
                engine.wait(bells, seen, seconds)
            self._is_brisk = time.monotonic() - began_s < settings.BRISK_S
            return self.leave_line(variable, want, waiter, deadline)
        except BaseException:
            self.cancel_wait(waiter)
            raise

    # The steps of a wait, for this class and its async twin.

    def new_waiter(self) -> Waiter:
        """Return who will wait: known before, so that the wait can be undone at any moment."""
        return Waiter(self._engine.session.id, next(_waiter_numbers))

    def join_line(
        self, variable: str | tuple[str, ...], want: Want, waiter: Waiter | None = None
    ) -> Taken | Waiter:
        """Take a value if there is one; else join the line of those who wait.

        Raises:
            ProducersGoneError: There will never be one.
        """
        waiter = self.new_waiter() if waiter is None else waiter
        keys = self._all_keys(variable)
        while True:
            try:
                taken = self._write(
                    core.take_or_wait, self._bulk, self._instance, keys, want, waiter
                )
            except core.OutOfPins:
                taken = self._take_copy(keys, want)
                if taken is None:
                    continue  # somebody else was quicker
            break
        if isinstance(taken, News):
            raise self.told(variable, taken)
        if failpoints.ARMED:
            failpoints.hit("spaces.waiting")
        return waiter if taken is None else taken

    def leave_line(
        self, variable: str | tuple[str, ...], want: Want, waiter: Waiter, deadline: Deadline
    ) -> Taken:
        """Take what was given, or leave the line.

        Raises:
            WaitTimeoutError: Nothing was given.
            NotFoundError: The variable was deleted.
            ProducersGoneError: It has no producers any more, and no value.
        """
        try:
            taken = self._engine.write(core.collect, self._bulk, want, waiter)
        except core.OutOfPins:
            found = self._engine.read(core.open_mail, self._bulk, waiter)
            unopened = want._replace(opened=False)
            taken = self._engine.write(core.collect, self._bulk, unopened, waiter)
            if isinstance(taken, Taken):
                taken = taken._replace(found=found)
        if taken is None:
            raise self.came_too_late(variable, deadline)
        if isinstance(taken, News):
            raise self.told(variable, taken)
        return taken

    def told(self, variable: str | tuple[str, ...], news: News) -> EntrepotError:
        """Return the error for a wait that ended with news."""
        where = self._where(variable)
        if news is News.NO_PRODUCER:
            return ProducersGoneError(f"{where} has no value, and all its producers have ended")
        return NotFoundError(f"{where} was deleted while somebody waited for it")

    def came_too_late(
        self, variable: str | tuple[str, ...], deadline: Deadline
    ) -> WaitTimeoutError:
        """Return the error for a wait whose time is over."""
        return WaitTimeoutError(
            f"no value came into {self._where(variable)} within {deadline.timeout} seconds"
        )

    def _where(self, variable: str | tuple[str, ...]) -> str:
        return f"{self.name}/{variable if isinstance(variable, str) else '|'.join(variable)}"

    def cancel_wait(self, waiter: Waiter) -> None:
        """Leave the line, if the wait has not ended: what was given goes back."""
        self._engine.write(core.cancel_wait, self._bulk, waiter)


def _check_bound(what: str, bound: object) -> int:
    if isinstance(bound, bool) or not isinstance(bound, int):
        raise TypeMismatchError(f"{what} is {bound!r}, a {type(bound).__name__}", "give an int")
    if bound < 0:
        raise LimitError(f"{what} is {bound}, it must be 0 or more")
    return bound


def _checked_ttl(ttl: float) -> float:
    """Return for how many seconds a value is kept; 0 for ever."""
    seconds = Deadline(ttl).timeout or 0.0
    if seconds > settings.SECONDS_MAX and not math.isinf(seconds):
        raise LimitError(
            f"ttl is {seconds} seconds, at most {settings.SECONDS_MAX} are allowed", "0 is for ever"
        )
    return 0.0 if math.isinf(seconds) else seconds
