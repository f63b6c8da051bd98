"""Streams of vineyard between processes, and what becomes of them when one of these dies.

Guaranteed:

1. A reader gets all chunks in the order of the writer, also of a stream larger than the depot.
2. A reader whose writer was killed gets what was handed over, and is told then: it never waits
   for ever. A chunk that was half written is nobody's.
3. A writer whose reader was killed is told so, also while it waits for room.
4. What a reader looks at stays as it is, when it reads on and when the writer is gone.
5. Ctrl-C ends the wait of either side, and the stream goes on.
6. A file is read by the process that opened it: when this ends or dies midway, the reader is told.
   It ends as it would without a stream.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard import io
from entrepot.vineyard._local import LocalStore
from entrepot.vineyard.core.client import Client, IPCClient
from entrepot.vineyard.deploy.local import start_vineyardd
from support.conditions import is_in_futex, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]
C: Any = vineyard._C
MIB = 1 << 20


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    client = Client(IPCClient(LocalStore(home.open("64M"))))
    yield client
    client.clear()
    client.close()


def join(here: Any) -> Any:
    """Return a client of a peer's depot."""
    from entrepot.vineyard._local import LocalStore
    from entrepot.vineyard.core.client import Client, IPCClient

    here.client = Client(IPCClient(LocalStore(here.depot)))
    return here.client


def new_stream(client: Client) -> vineyard.ObjectID:
    return io.ByteStream.new(client).id


def write_forever(here: Any, id: Any, size: int) -> None:
    """Write chunks in place: 0, 1, 2 and so on, until something happens."""
    client = join(here)
    client.open_stream(id, "w")
    number = 0
    while True:
        client.new_buffer_chunk(id, size)[:8] = number.to_bytes(8, "big")
        number += 1


def push_forever(here: Any, id: Any, size: int) -> None:
    """Push blobs, until something happens."""
    client = join(here)
    client.open_stream(id, "w")
    while True:
        client.push_chunk(id, client.put(bytes(size)))


def number_of(chunk: memoryview) -> int:
    return int.from_bytes(chunk[:8], "big")


def read_all(client: Client, stream: vineyard.ObjectID) -> tuple[list[int], Exception]:
    """Read chunks; return their numbers, and what came in the end."""
    numbers: list[int] = []
    try:
        while True:
            numbers.append(number_of(client.next_buffer_chunk(stream)))
    except C.VineyardException as error:
        return numbers, error


def test_a_stream_larger_than_the_depot_goes_through_it_in_order(
    client: Client, peers: Start
) -> None:
    def write(here: Any, id: Any) -> None:
        client = join(here)
        client.open_stream(id, "w")
        for number in range(60):
            chunk = client.new_buffer_chunk(id, 5_000_000)
            assert not any(bytes(chunk[:64]) + bytes(chunk[-64:]))
            chunk[:8] = chunk[-8:] = number.to_bytes(8, "big")
        client.stop_stream(id)

    stream = new_stream(client)
    asked = peers().begin(write, stream)
    client.open_stream(stream, "r")
    for number in range(60):
        chunk = client.next_buffer_chunk(stream)
        assert (number_of(chunk), number_of(chunk[-8:]), len(chunk)) == (number, number, 5_000_000)
    with pytest.raises(C.StreamDrainedException):
        client.next_buffer_chunk(stream)
    asked.result()
    client.drop_stream(stream)


def test_a_reader_of_a_killed_writer_gets_what_there_is_and_is_told(
    client: Client, peers: Start
) -> None:
    stream = new_stream(client)
    writer = peers()
    writer.begin(write_forever, stream, 5_000_000)
    client.open_stream(stream, "r")
    first = client.next_buffer_chunk(stream)
    wait_until(lambda: is_in_futex(writer.pid), "the writer waits for room")
    writer.kill()
    numbers, end = read_all(client, stream)
    assert isinstance(end, C.StreamFailedException)
    assert numbers == list(range(1, len(numbers) + 1))
    assert number_of(first) == 0
    client.drop_stream(stream)


