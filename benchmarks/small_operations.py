"""What does one small operation cost, in units of the floor, and against the peers?

An int and an array of 64 bytes by key; 100 bytes through a queue. Each operation is one
comparison: entrepot, the floor and every peer that has the operation, in alternating turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.floors import LmdbFloor, lmdb_floor
from benchmarks.harness import Contestant, Plan, Timing, compare
from benchmarks.peers import peers
from benchmarks.report import Bound, Check, at_least, at_most, duration
from benchmarks.rivals import Rival, asking, fetching, finding, getting, putting, storing
from benchmarks.subject import subject

__all__ = ["measure_small_operations"]

NUMBER = 20_261_120
MESSAGE = bytes(100)
ARRAY_BYTES = 64


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the question, and its floor."""

    name: str
    make: Callable[[Rival], Contestant | None]
    """Return the contestant of a rival, or None if it lacks the operation."""
    writes: bool
    """Whether the unit is Lw, or Lr."""
    bound: Bound


def measure_small_operations(plan: Plan) -> list[Check]:
    """Return every small operation against the floor and against each peer."""
    with subject() as (ours, _), lmdb_floor() as floor, peers(plan) as rivals:
        return [
            check
            for operation in _operations()
            for check in _measure(operation, ours, rivals, floor, plan)
        ]


def _operations() -> list[Operation]:
    """Return the operations and the bounds that they have to keep."""
    import numpy as np

    array = np.arange(ARRAY_BYTES // 8, dtype=np.float64)
    return [
        Operation("put an int", _by_key(putting, NUMBER), writes=True, bound=at_most(6)),
        Operation("get an int", _by_key(getting, NUMBER), writes=False, bound=at_most(5)),
        Operation("put a 64-byte array", _by_key(putting, array), writes=True, bound=at_most(6)),
        Operation("get a 64-byte array", _by_key(getting, array), writes=False, bound=at_most(5)),
        Operation("exists", _by_key(asking, NUMBER), writes=False, bound=at_most(2.5)),
        Operation("store 100 bytes", _queued(storing, "store"), writes=True, bound=at_most(6)),
        Operation("fetch 100 bytes", _queued(fetching, "fetch"), writes=True, bound=at_most(6)),
        Operation("find 100 bytes", _queued(finding, "find"), writes=False, bound=at_most(4)),
    ]


def _by_key(make: Callable[..., Contestant], value: object) -> Callable[[Rival], Contestant | None]:
    """Return how a rival does it that keeps values by key."""

    def of(rival: Rival) -> Contestant | None:
        return None if rival.store is None else make(rival.name, rival.store, value)

    return of


def _queued(make: Callable[..., Contestant], name: str) -> Callable[[Rival], Contestant | None]:
    """Return how a rival does it that has queues, on a queue of its own."""

    def of(rival: Rival) -> Contestant | None:
        queue = None if rival.queue is None else rival.queue(name)
        if queue is None or (make is finding and queue.find is None):
            return None
        return make(rival.name, queue, MESSAGE)

    return of


def _measure(
    operation: Operation, ours: Rival, rivals: Sequence[Rival], floor: LmdbFloor, plan: Plan
) -> list[Check]:
    """Return one operation against its floor and against each peer."""
    subject_of_it = operation.make(ours)
    assert subject_of_it is not None, "entrepot has every operation"
    field = [(rival, operation.make(rival)) for rival in rivals]
    present = [(rival, contestant) for rival, contestant in field if contestant is not None]
    unit = floor.write if operation.writes else floor.read
    timed, unit_timed, *others = compare(
        [subject_of_it, unit, *(contestant for _, contestant in present)], plan
    )
    figure = timed.ratio(unit_timed)
    missed = not operation.bound.holds(figure)
    checks = [
        Check(
            "small operations",
            operation.name,
            figure,
            unit.name,
            operation.bound,
            duration(timed.median_s),
            duration(unit_timed.median_s),
            plan.explain(subject_of_it, missed=missed),
        )
    ]
    checks += [
        _against(operation.name, timed, theirs, rival)
        for (rival, _), theirs in zip(present, others, strict=True)
    ]
    return checks


def _against(name: str, ours: Timing, theirs: Timing, rival: Rival) -> Check:
    """Return how many times faster than a peer entrepot is."""
    return Check(
        "small operations",
        f"  {name}, {rival.name}",
        theirs.ratio(ours),
        "x faster",
        at_least(rival.times),
        duration(ours.median_s),
        duration(theirs.median_s),
    )
