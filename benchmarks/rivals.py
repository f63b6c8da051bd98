"""What every contestant is asked to do, whoever it is: the verbs, and the turns made of them.

Entrepot (subject.py) and its peers (peers.py) come as a `Rival`: a store of values by key, a
factory of queues, or both. The functions below turn a verb into a contestant, the same way
for all, so that nobody pays for a wrapper that another does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.harness import Contestant

__all__ = [
    "Queue",
    "Rival",
    "Store",
    "asking",
    "fetching",
    "finding",
    "getting",
    "putting",
    "storing",
]


@dataclass(frozen=True, slots=True)
class Store:
    """Values by key."""

    put: Callable[[Any], Any]
    """Keep a value under a new key and return the key."""
    get: Callable[[Any], Any]
    """Return the value of a key."""
    exists: Callable[[Any], bool]
    """Tell whether a key has a value."""
    delete: Callable[[list[Any]], object]
    """Remove keys."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Values in order."""

    store: Callable[[Any], object]
    """Append a value."""
    fetch: Callable[[], Any]
    """Wait for the oldest value, remove it and return it."""
    find: Callable[[], Any] | None = None
    """Wait for the oldest value and return it; None where a queue cannot do that."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Somebody who does some of it."""

    name: str
    times: float
    """How many times faster entrepot has to be."""
    store: Store | None = None
    queue: Callable[[str], Queue] | None = None
    """Return the queue of a name, which is empty at first."""


def putting(name: str, store: Store, value: object) -> Contestant:
    """Put a value; what was put is deleted behind each turn."""
    keys: list[Any] = []
    put, keep = store.put, keys.append

    def call() -> None:
        keep(put(value))

    def after() -> None:
        store.delete(keys)
        keys.clear()

    return Contestant(name, call, after=after)


def getting(name: str, store: Store, value: object) -> Contestant:
    """Get a value that was put once, and let go of it."""
    return Contestant(name, partial(store.get, store.put(value)))


def asking(name: str, store: Store, value: object) -> Contestant:
    """Ask whether there is a value, and there is."""
    return Contestant(name, partial(store.exists, store.put(value)))


def storing(name: str, queue: Queue, value: object) -> Contestant:
    """Store a value; what was stored is fetched behind each turn."""
    stored = [0]

    def before(calls: int) -> None:
        stored[0] = calls

    def after() -> None:
        for _ in range(stored[0]):
            queue.fetch()

    return Contestant(name, partial(queue.store, value), before=before, after=after)


def fetching(name: str, queue: Queue, value: object) -> Contestant:
    """Fetch values that were stored ahead of each turn."""

    def before(calls: int) -> None:
        for _ in range(calls):
            queue.store(value)

    return Contestant(name, queue.fetch, before=before)


def finding(name: str, queue: Queue, value: object) -> Contestant:
    """Find the one value that is there."""
    if queue.find is None:
        raise TypeError(f"{name} cannot find")
    queue.store(value)
    return Contestant(name, queue.find)
