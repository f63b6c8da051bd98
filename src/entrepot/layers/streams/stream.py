"""A stream: records in shards, read from any place as often as one likes."""

from __future__ import annotations

import functools
import itertools
import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar, cast

from entrepot import settings
from entrepot.engine.keys import Prefix
from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import LimitError, TypeMismatchError
from entrepot.layers import entries
from entrepot.layers.attributes import Timestamp
from entrepot.layers.commits import Call
from entrepot.layers.entries import Path
from entrepot.layers.numbers import whole
from entrepot.layers.streams import core
from entrepot.layers.streams.core import Appended, New, Record, ShardError, Stretch
from entrepot.layers.tier import Tier
from entrepot.waiting import Deadline

if TYPE_CHECKING:
    from entrepot.layers.streams.consumer import Consumer, GroupInfo

__all__ = ["Since", "Stream", "StreamInfo"]

T = TypeVar("T")

Since: TypeAlias = "int | datetime | Literal['earliest', 'latest']"
"""Where to begin: a sequence number, a moment, the oldest record kept, or what comes next."""

EARLIEST: Final = "earliest"
LATEST: Final = "latest"


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a stream is, and what is in it."""

    shards: int
    retention_s: int
    records: int
    """How many were ever appended."""
    size: int
    """Bytes of those that are kept."""


class Shard(NamedTuple):
    """A shard, and where in it."""

    number: int
    inode: int
    sequence: int


class Stream:
    """Records in shards. Made by `Depot.stream`.

    A record is bytes; its shard is the one that is named, or that its key always goes to, or
    the shards in turn. Within a shard records are numbered from 1 and keep their order. What
    is acknowledged is on the disk, and is kept for the stream's retention.
    """

    def __init__(
        self, tier: Tier, container: str, path: Path, *, makes_container: bool = True
    ) -> None:
        self.use(tier)
        self._makes_container = makes_container
        self.container = container
        self.path = path
        self.name = f"{container}/{path.whole}"
        """The container and the path."""
        self._turn = itertools.count(random.randrange(settings.SHARDS_MAX))  # noqa: S311 no secret

    def use(self, tier: Tier) -> None:
        """Work on this tier: for the depot, when it closes."""
        self._tier = tier
        self.engine = tier.engine

    def __repr__(self) -> str:
        return f"<Stream {self.name!r}>"

    # The stream itself.

    def create(
        self,
        shards: int,
        *,
        retention_s: int = settings.RETENTION_S_DEFAULT,
        exist_ok: bool = False,
    ) -> None:
        """Make the stream, and the container and the directories above it.

        Args:
            shards: How many, 1 to 4096.
            retention_s: How long records are kept, in seconds.
            exist_ok: A stream that is there is left as it is.

        Raises:
            ConflictError: What is above is no directory.
            ExistsError: There is something of that name.
            LimitError: A number is out of range.
        """
        self._commit(self.creating(shards, retention_s=retention_s, exist_ok=exist_ok))

    def creating(
        self,
        shards: int,
        retention_s: int = settings.RETENTION_S_DEFAULT,
        *,
        exist_ok: bool = False,
    ) -> Call:
        """Return the write that `create` does: for faces and gateways."""
        check_shards(shards)
        retention_s = whole("retention", retention_s)
        if not 1 <= retention_s <= settings.RETENTION_S_MAX:
            raise LimitError(
                f"a retention of {retention_s} s, 1 to {settings.RETENTION_S_MAX} are allowed"
            )
        ids = self._tier.ids
        inodes = [ids.next() for _ in range(shards + self.path.whole.count("/") + 2)]
        stream = core.StreamRecord(shards, retention_s)
        return Call(
            _create,
            self.container,
            self.path,
            stream,
            inodes,
            time.time_ns(),
            exist_ok,
            self._makes_container,
        )

    def info(self) -> StreamInfo:
        """Return what the stream is.

        Raises:
            NotFoundError: It is not there.
        """
        return self.engine.read(_info, self.container, self.path)

    def resize(self, shards: int) -> None:
        """Add shards, which can be used at once. What a key's shard is changes with that.

        Raises:
            ConflictError: Something else has the name of a shard that is to be added.
            LimitError: It has more than that already.
            NotFoundError: It is not there.
        """
        self._commit(self.resizing(shards))

    def resizing(self, shards: int) -> Call:
        """Return the write that `resize` does: for faces and gateways."""
        check_shards(shards)
        inodes = [self._tier.ids.next() for _ in range(shards)]
        return Call(_resize, self.container, self.path, shards, inodes, time.time_ns())

    def delete(self) -> None:
        """Delete the stream with all its records.

        Raises:
            NotFoundError: It is not there.
        """
        self._tier.commits.write(_delete, self.container, self.path)
        self._tier.sweep()

    def trim(self) -> None:
        """Drop what is past the retention; appends do the same, little by little.

        Raises:
            NotFoundError: The stream is not there.
        """
        shard = 0
        while True:
            shards, dropped = self._tier.commits.write(
                _trim, self.container, self.path, shard, time.time_ns()
            )
            shard += dropped < settings.BATCH_KEYS
            if shard == shards:
                return

    # Writing.

    def append(
        self,
        data: bytes | str,
        *,
        shard: int | None = None,
        key: str | None = None,
        info: bytes | None = None,
    ) -> Appended:
        """Append a record; return its shard and its number there.

        Args:
            data: The record; a string as UTF-8.
            shard: Where; by default by `key`, or the shards in turn.
            key: Records of one key go to one shard, in order.
            info: What you want to say of yourself.

        Raises:
            LimitError: There is no such shard, or the record is too large.
            NotFoundError: The stream is not there.
            TypeMismatchError: The record is no bytes.

        Cost: one transaction, which threads share, and one wait for the disk.
        """
        (result,) = self.append_each([New(as_bytes(data, "a record"), shard, key, info)])
        if isinstance(result, ShardError):
            raise result
        return result

    def append_many(self, records: Iterable[bytes | str | New]) -> list[Appended]:
        """Append records in one transaction, all or none; return where each went.

        Raises:
            LimitError: There is no such shard, or a record is too large.
            NotFoundError: The stream is not there.
        """
        if isinstance(records, (bytes, str)) or not isinstance(records, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeMismatchError(
                f"records are a {type(records).__name__}", "give a list; `append` takes one record"
            )
        given = [r if isinstance(r, New) else New(as_bytes(r, "a record")) for r in records]
        results = self.append_each(given, all_or_none=True)
        return [result for result in results if isinstance(result, Appended)]

    def append_each(
        self, records: Sequence[New], *, all_or_none: bool = False
    ) -> list[Appended | ShardError]:
        """Append records in one transaction, each on its own: for faces and gateways."""
        return self._commit(self.appending(records, all_or_none=all_or_none)) if records else []

    def appending(self, records: Sequence[New], *, all_or_none: bool = False) -> Call:
        """Return the write that `append_each` does."""
        records = [_checked_record(record) for record in records]
        turn = next(self._turn)
        for _ in records[1:]:
            next(self._turn)
        return Call(_append, self.container, self.path, records, turn, time.time_ns(), all_or_none)

    def _commit(self, call: Call) -> Any:
        return self._tier.commits.write(call.fn, *call.args)

    # Reading.

    def seek(self, shard: int, since: Since) -> int:
        """Return the number of the record with which to begin.

        Args:
            shard: 0 to `info().shards` - 1.
            since: `"earliest"`, `"latest"` (what comes from now on), a moment (a datetime), or
                a number, which is checked: it may be that of the next record to come.

        Raises:
            LimitError: There is no such shard, or record.
            NotFoundError: The stream is not there, or the record was dropped.
        """
        return self.engine.read(_seek, self.container, self.path, shard, checked_since(since))

    def read(
        self,
        shard: int,
        *,
        since: Since = EARLIEST,
        limit: int = 1000,
        timeout: float | None = 0,
    ) -> Stretch:
        """Return records of a shard, oldest first, and the number to go on with.

        Args:
            shard: 0 to `info().shards` - 1.
            since: Where to begin; mostly `next` of the `Stretch` before.
            limit: Most records, 1 to 10,000.
            timeout: Seconds to wait if there is none; None for ever.

        Raises:
            LimitError: There is no such shard or record, or `limit` is out of range.
            NotFoundError: The stream is not there, or the record was dropped.

        Cost: one read transaction, mostly two ranges.
        Source: Kafka's consumer positions; v3io's seek types.
        """
        deadline = Deadline(timeout)
        bells, stretch = self.look(shard, since, limit)
        while not stretch.records and deadline.left() != 0:
            seen = self.engine.listen(bells)
            bells, stretch = self.look(shard, stretch.next, limit)
            if not stretch.records:
                self.engine.wait(bells, seen, deadline.left())
                bells, stretch = self.look(shard, stretch.next, limit)
        return stretch

    def tail(
        self,
        shards: Iterable[int] | None = None,
        *,
        since: Since = LATEST,
        timeout: float | None = None,
    ) -> Iterator[Record]:
        """Yield records as they come: in order within each shard.

        Args:
            shards: Which; by default all that there are, also those that are added.
            since: Where to begin, in each shard.
            timeout: It ends when so many seconds passed without a record; by default never.

        Raises:
            LimitError: There is no such shard or record.
            NotFoundError: The stream is not there, or was deleted.
        """
        return self._tail(self.tail_of(shards, since), timeout)

    def _tail(self, tail: Tail, timeout: float | None) -> Generator[Record]:
        deadline = Deadline(timeout)
        while True:
            bells = tail.bells()
            seen = self.engine.listen(bells)
            records = tail.take()
            if records:
                yield from records
                deadline = Deadline(timeout)
                continue
            left = deadline.left()
            if left == 0:
                return
            slice_s = settings.WAIT_SLICE_S if left is None else min(left, settings.WAIT_SLICE_S)
            if not self.engine.wait(bells, seen, slice_s):
                tail.look_for_shards()

    # The steps of a wait, for this class and its async twin.

    def tail_of(self, shards: Iterable[int] | None, since: Since) -> Tail:
        """Return where a tail begins; see `tail`."""
        return Tail(self.engine, self.container, self.path, shards, checked_since(since))

    def look(self, shard: int, since: Since, limit: int) -> tuple[list[bytes], Stretch]:
        """Read without waiting; return the bells that ring when there is more, too."""
        check_limit(limit)
        inode, stretch = self.engine.read(
            _read, self.container, self.path, shard, checked_since(since), limit
        )
        return [core.RECORD.int(inode)], stretch

    # Consumer groups.

    def consumer(self, group: str, *, since: Since = EARLIEST) -> Consumer:
        """Join a consumer group, which shares the stream's shards among its consumers.

        Args:
            group: Its name; it is there when somebody joins it.
            since: Where shards begin of which nothing was committed.

        Raises:
            LimitError: The group's name is empty or too long.
            NotFoundError: The stream is not there.
            TypeMismatchError: The group's name is no string.
        """
        from entrepot.layers.streams.consumer import Consumer

        return Consumer(self, checked_group(group), since)

    def groups(self) -> list[GroupInfo]:
        """Return the consumer groups, by name."""
        from entrepot.layers.streams.consumer import groups

        return self.engine.read(groups, self.container, self.path)

    def new_number(self) -> int:
        """Return a number that nobody else has: for consumers."""
        return self._tier.ids.next()

    def commit(self, fn: Callable[..., T], *args: object) -> T:
        """Run a write that others may share: for consumers."""
        return self._tier.commits.write(fn, *args)

    def sequences(self) -> list[tuple[int, int]]:
        """Return for each shard the numbers of its oldest record and of the next to come."""
        return self.engine.read(_sequences, self.container, self.path)


class Tail:
    """Where a reader is that follows some shards, or all there are."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        path: Path,
        shards: Iterable[int] | None,
        since: int | str | Timestamp,
    ) -> None:
        self._engine = engine
        self._at = container, path
        self._follows_all = shards is None
        self._positions = engine.read(_positions, *self._at, shards, since)

    def bells(self) -> list[bytes]:
        """Return what rings when there are records to take."""
        return [core.RECORD.int(shard.inode) for shard in self._positions]

    def take(self) -> list[Record]:
        """Return the next records of all shards, and go on behind them.

        Raises:
            NotFoundError: The stream was deleted, or a record was dropped before it was read.
        """
        found = [
            self._engine.read(_read, *self._at, at.number, at.sequence, 1000)[1]
            for at in self._positions
        ]
        self._positions = [
            at._replace(sequence=stretch.next)
            for at, stretch in zip(self._positions, found, strict=True)
        ]
        return [record for stretch in found for record in stretch.records]

    def look_for_shards(self) -> None:
        """Follow shards that were added, where all are followed."""
        if self._follows_all:
            known = {at.number for at in self._positions}
            there = self._engine.read(_positions, *self._at, None, EARLIEST)
            self._positions += [at for at in there if at.number not in known]


