"""Data frames of pandas, and frames of a whole cluster."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from entrepot.vineyard._meta import Object, ObjectMeta
from entrepot.vineyard.data.index import exact_column, pandas_index_builder, plan_column
from entrepot.vineyard.data.pickle import plan_pickle
from entrepot.vineyard.data.series import pandas_series_builder
from entrepot.vineyard.data.sparse import pandas_sparse_array_builder
from entrepot.vineyard.data.tensor import global_meta
from entrepot.vineyard.data.utils import from_json, named, to_json

__all__ = ["make_global_dataframe", "register_pandas", "register_resolvers"]

_LABELS = (str, int, float, bool)


def pandas_dataframe_builder(
    client: Any,
    value: Any,
    builder: Any,
    partition_index: Sequence[int] = (-1, -1),
    row_batch_index: int = 0,
    **_options: Any,
) -> ObjectMeta:
    """Plan a frame, column by column."""
    columns = value.columns
    labels = [label if type(label) in _LABELS else str(label) for label in columns]
    meta = named("vineyard::DataFrame", nbytes=0, columns_=to_json(labels))
    meta["partition_index_row_"] = int(partition_index[0])
    meta["partition_index_column_"] = int(partition_index[1])
    meta["row_batch_index_"] = int(row_batch_index)
    meta["__values_-size"] = len(columns)
    for number, (label, (_, series)) in enumerate(zip(labels, value.items(), strict=True)):
        meta[f"__values_-key-{number}"] = to_json(label)
        meta.add_member(f"__values_-value-{number}", plan_column(client, series, builder))
    meta.add_member("index_", builder.plan(client, value.index))
    meta.add_member("columns_index_", plan_pickle(columns))
    if value.attrs:
        meta.add_member("attrs_", plan_pickle(value.attrs))
    return meta


def pandas_dataframe_resolver(obj: Object, resolver: Any) -> Any:
    """Return the frame. Its columns of numbers are views of shared memory: read-only."""
    pandas: Any = importlib.import_module("pandas")
    meta = obj.meta
    size = int(meta["__values_-size"])
    index = resolver.run(obj.member("index_")) if "index_" in meta else None
    arrays = {
        n: exact_column(resolver.run(obj.member(f"__values_-value-{n}")), index)
        for n in range(size)
    }
    frame = pandas.DataFrame(arrays, index=index, copy=False)
    if "columns_index_" in meta:
        frame.columns = resolver.run(obj.member("columns_index_"))
    else:
        frame.columns = [from_json(meta[f"__values_-key-{n}"]) for n in range(size)]
    if "attrs_" in meta:
        frame.attrs = resolver.run(obj.member("attrs_"))
    return frame


def make_global_dataframe(
    client: Any, blocks: Sequence[Any], extra_meta: dict[str, Any] | None = None
) -> ObjectMeta:
    """Store a frame of a whole cluster, made of frames that are stored, row after row.

    Returns:
        Its metadata. It is persisted, and so are its parts.
    """
    meta = global_meta(client, "vineyard::GlobalDataFrame", blocks, extra_meta)
    meta["partition_shape_row_"] = len(blocks)
    meta["partition_shape_column_"] = 1
    client.create_metadata(meta)
    client.persist(meta.id)
    return client.get_meta(meta.id)


def global_dataframe_resolver(obj: Object, resolver: Any) -> list[Any]:
    """Return the parts, as a list of frames."""
    size = int(obj.meta["partitions_-size"])
    return [resolver.run(obj.member(f"partitions_-{number}")) for number in range(size)]


def register_pandas(context: Any) -> None:
    """Register how values of pandas become objects."""
    pandas: Any = importlib.import_module("pandas")
    context.register(pandas.DataFrame, pandas_dataframe_builder)
    context.register(pandas.Series, pandas_series_builder)
    context.register(pandas.Index, pandas_index_builder)
    context.register(pandas.arrays.SparseArray, pandas_sparse_array_builder)


def register_resolvers(context: Any) -> None:
    """Register how objects become frames."""
    context.register_built_in("vineyard::DataFrame", pandas_dataframe_resolver)
    context.register_built_in("vineyard::GlobalDataFrame", global_dataframe_resolver)
