"""HTTP by the package aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import IO, Any, Final, cast

from entrepot.v3io.dataplane.request import Arguments, Encoder, Output, Request
from entrepot.v3io.dataplane.response import Expected, Response
from entrepot.v3io.dataplane.transport.abstract import Actions, Exchange, Log, find_endpoint

__all__ = ["Transport"]

_RETRY_INTERVALS_S: Final = (0, 0, 0.1, 0.3, 1.0, *[5.0] * 12)
_FILE_BLOCK_BYTES: Final = 1 << 18


class Transport(Exchange):
    """Sends requests in one session, which has as many connections as are asked for at once.

    A request whose reply does not come is sent once more, so it may be done twice.

    Args:
        logger: What it logs to.
        endpoint: URL or `host:port`; the value of `V3IO_API` by default.
        max_connections: Not used.
        timeout: Not used: the session's own, 5 minutes, applies.
        verbosity: `"DEBUG"` logs each request and each reply.
        retry_intervals: Seconds to wait before each time that a request is sent once more;
            about a minute in all by default.
    """

    def __init__(
        self,
        logger: Log,
        endpoint: str | None = None,
        max_connections: int | None = None,
        timeout: float | None = None,
        verbosity: str | None = None,
        retry_intervals: Sequence[float] | None = None,
    ) -> None:
        try:
            import aiohttp
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "the client for asyncio needs the package: pip install aiohttp", name=error.name
            ) from error
        self._url = find_endpoint(endpoint)
        super().__init__(logger, self._url, max_connections, timeout, verbosity)
        self._retry_intervals_s = (
            _RETRY_INTERVALS_S if retry_intervals is None else tuple(retry_intervals)
        )
        self._failures = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)
        self._session = aiohttp.ClientSession(
            # Certificates are not verified, as in the original: clusters sign their own.
            connector=aiohttp.TCPConnector(ssl=False),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def request(
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
            transport_actions: `Actions.encode_only` returns the request.
            encoder: The operation: one of `entrepot.v3io.dataplane.request.encode_…`.
            encoder_args: Its arguments under their names in its signature.
            output: Makes its output.

        Raises:
            HttpResponseError: The status of the reply is not expected.
            RuntimeError: The client is closed.
            aiohttp.ClientError: The server cannot be reached.
        """
        request = Request(container, access_key, raise_for_status, encoder, encoder_args, output)
        if transport_actions == Actions.encode_only:
            return cast("Response", request)
        return self._accept(request, await self._exchange(request), None)

    async def _exchange(self, request: Request) -> Response:
        """Send a request, more than once if need be, and return the reply."""
        for interval_s in self._retry_intervals_s:
            try:
                return await self._exchange_once(request)
            except self._failures as error:
                if self._session.closed or not request.rewind_body():
                    raise
                self.log("Sending once more", error=repr(error))
            await asyncio.sleep(interval_s)
        return await self._exchange_once(request)

    async def _exchange_once(self, request: Request) -> Response:
        from yarl import URL  # of aiohttp

        self._log_request(request)
        async with self._session.request(
            request.method,
            URL(self._url + request.encode_path(), encoded=True),
            headers=request.headers,
            data=_content(request.body),
            allow_redirects=False,  # the session key is for this host
            skip_auto_headers=("Content-Type",),
        ) as reply:
            return Response(request.output, reply.status, reply.headers, await reply.read())


def _content(body: Any) -> bytes | AsyncIterable[bytes] | None:
    """Return a body as aiohttp takes it.

    Raises:
        TypeError: It is none. Of what goes wrong later aiohttp says that the connection failed.
    """
    if body is None or isinstance(body, (bytes, AsyncIterable)):
        return cast("bytes | AsyncIterable[bytes] | None", body)
    if hasattr(body, "read"):
        return _blocks(body)
    if isinstance(body, Iterable):
        return _pieces(cast("Iterable[bytes]", body))
    raise TypeError(f"an object's body is a {type(body).__name__}: give bytes, text or a file")


async def _blocks(file: IO[bytes] | IO[str]) -> AsyncIterator[bytes]:
    """Read a file, and leave it open: it may have to be sent once more."""
    while block := file.read(_FILE_BLOCK_BYTES):
        yield block.encode() if isinstance(block, str) else block


async def _pieces(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
