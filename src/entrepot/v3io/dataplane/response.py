"""What a request is answered with, and the error for a status that was not expected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Protocol
from xml.etree import ElementTree as ET

import msgspec

__all__ = ["Expected", "Headers", "HttpResponseError", "RaiseForStatus", "Response", "Responses"]

Expected = str | Collection[int] | None
"""`"never"`, `"always"`, or the statuses that do not raise."""


class Headers(Protocol):
    """The headers of a reply: a mapping that does not mind the case of names."""

    def __contains__(self, name: object, /) -> bool: ...
    def __getitem__(self, name: str, /) -> Any: ...
    def get(self, name: str, /) -> Any:
        """Return the value of a header, None if it is missing."""
        ...

    def items(self) -> Iterable[tuple[str, Any]]:
        """Return all names and values."""
        ...


_PERMANENT_REDIRECTS: Final = range(308, 400)


class RaiseForStatus:
    """When a status makes an operation raise: the alternatives to a list of statuses."""

    never = "never"
    always = "always"


class HttpResponseError(Exception):
    """A reply had a status that was not expected, or cannot be read.

    Args:
        message: What happened, with the body of the reply.
        status_code: The status.
    """

    def __init__(self, message: str = "", status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code

    def __repr__(self) -> str:
        return f"HttpResponseError('{self}', {self.status_code})"

    def __reduce__(self) -> tuple[type[HttpResponseError], tuple[str, int | None]]:
        return type(self), (str(self), self.status_code)


class Response:
    """The reply to one request.

    Args:
        output: The class of its output; None if the operation has none.
        status_code: The status.
        headers: The headers of the reply.
        body: The body of the reply.
    """

    def __init__(
        self,
        output: Callable[[Any], object] | None,
        status_code: int,
        headers: Headers,
        body: bytes,
    ) -> None:
        self.status_code = status_code
        self.headers = headers
        self.body = body
        self._output_class = output
        self._output: object = None

    def __repr__(self) -> str:
        return f"<Response {self.status_code}, {len(self.body)} bytes>"

    @property
    def output(self) -> Any:  # its class depends on the operation
        """The body, parsed when it is asked for first; None if there is nothing to parse.

        Raises:
            HttpResponseError: The body cannot be parsed.
        """
        if self._output is None and self._output_class is not None and self.body:
            try:
                json_only = getattr(self._output_class, "json_only", False)
                self._output = self._output_class(_parse(self.body, json_only=json_only))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise HttpResponseError(
                    f"Failed to parse response with status {self.status_code}, "
                    f"body {self.body!r}, headers={self.headers}",
                    self.status_code,
                ) from error
        return self._output

    def raise_for_status(self, expected_statuses: Expected = None) -> None:
        """Raise unless the status is expected.

        Args:
            expected_statuses: The statuses that do not raise; `"never"` to accept each;
                none, or `"always"`, to accept those below 300.

        Raises:
            HttpResponseError: The status is not expected.
        """
        status = self.status_code
        if expected_statuses == RaiseForStatus.never:
            return
        if not expected_statuses or expected_statuses == RaiseForStatus.always:
            if status < 300:
                return
        elif isinstance(expected_statuses, str):
            raise ValueError(
                f"raise_for_status is {expected_statuses!r}, not 'never', 'always' or statuses"
            )
        elif status in expected_statuses:
            return
        if status in _PERMANENT_REDIRECTS:
            message = (
                "Request failed due to a Permanent Redirect. Please change URL to: "
                f"{self.headers.get('Location')}"
            )
        else:
            message = f"Request failed with status {status}: {self.body!r}"
        raise HttpResponseError(message, status)


class Responses:
    """The replies to the parts of one call."""

    def __init__(self) -> None:
        self.responses: list[Response] = []
        self.success = True

    def add_response(self, response: Response) -> None:
        """Add a reply; one whose status is not 200 ends the success of all."""
        self.responses.append(response)
        if response.status_code != 200:
            self.success = False

    def raise_for_status(self) -> None:
        """Raise unless all succeeded.

        Raises:
            HttpResponseError: One did not.
        """
        if not self.success:
            raise HttpResponseError("Failed to put items")


class _Builder(ET.TreeBuilder):
    """Builds elements, but none of a document that could define entities."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse."""
        raise ValueError(f"a DOCTYPE, {name!r}, is not accepted")


def _parse(body: bytes, *, json_only: bool) -> object:
    """Return a JSON object as a dict, or an XML document as its root element."""
    try:
        decoded = msgspec.json.decode(body)
    except (RecursionError, ValueError) as error:  # msgspec's errors are ValueErrors
        if json_only:
            raise ValueError(f"not JSON: {error}") from error
        parser = ET.XMLParser(target=_Builder())  # noqa: S314 a DOCTYPE is refused
        try:
            parser.feed(body)
            return parser.close()
        except ET.ParseError as error:  # a SyntaxError
            raise ValueError(f"neither JSON nor XML: {error}") from error
    if not isinstance(decoded, dict):
        raise TypeError(f"a JSON object is expected, not {decoded!r:.100}")
    return decoded  # pyright: ignore[reportUnknownVariableType] of unknown keys and values
