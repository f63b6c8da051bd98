"""Claims: a value that somebody works on, which returns if the work is not done."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from entrepot import settings
from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.errors import ClosedError, ConflictError
from entrepot.layers.spaces import Claim, Space, Spaces, core
from support.conditions import PATIENCE_S, wait_until
from support.tiers import InLine, Rig, counts, memory_tier, problems_of

BIG = np.arange(50_000)


class OnPurposeError(Exception):
    """Ends a block."""


def end_and_raise(claim: Claim) -> None:
    claim.done()
    raise OnPurposeError


@pytest.mark.parametrize("value", ["small", BIG], ids=["small", "big"])
def test_a_claim_that_is_done_is_gone_for_good(rig: Rig, space: Space, value: object) -> None:
    space.store("v", value)
    with space.claim("v") as claim:
        assert np.all(claim.value == value)
        assert (claim.index, claim.variable) == (0, "v")
        assert counts(space, "v") == (0, 0, 0, 1)
        assert space.try_find("v") is None
        assert rig.problems() == []
    assert counts(space, "v") == (0, 0, 0, 0)
    assert rig.problems() == []


@pytest.mark.parametrize("value", ["small", BIG], ids=["small", "big"])
def test_a_block_that_raises_puts_the_value_back(rig: Rig, space: Space, value: object) -> None:
    space.store("v", value)
    space.store("v", "next")
    for _ in range(3):
        with pytest.raises(OnPurposeError), space.claim("v"):
            raise OnPurposeError
        assert counts(space, "v") == (2, 0, 0, 0)
        assert np.all(space.find("v") == value)
    assert rig.problems() == []


def test_a_claim_may_be_ended_inside_its_block(space: Space) -> None:
    for value in (1, 2):
        space.store("v", value)
    with space.claim("v") as claim:
        claim.done()
    with pytest.raises(OnPurposeError), space.claim("v") as claim:
        end_and_raise(claim)
    assert counts(space, "v") == (0, 0, 0, 0)


def test_a_claim_ends_once(space: Space) -> None:
    space.store("v", 1)
    space.store("v", 2)
    done, released = space.claim("v"), space.claim("v")
    done.done()
    released.release()
    for claim in (done, released):
        for end in (claim.done, claim.release):
            with pytest.raises(ClosedError, match=rf"v\[{claim.index}\] has ended"):
                end()
    assert space.fetch("v") == 2


def test_claims_returned_in_any_order_are_in_their_places(space: Space) -> None:
    for value in range(5):
        space.store("v", value)
    claims = [space.try_claim("v") for _ in range(5)]
    assert space.try_claim("v") is None
    assert counts(space, "v") == (0, 0, 0, 5)
    for at in (3, 0, 4, 2):
        claims[at].release()
    claims[1].done()
    assert [space.fetch("v") for _ in range(4)] == [0, 2, 3, 4]


def test_a_lifo_claim_returns_below_what_is_newer(space: Space) -> None:
    space.declare("v", "lifo")
    space.store("v", "old")
    claim = space.claim("v")
    space.store("v", "new")
    claim.release()
    assert [space.fetch("v") for _ in range(2)] == ["new", "old"]


def test_a_claim_of_a_single_variable_is_lost_to_a_newer_value(rig: Rig, space: Space) -> None:
    space.declare("v", "single")
    space.store("v", BIG)
    claim = space.claim("v")
    space.store("v", "newer")
    claim.release()
    assert counts(space, "v") == (1, 0, 0, 0)
    assert space.fetch("v") == "newer"
    assert rig.problems() == []


def test_of_two_claims_of_a_single_variable_the_newer_stays(rig: Rig, space: Space) -> None:
    for newer_first in (True, False):
        space.declare("v", "single")
        space.store("v", BIG)
        older = space.claim("v")
        space.store("v", BIG + 1)
        newer = space.claim("v")
        for claim in (newer, older) if newer_first else (older, newer):
            claim.release()
        assert counts(space, "v") == (1, 0, 0, 0)
        assert (space.fetch("v") == BIG + 1).all()
        assert rig.problems() == []


def test_a_claim_of_a_single_variable_is_a_lock_that_a_raise_opens(space: Space) -> None:
    space.declare("lock", "single")
    space.store("lock", 0)

    def step(number: int) -> None:
        with space.claim("lock", timeout=PATIENCE_S) as claim:
            if number % 3 == 0:
                raise OnPurposeError
            space.store("lock", claim.value + 1)

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(step, number) for number in range(30)]
        errors = [result.exception(PATIENCE_S) for result in results]
    assert sum(error is not None for error in errors) == 10
    assert space.fetch("lock") == 20


def test_what_is_released_goes_to_who_waits_longest(space: Space) -> None:
    space.store("v", BIG)
    claim = space.claim("v")
    finder, first, second = (
        InLine(space, "v", core.FIND_ONE),
        InLine(space, "v"),
        InLine(space, "v"),
    )
    claim.release()
    assert (finder.value() == BIG).all()
    assert (first.value() == BIG).all()
    assert not second.has_mail()
    second.cancel()


def test_a_claim_that_waited_holds_what_it_was_given(space: Space) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(space.claim, "v", timeout=PATIENCE_S)
        wait_until(lambda: any(info.fetchers for info in space.variables()), "it waits")
        space.store("v", BIG)
        claim = waiting.result(PATIENCE_S)
    assert counts(space, "v") == (0, 0, 0, 1)
    claim.release()
    assert counts(space, "v") == (1, 0, 0, 0)


@pytest.mark.parametrize("swept", [True, False])
@pytest.mark.parametrize("done", [True, False])
def test_a_claim_outlives_its_variable_in_peace(
    rig: Rig, space: Space, swept: bool, done: bool
) -> None:
    space.store("v", BIG)
    claim = space.claim("v")
    if swept:
        space.delete("v")
    else:
        from entrepot.layers.spaces import workspaces

        rig.tier.engine.write(workspaces.delete_variable, space._key("v"))
    space.store("v", "new")
    claim.done() if done else claim.release()
    assert counts(space, "v") == (1, 0, 0, 0)
    assert space.fetch("v") == "new"


# The dead.


def space_of(store: MemoryStore) -> tuple[Space, MemoryEngine]:
    tier = memory_tier(store)
    spaces = Spaces(tier, lambda: tier, lambda: False)
    assert isinstance(tier.engine, MemoryEngine)
    return spaces.open("s", owned=False, persistent=False, create=True), tier.engine


@pytest.mark.parametrize("value", ["small", BIG], ids=["small", "big"])
def test_what_the_dead_claimed_was_given_or_waited_for_is_given_back(value: object) -> None:
    store = MemoryStore()
    (theirs, dying), (ours, engine) = space_of(store), space_of(store)
    theirs.store("claimed", value)
    claim = theirs.claim("claimed")
    InLine(theirs, "given")
    InLine(theirs, "given", core.FIND_ONE)
    InLine(theirs, "waited for")
    ours.store("given", value)
    dying.end_session()
    assert engine.reap() == 1
    assert np.all(ours.fetch("claimed", timeout=0) == value)
    assert np.all(ours.fetch("given", timeout=0) == value)
    assert counts(ours, "waited for") == (0, 0, 0, 0)
    assert problems_of(ours._tier) == []
    with pytest.raises(ClosedError):
        claim.done()


def test_what_the_dead_held_goes_to_who_waits(space: Space) -> None:
    store = MemoryStore()
    (theirs, dying), (ours, engine) = space_of(store), space_of(store)
    theirs.store("v", 1)
    theirs.claim("v")
    behind_the_dead = [InLine(theirs, "v"), InLine(ours, "v")]
    dying.end_session()
    engine.reap()
    assert behind_the_dead[1].value() == 1
    assert counts(ours, "v") == (0, 0, 0, 0)


def test_a_session_that_ends_cleanly_gives_its_claims_back() -> None:
    store = MemoryStore()
    (theirs, ending), (ours, _) = space_of(store), space_of(store)
    theirs.store("v", 1)
    theirs.claim("v")
    ending.close()
    assert ours.fetch("v", timeout=0) == 1


class Trouble:
    """A value that cannot be loaded, in a way that is nobody's fault."""

    error: type[BaseException] = KeyboardInterrupt

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise, (self.error.__name__,)


