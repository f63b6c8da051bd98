"""A small HTTP server: it records what it is asked and replies what it is told.

::

    with HttpServer() as server:
        server.replies += [Reply(404, b"{}"), DROP, Reply()]
        ...  # a client asks
        server.asked[0].target

Replies are used up in the order of the requests; without one left it is 200 and empty. `answer`
may be set to a function of the request instead.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

__all__ = ["CUT", "DROP", "Asked", "HttpServer", "Reply"]


@dataclass(frozen=True)
class Reply:
    """What the server replies."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


DROP = Reply(0)
"""No reply: the connection is closed."""
CUT = Reply(-1, b"half")
"""A reply that ends in the middle."""


@dataclass(frozen=True)
class Asked:
    """One request, as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def function(self) -> str | None:
        """The operation that it names, if it does."""
        return self.headers.get("X-v3io-function")


class HttpServer(ThreadingHTTPServer):
    """Listens on a free port of this machine, in threads of its own."""

    daemon_threads = False  # closing joins them
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: deque[Reply] = deque()
        self.answer: Callable[[Asked], Reply] | None = None
        self.asked: list[Asked] = []
        self.connections: set[socket.socket] = set()
        self.connections_made = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def reply_to(self, asked: Asked) -> Reply:
        """Record a request, and return what is replied."""
        with self._lock:
            self.asked.append(asked)
            if self.answer is None:
                return self.replies.popleft() if self.replies else Reply()
        return self.answer(asked)

    def hang_up(self) -> None:
        """Close all connections, as a server does to those that were idle for long."""
        with self._lock:
            for connection in self.connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it is closed already

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, and serve it in a thread."""
        with self._lock:
            self.connections.add(request)
            self.connections_made += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection, and close it."""
        with self._lock:
            self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of tests break off."""

    def close(self) -> None:
        """Stop listening and end all connections."""
        self.shutdown()
        self._thread.join()
        self.hang_up()
        self.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one write per reply
    server: HttpServer

    def _serve(self) -> None:
        asked = Asked(
            self.command, self.path, dict(self.headers.items()), self._body(), id(self.connection)
        )
        reply = self.server.reply_to(asked)
        if reply.status <= 0:
            if reply is CUT:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + reply.body)
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204 and "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD" and reply.status != 204:
            self.wfile.write(reply.body)
        self.close_connection = reply.headers.get("Connection") == "close"

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 so http.server calls them

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *args: object) -> None:
        """Say nothing."""
