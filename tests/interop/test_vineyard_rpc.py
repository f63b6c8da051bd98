"""The original RPC client on our server, and our client on the original server."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import entrepot.vineyard
from entrepot.vineyard.deploy.local import start_vineyardd
from support.conditions import PATIENCE_S, wait_until
from support.originals import program

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:No other vineyard instance:UserWarning"),
    pytest.mark.filterwarnings("ignore:Passing a BlockManager:DeprecationWarning"),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["their client on our server", "our client on their server"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    server = program()
    if server is None:
        pytest.skip("pip install vineyard vineyard-bdist (Linux, Python 3.11)")
    port = free_port()
    if request.param.startswith("their"):
        vineyard: Any = importlib.import_module("vineyard")
        monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
        with start_vineyardd(size="64M", rpc_socket_port=port):
            yield vineyard.connect("127.0.0.1", port)
        return
    with tempfile.TemporaryDirectory() as directory:
        words = [
            os.fspath(server),
            "--socket",
            f"{directory}/v.sock",
            "--size",
            "64M",
            "--meta",
            "local",
        ]
        words += ["--rpc_socket_port", str(port), "--deployment", "local"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: listens(port), "the server listens", PATIENCE_S)
            with entrepot.vineyard.connect("127.0.0.1", port) as client:
                yield client
        finally:
            process.kill()  # it does not always heed SIGTERM
            process.wait()


def test_values_go_there_and_back(client: Any) -> None:
    for value in (5, 2.5, "text", (1, ("a",)), None, {"k": [1]}, b"bytes"):
        found = client.get(client.put(value))
        assert (bytes(found) if isinstance(value, bytes) else found) == value
    for array in (
        np.arange(5),
        np.arange(1_000_000.0),
        np.zeros((0, 3)),
        np.arange(6).reshape(2, 3),
    ):
        np.testing.assert_array_equal(client.get(client.put(array)), array)
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    assert client.get(client.put(frame)).to_numpy().tolist() == frame.to_numpy().tolist()


def test_names_deletes_and_errors_are_understood(client: Any) -> None:
    kinds: Any = (
        importlib.import_module("vineyard")._C
        if "entrepot" not in type(client).__module__
        else entrepot.vineyard._C
    )
    id = client.put(np.arange(3))
    with pytest.raises(kinds.InvalidException):
        client.put_name(id, "n")
    client.persist(id)
    client.put_name(id, "n")
    assert client.get_name("n") == id
    assert client.get(name="n").tolist() == [0, 1, 2]
    assert client.get(client.shallow_copy(id)).tolist() == [0, 1, 2]
    assert len(client.list_objects("vineyard::Tensor*")) == 2
    client.drop_name("n")
    with pytest.raises(kinds.ObjectNotExistsException):
        client.get_name("n")
    client.delete(id)
    assert not client.exists(id)
    with pytest.raises(kinds.ObjectNotExistsException):
        client.get(id)
    with pytest.raises(kinds.NotEnoughMemoryException):
        client.put(np.zeros(100_000_000, np.uint8))
    assert client.get(client.put(5)) == 5
    assert client.status.memory_limit == 64 << 20
