"""The depot that a client works on, and the handles that it has used."""

from __future__ import annotations

from typing import Final, TypeVar

import entrepot
from entrepot import Depot
from entrepot.engine.protocol import Engine
from entrepot.errors import LimitError
from entrepot.layers.commits import Commits
from entrepot.layers.containers import Container
from entrepot.layers.entries import NoContainerError, Place, split
from entrepot.layers.streams import Stream
from entrepot.layers.tables import Table

__all__ = ["CLOSED", "Store"]

CLOSED: Final = "Cannot send request on a closed client"
_K = TypeVar("_K")
_V = TypeVar("_V")
_KEPT_MAX: Final = 1000
"""Handles of one kind. A program that uses more makes them anew."""


class Store:
    """A depot of this machine, opened for one client.

    Args:
        name: Which depot; by default this user's.
    """

    def __init__(self, name: str | None) -> None:
        self.depot: Depot = entrepot.open(name)
        self.tables: dict[tuple[str, str], Table] = {}
        """By container and path, as they were given."""
        self._streams: dict[tuple[str, str], Stream] = {}
        self._places: dict[tuple[str, str], tuple[Place, str]] = {}
        self._containers: dict[str, Container] = {}
        self.is_closed = False

    @property
    def engine(self) -> Engine:
        """The engine of what is on disk."""
        return self.depot.attached.durable().engine

    @property
    def commits(self) -> Commits:
        """The writes of this process to what is on disk."""
        return self.depot.attached.durable().commits

    def table(self, container: str, path: str) -> Table:
        """Return the table of a path; "" is the container itself.

        Raises:
            LimitError: They cannot be names.
        """
        table = self.tables.get((container, path))
        if table is None:
            # No container has such a name: it is no path beneath another one's either.
            self.container(container)
            table = self.depot.table(f"{container}/{path}")
            _keep(self.tables, (container, path), table)
        return table

    def stream(self, container: str, path: str) -> Stream:
        """Return the stream of a path.

        Raises:
            LimitError: They cannot be names.
        """
        stream = self._streams.get((container, path))
        if stream is None:
            self.container(container)
            stream = self.depot.stream(f"{container}/{path}")
            _keep(self._streams, (container, path), stream)
        return stream

    def container(self, name: str) -> Container:
        """Return a container.

        Raises:
            LimitError: No container can be named so.
        """
        container = self._containers.get(name)
        if container is None:
            container = self.depot.container(name)
            _keep(self._containers, name, container)
        return container

    def place(self, container: str, path: str) -> tuple[Place, str]:
        """Return where a path is.

        Raises:
            LimitError: It cannot be one.
            NoContainerError: No container can be named so.
        """
        found = self._places.get((container, path))
        if found is None:
            self.check_name(container)
            at = split(path)
            found = Place(container, at.directory), at.name
            _keep(self._places, (container, path), found)
        return found

    def check_name(self, container: str) -> None:
        """Refuse to look for a container that cannot be there.

        Raises:
            NoContainerError: No container can be named so.
        """
        try:
            self.container(container)
        except LimitError as error:
            raise NoContainerError(container) from error

    def close(self) -> None:
        """Close the depot's handle; may be repeated."""
        self.is_closed = True
        self.depot.close()


def _keep(kept: dict[_K, _V], key: _K, handle: _V) -> None:
    if len(kept) >= _KEPT_MAX:
        kept.clear()
    kept[key] = handle
