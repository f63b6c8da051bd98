"""Rules of variables: bounds, expiry, delays, tries, producers; and several variables at once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from entrepot.errors import (
    ClosedError,
    ConflictError,
    FullError,
    LimitError,
    NotFoundError,
    ProducersGoneError,
    TypeMismatchError,
    WaitTimeoutError,
)
from entrepot.layers.spaces import Space, rules
from support.conditions import PATIENCE_S, wait_until
from support.tiers import Rig, info_of

BIG = np.arange(50_000)


class Clock:
    """The time, as rules see it."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def time(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rules, "time", SimpleNamespace(time=made.time))
    return made


def values_of(space: Space, variable: str = "v") -> list[Any]:
    return list(space.ifind_try(variable))


# Bounds.


def test_a_bounded_variable_that_refuses_keeps_what_it_has(rig: Rig, space: Space) -> None:
    space.declare("v", max_values=2, when_full="error")
    space.store("v", 1)
    space.store("v", BIG)
    for value in (3, BIG):
        with pytest.raises(FullError, match="full: 2 values"):
            space.store("v", value)
    assert rig.problems() == []
    assert space.fetch("v") == 1
    space.store("v", 3)
    assert np.array_equal(space.fetch("v"), BIG)
    assert space.fetch("v") == 3


def test_a_bounded_variable_drops_its_oldest_values_to_make_room(rig: Rig, space: Space) -> None:
    space.declare("v", max_values=2, when_full="drop_oldest")
    for value in (BIG, 2, 3, 4):
        space.store("v", value)
    assert values_of(space) == [3, 4]
    assert rig.problems() == []


def test_a_bound_of_bytes_counts_what_lies_outside_the_catalog(rig: Rig, space: Space) -> None:
    space.declare("v", max_bytes=BIG.nbytes + 1000, when_full="error")
    space.store("v", BIG)
    with pytest.raises(FullError):
        space.store("v", bytes(2000))
    space.store("v", 1)
    with pytest.raises(LimitError, match="takes"):
        space.store("v", np.arange(60_000))
    space.fetch("v")
    space.store("v", bytes(2000))
    assert rig.problems() == []


def test_a_bound_set_later_counts_what_is_there(rig: Rig, space: Space) -> None:
    space.store("v", bytes(3000))
    space.declare("v", max_bytes="4K", when_full="error")
    with pytest.raises(FullError):
        space.store("v", bytes(3000))
    space.declare("v", max_bytes=0)
    space.store("v", bytes(3000))
    assert rig.problems() == []


@pytest.mark.parametrize("value", [2, BIG], ids=["small", "big"])
def test_a_store_waits_for_room_and_gets_it(rig: Rig, space: Space, value: Any) -> None:
    space.declare("v", max_values=1)
    space.store("v", 1)
    with pytest.raises(WaitTimeoutError, match="no room within 0"):
        space.store("v", value, timeout=0)
    with ThreadPoolExecutor(1) as pool:
        stored = pool.submit(space.store, "v", value, timeout=PATIENCE_S)
        assert space.fetch("v", timeout=PATIENCE_S) == 1
        stored.result(PATIENCE_S)
    assert np.array_equal(space.fetch("v"), value)
    assert rig.problems() == []


def test_a_bound_holds_whatever_many_writers_do(rig: Rig, space: Space) -> None:
    space.declare("v", max_values=3)

    def work(first: int) -> None:
        for number in range(first, first + 40):
            space.store("v", number, timeout=PATIENCE_S)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(work, 100 * each) for each in range(4)]
        got: list[int] = []
        while len(got) < 160:
            assert info_of(space, "v").values <= 3
            got.append(space.fetch("v", timeout=PATIENCE_S))
        for each in done:
            each.result(PATIENCE_S)
    assert sorted(got) == sorted(100 * each + n for each in range(4) for n in range(40))
    assert rig.problems() == []


