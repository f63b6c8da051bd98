"""Tables, streams and containers, awaited: the same results, waits that cost no thread."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from entrepot import aio, settings
from entrepot.errors import (
    ClosedError,
    ConditionError,
    ExistsError,
    ExpressionError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
)
from support.conditions import PATIENCE_S

pytestmark = pytest.mark.anyio

LARGE = bytes(range(256)) * 1024


@pytest.fixture
async def depot(tmp_path: Path) -> AsyncIterator[aio.AsyncDepot]:
    """A fresh depot, sound when the test is over, with nothing held."""
    opened = await aio.open(
        "aio", directory=tmp_path / "memory", data_directory=tmp_path / "data", memory="64M"
    )
    async with opened as depot:
        yield depot
        assert await depot.check() == []
        (session,) = await depot.sessions()
        assert {kind: n for kind, n in session.held.items() if kind != "extent"} == {}


@pytest.fixture
async def table(depot: aio.AsyncDepot) -> aio.AsyncTable:
    return await depot.table("users/people")


@pytest.fixture
async def stream(depot: aio.AsyncDepot) -> aio.AsyncStream:
    return await depot.stream("users/clicks", shards=3)


@pytest.fixture
async def container(depot: aio.AsyncDepot) -> aio.AsyncContainer:
    return await depot.create_container("users")


async def until(condition: Callable[[], object], what: str) -> None:
    """Give other tasks their turn until the condition is met."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.0005)
    assert condition(), what


class Waits:
    """Counts who waits for a bell of an engine just now."""

    def __init__(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        wait_async = engine.wait_async

        async def counted(*arguments: Any) -> bool:
            self.number += 1
            try:
                return await wait_async(*arguments)
            finally:
                self.number -= 1

        monkeypatch.setattr(engine, "wait_async", counted)


# Tables.


async def test_items_are_put_changed_read_and_deleted(table: aio.AsyncTable) -> None:
    await table.put("a.1", {"age": 3, "name": "Ann"})
    await table.update("a.1", "age = age + :more", more=4)
    assert await table.get("a.1") == {"age": 7, "name": "Ann"}
    assert await table.get("a.1", "age") == {"age": 7}
    assert "a.1" in table
    assert await table.try_get("b.1", default=5) == 5
    assert await table.get_many(["b.1", "a.1"], ["name"]) == [None, {"name": "Ann"}]
    async with table.batch() as batch:
        batch.put("a.2", {"age": 1})
        batch.update("a.1", "age = :n", n=8)
        batch.put("b.1", {"age": 2})
        batch.delete("b.1")
        assert len(batch) == 4
    assert [row async for row in table.scan("age > :n", n=1, names="age")] == [("a.1", {"age": 8})]
    assert [key async for key, _ in table.scan(sharding_key="a", sort_start="2")] == ["a.2"]
    assert await table.count() == 2
    assert await table.count("age == :n", n=8) == 1
    await table.delete("a.1", condition="age == :n", n=8)
    assert await table.clear() == 1
    assert table.name == "users/people"


async def test_errors_of_items_are_those_of_the_twin(table: aio.AsyncTable) -> None:
    await table.put("a", {"age": 3})
    with pytest.raises(ExistsError):
        await table.put("a", {}, mode="create")
    with pytest.raises(ConditionError, match="age is 3"):
        await table.update("a", "age = 1", condition="age > 9")
    await table.update("a", "age = 1", condition="age > 9", otherwise="age = 2")
    assert await table.get("a") == {"age": 2}
    with pytest.raises(NotFoundError):
        await table.get("nope")
    with pytest.raises(NotFoundError):
        await table.delete("nope")
    with pytest.raises(ExpressionError):
        table.scan("age >")
    batch = table.batch()
    batch.put("b", {})
    with pytest.raises(ZeroDivisionError):
        async with batch:
            raise ZeroDivisionError
    assert "b" not in table
    with pytest.raises(ClosedError):
        batch.put("b", {})
    batch = table.batch()
    batch.put("b", {})
    await batch.commit()
    assert "b" in table


async def test_a_scan_reads_page_by_page_up_to_its_limit(table: aio.AsyncTable) -> None:
    number = settings.PAGE_ITEMS_MAX * 2 + 5
    async with table.batch() as batch:
        for index in range(number):
            batch.put(f"{index:05}", {"n": index})
    assert [row["n"] async for _, row in table.scan()] == list(range(number))
    limit = settings.PAGE_ITEMS_MAX + 3
    assert len([row async for row in table.scan(limit=limit)]) == limit
    assert [row async for row in table.scan(limit=0)] == []


async def test_a_hundred_tasks_write_and_read_one_table(table: aio.AsyncTable) -> None:
    async def work(number: int) -> int:
        await table.update("count", "n = if_not_exists(n, 0) + 1")
        await table.put(f"k{number}", {"n": number})
        return (await table.get(f"k{number}"))["n"]

    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*map(work, range(100))) == list(range(100))
    assert await table.get("count") == {"n": 100}
    assert await table.count() == 101


