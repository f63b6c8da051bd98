"""The arena through its own methods: drafts, users, what is reused, and what `check` notices."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import settings
from entrepot.arena import Arena, Ref, extents
from entrepot.arena.arena import BLOB
from entrepot.arena.region import copy_into
from entrepot.engine.held import HELD
from entrepot.engine.keys import pack_int
from entrepot.engine.protocol import Transaction
from support.homes import Home

MIB = 1 << 20
SIZES = [1, 63, 64, 65, 20_000, settings.CHUNK_PIECE_BYTES_MAX, settings.CHUNK_PIECE_BYTES_MAX + 1]


@pytest.fixture
def depot(home: Home) -> Iterator[entrepot.Depot]:
    with home.open("64M") as depot:
        yield depot


@pytest.fixture
def arena(depot: entrepot.Depot) -> Arena:
    return depot.attached.arena


def block(size: int, number: int = 0) -> np.ndarray[Any, Any]:
    return np.full(size, number, np.uint8)


def store(depot: entrepot.Depot, *buffers: bytes) -> Ref:
    """Seal a blob that no object refers to."""
    arena, engine = depot.attached.arena, depot.attached.engine
    with arena.draft([memoryview(buffer) for buffer in buffers]) as draft:
        engine.write(arena.seal, draft)
    return draft.ref


def look(depot: entrepot.Depot, ref: Ref) -> memoryview:
    return depot.attached.engine.read(depot.attached.arena.view, ref)


def change(depot: entrepot.Depot, method: Callable[..., Any], ref: Ref, *arguments: Any) -> Any:
    return depot.attached.engine.write(method, ref, *arguments)


# Drafts.


@pytest.mark.parametrize("size", SIZES)
def test_a_sealed_blob_shows_its_buffers_each_at_a_multiple_of_64(
    depot: entrepot.Depot, arena: Arena, size: int
) -> None:
    buffers = [bytes([n + 1]) * (size + n) for n in range(3)]
    ref = store(depot, *buffers)
    view = look(depot, ref)
    assert len(view) == ref.size == sum(-(-len(buffer) // 64) * 64 for buffer in buffers)
    assert ref.at % 64 == 0
    at = 0
    for buffer in buffers:
        assert view[at : at + len(buffer)] == buffer
        at += -(-len(buffer) // 64) * 64
    assert view.readonly
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 1
    del view
    change(depot, arena.release, ref)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_draft_whose_block_raises_is_given_back(
    depot: entrepot.Depot, arena: Arena, size: int, error: type[BaseException]
) -> None:
    def fail() -> None:
        with arena.draft([memoryview(bytes(size))]):
            raise error

    for _ in range(3):
        with pytest.raises(error):
            fail()
        arena.drop_chunks()
        held = depot.statistics().arena
        assert (held.used, held.unsealed, held.limbo, held.blobs) == (0, 0, 0, 0)
        assert depot.check() == []


def test_a_draft_whose_transaction_raises_leaves_no_blob(
    depot: entrepot.Depot, arena: Arena
) -> None:
    def seal_and_fail(tx: Transaction, draft: Any) -> None:
        arena.seal(tx, draft)
        raise ValueError("on purpose")

    def fail() -> None:
        with arena.draft([memoryview(bytes(500_000))]) as draft:
            depot.attached.engine.write(seal_and_fail, draft)

    with pytest.raises(ValueError, match="on purpose"):
        fail()
    held = depot.statistics().arena
    assert (held.used, held.unsealed, held.blobs) == (0, 0, 0)
    assert depot.check() == []


def test_drafts_inside_each_other_do_not_touch(depot: entrepot.Depot, arena: Arena) -> None:
    write = depot.attached.engine.write
    for size in (20_000, 300_000):
        with arena.draft([memoryview(block(size, 1))]) as outer:
            with arena.draft([memoryview(block(size, 2))]) as inner:
                write(arena.seal, inner)
            write(arena.seal, outer)
        assert set(look(depot, outer.ref)[:size]) == {1}
        assert set(look(depot, inner.ref)[:size]) == {2}
        assert depot.check() == []
        change(depot, arena.release, outer.ref)
        change(depot, arena.release, inner.ref)


# Users.


def test_a_blob_goes_with_its_last_user(depot: entrepot.Depot, arena: Arena) -> None:
    ref = store(depot, b"x" * 200_000)
    assert change(depot, arena.users, ref) == 1
    change(depot, arena.retain, ref)
    change(depot, arena.retain, ref, 3)
    assert change(depot, arena.users, ref) == 5
    for left in (4, 3, 2, 1):
        change(depot, arena.release, ref)
        assert change(depot, arena.users, ref) == left
        assert depot.statistics().arena.blobs == 1
    change(depot, arena.release, ref)
    held = depot.statistics().arena
    assert (held.blobs, held.used, held.limbo) == (0, 0, ref.size)
    assert depot.check() == []


@pytest.mark.parametrize("what", ["retain", "release"])
def test_a_blob_that_is_gone_has_no_users_to_change(
    depot: entrepot.Depot, arena: Arena, what: str
) -> None:
    ref = store(depot, b"x" * 200_000)
    change(depot, arena.release, ref)
    with pytest.raises(entrepot.NotFoundError, match=f"no blob at {ref.at}"):
        change(depot, getattr(arena, what), ref)
    assert change(depot, arena.users, ref) == 0
    assert depot.check() == []


def test_the_pins_of_a_blob_count_sessions_not_views(depot: entrepot.Depot, arena: Arena) -> None:
    ref = store(depot, b"x" * 200_000)
    pins_of = depot.attached.engine.read
    assert pins_of(arena.pins_of, ref) == 0
    views = [look(depot, ref) for _ in range(3)]
    assert pins_of(arena.pins_of, ref) == 1
    assert depot.statistics().arena.pinned == ref.size
    del views
    assert pins_of(arena.pins_of, ref) == 0
    change(depot, arena.release, ref)


# What is reused.


@pytest.mark.parametrize("size", [20_000, 130_000, 3_000_000])
def test_memory_is_written_again_where_a_deleted_value_was(
    depot: entrepot.Depot, size: int
) -> None:
    places: set[int] = set()
    for number in range(100):
        id = depot.objects.put(block(size, number))
        places.add(depot.objects.get(id).ctypes.data)
        assert depot.objects.delete(id) == 1
    # Small values walk through their chunk, and then through the same one again.
    assert len(places) <= 2 * settings.CHUNK_BYTES // size + 2


def test_deleted_bytes_stay_as_they_are_while_a_view_lives_and_are_reused_then(
    depot: entrepot.Depot,
) -> None:
    id = depot.objects.put(block(2_000_000, 7))
    seen = depot.objects.get(id)
    place = seen.ctypes.data
    depot.objects.delete(id)
    elsewhere = depot.objects.get(depot.objects.put(block(2_000_000, 8)))
    assert elsewhere.ctypes.data != place
    assert (seen == 7).all()
    del seen
    gc.collect()
    assert depot.objects.get(depot.objects.put(block(2_000_000, 9))).ctypes.data == place


def test_a_process_gets_views_again_when_some_of_512_are_gone(depot: entrepot.Depot) -> None:
    id = depot.objects.put(block(20_000, 7))
    place = depot.objects.get(id).ctypes.data
    views = [depot.objects.get(id) for _ in range(settings.PINS_PER_SESSION)]
    assert {view.ctypes.data for view in views} == {place}
    assert depot.objects.get(id).ctypes.data != place, "the 513th is a copy"
    views.pop()
    gc.collect()
    assert depot.objects.get(id).ctypes.data == place


def test_trim_leaves_what_is_used_deleted_or_looked_at(depot: entrepot.Depot) -> None:
    ids = [depot.objects.put(block(2_000_000, number)) for number in range(8)]
    kept, seen = depot.objects.get(ids[3]), depot.objects.get(ids[5])
    depot.objects.delete(ids[4:])
    collected = depot.collect(trim=True)
    assert collected.reclaimed_bytes == 3 * 2_000_000
    assert collected.trimmed_bytes > 0
    assert (kept == 3).all()
    assert (seen == 5).all()
    assert all((depot.objects.get(id) == number).all() for number, id in enumerate(ids[:4]))
    before = depot.statistics().memory_used
    del seen
    gc.collect()
    assert depot.collect(trim=True).trimmed_bytes == 2 * 2_000_000
    assert depot.statistics().memory_used <= before - 2 * 2_000_000 + 2 * 4096
    assert depot.collect(trim=True).trimmed_bytes == 0
    assert depot.check() == []


def test_any_mixture_of_puts_deletes_views_and_trims_keeps_every_byte(
    depot: entrepot.Depot, chance: random.Random
) -> None:
    stored: dict[entrepot.ObjectId, int] = {}
    seen: list[tuple[np.ndarray[Any, Any], int]] = []
    source = np.random.default_rng(chance.getrandbits(32)).integers(0, 256, 2_000_000, np.uint8)
    for _ in range(600):
        what = chance.random()
        if what < 0.45 or not stored:
            begin = chance.randrange(1_000_000)
            value = source[begin : begin + int(20_000 * 40 ** chance.random())]
            stored[depot.objects.put(value)] = zlib.crc32(value)
        elif what < 0.65:
            id = chance.choice(list(stored))
            seen.append((depot.objects.get(id), stored[id]))
        elif what < 0.98:
            id = chance.choice(list(stored))
            del stored[id]
            assert depot.objects.delete(id) == 1
        else:
            depot.collect(trim=True)
        while len(seen) > 20 or len(stored) > 30:
            if len(seen) > 20:
                value, crc = seen.pop(chance.randrange(len(seen)))
                assert zlib.crc32(value) == crc
            if len(stored) > 30:
                depot.objects.delete(stored.popitem()[0])
    assert all(zlib.crc32(depot.objects.get(id)) == crc for id, crc in stored.items())
    assert all(zlib.crc32(value) == crc for value, crc in seen)
    assert depot.check() == []
    assert depot.statistics().memory_used <= 64 * MIB


# The bound.


def test_a_full_depot_names_this_process_and_goes_on_after_a_delete(
    depot: entrepot.Depot, arena: Arena
) -> None:
    ids: list[entrepot.ObjectId] = []
    seen: list[np.ndarray[Any, Any]] = []

    def fill() -> None:
        while True:
            ids.append(depot.objects.put(block(1_000_000, len(ids) % 251)))
            if len(seen) < 3:
                seen.append(depot.objects.get(ids[-1]))

    with arena.draft([memoryview(bytes(200_000))]) as draft:
        with pytest.raises(entrepot.OutOfMemoryError) as caught:
            fill()
        depot.attached.engine.write(arena.seal, draft)
    told = str(caught.value)
    assert f"of {64 * MIB} bytes, {8 * MIB} are kept for the catalog" in told
    assert f"{len(ids) * 1_000_000} are in {len(ids)} blobs" in told
    assert f"process {os.getpid()} " in told
    assert "3000000 looked at, 200000 being written" in told
    assert isinstance(caught.value, MemoryError)
    assert depot.statistics().memory_used <= 64 * MIB
    assert depot.check() == []
    depot.objects.delete(ids[10:12])
    assert (depot.objects.get(depot.objects.put(block(1_000_000, 9))) == 9).all()
    assert [int(view[0]) for view in seen] == [0, 1, 2]
    change(depot, arena.release, draft.ref)
    assert depot.check() == []


@pytest.mark.parametrize("size", [300, 16_000, 17_000, 100_000, 900_000])
def test_catalog_and_arena_together_stay_within_the_bound(depot: entrepot.Depot, size: int) -> None:
    ids: list[entrepot.ObjectId] = []

    def fill() -> None:
        while True:
            ids.extend(depot.objects.put_many([block(size, len(ids) % 251)] * 5))

    for _ in range(2):
        with pytest.raises(entrepot.OutOfMemoryError):
            fill()
        statistics = depot.statistics()
        assert statistics.memory_used <= statistics.memory_max == 64 * MIB
        assert statistics.objects == len(ids), "what was refused left nothing behind"
        assert depot.check() == []
        for _ in range(len(ids) // 200 + 1):
            depot.objects.delete([ids.pop() for _ in range(min(100, len(ids)))])
    depot.objects.delete(ids)
    depot.collect()
    assert depot.statistics().arena.used == 0


def test_a_delete_of_many_works_in_a_catalog_that_is_full_for_the_second_time(
    depot: entrepot.Depot,
) -> None:
    ids: list[entrepot.ObjectId] = []

    def fill() -> None:
        while True:
            ids.extend(depot.objects.put_many([block(16_000)] * 5))

    for _ in range(2):
        with contextlib.suppress(entrepot.OutOfMemoryError):
            fill()
        depot.objects.delete([ids.pop() for _ in range(len(ids) // 2)])


# Copies.


def test_large_values_of_several_threads_do_not_mix(depot: entrepot.Depot) -> None:
    size = settings.PARALLEL_COPY_BYTES_MIN // 2

    def put_and_get(number: int) -> bool:
        for _ in range(3):
            id = depot.objects.put(block(size + number, number))
            is_whole = bool((depot.objects.get(id) == number).all())
            depot.objects.delete(id)
            if not is_whole:
                return False
        return True

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(put_and_get, range(1, 4)))


def test_parallel_copies_at_once_copy_every_byte() -> None:
    size = settings.PARALLEL_COPY_BYTES_MIN + 4097

    def copy(seed: int) -> bool:
        source = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
        target = np.zeros(size, np.uint8)
        copy_into(memoryview(target), memoryview(source))
        return np.array_equal(target, source)

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(copy, range(6)))


def test_a_copy_of_another_length_is_refused() -> None:
    for size in (10, settings.PARALLEL_COPY_BYTES_MIN):
        with pytest.raises(ValueError):  # noqa: PT011 the words are Python's, or numpy's
            copy_into(memoryview(bytearray(size - 1)), memoryview(bytes(size)))


# Damage.


def delete_blob(tx: Transaction, ref: Ref) -> None:
    assert tx.delete(BLOB.int(ref.at))


def lose_a_free_extent(tx: Transaction, ref: Ref) -> None:
    offset, _ = extents.free_extents(tx)[0]
    assert tx.delete(extents.FREE_AT.int(offset))


def free_a_blob(tx: Transaction, ref: Ref) -> None:
    extents.free(tx, ref.at, ref.size)


def free_half_a_blob(tx: Transaction, ref: Ref) -> None:
    extents.free(tx, ref.at + 64, 64)


def delete_a_blob_twice(tx: Transaction, ref: Ref) -> None:
    extents.add_limbo(tx, ref.at, ref.size)


def lose_a_chunk(tx: Transaction, ref: Ref) -> None:
    for key, _ in tx.range(HELD.begin, HELD.end):
        assert tx.delete(key)


def count_a_blob_that_is_not(tx: Transaction, ref: Ref) -> None:
    extents.count_blob(tx, 64, 1)


def raise_the_top(tx: Transaction, ref: Ref) -> None:
    state = extents.get_state(tx)
    state.top += 64
    extents.put_state(tx, state)


def lose_limbo(tx: Transaction, ref: Ref) -> None:
    for version, offset, _ in extents.limbo(tx):
        assert tx.delete(extents.LIMBO.int(version) + pack_int(offset))


DAMAGE: dict[str, tuple[Callable[[Transaction, Ref], None], str]] = {
    "a blob without its key": (delete_blob, "bytes are lost between"),
    "a free extent that is not listed": (lose_a_free_extent, "bytes are lost between"),
    "a blob that is free": (free_a_blob, "bytes overlap between"),
    "a part of a blob that is free": (free_half_a_blob, "bytes overlap between"),
    "a blob that is in limbo": (delete_a_blob_twice, "overlap between"),
    "a chunk that nobody holds": (lose_a_chunk, "bytes are lost|the top is"),
    "a count that is wrong": (count_a_blob_that_is_not, "counted are"),
    "a top that is wrong": (raise_the_top, "the top is"),
    "limbo that is not listed": (lose_limbo, "bytes are lost|the top is"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_check_notices_damage_that_was_planted(
    depot: entrepot.Depot, home: Home, what: str
) -> None:
    ids = [depot.objects.put(block(200_000, number)) for number in range(6)]
    small = depot.objects.put(block(20_000))
    depot.objects.delete(ids[1])
    depot.collect()
    kept = depot.objects.get(ids[4])
    depot.objects.delete(ids[4])  # in limbo
    assert small in {info.id for info in depot.objects.list()}
    assert depot.check() == []
    damage, told = DAMAGE[what]
    at = depot.attached.engine.read(_refs)[2]
    home.is_damaged = True
    depot.attached.engine.write(damage, at)
    problems = depot.attached.engine.read(depot.attached.arena.check)
    assert any(re.search(told, problem) for problem in problems), problems
    del kept
    depot.destroy()


def _refs(tx: Transaction) -> list[Ref]:
    return [
        Ref(int(BLOB.tail(key)[0]), 200_000)  # type: ignore[arg-type] an offset
        for key, _ in tx.range(BLOB.begin, BLOB.end)
    ]


def test_check_notices_an_object_whose_blob_is_gone(depot: entrepot.Depot, home: Home) -> None:
    depot.objects.put(block(200_000))
    (ref,) = depot.attached.engine.read(_refs)
    home.is_damaged = True
    depot.attached.engine.write(delete_blob, ref)
    problems = depot.check()
    assert any(problem.startswith("arena: ") for problem in problems), problems
    assert any("has a blob that nobody uses" in problem for problem in problems), problems
    depot.destroy()


def test_an_interrupted_copy_leaves_nobody_who_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    size = settings.PARALLEL_COPY_BYTES_MIN
    target, source = bytearray(size), b"x" * size
    may_go_on = threading.Event()
    copyto = np.copyto

    def copy(to: Any, origin: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            threading.Timer(0.05, may_go_on.set).start()
            raise KeyboardInterrupt
        may_go_on.wait()
        copyto(to, origin)

    monkeypatch.setattr(np, "copyto", copy)
    with pytest.raises(KeyboardInterrupt):
        copy_into(memoryview(target), memoryview(source))
    copied = target.count(b"x")
    assert copied <= 3 * settings.COPY_PIECE_BYTES, "the threads went on"
    target[:] = bytes(size)
    monkeypatch.undo()
    assert not any(target)


def test_many_values_at_once_take_little_more_than_their_bytes(depot: entrepot.Depot) -> None:
    ids = depot.objects.put_many([block(20_000) for _ in range(500)])
    stats = depot.statistics().arena
    assert stats.used + stats.unsealed < 500 * 20_032 + 2 * settings.CHUNK_BYTES
    assert depot.check() == []
    depot.objects.delete(ids)


def test_pieces_of_a_chunk_may_be_sealed_or_given_back_in_any_order(
    depot: entrepot.Depot, arena: Arena, chance: random.Random
) -> None:
    for _ in range(20):
        drafts = [contextlib.ExitStack() for _ in range(8)]
        opened = [
            stack.enter_context(arena.draft([memoryview(block(chance.randrange(1, 60_000)))]))
            for stack in drafts
        ]
        order = list(range(8))
        chance.shuffle(order)
        refs: list[Ref] = []
        for at in order:
            if chance.random() < 0.5:
                depot.attached.engine.write(arena.seal, opened[at])
                refs.append(opened[at].ref)
                drafts[at].close()
            else:
                with contextlib.suppress(ValueError), drafts[at]:
                    raise ValueError
            assert depot.check() == []
        for ref in refs:
            change(depot, arena.release, ref)
    arena.drop_chunks()
    assert depot.statistics().arena.unsealed == 0


def test_what_is_being_reserved_is_not_returned_meanwhile(
    depot: entrepot.Depot, arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = arena._region.reserve

    def reserve_and_trim(begin: int, end: int) -> None:
        reserve(begin, end)
        assert arena.trim() == 0  # as when the catalog is full just then

    monkeypatch.setattr(arena._region, "reserve", reserve_and_trim)
    id = depot.objects.put(np.full(settings.ARENA_BYTES_STEP_MIN, 7, np.uint8))
    assert (depot.objects.get(id) == 7).all()
    depot.objects.delete(id)
