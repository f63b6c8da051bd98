"""Tuples to ordered bytes and back: the bytes sort as the tuples do.

The encoding is that of FoundationDB's tuple layer, which documents it as a format of its
own. Each element is a type byte and a body::

    None      00                              (00 FF inside a nested tuple)
    bytes     01 body 00                      each 00 in the body becomes 00 FF
    str       02 body 00                      UTF-8, the same escape
    tuple     05 elements 00
    int       0C..13 | 14 | 15..1C            big-endian, the length in the type byte,
              0B length body | 1D length body negative numbers as one's complement
    float     21 body                         8 bytes, IEEE, sign folded
    False     26      True  27

Across types the order is that of the type byte: None < bytes < str < tuple < int < float
< bool. Within a type it is Python's own, and a tuple sorts before its extensions; only
-0.0 sorts before 0.0, which Python calls equal, and a NaN sorts outside all other floats.
"""

from __future__ import annotations

import struct
from typing import TypeAlias, Union

from entrepot.errors import CorruptError, LimitError, TypeMismatchError

__all__ = ["KEY_BYTES_MAX", "NESTING_MAX", "Key", "Prefix", "after", "pack", "unpack"]

Key: TypeAlias = "tuple[KeyElement, ...]"
KeyElement: TypeAlias = Union[str, bytes, int, float, bool, "tuple[KeyElement, ...]", None]

KEY_BYTES_MAX = 4096
NESTING_MAX = 32
_INT_BYTES_MAX = 255

_INT_ZERO = 0x14
_POSITIVE = tuple(bytes([_INT_ZERO + size]) for size in range(9))
_float = struct.Struct(">d")


def pack(key: Key) -> bytes:
    """Encode a tuple.

    Raises:
        TypeMismatchError: An element is of none of the types above.
        LimitError: The encoded key is longer than `KEY_BYTES_MAX`, an int than 255 bytes, or
            tuples are nested deeper than `NESTING_MAX`.
    """
    out = bytearray()
    for element in key:
        _append(out, element, 0)
    return bounded(bytes(out))


def bounded(packed: bytes) -> bytes:
    """Return the packed key, or refuse it for its length."""
    if len(packed) > KEY_BYTES_MAX:
        raise LimitError(f"key is {len(packed)} bytes, at most {KEY_BYTES_MAX} are allowed")
    return packed


def unpack(packed: bytes) -> Key:
    """Decode what `pack` made.

    Raises:
        CorruptError: `pack` did not make it.
    """
    elements: list[KeyElement] = []
    at = 0
    try:
        while at < len(packed):
            element, at = _take(packed, at, 0)
            elements.append(element)
    except (ValueError, IndexError, struct.error) as error:
        raise CorruptError(f"{packed!r} is no key: {error}") from error
    if at > len(packed):
        raise CorruptError(f"{packed!r} is no key: its last element is cut off")
    return tuple(elements)


def after(packed: bytes) -> bytes:
    """Return the end of the range of all keys that extend `packed`: exclusive."""
    return packed + b"\xff"


class Prefix:
    """The packed beginning that a family of keys shares.

    The hot paths append one packed element to it; `int` and `str` are written for them.
    """

    __slots__ = ("begin", "end")

    begin: bytes
    end: bytes

    def __init__(self, *elements: KeyElement, of: Prefix | None = None) -> None:
        self.begin = bounded((of.begin if of is not None else b"") + pack(elements))
        self.end = after(self.begin)

    def key(self, *elements: KeyElement) -> bytes:
        """Return the packed key of this prefix and `elements`."""
        return bounded(self.begin + pack(elements))

    def int(self, number: int) -> bytes:
        """Return the packed key of this prefix and one whole number from 0 to 2**64 - 1.

        Its length is left to the engine to check, for speed.
        """
        size = (number.bit_length() + 7) >> 3
        return self.begin + _POSITIVE[size] + number.to_bytes(size, "big")

    def str(self, text: str) -> bytes:
        """Return the packed key of this prefix and one string."""
        return bounded(self.begin + pack_str(text))

    def tail(self, packed: bytes) -> Key:
        """Return the elements that follow this prefix in a packed key."""
        return unpack(packed[len(self.begin) :])


def pack_int(number: int) -> bytes:
    """Encode one whole number of 64 bits; quickly, unless it is negative."""
    size = (number.bit_length() + 7) >> 3
    try:
        return _POSITIVE[size] + number.to_bytes(size, "big")
    except OverflowError:
        return pack((number,))


