"""Items of tables as text: in JSON, and as a person types and reads them.

An item is one JSON object: its key as `__name`, and its attributes. Each type has a form of
its own, so that what comes back is what went out::

    5   1.5   true   "text"               as in JSON; 1 is an int, 1.0 a float
    [1, 2]   [1.0, 2.5]                   arrays of ints, and of floats
    {"$bytes": "AAEC"}                    bytes, in base64
    {"$time": "2026-11-21T08:30:00.5Z"}   a moment; with up to nine decimals
    {"$float": "nan"}                     nan, inf and -inf
    {"$floats": [1.5, "nan"]}             arrays of floats that are empty, or hold one of these

null stands for an attribute that is not there. Moments without a zone are UTC, and those
before the year 1 or behind 9999 are written as "SECONDS:NANOSECONDS" since 1970.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from array import array
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from entrepot.errors import LimitError, TypeMismatchError
from entrepot.layers.attributes import Timestamp
from entrepot.layers.tables import Range, Table

__all__ = [
    "NAME",
    "as_json",
    "as_text",
    "exact_rows",
    "from_json",
    "from_word",
    "iso",
    "item_from_json",
    "item_json",
    "moment_of",
    "names_of",
]

NAME: Final = "__name"
"""What an item's key is called in files: the system attribute that holds it."""

INT: Final = re.compile(r"-?[1-9][0-9]{0,299}|0")
FLOAT: Final = re.compile(
    r"-?(?:(?:0|[1-9][0-9]{0,299})(?:\.[0-9]{0,299})?|\.[0-9]{1,299})(?:[eE][+-]?[0-9]{1,9})?"
    r"|nan|-?inf"
)
BOOLS: Final = {"true": True, "True": True, "TRUE": True} | {
    "false": False,
    "False": False,
    "FALSE": False,
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT: Final = re.compile(r"(\d{4}-.*?)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?")
_SECONDS: Final = re.compile(r"(-?\d{1,19}):(\d{1,9})")


def exact_rows(
    table: Table, where: str, names: list[str] | None, limit: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield keys and attributes as they are stored: moments to the nanosecond, typed arrays."""
    plan = table.plan(where, names, Range(), limit or None, {}, exact=True)
    behind: str | None = ""
    left = limit
    while behind is not None and left != 0:
        if left is not None and left < plan.limit:
            plan = plan._replace(limit=left)
        page = table.page(plan, behind)
        yield from page.rows
        behind = page.behind
        left = None if left is None else left - len(page.rows)


def names_of(text: str | None) -> list[str] | None:
    """Return the names that `--names a,b` means; None if all are."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]


# To JSON.


def item_json(key: str, attributes: Mapping[str, object]) -> str:
    """Return an item as one line of JSON."""
    document = {NAME: key, **{name: as_json(value) for name, value in attributes.items()}}
    return json.dumps(document, ensure_ascii=False, allow_nan=False)


def as_json(value: object) -> object:
    """Return an attribute in its JSON form."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Timestamp):
        return {"$time": iso(value)}
    if isinstance(value, datetime):
        return {"$time": iso(Timestamp.of(value))}
    if isinstance(value, array):
        elements = cast("list[Any]", value.tolist())
        if value.typecode == "q" or (elements and all(map(math.isfinite, elements))):
            return elements
        return {"$floats": [n if math.isfinite(n) else repr(n) for n in elements]}
    return value


def iso(moment: Timestamp) -> str:
    """Return a moment as text."""
    try:
        second = _EPOCH + timedelta(seconds=moment.seconds)
    except OverflowError:
        return f"{moment.seconds}:{moment.nanoseconds:09}"
    decimals = f".{moment.nanoseconds:09}".rstrip("0").removesuffix(".")
    return f"{second.replace(tzinfo=None).isoformat()}{decimals}Z"


def as_text(value: object) -> str:
    """Return an attribute as a person reads it, and as CSV has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return iso(value)
    if isinstance(value, array):
        return json.dumps(value.tolist())
    return repr(value) if isinstance(value, float) else str(value)


# From JSON.


def item_from_json(text: str | bytes) -> dict[str, object]:
    """Return the attributes in a JSON object, and `__name` if it is there.

    Raises:
        TypeMismatchError: It is no JSON object, or holds what an item cannot.
    """
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TypeMismatchError(f"it is no JSON: {error or 'nested too deeply'}") from error
    if not isinstance(document, dict):
        raise TypeMismatchError(
            f"it is no JSON object but a {type(document).__name__}", 'write {"name": value, …}'
        )
    found: dict[str, object] = {}
    for name, value in cast("dict[str, object]", document).items():
        if value is not None:
            found[name] = from_json(name, value)
    return found


def from_json(name: str, value: object) -> object:
    """Return the attribute that a JSON form stands for.

    Raises:
        TypeMismatchError: It stands for none.
    """
    if isinstance(value, dict):
        return _tagged(name, cast("dict[str, object]", value))
    if isinstance(value, list):
        return _array(name, cast("list[object]", value))
    return value


def _tagged(name: str, value: dict[str, object]) -> object:
    if len(value) == 1:
        ((tag, inner),) = value.items()
        try:
            if tag == "$bytes" and isinstance(inner, str):
                return base64.b64decode(inner, validate=True)
            if tag == "$time" and isinstance(inner, str):
                return moment_of(inner)
            if tag == "$float" and inner in ("nan", "inf", "-inf"):
                return float(cast("str", inner))
            if tag == "$floats" and isinstance(inner, list):
                return array("d", [_float(n) for n in cast("list[object]", inner)])
        except (binascii.Error, ValueError) as error:
            raise TypeMismatchError(f"attribute {name!r} is no {tag}: {error}") from error
    raise TypeMismatchError(
        f"attribute {name!r} is a JSON object",
        'objects are only {"$bytes": …}, {"$time": …}, {"$float": …} and {"$floats": …}',
    )


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is no float")
    return float(value)


def _array(name: str, elements: list[object]) -> object:
    if all(type(element) is int for element in elements):
        return elements
    if all(type(element) in (int, float) for element in elements):
        return array("d", cast("list[float]", elements))
    raise TypeMismatchError(f"attribute {name!r} is a list with more than numbers in it")


def moment_of(text: str) -> Timestamp:
    """Return the moment that a text stands for.

    Raises:
        ValueError: It stands for none.
    """
    if seconds := _SECONDS.fullmatch(text):
        return Timestamp(int(seconds[1]), int(seconds[2]))
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no moment, for instance 2026-11-21T08:30:00Z")
    moment = datetime.fromisoformat(found[1] + (found[3] or "+00:00"))
    return Timestamp(Timestamp.of(moment).seconds, int((found[2] or "0").ljust(9, "0")))


# From what a person types.


def from_word(name: str, text: str) -> object:
    """Return what is typed behind `name=`: a number, true or false, a JSON form, else text.

    Raises:
        TypeMismatchError: It begins as JSON, and is none.
        LimitError: A number has too many digits.
    """
    if text[:1] in ('"', "[", "{"):
        try:
            return from_json(name, json.loads(text))
        except (ValueError, RecursionError) as error:
            raise TypeMismatchError(
                f"{name}={text} begins as JSON, and is none",
                f"for text write {name}='{json.dumps(text, ensure_ascii=False)}'",
            ) from error
    if text in ("true", "false"):
        return BOOLS[text]
    if INT.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    if len(text) > 300 and re.fullmatch(r"-?[0-9]+", text):
        raise LimitError(f"{name} has {len(text)} digits", "300 are allowed")
    return text
