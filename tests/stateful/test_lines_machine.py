"""A buffer of lines against a list: two sessions, writers of each, deaths at any moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.errors import ClosedError
from entrepot.layers.lines import Lines, LineWriter, check
from support.tiers import memory_tier, rig_of

SIDES = st.integers(0, 1)
WRITERS = st.integers(0, 2)
TEXTS = st.text("ab\n", max_size=8)


class LinesMachine(RuleBasedStateMachine):
    """The model: all entries there ever were, the first that is seen, a partial line each."""

    @initialize(max_lines=st.integers(1, 8))
    def begin(self, max_lines: int) -> None:
        self.store = MemoryStore()
        self.tiers = [memory_tier(self.store) for _ in range(2)]
        self.max_lines = max_lines
        self.lines = [Lines(tier, "l", max_lines=max_lines) for tier in self.tiers]
        self.writers: dict[tuple[int, int], LineWriter] = {}
        self.partials: dict[tuple[int, int], str] = {}
        self.entries: list[str] = []
        self.first = 1
        self.is_closed = False

    def writer(self, side: int, number: int) -> LineWriter:
        key = side, number
        if key not in self.writers:
            self.writers[key] = self.lines[side].writer(str(key))
        return self.writers[key]

    def finish(self, *keys: tuple[int, int]) -> None:
        for key in keys:
            if self.partials.get(key):
                self.entries.append(self.partials[key])
            self.partials.pop(key, None)
        self.first = max(self.first, len(self.entries) + 1 - self.max_lines)

    @rule(side=SIDES, number=WRITERS, text=TEXTS)
    def write(self, side: int, number: int, text: str) -> None:
        writer = self.writer(side, number)
        if self.is_closed and text:
            with pytest.raises(ClosedError):
                writer.write(text)
            return
        writer.write(text)
        *lines, rest = (self.partials.pop((side, number), "") + text).split("\n")
        self.entries += lines
        if rest:
            self.partials[side, number] = rest
        self.finish()

    @rule(side=SIDES, number=WRITERS, lines=st.lists(st.text("xy", max_size=3), min_size=1))
    def add(self, side: int, number: int, lines: list[str]) -> None:
        if self.is_closed:
            return
        self.writer(side, number).add("line", lines)
        self.finish((side, number))
        self.entries += lines
        self.finish()

    @rule(side=SIDES, number=WRITERS)
    def a_writer_is_closed(self, side: int, number: int) -> None:
        writer = self.writers.pop((side, number), None)
        if writer is not None:
            writer.close()
            self.finish((side, number))

    @rule(side=SIDES)
    def all_lines_are_finished(self, side: int) -> None:
        found = self.lines[side].read(0, partial=True).partials
        assert sorted(entry.text for entry in found) == sorted(self.partials.values())
        before = len(self.entries)
        self.lines[side].new_line()
        keys = list(self.partials)
        self.entries += sorted(self.partials.values())
        self.partials.clear()
        self.finish()
        stretch = self.lines[side].read(since=before + 1)
        seen = [entry.text for entry in stretch.entries]
        wanted = self.entries[max(before, self.first - 1) :]
        if len(keys) <= self.max_lines:
            assert sorted(seen) == sorted(wanted)
        self.entries[len(self.entries) - len(seen) :] = seen  # writers come in any order

    @rule(side=SIDES)
    def clear(self, side: int) -> None:
        self.lines[side].clear()
        self.partials.clear()
        self.first = len(self.entries) + 1

    @rule(side=SIDES, closes=st.booleans())
    def close_or_open(self, side: int, closes: bool) -> None:
        if closes:
            self.all_lines_are_finished(side)
            self.lines[side].close()
        else:
            self.lines[side].reopen()
        self.is_closed = closes

    @rule(side=SIDES)
    def a_process_dies_and_another_one_begins(self, side: int) -> None:
        engine = self.tiers[side].engine
        assert isinstance(engine, MemoryEngine)
        engine.end_session()
        assert self.tiers[1 - side].engine.reap() == 1
        keys = [key for key in self.partials if key[0] == side]
        before = len(self.entries)
        self.finish(*keys)
        self.tiers[side] = memory_tier(self.store)
        self.lines[side] = Lines(self.tiers[side], "l")
        self.writers = {key: one for key, one in self.writers.items() if key[0] != side}
        seen = [e.text for e in self.lines[side].read(since=before + 1).entries]
        self.entries[len(self.entries) - len(seen) :] = seen  # theirs come in any order

    @rule(side=SIDES, since=st.integers(0, 20), limit=st.integers(0, 10))
    def read_from_a_number(self, side: int, since: int, limit: int) -> None:
        stretch = self.lines[side].read(since=since, limit=limit)
        begin = min(max(since, self.first), len(self.entries) + 1)
        wanted = self.entries[begin - 1 : begin - 1 + limit]
        assert [entry.text for entry in stretch.entries] == wanted
        assert [e.number for e in stretch.entries] == list(range(begin, begin + len(wanted)))
        assert stretch.next == begin + len(wanted)
        assert stretch.left == len(self.entries) + 1 - stretch.next
        assert stretch.missed == max(self.first - max(since, 1), 0)

    @invariant()
    def the_buffer_is_that_of_the_model(self) -> None:
        if not hasattr(self, "lines"):
            return
        for lines in self.lines:
            stretch = lines.read(partial=True)
            assert [entry.text for entry in stretch.entries] == self.entries[self.first - 1 :]
            assert sorted(e.text for e in stretch.partials) == sorted(self.partials.values())
            info = lines.info()
            assert (info.first, info.next) == (self.first, len(self.entries) + 1)
            assert (info.closed, info.partials) == (self.is_closed, len(self.partials))
        assert self.tiers[0].engine.read(check) == []


def test_lines_do_what_the_model_does() -> None:
    run_machine(LinesMachine)


@pytest.mark.parametrize("kind", ["volatile", "durable"])
def test_a_long_mixture_of_writes_is_whole_on_every_tier(kind: str) -> None:
    with rig_of(kind) as rig:
        lines = Lines(rig.tier, "l", max_lines=50)
        writers: list[Any] = [lines.writer(str(number)) for number in range(3)]
        for number in range(300):
            writers[number % 3].write(f"{number} ")
            writers[(number + 1) % 3].write("\n" if number % 2 else "")
        for writer in writers:
            writer.close()
        words = [word for entry in lines.read().entries for word in entry.text.split()]
        assert len(words) == len(set(words))
        assert rig.problems() == []
