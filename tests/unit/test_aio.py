"""The async twins: the same API, awaited; waits that cost no thread and take nothing if cancelled.

A test that waits for a condition gives other tasks their turn with `until`.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import aio
from entrepot.errors import (
    ClosedError,
    ConflictError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
    WaitTimeoutError,
)
from entrepot.layers.containers import Container
from entrepot.layers.lines import Lines
from entrepot.layers.objects import Objects
from entrepot.layers.spaces import Claim, Producer, Space, Values
from entrepot.layers.streams import Consumer, Stream
from entrepot.layers.tables import Table, TableBatch
from support.conditions import PATIENCE_S
from support.tiers import problems_of

pytestmark = pytest.mark.anyio

BIG = np.arange(50_000)


@pytest.fixture
async def depot(tmp_path: Path) -> AsyncIterator[aio.AsyncDepot]:
    """A fresh depot, sound when the test is over, with nothing held."""
    opened = await aio.open(
        "aio", directory=tmp_path / "memory", data_directory=tmp_path / "data", memory="128M"
    )
    async with opened as depot:
        yield depot
        if depot.closed:
            return
        gc.collect()
        assert await depot.check() == []
        for tier in depot.sync.attached.tiers():
            assert problems_of(tier) == []
        (session,) = await depot.sessions()
        assert {kind: n for kind, n in session.held.items() if kind != "extent"} == {}
        assert session.pinned_bytes == 0


@pytest.fixture(params=["volatile", "persistent"])
async def space(depot: aio.AsyncDepot, request: pytest.FixtureRequest) -> aio.AsyncSpace:
    return await depot.space("s", persistent=request.param == "persistent")


async def until(condition: Callable[[], object], what: str) -> None:
    """Give other tasks their turn until the condition is met."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.0005)
    assert condition(), what


def counts(space: aio.AsyncSpace, variable: str = "v") -> tuple[int, int, int, int]:
    for info in space.sync.variables():
        if info.name == variable:
            return info.values, info.fetchers, info.finders, info.claimed
    return 0, 0, 0, 0


async def waiting(space: aio.AsyncSpace, number: int = 1, variable: str = "v") -> None:
    await until(lambda: sum(counts(space, variable)[1:3]) == number, f"{number} wait")


# The same API.

INNER = {
    Objects: {"use", "get_name_async"},
    Space: {
        "use",
        "take",
        "loaded",
        "claimed",
        "new_waiter",
        "came_too_late",
        "join_line",
        "leave_line",
        "cancel_wait",
        "end_claim",
        "restore",
        "engine",
        "bulk",
        "wait",
        "store_record",
        "store_draft",
        "mention",
        "id_of",
        "had_no_room",
        "lost",
        "name_of",
        "names_of",
        "room_bells",
        "told",
        "try_store",
        "until_due",
        "tend",
    },
    Values: {"want", "is_new", "accept", "end"},
    entrepot.Depot: {"attached", "client"},
    Table: {"get_exact", "write_all", "use", "plan", "page", "putting", "updating", "deleting"},
    Stream: {
        "use",
        "append_each",
        "appending",
        "creating",
        "resizing",
        "new_number",
        "commit",
        "tail_of",
        "look",
    },
    Consumer: {"bells", "must_share", "share", "take", "at"},
    Lines: {
        "use",
        "tier",
        "writer",
        "own_writer",
        "own",
        "writing",
        "capture",
        "handler",
        "following",
    },
    Container: {
        "swept",
        "use",
        "tier",
        "appending",
        "creating",
        "deleting",
        "making_directory",
        "putting",
    },
}
"""What serves the layers above, or the twin itself, and is no API for programs."""

TWINS = [
    (entrepot.Depot, aio.AsyncDepot, {"sync"}),
    (Objects, aio.AsyncObjects, set()),
    (Space, aio.AsyncSpace, {"sync", "take", "wait"}),
    (Claim, aio.AsyncClaim, {"sync"}),
    (Producer, aio.AsyncProducer, {"sync"}),
    (Values, aio.AsyncValues, set()),
    (Table, aio.AsyncTable, set()),
    (TableBatch, aio.AsyncTableBatch, set()),
    (Stream, aio.AsyncStream, set()),
    (Consumer, aio.AsyncConsumer, set()),
    (Container, aio.AsyncContainer, set()),
    (Lines, aio.AsyncLines, set()),
]