def test_a_chunk_half_written_by_the_killed_is_nobodys(client: Client, peers: Start) -> None:
    def write(here: Any, id: Any) -> None:
        client = join(here)
        client.open_stream(id, "w")
        here.lent = client.new_buffer_chunk(id, 5_000_000)

    stream = new_stream(client)
    writer = peers()
    writer.run(write, stream)
    look = client._store.depot.statistics
    assert look().arena.unsealed >= 5_000_000
    writer.kill()
    with pytest.raises(C.StreamFailedException):
        client.next_chunk_id(stream)
    client.drop_stream(stream)
    client._store.depot.collect()
    assert (look().arena.unsealed, look().arena.used) == (0, 0)


@pytest.mark.parametrize("write", [write_forever, push_forever])
def test_a_writer_that_waits_for_room_is_told_of_its_readers_death(
    client: Client, peers: Start, write: Any
) -> None:
    def read(here: Any, id: Any) -> None:
        client = join(here)
        client.open_stream(id, "r")
        client.next_chunk_id(id)

    stream = new_stream(client)
    reader, writer = peers(), peers()
    asked = writer.begin(write, stream, 5_000_000)
    reader.run(read, stream)
    wait_until(lambda: is_in_futex(writer.pid), "the writer waits for room")
    reader.kill()
    error = asked.error()
    assert isinstance(error, C.InvalidStreamStateException)
    assert "reader is gone" in str(error)
    client.drop_stream(stream)


def test_views_outlive_the_next_chunks_and_the_writer(client: Client, peers: Start) -> None:
    def write(here: Any, id: Any) -> None:
        import numpy as np

        client = join(here)
        client.open_stream(id, "w")
        for number in range(4):
            client.push_chunk(id, client.put(np.full(500_000, number)))
        client.stop_stream(id)

    stream = new_stream(client)
    writer = peers()
    writer.run(write, stream)
    views = [client.get(client.next_chunk_id(stream)) for _ in range(4)]
    writer.kill()
    client.drop_stream(stream)
    others = [client.put(np.full(500_000, 9)) for _ in range(4)]
    assert [set(view.tolist()) for view in views] == [{0}, {1}, {2}, {3}]
    client.delete(others)


def test_ctrl_c_ends_the_wait_of_a_reader(client: Client, peers: Start) -> None:
    stream = new_stream(client)
    reader = peers()
    reader.run(lambda here, id: join(here).open_stream(id, "r"), stream)
    asked = reader.begin(lambda here, id: here.client.next_chunk_id(id), stream)
    wait_until(lambda: is_in_futex(reader.pid), "the reader waits")
    reader.send(signal.SIGINT)
    assert isinstance(asked.error(), KeyboardInterrupt)
    chunk = client.put(5)
    client.push_chunk(stream, chunk)
    assert reader.run(lambda here, id: here.client.next_chunk_id(id), stream) == chunk
    client.drop_stream(stream)
    reader.run(lambda here: here.depot.close())


def test_ctrl_c_ends_the_wait_of_a_writer(client: Client, peers: Start) -> None:
    stream = new_stream(client)
    writer = peers()
    asked = writer.begin(write_forever, stream, 5_000_000)
    wait_until(lambda: is_in_futex(writer.pid), "the writer waits for room")
    writer.send(signal.SIGINT)
    assert isinstance(asked.error(), KeyboardInterrupt)
    writer.run(lambda here, id: here.client.stop_stream(id), stream)
    numbers, end = read_all(client, stream)
    assert isinstance(end, C.StreamDrainedException)
    assert numbers == list(range(len(numbers)))
    client.drop_stream(stream)


def test_a_writer_whose_stream_is_removed_stops_waiting(client: Client, peers: Start) -> None:
    stream = new_stream(client)
    writer = peers()
    asked = writer.begin(write_forever, stream, 5_000_000)
    wait_until(lambda: is_in_futex(writer.pid), "the writer waits for room")
    client.drop_stream(stream)
    assert isinstance(asked.error(), C.ObjectNotExistsException)