def _raise(name: str) -> None:
    raise {"KeyboardInterrupt": KeyboardInterrupt, "MemoryError": MemoryError}[name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("call", ["fetch", "try_fetch", "claim", "try_claim"])
def test_an_interrupted_load_loses_nothing(
    space: Space, call: str, error: type[BaseException]
) -> None:
    value = Trouble()
    value.error = error
    space.store("v", value)
    with pytest.raises(error):
        getattr(space, call)("v")
    assert counts(space, "v") == (1, 0, 0, 0)


def test_an_interrupt_right_after_the_commit_gives_the_claim_back(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.store("v", 1)
    write = space.engine.write
    interrupted: list[bool] = []

    def write_and_interrupt(fn: Any, *arguments: Any) -> Any:
        result = write(fn, *arguments)
        if not interrupted and fn in (core.take, core.take_or_wait):
            interrupted.append(True)
            raise KeyboardInterrupt
        return result

    for call in (space.try_claim, space.claim):
        interrupted.clear()
        with monkeypatch.context() as patch:
            patch.setattr(space.engine, "write", write_and_interrupt)
            with pytest.raises(KeyboardInterrupt):
                call("v")
        assert counts(space, "v") == (1, 0, 0, 0)


@pytest.mark.parametrize("call", ["find", "fetch", "claim"])
def test_an_interrupt_right_after_joining_the_line_leaves_it(
    space: Space, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write = space.engine.write

    def write_and_interrupt(fn: Any, *arguments: Any) -> Any:
        result = write(fn, *arguments)
        if fn is core.take_or_wait:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch:
        patch.setattr(space.engine, "write", write_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            getattr(space, call)("v")
    assert counts(space, "v") == (0, 0, 0, 0)
    space.store("v", 1)
    assert space.fetch("v", timeout=0) == 1, "nothing is given to who does not wait any more"


def test_a_claim_that_was_not_committed_takes_no_other_ones_away(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.store("v", 1)
    write = space.engine.write
    others: list[Claim | None] = []

    def fail(fn: Any, tx: Any, *arguments: Any) -> None:
        fn(tx, *arguments)
        raise OnPurposeError

    def write_fails_once(fn: Any, *arguments: Any) -> Any:
        if others or fn is not core.take:
            return write(fn, *arguments)
        others.append(None)
        try:
            write(lambda tx: fail(fn, tx, *arguments))
        except OnPurposeError:
            others[0] = space.try_claim("v")  # as another thread would, just then
            raise

    monkeypatch.setattr(space.engine, "write", write_fails_once)
    with pytest.raises(OnPurposeError):
        space.try_claim("v")
    assert counts(space, "v") == (0, 0, 0, 1)
    (other,) = others
    assert other is not None
    other.done()


def test_who_did_the_work_is_told_when_the_claim_was_given_back_meanwhile(space: Space) -> None:
    space.store("v", 1)
    claim = space.claim("v")
    space.engine.write(
        core.end_claim, space._bulk, space.engine.session.id, claim._id, 0, core.UNDONE
    )
    with pytest.raises(ConflictError, match="given back meanwhile"):
        claim.done()
    with pytest.raises(ClosedError):
        claim.release()
    assert space.fetch("v", timeout=0) == 1


def test_a_claim_that_is_dropped_is_warned_of(space: Space) -> None:
    space.store("v", 1)
    claim = space.claim("v")
    key = (claim._id, claim.index)
    with pytest.warns(ResourceWarning, match=r"the claim of v\[0\] was dropped"):
        claim = None
    gc.collect()
    mine = space.engine.session.id
    assert space.engine.write(core.end_claim, space._bulk, mine, *key, core.DONE)


def test_a_wait_of_no_time_leaves_no_variable_behind(space: Space) -> None:
    for call in (space.fetch, space.find, space.claim):
        with pytest.raises(TimeoutError):
            call("v", timeout=0)
    assert space.variables() == []


# More large values than can be pinned.


@pytest.fixture
def copied(rig: Rig, space: Space, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Take all pins; note of each copy of a value whether it was made inside a write."""
    if not rig.is_zero_copy:
        pytest.skip("there is no arena")
    key = rig.objects.put(BIG)
    views = [rig.objects.get(key) for _ in range(settings.PINS_PER_SESSION)]
    noted: list[bool] = []
    is_writing = [False]
    write, view = space.engine.write, rig.tier.bulk.view

    def noted_write(*arguments: Any) -> Any:
        is_writing[0] = True
        try:
            return write(*arguments)
        finally:
            is_writing[0] = False

    def noted_view(*arguments: Any) -> Any:
        noted.append(is_writing[0])
        return view(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(space.engine, "write", noted_write)
        patch.setattr(rig.tier.bulk, "view", noted_view)
        yield noted
    assert noted
    assert not any(noted), "all other writers wait for the copy"
    assert rig.problems() == []
    assert len(views) == settings.PINS_PER_SESSION


@pytest.mark.parametrize("call", ["fetch", "try_fetch"])
def test_what_cannot_be_pinned_is_copied_outside_of_the_write(
    rig: Rig, space: Space, copied: list[bool], call: str
) -> None:
    space.store("v", BIG)
    space.store("v", BIG + 1)
    assert (getattr(space, call)("v") == BIG).all()
    assert (next(space.ifetch("v")) == BIG + 1).all()
    assert counts(space, "v") == (0, 0, 0, 0)


@pytest.mark.parametrize("call", ["claim", "try_claim"])
def test_a_claim_that_cannot_be_pinned_is_copied_outside_of_the_write(
    rig: Rig, space: Space, copied: list[bool], call: str
) -> None:
    space.store("v", BIG)
    for is_done in (False, True):
        claim = getattr(space, call)("v")
        assert (claim.value == BIG).all()
        assert counts(space, "v") == (0, 0, 0, 1)
        claim.done() if is_done else claim.release()
    assert counts(space, "v") == (0, 0, 0, 0)


@pytest.mark.parametrize("kind", ["find", "fetch", "claim"])
def test_what_was_given_and_cannot_be_pinned_is_copied_outside_of_the_write(
    rig: Rig, space: Space, copied: list[bool], kind: str
) -> None:
    want = {"find": core.FIND_ONE, "fetch": core.FETCH_ONE, "claim": core.CLAIM_ONE}[kind]
    waiting = InLine(space, "v", want)
    space.store("v", BIG)
    taken = waiting.taken()
    assert (space.loaded(taken) == BIG).all()
    if kind == "claim":
        space.end_claim(taken, core.DONE)
    assert counts(space, "v") == (kind == "find", 0, 0, 0)


@pytest.mark.parametrize("call", ["fetch", "try_fetch", "claim", "try_claim"])
def test_a_copy_for_which_there_is_no_memory_loses_nothing(
    rig: Rig, space: Space, copied: list[bool], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    space.store("v", BIG)

    def fail(*_: object) -> None:
        raise MemoryError

    copied.append(False)
    with monkeypatch.context() as patch:
        patch.setattr(rig.tier.bulk, "view", fail)
        with pytest.raises(MemoryError):
            getattr(space, call)("v")
    assert counts(space, "v") == (1, 0, 0, 0)
