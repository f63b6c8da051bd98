"""Originals, and our faces of them, for tests that run against both."""

from __future__ import annotations

import importlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.conditions import PATIENCE_S, wait_until
from support.homes import Home

__all__ = ["Subject", "gateway_socket", "program", "subject"]


class Subject(NamedTuple):
    """A vineyard, and a client of it."""

    vineyard: Any
    client: Any
    is_real: bool


@pytest.fixture(params=["face", "real", "gateway"])
def subject(request: pytest.FixtureRequest, home: Home) -> Iterator[Subject]:
    """Yield our face, the original, and the original's client on our server."""
    if request.param == "face":
        yield from face(home)
    elif request.param == "real":
        yield from real()
    else:
        yield from gateway(request.getfixturevalue("gateway_socket"))


@pytest.fixture(scope="module")
def gateway_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the socket of a server of ours, which the original's client can use."""
    from entrepot.vineyard.deploy.local import start_vineyardd

    if program() is None:
        pytest.skip("pip install vineyard vineyard-bdist (Linux, Python 3.11)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENTREPOT_DATA", str(tmp_path_factory.mktemp("data")))
        with start_vineyardd(size="64M", rpc_socket_port=0) as (_, path, _):
            yield path


def gateway(path: str) -> Iterator[Subject]:
    vineyard: Any = importlib.import_module("vineyard")
    client = vineyard.connect(path).fork()  # else the connection outlives the test
    yield Subject(vineyard, client, is_real=True)
    client.clear()
    client.close()


def face(home: Home) -> Iterator[Subject]:
    import entrepot.vineyard as vineyard
    from entrepot.vineyard._local import LocalStore
    from entrepot.vineyard.core.client import Client, IPCClient

    with Client(IPCClient(LocalStore(home.open("64M")))) as client:
        yield Subject(vineyard, client, is_real=False)
        client.clear()


def program() -> Path | None:
    """Return the original server's program, if it is installed."""
    if find_spec("vineyard") is None or find_spec("vineyard.bdist") is None:
        return None
    spec = find_spec("vineyard")
    assert spec is not None
    assert spec.origin is not None
    found = Path(spec.origin).parent / "bdist" / "vineyardd"
    return found if found.exists() else None


def real() -> Iterator[Subject]:
    server = program()
    if server is None:
        pytest.skip("pip install vineyard vineyard-bdist (Linux, Python 3.11)")
    vineyard: Any = importlib.import_module("vineyard")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "v.sock"
        words = [os.fspath(server), "--socket", os.fspath(path), "--size", "64M"]
        words += ["--meta", "local", "--norpc", "--deployment", "local"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(path.exists, "the server listens", PATIENCE_S)
            client = vineyard.connect(os.fspath(path))
            yield Subject(vineyard, client, is_real=True)
            client.close()
        finally:
            process.kill()  # it does not always heed SIGTERM
            process.wait()
