"""What buffers and mirrors have in common: the manners of a text stream, and redirection."""

from __future__ import annotations

import io
import sys
from types import TracebackType
from typing import Any, Self

from entrepot.errors import TypeMismatchError

__all__ = ["ClosedIOError", "Redirecting", "Stream", "checked_maxlen", "checked_size"]


class ClosedIOError(OSError):
    """A buffer or a mirror that was closed is read or written."""


class Stream(io.TextIOBase):
    """A text stream that cannot seek and has no file."""

    encoding = "utf-8"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType] a constant serves as well as a property
    errors = "backslashreplace"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType] see above

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False."""
        return False

    def isatty(self) -> bool:
        """Return False."""
        return False

    def fileno(self) -> int:
        """Raise: there is no file.

        Raises:
            OSError: Always.
        """
        raise io.UnsupportedOperation("fileno")

    def seek(self, offset: int = 0, whence: int = 0, /) -> int:
        """Raise: one cannot seek here.

        Raises:
            OSError: Always.
        """
        raise io.UnsupportedOperation("seek")

    def flush(self) -> None:
        """Do nothing: what is written is there."""

    def __del__(self) -> None:
        """Do nothing: what is written is there, and a finalizer may run at any moment."""

    def check_open(self) -> None:
        """Raise where the stream is closed.

        Raises:
            OSError: It is closed.
        """
        if self.closed:
            raise ClosedIOError(f"this {type(self).__name__} is closed")

    def check_usable(self) -> None:
        """Raise where the stream is closed, as text streams do.

        Raises:
            ValueError: It is closed.
        """
        if self.closed:
            raise ValueError(f"this {type(self).__name__} is closed")


class Redirecting(Stream):
    """A stream that stands in for `sys.stdout` and `sys.stderr` in a `with` block."""

    _taken: list[tuple[Any, Any]] | None = None

    def _take(self) -> None:
        if self._taken is None:
            self._taken = []
        self._taken.append((sys.stdout, sys.stderr))
        sys.stdout = sys.stderr = self

    def _give_back(self) -> None:
        assert self._taken, "it was taken before"
        sys.stdout, sys.stderr = self._taken.pop()

    def __enter__(self) -> Self:
        self._take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()


def checked_maxlen(maxlen: object) -> int:
    """Return how many lines a buffer keeps.

    Raises:
        TypeError: It is no int, or less than 1.
    """
    if not isinstance(maxlen, int) or maxlen < 1:
        raise TypeMismatchError(f"maxlen is {maxlen!r}: it is an int, and 1 at least")
    return int(maxlen)


def checked_size(size: object, most: int) -> int:
    """Return how many items are asked for.

    Raises:
        TypeError: It is no int.
    """
    if size is None:
        return most
    if not isinstance(size, int):
        raise TypeMismatchError(f"size is {size!r}: it is an int, or None")
    return min(max(int(size), 0), most)