def check_shards(shards: int) -> None:
    """Refuse a number of shards.

    Raises:
        LimitError: It is out of range.
    """
    if type(shards) is not int or not 1 <= shards <= settings.SHARDS_MAX:
        raise LimitError(f"{shards!r} shards, 1 to {settings.SHARDS_MAX} are allowed")


def check_limit(limit: int) -> None:
    """Refuse a number of records.

    Raises:
        LimitError: It is out of range.
    """
    if type(limit) is not int or not 1 <= limit <= settings.RECORDS_MAX:
        raise LimitError(
            f"a limit of {limit!r}, 1 to {settings.RECORDS_MAX} are allowed", "give an int"
        )


def as_bytes(data: object, what: str) -> bytes:
    """Return what a user gave as bytes.

    Raises:
        TypeMismatchError: It is neither bytes nor a string.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytearray, memoryview)):
        return bytes(cast("bytearray", data))
    raise TypeMismatchError(f"{what} is a {type(data).__name__}", "give bytes or a string")


def _checked_record(record: New) -> New:
    """Return a record as transactions take it.

    Raises:
        LimitError: It is too large, or its key is no Unicode or too long.
        TypeMismatchError: A part of it is of another type.
    """
    data, shard, key, info = record
    if type(data) is not bytes or (info is not None and type(info) is not bytes):
        data = as_bytes(data, "a record")
        info = None if info is None else as_bytes(info, "the info of a record")
    if shard is not None:
        shard = whole("shard", shard)
    if key is not None:
        _check_key(key)
    if len(data) > settings.RECORD_BYTES_MAX:
        raise LimitError(
            f"a record has {len(data)} bytes, at most {settings.RECORD_BYTES_MAX} are allowed",
            "store it as an object, and its path as the record",
        )
    return New(data, shard, key, info)


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeMismatchError(
            f"a partition key is {key!r}, a {type(key).__name__}", "give a string"
        )
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise LimitError(f"the partition key {key!r} is no Unicode text") from error


def checked_group(group: object) -> str:
    """Return the name of a consumer group.

    Raises:
        LimitError: It is empty or too long.
        TypeMismatchError: It is no string.
    """
    if not isinstance(group, str):
        raise TypeMismatchError(
            f"a consumer group is named {group!r}, a {type(group).__name__}", "give a string"
        )
    if not 0 < len(group) <= settings.ENTRY_NAME_CHARS_MAX:
        raise LimitError(
            f"the name of a consumer group has {len(group)} characters, "
            f"1 to {settings.ENTRY_NAME_CHARS_MAX} are allowed"
        )
    return group


def checked_since(since: object) -> int | str | Timestamp:
    """Return where to begin, as transactions take it.

    Raises:
        TypeMismatchError: It is none of the forms.
    """
    if isinstance(since, datetime):
        return Timestamp.of(since)
    if isinstance(since, (int, Timestamp)) and not isinstance(since, bool):
        return since
    if isinstance(since, str) and since in (EARLIEST, LATEST):
        return since
    raise TypeMismatchError(
        f"since is {since!r}", 'a sequence number, a datetime, "earliest" or "latest"'
    )


# In transactions.


def _create(
    tx: Transaction,
    container: str,
    path: Path,
    stream: core.StreamRecord,
    inodes: Sequence[int],
    now_ns: int,
    exist_ok: bool,
    makes_container: bool,
) -> None:
    found = entries.find_container(tx, container)
    if found is None and not makes_container:
        raise entries.NoContainerError(container)
    number = inodes[-1] if found is None else found.id
    if found is not None and exist_ok:
        entry = entries.find_entry(tx, found.id, path)
        if entry is not None and entry.kind == entries.STREAM:
            return
    core.create_stream(tx, number, path, stream, inodes[:-1], now_ns)
    entries.make_container(tx, container, number, now_ns)


def _resize(
    tx: Transaction, container: str, path: Path, shards: int, inodes: Sequence[int], now_ns: int
) -> None:
    found = entries.get_container(tx, container)
    core.resize_stream(tx, found.id, path, shards, inodes, now_ns)


def _delete(tx: Transaction, container: str, path: Path) -> None:
    core.delete_stream(tx, entries.get_container(tx, container).id, path)


def _append(
    tx: Transaction,
    container: str,
    path: Path,
    records: Sequence[New],
    turn: int,
    now_ns: int,
    all_or_none: bool,
) -> list[Appended | ShardError]:
    number = entries.get_container(tx, container).id
    return core.append_records(tx, number, path, records, turn, now_ns, all_or_none=all_or_none)


def _trim(tx: Transaction, container: str, path: Path, shard: int, now_ns: int) -> tuple[int, int]:
    """Drop blocks of one shard; return how many shards there are, and how many blocks went."""
    number = entries.get_container(tx, container).id
    _, stream = core.get_stream(tx, number, path)
    entry = core.find_shard(tx, number, path, shard)
    if entry is None:
        return stream.shards, 0
    before_ns = now_ns - stream.retention_s * 1_000_000_000
    dropped = core.trim_shard(tx, entry, before_ns, settings.BATCH_KEYS)
    if dropped:
        entries.put_entry(tx, number, Path(path.whole, str(shard)), entry)
    return stream.shards, dropped


def position_of(tx: Transaction, entry: entries.Entry, since: object) -> int:
    """Return the number of the record with which to begin in a shard."""
    if since == EARLIEST:
        return core.first_sequence(tx, entry)
    if since == LATEST:
        return entry.last_sequence + 1
    if isinstance(since, Timestamp):
        return core.sequence_at(tx, entry, since.seconds * 1_000_000_000 + since.nanoseconds)
    assert isinstance(since, int)
    return since


def _seek(
    tx: Transaction, container: str, path: Path, shard: int, since: int | str | Timestamp
) -> int:
    number = entries.get_container(tx, container).id
    entry = core.get_shard(tx, number, path, shard)
    sequence = position_of(tx, entry, since)
    core.read_shard(tx, entry, shard, sequence, 1, 1)  # refuses one that is not there
    return sequence


def _read(
    tx: Transaction,
    container: str,
    path: Path,
    shard: int,
    since: int | str | Timestamp,
    limit: int,
) -> tuple[int, Stretch]:
    number = entries.get_container(tx, container).id
    entry = core.get_shard(tx, number, path, shard)
    sequence = position_of(tx, entry, since)
    stretch = core.read_shard(tx, entry, shard, sequence, limit, settings.RECORDS_BYTES_MAX)
    return entry.inode, stretch


def _positions(
    tx: Transaction,
    container: str,
    path: Path,
    shards: Iterable[int] | None,
    since: int | str | Timestamp,
) -> list[Shard]:
    number = entries.get_container(tx, container).id
    _, stream = core.get_stream(tx, number, path)
    found: list[Shard] = []
    for shard in range(stream.shards) if shards is None else shards:
        entry = core.get_shard(tx, number, path, shard)
        found.append(Shard(shard, entry.inode, position_of(tx, entry, since)))
    return found


def _sequences(tx: Transaction, container: str, path: Path) -> list[tuple[int, int]]:
    number = entries.get_container(tx, container).id
    _, stream = core.get_stream(tx, number, path)
    shards = [core.get_shard(tx, number, path, shard) for shard in range(stream.shards)]
    return [(core.first_sequence(tx, entry), entry.last_sequence + 1) for entry in shards]


def _info(tx: Transaction, container: str, path: Path) -> StreamInfo:
    number = entries.get_container(tx, container).id
    _, stream = core.get_stream(tx, number, path)
    shards = [
        entries.find_entry(tx, number, Path(path.whole, str(shard)))
        for shard in range(stream.shards)
    ]
    there = [entry for entry in shards if entry is not None]
    return StreamInfo(
        stream.shards,
        stream.retention_s,
        sum(entry.last_sequence for entry in there),
        sum(entry.size for entry in there),
    )


# Sweeping.


def sweep(tier: Tier) -> None:
    """Drop the records of shards and the groups of streams that were deleted, some at a time."""
    for kind, prefixes in (
        (entries.RECORDS, (core.RECORD,)),
        (entries.GROUPS, (core.STREAM_KEY, *core.GROUP_KEYS)),
    ):
        entries.sweep_all(tier.engine, kind, functools.partial(_begins, prefixes))


def _begins(prefixes: Sequence[Prefix], inode: int) -> list[bytes]:
    return [prefix.int(inode) for prefix in prefixes]
