"""Engines against a plain dict: the same random steps on both, compared after each.

The model computes ranges on its own, by a sort of all keys, so that it cannot share a bug
with what it judges. To add an engine, add a factory to ENGINES.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

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

from entrepot.engine.keys import Prefix
from entrepot.engine.memory import MemoryEngine
from entrepot.engine.protocol import Engine, Item, Transaction
from entrepot.testing import strategies
from support.engines import fresh_lmdb
from support.homes import memory_directory

ENGINES: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "memory": lambda: contextlib.closing(MemoryEngine()),
    "lmdb-volatile": lambda: fresh_lmdb(volatile=True),
    # In memory too: what is judged is its logic, and a disk would take minutes.
    "lmdb-durable": lambda: fresh_lmdb(volatile=False, directory=memory_directory()),
}
"""Each call returns a context manager with a fresh, empty engine."""

MACHINE = Prefix("machine").begin, Prefix("machine").end
KEYS = strategies.packed_keys("machine")
BELLS = st.sampled_from([b"bell 1", b"bell 2"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, strategies.values()),
        st.tuples(st.just("insert"), KEYS, strategies.values()),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("pop"), KEYS),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("ring"), BELLS),
        st.tuples(
            st.just("range"),
            KEYS,
            KEYS,
            st.none() | st.integers(0, 4),
            st.booleans(),
        ),
    ),
    max_size=8,
)


class OnPurposeError(Exception):
    """Ends a transaction that must leave no trace."""


class Model:
    """A dict that does what a transaction does."""

    def __init__(self, items: dict[bytes, bytes]) -> None:
        self.items = dict(items)

    def get(self, key: bytes) -> bytes | None:
        return self.items.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.items[key] = value

    def insert(self, key: bytes, value: bytes) -> bool:
        absent = key not in self.items
        self.items.setdefault(key, value)
        return absent

    def delete(self, key: bytes) -> bool:
        return self.items.pop(key, None) is not None

    def pop(self, key: bytes) -> bytes | None:
        return self.items.pop(key, None)

    def ring(self, bell: bytes) -> None:
        pass

    def range(self, begin: bytes, end: bytes, limit: int | None, reverse: bool) -> list[Item]:
        found = [item for item in sorted(self.items.items()) if begin <= item[0] < end]
        return (found[::-1] if reverse else found)[:limit]


def run(tx: Transaction | Model, steps: list[tuple[object, ...]], fail: bool) -> list[object]:
    """Do the steps and return what each returned."""
    results: list[object] = []
    for name, *arguments in steps:
        if name == "range" and not isinstance(tx, Model):
            begin, end, limit, reverse = arguments
            results.append(tx.range(begin, end, limit=limit, reverse=reverse))  # type: ignore[arg-type] drawn so
        else:
            results.append(getattr(tx, str(name))(*arguments))
    if fail:
        raise OnPurposeError
    return results


class EngineMachine(RuleBasedStateMachine):
    """One engine, one dict, and the snapshots that readers would keep."""

    make_engine: Callable[[], AbstractContextManager[Engine]]
    seen = Bundle("seen")

    @initialize()
    def open(self) -> None:
        self.stack = contextlib.ExitStack()
        self.engine = self.stack.enter_context(type(self).make_engine())
        self.items: dict[bytes, bytes] = {}
        self.version = self.engine.read(lambda tx: tx.version)
        self.heard: dict[bytes, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    @rule(steps=STEPS)
    def write(self, steps: list[tuple[object, ...]]) -> None:
        model = Model(self.items)
        expected = run(model, steps, False)
        assert self.engine.write(run, steps, False) == expected
        self.items = model.items
        for name, *arguments in steps:
            if name == "ring":
                bell = arguments[0]
                assert isinstance(bell, bytes)
                self.heard[bell] = self.heard.get(bell, 0) + 1

    @rule(steps=STEPS)
    def fail_to_write(self, steps: list[tuple[object, ...]]) -> None:
        with pytest.raises(OnPurposeError):
            self.engine.write(run, steps, True)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert self.engine.read(run, [("get", key)], False) == [self.items.get(key)]

    @rule(bounds=st.tuples(KEYS, KEYS), limit=st.none() | st.integers(0, 4), reverse=st.booleans())
    def range(self, bounds: tuple[bytes, bytes], limit: int | None, reverse: bool) -> None:
        steps: list[tuple[object, ...]] = [("range", *bounds, limit, reverse)]
        assert self.engine.read(run, steps, False) == run(Model(self.items), steps, False)

    @rule(target=seen, bell=BELLS)
    def listen(self, bell: bytes) -> object:
        return multiple((bell, self.engine.listen([bell]), self.heard.get(bell, 0)))

    @rule(listened=consumes(seen))
    def wait(self, listened: tuple[bytes, tuple[int, ...], int]) -> None:
        bell, state, heard = listened
        woken = self.engine.wait([bell], state, 0.001)
        assert woken or self.heard.get(bell, 0) == heard, "a wake-up was missed"

    @invariant()
    def everything_is_there_in_order(self) -> None:
        if hasattr(self, "engine"):
            # Outside of this prefix an engine may keep keys of its own.
            everything: list[tuple[object, ...]] = [("range", *MACHINE, None, False)]
            assert self.engine.read(run, everything, False) == [sorted(self.items.items())]

    @invariant()
    def versions_never_go_back(self) -> None:
        if hasattr(self, "engine"):
            version = self.engine.read(lambda tx: tx.version)
            assert version >= self.version
            self.version = version


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_does_what_a_dict_does(name: str) -> None:
    machine = type("Machine", (EngineMachine,), {"make_engine": staticmethod(ENGINES[name])})
    run_state_machine_as_test(machine)
