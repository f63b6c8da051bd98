"""The storm: workers on one depot are killed in the middle of everything, again and again.

Each worker writes down what it is about to do and what was acknowledged, a line each, in a
log that it only appends to. A worker that dies leaves at most one line that only intends.

Guaranteed, when the storm is over:

1. put: each object whose put was acknowledged, and that nobody set out to delete, is there
   once, with its checksum. One whose deletion was acknowledged is gone. Each object that
   anybody ever saw had the checksum that it was stored with.
2. store and fetch: each value that was acknowledged is there once, or was acknowledged by
   exactly one fetch, or was being fetched by a process that was killed: at most once.
3. claim and done: each value that was acknowledged is there once, or was acknowledged as done
   exactly once, or was just being said done by a process that was killed. Nothing that was
   acknowledged as done was claimed later: exactly once.
4. At most one value that nobody acknowledged is there for each process that was killed.
5. What the dead held is back: sessions, pins, extents, claims, places in line. When all is
   deleted, all memory is free.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import settings
from entrepot.engine import failpoints
from support.homes import Home, assert_sound
from support.peers import Peer

WORKERS = 4
KILLS = int(os.environ.get("ENTREPOT_STORM_KILLS", "600"))
MEMORY = "72M"
"""Small, so that the catalog and the arena grow under fire, and both run full."""
LOOK_S = 0.5
"""How often the depot is checked while the storm goes on."""
SIZES = {50: 2, 3_000: 3, 15_000: 6, 30_000: 2, 100_000: 1, 400_000: 0.5}
"""Sizes of values in bytes and how often each is taken: inline, pieces of chunks, large."""


@pytest.mark.timeout(60 + KILLS // 2)
def test_nothing_acknowledged_is_lost_or_doubled_when_workers_are_killed(
    home: Home, peers: Callable[..., Peer], chance: random.Random, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    nursery = peers(opens=False)
    seed = chance.randrange(1 << 32)
    with home.open(MEMORY) as depot:
        begun = nursery.begin(storm, home.root, home.data, logs, seed)
        while not begun.is_done(LOOK_S):
            assert depot.check() == []
        told = begun.result()
        check_over(depot)
        story = Story.read(logs)
        print(told, story.summary(), depot.statistics(), sep="\n")
        assert told["killed"] >= KILLS
        assert depot.statistics().catalog_bytes > settings.CATALOG_BYTES_FIRST, "it never grew"
        judge(depot, story)
        empty(depot)


# What the workers do.


def storm(here: Any, root: Path, data: Path, logs: Path, seed: int) -> dict[str, Any]:
    """Keep so many workers alive and kill them at random; return what happened."""
    import faulthandler

    chance = random.Random(seed)
    begun = time.monotonic()
    told: collections.Counter[str] = collections.Counter()
    alive: dict[int, Path] = {}

    def start() -> None:
        name = logs / f"{told['started']:05}"
        told["started"] += 1
        worker_seed = chance.getrandbits(32)
        name.touch()
        child = os.fork()
        if child == 0:
            faulthandler.enable()
            try:
                work(root, data, name, worker_seed)
            except BaseException:  # noqa: BLE001 it must not return into the parent's code
                traceback.print_exc(file=sys.stderr)
            os._exit(1)
        alive[child] = name

    def bury(child: int, status: int) -> None:
        name = alive.pop(child)
        assert os.WIFSIGNALED(status), f"worker {name} failed: {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL, f"worker {name} crashed: {status}"
        told["killed"] += 1

    def strike() -> None:
        # A pause of a random length, ended early by a worker that kills itself at a failpoint.
        signal.sigtimedwait({signal.SIGCHLD}, chance.choice((0.001, 0.01, 0.05)) * chance.random())
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                break
            told["at a failpoint"] += 1
            bury(child, status)
        # Only one that has begun to work, or it would be killed while it opens, mostly.
        ready = [pid for pid, name in alive.items() if name.stat().st_size]
        if ready and chance.random() < 0.7:
            victim = chance.choice(ready)
            os.kill(victim, signal.SIGKILL)
            bury(*os.waitpid(victim, 0))
            told["at random"] += 1

    try:
        while told["killed"] < KILLS:
            while len(alive) < WORKERS:
                start()
            strike()
    finally:
        for child in list(alive):
            os.kill(child, signal.SIGKILL)
            bury(*os.waitpid(child, 0))
    return {**told, "seconds": round(time.monotonic() - begun, 1)}


def work(root: Path, data: Path, name: Path, seed: int) -> None:
    """Do random things with the depot until killed."""
    chance = random.Random(seed)
    log = Log(name)
    if chance.random() < 0.4:
        failpoints.arm(chance.choice(sorted(failpoints.KNOWN)), after=int(chance.expovariate(0.05)))
    depot = entrepot.open(Home.name, directory=root, data_directory=data)
    log.write("open", str(depot.attached.session.id))
    worker = Worker(depot, log, chance, name.name)
    kept: list[Any] = []
    while True:
        action = chance.choices(ACTIONS, WEIGHTS)[0]
        try:
            kept.append(action(worker))
        except entrepot.OutOfMemoryError:
            log.write("full")
            worker.make_room()
        del kept[:-20]  # views live for a while


class Log:
    """Lines that are there when the process is killed."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, *words: str) -> None:
        os.write(self._fd, f"{time.monotonic_ns()} {' '.join(words)}\n".encode())