def public(cls: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(cls) if name[:1] != "_"}


@pytest.mark.parametrize(
    ("sync", "twin", "extra"), TWINS, ids=lambda part: getattr(part, "__name__", "")
)
async def test_twins_have_the_same_names_and_parameters(
    sync: type, twin: type, extra: set[str]
) -> None:
    ours, theirs = public(sync), public(twin)
    assert set(ours) - INNER.get(sync, set()) == set(theirs) - extra
    for name in set(ours) & set(theirs):
        if not inspect.isfunction(ours[name]):
            assert type(ours[name]) is type(theirs[name]), name
            continue
        one, other = inspect.signature(ours[name]), inspect.signature(theirs[name])
        assert [(p.name, p.kind, p.default, p.annotation) for p in one.parameters.values()] == [
            (p.name, p.kind, p.default, p.annotation) for p in other.parameters.values()
        ], name
        returned = str(other.return_annotation).replace("Async", "")
        assert returned == str(one.return_annotation), name


async def test_only_what_cannot_wait_is_not_awaited() -> None:
    iterators = {"ifind", "ifetch", "ifind_try", "ifetch_try", "scan", "tail", "list"}
    later = {"batch"}
    for _, twin, _ in TWINS:
        if twin in (aio.AsyncValues, aio.AsyncTableBatch):
            continue
        for name, member in public(twin).items():
            if inspect.isfunction(member) and (twin, name) != (aio.AsyncObjects, "list"):
                waits = name not in iterators | later
                assert inspect.iscoroutinefunction(member) == waits, name


async def test_open_and_temporary_take_what_their_twins_take() -> None:
    for name in ("open", "temporary"):
        ours, theirs = getattr(entrepot, name), getattr(aio, name)
        assert list(inspect.signature(ours).parameters) == list(
            inspect.signature(theirs).parameters
        )


async def test_attributes_are_those_of_the_twin(depot: aio.AsyncDepot) -> None:
    assert (depot.name, depot.path, depot.data_path) == (
        "aio",
        depot.sync.path,
        depot.sync.data_path,
    )
    assert not depot.closed
    space = await depot.space("s")
    await space.store("v", 1)
    async with await space.claim("v") as claim:
        assert (claim.value, claim.index, claim.variable) == (1, 0, "v")
    assert (space.name, space.persistent) == ("s", False)


# Objects.


async def test_objects_are_put_got_and_deleted(depot: aio.AsyncDepot) -> None:
    objects = depot.objects
    small, large = await objects.put(1), await objects.put(np.ones(1_000_000), name="large")
    assert await objects.get(small) == 1
    assert not (await objects.get(large)).flags.owndata
    assert (await objects.get(name="large")).sum() == 1_000_000
    assert await objects.get_many([small, small]) == [1, 1]
    tree = await objects.create({"f": 1}, {"m": small}, name="tree")
    assert await objects.get(tree) == {"f": 1, "m": 1}
    assert (await objects.meta(tree))["members"]["m"]["id"] == str(small)
    assert await objects.put_many([5, BIG]) == [info.id for info in (await objects.list())[-2:]]
    assert await objects.count() == 5
    assert await objects.size(small) == 1
    assert (await objects.usage(small)).parents == [tree]
    assert await objects.check() == []
    await objects.put_name("n", small)
    assert await objects.get_name("n") == small
    assert list(await objects.names()) == ["large", "n", "tree"]
    assert await objects.drop_name("n")
    with pytest.raises(ConflictError):
        await objects.delete(small)
    assert await objects.delete([tree, large]) == 3
    assert not await objects.exists(small)


