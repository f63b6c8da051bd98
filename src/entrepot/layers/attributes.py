"""Attributes: the typed values of an item, from Python to bytes and back.

An attribute is one of these, and keeps its type: 1 stays an int and 1.0 a float::

    int  float  bool  str  bytes      as in msgpack; ints beyond 64 bits as decimal text
    array.array("q" or "d")           an array of whole numbers of 64 bits, or of doubles
    Timestamp                         seconds since the epoch, and nanoseconds

Users may also give what stands for one of them (a list, a datetime, a numpy scalar) and are
given lists and datetimes back.

Bytes of an item::

    {name: value, …}      msgpack; ext 1: array of "q", ext 2: array of "d", little-endian,
                          ext 3: decimal text, ext 4: seconds (8, signed), nanoseconds (4)
"""

from __future__ import annotations

import functools
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, Union, cast

import msgspec

from entrepot import settings
from entrepot.errors import CorruptError, LimitError, TypeMismatchError

__all__ = [
    "BLOB_BEGIN",
    "BLOB_DOUBLES",
    "BLOB_HEAD",
    "BLOB_INTS",
    "MISSING",
    "Attribute",
    "Attributes",
    "Missing",
    "Timestamp",
    "as_attribute",
    "as_attributes",
    "blob_head",
    "check_name",
    "encode",
    "exact_hook",
    "friendly",
    "friendly_hook",
    "of_blob",
    "to_blob",
]


@functools.total_ordering
class Timestamp:
    """A moment: `seconds` since the epoch, which may be negative, and `nanoseconds` after it."""

    # No tuple and no dataclass: msgpack has its own idea of what these are.
    __slots__ = ("nanoseconds", "seconds")

    def __init__(self, seconds: int, nanoseconds: int = 0) -> None:
        """Check the bounds.

        Raises:
            LimitError: The seconds are beyond 64 bits, or the nanoseconds are not below 10**9.
        """
        if not (-(1 << 63) <= seconds < 1 << 63 and 0 <= nanoseconds < 1_000_000_000):
            raise LimitError(f"{seconds}:{nanoseconds} is no timestamp")
        self.seconds = seconds
        self.nanoseconds = nanoseconds

    def __repr__(self) -> str:
        return f"Timestamp({self.seconds}, {self.nanoseconds})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Timestamp)
            and self.seconds == other.seconds
            and self.nanoseconds == other.nanoseconds
        )

    def __lt__(self, other: Timestamp) -> bool:
        return (self.seconds, self.nanoseconds) < (other.seconds, other.nanoseconds)

    def __hash__(self) -> int:
        return hash((self.seconds, self.nanoseconds))

    @classmethod
    def of(cls, moment: datetime) -> Timestamp:
        """Return a datetime as a timestamp; one without a zone is local time.

        Raises:
            LimitError: In UTC it is before the year 1, or after 9999.
        """
        try:
            since = moment.astimezone(UTC) - _EPOCH
        except (OverflowError, ValueError) as error:
            raise LimitError(f"{moment!r} is no moment in UTC: {error}") from error
        return cls(since.days * 86400 + since.seconds, since.microseconds * 1000)

    def datetime(self) -> datetime:
        """Return it as a datetime in UTC, rounded to the microsecond.

        Raises:
            LimitError: A datetime cannot be so early or so late.
        """
        try:
            return _EPOCH + timedelta(
                seconds=self.seconds, microseconds=round(self.nanoseconds / 1000)
            )
        except OverflowError as error:
            raise LimitError(
                f"the timestamp {self.seconds}:{self.nanoseconds} is no date"
            ) from error


