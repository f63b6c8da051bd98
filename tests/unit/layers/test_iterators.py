"""Iterators over the values of a variable: each value once, over gaps, waits and deletions."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from entrepot.errors import ConflictError, WaitTimeoutError
from entrepot.layers.spaces import Space, Values, core
from entrepot.layers.spaces.records import FETCH, FIND
from support.conditions import PATIENCE_S, wait_until
from support.tiers import InLine, Rig, counts

BIG = np.arange(50_000)


def fill(space: Space, *values: object) -> None:
    for value in values:
        space.store("v", value)


def waits(space: Space) -> bool:
    return any(info.fetchers + info.finders for info in space.variables())


def test_ifind_try_sees_each_value_once_and_leaves_it(space: Space) -> None:
    fill(space, 0, 1, 2)
    values = space.ifind_try("v")
    assert iter(values) is values
    assert list(values) == [0, 1, 2]
    assert counts(space, "v") == (3, 0, 0, 0)


def test_ifetch_try_takes_each_value(space: Space) -> None:
    fill(space, 0, BIG, 2)
    values = space.ifetch_try("v")
    assert next(values) == 0
    assert counts(space, "v") == (2, 0, 0, 0)
    assert (next(values) == BIG).all()
    assert list(values) == [2]
    assert counts(space, "v") == (0, 0, 0, 0)


@pytest.mark.parametrize("iterate", [Space.ifind_try, Space.ifetch_try])
def test_an_iterator_stays_ended_until_it_is_restarted(
    space: Space, iterate: Callable[[Space, str], Values]
) -> None:
    values = iterate(space, "v")
    assert list(values) == []
    fill(space, 1)
    assert list(values) == []
    values.restart()
    assert list(values) == [1]
    fill(space, 2)
    values.restart()
    assert list(values) == [2]
    values.restart()
    assert list(values) == []


def test_reset_begins_with_the_oldest_that_is_there_then(space: Space) -> None:
    fill(space, 0, 1, 2)
    values = space.ifind_try("v")
    assert list(values) == [0, 1, 2]
    assert space.fetch("v") == 0
    values.reset()
    assert list(values) == [1, 2]
    values.reset()
    assert next(values) == 1
    values.reset()
    assert next(values) == 1


def test_what_others_take_is_passed_over(space: Space) -> None:
    fill(space, 0, 1, 2, 3)
    values = space.ifind_try("v")
    assert [next(values), next(values)] == [0, 1]
    assert [space.fetch("v") for _ in range(3)] == [0, 1, 2]
    assert next(values) == 3
    fill(space, 4)
    assert list(values) == [4]


def test_an_iterator_behind_all_values_waits_for_the_next(space: Space) -> None:
    fill(space, 0, 1)
    values = space.ifind("v", timeout=PATIENCE_S)
    assert [next(values), next(values)] == [0, 1]
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, values)
        wait_until(lambda: waits(space), "it waits")
        fill(space, 2)
        assert coming.result(PATIENCE_S) == 2
    assert counts(space, "v") == (3, 0, 0, 0)


def test_several_readers_see_all_values_in_order_while_they_come(space: Space) -> None:
    def read() -> list[int]:
        values = space.ifind("v", timeout=PATIENCE_S)
        return [next(values) for _ in range(20)]

    with ThreadPoolExecutor(3) as pool:
        reading = [pool.submit(read) for _ in range(3)]
        fill(space, *range(20))
        for read_all in reading:
            assert read_all.result(PATIENCE_S) == list(range(20))


def test_readers_that_fetch_share_the_values(space: Space) -> None:
    with ThreadPoolExecutor(3) as pool:
        reading = [
            pool.submit(lambda: list(space.ifetch("v", timeout=PATIENCE_S))) for _ in range(3)
        ]
        fill(space, *range(20))
        wait_until(lambda: counts(space, "v") == (0, 3, 0, 0), "all are fetched")
        space.delete("v")
        parts = [read_all.result(PATIENCE_S) for read_all in reading]
    assert all(part == sorted(part) for part in parts)
    assert sorted(value for part in parts for value in part) == list(range(20))


@pytest.mark.parametrize("iterate", ["ifind", "ifetch"])
def test_a_waiting_iterator_times_out_and_may_be_asked_again(space: Space, iterate: str) -> None:
    values = getattr(space, iterate)("v", timeout=0.01)
    for _ in range(2):
        with pytest.raises(WaitTimeoutError):
            next(values)
    fill(space, 1)
    assert next(values) == 1
    assert counts(space, "v")[1:] == (0, 0, 0)


@pytest.mark.parametrize("iterate", ["ifind", "ifetch"])
def test_a_waiting_iterator_ends_when_its_variable_is_deleted(space: Space, iterate: str) -> None:
    fill(space, 0)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(getattr(space, iterate)("v")))
        wait_until(lambda: waits(space), "it has read all and waits")
        space.delete("v")
        assert reading.result(PATIENCE_S) == [0]


@pytest.mark.parametrize("iterate", ["ifind", "ifetch", "ifind_try", "ifetch_try"])
def test_an_iterator_ends_with_its_incarnation_until_it_is_reset(
    space: Space, iterate: str
) -> None:
    fill(space, 0)
    values = getattr(space, iterate)("v")
    assert next(values) == 0
    space.delete("v")
    assert list(values) == []
    fill(space, "a", "b")
    values.restart()
    assert list(values) == [], "these are values of another variable"
    values.reset()
    assert [next(values), next(values)] == ["a", "b"]


@pytest.mark.parametrize("iterate", ["ifind", "ifetch", "ifind_try", "ifetch_try"])
def test_an_iterator_ends_with_its_workspace(rig: Rig, space: Space, iterate: str) -> None:
    fill(space, 0)
    values = getattr(space, iterate)("v", **({"timeout": 0} if "try" not in iterate else {}))
    fresh = getattr(space, iterate)("w", **({"timeout": 0} if "try" not in iterate else {}))
    assert next(values) == 0
    rig.spaces.delete("s")
    assert list(values) == []
    assert list(fresh) == []


@pytest.mark.parametrize("mode", ["lifo", "multi"])
@pytest.mark.parametrize("iterate", ["ifind", "ifetch", "ifind_try", "ifetch_try"])
@pytest.mark.parametrize("is_full", [True, False])
def test_lifo_and_multi_are_refused_at_once(
    space: Space, mode: str, iterate: str, is_full: bool
) -> None:
    space.declare("v", mode)
    if is_full:
        fill(space, 1, 2)
    values = getattr(space, iterate)("v")
    for _ in range(2):
        with pytest.raises(ConflictError, match=f"{mode}; iterators need fifo or single"):
            next(values)
    assert counts(space, "v") == (2 if is_full else 0, 0, 0, 0)


# Single.


def test_each_replacement_of_a_single_variable_is_a_new_value(space: Space) -> None:
    space.declare("v", "single")
    values = space.ifind_try("v")
    fill(space, 100)
    assert next(values) == 100
    fill(space, 101)
    assert next(values) == 101
    fill(space, 102, 103)
    assert list(values) == [103]


def test_ifind_waits_for_the_next_replacement(space: Space) -> None:
    space.declare("v", "single")
    fill(space, 1)
    values = space.ifind("v", timeout=PATIENCE_S)
    assert next(values) == 1
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, values)
        wait_until(lambda: waits(space), "it waits")
        fill(space, 2)
        assert coming.result(PATIENCE_S) == 2


# Given back.


def test_a_value_given_back_is_fetched_by_an_iterator_and_not_found_twice(space: Space) -> None:
    fill(space, 0, 1, 2)
    finding, fetching = space.ifind_try("v"), space.ifetch_try("v")
    assert [next(finding), next(finding)] == [0, 1]
    claim = space.claim("v")
    assert next(fetching) == 1
    claim.release()
    assert list(finding) == [2]
    assert list(fetching) == [0, 2]


def test_a_waiting_iterator_passes_over_what_is_given_back(space: Space) -> None:
    fill(space, 0, 1)
    values = space.ifind("v", timeout=PATIENCE_S)
    assert [next(values), next(values)] == [0, 1]
    claim = space.claim("v")
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, values)
        wait_until(lambda: waits(space), "it waits")
        claim.release()
        wait_until(lambda: waits(space), "it looked and waits again")
        fill(space, 2)
        assert coming.result(PATIENCE_S) == 2


def test_a_value_that_cannot_be_loaded_stops_an_iterator_before_it(space: Space) -> None:
    fill(space, Picky(), "behind")
    for iterate in (space.ifind_try, space.ifetch_try):
        values = iterate("v")
        Picky.is_loadable = False
        for _ in range(2):
            with pytest.raises(TypeError, match="picky"):
                next(values)
        assert counts(space, "v") == (2, 0, 0, 0)
        Picky.is_loadable = True
        assert list(values) == ["loaded", "behind"]


class Picky:
    is_loadable = True

    def __reduce__(self) -> Any:
        return (_load_picky, ())


def _load_picky() -> str:
    if not Picky.is_loadable:
        raise RuntimeError("picky")
    return "loaded"


# The steps, without threads: ids and indexes.


def test_indexes_count_values_over_the_variables_life(space: Space) -> None:
    fill(space, "a", "b", "c")
    assert space.take("v", core.FETCH_ONE).index == 0
    assert space.take("v", core.FIND_ONE).index == 1
    taken = space.take("v", core.Want(FETCH, in_order=True))
    fill(space, "d")
    behind = core.Position(taken.id, 2)
    assert space.take("v", core.Want(FIND, in_order=True, after=behind)).index == 3
    far = core.Position(taken.id, 17)
    assert space.take("v", core.Want(FIND, in_order=True, after=far)) is None


def test_an_iterator_and_a_plain_fetch_stand_in_one_line(space: Space) -> None:
    line = [InLine(space, "v", core.Want(FETCH, in_order=True)), InLine(space, "v")]
    fill(space, "first", "second")
    assert [one.value() for one in line] == ["first", "second"]
