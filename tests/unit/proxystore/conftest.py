"""A home for the depots of these tests, and a store in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from entrepot.proxystore.store import Store
from support.connectors import depot_connector
from support.homes import Home, home

__all__ = ["home", "store"]


@pytest.fixture
def store(home: Home) -> Iterator[Store[Any]]:
    with depot_connector(home) as connector:
        connector.clear = True
        with Store("lab", connector, register=True) as store:
            yield store
