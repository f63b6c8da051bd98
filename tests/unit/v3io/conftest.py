"""A server that plays a part, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from entrepot.v3io.dataplane import Client
from support.homes import Home, home, peers
from support.http_server import HttpServer

__all__ = ["home", "peers"]


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """Return a server that records what it is asked."""
    with HttpServer() as server:
        yield server


@pytest.fixture
def client(server: HttpServer) -> Iterator[Client]:
    """Return a client of that server."""
    with Client(endpoint=server.url, access_key="secret", max_connections=3) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_from_the_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("V3IO_API", raising=False)
    monkeypatch.delenv("V3IO_ACCESS_KEY", raising=False)
    monkeypatch.setenv("ENTREPOT_DIR", str(home.root))
    monkeypatch.setenv("ENTREPOT_DATA", str(home.data))
    monkeypatch.setenv("ENTREPOT_DEPOT", home.name)
