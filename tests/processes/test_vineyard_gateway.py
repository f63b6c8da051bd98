"""The server of vineyard's protocol, in a process of its own; our client of it over TCP."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import entrepot.vineyard as vineyard
from entrepot.gateways.vineyard.server import Server
from entrepot.vineyard.core.client import Client
from entrepot.vineyard.deploy.local import start_vineyardd
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home

C: Any = vineyard._C


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[tuple[Client, Client, int]]:
    """Yield a client that looks into memory, one over TCP, and the port."""
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    port = free_port()
    with start_vineyardd(size="64M", rpc_socket_port=port) as (_, path, _):
        local, remote = vineyard.connect(path), vineyard.connect("127.0.0.1", port)
        yield local, remote, port
        remote.close()
        assert local._store.depot.check() == []
        local.close()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Yield the socket and the port of one server for all tests that leave nothing in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENTREPOT_DATA", str(tmp_path_factory.mktemp("data")))
        port = free_port()
        with start_vineyardd(size="64M", rpc_socket_port=port) as (_, path, _):
            yield path, port


@pytest.fixture
def port(lasting: tuple[str, int]) -> Iterator[int]:
    """Yield the port of that server; look for what was left in it when the test is over."""
    path, port = lasting
    local = vineyard.connect(path)
    yield port
    assert local._store.depot.check() == []
    assert local.list_objects("*") == []
    local.close()


VALUES = [
    5, 2**63, 2**70, -1.5, float("inf"), True, "text", None, (1, ("a", 2.0)), {"k": [1]}, b"", b"bytes",
    np.arange(3), np.arange(10_000.0), np.zeros((0, 3)), np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.array(["a", None], object), np.array([1, 2], ">i4"), np.array([(1, 2.0)], "i4,f8"),
    pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["p", "q"])}),
    pd.Series([1.5, 2], name="s"),
]  # fmt: skip


def same(found: Any, value: Any) -> None:
    if isinstance(value, (pd.DataFrame, pd.Series)):
        (
            pd.testing.assert_frame_equal
            if isinstance(value, pd.DataFrame)
            else pd.testing.assert_series_equal
        )(found, value)
    elif isinstance(value, np.ndarray):
        assert found.dtype == value.dtype
        assert found.tolist() == value.tolist()
        assert found.flags.f_contiguous == value.flags.f_contiguous
    elif isinstance(value, bytes):
        assert bytes(found) == value
    else:
        assert found == value
        assert type(found) is type(value)


def test_what_one_side_puts_the_other_gets(both: tuple[Client, Client, int]) -> None:
    local, remote, _ = both
    for value in VALUES:
        for putter in both[:2]:
            id = putter.put(value)
            for getter in (local, remote):
                same(getter.get(id), value)
            assert local.get_meta(id).typename == remote.get_meta(id).typename
            local.delete(id)
            assert not remote.exists(id)
    assert local.list_objects("*") == []
    assert local.status.memory_usage == 0


def test_our_clients_find_the_depot_behind_the_socket_of_a_server(
    home: Home, tmp_path: Path
) -> None:
    path = str(tmp_path / "v.sock")
    server = Server(home.open("64M"), ipc=path)
    server.start()
    try:
        with vineyard.connect(path) as client:
            assert client.get(client.put((1, "a"))) == (1, "a")
            assert client._store.depot.name == home.name
    finally:
        server.close()
    assert list(tmp_path.glob("*v.sock*")) == []


def test_names_labels_copies_and_lists_over_the_network(both: tuple[Client, Client, int]) -> None:
    local, remote, _ = both
    id = remote.put(np.arange(3))
    with pytest.raises(C.InvalidException, match="persist it first"):
        remote.put_name(id, "n")
    remote.persist(id)
    remote.put_name(id, "n/ä")
    remote.label(id, {"color": "red"})
    assert remote.get_name("n/ä") == local.get_name("n/ä") == id
    assert remote.list_names("*") == {"n/ä": id}
    assert remote.get_object(id).ispersist
    assert remote.get_meta(id).labels == {"color": "red"}
    copy = remote.shallow_copy(id)
    assert (remote.get(copy) == np.arange(3)).all()
    assert len(remote.list_objects("vineyard::Tensor*")) == 2
    remote.drop_name("n/ä")
    with pytest.raises(C.ObjectNotExistsException):
        remote.get_name("n/ä")
    assert remote.status.rpc_connections == 1
    assert remote.instance_id == 0
    assert remote.rpc_client.remote_instance_id == 0
    remote.clear()
    assert not local.exists(id)


def test_a_wait_for_a_name_blocks_nobody_else(both: tuple[Client, Client, int]) -> None:
    local, remote, _ = both
    with ThreadPoolExecutor(3) as pool:
        waits = [pool.submit(remote.get_name, "later", wait=True) for _ in range(3)]
        wait_until(lambda: remote.status.deferred_requests == 3, "three wait")
        id = remote.put(5, persist=True, name="later")
        assert [wait.result(PATIENCE_S) for wait in waits] == [id] * 3
    wait_until(lambda: remote.status.deferred_requests == 0, "nobody waits")
    local.delete(id)


def test_large_blobs_go_both_ways(both: tuple[Client, Client, int]) -> None:
    local, remote, _ = both
    body = np.random.default_rng(5).bytes(20_000_000)
    builder = vineyard.RemoteBlobBuilder(len(body))
    builder.copy(0, body)
    id = remote.create_remote_blob(builder).id
    assert bytes(local.get(id)) == body
    blob = remote.get_remote_blob(id)
    assert bytes(memoryview(blob)) == body
    with pytest.raises(ValueError, match="read-only"):
        blob[0] = 1
    with pytest.raises(C.ObjectNotExistsException):
        remote.get_remote_blob(vineyard.ObjectID(1 << 63 | 5))
    with pytest.raises(AssertionError, match="IPC"):
        remote.create_blob(5)
    local.delete(id)


def test_what_does_not_fit_is_refused_and_leaves_nothing(both: tuple[Client, Client, int]) -> None:
    local, remote, _ = both
    with pytest.raises(C.NotEnoughMemoryException):
        remote.put(np.zeros(100_000_000, np.uint8))
    with pytest.raises(C.NotEnoughMemoryException):
        remote.put((1, "a", np.zeros(100_000_000, np.uint8)))
    assert local.list_objects("*") == []
    same(remote.get(remote.put(5)), 5)
    remote.clear()


def connect_raw(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S)


def ask(sock: socket.socket, message: Any) -> Any:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    sock.sendall(struct.pack("<Q", len(body)) + body)
    return answer(sock)


def answer(sock: socket.socket) -> Any:
    head = receive(sock, 8)
    return None if head is None else json.loads(receive(sock, struct.unpack("<Q", head)[0]) or b"")


def receive(sock: socket.socket, size: int) -> bytes | None:
    body = b""
    while len(body) < size:
        part = sock.recv(size - len(body))
        if not part:
            return None
        body += part
    return body


def is_ended(sock: socket.socket) -> bool:
    """Wait for what comes: tell whether that is the end, and no answer."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:  # it hung up on what it had not read
        return True


