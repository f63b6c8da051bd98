"""Files that values are read from and written to."""

from __future__ import annotations

import codecs
import io
import sys
import warnings
from collections.abc import Callable
from typing import Any, cast

from entrepot.nws._link import Sink

__all__ = ["check_readable", "check_writable", "reader", "sink"]

_BLOCK_BYTES = 256 * 1024


def check_writable(fobj: Any) -> None:
    """Refuse what cannot be written to, before anything is retrieved.

    Raises:
        TypeError: It is closed, or of another mode.
    """
    mode = getattr(fobj, "mode", None)
    is_wrong = isinstance(mode, str) and ("b" not in mode or not set(mode) & set("wax+"))
    if is_wrong or getattr(fobj, "closed", False) is True or not hasattr(fobj, "write"):
        raise TypeError("fobj must be a binary mode file object opened for writing")


def check_readable(fobj: Any) -> None:
    """Refuse what cannot be read from.

    Raises:
        TypeError: It is closed, or of another mode.
    """
    mode = getattr(fobj, "mode", None)
    is_wrong = isinstance(mode, str) and ("b" not in mode or not set(mode) & set("r+"))
    if is_wrong or getattr(fobj, "closed", False) is True or not hasattr(fobj, "read"):
        raise TypeError("fobj must be a binary mode file object opened for reading")


def sink(fobj: Any) -> Sink:
    """Return what writes the pieces of a value to a file."""
    if not isinstance(fobj, io.StringIO):
        return fobj.write
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    return lambda piece: fobj.write(decoder.decode(bytes(piece)))


def reader(fobj: Any, size_max: int) -> tuple[int, Callable[[int], bytes]]:
    """Return how many bytes are to be read from a file, and what reads them.

    A file that ends before that is filled up with zeros.
    """
    size = _bytes_left(fobj)
    if size is None:  # only reading tells how many there are
        fobj = io.BytesIO(_read_all(fobj, size_max))
        size = len(fobj.getbuffer())
    if 0 < size_max < size:
        size = size_max
    block = getattr(fobj, "blocksize", 0)
    block = block if isinstance(block, int) and block > 0 else _BLOCK_BYTES

    def read(count: int) -> bytes:
        piece = fobj.read(min(count, block))
        if not piece:
            warnings.warn(
                f"the file ended {count} bytes too early: zeros stand for them", stacklevel=2
            )
            return bytes(count)
        return piece[:count]

    return size, read


def _bytes_left(fobj: Any) -> int | None:
    """Return how many bytes of a file are left; None if that cannot be known."""
    told: Any = getattr(fobj, "len", None)
    if told is not None:
        size = int(cast("Any", told()) if callable(told) else told)
        try:
            return max(0, size - fobj.tell())
        except (AttributeError, OSError):  # a pipe has no position
            return size
    try:
        at = fobj.tell()
        fobj.seek(0, io.SEEK_END)  # what its descriptor says may be the size of what is compressed
        end = fobj.tell()
        fobj.seek(at)
    except (AttributeError, OSError):  # a pipe
        return None
    return max(0, end - at) or None  # files of /proc have no size, and bytes all the same


def _read_all(fobj: Any, size_max: int) -> bytes:
    """Return all bytes that are left, or so many of them."""
    pieces: list[bytes] = []
    left = size_max if size_max > 0 else sys.maxsize
    while left > 0:
        piece = fobj.read(min(left, _BLOCK_BYTES))
        if not piece:
            break
        pieces.append(piece[:left])
        left -= len(piece)
    return b"".join(pieces)