class Worker:
    """What one process does; each value says who it is and what its checksum is."""

    def __init__(self, depot: entrepot.Depot, log: Log, chance: random.Random, name: str) -> None:
        self.depot = depot
        self.space = depot.space("storm")
        self.log = log
        self.chance = chance
        self.name = name
        self.made = 0

    def make(self) -> tuple[str, np.ndarray[Any, Any]]:
        """Return a new value, with its token: small, a piece of a chunk, or large."""
        self.made += 1
        token = f"{self.name}-{self.made}"
        (size,) = self.chance.choices(list(SIZES), list(SIZES.values()))
        body = np.frombuffer(self.chance.randbytes(size), np.uint8)
        head = f"{token} {zlib.crc32(body)}".ljust(40).encode()
        return token, np.concatenate([np.frombuffer(head, np.uint8), body])

    def put(self) -> None:
        token, value = self.make()
        self.log.write("put?", token)
        id = self.depot.objects.put(value)
        self.log.write("put", token, str(id))

    def put_many(self) -> None:
        many = [self.make() for _ in range(self.chance.randrange(2, 6))]
        tokens = ",".join(token for token, _ in many)
        self.log.write("put?", tokens)
        ids = self.depot.objects.put_many([value for _, value in many])
        self.log.write("put", tokens, ",".join(map(str, ids)))

    def get(self) -> object:
        infos = self.depot.objects.list(limit=200)
        if not infos:
            return None
        id = self.chance.choice(infos).id
        try:
            value = self.depot.objects.get(id)
        except entrepot.NotFoundError:
            return None
        verify(value)
        return value[self.chance.randrange(1, 40) :]

    def delete(self) -> None:
        infos = self.depot.objects.list(limit=200)
        if infos:
            id = self.chance.choice(infos).id
            self.log.write("delete?", str(id))
            count = self.depot.objects.delete(id)
            self.log.write("delete", str(id), str(count))

    def store(self) -> None:
        token, value = self.make()
        self.log.write("store?", token)
        self.space.store("values", value)
        self.log.write("store", token)

    def fetch(self) -> object:
        self.log.write("fetch?")
        value = self.space.try_fetch("values")
        return self.fetched(value)

    def wait(self) -> object:
        self.log.write("fetch?")
        value = None
        with contextlib.suppress(entrepot.WaitTimeoutError):
            value = self.space.fetch("values", timeout=0.02)
        return self.fetched(value)

    def fetched(self, value: Any) -> object:
        self.log.write("fetch", "nothing" if value is None else verify(value))
        return value

    def find(self) -> object:
        value = self.space.try_find("values")
        if value is not None:
            verify(value)
        return value

    def store_job(self) -> None:
        token, value = self.make()
        self.log.write("job?", token)
        self.space.store("jobs", value)
        self.log.write("job", token)

    def claim(self) -> None:
        claim = self.space.try_claim("jobs")
        if claim is None:
            return
        token = verify(claim.value)
        self.log.write("claim", token)
        verify(claim.value)
        if self.chance.random() < 0.2:
            claim.release()
        else:
            self.log.write("done?", token)
            claim.done()
            self.log.write("done", token)

    def reap(self) -> None:
        self.depot.collect(trim=self.chance.random() < 0.3)

    def make_room(self) -> None:
        for _ in range(8):
            self.delete()
            self.fetch()
            with contextlib.suppress(entrepot.OutOfMemoryError):
                self.claim()
        self.reap()


ACTIONS: list[Callable[[Worker], object]] = [
    Worker.put,
    Worker.put_many,
    Worker.get,
    Worker.delete,
    Worker.store,
    Worker.fetch,
    Worker.wait,
    Worker.find,
    Worker.store_job,
    Worker.claim,
    Worker.reap,
]
WEIGHTS = [10, 4, 12, 7, 9, 5, 3, 3, 8, 8, 0.3]


def verify(value: np.ndarray[Any, Any]) -> str:
    """Return the token of a value whose checksum is right."""
    token, checksum = bytes(value[:40]).decode().split()
    assert zlib.crc32(value[40:]) == int(checksum), f"the checksum of {token} differs"
    return token


# What is judged.


