"""Spaces: storing, finding and fetching, in each mode, at once and waiting; on every tier.

The semantics are those of NetWorkSpaces: modes, waiting clients, deletion, the single mode.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from entrepot import settings
from entrepot.errors import (
    ConflictError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
    WaitTimeoutError,
)
from entrepot.layers.spaces import Space, core
from support.conditions import PATIENCE_S, wait_until
from support.tiers import InLine, Rig, counts, info_of

BIG = np.arange(50_000)
MODES = ("fifo", "lifo", "multi", "single")


def fill(space: Space, mode: str, *values: object) -> str:
    """Make a variable of a mode with values; return its name."""
    space.declare(mode, mode)
    for value in values:
        space.store(mode, value)
    return mode


def drained(space: Space, variable: str) -> list[Any]:
    """Fetch all there is."""
    nothing = object()
    found: list[Any] = []
    while (value := space.try_fetch(variable, nothing)) is not nothing:
        found.append(value)
    return found


# Modes.


def test_fifo_gives_the_oldest(space: Space) -> None:
    fill(space, "fifo", 1, 2, 3)
    assert [space.try_find("fifo"), space.find("fifo")] == [1, 1]
    assert drained(space, "fifo") == [1, 2, 3]


def test_lifo_gives_the_newest(space: Space) -> None:
    fill(space, "lifo", 1, 2, 3)
    assert [space.try_find("lifo"), space.find("lifo")] == [3, 3]
    assert space.fetch("lifo") == 3
    space.store("lifo", 4)
    assert drained(space, "lifo") == [4, 2, 1]


def test_single_keeps_only_the_last(space: Space) -> None:
    fill(space, "single", 1, BIG, 3)
    assert counts(space, "single") == (1, 0, 0, 0)
    assert space.find("single") == 3
    assert drained(space, "single") == [3]
    space.store("single", 4)
    assert drained(space, "single") == [4]


def test_multi_gives_any_and_draws_anew_each_time(space: Space) -> None:
    fill(space, "multi", *range(8))
    seen: set[int] = set()
    wait_until(lambda: seen.add(space.try_find("multi")) or len(seen) == 8, "each of 8 is found")
    first = [space.fetch("multi") for _ in range(4)]
    assert sorted(first + drained(space, "multi")) == list(range(8))


def test_multi_reaches_every_value_over_gaps(space: Space) -> None:
    fill(space, "multi", *range(20))
    kept = {0, 9, 19}
    put_back = [space.try_claim("multi") for _ in range(20)]
    for claim in put_back:
        claim.release() if claim.value in kept else claim.done()
    seen: set[int] = set()
    wait_until(lambda: seen.add(space.find("multi")) or seen == kept, "the three that are left")
    assert set(drained(space, "multi")) == kept


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_counts_what_it_has(space: Space, mode: str) -> None:
    fill(space, mode, BIG, "b", "c")
    left = 1 if mode == "single" else 3
    while left:
        assert info_of(space, mode).values == left
        space.fetch(mode)
        left -= 1
    assert counts(space, mode) == (0, 0, 0, 0)


def test_the_first_store_makes_a_variable_fifo(space: Space) -> None:
    space.store("v", 1)
    assert info_of(space, "v").mode == "fifo"
    with pytest.raises(ConflictError, match="fifo and cannot become single"):
        space.declare("v", "single")


def test_a_variable_that_is_waited_for_is_unknown_until_it_is_stored_or_declared(
    space: Space,
) -> None:
    waiting = [InLine(space, "stored"), InLine(space, "declared")]
    assert [info.mode for info in space.variables()] == ["unknown", "unknown"]
    space.store("stored", 1)
    space.declare("declared", "lifo")
    assert [info.mode for info in space.variables()] == ["lifo", "fifo"]
    assert waiting[0].value() == 1
    space.store("declared", 2)
    assert waiting[1].value() == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("other", MODES)
def test_a_mode_is_declared_again_and_never_changed(space: Space, mode: str, other: str) -> None:
    for values in ((), (1, 2)):
        fill(space, mode, *values)
        if other == mode:
            space.declare(mode, other)
        else:
            with pytest.raises(ConflictError, match=f"{mode} and cannot become {other}"):
                space.declare(mode, other)
        assert info_of(space, mode).mode == mode
    assert info_of(space, mode).values == (1 if mode == "single" else 2)


@pytest.mark.parametrize("bad", ["FIFO", "", "unknown", "stack", "__barrier"])
def test_a_mode_that_does_not_exist_is_refused(space: Space, bad: str) -> None:
    with pytest.raises(LimitError, match=repr(bad)) as caught:
        space.declare("v", bad)
    assert "fifo, lifo, multi, single" in caught.value.hint
    for mode in (1, b"fifo"):
        with pytest.raises(TypeMismatchError):
            space.declare("v", mode)
    assert space.variables() == []


# Values.


def test_any_value_may_be_stored_also_nothing(space: Space) -> None:
    for value in (None, "", 0, False, [], BIG):
        space.store("v", value)
    found = drained(space, "v")
    assert found[:-1] == [None, "", 0, False, []]
    assert (found[-1] == BIG).all()


def test_try_forms_return_the_default_where_there_is_nothing(space: Space) -> None:
    for take in (space.try_find, space.try_fetch):
        assert take("v") is None
        assert take("v", "default") == "default"
        assert take("v", default=BIG) is BIG
    assert space.try_claim("v") is None
    assert space.variables() == [], "asking made no variable"


def test_a_big_value_is_passed_on_and_its_place_freed(rig: Rig, space: Space) -> None:
    space.store("v", BIG)
    views = [space.find("v"), space.find("v"), space.fetch("v")]
    if rig.is_zero_copy:
        assert np.shares_memory(views[0], views[2])
        assert not views[0].flags.owndata
    space.store("v", BIG + 1)
    assert all((view == BIG).all() for view in views)
    assert (space.fetch("v") == BIG + 1).all()
    assert rig.problems() == []


def test_replaced_values_of_a_single_variable_give_their_place_back(rig: Rig, space: Space) -> None:
    space.declare("v", "single")
    for number in range(5):
        space.store("v", np.full(50_000, number))
        assert rig.problems() == []
    assert space.fetch("v")[0] == 4


def test_what_cannot_be_stored_changes_nothing(space: Space) -> None:
    with pytest.raises(TypeMismatchError, match="lock"):
        space.store("v", threading.Lock())
    assert space.variables() == []


@pytest.mark.parametrize("bad", [None, 5, b"v", ["v"], {}, object()], ids=lambda bad: f"{bad!r:.9}")
def test_a_variable_is_named_by_text(space: Space, bad: Any) -> None:
    for use in (
        lambda: space.store(bad, 1),
        lambda: space.store(bad, BIG),
        lambda: space.try_find(bad),
        lambda: space.try_fetch(bad),
        lambda: space.find(bad, timeout=0),
        lambda: space.fetch(bad, timeout=0),
        lambda: space.claim(bad, timeout=0),
        lambda: space.try_claim(bad),
        lambda: space.ifind(bad),
        lambda: space.ifetch_try(bad),
        lambda: space.declare(bad, "fifo"),
        lambda: space.delete(bad),
    ):
        with pytest.raises(TypeMismatchError):
            use()
    assert space.variables() == []


def test_a_variables_name_may_be_any_text_of_at_most_3000_bytes(space: Space) -> None:
    longest = "v" * settings.NAME_BYTES_MAX
    names = ["", "\x00", "a\tb\n", "é", "\ud800", longest]
    for name in names:
        space.store(name, name)
    assert [info.name for info in space.variables()] == sorted(
        names, key=lambda name: name.encode("utf-8", "surrogatepass")
    )
    for name in names:
        assert space.fetch(name) == name
    for use in (space.try_find, space.try_fetch, lambda name: space.store(name, 1)):
        with pytest.raises(LimitError, match=str(settings.NAME_BYTES_MAX + 1)):
            use(longest + "v")


# Waiting.


def test_a_store_serves_all_finders_and_the_first_fetcher(space: Space) -> None:
    fetchers = [InLine(space, "v") for _ in range(3)]
    finders = [InLine(space, "v", core.FIND_ONE) for _ in range(2)]
    assert counts(space, "v") == (0, 3, 2, 0)
    space.store("v", "A")
    space.store("v", "B")
    assert counts(space, "v") == (0, 1, 0, 0)
    assert [fetcher.value() for fetcher in fetchers[:2]] == ["A", "B"]
    assert [finder.taken().index for finder in finders] == [0, 0]
    assert not fetchers[2].has_mail()
    space.store("v", "C")
    assert fetchers[2].value() == "C"


@pytest.mark.parametrize("mode", MODES)
def test_what_a_fetcher_gets_is_not_kept_whatever_the_mode(space: Space, mode: str) -> None:
    space.declare("v", mode)
    fetchers = [InLine(space, "v") for _ in range(4)]
    for number in range(4):
        space.store("v", np.full(30_000, number))
        assert counts(space, "v") == (0, 3 - number, 0, 0)
    assert [int(fetcher.value()[0]) for fetcher in fetchers] == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", MODES)
def test_what_finders_see_is_kept_for_others(space: Space, mode: str) -> None:
    space.declare("v", mode)
    finders = [InLine(space, "v", core.FIND_ONE) for _ in range(3)]
    space.store("v", BIG)
    assert counts(space, "v") == (1, 0, 0, 0)
    assert (space.fetch("v") == BIG).all()
    for finder in finders:
        assert (finder.value() == BIG).all()


def test_a_finder_sees_a_value_that_was_replaced_before_it_woke(space: Space) -> None:
    space.declare("v", "single")
    finder = InLine(space, "v", core.FIND_ONE)
    space.store("v", 1)
    space.store("v", 2)
    assert finder.value() == 1
    assert space.find("v") == 2


def test_whoever_comes_when_there_is_a_value_does_not_wait(space: Space) -> None:
    space.store("v", 1)
    space.store("v", 2)
    assert space.find("v", timeout=0) == 1
    assert space.fetch("v", timeout=0) == 1
    with space.claim("v", timeout=0) as claim:
        assert claim.value == 2


def test_a_wait_ends_in_time_and_leaves_the_line(space: Space) -> None:
    for wait in (space.find, space.fetch, space.claim):
        for timeout in (0, 0.0, 0.01):
            with pytest.raises(WaitTimeoutError, match=f"s/v within {timeout} seconds"):
                wait("v", timeout=timeout)
    assert counts(space, "v") == (0, 0, 0, 0)
    space.store("v", 1)
    assert drained(space, "v") == [1]


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, LimitError), (-0.5, LimitError), (float("nan"), LimitError), ("1", TypeMismatchError)],
)
def test_a_time_that_cannot_be_is_refused(space: Space, timeout: Any, error: type) -> None:
    for wait in (space.find, space.fetch, space.claim):
        with pytest.raises(error, match=str(timeout)):
            wait("v", timeout=timeout)
    with pytest.raises(error, match=str(timeout)):
        next(space.ifind("v", timeout=timeout))


def test_a_cancelled_wait_takes_nothing(space: Space) -> None:
    first, second = InLine(space, "v"), InLine(space, "v")
    space.store("v", BIG)
    assert first.has_mail()
    first.cancel()
    assert second.has_mail(), "what was given back goes to the next in line"
    second.cancel()
    second.cancel()
    assert counts(space, "v") == (1, 0, 0, 0)
    assert (space.fetch("v") == BIG).all()


def test_a_cancelled_find_gives_up_its_share(rig: Rig, space: Space) -> None:
    finder = InLine(space, "v", core.FIND_ONE)
    idle = InLine(space, "other", core.FIND_ONE)
    space.store("v", BIG)
    finder.cancel()
    idle.cancel()
    assert rig.problems() == []
    assert counts(space, "v") == (1, 0, 0, 0)
    assert counts(space, "other") == (0, 0, 0, 0)


def test_what_is_given_back_is_in_its_old_place(space: Space) -> None:
    waiting = InLine(space, "v")
    for value in ("first", "second"):
        space.store("v", value)
    waiting.cancel()
    assert drained(space, "v") == ["first", "second"]


def test_a_lifo_value_given_back_is_under_newer_ones(space: Space) -> None:
    space.declare("v", "lifo")
    waiting = InLine(space, "v")
    for value in ("first", "second"):
        space.store("v", value)
    waiting.cancel()
    assert drained(space, "v") == ["second", "first"]


@pytest.mark.parametrize("take", ["find", "fetch", "claim"])
def test_a_thread_that_waits_gets_what_another_stores(space: Space, take: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(getattr(space, take), "v", timeout=PATIENCE_S)
        wait_until(lambda: any(c.fetchers + c.finders for c in space.variables()), "it waits")
        space.store("v", BIG)
        got = waiting.result(PATIENCE_S)
    if take == "claim":
        assert (got.value == BIG).all()
        got.done()
    else:
        assert (got == BIG).all()
    assert counts(space, "v") == (1 if take == "find" else 0, 0, 0, 0)


def test_a_barrier_releases_all_its_finders_with_one_store(space: Space) -> None:
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(space.find, "go", timeout=PATIENCE_S) for _ in range(5)]
        wait_until(lambda: [v.finders for v in space.variables()] == [5], "all wait")
        space.store("go", "now")
        assert [wait.result(PATIENCE_S) for wait in waiting] == ["now"] * 5


@pytest.mark.parametrize("mode", MODES[:3])
def test_each_value_goes_to_exactly_one_of_many_threads(
    rig: Rig, space: Space, mode: str, chance: random.Random
) -> None:
    space.declare("v", mode)
    each, workers = (40, 4) if rig.kind != "durable" else (8, 3)
    got: Counter[int] = Counter()

    def store(number: int) -> None:
        for value in range(each):
            space.store("v", number * each + value)

    def fetch(seed: int) -> list[int]:
        mine = random.Random(seed)
        takes: list[Callable[[], int]] = [
            lambda: space.fetch("v", timeout=PATIENCE_S),
            lambda: _done(space.claim("v", timeout=PATIENCE_S)),
        ]
        return [mine.choice(takes)() for _ in range(each)]

    with ThreadPoolExecutor(2 * workers) as pool:
        fetching = [pool.submit(fetch, chance.randrange(1 << 30)) for _ in range(workers)]
        storing = [pool.submit(store, number) for number in range(workers)]
        for stored in storing:
            stored.result(PATIENCE_S)
        for fetched in fetching:
            got.update(fetched.result(PATIENCE_S))
    assert got == Counter(range(workers * each))
    assert counts(space, "v") == (0, 0, 0, 0)


def _done(claim: Any) -> Any:
    claim.done()
    return claim.value


def test_one_producer_is_read_in_order_by_one_consumer(space: Space) -> None:
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: [space.fetch("v", timeout=PATIENCE_S) for _ in range(30)])
        for number in range(30):
            space.store("v", number)
        assert reading.result(PATIENCE_S) == list(range(30))


def test_single_and_fetch_make_a_counter_that_loses_no_step(space: Space) -> None:
    space.declare("count", "single")
    space.store("count", 0)

    def step() -> None:
        for _ in range(10):
            space.store("count", space.fetch("count", timeout=PATIENCE_S) + 1)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(step) for _ in range(4)]:
            done.result(PATIENCE_S)
    assert space.fetch("count") == 40


# Deleting variables.


def test_delete_tells_whether_there_was_one_and_begins_anew(space: Space) -> None:
    space.declare("v", "lifo")
    space.store("v", BIG)
    assert space.delete("v")
    assert not space.delete("v")
    assert space.variables() == []
    space.store("v", 1)
    assert info_of(space, "v").mode == "fifo"
    with space.claim("v") as claim:
        assert claim.index == 0


def test_whoever_waits_for_a_deleted_variable_is_told(space: Space) -> None:
    waiting = [InLine(space, "v", want) for want in (core.FIND_ONE, core.FETCH_ONE, core.CLAIM_ONE)]
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(space.fetch, "v")
        wait_until(lambda: info_of(space, "v").fetchers == 3, "it waits too")
        assert space.delete("v")
        with pytest.raises(NotFoundError, match="s/v was deleted"):
            thread.result(PATIENCE_S)
    for one in waiting:
        with pytest.raises(NotFoundError, match="s/v was deleted"):
            one.taken()
    assert space.variables() == []


def test_who_was_served_before_the_delete_keeps_what_it_got(rig: Rig, space: Space) -> None:
    finder, fetcher = InLine(space, "v", core.FIND_ONE), InLine(space, "v")
    claimer = InLine(space, "v", core.CLAIM_ONE)
    space.store("v", BIG)
    space.store("v", BIG + 1)
    space.delete("v")
    assert rig.problems() == []
    assert (finder.value() == BIG).all()
    assert (fetcher.value() == BIG).all()
    claim = space.claimed("v", claimer.taken())
    assert (claim.value == BIG + 1).all()
    claim.release()
    assert space.try_fetch("v") is None


def test_a_wait_cancelled_after_the_delete_gives_nothing_back(rig: Rig, space: Space) -> None:
    told, served = InLine(space, "v"), InLine(space, "w")
    space.store("w", BIG)
    space.delete("v")
    space.delete("w")
    told.cancel()
    served.cancel()
    assert rig.problems() == []
    space.store("w", "new")
    assert drained(space, "w") == ["new"]


def test_deleting_more_values_than_a_batch_leaves_none(rig: Rig) -> None:
    space = rig.space()
    many = settings.BATCH_KEYS + 10 if rig.kind == "volatile" else 50
    for number in range(many):
        space.store("v", number)
    space.store("v", BIG)
    assert space.delete("v")
    assert rig.problems() == []
    assert space.try_find("v") is None


# What cannot be loaded.


class Unloadable:
    def __init__(self, size: int) -> None:
        self.size = size

    def __reduce__(self) -> Any:
        return (_refuse, (np.zeros(self.size),))


def _refuse(_array: object) -> None:
    raise ImportError("not here")


@pytest.mark.parametrize("size", [1, 50_000], ids=["small", "big"])
@pytest.mark.parametrize("mode", MODES)
def test_what_cannot_be_loaded_is_put_back_by_every_method(
    rig: Rig, space: Space, size: int, mode: str
) -> None:
    space.declare("v", mode)
    space.store("v", Unloadable(size))
    takes: list[Callable[[str], object]] = [
        space.find, space.fetch, space.claim, space.try_find, space.try_fetch, space.try_claim,
    ]  # fmt: skip
    if mode in ("fifo", "single"):
        iterators = (space.ifind, space.ifetch, space.ifind_try, space.ifetch_try)
        takes += [lambda v, iterate=iterate: next(iterate(v)) for iterate in iterators]
    for take in takes:
        with pytest.raises(TypeMismatchError, match="ImportError: not here"):
            take("v")
        assert counts(space, "v") == (1, 0, 0, 0)
        assert rig.problems() == []
    space.delete("v")


@pytest.mark.parametrize("size", [1, 50_000], ids=["small", "big"])
@pytest.mark.parametrize("take", ["find", "fetch", "claim"])
def test_what_cannot_be_loaded_by_one_who_waited_is_put_back(
    space: Space, size: int, take: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(getattr(space, take), "v", timeout=PATIENCE_S)
        wait_until(lambda: any(c.fetchers + c.finders for c in space.variables()), "it waits")
        space.store("v", Unloadable(size))
        with pytest.raises(TypeMismatchError, match="ImportError: not here"):
            waiting.result(PATIENCE_S)
    assert counts(space, "v") == (1, 0, 0, 0)


def test_a_value_put_back_keeps_its_place_among_others(space: Space) -> None:
    for value in ("before", Unloadable(50_000), "behind"):
        space.store("v", value)
    assert space.fetch("v") == "before"
    for _ in range(3):
        with pytest.raises(TypeMismatchError):
            space.fetch("v")
    assert counts(space, "v") == (2, 0, 0, 0)
