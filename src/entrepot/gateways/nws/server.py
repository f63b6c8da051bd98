"""A server of NetWorkSpaces' protocol: one event loop for all connections.

A request is done at once, on the loop: it takes microseconds. A fetch that waits costs no
thread and no task; the mailroom calls its connection when something was given to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import entrepot
from entrepot import settings
from entrepot.errors import EntrepotError, LimitError
from entrepot.gateways.loops import Wakefulness, new_loop
from entrepot.gateways.nws.connection import Connection
from entrepot.layers.spaces import Space
from entrepot.layers.spaces.mailroom import Mailroom
from entrepot.nws._local import FIRST_WORKSPACE, SYSTEM

__all__ = ["NwsGateway"]

_ACKNOWLEDGE_LOOKS, _ACKNOWLEDGE_S = 30, 0.01
_log = logging.getLogger(__name__)


class NwsGateway:
    """Serves the spaces of a depot on a TCP port, in a thread of its own.

    Several may serve the same depot. What the connections own ends with them.
    """

    def __init__(
        self,
        depot: entrepot.Depot,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        value_bytes_max: int = settings.NWS_VALUE_BYTES_MAX,
        connections_max: int = settings.NWS_CONNECTIONS_MAX,
    ) -> None:
        """Listen.

        Args:
            depot: What is served. The caller closes it.
            host: Where to listen.
            port: Likewise; 0 takes a free one.
            value_bytes_max: Connections that announce a larger value are closed.
            connections_max: Those that come when there are so many are closed.

        Raises:
            LimitError: A bound is not positive.
            OSError: The port is in use, or may not be used.
        """
        if value_bytes_max <= 0 or connections_max <= 0:
            raise LimitError("the bounds of a gateway are positive")
        self.depot = depot
        self.value_bytes_max = value_bytes_max
        self.connections_max = connections_max
        self.connections: set[Connection] = set()
        self._mailrooms: dict[str, Mailroom] = {}
        self._kept: dict[Connection, int] = {}
        """Who keeps a big value for its client, and how many bytes; the oldest first."""
        self._loop = new_loop()
        self.wakefulness = Wakefulness(self._loop)
        depot.client().reserve(FIRST_WORKSPACE, SYSTEM)
        self.received = bytearray(settings.NWS_PIECE_BYTES)
        """Where all connections receive, one at a time."""
        try:
            self._server = self._loop.run_until_complete(
                self._loop.create_server(lambda: Connection(self), host, port, backlog=1024)
            )
        except BaseException:
            self._loop.close()
            raise
        self.host, self.port = self._server.sockets[0].getsockname()[:2]
        self._thread = threading.Thread(target=self._run, name="entrepot-nws", daemon=True)

    def start(self) -> None:
        """Answer, in a thread."""
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def mailroom(self, space: Space) -> Mailroom:
        """Return who tells the connections what was given to them."""
        mailroom = self._mailrooms.get(space.engine.name)
        if mailroom is None:
            mailroom = self._mailrooms[space.engine.name] = Mailroom(space.engine, space.bulk)
        return mailroom

    def look(self) -> None:
        """Tell those who wait here what was just given to them."""
        for mailroom in self._mailrooms.values():
            mailroom.look()

    def counts(self) -> dict[str, int]:
        """Return how many connections there are, and how many of them wait."""
        connections = list(self.connections)
        return {
            "connections": len(connections),
            "waiting": sum(connection.is_waiting for connection in connections),
        }

    def run_in_thread(
        self, work: Callable[[], Any], then: Callable[[Any, BaseException | None], None]
    ) -> None:
        """Do what may wait for a disk, and tell on the loop what came of it."""
        future = self._loop.run_in_executor(None, work)

        def tell(done: asyncio.Future[Any]) -> None:
            error = done.exception()
            then(None if error else done.result(), error)

        future.add_done_callback(tell)

    def call_later(
        self, seconds: float, call: Callable[..., None], *arguments: object
    ) -> asyncio.TimerHandle:
        """Do something on the loop some time later."""
        return self._loop.call_later(seconds, call, *arguments)

    def keep(self, connection: Connection, size: int) -> None:
        """Note that a connection keeps a big value until its client has surely read it.

        Where too much is kept, those that keep something longest let go of it.
        """
        self._kept[connection] = size
        while len(self._kept) > 1 and sum(self._kept.values()) > settings.NWS_KEPT_BYTES_MAX:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            oldest.lose()

    def unkeep(self, connection: Connection) -> None:
        """Note that a connection keeps nothing any more."""
        self._kept.pop(connection, None)

    def close(self) -> None:
        """Stop listening, and end all connections with what they own; may be repeated."""
        if self._loop.is_closed():
            return
        if self._thread.ident is None:
            self._loop.run_until_complete(self._shut_down())
        else:
            with contextlib.suppress(EntrepotError):  # the depot is closed: nothing is owned
                asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    async def _shut_down(self) -> None:
        self._server.close()
        # A client's system says with a delay that it has what was sent.
        for _ in range(_ACKNOWLEDGE_LOOKS):
            if not any(connection.owes for connection in self.connections):
                break
            await asyncio.sleep(_ACKNOWLEDGE_S)
        ends = [connection.end for connection in self.connections]
        for connection in list(self.connections):
            connection.abort()
        await asyncio.gather(*ends)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()
