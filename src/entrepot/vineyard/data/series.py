"""Series of pandas."""

from __future__ import annotations

import importlib
from typing import Any

from entrepot.vineyard._meta import Object, ObjectMeta
from entrepot.vineyard.data.index import exact_column, plan_column
from entrepot.vineyard.data.utils import dump_label, load_label, named

__all__ = ["pandas_series_builder", "register_resolvers"]


def pandas_series_builder(client: Any, value: Any, builder: Any, **_options: Any) -> ObjectMeta:
    """Plan a series."""
    meta = named("vineyard::Series")
    dump_label(meta, "name", value.name)
    meta.add_member("index_", builder.plan(client, value.index))
    meta.add_member("value_", plan_column(client, value, builder))
    return meta


def pandas_series_resolver(obj: Object, resolver: Any) -> Any:
    """Return the series, on values in shared memory."""
    pandas: Any = importlib.import_module("pandas")
    index = resolver.run(obj.member("index_"))
    value = resolver.run(obj.member("value_"))
    if obj.member("value_").typename == "vineyard::PickleBuffer":
        value = exact_column(value, index)
    return pandas.Series(
        value,
        index=index,
        name=load_label(obj.meta, "name"),
        copy=False,
    )


def register_resolvers(context: Any) -> None:
    """Register how objects become series."""
    context.register_built_in("vineyard::Series", pandas_series_resolver)
