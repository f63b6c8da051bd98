"""A gateway for v3io's web API: one event loop in a thread, on the durable tier of a depot.

What reads is done at once, on the loop: it takes microseconds. Writes gather, and go to the
disk together in a thread (`gathering`). What takes long goes to threads, or in steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import ipaddress
import logging
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import entrepot
from entrepot import settings
from entrepot.errors import EntrepotError, LimitError
from entrepot.gateways.http import listings
from entrepot.gateways.http.access_log import AccessLog
from entrepot.gateways.http.connection import Connection
from entrepot.gateways.http.credentials import key_of
from entrepot.gateways.http.gathering import Gathering
from entrepot.gateways.http.handles import Handles
from entrepot.gateways.http.lines import LineBuffers
from entrepot.gateways.http.messages import (
    JSON,
    TEXT,
    Outcome,
    RefusedError,
    Reply,
    Request,
    Work,
    refuse,
)
from entrepot.gateways.http.meter import new_meter
from entrepot.gateways.http.routes import ALL, LIST_CONTAINERS, READ, WRITE, Route, find_route
from entrepot.gateways.http.targets import read_target
from entrepot.gateways.http.uploads import VanishedError
from entrepot.gateways.loops import Wakefulness, new_loop
from entrepot.layers.access import Guard
from entrepot.v3io._protocol import INVALID, IO_ERROR, refusal_of

__all__ = ["HttpGateway", "is_loopback"]

_log = logging.getLogger(__name__)
_THREADS: Final = 8
_LOOK_S: Final = 1.0


class HttpGateway:
    """Serves the containers of a depot on a TCP port, in a thread of its own.

    Several may serve the same depot, also in other processes.
    """

    def __init__(
        self,
        depot: entrepot.Depot,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        requires_key: bool | None = None,
        tls: ssl.SSLContext | None = None,
        shares_port: bool = False,
        connections_max: int = settings.HTTP_CONNECTIONS_MAX,
        stall_s: float = settings.HTTP_STALL_S,
        idle_s: float = settings.HTTP_IDLE_S,
        access_log: AccessLog | None = None,
    ) -> None:
        """Listen.

        Args:
            depot: What is served. The caller closes it.
            host: Where to listen.
            port: Likewise; 0 takes a free one.
            requires_key: Whether each request needs an access key. By default those on other
                machines need one; on loopback all do as soon as there is a key.
            tls: Speak HTTPS so.
            shares_port: Other processes listen there too, and the system distributes.
            connections_max: Those that come when there are so many are closed.
            stall_s: A client that stalls for so long is given up.
            idle_s: A connection on which nothing is asked for so long is closed.
            access_log: Where each request is noted; it is closed with the gateway.

        Raises:
            LimitError: A bound is not positive.
            OSError: The port is in use, or may not be used.
        """
        if min(connections_max, stall_s, idle_s) <= 0:
            raise LimitError("the bounds of a gateway are positive")
        self.depot = depot
        tier = depot.attached.durable()
        self.handles = Handles(tier, self._sweep_later)
        self.guard = Guard(
            tier.engine,
            required=not is_loopback(host) if requires_key is None else requires_key,
        )
        self.connections: set[Connection] = set()
        self.is_stopping = False
        self._connections_max = connections_max
        self._stall_s, self._idle_s = stall_s, idle_s
        self._is_sweeping = False
        self._log = access_log
        self._meter = new_meter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty: asyncio.Event | None = None
        self._routes = {
            b"/healthz": Route("health", _health, "container"),
            b"/metrics": Route("metrics", self._metrics, "container"),
        }
        self._lines = LineBuffers(depot)
        self._read_lines = Route("read_lines", self._lines.run, "container")
        self._write_lines = Route("write_lines", self._lines.run, "container", WRITE)
        self._list = Route("list_containers", _list_containers, "container")
        self.loop = new_loop()
        self.wakefulness = Wakefulness(self.loop)
        try:
            self._server = self.loop.run_until_complete(
                self.loop.create_server(
                    lambda: Connection(self),
                    host,
                    port,
                    ssl=tls,
                    backlog=1024,
                    reuse_port=shares_port or None,
                )
            )
        except BaseException:
            self.loop.close()
            raise
        self.host, self.port = self._server.sockets[0].getsockname()[:2]
        self.gathering = Gathering(self.loop, tier.engine)
        self.threads = ThreadPoolExecutor(_THREADS, "entrepot-http")
        self.uploaders = ThreadPoolExecutor(settings.HTTP_UPLOADS_MAX, "entrepot-upload")
        self._thread = threading.Thread(target=self._run, name="entrepot-gateway", daemon=True)
        self._look()

    def start(self) -> None:
        """Answer, in a thread."""
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _look(self) -> None:
        """Do what is due each second."""
        now = time.monotonic()
        self.date = f"Date: {email.utils.formatdate(usegmt=True)}\r\n".encode()
        for connection in list(self.connections):
            connection.look(now, self._stall_s, self._idle_s)
        self._measure()
        if self._log is not None:
            self._log.flush()
        self._timer = self.loop.call_later(min(_LOOK_S, self._stall_s / 4), self._look)

    # For connections.

    def welcome(self, connection: Connection) -> bool:
        """Take a connection in; False if there are too many."""
        if len(self.connections) >= self._connections_max or self.is_stopping:
            return False
        self.connections.add(connection)
        return True

    def farewell(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if self._empty is not None and not self.connections:
            self._empty.set()

    def admit(self, request: Request) -> None:
        """Find out what a request asks, and whether that may be.

        Raises:
            RefusedError: It cannot be read, or may not be.
        """
        own = self._routes.get(request.target)
        if own is not None and request.method in (b"GET", b"HEAD"):
            request.route = own
            if own.run is _health:
                return
        elif (lines := self._lines.name_of(request)) is not None:
            self._lines.begin(request, lines)
            reads = request.method in (b"GET", b"HEAD")
            request.route = self._read_lines if reads else self._write_lines
        else:
            read_target(request)
            route = find_route(request)
            request.route = self._list if route is LIST_CONTAINERS else route
        grant = request.grant = self.guard.grant(key_of(request))
        if grant is None:
            raise refuse(
                401,
                -1,
                "an access key is needed, in the header X-v3io-session-key; "
                "'entrepot keys add' makes one",
            )
        if grant.everything or not request.container:
            return
        right, container = request.route.right, request.container
        may = grant.may_read(container) if right == READ else grant.may_write(container)
        if right == ALL or not may:
            raise refuse(403, -1, "Operation not permitted")

    def run(self, request: Request) -> Outcome:
        """Begin to answer a request that was admitted."""
        route: Route = request.route
        if len(request.body) > settings.HTTP_AT_ONCE_BYTES_MAX and not route.streams:
            return Work(lambda: route.run(self.handles, request))
        return self.attempt(request, route.run, self.handles, request)

    def attempt(self, request: Request, fn: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns; if it raises, how that is answered."""
        try:
            return fn(*arguments)
        except Exception as error:  # noqa: BLE001 our own bugs are logged, and answered too
            if not isinstance(error, (RefusedError, EntrepotError, VanishedError)):
                _log.exception("%r failed", request.target)
            return self.failed(error, request)

    def failed(self, error: Exception, request: Request) -> Reply:
        """Return how an error is answered."""
        if isinstance(error, RefusedError):
            refusal = error.refusal
        elif isinstance(error, EntrepotError):
            refusal = refusal_of(error, request.route.errors if request.route else "object")
            if refusal.status >= 500:
                _log.error("%r: %s", request.target, error)
        elif isinstance(error, VanishedError):
            refusal = refuse(400, INVALID, "the rest of the body did not come").refusal
        else:
            refusal = refuse(500, IO_ERROR, "the gateway failed; its log says why").refusal
        reply = Reply(refusal.status, refusal.body(), JSON)
        if refusal.status == 401:
            reply.headers = b'WWW-Authenticate: Basic realm="entrepot"\r\n'
        elif refusal.status == 405:
            reply.headers = b"Allow: GET, HEAD, PUT, POST, DELETE\r\n"
        return reply

    def record(self, connection: Connection, request: Request, reply: Reply) -> None:
        """Count a request that was answered, and note it in the access log."""
        seconds = time.monotonic() - request.began
        name: str = request.route.name if request.route else "none"
        if self._meter is not None:
            self._meter.count(name, reply.status, seconds, request.bytes_in, reply.size)
        if self._log is not None:
            self._log.add(connection.peer, name, request, reply, seconds)

    def _metrics(self, handles: Handles, request: Request) -> Outcome:
        meter = self._meter
        if meter is None:
            text = b"figures need prometheus-client: pip install 'entrepot[serve]'\n"
            return Reply(501, text, TEXT)
        self._measure()
        return Work(lambda: Reply(200, *meter.text(self.depot)))

    def _measure(self) -> None:
        if self._meter is not None:
            busy = sum(connection.is_busy for connection in self.connections)
            gathering = self.gathering
            self._meter.set(len(self.connections), busy, gathering.commits, gathering.writes)

    def begin_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop, and keep it until it is done."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep_later(self) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            with contextlib.suppress(RuntimeError):  # it ends just now: the next one sweeps
                self.threads.submit(self._sweep)

    def _sweep(self) -> None:
        self._is_sweeping = False  # what is thrown away from now on may be missed
        try:
            self.handles.tier.sweep()
        except EntrepotError as error:  # the next sweep removes it
            _log.warning("what was deleted is not yet removed: %s", error)

    # The end.

    def close(self, *, timeout: float = settings.HTTP_STOP_S) -> None:
        """Stop listening, answer what was asked, and end; may be repeated.

        Args:
            timeout: Seconds after which connections are cut off, answered or not.
        """
        if self.loop.is_closed():
            return
        if self._thread.ident is None:
            self.loop.run_until_complete(self._shut_down(timeout))
        else:
            asyncio.run_coroutine_threadsafe(self._shut_down(timeout), self.loop).result()
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        self.loop.close()

    async def _shut_down(self, timeout: float) -> None:
        self.is_stopping = True
        self._server.close()
        self._empty = asyncio.Event()
        for connection in list(self.connections):
            connection.stop()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._timer.cancel()
        self._measure()
        if self._log is not None:
            self._log.close()
        await asyncio.to_thread(self._end_threads)
        await self.loop.shutdown_default_executor()

    def _end_threads(self) -> None:
        self.uploaders.shutdown()
        self.gathering.close()
        self.threads.shutdown()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can connect to a host of that name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _health(handles: Handles, request: Request) -> Reply:
    return Reply(200, b"ok\n", TEXT)


def _list_containers(handles: Handles, request: Request) -> Reply:
    assert request.grant is not None, "it was admitted"
    return listings.list_containers(handles, request.grant.may_read)
