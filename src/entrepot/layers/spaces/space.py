"""A workspace as a program uses it."""

from __future__ import annotations

import contextlib
import itertools
import warnings
import weakref
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Any

from entrepot import settings
from entrepot.arena.bulk import Bulk, Draft
from entrepot.engine import failpoints
from entrepot.engine.protocol import Engine
from entrepot.errors import (
    ClosedError,
    ConflictError,
    NotFoundError,
    WaitTimeoutError,
)
from entrepot.layers import values
from entrepot.layers.spaces import core, workspaces
from entrepot.layers.spaces.core import Ended, Position, Taken, Waiter, Want
from entrepot.layers.spaces.records import FETCH, FIND, mode_number, session_bell
from entrepot.layers.spaces.workspaces import VariableInfo
from entrepot.layers.tier import Tier, load
from entrepot.waiting import Deadline

__all__ = ["Claim", "Space", "Values"]

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

    def store(self, variable: str, value: object) -> None:
        """Store a value. Whoever waits for one gets it in the same step.

        Raises:
            NotFoundError: The workspace was deleted.
            TypeMismatchError: The value cannot be pickled, or `variable` is not a string.
            OutOfMemoryError: The depot is full.

        Cost: one write transaction; a value over about 128 kB one more.
        """
        self.store_record(variable, values.encode(value))

    def store_record(self, variable: str, record: bytes | values.Encoded) -> None:
        """Store what a value was encoded to; see `entrepot.layers.values`."""
        try:
            key = self._keys[variable]
        except (KeyError, TypeError):
            key = self._key(variable)
        if type(record) is bytes:
            self._engine.write(core.store, self._bulk, self._instance, key, record)
        else:
            assert isinstance(record, values.Encoded)
            with self._bulk.draft(record.buffers) as draft:
                self._engine.write(core.store, self._bulk, self._instance, key, (record, draft))

    def store_draft(self, variable: str, encoded: values.Encoded, draft: Draft) -> None:
        """Store a value whose bytes were written into a draft of `bulk`."""
        key = self._key(variable)
        self._engine.write(core.store, self._bulk, self._instance, key, (encoded, draft))

    def try_find(self, variable: str, default: Any = None) -> Any:
        """Return a value and leave it there; `default` if there is none.

        Cost: one read transaction.
        """
        try:
            key = self._keys[variable]
        except (KeyError, TypeError):
            key = self._key(variable)
        found = self._engine.read(core.find, self._bulk, key)
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
        except core.OutOfPins:
            taken = self._take_copy(key, core.FETCH_ONE)
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
        """
        key = self._key(variable)
        found = self._engine.read(core.find, self._bulk, key)
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
        """
        key = self._key(variable)
        taken = None
        if key not in self._dry:
            with contextlib.suppress(core.OutOfPins):  # then the long way
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

    def declare(self, variable: str, mode: str) -> None:
        """Give a variable its mode: "fifo", "lifo", "multi" or "single".

        Raises:
            ConflictError: It has another mode.
            LimitError: There is no such mode.
        """
        number = mode_number(mode)
        self._engine.write(workspaces.declare, self._instance, self._key(variable), number)

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

    def take(self, variable: str, want: Want) -> Taken | None:
        """Find or fetch a value without waiting; None if there is none."""
        run = self._engine.read if want.kind == FIND else self._engine.write
        key = self._key(variable)
        try:
            taken = run(core.take, self._bulk, key, want, self._engine.session.id)
        except core.OutOfPins:
            taken = self._take_copy(key, want)
        if taken is None:
            self._check_open()
        return taken

    def _take_copy(self, key: bytes, want: Want) -> Taken | None:
        """Take a value that cannot be pinned: claim it, copy its bytes, let go of it.

        Nobody else waits while they are copied.
        """
        noted = [] if want.noted is None else want.noted
        held = want._replace(claim=True, noted=noted, opened=False)
        session = self._engine.session.id
        with self._undoing(noted):
            while True:
                taken = self._engine.write(core.take, self._bulk, key, held, session)
                if taken is None:
                    return None
                found = self._engine.read(core.open_claim, self._bulk, taken.id, taken.index)
                if found is None or not want.claim:
                    self.end_claim(taken, done=True)
                if found is not None:  # else the variable was deleted just now
                    return taken._replace(found=found)

    def _check_open(self) -> None:
        """Nothing was found: say so if that is because the workspace was deleted."""
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
            self._engine.write(core.put_back, self._bulk, key, taken.id, taken.index, record)
            return
        with self._bulk.draft([view]) as draft:
            self._engine.write(core.put_back_draft, self._bulk, key, taken, draft)

    def end_claim(self, taken: Taken, *, done: bool) -> None:
        """End the claim of what was taken, where there is no `Claim` of it."""
        session = self._engine.session.id
        self._engine.write(core.end_claim, self._bulk, session, taken.id, taken.index, done)

    def claimed(self, variable: str, taken: Taken) -> Claim:
        """Return the claim of what was taken; give it back if it cannot be loaded here."""
        session = self._engine.session.id
        try:
            return Claim(self._tier, variable, session, taken)
        except BaseException:
            self.end_claim(taken, done=False)
            raise

    def wait(self, variable: str, want: Want, timeout: float | None) -> Taken:
        """Take a value, or wait for one.

        Raises:
            WaitTimeoutError: No value came in time.
            NotFoundError: The variable was deleted.
        """
        deadline = Deadline(timeout)
        engine = self._engine
        key = self._key(variable)
        if deadline.timeout == 0:
            taken = self.take(variable, want)
            if taken is None:
                raise self.came_too_late(variable, deadline)
            return taken
        if not want.in_order:
            # Two processes that answer each other need no line, no mail and no sleep; nor a write
            # in vain, that gets into the other's way, where the last fetch had to look too.
            looks = 0
            while looks < settings.LOOK_COUNT and not engine.read(core.has_value, key):
                looks += 1
            if looks:
                self._dry.add(key)
            else:
                self._dry.discard(key)
        waiter = self.new_waiter()
        bells = [session_bell(waiter.session)]
        try:
            taken = self.join_line(variable, want, waiter)
            if isinstance(taken, Taken):
                return taken
            while True:
                seen = engine.listen(bells)
                if engine.read(core.has_mail, waiter) or deadline.left() == 0:
                    break
                engine.wait(bells, seen, deadline.left())
            return self.leave_line(variable, want, waiter, deadline)
        except BaseException:
            self.cancel_wait(waiter)
            raise

    # The steps of a wait, for this class and its async twin.

    def new_waiter(self) -> Waiter:
        """Return who will wait: known before, so that the wait can be undone at any moment."""
        return Waiter(self._engine.session.id, next(_waiter_numbers))

    def join_line(self, variable: str, want: Want, waiter: Waiter | None = None) -> Taken | Waiter:
        """Take a value if there is one; else join the line of those who wait."""
        waiter = self.new_waiter() if waiter is None else waiter
        key = self._key(variable)
        while True:
            try:
                taken = self._engine.write(
                    core.take_or_wait, self._bulk, self._instance, key, want, waiter
                )
            except core.OutOfPins:
                taken = self._take_copy(key, want)
                if taken is None:
                    continue  # somebody else was quicker
            break
        if failpoints.ARMED:
            failpoints.hit("spaces.waiting")
        return waiter if taken is None else taken

    def leave_line(self, variable: str, want: Want, waiter: Waiter, deadline: Deadline) -> Taken:
        """Take what was given, or leave the line.

        Raises:
            WaitTimeoutError: Nothing was given.
            NotFoundError: The variable was deleted.
        """
        try:
            taken = self._engine.write(core.collect, self._bulk, want, waiter)
        except core.OutOfPins:
            found = self._engine.read(core.open_mail, self._bulk, waiter)
            unopened = want._replace(opened=False)
            taken = self._engine.write(core.collect, self._bulk, unopened, waiter)
            if taken:
                taken = taken._replace(found=found)
        if taken is None:
            raise self.came_too_late(variable, deadline)
        if taken is False:
            raise NotFoundError(f"{self.name}/{variable} was deleted while somebody waited for it")
        return taken

    def came_too_late(self, variable: str, deadline: Deadline) -> WaitTimeoutError:
        """Return the error for a wait whose time is over."""
        return WaitTimeoutError(
            f"no value came into {self.name}/{variable} within {deadline.timeout} seconds"
        )

    def cancel_wait(self, waiter: Waiter) -> None:
        """Leave the line, if the wait has not ended: what was given goes back."""
        self._engine.write(core.cancel_wait, self._bulk, waiter)