async def test_errors_are_those_of_the_twin(depot: aio.AsyncDepot) -> None:
    with pytest.raises(TypeMismatchError, match="neither"):
        await depot.objects.get()
    with pytest.raises(NotFoundError):
        await depot.objects.get(77)
    with pytest.raises(LimitError):
        await depot.objects.get(-1)
    with pytest.raises(NotFoundError, match="'n'"):
        await depot.objects.get(name="n")
    with pytest.raises(NotFoundError, match="nope"):
        await depot.space("nope", create=False)
    with pytest.raises(NotFoundError):
        await depot.delete_space("nope")
    with pytest.raises(TypeMismatchError, match="lock"):
        await depot.objects.put([np.ones(1_000_000), threading.Lock()])


async def test_tasks_wait_for_names(depot: aio.AsyncDepot) -> None:
    objects = depot.objects
    waits = [asyncio.create_task(objects.get(name=f"n{i}", wait=True)) for i in range(200)]
    await asyncio.sleep(0)
    for i in range(200):
        await objects.put(i, name=f"n{i}")
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*waits) == list(range(200))


async def test_a_wait_for_a_name_ends_in_time_or_when_cancelled(depot: aio.AsyncDepot) -> None:
    for wait in (depot.objects.get_name, lambda name, **how: depot.objects.get(name=name, **how)):
        for timeout in (0, 0.01):
            with pytest.raises(WaitTimeoutError, match=f"{timeout} seconds"):
                await wait("n", wait=True, timeout=timeout)
        with pytest.raises(LimitError):
            await wait("n", wait=True, timeout=-1)
        task = asyncio.create_task(wait("n", wait=True))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# Spaces.


async def test_values_are_stored_found_and_fetched(space: aio.AsyncSpace) -> None:
    await space.declare("l", "lifo")
    for value in (1, BIG, 3):
        await space.store("v", value)
        await space.store("l", value)
    assert await space.try_find("v") == await space.find("v") == 1
    assert await space.try_fetch("l") == await space.fetch("v") * 3
    assert (await space.fetch("l") == BIG).all()
    assert await space.try_find("w", "default") == "default"
    assert await space.try_fetch("w", "default") == "default"
    assert await space.try_claim("w") is None
    assert [info.name for info in await space.variables()] == ["l", "v"]
    with pytest.raises(ConflictError):
        await space.declare("l", "fifo")
    assert await space.delete("l")
    assert not await space.delete("l")


async def test_claims_are_done_or_given_back(space: aio.AsyncSpace) -> None:
    await space.store("v", BIG)
    for _ in range(2):
        claim = await space.claim("v")
        assert (claim.value == BIG).all()
        with pytest.raises(ZeroDivisionError):
            async with claim:
                raise ZeroDivisionError
    claim = await space.try_claim("v")
    await claim.release()
    with pytest.raises(ClosedError):
        await claim.done()
    async with await space.claim("v"):
        assert counts(space) == (0, 0, 0, 1)
    assert counts(space) == (0, 0, 0, 0)


async def test_one_store_serves_all_finders_and_one_fetcher(space: aio.AsyncSpace) -> None:
    finders = [asyncio.create_task(space.find("v")) for _ in range(5)]
    fetchers = []
    for number in range(3):
        fetchers.append(asyncio.create_task(space.fetch("v")))
        await waiting(space, 6 + number)
    await space.store("v", "a")
    await space.store("v", "b")
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*finders) == ["a"] * 5
        assert await asyncio.gather(*fetchers[:2]) == ["a", "b"]
    assert not fetchers[2].done()
    await space.store("v", "c")
    assert await fetchers[2] == "c"


