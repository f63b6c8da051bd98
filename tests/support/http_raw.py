"""A client of HTTP that sends bytes as a test says, and reads replies one by one."""

from __future__ import annotations

import base64
import json
import socket
from typing import Any, NamedTuple

from support.conditions import PATIENCE_S

__all__ = ["Answer", "Raw", "request"]


class Answer(NamedTuple):
    """A reply."""

    status: int
    headers: dict[str, str]
    """By their names as they came."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def request(
    method: str,
    target: str,
    body: bytes | dict[str, Any] | str | None = None,
    *,
    function: str | None = None,
    **headers: str,
) -> bytes:
    """Return the bytes of a request; `_` in the names of headers stands for `-`."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    elif isinstance(body, str):
        body = body.encode()
    lines = [f"{method} {target} HTTP/1.1", "Host: x"]
    if function is not None:
        lines.append(f"X-v3io-function: {function}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


class Raw:
    """A connection."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), PATIENCE_S)
        self._read = b""

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        function: str | None = None,
        **more: str,
    ) -> Answer:
        """Send a request and return its reply."""
        self.send(request(method, target, body, function=function, **more))
        return self.answer(has_body=method != "HEAD")

    def answer(self, *, has_body: bool = True) -> Answer:
        """Read a reply."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        status = int(first.split()[1])
        size = int(headers.get("Content-Length", "0")) if has_body and status >= 200 else 0
        while len(self._read) < size:
            self._more()
        body, self._read = self._read[:size], self._read[size:]
        return Answer(status, headers, body)

    def _more(self) -> None:
        piece = self.socket.recv(1 << 16)
        assert piece, f"the connection ended after {self._read!r}"
        self._read += piece

    def is_over(self) -> bool:
        """Wait until the other side closes; tell whether nothing more came before."""
        try:
            return not self._read and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    # Short forms of what many tests ask.

    def put_item(self, path: str, item: dict[str, Any], **fields: Any) -> Answer:
        """Send PutItem."""
        return self.ask("PUT", f"/lab/{path}", {"Item": item, **fields}, function="PutItem")

    def get_item(self, path: str, names: str = "*") -> Answer:
        """Send GetItem."""
        return self.ask("PUT", f"/lab/{path}", {"AttributesToGet": names}, function="GetItem")

    def scan(self, path: str, **fields: Any) -> Answer:
        """Send GetItems."""
        return self.ask("PUT", f"/lab/{path}/", fields, function="GetItems")

    def update(self, path: str, **fields: Any) -> Answer:
        """Send UpdateItem."""
        return self.ask("POST", f"/lab/{path}", fields, function="UpdateItem")

    def records(self, path: str, *records: dict[str, Any]) -> Answer:
        """Send PutRecords; `Data` is given as text."""
        sent = [{**r, "Data": base64.b64encode(r["Data"].encode()).decode()} for r in records]
        return self.ask("POST", f"/lab/{path}/", {"Records": sent}, function="PutRecords")
