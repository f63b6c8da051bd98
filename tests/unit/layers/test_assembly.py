"""Objects put together from parts, blobs written in place, and streams, on every tier."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from entrepot import settings
from entrepot.errors import ConflictError, ExistsError, LimitError, NotFoundError
from entrepot.layers import values
from entrepot.layers.objects import Assembly, Leaf, Node
from entrepot.layers.objects.assembly import BLOB_BIT
from entrepot.layers.objects.chunks import (
    READ,
    WRITE,
    Chunks,
    StreamEndedError,
    StreamFailedError,
    StreamStoppedError,
)
from entrepot.layers.objects.raw import RawBytes
from support.conditions import PATIENCE_S
from support.tiers import Rig

BIG = np.arange(10_000)


@pytest.fixture
def assembly(rig: Rig) -> Assembly:
    return Assembly(rig.tier)


def leaf(value: Any) -> Leaf:
    return Leaf(values.encode(value))


def test_a_tree_of_new_parts_is_stored_at_once(rig: Rig, assembly: Assembly) -> None:
    old = rig.objects.put(BIG)
    node = Node(
        "t", {"x": 1}, {"old": old, "new": leaf(BIG), "inner": Node("i", {}, {"v": leaf(5)})}
    )
    (id,) = assembly.build([node])
    found = rig.objects.get(id)
    assert (found["x"], found["inner"]) == (1, {"v": 5})
    assert (found["old"] == BIG).all()
    assert (found["new"] == BIG).all()
    assert rig.objects.count() == 5
    rig.objects.delete(id)
    assert rig.objects.count() == 0


def test_a_tree_that_lacks_a_member_stores_none_of_its_parts(rig: Rig, assembly: Assembly) -> None:
    for missing in (12345, BLOB_BIT | 5):
        with pytest.raises(NotFoundError):
            assembly.build([leaf(1), Node("t", {}, {"new": leaf(BIG), "old": missing})])
    assert rig.objects.count() == 0


def test_the_bytes_of_an_array_become_a_blob_when_they_are_a_member(
    rig: Rig, assembly: Assembly
) -> None:
    for array in (BIG, np.arange(5)):
        owner = rig.objects.put(array)
        part = int(owner) | BLOB_BIT
        assert assembly.exists(part)
        (tree,) = assembly.build([Node("t", {}, {"bytes": part})])
        assert rig.problems() == []
        rig.objects.delete(owner)
        assert rig.objects.get(part) == array.tobytes()
        rig.objects.delete(tree)
        assert not assembly.exists(part)
    with pytest.raises(NotFoundError):
        assembly.build([Node("t", {}, {"bytes": int(rig.objects.put(1)) + 99 | BLOB_BIT})])
    rig.objects.delete([info.id for info in rig.objects.list()])


def test_a_blob_is_written_in_place_and_sealed(rig: Rig, assembly: Assembly) -> None:
    for size in (1, 1000, 200_000, 600_000):
        draft = assembly.begin_blob(size)
        draft.memory[:] = bytes([7]) * size
        assert not assembly.exists(draft.id)
        assembly.shrink_blob(draft, max(size - 1, 1))
        assembly.seal_blob(draft)
        assert rig.objects.get(draft.id) == bytes([7]) * max(size - 1, 1)
        rig.objects.delete(draft.id)
    given_up = assembly.begin_blob(5000)
    assembly.drop_blob(given_up)
    assert not assembly.exists(given_up.id)
    for wrong in (0, -1):
        with pytest.raises(LimitError):
            assembly.begin_blob(wrong)


def test_marks_go_with_their_object(rig: Rig, assembly: Assembly) -> None:
    (id,) = assembly.build([Node("t", {}, {"m": leaf(1)})])
    member = int(rig.objects.list()[0].id)
    assembly.label(id, {"a": "b"})
    assembly.persist(id)
    assembly.label(id, {"c": "d"})
    assert assembly.marks(id).labels == {"a": "b", "c": "d"}
    assert (assembly.marks(id).persistent, assembly.marks(member).persistent) == (True, True)
    rig.objects.delete(id)
    assert assembly.marks(id).labels == {}
    for call in (assembly.persist, lambda id: assembly.label(id, {})):
        with pytest.raises(NotFoundError):
            call(id)


def test_a_copy_shares_bytes_and_members(rig: Rig, assembly: Assembly) -> None:
    array = rig.objects.put(BIG)
    (tree,) = assembly.build([Node("t", {"x": 1, "y": 2}, {"m": int(array)})])
    again, copy = assembly.copy(tree, {"y": 3}), assembly.copy(int(array), {})
    assert {k: v for k, v in rig.objects.get(again).items() if k != "m"} == {"x": 1, "y": 3}
    rig.objects.delete(tree)
    assert rig.problems() == []
    rig.objects.delete(again)
    assert not rig.objects.exists(array)
    assert (rig.objects.get(copy) == BIG).all()
    rig.objects.delete(copy)
    with pytest.raises(NotFoundError):
        assembly.copy(12345, {})


def test_a_stream_hands_over_in_order_and_ends(rig: Rig) -> None:
    stream = Chunks(rig.tier, 1 << 20)
    stream.create(5)
    with pytest.raises(ExistsError):
        stream.create(5)
    for mode in (READ, WRITE):
        stream.open(5, mode)
        with pytest.raises(ConflictError):
            stream.open(5, mode)
    chunks = [rig.objects.put(number) for number in range(3)]
    for chunk in chunks:
        stream.push(5, chunk)
    stream.stop(5, failed=False)
    assert [stream.pull(5) for _ in chunks] == chunks
    with pytest.raises(StreamEndedError):
        stream.pull(5)
    assert rig.objects.count() == 0
    for call in (lambda: stream.stop(5, failed=True), lambda: stream.push(5, chunks[0])):
        with pytest.raises(StreamStoppedError):
            call()
    stream.drop(5)
    for gone in (stream.pull, stream.drop, lambda id: stream.stop(id, failed=False)):
        with pytest.raises(NotFoundError):
            gone(5)


def test_a_writer_waits_for_room_and_a_reader_for_chunks(rig: Rig) -> None:
    stream = Chunks(rig.tier, 3 * BIG.nbytes)
    stream.create(5)

    def write() -> None:
        for number in range(10):
            stream.push(5, rig.objects.put(BIG + number))
        stream.stop(5, failed=True)

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        for number in range(10):
            assert rig.objects.get(stream.pull(5))[0] == number
            assert rig.objects.count() <= 5
        written.result(PATIENCE_S)
    with pytest.raises(StreamFailedError):
        stream.pull(5)
    stream.drop(5)


def test_a_stream_that_is_dropped_takes_its_chunks_along(rig: Rig) -> None:
    stream = Chunks(rig.tier, 1 << 20)
    stream.create(5)
    chunk = rig.objects.put(1)
    stream.push(5, chunk)
    stream.push(5, rig.objects.put(2))
    stream.pull(5)
    held = rig.objects.create({}, {"m": chunk})
    stream.drop(5)
    assert rig.objects.exists(chunk), "it is a part of something by now"
    rig.objects.delete(held)
    assert rig.objects.count() == 0


def test_who_waits_for_blobs_is_woken_when_the_last_is_there(
    rig: Rig, assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "WAIT_SLICE_S", 10_000.0)  # nobody looks by himself
    blobs = [assembly.begin_blob(8), assembly.begin_blob(8)]
    promised = RawBytes(rig.tier).promise()
    ids = [blobs[0].id, rig.objects.put(5), blobs[1].id, promised, promised | BLOB_BIT]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(assembly.wait, ids)
        for blob in blobs:
            assert not waiting.done()
            assembly.seal_blob(blob)
        assert not waiting.done()
        RawBytes(rig.tier).keep(promised, [memoryview(b"kept")])
        assert waiting.result(PATIENCE_S)


def test_a_wait_for_blobs_ends_with_its_time(rig: Rig, assembly: Assembly) -> None:
    blob = assembly.begin_blob(8)
    assert not assembly.wait([rig.objects.put(5), blob.id], 0)
    assert not assembly.wait([blob.id], 0.01)
    assembly.seal_blob(blob)
    assert assembly.wait([blob.id], 0)
    assert assembly.wait([], 0)
