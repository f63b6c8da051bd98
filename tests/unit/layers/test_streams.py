"""Streams: shards, records, retention, and groups of consumers."""

from __future__ import annotations

import datetime as dt
import threading
import time

import numpy as np
import pytest

from entrepot import settings
from entrepot.errors import (
    ClosedError,
    ConflictError,
    DiskFullError,
    ExistsError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
)
from entrepot.layers.containers import Container
from entrepot.layers.entries import split
from entrepot.layers.streams import Appended, New, Stream, core
from entrepot.layers.tables import Table
from entrepot.layers.tier import Tier


def data_of(records: list[core.Record]) -> list[bytes]:
    return [record.data for record in records]


def test_records_are_numbered_by_shard_and_read_in_order(stream: Stream):
    assert stream.append(b"a", shard=1) == Appended(1, 1)
    assert stream.append("é", shard=1, key="k", info=b"i") == Appended(1, 2)
    assert stream.append_many([New(b"c", 2), New(b"d", 0)])[1] == Appended(0, 1)
    stretch = stream.read(1)
    assert data_of(stretch.records)[:2] == [b"a", "é".encode()]
    assert [record.sequence for record in stretch.records][:2] == [1, 2]
    assert (stretch.records[1].key, stretch.records[1].info) == ("k", b"i")
    assert (stretch.left, stretch.behind_ns) == (0, 0)
    assert stream.read(1, since=2, limit=1).records[0].data == "é".encode()
    assert stream.read(1, since=stretch.next).records == []
    assert stream.info().records == 4


def test_a_key_goes_to_one_shard_and_the_rest_in_turn(stream: Stream):
    assert len({stream.append(b"", key="bob").shard for _ in range(5)}) == 1
    assert {found.shard for found in stream.append_many([b""] * 3)} == {0, 1, 2}
    assert {stream.append(b"").shard for _ in range(3)} == {0, 1, 2}


def test_where_to_begin_is_a_number_a_moment_or_an_end(stream: Stream):
    stream.append_many([New(b"%d" % number, 0) for number in range(3)])
    middle = dt.datetime.fromtimestamp(stream.read(0).records[0].arrived_ns / 1e9, dt.UTC)
    middle += dt.timedelta(seconds=1)
    arrived_ns = time.time_ns() + 5_000_000_000
    stream._tier.commits.write(_append_later, stream, [b"3", b"4"], arrived_ns)
    stream._tier.commits.write(_append_later, stream, [b"5"], arrived_ns + 10)
    assert stream.seek(0, "earliest") == 1
    assert stream.seek(0, "latest") == 7
    assert stream.seek(0, middle) == 4
    assert stream.seek(0, middle - dt.timedelta(days=5)) == 1
    assert stream.seek(0, middle + dt.timedelta(days=5)) == 7
    assert stream.seek(0, 7) == 7
    assert data_of(stream.read(0, since=middle).records) == [b"3", b"4", b"5"]
    stretch = stream.read(0, since=2, limit=3)
    assert data_of(stretch.records) == [b"1", b"2", b"3"]
    assert (stretch.next, stretch.left, stretch.behind_ns) == (5, 2, 10)


def _append_later(tx, stream: Stream, data: list[bytes], arrived_ns: int) -> None:
    from entrepot.layers import entries

    number = entries.get_container(tx, stream.container).id
    records = [New(each, 0) for each in data]
    core.append_records(tx, number, stream.path, records, 0, arrived_ns)


@pytest.mark.parametrize("since", [0, -1, 5, "never", None, True, 1.5], ids=repr)
def test_a_beginning_that_is_none_is_refused(stream: Stream, since: object):
    stream.append(b"", shard=0)
    for call in (stream.seek, lambda shard, since: stream.read(shard, since=since)):
        with pytest.raises((LimitError, TypeMismatchError)):
            call(0, since)