class Missing:
    """The type of `MISSING`: what an attribute is that an item does not have."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()

Array: TypeAlias = "array[Any]"
Attribute: TypeAlias = Union[int, float, bool, str, bytes, "Array", Timestamp]
Attributes: TypeAlias = "dict[str, Attribute]"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTS, _DOUBLES, _LONG, _TIME = 1, 2, 3, 4
_LONG_BITS_MAX: Final = 4096
"""Python reads no whole numbers of very many digits unless it is told to."""
_moment = struct.Struct("<qI")
_is_swapped = sys.byteorder == "big"
_PLAIN = frozenset((int, float, bool, str, bytes))


# From what users give.


def as_attribute(name: str, value: object) -> Attribute:
    """Return what a user gave as an attribute.

    Raises:
        TypeMismatchError: It is of a type that cannot be one.
        LimitError: It is a whole number that does not fit an array, or of thousands of digits.
    """
    kind = type(value)
    if kind in _PLAIN or kind is Timestamp:
        _check_int(cast("Attribute", value))
        return cast("Attribute", value)
    if isinstance(value, (bool, int, float, str)):  # pyright: ignore[reportUnnecessaryIsInstance] of a class of its own, as an enum is
        base = next(base for base in (bool, int, float, str) if issubclass(kind, base))
        return cast("Attribute", base(value))
    if isinstance(value, (bytearray, memoryview, bytes)):
        return bytes(cast("bytes", value))
    if isinstance(value, datetime):
        return Timestamp.of(value)
    if isinstance(value, array):
        return _array_of_array(name, cast("Array", value))  # pyright: ignore[reportUnknownArgumentType] of any element
    if isinstance(value, (list, tuple)):
        return _array_of(name, cast("Sequence[object]", value))
    to_list = getattr(value, "tolist", None)  # numpy's scalars and arrays
    if callable(to_list) and getattr(value, "ndim", 2) <= 1:
        plain = to_list()
        if type(plain) in _PLAIN or isinstance(plain, list):
            return as_attribute(name, cast("object", plain))
    raise TypeMismatchError(
        f"attribute {name!r} is {_short(value)}, a {kind.__name__}",
        "attributes are int, float, bool, str, bytes, datetime, or lists of int or of float",
    )


def as_attributes(given: Mapping[str, object]) -> Attributes:
    """Return what a user gave as the attributes of an item.

    Raises:
        TypeMismatchError: One of them, or its name, is of a type that cannot be.
        LimitError: A name is empty or too long.
    """
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(
            f"attributes are {_short(given)}, a {type(given).__name__}", "give a dict"
        )
    attributes: Attributes = {}
    for name, value in given.items():
        check_name(name)
        if type(value) in _PLAIN:
            attributes[name] = cast("Attribute", value)
        else:
            attributes[name] = as_attribute(name, value)
    return attributes


def check_name(name: object) -> None:
    """Refuse what cannot be the name of an attribute.

    Raises:
        TypeMismatchError: It is not a string.
        LimitError: It is empty, or longer than `ATTRIBUTE_NAME_CHARS_MAX`.
    """
    if not isinstance(name, str):
        raise TypeMismatchError(
            f"an attribute is named {name!r}, a {type(name).__name__}", "names are strings"
        )
    if not 0 < len(name) <= settings.ATTRIBUTE_NAME_CHARS_MAX:
        raise LimitError(
            f"an attribute's name has {len(name)} characters, "
            f"1 to {settings.ATTRIBUTE_NAME_CHARS_MAX} are allowed"
        )


def _array_of(name: str, elements: Sequence[object]) -> Array:
    try:
        if all(type(element) is int or isinstance(element, bool) for element in elements):
            return array("q", cast("Sequence[int]", elements))
        if any(isinstance(element, (str, bytes)) for element in elements):
            raise TypeError("there is a string in it")
        if all(hasattr(element, "__index__") for element in elements):
            return array("q", cast("Sequence[int]", elements))
        return array("d", cast("Sequence[float]", elements))
    except OverflowError as error:
        raise LimitError(f"attribute {name!r} holds a whole number beyond 64 bits") from error
    except TypeError as error:
        raise TypeMismatchError(
            f"attribute {name!r} is {_short(elements)}: {error}", "a list holds numbers only"
        ) from error


def _array_of_array(name: str, given: Array) -> Array:
    if given.typecode in "qd":
        return given
    if given.typecode in "bBhHiIlLQ":
        return _array_of(name, given.tolist())
    if given.typecode == "f":
        return array("d", given)
    raise TypeMismatchError(f"attribute {name!r} is an array of characters", "give a string")


# To users.


def friendly(attribute: Attribute) -> object:
    """Return an attribute as users are given it: arrays as lists, moments as datetimes.

    A moment that no datetime can be stays a `Timestamp`: who asks for an item shall get it.
    """
    if isinstance(attribute, Timestamp):
        try:
            return attribute.datetime()
        except LimitError:
            return attribute
    return attribute.tolist() if isinstance(attribute, array) else attribute


def friendly_hook(code: int, data: memoryview) -> object:
    """Decode what msgpack does not know, for users: a hook of `msgspec`."""
    return friendly(exact_hook(code, data))


# Arrays as blobs, in v3io's form; all numbers are little-endian:
#
#     u32 11223344   u32 1   u32 bytes of the values   u32 type of the values   values, 8 bytes each

BLOB_HEAD = struct.Struct("<IIII")
_MAGIC, _VERSION, BLOB_INTS, BLOB_DOUBLES = 11223344, 1, 259, 261
BLOB_BEGIN = struct.pack("<II", _MAGIC, _VERSION)


def of_blob(blob: bytes) -> Attribute:
    """Return the array that a blob is, or the bytes themselves if it is none."""
    if not blob.startswith(BLOB_BEGIN) or len(blob) < BLOB_HEAD.size:
        return blob
    _, _, size, element = BLOB_HEAD.unpack_from(blob)
    kind = {BLOB_INTS: _INTS, BLOB_DOUBLES: _DOUBLES}.get(element)
    if kind is None or size % 8 or size != len(blob) - BLOB_HEAD.size:
        return blob
    return exact_hook(kind, memoryview(blob)[BLOB_HEAD.size :])


def blob_head(size: int, element: int) -> bytes:
    """Return what stands before the bytes of an array's values."""
    return BLOB_HEAD.pack(_MAGIC, _VERSION, size, element)


