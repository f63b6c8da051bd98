"""Readers and writers of files and of names: threads of this process feed and empty streams."""

from __future__ import annotations

import contextlib
import importlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from entrepot.vineyard._errors import ObjectNotExistsException, VineyardException
from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard.io.byte import ByteStream
from entrepot.vineyard.io.dataframe import DataframeStream
from entrepot.vineyard.io.formats import batches_of, described, form_of, write_batches
from entrepot.vineyard.io.parallel import make_parallel_stream
from entrepot.vineyard.io.places import Place
from entrepot.vineyard.io.recordbatch import RecordBatchStream
from entrepot.vineyard.io.stream import BaseStream, StreamCollection
from entrepot.vineyard.io.tasks import Task

__all__ = ["client_of", "read_file", "read_name", "write_file", "write_name"]

_BYTES = 1 << 20
_STREAMS_MAX = 4
"""How many streams the files of a directory become, unless `num_workers` is told."""
_FRAMES = ("vineyard::DataFrame", "vineyard::GlobalDataFrame", "vineyard::Table")

Hook = Callable[[Any], Any]


def client_of(socket: Any, endpoint: Any = None) -> Any:
    """Return a new client of the instance that a reader or writer was told: close it.

    Args:
        socket: As for `connect`; or a client, of whose instance another one is made.
        endpoint: As for `connect`.
    """
    from entrepot.vineyard.core.connection import connect

    if socket is not None and hasattr(socket, "fork"):
        return socket.fork()
    return connect(socket) if socket is not None or endpoint is None else connect(endpoint=endpoint)


# Reading.


def read_file(
    path: str,
    socket: Any,
    *_arguments: object,
    handlers: list[Any] | None = None,
    accumulate: bool = False,
    chunk_hook: Hook | None = None,
    vineyard_endpoint: Any = None,
    read_options: dict[str, Any] | None = None,
    storage_options: dict[str, Any] | None = None,
    num_workers: int | None = None,
    **options: Any,
) -> ObjectID:
    """Read files as streams: of batches, if they are CSV, Parquet or ORC; else of bytes.

    Returns the id of a parallel stream; with `accumulate`, of a global frame, or of a blob.
    """
    place = Place.of(path, options | (read_options or {}), storage_options)
    files = place.files()
    form = form_of(files[0])
    told = described(files[0], form)  # a file that is not there is told of now, not by the stream
    if form is None:
        files[0].open("rb").close()
    with client_of(socket, vineyard_endpoint) as client:
        if accumulate:
            return _read_whole(client, files, form, chunk_hook)

        kind = ByteStream if form is None else DataframeStream
        parts = _split(files, max(1, num_workers or _STREAMS_MAX))
        chunks = [_chunks_of(part, form, chunk_hook) for part in parts]
        return _fed_streams(client, kind, told, chunks, handlers)


def _fed_streams(
    client: Any,
    kind: type[BaseStream],
    params: dict[str, str],
    parts: Sequence[Iterable[Any]],
    handlers: list[Any] | None,
) -> ObjectID:
    """Make streams that threads write parts into; return the id of the parallel stream."""
    streams = [kind.new(client, params) for _ in parts]
    made = make_parallel_stream(client, streams).id
    for stream, part in zip(streams, parts, strict=True):
        task = _feeding(client.fork(), stream, part, shares=len(streams))
        if handlers is not None:
            handlers.append(task)
    return made


def _feeding(client: Any, stream: Any, part: Iterable[Any], *, shares: int) -> Task:
    writer = stream.open_writer(client)
    writer.shares = shares

    def work() -> None:
        with client:
            try:
                for chunk in part:
                    writer.write(chunk)
                writer.finish()
            except BaseException as error:
                with contextlib.suppress(VineyardException):  # nobody is there to be told
                    writer.fail(f"{type(error).__name__}: {error}")
                raise

    def stop() -> None:  # by another client: what this one writes is the thread's
        with client.fork() as other:
            other.stop_stream(stream.id, failed=True)

    return Task(work, stop)


def _chunks_of(files: Iterable[Place], form: str | None, hook: Hook | None) -> Iterator[Any]:
    """Yield the batches of files, or their bytes."""
    for file in files:
        for chunk in _bytes_of(file) if form is None else batches_of(file, form):
            yield chunk if hook is None else hook(chunk)


def _bytes_of(place: Place) -> Iterator[bytes]:
    with place.open("rb") as file:
        while body := file.read(_BYTES):
            yield body


