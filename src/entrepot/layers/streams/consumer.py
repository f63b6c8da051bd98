"""Consumer groups: several consumers share a stream, each shard with one of them.

Keys::

    ("member", inode of the stream, group, session, number)  -> nothing: a consumer that lives
    ("held", session, "consumer", inode, group, number)      -> nothing: the same, by session
    ("owner", inode of the stream, group, shard)             -> session, number, 8 bytes each
    ("position", inode of the stream, group, shard)          -> the number of the next record

Who is in the group is known to all, so each consumer works out by itself which shards are
its own: of n consumers, in the order in which they are listed, the i-th has the shards i,
i + n, i + 2n, … It lets go of the others, and takes its own as soon as nobody has them. When
a process dies its consumers leave, its shards are free, and their next owner begins at what
was committed last: so each record is seen at least once.

Bell: ("member", inode of the stream, group), rung when shards or members change.
Source: Kafka's consumer groups, with the coordinator's work done in a transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from entrepot import settings
from entrepot.engine.held import held_key
from entrepot.engine.keys import Prefix, after, pack_int, pack_str, unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import ClosedError
from entrepot.layers import entries
from entrepot.layers.entries import Path
from entrepot.layers.streams import core
from entrepot.layers.streams.core import MEMBER, OWNER, POSITION, Record
from entrepot.layers.streams.stream import Since, Stream, check_limit, checked_since, position_of
from entrepot.waiting import Deadline

__all__ = ["Consumer", "GroupInfo", "groups", "release"]


class Owned(NamedTuple):
    """A shard of this consumer's, and where in it."""

    inode: int
    sequence: int


class GroupInfo(NamedTuple):
    """A consumer group."""

    group: str
    consumers: int
    positions: dict[int, int]
    """By shard, the number of the next record; of shards that were committed."""


