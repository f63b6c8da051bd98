"""Values of vineyard's objects for who has no client of it: `depot.objects.get`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from entrepot.layers.objects.assembly import Snapshot
from entrepot.layers.objects.readers import Reader
from entrepot.layers.tier import Found
from entrepot.vineyard._local import Reading, bytes_in, missing
from entrepot.vineyard._meta import Object
from entrepot.vineyard._store import Store
from entrepot.vineyard.core.context import current_resolver
from entrepot.vineyard.data import STREAMS

__all__ = ["reader_of"]


def reader_of(typename: str) -> Reader | None:
    """Return what makes values of objects of a type; None of one that nobody registered.

    Streams are not values: they are read through a client.
    """
    if typename in STREAMS or current_resolver().find(typename) is None:
        return None
    return _read


def _read(found: Mapping[int, Found], id: int) -> Any:
    snapshot = Snapshot(dict(found), {}, {})
    meta = Reading(cast("Store", _SnapshotStore(snapshot)), snapshot).meta(id)
    if meta is None:
        raise missing(id)
    return current_resolver().run(Object.from_(meta))


class _SnapshotStore:
    """What resolvers ask of a store: the bytes of blobs."""

    instance_id = 0
    is_local = True

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def note(self, record: bytes, id: int) -> None:
        """Forget where a blob begins: nothing is put again through this."""

    def bytes_of(self, id: int) -> memoryview:
        """Return the bytes of a blob."""
        return bytes_in(self._snapshot, id)
