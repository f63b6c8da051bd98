"""What a transport is.

A transport that speaks HTTP, or something like it, overrides `wait_response`, and perhaps
`send_request`.

One that does not overrides `request`: it gets the operation as its encoder and the arguments by
name, and need not encode them. Asked for `Actions.encode_only`, which is what a batch does, it
returns what it likes: the batch gives it to `send_request`, and what that returns to
`wait_response`; or to `abandon_request` if an operation before it has failed.
"""

from __future__ import annotations

import os
from typing import Any, Final, Protocol, cast
from urllib.parse import urlsplit

from entrepot.v3io.dataplane.request import Arguments, Encoder, Output, Request
from entrepot.v3io.dataplane.response import Expected, HttpResponseError, Response

__all__ = ["Actions", "Exchange", "Log", "Transport", "find_endpoint"]

ENDPOINT_VARIABLE: Final = "V3IO_API"
_CONNECTIONS: Final = 8


class Actions:
    """How far an operation goes."""

    encode_only = 1  # it returns the request
    encode_and_send = 2  # as the next one, which is what the original makes of it
    send_and_receive = 3


class Log(Protocol):
    """What a client logs to; `entrepot.v3io.logger.Logger` is one."""

    def debug(self, message: str, *args: Any) -> Any:
        """Log for whoever looks for a bug."""
        ...

    def info(self, message: str, *args: Any) -> Any:
        """Log what happens."""
        ...

    def warn(self, message: str, *args: Any) -> Any:
        """Log what should not happen."""
        ...

    def error(self, message: str, *args: Any) -> Any:
        """Log what failed."""
        ...

    def debug_with(self, message: str, *args: Any, **kw_args: Any) -> Any:
        """Log for whoever looks for a bug, with fields."""
        ...

    def info_with(self, message: str, *args: Any, **kw_args: Any) -> Any:
        """Log what happens, with fields."""
        ...

    def warn_with(self, message: str, *args: Any, **kw_args: Any) -> Any:
        """Log what should not happen, with fields."""
        ...

    def error_with(self, message: str, *args: Any, **kw_args: Any) -> Any:
        """Log what failed, with fields."""
        ...


class Exchange:
    """What every transport does with requests and replies, whether one waits or awaits them.

    Args:
        logger: What it logs to.
        endpoint: Where requests go.
        max_connections: How many of a batch are under way at once.
        timeout: For transports that have one.
        verbosity: `"DEBUG"` logs each request and each reply.
    """

    def __init__(
        self,
        logger: Log,
        endpoint: str | None = None,
        max_connections: int | None = None,
        timeout: float | None = None,
        verbosity: str | None = None,
    ) -> None:
        self._logger = logger
        self._endpoint = endpoint
        self._timeout = timeout
        self._logs = verbosity == "DEBUG"
        self.max_connections = max_connections or _CONNECTIONS

    def log(self, message: str, **kw_args: object) -> None:
        """Log a request or a reply, if that is wanted."""
        if self._logs:
            self._logger.debug_with(message, **kw_args)

    def _log_request(self, request: Request) -> None:
        if self._logs:
            headers = {
                name: value for name, value in request.headers.items() if name not in _SECRET
            }
            self.log(
                "Tx",
                method=request.method,
                path=request.encode_path(),
                headers=headers,
                body=request.body,
            )

    def _accept(self, request: Request, response: Response, raise_for_status: Expected) -> Response:
        """Return a reply whose status is expected; log and raise if it is not."""
        self.log(
            "Rx",
            status_code=response.status_code,
            headers=response.headers,
            body=response.body,
        )
        expected = request.raise_for_status
        try:
            response.raise_for_status(raise_for_status if expected is None else expected)
        except HttpResponseError as error:
            self._logger.warn_with(f"Response error: {error}")
            raise
        return response


class Transport(Exchange):
    """Makes requests of operations; those who inherit from it have them answered.

    The arguments are those of `Exchange`.
    """

    def close(self) -> None:
        """Give back what it holds. Nothing can be sent from now on."""

    def requires_access_key(self) -> bool:
        """Whether nothing can be done without an access key."""
        return False

    def restart(self) -> None:
        """Begin anew after a batch has failed."""

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
        """Have one operation done.

        Args:
            container: The container.
            access_key: Who asks.
            raise_for_status: When its reply raises.
            transport_actions: How far to go: see `Actions`; all the way by default.
            encoder: The operation: one of `entrepot.v3io.dataplane.request.encode_…`.
            encoder_args: Its arguments under their names in its signature.
            output: Makes its output.

        Returns:
            The reply; if that is not asked for, the request.

        Raises:
            HttpResponseError: The status of the reply is not expected.
        """
        request = Request(container, access_key, raise_for_status, encoder, encoder_args, output)
        if transport_actions == Actions.encode_only:
            return cast("Response", request)
        return self.wait_response(self.send_request(request))

    def send_request(self, request: Request) -> Request:
        """Send a request, and return it for `wait_response`."""
        return request

    def wait_response(
        self, request: Request, raise_for_status: Expected = None, num_retries: int = 1
    ) -> Response:
        """Wait for the reply to a request that was sent.

        Args:
            request: The request.
            raise_for_status: When the reply raises, if the request does not say it.
            num_retries: How often it may be sent once more.

        Raises:
            HttpResponseError: The status of the reply is not expected.
        """
        raise NotImplementedError

    def abandon_request(self, request: Request) -> None:
        """Give back what a request holds that was sent and whose reply nobody will wait for."""


_SECRET: Final = frozenset({"X-v3io-session-key"})


def find_endpoint(endpoint: str | None) -> str:
    """Return the URL of an endpoint, without a slash at its end.

    Args:
        endpoint: URL or `host:port`; the value of `V3IO_API` by default.

    Raises:
        RuntimeError: There is none.
        ValueError: It is neither of those.
    """
    endpoint = endpoint or os.environ.get(ENDPOINT_VARIABLE)
    if not endpoint:
        raise RuntimeError("Endpoints must be passed to context or specified in V3IO_API")
    if "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"endpoint {endpoint!r} is not a URL of http or https, or host:port")
    return endpoint.rstrip("/")
