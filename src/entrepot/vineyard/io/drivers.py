"""Readers and writers of files: a thread of this process feeds or empties the stream."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from entrepot.vineyard._errors import ObjectNotExistsException
from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard.io.byte import ByteStream
from entrepot.vineyard.io.dataframe import DataframeStream
from entrepot.vineyard.io.parallel import make_parallel_stream
from entrepot.vineyard.io.places import Place

__all__ = ["client_of", "read_file", "write_file"]

_BYTES = 1 << 20
_FRAMES = {"csv": "csv", "tsv": "csv", "parquet": "parquet", "pq": "parquet", "orc": "orc"}


class Task:
    """Work that goes on in a thread; what it raised is raised by `join`."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 raised by who joins
            self._error = error

    def join(self) -> None:
        """Wait until it is done."""
        self._thread.join()
        if self._error is not None:
            raise self._error


def client_of(socket: Any, endpoint: Any = None) -> Any:
    """Return a client of the instance that a reader or writer was told."""
    from entrepot.vineyard.core.connection import connect

    if socket is not None and not isinstance(socket, str):
        return socket  # a client
    return connect(socket) if socket is not None or endpoint is None else connect(endpoint=endpoint)


# Reading.


def read_file(
    path: str,
    socket: Any,
    *_arguments: object,
    handlers: list[Any] | None = None,
    accumulate: bool = False,
    chunk_hook: Callable[[Any], Any] | None = None,
    vineyard_endpoint: Any = None,
    read_options: dict[str, Any] | None = None,
    **options: Any,
) -> ObjectID | None:
    """Read a file as a stream: of batches, if it is CSV, Parquet or ORC; else of bytes.

    Returns the id of a parallel stream; with `accumulate`, of a global frame, or of a blob.
    """
    client = client_of(socket, vineyard_endpoint)
    place = Place.of(path, options | (read_options or {}))
    form = _FRAMES.get(str(place.options.get("format", place.suffix)).lower())
    with place.open("rb"):
        pass  # a file that is not there is told of now, not by the stream
    if accumulate:
        return _read_whole(client, place, form, chunk_hook)
    if form is None:
        stream: Any = ByteStream.new(client, {"path": place.path})
        feed = _feed_bytes
    else:
        stream = DataframeStream.new(client, _told(place))
        feed = _feed_batches
    writer = stream.open_writer(client)
    task = Task(lambda: feed(writer, place, form, chunk_hook))
    if handlers is not None:
        handlers.append(task)
    return make_parallel_stream(client, [stream]).id


def _told(place: Place) -> dict[str, str]:
    """Return what readers are told of a file: texts, as vineyard has them."""
    told = {name: str(value) for name, value in place.options.items()}
    for name in ("header_row", "include_all_columns"):
        if name in place.options:
            told[name] = "1" if _is_true(place.options[name]) else "0"
    return told


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("1", "true", "yes")


def _feed_bytes(writer: Any, place: Place, form: str | None, hook: Any) -> None:
    try:
        with place.open("rb") as file:
            while body := file.read(_BYTES):
                writer.write(hook(body) if hook is not None else body)
    except BaseException:
        writer.fail()
        raise
    writer.finish()


def _feed_batches(writer: Any, place: Place, form: str | None, hook: Any) -> None:
    try:
        for batch in _batches(place, form):
            writer.write(hook(batch) if hook is not None else batch)
    except BaseException:
        writer.fail()
        raise
    writer.finish()


def _batches(place: Place, form: str | None) -> Iterator[Any]:
    pa: Any = importlib.import_module("pyarrow")
    with place.open("rb") as file:
        if form == "csv":
            yield from _csv_batches(pa, file, place)
        elif form == "parquet":
            parquet: Any = importlib.import_module("pyarrow.parquet")
            yield from parquet.ParquetFile(file).iter_batches()
        else:
            orc: Any = importlib.import_module("pyarrow.orc")
            yield from orc.ORCFile(file).read().to_batches()