REGISTER = {"type": "register_request", "version": "0.24.2", "store_type": 1, "session_id": 0}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{", 1), (b"[1]", 1), (b"\xff\xfe", 1), ({}, 1), ({"type": 5}, 1), ({"type": "foo_request"}, 1),
        ({"type": "foo"}, 1), ({"type": "exists_request"}, 1), ({"type": "exists_request", "id": "x"}, 1),
        ({"type": "exists_request", "id": -1}, 1), ({"type": "exists_request", "id": True}, 1),
        ({"type": "get_data_request", "id": 5}, 1), ({"type": "create_data_request", "content": {}}, 21),
        ({"type": "create_data_request", "content": {"typename": "t", "m": {"id": "o0000000000000005"}}}, 27),
        ({"type": "create_data_request", "content": {"typename": "t", "m": {"id": "zz"}}}, 21),
        ({"type": "create_data_request", "content": {"typename": "vineyard::Blob"}}, 7),
        ({"type": "persist_request", "id": 5}, 27), ({"type": "persist_request", "id": 1 << 63}, 7),
        ({"type": "get_name_request", "name": "nope", "wait": False}, 12),
        ({"type": "put_name_request", "object_id": 5, "name": "n"}, 12),
        ({"type": "create_remote_buffer_request", "size": -1}, 1),
        ({"type": "create_remote_buffer_request", "size": 1 << 62}, 41),
        ({"type": "get_remote_buffers_request", "num": 1 << 40}, 1),
        ({"type": "get_remote_buffers_request", "num": 1, "0": 1 << 63 | 77}, 12),
        ({"type": "create_buffer_request", "size": 5}, 6), ({"type": "open_stream_request", "object_id": 5, "mode": 3}, 7),
        ({"type": "pull_next_stream_chunk_request", "id": 5}, 12), ({"type": "shallow_copy_request", "id": 5}, 27),
        ({"type": "label_request", "id": 5, "keys": ["a"], "values": []}, 1),
        ({"type": "migrate_object_request", "object_id": 5}, 12),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_request_gets_its_code_and_the_connection_lives(
    port: int, message: Any, code: int
) -> None:
    with connect_raw(port) as sock:
        assert ask(sock, REGISTER)["type"] == "register_reply"
        reply = ask(sock, message)
        assert (reply["code"], "type" in reply) == (code, False), reply
        assert ask(sock, {"type": "exists_request", "id": 5}) == {
            "type": "exists_reply",
            "exists": False,
        }


def test_bad_frames_end_their_own_connection_only(both: tuple[Client, Client, int]) -> None:
    _, remote, port = both
    for begin in (
        struct.pack("<Q", 1 << 60),
        struct.pack("<Q", 100) + b"{",
        b"GET / HTTP/1.1\r\n\r\n",
        b"abc",
    ):
        with connect_raw(port) as sock:
            sock.sendall(begin)
            with contextlib.suppress(OSError):  # the server may have hung up before
                sock.shutdown(socket.SHUT_WR)
            assert is_ended(sock)
    with connect_raw(port) as sock:
        assert ask(sock, {"type": "exists_request", "id": 5})["code"] == 1
    assert remote.put(1) is not None
    remote.clear()


def test_an_upload_that_breaks_off_leaves_nothing(both: tuple[Client, Client, int]) -> None:
    local, remote, port = both
    with connect_raw(port) as sock:
        ask(sock, REGISTER)
        reply = ask(sock, {"type": "create_remote_buffer_request", "size": 10_000_000})
        assert reply["created"]["data_size"] == 10_000_000
        sock.sendall(bytes(1000))
    wait_until(lambda: local.status.memory_usage == 0, "the memory is free")
    assert not local.exists(vineyard.ObjectID(reply["id"]))
    assert remote.connected


def test_the_server_ends_with_its_block_and_leaves_nothing(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    path = str(tmp_path / "v.sock")
    with start_vineyardd(size="16M", socket=path, rpc_socket_port=0) as (process, yielded, _):
        assert (yielded, Path(f"{path}.depot").exists()) == (path, True)
        depot = vineyard.connect(path)
        assert depot.status.memory_limit == 16 << 20
        depot.put(np.zeros(15 << 20, np.uint8))
        depot.close()
    assert process.returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) in ([], ["data"])
    with pytest.raises(C.ConnectionFailedException):
        vineyard.connect(path)


def test_a_port_in_use_and_a_senseless_size_are_refused(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(RuntimeError, match="cannot listen"),
            start_vineyardd(size="16M", rpc_socket_port=port),
        ):
            pass
    for size in ("1000", "nonsense", 5, "-1"):
        with pytest.raises(RuntimeError), start_vineyardd(size=size):
            pass


def test_a_forked_child_has_a_connection_of_its_own(both: tuple[Client, Client, int]) -> None:
    local, remote, _ = both
    id = remote.put(np.arange(1000))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for _ in range(50):
                assert (remote.get(id) == np.arange(1000)).all()
            remote.close()
            code = 0
        finally:
            os._exit(code)
    for _ in range(50):
        assert (remote.get(id) == np.arange(1000)).all()
    assert os.waitpid(child, 0)[1] == 0
    assert remote.connected
    local.delete(id)
