"""Blobs and their builders."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard import ObjectID
from entrepot.vineyard.core.client import Client

SIZES = [1, 63, 1000, 20_000, 300_000]


@pytest.mark.parametrize("size", SIZES)
def test_a_blob_is_written_sealed_and_read(client: Client, size: int) -> None:
    builder = client.create_blob(size)
    assert (builder.size, len(builder), builder.issealed) == (size, size, False)
    memoryview(builder).cast("B")[:] = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    id = builder.id
    assert int(id) >> 63
    blob = builder.seal(client)
    assert builder.issealed
    assert blob.id == id
    assert (blob.size, len(blob), blob.nbytes, blob.is_empty) == (size, size, size, False)
    body = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    for found in (blob, client.get_blob(id), client.get_object(id)):
        assert bytes(memoryview(found)) == body
    assert bytes(client.get(id)) == body
    view = memoryview(blob)
    assert (view.format, view.readonly, view.ndim) == ("b", True, 1)
    assert client.get_meta(id)["length"] == client.get_meta(id)["nbytes"] == size
    assert client.allocated_size(id) == size
    client.delete(id)
    assert client.get_blob(id) is None


def test_pyarrow_sees_the_same_bytes(client: Client) -> None:
    builder = client.create_blob(1000)
    buffer = builder.buffer
    assert isinstance(buffer, pa.Buffer)
    assert buffer.is_mutable
    assert (buffer.size, buffer.address) == (1000, builder.address)
    np.frombuffer(buffer, np.uint8)[:] = 7
    blob = builder.seal(client)
    assert isinstance(blob.buffer, pa.Buffer)
    assert not blob.buffer.is_mutable
    assert blob.buffer.to_pybytes() == b"\x07" * 1000
    assert pa.py_buffer(blob).address == blob.address


def test_copying_into_a_blob(client: Client) -> None:
    builder = client.create_blob(16)
    builder.copy(0, b"abcd")
    builder.copy(4, np.arange(2, dtype=np.int16))
    source = np.frombuffer(b"wxyz", np.uint8)
    builder.copy(offset=8, ptr=source.ctypes.data, size=4)
    vineyard.memory_copy(builder, b"!!", 14)
    assert bytes(memoryview(builder)) == b"abcd\x00\x00\x01\x00wxyz\x00\x00!!"
    builder.seal(client)


@pytest.mark.parametrize(
    ("offset", "source", "error"),
    [
        (0, b"12345", "AssertionFailedException"),
        (4, b"1", "AssertionFailedException"),
        (0, np.arange(8, dtype=np.uint8)[::2], "AssertionFailedException"),
        (-1, b"1", "TypeError"),
        (1.5, b"1", "TypeError"),
        (0, "text", "TypeError"),
        (0, None, "TypeError"),
    ],
    ids=["long", "behind", "strided", "negative", "float", "str", "none"],
)
def test_what_cannot_be_copied(client: Client, offset: Any, source: Any, error: str) -> None:
    builder = client.create_blob(4)
    kind: Any = TypeError if error == "TypeError" else getattr(vineyard._C, error)
    with pytest.raises(kind):
        builder.copy(offset, source)
    assert bytes(memoryview(builder)) == bytes(4)
    builder.abort(client)


def test_items_have_bounds(client: Client) -> None:
    builder = client.create_blob(4)
    builder[3] = -5
    assert builder[3] == -5
    assert type(builder[3]) is int
    for wrong in (4, 10**9):
        with pytest.raises(IndexError):
            builder[wrong] = 1
    builder.abort(client)


def test_the_states_of_a_builder(client: Client) -> None:
    sealed, aborted = client.create_blob(4), client.create_blob(4)
    blob = sealed.seal(client)
    aborted.abort(client)
    raises = pytest.raises
    with raises(vineyard._C.AssertionFailedException):
        sealed.seal(client)
    for call in (
        lambda: sealed.abort(client),
        lambda: sealed.copy(0, b"1"),
        lambda: sealed.shrink(client, 1),
    ):
        with raises(vineyard._C.ObjectSealedException):
            call()
    for call in (
        lambda: aborted.seal(client),
        lambda: aborted.abort(client),
        lambda: aborted.copy(0, b"1"),
    ):
        with raises(vineyard._C.ObjectNotExistsException):
            call()
    for written in (sealed, blob):
        with raises(ValueError, match="read-only"):
            written[0] = 1
    assert bytes(memoryview(blob)) == bytes(4)


def test_nobody_gets_a_blob_before_it_is_sealed(client: Client) -> None:
    builder = client.create_blob(4)
    assert client.exists(builder.id)
    with pytest.raises(vineyard._C.ObjectNotSealedException):
        client.get_blob(builder.id)
    for call in (client.get, client.get_meta, client.get_object):
        with pytest.raises(vineyard._C.ObjectNotExistsException):
            call(builder.id)
    builder[0] = 5
    unsafe = client.get_blob(builder.id, unsafe=True)
    assert unsafe is not None
    assert bytes(memoryview(unsafe)) == b"\x05\0\0\0"
    builder.abort(client)
    assert not client.exists(builder.id)


def test_a_dropped_builder_frees_its_memory(client: Client) -> None:
    before = client.status.memory_usage
    for _ in range(5):
        client.create_blob(1_000_000)
    gc.collect()
    assert client.status.memory_usage == before


def test_a_builder_can_be_shrunk_and_not_grown(client: Client) -> None:
    builder = client.create_blob(100)
    memoryview(builder).cast("B")[:] = b"x" * 100
    builder.shrink(client, 10)
    with pytest.raises(vineyard._C.InvalidException):
        builder.shrink(client, 11)
    blob = builder.seal(client)
    assert (blob.size, bytes(memoryview(blob))) == (10, b"x" * 10)


def test_the_empty_blob_has_one_id_and_no_bytes(client: Client) -> None:
    empty = client.create_empty_blob()
    assert int(empty.id) == 1 << 63
    assert (empty.size, empty.is_empty, bytes(memoryview(empty))) == (0, True, b"")
    assert client.create_blob(0).seal(client).id == empty.id
    assert client.put(b"") == empty.id
    assert not client.exists(empty.id)
    found = client.get_blob(empty.id)
    assert found is not None
    assert found.is_empty
    meta = vineyard.ObjectMeta()
    meta["typename"] = "my::Thing"
    meta.add_member("nothing", empty)
    id = client.create_metadata(meta).id
    assert client.get_object(id).member("nothing").is_empty
    client.delete(id)
    assert client._store.depot.objects.count() == 0


def test_several_at_once(client: Client) -> None:
    builders = client.create_blob([10, 0, 20])
    assert [builder.size for builder in builders] == [10, 0, 20]
    blobs = [builder.seal(client) for builder in builders]
    found = client.get_blobs([blob.id for blob in blobs] + [ObjectID(1 << 63 | 99)])
    assert [None if blob is None else blob.size for blob in found] == [10, 0, 20, None]


@pytest.mark.parametrize("wrong", [-1, 1.5, "10", None, True], ids=repr)
def test_what_is_no_size(client: Client, wrong: Any) -> None:
    with pytest.raises(TypeError):
        client.create_blob(wrong)


def test_sizes_may_be_numbers_of_numpy(client: Client) -> None:
    size: Any = np.prod((2, 8))
    builder = client.create_blob(size)
    builder.copy(size // 2, np.arange(8, dtype=np.uint8))
    source = np.frombuffer(b"abcd", np.uint8)
    builder.copy(np.int32(2), source.ctypes.data, np.int32(4))
    assert bytes(memoryview(builder)) == b"\0\0abcd\0\0" + bytes(range(8))
    assert [blob.size for blob in client.create_blob([size, 1])] == [16, 1]
    builder.abort(client)


def test_a_blob_that_does_not_fit(client: Client) -> None:
    for size in (1 << 30, 1 << 62, (1 << 63) + 5):
        with pytest.raises(vineyard._C.NotEnoughMemoryException):
            client.create_blob(size)
    assert client._store.depot.check() == []


def test_who_makes_blobs() -> None:
    for kind in (vineyard.Blob, vineyard.BlobBuilder, vineyard.RemoteBlob):
        with pytest.raises(TypeError, match="client"):
            kind()


def test_blobs_are_found_by_their_address(client: Client) -> None:
    id = client.put(np.arange(100_000))
    array = client.get(id)
    found = client.find_shared_memory(array)
    assert found is not None
    assert client.find_shared_memory(array.ctypes.data + 100) == found
    assert client.is_shared_memory(array)
    assert not client.is_shared_memory(np.arange(10))
    assert not client.is_shared_memory(np.array(["2026-01-01"], "M8[D]"))
    assert client.find_shared_memory(12345) is None
    blob = client.get_blob(found)
    assert blob is not None
    assert blob.address == array.ctypes.data


def test_remote_builders_hold_private_bytes() -> None:
    builder = vineyard.RemoteBlobBuilder(8)
    builder.copy(2, b"ab")
    assert bytes(memoryview(builder)) == b"\0\0ab\0\0\0\0"
    assert bytes(memoryview(vineyard.RemoteBlobBuilder.wrap(b"abc"))) == b"abc"
