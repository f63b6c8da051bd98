"""Who makes values of objects that were put together from parts, by their type names.

A face knows how its tensors and frames become arrays and frames again; `Objects.get` asks it,
and what knows it is loaded when the first such object is got.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from entrepot.errors import EntrepotError, TypeMismatchError
from entrepot.layers.tier import Found

__all__ = ["Reader", "knows", "read", "register"]

Reader = Callable[[Mapping[int, Found], int], Any]
"""Makes the value of an object, given its id and the records of all that it is made of."""

_finders: dict[str, str] = {}
"""By the beginning of type names: `module:function`, which returns the reader of a type name."""


def register(prefix: str, finder: str) -> None:
    """Say who knows the objects whose type name begins with `prefix`.

    Args:
        prefix: For instance `vineyard::`.
        finder: `module:function`. The function is given a type name; it returns its reader, or
            None if it does not know it.
    """
    _finders[prefix] = finder


def _find(typename: str) -> Reader | None:
    for prefix, finder in _finders.items():
        if typename.startswith(prefix):
            module, _, function = finder.partition(":")
            found: Reader | None = getattr(importlib.import_module(module), function)(typename)
            return found
    return None


def knows(typename: str) -> bool:
    """Tell whether somebody makes values of objects of a type."""
    return _find(typename) is not None


def read(typename: str, found: Mapping[int, Found], id: int) -> Any:
    """Return the value of an object of a type that somebody knows.

    Raises:
        TypeMismatchError: The object is not as its type says, or needs a module that is not here.
    """
    reader = _find(typename)
    assert reader is not None
    try:
        return reader(found, id)
    except EntrepotError:
        raise
    except Exception as error:
        raise TypeMismatchError(
            f"object {id:016x} is a {typename} that cannot be made a value here: {error}",
            "depot.objects.meta() tells what it is made of",
        ) from error
