"""Every error that entrepot raises on purpose.

::

    EntrepotError                          message, hint (what to do next)
    ├── NotFoundError        (KeyError)      an id, a name, a variable, a space that is not there
    ├── ExistsError          (ValueError)    it is there already
    ├── ConflictError        (ValueError)    it is there, and differs from what was asked
    ├── ClosedError          (RuntimeError)  the depot, claim or iterator was closed
    ├── TypeMismatchError    (TypeError)     an argument or a value of a type that cannot work
    ├── LimitError           (ValueError)    a number or a size outside its bounds
    ├── ExpressionError      (ValueError)    a condition or update that cannot be read or worked out
    ├── ConditionError       (ValueError)    a condition is false, so nothing was changed
    ├── FullError            (Full)          a bounded variable has no room; queue's
    ├── ProducersGoneError   (EOFError)      no value is there, and nobody is left to store one
    ├── OutOfMemoryError     (MemoryError)   the `memory` setting, or the memory itself, is used up
    ├── DiskFullError        (OSError)       the disk of the durable tier is full
    ├── WaitTimeoutError     (TimeoutError)  a wait ended before what it waited for came
    ├── UnavailableError     (ConnectionError)  somebody else holds what we need
    ├── CorruptError         (OSError)       the files of a depot are damaged
    ├── FormatError          (ValueError)    the files are of another version of entrepot
    └── AccessDeniedError    (PermissionError)  the depot belongs to another user

Each derives from the builtin that a Python programmer would catch, after our base, so
that our `__str__` wins (a bare `KeyError` prints its message in quotes).
"""

from __future__ import annotations

import errno
import queue
from typing import ClassVar

__all__ = [
    "AccessDeniedError",
    "ClosedError",
    "ConditionError",
    "ConflictError",
    "CorruptError",
    "DiskFullError",
    "EntrepotError",
    "ExistsError",
    "ExpressionError",
    "FormatError",
    "FullError",
    "LimitError",
    "NotFoundError",
    "OutOfMemoryError",
    "ProducersGoneError",
    "TypeMismatchError",
    "UnavailableError",
    "WaitTimeoutError",
]


class EntrepotError(Exception):
    """The base of all our errors.

    Args:
        message: What happened, with the offending value, in the caller's words.
        hint: One sentence that says what to do next, or the empty string.
    """

    message: str
    hint: str

    _errno: ClassVar[int]
    """Of the classes that are an `OSError`, whose handlers look at `errno`."""

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        if isinstance(self, OSError):
            # OSError took the two arguments for its number and its text.
            self.errno = self._errno
            self.strerror = message

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class NotFoundError(EntrepotError, KeyError):
    """An id, a name, a variable or a workspace that is not there."""


class ExistsError(EntrepotError, ValueError):
    """What was to be made is there already."""


class ConflictError(EntrepotError, ValueError):
    """What is there differs from what was asked, or is in use."""


class ClosedError(EntrepotError, RuntimeError):
    """The depot, claim or iterator was closed before this call."""


class TypeMismatchError(EntrepotError, TypeError):
    """An argument or a value has a type that cannot work here."""


class LimitError(EntrepotError, ValueError):
    """A number or a size is outside its bounds."""


class ExpressionError(EntrepotError, ValueError):
    """A condition, filter or update that cannot be read, or not be worked out for an item."""

    position: int | None
    """Where in the text, from 0; None where it is not about a place."""

    def __init__(self, message: str = "", hint: str = "", position: int | None = None) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, position)
        self.position = position


class ConditionError(EntrepotError, ValueError):
    """The condition of a write is false: nothing was changed."""

    item: dict[str, object] | None
    """The item as it is, where that was asked for."""

    def __init__(
        self, message: str = "", hint: str = "", item: dict[str, object] | None = None
    ) -> None:
        super().__init__(message, hint)
        self.args = (message, hint, item)
        self.item = item


class FullError(EntrepotError, queue.Full):
    """A bounded variable has no room for a value, and refuses it."""


class ProducersGoneError(EntrepotError, EOFError):
    """A variable has no value, and all who said that they would store some have ended."""


class OutOfMemoryError(EntrepotError, MemoryError):
    """The `memory` setting of the depot, or the memory of the machine, is used up."""


class DiskFullError(EntrepotError, OSError):
    """The disk that holds the durable tier is full."""

    _errno = errno.ENOSPC


class WaitTimeoutError(EntrepotError, TimeoutError):
    """A wait ended before what it waited for came."""

    _errno = errno.ETIMEDOUT


class UnavailableError(EntrepotError, ConnectionError):
    """Somebody else holds what is needed, for instance a stopped process its lock."""

    _errno = errno.EBUSY


class CorruptError(EntrepotError, OSError):
    """The files of a depot are damaged."""

    _errno = errno.EIO


class FormatError(EntrepotError, ValueError):
    """The files of a depot were made by another version of entrepot."""


class AccessDeniedError(EntrepotError, PermissionError):
    """The depot belongs to another user, or is open to others."""

    _errno = errno.EACCES
