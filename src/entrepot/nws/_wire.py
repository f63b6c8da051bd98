"""The frames of NetWorkSpaces' protocol.

::

    request   count of arguments (4 digits), then for each: length (20 digits), bytes
    short     status (4 digits)
    long      status (4), descriptor (20), [variable id (20), index (20)], length (20), bytes

Numbers are decimal text. The bracketed part, the cookie, is left out for the oldest clients.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from entrepot import settings

__all__ = ["Cookie", "FrameError", "number", "parse", "request"]

COUNT_DIGITS: Final = 4
LENGTH_DIGITS: Final = 20
NO_ID: Final = " " * LENGTH_DIGITS

WITH_COOKIES, WITHOUT_COOKIES, NEGOTIATE = b"1112", b"1111", b"X000"
NEW_SERVER: Final = b"2223"
OLD_SERVER: Final = b"2222"
"""Its replies have no cookies."""
OFFER, WANT, AGREED, REFUSED = b"P000", b"R000", b"A000", b"F000"

STORE_VALUE: Final = 4
"""Which argument of `store` is the value."""

_SIZE_MAX: Final = settings.NWS_ARGUMENT_BYTES_MAX

FAILURE: Final = b"0001" + b"0" * 20 + NO_ID.encode() + b"0" * 20 + b"0" * 20
FAILURE_WITHOUT_COOKIE: Final = b"0001" + b"0" * 40


class FrameError(Exception):
    """What came is no frame; nothing after it can be understood."""


class Cookie(NamedTuple):
    """Where an iterator stands: behind which value of which variable."""

    id: str
    index: int  # pyright: ignore[reportIncompatibleMethodOverride] tuple's method is not wanted


START: Final = Cookie(NO_ID, 0)
"""An iterator that has not begun."""


def request(arguments: Iterable[bytes], *, value_bytes: int | None = None) -> bytes:
    """Return a request; with `value_bytes`, all but the bytes of a last argument of that size."""
    parts = [b"%020d%b" % (len(argument), argument) for argument in arguments]
    count = len(parts)
    if value_bytes is not None:
        count += 1
        parts.append(b"%020d" % value_bytes)
    return b"%04d%b" % (count, b"".join(parts))


def number(text: bytes | bytearray | memoryview) -> int:
    """Return a number of the wire, padded with zeros or with blanks.

    Raises:
        FrameError: It is none, or negative.
    """
    try:
        found = int(bytes(text))
    except ValueError:
        raise FrameError(f"{bytes(text)!r} is no number") from None
    if found < 0:
        raise FrameError(f"{found} is negative")
    if found >= 1 << 63:
        raise FrameError("a number is beyond 63 bits")
    return found


class Value(NamedTuple):
    """The value of a `store` that has not all come yet."""

    arguments: list[bytes]
    """The arguments before it."""
    arguments_count: int
    """How many arguments there are in all."""
    size: int
    begin: int
    """Where its bytes begin."""


def parse(
    data: bytes | bytearray, at: int, value_bytes_max: int
) -> tuple[list[bytes], int] | Value | None:
    """Return the arguments of the request that begins at `at`, and where it ends.

    Returns None if it has not all come; a `Value` if that is for want of bytes of a value
    that may be big.

    Raises:
        FrameError: It is no request, or larger than it may be.
    """
    if type(data) is not bytes:
        data = bytes(data)
    end = len(data)
    begin = at + COUNT_DIGITS
    if begin > end:
        return None
    try:
        count = int(data[at:begin])
        if not 0 < count <= settings.NWS_ARGUMENTS_MAX:
            raise FrameError(f"a request has {count} arguments")
        arguments: list[bytes] = []
        for place in range(count):
            at, begin = begin, begin + LENGTH_DIGITS
            if begin > end:
                return None
            size = int(data[at:begin])
            is_value = place == STORE_VALUE and arguments[0] == b"store"
            if not 0 <= size <= (value_bytes_max if is_value else _SIZE_MAX):
                raise FrameError(f"an argument has {size} bytes")
            at, begin = begin, begin + size
            if begin > end:
                if is_value and size > settings.INLINE_BYTES_MAX:
                    return Value(arguments, count, size, at)
                return None
            arguments.append(data[at:begin])
    except ValueError:
        raise FrameError(f"{data[at:begin]!r} is no number") from None
    return arguments, begin


def reply(descriptor: int, cookie: tuple[int, int] | None, size: int) -> bytes:
    """Return the head of a long reply that succeeds; `cookie` unless the client knows none."""
    if cookie is None:
        return b"0000%020d%020d" % (descriptor, size)
    return b"0000%020d%020d%020d%020d" % (descriptor, *cookie, size)


def dictionary(entries: dict[bytes, bytes]) -> bytes:
    """Return a dictionary of the newer protocol."""
    parts = [b"%04d%b%04d%b" % (len(k), k, len(v), v) for k, v in entries.items()]
    return b"%04d%b" % (len(parts), b"".join(parts))


def parse_dictionary(data: bytes | bytearray, at: int) -> tuple[dict[bytes, bytes], int] | None:
    """Return the dictionary that begins at `at`, and where it ends; None if it has not all come.

    Raises:
        FrameError: It is none.
    """
    texts: list[bytes] = []
    if len(data) - at < COUNT_DIGITS:
        return None
    count = number(data[at : at + COUNT_DIGITS])
    at += COUNT_DIGITS
    if count > settings.NWS_ENTRIES_MAX:
        raise FrameError(f"a dictionary has {count} entries")
    for _ in range(2 * count):
        if len(data) - at < COUNT_DIGITS:
            return None
        size = number(data[at : at + COUNT_DIGITS])
        at += COUNT_DIGITS
        if len(data) - at < size:
            return None
        texts.append(bytes(data[at : at + size]))
        at += size
    return dict(zip(texts[::2], texts[1::2], strict=True)), at
