"""Files as streams, and streams as files."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from entrepot.vineyard._meta import Object
from entrepot.vineyard.io import byte, dataframe, drivers, parallel, recordbatch, stream, utils
from entrepot.vineyard.io.byte import ByteStream
from entrepot.vineyard.io.dataframe import DataframeStream
from entrepot.vineyard.io.parallel import ParallelStream, parallel_stream_resolver
from entrepot.vineyard.io.places import Place, is_reachable
from entrepot.vineyard.io.recordbatch import RecordBatchStream
from entrepot.vineyard.io.serialization import deserialize, serialize
from entrepot.vineyard.io.stream import StreamCollection, collection_resolver

__all__ = [
    "ByteStream",
    "DataframeStream",
    "ParallelStream",
    "RecordBatchStream",
    "StreamCollection",
    "byte",
    "dataframe",
    "deserialize",
    "open",
    "parallel",
    "read",
    "recordbatch",
    "serialize",
    "stream",
    "utils",
    "write",
]


class _Call:
    """A function that tries the drivers of a scheme, the last registered first."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._drivers: dict[str, list[Callable[..., Any]]] = {}
        self._fallback: Callable[..., Any] | None = None

    def register(self, scheme: str, driver: Callable[..., Any]) -> None:
        """Say what handles a scheme; one that returns None leaves it to the next."""
        self._drivers.setdefault(scheme, []).append(driver)

    def use_for_all(self, driver: Callable[..., Any]) -> None:
        """Say what handles schemes that nobody else does."""
        self._fallback = driver

    def run(self, path: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Try the drivers for a path.

        Raises:
            ValueError: The path has no scheme, or one that nobody handles.
            RuntimeError: All drivers failed; the text says how each.
        """
        if "://" not in path:
            raise ValueError(f"{path!r} has no scheme, for instance file://{path}")
        scheme = Place.of(path).scheme
        drivers = list(reversed(self._drivers.get(scheme, [])))
        if self._fallback is not None and is_reachable(scheme.rpartition("::")[2]):
            drivers.append(self._fallback)
        if not drivers:
            raise ValueError(f"No IO driver registered for {path}")
        failures: list[str] = []
        last: Exception | None = None
        for driver in drivers:
            try:
                found = driver(path, *arguments, **options)
            except Exception as error:  # noqa: BLE001 told below, if no other driver can
                last = error
                failures.append("".join(traceback.format_exception(error)))
                continue
            if found is not None:
                return found
        raise RuntimeError(
            f"Unable to find a proper IO driver for {path}, potential causes are:\n"
            + "\n".join(failures)
        ) from last


class _Read(_Call):
    """`read(path, *arguments, vineyard_ipc_socket=None, accumulate=False, ...)`."""

    def __call__(self, path: str, *arguments: Any, **options: Any) -> Any:
        """Read a path as a stream; return the id of a parallel stream.

        Args:
            path: `scheme://path#options`: a local file, or anything that fsspec reaches; also a
                pattern, or a directory. CSV, Parquet and ORC give batches; everything else
                gives bytes, unless an option of CSV is given.
            arguments: Passed to the reader.
            options: `vineyard_ipc_socket`: where the stream is made, by default where
                `connect()` goes; also a client; `vineyard_endpoint`; `accumulate`: read all,
                and return a global frame; `chunk_hook`: called with each chunk, returns
                another; `handlers`: a list that gets what can be joined; `read_options`: of
                the format (`format`, `header_row`, `delimiter`, `columns`, `schema`,
                `column_types`, `block_size`), as behind the `#`; `storage_options`: of the
                file system; `num_workers`: how many streams several files become, at most.

        The files are read by threads of this process while somebody reads the streams: if it
        ends before, the reader is told that the stream failed.

        Raises:
            ValueError: There is no scheme, or nobody handles it.
            RuntimeError: It cannot be read.
        """
        socket = options.pop("vineyard_ipc_socket", None)
        options = {"handlers": None, "accumulate": False, "chunk_hook": None} | options
        return self.run(path, (socket, *arguments), options)


class _Write(_Call):
    """`write(path, stream, *arguments, vineyard_ipc_socket=None, ...)`."""

    def __call__(self, path: str, stream: Any, *arguments: Any, **options: Any) -> Any:
        """Write a stream to a path; wait until it is written, unless `handlers` are asked for.

        Args:
            path: As for `read`. Each part is a file of its own: `PATH_0`, `PATH_1` and so on.
            stream: A stream, several, or the id of one.
            arguments: Passed to the writer.
            options: As for `read`.

        Raises:
            ValueError: There is no scheme, or nobody handles it.
            RuntimeError: It cannot be written.
        """
        socket = options.pop("vineyard_ipc_socket", None)
        return self.run(path, (stream, socket, *arguments), options)


read = _Read("read")
write = _Write("write")
read.use_for_all(drivers.read_file)
write.use_for_all(drivers.write_file)
read.register("vineyard", drivers.read_name)
write.register("vineyard", drivers.write_name)


def open(path: str, *arguments: Any, mode: str = "r", **options: Any) -> Any:  # noqa: A001 vineyard's name
    """Open a path as a stream: `read` with mode `r`, `write` with mode `w`.

    A path without a scheme is a local file.

    Raises:
        RuntimeError: There is no such mode.
    """
    if "://" not in path:
        path = f"file://{path}"
    if mode == "r":
        return read(path, *arguments, **options)
    if mode == "w":
        return write(path, *arguments, **options)
    raise RuntimeError(f"Opening {path} with mode {mode} is not supported")


_KINDS: dict[str, Any] = {
    kind.typename: kind for kind in (ByteStream, DataframeStream, RecordBatchStream)
}


def resolve(obj: Object, resolver: Any, **keywords: Any) -> Any:
    """Return the stream, or the streams, that an object stands for."""
    kind = _KINDS.get(obj.meta.typename)
    if kind is not None:
        return kind(obj.meta, client=keywords.get("__vineyard_client"))
    if obj.meta.typename == StreamCollection.typename:
        return collection_resolver(obj)
    return parallel_stream_resolver(obj, resolver, **keywords)