class Claim:
    """A value that this process works on. See `Space.claim`."""

    value: Any
    index: int
    """The value's index in its variable: 0 for the first that was ever stored."""

    def __init__(self, tier: Tier, variable: str, session: int, taken: Taken) -> None:
        self.variable = variable
        self.index = taken.index
        self.value = load(taken.found)
        self._tier = tier
        self._session = session
        self._id = taken.id
        self._ended = False
        # Not __del__: a Ctrl-C that comes inside a finalizer is lost, and this one would run at the
        # end of each claim. This runs at the end of those only that were dropped.
        self._ref: Any = weakref.ref(self, _warn_of_dropped)
        _open_claims[self._ref] = f"{variable}[{taken.index}]"

    def done(self) -> None:
        """Say that the work is done: the value is gone for good.

        Raises:
            ClosedError: The claim has ended, or belongs to the parent of this process.
            ConflictError: It was given back meanwhile: the depot was closed here.
        """
        self._end(done=True)

    def release(self) -> None:
        """Give the value back to its place.

        Raises:
            ClosedError: The claim has ended, or belongs to the parent of this process.
        """
        self._end(done=False)

    def _end(self, *, done: bool) -> None:
        if self._ended:
            raise ClosedError(f"the claim of {self.variable}[{self.index}] has ended")
        engine = self._tier.engine
        if engine.session.id != self._session:
            raise ClosedError(
                f"the claim of {self.variable}[{self.index}] belongs to another process",
                "claim in the process that does the work",
            )
        was_held = engine.write(
            core.end_claim, self._tier.bulk, self._session, self._id, self.index, done
        )
        self._ended = True
        _open_claims.pop(self._ref, None)
        self._ref = None
        if done and not was_held:
            raise ConflictError(
                f"the claim of {self.variable}[{self.index}] was given back meanwhile",
                "the depot was closed here; somebody else may do the work again",
            )

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._ended:
            self._end(done=kind is None)