async def test_what_writes_never_runs_on_the_loop(
    depot: aio.AsyncDepot, stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = stream.sync.engine
    here, write = threading.get_ident(), engine.write

    def write_elsewhere(*arguments: Any) -> Any:
        assert threading.get_ident() != here
        return write(*arguments)

    monkeypatch.setattr(engine, "write", write_elsewhere)
    table = await depot.table("users/people")
    await table.put("a", {"n": 1})
    await table.update("a", "n = 2")
    async with table.batch() as batch:
        batch.put("b", {})
    await table.delete("a")
    await table.clear()
    await stream.append("x")
    await stream.append_many(["x", "y"])
    await stream.resize(4)
    await stream.trim()
    async with await stream.consumer("g") as consumer:
        await consumer.read()
        await consumer.commit()
    await stream.delete()
    container = await depot.container("other")
    await container.put("a", "1")
    await container.append("a", "2")
    await container.make_directory("d")
    await container.delete("a")
    await depot.delete_container("other")


# Streams.


async def test_records_are_appended_and_read(stream: aio.AsyncStream) -> None:
    first = await stream.append("a", shard=1)
    assert (first.shard, first.sequence) == (1, 1)
    await stream.append_many(["b", b"c"])
    await stream.append("d", key="k")
    info = await stream.info()
    assert (info.shards, info.records) == (3, 4)
    found = [record async for record in stream.tail(since="earliest", timeout=0)]
    assert sorted(record.data for record in found) == [b"a", b"b", b"c", b"d"]
    stretch = await stream.read(1)
    assert stretch.records[0].data == b"a"
    assert await stream.seek(1, "earliest") == 1
    assert len(await stream.sequences()) == 3
    await stream.resize(4)
    assert (await stream.read(3, timeout=0.001)).records == []
    with pytest.raises(LimitError):
        await stream.read(9)
    with pytest.raises(LimitError):
        stream.tail([9])
    with pytest.raises(LimitError):
        await stream.read(0, limit=0)
    with pytest.raises(ExistsError):
        await stream.create(1)
    await stream.delete()
    with pytest.raises(NotFoundError):
        await stream.info()


async def test_a_read_waits_for_a_record(
    stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(stream.sync.engine, monkeypatch)
    task = asyncio.create_task(stream.read(0, since="latest", timeout=PATIENCE_S))
    await until(lambda: waits.number == 1, "it waits")
    await stream.append("now", shard=0)
    assert [record.data for record in (await task).records] == [b"now"]


async def test_a_hundred_tasks_tail_one_stream_without_a_thread_each(
    stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(stream.sync.engine, monkeypatch)

    async def follow() -> list[bytes]:
        found: list[bytes] = []
        async for record in stream.tail():
            found.append(record.data)
            if len(found) == 20:
                return found
        raise AssertionError("a tail ended")

    tasks = [asyncio.create_task(follow()) for _ in range(100)]
    await until(lambda: waits.number == 100, "all wait")
    before = threading.active_count()
    for number in range(20):
        await stream.append(b"%d" % number, shard=number % 3)
    async with asyncio.timeout(PATIENCE_S):
        for found in await asyncio.gather(*tasks):
            assert sorted(map(int, found)) == list(range(20))
            assert [n for n in map(int, found) if n % 3 == 0] == list(range(0, 20, 3))
    assert threading.active_count() <= before + 40, "no thread for each of a hundred"


async def test_a_cancelled_tail_ends_and_the_others_go_on(
    stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(stream.sync.engine, monkeypatch)
    tasks = [asyncio.create_task(anext(stream.tail())) for _ in range(2)]
    await until(lambda: waits.number == 2, "both wait")
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    await stream.append("x")
    assert (await tasks[1]).data == b"x"
    assert waits.number == 0


async def test_a_tail_that_all_shards_are_of_sees_those_that_are_added(
    stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "WAIT_SLICE_S", 0.01)
    waits = Waits(stream.sync.engine, monkeypatch)
    task = asyncio.create_task(anext(stream.tail()))
    await until(lambda: waits.number == 1, "it waits")
    await stream.resize(5)
    await stream.append("new", shard=4)
    assert (await task).shard == 4


async def test_a_tail_of_a_stream_that_is_deleted_ends_with_an_error(
    stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "WAIT_SLICE_S", 0.01)
    waits = Waits(stream.sync.engine, monkeypatch)
    task = asyncio.create_task(anext(stream.tail()))
    await until(lambda: waits.number == 1, "it waits")
    await stream.delete()
    with pytest.raises(NotFoundError):
        await task


async def test_consumers_share_a_stream_and_go_on_where_they_committed(
    stream: aio.AsyncStream,
) -> None:
    await stream.append_many([b"%d" % number for number in range(6)])
    async with await stream.consumer("g") as consumer:
        assert len(await consumer.read()) == 6
        assert consumer.shards == [0, 1, 2]
        await consumer.commit()
        assert await consumer.read(timeout=0) == []
        assert [group.group for group in await stream.groups()] == ["g"]
    with pytest.raises(ClosedError):
        await consumer.read(timeout=0)
    with pytest.raises(ClosedError):
        await consumer.commit()
    await stream.append("later")
    async with await stream.consumer("g") as consumer:
        async for record in consumer:
            assert record.data == b"later"
            break
        with pytest.raises(LimitError):
            await consumer.read(0)


async def test_a_cancelled_read_of_a_consumer_has_taken_nothing(
    stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(stream.sync.engine, monkeypatch)
    async with await stream.consumer("g") as consumer:
        for _ in range(3):
            task = asyncio.create_task(consumer.read())
            await until(lambda: waits.number == 1, "it waits")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        task = asyncio.create_task(consumer.read())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await stream.append("x")
        assert [record.data for record in await consumer.read()] == [b"x"]


async def test_a_consumer_whose_read_is_cancelled_while_it_takes_shards_has_them(
    stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await stream.consumer("g") as consumer:
        entered, may_go = threading.Event(), threading.Event()
        share = consumer.sync.share

        def slow() -> None:
            entered.set()
            assert may_go.wait(PATIENCE_S)
            share()

        monkeypatch.setattr(consumer.sync, "share", slow)
        task = asyncio.create_task(consumer.read())
        await until(entered.is_set, "it takes its shards")
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done(), "it goes on when the thread is done"
        may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert consumer.shards == [0, 1, 2]


async def test_a_consumer_that_joins_too_late_for_a_cancelled_task_leaves_again(
    stream: aio.AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, may_go, left = threading.Event(), threading.Event(), threading.Event()
    join = stream.sync.consumer

    def slow(*arguments: Any, **named: Any) -> Any:
        entered.set()
        assert may_go.wait(PATIENCE_S)
        joined = join(*arguments, **named)
        close = joined.close
        monkeypatch.setattr(joined, "close", lambda: (close(), left.set()))
        return joined

    monkeypatch.setattr(stream.sync, "consumer", slow)
    task = asyncio.create_task(stream.consumer("g"))
    await until(entered.is_set, "it joins")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_go.set()
    await until(left.is_set, "it left")
    assert await stream.groups() == []


# Containers.


async def test_objects_are_put_read_and_deleted(container: aio.AsyncContainer) -> None:
    await container.put("a/small", "text")
    await container.put("a/large", io.BytesIO(LARGE))
    await container.append("a/small", b"!")
    assert await container.get("a/small") == b"text!"
    assert await container.get("a/large") == LARGE
    assert await container.get("a/large", offset=256, count=3) == b"\x00\x01\x02"
    assert (await container.info("a/large")).size == len(LARGE)
    assert "a/small" in container
    async with await container.open("a/large") as reader:
        assert reader.info.size == len(LARGE)
        assert await reader.read(2) == b"\x00\x01"
        assert reader.tell() == 2
        assert reader.seek(0) == 0
        assert b"".join([piece async for piece in reader]) == LARGE
    await container.make_directory("b")
    assert [entry.path async for entry in container.list(recursive=True)] == [
        "a",
        "a/large",
        "a/small",
        "b",
    ]
    assert [e.path async for e in container.list(only_directories=True)] == ["a", "b"]
    page, behind = await container.page("a", limit=1)
    assert ([entry.path for entry in page], behind) == (["a/large"], "large")
    await container.delete("a", recursive=True)
    with pytest.raises(NotFoundError):
        await container.get("a/small")
    with pytest.raises(LimitError):
        await container.get("b", offset=-1)
    with pytest.raises(ExistsError):
        await container.create()


async def test_containers_are_made_listed_and_deleted(depot: aio.AsyncDepot) -> None:
    assert await depot.containers() == []
    made = await depot.create_container("one")
    assert (await depot.container("one")).name == made.name == "one"
    with pytest.raises(ExistsError):
        await depot.create_container("one")
    await depot.create_container("one", exist_ok=True)
    assert await depot.containers() == ["one"]
    assert await depot.directories("one", limit=1) == depot.sync.directories("one", limit=1)
    await depot.delete_container("one")
    with pytest.raises(NotFoundError):
        await depot.delete_container("one")
    with pytest.raises(LimitError):
        await depot.stream("one")


async def test_a_retention_is_seconds_or_a_span_of_time(depot: aio.AsyncDepot) -> None:
    one = await depot.stream("users/one", shards=1, retention=3600.5)
    two = await depot.stream("users/two", shards=1, retention=dt.timedelta(hours=2))
    assert [(await each.info()).retention_s for each in (one, two)] == [3600, 7200]
    with pytest.raises(TypeMismatchError, match="seconds"):
        await depot.stream("users/three", shards=1, retention="24h")  # pyright: ignore[reportArgumentType] that is the test
    for number in (0, -1, float("nan"), float("inf")):
        with pytest.raises(LimitError):
            await depot.stream("users/three", shards=1, retention=number)


async def test_a_scan_with_a_bad_limit_is_refused_at_once(table: aio.AsyncTable) -> None:
    with pytest.raises(LimitError):
        table.scan(limit=-1)


async def test_a_hundred_tasks_put_and_get_objects(container: aio.AsyncContainer) -> None:
    async def work(number: int) -> bytes:
        data = LARGE if number % 10 == 0 else b"%d" % number
        await container.put(f"o{number}", data)
        return await container.get(f"o{number}")

    async with asyncio.timeout(PATIENCE_S):
        found = await asyncio.gather(*map(work, range(100)))
    assert found == [LARGE if n % 10 == 0 else b"%d" % n for n in range(100)]
