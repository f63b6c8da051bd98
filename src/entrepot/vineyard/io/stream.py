"""Streams: chunks that one writer hands to one reader, within a bound."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from entrepot.vineyard._errors import (
    ObjectNotExistsException,
    StreamDrainedException,
    StreamFailedException,
)
from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard._meta import Object, ObjectMeta

__all__ = ["BaseStream", "StreamCollection", "StreamReader", "StreamWriter"]

T = TypeVar("T")

_REASON = "failure"
"""The label of a stream that tells why it failed."""


class StreamReader(Generic[T]):
    """The reading end of a stream. Also an iterator over what is read."""

    def __init__(self, client: Any, stream: ObjectID) -> None:
        client.open_stream(stream, "r")
        self._client = client
        self._stream = stream

    def next(self) -> T:
        """Wait for the next chunk and return it. It stays as it is while it is looked at.

        Raises:
            StopIteration: There is no more; each time again.
            StreamFailedException: The writer failed, or died.
        """
        return self._read(self._next_id())

    __next__ = next

    def __iter__(self) -> Iterator[T]:
        return self

    def _next_id(self) -> ObjectID:
        try:
            return self._client.next_chunk_id(self._stream)
        except StreamDrainedException:
            raise StopIteration("No more chunks") from None
        except StreamFailedException as error:
            reason = reason_of(self._client, self._stream)
            raise StreamFailedException(reason or error.detail) from error

    def _read(self, chunk: ObjectID) -> T:
        raise NotImplementedError


class StreamWriter:
    """The writing end of a stream."""

    def __init__(self, client: Any, stream: ObjectID) -> None:
        client.open_stream(stream, "w")
        self._client = client
        self._stream = stream
        self._copy: bytearray | None = None
        """Elsewhere than in a depot: the chunk that is being written."""
        self.shares = 1
        """How many streams, this one included, use the room that one could have."""

    def finish(self) -> None:
        """Say that all was written.

        Raises:
            InvalidStreamStateException: That was said before.
        """
        self._end()
        self._client.stop_stream(self._stream, failed=False)

    def fail(self, reason: str = "") -> None:
        """Say that there was trouble: the reader is told, behind what was written.

        Args:
            reason: What the reader is told.
        """
        if reason:
            self._client.label(self._stream, _REASON, reason)
        self._client.stop_stream(self._stream, failed=True)

    # Chunks of bytes: in a depot they are written where the reader finds them.

    def _begin(self, size: int) -> memoryview:
        """Return a chunk to write into, when there is room; hand over the one before."""
        self._end()
        if not self._client.is_ipc:
            self._copy = bytearray(size)
            return memoryview(self._copy)
        return self._client._store.begin_chunk(int(self._stream), size, shares=self.shares)

    def _end(self) -> None:
        """Hand over the chunk that was begun."""
        if self._client.is_ipc:
            self._client._store.end_chunk(int(self._stream))
        elif self._copy:
            body, self._copy = bytes(self._copy), None
            chunk = self._client.put(body)
            try:
                self._client.push_chunk(self._stream, chunk)
            except BaseException:
                self._client.delete(chunk)
                raise

    @contextlib.contextmanager
    def _chunk(self, size: int) -> Generator[memoryview]:
        """Return a chunk to write into in the block, at whose end it is handed over."""
        view = self._begin(size)
        try:
            yield view
        except BaseException:  # half written, it is no chunk
            self._copy = None
            if self._client.is_ipc:
                self._client._store.drop_chunk(int(self._stream))
            raise
        self._end()


def reason_of(client: Any, stream: ObjectID) -> str:
    """Return why a stream failed, if its writer said so."""
    try:
        return client.get_meta(stream).label(_REASON)
    except ObjectNotExistsException:
        return ""


class BaseStream:
    """A stream, as it is stored: an object whose chunks come and go."""

    typename: ClassVar[str]

    def __init__(
        self, meta: ObjectMeta, params: dict[str, Any] | None = None, client: Any = None
    ) -> None:
        self._meta = meta
        self._client = client
        self.params = params if params is not None else json.loads(meta.get("params_", "{}"))
        self._reader: Any = None
        self._writer: Any = None

    @classmethod
    def new(
        cls, client: Any, params: dict[str, Any] | None = None, meta: ObjectMeta | None = None
    ) -> Any:
        """Make a stream.

        Args:
            client: A client.
            params: What readers should know of it.
            meta: Metadata with more, to which this is added.
        """
        if meta is None:
            meta = ObjectMeta()
        meta["typename"] = cls.typename
        meta["params_"] = json.dumps(params or {})
        client.create_metadata(meta)
        client.create_stream(meta.id)
        return cls(meta, params, client)

    @property
    def id(self) -> ObjectID:
        """The id of the stream."""
        return self._meta.id

    @property
    def meta(self) -> ObjectMeta:
        """The metadata of the stream."""
        return self._meta

    def open_reader(self, client: Any = None) -> Any:
        """Return the reading end: once, ever.

        Raises:
            StreamOpenedException: Somebody did before.
        """
        return self._make_reader(self._which(client))

    def open_writer(self, client: Any = None) -> Any:
        """Return the writing end: once, ever.

        Raises:
            StreamOpenedException: Somebody did before.
        """
        return self._make_writer(self._which(client))

    @property
    def reader(self) -> Any:
        """The reading end, opened when it is first asked for."""
        if self._reader is None:
            self._reader = self.open_reader()
        return self._reader

    @property
    def writer(self) -> Any:
        """The writing end, opened when it is first asked for."""
        if self._writer is None:
            self._writer = self.open_writer()
        return self._writer

    def drop(self, client: Any = None) -> None:
        """Remove the stream, with what nobody read."""
        chosen = self._which(client)
        chosen.drop_stream(self.id)
        chosen.delete(self.id)

    def _which(self, client: Any) -> Any:
        if client is not None:
            return client
        if self._client is None:
            from entrepot.vineyard.core.client import default_client

            return default_client()
        return self._client

    def _make_reader(self, client: Any) -> Any:
        raise NotImplementedError

    def _make_writer(self, client: Any) -> Any:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__} <{self.id!r}>"


class StreamCollection:
    """Streams that belong together, for instance the files of a directory."""

    typename = "vineyard::StreamCollection"

    def __init__(self, meta: ObjectMeta, streams: list[ObjectID]) -> None:
        self._meta = meta
        self.streams = streams

    @classmethod
    def new(
        cls, client: Any, metadata: dict[str, Any], streams: list[ObjectID]
    ) -> StreamCollection:
        """Make a collection of streams that exist."""
        meta = ObjectMeta()
        meta["typename"] = cls.typename
        meta["__streams"] = [int(stream) for stream in streams]
        for name, value in metadata.items():
            meta[name] = value
        client.create_metadata(meta)
        return cls(meta, streams)

    @property
    def id(self) -> ObjectID:
        """The id of the collection."""
        return self._meta.id

    @property
    def meta(self) -> ObjectMeta:
        """The metadata of the collection."""
        return self._meta

    @property
    def isglobal(self) -> bool:
        """Whether its streams are those of a whole cluster."""
        return self._meta.isglobal

    def __repr__(self) -> str:
        return f"StreamCollection <{self.id!r}: {len(self.streams)} streams>"


def collection_resolver(obj: Object) -> StreamCollection:
    """Return a collection."""
    numbers = json.loads(obj.meta["__streams"])
    return StreamCollection(obj.meta, [ObjectID(number) for number in numbers])