def test_what_is_given_back_always_has_room(space: Space) -> None:
    space.declare("v", max_values=1, when_full="error")
    space.store("v", 1)
    claim = space.claim("v")
    space.store("v", 2)
    claim.release()
    assert values_of(space) == [1, 2]


def test_a_store_for_whom_somebody_waits_needs_no_room(space: Space) -> None:
    space.declare("v", max_values=1, when_full="error")
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(space.fetch, "v", timeout=PATIENCE_S) for _ in range(2)]
        wait_until(lambda: info_of(space, "v").fetchers == 2, "both wait")
        space.store("v", 1)
        space.store("v", 2)
        assert {each.result(PATIENCE_S) for each in waiting} == {1, 2}


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"max_values": -1}, LimitError),
        ({"max_values": 1.5}, TypeMismatchError),
        ({"max_values": True}, TypeMismatchError),
        ({"max_bytes": "many"}, LimitError),
        ({"max_bytes": -5}, LimitError),
        ({"when_full": "explode"}, LimitError),
        ({"ttl": -1}, LimitError),
        ({"ttl": "soon"}, TypeMismatchError),
        ({"max_tries": -2}, LimitError),
        ({"failed": 7}, TypeMismatchError),
    ],
    ids=lambda part: str(part) if isinstance(part, dict) else "",
)
def test_a_rule_that_cannot_be_is_refused(
    space: Space, rule: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        space.declare("v", **rule)
    assert space.variables() == []


def test_what_a_declaration_leaves_out_stays_as_it_is(space: Space) -> None:
    space.declare("v", "lifo", max_values=7, ttl=60)
    space.declare("v", max_tries=3)
    info = info_of(space, "v")
    assert (info.mode, info.max_values, info.ttl, info.max_tries) == ("lifo", 7, 60, 3)
    with pytest.raises(ConflictError):
        space.declare("v", "fifo", max_values=9)
    assert info_of(space, "v").max_values == 7


# Expiry.


def test_a_value_is_gone_after_its_time(rig: Rig, space: Space, clock: Clock) -> None:
    space.store("v", BIG, ttl=10)
    space.store("v", 2)
    space.store("v", 3, ttl=20)
    assert values_of(space)[1:] == [2, 3]
    clock.now_s += 10
    assert space.try_find("v") == 2
    assert values_of(space) == [2, 3]
    clock.now_s += 10
    assert space.try_fetch("v") == 2
    assert space.try_fetch("v", "none") == "none"
    assert rig.problems() == []


def test_all_values_of_a_variable_may_expire(rig: Rig, space: Space, clock: Clock) -> None:
    space.declare("v", "lifo", ttl=5)
    space.store("v", 1)
    clock.now_s += 3
    space.store("v", 2)
    space.store("v", 3, ttl=1)
    clock.now_s += 2
    assert space.fetch("v") == 2
    assert space.try_fetch("v") is None
    assert rig.problems() == []


def test_a_claimed_value_that_comes_back_too_late_is_gone(
    rig: Rig, space: Space, clock: Clock
) -> None:
    space.store("v", BIG, ttl=10)
    claim = space.claim("v")
    clock.now_s += 11
    assert np.array_equal(claim.value, BIG)
    claim.release()
    assert space.try_fetch("v") is None
    claim.value = None
    assert rig.problems() == []


def test_a_deleted_variable_leaves_no_times_behind(rig: Rig, space: Space, clock: Clock) -> None:
    space.store("v", BIG, ttl=10)
    space.store("v", BIG)
    claim = space.claim("v")
    claim.release(delay=5)
    assert space.delete("v")
    claim.value = None
    assert rig.tier.engine.read(rules.next_due_us) is None
    assert rig.problems() == []
    space.store("v", 1)
    clock.now_s += 100
    assert values_of(space) == [1]


# Claims.


def test_a_claim_counts_its_tries(space: Space) -> None:
    space.store("v", "work")
    for tries in (1, 2, 3):
        claim = space.claim("v")
        assert claim.tries == tries
        claim.release(reason=f"try {tries}")
    assert space.peek("v")[0].reason == "try 3"
    with pytest.raises(ZeroDivisionError), space.claim("v"):
        raise ZeroDivisionError("on purpose")
    claim = space.claim("v")
    assert (claim.tries, claim.reason) == (5, "ZeroDivisionError: on purpose")
    claim.done()


def test_what_failed_too_often_is_put_aside_with_its_reason(rig: Rig, space: Space) -> None:
    space.declare("v", max_tries=2)
    space.store("v", BIG)
    space.store("v", "good")
    for _ in range(2):
        claim = space.claim("v")
        assert np.array_equal(claim.value, BIG)
        claim.release(reason="poison")
        claim.value = None
    assert space.fetch("v") == "good"
    failed = space.peek("v.failed")
    assert [(each.tries, each.reason) for each in failed] == [(2, "poison")]
    assert np.array_equal(space.fetch("v.failed"), BIG)
    assert rig.problems() == []


def test_the_variable_for_what_failed_may_be_named(space: Space) -> None:
    space.declare("v", max_tries=1, failed="grave")
    space.store("v", 1)
    space.claim("v").release()
    assert values_of(space, "grave") == [1]


@pytest.mark.parametrize(
    ("mode", "order"), [("fifo", [2, 3, 1]), ("lifo", [2, 1, 3])], ids=["fifo", "lifo"]
)
def test_a_claim_released_to_the_back_comes_last(
    rig: Rig, space: Space, mode: str, order: list[int]
) -> None:
    space.declare("v", mode)
    for value in (1, 2, 3):
        space.store("v", value)
    claim = space.claim("v")
    claim.release(to="back")
    assert [space.fetch("v") for _ in range(3)] == order
    assert rig.problems() == []


def test_a_claim_released_with_a_delay_is_not_seen_before(
    rig: Rig, space: Space, clock: Clock
) -> None:
    for value in (BIG, 2):
        space.store("v", value)
    claim = space.claim("v")
    claim.release(delay=10, reason="busy")
    claim.value = None
    assert info_of(space, "v").delayed == 1
    assert values_of(space) == [2]
    assert rig.problems() == []
    clock.now_s += 10
    again = space.claim("v")
    assert np.array_equal(again.value, BIG)
    assert (again.tries, again.reason, again.index) == (2, "busy", 0)
    again.done()
    again.value = None
    assert rig.problems() == []


@pytest.mark.parametrize("to", ["front", "back"])
def test_whoever_waits_gets_a_value_when_its_delay_is_over(space: Space, to: str) -> None:
    space.store("v", 1)
    claim = space.claim("v")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(space.fetch, "v", timeout=PATIENCE_S)
        wait_until(lambda: info_of(space, "v").fetchers == 1, "it waits")
        claim.release(to=to, delay=0.05)
        assert waiting.result(PATIENCE_S) == 1


def test_a_claim_may_be_moved_into_another_variable(rig: Rig, space: Space) -> None:
    space.store("todo", BIG)
    claim = space.claim("todo")
    claim.move("done")
    claim.value = None
    assert space.try_fetch("todo") is None
    assert np.array_equal(space.fetch("done"), BIG)
    assert rig.problems() == []


@pytest.mark.parametrize("how", [{"to": "side"}, {"delay": -1}, {"delay": float("inf")}], ids=str)
def test_a_release_that_cannot_be_leaves_the_claim_as_it_is(
    space: Space, how: dict[str, Any]
) -> None:
    space.store("v", 1)
    claim = space.claim("v")
    with pytest.raises(LimitError):
        claim.release(**how)
    claim.done()


def test_who_works_on_what_since_when_can_be_seen(space: Space) -> None:
    space.store("v", BIG)
    assert space.claims() == []
    claim = space.claim("v")
    (seen,) = space.claims()
    assert (seen.variable, seen.index, seen.tries) == ("v", 0, 1)
    assert seen.session == space.engine.session.id
    assert space.claims("v") == [seen]
    assert space.claims("w") == []
    claim.release()
    assert space.claims() == []


# Several variables.


def test_the_first_variable_that_has_a_value_is_fetched(space: Space) -> None:
    assert space.try_fetch_any(["a", "b"]) is None
    space.store("b", 2)
    assert space.fetch_any(["a", "b"]) == ("b", 2)
    space.store("b", 4)
    space.store("a", 3)
    assert space.try_fetch_any(["a", "b"]) == ("a", 3)
    assert space.fetch_any(["a", "b", "a"], timeout=0) == ("b", 4)
    with pytest.raises(WaitTimeoutError, match=r"a\|b"):
        space.fetch_any(["a", "b"], timeout=0)


@pytest.mark.parametrize("variables", [[], "ab", [1]], ids=["none", "string", "number"])
def test_what_is_no_list_of_variables_is_refused(space: Space, variables: Any) -> None:
    with pytest.raises((LimitError, TypeMismatchError)):
        space.fetch_any(variables)


def test_who_waits_for_several_variables_takes_one_value(rig: Rig, space: Space) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(space.fetch_any, ["a", "b"], timeout=PATIENCE_S)
        wait_until(lambda: len(space.waiters()) == 2, "it stands in both lines")
        assert rig.problems() == []
        space.store("b", BIG)
        space.store("a", 2)
        name, value = waiting.result(PATIENCE_S)
        assert name == "b"
        assert np.array_equal(value, BIG)
        del value
    assert values_of(space, "a") == [2]
    assert space.waiters() == []
    assert rig.problems() == []


def test_who_waits_for_several_variables_is_served_in_its_turn(space: Space) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(space.fetch_any, ["a", "b"], timeout=PATIENCE_S)
        wait_until(lambda: len(space.waiters()) == 2, "the first waits")
        second = pool.submit(space.fetch, "b", timeout=PATIENCE_S)
        wait_until(lambda: len(space.waiters()) == 3, "the second waits")
        space.store("b", 1)
        space.store("b", 2)
        assert first.result(PATIENCE_S) == ("b", 1)
        assert second.result(PATIENCE_S) == 2


def test_a_wait_for_several_variables_that_ends_leaves_all_lines(rig: Rig, space: Space) -> None:
    with pytest.raises(WaitTimeoutError):
        space.fetch_any(["a", "b", "c"], timeout=0.02)
    assert space.waiters() == []
    assert rig.problems() == []


def test_deleting_one_of_several_variables_ends_the_wait(rig: Rig, space: Space) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(space.fetch_any, ["a", "b"], timeout=PATIENCE_S)
        wait_until(lambda: len(space.waiters()) == 2, "it waits")
        space.delete("b")
        with pytest.raises(NotFoundError):
            waiting.result(PATIENCE_S)
    assert space.waiters() == []
    assert rig.problems() == []


def test_a_value_of_any_of_several_variables_may_be_claimed(rig: Rig, space: Space) -> None:
    space.store("b", BIG)
    claim = space.claim_any(["a", "b"])
    assert claim.variable == "b"
    claim.release()
    claim.value = None
    with space.claim_any(["a", "b"], timeout=0) as again:
        assert again.tries == 2
        again.value = None
    assert space.try_fetch("b") is None
    assert rig.problems() == []


# Moving.


def test_a_value_moves_in_one_step(rig: Rig, space: Space) -> None:
    assert not space.try_move("a", "b")
    for value in (BIG, 2):
        space.store("a", value)
    assert space.try_move("a", "b")
    assert values_of(space, "a") == [2]
    assert np.array_equal(space.fetch("b"), BIG)
    assert rig.problems() == []


def test_a_move_gives_to_who_waits_at_its_target(space: Space) -> None:
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(space.fetch, "b", timeout=PATIENCE_S)
        wait_until(lambda: len(space.waiters()) == 1, "it waits")
        moving = pool.submit(space.move, "a", "b", timeout=PATIENCE_S)
        wait_until(lambda: len(space.waiters()) == 2, "the move waits for a value")
        space.store("a", 5)
        moving.result(PATIENCE_S)
        assert waiting.result(PATIENCE_S) == 5
    assert space.try_find("a") is None


def test_a_move_into_a_full_variable_changes_nothing(rig: Rig, space: Space) -> None:
    space.declare("b", max_values=1, when_full="error")
    for variable, value in (("a", BIG), ("b", 1)):
        space.store(variable, value)
    with pytest.raises(FullError):
        space.move("a", "b")
    space.declare("b", when_full="wait")
    with pytest.raises(WaitTimeoutError):
        space.move("a", "b", timeout=0)
    assert len(values_of(space, "a")) == 1
    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(space.move, "a", "b", timeout=PATIENCE_S)
        assert space.fetch("b", timeout=PATIENCE_S) == 1
        moving.result(PATIENCE_S)
    assert np.array_equal(space.fetch("b"), BIG)
    assert rig.problems() == []


# Producers.


def test_who_waits_learns_that_no_producer_is_left(rig: Rig, space: Space) -> None:
    first, second = space.producer("v"), space.producer("v")
    with ThreadPoolExecutor(2) as pool:
        waiting: list[Any] = [
            pool.submit(wait, "v", timeout=PATIENCE_S) for wait in (space.fetch, space.find)
        ]
        wait_until(lambda: len(space.waiters()) == 2, "both wait")
        first.close()
        first.close()
        assert info_of(space, "v").producers == 1
        assert len(space.waiters()) == 2
        second.close()
        for each in waiting:
            with pytest.raises(ProducersGoneError, match="s/v has no value"):
                each.result(PATIENCE_S)
    assert rig.problems() == []


def test_what_producers_left_is_fetched_before_the_end(space: Space) -> None:
    with space.producer("v"):
        for value in (1, 2):
            space.store("v", value)
    assert list(space.ifetch("v")) == [1, 2]
    with pytest.raises(ProducersGoneError):
        space.fetch("v")
    with pytest.raises(EOFError):
        space.claim("v")
    assert space.try_fetch("v") is None


def test_a_new_producer_gives_new_hope(space: Space) -> None:
    space.producer("v").close()
    with space.producer("v"), pytest.raises(WaitTimeoutError):
        space.fetch("v", timeout=0.01)


def test_a_wait_for_several_variables_ends_with_the_last_producer_of_all(space: Space) -> None:
    one, other = space.producer("a"), space.producer("b")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(space.fetch_any, ["a", "b"], timeout=PATIENCE_S)
        wait_until(lambda: len(space.waiters()) == 2, "it waits")
        one.close()
        assert len(space.waiters()) == 2
        other.close()
        with pytest.raises(ProducersGoneError):
            waiting.result(PATIENCE_S)
    assert space.waiters() == []


# Looking.


def test_values_are_seen_without_being_loaded(space: Space) -> None:
    space.store("v", "text")
    space.store("v", BIG)
    space.store("v", {1: 2}, ttl=60)
    seen = space.peek("v")
    assert [each.index for each in seen] == [0, 1, 2]
    assert seen[0].fields["value_"] == "text"
    assert seen[1].fields["shape_"] == [50_000]
    assert [each.expires is None for each in seen] == [True, True, False]
    assert len(space.peek("v", limit=1)) == 1
    assert space.peek("nothing") == []
    assert info_of(space, "v").values == 3


def test_who_waits_for_what_can_be_seen(space: Space) -> None:
    waits: list[Callable[..., Any]] = [space.fetch, space.find]
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(wait, "v", timeout=PATIENCE_S) for wait in waits]
        wait_until(lambda: len(space.waiters("v")) == 2, "both wait")
        seen = space.waiters()
        assert [each.kind for each in seen] == ["fetch", "find"]
        assert {each.session for each in seen} == {space.engine.session.id}
        assert space.waiters("w") == []
        space.store("v", 1)
        for each in waiting:
            each.result(PATIENCE_S)


