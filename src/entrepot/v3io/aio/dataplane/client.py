"""The asynchronous client: what it is connected to, and its models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from entrepot.v3io.aio.dataplane import container, kv, object, stream
from entrepot.v3io.aio.dataplane.transport import Transport, aiohttp, depot
from entrepot.v3io.dataplane.client import find_access_key, make_logger
from entrepot.v3io.dataplane.transport.abstract import Log
from entrepot.v3io.dataplane.transport.depot import is_depot

__all__ = ["Client", "choose_transport"]


class Client:
    """A client for asyncio: operations on containers, objects, tables and streams.

    It is made where a loop runs, and used there only.

    Parameters:
        logger (Optional) : Logger
            What it logs to; standard output by default.
        endpoint (Optional) : str
            Where the data is. 'depot:NAME' is a depot of this machine, used in this process.
            Others are where requests go, URL or host:port; certificates of https are not
            verified. The value of V3IO_API by default; without it, this user's depot.
        access_key (Optional) : str
            Who asks; the value of V3IO_ACCESS_KEY by default. A depot needs none.
        max_connections (Optional) : int
            Not used.
        timeout (Optional) : float
            Not used.
        logger_verbosity (Optional) : str
            Level of the default logger: 'INFO' by default.
        transport_verbosity (Optional) : str
            'DEBUG' logs each request and each reply.
        retry_intervals (Optional) : list of float
            Seconds to wait before each time that a request is sent once more because the
            connection failed; about a minute in all by default.

    `container`, `kv`, `object` and `stream` have the operations, which are awaited.
    """

    def __init__(
        self,
        logger: Log | None = None,
        endpoint: str | None = None,
        access_key: str | None = None,
        max_connections: int | None = None,
        timeout: float | None = None,
        logger_verbosity: str | int | None = None,
        transport_verbosity: str = "info",
        retry_intervals: Sequence[float] | None = None,
    ) -> None:
        asyncio.get_running_loop()  # raises if there is none
        self._logger = logger or make_logger(logger_verbosity)
        needs_key = not is_depot(endpoint)
        self._access_key = find_access_key(access_key, needs_key=needs_key)
        self._transport = choose_transport(
            endpoint,
            logger=self._logger,
            max_connections=max_connections,
            timeout=timeout,
            verbosity=transport_verbosity,
            retry_intervals=retry_intervals,
        )
        self.container = container.Model(self)
        self.object = object.Model(self)
        self.kv = kv.Model(self)
        self.stream = stream.Model(self)

    async def close(self) -> None:
        """Close the connections. Nothing can be sent from now on; closing twice is allowed."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def choose_transport(
    endpoint: str | None,
    *,
    logger: Log,
    max_connections: int | None,
    timeout: float | None,
    verbosity: str | None,
    retry_intervals: Sequence[float] | None,
) -> Transport:
    """Return the transport that leads to an endpoint.

    Raises:
        ValueError: The endpoint is none.
    """
    if is_depot(endpoint):
        return depot.Transport(logger, endpoint, verbosity)
    return aiohttp.Transport(logger, endpoint, max_connections, timeout, verbosity, retry_intervals)
