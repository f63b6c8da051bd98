"""Streams of proxies: the bulk in a store, events in a queue or in a stream of the depot."""

from __future__ import annotations

import importlib
import multiprocessing
import queue
import warnings
from typing import Any

import numpy as np
import pytest

from entrepot.errors import LimitError
from entrepot.proxystore import stream
from entrepot.proxystore.proxy import Proxy, extract, is_resolved
from entrepot.proxystore.serialize import serialize
from entrepot.proxystore.store import Store
from entrepot.proxystore.store.utils import get_key
from entrepot.proxystore.stream import StreamConsumer, StreamProducer
from entrepot.proxystore.stream.events import (
    EndOfStreamEvent,
    EventBatch,
    NewObjectEvent,
    NewObjectKeyEvent,
    bytes_to_event,
    event_to_bytes,
)
from entrepot.proxystore.stream.exceptions import TopicClosedError
from entrepot.proxystore.stream.filters import NullFilter, SamplingFilter
from entrepot.proxystore.stream.shims.depot import DepotPublisher, DepotSubscriber
from entrepot.proxystore.stream.shims.queue import QueuePublisher, QueueSubscriber
from entrepot.proxystore.warnings import ExperimentalWarning
from support.homes import Home


@pytest.fixture(params=["queue", "depot"])
def ends(request: pytest.FixtureRequest, home: Home, store: Store[Any]) -> Any:
    """Return a publisher, and a subscriber of the topic "t"."""
    if request.param == "queue":
        through: Any = queue.Queue()
        yield QueuePublisher({"t": through}), QueueSubscriber(through, timeout=60)
        return
    with home.open() as depot:
        yield DepotPublisher(depot), DepotSubscriber(depot, "t", timeout=60)


def test_objects_arrive_in_order_as_proxies(ends: Any, store: Store[Any]) -> None:
    publisher, subscriber = ends
    with StreamProducer[Any](publisher, default_store=store) as producer:
        for number in range(5):
            producer.send("t", np.full(10_000, number), metadata={"number": number})
        producer.close_topics("t")
    with StreamConsumer[Any](subscriber) as consumer:
        metadata, first = consumer.next_with_metadata()
        assert type(first) is Proxy
        assert metadata == {"number": 0}
        assert not is_resolved(first)
        key = get_key(first)
        assert (first == 0).all()
        assert not store.exists(key), "it is evicted when it is resolved"
        assert int(consumer.next_object()[0]) == 1
        assert consumer.subscriber is subscriber
        assert [int(proxy[0]) for proxy in consumer] == [2, 3, 4]


def test_batches_are_sent_when_full_or_flushed(ends: Any, store: Store[Any]) -> None:
    publisher, subscriber = ends
    producer = StreamProducer[Any](publisher, batch_size=3, default_store=store)
    for number in range(4):
        producer.send("t", [number])
    producer.close(topics=["t"])
    consumer = StreamConsumer[Any](subscriber)
    assert list(consumer.iter_objects()) == [[0], [1], [2], [3]]


def test_an_aggregator_makes_one_of_a_batch(ends: Any) -> None:
    publisher, subscriber = ends
    producer = StreamProducer[int](publisher, batch_size=2, aggregator=sum)
    for number in range(4):
        producer.send("t", number, metadata={"last": number})
    producer.close_topics("t")
    consumer = StreamConsumer[int](subscriber)
    assert list(consumer.iter_objects_with_metadata()) == [({"last": 1}, 1), ({"last": 3}, 5)]


def test_objects_without_a_store_travel_by_themselves(ends: Any, store: Store[Any]) -> None:
    publisher, subscriber = ends
    producer = StreamProducer[Any](publisher, default_store=store, stores={"t": None})
    producer.send("t", [1])
    producer.close_topics("t")
    assert list(StreamConsumer[Any](subscriber).iter_with_metadata()) == [({}, [1])]


def test_filters_pass_objects_over_on_both_sides(ends: Any, store: Store[Any]) -> None:
    publisher, subscriber = ends
    producer = StreamProducer[Any](
        publisher, default_store=store, filter_=lambda metadata: metadata["n"] == 0
    )
    for number in range(4):
        producer.send("t", [number], metadata={"n": number})
    producer.close_topics("t")
    consumer = StreamConsumer[Any](subscriber, filter_=lambda metadata: metadata["n"] == 2)
    assert [extract(proxy) for _, proxy in consumer.iter_with_metadata()] == [[1], [3]]
    depot: Any = store.connector
    assert depot._depot.objects.count() == 0, "what is passed over is evicted"
    consumer.close(stores=True)


def test_a_closed_topic_takes_nothing(ends: Any) -> None:
    producer = StreamProducer[Any](ends[0])
    producer.close_topics("t")
    with pytest.raises(TopicClosedError, match="'t'"):
        producer.send("t", 1)
    assert producer.publisher is ends[0]


