"""Numbers, strings, bytes, lists and tuples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from entrepot.vineyard._blob import Blob
from entrepot.vineyard._meta import NewBlob, Object, ObjectMeta
from entrepot.vineyard.data.pickle import plan_pickle
from entrepot.vineyard.data.utils import named

__all__ = ["register_builders", "register_resolvers"]

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1
_WIRE_MAX = (1 << 63) - 1


def int_builder(client: Any, value: int, **options: Any) -> ObjectMeta:
    """Plan an int or a bool."""
    if not _INT_MIN <= value <= _INT_MAX:
        return plan_pickle(value)
    if value > _WIRE_MAX:
        return _by_pickle(value)
    kind = "bool" if isinstance(value, bool) else "int"
    return _scalar("int", value if kind == "bool" else int(value), kind, options)


def float_builder(client: Any, value: float, **options: Any) -> ObjectMeta:
    """Plan a float; numpy's too, whose type is told in `type_`."""
    if not math.isfinite(value):
        return _by_pickle(value)
    kind = "float64" if isinstance(value, np.float64) else "float"
    return _scalar("double", float(value), kind, options)


def str_builder(client: Any, value: str, **options: Any) -> ObjectMeta:
    """Plan a string."""
    return _scalar("std::string", str(value), "str", options)


def _by_pickle(value: float) -> ObjectMeta:
    """Plan a number that the wire has no form for: a depot has one."""
    return plan_pickle(value)


def _scalar(kind: str, value: Any, type_name: str, options: dict[str, Any]) -> ObjectMeta:
    def complete(meta: ObjectMeta) -> None:
        meta["typename"] = f"vineyard::Scalar<{kind}>"
        meta["value_"] = value
        meta["type_"] = type_name
        meta["nbytes"] = 0

    if options.get("global_"):  # a value that is put whole has no place for that
        meta = ObjectMeta(global_=True)
        complete(meta)
        return meta
    return ObjectMeta.of_whole(value, complete)


def scalar_resolver(obj: Object) -> Any:
    """Return the value of a scalar."""
    if obj.meta.has_load:
        return obj.meta.load()
    value, kind = obj.meta["value_"], obj.meta.get("type_")
    return bool(value) if kind == "bool" else value


def bytes_builder(client: Any, value: Any, **_options: Any) -> NewBlob:
    """Plan bytes, or what lends its bytes."""
    view = memoryview(value)
    return NewBlob([view.cast("B") if view.contiguous else memoryview(view.tobytes())])


def blob_resolver(obj: Blob) -> memoryview:
    """Return the bytes of a blob, read-only, without a copy."""
    return memoryview(obj)  # pyright: ignore[reportArgumentType] it lends its bytes


def sequence_builder(client: Any, value: Sequence[Any], builder: Any, **options: Any) -> ObjectMeta:
    """Plan a list or a tuple: each item is a member."""
    meta = named("vineyard::Sequence", size_=len(value))
    meta["__elements_-size"] = len(value)
    for number, item in enumerate(value):
        meta.add_member(f"__elements_-{number}", builder.plan(client, item))
    return meta


def sequence_resolver(obj: Object, resolver: Any) -> tuple[Any, ...]:
    """Return the items, as a tuple."""
    size = int(obj.meta["__elements_-size"])
    return tuple(resolver.run(obj.member(f"__elements_-{number}")) for number in range(size))


def _is_exactly(*kinds: type) -> Any:
    def is_exactly(value: object) -> bool:
        return type(value) in kinds

    return is_exactly


int_builder.whole = _is_exactly(int, bool)  # pyright: ignore[reportFunctionMemberAccess] what a client looks for
float_builder.whole = _is_exactly(float)  # pyright: ignore[reportFunctionMemberAccess] what a client looks for
str_builder.whole = _is_exactly(str)  # pyright: ignore[reportFunctionMemberAccess] what a client looks for


def register_builders(context: Any) -> None:
    """Register how these values become objects."""
    for kind, builder in (
        (int, int_builder),
        (float, float_builder),
        (str, str_builder),
        (bytes, bytes_builder),
        (memoryview, bytes_builder),
        (list, sequence_builder),
        (tuple, sequence_builder),
    ):
        context.register_built_in(kind, builder)


def register_resolvers(context: Any) -> None:
    """Register how objects become these values."""
    context.register_built_in("vineyard::Scalar", scalar_resolver)
    context.register_built_in("vineyard::Blob", blob_resolver)
    context.register_built_in("vineyard::Sequence", sequence_resolver)