def pack_str(text: str) -> bytes:
    """Encode one string, quickly."""
    body = text.encode("utf-8", "surrogatepass")
    if b"\x00" in body:
        body = body.replace(b"\x00", b"\x00\xff")
    return b"\x02" + body + b"\x00"


def _append(out: bytearray, element: object, depth: int) -> None:
    if element is None:
        out += b"\x00\xff" if depth else b"\x00"
    elif isinstance(element, bytes):
        out += b"\x01" + element.replace(b"\x00", b"\x00\xff") + b"\x00"
    elif isinstance(element, str):
        out += pack_str(element)
    elif isinstance(element, bool):
        out.append(0x27 if element else 0x26)
    elif isinstance(element, int):
        _append_int(out, element)
    elif isinstance(element, float):
        bits = bytearray(_float.pack(element))
        if bits[0] & 0x80:
            bits = bytearray(byte ^ 0xFF for byte in bits)
        else:
            bits[0] ^= 0x80
        out.append(0x21)
        out += bits
    elif isinstance(element, tuple):
        if depth == NESTING_MAX:
            raise LimitError(f"tuples in a key are nested more than {NESTING_MAX} deep")
        out.append(0x05)
        for inner in element:  # pyright: ignore[reportUnknownVariableType] a tuple of whatever the caller gave
            _append(out, inner, depth + 1)  # pyright: ignore[reportUnknownArgumentType] checked there
        out.append(0x00)
    else:
        raise TypeMismatchError(
            f"a key holds {element!r}, a {type(element).__name__}",
            "keys are made of str, bytes, int, float, bool, None and tuples of them",
        )


def _append_int(out: bytearray, number: int) -> None:
    size = (abs(number).bit_length() + 7) >> 3
    if size > _INT_BYTES_MAX:
        raise LimitError(f"an int in a key has {size} bytes, at most {_INT_BYTES_MAX} are allowed")
    if number >= 0:
        out += bytes([_INT_ZERO + size]) if size <= 8 else bytes([0x1D, size])
        out += number.to_bytes(size, "big")
    else:
        # One's complement, and for long ones the complement of the length: more negative, smaller.
        complement = number + (1 << (8 * size)) - 1
        out += bytes([_INT_ZERO - size]) if size <= 8 else bytes([0x0B, size ^ 0xFF])
        out += complement.to_bytes(size, "big")


def _take(packed: bytes, at: int, depth: int) -> tuple[KeyElement, int]:
    code = packed[at]
    at += 1
    if code == 0x00:
        return None, at + (depth > 0)
    if code in (0x01, 0x02):
        end = at
        while True:
            end = packed.index(b"\x00", end)
            if packed[end + 1 : end + 2] != b"\xff":
                break
            end += 2
        body = packed[at:end].replace(b"\x00\xff", b"\x00")
        return (body if code == 0x01 else body.decode("utf-8", "surrogatepass")), end + 1
    if code == 0x05:
        if depth == NESTING_MAX:
            raise ValueError(f"tuples are nested more than {NESTING_MAX} deep")
        inner: list[KeyElement] = []
        while not (packed[at] == 0x00 and packed[at + 1 : at + 2] != b"\xff"):
            element, at = _take(packed, at, depth + 1)
            inner.append(element)
        return tuple(inner), at + 1
    if 0x0B <= code <= 0x1D:
        return _take_int(packed, code, at)
    if code == 0x21:
        bits = bytearray(packed[at : at + 8])
        if bits[0] & 0x80:
            bits[0] ^= 0x80
        else:
            bits = bytearray(byte ^ 0xFF for byte in bits)
        return _float.unpack(bits)[0], at + 8
    if code in (0x26, 0x27):
        return code == 0x27, at
    raise ValueError(f"byte {code:#04x} at {at - 1} begins no element of a key")


def _take_int(packed: bytes, code: int, at: int) -> tuple[int, int]:
    if code == 0x0B:
        size, at = packed[at] ^ 0xFF, at + 1
    elif code == 0x1D:
        size, at = packed[at], at + 1
    else:
        size = abs(code - _INT_ZERO)
    number = int.from_bytes(packed[at : at + size], "big")
    if code < _INT_ZERO:
        number -= (1 << (8 * size)) - 1
    return number, at + size
