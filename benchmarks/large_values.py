"""Does the size of an array matter when it is got, and is a put as fast as a copy?

A get is zero-copy, so 1 GiB should cost what 1 MiB costs; the view is let go of within the
measured call. A put is one copy: it is compared with numpy's copy between warm buffers, after
the arena has been warmed by a put and a delete of the same size.
"""

from __future__ import annotations

import os

import entrepot
from benchmarks.floors import copy_floor, lmdb_floor, shared_memory
from benchmarks.harness import Contestant, Plan, compare
from benchmarks.peers import peers
from benchmarks.report import Check, at_least, at_most, duration
from benchmarks.rivals import getting, putting
from benchmarks.subject import objects_of, subject

__all__ = ["measure_large_values"]

MIB = 1 << 20
SMALL_MIB = 1
LARGE_MIB = 1024
PUT_MIB = 256
QUICK_LARGE_MIB = 32
QUICK_PUT_MIB = 16
PUT_SECONDS = 6.0
NOISE = 1.1
"""A get that does not depend on the size is dearer in half of the runs: this much is let pass."""


def measure_large_values(plan: Plan) -> list[Check]:
    """Return gets of a small and a large array, and a put into warm memory."""
    large_mib = _fitting_mib(plan)
    put_mib = QUICK_PUT_MIB if plan.quick else PUT_MIB
    memory = f"{large_mib + 3 * put_mib + 256}M"
    with subject(memory=memory) as (_, depot):
        return [*_gets(depot, large_mib, plan), *_puts(depot, put_mib, plan)]


def _fitting_mib(plan: Plan) -> int:
    """Return the size of the large array: 1 GiB where the shared memory has room for it."""
    if plan.quick:
        return QUICK_LARGE_MIB
    directory = shared_memory()
    space = os.statvfs(directory or ".")
    free_mib = space.f_bavail * space.f_frsize // MIB
    if directory is not None and free_mib > 3 * LARGE_MIB:
        return LARGE_MIB
    plan.note(f"shared memory has {free_mib} MiB free: the large array is {PUT_MIB} MiB, not 1 GiB")
    return PUT_MIB


def _array(mib: int) -> object:
    """Return an array whose pages were all written."""
    import numpy as np

    return np.ones(mib * MIB, dtype=np.uint8)


def _gets(depot: entrepot.Depot, large_mib: int, plan: Plan) -> list[Check]:
    """Return what gets cost, in Lr and against the peers."""
    store = objects_of(depot)
    small = getting("small", store, _array(SMALL_MIB))
    large = getting("large", store, _array(large_mib))
    with lmdb_floor() as floor, peers(plan) as rivals:
        keepers = [(rival, rival.store) for rival in rivals if rival.store is not None]
        got = [getting(rival.name, store, _array(SMALL_MIB)) for rival, store in keepers]
        small_timed, large_timed, unit, *others = compare([small, large, floor.read, *got], plan)
    return [
        _in_lr(f"get {SMALL_MIB} MiB", small, small_timed.ratio(unit), small_timed.median_s, plan),
        _in_lr(f"get {large_mib} MiB", large, large_timed.ratio(unit), large_timed.median_s, plan),
        Check(
            "large values",
            f"get {large_mib} MiB against {SMALL_MIB} MiB",
            large_timed.ratio(small_timed),
            "x",
            at_most(NOISE),
            duration(large_timed.median_s),
            duration(small_timed.median_s),
        ),
        *(
            Check(
                "large values",
                f"  get {SMALL_MIB} MiB, {rival.name}",
                theirs.ratio(small_timed),
                "x faster",
                at_least(rival.times),
                duration(small_timed.median_s),
                duration(theirs.median_s),
            )
            for (rival, _), theirs in zip(keepers, others, strict=True)
        ),
    ]


def _in_lr(name: str, contestant: Contestant, figure: float, median_s: float, plan: Plan) -> Check:
    """Return a get in units of Lr."""
    bound = at_most(15)
    return Check(
        "large values",
        name,
        figure,
        "Lr",
        bound,
        ours=duration(median_s),
        profile=plan.explain(contestant, missed=not bound.holds(figure)),
    )


def _puts(depot: entrepot.Depot, put_mib: int, plan: Plan) -> list[Check]:
    """Return what a put into warm memory reaches of a copy, and what the peers reach."""
    array = _array(put_mib)
    copy = copy_floor(put_mib * MIB)
    put = putting("entrepot", objects_of(depot), array)
    seconds = plan.seconds if plan.quick else PUT_SECONDS
    with peers(plan) as rivals:
        keepers = [
            (rival, rival.store)
            for rival in rivals
            if rival.store is not None and rival.name == "vineyard"  # the others pickle it whole
        ]
        puts = [putting(rival.name, store, array) for rival, store in keepers]
        timed, copied, *others = compare([put, copy, *puts], plan, seconds=seconds)
    of_copy, bound = copied.ratio(timed), at_least(0.7)
    return [
        Check(
            "large values",
            f"put {put_mib} MiB, warm, against numpy copy",
            of_copy,
            "x",
            bound,
            duration(timed.median_s),
            duration(copied.median_s),
            plan.explain(put, missed=not bound.holds(of_copy)),
        ),
        *(
            Check(
                "large values",
                f"  put {put_mib} MiB, {rival.name}",
                theirs.ratio(timed),
                "x faster",
                at_least(1),
                duration(timed.median_s),
                duration(theirs.median_s),
            )
            for (rival, _), theirs in zip(keepers, others, strict=True)
        ),
    ]
