"""Who is to evict: objects of a depot that go when their process ends, however it ends.

Owners and lifetimes evict what is theirs; a process that is killed cannot. So what is theirs
is noted as held by the depot's session of this process, and whoever notices that a session is
dead gives back what it held: see `entrepot.engine.held`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import entrepot
from entrepot.errors import EntrepotError
from entrepot.layers.objects.raw import RawBytes

__all__ = ["Keeper", "Place", "keeper_of"]


class Place(NamedTuple):
    """Which depot."""

    name: str | None
    directory: str | None
    data_directory: str | None


class Keeper:
    """The objects of one depot that this process is to evict. Made by `keeper_of`.

    It has a handle of the depot of its own while it has objects, or a connector uses it: so
    an owner that outlives its store still owns, and evicts.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        # Reentrant: an owner that the garbage collector drops meanwhile evicts its object.
        self._lock = threading.RLock()
        self._counts: Counter[int] = Counter()
        self._users = 0
        self._pid = os.getpid()
        self._depot: entrepot.Depot | None = None

    def join(self) -> None:
        """Let a connector use this, until it leaves."""
        with self._lock:
            self._users += 1

    def part(self) -> None:
        """End what `join` began."""
        with self._lock:
            self._users -= 1
            self._rest()

    def take(self, ids: Iterable[int]) -> None:
        """Note that this process is to evict objects; may be done more than once for each.

        Raises:
            EntrepotError: The depot cannot be opened, or is full.
        """
        with self._lock:
            self._after_fork()
            new = [id for id in ids if not self._counts[id]]
            self._raw().own(new)
            self._counts.update(ids)

    def release(self, ids: Iterable[int]) -> None:
        """Undo `take`: somebody else is to evict them."""
        with self._lock:
            self._after_fork()
            self._counts.subtract(id for id in ids if self._counts[id])
            gone = [id for id in ids if self._counts[id] <= 0]
            if gone and self._depot is not None:
                self._raw().disown(gone)
            self._forget(gone)

    def evict(self, ids: Iterable[int]) -> None:
        """Evict objects; those that are gone are passed over.

        Raises:
            ConflictError: One was made a member of another object.
        """
        with self._lock:
            self._after_fork()
            try:
                for id in ids:
                    self._raw().delete_owned(id)
            finally:
                self._forget(ids)

    def _forget(self, ids: Iterable[int]) -> None:
        for id in ids:
            del self._counts[id]  # a counter does not mind
        self._rest()

    def _raw(self) -> RawBytes:
        if self._depot is None:
            name, directory, data_directory = self._place
            self._depot = entrepot.open(name, directory=directory, data_directory=data_directory)
        return RawBytes(self._depot.attached.volatile)

    def _rest(self) -> None:
        """Let go of the depot, if there is nothing to keep."""
        if not self._counts and self._users <= 0 and self._depot is not None:
            depot, self._depot = self._depot, None
            depot.close()

    def _after_fork(self) -> None:
        if self._pid != os.getpid():  # what the parent is to evict, it does
            self._pid = os.getpid()
            self._counts.clear()

    def forget_threads(self) -> None:
        """Forget who is at work here: in a forked child, where there is nobody else."""
        self._lock = threading.RLock()


_keepers: dict[Place, Keeper] = {}


def keeper_at(place: Place) -> Keeper:
    """Return the keeper of a depot: there is one in a process."""
    return _keepers.setdefault(place, _keepers.get(place) or Keeper(place))


def keeper_of(connector: Any) -> Keeper | None:
    """Return who keeps the objects of a connector that is configured so; None for most kinds.

    Args:
        connector: A `ConnectorConfig`.
    """
    with contextlib.suppress(ValueError, EntrepotError):
        find = getattr(connector.get_connector_type(), "keeper", None)
        return None if find is None else find(**connector.options)
    return None


def _forget_threads() -> None:
    for keeper in _keepers.values():
        keeper.forget_threads()


os.register_at_fork(after_in_child=_forget_threads)
