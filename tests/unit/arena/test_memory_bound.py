"""The `memory` setting bounds catalog and arena together, and says clearly when it is reached."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot.arena.region import Region, copy_into
from support.homes import Home
from support.peers import Peer

MIB = 1 << 20


def fill(depot: entrepot.Depot, size: int) -> tuple[list[entrepot.ObjectId], str]:
    """Put until there is no room; return the ids and what the error says."""
    ids: list[entrepot.ObjectId] = []
    try:
        while True:
            ids.append(depot.objects.put(np.full(size, len(ids) % 251, np.uint8)))
    except entrepot.OutOfMemoryError as error:
        return ids, str(error)


def taken_bytes(home: Home) -> int:
    """Return how much memory the depot's files take, as the system counts it."""
    return sum(
        path.stat().st_blocks * 512
        for path in home.path.rglob("*")
        if path.name in ("arena", "data.mdb", "spare")
    )


@pytest.mark.parametrize("size", [1_000, 15_000, 50_000, 1_000_000, 7_000_000])
@pytest.mark.parametrize("memory", ["16M", "40M"])
def test_a_depot_takes_no_more_memory_than_it_may(home: Home, memory: str, size: int) -> None:
    with home.open(memory) as depot:
        bound = int(memory[:-1]) * MIB
        ids, _ = fill(depot, size)
        assert taken_bytes(home) <= bound
        # Some is left for the catalog to grow into, and small values take a page or more.
        assert len(ids) * max(size, 2000) > bound * 0.3
        for number, id in enumerate(ids):
            assert (depot.objects.get(id) == number % 251).all()
        assert depot.check() == []


def test_a_mixture_of_sizes_stays_within_the_bound_and_goes_on_after_deletes(home: Home) -> None:
    with home.open("32M") as depot:
        for _ in range(3):
            ids: list[entrepot.ObjectId] = []
            for size in (2_000_000, 10_000, 60_000, 300):
                ids += fill(depot, size)[0]
            assert taken_bytes(home) <= 32 * MIB
            for id in ids:
                depot.objects.delete(id)
        depot.collect()
        assert depot.statistics().arena.used == 0
        assert depot.check() == []


def test_the_error_says_how_much_is_held_by_whom(home: Home, peers: Callable[..., Peer]) -> None:
    with home.open("32M") as depot:
        looker = peers()

        def look(here: Any) -> None:
            id = here.depot.objects.put(np.zeros(5_000_000, np.uint8))
            here.seen = here.depot.objects.get(id)
            here.depot.objects.delete(id)

        looker.run(look)
        ids, error = fill(depot, 1_000_000)
        assert f"process {looker.pid}" in error
        assert "5000000 looked at" in error
        assert f"of {32 * MIB} bytes" in error
        assert f"in {len(ids)} blobs" in error
        looker.kill()
        more, _ = fill(depot, 1_000_000)
        assert len(more) >= 4, "what the dead looked at was found when memory was needed"


def test_a_value_larger_than_the_arena_is_refused_at_once(home: Home) -> None:
    with home.open("16M") as depot:
        with pytest.raises(entrepot.OutOfMemoryError, match="no room for 20000000 bytes"):
            depot.objects.put(np.zeros(20_000_000, np.uint8))
        assert depot.objects.count() == 0
        assert (depot.objects.get(depot.objects.put(np.ones(2_000_000, np.uint8))) == 1).all()


def test_a_full_arena_takes_a_value_when_a_view_of_a_deleted_one_is_dropped(home: Home) -> None:
    with home.open("32M") as depot:
        ids, _ = fill(depot, 2_000_000)
        seen = depot.objects.get(ids[0])
        depot.objects.delete(ids[0])
        with pytest.raises(entrepot.OutOfMemoryError, match="2000000 deleted"):
            depot.objects.put(np.zeros(2_000_000, np.uint8))
        del seen
        gc.collect()
        depot.objects.put(np.zeros(2_000_000, np.uint8))


@pytest.mark.parametrize("size", [0, 1, 4095, 4097, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 50 * MIB])
def test_large_copies_in_threads_copy_every_byte(size: int) -> None:
    source = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    target = np.zeros(size, np.uint8)
    copy_into(memoryview(target), memoryview(source))
    assert np.array_equal(target, source)


def test_a_region_of_another_length_is_refused(tmp_path: Any) -> None:
    region = Region(tmp_path / "arena", MIB)
    region.close()
    assert (tmp_path / "arena").stat().st_size == 2 * MIB
    with pytest.raises(entrepot.CorruptError, match=r"arena is 2097152 bytes long"):
        Region(tmp_path / "arena", 2 * MIB)
    os.truncate(tmp_path / "arena", MIB)
    with pytest.raises(entrepot.CorruptError, match="should be 2097152"):
        Region(tmp_path / "arena", MIB)


def test_a_region_that_the_machine_has_no_room_for_is_a_clear_error(tmp_path: Any) -> None:
    size = 1 << 46
    try:
        region = Region(tmp_path / "arena", size)
    except OSError:
        pytest.skip("this file system has no such large files")
    try:
        with pytest.raises(entrepot.OutOfMemoryError, match="cannot reserve"):
            region.reserve(0, size)
    finally:
        region.close()