async def test_a_thousand_tasks_wait_without_a_thread_each(depot: aio.AsyncDepot) -> None:
    space = await depot.space("s")
    before = threading.active_count()
    tasks = [asyncio.create_task(space.fetch("v")) for _ in range(500)]
    tasks += [asyncio.create_task(space.claim(f"v{n}")) for n in range(250)]
    tasks += [asyncio.create_task(anext(space.ifind("v"))) for _ in range(250)]
    await waiting(space, 750)
    await waiting(space, 1, "v249")
    assert threading.active_count() <= before + 2
    for number in range(500):
        await space.store("v", number)
    for number in range(250):
        await space.store(f"v{number}", number)
    async with asyncio.timeout(PATIENCE_S):
        got = await asyncio.gather(*tasks)
    assert got[:500] == list(range(500))
    assert [claim.value for claim in got[500:750]] == list(range(250))
    assert got[750:] == [0] * 250
    for claim in got[500:750]:
        await claim.done()


async def test_waits_that_pile_up_are_served_in_the_order_of_arrival(space: aio.AsyncSpace) -> None:
    tasks = []
    for number in range(10):
        tasks.append(asyncio.create_task(space.fetch("v")))
        await waiting(space, number + 1)
    for number in range(10):
        await space.store("v", number)
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.gather(*tasks) == list(range(10))


