"""The end of a stream that receives: proxies, whose objects are fetched when they are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from entrepot.proxystore.proxy import Proxy, extract
from entrepot.proxystore.store.base import Store
from entrepot.proxystore.store.registry import get_or_create_store, unregister_store
from entrepot.proxystore.stream.events import (
    EndOfStreamEvent,
    Event,
    EventBatch,
    NewObjectEvent,
    NewObjectKeyEvent,
    bytes_to_event,
)
from entrepot.proxystore.stream.filters import NullFilter
from entrepot.proxystore.stream.protocols import EventSubscriber, Filter, Subscriber

__all__ = ["StreamConsumer"]

T = TypeVar("T")


class StreamConsumer(Generic[T]):
    """Receives objects, as proxies, in the order in which they were sent.

    Ends where a producer closed the topic. Who asks again waits for what comes behind that:
    several producers each end the topic once.

    Args:
        subscriber: The broker.
        filter_: Objects for whose metadata it says True are passed over, and evicted if
            resolving them would.
    """

    def __init__(self, subscriber: Subscriber, *, filter_: Filter | None = None) -> None:
        self.subscriber = subscriber
        self._filter = filter_ or NullFilter()
        self._events: deque[Event] = deque()
        self._stores: dict[str, Store[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Proxy[T] | T:
        return self.next()

    def close(self, *, stores: bool = False, subscriber: bool = True) -> None:
        """End.

        Args:
            stores: Close the stores of the objects that came.
            subscriber: Close the broker.
        """
        if subscriber:
            self.subscriber.close()
        if stores:
            for store in self._stores.values():
                unregister_store(store)
                store.close()
            self._stores.clear()

    def next(self) -> Proxy[T] | T:
        """Wait for the next object; return a proxy of it, or itself if it came without a store.

        Raises:
            StopIteration: Nothing more comes.
        """
        return self.next_with_metadata()[1]

    def next_object(self) -> T:
        """Wait for the next object; return it.

        Raises:
            StopIteration: Nothing more comes.
        """
        return self.next_object_with_metadata()[1]

    def next_with_metadata(self) -> tuple[dict[str, Any], Proxy[T] | T]:
        """Wait for the next object; return its metadata, and what `next` returns.

        Raises:
            StopIteration: Nothing more comes.
        """
        event = self._next_event()
        if isinstance(event, NewObjectEvent):
            return event.metadata, event.obj
        store = self._store_of(event)
        return event.metadata, store.proxy_from_key(event.get_key(), evict=event.evict)

    def next_object_with_metadata(self) -> tuple[dict[str, Any], T]:
        """Wait for the next object; return its metadata, and it.

        Raises:
            StopIteration: Nothing more comes.
        """
        metadata, found = self.next_with_metadata()
        if type(found) is Proxy:
            return metadata, extract(cast("Proxy[T]", found))
        return metadata, cast("T", found)

    def iter_objects(self) -> Iterator[T]:
        """Yield objects as they come."""
        while True:
            try:
                yield self.next_object()
            except StopIteration:
                return

    def iter_with_metadata(self) -> Iterator[tuple[dict[str, Any], Proxy[T] | T]]:
        """Yield metadata and proxies as they come."""
        while True:
            try:
                yield self.next_with_metadata()
            except StopIteration:
                return

    def iter_objects_with_metadata(self) -> Iterator[tuple[dict[str, Any], T]]:
        """Yield metadata and objects as they come."""
        while True:
            try:
                yield self.next_object_with_metadata()
            except StopIteration:
                return

    def _next_event(self) -> Any:
        while True:
            while self._events:
                event = self._events.popleft()
                if isinstance(event, EndOfStreamEvent):
                    raise StopIteration  # one of several: each producer of a topic sends its own
                if not self._filter(event.metadata):
                    if self._was_taken(event):
                        continue
                    return event
                if not isinstance(event, NewObjectEvent) and event.evict:
                    self._store_of(event).evict(event.get_key())
            self._events.extend(self._receive().events)

    def _was_taken(self, event: NewObjectEvent | NewObjectKeyEvent) -> bool:
        """Tell whether an event comes again, and who had it first took its object.

        Whoever is given it could only fail, and so could everybody after.
        """
        return (
            isinstance(event, NewObjectKeyEvent)
            and event.evict
            and getattr(self.subscriber, "may_repeat", False)
            and not self._store_of(event).exists(event.get_key())
        )

    def _store_of(self, event: NewObjectKeyEvent) -> Store[Any]:
        store = get_or_create_store(event.store_config)
        self._stores[store.name] = store
        return store

    def _receive(self) -> EventBatch:
        if isinstance(self.subscriber, EventSubscriber):
            return next(self.subscriber)
        found = bytes_to_event(next(self.subscriber))
        return found if isinstance(found, EventBatch) else EventBatch(found.topic, [found])
