"""What a transaction does to the records of a stream.

A stream is a directory of shards (see `entries`), each an entry that counts its records.

Keys::

    ("record-stream", inode of the stream)      -> StreamRecord
    ("record", inode of a shard, sequence)      -> Block: records that came together,
                                                   of which the first has that number

Records are numbered by shard from 1, without gaps; numbers are never used again. Those of
one append to one shard are one block, so that a stream that is fed in batches is read in
batches. Blocks do not change; the oldest are dropped when all they hold is past the
retention, by later appends.

Bell: ("record", inode of a shard), rung by each append to it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from entrepot import settings
from entrepot.engine.keys import Prefix, after, pack_int
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, ExistsError, LimitError, NotFoundError
from entrepot.layers import entries
from entrepot.layers.entries import SHARD, STREAM, Entry, Path
from entrepot.layers.numbers import whole

__all__ = [
    "RECORD",
    "Appended",
    "Block",
    "New",
    "NotAStreamError",
    "Record",
    "StreamRecord",
    "Stretch",
    "TrimmedError",
]

STREAM_KEY = Prefix("record-stream")
RECORD = Prefix("record")
MEMBER = Prefix("member")
OWNER = Prefix("owner")
POSITION = Prefix("position")
GROUP_KEYS: Final = (MEMBER, OWNER, POSITION)
"""Of consumer groups; see `consumer`."""
_TRIMMED_AT_ONCE: Final = 16
"""Blocks that an append drops at most: two for each that comes would do."""
_BLOCKS_AT_ONCE: Final = 64


class StreamRecord(msgspec.Struct, array_like=True):
    """What a stream is."""

    shards: int
    retention_s: int


class Raw(msgspec.Struct, array_like=True, gc=False):
    """A record as it is kept."""

    data: bytes
    key: str | None = None
    info: bytes | None = None


class Block(msgspec.Struct, array_like=True, gc=False):
    """Records that came together."""

    arrived_ns: int
    records: list[Raw]


class New(NamedTuple):
    """A record that is to be appended."""

    data: bytes
    shard: int | None = None
    """None: by `key`, or the shards in turn."""
    key: str | None = None
    info: bytes | None = None


class Record(NamedTuple):
    """A record of a stream."""

    shard: int
    sequence: int
    """Its number in its shard, from 1."""
    arrived_ns: int
    """Nanoseconds since the epoch."""
    data: bytes
    key: str | None = None
    """The partition key, if one was given."""
    info: bytes | None = None
    """What the client that appended it said of itself."""


class Appended(NamedTuple):
    """Where a record went."""

    shard: int
    sequence: int


class Stretch(NamedTuple):
    """Records of one shard, and what is behind them."""

    records: list[Record]
    next: int
    """The sequence number to go on with."""
    left: int
    """How many records there are behind these."""
    behind_ns: int
    """How long after the last of these the latest record came; 0 if there is none behind."""


class TrimmedError(NotFoundError):
    """A record is asked for that retention has dropped."""


class NotAStreamError(ConflictError):
    """There is something of that name that is no stream."""


_decode_stream = msgspec.msgpack.Decoder(StreamRecord).decode
_decode_block = msgspec.msgpack.Decoder(Block).decode
_encode = msgspec.msgpack.Encoder().encode


# Streams.


def create_stream(
    tx: Transaction,
    container: int,
    path: Path,
    stream: StreamRecord,
    inodes: Sequence[int],
    now_ns: int,
) -> int:
    """Make a stream; return its inode.

    Raises:
        ConflictError: What is above is no directory.
        ExistsError: There is something of that name.
    """
    found = entries.find_entry(tx, container, path)
    if found is not None:
        what = "a stream" if found.kind == STREAM else "an entry"
        raise ExistsError(f"there is {what} {_named(tx, container, path)} already")
    numbers = iter(inodes)
    entry = Entry(STREAM, next(numbers), now_ns, now_ns)
    entries.make_directories(tx, container, path.directory, numbers, now_ns)
    entries.put_entry(tx, container, path, entry)
    tx.put(STREAM_KEY.int(entry.inode), _encode(stream))
    _make_shards(tx, container, path, range(stream.shards), numbers, now_ns)
    return entry.inode


def _make_shards(
    tx: Transaction,
    container: int,
    path: Path,
    shards: range,
    inodes: Iterator[int],
    now_ns: int,
) -> None:
    for shard in shards:
        entry = Entry(SHARD, next(inodes), now_ns, now_ns)
        entries.put_entry(tx, container, Path(path.whole, str(shard)), entry)


def get_stream(tx: Transaction, container: int, path: Path) -> tuple[int, StreamRecord]:
    """Return a stream's inode and what it is.

    Raises:
        NotAStreamError: There is something else of that name.
        NotFoundError: There is nothing.
    """
    entry = entries.find_entry(tx, container, path) if path.name else None
    if entry is None:
        raise NotFoundError(
            f"there is no stream {_named(tx, container, path)}",
            "depot.stream(PATH, shards=N) makes one",
        )
    if entry.kind != STREAM:
        raise NotAStreamError(f"{_named(tx, container, path)} is no stream")
    raw = tx.get(STREAM_KEY.int(entry.inode))
    assert raw is not None, "a stream's entry and its record are made together"
    return entry.inode, _decode_stream(raw)


def _named(tx: Transaction, container: int, path: Path) -> str:
    """Return a path as its user wrote it, container included: for messages."""
    names = (each.name for each in entries.list_containers(tx) if each.id == container)
    return repr("/".join([*names, path.whole]))


def describe(tx: Transaction, container: str, path: Path) -> StreamRecord:
    """Return what a stream is, in a container of this name.

    Raises:
        NoContainerError: The container is not there.
        NotAStreamError: There is something else of that name.
        NotFoundError: There is nothing.
    """
    return get_stream(tx, entries.get_container(tx, container).id, path)[1]


def resize_stream(
    tx: Transaction, container: int, path: Path, shards: int, inodes: Sequence[int], now_ns: int
) -> None:
    """Add shards to a stream.

    Raises:
        ConflictError: There is an entry with the name of one of them.
        LimitError: It has more than that already.
        NotFoundError: There is no such stream.
    """
    inode, stream = get_stream(tx, container, path)
    if shards < stream.shards:
        raise LimitError(
            f"the stream {_named(tx, container, path)} has {stream.shards} shards, "
            f"and {shards} are asked for",
            "shards can only be added",
        )
    for shard in range(stream.shards, shards):
        at = Path(path.whole, str(shard))
        if entries.find_entry(tx, container, at) is not None:
            raise ConflictError(
                f"there is an entry {at.whole!r} where a shard is to be", "delete it first"
            )
    _make_shards(tx, container, path, range(stream.shards, shards), iter(inodes), now_ns)
    stream.shards = shards
    tx.put(STREAM_KEY.int(inode), _encode(stream))


def delete_stream(tx: Transaction, container: int, path: Path) -> None:
    """Delete a stream with its shards; other files in its directory keep that directory.

    Raises:
        NotFoundError: There is no such stream.
    """
    _, stream = get_stream(tx, container, path)
    for shard in range(stream.shards):
        entry = find_shard(tx, container, path, shard)
        if entry is not None:
            entries.remove_entry(tx, container, Path(path.whole, str(shard)), entry)
    entry = entries.find_entry(tx, container, path)
    assert entry is not None, "the stream was just found"
    end_stream(tx, container, path, entry)


def end_stream(tx: Transaction, container: int, path: Path, entry: Entry) -> None:
    """Take from a directory what makes it a stream; delete it if it is empty."""
    entries.remove_entry(tx, container, path, entry)
    if not entries.is_empty(tx, container, path.whole):
        entry.kind = entries.DIRECTORY
        entries.put_entry(tx, container, path, entry)


def get_shard(tx: Transaction, container: int, path: Path, shard: int) -> Entry:
    """Return the entry of a shard.

    Raises:
        LimitError: The stream has not so many, or the shard was deleted.
        NotFoundError: There is no such stream.
    """
    shard = whole("shard", shard)
    _, stream = get_stream(tx, container, path)
    entry = find_shard(tx, container, path, shard) if 0 <= shard < stream.shards else None
    if entry is None:
        raise ShardError(shard, stream.shards, path)
    return entry


def find_shard(tx: Transaction, container: int, path: Path, shard: int) -> Entry | None:
    """Return the entry of a shard; None if it was deleted."""
    entry = entries.find_entry(tx, container, Path(path.whole, str(shard)))
    return entry if entry is not None and entry.kind == SHARD else None


class ShardError(LimitError):
    """A stream has no such shard."""

    def __init__(self, shard: int, shards: int, path: Path) -> None:
        super().__init__(f"{path.whole!r} has the shards 0 to {shards - 1}, and not {shard}")
        self.args = (shard, shards, path)


# Appending.


def append_records(
    tx: Transaction,
    container: int,
    path: Path,
    records: Sequence[New],
    turn: int,
    now_ns: int,
    *,
    all_or_none: bool = False,
) -> list[Appended | ShardError]:
    """Append records; return where each went, or why it went nowhere.

    Args:
        tx: The transaction.
        container: The container's id.
        path: The stream.
        records: What is appended, in order.
        turn: The shard of the first record that says nothing of its own.
        now_ns: When they arrive; never before what arrived in the shard before.
        all_or_none: Append nothing if one of them can go nowhere.

    Raises:
        NotFoundError: There is no such stream.
        ShardError: One can go nowhere, and it is all or none.
    """
    _, stream = get_stream(tx, container, path)
    by_shard: dict[int, list[int]] = {}
    results: list[Appended | ShardError] = []
    for number, record in enumerate(records):
        shard = record.shard
        if shard is None:
            if record.key is not None:
                shard = zlib.crc32(record.key.encode("utf-8", "surrogatepass")) % stream.shards
            else:
                shard, turn = turn % stream.shards, turn + 1
        if 0 <= shard < stream.shards:
            by_shard.setdefault(shard, []).append(number)
            results.append(Appended(shard, 0))
        else:
            results.append(ShardError(shard, stream.shards, path))
    found = {shard: find_shard(tx, container, path, shard) for shard in by_shard}
    for shard, entry in found.items():
        if entry is None:
            for number in by_shard[shard]:
                results[number] = ShardError(shard, stream.shards, path)
    if all_or_none:
        for result in results:
            if isinstance(result, ShardError):
                raise result
    for shard, entry in found.items():
        if entry is None:
            continue
        numbers = by_shard[shard]
        first = entry.last_sequence + 1
        _append(tx, entry, [records[number] for number in numbers], stream, now_ns)
        entries.put_entry(tx, container, Path(path.whole, str(shard)), entry)
        for sequence, number in enumerate(numbers, first):
            results[number] = Appended(shard, sequence)
    return results


def _append(
    tx: Transaction, entry: Entry, records: Sequence[New], stream: StreamRecord, now_ns: int
) -> None:
    """Append records to a shard, in blocks, and drop what is past its time."""
    arrived_ns = entries.next_moment(entry, now_ns)
    block: list[Raw] = []
    size = 0
    sequence = entry.last_sequence + 1
    for record in records:
        block.append(Raw(record.data, record.key, record.info))
        size += len(record.data)
        if size >= settings.BLOCK_BYTES_MAX:
            sequence = _put_block(tx, entry, sequence, Block(arrived_ns, block))
            block, size = [], 0
    if block:
        _put_block(tx, entry, sequence, Block(arrived_ns, block))
    entry.modified_ns = arrived_ns
    trim_shard(tx, entry, now_ns - stream.retention_s * 1_000_000_000, _TRIMMED_AT_ONCE)
    tx.ring(RECORD.int(entry.inode))


def _put_block(tx: Transaction, entry: Entry, sequence: int, block: Block) -> int:
    raw = _encode(block)
    tx.put(RECORD.int(entry.inode) + pack_int(sequence), raw)
    entry.size += len(raw)
    entry.last_sequence = sequence + len(block.records) - 1
    return entry.last_sequence + 1


def trim_shard(tx: Transaction, entry: Entry, before_ns: int, limit: int) -> int:
    """Drop up to `limit` blocks that arrived before; the caller puts the entry."""
    begin = RECORD.int(entry.inode)
    dropped = 0
    # One at a time: mostly there is nothing to drop, and blocks may be large.
    while dropped < limit:
        found = tx.range(begin, after(begin), limit=1)
        if not found or _decode_block(found[0][1]).arrived_ns >= before_ns:
            break
        key, raw = found[0]
        tx.delete(key)
        entry.size -= len(raw)
        dropped += 1
    return dropped


# Reading.


def first_sequence(tx: Transaction, entry: Entry) -> int:
    """Return the number of the oldest record that is kept, or will come."""
    begin = RECORD.int(entry.inode)
    found = tx.range(begin, after(begin), limit=1)
    return _sequence_of(found[0][0], begin) if found else entry.last_sequence + 1


def sequence_at(tx: Transaction, entry: Entry, moment_ns: int) -> int:
    """Return the number of the first record that arrived then or later, or will come."""
    begin = RECORD.int(entry.inode)
    low, high = first_sequence(tx, entry), entry.last_sequence + 1
    while low < high:  # the answer is from `low` to `high`
        middle = (low + high) // 2
        ((key, raw),) = tx.range(begin, begin + pack_int(middle) + b"\x00", limit=1, reverse=True)
        block, first = _decode_block(raw), _sequence_of(key, begin)
        if block.arrived_ns < moment_ns:
            low = first + len(block.records)
        else:
            high = first
    return high


def read_shard(
    tx: Transaction, entry: Entry, shard: int, sequence: int, limit: int, bytes_max: int
) -> Stretch:
    """Return records from a sequence number on.

    Raises:
        LimitError: So many records there never were.
        TrimmedError: They were dropped.
    """
    begin = RECORD.int(entry.inode)
    if sequence == entry.last_sequence + 1:
        return Stretch([], sequence, 0, 0)
    if not 0 < sequence <= entry.last_sequence:
        raise LimitError(
            f"shard {shard} has no record {sequence}, the latest one is {entry.last_sequence}"
        )
    found = tx.range(begin, begin + pack_int(sequence) + b"\x00", limit=1, reverse=True)
    if not found:
        first = first_sequence(tx, entry)
        raise TrimmedError(
            f"record {sequence} of shard {shard} was dropped, the oldest one kept is {first}",
            "its retention is over: begin with the earliest",
        )
    records: list[Record] = []
    size, next_sequence = 0, sequence
    while found:
        key = begin
        block = None
        for key, raw in found:
            block = _decode_block(raw)
            skipped = max(sequence - _sequence_of(key, begin), 0)
            for record in block.records[skipped : skipped + limit - len(records)]:
                if records and size + len(record.data) > bytes_max:
                    size = bytes_max
                    break
                records.append(
                    Record(
                        shard,
                        next_sequence,
                        block.arrived_ns,
                        record.data,
                        record.key,
                        record.info,
                    )
                )
                size += len(record.data)
                next_sequence += 1
            if len(records) >= limit or size >= bytes_max:
                break
        if len(records) >= limit or size >= bytes_max or next_sequence > entry.last_sequence:
            break
        assert block is not None, "a block was found"
        # As many as are needed if all are like the last one: they may be large.
        blocks = (limit - len(records)) // len(block.records) + 1
        found = tx.range(key + b"\x00", after(begin), limit=min(blocks, _BLOCKS_AT_ONCE))
    left = entry.last_sequence + 1 - next_sequence
    behind_ns = 0
    if left:
        ((_, latest),) = tx.range(begin, after(begin), limit=1, reverse=True)
        behind_ns = _decode_block(latest).arrived_ns - records[-1].arrived_ns
    return Stretch(records, next_sequence, left, behind_ns)


def blocks(tx: Transaction, entry: Entry) -> Iterator[tuple[int, Block, int]]:
    """Yield the first number, the records and the stored size of each block of a shard."""
    begin = key = RECORD.int(entry.inode)
    while found := tx.range(key, after(begin), limit=_BLOCKS_AT_ONCE):
        for at, raw in found:
            yield _sequence_of(at, begin), _decode_block(raw), len(raw)
        key = found[-1][0] + b"\x00"


def _sequence_of(key: bytes, begin: bytes) -> int:
    return int.from_bytes(key[len(begin) + 1 :], "big")
