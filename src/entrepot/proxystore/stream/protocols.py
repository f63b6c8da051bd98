"""What carries the events of a stream: a broker, seen from its two ends."""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from entrepot.proxystore.stream.events import EventBatch

__all__ = [
    "EventPublisher",
    "EventSubscriber",
    "Filter",
    "MessagePublisher",
    "MessageSubscriber",
    "Publisher",
    "Subscriber",
]


@runtime_checkable
class EventPublisher(Protocol):
    """Sends events as they are."""

    def close(self) -> None:
        """End."""
        ...

    def send_events(self, events: EventBatch) -> None:
        """Send events of one topic."""
        ...


@runtime_checkable
class EventSubscriber(Protocol):
    """Receives events as they are."""

    def __iter__(self) -> Self: ...

    def __next__(self) -> EventBatch: ...

    def close(self) -> None:
        """End."""
        ...

    def next_events(self) -> EventBatch:
        """Wait for events, and return them."""
        ...


@runtime_checkable
class MessagePublisher(Protocol):
    """Sends bytes."""

    def close(self) -> None:
        """End."""
        ...

    def send_message(self, topic: str, message: bytes) -> None:
        """Send bytes to a topic."""
        ...


@runtime_checkable
class MessageSubscriber(Protocol):
    """Receives bytes."""

    def __iter__(self) -> Self: ...

    def __next__(self) -> bytes: ...

    def close(self) -> None:
        """End."""
        ...

    def next_message(self) -> bytes:
        """Wait for bytes, and return them."""
        ...


@runtime_checkable
class Filter(Protocol):
    """Says which objects are passed over."""

    def __call__(self, metadata: dict[str, Any]) -> bool:
        """Tell whether an object is passed over."""
        ...


Publisher: TypeAlias = EventPublisher | MessagePublisher
Subscriber: TypeAlias = EventSubscriber | MessageSubscriber