# Found by a review.


def test_values_that_go_to_the_back_of_a_lifo_variable_have_places_of_their_own(
    space: Space,
) -> None:
    space.declare("v", "lifo")
    space.store("v", "a")
    space.store("v", "b")
    first, second = space.claim("v"), space.claim("v")
    second.release(to="back")
    first.release(to="back")
    third = space.claim("v")
    assert third.value == "a"
    fourth = space.claim("v")
    fourth.release(to="back")
    third.done()
    assert [space.fetch("v") for _ in range(info_of(space, "v").values)] == ["b"]
    assert info_of(space, "v").claimed == 0


def test_what_goes_to_the_back_of_a_lifo_variable_later_is_at_the_back(
    space: Space, clock: Clock
) -> None:
    space.declare("v", "lifo")
    space.store("v", "a")
    space.store("v", "b")
    space.claim("v").release(to="back", delay=5)
    clock.now_s += 10
    assert [space.fetch("v"), space.fetch("v")] == ["a", "b"]


def test_a_value_that_may_come_back_is_hope(space: Space, clock: Clock) -> None:
    with space.producer("v"):
        space.store("v", 1)
    claim = space.claim("v")
    with pytest.raises(WaitTimeoutError):
        space.fetch("v", timeout=0.01)
    claim.release(delay=5)
    with pytest.raises(WaitTimeoutError):
        space.fetch("v", timeout=0.01)
    clock.now_s += 10
    with ThreadPoolExecutor(1) as pool:
        claim = space.claim("v")
        waiting = pool.submit(space.fetch, "v")
        wait_until(lambda: info_of(space, "v").fetchers == 1, "somebody waits")
        claim.done()
        with pytest.raises(ProducersGoneError):
            waiting.result(PATIENCE_S)


