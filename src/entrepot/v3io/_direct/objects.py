"""Containers and objects: list, head, get, put, delete."""

from __future__ import annotations

import contextlib
import functools
import io
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from entrepot import settings
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, EntrepotError, LimitError, NotFoundError
from entrepot.layers import entries
from entrepot.layers.containers import ObjectReader, core
from entrepot.layers.streams.core import NotAStreamError, StreamRecord, get_stream
from entrepot.v3io import _protocol
from entrepot.v3io._direct import listings
from entrepot.v3io._direct.answers import Answer, filled, refused, stamped
from entrepot.v3io._direct.items import path_of, whole_number
from entrepot.v3io._direct.store import Store
from entrepot.v3io._direct.works import Alone, Shared
from entrepot.v3io._protocol import Refusal
from entrepot.v3io.common.helpers import url_join
from entrepot.v3io.dataplane.output import ContainerCommonPrefix, GetContainersOutput
from entrepot.v3io.dataplane.request import Arguments, encode_create_schema, object_body
from entrepot.v3io.dataplane.response import Response

__all__ = [
    "check_path",
    "create_schema",
    "delete_item",
    "delete_object",
    "get_container_contents",
    "get_containers",
    "get_object",
    "head_object",
    "is_large",
    "put_object",
]


# Containers.


def get_containers(store: Store, container: str | None, arguments: Arguments) -> Response:
    """List the containers."""
    found = store.engine.read(entries.list_containers)
    output = filled(GetContainersOutput, {"containers": [listings.container(c) for c in found]})
    body = functools.partial(listings.containers_body, output)
    return Answer(200, output, body, lambda: listings.XML)


def get_container_contents(store: Store, container: str, arguments: Arguments) -> Response:
    """List a directory."""
    store.check_name(container)
    limit = whole_number("limit", arguments.get("limit"), settings.PAGE_ITEMS_MAX)
    path = arguments["path"]
    output = listings.page(
        store.container(container),
        path,
        marker=arguments.get("marker") or "",
        limit=limit,
        only_directories=bool(arguments.get("directories_only")),
        has_all=bool(arguments.get("get_all_attributes")),
    )
    streams: dict[str, StreamRecord] = {}
    if arguments.get("get_all_attributes"):
        streams = store.engine.read(_streams_among, container, output.common_prefixes)
    marker = arguments.get("marker") or ""
    body = functools.partial(listings.page_body, output, path, marker, streams)
    return Answer(200, output, body, lambda: listings.XML)


def _streams_among(
    tx: Transaction, container: str, directories: Sequence[ContainerCommonPrefix]
) -> dict[str, StreamRecord]:
    """Return what streams among some directories are, by path."""
    found: dict[str, StreamRecord] = {}
    for directory in directories:
        path = directory.prefix[:-1]
        with contextlib.suppress(NotFoundError, NotAStreamError):
            number = entries.get_container(tx, container).id
            found[path] = get_stream(tx, number, entries.split(path))[1]
    return found


# Reading objects.


def head_object(store: Store, container: str, arguments: Arguments) -> Response:
    """Look whether there is an object or a directory."""
    path = check_path(container, arguments)
    store.check_name(container)
    info = store.container(container).info(path)
    size = 0 if info.is_directory else info.size
    return Answer(
        200,
        headers=lambda: stamped(info.modified_ns, _OCTETS | {"Content-Length": str(size)}),
    )


def get_object(store: Store, container: str, arguments: Arguments) -> Response:
    """Read an object, or a part of it."""
    path = check_path(container, arguments)
    offset = whole_number("offset", arguments.get("offset"), 0)
    count = whole_number("num_bytes", arguments.get("num_bytes"), 0)
    if offset < 0 or count < 0:
        raise LimitError(f"{count} bytes from {offset} on: numbers of bytes are not negative")
    place, name = store.place(container, path)
    target = store.container(container)
    try:
        body = target.tier.engine.read(core.find_body_at, place, name)
        if body.data is not None:
            return _part(
                io.BytesIO(body.data), body.entry.size, body.entry.modified_ns, offset, count
            )
        with target.open(path) as reader:
            return _part(reader, reader.info.size, reader.info.modified_ns, offset, count)
    except ConflictError as error:  # a directory has no bytes
        raise NotFoundError(error.message) from error


