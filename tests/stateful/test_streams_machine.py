"""Streams against plain lists of records: the same random steps on both.

Two sessions append, read, resize and trim, under a clock that the test sets; groups of
consumers come, read, commit, go and die.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from entrepot import settings
from entrepot.errors import ClosedError, ExistsError, LimitError, NotFoundError
from entrepot.layers.entries import split
from entrepot.layers.streams import Consumer, New, Record, Stream, core
from support.data import DATA_KINDS, data_problems, end_session, thorough, two_tiers_of

SIDES = st.integers(0, 1)
SECOND = 1_000_000_000
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
READ_BYTES, BLOCK_BYTES = 60, 25
"""What a read returns, and what a block holds, at most: small, in these tests."""
GROUPS = st.sampled_from(["g", "é\x00"])
RECORDS = st.builds(
    New,
    st.sampled_from([b"", b"\x00", b"0123456789", b"x" * 30, b"y" * 70]),
    st.none() | st.integers(0, 3),
    st.none() | st.sampled_from(["k", "é", ""]),
    st.none() | st.just(b"info"),
)
SINCE = st.sampled_from(["earliest", "latest", "number", "moment"])


@dataclass
class Kept:
    """A record of the model."""

    arrived_ns: int
    data: bytes
    key: str | None
    info: bytes | None


@dataclass
class Shard:
    """A shard of the model: all records that it ever had, of which the first are dropped."""

    made_ns: int
    records: list[Kept] = field(default_factory=list)
    first: int = 1

    @property
    def next(self) -> int:
        return len(self.records) + 1

    def at_moment(self, moment_ns: int) -> int:
        later = (n for n in range(self.first, self.next) if self.of(n).arrived_ns >= moment_ns)
        return next(later, self.next)

    def of(self, sequence: int) -> Kept:
        return self.records[sequence - 1]


@dataclass
class Member:
    """A consumer of the model."""

    group: str
    side: int
    since: str
    consumer: Consumer
    positions: dict[int, int] = field(default_factory=dict)
    """Where it is in each shard that it has."""
    uncommitted: dict[int, int] = field(default_factory=dict)


class StreamsMachine(RuleBasedStateMachine):
    kind: str

    @initialize(shards=st.integers(1, 4), retention_s=st.sampled_from([5, 100, 1000]))
    def begin(self, shards: int, retention_s: int) -> None:
        self.ending = contextlib.ExitStack()
        self.now_ns = time.time_ns() // SECOND * SECOND
        for at, name, value in (
            (time, "time_ns", lambda: self.now_ns),
            (settings, "RECORDS_BYTES_MAX", READ_BYTES),
            (settings, "BLOCK_BYTES_MAX", BLOCK_BYTES),
            (core, "_BLOCKS_AT_ONCE", 2),
            (settings, "BATCH_KEYS", 3),
        ):
            self.ending.enter_context(mock.patch.object(at, name, value))
        self.tiers = self.ending.enter_context(two_tiers_of(self.kind))
        self.handles = [Stream(tier, "users", split("logs/s")) for tier in self.tiers]
        self.shards: list[Shard] | None = None
        self.retention_s = 0
        self.shard_of_key: dict[tuple[str, int], int] = {}
        self.members: list[Member] = []
        self.lost: list[Consumer] = []
        self.committed: dict[str, dict[int, int]] = {}
        self.create(0, shards, retention_s, exist_ok=False)

    # The stream itself.

    @precondition(lambda self: self.shards is None)
    @rule(side=SIDES, shards=st.integers(1, 4), retention_s=st.sampled_from([1, 5, 1000]))
    def create_anew(self, side: int, shards: int, retention_s: int) -> None:
        self.create(side, shards, retention_s, exist_ok=False)

    @rule(
        side=SIDES,
        shards=st.integers(0, 4),
        retention_s=st.integers(0, 1),
        exist_ok=st.booleans(),
    )
    def create(self, side: int, shards: int, retention_s: int, exist_ok: bool) -> None:
        handle = self.handles[side]
        if shards == 0 or retention_s == 0:
            with pytest.raises(LimitError):
                handle.create(shards, retention_s=retention_s, exist_ok=exist_ok)
        elif self.shards is not None and not exist_ok:
            with pytest.raises(ExistsError):
                handle.create(shards, retention_s=retention_s)
        else:
            handle.create(shards, retention_s=retention_s, exist_ok=exist_ok)
            if self.shards is None:
                self.shards = [Shard(self.now_ns) for _ in range(shards)]
                self.retention_s = retention_s

    @rule(side=SIDES, really=st.integers(0, 4).map(lambda number: number == 4))
    def delete(self, side: int, really: bool) -> None:
        if not really:  # seldom, or there would be little to look at
            return
        if self.shards is None:
            with pytest.raises(NotFoundError):
                self.handles[side].delete()
            return
        self.handles[side].delete()
        self.shards = None
        self.committed = {}
        self.lost += [member.consumer for member in self.members]
        self.members = []

    @precondition(lambda self: self.shards is not None)
    @rule(side=SIDES, shards=st.integers(1, 6))
    def resize(self, side: int, shards: int) -> None:
        if shards < len(self.shards):
            with pytest.raises(LimitError):
                self.handles[side].resize(shards)
            return
        self.handles[side].resize(shards)
        self.shards += [Shard(self.now_ns) for _ in range(shards - len(self.shards))]

    @rule(seconds=st.sampled_from([1, 2, 6, 200, -3]))
    def time_passes(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND

    @precondition(lambda self: self.shards is not None)
    @rule(side=SIDES)
    def trim(self, side: int) -> None:
        self.handles[side].trim()
        for shard in self.shards:
            shard.first = self.oldest_to_keep(shard)

    def oldest_to_keep(self, shard: Shard) -> int:
        return shard.at_moment(self.now_ns - self.retention_s * SECOND)

    # Appending.

    @precondition(lambda self: self.shards is not None)
    @rule(
        side=SIDES,
        number=st.integers(0, 5),
        sizes=st.lists(st.sampled_from([0, 1, 10, 25, 70]), min_size=1, max_size=8),
        seconds=st.integers(0, 3),
    )
    def append_to_one_shard(self, side: int, number: int, sizes: list[int], seconds: int) -> None:
        self.now_ns += seconds * SECOND
        number %= len(self.shards)
        self.append(side, [New(b"x" * size, number) for size in sizes], single=False)

    @rule(side=SIDES, records=st.lists(RECORDS, max_size=6), single=st.booleans())
    def append(self, side: int, records: list[New], single: bool) -> None:
        handle = self.handles[side]
        if self.shards is None:
            if records:
                with pytest.raises(NotFoundError):
                    handle.append_many(records)
            return
        count = len(self.shards)
        records = records[:1] if single else records
        if any(record.shard is not None and record.shard >= count for record in records):
            with pytest.raises(LimitError):
                handle.append_many(records)
            return
        if single and records:
            data, shard, key, info = records[0]
            found = [handle.append(data, shard=shard, key=key, info=info)]
        else:
            found = handle.append_many(records)
        assert len(found) == len(records)
        latest = [s.records[-1].arrived_ns if s.records else s.made_ns for s in self.shards]
        turn: int | None = None
        for record, at in zip(records, found, strict=True):
            shard = self.shards[at.shard]
            assert at.sequence == shard.next
            if record.shard is not None:
                assert at.shard == record.shard
            elif record.key is not None:
                known = self.shard_of_key.setdefault((record.key, count), at.shard)
                assert at.shard == known
            else:
                assert turn is None or at.shard == (turn + 1) % count
                turn = at.shard
            arrived_ns = max(self.now_ns, latest[at.shard] + 1)
            shard.records.append(Kept(arrived_ns, record.data, record.key, record.info))
        first = [first for first, _ in handle.sequences()]
        for number in {at.shard for at in found}:
            shard = self.shards[number]
            expired = self.oldest_to_keep(shard)
            # What comes now may have the moment of what came last, or one a little later.
            for kept in shard.records[shard.first - 1 :]:
                assert kept.arrived_ns <= max(self.now_ns, latest[number] + len(records))
            if expired - shard.first <= 16:
                assert first[number] == expired
            else:
                assert shard.first + 16 <= first[number] <= expired
            shard.first = first[number]

    # Reading.

    @precondition(lambda self: self.shards is not None)
    @rule(
        side=SIDES,
        number=st.integers(0, 9),
        since=SINCE,
        sequence=st.integers(0, 99),
        limit=st.sampled_from([1, 2, 3, 1000]),
    )
    def read(self, side: int, number: int, since: str, sequence: int, limit: int) -> None:
        handle = self.handles[side]
        if number == 9:
            with pytest.raises(LimitError):
                handle.read(number)
            return
        number %= len(self.shards)
        shard = self.shards[number]
        sequence = sequence % (shard.next + 3) - 1
        where: Any = since
        if since == "earliest":
            begin = shard.first
        elif since == "latest":
            begin = shard.next
        elif since == "number":
            begin = where = sequence
        else:
            moment_ns = self.now_ns - sequence * SECOND
            if 1 <= sequence < shard.next:  # that of a record, rather
                moment_ns = shard.of(sequence).arrived_ns // 1000 * 1000
            where = EPOCH + dt.timedelta(microseconds=moment_ns // 1000)
            begin = shard.at_moment(moment_ns)
        if not shard.first <= begin <= shard.next:
            error = NotFoundError if 1 <= begin < shard.first else LimitError
            for call in (handle.seek, lambda number, since: handle.read(number, since=since)):
                with pytest.raises(error):
                    call(number, where)
            return
        assert handle.seek(number, where) == begin
        stretch = handle.read(number, since=where, limit=limit)
        self.check_records(stretch.records, number, begin, limit)
        assert stretch.next == begin + len(stretch.records)
        assert stretch.left == shard.next - stretch.next
        if stretch.left:
            latest_ns = shard.records[-1].arrived_ns
            assert stretch.behind_ns == latest_ns - stretch.records[-1].arrived_ns
        else:
            assert stretch.behind_ns == 0

    def check_records(self, found: list[Record], number: int, begin: int, limit: int) -> None:
        """Fail unless these are the records from `begin` on, as many as can be."""
        shard = self.shards[number]
        for sequence, record in enumerate(found, begin):
            kept = shard.of(sequence)
            assert (record.shard, record.sequence) == (number, sequence)
            assert (record.data, record.key, record.info) == (kept.data, kept.key, kept.info)
            assert record.arrived_ns == kept.arrived_ns
        assert len(found) <= limit
        size = sum(len(record.data) for record in found)
        assert size <= READ_BYTES or len(found) == 1
        behind = begin + len(found)
        if len(found) < limit and behind < shard.next:
            assert size + len(shard.of(behind).data) > READ_BYTES or size >= READ_BYTES
            assert found

    @precondition(lambda self: self.shards is not None)
    @rule(side=SIDES)
    def read_all_by_tail(self, side: int) -> None:
        found = list(self.handles[side].tail(since="earliest", timeout=0))
        for number, shard in enumerate(self.shards):
            sequences = [record.sequence for record in found if record.shard == number]
            assert sequences == list(range(shard.first, shard.next))

    # Consumer groups.

    @rule(side=SIDES, group=GROUPS, since=st.sampled_from(["earliest", "latest"]))
    def come(self, side: int, group: str, since: Any) -> None:
        if self.shards is None:
            with pytest.raises(NotFoundError):
                self.handles[side].consumer(group, since=since)
        elif len(self.members) < 5:
            consumer = self.handles[side].consumer(group, since=since)
            self.members.append(Member(group, side, since, consumer))

    @precondition(lambda self: self.members)
    @rule(data=st.data(), limit=st.sampled_from([1, 3, 1000]))
    def consume(self, data: st.DataObject, limit: int) -> None:
        self.consume_as(data.draw(st.sampled_from(self.members)), limit)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), limit=st.sampled_from([1, 3, 1000]))
    def consume_and_commit(self, data: st.DataObject, limit: int) -> None:
        member = data.draw(st.sampled_from(self.members))
        self.consume_as(member, limit)
        self.commit_as(member)

    def consume_as(self, member: Member, limit: int) -> int:
        records = member.consumer.read(limit, timeout=0)
        assert len(records) <= limit
        owned = member.consumer.shards
        for lost in set(member.positions) - set(owned):
            del member.positions[lost]
            member.uncommitted.pop(lost, None)
        for number in owned:
            shard = self.shards[number]
            if number not in member.positions:
                begin = shard.first if member.since == "earliest" else shard.next
                begin = self.committed.get(member.group, {}).get(number, begin)
            else:
                begin = member.positions[number]
            begin = max(begin, shard.first)
            found = [record for record in records if record.shard == number]
            for sequence, record in enumerate(found, begin):
                assert record.sequence == sequence
                assert record.data == shard.of(sequence).data
            member.positions[number] = begin + len(found)  # beyond what was trimmed meanwhile, too
            if found:
                member.uncommitted[number] = begin + len(found)
        assert {record.shard for record in records} <= set(owned)
        if not records:
            for number in owned:
                assert member.positions[number] >= self.shards[number].next
        return len(records)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self.commit_as(data.draw(st.sampled_from(self.members)))

    def commit_as(self, member: Member) -> None:
        member.consumer.commit()
        if member.uncommitted:
            self.committed.setdefault(member.group, {}).update(member.uncommitted)
            member.uncommitted = {}

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.members))
        member.consumer.close()
        member.consumer.close()
        with pytest.raises(ClosedError):
            member.consumer.read(timeout=0)
        self.members.remove(member)

    @precondition(lambda self: self.members)
    @rule(data=st.data(), limit=st.integers(1, 3), dies=st.booleans())
    def another_one_goes_on(self, data: st.DataObject, limit: int, dies: bool) -> None:
        """One reads and commits, reads on and ends; who comes then goes on where it committed."""
        old = data.draw(st.sampled_from(self.members))
        self.consume_as(old, limit)
        self.commit_as(old)
        self.consume_as(old, limit)
        if dies:
            self.a_process_is_followed_by_another(old.side)
        if old in self.members:
            old.consumer.close()
            self.members.remove(old)
        new = self.handles[0].consumer(old.group)
        self.members.append(Member(old.group, 0, "earliest", new))
        self.all_shards_are_shared_soon(old.group)

    @precondition(lambda self: self.members)
    @rule(group=GROUPS)
    def all_shards_are_shared_soon(self, group: str) -> None:
        members = [member for member in self.members if member.group == group]
        for _ in range(2):  # who has too many lets go, and then others take them
            for member in members:
                while self.consume_as(member, 1000):
                    pass
        if members:
            shards = sorted(n for member in members for n in member.consumer.shards)
            assert shards == list(range(len(self.shards)))
            sizes = [len(member.consumer.shards) for member in members]
            assert max(sizes) - min(sizes) <= 1

    @precondition(lambda self: self.members)
    @rule(side=SIDES)
    def a_process_is_followed_by_another(self, side: int) -> None:
        if not end_session(self.tiers, side):
            return
        self.handles[side].use(self.tiers[side])
        self.members = [member for member in self.members if member.side != side]
        self.lost = []

    # What must be so after each step.

    @invariant()
    def nothing_is_wrong_in_the_tier(self) -> None:
        if hasattr(self, "tiers"):
            assert data_problems(self.tiers[0]) == []

    @invariant()
    def the_stream_is_that_of_the_model(self) -> None:
        if not hasattr(self, "tiers"):
            return
        if self.shards is None:
            with pytest.raises(NotFoundError):
                self.handles[0].info()
            return
        info = self.handles[0].info()
        assert (info.shards, info.retention_s) == (len(self.shards), self.retention_s)
        assert info.records == sum(len(shard.records) for shard in self.shards)
        assert self.handles[1].sequences() == [(s.first, s.next) for s in self.shards]
        kept = sum(len(r.data) for s in self.shards for r in s.records[s.first - 1 :])
        assert info.size >= kept
        assert info.size <= kept + 100 * sum(s.next - s.first for s in self.shards)

    @invariant()
    def groups_are_those_of_the_model(self) -> None:
        if getattr(self, "shards", None) is None:
            return
        names = sorted({*self.committed, *(member.group for member in self.members)})
        found = self.handles[0].groups()
        assert [info.group for info in found] == names
        for info in found:
            members = [member for member in self.members if member.group == info.group]
            assert info.consumers == len(members)
            assert info.positions == self.committed.get(info.group, {})
            shards = [number for member in members for number in member.consumer.shards]
            assert len(shards) == len(set(shards)), "two have one shard"

    @invariant()
    def a_consumer_of_a_deleted_stream_is_told(self) -> None:
        for consumer in getattr(self, "lost", ()):
            with pytest.raises((NotFoundError, ClosedError)):
                consumer.read(timeout=0)
            consumer.close()
        self.lost = []

    def teardown(self) -> None:
        if hasattr(self, "ending"):
            with self.ending:
                for member in self.members:
                    member.consumer.close()


@pytest.mark.parametrize("kind", DATA_KINDS)
def test_streams_do_what_the_model_does(kind: str) -> None:
    machine: Any = type("StreamsMachine", (StreamsMachine,), {"kind": kind})
    run_machine(machine, settings=thorough())
