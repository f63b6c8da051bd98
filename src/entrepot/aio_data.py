"""Tables, streams, containers and lines, awaited; made by `entrepot.aio.AsyncDepot`.

What is read by key is in memory mostly and takes microseconds: it is read at once, on the
event loop. Whatever writes waits for a disk, so it runs in a worker thread; writes of many
tasks share a transaction, and one wait. Scans, listings and large objects are read in
threads, page by page. Waits sleep without a thread each.

What a cancelled task was writing is written or not, as if the answer had been lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, ParamSpec

from entrepot import settings
from entrepot.layers.containers import Container, Data, Info, ObjectReader
from entrepot.layers.lines import Entry, Lines, LinesInfo, LinesStretch
from entrepot.layers.lines.lines import Following
from entrepot.layers.numbers import whole
from entrepot.layers.streams import (
    Appended,
    Consumer,
    GroupInfo,
    New,
    Record,
    Since,
    Stream,
    StreamInfo,
    Stretch,
)
from entrepot.layers.streams.stream import EARLIEST, LATEST, Tail, check_limit
from entrepot.layers.tables import Page, Range, Table, TableBatch
from entrepot.layers.tables.core import REPLACE
from entrepot.layers.tables.scan import Plan, Row
from entrepot.threads import in_thread, to_its_end
from entrepot.waiting import Deadline

__all__ = [
    "AsyncConsumer",
    "AsyncContainer",
    "AsyncLines",
    "AsyncObjectReader",
    "AsyncStream",
    "AsyncTable",
    "AsyncTableBatch",
]

P = ParamSpec("P")
_PIECE_BYTES: Final = settings.MIB


class AsyncTable:
    """A table whose methods are awaited; see `entrepot.Table`."""

    def __init__(self, table: Table) -> None:
        self.sync = table
        """The table itself."""
        self.name = table.name

    async def put(
        self,
        key: str,
        attributes: Mapping[str, object],
        *,
        mode: str = REPLACE,
        condition: str = "",
        parameters: Mapping[str, object] | None = None,
        **bound: object,
    ) -> None:
        """Store an item; see `Table.put`."""
        values = {**(parameters or {}), **bound}
        await asyncio.to_thread(
            self.sync.put, key, attributes, mode=mode, condition=condition, parameters=values
        )

    async def update(
        self,
        key: str,
        expression: str,
        *,
        condition: str = "",
        otherwise: str | None = None,
        parameters: Mapping[str, object] | None = None,
        **bound: object,
    ) -> None:
        """Change an item by an expression; see `Table.update`."""
        await asyncio.to_thread(
            self.sync.update,
            key,
            expression,
            condition=condition,
            otherwise=otherwise,
            parameters={**(parameters or {}), **bound},
        )

    async def delete(
        self,
        key: str,
        *,
        condition: str = "",
        parameters: Mapping[str, object] | None = None,
        **bound: object,
    ) -> None:
        """Delete an item; see `Table.delete`."""
        values = {**(parameters or {}), **bound}
        await asyncio.to_thread(self.sync.delete, key, condition=condition, parameters=values)

    def batch(self) -> AsyncTableBatch:
        """Return a batch: its writes are done in one transaction, all or none, at its end."""
        return AsyncTableBatch(self.sync.batch())

    async def get(self, key: str, names: str | Sequence[str] | None = None) -> dict[str, Any]:
        """Return the attributes of an item; see `Table.get`."""
        return self.sync.get(key, names)

    async def try_get(
        self, key: str, names: str | Sequence[str] | None = None, *, default: Any = None
    ) -> Any:
        """As `get`; `default` if the item is not there."""
        return self.sync.try_get(key, names, default=default)

    async def get_many(
        self, keys: Sequence[str], names: str | Sequence[str] | None = None
    ) -> list[dict[str, Any] | None]:
        """Return the attributes of several items, in one snapshot; None for those not there."""
        return await asyncio.to_thread(self.sync.get_many, keys, names)

    def scan(
        self,
        where: str = "",
        *,
        names: str | Sequence[str] | None = None,
        limit: int | None = None,
        sharding_key: str | None = None,
        sort_start: str | None = None,
        sort_end: str | None = None,
        segment: int = 0,
        segments: int = 1,
        parameters: Mapping[str, object] | None = None,
        **bound: object,
    ) -> AsyncIterator[Row]:
        """Yield (key, attributes) of the items that pass a filter, by key; see `Table.scan`."""
        which = Range(sharding_key, sort_start, sort_end, segment, segments)
        plan = self.sync.plan(where, names, which, None, {**(parameters or {}), **bound})
        return self._rows(plan, None if limit is None else whole("limit", limit, 0))

    async def _rows(self, plan: Plan, limit: int | None) -> AsyncIterator[Row]:
        behind: str | None = ""
        left = limit
        while behind is not None and left != 0:
            if left is not None and left < plan.limit:
                plan = plan._replace(limit=left)
            page: Page = await asyncio.to_thread(self.sync.page, plan, behind)
            for row in page.rows:
                yield row
            behind = page.behind
            left = None if left is None else left - len(page.rows)

    async def count(
        self, where: str = "", *, parameters: Mapping[str, object] | None = None, **bound: object
    ) -> int:
        """Return how many items pass a filter."""
        values = {**(parameters or {}), **bound}
        return await asyncio.to_thread(self.sync.count, where, parameters=values)

    async def clear(self) -> int:
        """Delete all items; return how many there were."""
        return await asyncio.to_thread(self.sync.clear)

    def __contains__(self, key: object) -> bool:
        return key in self.sync


class AsyncTableBatch:
    """Writes that are done in one transaction, at the end of an `async with` block."""

    def __init__(self, batch: TableBatch) -> None:
        self.sync = batch
        """The batch itself."""

    def put(self, key: str, attributes: Mapping[str, object], **options: Any) -> None:
        """As `AsyncTable.put`, later; not awaited."""
        self.sync.put(key, attributes, **options)

    def update(self, key: str, expression: str, **options: Any) -> None:
        """As `AsyncTable.update`, later; not awaited."""
        self.sync.update(key, expression, **options)

    def delete(self, key: str, **options: Any) -> None:
        """As `AsyncTable.delete`, later; not awaited."""
        self.sync.delete(key, **options)

    def __len__(self) -> int:
        return len(self.sync)

    async def commit(self) -> None:
        """Do all of it, or nothing; see `TableBatch.commit`."""
        await asyncio.to_thread(self.sync.commit)

    async def __aenter__(self) -> AsyncTableBatch:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.sync.__exit__, kind, error, trace)


class AsyncStream:
    """A stream whose methods are awaited; see `entrepot.Stream`."""

    def __init__(self, stream: Stream) -> None:
        self.sync = stream
        """The stream itself."""
        self.name = stream.name

    async def create(
        self,
        shards: int,
        *,
        retention_s: int = settings.RETENTION_S_DEFAULT,
        exist_ok: bool = False,
    ) -> None:
        """Make the stream; see `Stream.create`."""
        await asyncio.to_thread(
            self.sync.create, shards, retention_s=retention_s, exist_ok=exist_ok
        )

    async def info(self) -> StreamInfo:
        """Return what the stream is."""
        return self.sync.info()

    async def resize(self, shards: int) -> None:
        """Add shards; see `Stream.resize`."""
        await asyncio.to_thread(self.sync.resize, shards)

    async def delete(self) -> None:
        """Delete the stream with all its records."""
        await asyncio.to_thread(self.sync.delete)

    async def trim(self) -> None:
        """Drop what is past the retention; see `Stream.trim`."""
        await asyncio.to_thread(self.sync.trim)

    async def append(
        self,
        data: bytes | str,
        *,
        shard: int | None = None,
        key: str | None = None,
        info: bytes | None = None,
    ) -> Appended:
        """Append a record; see `Stream.append`."""
        return await asyncio.to_thread(self.sync.append, data, shard=shard, key=key, info=info)

    async def append_many(self, records: Iterable[bytes | str | New]) -> list[Appended]:
        """Append records in one transaction, all or none."""
        return await asyncio.to_thread(self.sync.append_many, records)

    async def seek(self, shard: int, since: Since) -> int:
        """Return the number of the record with which to begin; see `Stream.seek`."""
        return self.sync.seek(shard, since)

    async def read(
        self,
        shard: int,
        *,
        since: Since = EARLIEST,
        limit: int = 1000,
        timeout: float | None = 0,
    ) -> Stretch:
        """Return records of a shard, and wait for some; see `Stream.read`."""
        deadline = Deadline(timeout)
        engine = self.sync.engine
        bells, stretch = self.sync.look(shard, since, limit)
        while not stretch.records and deadline.left() != 0:
            seen = engine.listen(bells)
            bells, stretch = self.sync.look(shard, stretch.next, limit)
            if not stretch.records:
                await engine.wait_async(bells, seen, deadline.left())
                bells, stretch = self.sync.look(shard, stretch.next, limit)
        return stretch

    def tail(
        self,
        shards: Iterable[int] | None = None,
        *,
        since: Since = LATEST,
        timeout: float | None = None,
    ) -> AsyncIterator[Record]:
        """Yield records as they come; see `Stream.tail`."""
        return self._tail(self.sync.tail_of(shards, since), timeout)

    async def _tail(self, tail: Tail, timeout: float | None) -> AsyncIterator[Record]:
        deadline = Deadline(timeout)
        engine = self.sync.engine
        while True:
            bells = tail.bells()
            seen = engine.listen(bells)
            records = tail.take()
            if records:
                for record in records:
                    yield record
                await asyncio.sleep(0)  # a busy stream leaves other tasks their turn
                deadline = Deadline(timeout)
                continue
            left = deadline.left()
            if left == 0:
                return
            slice_s = settings.WAIT_SLICE_S if left is None else min(left, settings.WAIT_SLICE_S)
            if not await engine.wait_async(bells, seen, slice_s):
                tail.look_for_shards()

    async def consumer(self, group: str, *, since: Since = EARLIEST) -> AsyncConsumer:
        """Join a consumer group; see `Stream.consumer`."""
        joined = await in_thread(
            lambda: self.sync.consumer(group, since=since), lambda late: late.close()
        )
        return AsyncConsumer(joined, self.sync)

    async def groups(self) -> list[GroupInfo]:
        """Return the consumer groups, by name."""
        return self.sync.groups()

    async def sequences(self) -> list[tuple[int, int]]:
        """Return for each shard the numbers of its oldest record and of the next to come."""
        return self.sync.sequences()


class AsyncConsumer:
    """One of a group that shares a stream, for one task; see `entrepot.Consumer`.

    A read that is cancelled has taken nothing: its records come with the next one.
    """

    def __init__(self, consumer: Consumer, stream: Stream) -> None:
        self.sync = consumer
        """The consumer itself."""
        self.group = consumer.group
        self._engine = stream.engine

    @property
    def shards(self) -> list[int]:
        """The shards that are this consumer's, as far as it knows."""
        return self.sync.shards

    async def read(self, limit: int = 1000, *, timeout: float | None = None) -> list[Record]:
        """Return records of this consumer's shards; see `Consumer.read`."""
        check_limit(limit)
        deadline = Deadline(timeout)
        consumer = self.sync
        while True:
            bells = consumer.bells()
            seen = self._engine.listen(bells)
            if consumer.must_share():
                await to_its_end(consumer.share)
                continue  # other shards, so other bells
            records = consumer.take(limit)
            left = deadline.left()
            if records:
                return records
            if left == 0:  # no wait, but a look for those who died
                await asyncio.to_thread(self._engine.wait, bells, seen, 0)
                return records
            slice_s = settings.WAIT_SLICE_S if left is None else min(left, settings.WAIT_SLICE_S)
            await self._engine.wait_async(bells, seen, slice_s)

    async def __aiter__(self) -> AsyncIterator[Record]:
        """Yield records for ever; commit each page when the next one is asked for."""
        while True:
            for record in await self.read():
                yield record
            await self.commit()

    async def commit(self) -> None:
        """Say that all that was read is done with; see `Consumer.commit`."""
        await to_its_end(self.sync.commit)

    async def close(self) -> None:
        """Leave the group; may be repeated."""
        await to_its_end(self.sync.close)

    async def __aenter__(self) -> AsyncConsumer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncContainer:
    """A container whose methods are awaited; see `entrepot.Container`."""

    def __init__(self, container: Container) -> None:
        self.sync = container
        """The container itself."""
        self.name = container.name

    async def create(self, *, exist_ok: bool = False) -> None:
        """Make the container, empty; see `Container.create`."""
        await asyncio.to_thread(self.sync.create, exist_ok=exist_ok)

    async def put(self, path: str, data: Data) -> None:
        """Store an object; a file is read in the worker thread. See `Container.put`."""
        await asyncio.to_thread(self.sync.put, path, data)

    async def append(self, path: str, data: Data) -> None:
        """Append bytes to an object; see `Container.append`."""
        await asyncio.to_thread(self.sync.append, path, data)

    async def make_directory(self, path: str) -> None:
        """Make a directory, and those above it."""
        await asyncio.to_thread(self.sync.make_directory, path)

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        """Delete an object or a directory; see `Container.delete`."""
        await asyncio.to_thread(self.sync.delete, path, recursive=recursive)

    async def get(self, path: str, *, offset: int = 0, count: int | None = None) -> bytes:
        """Return bytes of an object, many of them by way of a thread; see `Container.get`."""
        if self.sync.info(path).size <= settings.BODY_INLINE_BYTES_MAX:
            return self.sync.get(path, offset=offset, count=count)
        return await asyncio.to_thread(self.sync.get, path, offset=offset, count=count)

    async def open(self, path: str) -> AsyncObjectReader:
        """Return an object as a file for reading, as it is now; see `Container.open`."""
        return AsyncObjectReader(self.sync.open(path))

    async def info(self, path: str) -> Info:
        """Return what is known of an object or directory."""
        return self.sync.info(path)

    def __contains__(self, path: object) -> bool:
        return path in self.sync

    async def list(
        self, directory: str = "", *, recursive: bool = False, only_directories: bool = False
    ) -> AsyncIterator[Info]:
        """Yield what is in a directory, by name; see `Container.list`."""
        behind: str | None = ""
        while behind is not None:
            page, behind = await self.page(directory, behind, only_directories=only_directories)
            for entry in page:
                yield entry
                if recursive and entry.is_directory:
                    async for inner in self.list(
                        entry.path, recursive=True, only_directories=only_directories
                    ):
                        yield inner

    async def page(
        self,
        directory: str = "",
        behind: str = "",
        *,
        limit: int = settings.PAGE_ITEMS_MAX,
        only_directories: bool = False,
    ) -> tuple[list[Info], str | None]:
        """Return entries of a directory, and where the next page begins."""
        return await asyncio.to_thread(
            self.sync.page, directory, behind, limit=limit, only_directories=only_directories
        )


