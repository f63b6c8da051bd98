"""What a connector is: bytes in, a key out, and back.

Any class with these methods is one; none has to derive from these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

__all__ = ["BytesLike", "Connector", "DeferrableConnector", "bytes_of"]

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""What connectors take and return."""

KeyT = TypeVar("KeyT", bound=Any)


@runtime_checkable
class Connector(Protocol[KeyT]):
    """A place for bytes, shared by all who know its configuration.

    Keys are named tuples. `cls(**connector.config())` makes another instance that sees the
    same objects: this is how proxies find theirs.
    """

    def close(self) -> None:
        """Let go of the place; may be repeated."""
        ...

    def config(self) -> dict[str, Any]:
        """Return what is needed to make another instance: strings, numbers, lists, dicts."""
        ...

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Connector[Any]:
        """Return an instance of such a configuration."""
        ...

    def evict(self, key: KeyT) -> None:
        """Remove an object; one that is not there is passed over."""
        ...

    def exists(self, key: KeyT) -> bool:
        """Tell whether there is such an object."""
        ...

    def get(self, key: KeyT) -> BytesLike | None:
        """Return the bytes of an object, None if there is none."""
        ...

    def get_batch(self, keys: Sequence[KeyT]) -> list[BytesLike | None]:
        """Return the bytes of several, in order, None in the places of those missing."""
        ...

    def put(self, obj: BytesLike) -> KeyT:
        """Store bytes; return a fresh key."""
        ...

    def put_batch(self, objs: Sequence[BytesLike]) -> list[KeyT]:
        """Store several; return their keys in order."""
        ...


@runtime_checkable
class DeferrableConnector(Connector[KeyT], Protocol[KeyT]):
    """A connector that gives keys out before there are bytes for them."""

    def new_key(self, obj: bytes | None = None) -> KeyT:
        """Return a fresh key, with nothing stored."""
        ...

    def set(self, key: KeyT, obj: BytesLike) -> None:
        """Store bytes under a key of `new_key`."""
        ...


def bytes_of(obj: object) -> memoryview:
    """Return a flat view of the bytes of anything that lends them.

    Raises:
        TypeError: It lends none.
    """
    try:
        view = memoryview(obj)  # pyright: ignore[reportArgumentType] what it cannot take is refused below
    except TypeError:
        raise TypeError(
            f"a connector stores bytes, not a {type(obj).__name__}: serialize it before"
        ) from None
    if view.format == "B" and view.ndim == 1 and view.c_contiguous:
        return view
    return view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
