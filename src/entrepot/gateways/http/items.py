"""Operations on items: GetItem, GetItems, PutItem, UpdateItem."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from entrepot import settings
from entrepot.errors import ExpressionError, NotFoundError
from entrepot.gateways.http import bodies
from entrepot.gateways.http.handles import Handles
from entrepot.gateways.http.messages import (
    JSON,
    Outcome,
    Reply,
    Request,
    Steps,
    Write,
    json_reply,
    last_modified,
    refuse,
)
from entrepot.gateways.http.targets import below
from entrepot.layers import expressions
from entrepot.layers.attributes import Attribute
from entrepot.layers.tables import core, scan
from entrepot.v3io._protocol import (
    INVALID,
    UPDATE_MODES,
    attribute_to_json,
    attributes_from_json,
    decode_marker,
    encode_marker,
    verifier_of,
)

__all__ = ["get_item", "get_items", "put_item", "update_item"]

_STEPS_MAX: Final = 50
"""Steps after which a page with some items ends, full or not."""
_encode = msgspec.json.Encoder().encode


def get_item(handles: Handles, request: Request) -> Outcome:
    """Answer the attributes of an item."""
    asked = bodies.read_body(bodies.GetItem, request.body)
    path = request.path
    if asked.table_name or asked.key is not None:
        path = _path(request, asked.table_name, asked.key)
    directory, _, name = path.rpartition("/")
    raw = handles.engine.read(core.find_item, handles.place(request.container, directory), name)
    if raw is None:
        raise NotFoundError(path)
    entry = core.decode_exact(raw)
    found = scan.project(_names(asked.attributes_to_get), name, entry)
    item = {attribute: attribute_to_json(value) for attribute, value in found.items()}
    return json_reply({"Item": item}, _stamp(entry.modified_ns))


@functools.lru_cache(maxsize=1024)
def _names(text: str | None) -> tuple[str, ...]:
    if not text or text == "*":
        return scan.ALL
    return scan.names_of(text.split(","))


def _stamp(modified_ns: int) -> bytes:
    """Return the headers that say which version of an item it is."""
    return b"X-v3io-transaction-verifier: %s\r\n%s" % (
        verifier_of(modified_ns).encode(),
        last_modified(modified_ns),
    )


def _path(request: Request, table: str | None, key: dict[str, dict[str, Any]] | None) -> str:
    """Return the path of an item that the body names."""
    path = below(request.path, table or "")
    if key is None:
        return path
    value = _key_value(key)[1]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise refuse(400, INVALID, f"Key is {value!r}: a key is a text or a whole number")
    return below(path, str(value))


def _key_value(key: dict[str, dict[str, Any]]) -> tuple[str, Attribute]:
    if len(key) != 1:
        raise refuse(400, INVALID, 'Key is of the form {"name": {"S": "value"}}')
    ((name, value),) = attributes_from_json(key).items()
    return name, value


# Scans.


def get_items(handles: Handles, request: Request) -> Outcome:
    """Answer a page of the items of a table."""
    asked = bodies.read_body(bodies.GetItems, request.body)
    path = below(request.path, asked.table_name) if asked.table_name else request.path
    place = handles.place(request.container, path)
    names = asked.attributes_to_get
    limit = _number(asked.limit, "Limit") or settings.PAGE_ITEMS_MAX
    plan = scan.plan(
        expressions.condition(asked.filter_expression or "", {}),
        ("*", "__name") if not names or names == "*" else _names(names),
        _range(asked),
        min(limit, settings.PAGE_ITEMS_MAX),
        True,
    )
    behind = decode_marker(asked.marker) if asked.marker else ""
    return Steps(_pages(handles, plan._replace(looks=settings.HTTP_LOOKS_MAX), place, behind))


def _range(asked: bodies.GetItems) -> scan.Range:
    segment, segments = _number(asked.segment, "Segment"), _number(asked.total_segment, "Segments")
    if (segment is None) != (segments is None):
        raise refuse(400, INVALID, "Segment and TotalSegment go together")
    return scan.Range(
        asked.sharding_key or None,
        asked.sort_key_range_start or None,
        asked.sort_key_range_end or None,
        segment or 0,
        1 if segments is None else segments,
    )


def _number(value: int | str | None, name: str) -> int | None:
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise refuse(400, INVALID, f"{name} is {value[:20]!r}, which is no number")
        value = int(value)
    return value


def _pages(
    handles: Handles, plan: scan.Plan, place: core.entries.Place, behind: str
) -> Iterator[Reply | None]:
    """Look for a page of items in steps; yield None after a step, and the reply at last."""
    items: list[bytes] = []
    size = 0
    for step in range(1, 1 << 62):
        page = handles.engine.read(plan.page, place, behind)
        for _, row in page.rows:
            item = _encode({name: attribute_to_json(value) for name, value in row.items()})
            items.append(item)
            size += len(item)
        left = plan.limit - len(page.rows)
        is_full = bool(items) and (
            left == 0 or size >= settings.PAGE_BYTES_MAX or step >= _STEPS_MAX
        )
        if page.behind is None or is_full:
            yield _items_reply(items, page.behind)
            return
        plan, behind = plan._replace(limit=left), page.behind
        yield None


def _items_reply(items: list[bytes], behind: str | None) -> Reply:
    head = {"LastItemIncluded": "TRUE", "NumItems": len(items)}
    if behind is not None:
        head = {
            "LastItemIncluded": "FALSE",
            "NumItems": len(items),
            "NextMarker": encode_marker(behind),
        }
    body = b'%s,"Items":[%s]}' % (_encode(head)[:-1], b",".join(items))
    return Reply(200, body, JSON)


# Writing.


def put_item(handles: Handles, request: Request) -> Outcome:
    """Store the attributes of an item."""
    asked = bodies.read_body(bodies.PutItem, request.body)
    if asked.item is None:
        if asked.update_expression is not None:
            return _update(handles, request, asked)
        raise refuse(400, INVALID, "the field Item is missing")
    given = attributes_from_json(asked.item)
    path = request.path
    if asked.table_name or asked.key is not None:
        path = _path(request, asked.table_name, asked.key)
        if asked.key is not None:
            name, value = _key_value(asked.key)
            given.setdefault(name, value)
    mode, condition = _mode(asked), asked.condition_expression or ""
    return Write(handles.table(request.container).putting(path, given, mode, condition), _stored)


def update_item(handles: Handles, request: Request) -> Outcome:
    """Change an item by an expression."""
    return _update(handles, request, bodies.read_body(bodies.PutItem, request.body))


def _update(handles: Handles, request: Request, asked: bodies.PutItem) -> Outcome:
    path, expression = request.path, asked.update_expression or ""
    parameters: dict[str, object] = {}
    if asked.table_name or asked.key is not None:
        path = _path(request, asked.table_name, asked.key)
        if asked.key is not None:
            name, parameters["key"] = _key_value(asked.key)
            if "`" in name:
                raise ExpressionError(f"the key's name {name!r} has a backtick")
            expression = f"`{name}` = :key; {expression}"
    mode = core.CREATE if _mode(asked) == core.CREATE else core.MERGE
    call = handles.table(request.container).updating(
        path,
        expression,
        asked.condition_expression or "",
        asked.alternate_update_expression or None,
        parameters,
        mode,
    )
    return Write(call, _stored)


def _mode(asked: bodies.PutItem) -> str:
    if not asked.update_mode:
        return core.REPLACE
    try:
        return UPDATE_MODES[asked.update_mode]
    except KeyError:
        known = ", ".join(UPDATE_MODES)
        raise refuse(
            400, INVALID, f"UpdateMode is {asked.update_mode!r:.60}, not one of {known}"
        ) from None


def _stored(entry: Any) -> Reply:
    return Reply(200, headers=_stamp(entry.modified_ns))
