"""Targets of requests: which container, and where in it."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote_to_bytes

from entrepot import settings
from entrepot.errors import LimitError
from entrepot.gateways.http.messages import Request, refuse
from entrepot.layers import entries
from entrepot.v3io._protocol import INVALID

__all__ = ["below", "queries", "read_target"]

_SHORT_CHARS = 255
"""A path that is no longer has no part that is too long, and is not too long itself."""

assert _SHORT_CHARS <= settings.ENTRY_NAME_CHARS_MAX
assert _SHORT_CHARS * 4 <= settings.NAME_BYTES_MAX


def read_target(request: Request) -> None:
    """Set a request's container, path and query from its target.

    Repeated slashes count as one, and so do those at the ends.

    Raises:
        RefusedError: It is no target, or leads out of the container.
    """
    raw, _, request.query = request.target.partition(b"?")
    if not raw.startswith(b"/"):
        raw = _path_of_whole(raw)
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise refuse(400, INVALID, "the path is no UTF-8, percent-encoded") from None
    request.is_directory = text.endswith("/")
    parts = [part for part in text.split("/") if part]
    if not parts:
        return
    request.container = parts[0]
    request.path = _checked("/".join(parts[1:]), parts)


def _path_of_whole(raw: bytes) -> bytes:
    """Return the path of `http://host/path`, as proxies are asked for it."""
    scheme, found, rest = raw.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise refuse(400, INVALID, "the target is no path: it begins with a slash")
    return b"/" + rest.partition(b"/")[2]


def below(path: str, more: str) -> str:
    """Return the path of what the body of a request names beneath its target.

    Raises:
        RefusedError: It leads out of the container.
    """
    parts = [part for part in f"{path}/{more}".split("/") if part]
    return _checked("/".join(parts), parts)


def _checked(path: str, parts: list[str]) -> str:
    if "." in parts or ".." in parts:
        raise refuse(400, INVALID, "a path has no parts . and ..: it goes down only")
    if "\x00" in path:
        raise refuse(400, INVALID, "a path has no byte 0")
    if len(path) <= _SHORT_CHARS:
        return path
    try:
        return entries.whole(path)
    except LimitError as error:
        raise refuse(400, INVALID, str(error)) from error


def queries(request: Request) -> dict[str, str]:
    """Return the parameters behind the question mark; of repeated ones the last.

    Raises:
        RefusedError: They are too many, or no UTF-8.
    """
    if not request.query:
        return {}
    try:
        text = request.query.decode()
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100))
    except ValueError as error:
        raise refuse(400, INVALID, f"the query cannot be read: {error}") from error
