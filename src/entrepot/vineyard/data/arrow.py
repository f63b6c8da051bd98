"""Arrays, batches and tables of Arrow, and frames of polars.

Numbers, booleans and long strings have vineyard's forms, whose buffers are blobs; all other
types are pickled, which keeps their buffers in shared memory too, and their types exactly.
"""

from __future__ import annotations

import importlib
from typing import Any

from entrepot.vineyard._meta import NewBlob, Object, ObjectMeta
from entrepot.vineyard.data.base import bytes_builder
from entrepot.vineyard.data.pickle import plan_pickle
from entrepot.vineyard.data.utils import from_json, named, to_json

__all__ = ["register_arrow", "register_polars", "register_resolvers"]

_STRINGS = "vineyard::BaseBinaryArray<arrow::LargeStringArray>"
_BINARIES = "vineyard::BaseBinaryArray<arrow::LargeBinaryArray>"


def _arrow() -> Any:
    return importlib.import_module("pyarrow")


def _buffer(meta: ObjectMeta, name: str, buffer: Any) -> None:
    meta.add_member(name, NewBlob([memoryview(buffer).cast("B")] if buffer is not None else []))


def _counters(typename: str, value: Any) -> ObjectMeta:
    return named(typename, length_=len(value), null_count_=value.null_count, offset_=value.offset)


def arrow_array_builder(client: Any, value: Any, **_options: Any) -> ObjectMeta:
    """Plan an array of Arrow."""
    pa = _arrow()
    kind = value.type
    if pa.types.is_null(kind):
        return named("vineyard::NullArray", length_=len(value))
    is_number = pa.types.is_integer(kind) or kind in (pa.float32(), pa.float64())
    if is_number or pa.types.is_boolean(kind):
        name = f"vineyard::NumericArray<{kind}>" if is_number else "vineyard::BooleanArray"
        meta = _counters(name, value)
        bitmap, data = value.buffers()
        _buffer(meta, "buffer_", data)
    elif kind in (pa.large_string(), pa.large_binary()):
        meta = _counters(_STRINGS if kind == pa.large_string() else _BINARIES, value)
        bitmap, offsets, data = value.buffers()
        _buffer(meta, "buffer_offsets_", offsets)
        _buffer(meta, "buffer_data_", data)
    else:
        return plan_pickle(value)
    _buffer(meta, "null_bitmap_", bitmap)
    meta["nbytes"] = value.nbytes
    return meta


def _view(obj: Object, name: str) -> Any:
    blob: Any = obj.member(name)
    return _arrow().py_buffer(blob) if len(blob) else None


def _rebuilt(obj: Object, kind: Any, buffers: list[Any]) -> Any:
    meta, pa = obj.meta, _arrow()
    bitmap = _view(obj, "null_bitmap_")
    empty = pa.py_buffer(b"")
    filled = [bitmap, *(empty if buffer is None else buffer for buffer in buffers)]
    return pa.Array.from_buffers(
        kind, int(meta["length_"]), filled, int(meta["null_count_"]), int(meta["offset_"])
    )


def numeric_array_resolver(obj: Object) -> Any:
    """Return an array of numbers."""
    name = obj.meta.typename.partition("<")[2].rstrip(">")
    return _rebuilt(obj, _arrow().type_for_alias(name), [_view(obj, "buffer_")])


def boolean_array_resolver(obj: Object) -> Any:
    """Return an array of booleans."""
    return _rebuilt(obj, _arrow().bool_(), [_view(obj, "buffer_")])


def binary_array_resolver(obj: Object) -> Any:
    """Return an array of long strings or bytes."""
    pa = _arrow()
    kind = pa.large_string() if obj.meta.typename == _STRINGS else pa.large_binary()
    if not int(obj.meta["length_"]):
        return pa.array([], kind)
    return _rebuilt(obj, kind, [_view(obj, "buffer_offsets_"), _view(obj, "buffer_data_")])


def null_array_resolver(obj: Object) -> Any:
    """Return an array of nothing."""
    return _arrow().nulls(int(obj.meta["length_"]))


def fixed_size_binary_array_resolver(obj: Object) -> Any:
    """Return an array of bytes of one length."""
    width = int(obj.meta["byte_width_"])
    return _rebuilt(obj, _arrow().binary(width), [_view(obj, "buffer_")])


def list_array_resolver(obj: Object, resolver: Any) -> Any:
    """Return an array of lists."""
    pa = _arrow()
    meta = obj.meta
    inner = resolver.run(obj.member("values_"))
    return pa.Array.from_buffers(
        pa.large_list(inner.type),
        int(meta["length_"]),
        [_view(obj, "null_bitmap_"), _view(obj, "buffer_offsets_")],
        int(meta["null_count_"]),
        int(meta["offset_"]),
        children=[inner],
    )


