"""The objects that were used last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["LRUCache"]

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class LRUCache(Generic[KeyT, ValueT]):
    """Keeps the objects that were used last.

    Args:
        maxsize: How many; with 0 none.

    Raises:
        ValueError: `maxsize` is negative.
    """

    def __init__(self, maxsize: int = 16) -> None:
        if maxsize < 0:
            raise ValueError(f"Cache size cannot be negative. Got {maxsize}.")
        self.maxsize = maxsize
        self.generation = 0
        """Grows whenever an object is forgotten on purpose."""
        self.forget_threads()
        self._data: OrderedDict[KeyT, ValueT] = OrderedDict()

    def forget_threads(self) -> None:
        """Forget who is at work here: in a forked child, where there is nobody else."""
        # Reentrant: an owner that the garbage collector drops meanwhile evicts its object.
        self._lock = threading.RLock()

    def clear(self) -> None:
        """Forget all objects."""
        with self._lock:
            self.generation += 1
            self._data.clear()

    def evict(self, key: KeyT) -> None:
        """Forget an object."""
        with self._lock:
            self.generation += 1
            self._data.pop(key, None)

    def exists(self, key: KeyT) -> bool:
        """Tell whether an object is kept."""
        return key in self._data

    def get(self, key: KeyT, default: ValueT | None = None) -> ValueT | None:
        """Return an object, or what is told."""
        with self._lock:
            if key not in self._data:
                return default
            self._data.move_to_end(key)
            return self._data[key]

    def set(self, key: KeyT, value: ValueT, generation: int | None = None) -> None:
        """Keep an object; the one that was not used for longest makes room.

        Args:
            key: Its key.
            value: The object.
            generation: That of the cache when the object was asked for. If another thread has
                had objects forgotten since, this may be one of them, and is not kept.
        """
        if not self.maxsize:
            return
        with self._lock:
            if generation is not None and generation != self.generation:
                return
            self._data[key] = value
            self._data.move_to_end(key)
            if len(self._data) > self.maxsize:
                self._data.popitem(last=False)
