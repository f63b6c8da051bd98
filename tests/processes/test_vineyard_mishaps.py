"""What goes wrong around vineyard's face: views that stay, silent servers, children that exit."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import entrepot.vineyard as vineyard
from entrepot.gateways.vineyard import Server
from entrepot.vineyard import _remote
from entrepot.vineyard.core.client import Client
from entrepot.vineyard.deploy.local import start_vineyardd
from support.conditions import PATIENCE_S, is_running, wait_until
from support.peers import Peer

C: Any = vineyard._C


@pytest.fixture(autouse=True)
def own_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))


@pytest.fixture
def client() -> Iterator[Client]:
    with start_vineyardd(size="64M", rpc=False) as (_, path, _):
        made = vineyard.connect(path)
        yield made
        made.close()


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_view_of_a_blob_that_was_given_up_writes_into_nobodys_values(
    client: Client, how: str
) -> None:
    other = client.fork() if how == "close" else client
    builder = other.create_blob(1 << 20)
    view = memoryview(builder).cast("B")
    if how == "abort":
        builder.abort(other)
    else:
        other.close()
    ids = [client.put(np.zeros(131_072)) for _ in range(3)]
    view[:] = b"\7" * len(view)
    assert not any(client.get(id).any() for id in ids)
    del view, builder


def test_the_memory_of_an_aborted_blob_is_free_when_nobody_looks_at_it(client: Client) -> None:
    for _ in range(20):
        builder = client.create_blob(20 << 20)
        builder.abort(client)
        del builder


def test_a_part_of_a_blob_is_stored_as_what_it_is(client: Client) -> None:
    builder = client.create_blob(8)
    builder.copy(0, b"abcdefgh")
    blob = builder.seal(client)
    part = client.get(client.put(blob[1:3]))
    assert bytes(part) == b"bc"
    assert list(client.get(client.put(blob + 1))) == list(np.frombuffer(b"bcdefghi", np.int8))
    assert not hasattr(blob[1:3], "id")
    assert blob[0] == ord("a")
    assert client.put(blob) == blob.id


@pytest.mark.parametrize("size", [1 << 63, 1 << 70])
def test_a_blob_of_an_impossible_size_is_refused(client: Client, size: int) -> None:
    with pytest.raises(C.NotEnoughMemoryException):
        client.create_blob(size)


def test_a_client_notices_that_its_instance_has_ended() -> None:
    with start_vineyardd(size="64M", rpc=False) as (_, path, _):
        client = vineyard.connect(path)
        assert client.connected
    assert not client.connected
    with pytest.raises(C.ConnectionErrorException):
        client.put([1, 2])
    client.close()


def test_a_server_ends_when_its_depot_is_removed() -> None:
    with start_vineyardd(size="64M", rpc=False) as (process, path, _):
        client = vineyard.connect(path)
        client._store.depot.destroy()
        assert process.wait(PATIENCE_S) == 1
        assert not Path(path).exists()
        client.close()


def test_clients_learn_where_the_server_of_their_instance_listens() -> None:
    with start_vineyardd(size="1.5Mi", rpc=True, rpc_socket_port=0) as (_, path, _):
        client = vineyard.connect(path)
        host, _, port = client.rpc_endpoint.rpartition(":")
        remote = vineyard.connect(host, port)
        assert client.get(remote.put(5)) == 5
        remote.close()
        client.close()


def test_a_socket_that_is_not_there_is_no_name_of_a_depot() -> None:
    with pytest.raises(C.ConnectionFailedException):
        vineyard.connect("nosuch.sock")


def test_a_server_that_cannot_listen_leaves_the_socket_of_another_alone(
    client: Client, tmp_path: Path
) -> None:
    depot, path = client._store.depot, tmp_path / "v.sock"
    first = Server(depot, ipc=path)
    first.start()
    with pytest.raises(OSError, match="somebody listens there"):
        Server(depot, rpc=("127.0.0.1", 0), ipc=path)
    other = vineyard.connect(str(path))
    assert other.ipc_socket == str(path)
    other.close()
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_a_server_whose_socket_was_replaced_leaves_the_new_one(
    client: Client, tmp_path: Path
) -> None:
    depot, path = client._store.depot, tmp_path / "v.sock"
    first = Server(depot, ipc=path)
    path.unlink()
    second = Server(depot, ipc=path)
    first.close()
    assert path.is_socket()
    assert (tmp_path / "v.sock.depot").exists()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_clients_are_told_a_path_that_leads_there_from_anywhere(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = Server(client._store.depot, ipc="v.sock")
    assert server.ipc_socket == str(tmp_path / "v.sock")
    monkeypatch.chdir("/")
    server.close()
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_remote, "_PATIENCE_S", 0.1)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(C.ConnectionFailedException),
    ):
        vineyard.connect("127.0.0.1", listener.getsockname()[1])


def test_a_child_that_exits_leaves_the_instance_of_its_parent_alone(client: Client) -> None:
    with start_vineyardd(size="64M", rpc=False) as (_, path, _):
        mine = vineyard.connect(path)
        id = mine.put(5)
        child = os.fork()
        if not child:
            try:
                raise SystemExit  # runs what the block would do at its end
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: vineyard.connect(path).get(id)).result(PATIENCE_S) == 5
        mine.close()


def test_a_write_that_fails_leaves_the_file_that_was_there(client: Client, tmp_path: Path) -> None:
    target = tmp_path / "keep.csv_0"
    target.write_text("a\n1\n")
    broken = tmp_path / "broken.csv"
    broken.write_text('a,b\n1,2\n1,2,3,4\n"')
    with pytest.raises(RuntimeError):
        vineyard.io.write(
            f"file://{tmp_path}/keep.csv", vineyard.io.read(f"file://{broken}", client), client
        )
    assert target.read_text() == "a\n1\n"
    assert sorted(path.name for path in tmp_path.glob("*keep*")) == ["keep.csv_0"]


# Over TCP.


@pytest.fixture
def served(client: Client) -> Iterator[Server]:
    server = Server(client._store.depot, rpc=("127.0.0.1", 0))
    server.start()
    yield server
    server.close()


def port_of(server: Server) -> int:
    return int(server.rpc_endpoint.rpartition(":")[2])


def frame_stream(client: Client) -> Any:
    from entrepot.vineyard.io.dataframe import DataframeStream

    return DataframeStream.new(client)


def test_the_reader_of_a_stream_is_told_that_its_writer_over_tcp_is_gone(
    client: Client, served: Server
) -> None:
    stream = frame_stream(client)
    writing = vineyard.connect("127.0.0.1", port_of(served))
    writer = stream.open_writer(writing)
    writer.write(pa.RecordBatch.from_pydict({"a": [1]}))
    reader = stream.open_reader(client)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(reader.next).result(PATIENCE_S) is not None
        waiting = pool.submit(reader.next)
        writing.rpc_client._store._connection.close()
        with pytest.raises(C.StreamFailedException):
            waiting.result(PATIENCE_S)
    writing.close()


def test_one_client_over_tcp_reads_and_writes_a_stream_in_two_threads(
    client: Client, served: Server
) -> None:
    stream = frame_stream(client)
    both = vineyard.connect("127.0.0.1", port_of(served))
    reader, writer = stream.open_reader(both), stream.open_writer(both)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reader.next)
        both.exists(stream.id)
        for number in range(5):
            writer.write(pa.RecordBatch.from_pydict({"a": [number]}))
            assert waiting.result(PATIENCE_S)["a"].to_pylist() == [number]
            waiting = pool.submit(reader.next)
        writer.finish()
        with pytest.raises(StopIteration):
            waiting.result(PATIENCE_S)
    both.close()


def test_a_client_may_be_closed_while_another_thread_waits(client: Client, served: Server) -> None:
    stream = frame_stream(client)
    both = vineyard.connect("127.0.0.1", port_of(served))
    reader = stream.open_reader(both)
    threading.Thread(target=lambda: _swallow(reader.next), daemon=True).start()
    wait_until(lambda: served._instance.counts()["deferred_requests"] == 1, "it waits")
    both.close()


def _swallow(call: Any) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001 whatever it raises, it has ended
        return


def test_an_interrupted_put_ends_the_connection_and_does_not_hang(
    client: Client, served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = vineyard.connect("127.0.0.1", port_of(served))
    connection = remote.rpc_client._store._connection

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "send_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remote.put(np.arange(100_000))
    assert not remote.connected


def test_a_server_that_ran_out_of_files_goes_on_when_there_are_some(
    client: Client, served: Server
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 6, hard))
    try:
        held = [_open_or_none(port_of(served)) for _ in range(8)]
        for each in held:
            if each is not None:
                each.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    remote = vineyard.connect("127.0.0.1", port_of(served))
    assert remote.get(remote.put(5)) == 5
    remote.close()


def _open_or_none(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    except OSError:
        return None


def start_an_instance(here: Any) -> tuple[int, str]:
    """Return the server's process, and the socket."""
    here.instance = start_vineyardd(size="64M", rpc=False)
    process, path, _ = here.instance.__enter__()
    return process.pid, path


def test_a_server_ends_with_the_process_that_started_it_killed_too() -> None:
    with Peer() as peer:
        pid, path = peer.run(start_an_instance)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
        peer.kill()
        wait_until(lambda: not is_running(pid), "the server ends")
        assert not Path(path).exists()
