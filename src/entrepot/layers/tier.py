"""A tier: the engine, the blob store and the numbers that a layer works with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from entrepot import settings
from entrepot.arena import Arena
from entrepot.arena.bulk import Bulk, Ref
from entrepot.arena.files import Files
from entrepot.engine.ids import Ids
from entrepot.engine.protocol import Engine, Transaction
from entrepot.layers import values
from entrepot.layers.commits import Commits

__all__ = ["Found", "Tier", "can_pin", "load", "open_record", "release_record"]


@dataclass(slots=True)
class Tier:
    """Where a thing lives: in memory, gone at a reboot, or on disk."""

    engine: Engine
    bulk: Bulk
    ids: Ids
    files: Files | None = None
    """Where large bodies of objects are; of the durable tier."""
    sweepers: Sequence[Callable[[Tier], object]] = ()
    """What removes what is left of large things that were deleted, one for each layer."""
    commits: Commits = field(init=False)
    _looked_s: float = field(default=-math.inf, init=False)
    """When somebody last looked for the dead."""

    def __post_init__(self) -> None:
        self.commits = Commits(self.engine)

    def sweep(self) -> None:
        """Remove what is left of large things that were deleted.

        Raises:
            DiskFullError: There is no room, not even to delete.
        """
        if self.files is not None:
            self.files.sweep()  # first: that makes room for the transactions that follow
        for sweeper in self.sweepers:
            sweeper(self)
        if self.files is not None:
            self.files.sweep()

    def notice_dead(self) -> None:
        """Now and then, give back what the dead held.

        Those who wait do so. But where all only ever ask, nobody does.
        """
        now = time.monotonic()
        if now - self._looked_s >= settings.WAIT_SLICE_S:
            self._looked_s = now
            self.engine.wait((), (), 0)

    def forget(self) -> None:
        """Forget what other threads did: in a forked child, where there are none."""
        self.ids.forget()
        self.commits.forget()


Found = tuple[bytes, memoryview | None]
"""A record, and a view of its bytes outside the catalog, pinned when the record was read."""


def can_pin(bulk: Bulk) -> bool:
    """Tell whether a view just now is one of the bytes, where that can be: no copy of them."""
    return not isinstance(bulk, Arena) or bulk.pins.count < settings.PINS_PER_SESSION


def open_record(tx: Transaction, bulk: Bulk, record: bytes) -> Found:
    """Return a record with a view of its blob, taken in the transaction that found it."""
    ref = values.bulk_ref(record)
    return record, None if ref is None else bulk.view(tx, ref)


def release_record(tx: Transaction, bulk: Bulk, record: bytes) -> None:
    """Give up a record's blob, if it has one."""
    ref: Ref | None = values.bulk_ref(record)
    if ref is not None:
        bulk.release(tx, ref)


def load(found: Found) -> Any:
    """Return the value of a record that was found."""
    return values.decode(found[0], found[1])
