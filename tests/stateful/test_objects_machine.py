"""Objects and names against plain dicts: the same random steps on both.

Two processes put, name, tie together and delete; views that were handed out stay as they were.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.errors import ConflictError, NotFoundError, TypeMismatchError
from entrepot.layers.objects import ObjectId, Objects
from support.tiers import KINDS, memory_tier, problems_of, rig_of

SIDES = st.integers(0, 1)
NAMES = st.sampled_from(["n", "m", "é/\x00", "n" * 600])
LENGTHS = st.sampled_from([0, 10, 2047, 2048, 2049, 5000, 20_000])
"""Of arrays of 8-byte numbers: inside the catalog, in a chunk, in an extent of their own."""


@dataclass
class Thing:
    """An object: a value, or a tree."""

    value: Any = None
    fields: dict[str, Any] = field(default_factory=dict)
    members: dict[str, int] | None = None


class ObjectsMachine(RuleBasedStateMachine):
    kind: str

    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        self.things: dict[int, Thing] = {}
        self.given: dict[str, int] = {}
        self.views: list[tuple[Any, Any]] = []
        self.made = 0
        self.ending = contextlib.ExitStack()
        if self.kind == "memory":
            self.store = MemoryStore()
            self.tiers = [memory_tier(self.store) for _ in range(2)]
            self.sides = [Objects(tier) for tier in self.tiers]
        else:
            rig = self.ending.enter_context(rig_of(self.kind))
            self.tiers = [rig.tier]
            self.sides = [rig.objects, rig.objects]

    def new_value(self, length: int, is_nested: bool) -> Any:
        self.made += 1
        array = np.full(length, self.made)
        return {"made": self.made, "array": [array]} if is_nested else array

    def value_of(self, number: int) -> Any:
        thing = self.things[number]
        if thing.members is None:
            return thing.value
        return thing.fields | {name: self.value_of(at) for name, at in thing.members.items()}

    def parents(self, number: int) -> set[int]:
        return {at for at, thing in self.things.items() if number in (thing.members or {}).values()}

    # Putting.

    @rule(target=ids, side=SIDES, length=LENGTHS, is_nested=st.booleans(), name=st.none() | NAMES)
    def put(self, side: int, length: int, is_nested: bool, name: str | None) -> ObjectId:
        value = self.new_value(length, is_nested)
        key = self.sides[side].put(value, name=name)
        assert key not in self.things, "an id is given once"
        self.things[key] = Thing(value)
        if name is not None:
            self.given[name] = key
        return key

    @rule(target=ids, side=SIDES, lengths=st.lists(LENGTHS, max_size=4))
    def put_many(self, side: int, lengths: list[int]) -> Any:
        many = [self.new_value(length, is_nested=False) for length in lengths]
        keys = self.sides[side].put_many(many)
        self.things |= {key: Thing(value) for key, value in zip(keys, many, strict=True)}
        return multiple(*keys)

    @rule(side=SIDES, length=LENGTHS)
    def put_many_of_which_one_cannot_be_stored(self, side: int, length: int) -> None:
        with pytest.raises(TypeMismatchError):
            self.sides[side].put_many([np.ones(length), threading.Lock()])

    @rule(
        target=ids,
        side=SIDES,
        members=st.dictionaries(st.sampled_from("abc"), ids, max_size=3),
        name=st.none() | NAMES,
    )
    def create(self, side: int, members: dict[str, ObjectId], name: str | None) -> Any:
        self.made += 1
        fields = {"made": self.made}
        if not all(member in self.things for member in members.values()):
            with pytest.raises(NotFoundError):
                self.sides[side].create(fields, members, name=name)
            return multiple()
        key = self.sides[side].create(fields, members, name=name)
        self.things[key] = Thing(fields=fields, members=dict(members))
        if name is not None:
            self.given[name] = key
        return key

    # Getting.

    @rule(side=SIDES, key=ids, keep=st.booleans())
    def get(self, side: int, key: ObjectId, keep: bool) -> None:
        objects = self.sides[side]
        assert objects.exists(key) == (key in self.things)
        if key not in self.things:
            for get in (objects.get, objects.meta, objects.size, objects.usage):
                with pytest.raises(NotFoundError):
                    get(key)
            return
        got = objects.get(key)
        assert_same(got, self.value_of(key))
        if keep:
            self.views.append((got, self.value_of(key)))

    @rule(side=SIDES, keys=st.lists(ids, max_size=4))
    def get_many(self, side: int, keys: list[ObjectId]) -> None:
        if all(key in self.things for key in keys):
            assert_same(self.sides[side].get_many(keys), [self.value_of(key) for key in keys])
        else:
            with pytest.raises(NotFoundError):
                self.sides[side].get_many(keys)

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def drop_a_view(self, data: st.DataObject) -> None:
        self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))

    # Deleting.

    @rule(side=SIDES, keys=st.lists(ids, max_size=3), deep=st.booleans(), force=st.booleans())
    def delete(self, side: int, keys: list[ObjectId], deep: bool, force: bool) -> None:
        roots = {key for key in keys if key in self.things}
        doomed = set(roots)
        while more := {up for key in doomed for up in self.parents(key)} - doomed:
            if not force:
                with pytest.raises(ConflictError):
                    self.sides[side].delete(keys, deep=deep, force=force)
                return
            doomed |= more
        loose = [m for key in roots for m in (self.things[key].members or {}).values()]
        before = len(self.things)
        for key in doomed:
            del self.things[key]
        while deep and loose:
            member = loose.pop()
            is_kept = member in {at for at in self.given.values() if at not in doomed}
            if member in self.things and not self.parents(member) and not is_kept:
                loose += (self.things.pop(member).members or {}).values()
        self.given = {name: at for name, at in self.given.items() if at in self.things}
        deleted = self.sides[side].delete(keys, deep=deep, force=force)
        assert deleted == before - len(self.things)

    # Names.

    @rule(side=SIDES, name=NAMES, key=ids)
    def put_name(self, side: int, name: str, key: ObjectId) -> None:
        if key in self.things:
            self.sides[side].put_name(name, key)
            self.given[name] = key
        else:
            with pytest.raises(NotFoundError):
                self.sides[side].put_name(name, key)

    @rule(side=SIDES, name=NAMES)
    def drop_name(self, side: int, name: str) -> None:
        assert self.sides[side].drop_name(name) == (name in self.given)
        self.given.pop(name, None)

    @rule(side=SIDES, name=NAMES)
    def get_by_name(self, side: int, name: str) -> None:
        if name in self.given:
            assert self.sides[side].get_name(name) == self.given[name]
            assert_same(self.sides[side].get(name=name), self.value_of(self.given[name]))
        else:
            with pytest.raises(NotFoundError):
                self.sides[side].get_name(name)

    @rule(side=SIDES)
    def a_process_is_followed_by_another(self, side: int) -> None:
        if self.kind == "memory":
            dying = self.tiers[side].engine
            assert isinstance(dying, MemoryEngine)
            dying.end_session()
            assert self.tiers[1 - side].engine.reap() == 1
            self.tiers[side] = memory_tier(self.store)
            self.sides[side] = Objects(self.tiers[side])

    # What must be so after each step.

    @invariant()
    def nothing_is_wrong_in_the_tier(self) -> None:
        if hasattr(self, "tiers"):
            assert problems_of(self.tiers[0]) == []

    @invariant()
    def lists_and_counts_are_those_of_the_model(self) -> None:
        for objects in getattr(self, "sides", ())[:1]:
            assert [info.id for info in objects.list()] == sorted(self.things)
            assert objects.count() == len(self.things)
            assert objects.names() == dict(sorted(self.given.items()))
            for key in self.things:
                usage = objects.usage(key)
                assert set(usage.parents) == self.parents(key)
                assert usage.names == sorted(n for n, at in self.given.items() if at == key)

    @invariant()
    def views_stay_as_they_were(self) -> None:
        for got, expected in getattr(self, "views", ()):
            assert_same(got, expected)

    def teardown(self) -> None:
        if hasattr(self, "ending"):
            with self.ending:
                self.views.clear()
                for key in self.things:
                    assert_same(self.sides[0].get(key), self.value_of(key))


def assert_same(got: Any, expected: Any) -> None:
    """Fail unless two values, arrays or dicts and lists of them, are equal."""
    if isinstance(expected, np.ndarray):
        assert got.shape == expected.shape
        assert (got == expected).all()
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        for name in expected:
            assert_same(got[name], expected[name])
    elif isinstance(expected, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    else:
        assert got == expected


@pytest.mark.parametrize("kind", KINDS)
def test_objects_do_what_the_model_does(kind: str) -> None:
    machine = type("ObjectsMachine", (ObjectsMachine,), {"kind": kind})
    run_state_machine_as_test(machine)
