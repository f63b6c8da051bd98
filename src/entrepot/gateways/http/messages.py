"""Requests as they were read, replies as they are written, and what is yet to be done for one.

A handler takes a `Request` and returns an `Outcome`: a reply, or what must be done first. It
does not wait for anything: the connection does, and goes on with what comes of it.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final, TypeAlias

import msgspec

from entrepot.layers.access import Grant
from entrepot.layers.commits import Call
from entrepot.layers.containers import ObjectReader
from entrepot.v3io._protocol import Refusal

__all__ = [
    "JSON",
    "TEXT",
    "XML",
    "Download",
    "Outcome",
    "RefusedError",
    "Reply",
    "Request",
    "Steps",
    "Work",
    "Write",
    "json_reply",
    "last_modified",
    "refuse",
]

JSON: Final = b"application/json"
XML: Final = b"application/xml"
TEXT: Final = b"text/plain; charset=utf-8"
OCTETS: Final = b"application/octet-stream"

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class RefusedError(Exception):
    """A request that is not done, and why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def refuse(status: int, code: int, message: str) -> RefusedError:
    """Return the error that answers so."""
    return RefusedError(Refusal(status, code, message))


class Request:
    """A request: its head, and its body where that is small."""

    __slots__ = (
        "began",
        "body",
        "bytes_in",
        "closes",
        "container",
        "function",
        "grant",
        "headers",
        "is_directory",
        "is_http_1_0",
        "method",
        "path",
        "query",
        "route",
        "target",
    )

    def __init__(self) -> None:
        self.began = 0.0
        """When its first byte came."""
        self.method = b""
        self.target = b""
        """As it came."""
        self.headers: dict[bytes, bytes] = {}
        """Those that we know, by their names in lower case."""
        self.function = b""
        """Which operation on items or streams; empty: one on objects."""
        self.container = ""
        self.path = ""
        """In the container, without needless slashes."""
        self.is_directory = False
        """Whether its path ended with a slash."""
        self.query = b""
        self.body = b""
        self.bytes_in = 0
        self.closes = False
        """Whether the connection is over with it."""
        self.is_http_1_0 = False
        self.grant: Grant | None = None
        """What whoever sent it may do."""
        self.route: Any = None


class Reply:
    """What is answered. A body that is not all of it follows; then `size` says how much it is."""

    __slots__ = ("body", "closes", "headers", "kind", "size", "status")

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        kind: bytes = b"",
        headers: bytes = b"",
        size: int | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.kind = kind
        """Its `Content-Type`."""
        self.headers = headers
        """Further lines, each with its end."""
        self.size = len(body) if size is None else size
        self.closes = False
        """Whether the connection is over with it."""

    def encode(self, date: bytes, request: Request) -> bytes:
        """Return the bytes of it: one piece, as some clients want it."""
        parts = [_STATUS_LINES[self.status], date]
        if self.kind:
            parts += (b"Content-Type: ", self.kind, b"\r\n")
        if self.headers:
            parts.append(self.headers)
        if self.closes:
            parts.append(b"Connection: close\r\n")
        elif request.is_http_1_0:
            parts.append(b"Connection: keep-alive\r\n")
        if self.status == 204:
            parts.append(b"\r\n")
        else:
            parts.append(b"Content-Length: %d\r\n\r\n" % self.size)
            if request.method != b"HEAD":
                parts.append(self.body)
        return b"".join(parts)


class Write:
    """A write that shares a commit with others, and what its result is answered with."""

    __slots__ = ("call", "then")

    def __init__(self, call: Call, then: Callable[[Any], Outcome]) -> None:
        self.call = call
        self.then = then


class Work:
    """Something that takes long, for a thread."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[], Outcome]) -> None:
        self.fn = fn


class Steps:
    """Something that takes long, in short steps on the loop; the last one yields the reply."""

    __slots__ = ("steps",)

    def __init__(self, steps: Iterator[Reply | None]) -> None:
        self.steps = steps


class Download:
    """A large body, which is sent in pieces from a file."""

    __slots__ = ("count", "offset", "reader", "reply")

    def __init__(self, reply: Reply, reader: ObjectReader, offset: int, count: int) -> None:
        self.reply = reply
        self.reader = reader
        self.offset = offset
        self.count = count


Outcome: TypeAlias = Reply | Write | Work | Steps | Download


def json_reply(value: object, headers: bytes = b"") -> Reply:
    """Return a reply of status 200 with a value in JSON."""
    return Reply(200, _encode(value), JSON, headers)


_encode = msgspec.json.Encoder().encode


def last_modified(modified_ns: int) -> bytes:
    """Return the header line of that name."""
    text = email.utils.formatdate(modified_ns // 1_000_000_000, usegmt=True)
    return f"Last-Modified: {text}\r\n".encode()
