"""HTTP by the package `requests`; for those who patch it. `httpclient` is faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from entrepot.v3io.dataplane.request import Request
from entrepot.v3io.dataplane.response import Expected, Response
from entrepot.v3io.dataplane.transport import abstract

if TYPE_CHECKING:
    import requests

__all__ = ["Transport"]


class Transport(abstract.Transport):
    """Sends requests one after the other in one session; also those of a batch.

    The arguments are those of every transport; `timeout` is that of `requests`.
    """

    def __init__(
        self,
        logger: abstract.Log,
        endpoint: str | None = None,
        max_connections: int | None = None,
        timeout: float | None = None,
        verbosity: str | None = None,
    ) -> None:
        try:
            import requests
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "transport_kind 'requests' needs the package: pip install requests",
                name=error.name,
            ) from error
        found = abstract.find_endpoint(endpoint)
        super().__init__(logger, found, max_connections, timeout, verbosity)
        self._url = found
        self._session = requests.Session()
        self._closed = False

    def requires_access_key(self) -> bool:
        """Whether nothing can be done without an access key: yes."""
        return True

    def close(self) -> None:
        """Close the session."""
        self._closed = True
        self._session.close()

    def send_request(self, request: Request) -> Request:
        """Send a request and read its reply, which stays with it."""
        if self._closed:
            raise RuntimeError("Cannot send request on a closed client")
        self._log_request(request)
        request.transport = self._session.request(
            request.method,
            self._url + request.encode_path(),
            headers=request.headers,
            data=request.body,
            timeout=self._timeout,
            allow_redirects=False,  # the session key is for this host
            # As in the original: clusters sign their own certificates. Said here, for what the
            # session says gives way to variables of the environment.
            verify=False,
        )
        return request

    def wait_response(
        self, request: Request, raise_for_status: Expected = None, num_retries: int = 1
    ) -> Response:
        """Return the reply to a request that was sent; nothing is sent once more."""
        reply = cast("requests.Response", request.transport)
        response = Response(request.output, reply.status_code, reply.headers, reply.content)
        return self._accept(request, response, raise_for_status)
