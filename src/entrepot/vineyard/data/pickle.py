"""Everything that has no form of its own: pickled.

In a depot the bytes of arrays anywhere inside such a value lie in shared memory and come back
without a copy; other stores get one pickle.
"""

from __future__ import annotations

import pickle
from typing import Any

from entrepot.vineyard._meta import Object, ObjectMeta
from entrepot.vineyard.data.utils import pickled

__all__ = ["plan_pickle", "register_builders", "register_resolvers"]


def plan_pickle(value: object) -> ObjectMeta:
    """Plan any value."""

    def complete(meta: ObjectMeta) -> None:
        blob = pickled(value)
        meta["typename"] = "vineyard::PickleBuffer"
        meta["size_"] = blob.nbytes
        meta["nbytes"] = blob.nbytes
        meta.add_member("buffer_", blob)

    return ObjectMeta.of_whole(value, complete)


def object_builder(client: Any, value: object, **_options: Any) -> ObjectMeta:
    """Plan any value."""
    return plan_pickle(value)


object_builder.whole = lambda value: True  # pyright: ignore[reportFunctionMemberAccess, reportUnknownLambdaType] what a client looks for


def pickle_resolver(obj: Object) -> Any:
    """Return the value of a pickle."""
    if obj.meta.has_load:
        return obj.meta.load()
    return pickle.loads(memoryview(obj.member("buffer_")))  # noqa: S301 within one user's depot  # pyright: ignore[reportArgumentType] it lends its bytes


def register_builders(context: Any) -> None:
    """Register how values become objects where nothing else is known."""
    context.register_built_in(object, object_builder)


def register_resolvers(context: Any) -> None:
    """Register how such objects become values."""
    context.register_built_in("vineyard::PickleBuffer", pickle_resolver)
