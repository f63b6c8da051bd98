"""Streams of objects that are stored already: batches, or anything else."""

from __future__ import annotations

from typing import Any

from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard._meta import ObjectMeta
from entrepot.vineyard.io.stream import BaseStream, StreamReader, StreamWriter

__all__ = ["RecordBatchStream", "RecordBatchStreamReader", "RecordBatchStreamWriter"]


class RecordBatchStreamReader(StreamReader[Any]):
    """Reads the values of objects. An object is deleted when the next one is read."""

    def _read(self, chunk: ObjectID) -> Any:
        return self._client.get(chunk)

    def next_metadata(self) -> ObjectMeta:
        """Wait for the next object; return its metadata."""
        return self._client.get_meta(self._next_id())


class RecordBatchStreamWriter(StreamWriter):
    """Appends objects."""

    def append(self, chunk: ObjectID) -> None:
        """Append an object: from now on it belongs to the stream.

        Raises:
            TypeError: It is not an id.
        """
        self._client.push_chunk(self._stream, chunk)


class RecordBatchStream(BaseStream):
    """A stream of objects."""

    typename = "vineyard::RecordBatchStream"

    def _make_reader(self, client: Any) -> RecordBatchStreamReader:
        return RecordBatchStreamReader(client, self.id)

    def _make_writer(self, client: Any) -> RecordBatchStreamWriter:
        return RecordBatchStreamWriter(client, self.id)
