"""A client of a depot of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard._local import LocalStore
from entrepot.vineyard.core.client import Client, IPCClient
from support.homes import Home, home, peers

__all__ = ["home", "peers"]


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    depot = home.open("64M")
    client = Client(IPCClient(LocalStore(depot)))
    assert isinstance(client, vineyard.IPCClient)
    yield client
    if client.connected:
        client.clear()
        client.close()
