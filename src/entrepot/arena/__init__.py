"""The arena: shared memory for bulk bytes, mapped by every process of a depot."""

from __future__ import annotations

from entrepot.arena.arena import Arena, ArenaStatistics
from entrepot.arena.bulk import Bulk, Draft, Ref
from entrepot.arena.paged import PagedBulk

__all__ = ["Arena", "ArenaStatistics", "Bulk", "Draft", "PagedBulk", "Ref"]
