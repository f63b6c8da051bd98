"""Does an operation get dearer when there is much of everything?

Two depots: one with 100 objects and a variable of 100 values, one with a million of each, both
open in this process, and the same operation on both in alternating turns. Ids are drawn from
the whole set, so the large depot pays for its cold pages, as it would in use.

Left out are the operations that walk through everything because that is their job: `list` and
`names` without a limit, `check`, `collect`, `delete_space`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle

import entrepot
from benchmarks.harness import Contestant, Plan, compare
from benchmarks.report import Check, at_most, duration
from benchmarks.rivals import fetching, putting, storing
from benchmarks.subject import SPACE, objects_of, queue_of

__all__ = ["measure_scale"]

FEW = 100
MANY = 1_000_000
QUICK_MANY = 5_000
BATCH = 1_000
DRAWN = 1_000
MESSAGE = bytes(100)
VARIABLE = "full"
MEMORY = "6G"
"""More than a million objects and values need; only what is used is reserved."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A depot with so many objects and values."""

    depot: entrepot.Depot
    ids: list[entrepot.ObjectId]
    """A random sample of the objects."""


def measure_scale(plan: Plan) -> list[Check]:
    """Return every operation on a full depot against the same on a nearly empty one."""
    many = QUICK_MANY if plan.quick else MANY
    with _filled(FEW) as small, _filled(many) as large:
        return [
            _measure(name, make(small), make(large), many, plan)
            for name, make in _operations().items()
        ]


def _measure(name: str, few: Contestant, many: Contestant, size: int, plan: Plan) -> Check:
    """Return how many times dearer an operation is on the full depot."""
    few_timed, many_timed = compare([few, many], plan, seconds=plan.seconds / 2)
    figure, bound = many_timed.ratio(few_timed), at_most(2)
    return Check(
        f"scale: {size:,} against {FEW}",
        name,
        figure,
        "x",
        bound,
        duration(many_timed.median_s),
        duration(few_timed.median_s),
        plan.explain(many, missed=not bound.holds(figure)),
    )


@contextmanager
def _filled(size: int) -> Generator[Filled]:
    """Yield a depot with `size` objects and a variable of `size` values."""
    with entrepot.temporary(memory=MEMORY) as depot:
        ids: list[entrepot.ObjectId] = []
        for begin in range(0, size, BATCH):
            ids += depot.objects.put_many(range(begin, min(begin + BATCH, size)))
        space = depot.space(SPACE)
        for _ in range(size):
            space.store(VARIABLE, MESSAGE)
        yield Filled(depot, random.Random(size).choices(ids, k=DRAWN))


def _operations() -> dict[str, Callable[[Filled], Contestant]]:
    """Return the operations by name, each as a function that aims it at a depot."""
    return {
        "put": lambda filled: putting("put", objects_of(filled.depot), 7),
        "get": lambda filled: _drawn(filled, filled.depot.objects.get),
        "exists": lambda filled: _drawn(filled, filled.depot.objects.exists),
        "meta": lambda filled: _drawn(filled, filled.depot.objects.meta),
        "size": lambda filled: _drawn(filled, filled.depot.objects.size),
        "usage": lambda filled: _drawn(filled, filled.depot.objects.usage),
        "delete": _deleting,
        "list of 10": lambda filled: Contestant(
            "list", lambda: filled.depot.objects.list(limit=10)
        ),
        "put_name": _naming,
        "get_name": _asking_for_a_name,
        "store": lambda filled: storing("store", queue_of(filled.depot, VARIABLE), MESSAGE),
        "find": lambda filled: _of_space(filled, "find"),
        "fetch": lambda filled: fetching("fetch", queue_of(filled.depot, VARIABLE), MESSAGE),
        "claim and release": _claiming,
        "first value of ifind": _iterating,
        "variables": lambda filled: Contestant("variables", filled.depot.space(SPACE).variables),
        "spaces": lambda filled: Contestant("spaces", filled.depot.spaces),
        "statistics": lambda filled: Contestant("statistics", filled.depot.statistics),
    }


def _drawn(filled: Filled, ask: Callable[[entrepot.ObjectId], object]) -> Contestant:
    """Ask something about one object of the sample after another."""
    next_id = partial(next, cycle(filled.ids))
    return Contestant("drawn", lambda: ask(next_id()))


def _deleting(filled: Filled) -> Contestant:
    """Delete objects that were put ahead of each turn."""
    objects = filled.depot.objects
    ids: list[entrepot.ObjectId] = []

    def before(calls: int) -> None:
        ids.extend(objects.put_many(range(calls)))

    return Contestant("delete", lambda: objects.delete(ids.pop()), before=before)


def _naming(filled: Filled) -> Contestant:
    """Give names to objects of the sample; they are dropped behind each turn."""
    objects = filled.depot.objects
    next_id, numbers = partial(next, cycle(filled.ids)), count()
    given: list[str] = []

    def call() -> None:
        name = f"name {next(numbers)}"
        objects.put_name(name, next_id())
        given.append(name)

    def after() -> None:
        for name in given:
            objects.drop_name(name)
        given.clear()

    return Contestant("put_name", call, after=after)


def _asking_for_a_name(filled: Filled) -> Contestant:
    """Look up one name."""
    filled.depot.objects.put_name("known", filled.ids[0])
    return Contestant("get_name", partial(filled.depot.objects.get_name, "known"))


def _of_space(filled: Filled, method: str) -> Contestant:
    """Call a method of the space on the full variable."""
    return Contestant(method, partial(getattr(filled.depot.space(SPACE), method), VARIABLE))


def _claiming(filled: Filled) -> Contestant:
    """Claim a value and put it back."""
    space = filled.depot.space(SPACE)

    def call() -> None:
        space.claim(VARIABLE).release()

    return Contestant("claim", call)


def _iterating(filled: Filled) -> Contestant:
    """Begin a walk over the values."""
    space = filled.depot.space(SPACE)
    return Contestant("ifind", lambda: next(space.ifind(VARIABLE)))