def test_a_producer_of_a_variable_that_was_deleted_is_none_of_the_new_one(space: Space) -> None:
    first = space.producer("v")
    space.delete("v")
    with space.producer("v"):
        first.close()
        with pytest.raises(WaitTimeoutError):
            space.fetch("v", timeout=0.01)
    with pytest.raises(ProducersGoneError):
        space.fetch("v", timeout=0.01)


def test_a_claim_whose_variable_was_deleted_cannot_be_moved(space: Space) -> None:
    space.store("v", 1)
    claim = space.claim("v")
    space.delete("v")
    with pytest.raises(NotFoundError):
        claim.move("w")
    with pytest.raises(ClosedError):
        claim.done()


def test_a_value_that_is_moved_expires_as_others_there(space: Space, clock: Clock) -> None:
    space.declare("w", ttl=5)
    space.store("v", 1)
    space.move("v", "w")
    clock.now_s += 10
    assert info_of(space, "w").values == 0
    assert space.try_fetch("w") is None


@pytest.mark.parametrize("seconds", [1e11, 1e300])
def test_times_beyond_all_bounds_are_refused(space: Space, seconds: float) -> None:
    with pytest.raises(LimitError):
        space.store("v", 1, ttl=seconds)
    with pytest.raises(LimitError):
        space.declare("v", ttl=seconds)
    space.store("v", 1, ttl=float("inf"))
    claim = space.claim("v")
    with pytest.raises(LimitError):
        claim.release(delay=seconds)
    claim.release()


def test_an_index_that_no_value_has_removes_nothing(space: Space) -> None:
    space.store("v", 1)
    assert not space.remove("v", 1 << 80)
    assert not space.remove("v", -1)
    with pytest.raises(TypeMismatchError):
        space.remove("v", "0")  # pyright: ignore[reportArgumentType] on purpose
