"""Items: put, update, get, scan."""

from __future__ import annotations

import functools
import operator
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from entrepot import settings
from entrepot.errors import LimitError, TypeMismatchError
from entrepot.layers.attributes import as_attribute, as_attributes
from entrepot.layers.tables import Range, core
from entrepot.layers.tables.core import CREATE, MERGE, REPLACE, decode_friendly, find_item
from entrepot.layers.tables.scan import ALL, EVERYTHING, all_of, project
from entrepot.v3io._direct.answers import JSON, Answer, filled, item_body, items_body, stamped
from entrepot.v3io._direct.store import Store
from entrepot.v3io._direct.works import Shared
from entrepot.v3io._protocol import UPDATE_MODES, decode_marker, encode_marker
from entrepot.v3io.dataplane.output import GetItemOutput, GetItemsOutput
from entrepot.v3io.dataplane.request import Arguments
from entrepot.v3io.dataplane.response import Response

__all__ = ["get_item", "get_items", "path_of", "put_item", "update_item", "whole_number"]

_NAME_ITSELF: Final = "__name"


# Reading.


def get_item(store: Store, container: str, arguments: Arguments) -> Response:
    """Read an item."""
    names = _names(arguments["attribute_names"])
    path, key = arguments["table_path"], arguments["key"]
    table = store.tables.get((container, path))
    if table is not None and type(key) is str and "/" not in key and key not in _NO_KEYS:
        place = table.place  # the short way, which most go
    else:
        path = path_of(arguments)
        store.check_name(container)
        if "/" in key or key in _NO_KEYS:
            place, key = store.place(container, path)
            table = store.table(container, "")
        else:
            table = store.table(container, arguments["table_path"])
            place = table.place
    raw = table.engine.read(find_item, place, key)
    if raw is None:
        raise core.missing_item(f"{place.path}/{key}")
    entry = decode_friendly(raw)
    item = all_of(entry, raw) if names is ALL else project(names, key, entry)
    output = filled(GetItemOutput, {"item": item})
    return Answer(
        200,
        output,
        functools.partial(item_body, output),
        lambda: stamped(entry.modified_ns, JSON, verifies=True),
    )


_NO_KEYS: Final = frozenset(("", ".", ".."))


