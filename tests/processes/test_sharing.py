"""Two and more processes share one depot.

Guaranteed:

1. What one process has put or stored, another one can get, find or fetch at once.
2. Each value is fetched by exactly one process, whoever else asks.
3. A process that waits is woken by the commit that it waits for: no wake-up is lost.
4. Those who wait are served in the order in which they came, across processes.
5. What a process looks at does not change while it looks, whatever others delete.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import entrepot
from support.conditions import PATIENCE_S, is_in_futex, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]
NOTICED_AT_ONCE_S = 0.8
"""A wait that missed its wake-up is rescued after a slice of a second: later than this."""


def fetchers(depot: entrepot.Depot, variable: str = "v") -> int:
    """Return how many wait to fetch."""
    infos = depot.space("s").variables()
    return sum(info.fetchers for info in infos if info.name == variable)


@pytest.mark.parametrize("size", [8, 20_000, 50_000, 500_000, 20_000_000])
def test_an_array_that_one_process_puts_another_one_gets(
    home: Home, peers: Start, size: int
) -> None:
    with home.open("64M") as depot:
        id = peers().run(
            lambda here, size: int(here.depot.objects.put(np.arange(size, dtype=np.uint8))), size
        )
        assert np.array_equal(depot.objects.get(id), np.arange(size, dtype=np.uint8))


def test_a_view_keeps_its_bytes_when_another_process_deletes_the_object(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        id = depot.objects.put(np.full(1_000_000, 7, np.uint8))
        seen = depot.objects.get(id)

        def replace(here: Any) -> None:
            here.depot.objects.delete(id)
            for number in range(100):
                here.depot.objects.delete(
                    here.depot.objects.put(np.full(1_000_000, number, np.uint8))
                )

        peers().run(replace)
        assert (seen == 7).all()
        assert depot.statistics().arena.pinned == 1_000_000
        del seen
        depot.collect()
        assert depot.statistics().arena.limbo == 0


def test_a_process_that_waits_for_a_name_gets_it_when_another_one_gives_it(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        waiter = peers()
        asked = waiter.begin(
            lambda here: int(here.depot.objects.get_name("n", wait=True, timeout=60))
        )
        wait_until(lambda: is_in_futex(waiter.pid), "the peer waits")
        id = depot.objects.put(1, name="n")
        assert asked.result() == id


def test_four_processes_fetch_every_value_exactly_once(home: Home, peers: Start) -> None:
    count = 400

    def fetch_until_told(here: Any) -> list[int]:
        found: list[int] = []
        space = here.depot.space("s")
        while (value := space.fetch("v", timeout=60)) is not None:
            found.append(value)
        return found

    with home.open("64M") as depot:
        fetching = [peers().begin(fetch_until_told) for _ in range(4)]
        space = depot.space("s")
        for number in range(count):
            space.store("v", number)
        for _ in fetching:
            space.store("v", None)
        found = [asked.result() for asked in fetching]
    assert sorted(value for values in found for value in values) == list(range(count))
    assert all(values == sorted(values) for values in found), "each sees them in order"


def test_those_who_wait_are_served_in_the_order_in_which_they_came(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        waiting = []
        for number in range(4):
            waiting.append(peers().begin(lambda here: here.depot.space("s").fetch("v")))
            wait_until(lambda n=number: fetchers(depot) == n + 1, "the peer waits")
        for number in range(4):
            depot.space("s").store("v", number)
        assert [asked.result() for asked in waiting] == [0, 1, 2, 3]


def test_a_value_that_is_found_by_all_who_wait_is_fetched_by_one(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        finding = [peers().begin(lambda here: here.depot.space("s").find("v")) for _ in range(2)]
        fetching = peers().begin(lambda here: here.depot.space("s").fetch("v"))
        wait_until(
            lambda: [(v.finders, v.fetchers) for v in space.variables()] == [(2, 1)], "they wait"
        )
        space.store("v", "x")
        assert [asked.result() for asked in [*finding, fetching]] == ["x"] * 3
        assert space.try_find("v") is None


def test_two_processes_that_answer_each_other_miss_no_wake_up(home: Home, peers: Start) -> None:
    rounds = 1000

    def answer(here: Any) -> None:
        space = here.depot.space("s")
        for number in range(rounds):
            assert space.fetch("ping", timeout=60) == number
            space.store("pong", number)

    late = 0
    with home.open("64M") as depot:
        space = depot.space("s")
        asked = peers().begin(answer)
        for number in range(rounds):
            begun = time.monotonic()
            space.store("ping", number)
            assert space.fetch("pong", timeout=PATIENCE_S) == number
            late += time.monotonic() - begun > NOTICED_AT_ONCE_S
        asked.result()
    # A busy machine may hold up one; a lost wake-up would be late in many of the rounds.
    assert late <= rounds // 100


def test_a_hundred_waiters_in_four_processes_each_get_one_value(home: Home, peers: Start) -> None:
    def wait_in_threads(here: Any) -> list[int]:
        from concurrent.futures import ThreadPoolExecutor

        space = here.depot.space("s")
        with ThreadPoolExecutor(25) as pool:
            waits = [pool.submit(space.fetch, "v", timeout=60) for _ in range(25)]
            return [wait.result() for wait in waits]

    with home.open("64M") as depot:
        waiting = [peers().begin(wait_in_threads) for _ in range(4)]
        wait_until(lambda: fetchers(depot) == 100, "all wait")
        for number in range(100):
            depot.space("s").store("v", number)
        found = [value for asked in waiting for value in asked.result()]
    assert sorted(found) == list(range(100))


def test_what_was_stored_is_there_when_the_process_that_stored_it_has_ended(
    home: Home, peers: Start
) -> None:
    with Peer(home) as peer:
        peer.run(lambda here: here.depot.space("s").store("v", 1))
        peer.run(lambda here: int(here.depot.objects.put(2, name="two")))
    with home.open() as depot:
        assert depot.space("s").fetch("v") == 1
        assert depot.objects.get(name="two") == 2


def test_a_depot_that_holds_nothing_is_gone_when_its_last_process_closes_it(
    home: Home, peers: Start
) -> None:
    depot = home.open("64M")
    peer = peers()
    id = depot.objects.put(np.zeros(100_000, np.uint8))
    depot.close()
    assert home.path.exists()
    peer.run(lambda here: here.depot.objects.delete(id))
    peer.run(lambda here: here.depot.close())
    assert not home.path.exists()
    assert [path.name for path in home.root.iterdir()] in ([], [".lock"])


def test_a_depot_that_holds_something_is_there_when_its_last_process_closed_it(
    home: Home,
) -> None:
    with home.open("64M") as depot:
        id = depot.objects.put("kept")
    with home.open() as depot:
        assert depot.objects.get(id) == "kept"


def test_processes_that_open_and_close_at_once_neither_fail_nor_lose_the_depot(
    home: Home, peers: Start
) -> None:
    def come_and_go(here: Any, name: str, root: Any, data: Any) -> int:
        for number in range(30):
            with entrepot.open(name, directory=root, data_directory=data, memory="64M") as depot:
                depot.objects.delete(depot.objects.put(number))
        return 30

    coming = [
        peers(opens=False).begin(come_and_go, home.name, home.root, home.data) for _ in range(3)
    ]
    assert [asked.result() for asked in coming] == [30, 30, 30]