class Consumer:
    """One of a group that shares a stream; a context manager. Made by `Stream.consumer`.

    Iterate, or call `read`, and `commit` what was worked on. What was not committed when a
    consumer ends is given to another one.
    """

    def __init__(self, stream: Stream, group: str, since: Since) -> None:
        self._stream = stream
        self._engine = stream.engine
        self.group = group
        self._since = checked_since(since)
        self._number = stream.new_number()
        self._owned: dict[int, Owned] = {}
        self._read: dict[int, int] = {}
        self._inode = self._engine.write(
            _join, stream.container, stream.path, group, self._session, self._number
        )
        self._bell = _group_begin(MEMBER, self._inode, group)
        self._is_open = True

    @property
    def _session(self) -> int:
        return self._engine.session.id

    @property
    def shards(self) -> list[int]:
        """The shards that are this consumer's, as far as it knows."""
        return sorted(self._owned)

    def read(self, limit: int = 1000, *, timeout: float | None = None) -> list[Record]:
        """Return records of this consumer's shards, in order within each.

        Args:
            limit: Most records, 1 to 10,000.
            timeout: Seconds to wait for some, by default for ever; the list is empty then.

        Raises:
            ClosedError: It was closed.
            NotFoundError: The stream was deleted.
        """
        check_limit(limit)
        deadline = Deadline(timeout)
        while True:
            bells = self.bells()
            seen = self._engine.listen(bells)
            if self.must_share():
                self.share()
                continue  # other shards, so other bells
            records = self.take(limit)
            left = deadline.left()
            if records:
                return records
            if left == 0:
                self._engine.wait(bells, seen, 0)  # no wait, but a look for those who died
                return records
            slice_s = settings.WAIT_SLICE_S if left is None else min(left, settings.WAIT_SLICE_S)
            self._engine.wait(bells, seen, slice_s)

    def __iter__(self) -> Iterator[Record]:
        """Yield records for ever; commit each page when the next one is asked for."""
        while True:
            yield from self.read()
            self.commit()

    def commit(self) -> None:
        """Say that all that was read is done with: nobody of the group gets it again.

        Shards that went to another consumer meanwhile are left out; that one begins at what was
        committed before.

        Raises:
            ClosedError: It was closed.
        """
        if not self._is_open:
            raise ClosedError("the consumer is closed")
        if self._read:
            at = self._inode, self.group, self._session, self._number
            self._stream.commit(_commit, *at, self._read)
            self._read = {}

    def close(self) -> None:
        """Leave the group; may be repeated."""
        if self._is_open:
            self._is_open = False
            self._engine.write(_leave, self._inode, self.group, self._session, self._number)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # The steps of a read, for this class and its async twin.

    def bells(self) -> list[bytes]:
        """Return what rings when there are records, or other consumers.

        Raises:
            ClosedError: It was closed.
        """
        if not self._is_open:
            raise ClosedError("the consumer is closed")
        return [self._bell, *(core.RECORD.int(owned.inode) for owned in self._owned.values())]

    def must_share(self) -> bool:
        """Tell whether other shards are this consumer's than those that it has."""
        wanted = self._engine.read(_wanted, self._stream.container, self._stream.path, self)
        return wanted != set(self._owned)

    def share(self) -> None:
        """Take the shards that are this consumer's, and let go of the others."""
        found = self._engine.write(
            _take, self._stream.container, self._stream.path, self, self._since
        )
        self._owned = {n: self._owned.get(n, owned) for n, owned in found.items()}
        self._read = {n: sequence for n, sequence in self._read.items() if n in found}

    def take(self, limit: int) -> list[Record]:
        """Return the next records of this consumer's shards, without waiting."""
        records: list[Record] = []
        for shard, owned in list(self._owned.items()):
            stretch = self._engine.read(_read_on, shard, owned, self._stream, limit - len(records))
            self._owned[shard] = owned._replace(sequence=stretch.next)
            if stretch.records:  # what was only trimmed meanwhile was not read, nor is committed
                self._read[shard] = stretch.next
            records += stretch.records
            if len(records) >= limit:
                # The next read begins with the other shards.
                self._owned[shard] = self._owned.pop(shard)
                break
        return records

    @property
    def at(self) -> tuple[int, str, int, int]:
        """For transactions: the stream's inode, the group, the session and the number."""
        return self._inode, self.group, self._session, self._number


def groups(tx: Transaction, container: str, path: Path) -> list[GroupInfo]:
    """Return the consumer groups of a stream, by name."""
    inode, _ = core.get_stream(tx, entries.get_container(tx, container).id, path)
    found: dict[str, tuple[int, dict[int, int]]] = {}
    for prefix in (MEMBER, POSITION):
        begin = prefix.int(inode)
        for key, raw in tx.range(begin, after(begin)):
            group, shard, *_ = unpack(key[len(begin) :])
            assert isinstance(group, str)
            assert isinstance(shard, int)
            members, positions = found.setdefault(group, (0, {}))
            if prefix is MEMBER:
                found[group] = members + 1, positions
            else:
                positions[shard] = int.from_bytes(raw, "big")
    return [GroupInfo(group, *found[group]) for group in sorted(found)]


def _group_begin(prefix: Prefix, inode: int, group: str) -> bytes:
    return prefix.int(inode) + pack_str(group)


def _join(
    tx: Transaction, container: str, path: Path, group: str, session: int, number: int
) -> int:
    inode, _ = core.get_stream(tx, entries.get_container(tx, container).id, path)
    begin = _group_begin(MEMBER, inode, group)
    tx.put(begin + pack_int(session) + pack_int(number), b"")
    tx.put(held_key(session, "consumer", inode, group, number), b"")
    tx.ring(begin)
    return inode


def _leave(tx: Transaction, inode: int, group: str, session: int, number: int) -> None:
    tx.delete(held_key(session, "consumer", inode, group, number))
    _remove(tx, inode, group, session, number)


