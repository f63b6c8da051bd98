"""What buffers and mirrors have in common: the manners of a text stream, and redirection."""

from __future__ import annotations

import io
import os
import sys
import threading
import weakref
from collections.abc import Hashable
from types import TracebackType
from typing import Any, Self

from entrepot.errors import TypeMismatchError

__all__ = [
    "ClosedIOError",
    "Forking",
    "Pending",
    "Redirecting",
    "Stream",
    "checked_maxlen",
    "checked_size",
    "partial_line",
]


class ClosedIOError(OSError):
    """A buffer or a mirror that was closed is read or written."""


class Forking:
    """Something that is told when it finds itself in a forked child."""

    def begin_in_child(self) -> None:
        """Forget what is the parent's; a lock may be held by a thread that is not here."""
        self._lock = threading.RLock()

    def hear_of_forks(self) -> None:
        """Ask to be told."""
        _forking.add(self)


_forking: weakref.WeakSet[Forking] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for one in list(_forking):
        one.begin_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Pending:
    """Texts that wait for the end of their line: one for each thread, so that they never mix."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._texts: dict[Hashable, str] = {}

    @property
    def key(self) -> Hashable:
        """Stands for this thread; the number of one that ended is used again, this is not."""
        try:
            return self._of_thread.key
        except AttributeError:
            self._of_thread.key = object()
            return self._of_thread.key

    @property
    def text(self) -> str:
        """That of this thread."""
        return self._texts.get(self.key, "")

    @text.setter
    def text(self, text: str) -> None:
        if text:
            self._texts[self.key] = text
        else:
            self._texts.pop(self.key, None)

    def of_all(self) -> list[tuple[Hashable, str]]:
        """Return those of all threads, also of threads that ended."""
        return list(self._texts.items())

    def drop(self, key: Hashable) -> None:
        """Drop that of a thread."""
        self._texts.pop(key, None)

    def clear(self) -> None:
        """Drop them all."""
        self._texts.clear()

    def __str__(self) -> str:
        return "".join(text for _, text in self.of_all())


class Stream(io.TextIOBase):
    """A text stream that cannot seek and has no file."""

    encoding = "utf-8"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType] a constant serves as well as a property
    errors = "backslashreplace"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType] see above

    def readable(self) -> bool:
        """Return True while the stream is open."""
        return not self.closed

    def writable(self) -> bool:
        """Return True while the stream is open."""
        return not self.closed

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


def partial_line(text: str) -> io.StringIO:
    """Return a line that is not finished as the original keeps it: a stream, at its end."""
    stream = io.StringIO()
    stream.write(text)
    return stream


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
