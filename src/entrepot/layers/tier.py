"""A tier: the engine, the blob store and the numbers that a layer works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from entrepot import settings
from entrepot.arena import Arena
from entrepot.arena.bulk import Bulk, Ref
from entrepot.engine.ids import Ids
from entrepot.engine.protocol import Engine, Transaction
from entrepot.layers import values

__all__ = ["Found", "Tier", "can_pin", "load", "open_record", "release_record"]


@dataclass(slots=True)
class Tier:
    """Where a thing lives: in memory, gone at a reboot, or on disk."""

    engine: Engine
    bulk: Bulk
    ids: Ids


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
