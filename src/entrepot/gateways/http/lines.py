"""Buffers of lines, as mirrors of syncstream write and read them: `/lines/NAME` and its state.

What is asked is done by the face's contract, on the lines of the depot; the first request for
a name makes its buffer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

import entrepot
from entrepot import settings
from entrepot.errors import EntrepotError, LimitError
from entrepot.gateways.http.handles import Handles
from entrepot.gateways.http.messages import JSON, Outcome, Reply, Request, Work
from entrepot.gateways.http.targets import queries
from entrepot.layers.lines import Lines
from entrepot.syncstream._contract import Answer, Asked, answer, answer_refusal, refusal_of

__all__ = ["CONTAINER", "LineBuffers"]

CONTAINER: Final = "lines"
"""What access keys call all buffers together."""
_BEGIN: Final = b"/lines/"
_STATE: Final = "-state"
_KEPT: Final = 1000


class LineBuffers:
    """The buffers of one depot."""

    def __init__(self, depot: entrepot.Depot) -> None:
        self._depot = depot
        keep = functools.lru_cache(maxsize=_KEPT)
        self._find: Callable[[str], Lines] = keep(self._open)

    def name_of(self, request: Request) -> str | None:
        """Return which buffer, or state of one, a request is about; None: it is about none."""
        target = request.target
        if not target.startswith(_BEGIN) or request.function:
            return None
        name = unquote(target[len(_BEGIN) :].partition(b"?")[0].decode("latin-1"))
        return None if not name or "/" in name else name

    def begin(self, request: Request, name: str) -> None:
        """Set what a request is about."""
        request.container, request.path = CONTAINER, name
        request.query = request.target.partition(b"?")[2]

    def run(self, handles: Handles, request: Request) -> Outcome:
        """Answer a request."""
        is_state = request.path.endswith(_STATE) and request.path != _STATE
        name = request.path[: -len(_STATE)] if is_state else request.path
        try:
            lines = self._find(name)
        except EntrepotError as error:
            return _reply(answer_refusal(refusal_of(error), str(error)))
        kind = request.headers.get(b"content-type", b"").decode("latin-1")
        asked = Asked(
            request.method.decode("latin-1"), is_state, queries(request), request.body, kind
        )
        if lines.persistent:
            return Work(lambda: _reply(answer(lines, asked)))
        return _reply(answer(lines, asked))

    def _open(self, name: str) -> Lines:
        known = self._depot.list_lines()
        if name not in known and len(known) >= settings.LINE_BUFFERS_MAX:
            raise LimitError(f"there are {len(known)} buffers of lines, and no more are made")
        return self._depot.lines(name)


def _reply(found: Answer) -> Reply:
    reply = Reply(found.status, found.body, JSON)
    if found.allow:
        reply.headers = f"Allow: {found.allow}\r\n".encode()
    return reply
