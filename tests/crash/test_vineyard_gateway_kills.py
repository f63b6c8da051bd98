"""Original vineyard clients, their gateway and our own clients, killed in the middle of everything.

Guaranteed:

1. What was acknowledged is there, for clients of every kind, also when the gateway was killed
   and another one serves the depot.
2. What a dead client had not sealed, looked at or opened is free, or ended, without a word.
3. Clients that talk to the depot itself do not notice that a gateway died.
"""

from __future__ import annotations

import importlib
import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot.gateways.vineyard import Server
from entrepot.vineyard._local import LocalStore
from entrepot.vineyard.core.client import Client, IPCClient
from support.conditions import wait_until
from support.homes import Home
from support.originals import program
from support.peers import Peer
from support.vineyard_raw import Raw

Start = Callable[..., Peer]
MIB = 1 << 20
KILLS = 5
KEPT_MAX = 300

needs_original = pytest.mark.skipif(
    program() is None, reason="pip install vineyard vineyard-bdist (Linux, Python 3.11)"
)


class Served:
    """A depot, and a gateway of it that may be killed."""

    def __init__(self, depot: entrepot.Depot, path: str, start: Start) -> None:
        self.depot = depot
        self.path = path
        self._start = start
        self.gateway = self.begin()

    def begin(self) -> Peer:
        """Start a gateway, in the place of a dead one."""
        self.gateway = self._start()
        self.gateway.run(serve, self.path)
        return self.gateway

    def connections(self) -> tuple[int, int]:
        """Return how many others are connected, and how many requests wait."""
        with Raw(self.path) as raw:
            meta = raw.call("instance_status")["meta"]
        return meta["ipc_connections"] - 1, meta["deferred_requests"]

    def wait_for_leaving(self, others: int = 0) -> None:
        """Wait until the gateway has noticed who is dead."""
        wait_until(lambda: self.connections()[0] <= others, "the gateway notices")

    def assert_sound(self) -> None:
        """Fail unless the depot is sound and nothing of the dead is left."""
        # The gateway may be about to give back what it noticed, and its reads delay the reuse.
        wait_until(self._is_clean, "all that the dead held is free")
        assert self.depot.check() == []
        arena = self.depot.statistics().arena
        assert arena.unsealed < 4 * MIB, "only what is left of chunks"

    def _is_clean(self) -> bool:
        self.depot.collect()
        arena = self.depot.statistics().arena
        return (arena.limbo, arena.pinned) == (0, 0)


def serve(here: Any, path: str) -> None:
    here.server = Server(here.depot, ipc=path, limit=320 * MIB)
    here.server.start()


def end(here: Any) -> None:
    here.server.close()


@pytest.fixture
def served(home: Home, peers: Start, tmp_path: Path) -> Iterator[Served]:
    with home.open("400M") as depot:  # blobs that clients leave open wait until these are gone
        found = Served(depot, os.fspath(tmp_path / "v.sock"), peers)
        yield found
        found.assert_sound()
        with Raw(found.path) as raw:
            raw.call("clear")
        found.wait_for_leaving()
        found.gateway.run(end)
        depot.collect()
        assert depot.statistics().arena.blobs == 0


@pytest.fixture
def start_original(served: Served, peers: Start) -> Callable[[], Peer]:
    """Return what starts a process with an original client."""

    def start() -> Peer:
        peer = peers(opens=False)
        peer.run(connect, served.path)
        return peer

    return start


def connect(here: Any, path: str) -> None:
    here.vineyard = importlib.import_module("vineyard")
    importlib.import_module("vineyard.io")
    here.client = here.vineyard.connect(path)


def ours(depot: entrepot.Depot) -> Client:
    return Client(IPCClient(LocalStore(depot)))


# What an original client is doing when it is killed.


def creates(here: Any) -> None:
    here.builder = here.client.create_blob(20 * MIB)
    here.builder.copy(0, b"\1" * (10 * MIB))


def seals(here: Any) -> None:
    creates(here)
    here.builder.seal(here.client)


