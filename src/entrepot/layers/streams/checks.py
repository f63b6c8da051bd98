"""What may be wrong with the streams of a tier: for `Depot.check`."""

from __future__ import annotations

from collections.abc import Iterator

from entrepot.engine.held import held_key
from entrepot.engine.keys import Prefix, after
from entrepot.engine.protocol import Transaction
from entrepot.layers import entries
from entrepot.layers.entries import GROUPS, RECORDS, SHARD, STREAM, Entry, Path
from entrepot.layers.streams import core
from entrepot.layers.streams.core import GROUP_KEYS, MEMBER, RECORD, STREAM_KEY

__all__ = ["check"]

_MANY = 1 << 62


def check(tx: Transaction) -> list[str]:
    """Return what is wrong with streams, shards, records and consumer groups."""
    problems: list[str] = []
    shards, streams = set[int](), set[int]()
    going = set(entries.thrown_away(tx, entries.ENTRIES, _MANY))
    for container, path, entry in entries.walk(tx):
        if entry.kind == STREAM:
            streams.add(entry.inode)
            if tx.get(STREAM_KEY.int(entry.inode)) is None:
                problems.append(f"stream {path.whole!r} has lost its record")
        elif entry.kind == SHARD:
            shards.add(entry.inode)
            wrong = _wrong_shard(tx, entry)
            if container not in going:
                wrong += _wrong_place(tx, container, path)
            problems += [f"shard {path.whole!r} {what}" for what in wrong]
    shards.update(entries.thrown_away(tx, RECORDS, _MANY))
    streams.update(entries.thrown_away(tx, GROUPS, _MANY))
    problems += [f"records of {i:x} have no shard" for i in _inodes(tx, RECORD) if i not in shards]
    for prefix in (STREAM_KEY, *GROUP_KEYS):
        lost = (inode for inode in _inodes(tx, prefix) if inode not in streams)
        problems += [f"what consumers of {inode:x} said has no stream" for inode in lost]
    return problems + _lost_members(tx)


def _inodes(tx: Transaction, prefix: Prefix) -> Iterator[int]:
    """Yield the inodes that keys of a kind have, each once."""
    begin = prefix.begin
    while found := tx.range(begin, prefix.end, limit=1):
        inode = prefix.tail(found[0][0])[0]
        assert isinstance(inode, int)
        yield inode
        begin = after(prefix.int(inode))


def _wrong_place(tx: Transaction, container: int, path: Path) -> list[str]:
    above = entries.split(path.directory)
    stream = entries.find_entry(tx, container, above) if above.name else None
    if stream is None or stream.kind != STREAM or tx.get(STREAM_KEY.int(stream.inode)) is None:
        return ["is in no stream"]
    _, record = core.get_stream(tx, container, above)
    if path.name not in map(str, range(record.shards)):
        return [f"is none of the {record.shards} of its stream"]
    return []


def _wrong_shard(tx: Transaction, shard: Entry) -> list[str]:
    """Compare what a shard says of its records with what they are."""
    wrong: list[str] = []
    size, next_sequence, latest_ns = 0, 0, 0
    for sequence, block, stored in core.blocks(tx, shard):
        if next_sequence and sequence != next_sequence:
            wrong.append(f"has a gap before record {sequence}")
        if not block.records or block.arrived_ns < latest_ns:
            wrong.append(f"has a block at {sequence} that is empty or not in order")
        size += stored
        next_sequence, latest_ns = sequence + len(block.records), block.arrived_ns
    if next_sequence and next_sequence != shard.last_sequence + 1:
        wrong.append(f"ends at record {next_sequence - 1} and says {shard.last_sequence}")
    if size != shard.size:
        wrong.append(f"has {size} bytes of records and says {shard.size}")
    return wrong


def _lost_members(tx: Transaction) -> list[str]:
    problems: list[str] = []
    for key, _ in entries.pages(tx, MEMBER, 1000):
        inode, group, session, number = MEMBER.tail(key)
        assert isinstance(session, int)
        assert isinstance(inode, int)
        assert isinstance(number, int)
        if tx.get(held_key(session, "consumer", inode, str(group), number)) is None:
            problems.append(f"consumer {number:x} of group {group!r} is of no session")
    return problems
