"""Streams of batches of Arrow, in Arrow's own stream format."""

from __future__ import annotations

import importlib
from typing import Any

from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard.io.stream import BaseStream, StreamReader, StreamWriter

__all__ = ["DataframeStream", "DataframeStreamReader", "DataframeStreamWriter"]


def _arrow() -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise ImportError(
            "streams of frames need pyarrow: pip install 'entrepot[vineyard]'"
        ) from error


class DataframeStreamReader(StreamReader[Any]):
    """Reads batches, whose columns lie in shared memory."""

    def _read(self, chunk: ObjectID) -> Any:
        return _batch_in(self._client.get(chunk))

    def read_table(self) -> Any:
        """Read all that comes; return it as one table, or None where nothing came.

        The table is a copy: a stream may well be larger than the memory that its chunks pass
        through, and what is looked at there cannot be freed.
        """
        batches: list[Any] = []
        while True:
            try:
                chunk = self._next_id()
            except StopIteration:
                break
            batches.append(_batch_in(bytes(self._client.get(chunk))))
        return _arrow().Table.from_batches(batches) if batches else None


def _batch_in(body: Any) -> Any:
    """Return the batch of a chunk, as a view of it."""
    pa = _arrow()
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        batches = list(reader)
        if len(batches) == 1:
            return batches[0]
        table = pa.Table.from_batches(batches, schema=reader.schema)
        combined = table.combine_chunks().to_batches()
        return combined[0] if combined else _empty_batch(reader.schema)


class DataframeStreamWriter(StreamWriter):
    """Writes batches: each is a chunk, in Arrow's own stream format."""

    def write(self, batch: Any) -> None:
        """Write a batch; wait until there is room for it."""
        pa = _arrow()
        counted = pa.MockOutputStream()
        _write_batch(pa, counted, batch)
        with (
            self._chunk(counted.size()) as view,
            pa.FixedSizeBufferWriter(pa.py_buffer(view)) as to,
        ):
            _write_batch(pa, to, batch)

    def write_table(self, table: Any) -> None:
        """Write the batches of a table; of an empty one, a batch of no rows."""
        for batch in table.to_batches() or [_empty_batch(table.schema)]:
            self.write(batch)


def _write_batch(pa: Any, sink: Any, batch: Any) -> None:
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)


class DataframeStream(BaseStream):
    """A stream of batches of Arrow."""

    typename = "vineyard::DataframeStream"

    def _make_reader(self, client: Any) -> DataframeStreamReader:
        return DataframeStreamReader(client, self.id)

    def _make_writer(self, client: Any) -> DataframeStreamWriter:
        return DataframeStreamWriter(client, self.id)


def _empty_batch(schema: Any) -> Any:
    pa = _arrow()
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)
