"""The embedded engine: processes of one machine share LMDB files, nobody is a server."""

from __future__ import annotations

from entrepot.engine.lmdb.engine import LmdbEngine, Reader
from entrepot.engine.lmdb.session import LmdbSession, Slot, slots

__all__ = ["LmdbEngine", "LmdbSession", "Reader", "Slot", "slots"]
