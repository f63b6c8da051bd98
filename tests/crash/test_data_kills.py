"""Programs that write tables, streams and containers are killed, at random and at failpoints.

Several threads of a child write at once, so that they share commits, and say over a pipe what
was acknowledged. A thread that dies leaves at most one write of which nothing was said.

Guaranteed, after each kill:

1. Each item, record and body whose write was acknowledged is there; of those that were in
   flight, each is there whole or not at all.
2. A counter is what was acknowledged, or one more for each kill.
3. A body that was put anew, or made longer, is the last one acknowledged or the one in flight.
4. The depot is sound: no file is left that nobody uses, nothing is half-written.
5. A dead consumer's shards go to another one, at the last position that it committed.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import sys
import threading
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot.engine import failpoints
from support.conditions import wait_until
from support.homes import Home
from support.peers import Peer

ROUNDS = int(os.environ.get("ENTREPOT_DATA_KILLS", "12"))
LINES_MAX = 400
LARGE, PIECE, SMALL, SHARDS = 100_000, 9_000, 300, 3
Start = Callable[..., Peer]


def body_of(name: str, size: int) -> bytes:
    """Return bytes that say what they are, and of which each part is known."""
    head = f"{name} ".encode()
    return head + bytes([zlib.crc32(head) % 256]) * (size - len(head))


# What the child does.


class Writer:
    """The threads of one child."""

    def __init__(self, depot: entrepot.Depot, pipe: int, name: str) -> None:
        self.depot = depot
        self.pipe = pipe
        self.name = name
        self.table = depot.table("c/table")
        self.stream = depot.stream("c/stream")
        self.container = depot.container("c")

    def say(self, *words: object) -> None:
        os.write(self.pipe, f"{' '.join(map(str, words))}\n".encode())

    def put_items(self, number: int) -> None:
        self.table.put(f"{self.name}-{number}", {"n": number, "text": "x" * number})
        self.say("item", number)

    def count(self, number: int) -> None:
        self.table.update("counter", "n = if_not_exists(n, 0) + 1; last = :last", last=number)
        self.say("count", number)

    def batch(self, number: int) -> None:
        with self.table.batch() as batch:
            for side in ("left", "right"):
                batch.update(f"{side}", "n = if_not_exists(n, 0) + 1")
        self.say("batch", number)

    def append_records(self, number: int) -> None:
        found = self.stream.append_many([f"{self.name}-{number}-{part}" for part in range(2)])
        self.say("records", number, *(f"{at.shard}:{at.sequence}" for at in found))

    def put_large(self, number: int) -> None:
        place = number % 3
        self.container.put(f"large/{place}", body_of(f"{self.name}-{number}", LARGE + number))
        self.say("large", place, f"{self.name}-{number}", LARGE + number)

    def append_large(self, number: int) -> None:
        piece = f"{self.name}-{number}"
        self.container.append("log", body_of(piece, PIECE))
        self.say("piece", piece)

    def append_small(self, number: int) -> None:
        piece = f"{self.name}-{number}"
        self.container.append(f"small/{self.name}-{number // 300}", body_of(piece, SMALL))
        self.say("small", piece, f"{self.name}-{number // 300}")

    def make_and_delete(self, number: int) -> None:
        self.container.put(f"gone/{self.name}", body_of("gone", LARGE))
        self.container.delete("gone", recursive=True)
        self.say("gone", number)

    def consume(self, number: int) -> None:
        if number == 0:
            self.consumer = self.stream.consumer("g")
        records = self.consumer.read(7, timeout=0.01)
        read = {record.shard: record.sequence + 1 for record in records}
        places = [f"{shard}:{sequence}" for shard, sequence in read.items()]
        self.say("commit?", *places)
        self.consumer.commit()
        self.say("commit", *places)

    ALL = (
        put_items,
        count,
        batch,
        append_records,
        put_large,
        append_large,
        append_small,
        make_and_delete,
        consume,
    )


def write_until_killed(
    root: Path, data: Path, pipe: int, name: str, failpoint: str | None, after: int
) -> None:
    """Let all threads of a writer write for ever."""
    depot = entrepot.open(Home.name, directory=root, data_directory=data)
    writer = Writer(depot, pipe, name)
    if failpoint is not None:
        failpoints.arm(failpoint, after=after)

    def work(action: Callable[[Writer, int], None]) -> None:
        number = 0
        try:
            while True:
                action(writer, number)
                number += 1
        except BaseException:  # noqa: BLE001 the test shall see it
            traceback.print_exc(file=sys.stderr)
            os._exit(1)

    threads = [threading.Thread(target=work, args=(action,)) for action in Writer.ALL]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def live_and_die(
    here: Any,
    root: Path,
    data: Path,
    name: str,
    failpoint: str | None,
    after: int,
) -> list[str]:
    """Fork a writer; kill it after so many lines, or let a failpoint do it; return its lines."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            write_until_killed(root, data, writing, name, failpoint, after)
        finally:
            traceback.print_exc(file=sys.stderr)
            os._exit(1)
    os.close(writing)
    lines: list[str] = []
    with os.fdopen(reading) as said:
        for line in said:
            lines.append(line)
            if failpoint is None and len(lines) == after:
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the writer failed: {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL
    return lines


# What is judged.


class Story:
    """What was acknowledged by all writers so far."""

    def __init__(self) -> None:
        self.kills = 0
        self.items: dict[str, int] = {}
        self.counted = 0
        self.batches = 0
        self.records: dict[tuple[int, int], str] = {}
        self.large: dict[str, tuple[str, int]] = {}
        self.pieces: list[str] = []
        self.small: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
        self.committed: dict[int, int] = {}
        self.meant: dict[int, int] = {}

    def note(self, name: str, lines: list[str]) -> None:
        self.kills += 1
        self.meant = {}
        for line in lines:
            what, *words = line.split()
            match what:
                case "item":
                    self.items[f"{name}-{words[0]}"] = int(words[0])
                case "count":
                    self.counted += 1
                case "batch":
                    self.batches += 1
                case "records":
                    for part, at in enumerate(words[1:]):
                        shard, sequence = map(int, at.split(":"))
                        assert (shard, sequence) not in self.records
                        self.records[shard, sequence] = f"{name}-{words[0]}-{part}"
                case "large":
                    self.large[words[0]] = words[1], int(words[2])
                case "piece":
                    self.pieces.append(words[0])
                case "small":
                    self.small[words[1]].append(words[0])
                case "commit?":
                    self.meant = places_of(words)
                case "commit":
                    self.committed |= places_of(words)
                    self.meant = {}

    def check(self, depot: entrepot.Depot, name: str) -> None:
        # What was committed right before the kill is seen after the next write at the latest.
        depot.table("other/table").put("k", {})
        depot.collect()
        assert depot.check() == []
        self.check_items(depot, name)
        self.check_records(depot, name)
        self.check_bodies(depot, name)
        self.check_consumers(depot)

    def check_items(self, depot: entrepot.Depot, name: str) -> None:
        table = depot.table("c/table")
        found = dict(table.scan("exists(text)"))
        for key, number in self.items.items():
            assert found.pop(key) == {"n": number, "text": "x" * number}
        assert len(found) <= self.kills
        for key, item in found.items():  # were in flight: from now on they are known
            assert item["text"] == "x" * item["n"]
            self.items[key] = item["n"]
        for key, acknowledged in (
            ("counter", self.counted),
            ("left", self.batches),
            ("right", self.batches),
        ):
            count = (table.try_get(key) or {"n": 0})["n"]
            assert 0 <= count - acknowledged <= 1, key
        self.counted = (table.try_get("counter") or {"n": 0})["n"]
        left, right = (table.try_get(side) for side in ("left", "right"))
        assert left == right, "a batch was done by half"
        self.batches = (left or {"n": 0})["n"]

    def check_records(self, depot: entrepot.Depot, name: str) -> None:
        stream = depot.stream("c/stream")
        new: list[str] = []
        known = dict(self.records)
        for record in stream.tail(since="earliest", timeout=0):
            at = record.shard, record.sequence
            data = record.data.decode()
            if at in known:
                assert known.pop(at) == data
            else:
                new.append(data)
                self.records[at] = data
        assert known == {}, "acknowledged records are lost"
        assert len(new) in (0, 2), "an append was done by half"
        assert len({data.rpartition("-")[0] for data in new}) <= 1
        assert stream.info().records == len(self.records)

    def check_bodies(self, depot: entrepot.Depot, name: str) -> None:
        container = depot.container("c")
        for place in map(str, range(3)):
            path = f"large/{place}"
            if path not in container:
                assert place not in self.large
                continue
            body = container.get(path)
            is_last = place in self.large and body_of(*self.large[place]) == body
            if not is_last:
                who = body.split(b" ")[0].decode()
                assert who.rpartition("-")[0] == name
                number = int(who.rpartition("-")[2])
                assert body == body_of(who, LARGE + number)
                self.large[place] = who, LARGE + number
        self.pieces = self.pieces_in(container, "log", PIECE, self.pieces)
        for info in container.list("small") if "small" in container else ():
            at = info.path.partition("/")[2]
            self.small[at] = self.pieces_in(container, info.path, SMALL, self.small[at])
        if "gone" in container:
            container.delete("gone", recursive=True)

    def pieces_in(
        self, container: entrepot.Container, path: str, size: int, known: list[str]
    ) -> list[str]:
        """Return the pieces of a body: those that are known, and at most one more."""
        body = container.get(path) if path in container else b""
        assert len(body) % size == 0, "a piece was appended by half"
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        names = [piece.split(b" ")[0].decode() for piece in pieces]
        assert [body_of(piece, size) for piece in names] == pieces
        assert names[: len(known)] == known
        assert len(names) <= len(known) + 1
        return names

    def check_consumers(self, depot: entrepot.Depot) -> None:
        stream = depot.stream("c/stream")
        groups = {info.group: info for info in stream.groups()}
        if "g" not in groups:
            assert self.committed == {}
            return
        assert groups["g"].consumers == 0, "a dead consumer is still there"
        positions = groups["g"].positions
        assert positions in (self.committed, self.committed | self.meant)
        self.committed = dict(positions)
        with stream.consumer("g") as consumer:
            got: dict[int, list[int]] = collections.defaultdict(list)
            while records := consumer.read(timeout=0):
                for record in records:
                    got[record.shard].append(record.sequence)
            assert consumer.shards == list(range(SHARDS)), "the dead one's shards are not free"
            last = [behind - 1 for _, behind in stream.sequences()]
        for shard in range(SHARDS):
            first = positions.get(shard, 1)
            assert got[shard] == list(range(first, last[shard] + 1))


def places_of(words: list[str]) -> dict[int, int]:
    return {int(shard): int(at) for shard, at in (word.split(":") for word in words)}


@pytest.fixture
def nursery(peers: Start) -> Peer:
    """Return a process without a depot, whose forked children are cheap to kill."""
    peer = peers(opens=False)
    peer.run(lambda here: len(entrepot.__version__) > 0)
    return peer


@pytest.mark.parametrize(
    "failpoint", [None, "files.synced", "engine.begun", "engine.before_commit", "engine.committed"]
)
def test_what_was_acknowledged_survives_a_kill_and_the_rest_is_whole_or_not_there(
    home: Home, nursery: Peer, failpoint: str | None, chance: random.Random
) -> None:
    story = Story()
    rounds = ROUNDS if failpoint is None else (ROUNDS + 1) // 2
    with home.open("64M") as depot:
        depot.stream("c/stream", shards=SHARDS)
        depot.table("c/table").put("there", {})  # whoever dies first may have put nothing
        for number in range(rounds):
            most = LINES_MAX if failpoint in (None, "engine.committed") else LINES_MAX // 4
            after = 1 + chance.randrange(chance.choice((10, most)))
            name = f"w{number}"
            lines = nursery.run(live_and_die, home.root, home.data, name, failpoint, after)
            story.note(name, lines)
            story.check(depot, name)
        told = len(story.items), len(story.records), len(story.pieces), story.counted
        print("items, records, pieces, counted:", *told, "positions:", story.committed)
        assert any(told)
        depot.delete_container("c")
        depot.collect()
        assert depot.check() == []
        assert list((depot.data_path / "files").iterdir()) == []
        depot.destroy()


# Two processes at one object.


def append_until_killed(here: Any, name: str, path: Path) -> None:
    """Append pieces to one object for ever, from two threads; write down what was acknowledged."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    container = here.depot.container("c")

    def work(thread: int) -> None:
        number = 0
        while True:
            piece = f"{name}.{thread}-{number}"
            container.append("log", body_of(piece, PIECE))
            os.write(log, f"{piece}\n".encode())
            number += 1

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def writer_of(piece: str) -> str:
    return piece.partition("-")[0]


def test_one_that_is_killed_while_it_appends_spoils_nothing_for_another(
    home: Home, peers: Start, tmp_path: Path, chance: random.Random
) -> None:
    with home.open("64M") as depot:
        container = depot.container("c")
        told: dict[str, Path] = {}
        running: list[tuple[Peer, str]] = []
        for number in range(5):
            peer, name = peers(), f"p{number}"
            told[name] = tmp_path / name
            told[name].touch()
            peer.begin(append_until_killed, name, told[name])
            running.append((peer, name))
            if number == 0:
                continue
            most = chance.randrange(2, 30)
            for _, each in running:
                wait_until(
                    lambda e=each, m=most: told[e].read_text().count("\n") > m, "both append"
                )
            running.pop(chance.randrange(2))[0].kill()
            assert depot.check() == []
        running.pop()[0].kill()
        depot.collect()
        assert depot.check() == []
        body = container.get("log")
        pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)]
        names = [piece.split(b" ")[0].decode() for piece in pieces]
        assert [body_of(name, PIECE) for name in names] == pieces
        for name, path in told.items():
            for thread in (f"{name}.0", f"{name}.1"):
                there = [int(n.partition("-")[2]) for n in names if writer_of(n) == thread]
                said = [n for n in path.read_text().splitlines() if writer_of(n) == thread]
                assert there == list(range(len(there)))
                assert 0 <= len(there) - len(said) <= 1
        depot.delete_container("c")
