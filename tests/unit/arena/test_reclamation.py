"""Deleted memory is reused, and never while somebody may still look at it.

Real processes read objects and check every byte, with pauses, while others replace them as
fast as they can in an arena so small that each extent is reused at once. (Without pins the
same load showed a thousand torn reads in ten seconds.)
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import entrepot
from entrepot.arena import extents, writers
from entrepot.arena.bulk import Ref
from support.homes import Home, assert_sound
from support.peers import Peer

READERS, WRITERS = 3, 2
READS, REPLACEMENTS = 3000, 1500
NAMES = [f"object {number}" for number in range(8)]
SIZES = (20_000, 100_000, 150_000, 400_000)


def block(number: int) -> np.ndarray[Any, Any]:
    """Return bytes that are all alike; the first eight tell which."""
    value = np.full(SIZES[number % len(SIZES)], number % 251, np.uint8)
    value[:8] = np.frombuffer(number.to_bytes(8, "little"), np.uint8)
    return value


def is_whole(value: np.ndarray[Any, Any]) -> bool:
    number = int.from_bytes(bytes(value[:8]), "little")
    return len(value) == SIZES[number % len(SIZES)] and bool((value[8:] == number % 251).all())


def read_and_check(here: Any, seed: int) -> tuple[int, int]:
    """Return how many reads were torn, at once or after a while, and how many were missed."""
    chance = random.Random(seed)
    torn = missed = 0
    kept: list[np.ndarray[Any, Any]] = []
    for _ in range(READS):
        try:
            value = here.depot.objects.get(name=chance.choice(NAMES))
        except entrepot.NotFoundError:
            missed += 1
            continue
        torn += not is_whole(value)
        kept.append(value[:])
        if len(kept) > 20:
            torn += not is_whole(kept.pop(chance.randrange(20)))
    torn += sum(not is_whole(value) for value in kept)
    return torn, missed


def replace(here: Any, seed: int) -> int:
    chance = random.Random(seed)
    objects = here.depot.objects
    for number in range(REPLACEMENTS):
        name = chance.choice(NAMES)
        new = objects.put(block(seed * REPLACEMENTS + number))
        try:
            old = objects.get_name(name)
        except entrepot.NotFoundError:
            old = None
        objects.put_name(name, new)
        if old is not None:
            objects.delete(old, force=True)
    return REPLACEMENTS


def test_no_reader_sees_reused_memory_while_writers_replace_everything(
    home: Home, peers: Callable[..., Peer], chance: random.Random
) -> None:
    with home.open("24M") as depot:
        for number, name in enumerate(NAMES):
            depot.objects.put(block(number), name=name)
        writing = [peers().begin(replace, n + 1) for n in range(WRITERS)]
        reading = [peers().begin(read_and_check, chance.getrandbits(32)) for _ in range(READERS)]
        assert [asked.result() for asked in writing] == [REPLACEMENTS] * WRITERS
        results = [asked.result() for asked in reading]
        assert sum(torn for torn, _ in results) == 0, results
        assert sum(missed for _, missed in results) < READERS * READS // 2
        # Two writers may have replaced the same object at once: those have no name now.
        named = set(depot.objects.names().values())
        depot.objects.delete([o.id for o in depot.objects.list() if o.id not in named])


def test_put_delete_put_uses_the_same_memory(home: Home) -> None:
    with home.open("64M") as depot:
        for number in range(200):
            id = depot.objects.put(np.full(3_000_000, number, np.uint8))
            assert depot.objects.delete(id) == 1
        assert depot.statistics().arena.reserved <= 16 << 20


def test_memory_that_is_looked_at_is_not_reused_and_other_memory_is(home: Home) -> None:
    with home.open("64M") as depot:
        ids = [depot.objects.put(np.full(1_000_000, n, np.uint8)) for n in range(10)]
        seen = depot.objects.get(ids[4])
        depot.objects.delete(ids)
        for number in range(100):
            depot.objects.delete(depot.objects.put(np.full(1_000_000, 100 + number, np.uint8)))
        assert (seen == 4).all()
        assert depot.statistics().arena.reserved <= 16 << 20
        del seen
        assert_sound(depot)


def test_a_read_transaction_that_is_open_keeps_what_it_may_see(home: Home) -> None:
    with home.open("64M") as depot:
        id = depot.objects.put(np.full(1_000_000, 7, np.uint8))
        arena, engine = depot.attached.arena, depot.attached.engine

        def delete_meanwhile(tx: Any) -> int:
            import threading

            thread = threading.Thread(target=lambda: depot.objects.delete(id))
            thread.start()
            thread.join()
            return arena.reclaim()

        assert engine.read(delete_meanwhile) == 0, "this snapshot still sees it"
        assert arena.reclaim() == 1_000_000


def test_trim_returns_the_free_end_to_the_system_and_it_can_be_taken_again(home: Home) -> None:
    with home.open("256M") as depot:
        first = depot.objects.put(np.ones(1_000_000, np.uint8))
        second = depot.objects.put(np.ones(100_000_000, np.uint8))
        depot.objects.delete(second)
        before = depot.statistics().memory_used
        assert depot.collect(trim=True).trimmed_bytes >= 100_000_000
        assert depot.statistics().memory_used <= before - 100_000_000
        assert (depot.objects.get(first) == 1).all()
        third = depot.objects.put(np.full(100_000_000, 3, np.uint8))
        assert (depot.objects.get(third) == 3).all()
        assert depot.check() == []


def test_trim_while_others_put_loses_nothing(home: Home, peers: Callable[..., Peer]) -> None:
    def put_and_check(here: Any, seed: int) -> bool:
        for number in range(150):
            value = block(seed * 1000 + number)
            id = here.depot.objects.put(np.tile(value, 1 + number % 9))
            assert is_whole(here.depot.objects.get(id)[: len(value)])
            if number % 10:
                here.depot.objects.delete(id)
        return True

    with home.open("256M") as depot:
        putting = [peers().begin(put_and_check, n) for n in range(3)]
        while not all(asked.is_done() for asked in putting):
            depot.collect(trim=True)
        assert all(asked.result() for asked in putting)
        assert depot.check() == []


def put_and_delete(depot: entrepot.Depot, size: int) -> int:
    """Return where a blob of this size was."""
    arena, engine = depot.attached.arena, depot.attached.engine
    with arena.draft([memoryview(bytes(size))]) as draft:
        engine.write(arena.seal, draft)
    engine.write(arena.release, draft.ref)
    return draft.ref.at


def test_the_next_blob_goes_where_one_of_its_size_went_last(home: Home) -> None:
    with home.open("64M") as depot:
        arena, engine = depot.attached.arena, depot.attached.engine
        first = put_and_delete(depot, 1 << 20)
        top = engine.read(extents.get_state).top
        for _ in range(50):
            assert put_and_delete(depot, 1 << 20) == first
        assert engine.read(extents.get_state).top == top
        view = engine.read(arena.view, Ref(first, 1 << 20))
        second = put_and_delete(depot, 1 << 20)
        assert second != first, "it is looked at"
        del view
        assert {put_and_delete(depot, 1 << 20) for _ in range(3)} <= {first, second}
        assert_sound(depot)


def test_where_a_living_writer_may_write_no_blob_of_its_size_goes(home: Home) -> None:
    with home.open("64M") as depot, Peer(home) as peer:
        engine = depot.attached.engine
        first = put_and_delete(depot, 1 << 20)
        pid = peer.begin(own_pid).result()

        def guard(tx: Any) -> None:
            began = writers._began(pid)
            assert began is not None
            writers.guard(tx, first, [(pid, began)])

        engine.write(guard)
        assert put_and_delete(depot, 1 << 20) != first
        peer.kill()
        assert first in {put_and_delete(depot, 1 << 20) for _ in range(3)}
        assert engine.read(writers.guards) == {}
        assert_sound(depot)


def own_pid(here: Any) -> int:
    return os.getpid()
