"""Queues of this process, or of `multiprocessing`, as a broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

__all__ = ["QueuePublisher", "QueueSubscriber"]


class QueuePublisher:
    """Sends to queues.

    Args:
        queues: Topic -> its queue, of `queue` or `multiprocessing`.
        block: Wait if a queue is full.
        timeout: At most so many seconds.
    """

    def __init__(
        self, queues: Mapping[str, Any], *, block: bool = True, timeout: float | None = None
    ) -> None:
        self._queues = dict(queues)
        self._block = block
        self._timeout = timeout

    def close(self) -> None:
        """Close queues that can be."""
        for each in self._queues.values():
            if hasattr(each, "close"):
                each.close()

    def send_message(self, topic: str, message: bytes) -> None:
        """Send bytes to a topic.

        Raises:
            ValueError: It has no queue.
        """
        if topic not in self._queues:
            raise ValueError(f"topic {topic!r} has no queue")
        self._queues[topic].put(message, block=self._block, timeout=self._timeout)


class QueueSubscriber:
    """Receives from a queue.

    Args:
        queue: Which.
        block: Wait if it is empty.
        timeout: At most so many seconds.
    """

    def __init__(self, queue: Any, *, block: bool = True, timeout: float | None = None) -> None:
        self._queue = queue
        self._block = block
        self._timeout = timeout

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return self.next_message()

    def close(self) -> None:
        """Do nothing: whoever made the queue may still use it."""

    def next_message(self) -> bytes:
        """Wait for bytes, and return them.

        Raises:
            queue.Empty: None came in time; one may ask again.
            StopIteration: The queue was closed here.
        """
        try:
            return self._queue.get(block=self._block, timeout=self._timeout)
        except ValueError:
            raise StopIteration from None
