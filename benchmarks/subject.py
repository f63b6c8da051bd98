"""Entrepot itself, behind the same verbs as its peers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import entrepot
from benchmarks.rivals import Queue, Rival, Store

__all__ = ["Address", "address_of", "objects_of", "open_depot", "queue_of", "subject"]

SPACE = "benchmark"


@dataclass(frozen=True, slots=True)
class Address:
    """How another process finds a depot."""

    name: str
    directory: str
    data_directory: str


def address_of(depot: entrepot.Depot) -> Address:
    """Return what `open_depot` needs."""
    return Address(depot.name, str(depot.path.parent), str(depot.data_path.parent))


def open_depot(address: Address) -> entrepot.Depot:
    """Open the depot of another process."""
    return entrepot.open(
        address.name, directory=address.directory, data_directory=address.data_directory
    )


def objects_of(depot: entrepot.Depot) -> Store:
    """Return the objects of a depot as a store."""
    objects = depot.objects
    return Store(objects.put, objects.get, objects.exists, objects.delete)


def queue_of(depot: entrepot.Depot, variable: str) -> Queue:
    """Return a variable of a space as a queue."""
    space = depot.space(SPACE)
    return Queue(
        partial(space.store, variable),
        partial(space.fetch, variable),
        partial(space.find, variable),
    )


@contextmanager
def subject(*, memory: str | None = None) -> Generator[tuple[Rival, entrepot.Depot]]:
    """Yield entrepot on a depot of its own, destroyed at the end."""
    with entrepot.temporary(memory=memory) as depot:
        yield Rival("entrepot", 1.0, objects_of(depot), partial(queue_of, depot)), depot
