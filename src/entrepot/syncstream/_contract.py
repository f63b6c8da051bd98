"""The HTTP contract of a host buffer, once: for Flask, for ASGI and for the gateway.

::

    POST   ROUTE        {"type": "str", "data": {"value": TEXT}}     a text
                        {"type": "error" | "warning", "data": …}     a serialized GroupedMessage
                        {"type": "close"}                            ends the partial line
    GET    ROUTE?n=K                                                 the last items
    DELETE ROUTE                                                     drops all
    GET    ROUTE-state?state=closed | maxlen | curlen
    POST   ROUTE-state  {"state": "closed", "value": …}              stops the mirrors
    DELETE ROUTE-state                                               ends the stop

Our mirror sends `writer` (an id, for a partial line of its own), `host`, `pid` and `stops`
(refuse this with 409 when mirrors are to stop) along; the original ignores them. A reply about
the state says `"writers": true`, so that our mirror knows that this is understood here.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

from entrepot import settings
from entrepot.errors import (
    AccessDeniedError,
    ClosedError,
    ConditionError,
    EntrepotError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
)
from entrepot.layers.commits import Call
from entrepot.layers.lines import ERROR, LINE, WARNING, By, Lines, Origin
from entrepot.syncstream._shelf import items_of
from entrepot.syncstream.base import GroupedMessage, is_serialized_grouped_message

__all__ = ["ALLOW", "Answer", "Asked", "answer", "answer_refusal", "refusal_of", "serialized"]

ALLOW: Final = "GET, HEAD, POST, DELETE, OPTIONS"
_SUCCESS: Final = b'{"message":"success"}\n'
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_JSON_TYPE: Final = re.compile(r"application/([\w.-]+\+)?json", re.IGNORECASE)
_ID_CHARS_MAX: Final = 255


class Asked(NamedTuple):
    """A request."""

    method: str
    is_state: bool
    """Whether it is about the state."""
    query: Mapping[str, str]
    body: bytes
    content_type: str


class Answer(NamedTuple):
    """A reply, in JSON."""

    status: int
    body: bytes
    allow: str = ""
    """For the header of that name."""


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def answer(lines: Lines, asked: Asked) -> Answer:
    """Do what is asked of a buffer; whatever is wrong is answered, and nothing is stored then."""
    try:
        if asked.method in ("GET", "HEAD"):
            return (_get_state if asked.is_state else _get)(lines, asked)
        if asked.method == "DELETE":
            (lines.resume if asked.is_state else lines.clear)()
            return Answer(200, _SUCCESS)
        if asked.method == "POST":
            (_post_state if asked.is_state else _post)(lines, _read_body(asked))
            return Answer(201, _SUCCESS)
    except _RefusedError as error:
        return answer_refusal(error.status, str(error))
    except EntrepotError as error:
        return answer_refusal(refusal_of(error), str(error))
    if asked.method == "OPTIONS":
        return Answer(200, b"", ALLOW)
    return answer_refusal(405, f"{asked.method} is no method of this API")


def answer_refusal(status: int, message: str) -> Answer:
    """Return a reply that says what is wrong."""
    return _reply(status, {"message": message}, ALLOW if status == 405 else "")


def refusal_of(error: EntrepotError) -> int:
    """Return the status of a reply for one of our errors."""
    if isinstance(error, ConditionError):
        return 409
    if isinstance(error, ClosedError):
        return 410
    if isinstance(error, (LimitError, TypeMismatchError)):
        return 400
    if isinstance(error, NotFoundError):
        return 404
    return 403 if isinstance(error, AccessDeniedError) else 507


def _reply(status: int, content: Mapping[str, object], allow: str = "") -> Answer:
    return Answer(status, msgspec.json.encode(content) + b"\n", allow)


def serialized(items: tuple[str | GroupedMessage, ...]) -> list[Any]:
    """Return items as they go over the wire."""
    return [item if isinstance(item, str) else item.serialize() for item in items]


# Reading.


def _get(lines: Lines, asked: Asked) -> Answer:
    size = _count(asked.query["n"]) if "n" in asked.query else None
    info = lines.info()
    if info.closed:
        raise ClosedError(f"the lines {lines.name!r} are closed")
    items = items_of(lines, info.max_lines if size is None else size, info.max_lines)
    return _reply(200, {"data": serialized(items), "message": "success"})


def _count(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _RefusedError(400, f"n is {text!r:.50}: it is a whole number")
    return int(text)


def _get_state(lines: Lines, asked: Asked) -> Answer:
    if "state" not in asked.query:
        raise _RefusedError(400, "the parameter state is missing")
    info = lines.info()
    found: dict[str, object] = {
        "closed": info.stopped,
        "maxlen": info.max_lines,
        "curlen": min(info.count + info.partials, info.max_lines),
    }
    data = found.get(asked.query["state"].strip())
    return _reply(200, {"data": data, "message": "success", "writers": True})


# Writing.


def _read_body(asked: Asked) -> dict[str, Any]:
    if len(asked.body) > settings.LINES_BODY_BYTES_MAX:
        raise _RefusedError(
            413,
            f"the body has {len(asked.body)} bytes, at most {settings.LINES_BODY_BYTES_MAX} "
            "are allowed",
        )
    kind = asked.content_type.partition(";")[0].strip()
    if not _JSON_TYPE.fullmatch(kind):
        raise _RefusedError(415, f"the body is {kind or 'nothing'!r:.50}, and not application/json")
    try:
        found = json.loads(asked.body)
    except RecursionError:
        raise _RefusedError(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise _RefusedError(400, f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _RefusedError(400, "the body is no JSON object")
    return cast("dict[str, Any]", found)


def _post_state(lines: Lines, body: dict[str, Any]) -> None:
    state = body.get("state")
    if not isinstance(state, str):
        raise _RefusedError(400, "the body has no state, or one that is no text")
    if state.strip() == "closed":
        stops = str(body.get("value")).casefold().strip() == "true"
        (lines.stop if stops else lines.resume)()


def _post(lines: Lines, body: dict[str, Any]) -> None:
    call = _write_of(lines, body)
    if call is None:
        return
    if lines.persistent:
        lines.tier.commits.write(call.fn, *call.args)
    else:
        run = cast("Callable[..., object]", lines.engine.write)
        run(call.fn, *call.args)


def _write_of(lines: Lines, body: dict[str, Any]) -> Call | None:
    """Return the write that is asked for; None if there is none."""
    kind = body.get("type")
    if not isinstance(kind, str) or kind.strip() not in ("str", "error", "warning", "close"):
        raise _RefusedError(400, f"the type is {kind!r:.50}: str, error, warning or close")
    kind, data = kind.strip(), body.get("data")
    by, stops = _by(lines, body), body.get("stops") is True
    if kind == "str":
        found = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
        value = found.get("value")
        if value is None or value == "":
            return None
        return lines.writing(str(value), by, obeys=stops)
    if kind == "close":
        return lines.writing("", by, LINE, obeys=stops)
    return lines.writing(
        "", by, WARNING if kind == "warning" else ERROR, _report_of(data), obeys=stops
    )


def _report_of(data: object) -> list[str]:
    if not is_serialized_grouped_message(data):
        raise _RefusedError(400, "the data is no serialized GroupedMessage")
    found = cast("dict[str, Any]", data).get("data")
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list):
        raise _RefusedError(400, "the data of a GroupedMessage is a list of texts")
    return [str(line) for line in cast("list[object]", found)]


def _by(lines: Lines, body: dict[str, Any]) -> By:
    writer, host, pid = body.get("writer"), body.get("host"), body.get("pid")
    number = 0  # all that say nothing of themselves share a partial line, as they always did
    if isinstance(writer, str) and 0 < len(writer) <= _ID_CHARS_MAX:
        digest = hashlib.blake2b(writer.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest, "big") >> 1
    text = host[:_ID_CHARS_MAX] if isinstance(host, str) else ""
    origin = Origin(
        text.encode("utf-8", "backslashreplace").decode(),
        pid if isinstance(pid, int) and 0 < pid < 1 << 32 else 0,
        "",
    )
    return By(origin, number, lines.engine.session.id)
