"""Indexes of pandas."""

from __future__ import annotations

import importlib
from typing import Any, cast

import numpy as np

from entrepot.vineyard._meta import Object, ObjectMeta
from entrepot.vineyard.data.pickle import plan_pickle
from entrepot.vineyard.data.utils import dump_label, load_label, named

__all__ = ["exact_column", "pandas_index_builder", "plan_column", "register_resolvers"]


def is_numpys(dtype: Any, kinds: str) -> bool:
    """Tell whether a dtype is one of numpy's, and of these kinds."""
    return isinstance(dtype, np.dtype) and str(cast("Any", dtype).kind) in kinds


def plan_column(client: Any, column: Any, builder: Any) -> Any:
    """Plan the values of a column: an array where numpy has all of it, else pickled.

    So are dates: of an array of them the original's reader makes a frame that pandas cannot print.
    """
    if is_numpys(column.dtype, "biufc"):
        return builder.plan(client, column.to_numpy(copy=False))
    if str(column.dtype).startswith("Sparse["):
        return builder.plan(client, column.array)
    return plan_pickle(
        column.to_numpy(copy=False) if is_numpys(column.dtype, "O") else column.array
    )


def exact_column(values: Any, index: Any) -> Any:
    """Return the values of a column so that pandas does not make strings of objects."""
    if not hasattr(values, "dtype"):  # vineyard's clients store only the first one of strings
        raise TypeError(f"a column is {values!r}: its other values were not stored")
    if not is_numpys(values.dtype, "O"):
        return values
    pandas: Any = importlib.import_module("pandas")
    return pandas.Series(values, index=index, dtype=object, copy=False)


def pandas_index_builder(client: Any, value: Any, builder: Any, **_options: Any) -> ObjectMeta:
    """Plan an index. What is more than its values (a range, levels, a frequency) is kept."""
    pandas: Any = importlib.import_module("pandas")
    # vineyard has no name for pandas' strings: its index of them is one of objects.
    name = "object" if str(value.dtype).startswith("str") else str(value.dtype)
    meta = named("vineyard::Index", value_type_=name)
    dump_label(meta, "name", value.name)
    if type(value) is pandas.Index and is_numpys(value.dtype, "biufc"):
        meta.add_member("value_", builder.plan(client, value.to_numpy(copy=False)))
    else:
        meta["is_whole_"] = True
        meta.add_member("value_", plan_pickle(value))
    return meta


def pandas_index_resolver(obj: Object, resolver: Any) -> Any:
    """Return the index."""
    pandas: Any = importlib.import_module("pandas")
    value = resolver.run(obj.member("value_"))
    if obj.meta.get("is_whole_"):
        return value
    return pandas.Index(value, name=load_label(obj.meta, "name"), copy=False)


def register_resolvers(context: Any) -> None:
    """Register how objects become indexes."""
    context.register_built_in("vineyard::Index", pandas_index_resolver)
