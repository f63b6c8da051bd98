"""HTTP by the standard library, over a pool of connections.

A connection is in one of these places, and there are always `max_connections`:

1. in the queue of free ones; whoever sends takes it from there and waits while it is empty;
2. with a thread that sends on it or reads from it;
3. parked beside a request that was sent, until somebody waits for its reply.

One that fails is closed, and a new one, which is not connected yet, takes its place.
"""

from __future__ import annotations

import http.client
import queue
import ssl
import threading
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from entrepot.v3io.dataplane.request import Request
from entrepot.v3io.dataplane.response import Expected, Response
from entrepot.v3io.dataplane.transport import abstract

__all__ = ["Connection", "Transport"]

_CLOSED: Final = "Cannot send request on a closed client"
_FILE_BLOCK_BYTES: Final = 1 << 18
# What happens to a request on a connection that the server has meanwhile given up.
_STALE: Final = (
    BrokenPipeError,
    ConnectionResetError,
    http.client.CannotSendRequest,
    http.client.RemoteDisconnected,
    TimeoutError,
    ssl.SSLError,
)


class Connection(Protocol):
    """What is asked of a connection; `http.client.HTTPConnection` has it."""

    def request(self, method: str, url: str, body: Any, headers: Any, /) -> None:
        """Send a request."""
        ...

    def getresponse(self) -> Any:
        """Return the reply: an object with `code`, `headers` and `read()`."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Transport(abstract.Transport):
    """Sends requests over connections that stay open.

    A request whose reply does not come is sent once more, so it may be done twice.

    The arguments are those of every transport; `timeout` is not used: see
    `set_connection_timeout`.
    """

    _connection_timeout_s: float = 20
    _request_retries_max: int = 2

    def __init__(
        self,
        logger: abstract.Log,
        endpoint: str | None = None,
        max_connections: int | None = None,
        timeout: float | None = None,
        verbosity: str | None = None,
    ) -> None:
        found = abstract.find_endpoint(endpoint)
        super().__init__(logger, found, max_connections, timeout, verbosity)
        parts = urlsplit(found)
        self._host = parts.netloc
        self._base_path = parts.path
        self._ssl_context = _unverified() if parts.scheme == "https" else None
        self._lock = threading.Lock()
        self._closed = False
        self._free: queue.SimpleQueue[Connection | None] = queue.SimpleQueue()
        self._parked: dict[int, tuple[Request, Connection]] = {}
        for _ in range(self.max_connections):
            self._free.put(self._create_connection(self._host, self._ssl_context))

    @classmethod
    def set_connection_timeout(cls, timeout: float) -> None:
        """Set how many seconds connections of clients made from now on wait for the server."""
        cls._connection_timeout_s = timeout

    @classmethod
    def get_connection_timeout(cls) -> float:
        """Return how many seconds a connection waits for the server."""
        return cls._connection_timeout_s

    @classmethod
    def set_request_max_retries(cls, retries: int) -> None:
        """Set how often a request is sent once more if its connection turns out to be stale."""
        cls._request_retries_max = retries

    @classmethod
    def get_request_max_retries(cls) -> int:
        """Return how often a request is sent once more if its connection turns out to be stale."""
        return cls._request_retries_max

    def requires_access_key(self) -> bool:
        """Whether nothing can be done without an access key: yes."""
        return True

    def close(self) -> None:
        """Close all connections; those in use are closed by who uses them."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle = [connection for _, connection in self._parked.values()]
            self._parked.clear()
            idle += self._drain()
        for connection in idle:
            connection.close()
        self._free.put(None)  # wakes who waits for a connection, one after the other

    def restart(self) -> None:
        """Replace the free connections by new ones."""
        with self._lock:
            connections = [] if self._closed else self._drain()
        for connection in connections:
            self._release(self._replace(connection))

    def send_request(self, request: Request) -> Request:
        """Send a request on a free connection, and return it for `wait_response`.

        Raises:
            RuntimeError: The client is closed.
            OSError: The server cannot be reached.
        """
        self.abandon_request(request)  # if it was sent before
        self._park(request, self._send(request, self._take_free()))
        return request

    def wait_response(
        self, request: Request, raise_for_status: Expected = None, num_retries: int = 1
    ) -> Response:
        """Return the reply to a request that was sent.

        Args:
            request: The request.
            raise_for_status: When the reply raises, if the request does not say it.
            num_retries: How often the request is sent once more if the connection fails.

        Raises:
            HttpResponseError: The status of the reply is not expected.
            RuntimeError: The client is closed, or nothing was sent.
            OSError: The server cannot be reached.
        """
        connection = self._unpark(request)
        if connection is None:
            raise RuntimeError(
                _CLOSED if self._closed else "Cannot wait for a request that was not sent"
            )
        response = None
        while response is None:
            try:
                reply = connection.getresponse()
                response = Response(request.output, reply.code, reply.headers, reply.read())
            except BaseException as error:
                connection = self._replace(connection)
                if (
                    num_retries <= 0
                    or self._closed
                    or not isinstance(error, Exception)
                    or not request.rewind_body()
                ):
                    self._release(connection)
                    raise
                num_retries -= 1
                self.log("Sending once more", error=repr(error))
                connection = self._send(request, connection)
        self._release(connection)
        return self._accept(request, response, raise_for_status)

    def abandon_request(self, request: Request) -> None:
        """Close the connection of a request that was sent: nobody will read its reply."""
        connection = self._unpark(request)
        if connection is not None:
            self._release(self._replace(connection))

    def _create_connection(self, host: str, ssl_context: ssl.SSLContext | None) -> Connection:
        """Return a new connection, which connects when it is used; it sets TCP_NODELAY itself."""
        timeout, block = self._connection_timeout_s, _FILE_BLOCK_BYTES
        if ssl_context is None:
            return http.client.HTTPConnection(host, timeout=timeout, blocksize=block)
        return http.client.HTTPSConnection(
            host, timeout=timeout, blocksize=block, context=ssl_context
        )

    def _send(self, request: Request, connection: Connection) -> Connection:
        """Send a request, and return the connection that it was sent on."""
        self._log_request(request)
        target = self._base_path + request.encode_path()
        retries = self._request_retries_max
        while True:
            try:
                connection.request(request.method, target, request.body, request.headers)
            except BaseException as error:
                connection = self._replace(connection)
                if retries <= 0 or not isinstance(error, _STALE) or not request.rewind_body():
                    self._release(connection)
                    raise
                retries -= 1
                self.log("Sending once more", error=repr(error))
            else:
                return connection

    # The pool.

    def _take_free(self) -> Connection:
        if not self._closed:
            connection = self._free.get()
            if connection is not None:
                return connection
            self._free.put(None)  # for who waits next
        raise RuntimeError(_CLOSED)

    def _release(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed:
                self._free.put(connection)
                return
        connection.close()

    def _replace(self, connection: Connection) -> Connection:
        """Close a connection and return a new one."""
        connection.close()
        try:
            return self._create_connection(self._host, self._ssl_context)
        except BaseException:
            self._release(connection)  # the pool keeps its size: this one connects again
            raise

    def _park(self, request: Request, connection: Connection) -> None:
        request.transport = connection
        with self._lock:
            if not self._closed:
                self._parked[id(request)] = request, connection
                return
        connection.close()
        raise RuntimeError(_CLOSED)

    def _unpark(self, request: Request) -> Connection | None:
        request.transport = None
        with self._lock:
            _, connection = self._parked.pop(id(request), (None, None))
        return connection

    def _drain(self) -> list[Connection]:
        connections: list[Connection] = []
        while True:
            try:
                connection = self._free.get_nowait()
            except queue.Empty:
                return connections
            if connection is not None:
                connections.append(connection)


def _unverified() -> ssl.SSLContext:
    """Return what accepts every certificate, as the original does: clusters sign their own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