def test_what_is_not_there_is_said_to_be_so(data_tier: Tier, stream: Stream):
    for shard in (-1, 3, 99):
        with pytest.raises(LimitError, match="0 to 2"):
            stream.append(b"", shard=shard)
        with pytest.raises(LimitError, match="0 to 2"):
            stream.read(shard)
    with pytest.raises(LimitError):
        stream.append_many([b"kept back", New(b"", 9)])
    assert stream.info().records == 0
    other = Stream(data_tier, "users", split("nope"))
    for call in (other.info, lambda: other.append(b""), other.delete, lambda: other.resize(9)):
        with pytest.raises(NotFoundError):
            call()
    Table(data_tier, "users", "table").put("k", {})
    for path in ("table", "table/k"):
        with pytest.raises(ConflictError):
            Stream(data_tier, "users", split(path)).info()
        with pytest.raises(ExistsError):
            Stream(data_tier, "users", split(path)).create(1)


def test_a_stream_is_made_once_and_grows(stream: Stream):
    with pytest.raises(ExistsError):
        stream.create(3)
    stream.create(9, exist_ok=True)
    assert stream.info().shards == 3
    stream.append(b"a", shard=2)
    stream.resize(5)
    assert stream.append(b"b", shard=4) == Appended(4, 1)
    assert stream.read(2).records[0].data == b"a"
    stream.resize(5)
    with pytest.raises(LimitError):
        stream.resize(4)


@pytest.mark.parametrize("shards", [0, -1, 4097, 1.5, None, True], ids=repr)
def test_a_number_of_shards_that_cannot_be_is_refused(data_tier: Tier, shards: int):
    with pytest.raises(LimitError):
        Stream(data_tier, "users", split("s")).create(shards)


