"""Deadlines of waits."""

from __future__ import annotations

import math
import time

from entrepot.errors import LimitError, TypeMismatchError

__all__ = ["Deadline"]


class Deadline:
    """The moment when a wait ends: `timeout` seconds from now, or never."""

    __slots__ = ("_end", "timeout")

    def __init__(self, timeout: float | None) -> None:
        """Begin to count.

        Raises:
            LimitError: `timeout` is negative or not a number.
            TypeMismatchError: It is neither a number nor None.
        """
        if timeout is not None:
            if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
                raise TypeMismatchError(f"timeout is {timeout!r}, a {type(timeout).__name__}")
            if timeout < 0 or math.isnan(timeout):
                raise LimitError(f"timeout is {timeout}, it must be 0 or more seconds, or None")
        self.timeout = timeout
        self._end = None if timeout is None or timeout == math.inf else time.monotonic() + timeout

    def left(self) -> float | None:
        """Return how many seconds are left: 0 when it is over, None when it never is."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())