def _part(
    reader: io.BytesIO | ObjectReader, size: int, modified_ns: int, offset: int, count: int
) -> Response:
    """Answer with a part of an object; with all of it if neither offset nor count is given."""
    if not offset and not count:
        return _bytes(reader.read(), modified_ns)
    if offset >= size:
        text = f"the object has {size} bytes, and those from {offset} on are asked for"
        return refused(Refusal(416, _protocol.INVALID, text), None)
    reader.seek(offset)
    data = reader.read(count or -1)
    return _bytes(data, modified_ns, f"bytes {offset}-{offset + len(data) - 1}/{size}")


def is_large(store: Store, container: str | None, arguments: Arguments) -> bool:
    """Tell whether an object is so large that reading it keeps others waiting."""
    try:
        size = store.container(container or "").info(check_path(container, arguments)).size
    except EntrepotError:
        return False  # to read it says the same
    return size > settings.MIB


_OCTETS: Final = {"Content-Type": "application/octet-stream"}


def _bytes(data: bytes, modified_ns: int, span: str = "") -> Response:
    fields = _OCTETS | {"Content-Range": span} if span else _OCTETS
    answer = Answer(206 if span else 200, None, headers=lambda: stamped(modified_ns, fields))
    answer.body = data
    return answer


# Writing.


def put_object(store: Store, container: str, arguments: Arguments) -> Shared | Alone:
    """Write an object, add to it, or make a directory."""
    path = check_path(container, arguments)
    body = _content(arguments.get("body"))
    target = store.container(container)
    if path.endswith("/"):
        return Shared(target.making_directory(path), _done)
    if arguments.get("append"):
        return Alone(lambda: _done(target.append(path, body)))
    call = target.putting(path, body)
    if call is None:
        return Alone(lambda: _done(target.put(path, body)))

    def replaced(old: entries.Entry | None) -> Response:
        target.swept(old)
        return Answer(200)

    return Shared(call, replaced)


def _content(body: Any) -> Any:
    """Return a body as a container takes it."""
    if isinstance(body, io.TextIOBase):
        return _texts(body)
    if isinstance(body, bytearray | memoryview):  # object_body() would copy it
        return cast("bytes", body)
    found = object_body(body)
    return b"" if found is None else found


def _texts(file: io.TextIOBase) -> Iterator[bytes]:
    while text := file.read(settings.MIB):
        yield text.encode()


def create_schema(store: Store, container: str, arguments: Arguments) -> Shared | Alone:
    """Write the object that describes a table."""
    body = encode_create_schema(container, None, arguments)[-1]
    path = posixpath.join(arguments["table_path"], ".#schema")
    return put_object(store, container, {"path": path, "body": body})


def delete_object(store: Store, container: str, arguments: Arguments) -> Shared:
    """Delete an object or an empty directory."""
    return _deleting(store, container, check_path(container, arguments))


def delete_item(store: Store, container: str, arguments: Arguments) -> Shared:
    """Delete an item."""
    return _deleting(store, container, path_of(arguments))


def _deleting(store: Store, container: str, path: str) -> Shared:
    store.check_name(container)
    target = store.container(container)

    def gone(old: entries.Entry) -> Response:
        target.swept(old)
        return Answer(204)

    return Shared(target.deleting(path), gone)


def _done(_: object) -> Response:
    return Answer(200)


def check_path(container: str | None, arguments: Arguments) -> str:
    """Return the path of an object.

    Raises:
        IndexError: It is empty: as over HTTP.
    """
    path: str = arguments["path"]
    url_join(container or "", path)
    return path