def to_blob(values: Array) -> bytes:
    """Return an array as a blob."""
    if _is_swapped:
        values = values[:]
        values.byteswap()
    data = values.tobytes()
    element = BLOB_INTS if values.typecode == "q" else BLOB_DOUBLES
    return blob_head(len(data), element) + data


# To bytes and back.


def exact_hook(code: int, data: memoryview) -> Attribute:
    """Decode what msgpack does not know, as it was: a hook of `msgspec`."""
    if code == _TIME:
        return Timestamp(*_moment.unpack(data))
    if code == _LONG:
        return int(bytes(data))
    if code in (_INTS, _DOUBLES):
        found: Array = array("q" if code == _INTS else "d")
        found.frombytes(data)
        if _is_swapped:
            found.byteswap()
        return found
    raise CorruptError(f"an attribute has the unknown type {code}")


def encode(attributes: Attributes) -> bytes:
    """Return the bytes of an item's attributes.

    Raises:
        LimitError: They are more than `ITEM_BYTES_MAX`, or hold a string that is no Unicode or
            a whole number of thousands of digits.
    """
    try:
        encoded = _encode(attributes)
    except OverflowError:
        encoded = _encode({name: _of_any_size(value) for name, value in attributes.items()})
    except UnicodeEncodeError as error:
        raise LimitError(
            f"an attribute is no Unicode text: {error}", "store it as bytes"
        ) from error
    if len(encoded) > settings.ITEM_BYTES_MAX:
        raise LimitError(
            f"the attributes have {len(encoded)} bytes, "
            f"at most {settings.ITEM_BYTES_MAX} are allowed",
            "store what is large as an object of a container",
        )
    return encoded


def _extension(value: object) -> object:
    if isinstance(value, Timestamp):
        return msgspec.msgpack.Ext(_TIME, _moment.pack(value.seconds, value.nanoseconds))
    assert isinstance(value, array), f"{value!r} was let through as an attribute"
    if _is_swapped:
        value = value[:]  # pyright: ignore[reportUnknownVariableType] of ints or of floats
        value.byteswap()
    return msgspec.msgpack.Ext(_INTS if value.typecode == "q" else _DOUBLES, value.tobytes())


def _of_any_size(value: Attribute) -> object:
    _check_int(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return msgspec.msgpack.Ext(_LONG, str(value).encode())
    return value


def _check_int(value: Attribute) -> None:
    if type(value) is int and value.bit_length() > _LONG_BITS_MAX:
        raise LimitError(
            f"a whole number has {value.bit_length()} bits, at most {_LONG_BITS_MAX} are allowed",
            "store it as bytes",
        )


_encode = msgspec.msgpack.Encoder(enc_hook=_extension).encode


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
