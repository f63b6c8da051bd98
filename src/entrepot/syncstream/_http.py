"""The HTTP client of mirrors and readers: one connection that stays open."""

from __future__ import annotations

import http.client
import json
import math
import threading
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

from entrepot.errors import EntrepotError, LimitError, UnavailableError

__all__ = ["Client", "ReplyError", "StoppedError"]

_PAUSES_S: Final = (0.0, 0.02, 0.1)
"""Before each further try to connect."""
_STALE: Final = (
    http.client.RemoteDisconnected,
    http.client.CannotSendRequest,
    BrokenPipeError,
    ConnectionResetError,
)
_BODY_BYTES_MAX: Final = 256 << 20


class ReplyError(EntrepotError, ConnectionError):
    """The server refuses what was asked; the message says why."""

    _errno = 111
    status = 0


class StoppedError(ReplyError):
    """The server refuses, as mirrors are to stop."""


class Client:
    """Sends requests to one address.

    Args:
        address: The URL of the buffer.
        timeout: Seconds to wait for a reply; None for ever.

    Raises:
        LimitError: The address is none.
    """

    def __init__(self, address: str, timeout: float | None) -> None:
        parts = urlsplit(address)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise LimitError(f"{address!r:.100} is no address: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise LimitError(f"{address!r:.100} is no address of a buffer", "http://HOST:PORT/NAME")
        self._is_https = parts.scheme == "https"
        self._host, self._port = host, port
        self.path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
        self.timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._has_answered = False

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Send a request; return the reply's JSON object.

        A GET is sent again when the connection turns out to be closed; so is a POST if the
        server had closed it before.

        Raises:
            ReplyError: The server refuses, or its reply is none of this API.
            UnavailableError: It cannot be reached, or does not answer in time.
        """
        body = None if content is None else json.dumps(content).encode()
        try:
            return self._ask(method, path, headers, body)
        except _STALE as error:
            was_open = self._has_answered
            self.close()
            if not was_open:
                raise self._unavailable(error) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unavailable(error) from error
        try:
            return self._ask(method, path, headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Exception:
        if isinstance(error, EntrepotError):
            return error
        what = "does not answer in time" if isinstance(error, TimeoutError) else f"fails: {error}"
        return UnavailableError(
            f"the buffer at {self._host}:{self._port or ''}{self.path} {what}",
            "what was written is kept, and sent with the next line",
        )

    def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> dict[str, Any]:
        connection = self._connection or self._connect()
        if connection.sock is not None:
            connection.sock.settimeout(self.timeout)
        connection.request(method, path, body, dict(headers))
        reply = connection.getresponse()
        data = reply.read(_BODY_BYTES_MAX)
        if reply.will_close:
            self.close()
        else:
            self._has_answered = True
        try:
            found: object = json.loads(data) if data else {}
        except (ValueError, RecursionError):
            found = None
        if reply.status >= 400 or not isinstance(found, dict):
            told = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
            message = told.get("message")
            kind = StoppedError if told.get("message") and reply.status == 409 else ReplyError
            error = kind(
                message
                if isinstance(message, str)
                else f"the server replies {reply.status} {reply.reason}, and not as a buffer does"
            )
            error.status = reply.status
            raise error
        return cast("dict[str, Any]", found)

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._is_https else http.client.HTTPConnection
        timeout = None if self.timeout is None or self.timeout == math.inf else self.timeout
        made = kind(self._host, self._port, timeout=timeout)
        self._has_answered = False
        for number, pause_s in enumerate(_PAUSES_S):
            threading.Event().wait(pause_s)
            try:
                made.connect()
            except ConnectionRefusedError:
                if number == len(_PAUSES_S) - 1:
                    raise
            else:
                break
        self._connection = made
        return made

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        connection, self._connection = self._connection, None
        self._has_answered = False
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        """Close the connection: mirrors are rarely closed, as their original needs not be."""
        connection: http.client.HTTPConnection | None = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()
