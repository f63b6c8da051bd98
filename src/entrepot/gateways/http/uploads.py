"""An upload: bytes that the loop receives and a thread stores, with a bound between them."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator

from entrepot import settings

__all__ = ["Upload", "VanishedError"]


class VanishedError(Exception):
    """The client went away before all of its bytes came: nothing of it is stored."""


class Upload:
    """The body of one request, in pieces."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resume: Callable[[], None]) -> None:
        """Begin without bytes.

        Args:
            loop: Who receives.
            resume: Called on the loop when there is room again.
        """
        self._loop = loop
        self._resume = resume
        self._pieces: queue.SimpleQueue[bytes | VanishedError | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._has_ended = False
        self.is_over = False
        """Whether it is stored, or was refused: what still comes is for nobody."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more should be received."""
        return self._waiting_bytes >= settings.HTTP_UPLOAD_BYTES_MAX and not self.is_over

    def feed(self, piece: bytes) -> None:
        """Add some bytes."""
        if not self.is_over:
            with self._lock:
                self._waiting_bytes += len(piece)
            self._pieces.put(piece)

    @property
    def has_ended(self) -> bool:
        """Whether all bytes have come."""
        return self._has_ended

    def end(self) -> None:
        """Say that this was all."""
        self._has_ended = True
        self._pieces.put(None)

    def fail(self) -> None:
        """Say that the rest will not come."""
        if not self._has_ended:
            self._pieces.put(VanishedError())

    def pieces(self) -> Iterator[bytes]:
        """Yield the pieces: for the thread.

        Raises:
            VanishedError: The client went away.
        """
        while (piece := self._pieces.get()) is not None:
            if isinstance(piece, VanishedError):
                raise piece
            yield piece
            with self._lock:
                was_full = self.is_full
                self._waiting_bytes -= len(piece)
            if was_full and not self.is_full:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(self._resume)