class AsyncObjectReader:
    """The bytes of an object at one moment, read in threads; closed by `async with`."""

    def __init__(self, reader: ObjectReader) -> None:
        self.sync = reader
        """The file itself."""
        self.info = reader.info

    async def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes: `size`, or all that are left."""
        return await to_its_end(self.sync.read, size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; return where that is."""
        return self.sync.seek(offset, whence)

    def tell(self) -> int:
        """Return where it stands."""
        return self.sync.tell()

    def close(self) -> None:
        """Let go of the bytes; may be repeated."""
        self.sync.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes that are left, in pieces."""
        while piece := await self.read(_PIECE_BYTES):
            yield piece

    async def __aenter__(self) -> AsyncObjectReader:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncLines:
    """A buffer of lines whose methods are awaited; see `entrepot.Lines`.

    One in memory is written and read at once, in microseconds; one on a disk in threads.
    """

    def __init__(self, lines: Lines) -> None:
        self.sync = lines
        """The buffer itself; `writer`, `capture` and `handler` are there."""
        self.name = lines.name

    @property
    def persistent(self) -> bool:
        """Whether it is in the durable tier."""
        return self.sync.persistent

    async def write(self, text: str) -> None:
        """Write a text; see `Lines.write`."""
        await self._run(self.sync.write, text)

    async def append(self, lines: Iterable[str]) -> None:
        """Append whole lines in one transaction; see `Lines.append`."""
        await self._run(self.sync.append, lines)

    async def warn(self, warning: Warning) -> None:
        """Append a warning."""
        await self._run(self.sync.warn, warning)

    async def fail(self, error: BaseException) -> None:
        """Append an error, with its traceback."""
        await self._run(self.sync.fail, error)

    async def read(
        self,
        last: int | None = None,
        *,
        since: int | None = None,
        limit: int = 10_000,
        partial: bool = False,
    ) -> LinesStretch:
        """Return entries, oldest first, without waiting; see `Lines.read`."""
        return self.sync.read(last, since=since, limit=limit, partial=partial)

    def tail(
        self, last: int = 0, *, since: int | None = None, timeout: float | None = None
    ) -> AsyncIterator[Entry]:
        """Yield entries as they come; see `Lines.tail`."""
        return self._tail(self.sync.following(last, since), timeout)

    async def _tail(self, following: Following, timeout: float | None) -> AsyncIterator[Entry]:
        deadline = Deadline(timeout)
        engine = self.sync.engine
        while True:
            seen = engine.listen(following.bells)
            entries = following.take()
            if entries:
                for entry in entries:
                    yield entry
                await asyncio.sleep(0)  # busy lines leave other tasks their turn
                deadline = Deadline(timeout)
                continue
            if following.has_ended or deadline.left() == 0:
                return
            await engine.wait_async(following.bells, seen, deadline.left())

    async def info(self) -> LinesInfo:
        """Return what the buffer is."""
        return self.sync.info()

    async def new_line(self) -> None:
        """Finish the partial lines of all writers."""
        await self._run(self.sync.new_line)

    async def clear(self) -> None:
        """Drop all entries and partial lines; numbers go on."""
        await asyncio.to_thread(self.sync.clear)

    async def trim(self) -> None:
        """Drop what is too old."""
        await asyncio.to_thread(self.sync.trim)

    async def stop(self) -> None:
        """Ask writers to stop; see `Lines.stop`."""
        await self._run(self.sync.stop)

    async def resume(self) -> None:
        """Undo `stop`."""
        await self._run(self.sync.resume)

    async def close(self) -> None:
        """Refuse further lines; see `Lines.close`."""
        await self._run(self.sync.close)

    async def reopen(self) -> None:
        """Undo `close`."""
        await self._run(self.sync.reopen)

    async def delete(self) -> None:
        """Remove the buffer with all that is in it."""
        await asyncio.to_thread(self.sync.delete)

    async def _run(self, fn: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        if self.sync.persistent:
            await asyncio.to_thread(fn, *args, **kwargs)
        else:
            fn(*args, **kwargs)
