"""Lists of numbers as attribute values: the blobs of `entrepot.layers.attributes`, in base64."""

from __future__ import annotations

import base64
import numbers
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from entrepot.layers.attributes import (
    BLOB_BEGIN,
    BLOB_DOUBLES,
    BLOB_HEAD,
    BLOB_INTS,
    blob_head,
)

__all__ = [
    "OPERAND_TYPE_DOUBLE",
    "OPERAND_TYPE_LONG",
    "TYPECODES",
    "decode",
    "encode_array",
    "encode_list",
    "is_array",
]

OPERAND_TYPE_LONG: Final = BLOB_INTS
OPERAND_TYPE_DOUBLE: Final = BLOB_DOUBLES

_CODES: Final = {OPERAND_TYPE_LONG: "q", OPERAND_TYPE_DOUBLE: "d"}
TYPECODES: Final = dict.fromkeys("bBhHiIlLqQ", OPERAND_TYPE_LONG) | dict.fromkeys(
    "fd", OPERAND_TYPE_DOUBLE
)
"""Type code of `array.array` -> type of the values."""


def encode_list(list_value: Sequence[float]) -> bytes:
    """Return a list as base64; the first element decides between integers and floats.

    Raises:
        struct.error: The elements are not all of that kind, or an integer exceeds 64 bits.
    """
    first = list_value[0] if len(list_value) else 0
    real = isinstance(first, numbers.Real) and not isinstance(first, numbers.Integral)
    return encode_array(list_value, "d" if real else "l")


def encode_array(array_value: Sequence[float], typecode: str) -> bytes:
    """Return numbers as base64; the type code is one of `array.array`.

    Raises:
        ValueError: The type code is not one of numbers.
        struct.error: An element is of another kind, or an integer exceeds 64 bits.
    """
    try:
        operand_type = TYPECODES[typecode]
    except KeyError:
        raise ValueError(f"array type code {typecode!r} is not one of numbers") from None
    values = struct.pack(f"<{len(array_value)}{_CODES[operand_type]}", *array_value)
    return base64.b64encode(blob_head(len(values), operand_type) + values)


def decode(encoded_array: bytes) -> list[float]:
    """Return the numbers of an array; bytes, not base64.

    Raises:
        ValueError: It is not an array.
    """
    if not is_array(encoded_array) or len(encoded_array) < BLOB_HEAD.size:
        raise ValueError("Not an encoded array")
    _, _, size, operand_type = BLOB_HEAD.unpack_from(encoded_array)
    code = _CODES.get(operand_type)
    if code is None or size % 8 or size > len(encoded_array) - BLOB_HEAD.size:
        raise ValueError("Not an encoded array")
    values: Iterable[float] = struct.unpack_from(
        f"<{size // 8}{code}", encoded_array, BLOB_HEAD.size
    )
    return list(values)


def is_array(value: bytes) -> bool:
    """Whether a value claims to be an array."""
    return len(value) > len(BLOB_BEGIN) and value.startswith(BLOB_BEGIN)