def test_each_of_several_consumers_gets_an_end_of_its_own(ends: Any) -> None:
    producer = StreamProducer[Any](ends[0])
    producer.send("t", 1)
    producer.close_topics("t")
    producer.close(topics=["t"])
    consumers = [StreamConsumer[Any](ends[1]) for _ in range(2)]
    assert [list(consumer) for consumer in consumers] == [[1], []]


def test_a_consumer_goes_on_behind_the_end_of_one_producer(ends: Any) -> None:
    for number in range(2):
        producer = StreamProducer[Any](ends[0])
        producer.send("t", number)
        producer.close_topics("t")
    consumer = StreamConsumer[Any](ends[1])
    assert [list(consumer) for _ in range(2)] == [[0], [1]]


def test_a_group_shares_the_events_of_a_stream(home: Home, store: Store[Any]) -> None:
    del store
    with home.open() as depot:
        publisher = DepotPublisher(depot, retention=60)
        for number in range(4):
            publisher.send_message("t", b"%d" % number)
        first = DepotSubscriber(depot, "t", group="g", timeout=0)
        assert [next(first), next(first)] == [b"0", b"1"]
        first.close()
        second = DepotSubscriber(depot, "t", group="g", timeout=0)
        assert list(second) == [b"1", b"2", b"3"], "what was not done comes again"
        second.close()
        assert list(DepotSubscriber(depot, "t", timeout=0)) == [b"0", b"1", b"2", b"3"]
        with pytest.raises(LimitError):
            publisher.send_message("", b"x")
        publisher.close()


def test_who_goes_on_for_another_gets_what_that_one_had_not_taken(
    home: Home, store: Store[Any]
) -> None:
    with (
        home.open() as depot,
        StreamProducer[Any](DepotPublisher(depot), batch_size=2, default_store=store) as producer,
    ):
        for number in range(6):
            producer.send("t", [number])
        taken = []
        for looks_at in (1, 2, 0, 9):  # each takes so many, and has one more that it does not use
            consumer = StreamConsumer[Any](DepotSubscriber(depot, "t", group="g", timeout=0))
            for proxy, _ in zip(consumer, range(looks_at), strict=False):
                taken.append(extract(proxy))
            consumer.close()
    assert taken == [[number] for number in range(6)]


def test_queues_say_what_they_lack() -> None:
    with pytest.raises(ValueError, match="no queue"):
        QueuePublisher({}).send_message("t", b"")
    through: Any = multiprocessing.Queue()
    subscriber = QueueSubscriber(through, block=False)
    subscriber.close()
    with pytest.raises(queue.Empty):
        next(subscriber)
    through.close()
    assert list(subscriber) == [], "a queue that is closed is over"
    with pytest.raises(ValueError, match="batch_size"):
        StreamProducer(QueuePublisher({}), batch_size=0)


def test_events_survive_as_bytes(store: Store[Any]) -> None:
    key = store.put([1])
    event = NewObjectKeyEvent.from_key(
        key, evict=True, metadata={"a": 1}, store_config=store.config(), topic="t"
    )
    batch = EventBatch("t", [event, NewObjectEvent("t", [1], {}), EndOfStreamEvent("t")])
    again = bytes_to_event(event_to_bytes(batch))
    assert again == batch
    assert isinstance(again, EventBatch)
    assert again.events[0].get_key() == key  # pyright: ignore[reportAttributeAccessIssue] it is one
    with pytest.raises(ValueError, match="no such event"):
        bytes_to_event(serialize({"event_type": "NO"}))


def test_streams_warn_of_nothing_that_programs_silence() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ExperimentalWarning)
        importlib.reload(stream)
    assert not caught


def test_sampling_keeps_all_or_nothing_at_its_bounds() -> None:
    assert not NullFilter()({})
    assert SamplingFilter(1)({})
    assert not any(SamplingFilter(0)({}) for _ in range(100))
    with pytest.raises(ValueError, match="0 to 1"):
        SamplingFilter(2)


class Broken(QueuePublisher):
    """A broker that is away, until it is mended."""

    is_away = True

    def send_message(self, topic: str, message: bytes) -> None:
        if self.is_away:
            raise ConnectionError("the broker is away")
        super().send_message(topic, message)


def test_what_a_broker_refuses_is_neither_lost_nor_left_in_the_store(store: Store[Any]) -> None:
    messages: queue.Queue[bytes] = queue.Queue()
    broker = Broken({"t": messages})
    producer = StreamProducer[list[int]](broker, default_store=store, batch_size=3)
    for number in range(2):
        producer.send("t", [number])
    for _ in range(2):
        with pytest.raises(ConnectionError, match="away"):
            producer.send("t", [2])
    with pytest.raises(ConnectionError, match="away"):
        producer.flush()
    depot: Any = store.connector
    assert depot._depot.objects.count() == 0
    broker.is_away = False
    producer.send("t", [2])
    producer.close_topics("t")
    consumer = StreamConsumer[list[int]](QueueSubscriber(messages))
    assert [proxy[0] for proxy in consumer] == [0, 1, 2]
