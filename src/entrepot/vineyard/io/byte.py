"""Streams of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard.io.stream import BaseStream, StreamReader, StreamWriter

__all__ = ["ByteStream", "ByteStreamReader", "ByteStreamWriter"]

_BUFFER_BYTES_MAX = 1 << 20


class ByteStreamReader(StreamReader[memoryview]):
    """Reads bytes, chunk by chunk, without a copy."""

    def _read(self, chunk: ObjectID) -> memoryview:
        return memoryview(self._client.get(chunk)).cast("B")


class ByteStreamWriter(StreamWriter):
    """Writes bytes; many small writes become one chunk, a large one several."""

    buffer_size_limit = _BUFFER_BYTES_MAX

    def __init__(self, client: Any, stream: ObjectID) -> None:
        super().__init__(client, stream)
        self._buffer = bytearray()

    def next(self, size: int) -> memoryview:
        """Return a chunk of `size` bytes, all 0, to write into: until the next call of any kind.

        Waits until there is room for it.
        """
        self._flush()
        view = self._begin(size)
        if size:
            np.frombuffer(view, np.uint8).fill(0)
        return view

    def write(self, body: Any) -> None:
        """Write bytes; they are handed over when there are many, or at the end."""
        limit = max(self.buffer_size_limit, 1)
        self._buffer += body
        if len(self._buffer) >= limit:
            self._flush()

    def finish(self) -> None:
        """Say that all was written."""
        self._flush()
        super().finish()

    def fail(self, reason: str = "") -> None:
        """Say that there was trouble: the reader is told, behind what was written."""
        self._flush()
        super().fail(reason)

    def _flush(self) -> None:
        if not self._buffer:
            return
        body, self._buffer = self._buffer, bytearray()
        rest = memoryview(body)
        while rest:
            size = min(len(rest), max(self.buffer_size_limit, 1))
            with self._chunk(size) as view:
                view[:] = rest[:size]
            rest = rest[size:]


class ByteStream(BaseStream):
    """A stream of bytes."""

    typename = "vineyard::ByteStream"

    def _make_reader(self, client: Any) -> ByteStreamReader:
        return ByteStreamReader(client, self.id)

    def _make_writer(self, client: Any) -> ByteStreamWriter:
        return ByteStreamWriter(client, self.id)
