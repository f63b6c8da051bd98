"""Times contestants in turns, so that whatever disturbs the machine disturbs all of them.

    round 1   ours      floor     Redis       a turn: a few untimed calls, then a timed batch
    round 2   floor     Redis     ours        the next round starts with the next contestant
    round 3   Redis     ours      floor

1. Each contestant is warmed up, and its batch is sized so that a turn lasts `turn_s`.
2. Rounds are played until `seconds` are over, at least `rounds_min` and at most `rounds_max`.
3. A figure is the median over the rounds of (time of the batch / calls in the batch).
4. A ratio is the median over the rounds of the ratio within a round, not the ratio of two
   medians: a neighbour who slows down ten rounds slows both sides of ten ratios.
"""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter, perf_counter_ns

__all__ = ["Contestant", "Plan", "Timing", "compare", "profile"]

CALLS_MAX = 100
UNTIMED_MAX = 5
PROFILE_SECONDS = 0.3
PROFILED_LINES = 10


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do one thing."""

    name: str
    call: Callable[[], object]
    """What is timed."""
    before: Callable[[int], object] | None = None
    """Run untimed ahead of a turn, with the number of calls that follow."""
    after: Callable[[], object] | None = None
    """Run untimed behind a turn."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured, and what there is to say besides the figures."""

    quick: bool = False
    """Small rounds and small sizes: proves that the benchmarks run, not how fast anything is."""
    notes: list[str] = field(default_factory=list[str])
    """Peers that are not installed, sizes that did not fit: printed under the table."""

    @property
    def seconds(self) -> float:
        """Time for one comparison."""
        return 0.05 if self.quick else 2.0

    @property
    def turn_s(self) -> float:
        """Time for one turn of one contestant; shorter than a slice of the scheduler."""
        return 0.0005

    def explain(self, contestant: Contestant, *, missed: bool) -> tuple[str, ...]:
        """Return the profile of a contestant that missed its bound; quick rounds mean nothing."""
        return profile(contestant) if missed and not self.quick else ()

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True, slots=True)
class Timing:
    """What one contestant needed, round by round."""

    name: str
    rounds_s: tuple[float, ...]
    """Seconds per call, one figure for each round."""

    @property
    def median_s(self) -> float:
        """Seconds per call."""
        return median(self.rounds_s)

    def ratio(self, other: Timing) -> float:
        """Return how many times `other` this one needed, within the same rounds."""
        return median(a / b for a, b in zip(self.rounds_s, other.rounds_s, strict=True))


def compare(
    contestants: Sequence[Contestant],
    plan: Plan,
    *,
    seconds: float | None = None,
    rounds_min: int = 5,
    rounds_max: int = 400,
    calls_min: int = 1,
) -> list[Timing]:
    """Time the contestants in alternating turns and return one timing for each, in order.

    Args:
        contestants: At least one.
        plan: Says how long a turn lasts.
        seconds: Time for everything; `plan.seconds` if not given.
        rounds_min: Fewest rounds, however long they take.
        rounds_max: Most rounds, however short they are.
        calls_min: Fewest calls in a turn: more than one where the first call of a turn has to
            wake others and the rest do not.
    """
    calls = [max(calls_min, _size_batch(contestant, plan.turn_s)) for contestant in contestants]
    rounds: list[list[float]] = [[] for _ in contestants]
    ends_at = perf_counter() + (plan.seconds if seconds is None else seconds)
    for number in range(rounds_max):
        if number >= rounds_min and perf_counter() > ends_at:
            break
        for turn in range(len(contestants)):
            at = (number + turn) % len(contestants)
            rounds[at].append(_take_turn(contestants[at], calls[at]))
    return [
        Timing(contestant.name, tuple(figures))
        for contestant, figures in zip(contestants, rounds, strict=True)
    ]


def profile(contestant: Contestant) -> tuple[str, ...]:
    """Return where the time of a contestant goes: share, microseconds per call, function.

    The profiler itself costs a part of a microsecond for each function entered, so the
    shares say more than the microseconds.
    """
    profiler = cProfile.Profile()
    calls, done = _size_batch(contestant, PROFILE_SECONDS), 0
    ends_at = perf_counter() + PROFILE_SECONDS
    while perf_counter() < ends_at:
        if contestant.before is not None:
            contestant.before(calls)
        profiler.enable()
        for _ in repeat(None, calls):
            contestant.call()
        profiler.disable()
        if contestant.after is not None:
            contestant.after()
        done += calls
    # The stubs of pstats hide `stats` and `total_tt`; this is their documented content.
    statistics = pstats.Stats(profiler)
    costs: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = vars(statistics)[
        "stats"
    ]
    total_s = sum(cost[2] for cost in costs.values())
    dearest = sorted(costs.items(), key=lambda item: item[1][2], reverse=True)[:PROFILED_LINES]
    return tuple(
        f"{own_s / total_s:4.0%} {own_s / done * 1e6:7.2f} µs"
        f"  {entered / done:4.1f} times  {_place(where)}"
        for where, (_, entered, own_s, _, _) in dearest
    )


def _size_batch(contestant: Contestant, turn_s: float) -> int:
    """Warm a contestant up and return how many calls fill a turn."""
    if _take_turn(contestant, 1) > turn_s and _take_turn(contestant, 1) > turn_s:
        return 1
    needed_s = min(_take_turn(contestant, 3) for _ in range(5))
    return max(1, min(CALLS_MAX, int(turn_s / max(needed_s, 1e-9))))


def _take_turn(contestant: Contestant, calls: int) -> float:
    """Return seconds per call of one batch."""
    call = contestant.call
    untimed = min(calls, UNTIMED_MAX)
    if contestant.before is not None:
        contestant.before(untimed + calls)
    for _ in repeat(None, untimed):
        call()
    started_ns = perf_counter_ns()
    for _ in repeat(None, calls):
        call()
    elapsed_ns = perf_counter_ns() - started_ns
    if contestant.after is not None:
        contestant.after()
    return elapsed_ns / calls / 1e9


def _place(where: tuple[str, int, str]) -> str:
    """Return a function as a reader looks for it."""
    file, line, function = where
    if not line:
        return function
    return f"{Path(file).parent.name}/{Path(file).name}:{line} {function}"
