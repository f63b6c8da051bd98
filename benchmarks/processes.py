"""Do four processes that work on different names get in each other's way?

Four workers live through the whole comparison. In each round one of them works alone for a
moment, then all four work for the same moment; the figure is the sum of their operations in
ratio of what the one did alone, the median over the rounds.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from statistics import median

import entrepot
from benchmarks.harness import Plan
from benchmarks.report import Check, at_least
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
    with subject() as (_, depot), _workers(address_of(depot)) as workers:
        return [_measure(kind, what, workers, plan) for kind, what in KINDS.items()]


def _measure(kind: str, what: str, workers: list[Connection], plan: Plan) -> Check:
    """Return one kind of work."""
    window_s = QUICK_WINDOW_S if plan.quick else WINDOW_S
    alone: list[int] = []
    together: list[int] = []
    _run(kind, workers, window_s / 4)
    for number in range(QUICK_ROUNDS if plan.quick else ROUNDS):
        one = workers[number % len(workers)]
        alone.append(_run(kind, [one], window_s))
        together.append(_run(kind, workers, window_s))
    return Check(
        "processes",
        f"{WORKERS} against 1: {what}",
        median(all_of_them / one for all_of_them, one in zip(together, alone, strict=True)),
        "x",
        at_least(1),
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
def _workers(address: Address) -> Generator[list[Connection]]:
    """Yield connections to workers that have opened the depot; end them with the block."""
    context = multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = []
    ends: list[Connection] = []
    try:
        for number in range(WORKERS):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, address, number), daemon=True)
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


def _work(orders: Connection, address: Address, number: int) -> None:
    """Follow orders until the other end closes."""
    with open_depot(address) as depot:
        steps = {kind: make(depot, f"worker {number}") for kind, make in _STEPS.items()}
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


def _objects_step(depot: entrepot.Depot, name: str) -> Callable[[], None]:
    """Put, get, delete."""
    objects = depot.objects

    def step() -> None:
        key = objects.put(name)
        objects.get(key)
        objects.delete(key)

    return step


def _space_step(depot: entrepot.Depot, name: str) -> Callable[[], None]:
    """Store, find, fetch."""
    queue = queue_of(depot, name)
    assert queue.find is not None, "a space can find"
    store, find, fetch = queue.store, queue.find, queue.fetch

    def step() -> None:
        store(MESSAGE)
        find()
        fetch()

    return step


def _read_step(depot: entrepot.Depot, name: str) -> Callable[[], None]:
    """Get, get, exists."""
    objects = depot.objects
    key = objects.put(name)

    def step() -> None:
        objects.get(key)
        objects.get(key)
        objects.exists(key)

    return step


KINDS = {
    "objects": "put, get, delete",
    "spaces": "store, find, fetch",
    "reads": "get, get, exists",
}
_STEPS = {"objects": _objects_step, "spaces": _space_step, "reads": _read_step}
