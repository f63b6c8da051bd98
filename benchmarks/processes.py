"""Do four processes that work on different names get in each other's way?

Four workers live through the whole comparison. In each round one of them works alone for a
moment, then all four work for the same moment; the figure is the sum of their operations in
ratio of what the one did alone, the median over the rounds.

Two kinds of work are for comparison only: a loop that shares nothing shows how many cores the
machine had left for this, and a bare LMDB put shows what one write lock for all leaves of them.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from statistics import median

import lmdb

import entrepot
from benchmarks.floors import open_environment, shared_memory
from benchmarks.harness import Plan
from benchmarks.report import Bound, Check, at_least
from benchmarks.subject import Address, address_of, open_depot, queue_of, subject

__all__ = ["measure_processes"]

WORKERS = 4
WINDOW_S = 0.3
QUICK_WINDOW_S = 0.02
ROUNDS = 10
QUICK_ROUNDS = 2
HEAD_START_S = 0.005
"""From the order to work until the window opens, so that all have heard it."""
OPERATIONS_PER_STEP = 3
STEPS_PER_GLANCE = 4
"""Steps between two looks at the clock."""
MESSAGE = bytes(100)


@dataclass(frozen=True, slots=True)
class Order:
    """Work in this window of the monotonic clock, which all processes share."""

    kind: str
    begins_at: float
    ends_at: float


def measure_processes(plan: Plan) -> list[Check]:
    """Return the operations a second of four processes against those of one."""
    with (
        tempfile.TemporaryDirectory(prefix="entrepot-floor-", dir=shared_memory()) as directory,
        subject() as (_, depot),
        _workers(address_of(depot), directory) as workers,
    ):
        return [_measure(kind, workers, plan) for kind in KINDS]


def _measure(kind: Kind, workers: list[Connection], plan: Plan) -> Check:
    """Return one kind of work."""
    window_s = QUICK_WINDOW_S if plan.quick else WINDOW_S
    alone: list[int] = []
    together: list[int] = []
    _run(kind.name, workers, window_s / 4)
    for number in range(QUICK_ROUNDS if plan.quick else ROUNDS):
        one = workers[number % len(workers)]
        alone.append(_run(kind.name, [one], window_s))
        together.append(_run(kind.name, workers, window_s))
    return Check(
        f"processes: {WORKERS} against 1",
        kind.name,
        median(all_of_them / one for all_of_them, one in zip(together, alone, strict=True)),
        "x",
        kind.bound,
        f"{median(together) / window_s / 1e3:.0f} k/s",
        f"{median(alone) / window_s / 1e3:.0f} k/s",
    )


def _run(kind: str, workers: list[Connection], window_s: float) -> int:
    """Let the workers work at the same time and return what they did together."""
    begins_at = time.monotonic() + HEAD_START_S
    for worker in workers:
        worker.send(Order(kind, begins_at, begins_at + window_s))
    return sum(worker.recv() for worker in workers)


@contextmanager
def _workers(address: Address, floor: str) -> Generator[list[Connection]]:
    """Yield connections to workers that have opened the depot; end them with the block."""
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    ends: list[Connection] = []
    try:
        for number in range(WORKERS):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(theirs, address, floor, number), daemon=True
            )
            process.start()
            theirs.close()
            processes.append(process)
            ends.append(ours)
        for end in ends:
            end.recv()
        yield ends
    finally:
        for end in ends:
            end.close()
        for process in processes:
            process.join()


def _work(orders: Connection, address: Address, floor: str, number: int) -> None:
    """Follow orders until the other end closes."""
    with open_depot(address) as depot, open_environment(floor) as environment:
        place = Place(depot, environment, f"worker {number}")
        steps = {kind.name: kind.make(place) for kind in KINDS}
        orders.send("ready")
        while True:
            try:
                order: Order = orders.recv()
            except EOFError:
                return
            orders.send(_count(steps[order.kind], order))


def _count(step: Callable[[], None], order: Order) -> int:
    """Return the operations done in the window."""
    while time.monotonic() < order.begins_at:
        pass
    for done in count(STEPS_PER_GLANCE, STEPS_PER_GLANCE):
        for _ in range(STEPS_PER_GLANCE):
            step()
        if time.monotonic() >= order.ends_at:
            return done * OPERATIONS_PER_STEP
    raise AssertionError("count() does not end")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker works."""

    depot: entrepot.Depot
    environment: lmdb.Environment
    name: str
    """The worker's own: no two work on the same."""


def _objects_step(place: Place) -> Callable[[], None]:
    """Put, get, delete."""
    objects, name = place.depot.objects, place.name

    def step() -> None:
        key = objects.put(name)
        objects.get(key)
        objects.delete(key)

    return step


def _space_step(place: Place) -> Callable[[], None]:
    """Store, find, fetch."""
    queue = queue_of(place.depot, place.name)
    assert queue.find is not None, "a space can find"
    store, find, fetch = queue.store, queue.find, queue.fetch

    def step() -> None:
        store(MESSAGE)
        find()
        fetch()

    return step


def _read_step(place: Place) -> Callable[[], None]:
    """Get, get, exists."""
    objects = place.depot.objects
    key = objects.put(place.name)

    def step() -> None:
        objects.get(key)
        objects.get(key)
        objects.exists(key)

    return step


def _floor_step(place: Place) -> Callable[[], None]:
    """Put, put, put, each in a transaction of its own."""
    begin, key = place.environment.begin, place.name.encode()

    def step() -> None:
        for _ in range(OPERATIONS_PER_STEP):
            with begin(write=True) as tx:
                tx.put(key, MESSAGE)

    return step


def _loop_step(place: Place) -> Callable[[], None]:
    """Count."""
    del place

    def step() -> None:
        for _ in range(OPERATIONS_PER_STEP * 20):
            pass

    return step


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work: three operations, again and again."""

    name: str
    make: Callable[[Place], Callable[[], None]]
    bound: Bound | None


KINDS = (
    Kind("put, get, delete", _objects_step, at_least(1)),
    Kind("store, find, fetch", _space_step, at_least(1)),
    Kind("get, get, exists", _read_step, at_least(1)),
    Kind("bare LMDB puts", _floor_step, None),
    Kind("a loop that shares nothing", _loop_step, None),
)
