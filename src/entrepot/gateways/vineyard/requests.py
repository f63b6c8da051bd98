"""What requests say, and how they are refused."""

from __future__ import annotations

from typing import Any

from entrepot.errors import EntrepotError
from entrepot.vineyard._errors import CODES, InvalidException, VineyardException, translated

__all__ = [
    "blobs_asked",
    "error_reply",
    "field",
    "id_field",
    "ids_field",
    "is_vineyards",
    "sizes_field",
]

Json = dict[str, Any]

_MISSING: Any = object()
_ID_MAX = (1 << 64) - 1
_BLOBS_MAX = 1 << 16
"""Most blobs that one request may name."""
_TEXT_MAX = 1000
"""Errors quote what they refuse, but not megabytes of it."""


def field(request: Json, name: str, kind: type, default: Any = _MISSING) -> Any:
    """Return a field of a request.

    Raises:
        InvalidException: It is missing, or of another type.
    """
    value = request.get(name, default)
    if value is _MISSING:
        raise InvalidException(f"the request has no {name!r}")
    if kind is int and isinstance(value, bool):
        raise InvalidException(f"{name!r} is {value!r}, not a number")
    if value is not default and not isinstance(value, kind):
        raise InvalidException(f"{name!r} is {value!r}, not of type {kind.__name__}")
    return value


def id_field(request: Json, name: str) -> int:
    """Return a field that is an id."""
    return _checked_id(field(request, name, int))


def ids_field(request: Json, name: str) -> list[int]:
    """Return a field that is a list of ids."""
    return [_checked_id(id) for id in field(request, name, list)]


def sizes_field(request: Json) -> list[int]:
    """Return the sizes of blobs to be made."""
    sizes = field(request, "sizes", list)
    if len(sizes) > _BLOBS_MAX:
        raise InvalidException(f"{len(sizes)} blobs at once, at most {_BLOBS_MAX} are allowed")
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise InvalidException(f"{size!r} is no size")
    return sizes


def blobs_asked(request: Json) -> list[int]:
    """Return the ids of blobs that are asked for: as a list, or by numbered fields."""
    ids = ids_field(request, "ids") if "ids" in request else None
    count = field(request, "num", int) if ids is None else len(ids)
    if not 0 <= count <= _BLOBS_MAX:
        raise InvalidException(f"{count} blobs at once, at most {_BLOBS_MAX} are allowed")
    return ids or [id_field(request, str(number)) for number in range(count)]


def _checked_id(id: Any) -> int:
    if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id <= _ID_MAX:
        raise InvalidException(f"{id!r} is no object id")
    return id


def error_reply(error: Exception) -> Json:
    """Return the reply that tells of an error."""
    if isinstance(error, EntrepotError):
        error = translated(error)
    if isinstance(error, RecursionError):
        error = InvalidException("what is asked for, or was sent, is nested too deeply")
    for code, kind in CODES.items():
        if type(error) is kind:
            return {"code": code, "message": getattr(error, "detail", str(error))[:_TEXT_MAX]}
    return {"code": 255, "message": f"{type(error).__name__}: {error}"[:_TEXT_MAX]}


def is_vineyards(error: Exception) -> bool:
    """Tell whether an error is one that a client is told of by its code."""
    return isinstance(error, (VineyardException, EntrepotError, RecursionError))
