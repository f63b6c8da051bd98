"""No transport at all: operations are done on a depot, in this process.

There is no encoding and no waiting for a reply: an operation is done where it is called. The
writes of a batch go into one commit, which is what costs time on a disk; each fails on its own.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, cast

from entrepot.v3io.dataplane.request import Arguments, Encoder, Output, Request
from entrepot.v3io.dataplane.response import Expected, HttpResponseError, Response
from entrepot.v3io.dataplane.transport import abstract
from entrepot.v3io.dataplane.transport.abstract import Actions

if TYPE_CHECKING:
    from entrepot.v3io._direct import Work

__all__ = ["Operation", "Transport", "depot_of", "is_depot", "logged"]

_SCHEME: Final = "depot:"
_ENCODED: Final = frozenset(("method", "path", "query", "headers", "body"))


def is_depot(endpoint: str | None, *, by_default: bool = True) -> bool:
    """Tell whether an endpoint is a depot of this machine.

    Args:
        endpoint: What a client was given; the value of V3IO_API by default.
        by_default: What to say if there is neither.
    """
    endpoint = endpoint or os.environ.get(abstract.ENDPOINT_VARIABLE)
    return endpoint.startswith(_SCHEME) if endpoint else by_default


def depot_of(endpoint: str | None) -> str:
    """Return the name of the depot that an endpoint is; "" for this user's.

    Args:
        endpoint: `depot:NAME` or `depot:`; the value of V3IO_API by default.

    Raises:
        ValueError: It is none.
    """
    endpoint = endpoint or os.environ.get(abstract.ENDPOINT_VARIABLE) or _SCHEME
    if not endpoint.startswith(_SCHEME):
        raise ValueError(f"endpoint {endpoint!r} is not that of a depot, 'depot:NAME'")
    return endpoint.removeprefix(_SCHEME)


class Operation(Request):
    """An operation that is not done yet. It is encoded only if somebody looks how it would be."""

    work: Work

    def __init__(
        self,
        container: str | None,
        access_key: str | None,
        raise_for_status: Expected,
        encoder: Encoder,
        encoder_args: Arguments,
        output: Output,
    ) -> None:
        # Not that of a request, which encodes.
        self.container = container
        self.access_key = access_key
        self.raise_for_status = raise_for_status
        self.encoder = encoder
        self.encoder_args = encoder_args
        self.output = output
        self.transport = None

    def __getattr__(self, name: str) -> Any:
        if name not in _ENCODED:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.method, self.path, self.query, self.headers, self.body = self.encoder(
            self.container, self.access_key, self.encoder_args
        )
        return getattr(self, name)

    def rewind_body(self) -> bool:
        """Say that it cannot be sent once more."""
        return False


class Transport(abstract.Transport):
    """Does operations on a depot of this machine.

    Args:
        logger: What it logs to.
        endpoint: `depot:NAME` or `depot:`; the value of V3IO_API by default.
        max_connections: Not used: all operations of a batch are under way at once.
        timeout: Not used.
        verbosity: `"DEBUG"` logs each operation and each answer.
    """

    def __init__(
        self,
        logger: abstract.Log,
        endpoint: str | None = None,
        max_connections: int | None = None,
        timeout: float | None = None,
        verbosity: str | None = None,
    ) -> None:
        from entrepot.v3io import _direct  # it loads the depot, which other transports do not need

        name = depot_of(endpoint)
        super().__init__(logger, f"{_SCHEME}{name}", sys.maxsize, timeout, verbosity)
        self._direct = _direct
        self._do = _direct.do
        self._store = _direct.Store(name or None)
        self._sent: list[Operation] = []
        self._lock = threading.Lock()
        _transports.add(self)

    def close(self) -> None:
        """Close the depot's handle. What was queued in batches and not waited for is forgotten."""
        self._store.close()

    def request(
        self,
        container: str | None,
        access_key: str | None,
        raise_for_status: Expected,
        transport_actions: int | None,
        encoder: Encoder,
        encoder_args: Arguments,
        output: Output = None,
    ) -> Response:
        """Do one operation: see `abstract.Transport.request`.

        Raises:
            HttpResponseError: The status of the answer is not expected.
            RuntimeError: The client is closed.
        """
        if transport_actions != Actions.encode_only:
            if self._logs:
                self.log("Tx", operation=encoder.__name__, container=container, **encoder_args)
            response = self._do(self._store, container, encoder, encoder_args, output)
            if raise_for_status is None and response.status_code < 300 and not self._logs:
                return response
            return logged(self, response, raise_for_status)
        operation = Operation(
            container, access_key, raise_for_status, encoder, encoder_args, output
        )
        operation.work = self._direct.prepare(self._store, container, encoder, encoder_args, output)
        return cast("Response", operation)

    def send_request(self, request: Request) -> Request:
        """Queue an operation: it is done when somebody waits for it, or for one behind it."""
        operation = _own(request)
        if not operation.work.is_done:
            with self._lock:
                self._sent.append(operation)
        return operation

    def wait_response(
        self, request: Request, raise_for_status: Expected = None, num_retries: int = 1
    ) -> Response:
        """Return the answer to an operation; all that are queued are done then.

        Raises:
            HttpResponseError: The status of the answer is not expected.
            RuntimeError: The client is closed.
        """
        operation = _own(request)
        if not operation.work.is_done:
            with self._lock:
                if self._store.is_closed:
                    raise RuntimeError(self._direct.CLOSED)
                sent, self._sent = self._sent, []
                works = [each.work for each in sent]
                if operation.work not in works:
                    works.append(operation.work)
                self._direct.complete(self._store, works)
        expected = operation.raise_for_status
        expected = raise_for_status if expected is None else expected
        return logged(self, operation.work.result(), expected)

    def abandon_request(self, request: Request) -> None:
        """Forget an operation that is queued."""
        with self._lock:
            self._sent = [each for each in self._sent if each is not request]

    def forget_threads(self) -> None:
        """Begin anew in a forked child, where no other thread is that could have the lock."""
        self._lock = threading.Lock()
        self._sent = []


def _own(request: Request) -> Operation:
    if not isinstance(request, Operation):
        raise TypeError("a depot answers the requests that it has made itself")
    return request


def logged(transport: abstract.Exchange, response: Response, expected: Expected) -> Response:
    """Return an answer whose status is expected; log and raise if it is not."""
    if transport._logs:  # pyright: ignore[reportPrivateUsage] of ours; the answer is made for it
        transport.log(
            "Rx", status_code=response.status_code, headers=response.headers, body=response.body
        )
    try:
        response.raise_for_status(expected)
    except HttpResponseError as error:
        transport._logger.warn_with(f"Response error: {error}")  # pyright: ignore[reportPrivateUsage] of ours
        raise
    return response


_transports: weakref.WeakSet[Transport] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for transport in list(_transports):
        transport.forget_threads()


os.register_at_fork(after_in_child=_after_fork_in_child)
