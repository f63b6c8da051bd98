"""A survey: what there is in the containers of a tier, without a look at all of it.

The entries of a directory lie side by side (see `entries`), so each directory that has any is
found with one look, however many those before it have. Nobody counts entries as they are
written, as that would make all writes to a directory wait for each other: a survey counts up to
a bound, and says where there is more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from entrepot.engine.keys import after
from entrepot.engine.protocol import Transaction
from entrepot.layers import entries
from entrepot.layers.entries import NO_BODY, OBJECT, SHARD, decode_entry

__all__ = ["DirectoryInfo", "directories"]

_ENTRIES_MAX: Final = 1000
"""Of one directory that are counted."""
_BYTES_MAX: Final = 16 << 20
"""Of one directory that are read for that: an item may be large."""
_ENTRIES_LEFT: Final = 100_000
"""Of all directories; when they are used up, of each only those of one look."""
_AT_ONCE: Final = 32
_NO_ATTRIBUTES: Final = bytes(entries.Entry(OBJECT, 0, 0, 0).attributes)


@dataclass(frozen=True, slots=True)
class DirectoryInfo:
    """What a directory of a container holds; what is beneath it has its own."""

    path: str
    """CONTAINER/DIRECTORY, or CONTAINER for its root."""
    items: int
    """Entries with attributes: with any, it is a table."""
    item_bytes: int
    objects: int
    """Entries with a body, or with nothing at all."""
    object_bytes: int
    shards: int
    """With any, it is a stream."""
    records: int
    """All that its shards ever got."""
    record_bytes: int
    """Of those that are kept."""
    has_more: bool
    """Whether it has entries that were not looked at: the numbers are bounds from below."""


def directories(tx: Transaction, container: str, limit: int) -> list[DirectoryInfo]:
    """Return up to `limit` directories of a container that have entries, by path.

    Raises:
        NoContainerError: The container is not there.

    Cost: one look for each, and one for each entry that is counted.
    """
    number = entries.get_container(tx, container).id
    begin, end = entries.ENTRY.int(number), after(entries.ENTRY.int(number))
    left = _ENTRIES_LEFT
    found: list[DirectoryInfo] = []
    while len(found) < limit and (first := tx.range(begin, end, limit=1)):
        directory = str(entries.ENTRY.tail(first[0][0])[1])
        beginning = entries.directory_key(number, directory)
        info, seen = _look(
            tx,
            beginning,
            f"{container}/{directory}".rstrip("/"),
            max(_AT_ONCE, min(left, _ENTRIES_MAX)),
        )
        found.append(info)
        left = max(0, left - seen)
        begin = after(beginning)
    return found


def _look(tx: Transaction, begin: bytes, path: str, most: int) -> tuple[DirectoryInfo, int]:
    """Count what a directory has, up to so many entries; return how many that were."""
    items = objects = shards = records = 0
    item_bytes = object_bytes = record_bytes = 0
    first, end = begin, after(begin)
    seen = size = 0
    while True:
        wanted = min(_AT_ONCE, most - seen)
        stretch = tx.range(first, end, limit=wanted + 1)
        for _, raw in stretch[:wanted]:
            entry = decode_entry(raw)
            attributes = bytes(entry.attributes)
            size += len(raw)
            if entry.kind == SHARD:
                shards += 1
                records += entry.last_sequence
                record_bytes += entry.size
                continue
            has_attributes = attributes != _NO_ATTRIBUTES
            if has_attributes:
                items += 1
                item_bytes += len(attributes)
            if entry.kind == OBJECT and (entry.body != NO_BODY or not has_attributes):
                objects += 1
                object_bytes += entry.size
        seen += min(len(stretch), wanted)
        has_more = len(stretch) > wanted
        if not has_more or seen >= most or size >= _BYTES_MAX:
            break
        first = stretch[wanted][0]
    counted = (items, item_bytes, objects, object_bytes, shards, records, record_bytes)
    return DirectoryInfo(path, *counted, has_more), seen
