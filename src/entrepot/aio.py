"""The same API, awaited.

What a depot does takes microseconds, so it is done at once, on the event loop; what takes
longer is not: waits sleep without a thread each, and what goes to a disk, or copies much,
runs in a worker thread.

::

    async with await entrepot.aio.open() as depot:
        jobs = await depot.space("jobs")
        task = await jobs.fetch("task")
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from entrepot import depot as depots
from entrepot.aio_data import (
    AsyncConsumer,
    AsyncContainer,
    AsyncLines,
    AsyncObjectReader,
    AsyncStream,
    AsyncTable,
    AsyncTableBatch,
)
from entrepot.depot import Collected, Depot, DepotStatistics, Diagnosis, SessionInfo
from entrepot.errors import EntrepotError, NotFoundError, ProducersGoneError, WaitTimeoutError
from entrepot.layers.objects import ObjectId, ObjectInfo, Objects, Usage
from entrepot.layers.spaces import (
    Claim,
    ClaimInfo,
    Producer,
    Space,
    SpaceInfo,
    ValueInfo,
    Values,
    VariableInfo,
    WaiterInfo,
    core,
)
from entrepot.layers.spaces.core import Ended, Taken, Waiter, Want
from entrepot.layers.spaces.mailroom import Mailroom
from entrepot.layers.spaces.records import FETCH, FIND
from entrepot.layers.survey import DirectoryInfo
from entrepot.threads import in_thread
from entrepot.waiting import Deadline

__all__ = [
    "AsyncClaim",
    "AsyncConsumer",
    "AsyncContainer",
    "AsyncDepot",
    "AsyncLines",
    "AsyncObjectReader",
    "AsyncObjects",
    "AsyncProducer",
    "AsyncSpace",
    "AsyncStream",
    "AsyncTable",
    "AsyncTableBatch",
    "AsyncValues",
    "open",
    "temporary",
]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_LARGE_BYTES: Final = 1 << 20


async def open(
    name: str | None = None,
    *,
    memory: int | str | None = None,
    directory: str | os.PathLike[str] | None = None,
    data_directory: str | os.PathLike[str] | None = None,
) -> AsyncDepot:
    """Open a depot; see `entrepot.open`."""
    found = await in_thread(
        lambda: depots.open(
            name, memory=memory, directory=directory, data_directory=data_directory
        ),
        Depot.close,
    )
    return AsyncDepot(found)


@contextlib.asynccontextmanager
async def temporary(*, memory: int | str | None = None) -> AsyncGenerator[AsyncDepot]:
    """Make a depot of its own for the block; see `entrepot.temporary`."""
    manager = depots.temporary(memory=memory)

    def end(*_: object) -> None:
        manager.__exit__(None, None, None)

    made = await in_thread(manager.__enter__, end)
    try:
        yield AsyncDepot(made)
    finally:
        await asyncio.shield(asyncio.to_thread(end))


class AsyncDepot:
    """A depot whose methods are awaited; see `entrepot.Depot`."""

    objects: AsyncObjects

    def __init__(self, depot: Depot) -> None:
        self.sync = depot
        """The depot itself."""
        self.name = depot.name
        self.path = depot.path
        self.data_path = depot.data_path
        self.objects = AsyncObjects(depot.objects)
        self._mailrooms: weakref.WeakKeyDictionary[Any, dict[str, Mailroom]]
        self._mailrooms = weakref.WeakKeyDictionary()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.sync.closed

    async def space(
        self,
        name: str = "default",
        *,
        owned: bool = False,
        persistent: bool = False,
        create: bool = True,
    ) -> AsyncSpace:
        """Open a workspace; see `Depot.space`."""
        space = await asyncio.to_thread(
            self.sync.space, name, owned=owned, persistent=persistent, create=create
        )
        return AsyncSpace(space, self._mailroom(space))

    def _mailroom(self, space: Space) -> Mailroom:
        """Return the mailroom of a space's engine on the running event loop."""
        of_loop = self._mailrooms.setdefault(asyncio.get_running_loop(), {})
        return of_loop.setdefault(space.engine.name, Mailroom(space.engine, space.bulk))

    async def spaces(self) -> list[SpaceInfo]:
        """Return the workspaces, by name."""
        return await asyncio.to_thread(self.sync.spaces)

    async def delete_space(self, name: str) -> None:
        """Delete a workspace; see `Depot.delete_space`."""
        await asyncio.to_thread(self.sync.delete_space, name)

    async def lines(
        self,
        name: str = "default",
        *,
        persistent: bool = False,
        max_lines: int | None = None,
        max_bytes: int | None = None,
        max_age: float | None = None,
    ) -> AsyncLines:
        """Return a buffer of lines; see `Depot.lines`."""
        found = await asyncio.to_thread(
            self.sync.lines,
            name,
            persistent=persistent,
            max_lines=max_lines,
            max_bytes=max_bytes,
            max_age=max_age,
        )
        return AsyncLines(found)

    async def list_lines(self) -> list[str]:
        """Return the names of the buffers of lines."""
        return await asyncio.to_thread(self.sync.list_lines)

    async def table(self, path: str) -> AsyncTable:
        """Return a table; see `Depot.table`."""
        return AsyncTable(await asyncio.to_thread(self.sync.table, path))

    async def stream(
        self, path: str, *, shards: int | None = None, retention: float | timedelta | None = None
    ) -> AsyncStream:
        """Return a stream; see `Depot.stream`."""
        found = await asyncio.to_thread(self.sync.stream, path, shards=shards, retention=retention)
        return AsyncStream(found)

    async def container(self, name: str) -> AsyncContainer:
        """Return a container; see `Depot.container`."""
        return AsyncContainer(await asyncio.to_thread(self.sync.container, name))

    async def containers(self) -> list[str]:
        """Return the names of the containers."""
        return await asyncio.to_thread(self.sync.containers)

    async def directories(
        self, container: str | None = None, *, limit: int | None = None
    ) -> list[DirectoryInfo]:
        """Return the directories that have entries, tables and streams among them, by path."""
        return await asyncio.to_thread(self.sync.directories, container, limit=limit)

    async def create_container(self, name: str, *, exist_ok: bool = False) -> AsyncContainer:
        """Make a container; see `Depot.create_container`."""
        made = await asyncio.to_thread(self.sync.create_container, name, exist_ok=exist_ok)
        return AsyncContainer(made)

    async def delete_container(self, name: str) -> None:
        """Delete a container with all that is in it."""
        await asyncio.to_thread(self.sync.delete_container, name)

    async def statistics(self) -> DepotStatistics:
        """Return how full the depot is."""
        return await asyncio.to_thread(self.sync.statistics)

    async def sessions(self) -> list[SessionInfo]:
        """Return the processes that use the depot."""
        return await asyncio.to_thread(self.sync.sessions)

    async def collect(self, *, trim: bool = False) -> Collected:
        """Give back what dead processes held and what was deleted."""
        return await asyncio.to_thread(self.sync.collect, trim=trim)

    async def check(self) -> list[str]:
        """Walk through everything and return what is wrong."""
        return await asyncio.to_thread(self.sync.check)

    async def diagnose(self) -> Diagnosis:
        """Return what keeps the depot from working well."""
        return await asyncio.to_thread(self.sync.diagnose)

    async def close(self) -> None:
        """Let go of the depot; see `Depot.close`."""
        await asyncio.to_thread(self.sync.close)

    async def destroy(self) -> None:
        """Remove the depot with all it holds."""
        await asyncio.to_thread(self.sync.destroy)

    async def __aenter__(self) -> AsyncDepot:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncObjects:
    """The objects of a depot; see `entrepot.Objects`."""

    def __init__(self, objects: Objects) -> None:
        self._sync = objects

    async def put(self, value: object, *, name: str | None = None) -> ObjectId:
        """Store a value; a large one in a worker thread."""
        if _is_large(value):
            return await asyncio.to_thread(self._sync.put, value, name=name)
        return self._sync.put(value, name=name)

    async def put_many(self, many: Iterable[object]) -> list[ObjectId]:
        """Store several values: all or none."""
        return await asyncio.to_thread(self._sync.put_many, many)

    async def create(
        self,
        fields: Mapping[str, Any],
        members: Mapping[str, int],
        *,
        typename: str = "entrepot::Tree",
        name: str | None = None,
    ) -> ObjectId:
        """Store an object made of plain fields and of other objects."""
        return self._sync.create(fields, members, typename=typename, name=name)

    async def get(
        self,
        id: int | None = None,
        *,
        name: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Return the value of an object, by its id or its name."""
        if id is None and name is not None:
            id = await self._sync.get_name_async(name, wait=wait, timeout=timeout)
        return self._sync.get(id)

    async def get_many(self, ids: Iterable[int]) -> list[Any]:
        """Return the values of several objects, as they were at one moment."""
        return await asyncio.to_thread(self._sync.get_many, ids)

    async def meta(self, id: int) -> dict[str, Any]:
        """Return what is known of an object without loading it."""
        return self._sync.meta(id)

    async def exists(self, id: int) -> bool:
        """Tell whether there is such an object."""
        return self._sync.exists(id)

    async def delete(
        self, ids: int | Iterable[int], *, deep: bool = True, force: bool = False
    ) -> int:
        """Delete one object or several; return how many are gone."""
        if isinstance(ids, Iterable):
            return await asyncio.to_thread(self._sync.delete, ids, deep=deep, force=force)
        return self._sync.delete(ids, deep=deep, force=force)

    async def list(
        self, pattern: str = "*", *, regex: bool = False, limit: int | None = None
    ) -> list[ObjectInfo]:
        """Return objects whose type name matches, oldest first."""
        return await asyncio.to_thread(self._sync.list, pattern, regex=regex, limit=limit)

    async def count(self) -> int:
        """Return how many objects there are."""
        return await asyncio.to_thread(self._sync.count)

    async def check(self) -> list[str]:  # pyright: ignore[reportInvalidTypeForm] `list` is the method above
        """Return what is wrong."""
        return await asyncio.to_thread(self._sync.check)

    async def size(self, id: int) -> int:
        """Return the size of an object in bytes, with all that it is made of."""
        return self._sync.size(id)

    async def usage(self, id: int) -> Usage:
        """Return who uses an object."""
        return self._sync.usage(id)

    async def put_name(self, name: str, id: int) -> None:
        """Give an object a name."""
        self._sync.put_name(name, id)

    async def get_name(
        self, name: str, *, wait: bool = False, timeout: float | None = None
    ) -> ObjectId:
        """Return the id that a name stands for; with `wait`, wait until somebody gives it."""
        return await self._sync.get_name_async(name, wait=wait, timeout=timeout)

    async def drop_name(self, name: str) -> bool:
        """Forget a name; the object stays."""
        return self._sync.drop_name(name)

    async def names(
        self, pattern: str = "*", *, regex: bool = False, limit: int | None = None
    ) -> dict[str, ObjectId]:
        """Return names that match, with their ids, by name."""
        return await asyncio.to_thread(self._sync.names, pattern, regex=regex, limit=limit)


async def _arrival(mailroom: Mailroom, waiter: Waiter, timeout: float | None) -> None:
    """Wait until there is mail for `waiter`, or `timeout` seconds passed."""
    arrived = asyncio.get_running_loop().create_future()

    def tell(error: EntrepotError | None) -> None:
        if not arrived.done():
            arrived.set_result(error)

    mailroom.expect(waiter, tell)
    try:
        done, _ = await asyncio.wait([arrived], timeout=timeout)
        for future in done:
            error = future.result()
            if error is not None:
                raise error
    finally:
        mailroom.forget(waiter)


class AsyncSpace:
    """A workspace whose methods are awaited; see `entrepot.Space`."""

    def __init__(self, space: Space, mailroom: Mailroom) -> None:
        self.sync = space
        """The space itself."""
        self.name = space.name
        self.persistent = space.persistent
        self._mailroom = mailroom

    async def _run(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Do what may wait for a disk in a thread, the rest at once."""
        if self.persistent:
            return await asyncio.to_thread(fn, *args, **kwargs)
        return fn(*args, **kwargs)

    async def store(
        self,
        variable: str,
        value: object,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> None:
        """Store a value; see `Space.store`. A cancelled wait for room stores nothing."""
        space, deadline = self.sync, Deadline(timeout)
        is_slow = self.persistent or _is_large(value)
        while True:
            bells = space.room_bells(variable)
            seen = space.engine.listen(bells)
            try:
                if is_slow:
                    await asyncio.to_thread(space.store, variable, value, ttl=ttl, timeout=0)
                else:
                    space.store(variable, value, ttl=ttl, timeout=0)
            except WaitTimeoutError:
                left = deadline.left()
                if left == 0:
                    raise space.had_no_room(variable, deadline) from None
                await space.engine.wait_async(bells, seen, space.until_due(left))
            else:
                return

    async def try_find(self, variable: str, default: Any = None) -> Any:
        """Return a value and leave it there; `default` if there is none."""
        return await self._run(self.sync.try_find, variable, default)

    async def try_fetch(self, variable: str, default: Any = None) -> Any:
        """Take a value; `default` if there is none."""
        if not self.persistent:
            return self.sync.try_fetch(variable, default)
        taken = await self.take(variable, core.FETCH_ONE)
        return default if taken is None else self.sync.loaded(taken, variable)

    async def find(self, variable: str, *, timeout: float | None = None) -> Any:
        """Return a value and leave it there; wait for one if there is none."""
        return self.sync.loaded(await self.wait(variable, core.FIND_ONE, timeout))

    async def fetch(self, variable: str, *, timeout: float | None = None) -> Any:
        """Take a value; wait for one if there is none. A cancelled wait takes nothing."""
        taken = await self.wait(variable, core.FETCH_ONE, timeout)
        return self.sync.loaded(taken, variable)

    async def claim(self, variable: str, *, timeout: float | None = None) -> AsyncClaim:
        """Take a value to work on it; see `Space.claim`."""
        taken = await self.wait(variable, core.CLAIM_ONE, timeout)
        claim = self.sync.claimed(variable, taken)
        return AsyncClaim(claim, persistent=self.persistent)

    async def try_claim(self, variable: str) -> AsyncClaim | None:
        """As `claim`; None if there is no value."""
        if self.persistent:
            claim = await in_thread(
                lambda: self.sync.try_claim(variable),
                lambda claim: claim is not None and claim.release(),
            )
        else:
            claim = self.sync.try_claim(variable)
        return None if claim is None else AsyncClaim(claim, persistent=self.persistent)

    async def fetch_any(
        self, variables: Iterable[str], *, timeout: float | None = None
    ) -> tuple[str, Any]:
        """Take a value of the first of several variables that has one; wait for one."""
        names = self.sync.names_of(variables)
        taken = await self.wait(names, core.FETCH_ONE, timeout)
        name = self.sync.name_of(names, taken)
        return name, self.sync.loaded(taken, name)

    async def try_fetch_any(self, variables: Iterable[str]) -> tuple[str, Any] | None:
        """As `fetch_any`; None if there is no value."""
        names = self.sync.names_of(variables)
        taken = await self.take(names, core.FETCH_ONE)
        if taken is None:
            return None
        name = self.sync.name_of(names, taken)
        return name, self.sync.loaded(taken, name)

    async def claim_any(
        self, variables: Iterable[str], *, timeout: float | None = None
    ) -> AsyncClaim:
        """Claim a value of the first of several variables that has one; see `Space.claim_any`."""
        names = self.sync.names_of(variables)
        taken = await self.wait(names, core.CLAIM_ONE, timeout)
        claim = self.sync.claimed(self.sync.name_of(names, taken), taken)
        return AsyncClaim(claim, persistent=self.persistent)

    async def move(self, source: str, target: str, *, timeout: float | None = None) -> None:
        """Take the next value of a variable and store it in another, in one step."""
        space, deadline = self.sync, Deadline(timeout)
        while True:
            bells = space.room_bells(target)
            seen = space.engine.listen(bells)
            try:
                if await self._run(space.try_move, source, target):
                    return
            except core.NoRoom:
                left = deadline.left()
                if left == 0:
                    raise space.had_no_room(target, deadline) from None
                await space.engine.wait_async(bells, seen, space.until_due(left))
                continue
            await self.wait(source, core.FIND_ONE, deadline.left())

    async def try_move(self, source: str, target: str) -> bool:
        """As `move`, without waiting for a value; tell whether there was one."""
        return await self._run(self.sync.try_move, source, target)

    async def producer(self, variable: str) -> AsyncProducer:
        """Say that this process is going to store values; see `Space.producer`."""
        found = await self._run(self.sync.producer, variable)
        return AsyncProducer(found, persistent=self.persistent)

    async def peek(self, variable: str, *, limit: int = 10) -> list[ValueInfo]:
        """Return what can be said of the oldest values without taking or loading them."""
        return await asyncio.to_thread(self.sync.peek, variable, limit=limit)

    async def remove(self, variable: str, index: int) -> bool:
        """Remove one value, whichever is next; tell whether it was still there."""
        return await self._run(self.sync.remove, variable, index)

    async def claims(self, variable: str | None = None) -> list[ClaimInfo]:
        """Return who works on which value, of one variable or of all."""
        return await asyncio.to_thread(self.sync.claims, variable)

    async def waiters(self, variable: str | None = None) -> list[WaiterInfo]:
        """Return who waits for a value, of one variable or of all, by arrival."""
        return await asyncio.to_thread(self.sync.waiters, variable)

    def ifind(self, variable: str, *, timeout: float | None = None) -> AsyncValues:
        """Iterate over the values, each once; wait for more at the end."""
        return AsyncValues(self, self.sync.ifind(variable, timeout=timeout))

    def ifetch(self, variable: str, *, timeout: float | None = None) -> AsyncValues:
        """As `ifind`, taking the values."""
        return AsyncValues(self, self.sync.ifetch(variable, timeout=timeout))

    def ifind_try(self, variable: str) -> AsyncValues:
        """As `ifind`, ending where there is no further value."""
        return AsyncValues(self, self.sync.ifind_try(variable))

    def ifetch_try(self, variable: str) -> AsyncValues:
        """As `ifetch`, ending where there is no further value."""
        return AsyncValues(self, self.sync.ifetch_try(variable))

    async def declare(
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
        """Say how a variable behaves; see `Space.declare`."""
        await self._run(
            self.sync.declare,
            variable,
            mode,
            max_values=max_values,
            max_bytes=max_bytes,
            when_full=when_full,
            ttl=ttl,
            max_tries=max_tries,
            failed=failed,
        )

    async def delete(self, variable: str) -> bool:
        """Delete a variable and its values; tell whether it was there."""
        return await self._run(self.sync.delete, variable)

    async def variables(self) -> list[VariableInfo]:
        """Return the variables by name, with how many values and waiters they have."""
        return await asyncio.to_thread(self.sync.variables)

    # The steps of a wait, for this class and its iterators.

    async def take(self, variable: str | tuple[str, ...], want: Want) -> Taken | None:
        """Find or fetch a value without waiting; None if there is none."""
        return await self._step(variable, want, lambda: self.sync.take(variable, want))

    async def wait(
        self, variable: str | tuple[str, ...], want: Want, timeout: float | None
    ) -> Taken:
        """Take a value, or wait for one.

        Raises:
            WaitTimeoutError: No value came in time.
            NotFoundError: The variable was deleted.
            ProducersGoneError: It has no producers any more, and no value.
        """
        deadline = Deadline(timeout)
        space = self.sync
        if want.kind == FIND or deadline.timeout == 0:
            taken = await self.take(variable, want)
            if taken is not None:
                return taken
            if deadline.timeout == 0:
                raise space.came_too_late(variable, deadline)
        waiter = space.new_waiter()
        try:
            taken = await self._step(
                variable, want, lambda: space.join_line(variable, want, waiter)
            )
            if isinstance(taken, Taken):
                return taken
            await _arrival(self._mailroom, waiter, deadline.left())
            return await self._step(
                variable, want, lambda: space.leave_line(variable, want, waiter, deadline)
            )
        except BaseException:
            if self.persistent:
                await asyncio.shield(asyncio.to_thread(space.cancel_wait, waiter))
            else:
                space.cancel_wait(waiter)
            raise

    async def _step(self, variable: str | tuple[str, ...], want: Want, step: Callable[[], S]) -> S:
        """Do a step of a wait: in a thread if it may wait for a disk."""
        if not self.persistent:
            return step()

        def give_back(taken: object) -> None:
            if isinstance(taken, Waiter):
                self.sync.cancel_wait(taken)
            elif isinstance(taken, Taken) and want.claim:
                self.sync.end_claim(taken, core.UNDONE)
            elif isinstance(taken, Taken) and want.kind == FETCH:
                names = (variable,) if isinstance(variable, str) else variable
                self.sync.restore(self.sync.name_of(names, taken), taken)

        return await in_thread(step, give_back)


class AsyncClaim:
    """A value that this process works on; see `entrepot.Claim`."""

    def __init__(self, claim: Claim, *, persistent: bool = False) -> None:
        self.sync = claim
        """The claim itself."""
        self._is_persistent = persistent
        self.value = claim.value
        self.index = claim.index
        self.variable = claim.variable
        self.tries = claim.tries
        self.reason = claim.reason

    async def done(self) -> None:
        """Say that the work is done: the value is gone for good."""
        await self._run(self.sync.done)

    async def release(self, *, to: str = "front", delay: float = 0, reason: str = "") -> None:
        """Give the value back; see `Claim.release`."""
        await self._run(self.sync.release, to=to, delay=delay, reason=reason)

    async def move(self, target: str) -> None:
        """Put the value into another variable of the space."""
        await self._run(self.sync.move, target)

    async def _run(self, end: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        if self._is_persistent:  # it waits for the disk, and ends there also if this is cancelled
            await asyncio.shield(asyncio.to_thread(end, *args, **kwargs))
        else:
            end(*args, **kwargs)

    async def __aenter__(self) -> AsyncClaim:
        self.sync.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._run(self.sync.__exit__, kind, error, trace)


class AsyncProducer:
    """A process's word that it will store values; see `Space.producer`."""

    def __init__(self, producer: Producer, *, persistent: bool = False) -> None:
        self.sync = producer
        """The producer itself."""
        self.variable = producer.variable
        self._is_persistent = persistent

    async def close(self) -> None:
        """Say that no more values come from here; may be repeated."""
        if self._is_persistent:
            await asyncio.shield(asyncio.to_thread(self.sync.close))
        else:
            self.sync.close()

    async def __aenter__(self) -> AsyncProducer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncValues:
    """An iterator over the values of a variable; see `entrepot.layers.spaces.Values`."""

    def __init__(self, space: AsyncSpace, values: Values) -> None:
        self._space = space
        self._values = values

    def __aiter__(self) -> AsyncValues:
        return self

    async def __anext__(self) -> Any:
        space, values = self._space, self._values
        while not values.has_ended:
            want = values.want()
            try:
                if values.waits:
                    taken = await space.wait(values.variable, want, values.timeout)
                else:
                    taken = await space.take(values.variable, want)
            except (Ended, NotFoundError, ProducersGoneError):
                taken = None
            if taken is None:
                values.end()
            elif values.is_new(taken):
                return values.accept(taken)
        raise StopAsyncIteration

    def restart(self) -> None:
        """Go on behind the last value, after the end was reached."""
        self._values.restart()

    def reset(self) -> None:
        """Begin anew."""
        self._values.reset()


_ITEMS_MAX = 100
_DEPTH_MAX = 3


def _is_large(value: object) -> bool:
    """Tell whether storing a value may take longer than a thread costs: a guess."""
    return _guess_bytes(value, _DEPTH_MAX) >= _LARGE_BYTES


def _guess_bytes(value: object, depth: int) -> int:
    size = _told(value, "nbytes")
    if isinstance(size, int):
        return size
    shape = _told(value, "shape")  # of a dataframe, which would count its strings one by one
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in cast("Any", shape)):
        return math.prod(cast("tuple[int, ...]", shape)) * 8
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    own = sys.getsizeof(value, 0)
    parts = value
    if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
        parts = _told(value, "__dict__")
    if not depth or not parts:
        return own
    if isinstance(parts, Mapping):
        values: Iterable[object] = cast("Mapping[object, object]", parts).values()
    elif isinstance(parts, (list, tuple, set, frozenset)):
        values = cast("Iterable[object]", parts)
    else:
        return own
    items = list(itertools.islice(values, _ITEMS_MAX))
    share = sum(_guess_bytes(item, depth - 1) for item in items)
    return own + share * len(cast("Any", parts)) // len(items)


def _told(value: object, attribute: str) -> object:
    """Return what a value says of itself; whatever a user's class does instead is no size."""
    if isinstance(value, type):
        return None
    try:
        return getattr(value, attribute, None)
    except Exception:  # noqa: BLE001 it is only a guess: storing the value tells what is wrong
        return None