def gets(here: Any) -> None:
    id = here.client.put(np.full(2 * MIB, 7.0))
    here.view = here.client.get(id)
    here.client.delete(id)


def writes_a_stream(here: Any) -> None:
    from vineyard.io.byte import ByteStream

    stream = ByteStream.new(here.client)
    here.writer = stream.open_writer(here.client)
    for number in range(2):
        here.chunk = here.writer.next(5 * MIB)
        here.vineyard.memory_copy(here.chunk, src=bytes([number]) * 100, offset=0)
    here.client.persist(stream.id)
    here.client.put_name(stream.id, "stream")


def waits_for_a_name(here: Any) -> None:
    here.client.get_name("never", True)


@needs_original
@pytest.mark.parametrize("doing", [creates, seals, gets], ids=["create", "seal", "get"])
def test_an_original_client_that_is_killed_holds_nothing(
    served: Served, start_original: Callable[[], Peer], doing: Callable[[Any], None]
) -> None:
    for _ in range(4):  # four times that does not fit, if anything is left
        peer = start_original()
        peer.run(doing)
        peer.kill()
        served.wait_for_leaving()
        served.assert_sound()
        with Raw(served.path) as raw:
            raw.send({"type": "list_data_request", "pattern": "*", "regex": False, "limit": 9})
            sealed = raw.reply()["content"] or {}
            assert len(sealed) == (doing is seals)
            for id in sealed:
                [view] = raw.get(int(id[1:], 16))
                assert (view[0], view[10 * MIB - 1], len(view)) == (1, 1, 20 * MIB)
                del view
            raw.call("clear")


@needs_original
def test_an_original_client_that_is_killed_while_it_waits_is_noticed(
    served: Served, start_original: Callable[[], Peer]
) -> None:
    peer = start_original()
    peer.begin(waits_for_a_name)
    wait_until(lambda: served.connections() == (1, 1), "it waits")
    peer.kill()
    wait_until(lambda: served.connections() == (0, 0), "the gateway notices")


@needs_original
def test_the_reader_of_a_stream_is_told_that_its_original_writer_was_killed(
    served: Served, start_original: Callable[[], Peer]
) -> None:
    peer = start_original()
    peer.run(writes_a_stream)
    with Raw(served.path) as raw:
        id = raw.call("get_name", name="stream", wait=False)["object_id"]
        raw.call("open_stream", object_id=id, mode=1)
        peer.kill()
        served.wait_for_leaving(others=1)
        chunk = raw.call("pull_next_stream_chunk", id=id)["chunk"]
        [view] = raw.get(chunk)
        assert bytes(view[:100]) == bytes(100)
        del view
        assert raw.code("pull_next_stream_chunk", id=id) == 43
        raw.call("drop_stream", id=id)
    served.wait_for_leaving()


@needs_original
def test_the_writer_of_a_stream_is_told_that_its_original_reader_was_killed(
    served: Served, start_original: Callable[[], Peer]
) -> None:
    def read(here: Any, id: int) -> int:
        from vineyard.io.byte import ByteStream

        stream = ByteStream(here.client.get_meta(here.vineyard.ObjectID(id)))
        here.reader = stream.open_reader(here.client)
        here.chunk = here.reader.next()
        return here.chunk[0]

    peer = start_original()
    with Raw(served.path) as raw:
        id = raw.make("vineyard::ByteStream", params_="{}")
        raw.call("create_stream", object_id=id)
        raw.call("open_stream", object_id=id, mode=2)
        for number in (5, 6):
            reply = raw.buffers("get_next_stream_chunk", id=id, size=MIB)
            raw.bytes_of(reply["buffer"])[:1] = bytes([number])
        assert peer.run(read, id) == 5
        peer.kill()
        served.wait_for_leaving(others=1)
        assert raw.code("get_next_stream_chunk", id=id, size=MIB) == 44
        raw.call("drop_stream", id=id)
    served.wait_for_leaving()


# Work, of which each step that was acknowledged is written down.


