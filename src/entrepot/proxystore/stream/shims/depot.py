"""A stream of a depot as a broker: durable, ordered, read by any number of processes."""

from __future__ import annotations

from collections import deque
from typing import Self

from entrepot.depot import Depot
from entrepot.layers.streams import Stream

__all__ = ["DepotPublisher", "DepotSubscriber"]


class DepotPublisher:
    """Sends to streams of a depot, one for each topic.

    Args:
        depot: Which; it stays open when this is closed.
        path: The container, or a directory in it, where the streams are.
        retention: How long events are kept, in seconds; by default a day.
    """

    def __init__(
        self, depot: Depot, path: str = "proxystore", *, retention: float | None = None
    ) -> None:
        self._depot = depot
        self._path = path
        self._retention = retention
        self._streams: dict[str, Stream] = {}

    def close(self) -> None:
        """Forget the streams."""
        self._streams.clear()

    def send_message(self, topic: str, message: bytes) -> None:
        """Send bytes to a topic, whose stream is made if it is not there. On disk at return.

        Raises:
            LimitError: The topic is no name of a stream.
        """
        stream = self._streams.get(topic)
        if stream is None:
            stream = _stream(self._depot, self._path, topic, self._retention)
            self._streams[topic] = stream
        stream.append(message, shard=0)


class DepotSubscriber:
    """Receives from a stream of a depot, each event, from the first that is kept.

    Args:
        depot: Which; it stays open when this is closed.
        topic: Which stream; made if it is not there.
        path: Where it is.
        group: Share the events with other subscribers of the same group. One of them has
            them at a time, in order; when it closes or dies another goes on where it was,
            with the last event, which may not be done. By default nothing is shared.
        timeout: End when so many seconds passed without an event; by default never.
    """

    def __init__(
        self,
        depot: Depot,
        topic: str,
        path: str = "proxystore",
        *,
        group: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self.may_repeat = group is not None
        """Whether an event may come that another subscriber had already."""
        self._stream = _stream(depot, path, topic, None)
        self._consumer = None if group is None else self._stream.consumer(group)
        self._timeout = timeout
        self._next = 1
        self._waiting: deque[bytes] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        return self.next_message()

    def close(self) -> None:
        """Let go of the stream; others of the group go on with it."""
        if self._consumer is not None:
            self._consumer.close()

    def next_message(self) -> bytes:
        """Wait for bytes, and return them.

        Raises:
            StopIteration: None came in time.
        """
        while not self._waiting:
            if self._consumer is not None:
                self._consumer.commit()  # what was returned before is done
                records = self._consumer.read(1, timeout=self._timeout)
            else:
                stretch = self._stream.read(
                    0, since=self._next if self._next > 1 else "earliest", timeout=self._timeout
                )
                records, self._next = stretch.records, stretch.next
            if not records:
                raise StopIteration
            self._waiting.extend(record.data for record in records)
        return self._waiting.popleft()


def _stream(depot: Depot, path: str, topic: str, retention: float | None) -> Stream:
    return depot.stream(f"{path}/{topic}", shards=1, retention=retention)