def _remove(tx: Transaction, inode: int, group: str, session: int, number: int) -> None:
    begin = _group_begin(MEMBER, inode, group)
    tx.delete(begin + pack_int(session) + pack_int(number))
    owners, mark = _group_begin(OWNER, inode, group), _mark(session, number)
    for key, owner in tx.range(owners, after(owners)):
        if owner == mark:
            tx.delete(key)
    tx.ring(begin)


def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
    """Take a consumer of a dead process out of its group."""
    inode, group, number = unpack(rest)
    assert isinstance(inode, int)
    assert isinstance(group, str)
    assert isinstance(number, int)
    _remove(tx, inode, group, session, number)


def _mark(session: int, number: int) -> bytes:
    return session.to_bytes(8, "big") + number.to_bytes(8, "big")


def _share_of(tx: Transaction, shards: int, consumer: Consumer) -> set[int]:
    """Return the shards that this consumer is to have."""
    inode, group, session, number = consumer.at
    begin = _group_begin(MEMBER, inode, group)
    members = [key for key, _ in tx.range(begin, after(begin))]
    own = begin + pack_int(session) + pack_int(number)
    if own not in members:
        raise ClosedError("the consumer's group, or its stream, was deleted")
    return set(range(members.index(own), shards, len(members)))


def _wanted(tx: Transaction, container: str, path: Path, consumer: Consumer) -> set[int]:
    """Return the shards that this consumer can have now: its share, if nobody else has it."""
    _, stream = core.get_stream(tx, entries.get_container(tx, container).id, path)
    inode, group, session, number = consumer.at
    owners, mark = _group_begin(OWNER, inode, group), _mark(session, number)
    taken = {
        shard
        for key, owner in tx.range(owners, after(owners))
        for shard in unpack(key[len(owners) :])
        if owner != mark
    }
    return _share_of(tx, stream.shards, consumer) - taken


def _take(
    tx: Transaction, container: str, path: Path, consumer: Consumer, since: object
) -> dict[int, Owned]:
    """Let go of the shards that are another's, and take those that are free."""
    number = entries.get_container(tx, container).id
    _, stream = core.get_stream(tx, number, path)
    inode, group, session, own = consumer.at
    owners, mark = _group_begin(OWNER, inode, group), _mark(session, own)
    share = _share_of(tx, stream.shards, consumer)
    has_changed = False
    for shard in range(stream.shards):
        key = owners + pack_int(shard)
        owner = tx.get(key)
        if owner == mark and shard not in share:
            tx.delete(key)
            has_changed = True
        elif owner is None and shard in share:
            tx.put(key, mark)
            has_changed = True
        elif owner != mark:
            share.discard(shard)
    if has_changed:
        tx.ring(_group_begin(MEMBER, inode, group))
    found: dict[int, Owned] = {}
    for shard in sorted(share):
        entry = core.get_shard(tx, number, path, shard)
        raw = tx.get(_group_begin(POSITION, inode, group) + pack_int(shard))
        if raw is not None:
            sequence = max(int.from_bytes(raw, "big"), core.first_sequence(tx, entry))
        else:
            sequence = position_of(tx, entry, since)
        found[shard] = Owned(entry.inode, sequence)
    return found


def _read_on(tx: Transaction, shard: int, owned: Owned, stream: Stream, limit: int) -> core.Stretch:
    number = entries.get_container(tx, stream.container).id
    entry = core.get_shard(tx, number, stream.path, shard)
    # What retention has dropped meanwhile is gone for all: go on with what there is.
    sequence = max(owned.sequence, core.first_sequence(tx, entry))
    return core.read_shard(tx, entry, shard, sequence, limit, settings.RECORDS_BYTES_MAX)


def _commit(
    tx: Transaction, inode: int, group: str, session: int, number: int, done: dict[int, int]
) -> None:
    owners, mark = _group_begin(OWNER, inode, group), _mark(session, number)
    for shard, sequence in done.items():
        if tx.get(owners + pack_int(shard)) == mark:
            tx.put(
                _group_begin(POSITION, inode, group) + pack_int(shard), sequence.to_bytes(8, "big")
            )