def test_what_is_no_record_is_refused(stream: Stream, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(TypeMismatchError):
        stream.append(5)  # pyright: ignore[reportArgumentType] on purpose
    monkeypatch.setattr(settings, "RECORD_BYTES_MAX", 10)
    with pytest.raises(LimitError):
        stream.append(b"x" * 11)
    for limit in (0, -1, 10_001, True):
        with pytest.raises(LimitError):
            stream.read(0, limit=limit)
    assert stream.append_many([]) == []


def test_records_that_are_large_or_many_are_read_in_stretches(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(settings, "RECORDS_BYTES_MAX", 1000)
    monkeypatch.setattr(settings, "BLOCK_BYTES_MAX", 500)
    stream.append_many([New(b"%03d" % number * 100, 0) for number in range(20)])
    found, since = list[bytes](), 1
    while stretch := stream.read(0, since=since).records:
        assert sum(map(len, data_of(stretch))) <= 1000
        found += data_of(stretch)
        since = stretch[-1].sequence + 1
    assert found == [b"%03d" % number * 100 for number in range(20)]
    stream.append(b"x" * 5000, shard=1)
    assert len(stream.read(1).records) == 1


def later(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Set the clock forward."""
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + seconds * 1_000_000_000)


def test_what_is_past_the_retention_goes(data_tier: Tier, monkeypatch: pytest.MonkeyPatch):
    stream = Stream(data_tier, "users", split("short"))
    stream.create(1, retention_s=10)
    for number in range(40):
        stream.append_many([b"old%d" % number] * 2)
    size = stream.info().size
    later(monkeypatch, 60)
    stream.append(b"new")
    left = stream.read(0, since="earliest").records[0].sequence
    assert left > 1, "an append drops some of what is old"
    assert stream.info().size < size
    with pytest.raises(NotFoundError, match="dropped"):
        stream.read(0, since=1)
    stream.trim()
    assert data_of(stream.read(0).records) == [b"new"]
    assert stream.seek(0, "earliest") == 81
    assert stream.append(b"next").sequence == 82


def test_a_read_waits_for_a_record(stream: Stream):
    assert stream.read(0, timeout=0.01).records == []
    got = list[bytes]()
    thread = threading.Thread(
        target=lambda: got.extend(data_of(stream.read(0, since="latest", timeout=30).records))
    )
    thread.start()
    while not got and thread.is_alive():
        stream.append(b"x", shard=0)
    thread.join()
    assert got[0] == b"x"


def test_a_tail_yields_what_comes_in_all_shards(stream: Stream):
    stream.append_many([b"before"] * 3)
    tail = stream.tail(timeout=0.2)
    stream.append_many([b"a", b"b", b"c"])
    stream.resize(4)
    assert sorted(data_of(list(tail))) == [b"a", b"b", b"c"]
    assert data_of(list(stream.tail([1], since="earliest", timeout=0)))[:1] == [b"before"]
    with pytest.raises(LimitError):
        stream.tail([7])


def test_shards_are_entries_with_attributes_that_go_one_by_one(data_tier: Tier, stream: Stream):
    table, container = Table(data_tier, "users", "logs/clicks"), Container(data_tier, "users")
    stream.append(b"x", shard=1)
    table.put("1", {"__g_committed_sequence_number": 5}, condition="__obj_type == 3")
    assert table.get("1", ["__g_committed_sequence_number", "__last_sequence_num"]) == {
        "__g_committed_sequence_number": 5,
        "__last_sequence_num": 1,
    }
    stream.append(b"y", shard=1)
    assert table.get("1", "__g_committed_sequence_number") != {}
    assert [info.kind for info in container.list("logs/clicks")] == ["shard"] * 3
    with pytest.raises(ConflictError):
        container.put("logs/clicks/1", b"")
    for shard in range(3):
        container.delete(f"logs/clicks/{shard}")
    with pytest.raises(LimitError):
        stream.append(b"", shard=1)
    container.delete("logs/clicks/")
    with pytest.raises(NotFoundError):
        stream.info()
    assert [info.path for info in container.list("logs")] == []


def test_a_stream_that_was_made_anew_is_empty(data_tier: Tier, stream: Stream):
    stream.append_many([b""] * 9)
    with stream.consumer("g") as consumer:
        consumer.read(timeout=0)
        consumer.commit()
    Table(data_tier, "users", "logs/clicks").put("state", {"a": 1})
    stream.delete()
    container = Container(data_tier, "users")
    assert [info.path for info in container.list("logs/clicks")] == ["logs/clicks/state"]
    with pytest.raises(ExistsError):
        stream.create(3)
    container.delete("logs/clicks", recursive=True)
    stream.create(3)
    assert stream.info().records == 0
    assert stream.groups() == []


# Consumer groups.


def test_a_group_sees_each_record_once_however_many_share_it(stream: Stream):
    stream.append_many([New(b"%d" % number, number % 3) for number in range(30)])
    with stream.consumer("g") as one:
        seen = data_of(one.read(4, timeout=0))
        one.commit()
        with stream.consumer("g") as two:
            for _ in range(6):
                for consumer in (one, two):
                    seen += data_of(consumer.read(5, timeout=0))
                    consumer.commit()
            assert sorted(one.shards + two.shards) == [0, 1, 2]
            assert one.shards
            assert two.shards
        stream.append_many([New(b"late", shard) for shard in range(3)])
        assert data_of(one.read(timeout=1)) == [b"late"] * 3
        assert one.shards == [0, 1, 2]
    assert sorted(seen) == sorted(b"%d" % number for number in range(30))


def test_what_was_not_committed_comes_again(stream: Stream):
    stream.append_many([New(b"%d" % number, 0) for number in range(4)])
    with stream.consumer("g") as consumer:
        assert data_of(consumer.read(2, timeout=0)) == [b"0", b"1"]
        consumer.commit()
        assert data_of(consumer.read(2, timeout=0)) == [b"2", b"3"]
    with stream.consumer("g") as consumer:
        assert data_of(consumer.read(timeout=0)) == [b"2", b"3"]
    (group,) = stream.groups()
    assert (group.group, group.consumers, group.positions) == ("g", 0, {0: 3})


def test_groups_do_not_know_of_each_other(stream: Stream):
    stream.append(b"x", shard=0)
    with stream.consumer("a") as a, stream.consumer("b", since="latest") as b:
        assert data_of(a.read(timeout=0)) == [b"x"]
        assert b.read(timeout=0) == []
        stream.append(b"y", shard=0)
        assert data_of(b.read(timeout=5)) == [b"y"]


def test_a_commit_tells_of_what_was_read_alone(stream: Stream, monkeypatch: pytest.MonkeyPatch):
    stream.append(b"old", shard=0)
    with stream.consumer("g") as consumer:
        assert consumer.read(timeout=0)
        consumer.commit()
        stream.append(b"never read", shard=0)
        later_ns = time.time_ns() + 10**18
        monkeypatch.setattr(time, "time_ns", lambda: later_ns)
        stream.trim()
        assert consumer.read(timeout=0) == []
        consumer.commit()
        assert stream.groups()[0].positions == {0: 2}
        stream.append(b"new", shard=0)
        assert [record.sequence for record in consumer.read(timeout=0)] == [3]
        consumer.commit()
        assert stream.groups()[0].positions == {0: 4}


def test_a_consumer_that_iterates_commits_page_by_page(stream: Stream):
    stream.append_many([New(b"%d" % number, 0) for number in range(3)])
    with stream.consumer("g") as consumer:
        records = iter(consumer)
        assert [next(records).data for _ in range(3)] == [b"0", b"1", b"2"]
        stream.append(b"3", shard=0)
        assert next(records).data == b"3"
    assert stream.groups()[0].positions == {0: 4}


def test_a_consumer_that_is_closed_says_so(stream: Stream):
    consumer = stream.consumer("g")
    consumer.close()
    consumer.close()
    for call in (consumer.read, consumer.commit):
        with pytest.raises(ClosedError):
            call()


def test_a_consumer_goes_on_behind_what_was_dropped(
    data_tier: Tier, monkeypatch: pytest.MonkeyPatch
):
    stream = Stream(data_tier, "users", split("short"))
    stream.create(1, retention_s=10)
    stream.append(b"old")
    with stream.consumer("g") as consumer:
        later(monkeypatch, 60)
        stream.append(b"new")
        stream.trim()
        assert data_of(consumer.read(timeout=5)) == [b"new"]


# What tests of a random kind found.


@pytest.mark.parametrize(
    "record",
    [
        New("text", 0, None, "info"),  # pyright: ignore[reportArgumentType] on purpose
        New(bytearray(b"text"), 0, None, bytearray(b"info")),  # pyright: ignore[reportArgumentType] on purpose
    ],
    ids=["strings", "bytearrays"],
)
def test_what_stands_for_bytes_is_stored_as_bytes(stream: Stream, record: New):
    stream.append_many([record])
    (found,) = stream.read(0).records
    assert (found.data, found.info) == (b"text", b"info")


@pytest.mark.parametrize(
    "record",
    [New(None), New(b"", "0"), New(b"", True), New(b"", None, 5), New(b"", 0, None, 5)],  # pyright: ignore[reportArgumentType] on purpose
    ids=["data", "shard", "bool", "key", "info"],
)
def test_a_part_of_a_record_of_another_type_is_refused(stream: Stream, record: New):
    with pytest.raises(TypeMismatchError):
        stream.append_many([New(b"good", 0), record])
    assert stream.info().records == 0


def test_a_key_that_is_no_text_is_refused(stream: Stream):
    with pytest.raises(LimitError, match="Unicode"):
        stream.append(b"", key="\ud800")


def test_records_of_which_one_goes_nowhere_are_all_kept_back(data_tier: Tier, stream: Stream):
    Container(data_tier, "users").delete("logs/clicks/1")
    for records in ([New(b"", 0), New(b"", 1)], [New(b"", 0), b"", b"", b""]):
        with pytest.raises(LimitError):
            stream.append_many(records)
    assert stream.info().records == 0
    stream.append(b"x", shard=2)
    stream.trim()
    assert data_of(stream.read(2).records) == [b"x"]


def test_a_shard_never_takes_the_place_of_another_entry(data_tier: Tier, stream: Stream):
    container = Container(data_tier, "users")
    container.put("logs/clicks/4", bytes(100_000))
    with pytest.raises(ConflictError, match="clicks/4"):
        stream.resize(5)
    assert stream.info().shards == 3
    assert container.get("logs/clicks/4") == bytes(100_000)
    container.delete("logs/clicks/4")
    stream.resize(5)
    assert stream.append(b"", shard=4) == Appended(4, 1)


@pytest.mark.parametrize("group", ["", "x" * 256, 5, None], ids=["empty", "long", "int", "none"])
def test_a_group_that_cannot_be_is_refused(stream: Stream, group: str):
    with pytest.raises((LimitError, TypeMismatchError)):
        stream.consumer(group)


def test_a_commit_that_failed_can_be_made_again(stream: Stream, monkeypatch: pytest.MonkeyPatch):
    stream.append_many([New(b"%d" % number, 0) for number in range(3)])
    with stream.consumer("g") as consumer:
        consumer.read(timeout=0)
        with monkeypatch.context() as patched:

            def fail(*_: object) -> None:
                raise DiskFullError("full")

            patched.setattr(stream, "commit", fail)
            with pytest.raises(DiskFullError):
                consumer.commit()
        consumer.commit()
    assert stream.groups()[0].positions == {0: 4}


def test_a_stream_of_a_gateway_makes_no_container(data_tier: Tier):
    stream = Stream(data_tier, "none", split("s"), makes_container=False)
    with pytest.raises(NotFoundError, match="no container 'none'"):
        stream.create(1)
    Container(data_tier, "none").create()
    stream.create(1)
    assert stream.info().shards == 1


def test_writes_of_a_stream_may_share_a_transaction_with_others(data_tier: Tier):
    stream = Stream(data_tier, "users", split("s"))
    calls = [stream.creating(2, 3600), stream.appending([New(b"a", 0), New(b"b", 7)])]
    calls += [stream.resizing(3), stream.resizing(1), stream.appending([New(b"c", 2)])]
    data_tier.commits.write_all(calls)
    assert calls[1].value()[0] == Appended(0, 1)
    assert isinstance(calls[1].value()[1], core.ShardError)
    with pytest.raises(LimitError):
        calls[3].value()
    assert calls[4].value() == [Appended(2, 1)]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("read", {"shard": "0"}),
        ("read", {"shard": True}),
        ("seek", {"shard": None, "since": "earliest"}),
        ("append", {"data": b"x", "shard": "0"}),
        ("append_many", {"records": "text"}),
        ("append_many", {"records": b"text"}),
        ("append_many", {"records": 5}),
        ("create", {"shards": 1, "retention_s": "24h"}),
    ],
    ids=str,
)
def test_what_is_of_another_type_is_refused_with_a_next_step(stream: Stream, method, arguments):
    with pytest.raises(TypeMismatchError) as caught:
        getattr(stream, method)(**arguments)
    assert caught.value.hint.startswith("give a ")
    assert stream.info().records == 0


def test_numbers_of_numpy_are_numbers_of_a_stream(stream: Stream):
    one = np.int64(1)
    assert stream.append(b"x", shard=one) == Appended(1, 1)
    assert data_of(stream.read(one, since=1).records) == [b"x"]


def test_a_stream_that_is_not_there_says_how_one_is_made(stream: Stream, data_tier: Tier):
    with pytest.raises(NotFoundError, match=r"shards=N"):
        Stream(data_tier, stream.container, split("none")).info()