def _csv_batches(pa: Any, file: Any, place: Place) -> Iterator[Any]:
    csv: Any = importlib.import_module("pyarrow.csv")
    options = place.options
    has_header = _is_true(options.get("header_row", True))
    columns = options.get("schema") or options.get("columns")
    names = columns.split(",") if isinstance(columns, str) else columns
    delimiter = options.get("delimiter") or ("\t" if place.suffix == "tsv" else ",")
    reader = csv.open_csv(
        pa.PythonFile(file, "r"),
        read_options=csv.ReadOptions(autogenerate_column_names=not has_header),
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=csv.ConvertOptions(include_columns=names if has_header else None),
    )
    yield from reader


def _read_whole(client: Any, place: Place, form: str | None, hook: Any) -> ObjectID:
    if form is None:
        with place.open("rb") as file:
            return client.put(file.read())
    from entrepot.vineyard.data.dataframe import make_global_dataframe

    frames = [(hook(b) if hook is not None else b).to_pandas() for b in _batches(place, form)]
    return make_global_dataframe(client, [client.put(frame) for frame in frames]).id


def read_name(path: str, socket: Any, *_arguments: object, **options: Any) -> ObjectID | None:
    """Return the object that `vineyard://NAME` names."""
    client = client_of(socket, options.get("vineyard_endpoint"))
    try:
        return client.get_name(Place.of(path).path)
    except ObjectNotExistsException as error:
        raise FileNotFoundError(f"no object has the name {Place.of(path).path!r}") from error


# Writing.


def write_file(
    path: str,
    stream: Any,
    socket: Any,
    *_arguments: object,
    handlers: list[Any] | None = None,
    vineyard_endpoint: Any = None,
    write_options: dict[str, Any] | None = None,
    **options: Any,
) -> bool:
    """Write a stream, or each of several to a file of its own: `PATH_0`, `PATH_1` and so on.

    Waits until all is written, unless `handlers` collects the tasks.
    """
    client = client_of(socket, vineyard_endpoint)
    place = Place.of(path, options | (write_options or {}))
    found = client.get(stream) if isinstance(stream, ObjectID) else stream
    parts: list[Any] = list(found) if isinstance(found, list) else [found]  # pyright: ignore[reportUnknownArgumentType] of streams, or of frames
    tasks = [Task(_writing(place.part(number), part, client)) for number, part in enumerate(parts)]
    if handlers is not None:
        handlers += tasks
        return True
    for task in tasks:
        task.join()
    return True


def _writing(place: Place, part: Any, client: Any) -> Callable[[], None]:
    def write() -> None:
        with place.open("wb") as file:
            if isinstance(part, ByteStream):
                for chunk in part.open_reader(client):
                    file.write(chunk)
                return
            _write_batches(place, file, part, client)

    return write


def _write_batches(place: Place, file: Any, part: Any, client: Any) -> None:
    pa: Any = importlib.import_module("pyarrow")
    if isinstance(part, DataframeStream):
        batches = iter(part.open_reader(client))
    else:  # a frame
        batches = iter(pa.Table.from_pandas(part, preserve_index=False).to_batches())
    first = next(batches, None)
    if first is None:
        return
    form = _FRAMES.get(str(place.options.get("format", "")) or _form_of(place.path), "csv")
    with _table_writer(pa, form, file, first.schema, place) as writer:
        writer.write_batch(first)
        for batch in batches:
            writer.write_batch(batch)


def _form_of(path: str) -> str:
    """Return the suffix of a path that has the number of a part behind it."""
    stem = path.rpartition("_")[0] or path
    return stem.rpartition(".")[2].lower()


def _table_writer(pa: Any, form: str, file: Any, schema: Any, place: Place) -> Any:
    if form == "parquet":
        return importlib.import_module("pyarrow.parquet").ParquetWriter(file, schema)
    if form == "orc":
        raise ValueError("ORC is read, not written: write Parquet or CSV")
    csv: Any = importlib.import_module("pyarrow.csv")
    options = csv.WriteOptions(
        include_header=_is_true(place.options.get("header_row", True)),
        delimiter=place.options.get("delimiter", ","),
    )
    return csv.CSVWriter(file, schema, write_options=options)


def write_name(path: str, stream: Any, socket: Any, *_arguments: object, **options: Any) -> bool:
    """Give an object the name that `vineyard://NAME` names."""
    client = client_of(socket, options.get("vineyard_endpoint"))
    client.persist(stream)
    client.put_name(stream, Place.of(path).path)
    return True