def numbers(seed: int, number: int) -> Any:
    """Return an array that tells whose it is: in the catalog, in a chunk, or on its own."""
    return np.full([10, 5000, 100_000][number % 3], seed * 1000.0 + number)


def until(stop: str) -> Iterator[int]:
    """Count until there is such a file."""
    for number in itertools.count():
        if Path(stop).exists():
            return
        yield number


def work_as_original(here: Any, path: str, log: str, seed: int, stop: str) -> None:
    """Put and delete, and connect again when the gateway was killed."""
    vineyard: Any = importlib.import_module("vineyard")
    kinds = ("IOError", "ConnectionError", "ConnectionFailed")
    lost = tuple(getattr(vineyard._C, f"{kind}Exception") for kind in kinds)
    client = None
    with Path(log).open("a", buffering=1) as lines:
        for number in until(stop):
            try:
                client = client or vineyard.connect(path)
                builder = client.create_blob(1000)  # left open
                id = client.put(numbers(seed, number))
                print("put", int(id), number, file=lines)
                if number % 10 or number > KEPT_MAX:
                    print("deletes", int(id), number, file=lines)
                    client.delete(id)
                    print("deleted", int(id), number, file=lines)
                else:
                    assert (client.get(id) == numbers(seed, number)).all()
                del builder
            except lost:
                if client is not None:
                    client.close()  # else it is what connecting returns
                client = None
    if client is not None:
        client.close()


def work_as_ours(here: Any, log: str, seed: int, stop: str) -> None:
    """Put and delete: who talks to the depot does not notice that a gateway died."""
    client = Client(IPCClient(LocalStore(here.depot)))
    with Path(log).open("a", buffering=1) as lines:
        for number in until(stop):
            id = client.put(numbers(seed, number))
            print("put", int(id), number, file=lines)
            assert (client.get(id) == numbers(seed, number)).all()
            if number % 10 or number > KEPT_MAX:
                print("deletes", int(id), number, file=lines)
                client.delete(id)
                print("deleted", int(id), number, file=lines)


def story(log: Path) -> tuple[dict[int, int], set[int]]:
    """Return what must be there, by id, and what must be gone."""
    there: dict[int, int] = {}
    gone: set[int] = set()
    for line in log.read_text().splitlines() if log.exists() else ():
        words = line.split()
        if len(words) != 3:
            continue  # killed while it wrote this
        id, number = int(words[1]), int(words[2])
        if words[0] == "put":
            there[id] = number
        else:
            there.pop(id, None)
        if words[0] == "deleted":
            gone.add(id)
    return there, gone


def are_as_told(here: Any, seed: int, there: dict[int, int], gone: set[int]) -> None:
    """Look with an original client."""
    for id, number in there.items():
        found = here.client.get(here.vineyard.ObjectID(id))
        assert (found == numbers(seed, number)).all(), id
    assert not any(here.client.exists(here.vineyard.ObjectID(id)) for id in gone)


def judge(
    served: Served, start_original: Callable[[], Peer], logs: dict[int, Path]
) -> dict[int, int]:
    """Fail unless all that was acknowledged is there, for a client of each kind."""
    peer, mine = start_original(), ours(served.depot)
    counts: dict[int, int] = {}
    for seed, log in logs.items():
        there, gone = story(log)
        peer.run(are_as_told, seed, there, gone)
        for id, number in there.items():
            assert (mine.get(entrepot.vineyard.ObjectID(id)) == numbers(seed, number)).all()
        assert not any(mine.exists(entrepot.vineyard.ObjectID(id)) for id in gone)
        counts[seed] = len(there) + len(gone)
    peer.kill()
    served.wait_for_leaving()
    return counts