_open_claims: dict[weakref.ref[Any], str] = {}
"""Claims that have not ended, and what they are of."""


def _warn_of_dropped(ref: weakref.ref[Any]) -> None:
    """Warn of a claim that nobody can end any more: the process's end gives it back."""
    name = _open_claims.pop(ref, None)
    if name is not None:
        warnings.warn(
            f"the claim of {name} was dropped: end it, or use 'with'", ResourceWarning, stacklevel=2
        )


class Values(Iterator[Any]):
    """An iterator over the values of a variable, which repeats none.

    After its end it stays ended until `restart` (go on behind the last value) or `reset`
    (begin anew).
    """

    def __init__(
        self, space: Space, variable: str, kind: int, *, wait: bool, timeout: float | None
    ) -> None:
        self.variable = values.check_name(variable, "variable name")
        self.waits = wait
        self.timeout = timeout
        self.has_ended = False
        self._space = space
        self._kind = kind
        self._after: Position | None = None

    def __iter__(self) -> Values:
        return self

    def __next__(self) -> Any:
        while not self.has_ended:
            taken = self._next()
            if taken is None:
                self.end()
            elif self.is_new(taken):
                return self.accept(taken)
        raise StopIteration

    def _next(self) -> Taken | None:
        space, want = self._space, self.want()
        try:
            if self.waits:
                return space.wait(self.variable, want, self.timeout)
            return space.take(self.variable, want)
        except (Ended, NotFoundError):
            return None

    # The steps of an iteration, for this class and its async twin.

    def want(self) -> Want:
        """Return what the next step asks for."""
        return Want(self._kind, in_order=True, after=self._after)

    def is_new(self, taken: Taken) -> bool:
        """Tell whether a value was not seen before: one that was given back may have been."""
        after = self._after
        return self._kind == FETCH or after is None or taken.index > after.index

    def accept(self, taken: Taken) -> Any:
        """Step over a value and return it."""
        value = self._space.loaded(taken, self.variable if self._kind == FETCH else None)
        self._after = Position(taken.id, taken.index)
        return value

    def end(self) -> None:
        """Note that the end was reached."""
        self.has_ended = True

    def restart(self) -> None:
        """Go on behind the last value, after the end was reached."""
        self.has_ended = False

    def reset(self) -> None:
        """Begin anew: with the oldest value that is there then."""
        self._after = None
        self.has_ended = False
