"""Which operation a request asks for: by its function if it names one, else by its method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from entrepot.gateways.http import items, listings, objects, streams
from entrepot.gateways.http.handles import Handles
from entrepot.gateways.http.messages import Outcome, RefusedError, Request, refuse
from entrepot.v3io._protocol import INVALID, NO_ENTRY, Refusal

__all__ = ["ALL", "LIST_CONTAINERS", "READ", "ROUTES", "WRITE", "Route", "find_route"]

READ, WRITE, ALL = "r", "rw", "all"
"""What one must be allowed: to read or write a container, or everything."""

Run: TypeAlias = Callable[[Handles, Request], Outcome]


class Route(NamedTuple):
    """An operation."""

    name: str
    run: Run
    errors: str
    """How its errors are answered; see `refusal_of`."""
    right: str = READ
    gathers: bool = False
    """Whether it is one write, so that several of one connection may share a commit."""
    streams: bool = False
    """Whether its body is the bytes of an object, of any size."""


_FUNCTIONS: Final = {
    b"GetItem": Route("get_item", items.get_item, "item"),
    b"GetItems": Route("get_items", items.get_items, "items"),
    b"PutItem": Route("put_item", items.put_item, "item", WRITE, gathers=True),
    b"UpdateItem": Route("update_item", items.update_item, "item", WRITE, gathers=True),
    b"CreateStream": Route("create_stream", streams.create_stream, "create", WRITE, gathers=True),
    b"UpdateStream": Route("update_stream", streams.update_stream, "update", WRITE, gathers=True),
    b"DescribeStream": Route("describe_stream", streams.describe_stream, "describe"),
    b"PutRecords": Route("put_records", streams.put_records, "put", WRITE, gathers=True),
    b"Seek": Route("seek", streams.seek_shard, "seek"),
    b"SeekShard": Route("seek", streams.seek_shard, "seek"),
    b"GetRecords": Route("get_records", streams.get_records, "get"),
}
_GET: Final = Route("get_object", objects.get_object, "object")
_HEAD: Final = Route("head_object", objects.head_object, "object")
_LIST: Final = Route("list_directory", listings.list_directory, "container")
_HEAD_CONTAINER: Final = Route("head_container", objects.head_container, "container")
_CREATE: Final = Route("create_container", objects.create_container, "container", ALL)
_MAKE: Final = Route("make_directory", objects.make_directory, "object", WRITE)
_PUT: Final = Route("put_object", objects.put_object, "object", WRITE, gathers=True, streams=True)
_APPEND: Final = Route("append_object", objects.append_object, "object", WRITE, streams=True)
_DELETE: Final = Route("delete_object", objects.delete_object, "object", WRITE, gathers=True)
_PUTS: Final = (b"PUT", b"POST")


def _refuse_root(handles: Handles, request: Request) -> Outcome:
    raise AssertionError("the gateway lists the containers itself: it knows who asks")


LIST_CONTAINERS: Final = Route("list_containers", _refuse_root, "container")

ROUTES: Final = (
    *_FUNCTIONS.values(),
    _GET,
    _HEAD,
    _LIST,
    _HEAD_CONTAINER,
    _CREATE,
    _MAKE,
    _PUT,
    _APPEND,
    _DELETE,
    LIST_CONTAINERS,
)


def find_route(request: Request) -> Route:
    """Return the operation that a request asks for; its target was read.

    Raises:
        RefusedError: There is none such.
    """
    if request.function:
        route = _FUNCTIONS.get(request.function)
        if route is None:
            name = request.function.decode("latin-1")
            raise refuse(400, INVALID, f"X-v3io-function is {name!r:.60}, which is unknown")
        if not request.container:
            raise refuse(404, NO_ENTRY, "Container not found")
        return route
    return _by_method(request)


def _by_method(request: Request) -> Route:
    method, path = request.method, request.path
    if method in (b"GET", b"HEAD"):
        if not request.container:
            return LIST_CONTAINERS
        if method == b"HEAD":
            return _HEAD if path else _HEAD_CONTAINER
        return _GET if path else _LIST
    if method not in (*_PUTS, b"DELETE"):
        name = method.decode("latin-1")
        raise RefusedError(Refusal(405, INVALID, f"{name} is no method of this API"))
    if not request.container:
        raise refuse(404, NO_ENTRY, "Container not found")
    if method == b"DELETE":
        if not path:
            raise refuse(403, -1, "Operation not permitted: containers are deleted where they are")
        return _DELETE
    if not path:
        return _CREATE
    if request.is_directory:
        return _MAKE
    return _APPEND if objects.is_append(request) else _PUT
