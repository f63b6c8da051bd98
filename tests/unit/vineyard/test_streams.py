"""Streams of chunks between two clients of a depot."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard.core.client import Client
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]
C: Any = vineyard._C


def new_stream(client: Client) -> vineyard.ObjectID:
    meta = vineyard.ObjectMeta()
    meta["typename"] = "vineyard::RecordBatchStream"
    client.create_metadata(meta)
    client.create_stream(meta.id)
    return meta.id


def test_chunks_come_in_order_and_then_the_end(client: Client) -> None:
    stream = new_stream(client)
    chunks = [client.put(np.full(10, n)) for n in range(5)]
    for chunk in chunks:
        client.push_chunk(stream, chunk)
    client.stop_stream(stream)
    assert [client.next_chunk_id(stream) for _ in chunks] == chunks
    for _ in range(2):
        with pytest.raises(C.StreamDrainedException):
            client.next_chunk_id(stream)
    client.drop_stream(stream)
    client.delete(stream)


def test_a_pulled_chunk_is_gone_with_the_next_pull_and_views_of_it_stay(client: Client) -> None:
    stream = new_stream(client)
    for number in range(3):
        client.push_chunk(stream, client.put(np.full(20_000, number)))
    views = []
    for _ in range(3):
        chunk = client.next_chunk_id(stream)
        views.append(client.get(chunk))
        assert len(client.list_objects("vineyard::Tensor*", limit=100)) == 3 - len(views) + 1
    assert [int(view[-1]) for view in views] == [0, 1, 2]
    client.drop_stream(stream)
    assert client.list_objects("vineyard::Tensor*") == []
    assert [int(view[0]) for view in views] == [0, 1, 2]


def test_a_failure_is_told_behind_what_was_written_before(client: Client) -> None:
    stream = new_stream(client)
    client.push_chunk(stream, client.put(1))
    client.stop_stream(stream, failed=True)
    client.next_chunk(stream)
    with pytest.raises(C.StreamFailedException):
        client.next_chunk(stream)
    client.drop_stream(stream)


def test_a_stream_has_one_reader_and_one_writer(client: Client) -> None:
    stream = new_stream(client)
    for mode in ("r", "w"):
        client.open_stream(stream, mode)
        with pytest.raises(C.StreamOpenedException):
            client.open_stream(stream, mode)
    with pytest.raises(C.AssertionFailedException):
        client.open_stream(stream, "a")
    with pytest.raises(C.ObjectExistsException):
        client.create_stream(stream)
    client.drop_stream(stream)
    for call in (client.drop_stream, client.next_chunk_id, client.stop_stream):
        with pytest.raises(C.ObjectNotExistsException):
            call(stream)


def test_nothing_is_written_behind_the_end(client: Client) -> None:
    stream = new_stream(client)
    client.stop_stream(stream)
    chunk = client.put(1)
    with pytest.raises(C.InvalidStreamStateException):
        client.push_chunk(stream, chunk)
    with pytest.raises(C.InvalidStreamStateException):
        client.stop_stream(stream)
    client.drop_stream(stream)
    with pytest.raises(C.ObjectNotExistsException):
        client.push_chunk(new_stream(client), vineyard.ObjectID(12345))


def test_a_reader_waits_for_the_writer(client: Client) -> None:
    stream = new_stream(client)
    with ThreadPoolExecutor(1) as pool:
        pulled = pool.submit(client.next_chunk_id, stream)
        chunk = client.put(5)
        client.push_chunk(stream, chunk)
        assert pulled.result(PATIENCE_S) == chunk
        pulled = pool.submit(client.next_chunk_id, stream)
        client.stop_stream(stream)
        with pytest.raises(C.StreamDrainedException):
            pulled.result(PATIENCE_S)
    client.drop_stream(stream)


def test_a_writer_waits_where_too_much_waits_to_be_read(client: Client) -> None:
    stream = new_stream(client)
    size = 15_000_000
    written: list[int] = []

    def write() -> None:
        for number in range(6):
            client.push_chunk(stream, client.put(np.full(size, number, np.uint8)))
            written.append(number)
        client.stop_stream(stream)

    writer = threading.Thread(target=write)
    writer.start()
    read = 0
    while True:
        try:
            chunk = client.next_chunk_id(stream)
        except C.StreamDrainedException:
            break
        assert client.get(chunk)[0] == read
        assert len(written) <= read + 4
        read += 1
    writer.join()
    assert read == 6
    client.drop_stream(stream)


def test_a_reader_is_told_when_the_writer_dies(home: Home, peers: Start, client: Client) -> None:
    stream = new_stream(client)

    def write(here: Any, id: int) -> None:
        from entrepot.layers.objects.chunks import WRITE, Chunks

        here.chunks = Chunks(here.depot.attached.volatile, 1 << 20)
        here.chunks.open(id, WRITE)
        here.chunks.push(id, here.depot.objects.put(7))

    peer = peers()
    peer.run(write, int(stream))
    assert client.get(client.next_chunk_id(stream)) == 7
    with ThreadPoolExecutor(1) as pool:
        pulled = pool.submit(client.next_chunk_id, stream)
        peer.kill()
        with pytest.raises(C.StreamFailedException):
            pulled.result(PATIENCE_S)
    client.drop_stream(stream)


def test_a_writer_is_told_when_the_reader_dies(home: Home, peers: Start, client: Client) -> None:
    stream = new_stream(client)

    def read(here: Any, id: int) -> None:
        from entrepot.layers.objects.chunks import READ, Chunks

        Chunks(here.depot.attached.volatile, 1 << 20).open(id, READ)

    peer = peers()
    peer.run(read, int(stream))
    chunk = client.put(1)
    client.push_chunk(stream, chunk)
    peer.kill()
    client._store.depot.collect()
    with pytest.raises(C.InvalidStreamStateException, match="reader is gone"):
        client.push_chunk(stream, chunk)
    client.drop_stream(stream)
    wait_until(lambda: not client.exists(chunk), "the chunk is gone with its stream")


def test_chunks_are_written_in_place(client: Client) -> None:
    stream = new_stream(client)
    client.open_stream(stream, "w")
    for number in range(3):
        chunk = client.new_buffer_chunk(stream, 20_000)
        assert (chunk.format, chunk.readonly, not any(chunk)) == ("B", False, True)
        chunk[:] = bytes([number]) * 20_000
    assert not client.new_buffer_chunk(stream, 0)
    client.stop_stream(stream)
    with pytest.raises(ValueError, match="released"):
        chunk[0] = 5
    found = [client.next_buffer_chunk(stream) for _ in range(3)]
    assert [set(chunk) for chunk in found] == [{0}, {1}, {2}]
    assert found[0].readonly
    with pytest.raises(C.StreamDrainedException):
        client.next_buffer_chunk(stream)
    with pytest.raises(C.InvalidStreamStateException):
        client.new_buffer_chunk(stream, 5)
    client.drop_stream(stream)
    with pytest.raises(C.ObjectNotExistsException):
        client.new_buffer_chunk(stream, 5)
    with pytest.raises(TypeError):
        client.new_buffer_chunk(stream, -1)
    assert client.status.memory_usage == 0


def test_what_is_half_written_when_a_stream_fails_is_no_chunk(client: Client) -> None:
    for end in (lambda id: client.stop_stream(id, failed=True), client.drop_stream):
        stream = new_stream(client)
        client.new_buffer_chunk(stream, 20_000)
        end(stream)
        assert client.status.memory_usage == 0
        assert client.list_objects("vineyard::Blob") == []


def test_a_chunk_that_never_fits_is_refused(client: Client) -> None:
    stream = new_stream(client)
    with pytest.raises(C.NotEnoughMemoryException):
        client.new_buffer_chunk(stream, 100_000_000)
    client.new_buffer_chunk(stream, 10)[:] = b"0123456789"
    client.stop_stream(stream)
    assert client.next_buffer_chunk(stream) == b"0123456789"
    client.drop_stream(stream)


def test_a_writer_waits_for_memory_that_the_next_read_frees(client: Client) -> None:
    """The pulled chunk counts for nothing in the stream, and fills the memory all the same."""
    stream = new_stream(client)
    client.new_buffer_chunk(stream, 15_000_000)
    client.new_buffer_chunk(stream, 15_000_000)
    client.next_chunk_id(stream)
    client.new_buffer_chunk(stream, 15_000_000)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.new_buffer_chunk, stream, 20_000_000)
        client.next_chunk_id(stream)
        client.next_chunk_id(stream)
        asked.result(PATIENCE_S)
    client.drop_stream(stream)