def _split(files: list[Place], count: int) -> list[list[Place]]:
    """Split files, in their order, into so many parts at most."""
    count = min(count, len(files))
    bounds = [len(files) * number // count for number in range(count + 1)]
    return [files[begin:end] for begin, end in itertools.pairwise(bounds)]


def _read_whole(client: Any, files: list[Place], form: str | None, hook: Hook | None) -> ObjectID:
    chunks = _chunks_of(files, form, hook)
    return client.put(b"".join(chunks)) if form is None else _global_frame(client, chunks)


def _global_frame(client: Any, batches: Iterable[Any]) -> ObjectID:
    """Store batches as the parts of a global frame; all or none. Return its id."""
    from entrepot.vineyard.data.dataframe import make_global_dataframe

    pandas: Any = _pandas()
    parts: list[ObjectID] = []
    rows = 0
    try:
        for batch in batches:
            frame = batch.to_pandas() if hasattr(batch, "to_pandas") else batch
            if type(frame.index) is pandas.RangeIndex and not frame.index.start:
                frame.index = pandas.RangeIndex(rows, rows + len(frame))
            rows += len(frame)
            parts.append(client.put(frame))
        return make_global_dataframe(client, parts).id
    except BaseException:
        client.delete(parts)
        raise


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("frames need pandas: pip install 'entrepot[vineyard]'") from error


def read_name(
    path: str,
    socket: Any,
    *_arguments: object,
    handlers: list[Any] | None = None,
    accumulate: bool = False,
    chunk_hook: Hook | None = None,
    vineyard_endpoint: Any = None,
    **_options: Any,
) -> ObjectID:
    """Return the object that `vineyard://NAME` names: of a frame, a stream of its batches.

    With `accumulate` a frame is returned as it is.
    """
    name = Place.of(path).path
    with client_of(socket, vineyard_endpoint) as client:
        try:
            id = client.get_name(name)
        except ObjectNotExistsException as error:
            raise FileNotFoundError(f"no object has the name {name!r}") from error
        if accumulate or not client.get_meta(id).typename.startswith(_FRAMES):
            return id
        found = client.get(id)
        frames: list[Any] = list(found) if isinstance(found, list) else [found]  # pyright: ignore[reportUnknownArgumentType] of frames
        batches = _batches_in(frames, keep_index=True)
        chunks = batches if chunk_hook is None else map(chunk_hook, batches)
        return _fed_streams(client, DataframeStream, {}, [chunks], handlers)


# Writing.


def write_file(
    path: str,
    stream: Any,
    socket: Any,
    *_arguments: object,
    handlers: list[Any] | None = None,
    vineyard_endpoint: Any = None,
    write_options: dict[str, Any] | None = None,
    storage_options: dict[str, Any] | None = None,
    **options: Any,
) -> bool:
    """Write a stream, or each of several to a file of its own: `PATH_0`, `PATH_1` and so on.

    Waits until all is written, unless `handlers` collects the tasks.
    """
    place = Place.of(path, options | (write_options or {}), storage_options)
    form_of(place)  # one that there is not is told of before anything is read
    with client_of(socket, vineyard_endpoint) as client:
        parts = _parts_of(client, stream)
        tasks = [
            _writing(client.fork(), place.part(number), part) for number, part in enumerate(parts)
        ]
    if handlers is not None:
        handlers += tasks
        return True
    _join_all(tasks)
    return True


def _parts_of(client: Any, stream: Any) -> list[Any]:
    """Return what becomes a file each: streams, frames or tables."""
    found = client.get(stream) if isinstance(stream, ObjectID) else stream
    if isinstance(found, StreamCollection):
        found = [client.get(id) for id in found.streams]
    items: list[Any] = list(found) if isinstance(found, (list, tuple)) else [found]  # pyright: ignore[reportUnknownArgumentType] what a user gave
    parts = [client.get(item) if isinstance(item, ObjectID) else item for item in items]
    for part in parts:
        if not isinstance(part, BaseStream) and not hasattr(part, "columns"):
            raise TypeError(f"streams and frames can be written, not {part!r}")
    return parts


def _writing(client: Any, place: Place, part: Any) -> Task:
    reader = part.open_reader(client) if isinstance(part, BaseStream) else None

    def work() -> None:
        with client, place.writing() as file:
            if isinstance(part, ByteStream):
                assert reader is not None
                for chunk in reader:
                    file.write(chunk)
                return
            form = form_of(place) or "csv"
            items = [part] if reader is None else reader
            write_batches(place, form, file, _batches_in(items, keep_index=form != "csv"))

    def stop() -> None:
        if reader is not None:
            with client.fork() as other:
                other.drop_stream(part.id)

    return Task(work, stop)


def _join_all(tasks: Iterable[Task]) -> None:
    """Wait for all, then raise what the first one raised."""
    errors: list[BaseException] = []
    for task in tasks:
        try:
            task.join()
        except Exception as error:  # noqa: BLE001 raised below
            errors.append(error)
    if errors:
        raise errors[0]


def _batches_in(items: Iterable[Any], *, keep_index: bool) -> Iterator[Any]:
    """Yield the batches of batches, tables and frames.

    A frame's index is kept unless it only counts the rows: Arrow notes that in its schema.
    """
    pa: Any = importlib.import_module("pyarrow")
    for item in items:
        if isinstance(item, pa.RecordBatch):
            yield item
            continue
        table = item
        if not isinstance(item, pa.Table):
            table = pa.Table.from_pandas(item, preserve_index=None if keep_index else False)
        empty = [pa.array([], of.type) for of in table.schema]
        yield from table.to_batches() or [pa.RecordBatch.from_arrays(empty, schema=table.schema)]


def write_name(
    path: str, stream: Any, socket: Any, *_arguments: object, **options: Any
) -> ObjectID:
    """Give an object the name that `vineyard://NAME` names; return its id.

    Streams are read, and become a global frame, or a blob.
    """
    with client_of(socket, options.get("vineyard_endpoint")) as client:
        id = _stored(client, stream)
        client.persist(id)
        client.put_name(id, Place.of(path).path)
        return id


def _stored(client: Any, stream: Any) -> ObjectID:
    found = client.get(stream) if isinstance(stream, ObjectID) else stream
    items: list[Any] = list(found) if isinstance(found, list) else [found]  # pyright: ignore[reportUnknownArgumentType] what a user gave
    if isinstance(found, StreamCollection):
        items = [client.get(id) for id in found.streams]
    if not all(isinstance(item, BaseStream) for item in items) or not items:
        return stream if isinstance(stream, ObjectID) else client.put(stream)
    readers = [item.open_reader(client) for item in items]
    if isinstance(items[0], ByteStream):
        return client.put(b"".join(bytes(chunk) for reader in readers for chunk in reader))
    rows = [RecordBatchStream, DataframeStream]
    assert all(type(item) in rows for item in items)
    chunks = (chunk for reader in readers for chunk in reader)
    return _global_frame(client, _batches_in(chunks, keep_index=True))
