"""Instances that `deploy.local` starts: original clients use them as they use vineyardd's."""

from __future__ import annotations

import importlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.vineyard.deploy import local
from support.originals import program
from support.peers import Peer

pytestmark = pytest.mark.interop


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if program() is None:
        pytest.skip("pip install vineyard vineyard-bdist (Linux, Python 3.11)")
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    for name in ("VINEYARD_IPC_SOCKET", "VINEYARD_RPC_ENDPOINT", "VINEYARD_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


def share(here: Any, *where: Any) -> dict[str, Any]:
    """Connect as an original program does; put a value, get it, and tell of the instance."""
    import vineyard

    here.client = vineyard.connect(*where)
    id = here.client.put((5, "text"))
    meta = here.client.meta[0]
    return {
        "value": here.client.get(id),
        "limit": here.client.status.memory_limit,
        "version": here.client.version,
        "ipc_socket": meta["ipc_socket"],
        "rpc_endpoint": meta["rpc_endpoint"],
    }


def test_original_clients_use_the_socket_and_the_port(peer: Peer, tmp_path: Path) -> None:
    path = str(tmp_path / "v.sock")
    with local.start_vineyardd(size="16M", socket=path, rpc_socket_port=0) as (process, at, _):
        assert at == path
        told = peer.run(share, path)
        host, port = told["rpc_endpoint"].split(":")
        assert told == {
            "value": (5, "text"), "limit": 16 << 20, "version": "0.24.2", "ipc_socket": path,
            "rpc_endpoint": f"127.0.0.1:{port}",
        }  # fmt: skip
        assert peer.run(share, host, int(port)) == told
        assert process.poll() is None
    assert process.poll() == 0
    assert list(tmp_path.glob("v.sock*")) == []
    assert not peer.run(lambda here: here.client.connected)


def test_without_a_port_there_is_only_the_socket(peer: Peer) -> None:
    with local.start_vineyardd(size="16M", rpc=False) as (_, path, _):
        assert peer.run(share, path)["value"] == (5, "text")


def test_original_programs_find_the_instance_of_their_parent() -> None:
    path = local.try_init()
    try:
        assert local.get_current_socket() == path
        with Peer() as child:  # by VINEYARD_IPC_SOCKET
            assert child.run(share)["ipc_socket"] == path
    finally:
        local.shutdown()
    with socket.socket(socket.AF_UNIX) as probe:
        assert probe.connect_ex(path) != 0


def test_the_original_shuts_nothing_down_that_it_did_not_start(peer: Peer) -> None:
    with local.start_vineyardd(size="16M", rpc=False) as (process, path, _):
        peer.run(share, path)
        peer.run(lambda here: here.client.close())
        with Peer() as another:
            assert another.run(share, path)["value"] == (5, "text")
        assert process.poll() is None
    assert importlib.import_module("vineyard").__version__ == "0.24.2"
