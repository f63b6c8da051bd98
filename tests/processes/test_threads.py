"""Many threads of one process use one depot at once.

Guaranteed: they do not wait for each other for ever, whatever grows meanwhile; nothing that
one stored is lost, doubled or torn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import entrepot
from entrepot import settings
from entrepot.engine import failpoints
from support.conditions import PATIENCE_S
from support.homes import Home

THREADS = 8


def in_threads(work: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """Run `work` in so many threads at once; return what each returned."""
    start = threading.Barrier(count)

    def run(thread: int) -> Any:
        start.wait(PATIENCE_S)
        return work(thread)

    with ThreadPoolExecutor(count) as pool:
        return [done.result(PATIENCE_S) for done in [pool.submit(run, n) for n in range(count)]]


def test_threads_put_and_get_small_and_large_values_while_all_grows(home: Home) -> None:
    with home.open("256M") as depot:

        def work(thread: int) -> None:
            chance = np.random.default_rng(thread)
            for number in range(60):
                size = (100, 12_000, 60_000, 600_000)[(thread + number) % 4]
                value = chance.integers(0, 256, size, np.uint8)
                id = depot.objects.put(value)
                assert np.array_equal(depot.objects.get(id), value)
                if number % 2:
                    depot.objects.delete(id)
                if number % 20 == 0:
                    depot.collect(trim=True)

        in_threads(work)
        assert depot.objects.count() == THREADS * 30
        assert depot.check() == []


def test_threads_fetch_each_value_once(home: Home) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")

        def work(thread: int) -> list[int]:
            for number in range(100):
                space.store("v", 1000 * thread + number)
            return [space.fetch("v", timeout=PATIENCE_S) for _ in range(100)]

        fetched = [value for values in in_threads(work) for value in values]
        assert sorted(fetched) == [1000 * t + n for t in range(THREADS) for n in range(100)]


def test_more_threads_than_a_process_has_readers_wait_their_turn(home: Home) -> None:
    with home.open("64M") as depot:
        id = depot.objects.put(7)

        def work(_: int) -> bool:
            return all(depot.objects.get(id) == 7 for _ in range(20))

        assert all(in_threads(work, 100))


def test_threads_that_open_and_close_the_same_depot_share_one_session(home: Home) -> None:
    with home.open("64M") as depot:

        def work(thread: int) -> int:
            for number in range(20):
                with home.open() as mine:
                    mine.objects.put((thread, number))
            return 0

        in_threads(work)
        assert len(depot.sessions()) == 1
        assert depot.objects.count() == THREADS * 20


def test_a_hundred_threads_that_wait_are_each_served(home: Home) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        with ThreadPoolExecutor(100) as pool:
            waits = [pool.submit(space.fetch, "v", timeout=PATIENCE_S) for _ in range(100)]
            for number in range(100):
                space.store("v", number)
            assert sorted(wait.result(PATIENCE_S) for wait in waits) == list(range(100))


def test_a_depot_closed_under_threads_that_wait_ends_their_waits_with_a_clear_error(
    home: Home,
) -> None:
    depot = home.open("64M")
    space = depot.space("s")

    def wait() -> str:
        try:
            space.fetch("v", timeout=PATIENCE_S)
        except entrepot.ClosedError as error:
            return str(error)
        return "no error"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        while not [variable for variable in space.variables() if variable.fetchers]:
            pass
        depot.close()
        assert "closed" in waiting.result(PATIENCE_S)


def test_the_arena_and_the_catalog_may_grow_at_the_same_time(home: Home) -> None:
    # Each needs the growth lock and the write lock: both must take them in the same order.
    with home.open("256M") as depot:
        engine = depot.attached.engine
        begun, caught = threading.Event(), threading.Event()

        def pause() -> None:
            failpoints.disarm()
            begun.set()
            caught.wait(0.5)  # the other thread comes as far as the locks let it

        def grow_the_arena() -> None:
            failpoints.arm("arena.reserved", pause)
            depot.objects.put(np.zeros(30_000_000, np.uint8))

        def grow_the_catalog() -> None:
            begun.wait(PATIENCE_S)
            depot.objects.put_many([bytes(15_000)] * 400)
            caught.set()

        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(grow_the_arena), pool.submit(grow_the_catalog)]:
                done.result(PATIENCE_S)
        assert engine.environment.env.info()["map_size"] > settings.CATALOG_BYTES_FIRST
        assert depot.objects.count() == 401
