"""Objects in a dict: for one process, and for tests."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from entrepot.proxystore.connectors.protocols import BytesLike, bytes_of

__all__ = ["LocalConnector", "LocalKey"]


class LocalKey(NamedTuple):
    """Key to objects in a dict."""

    id: str
    """Unique object id."""


class LocalConnector:
    """Connector to a dict of this process.

    Args:
        store_dict: The dict; a new one by default.
        include_data_in_config: Whether `config()` has the dict, so that other instances made
            of it see the same objects.
    """

    is_thread_safe = True
    """So a store need not let its threads wait for each other."""

    def __init__(
        self,
        store_dict: dict[LocalKey, BytesLike] | None = None,
        *,
        include_data_in_config: bool = False,
    ) -> None:
        self._objects: dict[LocalKey, BytesLike] = {} if store_dict is None else store_dict
        self._include_data_in_config = include_data_in_config

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def close(self) -> None:
        """Do nothing: the objects live as long as the dict."""

    def config(self) -> dict[str, Any]:
        """Return what is needed to make another instance."""
        config: dict[str, Any] = {"include_data_in_config": self._include_data_in_config}
        if self._include_data_in_config:
            config["store_dict"] = self._objects
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LocalConnector:
        """Return an instance of such a configuration."""
        return cls(**config)

    def evict(self, key: LocalKey) -> None:
        """Remove an object; one that is not there is passed over."""
        self._objects.pop(key, None)

    def exists(self, key: LocalKey) -> bool:
        """Tell whether there is such an object."""
        return key in self._objects

    def get(self, key: LocalKey) -> BytesLike | None:
        """Return the bytes of an object, None if there is none."""
        return self._objects.get(key)

    def get_batch(self, keys: Sequence[LocalKey]) -> list[BytesLike | None]:
        """Return the bytes of several, in order, None in the places of those missing."""
        return [self.get(key) for key in keys]

    def new_key(self, obj: BytesLike | None = None) -> LocalKey:
        """Return a fresh key, with nothing stored."""
        return LocalKey(str(uuid.uuid4()))

    def put(self, obj: BytesLike) -> LocalKey:
        """Store bytes; return a fresh key."""
        key = self.new_key(obj)
        self.set(key, obj)
        return key

    def put_batch(self, objs: Sequence[BytesLike]) -> list[LocalKey]:
        """Store several; return their keys in order."""
        return [self.put(obj) for obj in objs]

    def set(self, key: LocalKey, obj: BytesLike) -> None:
        """Store bytes under a key, in place of what is there."""
        self._objects[key] = bytes(bytes_of(obj))
