"""Workspaces: opening, owning, listing and deleting them; instances; both tiers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from entrepot import settings
from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.errors import (
    ConflictError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
    WaitTimeoutError,
)
from entrepot.layers.spaces import Spaces, core, spaces
from support.conditions import PATIENCE_S, wait_until
from support.tiers import InLine, Rig, memory_tier, problems_of

BIG = np.arange(50_000)


def test_opening_a_workspace_twice_gives_the_same_one(rig: Rig) -> None:
    one, other = rig.space("s"), rig.space("s")
    one.store("v", BIG)
    assert (other.fetch("v") == BIG).all()
    assert (one.name, one.persistent) == ("s", rig.kind == "durable")
    assert repr(one) == f"<Space 's'{' persistent' if one.persistent else ''}>"


def test_workspaces_do_not_see_each_others_variables(rig: Rig) -> None:
    one, other = rig.space("one"), rig.space("other")
    one.store("v", 1)
    assert other.try_find("v") is None
    assert other.variables() == []


def test_a_workspace_that_is_not_there_is_made_only_when_asked(rig: Rig) -> None:
    for persistent in (False, True):
        with pytest.raises(NotFoundError, match="'nope'") as caught:
            rig.spaces.open("nope", owned=False, persistent=persistent, create=False)
        assert "create=True" in caught.value.hint
    assert rig.spaces.list() == []
    rig.space("yes")
    found = rig.spaces.open("yes", owned=False, persistent=False, create=False)
    assert found.persistent == (rig.kind == "durable")


@pytest.mark.parametrize("name", ["", "\x00", "a/b", "é", "\ud800", "s" * 3000])
def test_a_workspaces_name_may_be_any_short_text(rig: Rig, name: str) -> None:
    rig.space(name).store("v", name)
    assert [info.name for info in rig.spaces.list()] == [name]
    assert rig.space(name).fetch("v") == name
    rig.spaces.delete(name)
    assert rig.spaces.list() == []


@pytest.mark.parametrize("bad", [None, 5, b"s", ["s"]], ids=repr)
def test_a_workspaces_name_is_text(rig: Rig, bad: Any) -> None:
    for use in (rig.space, rig.spaces.delete):
        with pytest.raises(TypeMismatchError, match="workspace name"):
            use(bad)
        with pytest.raises(LimitError, match=str(settings.NAME_BYTES_MAX + 1)):
            use("s" * (settings.NAME_BYTES_MAX + 1))


def test_list_tells_owners_variables_and_values(rig: Rig) -> None:
    session = rig.tier.engine.session.id
    rig.space("b").store("v", BIG)
    rig.space("b").store("w", 1)
    rig.space("b").store("w", 2)
    rig.space("a", owned=rig.kind != "durable")
    a, b = rig.spaces.list()
    assert (a.name, a.variables, a.values) == ("a", 0, 0)
    assert (b.name, b.variables, b.values, b.owner, b.owner_pid) == ("b", 2, 3, 0, 0)
    assert a.persistent == b.persistent == (rig.kind == "durable")
    # A persistent workspace is owned by nobody.
    owner = (0, 0) if rig.kind == "durable" else (session, os.getpid())
    assert (a.owner, a.owner_pid) == owner
    assert 0 < b.created <= a.created


def test_variables_are_listed_by_name_with_their_counts(rig: Rig) -> None:
    space = rig.space()
    for name in ("é", "b", "a", "B"):
        space.store(name, 1)
    space.declare("a", "fifo")
    claim = space.claim("b")
    waiting = [InLine(space, "b"), InLine(space, "w"), InLine(space, "w", core.FIND_ONE)]
    listed = [
        (v.name, v.mode, v.values, v.fetchers, v.finders, v.claimed) for v in space.variables()
    ]
    assert listed == [
        ("B", "fifo", 1, 0, 0, 0),
        ("a", "fifo", 1, 0, 0, 0),
        ("b", "fifo", 0, 1, 0, 1),
        ("w", "unknown", 0, 1, 1, 0),
        ("é", "fifo", 1, 0, 0, 0),
    ]
    for one in waiting:
        one.cancel()
    claim.done()


# Deleting.


def test_workspaces_are_counted_without_a_look_at_their_variables(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from entrepot.layers.spaces import workspaces

    def has_any() -> bool:
        return rig.tier.engine.read(workspaces.has_any)

    assert not has_any()
    rig.spaces.volatile.engine.write(workspaces.mark_persistent, "half")
    assert not has_any(), "the mark of a persistent workspace is none"
    assert rig.spaces.count() == 0
    for name in ("a", "b"):
        rig.space(name).store("v", 1)
    with monkeypatch.context() as patch:
        patch.setattr(workspaces, "list_variables", None)
        assert rig.spaces.count() == 2
        assert has_any()
        if rig.depot is not None:
            assert rig.depot.statistics().spaces == 2
    for name in ("a", "b", "half"):
        rig.spaces.delete(name)
    assert rig.spaces.count() == 0
    assert not has_any()


def test_deleting_a_workspace_frees_all_that_was_in_it(rig: Rig) -> None:
    space = rig.space()
    for name in ("v", "w"):
        for _ in range(3):
            space.store(name, BIG)
    claim = space.claim("v")
    rig.spaces.delete("s")
    assert rig.problems() == []
    assert rig.spaces.list() == []
    claim.release()
    with pytest.raises(NotFoundError, match="'s'"):
        rig.spaces.delete("s")


def test_everyone_who_waits_in_a_deleted_workspace_is_told(rig: Rig) -> None:
    space = rig.space()
    waiting = [InLine(space, "v", want) for want in (core.FIND_ONE, core.FETCH_ONE, core.CLAIM_ONE)]
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(space.fetch, "w")
        wait_until(lambda: len(space.variables()) == 2, "it waits")
        rig.spaces.delete("s")
        with pytest.raises(NotFoundError, match="s/w was deleted"):
            thread.result(PATIENCE_S)
    for one in waiting:
        with pytest.raises(NotFoundError, match="s/v was deleted"):
            one.taken()


def test_an_old_handle_is_refused_until_it_is_opened_again(rig: Rig) -> None:
    old = rig.space()
    old.store("v", 1)
    rig.spaces.delete("s")
    for is_there_again in (False, True):
        new = rig.space() if is_there_again else None
        for use in (
            lambda: old.store("v", 2),
            lambda: old.store("v", BIG),
            lambda: old.try_find("v"),
            lambda: old.try_fetch("v"),
            lambda: old.try_claim("v"),
            lambda: old.find("v", timeout=0),
            lambda: old.fetch("v", timeout=0),
            lambda: old.claim("v", timeout=0),
            lambda: old.declare("v", "fifo"),
            old.variables,
        ):
            with pytest.raises(NotFoundError, match="workspace"):
                use()
        assert not old.delete("v")
        assert list(old.ifind_try("v")) == []
    assert new.variables() == []
    new.store("v", 3)
    assert new.fetch("v") == 3
    assert rig.problems() == []


def test_a_waiting_client_of_an_old_instance_gets_nothing_of_the_new_one(rig: Rig) -> None:
    waiting = InLine(rig.space(), "v")
    rig.spaces.delete("s")
    new = rig.space()
    new.store("v", 1)
    with pytest.raises(NotFoundError):
        waiting.taken()
    assert new.fetch("v") == 1


# Both tiers.


def test_a_name_belongs_to_one_tier(rig: Rig) -> None:
    rig.spaces.open("memory", owned=False, persistent=False, create=True).store("v", 1)
    rig.spaces.open("disk", owned=False, persistent=True, create=True).store("v", 2)
    with pytest.raises(ConflictError, match="'memory' exists and is not persistent"):
        rig.spaces.open("memory", owned=False, persistent=True, create=True)
    with pytest.raises(ConflictError, match="cannot be persistent and end with a process"):
        rig.spaces.open("disk", owned=True, persistent=True, create=True)
    found = rig.spaces.open("disk", owned=True, persistent=False, create=False)
    assert found.persistent
    assert found.fetch("v") == 2
    assert [(info.name, info.persistent) for info in rig.spaces.list()] == [
        ("disk", True),
        ("memory", False),
    ]
    for name in ("disk", "memory"):
        rig.spaces.delete(name)
    again = rig.spaces.open("disk", owned=False, persistent=False, create=True)
    assert not again.persistent
    assert again.try_find("v") is None


def test_a_persistent_workspace_whose_maker_died_half_way_is_deleted(rig: Rig) -> None:
    from entrepot.layers.spaces import workspaces

    rig.spaces.volatile.engine.write(workspaces.mark_persistent, "half")
    rig.spaces.delete("half")
    assert rig.spaces.list() == []
    with pytest.raises(NotFoundError):
        rig.spaces.delete("half")
    assert not rig.spaces.open("half", owned=False, persistent=False, create=True).persistent


def test_a_persistent_workspace_whose_maker_died_half_way_is_finished(rig: Rig) -> None:
    from entrepot.layers.spaces import workspaces

    rig.spaces.volatile.engine.write(workspaces.mark_persistent, "half")
    with pytest.raises(NotFoundError):
        rig.spaces.open("half", owned=False, persistent=True, create=False)
    assert rig.spaces.list() == []
    space = rig.spaces.open("half", owned=False, persistent=True, create=True)
    space.store("v", 1)
    assert rig.spaces.open("half", owned=False, persistent=False, create=False).fetch("v") == 1


# Owners: several processes on one store.


class Process:
    """A session of its own in the volatile tier that all share."""

    def __init__(self, store: MemoryStore) -> None:
        self.tier = memory_tier(store)
        self.spaces = Spaces(self.tier, lambda: self.tier, lambda: False)
        assert isinstance(self.tier.engine, MemoryEngine)
        self.engine = self.tier.engine

    def open(self, name: str, *, owned: bool = False) -> Any:
        return self.spaces.open(name, owned=owned, persistent=False, create=True)

    def reap(self) -> None:
        self.engine.reap()
        spaces.sweep(self.tier)


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    store = MemoryStore()
    made = [Process(store) for _ in range(3)]
    yield made
    alive = [process for process in made if not process.engine.closed]
    assert problems_of(alive[0].tier) == []
    for process in alive:
        process.engine.close()


@pytest.mark.parametrize("is_killed", [True, False])
def test_an_owned_workspace_ends_with_its_owner(processes: list[Process], is_killed: bool) -> None:
    owner, other, _ = processes
    owner.open("mine", owned=True).store("v", BIG)
    theirs = other.open("mine")
    owner.open("ours").store("v", 1)
    waiting = InLine(theirs, "w")
    owner.engine.end_session() if is_killed else owner.engine.close()
    other.reap()
    with pytest.raises(NotFoundError):
        waiting.taken()
    with pytest.raises(NotFoundError, match="its owner ended"):
        theirs.try_find("v")
    assert [info.name for info in other.spaces.list()] == ["ours"]
    assert other.open("mine").try_find("v") is None


def test_the_first_who_asks_owns_and_others_change_nothing(processes: list[Process]) -> None:
    maker, owner, other = processes
    maker.open("s")
    owner.open("s", owned=True)
    other.open("s", owned=True)
    assert [info.owner for info in maker.spaces.list()] == [owner.engine.session.id]
    other.engine.close()
    assert len(maker.spaces.list()) == 1
    owner.engine.close()
    assert maker.spaces.list() == []


def test_a_new_instance_is_not_ended_by_the_owner_of_the_old_one(processes: list[Process]) -> None:
    owner, other, _ = processes
    owner.open("s", owned=True)
    other.spaces.delete("s")
    other.open("s").store("v", 1)
    owner.engine.end_session()
    other.reap()
    assert other.open("s").fetch("v", timeout=0) == 1


def test_a_new_instance_has_its_own_owner(processes: list[Process]) -> None:
    owner, other, third = processes
    owner.open("s", owned=True)
    other.spaces.delete("s")
    other.open("s", owned=True)
    owner.engine.end_session()
    third.reap()
    assert [info.owner for info in third.spaces.list()] == [other.engine.session.id]


def test_a_workspace_being_swept_by_two_is_swept_once(processes: list[Process]) -> None:
    one, other, third = processes
    space = one.open("s")
    for number in range(20):
        space.store(f"v{number}", BIG)
    with ThreadPoolExecutor(2) as pool:
        deleting = [pool.submit(process.spaces.delete, "s") for process in (one, other)]
        errors = [done.exception(PATIENCE_S) for done in deleting]
    assert sorted(type(error).__name__ for error in errors) == ["NoneType", "NotFoundError"]
    spaces.sweep(third.tier)
    with pytest.raises(WaitTimeoutError):
        third.open("s").fetch("v1", timeout=0)