def test_streams_go_over_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with start_vineyardd(size="64M", rpc_socket_port=port) as (_, path, _):
        local, remote = vineyard.connect(path), vineyard.connect("127.0.0.1", port)
        for ours, theirs in ((local, remote), (remote, local)):
            frames = io.DataframeStream.new(ours)
            frames.writer.write_table(pa.table({"a": [1, 2]}))
            frames.writer.finish()
            assert theirs.get(frames.id).reader.read_table().to_pydict() == {"a": [1, 2]}
            frames.drop()
            made = io.ByteStream.new(ours)
            made.writer.write(b"abc")
            made.writer.next(3)[:] = b"def"
            made.writer.fail("no more ink")
            reader = theirs.get(made.id).reader
            assert bytes(reader.next()) == b"abc"
            with pytest.raises(C.StreamFailedException, match="no more ink"):
                list(reader)
            made.drop()
        (tmp_path / "x.csv").write_text("a,b\n1,2\n")
        handlers: list[Any] = []
        id = io.open(f"{tmp_path}/x.csv", vineyard_ipc_socket=remote, handlers=handlers)
        assert local.get(id)[0].reader.read_table().to_pydict() == {"a": [1], "b": [2]}
        handlers[0].join()
        local.get(id)[0].drop()
        local.clear()
        assert local.status.memory_usage == 0
        remote.close()
        local.close()


# Files.


def test_a_stream_made_elsewhere_is_read_by_its_id(
    client: Client, peers: Start, tmp_path: Path
) -> None:
    def open_file(here: Any, path: str) -> Any:
        from entrepot.vineyard import io

        here.handlers = []
        return io.open(path, vineyard_ipc_socket=join(here), handlers=here.handlers)

    (tmp_path / "x.csv").write_text("a,b\n1,x\n2,y\n")
    feeder = peers()
    id = feeder.run(open_file, str(tmp_path / "x.csv"))
    streams = client.get(id)
    assert streams[0].reader.read_table().to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    feeder.run(lambda here: here.handlers[0].join())
    streams[0].drop()


def test_a_reader_is_told_when_the_process_that_reads_the_file_dies(
    client: Client, peers: Start, tmp_path: Path
) -> None:
    def open_file(here: Any, path: str) -> Any:
        from entrepot.vineyard import io

        return io.open(path, vineyard_ipc_socket=join(here))

    (tmp_path / "x.bin").write_bytes(bytes(100_000_000))
    feeder = peers()
    stream = client.get(feeder.run(open_file, str(tmp_path / "x.bin")))[0]
    read = len(stream.reader.next())
    feeder.kill()
    with pytest.raises(C.StreamFailedException):
        read += sum(len(chunk) for chunk in stream.reader)
    assert 0 < read < 100_000_000
    stream.drop()


ENDS = """
import sys
from pathlib import Path
import entrepot
from entrepot.vineyard import io
from entrepot.vineyard._local import LocalStore
from entrepot.vineyard.core.client import Client, IPCClient

name, root, data, path = sys.argv[1:]
client = Client(IPCClient(LocalStore(entrepot.open(name, directory=root, data_directory=data))))
id = io.open(path, vineyard_ipc_socket=client)
stream = client.get(id)[0]
print(f"{int(stream.id)}", flush=True)
sys.stdin.readline()
if WHAT == "raises":
    raise SystemExit(3)
if WHAT == "closes":
    client.close()
"""


@pytest.mark.parametrize("what", ["ends", "raises", "closes"])
def test_a_program_ends_while_it_feeds_a_stream(
    client: Client, home: Home, tmp_path: Path, what: str
) -> None:
    (tmp_path / "x.bin").write_bytes(bytes(100_000_000))
    with subprocess.Popen(
        [
            sys.executable, "-X", "dev", "-W", "error", "-c", f"WHAT = {what!r}\n{ENDS}",
            home.name, str(home.root), str(home.data), str(tmp_path / "x.bin"),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None
        stream = client.get(vineyard.ObjectID(int(program.stdout.readline())))
        stream.reader.next()
        _, errors = program.communicate("go on\n")
    assert (program.returncode, errors) == (3 if what == "raises" else 0, "")
    with pytest.raises(C.StreamFailedException):
        sum(len(chunk) for chunk in stream.reader)
    stream.drop()
