"""Extents against a map of bytes: each byte is free, held, in limbo, or beyond the top."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from entrepot.arena import extents
from entrepot.engine.memory import MemoryEngine
from entrepot.engine.protocol import Engine, Transaction
from support.engines import fresh_lmdb

ENGINES: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "memory": lambda: contextlib.closing(MemoryEngine()),
    "lmdb-volatile": lambda: fresh_lmdb(volatile=True),
}

SIZES = st.integers(1, 12) | st.integers(1, 100)


class ExtentsMachine(RuleBasedStateMachine):
    """The model is a list with one letter per byte: f(ree), h(eld), l(imbo)."""

    make_engine: Callable[[], AbstractContextManager[Engine]]

    @initialize(reserved=st.integers(0, 300))
    def begin(self, reserved: int) -> None:
        self.stack = contextlib.ExitStack()
        self.engine = self.stack.enter_context(type(self).make_engine())
        self.reserved = reserved
        self.bytes: list[str] = []
        self.held: list[tuple[int, int]] = []
        self.limbo: list[tuple[int, int, int]] = []
        self.engine.write(extents.put_state, extents.State(0, reserved))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    def mark(self, offset: int, size: int, letter: str) -> None:
        self.bytes[offset : offset + size] = letter * size

    def free_runs(self) -> list[tuple[int, int]]:
        """Return (offset, size) of the longest runs of free bytes, found byte by byte."""
        runs: list[tuple[int, int]] = []
        for at, letter in enumerate(self.bytes):
            if letter != "f":
                continue
            if runs and sum(runs[-1]) == at:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((at, 1))
        return runs

    @rule(size=SIZES, fresh=st.booleans())
    def allocate(self, size: int, fresh: bool) -> None:
        runs = self.free_runs()
        fitting = [(length, offset) for offset, length in runs if length >= size]
        tail = runs[-1] if runs and sum(runs[-1]) == len(self.bytes) else (len(self.bytes), 0)
        found = self.engine.write(lambda tx: extents.allocate(tx, size, fresh=fresh))
        if fitting:
            assert found == min(fitting)[1], "best fit, lowest offset first"
        elif fresh and tail[0] + size <= self.reserved:
            assert found == tail[0], "behind the last extent, and what is free at the end serves"
        else:
            assert found is None
            return
        self.bytes += "f" * (found + size - len(self.bytes))
        assert set(self.bytes[found : found + size]) == {"f"}
        self.mark(found, size, "h")
        self.held.append((found, size))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        offset, size = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.engine.write(extents.free, offset, size)
        self.mark(offset, size, "f")

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free_a_part(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.held) - 1))
        offset, size = self.held.pop(at)
        kept = data.draw(st.integers(0, size))
        self.engine.write(extents.free, offset + kept, size - kept)
        self.mark(offset + kept, size - kept, "f")
        if kept:
            self.held.append((offset, kept))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        offset, size = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))

        def add(tx: Transaction) -> int:
            extents.add_limbo(tx, offset, size)
            return tx.version

        version = self.engine.write(add)
        self.mark(offset, size, "l")
        self.limbo.append((version, offset, size))

    @precondition(lambda self: self.limbo)
    @rule(data=st.data())
    def reclaim(self, data: st.DataObject) -> None:
        version, offset, size = self.limbo.pop(data.draw(st.integers(0, len(self.limbo) - 1)))
        assert self.engine.write(extents.pop_limbo, version, offset) == size
        assert self.engine.write(extents.pop_limbo, version, offset) == 0, "only once"
        self.mark(offset, size, "f")

    @rule(more=st.integers(0, 100))
    def reserve(self, more: int) -> None:
        def raise_it(tx: Transaction) -> None:
            state = extents.get_state(tx)
            state.reserved += more
            extents.put_state(tx, state)

        self.engine.write(raise_it)
        self.reserved += more

    @rule()
    def trim(self) -> None:
        before = self.engine.write(extents.trim)
        old = len(self.bytes), self.reserved
        while self.bytes and self.bytes[-1] == "f":
            self.bytes.pop()
        self.reserved = len(self.bytes)
        if before is None:
            assert old == (self.reserved, self.reserved)
        else:
            assert (before.top, before.reserved) == old

    @invariant()
    def free_extents_are_the_runs_of_free_bytes(self) -> None:
        if hasattr(self, "engine"):
            assert self.engine.read(extents.free_extents) == self.free_runs()
            largest = max((size for _, size in self.free_runs()), default=0)
            assert self.engine.read(extents.largest_free) == largest

    @invariant()
    def limbo_is_in_the_order_of_deletion(self) -> None:
        if hasattr(self, "engine"):
            assert self.engine.read(extents.limbo) == sorted(self.limbo)
            assert self.engine.read(extents.limbo_is_empty) == (not self.limbo)

    @invariant()
    def every_byte_below_the_top_is_known(self) -> None:
        if hasattr(self, "engine"):
            state = self.engine.read(extents.get_state)
            assert (state.top, state.reserved) == (len(self.bytes), self.reserved)


@pytest.mark.parametrize("name", ENGINES)
def test_extents_never_overlap_nor_lose_a_byte(name: str) -> None:
    machine = type("Machine", (ExtentsMachine,), {"make_engine": staticmethod(ENGINES[name])})
    run_state_machine_as_test(machine)
