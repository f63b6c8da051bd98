"""What was put through one instance of a connector: so that it can be cleared."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

__all__ = ["Mine"]

T = TypeVar("T")
_LOOK_MIN = 10_000


class Mine(Generic[T]):
    """The names of what was put through an instance, in this process.

    Others evict too, without a word to this one. So it looks now and then which are there
    still, and forgets the others: when there are twice as many as after the last look.

    Args:
        those_there: Returns those of some names under which there is something.
    """

    def __init__(self, those_there: Callable[[Sequence[T]], Iterable[T]]) -> None:
        self._those_there = those_there
        self._names: set[T] = set()
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._look_at = _LOOK_MIN

    def add(self, *names: T) -> None:
        """Note names under which something was put."""
        self._after_fork()
        with self._lock:
            self._names.update(names)
            if len(self._names) < self._look_at:
                return
            before = list(self._names)
            self._look_at = 2 * len(before)  # others put meanwhile, and need not look too
        there = set(self._those_there(before))
        with self._lock:
            self._names -= set(before) - there
            self._look_at = max(2 * len(self._names), _LOOK_MIN)

    def discard(self, name: T) -> None:
        """Forget a name."""
        self._after_fork()
        with self._lock:
            self._names.discard(name)

    def taken(self) -> list[T]:
        """Return all, and forget them."""
        self._after_fork()
        with self._lock:
            names, self._names = list(self._names), set()
        return names

    def _after_fork(self) -> None:
        if self._pid != os.getpid():  # what the parent put is not this process's
            self._lock = threading.RLock()
            self._names, self._pid = set(), os.getpid()
