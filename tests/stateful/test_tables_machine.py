"""Tables against a plain dict of dicts: the same random steps on both.

Two sessions put, update, delete and scan. Conditions and updates are few and written out
twice: as text, and as Python.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from entrepot import settings
from entrepot.errors import (
    ConditionError,
    ConflictError,
    EntrepotError,
    ExistsError,
    ExpressionError,
    NotFoundError,
)
from entrepot.layers.containers import Container, delete_container
from entrepot.layers.tables import Range, Table
from support.data import DATA_KINDS, data_problems, end_session, thorough, two_tiers_of

SIDES = st.integers(0, 1)
KEYS = st.sampled_from(
    ["a", "b", "s.", "s.1", "s.10", "s.2", "s.2\x00", "t.1", "é", "\x00", "dir", "dir/x", "dir/y/z"]
)
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.5, 1.0, 1 << 63])
VALUES = st.sampled_from(
    [
        True,
        False,
        b"\x00\xff",
        "",
        [],
        [1, -2],
        [0.5],
        1 << 70,
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
    ]
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "n": NUMBERS,
        "s": st.sampled_from(["a", "ab", "b", ""]),
        "v": VALUES,
        "__hidden": NUMBERS,
        'odd"': NUMBERS,
    },
)
Item = dict[str, Any]


def number_of(item: Item) -> Any:
    """Return the number that an item has, or NaN, for which every comparison is false."""
    return item.get("n", float("nan"))


CONDITIONS: dict[str, Callable[[Item], bool]] = {
    "": lambda item: True,
    "n > 0": lambda item: number_of(item) > 0,
    "0.5 >= n": lambda item: number_of(item) <= 0.5,
    "not (n + 1 <= 1)": lambda item: not number_of(item) + 1 <= 1,
    "exists(s) and not exists(n)": lambda item: "s" in item and "n" not in item,
    "starts(s, 'a') or `odd\"` == 1": lambda item: (
        item.get("s", "").startswith("a") or item.get('odd"') == 1
    ),
    "s in ('a', 'b', 1)": lambda item: item.get("s") in ("a", "b"),
    "v == true": lambda item: item.get("v") is True,
    "v == :list": lambda item: item.get("v") == [1, -2],
    "n == :true": lambda item: False,
    "n == :one": lambda item: number_of(item) == 1,
    "__hidden < 1": lambda item: item.get("__hidden", 9) < 1,
}
BOUND = {"list": [1, -2], "true": True, "one": 1}


class WrongError(Exception):
    """An update that cannot be worked out."""


def add_one(item: Item) -> None:
    if "n" not in item:
        raise WrongError
    item["n"] += 1
    if item["n"] >= 1 << 64:
        raise WrongError


def count(item: Item) -> None:
    item["n"] = item.get("n", 0) + 1
    item["s"] = "a" + item.get("s", "")


def make_list(item: Item) -> None:
    item["v"] = [0, 5]
    item.pop("s", None)


UPDATES: dict[str, Callable[[Item], object]] = {
    "": lambda item: None,
    "n = n + 1": add_one,
    "SET n = if_not_exists(n, 0) + 1; s = 'a' + if_not_exists(s, '')": count,
    "v = init_array(2, 'int'); v[1] = 5; REMOVE s": make_list,
    "n = if_else(exists(s), 2, 0.5)": lambda item: item.update(n=2 if "s" in item else 0.5),
    '`odd"` = :one; delete(n)': lambda item: (item.update({'odd"': 1}), item.pop("n", None)),
    "n = :one; v = n / 0": lambda item: fail(),
}


def fail() -> None:
    raise WrongError


class Model:
    """What is there: items by path, and the directories above them."""

    def __init__(self) -> None:
        self.is_there = False
        self.items: dict[str, Item] = {}
        self.bodies: dict[str, bytes] = {}
        self.directories: set[str] = set()

    def above(self, key: str) -> list[str]:
        parts = key.split("/")
        return ["", *("/".join(parts[:count]) for count in range(1, len(parts)))]

    def refusal(self, key: str, mode: str, test: str, is_new_ok: bool = True) -> Any:
        """Return the error of a write, or None."""
        if key in self.directories:
            return ConflictError
        if mode == "create" and key in self.items:
            return ExistsError
        if not is_new_ok and key not in self.items:
            return NotFoundError
        if not CONDITIONS[test](self.items.get(key, {})):
            return ConditionError
        return None

    def store(self, key: str, item: Item) -> Any:
        if any(up in self.items for up in self.above(key)):
            return ConflictError
        self.is_there = True
        self.items[key] = item
        self.directories.update(self.above(key))
        return None

    def put(self, key: str, given: Item, mode: str, test: str) -> Any:
        refused = self.refusal(key, mode, test)
        if refused is not None:
            return refused
        there = self.items.get(key, {})
        kept = there if mode == "merge" else {n: v for n, v in there.items() if n == "__hidden"}
        return self.store(key, kept | copy.deepcopy(given))

    def update(self, key: str, text: str, test: str, otherwise: str | None) -> Any:
        refused = self.refusal(key, "merge", test)
        if refused is ConditionError and otherwise is not None:
            refused, text = None, otherwise
        if refused is not None:
            return refused
        item = copy.deepcopy(self.items.get(key, {}))
        try:
            UPDATES[text](item)
        except WrongError:
            return ExpressionError
        return self.store(key, item)

    def delete(self, key: str, test: str) -> Any:
        refused = self.refusal(key, "merge", test, is_new_ok=False)
        if refused is None:
            del self.items[key]
            self.bodies.pop(key, None)
        return refused

    def children(self, directory: str) -> list[str]:
        head = f"{directory}/" if directory else ""
        found = [key for key in self.items if key.startswith(head)]
        return sorted(key for key in found if "/" not in key.removeprefix(head))


def same(got: Any, expected: Any) -> bool:
    """Tell whether two values are equal and of one type, and their elements too."""
    if type(got) is not type(expected) or got != expected:
        return False
    if isinstance(got, dict):
        return all(same(got[name], expected[name]) for name in expected)
    if isinstance(got, list):
        return all(same(one, other) for one, other in zip(got, expected, strict=True))
    return True


def shown(item: Item) -> Item:
    return {name: value for name, value in item.items() if not name.startswith("__")}


STEPS = st.one_of(
    st.tuples(
        st.just("put"),
        KEYS,
        ATTRIBUTES,
        st.sampled_from(["replace", "merge", "create"]),
        st.sampled_from(list(CONDITIONS)),
    ),
    st.tuples(
        st.just("update"),
        KEYS,
        st.sampled_from(list(UPDATES)),
        st.sampled_from(list(CONDITIONS)),
        st.none() | st.sampled_from(list(UPDATES)),
    ),
    st.tuples(st.just("delete"), KEYS, st.sampled_from(list(CONDITIONS))),
)


class TablesMachine(RuleBasedStateMachine):
    kind: str

    @initialize()
    def begin(self) -> None:
        self.ending = contextlib.ExitStack()
        self.ending.enter_context(mock.patch.object(settings, "BODY_INLINE_BYTES_MAX", 100))
        self.ending.enter_context(mock.patch.object(settings, "SCAN_STRETCH", 2))
        self.ending.enter_context(mock.patch.object(settings, "PAGE_ITEMS_MAX", 3))
        self.tiers = self.ending.enter_context(two_tiers_of(self.kind))
        self.model = Model()
        self.inodes: dict[str, int] = {}
        self.past: set[int] = set()
        self.moments: dict[str, tuple[int, Item]] = {}
        self.tables = [Table(tier, "users", "people") for tier in self.tiers]

    def expect(self, error: Any, write: Callable[[], object]) -> None:
        if error is None:
            write()
        else:
            with pytest.raises(EntrepotError) as raised:
                write()
            assert isinstance(raised.value, error)

    def write(self, at: Any, step: tuple[Any, ...]) -> Callable[[], object]:
        """Return a step as a write to a table or a batch; the model does it at once."""
        what, key, *rest = step
        if what == "put":
            given, mode, test = rest
            return lambda: at.put(key, given, mode=mode, condition=test, parameters=BOUND)
        if what == "update":
            text, test, otherwise = rest
            return lambda: at.update(
                key, text, condition=test, otherwise=otherwise, parameters=BOUND
            )
        return lambda: at.delete(key, condition=rest[0], parameters=BOUND)

    # Writing.

    @rule(side=SIDES, step=STEPS)
    def write_once(self, side: int, step: tuple[Any, ...]) -> None:
        if not self.model.is_there and step[0] == "delete":
            self.expect(NotFoundError, self.write(self.tables[side], step))
            return
        error = getattr(self.model, step[0])(*step[1:])
        self.expect(error, self.write(self.tables[side], step))

    @rule(side=SIDES, key=KEYS, given=ATTRIBUTES)
    def put(self, side: int, key: str, given: Item) -> None:
        self.write_once(side, ("put", key, given, "replace", ""))

    @rule(side=SIDES, steps=st.lists(STEPS, max_size=4))
    def write_a_batch(self, side: int, steps: list[tuple[Any, ...]]) -> None:
        after, error = copy.deepcopy(self.model), None
        batch = self.tables[side].batch()
        for step in steps:
            self.write(batch, step)()
            if error is None:
                is_bare = not after.is_there and step[0] == "delete"
                error = NotFoundError if is_bare else getattr(after, step[0])(*step[1:])
        assert len(batch) == len(steps)
        self.expect(error, batch.commit)
        if error is None:
            self.model = after

    @rule(side=SIDES, key=KEYS, size=st.sampled_from([0, 5, 200]))
    def put_a_body(self, side: int, key: str, size: int) -> None:
        container, data = Container(self.tiers[side], "users"), b"x" * size
        model = self.model
        is_blocked = key in model.directories or any(up in model.items for up in model.above(key))
        self.expect(
            ConflictError if is_blocked else None, lambda: container.put(f"people/{key}", data)
        )
        if not is_blocked:
            model.store(key, model.items.get(key, {}))
            model.bodies[key] = data

    @rule(side=SIDES)
    def clear(self, side: int) -> None:
        if self.model.is_there:
            gone = self.model.children("")
            assert self.tables[side].clear() == len(gone)
            for key in gone:
                self.model.delete(key, "")
        else:
            self.expect(NotFoundError, self.tables[side].clear)

    @rule(side=SIDES)
    def delete_the_container(self, side: int) -> None:
        if self.model.is_there:
            self.tiers[side].commits.write(delete_container, "users")
            self.model = Model()

    # Reading.

    @rule(side=SIDES, keys=st.lists(KEYS, min_size=1, max_size=3), default=st.integers())
    def get(self, side: int, keys: list[str], default: int) -> None:
        table = self.tables[side]
        for key in keys:
            is_directory = key in self.model.directories
            assert (key in table) == (key in self.model.items or is_directory)
            if is_directory:
                continue
            if key in self.model.items:
                item = self.model.items[key]
                assert same(table.get(key), shown(item))
                assert same(table.get(key, list(item)), item)
                assert same(table.get(key, ["s", "nope"]), {n: item[n] for n in item if n == "s"})
            else:
                assert table.try_get(key, default=default) == default
                self.expect(NotFoundError, lambda key=key: table.get(key))
        there = [key for key in keys if key not in self.model.directories]
        expected = [self.model.items.get(key) for key in there]
        assert table.get_many(there) == [None if i is None else shown(i) for i in expected]

    @rule(
        side=SIDES,
        directory=st.sampled_from(["", "dir", "dir/y"]),
        test=st.sampled_from(list(CONDITIONS)),
        names=st.none() | st.lists(st.sampled_from(["n", "s", 'odd"', "v"]), max_size=3),
        limit=st.none() | st.integers(0, 5),
    )
    def scan(
        self, side: int, directory: str, test: str, names: list[str] | None, limit: int | None
    ) -> None:
        table = Table(self.tiers[side], "users", f"people/{directory}".rstrip("/"))
        if directory not in self.model.directories:
            if limit != 0:
                self.expect(NotFoundError, lambda: list(table.scan(test, limit=limit, **BOUND)))
            return
        passing = [
            (key.rpartition("/")[2], self.model.items[key])
            for key in self.model.children(directory)
            if CONDITIONS[test](self.model.items[key])
        ]
        expected = [
            (key, shown(item) if names is None else {n: item[n] for n in item if n in names})
            for key, item in passing
        ]
        found = list(table.scan(test, names=names, limit=limit, **BOUND))
        assert len(found) == len(expected[:limit])
        for got, wanted in zip(found, expected, strict=False):
            assert got[0] == wanted[0]
            assert same(got[1], wanted[1])
        assert table.count(test, **BOUND) == len(expected)

    @rule(side=SIDES, segments=st.integers(1, 4), limit=st.integers(1, 3))
    def scan_in_segments_and_pages(self, side: int, segments: int, limit: int) -> None:
        if not self.model.is_there:
            return
        table, found = self.tables[side], list[str]()
        for segment in range(segments):
            plan = table.plan("", (), Range(None, None, None, segment, segments), limit, {})
            behind: str | None = ""
            while behind is not None:
                page = table.page(plan, behind)
                assert len(page.rows) <= limit
                assert page.rows or page.behind is None
                found += [key for key, _ in page.rows]
                behind = page.behind
        assert sorted(found) == self.model.children("")

    @rule(
        side=SIDES,
        sharding=st.sampled_from(["s", "t", "é", "nope"]),
        start=st.none() | st.sampled_from(["", "1", "10", "15", "2", "2\x00", "9"]),
        end=st.none() | st.sampled_from(["", "1", "10", "15", "2", "2\x00", "9"]),
    )
    def scan_a_range(self, side: int, sharding: str, start: str | None, end: str | None) -> None:
        if not self.model.is_there:
            return
        expected = [
            key
            for key in self.model.children("")
            if key.startswith(f"{sharding}.")
            and (start is None or key.partition(".")[2] >= start)
            and (end is None or key.partition(".")[2] < end)
        ]
        found = self.tables[side].scan(
            names=(), sharding_key=sharding, sort_start=start, sort_end=end
        )
        assert [key for key, _ in found] == expected

    @rule(side=SIDES)
    def a_process_is_followed_by_another(self, side: int) -> None:
        if end_session(self.tiers, side):
            self.tables[side].use(self.tiers[side])

    # What must be so after each step.

    @invariant()
    def nothing_is_wrong_in_the_tier(self) -> None:
        if hasattr(self, "tiers"):
            assert data_problems(self.tiers[0]) == []

    @invariant()
    def items_are_those_of_the_model(self) -> None:
        if not hasattr(self, "tiers"):
            return
        for gone in set(self.inodes) - set(self.model.items):
            self.past.add(self.inodes.pop(gone))
            del self.moments[gone]
        for key, item in self.model.items.items():
            got = self.tables[0].get(key, "**")
            assert same({name: got[name] for name in item}, item)
            assert got["__name"] == key.rpartition("/")[2]
            assert got["__size"] == len(self.model.bodies.get(key, b""))
            if got["__inode_number"] != self.inodes.get(key, got["__inode_number"]):
                self.past.add(self.inodes[key])  # it was deleted and made anew in one batch
                del self.moments[key]
            self.inodes[key] = got["__inode_number"]
            assert self.inodes[key] not in self.past
            modified = got["__mtime_secs"] * 1_000_000_000 + got["__mtime_nsecs"]
            before, was = self.moments.get(key, (0, item))
            assert modified >= before + (not same(was, item))
            self.moments[key] = modified, copy.deepcopy(item)

    def teardown(self) -> None:
        if hasattr(self, "ending"):
            with self.ending:
                for key, data in self.model.bodies.items():
                    assert Container(self.tiers[0], "users").get(f"people/{key}") == data


@pytest.mark.parametrize("kind", DATA_KINDS)
def test_tables_do_what_the_model_does(kind: str) -> None:
    machine: Any = type("TablesMachine", (TablesMachine,), {"kind": kind})
    run_machine(machine, settings=thorough())
