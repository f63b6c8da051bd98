"""Fixtures of these tests: a gateway with a container `lab`, and a connection to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import entrepot
from support.homes import Home, home
from support.http_raw import Raw

pytest.importorskip("httptools", reason="pip install 'entrepot[serve]'")

from entrepot.gateways.http import HttpGateway

__all__ = ["home"]


@pytest.fixture
def depot(home: Home) -> Iterator[entrepot.Depot]:
    """Return a depot with a container."""
    with home.open("64M") as depot:
        depot.create_container("lab")
        yield depot


@pytest.fixture
def serve(depot: entrepot.Depot) -> Iterator[Callable[..., HttpGateway]]:
    """Return what starts a gateway; all are closed when the test is over."""
    started: list[HttpGateway] = []

    def start(**options: Any) -> HttpGateway:
        gateway = HttpGateway(depot, **options)
        started.append(gateway)
        gateway.start()
        return gateway

    yield start
    for gateway in started:
        gateway.close(timeout=0)


@pytest.fixture
def gateway(serve: Callable[..., HttpGateway]) -> HttpGateway:
    """Return a gateway."""
    return serve()


@pytest.fixture
def dial(gateway: HttpGateway) -> Iterator[Callable[[], Raw]]:
    """Return what opens a connection; all are closed when the test is over."""
    opened: list[Raw] = []

    def connect() -> Raw:
        opened.append(Raw(gateway.host, gateway.port))
        return opened[-1]

    yield connect
    for raw in opened:
        raw.close()


@pytest.fixture
def raw(dial: Callable[[], Raw]) -> Raw:
    """Return a connection."""
    return dial()
