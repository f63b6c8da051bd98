"""What v3io's web API says for what our layers say: shared by the gateway and by the face.

The face in the process and the gateway do the same operations on the same layers; here is
what they must agree on: which status and text an error has, what a location and a marker are,
and how an attribute looks in JSON.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from array import array
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

from entrepot.errors import (
    AccessDeniedError,
    ClosedError,
    ConditionError,
    ConflictError,
    DiskFullError,
    EntrepotError,
    ExistsError,
    ExpressionError,
    LimitError,
    NotFoundError,
    OutOfMemoryError,
    TypeMismatchError,
    UnavailableError,
)
from entrepot.layers.attributes import Attribute, Attributes, Timestamp, of_blob, to_blob
from entrepot.layers.containers.core import NotEmptyError
from entrepot.layers.entries import NoContainerError
from entrepot.layers.streams import Stream
from entrepot.layers.streams.core import NotAStreamError, ShardError, TrimmedError
from entrepot.layers.tables.core import CREATE, MERGE, REPLACE

__all__ = [
    "UPDATE_MODES",
    "Location",
    "Refusal",
    "attribute_to_json",
    "attributes_from_json",
    "decode_marker",
    "encode_location",
    "encode_marker",
    "record_to_json",
    "refusal_of",
    "sequence_at",
    "verifier_of",
]


class Refusal(NamedTuple):
    """What is answered instead of a result."""

    status: int
    code: int
    message: str
    inner: int | None = None
    """The code of an error within, which some clients look for."""

    def body(self) -> bytes:
        """Return it as JSON."""
        fields: dict[str, Any] = {"ErrorCode": self.code, "ErrorMessage": self.message}
        if self.inner is not None:
            fields["InnerError"] = {"ErrorCode": self.inner, "ErrorMessage": self.message}
        return msgspec.json.encode(fields)


CONDITION_FALSE: Final = -16777244
ITEM_EXISTS: Final = -369098809
ILLEGAL_LOCATION: Final = -201326595
SHARD_OUT_OF_RANGE: Final = -201326594
SHARD_COUNT: Final = -201326593
BAD_STREAM_ARGUMENT: Final = -201326592
NOT_A_STREAM: Final = -201326591
BUSY: Final = -117440512
NO_ENTRY, ACCESS, EXISTS, IS_DIRECTORY, INVALID, NO_SPACE, NOT_EMPTY, IO_ERROR = (
    -2,
    -13,
    -17,
    -21,
    -22,
    -28,
    -39,
    -5,
)


def refusal_of(error: EntrepotError, operation: str) -> Refusal:
    """Return how an error of a layer is answered.

    Args:
        error: What a layer raised.
        operation: `object`, `item`, `items`, `container`, or of streams: `create`, `update`,
            `describe`, `put`, `seek` or `get`.
    """
    if isinstance(error, NoContainerError):
        return Refusal(404, NO_ENTRY, "Container not found")
    found = _stream_refusal(error, operation) if operation in _STREAM_OPERATIONS else None
    if found is not None:
        return found
    for kind, make in _REFUSALS:
        if isinstance(error, kind):
            return make(error)
    return Refusal(500, IO_ERROR, str(error))


_STREAM_OPERATIONS: Final = frozenset({"create", "update", "describe", "put", "seek", "get"})


def _stream_refusal(error: EntrepotError, operation: str) -> Refusal | None:
    if isinstance(error, TrimmedError):
        code, name = ILLEGAL_LOCATION, "IllegalLocationException"
        if operation == "seek":
            code, name = BAD_STREAM_ARGUMENT, "InvalidArgumentException"
        return Refusal(400, code, f"{name}: {error}")
    if isinstance(error, NotFoundError):
        return Refusal(404, NO_ENTRY, "ResourceNotFoundException")
    if isinstance(error, NotAStreamError):
        name = "ResourceIsnotStream" if operation == "put" else "ResourceNotStreamException"
        return Refusal(400, NOT_A_STREAM, name)
    if isinstance(error, ExistsError):
        return Refusal(409, EXISTS, "ResourceInUseException")
    if isinstance(error, ShardError):
        return Refusal(400, SHARD_OUT_OF_RANGE, "ShardIDOutOfRangeException")
    if isinstance(error, (LimitError, TypeMismatchError)):
        if operation == "update":
            return Refusal(400, SHARD_COUNT, f"InvalidShardCountException: {error}")
        if operation == "get":
            return Refusal(400, ILLEGAL_LOCATION, f"IllegalLocationException: {error}")
        return Refusal(400, BAD_STREAM_ARGUMENT, f"InvalidArgumentException: {error}")
    return None


def _with_text(status: int, code: int) -> Callable[[EntrepotError], Refusal]:
    return lambda error: Refusal(status, code, str(error))


# The first that fits counts.
_REFUSALS: Final[tuple[tuple[type[EntrepotError], Callable[[EntrepotError], Refusal]], ...]] = (
    (NotFoundError, lambda error: Refusal(404, NO_ENTRY, "No such file or directory")),
    (ConditionError, _with_text(400, CONDITION_FALSE)),
    (NotEmptyError, lambda error: Refusal(409, NOT_EMPTY, "Directory not empty")),
    (ExistsError, lambda error: Refusal(400, ITEM_EXISTS, str(error), EXISTS)),
    (ConflictError, _with_text(409, IS_DIRECTORY)),
    (ExpressionError, _with_text(400, INVALID)),
    (LimitError, _with_text(400, INVALID)),
    (TypeMismatchError, _with_text(400, INVALID)),
    (AccessDeniedError, _with_text(403, ACCESS)),
    (DiskFullError, _with_text(507, NO_SPACE)),
    (OutOfMemoryError, _with_text(507, NO_SPACE)),
    (UnavailableError, _with_text(503, BUSY)),
    (ClosedError, _with_text(503, BUSY)),
)


# Locations and markers: text that clients keep and give back.

_location = struct.Struct(">QQ")


class Location(NamedTuple):
    """Where in a shard."""

    shard: int
    """The number of the shard."""
    sequence: int


def encode_location(location: Location) -> str:
    """Return a location as text."""
    return base64.b64encode(_location.pack(*location)).decode()


def _decode_location(text: object) -> Location:
    """Return the location that a text stands for.

    Raises:
        LimitError: It stands for none.
    """
    try:
        return Location(*_location.unpack(base64.b64decode(cast("str", text), validate=True)))
    except (ValueError, TypeError, struct.error) as error:
        raise LimitError(f"{text!r} is no location") from error


def sequence_at(stream: Stream, shard: int, text: object) -> int:
    """Return where in a shard of a stream a location is.

    Raises:
        LimitError: The text is no location, or one of another shard.
        NotFoundError: There is no such stream; that, and a shard that is not there, go first.
    """
    try:
        location = _decode_location(text)
        if location.shard != shard:
            raise LimitError(f"the location is one of shard {location.shard}, not of {shard}")
    except LimitError:
        stream.seek(shard, "earliest")
        raise
    return location.sequence


def encode_marker(name: str) -> str:
    """Return the name behind which a page of a scan begins as text."""
    return base64.urlsafe_b64encode(name.encode("utf-8", "surrogatepass")).decode()


def decode_marker(text: object) -> str:
    """Return the name that a marker stands for.

    Raises:
        LimitError: It stands for none.
    """
    try:
        raw = base64.b64decode(cast("str", text).encode("ascii"), altchars=b"-_", validate=True)
        return raw.decode("utf-8", "surrogatepass")
    except (ValueError, AttributeError) as error:
        raise LimitError(f"{text!r} is no marker of a scan") from error


UPDATE_MODES: Final = {
    "OverWriteAttributes": REPLACE,
    "CreateOrReplaceAttributes": MERGE,
    "CreateNewItemOnly": CREATE,
}
"""What `UpdateMode` says, and what the layer calls it."""


def verifier_of(modified_ns: int) -> str:
    """Return a condition that is true of an item until its next change."""
    seconds, nanoseconds = divmod(modified_ns, 1_000_000_000)
    return f"__mtime_secs=={seconds} and __mtime_nsecs=={nanoseconds}"


def record_to_json(
    sequence: int | None,
    seconds: int | None,
    nanoseconds: int | None,
    data: bytes,
    key: str | None,
    info: bytes | None,
) -> dict[str, Any]:
    """Return a record of a stream as GetRecords tells it."""
    found: dict[str, Any] = {
        "ArrivalTimeSec": seconds,
        "ArrivalTimeNSec": nanoseconds,
        "SequenceNumber": sequence,
        "Data": base64.b64encode(data).decode(),
    }
    if key is not None:
        found["PartitionKey"] = key
    if info is not None:
        found["ClientInfo"] = base64.b64encode(info).decode()
    return found


# Attributes in JSON.


def attribute_to_json(value: Attribute) -> dict[str, Any]:
    """Return an attribute as `{"N": "5"}` and the like; 1.0 stays `1.0`."""
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, (int, float)):
        return {"N": str(value)}
    if isinstance(value, array):
        return {"B": base64.b64encode(to_blob(value)).decode()}
    if isinstance(value, Timestamp):
        return {"TS": f"{value.seconds}:{value.nanoseconds}"}
    return {"B": base64.b64encode(value).decode()}


def attributes_from_json(item: object) -> Attributes:
    """Return the attributes that `{"name": {"N": "5"}, …}` stands for.

    Raises:
        LimitError: They are not of this form; the message names the attribute.
    """
    if not isinstance(item, Mapping):
        raise LimitError("Item is no object of attributes")
    found: Attributes = {}
    for name, typed in cast("Mapping[str, Any]", item).items():
        if not isinstance(typed, Mapping) or len(cast("Mapping[str, Any]", typed)) != 1:
            raise LimitError(f"attribute {name!r} is not of the form {{type: value}}")
        ((kind, text),) = cast("Mapping[str, Any]", typed).items()
        decode = _DECODERS.get(kind)
        if decode is None:
            raise LimitError(f"attribute {name!r} has the type {kind!r}, not S, N, B, BOOL or TS")
        try:
            found[name] = decode(text)
        except (ValueError, TypeError, AttributeError, binascii.Error) as error:
            raise LimitError(f"attribute {name!r} is no {kind}: {text!r:.60}") from error
    return found


def _number(text: Any) -> int | float:
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        return text
    if not isinstance(text, str):
        raise TypeError
    if not _NUMBER.fullmatch(text):  # int() and float() also take blanks and 1_000
        raise ValueError
    try:
        return int(text)
    except ValueError:
        if _WHOLE.fullmatch(text):  # of thousands of digits: as a float it would be another number
            raise
        return float(text)


_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(
    r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE
)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _string(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError
    return text


def _bytes(text: Any) -> Attribute:
    return of_blob(base64.b64decode(_string(text), validate=True))


def _timestamp(text: Any) -> Timestamp:
    seconds, _, nanoseconds = _string(text).partition(":")
    return Timestamp(int(seconds), int(nanoseconds))


_DECODERS: Final[dict[str, Callable[[Any], Attribute]]] = {
    "S": _string,
    "N": _number,
    "B": _bytes,
    "BOOL": _bool,
    "TS": _timestamp,
}
