"""Random use of one space by two sessions, against lists; one of them may die at any time."""

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

from entrepot.arena import PagedBulk
from entrepot.engine.ids import Ids
from entrepot.engine.memory import MemoryEngine
from entrepot.errors import ConflictError
from entrepot.layers.spaces import Space, core, spaces, workspaces
from entrepot.layers.tier import Tier
from entrepot.waiting import Deadline

VARIABLES = ("a", "b")
MODES = ("fifo", "lifo", "single")


class SpacesMachine(RuleBasedStateMachine):
    """The model: per variable a mode, {index: value}, and who waits."""

    claims = Bundle("claims")
    waiters = Bundle("waiters")

    @initialize()
    def begin(self):
        self.first = MemoryEngine()
        self.ours = self._space(self.first)
        self._other()
        self.mode = dict.fromkeys(VARIABLES)
        self.values = {name: {} for name in VARIABLES}
        self.stored = dict.fromkeys(VARIABLES, 0)
        self.line = {name: [] for name in VARIABLES}
        self.given = {}
        self.claimed = {}
        self.count = 0

    def _space(self, engine):
        ids = Ids(engine)
        tier = Tier(engine, PagedBulk(engine, ids), ids)
        spaces.register(tier)
        workspace = engine.write(
            lambda tx: workspaces.open_workspace(tx, "s", session=0, create=True)
        )
        return Space("s", tier, workspace.instance, persistent=False)

    def _other(self):
        self.second = MemoryEngine(self.first.store)
        self.theirs = self._space(self.second)

    def _side(self, mine):
        return self.ours if mine else self.theirs

    # What the model does.

    def _next(self, name):
        values = self.values[name]
        if not values:
            return None
        return max(values) if self.mode[name] == "lifo" else min(values)

    def _arrive(self, name, index, value):
        """A value comes, new or given back: to the oldest who waits, or to its place."""
        if self.line[name]:
            self.given[self.line[name].pop(0)] = (index, value)
        elif self.mode[name] == "single":
            if not self.values[name] or index >= max(self.values[name]):
                self.values[name] = {index: value}
        else:
            self.values[name][index] = value

    # Rules.

    @rule(name=st.sampled_from(VARIABLES), mode=st.sampled_from(MODES), mine=st.booleans())
    def declare(self, name, mode, mine):
        if self.mode[name] in (None, mode):
            self._side(mine).declare(name, mode)
            self.mode[name] = mode
        else:
            with pytest.raises(ConflictError):
                self._side(mine).declare(name, mode)

    @rule(name=st.sampled_from(VARIABLES), mine=st.booleans(), large=st.booleans())
    def store(self, name, mine, large):
        self.count += 1
        value = (self.count, b"x" * (20_000 if large else 1))
        self._side(mine).store(name, value)
        self.mode[name] = self.mode[name] or "fifo"
        self._arrive(name, self.stored[name], value)
        self.stored[name] += 1

    @rule(name=st.sampled_from(VARIABLES), mine=st.booleans())
    def find(self, name, mine):
        index = self._next(name)
        expected = None if index is None else self.values[name][index]
        assert self._side(mine).try_find(name) == expected

    @rule(name=st.sampled_from(VARIABLES), mine=st.booleans())
    def fetch(self, name, mine):
        index = self._next(name)
        expected = None if index is None else self.values[name].pop(index)
        assert self._side(mine).try_fetch(name) == expected

    @rule(target=claims, name=st.sampled_from(VARIABLES), mine=st.booleans())
    def claim(self, name, mine):
        claim = self._side(mine).try_claim(name)
        index = self._next(name)
        if index is None:
            assert claim is None
            return multiple()
        value = self.values[name].pop(index)
        assert (claim.index, claim.value) == (index, value)
        self.claimed[claim] = (name, index, value, mine)
        return claim

    @rule(claim=consumes(claims), done=st.booleans())
    def end_claim(self, claim, done):
        if claim not in self.claimed:
            return  # its process died
        name, index, value, _ = self.claimed.pop(claim)
        if done:
            claim.done()
        else:
            claim.release()
            self._arrive(name, index, value)

    @rule(target=waiters, name=st.sampled_from(VARIABLES), mine=st.booleans())
    def wait(self, name, mine):
        waiter = self._side(mine).join_line(name, core.FETCH_ONE)
        index = self._next(name)
        if index is not None:
            value = self.values[name].pop(index)
            assert (waiter.index, self.ours.loaded(waiter)) == (index, value)
            return multiple()
        self.line[name].append((name, waiter, mine))
        return (name, waiter, mine)

    @rule(waiting=consumes(waiters), take=st.booleans())
    def end_wait(self, waiting, take):
        name, waiter, mine = waiting
        space = self._side(mine)
        if waiting in self.given:
            index, value = self.given.pop(waiting)
            if take:
                taken = space.leave_line(name, core.FETCH_ONE, waiter, Deadline(0))
                assert (taken.index, space.loaded(taken)) == (index, value)
            else:
                space.cancel_wait(waiter)
                self._arrive(name, index, value)
        elif waiting in self.line[name]:
            self.line[name].remove(waiting)
            space.cancel_wait(waiter)

    @rule()
    def the_other_process_dies(self):
        self.second.end_session()
        self.first.reap()
        # All that stood in line for it is gone first or last, whatever the order: compare sets.
        for name in VARIABLES:
            self.line[name] = [waiting for waiting in self.line[name] if waiting[2]]
        back = [(n, i, v) for n, i, v, mine in self.claimed.values() if not mine]
        self.claimed = {c: held for c, held in self.claimed.items() if held[3]}
        for waiting in [w for w in self.given if not w[2]]:
            index, value = self.given.pop(waiting)
            back.append((waiting[0], index, value))
        for name, index, value in back:
            self._arrive_anywhere(name, index, value)
        self._other()

    def _arrive_anywhere(self, name, index, value):
        if self.line[name]:
            # Which of several values a waiter gets depends on the order of reaping: ask.
            waiting = self.line[name].pop(0)
            self.given[waiting] = (index, value)
            self.unsure = True
        else:
            self._arrive(name, index, value)

    @invariant()
    def counts_and_values_are_those_of_the_model(self):
        if not hasattr(self, "first"):
            return
        assert self.first.read(workspaces.check) == []
        infos = {info.name: info for info in self.ours.variables()}
        for name in VARIABLES:
            if name in infos:
                info = infos[name]
                assert info.values == len(self.values[name])
                assert info.fetchers == len(self.line[name])
                assert info.claimed == sum(held[0] == name for held in self.claimed.values())
            else:
                assert not self.values[name]


def test_two_sessions_share_a_space_as_the_model_says():
    run_state_machine_as_test(SpacesMachine)