@needs_original
def test_what_killed_original_clients_had_put_is_there(
    served: Served,
    start_original: Callable[[], Peer],
    peers: Start,
    chance: random.Random,
    tmp_path: Path,
) -> None:
    logs: dict[int, Path] = {}
    for seed in range(KILLS):
        logs[seed] = log = tmp_path / f"log{seed}"
        peer = peers(opens=False)
        peer.begin(work_as_original, served.path, os.fspath(log), seed, _NEVER)
        lines = chance.randrange(1, 40)
        wait_until(lambda log=log, lines=lines: _count(log) >= lines, "it works")
        for _ in range(chance.randrange(50)):
            served.depot.objects.exists(5)
        peer.kill()
        served.wait_for_leaving()
        served.assert_sound()
    assert all(judge(served, start_original, logs).values())


_NEVER = "/nonexistent"


def _count(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


@needs_original
def test_what_was_acknowledged_outlives_the_gateway(
    served: Served,
    start_original: Callable[[], Peer],
    peers: Start,
    chance: random.Random,
    tmp_path: Path,
) -> None:
    logs = {seed: tmp_path / f"log{seed}" for seed in range(4)}
    stop = tmp_path / "stop"
    workers = [start_original(), start_original(), peers(), peers()]
    for seed, worker in enumerate(workers):
        log = os.fspath(logs[seed])
        if seed > 1:
            worker.begin(work_as_ours, log, seed, os.fspath(stop))
        else:
            worker.begin(work_as_original, served.path, log, seed, os.fspath(stop))
    for kill in range(KILLS):
        before = {seed: _count(log) for seed, log in logs.items()}
        more = chance.randrange(1, 40)
        wait_until(
            lambda before=before, more=more: _are_longer(logs, before, more) or _ended(workers),
            f"all work after {kill} kills",
        )
        for worker in workers:
            if worker.asked is not None and worker.asked.is_done():
                worker.asked.result()  # what went wrong there
        assert not _ended(workers)
        served.gateway.kill()
        assert served.depot.check() == []
        served.begin()
    stop.touch()
    for worker in workers:
        assert worker.asked is not None
        worker.asked.result()
    for worker in workers[:2]:
        worker.close()
    served.wait_for_leaving()
    served.assert_sound()
    counts = judge(served, start_original, logs)
    assert all(counts.values())


def _are_longer(logs: dict[int, Path], before: dict[int, int], more: int) -> bool:
    return all(_count(log) >= before[seed] + more for seed, log in logs.items())


def _ended(workers: list[Peer]) -> bool:
    return any(worker.asked is None or worker.asked.is_done() for worker in workers)


@needs_original
def test_clients_of_both_kinds_read_what_the_others_put(
    served: Served, start_original: Callable[[], Peer], peers: Start
) -> None:
    def play(here: Any, path: str, seed: int) -> list[str]:
        import pandas as pd

        client = here.client if seed < 2 else Client(IPCClient(LocalStore(here.depot)))
        for number in range(6):
            frame = pd.DataFrame({"a": numbers(seed, number), "b": numbers(seed, number) > 0})
            for name, value in (
                ("array", numbers(seed, number)),
                ("frame", frame),
                ("text", f"{seed}"),
                ("dict", {"k": numbers(seed, number), "none": None}),
            ):
                id = client.put(value)
                client.persist(id)
                client.put_name(id, f"{name} {seed} {number}")
        wrong: list[str] = []
        for other in range(4):
            for number in range(6):
                array = client.get(client.get_name(f"array {other} {number}", True))
                frame = client.get(client.get_name(f"frame {other} {number}", True))
                text = client.get(client.get_name(f"text {other} {number}", True))
                expected = numbers(other, number)
                pickled = client.get(client.get_name(f"dict {other} {number}", True))
                is_right = (pickled["k"] == expected).all() and pickled["none"] is None
                is_right &= (array == expected).all() and (frame["a"] == expected).all()
                if not (is_right and frame["b"].dtype == bool and text == f"{other}"):
                    wrong.append(f"{other} {number}")
        return wrong

    players = [start_original(), start_original(), peers(), peers()]
    asked = [player.begin(play, served.path, seed) for seed, player in enumerate(players)]
    assert [each.result() for each in asked] == [[], [], [], []]
    for player in players:
        player.close()
    served.wait_for_leaving()


# The gateway dies at a certain place.


def arm(here: Any, failpoint: str, after: int) -> None:
    from entrepot.engine import failpoints

    failpoints.arm(failpoint, after=after)


@pytest.mark.parametrize("after", range(3))
@pytest.mark.parametrize("failpoint", ["engine.before_commit", "engine.committed"])
def test_a_gateway_that_dies_in_a_step_leaves_it_done_or_undone(
    served: Served, peers: Start, failpoint: str, after: int
) -> None:
    def begin(here: Any, path: str) -> tuple[int, int]:
        here.raw = Raw(path)
        return here.raw.create(b"kept" * 10_000), here.raw.create(b"open" * 9000, seals=False)

    def make(here: Any) -> list[int]:
        made: list[int] = []
        try:
            while True:
                id = here.raw.create(b"made" * 50_000)
                made.append(id)
                member = {"id": f"o{id:016x}", "typename": "vineyard::Blob", "instance_id": 0}
                here.raw.make(m=member)
        except (EOFError, OSError):
            return made

    client = peers(opens=False)
    kept, open_blob = client.run(begin, served.path)
    served.gateway.run(arm, failpoint, after)
    made = client.run(make)
    client.kill()
    served.gateway.wait_for_death()
    served.depot.collect()
    assert served.depot.check() == []
    served.begin()
    with Raw(served.path) as raw:
        assert [bytes(view) for view in raw.get(kept, *made)] == [
            b"kept" * 10_000,
            *[b"made" * 50_000] * len(made),
        ]
        assert raw.call("exists", id=open_blob) == {"exists": False}
        raw.send({"type": "list_data_request", "pattern": "*", "regex": False, "limit": 99})
        for tree in raw.reply()["content"].values():
            if "m" in tree:
                assert raw.call("exists", id=int(tree["m"]["id"][1:], 16)) == {"exists": True}


def test_what_a_dead_gateway_had_lent_is_free(served: Served) -> None:
    for _ in range(4):
        with Raw(served.path) as raw:
            id = raw.create(b"x" * (20 * MIB))
            assert raw.get(id)[0][0] == ord("x")
            raw.call("increase_reference_count", ids=[id])
            raw.call("del_data", id=[id])
            raw.get(raw.create(b"y" * (10 * MIB)))
            served.gateway.kill()
            assert raw.is_ended()
        served.begin()
        served.assert_sound()
        assert served.depot.statistics().arena.used == 10 * MIB
        with Raw(served.path) as raw:
            raw.call("clear")


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_who_still_writes_when_the_gateway_is_gone_writes_into_nobodys_values(
    served: Served, peers: Start, how: str
) -> None:
    def begin(here: Any, path: str) -> None:
        here.raw = Raw(path)
        here.views = [
            here.raw.bytes_of(here.raw.buffers("create_buffer", size=size)["created"])
            for size in (20 * MIB, 1000)
        ]

    def write(here: Any) -> None:
        for view in here.views:
            view[:] = b"\7" * len(view)

    for _ in range(3):  # three times that does not fit, if anything is left
        peer = peers(opens=False)
        peer.run(begin, served.path)
        if how == "killed":
            served.gateway.kill()
        else:
            served.gateway.run(end)
            served.gateway.close()
        served.depot.collect()
        ids = [served.depot.objects.put(np.zeros(size)) for size in [MIB] * 5 + [50, 500, 5000] * 9]
        peer.run(write)
        assert not any(served.depot.objects.get(id).any() for id in ids)
        assert served.depot.check() == []
        assert served.depot.statistics().arena.limbo >= 20 * MIB
        served.begin()
        peer.kill()
        served.assert_sound()
        served.depot.objects.delete(ids)


def test_a_client_that_has_left_keeps_nothing_when_the_gateway_dies_later(served: Served) -> None:
    with Raw(served.path) as raw, Raw(served.path) as other:
        raw.create(b"left", seals=False)
        other.create(b"x" * MIB, seals=False)
        other.create(b"sealed")
    served.wait_for_leaving()
    served.gateway.kill()
    served.begin()
    served.assert_sound()
