"""A host buffer in an ASGI application, of whatever framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from entrepot import settings
from entrepot.errors import EntrepotError
from entrepot.layers.lines import Lines
from entrepot.syncstream._contract import Answer, Asked, answer, answer_refusal, refusal_of

__all__ = ["App", "Served"]

Message: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
Send: TypeAlias = "Callable[[Message], Awaitable[None]]"
App: TypeAlias = "Callable[[Message, Receive, Send], Awaitable[None]]"


def _path_of(scope: Message) -> str:
    """Return the path of a request, without that under which all is mounted, if it has it."""
    path, root = scope.get("path", ""), scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if root and path.startswith(root + "/") else path


class Served:
    """An ASGI application that answers for a buffer, and leaves all else to another one."""

    def __init__(self, app: App, *, lines: Callable[[], Lines], route: str) -> None:
        self._app = app
        self._lines = lines
        self._routes = {route: False, f"{route}-state": True}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        is_state = self._routes.get(_path_of(scope)) if scope["type"] == "http" else None
        if is_state is None:
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        found = await self._answer(scope, receive, is_state)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(found.body)).encode()),
        ]
        if found.allow:
            headers.append((b"allow", found.allow.encode()))
        await send({"type": "http.response.start", "status": found.status, "headers": headers})
        body = b"" if method == "HEAD" else found.body
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive, is_state: bool) -> Answer:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return answer_refusal(400, "the rest of the body did not come")
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > settings.LINES_BODY_BYTES_MAX:
                return answer_refusal(
                    413, f"the body has more than {settings.LINES_BODY_BYTES_MAX} bytes"
                )
            if not message.get("more_body"):
                break
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), True))
        kinds = (value for name, value in scope["headers"] if name.lower() == b"content-type")
        asked = Asked(
            scope["method"], is_state, query, b"".join(pieces), next(kinds, b"").decode("latin-1")
        )
        try:
            lines = self._lines()
        except EntrepotError as error:
            return answer_refusal(refusal_of(error), str(error))
        if lines.persistent:
            return await asyncio.to_thread(answer, lines, asked)
        return answer(lines, asked)
