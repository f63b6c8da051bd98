"""What a connection does, in this process or over TCP: READ THIS FIRST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from entrepot.nws._wire import Cookie

__all__ = ["Link", "Retrieved", "Sink"]

Sink = Callable[[bytes | bytearray | memoryview], object]
"""Takes the bytes of a value, piece by piece."""


class Retrieved(Protocol):
    """A value that was found or fetched."""

    cookie: Cookie

    @property
    def is_nothing(self) -> bool:
        """Whether it is what an iterator gets at the end: no value, and no text either."""
        ...

    def load(self) -> Any:
        """Return the value.

        Raises:
            TypeMismatchError: It cannot be loaded here.
        """
        ...

    def content(self) -> bytes:
        """Return its bytes, as they travel."""
        ...


class Link(Protocol):
    """A connection to a server, or a stand-in for one in this process.

    Methods return False, or None, where the server would answer that it failed.

    Raises:
        NwsConnectionDroppedException: From each method, if the connection has ended.
    """

    handshake: str
    """What the server said of itself."""

    def open(self, name: str, *, owned: bool, persistent: bool, create: bool) -> bool: ...
    def delete_workspace(self, name: str) -> bool: ...
    def list_workspaces(self) -> str | None: ...
    def make_temporary(self, template: str) -> str | None: ...
    def declare(self, workspace: str, variable: str, mode: str) -> bool: ...
    def delete_variable(self, workspace: str, variable: str) -> bool: ...
    def list_variables(self, workspace: str) -> str | None: ...

    def store(self, workspace: str, variable: str, value: object) -> bool:
        """Store a value.

        Raises:
            TypeMismatchError: It cannot be pickled.
        """
        ...

    def store_pieces(
        self, workspace: str, variable: str, size: int, read: Callable[[int], bytes]
    ) -> bool:
        """Store `size` bytes; `read(n)` returns at most n of them, and some each time."""
        ...

    def retrieve(
        self, verb: str, workspace: str, variable: str, cookie: Cookie | None
    ) -> Retrieved | None:
        """Find or fetch a value; `cookie` for the iterated verbs."""
        ...

    def retrieve_into(
        self, verb: str, workspace: str, variable: str, cookie: Cookie | None, sink: Sink
    ) -> tuple[int, Cookie] | None:
        """As `retrieve`; hand the bytes to `sink` as they come, and return how many they were."""
        ...

    def close(self) -> None:
        """End the connection; may be repeated, and never raises."""
        ...