def strings_of(obj: Object) -> Any:
    """Return the strings of an array of Arrow, as an array of objects."""
    return binary_array_resolver(obj).to_numpy(zero_copy_only=False)


def schema_builder(client: Any, value: Any, **_options: Any) -> ObjectMeta:
    """Plan a schema: as the message that Arrow makes of it."""
    body = value.serialize().to_pybytes()
    meta = named("vineyard::SchemaProxy", nbytes=len(body))
    meta["schema_binary_"] = to_json({"bytes": list(body)})
    return meta


def schema_resolver(obj: Object) -> Any:
    """Return the schema."""
    pa = _arrow()
    body = bytes(from_json(obj.meta["schema_binary_"])["bytes"])
    return pa.ipc.read_schema(pa.py_buffer(body))


def record_batch_builder(client: Any, value: Any, builder: Any, **_options: Any) -> ObjectMeta:
    """Plan a batch: a member for each column."""
    meta = named("vineyard::RecordBatch", row_num_=value.num_rows, column_num_=value.num_columns)
    meta["nbytes"] = value.nbytes
    meta["__columns_-size"] = value.num_columns
    meta.add_member("schema_", builder.plan(client, value.schema))
    for number, column in enumerate(value.columns):
        meta.add_member(f"__columns_-{number}", builder.plan(client, column))
    return meta


def record_batch_resolver(obj: Object, resolver: Any) -> Any:
    """Return the batch."""
    return _batch_of(obj, resolver, resolver.run(obj.member("schema_")))


def _batch_of(obj: Object, resolver: Any, schema: Any) -> Any:
    pa = _arrow()
    size = int(obj.meta["__columns_-size"])
    columns = [resolver.run(obj.member(f"__columns_-{number}")) for number in range(size)]
    if not columns:  # only a struct of no fields remembers how many rows there are
        rows = pa.array([{}] * int(obj.meta["row_num_"]), pa.struct([]))
        return pa.RecordBatch.from_struct_array(rows).replace_schema_metadata(schema.metadata)
    fitting = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(fitting, schema=schema)


def table_builder(
    client: Any, value: Any, builder: Any, from_polars: bool = False, **_options: Any
) -> ObjectMeta:
    """Plan a table: a member for each batch."""
    batches = value.to_batches()
    meta = named("vineyard::Table", num_rows_=value.num_rows, num_columns_=value.num_columns)
    meta["nbytes"] = value.nbytes
    meta["batch_num_"] = len(batches)
    meta["partitions_-size"] = len(batches)
    if from_polars:
        meta["from_polars"] = True
    meta.add_member("schema_", builder.plan(client, value.schema))
    for number, batch in enumerate(batches):
        meta.add_member(f"partitions_-{number}", builder.plan(client, batch))
    return meta


def table_resolver(obj: Object, resolver: Any) -> Any:
    """Return the table, its batches in shared memory."""
    pa = _arrow()
    schema = resolver.run(obj.member("schema_"))
    size = int(obj.meta["partitions_-size"])
    batches = [_batch_of(obj.member(f"partitions_-{n}"), resolver, schema) for n in range(size)]
    table = pa.Table.from_batches(batches, schema=schema)
    if obj.meta.get("from_polars"):
        polars: Any = importlib.import_module("polars")
        return polars.from_arrow(table)
    return table


def polars_builder(client: Any, value: Any, builder: Any, **_options: Any) -> ObjectMeta:
    """Plan a frame of polars: as a table of Arrow."""
    return table_builder(client, value.to_arrow(), builder, from_polars=True)


def register_arrow(context: Any) -> None:
    """Register how values of Arrow become objects."""
    pa = _arrow()
    context.register(pa.Buffer, bytes_builder)
    context.register(pa.Array, arrow_array_builder)
    context.register(pa.Schema, schema_builder)
    context.register(pa.RecordBatch, record_batch_builder)
    context.register(pa.Table, table_builder)


def register_polars(context: Any) -> None:
    """Register how frames of polars become objects."""
    polars: Any = importlib.import_module("polars")
    context.register(polars.DataFrame, polars_builder)


def register_resolvers(context: Any) -> None:
    """Register how objects become values of Arrow."""
    context.register_built_in("vineyard::NumericArray", numeric_array_resolver)
    context.register_built_in("vineyard::BooleanArray", boolean_array_resolver)
    context.register_built_in(_STRINGS, binary_array_resolver)
    context.register_built_in(_BINARIES, binary_array_resolver)
    context.register_built_in("vineyard::FixedSizeBinaryArray", fixed_size_binary_array_resolver)
    context.register_built_in("vineyard::LargeListArray", list_array_resolver)
    context.register_built_in("vineyard::NullArray", null_array_resolver)
    context.register_built_in("vineyard::SchemaProxy", schema_resolver)
    context.register_built_in("vineyard::RecordBatch", record_batch_resolver)
    context.register_built_in("vineyard::Table", table_resolver)
