"""Connectors of every kind, for tests that run on each."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from entrepot.proxystore.connectors.container import ContainerConnector, ContainerKey
from entrepot.proxystore.connectors.depot import DepotConnector, DepotKey
from entrepot.proxystore.connectors.file import FileConnector, FileKey
from entrepot.proxystore.connectors.local import LocalConnector, LocalKey
from support.homes import Home

__all__ = ["KEYS", "KINDS", "connector_of", "depot_connector"]


@contextmanager
def depot_connector(home: Home, **options: Any) -> Generator[DepotConnector]:
    with DepotConnector(
        home.name, directory=home.root, data_directory=home.data, memory="256M", **options
    ) as connector:
        yield connector


@contextmanager
def container_connector(home: Home) -> Generator[ContainerConnector]:
    with ContainerConnector("users", endpoint=f"depot:{home.name}") as connector:
        yield connector


@contextmanager
def file_connector(home: Home) -> Generator[FileConnector]:
    with FileConnector(str(Path(home.data) / "files")) as connector:
        yield connector


@contextmanager
def local_connector(home: Home) -> Generator[LocalConnector]:
    del home
    yield LocalConnector({}, include_data_in_config=True)


KINDS: dict[str, Callable[[Home], Any]] = {
    "depot": depot_connector,
    "container": container_connector,
    "file": file_connector,
    "local": local_connector,
}
KEYS: dict[str, Any] = {
    "depot": DepotKey(123),
    "container": ContainerKey("missing"),
    "file": FileKey("missing"),
    "local": LocalKey("missing"),
}


@contextmanager
def connector_of(kind: str, home: Home) -> Generator[Any]:
    with KINDS[kind](home) as connector:
        yield connector
