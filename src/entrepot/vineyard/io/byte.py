"""Streams of bytes."""

from __future__ import annotations

from typing import Any

from entrepot.vineyard._errors import InvalidStreamStateException
from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard.io.stream import BaseStream, StreamReader, StreamWriter

__all__ = ["ByteStream", "ByteStreamReader", "ByteStreamWriter"]

_BUFFER_BYTES_MAX = 1 << 20


class ByteStreamReader(StreamReader[memoryview]):
    """Reads bytes, chunk by chunk, without a copy."""

    def _read(self, chunk: ObjectID) -> memoryview:
        return memoryview(self._client.get(chunk)).cast("B")


class ByteStreamWriter(StreamWriter):
    """Writes bytes; many small writes become one chunk."""

    buffer_size_limit = _BUFFER_BYTES_MAX

    def __init__(self, client: Any, stream: ObjectID) -> None:
        super().__init__(client, stream)
        self._buffer = bytearray()
        self._open: Any = None

    def next(self, size: int) -> memoryview:
        """Return a chunk of `size` bytes to write into; it is handed over by the next call."""
        self._hand_over()
        self._open = self._client.create_blob(size)
        view = memoryview(self._open).cast("B")
        view[:] = bytes(size)
        return view

    def write(self, body: bytes | memoryview) -> None:
        """Write bytes; they are handed over when there are many, or at the end."""
        self._buffer += body
        if len(self._buffer) >= self.buffer_size_limit:
            self._hand_over()

    def finish(self) -> None:
        """Say that all was written."""
        self._hand_over()
        super().finish()

    def fail(self) -> None:
        """Say that there was trouble."""
        self._hand_over()
        super().fail()

    def _hand_over(self) -> None:
        if self._open is not None:
            builder, self._open = self._open, None
            self._push(builder.seal(self._client).id)
        if self._buffer:
            body, self._buffer = bytes(self._buffer), bytearray()
            try:
                self._push(self._client.put(body))
            except InvalidStreamStateException:
                self._buffer = bytearray(body)
                raise


class ByteStream(BaseStream):
    """A stream of bytes."""

    typename = "vineyard::ByteStream"

    def _make_reader(self, client: Any) -> ByteStreamReader:
        return ByteStreamReader(client, self.id)

    def _make_writer(self, client: Any) -> ByteStreamWriter:
        return ByteStreamWriter(client, self.id)
