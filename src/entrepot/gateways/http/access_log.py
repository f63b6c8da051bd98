"""The access log: a line of JSON for each request that was answered."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

import msgspec

from entrepot import settings
from entrepot.errors import UnavailableError
from entrepot.gateways.http.messages import Reply, Request

__all__ = ["AccessLog"]

_encode = msgspec.json.Encoder().encode
_STANDARD_OUTPUT: Final = 1


class AccessLog:
    """A file to which lines are appended; several processes may append to one."""

    def __init__(self, path: str) -> None:
        """Open it.

        Args:
            path: Where; `-` is standard output.

        Raises:
            UnavailableError: It cannot be written.
        """
        self._path = path
        self._lines: list[bytes] = []
        self._size = 0
        try:
            self._fd = (
                os.dup(_STANDARD_OUTPUT)
                if path == "-"
                else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            )
        except OSError as error:
            raise UnavailableError(
                f"the access log {path} cannot be written: {error.strerror}"
            ) from error

    def add(
        self, peer: str, operation: str, request: Request, reply: Reply, seconds: float
    ) -> None:
        """Note a request that was answered."""
        line = _encode(
            {
                "time": time.time(),
                "client": peer,
                "key": "" if request.grant is None else request.grant.id,
                "operation": operation,
                "method": request.method.decode("latin-1"),
                "target": request.target[:2048].decode("utf-8", "replace"),
                "status": reply.status,
                "bytes_in": request.bytes_in,
                "bytes_out": 0 if request.method == b"HEAD" else reply.size,
                "seconds": round(seconds, 6),
            }
        )
        self._lines.append(line)
        self._size += len(line)
        if self._size > settings.HTTP_LOG_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what was noted."""
        if self._lines:
            data = b"\n".join(self._lines) + b"\n"
            self._lines, self._size = [], 0
            with contextlib.suppress(OSError):  # a full disk costs lines of a log, not requests
                while data:
                    data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        """Write what was noted, and close it; may be repeated."""
        if self._fd >= 0:
            self.flush()
            os.close(self._fd)
            self._fd = -1
