"""The end of a stream that sends: objects go to a store, small events to a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

from entrepot.proxystore.store.base import Store
from entrepot.proxystore.stream.events import (
    EndOfStreamEvent,
    Event,
    EventBatch,
    NewObjectEvent,
    NewObjectKeyEvent,
    event_to_bytes,
)
from entrepot.proxystore.stream.exceptions import TopicClosedError
from entrepot.proxystore.stream.filters import NullFilter
from entrepot.proxystore.stream.protocols import EventPublisher, Filter, Publisher

__all__ = ["StreamProducer"]

T = TypeVar("T")


class _Waiting(NamedTuple):
    obj: Any
    evict: bool
    metadata: dict[str, Any]


class StreamProducer(Generic[T]):
    """Sends objects to topics.

    Args:
        publisher: The broker.
        aggregator: Makes one object of those of a batch.
        batch_size: How many objects of a topic are sent together.
        default_store: Where objects go, of topics that `stores` does not name; None: the
            objects themselves travel through the broker.
        filter_: Objects for whose metadata it says True are passed over.
        stores: Topic -> where its objects go.

    Raises:
        ValueError: `batch_size` is less than 1.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        aggregator: Callable[[list[T]], T] | None = None,
        batch_size: int = 1,
        default_store: Store[Any] | None = None,
        filter_: Filter | None = None,
        stores: Mapping[str, Store[Any] | None] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, it must be 1 or more")
        self.publisher = publisher
        self._aggregator = aggregator
        self._batch_size = batch_size
        self._default_store = default_store
        self._stores = dict(stores or {})
        self._filter = filter_ or NullFilter()
        self._waiting: dict[str, list[_Waiting]] = {}
        self._closed: set[str] = set()
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def send(
        self, topic: str, obj: T, *, evict: bool = True, metadata: dict[str, Any] | None = None
    ) -> None:
        """Send an object, when there are enough for a batch.

        Args:
            topic: Where to.
            obj: What.
            evict: Evict it when it is resolved; without, for topics that several read.
            metadata: What filters and consumers see without the object.

        What the broker raises says that this object was not sent. Others that waited with it
        wait on.

        Raises:
            TopicClosedError: The topic was closed.
        """
        metadata = {} if metadata is None else metadata
        with self._lock:
            if topic in self._closed:
                raise TopicClosedError(f"topic {topic!r} was closed")
            if self._filter(metadata):
                return
            waiting = self._waiting.setdefault(topic, [])
            waiting.append(_Waiting(obj, evict, metadata))
            if len(waiting) < self._batch_size:
                return
            try:
                self.flush_topic(topic)
            except BaseException:
                self._waiting[topic].pop()  # of this one the caller knows
                raise

    def flush(self) -> None:
        """Send what waits for its batch to be full."""
        for topic in list(self._waiting):
            self.flush_topic(topic)

    def flush_topic(self, topic: str) -> None:
        """Send what waits on a topic for its batch to be full; if that fails, it waits on."""
        with self._lock:
            waiting = self._waiting.get(topic, [])
            if not waiting:
                return
            sent = waiting
            if self._aggregator is not None:
                whole = self._aggregator([item.obj for item in waiting])
                sent = [waiting[-1]._replace(obj=whole)]
            events = self._events(topic, sent)
            try:
                self._send(EventBatch(topic, events))
            except BaseException:
                self._take_back(topic, events)
                raise
            del self._waiting[topic]

    def close_topics(self, *topics: str) -> None:
        """Send what waits on topics, and that nothing more comes.

        Each call sends the end again: of several consumers that share a queue, each takes one.
        """
        with self._lock:
            for topic in topics:
                self.flush_topic(topic)
                self._closed.add(topic)
                self._send(EventBatch(topic, [EndOfStreamEvent(topic)]))

    def close(
        self, *, topics: Iterable[str] = (), publisher: bool = True, stores: bool = False
    ) -> None:
        """End.

        Args:
            topics: Close these.
            publisher: Close the broker.
            stores: Close the stores.
        """
        self.flush()
        self.close_topics(*topics)
        if publisher:
            self.publisher.close()
        if stores:
            for store in {id(s): s for s in (self._default_store, *self._stores.values())}.values():
                if store is not None:
                    store.close()

    def _events(self, topic: str, waiting: list[_Waiting]) -> list[Event]:
        store = self._stores.get(topic, self._default_store)
        if store is None:
            return [NewObjectEvent(topic, item.obj, item.metadata) for item in waiting]
        keys = store.put_batch([item.obj for item in waiting])
        return [
            NewObjectKeyEvent.from_key(
                key,
                evict=item.evict,
                metadata=item.metadata,
                store_config=store.config(),
                topic=topic,
            )
            for key, item in zip(keys, waiting, strict=True)
        ]

    def _take_back(self, topic: str, events: Iterable[Event]) -> None:
        """Evict what nobody was told of."""
        store = self._stores.get(topic, self._default_store)
        for event in events:
            if store is not None and isinstance(event, NewObjectKeyEvent):
                store.evict(event.get_key())

    def _send(self, batch: EventBatch) -> None:
        if isinstance(self.publisher, EventPublisher):
            self.publisher.send_events(batch)
        else:
            self.publisher.send_message(batch.topic, event_to_bytes(batch))
