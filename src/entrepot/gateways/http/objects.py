"""Operations on objects, directories and containers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from entrepot.errors import ConflictError, NotFoundError
from entrepot.gateways.http.handles import Handles, path_of
from entrepot.gateways.http.messages import (
    OCTETS,
    Download,
    Outcome,
    RefusedError,
    Reply,
    Request,
    Work,
    Write,
    last_modified,
    refuse,
)
from entrepot.layers import entries
from entrepot.layers.containers import core
from entrepot.layers.entries import Entry, leaves_trash
from entrepot.v3io._protocol import INVALID, Refusal

__all__ = [
    "append_object",
    "check_upload",
    "create_container",
    "delete_object",
    "get_object",
    "head_container",
    "head_object",
    "is_append",
    "make_directory",
    "put_object",
    "upload",
]

_RANGE: Final = re.compile(rb"bytes=(\d{1,19})(?:-(\d{1,19})?)?|bytes=-(\d{1,19})")


# Reading.


def get_object(handles: Handles, request: Request) -> Outcome:
    """Answer the bytes of an object, or some of them."""
    container = handles.container(request.container)
    path = path_of(request.path)
    try:
        body = handles.engine.read(core.find_body, request.container, path)
        reader = None if body.data is not None else container.open(request.path)
    except ConflictError as error:
        raise NotFoundError(request.path) from error  # directories have no bytes
    size = len(body.data or b"") if reader is None else reader.info.size
    modified_ns = body.entry.modified_ns if reader is None else reader.info.modified_ns
    try:
        begin, end, is_part = _range(request.headers.get(b"range"), size)
    except RefusedError:
        if reader is not None:
            reader.close()
        raise
    headers = last_modified(modified_ns)
    if is_part:
        headers += b"Content-Range: bytes %d-%d/%d\r\n" % (begin, end - 1, size)
    status = 206 if is_part else 200
    if reader is not None:
        reply = Reply(status, b"", OCTETS, headers, end - begin)
        return Download(reply, reader, begin, end - begin)
    assert body.data is not None, "what is not in a file is in the catalog"
    data = body.data[begin:end] if is_part else body.data
    return Reply(status, data, OCTETS, headers)


def _range(header: bytes | None, size: int) -> tuple[int, int, bool]:
    """Return the first byte that is asked for, the one behind the last, and if that is a part."""
    found = None if header is None else _RANGE.fullmatch(header.strip())
    if found is None:  # also one in several pieces, or of another unit: all is answered then
        return 0, size, False
    first, last, count = found.groups()
    if count is not None:
        begin, end = max(size - int(count), 0), size
    else:
        begin, end = int(first), size
        if last is not None:
            if int(last) < begin:
                return 0, size, False
            end = min(int(last) + 1, size)
    if begin >= size:
        text = f"the range begins at {begin}, and the object has {size} bytes"
        raise RefusedError(Refusal(416, INVALID, text))
    return begin, end, True


def head_object(handles: Handles, request: Request) -> Outcome:
    """Answer how long an object is."""
    handles.container(request.container)
    entry = handles.engine.read(core.find, request.container, path_of(request.path))
    size = 0 if entry.kind in entries.DIRECTORIES else entry.size
    if entry.kind == entries.SHARD:
        size = 0  # it has records, and no body
    return Reply(200, b"", OCTETS, last_modified(entry.modified_ns), size)


def head_container(handles: Handles, request: Request) -> Outcome:
    """Answer whether a container is there."""
    handles.container(request.container)
    handles.engine.read(entries.get_container, request.container)
    return Reply(200)


# Writing.


def _done(result: object) -> Reply:
    return Reply(200)


def create_container(handles: Handles, request: Request) -> Outcome:
    """Make a container; one that is there is left as it is."""
    container = entries.check_container_name(request.container)
    return Write(handles.container(container).creating(exist_ok=True), _done)


def make_directory(handles: Handles, request: Request) -> Outcome:
    """Make a directory; one that is there is left as it is."""
    return Write(handles.container(request.container).making_directory(request.path), _done)


def is_append(request: Request) -> bool:
    """Tell whether the body goes behind what is there.

    Raises:
        RefusedError: It is to go somewhere else.
    """
    header = request.headers.get(b"range")
    if header is None:
        return False
    if header.strip() in (b"-1", b"bytes=-1"):
        return True
    raise refuse(400, INVALID, "bytes of an object are replaced all at once: use Range: -1")


def put_object(handles: Handles, request: Request) -> Outcome:
    """Store an object whose bytes are few."""
    call = handles.container(request.container).putting(request.path, request.body)
    assert call is not None, "large bodies take another way"

    def then(old: Entry | None) -> Reply:
        if old is not None and leaves_trash(old):
            handles.sweep()
        return Reply(200)

    return Write(call, then)


def append_object(handles: Handles, request: Request) -> Outcome:
    """Append few bytes to an object."""
    container = handles.container(request.container)

    def append() -> Reply:
        container.append(request.path, request.body)
        return Reply(200)

    def then(large: Entry | None) -> Outcome:
        return Reply(200) if large is None else Work(append)

    return Write(container.appending(request.path, request.body), then)


def delete_object(handles: Handles, request: Request) -> Outcome:
    """Delete an object or an empty directory."""
    call = handles.container(request.container).deleting(request.path)

    def then(gone: Entry) -> Reply:
        if leaves_trash(gone):
            handles.sweep()
        return Reply(204)

    return Write(call, then)


# Large ones.


def check_upload(handles: Handles, request: Request) -> None:
    """Refuse an upload that cannot end well, before its bytes are read.

    Raises:
        EntrepotError: The container is not there, or there is a directory of that name.
    """
    handles.container(request.container)
    number = handles.engine.read(entries.get_container, request.container).id
    path = path_of(request.path)
    found = handles.engine.read(entries.find_entry, number, path)
    if found is not None and found.kind != entries.OBJECT:
        raise ConflictError(f"{request.path!r} is a directory or a shard, not an object")


def upload(handles: Handles, request: Request, pieces: Iterable[bytes]) -> Reply:
    """Store or append what comes in pieces: for a thread."""
    container = handles.container(request.container)
    if is_append(request):
        container.append(request.path, pieces)
    else:
        container.put(request.path, pieces)
    return Reply(200)
