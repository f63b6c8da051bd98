"""Answers: responses whose output is there, and whose body and headers are made on demand.

A body has what a server would send. It is made of what users are given, so of a moment it has
microseconds, and an empty list of doubles is one of whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from http.client import HTTPMessage
from typing import Any, Final, TypeVar, cast

import msgspec

from entrepot.layers.attributes import as_attribute
from entrepot.v3io._protocol import Refusal, attribute_to_json, verifier_of
from entrepot.v3io.dataplane import output as outputs
from entrepot.v3io.dataplane.request import Output
from entrepot.v3io.dataplane.response import Headers, Response

__all__ = ["JSON", "Answer", "filled", "items_body", "json_body", "refused", "stamped"]

JSON: Final = {"Content-Type": "application/json"}
_BILLION: Final = 1_000_000_000
_T = TypeVar("_T")


class Answer(Response):
    """A response of this process.

    Args:
        status_code: The status.
        output: The output, if the operation has one.
        body: Makes the body; empty by default.
        headers: Makes the headers, but for the length.
    """

    def __init__(
        self,
        status_code: int,
        output: object = None,
        body: Callable[[], bytes] = bytes,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        # Not that of a response: it would set what is made on demand.
        self.status_code = status_code
        self._output = output
        self._output_class = None
        self._make_body = body
        self._make_headers = headers

    def __getattr__(self, name: str) -> Any:
        if name == "body":
            self.body = self._make_body()
            return self.body
        if name == "headers":
            self.headers = _message(self._make_headers(), self.body)
            return self.headers
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __reduce__(self) -> tuple[Callable[..., Response], tuple[Any, ...]]:
        return _thawed, (self.status_code, self._output, self.body, dict(self.headers.items()))


def _thawed(status: int, output: object, body: bytes, headers: Mapping[str, str]) -> Response:
    return Answer(status, output, lambda: body, lambda: headers)


def refused(refusal: Refusal, output: Output, *, has_body: bool = True) -> Response:
    """Return the answer to what was refused.

    Args:
        refusal: Why.
        output: What makes the output of the operation.
        has_body: Whether it says why: all but HEAD do.
    """
    body = refusal.body()
    headers = _message(JSON, body)
    return Response(output, refusal.status, headers, body if has_body else b"")


def _message(fields: Mapping[str, str], body: bytes) -> Headers:
    message = HTTPMessage()
    for name, value in {"Content-Length": str(len(body)), **fields}.items():
        message[name] = value
    if "Date" not in fields:
        message["Date"] = formatdate(usegmt=True)
    return cast("Headers", message)  # it asks for names that are strings


def stamped(
    modified_ns: int, fields: Mapping[str, str] | None = None, *, verifies: bool = False
) -> dict[str, str]:
    """Return headers that tell when something was changed.

    Args:
        modified_ns: When, in nanoseconds since the epoch.
        fields: Other headers.
        verifies: Whether to add a condition that is true until the next change.
    """
    headers = {**(fields or {}), "Last-Modified": formatdate(modified_ns // _BILLION, usegmt=True)}
    if verifies:
        headers["X-v3io-transaction-verifier"] = verifier_of(modified_ns)
    return headers


def filled(output: type[_T], attributes: dict[str, Any]) -> _T:
    """Return an output with these attributes, as if it was made of a body."""
    made = output.__new__(output)
    made.__dict__ = attributes
    return made


# Bodies.


def json_body(fields: Mapping[str, object]) -> Callable[[], bytes]:
    """Return what makes a body of JSON."""
    return lambda: msgspec.json.encode(fields)


def item_in_json(item: Mapping[str, object]) -> dict[str, Any]:
    """Return the attributes of an item as `{"name": {"N": "5"}, …}`."""
    return {name: attribute_to_json(as_attribute(name, value)) for name, value in item.items()}


def item_body(output: outputs.GetItemOutput) -> bytes:
    """Return the body of one item."""
    return msgspec.json.encode({"Item": item_in_json(output.item)})


def items_body(output: outputs.GetItemsOutput) -> bytes:
    """Return the body of a page of items."""
    fields: dict[str, object] = {
        "LastItemIncluded": "TRUE" if output.last else "FALSE",
        "NumItems": len(output.items),
    }
    if output.next_marker is not None:
        fields["NextMarker"] = output.next_marker
    items = cast("Sequence[Mapping[str, object]]", output.items)
    fields["Items"] = [item_in_json(item) for item in items]
    return msgspec.json.encode(fields)
