"""Spaces against a model of plain dicts and lists: the same random steps on both.

Several processes share one workspace (on the memory engine each has a session of its own,
and may die); they store, take, claim, wait, iterate, declare and delete. After each step what
is there, and who waits, is what the model says, and nothing is lost or left over.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.errors import ConflictError, FullError, NotFoundError, WaitTimeoutError
from entrepot.layers.spaces import Claim, Space, Spaces, Values, core, spaces
from entrepot.layers.tier import Tier
from entrepot.waiting import Deadline
from support.tiers import KINDS, memory_tier, problems_of, rig_of

NAMES = st.sampled_from(["a", "b"])
SIDES = st.integers(0, 1)
WANTS = {"find": core.FIND_ONE, "fetch": core.FETCH_ONE, "claim": core.CLAIM_ONE}
DELETED = "the variable was deleted"


@dataclass(eq=False)
class Waiting:
    """One who stands in line, or was served and has not looked yet."""

    name: str
    kind: str
    side: int
    waiter: core.Waiter
    mail: Any = None
    """(incarnation, index, value), or DELETED."""


@dataclass(eq=False)
class Held:
    """A claim."""

    name: str
    incarnation: int
    index: int
    value: Any
    side: int
    claim: Claim


@dataclass(eq=False)
class Cursor:
    """Where an iterator stands."""

    name: str
    fetches: bool
    side: int
    values: Values
    incarnation: int | None = None
    index: int = -1
    has_ended: bool = False


@dataclass
class Model:
    """A variable."""

    incarnation: int
    mode: str = "unknown"
    next: int = 0
    lowest: int = 0
    """Of those that went behind all others of a lifo variable."""
    values: dict[int, Any] = field(default_factory=dict)
    line: list[Waiting] = field(default_factory=list)
    """Who waits, in the order of arrival."""
    bound: int = 0
    drops: bool = False
    """Whether what is full drops its oldest values; else it refuses."""

    def make_room(self) -> bool:
        """See that one more value is within the bound; tell whether it is."""
        while self.bound and self.mode != "single" and len(self.values) >= self.bound:
            if not self.drops:
                return False
            del self.values[min(self.values)]
        return True

    def arrive(self, index: int, value: Any) -> None:
        """A value comes, new or given back."""
        mail = (self.incarnation, index, value)
        for waiting in [one for one in self.line if one.kind == "find"]:
            waiting.mail = mail
            self.line.remove(waiting)
        if self.line:
            self.line.pop(0).mail = mail
        elif self.mode != "single":
            self.values[index] = value
        elif not self.values or index > max(self.values):
            self.values = {index: value}

    def candidates(self) -> list[int]:
        """The indexes of which one is next."""
        if self.mode == "multi":
            return sorted(self.values)
        return sorted(self.values)[-1:] if self.mode == "lifo" else sorted(self.values)[:1]


class SpacesMachine(RuleBasedStateMachine):
    kind: str

    claims = Bundle("claims")
    waiters = Bundle("waiters")
    cursors = Bundle("cursors")

    @initialize()
    def begin(self) -> None:
        self.model: dict[str, Model] = {}
        self.held: list[Held] = []
        self.waiting: list[Waiting] = []
        self.incarnations = 0
        self.stored = 0
        self.ending = contextlib.ExitStack()
        if self.kind == "memory":
            self.store = MemoryStore()
            self.tiers = [memory_tier(self.store) for _ in range(2)]
        else:
            self.rig = self.ending.enter_context(rig_of(self.kind))
            self.tiers = [self.rig.tier] * 2
        self.spaces = [self.open(side) for side in range(2)]

    def spaces_of(self, tier: Tier) -> Spaces:
        return self.rig.spaces if self.kind != "memory" else Spaces(tier, lambda: tier, bool)

    def open(self, side: int) -> Space:
        return self.spaces_of(self.tiers[side]).open(
            "s", owned=False, persistent=self.kind == "durable", create=True
        )

    def variable(self, name: str) -> Model:
        if name not in self.model:
            self.incarnations += 1
            self.model[name] = Model(self.incarnations)
        return self.model[name]

    def give_back(self, name: str, incarnation: int, index: int, value: Any) -> None:
        variable = self.model.get(name)
        if variable is not None and variable.incarnation == incarnation:
            variable.arrive(index, value)

    # Storing and taking.

    @rule(name=NAMES, side=SIDES, is_large=st.booleans())
    def store_a_value(self, name: str, side: int, is_large: bool) -> None:
        self.stored += 1
        value = (self.stored, b"x" * (20_000 if is_large else 1))
        variable = self.model.get(name)
        if variable is not None and not variable.make_room():
            with pytest.raises(FullError):
                self.spaces[side].store(name, value)
            return
        self.spaces[side].store(name, value)
        variable = self.variable(name)
        variable.mode = "fifo" if variable.mode == "unknown" else variable.mode
        variable.next += 1
        variable.arrive(variable.next - 1, value)

    @rule(name=NAMES, side=SIDES)
    def try_find(self, name: str, side: int) -> None:
        found = self.spaces[side].try_find(name)
        variable = self.model.get(name)
        if variable is None or not variable.values:
            assert found is None
        else:
            assert found in [variable.values[at] for at in variable.candidates()]

    @rule(name=NAMES, side=SIDES)
    def try_fetch(self, name: str, side: int) -> None:
        fetched = self.spaces[side].try_fetch(name)
        variable = self.model.get(name)
        if variable is None or not variable.values:
            assert fetched is None
        else:
            by_value = {variable.values[at]: at for at in variable.candidates()}
            del variable.values[by_value[fetched]]

    @rule(target=claims, name=NAMES, side=SIDES)
    def try_claim(self, name: str, side: int) -> Any:
        claim = self.spaces[side].try_claim(name)
        variable = self.model.get(name)
        if variable is None or not variable.values:
            assert claim is None
            return multiple()
        return self.note_claim(name, side, claim)

    def note_claim(self, name: str, side: int, claim: Claim) -> Held:
        variable = self.model[name]
        assert claim.index in variable.candidates()
        value = variable.values.pop(claim.index)
        assert claim.value == value
        held = Held(name, variable.incarnation, claim.index, value, side, claim)
        self.held.append(held)
        return held

    @rule(held=consumes(claims), how=st.sampled_from(["done", "front", "back", "moved"]))
    def end_a_claim(self, held: Held, how: str) -> None:
        if held not in self.held:
            return  # its process died
        self.held.remove(held)
        index = held.index
        variable = self.model.get(held.name)
        is_there = variable is not None and variable.incarnation == held.incarnation
        if how == "done":
            held.claim.done()
            return
        if how == "moved":
            if is_there:
                held.claim.move("b")
                self.put_into("b", held.value)
            else:
                with pytest.raises(NotFoundError):
                    held.claim.move("b")
            return
        held.claim.release(to=how)
        if how == "back" and variable is not None and is_there and variable.mode != "single":
            if variable.mode == "lifo":
                variable.lowest -= 1
                index = variable.lowest
            else:
                index = variable.next
                variable.next += 1
        self.give_back(held.name, held.incarnation, index, held.value)

    def put_into(self, name: str, value: Any) -> None:
        """Note that a value came from another variable."""
        target = self.variable(name)
        target.mode = "fifo" if target.mode == "unknown" else target.mode
        target.next += 1
        target.arrive(target.next - 1, value)

    @rule(source=NAMES, goes_to=NAMES, side=SIDES)
    def move_a_value(self, source: str, goes_to: str, side: int) -> None:
        variable, goal = self.model.get(source), self.model.get(goes_to)
        space = self.spaces[side]
        if variable is None or not variable.values:
            assert not space.try_move(source, goes_to)
            return
        if source == goes_to or (variable.mode == "multi" and len(variable.values) > 1):
            return  # which one moves cannot be told
        if goal is not None and not goal.make_room():
            with pytest.raises(FullError):
                space.try_move(source, goes_to)
            return
        assert space.try_move(source, goes_to)
        self.put_into(goes_to, variable.values.pop(variable.candidates()[0]))

    @rule(name=NAMES, side=SIDES, index=st.integers(-1, 6))
    def remove_one_value(self, name: str, side: int, index: int) -> None:
        values = self.model[name].values if name in self.model else {}
        assert self.spaces[side].remove(name, index) == (index in values)
        values.pop(index, None)

    @rule(name=NAMES, side=SIDES, bound=st.integers(0, 3), drops=st.booleans())
    def bound_a_variable(self, name: str, side: int, bound: int, drops: bool) -> None:
        variable = self.variable(name)
        variable.bound, variable.drops = bound, drops
        when_full = "drop_oldest" if drops else "error"
        self.spaces[side].declare(name, max_values=bound, when_full=when_full)

    # Waiting.

    @rule(target=waiters, name=NAMES, side=SIDES, kind=st.sampled_from(sorted(WANTS)))
    def join_the_line(self, name: str, side: int, kind: str) -> Any:
        space = self.spaces[side]
        got = space.join_line(name, WANTS[kind])
        variable = self.variable(name)
        if not variable.values:
            assert isinstance(got, core.Waiter), "there is nothing to get"
            waiting = Waiting(name, kind, side, got)
            variable.line.append(waiting)
            self.waiting.append(waiting)
            return waiting
        assert isinstance(got, core.Taken), "there is something to get"
        assert got.index in variable.candidates()
        if kind == "claim":
            self.note_claim(name, side, space.claimed(name, got)).claim.release()
            held = self.held.pop()
            self.give_back(name, held.incarnation, held.index, held.value)
        else:
            assert space.loaded(got) == variable.values[got.index]
            if kind == "fetch":
                del variable.values[got.index]
        return multiple()

    @rule(target=claims, waiting=consumes(waiters), patiently=st.booleans())
    def leave_the_line(self, waiting: Waiting, patiently: bool) -> Any:
        if waiting not in self.waiting:
            return multiple()  # its process died
        space = self.spaces[waiting.side]
        self.waiting.remove(waiting)
        mail = waiting.mail
        if mail is None:
            self.model[waiting.name].line.remove(waiting)
        if not patiently:
            space.cancel_wait(waiting.waiter)
            if mail not in (None, DELETED) and waiting.kind != "find":
                self.give_back(waiting.name, *mail)
            return multiple()
        leave = (waiting.name, WANTS[waiting.kind], waiting.waiter, Deadline(0))
        if mail is None or mail is DELETED:
            with pytest.raises(NotFoundError if mail is DELETED else WaitTimeoutError):
                space.leave_line(*leave)
            return multiple()
        incarnation, index, value = mail
        taken = space.leave_line(*leave)
        assert taken.index == index
        if waiting.kind != "claim":
            assert space.loaded(taken) == value
            return multiple()
        claim = space.claimed(waiting.name, taken)
        assert claim.value == value
        held = Held(waiting.name, incarnation, index, value, waiting.side, claim)
        self.held.append(held)
        return held

    # Iterating.

    @rule(target=cursors, name=NAMES, side=SIDES, fetches=st.booleans())
    def begin_to_iterate(self, name: str, side: int, fetches: bool) -> Cursor:
        space = self.spaces[side]
        values = space.ifetch_try(name) if fetches else space.ifind_try(name)
        return Cursor(name, fetches, side, values)

    @rule(cursor=cursors)
    def iterate(self, cursor: Cursor) -> None:
        if cursor.values._space is not self.spaces[cursor.side]:
            return  # its process died, or the workspace was deleted
        variable = self.model.get(cursor.name)
        if not cursor.has_ended:
            is_other = cursor.incarnation is not None and (
                variable is None or variable.incarnation != cursor.incarnation
            )
            if is_other or variable is None:
                cursor.has_ended = True
            elif variable.mode in ("lifo", "multi"):
                with pytest.raises(ConflictError):
                    next(cursor.values)
                return
            else:
                behind = -1 if cursor.fetches else cursor.index
                left = sorted(index for index in variable.values if index > behind)
                if left:
                    assert next(cursor.values) == variable.values[left[0]]
                    cursor.incarnation, cursor.index = variable.incarnation, left[0]
                    if cursor.fetches:
                        del variable.values[left[0]]
                    return
                cursor.has_ended = True
        with pytest.raises(StopIteration):
            next(cursor.values)

    @rule(cursor=cursors, anew=st.booleans())
    def iterate_again(self, cursor: Cursor, anew: bool) -> None:
        cursor.has_ended = False
        if anew:
            cursor.values.reset()
            cursor.incarnation, cursor.index = None, -1
        else:
            cursor.values.restart()

    # Variables and workspaces.

    @rule(name=NAMES, side=SIDES, mode=st.sampled_from(["fifo", "lifo", "multi", "single"]))
    def declare(self, name: str, side: int, mode: str) -> None:
        variable = self.variable(name)
        if variable.mode in ("unknown", mode):
            self.spaces[side].declare(name, mode)
            variable.mode = mode
        else:
            with pytest.raises(ConflictError, match=f"{variable.mode} and cannot become {mode}"):
                self.spaces[side].declare(name, mode)

    @rule(name=NAMES, side=SIDES)
    def delete_a_variable(self, name: str, side: int) -> None:
        assert self.spaces[side].delete(name) == (name in self.model)
        self.forget(name)

    def forget(self, name: str) -> None:
        if name in self.model:
            for waiting in self.model.pop(name).line:
                waiting.mail = DELETED

    @rule(side=SIDES)
    def delete_the_workspace(self, side: int) -> None:
        old = self.spaces
        self.spaces_of(self.tiers[side]).delete("s")
        for name in list(self.model):
            self.forget(name)
        with pytest.raises(NotFoundError):
            old[side].store("a", 1)
        self.spaces = [self.open(one) for one in range(2)]
        for space in old:
            with pytest.raises(NotFoundError):
                space.try_fetch("a")

    # Death.

    @rule(side=SIDES, is_killed=st.booleans())
    def a_process_ends(self, side: int, is_killed: bool) -> None:
        if self.kind != "memory":
            return
        dying, other = self.tiers[side].engine, self.tiers[1 - side].engine
        assert isinstance(dying, MemoryEngine)
        dying.end_session() if is_killed else dying.close()
        assert other.reap() == int(is_killed)
        spaces.sweep(self.tiers[1 - side])
        # In the order of the keys under which it held them: claims by place, then waits by age.
        claims = [held for held in self.held if held.side == side]
        for held in sorted(claims, key=lambda held: (held.incarnation, held.index)):
            self.held.remove(held)
            self.give_back(held.name, held.incarnation, held.index, held.value)
        waits = [waiting for waiting in self.waiting if waiting.side == side]
        for waiting in sorted(waits, key=lambda waiting: waiting.waiter.number):
            self.waiting.remove(waiting)
            if waiting.mail is None:
                self.model[waiting.name].line.remove(waiting)
            elif waiting.mail is not DELETED and waiting.kind != "find":
                self.give_back(waiting.name, *waiting.mail)
        self.tiers[side] = memory_tier(self.store)
        self.spaces[side] = self.open(side)

    # What must be so after each step.

    @invariant()
    def nothing_is_wrong_in_the_tier(self) -> None:
        if hasattr(self, "tiers"):
            assert problems_of(self.tiers[0]) == []

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        if not hasattr(self, "spaces"):
            return
        for space in self.spaces:
            told = {
                info.name: (info.mode, info.values, info.fetchers, info.finders, info.claimed)
                for info in space.variables()
            }
            assert told == {
                name: (
                    variable.mode,
                    len(variable.values),
                    sum(waiting.kind != "find" for waiting in variable.line),
                    sum(waiting.kind == "find" for waiting in variable.line),
                    sum(held.incarnation == variable.incarnation for held in self.held),
                )
                for name, variable in self.model.items()
            }

    @invariant()
    def who_was_served_has_mail_and_nobody_else(self) -> None:
        for waiting in getattr(self, "waiting", ()):
            engine = self.tiers[waiting.side].engine
            assert engine.read(core.has_mail, waiting.waiter) == (waiting.mail is not None)

    def teardown(self) -> None:
        if not hasattr(self, "ending"):
            return
        with self.ending:
            for held in self.held:
                held.claim.release()
                self.give_back(held.name, held.incarnation, held.index, held.value)
            self.held = []
            for waiting in list(self.waiting):
                self.leave_the_line_at_the_end(waiting)
            for name, variable in self.model.items():
                left = [self.spaces[0].fetch(name, timeout=0) for _ in variable.values]
                assert sorted(left) == sorted(variable.values.values())
            self.nothing_is_wrong_in_the_tier()

    def leave_the_line_at_the_end(self, waiting: Waiting) -> None:
        self.waiting.remove(waiting)
        if waiting.mail is None:
            self.model[waiting.name].line.remove(waiting)
        self.spaces[waiting.side].cancel_wait(waiting.waiter)
        if waiting.mail not in (None, DELETED) and waiting.kind != "find":
            self.give_back(waiting.name, *waiting.mail)


@pytest.mark.parametrize("kind", KINDS)
def test_spaces_do_what_the_model_does(kind: str) -> None:
    machine = type("SpacesMachine", (SpacesMachine,), {"kind": kind})
    run_state_machine_as_test(machine)
