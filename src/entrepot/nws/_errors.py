"""NetWorkSpaces' exceptions.

::

    NwsException
    ├── NwsServerException
    │   ├── NwsConnectException
    │   ├── NwsConnectionDroppedException
    │   └── NwsUnsupportedOperationException
    └── NwsOperationException
        ├── NwsNoWorkSpaceException
        ├── NwsDeclarationFailedException
        ├── NwsPicklingException
        └── NwsUnpicklingException
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "NwsConnectException",
    "NwsConnectionDroppedException",
    "NwsDeclarationFailedException",
    "NwsException",
    "NwsNoWorkSpaceException",
    "NwsOperationException",
    "NwsPicklingException",
    "NwsServerException",
    "NwsUnpicklingException",
    "NwsUnsupportedOperationException",
]


class NwsException(Exception):
    """The base of all exceptions of this module."""


class NwsServerException(NwsException):
    """The server, or the way to it, failed."""


class NwsConnectException(NwsServerException):
    """The server cannot be reached."""


class NwsConnectionDroppedException(NwsServerException):
    """The connection to the server has ended."""


class NwsUnsupportedOperationException(NwsServerException):
    """The server is too old for the operation."""


class NwsOperationException(NwsException):
    """An operation was refused."""


class NwsNoWorkSpaceException(NwsOperationException):
    """There is no such workspace."""


class NwsDeclarationFailedException(NwsOperationException):
    """The variable has another mode."""


class NwsPicklingException(NwsOperationException):
    """A value cannot be pickled; nothing was stored."""

    def __init__(self, ws_name: str, variable: str, exception: BaseException) -> None:
        self.exception = exception
        """What went wrong."""
        self._made_of = ws_name, variable, exception
        super().__init__(
            f"caught {type(exception).__name__!r} while pickling object to store in"
            f" '{ws_name} @ {variable}'"
        )

    def __reduce__(self) -> Any:  # what exceptions do by themselves gives __init__ the text only
        return type(self), self._made_of


class NwsUnpicklingException(NwsOperationException):
    """A value was retrieved and cannot be unpickled; if it was fetched, this has the only copy."""

    def __init__(self, ws_name: str, variable: str, exception: BaseException, obj: bytes) -> None:
        self.exception = exception
        """What went wrong."""
        self.obj = obj
        """The bytes of the value."""
        self._made_of = ws_name, variable, exception, obj
        super().__init__(
            f"caught {type(exception).__name__!r} while unpickling object retrieved from"
            f" '{ws_name} @ {variable}'"
        )

    def __reduce__(self) -> Any:
        return type(self), self._made_of
