"""The map of an LMDB engine grows while several threads and processes use it."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from entrepot import settings
from entrepot.engine.keys import Prefix
from entrepot.engine.lmdb import LmdbEngine
from entrepot.engine.protocol import Transaction
from entrepot.errors import OutOfMemoryError
from support.engines import fresh_lmdb, open_lmdb
from support.peers import Peer

THING = Prefix("thing")
VALUE_BYTES = 3000


@pytest.fixture
def engine() -> Iterator[LmdbEngine]:
    with fresh_lmdb(volatile=True) as engine:
        yield engine


def put(tx: Transaction, *elements: int) -> None:
    tx.put(THING.key(*elements), content(*elements))


def content(*elements: int) -> bytes:
    return random.Random(repr(elements)).randbytes(VALUE_BYTES)


def assert_all_there(engine: LmdbEngine, count: int) -> None:
    items = engine.read(lambda tx: tx.range(THING.begin, THING.end))
    assert len(items) == count
    for key, value in items:
        assert value == content(*THING.tail(key))  # type: ignore[arg-type] ints were put


def map_bytes(engine: LmdbEngine) -> int:
    return engine.environment.env.info()["map_size"]


def fill(engine: LmdbEngine) -> tuple[int, OutOfMemoryError]:
    """Put until there is no room; return how many were put."""
    for count in itertools.count():
        try:
            engine.write(put, count)
        except OutOfMemoryError as error:
            return count, error
    raise AssertionError("a map has no end")


def test_a_map_that_is_full_grows_and_nothing_is_lost(engine: LmdbEngine) -> None:
    for number in range(3000):
        engine.write(put, number)
    assert map_bytes(engine) > settings.CATALOG_BYTES_FIRST
    assert_all_there(engine, 3000)


def test_every_page_of_a_volatile_map_is_reserved(engine: LmdbEngine) -> None:
    for number in range(3000):
        engine.write(put, number)
    file = (engine.path / "data.mdb").stat()
    assert file.st_size == map_bytes(engine)
    assert file.st_blocks * 512 >= file.st_size


def test_one_transaction_larger_than_a_step_makes_the_map_grow_as_often_as_needed(
    engine: LmdbEngine,
) -> None:
    count = 4 * settings.CATALOG_BYTES_STEP_MIN // VALUE_BYTES

    def put_all(tx: Transaction) -> None:
        for number in range(count):
            put(tx, number)

    engine.write(put_all)
    assert_all_there(engine, count)


def test_threads_that_read_and_write_go_on_while_the_map_grows(engine: LmdbEngine) -> None:
    def write(thread: int) -> None:
        for number in range(700):
            engine.write(put, thread, number)
            assert engine.read(lambda tx: tx.get(THING.key(thread, number))) is not None  # noqa: B023 runs at once

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(write, thread) for thread in range(6)]:
            done.result(60)
    assert_all_there(engine, 6 * 700)


@pytest.mark.parametrize("seed", range(3))
def test_processes_that_open_write_and_grow_at_once_lose_nothing(seed: int) -> None:
    processes, opens, puts = 4, 12, 60

    def work(here: Any, root: Path, process: int) -> None:
        chance = random.Random(seed * processes + process)
        for opening in range(opens):
            with open_lmdb(root, volatile=True) as engine:
                for number in range(chance.randrange(2 * puts)):
                    engine.write(put, process, opening, number)
                    here.count += 1

    def begin(here: Any) -> None:
        here.count = 0

    with (
        fresh_lmdb(volatile=True) as engine,
        contextlib.ExitStack() as stack,
    ):
        peers = [stack.enter_context(Peer()) for _ in range(processes)]
        for peer in peers:
            peer.run(begin)
        working = [
            peer.begin(work, engine.path.parent, process) for process, peer in enumerate(peers)
        ]
        for asked in working:
            asked.result()
        assert_all_there(engine, sum(peer.run(lambda here: here.count) for peer in peers))
        assert map_bytes(engine) > settings.CATALOG_BYTES_FIRST


def test_a_map_grows_no_further_than_its_bound() -> None:
    bound = 3 * settings.CATALOG_BYTES_FIRST
    with fresh_lmdb(volatile=True, bytes_max=bound) as engine:
        count, error = fill(engine)
        assert str(bound) in str(error)
        assert_all_there(engine, count)
        assert (engine.path / "data.mdb").stat().st_size <= bound
        assert count * VALUE_BYTES > bound // 2, "most of it was used before it was full"


def test_a_full_map_lets_values_be_deleted_and_put_again() -> None:
    with fresh_lmdb(volatile=True, bytes_max=2 * settings.CATALOG_BYTES_FIRST) as engine:
        for _ in range(3):
            count, _ = fill(engine)
            for number in range(count):
                engine.write(lambda tx: tx.delete(THING.key(number)))  # noqa: B023 runs at once
            assert_all_there(engine, 0)


def test_a_growth_that_was_killed_half_way_is_made_again(engine: LmdbEngine) -> None:
    def die_growing(here: Any, root: Path) -> None:
        from entrepot.engine import failpoints

        failpoints.arm("engine.growing")
        with open_lmdb(root, volatile=True) as mine:
            for number in range(10_000):
                mine.write(put, here.pid, number)

    with Peer() as peer:
        peer.begin(die_growing, engine.path.parent)
        peer.wait_for_death()
    items = engine.read(lambda tx: tx.range(THING.begin, THING.end))
    for number in range(2000):
        engine.write(put, number)
    assert_all_there(engine, len(items) + 2000)
