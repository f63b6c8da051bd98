"""The client: what it is connected to, and its models."""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType
from typing import Final, Self

from entrepot.v3io.dataplane import batch, container, kv, object, stream, transport
from entrepot.v3io.dataplane._legacy import Legacy
from entrepot.v3io.dataplane.transport import abstract
from entrepot.v3io.logger import HumanReadableFormatter, Logger

__all__ = ["Client", "choose_transport", "find_access_key", "make_logger"]

ACCESS_KEY_VARIABLE: Final = "V3IO_ACCESS_KEY"


class Client(Legacy):
    """A client: operations on containers, objects, tables and streams.

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
            How many connections it has, and how many requests of a batch are under way at once;
            8 by default.
        timeout (Optional) : float
            Seconds to wait for a reply, for the transport 'requests'.
        transport_kind (Optional) : str
            'httpclient', 'requests', 'depot', or a transport. An endpoint that is a depot is
            always used in this process.
        logger_verbosity (Optional) : str
            Level of the default logger: 'INFO' by default.
        transport_verbosity (Optional) : str
            'DEBUG' logs each request and each reply.

    `container`, `kv`, `object` and `stream` have the operations; `batch` has them for many at
    once. It is thread-safe, but for a batch, of which each thread creates its own.
    """

    def __init__(
        self,
        logger: abstract.Log | None = None,
        endpoint: str | None = None,
        access_key: str | None = None,
        max_connections: int | None = None,
        timeout: float | None = None,
        transport_kind: str | abstract.Transport = "httpclient",
        logger_verbosity: str | int | None = None,
        transport_verbosity: str = "info",
    ) -> None:
        self._logger = logger or make_logger(logger_verbosity)
        self._transport = choose_transport(
            endpoint,
            transport_kind,
            logger=self._logger,
            max_connections=max_connections,
            timeout=timeout,
            verbosity=transport_verbosity,
        )
        try:
            needs_key = self._transport.requires_access_key()
            self._access_key = find_access_key(access_key, needs_key=needs_key)
        except ValueError:
            self._transport.close()
            raise
        self._batch_turn = threading.RLock()
        self.container = container.Model(self)
        self.object = object.Model(self)
        self.kv = kv.Model(self)
        self.stream = stream.Model(self)
        self.batch = self.create_batch()

    def create_batch(self) -> batch.Batch:
        """Return a batch of its own, for example for another thread."""
        return batch.Batch(self)

    def close(self) -> None:
        """Close the connections. Nothing can be sent from now on; closing twice is allowed."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def choose_transport(
    endpoint: str | None,
    transport_kind: str | abstract.Transport,
    *,
    logger: abstract.Log,
    max_connections: int | None,
    timeout: float | None,
    verbosity: str | None,
) -> abstract.Transport:
    """Return the transport that leads to an endpoint.

    Raises:
        AttributeError: There is no such kind.
        RuntimeError: There is no endpoint, and the transport needs one.
        ValueError: The endpoint is none for that transport.
    """
    if not isinstance(transport_kind, str):
        return transport_kind
    kind = getattr(transport, transport_kind)
    if transport.depot.is_depot(endpoint, by_default=transport_kind == "httpclient"):
        kind = transport.depot
    made: abstract.Transport = kind.Transport(logger, endpoint, max_connections, timeout, verbosity)
    return made


def find_access_key(access_key: str | None, *, needs_key: bool) -> str | None:
    """Return the access key, from the environment if none is given.

    Raises:
        ValueError: There is none, and one is needed.
    """
    access_key = access_key or os.environ.get(ACCESS_KEY_VARIABLE)
    if needs_key and not access_key:
        raise ValueError(
            "Access key must be provided in Client() arguments or in the "
            "V3IO_ACCESS_KEY environment variable"
        )
    return access_key


def make_logger(verbosity: str | int | None) -> Logger:
    """Return the logger of a client that is given none: to standard output."""
    logger = Logger(verbosity or "INFO")
    logger.set_handler("stdout", sys.stdout, HumanReadableFormatter())
    return logger
