"""The async twin: the same names, and waits that cost no thread."""

import asyncio
import threading

import numpy as np
import pytest

import entrepot
from entrepot import aio
from entrepot.layers.spaces import core


def _run(main, tmp_path):
    async def with_depot():
        opened = aio.open(
            "async", directory=tmp_path / "memory", data_directory=tmp_path / "data", memory="64M"
        )
        async with await opened as depot:
            await main(depot)
            if not depot.closed:
                assert await depot.check() == []

    asyncio.run(with_depot())


def test_a_thousand_tasks_wait_without_a_thread_each_and_are_served_in_order(tmp_path):
    async def main(depot):
        space = await depot.space("s")
        before = threading.active_count()
        tasks = [asyncio.create_task(space.fetch("v")) for _ in range(1000)]
        while (await space.variables() or [None])[0] is None or (
            (await space.variables())[0].fetchers < 1000
        ):
            await asyncio.sleep(0)
        # The executor of the loop may have grown; it knows nothing of who waits.
        assert threading.active_count() - before < 20
        for value in range(1000):
            await space.store("v", value)
        assert await asyncio.gather(*tasks) == list(range(1000))

    _run(main, tmp_path)


def test_a_cancelled_wait_takes_nothing(tmp_path):
    async def main(depot):
        for persistent in (False, True):
            space = await depot.space(f"s{persistent}", persistent=persistent)
            task = asyncio.create_task(space.fetch("v"))
            while not await space.variables():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await space.store("v", 1)
            assert await space.fetch("v", timeout=0) == 1
            with pytest.raises(entrepot.WaitTimeoutError):
                await space.fetch("v", timeout=0.01)

    _run(main, tmp_path)


def test_a_value_handed_over_just_before_the_cancel_is_put_back(tmp_path):
    async def main(depot):
        space = await depot.space("s")
        task = asyncio.create_task(space.claim("v"))
        while not await space.variables():
            await asyncio.sleep(0)
        await space.store("v", np.ones(20_000))  # handed to the task, which has not run since
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with await space.claim("v", timeout=0) as claim:
            assert claim.value.sum() == 20_000

    _run(main, tmp_path)


def test_async_iterators_end_when_the_variable_is_deleted(tmp_path):
    async def main(depot):
        space = await depot.space("s")

        async def read():
            return [value async for value in space.ifetch("v")]

        reader = asyncio.create_task(read())
        for value in range(5):
            await space.store("v", value)
            await asyncio.sleep(0.001)
        while (await space.variables())[0].values:
            await asyncio.sleep(0)
        await space.delete("v")
        assert await reader == [0, 1, 2, 3, 4]
        await space.store("w", 1)
        assert [value async for value in space.ifind_try("w")] == [1]

    _run(main, tmp_path)


def test_tasks_wait_for_names_and_get_large_values(tmp_path):
    async def main(depot):
        waits = [
            asyncio.create_task(depot.objects.get(name=f"n{i}", wait=True)) for i in range(300)
        ]
        await asyncio.sleep(0)
        for i in range(300):
            await depot.objects.put(i, name=f"n{i}")
        assert await asyncio.gather(*waits) == list(range(300))
        key = await depot.objects.put(np.ones(1_000_000))
        assert not (await depot.objects.get(key)).flags.owndata
        with pytest.raises(entrepot.WaitTimeoutError):
            await depot.objects.get_name("never", wait=True, timeout=0.01)
        with pytest.raises(entrepot.NotFoundError):
            await depot.objects.get_name("never")

    _run(main, tmp_path)


def test_tasks_that_wait_learn_that_the_depot_was_removed(tmp_path):
    async def main(depot):
        space = await depot.space("s")
        tasks = [
            asyncio.create_task(space.fetch("v")),
            asyncio.create_task(depot.objects.get_name("n", wait=True)),
        ]
        while not await space.variables():
            await asyncio.sleep(0)
        await depot.destroy()
        for task in tasks:
            with pytest.raises(entrepot.ClosedError):
                await asyncio.wait_for(task, 30)

    _run(main, tmp_path)


def test_the_wants_of_both_twins_are_the_same():
    assert core.CLAIM_ONE.claim
    assert core.FETCH_ONE.kind == core.CLAIM_ONE.kind != core.FIND_ONE.kind