def get_items(store: Store, container: str, arguments: Arguments) -> Response:
    """Read a page of a table."""
    store.check_name(container)
    path = arguments["table_path"]
    if arguments.get("table_name"):
        path = f"{path}/{arguments['table_name']}"
    names = _names(arguments["attribute_names"])
    marker = arguments.get("marker")
    limit = whole_number("limit", arguments.get("limit") or None, settings.PAGE_ITEMS_MAX)
    plan = store.table(container, path).plan(
        arguments.get("filter_expression") or "",
        names,
        _range(arguments),
        min(limit, settings.PAGE_ITEMS_MAX),
        {},
    )
    behind = decode_marker(marker) if marker else ""
    rows, behind = store.table(container, path).page(plan, behind)
    if names == ALL:  # all of a scan are those that users set, and the name
        for name, item in rows:
            item[_NAME_ITSELF] = name
    marker = None if behind is None else encode_marker(behind)
    output = filled(
        GetItemsOutput,
        {"last": behind is None, "next_marker": marker, "items": [item for _, item in rows]},
    )
    return Answer(200, output, functools.partial(items_body, output), lambda: JSON)


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return which attributes are asked for; names may be joined by commas."""
    if given == "*":
        return ALL
    return _split(given if isinstance(given, str) else ",".join(given))


@functools.lru_cache(1024)
def _split(joined: str) -> tuple[str, ...]:
    names = tuple(name for name in joined.split(",") if name)
    return EVERYTHING if "**" in names else names or ALL


def _range(arguments: Arguments) -> Range:
    segment, segments = arguments.get("segment"), arguments.get("total_segments")
    if segment in (None, "") and segments in (None, ""):
        number, count = 0, 1
    elif segment in (None, "") or segments in (None, ""):
        raise LimitError("segment and total_segments go together", "give both or none")
    else:
        number = whole_number("segment", segment, 0)
        count = whole_number("total_segments", segments, 1)
    return Range(
        _text("sharding_key", arguments.get("sharding_key")),
        _text("sort_key_range_start", arguments.get("sort_key_range_start")),
        _text("sort_key_range_end", arguments.get("sort_key_range_end")),
        number,
        count,
    )


def _text(what: str, value: object) -> str | None:
    """Return a text, or None for an empty one."""
    if value is not None and not isinstance(value, str):
        raise TypeMismatchError(f"{what} is {value!r}, a {type(value).__name__}", "give a string")
    return value or None


def whole_number(what: str, value: object, default: int) -> int:
    """Return a whole number, which may be written as text.

    Raises:
        LimitError: It is none.
    """
    if value is None or value == "":
        return default
    try:
        return int(value) if isinstance(value, str) else operator.index(cast("int", value))
    except (TypeError, ValueError) as error:
        raise LimitError(f"{what} is {value!r}, not a whole number") from error


# Writing.


def path_of(arguments: Arguments) -> str:
    """Return the path of an item; a key that begins with a slash is one of the container.

    Raises:
        LimitError: The key is empty.
    """
    table_path: str = arguments["table_path"]
    key: str = arguments["key"]
    path = posixpath.join(table_path, key)
    if not path or path.endswith("/"):
        raise LimitError(f"the key of an item is empty in {path!r}")
    return path


def put_item(store: Store, container: str, arguments: Arguments) -> Shared:
    """Replace the attributes of an item."""
    return _putting(store, container, arguments, REPLACE)


def update_item(store: Store, container: str, arguments: Arguments) -> Shared:
    """Change an item, by attributes or by an expression.

    Raises:
        RuntimeError: There are neither.
    """
    expression, otherwise = arguments.get("expression"), arguments.get("alternate_expression")
    if not arguments.get("attributes") and not expression:
        raise RuntimeError("One of expression or attributes must be populated for update item")
    mode = _mode(arguments.get("update_mode"))
    if arguments.get("attributes") and not otherwise:
        return _putting(store, container, arguments, mode)
    call = store.table(container, "").updating(
        path_of(arguments),
        expression or "",
        arguments.get("condition") or "",
        otherwise or None,
        mode=CREATE if mode == CREATE else MERGE,
    )
    return Shared(call, _written)


def _putting(store: Store, container: str, arguments: Arguments, mode: str) -> Shared:
    call = store.table(container, "").putting(
        path_of(arguments),
        _attributes(arguments["attributes"]),
        mode,
        arguments.get("condition") or "",
    )
    return Shared(call, _written)


def _written(entry: Any) -> Response:
    modified_ns: int = entry.modified_ns
    return Answer(200, headers=lambda: stamped(modified_ns, verifies=True))


def _attributes(given: Mapping[str, object]) -> Mapping[str, object]:
    """Return attributes as they are stored.

    Raises:
        AttributeError: One is of a type that cannot be.
        LimitError: A name cannot be.
        TypeError: A name is no text.
    """
    try:
        return as_attributes(given)
    except TypeMismatchError as error:
        for name, value in given.items():  # it is no dict: an AttributeError, too
            if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] of users
                raise TypeError(
                    f"an attribute is named {name!r}, a {type(name).__name__}"
                ) from error
            try:
                as_attribute(name, value)
            except TypeMismatchError:
                raise AttributeError(
                    f"Attribute {name} has unsupported type {type(value)}"
                ) from error
        raise


def _mode(given: str | None) -> str:
    if not given:
        return MERGE
    mode = UPDATE_MODES.get(given)
    if mode is None:
        raise LimitError(f"update_mode is {given!r}", f"it is one of {', '.join(UPDATE_MODES)}")
    return mode