async def test_a_task_gets_what_a_thread_stores_and_the_other_way_round(
    space: aio.AsyncSpace,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(space.fetch("v"))
        await waiting(space)
        pool.submit(space.sync.store, "v", BIG).result(PATIENCE_S)
        assert (await task == BIG).all()
        thread = pool.submit(space.sync.fetch, "v")
        await waiting(space)
        await space.store("v", 2)
        assert thread.result(PATIENCE_S) == 2


async def test_the_loop_runs_on_while_tasks_wait(space: aio.AsyncSpace) -> None:
    steps: list[int] = []

    async def ping() -> None:
        for number in range(20):
            steps.append(number)
            await space.store("ping", number)
            assert await space.fetch("pong", timeout=PATIENCE_S) == number

    async def pong() -> None:
        for _ in range(20):
            await space.store("pong", await space.fetch("ping", timeout=PATIENCE_S))

    idle = asyncio.create_task(space.fetch("never"))
    await asyncio.gather(ping(), pong())
    assert steps == list(range(20))
    idle.cancel()
    with pytest.raises(asyncio.CancelledError):
        await idle


async def test_what_waits_for_a_disk_never_runs_on_the_loop(
    depot: aio.AsyncDepot, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = await depot.space("s", persistent=True)
    write = space.sync.engine.write
    here = threading.get_ident()

    def write_elsewhere(*arguments: Any) -> Any:
        assert threading.get_ident() != here
        return write(*arguments)

    monkeypatch.setattr(space.sync.engine, "write", write_elsewhere)
    await space.declare("v", "fifo")
    for value in (1, BIG):
        for _ in range(9):
            await space.store("v", value)
        await space.find("v")
        await space.fetch("v")
        await space.try_fetch("v")
        await (await space.claim("v")).release()
        claim = await space.try_claim("v")
        assert claim is not None
        await claim.done()
        async with await space.claim("v"):
            pass
        await anext(space.ifind("v"))
        await anext(space.ifetch("v"))
        await anext(space.ifind_try("v"))
        assert len([value async for value in space.ifetch_try("v")]) == 4
    for wait in (space.find, space.fetch, space.claim):
        for timeout in (0, 0.001):
            with pytest.raises(WaitTimeoutError):
                await wait("v", timeout=timeout)
        task = asyncio.create_task(wait("v"))
        await waiting(space)
        task.cancel()
        await asyncio.wait([task])
    await space.delete("v")


class Holder:
    """Holds something large in an attribute."""

    def __init__(self, value: object) -> None:
        self.value = value


class Shy:
    """Says nothing of its size."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


LARGE = np.zeros(200_000)


@pytest.mark.parametrize(
    ("value", "is_large"),
    [
        pytest.param(LARGE, True, id="array"),
        pytest.param([1, LARGE], True, id="list"),
        pytest.param({"a": (LARGE,)}, True, id="dict of tuples"),
        pytest.param(Holder(LARGE), True, id="object"),
        pytest.param([Holder([LARGE])], True, id="list of objects"),
        pytest.param([b"x" * 1000] * 2000, True, id="many bytes"),
        pytest.param("x" * 2_000_000, True, id="text"),
        pytest.param(Holder(1), False, id="small object"),
        pytest.param([BIG[:1000]] * 20, False, id="small arrays"),
        pytest.param([], False, id="nothing"),
        pytest.param(np.ndarray, False, id="class"),
        pytest.param(Shy(), False, id="shy"),
    ],
)
async def test_what_is_large_is_guessed_through_containers(value: object, is_large: bool) -> None:
    assert aio._is_large(value) is is_large


async def test_a_dataframe_is_guessed_without_a_look_at_its_strings() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": ["x"] * 200_000})
    assert aio._is_large({"frame": frame})
    assert not aio._is_large({"frame": frame[:1000]})


async def test_a_cancelled_open_leaves_no_depot_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[entrepot.Depot] = []
    may_open = threading.Event()

    def open_late(*arguments: Any, **keywords: Any) -> entrepot.Depot:
        may_open.wait(PATIENCE_S)
        opened.append(entrepot.open(*arguments, **keywords))
        return opened[0]

    monkeypatch.setattr(aio.depots, "open", open_late)
    opening = aio.open("late", directory=tmp_path / "memory", data_directory=tmp_path / "data")
    task = asyncio.create_task(opening)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_open.set()
    await until(lambda: opened and opened[0].closed, "what was opened too late is closed")


# Time, and cancelling.


@pytest.mark.parametrize("take", ["find", "fetch", "claim"])
async def test_a_wait_ends_in_time_and_leaves_the_line(space: aio.AsyncSpace, take: str) -> None:
    for timeout in (0, 0.01):
        with pytest.raises(WaitTimeoutError, match=f"s/v within {timeout} seconds"):
            await getattr(space, take)("v", timeout=timeout)
        assert bool(await space.variables()) is (timeout > 0), "no time makes no variable"
    for bad, error in ((-1, LimitError), ("1", TypeMismatchError)):
        with pytest.raises(error):
            await getattr(space, take)("v", timeout=bad)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await getattr(space, take)("v")
    assert counts(space) == (0, 0, 0, 0)


@pytest.mark.parametrize("take", ["find", "fetch", "claim"])
async def test_a_cancelled_wait_takes_nothing(space: aio.AsyncSpace, take: str) -> None:
    task = asyncio.create_task(getattr(space, take)("v"))
    await waiting(space)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts(space) == (0, 0, 0, 0)
    await space.store("v", BIG)
    assert (await space.fetch("v", timeout=0) == BIG).all()


@pytest.mark.parametrize("take", ["find", "fetch", "claim"])
async def test_what_was_given_to_a_task_that_is_cancelled_goes_back(
    space: aio.AsyncSpace, take: str
) -> None:
    task = asyncio.create_task(getattr(space, take)("v"))
    await waiting(space)
    space.sync.store("v", BIG)  # at once: the task has not run since
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counts(space) == (1, 0, 0, 0)
    assert (await space.fetch("v", timeout=0) == BIG).all()


@pytest.mark.parametrize("take", ["try_fetch", "try_claim", "fetch", "claim"])
async def test_a_task_cancelled_at_any_turn_takes_the_value_or_leaves_it(
    space: aio.AsyncSpace, take: str
) -> None:
    # Cancelled after no turn of the loop, after one, after two: it got the value, or it did not.
    for turns in range(6):
        await space.store("v", BIG)
        task = asyncio.create_task(getattr(space, take)("v"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            got = await task
        except asyncio.CancelledError:
            assert (await space.fetch("v", timeout=PATIENCE_S) == BIG).all()
        else:
            if take.endswith("claim"):
                await got.done()
            assert counts(space) == (0, 0, 0, 0)


async def test_of_many_tasks_cancelled_at_random_none_takes_a_value_along(
    depot: aio.AsyncDepot, chance: Any
) -> None:
    space = await depot.space("s")
    tasks = [asyncio.create_task(space.fetch("v")) for _ in range(100)]
    await waiting(space, 100)
    for number in range(60):
        space.sync.store("v", number)
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    await until(lambda: counts(space)[0] == 0 or counts(space)[1] == 0, "all is given out")
    for task in tasks:
        if not task.done() and counts(space)[1]:
            task.cancel()
    got = [
        one for one in await asyncio.gather(*tasks, return_exceptions=True) if one.__class__ is int
    ]
    left = [await space.fetch("v") for _ in range(counts(space)[0])]
    assert sorted(got + left) == list(range(60))


async def test_a_task_group_that_fails_leaves_no_one_in_line(space: aio.AsyncSpace) -> None:
    async def fail() -> None:
        await waiting(space, 3)
        raise ZeroDivisionError

    async def run_all() -> None:
        async with asyncio.TaskGroup() as group:
            for take in (space.find, space.fetch, space.claim):
                group.create_task(take("v"))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await run_all()
    assert caught.group_contains(ZeroDivisionError)
    assert counts(space) == (0, 0, 0, 0)


# Iterators.


async def test_async_iterators_see_each_value_once(space: aio.AsyncSpace) -> None:
    for number in range(3):
        await space.store("v", number)
    values = space.ifind_try("v")
    assert aiter(values) is values
    assert [value async for value in values] == [0, 1, 2]
    await space.store("v", 3)
    assert [value async for value in values] == []
    values.restart()
    assert [value async for value in values] == [3]
    values.reset()
    assert await anext(values) == 0
    assert [value async for value in space.ifetch_try("v")] == [0, 1, 2, 3]
    assert counts(space) == (0, 0, 0, 0)


@pytest.mark.parametrize("iterate", ["ifind", "ifetch"])
async def test_waiting_async_iterators_end_when_the_variable_is_deleted(
    space: aio.AsyncSpace, iterate: str
) -> None:
    async def read() -> list[int]:
        return [value async for value in getattr(space, iterate)("v")]

    reader = asyncio.create_task(read())
    for number in range(3):
        await waiting(space)
        await space.store("v", number)
    await waiting(space)
    await space.delete("v")
    assert await reader == [0, 1, 2]


@pytest.mark.parametrize("iterate", ["ifind", "ifetch"])
async def test_async_iterators_time_out_and_are_cancelled_without_loss(
    space: aio.AsyncSpace, iterate: str
) -> None:
    values = getattr(space, iterate)("v", timeout=0.01)
    with pytest.raises(WaitTimeoutError):
        await anext(values)
    endless = getattr(space, iterate)("v")
    task = asyncio.ensure_future(anext(endless))
    await waiting(space)
    space.sync.store("v", 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await anext(endless) == 1


@pytest.mark.parametrize("iterate", ["ifind", "ifetch", "ifind_try", "ifetch_try"])
async def test_async_iterators_refuse_lifo_and_multi(space: aio.AsyncSpace, iterate: str) -> None:
    for mode in ("lifo", "multi"):
        await space.declare(mode, mode)
        with pytest.raises(ConflictError, match=mode):
            await anext(getattr(space, iterate)(mode))


async def test_an_async_iterator_passes_over_what_is_given_back(space: aio.AsyncSpace) -> None:
    await space.store("v", 0)
    values = space.ifind("v")
    assert await anext(values) == 0
    claim = await space.claim("v")
    coming = asyncio.ensure_future(anext(values))
    await waiting(space)
    await claim.release()
    await waiting(space)
    await space.store("v", 1)
    assert await coming == 1


# What cannot be loaded.


class Unloadable:
    def __reduce__(self) -> Any:
        return (_refuse, (np.zeros(50_000),))


def _refuse(_array: object) -> None:
    raise ImportError("not here")


@pytest.mark.parametrize("is_there", [True, False], ids=["at once", "after a wait"])
async def test_what_cannot_be_loaded_is_put_back(space: aio.AsyncSpace, is_there: bool) -> None:
    if is_there:
        await space.store("v", Unloadable())
    takes = [space.find, space.fetch, space.claim]
    if is_there:
        takes += [space.try_find, space.try_fetch, space.try_claim]
        takes += [lambda v: anext(space.ifetch(v)), lambda v: anext(space.ifind_try(v))]
    for take in takes:
        task = asyncio.ensure_future(take("v"))
        if not is_there:
            await waiting(space)
            await space.store("v", Unloadable())
        with pytest.raises(TypeMismatchError, match="not here"):
            await task
        assert counts(space) == (1, 0, 0, 0)
        if not is_there:
            await space.delete("v")


# Ends.


async def test_tasks_that_wait_are_told_of_a_deleted_variable_or_workspace(
    depot: aio.AsyncDepot, space: aio.AsyncSpace
) -> None:
    for variable in ("v", "w"):
        tasks = [asyncio.create_task(take(variable)) for take in (space.find, space.fetch)]
        await waiting(space, 2, variable)
        await (space.delete("v") if variable == "v" else depot.delete_space("s"))
        for task in tasks:
            with pytest.raises(NotFoundError, match=f"s/{variable} was deleted"):
                await task
    with pytest.raises(NotFoundError, match="workspace"):
        await space.store("v", 1)


async def test_tasks_that_wait_are_told_when_the_depot_is_closed(depot: aio.AsyncDepot) -> None:
    space = await depot.space("s")
    tasks = [
        asyncio.create_task(space.fetch("v")),
        asyncio.create_task(anext(space.ifind("v"))),
        asyncio.create_task(depot.objects.get_name("n", wait=True)),
    ]
    await waiting(space, 2)
    await depot.close()
    for task in tasks:
        with pytest.raises(ClosedError):
            async with asyncio.timeout(PATIENCE_S):
                await task
    assert depot.closed
    for use in (
        lambda: space.store("v", 1),
        lambda: depot.objects.put(1),
        lambda: depot.space("s"),
    ):
        with pytest.raises(ClosedError):
            await use()


async def test_a_depot_may_be_used_from_one_loop_after_another(tmp_path: Path) -> None:
    place = {"directory": tmp_path / "memory", "data_directory": tmp_path / "data"}

    def in_threads() -> list[int]:
        with entrepot.open("loops", memory="64M", **place) as opened:
            depot = aio.AsyncDepot(opened)
            return [asyncio.run(use(depot, number)) for number in range(3)]

    async def use(depot: aio.AsyncDepot, number: int) -> int:
        space = await depot.space("s")
        task = asyncio.create_task(space.fetch("v"))
        await waiting(space)
        await space.store("v", number)
        async with asyncio.timeout(PATIENCE_S):
            return await task

    assert await asyncio.to_thread(in_threads) == [0, 1, 2]


async def test_a_space_may_be_used_from_two_loops_at_once(depot: aio.AsyncDepot) -> None:
    space = await depot.space("s")

    async def theirs() -> int:
        other = await depot.space("s")
        return await other.fetch("theirs", timeout=PATIENCE_S)

    thread = asyncio.create_task(asyncio.to_thread(asyncio.run, theirs()))
    mine = asyncio.create_task(space.fetch("mine", timeout=PATIENCE_S))
    await waiting(space, 1, "theirs")
    await waiting(space, 1, "mine")
    await space.store("theirs", 1)
    await space.store("mine", 2)
    assert await asyncio.gather(thread, mine) == [1, 2]


async def test_a_temporary_depot_is_gone_behind_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "memory"))
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    async with aio.temporary(memory="64M") as depot:
        key = await depot.objects.put(BIG)
        assert (await depot.objects.get(key) == BIG).all()
        path = depot.path
    assert not path.exists()


async def test_a_depot_is_looked_after(depot: aio.AsyncDepot) -> None:
    await depot.objects.put(BIG)
    await depot.space("s")
    statistics = await depot.statistics()
    assert (statistics.objects, statistics.spaces) == (1, 1)
    assert [info.name for info in await depot.spaces()] == ["s"]
    assert (await depot.collect(trim=True)).sessions == 0
    assert (await depot.diagnose()).problems == []
    await depot.delete_space("s")
    await depot.destroy()
    assert depot.closed