class Story:
    """What the logs say."""

    def __init__(self) -> None:
        self.put: dict[str, str] = {}
        self.delete_meant: set[str] = set()
        self.deleted: collections.Counter[str] = collections.Counter()
        self.stored: set[str] = set()
        self.fetched: collections.Counter[str] = collections.Counter()
        self.jobs: set[str] = set()
        self.done: collections.Counter[str] = collections.Counter()
        self.done_meant: set[str] = set()
        self.done_at: dict[str, int] = {}
        self.claimed_at: dict[str, int] = {}
        self.last_words: collections.Counter[str] = collections.Counter()
        self.claims = 0
        self.full = 0
        self.meant: dict[str, set[str]] = collections.defaultdict(set)

    @classmethod
    def read(cls, logs: Path) -> Story:
        story = cls()
        for log in sorted(logs.iterdir()):
            words: list[str] = []
            for line in log.read_text().splitlines():
                at, *words = line.split()
                story.note(int(at), *words)
            story.last_words[words[0] if words else "opening"] += 1
        return story

    def note(self, at: int, what: str, *words: str) -> None:
        match what:
            case "put":
                tokens, ids = words[0].split(","), words[1].split(",")
                self.put.update(zip(ids, tokens, strict=True))
            case "put?" | "store?" | "job?":
                self.meant[what].update(words[0].split(","))
            case "delete?":
                self.delete_meant.add(words[0])
            case "delete":
                self.deleted[words[0]] += int(words[1])
            case "store":
                self.stored.add(words[0])
            case "fetch":
                if words[0] != "nothing":
                    self.fetched[words[0]] += 1
            case "job":
                self.jobs.add(words[0])
            case "claim":
                self.claims += 1
                self.claimed_at[words[0]] = max(at, self.claimed_at.get(words[0], 0))
            case "done?":
                self.done_meant.add(words[0])
            case "done":
                self.done[words[0]] += 1
                self.done_at[words[0]] = at
            case "full":
                self.full += 1

    def summary(self) -> dict[str, object]:
        return {
            "put": len(self.put),
            "deleted": sum(self.deleted.values()),
            "stored": len(self.stored),
            "fetched": sum(self.fetched.values()),
            "jobs": len(self.jobs),
            "claims": self.claims,
            "done": sum(self.done.values()),
            "full": self.full,
            "last words": dict(self.last_words),
        }


def judge(depot: entrepot.Depot, story: Story) -> None:
    killed = sum(story.last_words.values())

    # 1.
    there = {str(info.id): verify(depot.objects.get(info.id)) for info in depot.objects.list()}
    assert max(collections.Counter(there.values()).values(), default=1) == 1, "an object is doubled"
    for id, token in story.put.items():
        if id not in story.delete_meant:
            assert there.get(id) == token, f"object {id}, put as {token}, is lost"
        if story.deleted[id]:
            assert id not in there, f"object {id} was deleted and is there"
    assert max(story.deleted.values(), default=1) <= 1, "an object was deleted twice"
    unknown = set(there) - set(story.put)
    assert {there[id] for id in unknown} <= story.meant["put?"]
    assert len({there[id].split("-")[0] for id in unknown}) <= killed  # 4.

    # 2.
    values = [verify(value) for value in depot.space("storm").ifind_try("values")]
    check_once(values, story.fetched, "fetched")
    lost = story.stored - set(values) - set(story.fetched)
    assert len(lost) <= story.last_words["fetch?"], f"{len(lost)} values are lost: {lost}"
    surplus = (set(values) | set(story.fetched)) - story.stored
    assert surplus <= story.meant["store?"]
    assert len(surplus) <= story.last_words["store?"]  # 4.

    # 3.
    jobs = [verify(value) for value in depot.space("storm").ifind_try("jobs")]
    check_once(jobs, story.done, "done")
    undone = story.jobs - set(jobs) - set(story.done)
    assert undone <= story.done_meant, f"jobs are lost: {undone - story.done_meant}"
    assert len(undone) <= story.last_words["done?"]
    for token, at in story.done_at.items():
        assert story.claimed_at[token] < at, f"job {token} was claimed after it was done"
    surplus = (set(jobs) | set(story.done)) - story.jobs
    assert surplus <= story.meant["job?"]
    assert len(surplus) <= story.last_words["job?"]  # 4.


def check_once(there: list[str], taken: collections.Counter[str], word: str) -> None:
    assert len(there) == len(set(there)), f"values are there twice: {there}"
    assert max(taken.values(), default=1) == 1, f"values were {word} twice: {taken.most_common(3)}"
    both = set(there) & set(taken)
    assert not both, f"values were {word} and are there: {both}"


def check_over(depot: entrepot.Depot) -> None:
    """5."""
    depot.collect()
    assert_sound(depot)
    assert depot.statistics().arena.unsealed == 0


def empty(depot: entrepot.Depot) -> None:
    """5: the memory of all that was stored is free when it is deleted."""
    for info in depot.objects.list():  # one by one, as the depot may be full
        depot.objects.delete(info.id)
    depot.delete_space("storm")
    depot.collect()
    arena = depot.statistics().arena
    assert (arena.used, arena.blobs, arena.limbo, arena.unsealed) == (0, 0, 0, 0)
    assert arena.free == arena.reserved
    depot.collect(trim=True)
    assert depot.statistics().arena.reserved == 0
    assert depot.check() == []
