"""Work for processes of multiprocessing, which must be able to import it."""

from __future__ import annotations

import entrepot

__all__ = ["square", "sum_of"]


def square(directory: str, name: str, id: int) -> int:
    """Put the square of an object into the depot; return its id."""
    with entrepot.open(name, directory=directory) as depot:
        value = depot.objects.get(id)
        return int(depot.objects.put(value * value))


def sum_of(directory: str, name: str, id: int) -> int:
    """Return the sum of an array."""
    with entrepot.open(name, directory=directory) as depot:
        return int(depot.objects.get(id).sum())
