"""A transport for tests: each request is handed to a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from entrepot.v3io.dataplane.request import Request
from entrepot.v3io.dataplane.response import Expected, Response
from entrepot.v3io.dataplane.transport import abstract
from entrepot.v3io.logger import Logger

__all__ = ["Transport"]


class Transport(abstract.Transport):
    """Calls verifiers, in their order, with requests, and returns what they return.

    Args:
        request_verifiers: One for each request that will be made.
    """

    def __init__(self, request_verifiers: Sequence[Callable[[Request], object]]) -> None:
        super().__init__(Logger(None))
        self._request_verifiers = request_verifiers
        self._verified = 0

    def send_request(self, request: Request) -> Request:
        """Call the next verifier, and return what it returns.

        Raises:
            IndexError: There were fewer verifiers than requests.
        """
        verify = self._request_verifiers[self._verified]
        self._verified += 1
        return cast("Request", verify(request))

    def wait_response(
        self, request: Request, raise_for_status: Expected = None, num_retries: int = 1
    ) -> Response:
        """Return what the verifier returned."""
        return cast("Response", request)
