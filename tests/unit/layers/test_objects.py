"""Objects: every method and its errors, on every tier."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
import types
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from entrepot import settings
from entrepot.engine.memory import MemoryStore
from entrepot.errors import (
    ConflictError,
    LimitError,
    NotFoundError,
    OutOfMemoryError,
    TypeMismatchError,
)
from entrepot.layers.objects import ObjectId, Objects, core
from support.conditions import PATIENCE_S
from support.tiers import Rig, memory_tier

SMALL, BIG = np.arange(10), np.arange(50_000)
MISSING = 0x123456789ABCDEF0
DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def tree_of(objects: Objects, **members: int) -> ObjectId:
    return objects.create({}, members)


# Putting and getting.


@pytest.mark.parametrize("value", [SMALL, BIG], ids=["small", "big"])
def test_what_was_put_comes_back_each_time(objects: Objects, value: Any) -> None:
    key = objects.put(value)
    for _ in range(3):
        assert (objects.get(key) == value).all()
    assert objects.count() == 1


def test_each_put_makes_a_new_object_whose_id_is_larger(objects: Objects) -> None:
    ids = [objects.put(7), objects.put(7), *objects.put_many([7, BIG]), tree_of(objects)]
    assert all(a < b for a, b in itertools.pairwise(ids))
    assert [info.id for info in objects.list()] == ids


def test_an_object_does_not_change_with_what_it_was_made_of(objects: Objects) -> None:
    for value in (SMALL.copy(), BIG.copy(), {"deep": [BIG.copy()]}):
        key = objects.put(value)
        array = value["deep"][0] if isinstance(value, dict) else value
        array[0] = 99
        got = objects.get(key)
        assert (got["deep"][0] if isinstance(got, dict) else got)[0] == 0


def test_what_is_got_may_not_be_written_to(objects: Objects) -> None:
    for value in (SMALL, BIG):
        got = objects.get(objects.put(value))
        with pytest.raises(ValueError, match="read-only"):
            got[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            got.flags.writeable = True


def test_put_many_stores_all_in_order(objects: Objects) -> None:
    many = [1, BIG, "text", SMALL, BIG[::-1], None]
    ids = objects.put_many(iter(many))
    got = objects.get_many(ids)
    assert all(np.array_equal(a, b) for a, b in zip(got, many, strict=True))
    assert objects.put_many([]) == []


def test_put_many_stores_nothing_when_one_cannot_be_stored(objects: Objects) -> None:
    for bad_at in range(3):
        many: list[object] = [1, BIG, 2]
        many.insert(bad_at, threading.Lock())
        with pytest.raises(TypeMismatchError, match="lock"):
            objects.put_many(many)
    assert objects.count() == 0


def test_put_many_stores_more_big_values_than_calls_can_be_nested(rig: Rig) -> None:
    many = [np.full(3000, number) for number in range(1100)]
    ids = rig.objects.put_many(many)
    assert [int(rig.objects.get(key)[0]) for key in ids] == list(range(len(many)))


def test_get_many_is_of_one_moment_and_takes_ids_twice(objects: Objects) -> None:
    a, b = objects.put(1), objects.put(BIG)
    tree = tree_of(objects, a=a, b=b)
    got = objects.get_many([b, a, tree, b])
    assert got[1] == 1
    assert (got[0] == got[3]).all()
    assert (got[2]["b"] == BIG).all()
    assert objects.get_many([]) == []
    with pytest.raises(NotFoundError, match=f"{MISSING:016x}"):
        objects.get_many([a, MISSING])


def test_get_wants_an_id_or_a_name(objects: Objects) -> None:
    with pytest.raises(TypeMismatchError, match="neither an id nor a name"):
        objects.get()


# Ids.

USES = {
    "get": lambda objects, id: objects.get(id),
    "get_many": lambda objects, id: objects.get_many([id]),
    "meta": lambda objects, id: objects.meta(id),
    "exists": lambda objects, id: objects.exists(id),
    "delete": lambda objects, id: objects.delete(id),
    "delete many": lambda objects, id: objects.delete([id]),
    "size": lambda objects, id: objects.size(id),
    "usage": lambda objects, id: objects.usage(id),
    "put_name": lambda objects, id: objects.put_name("n", id),
    "create": lambda objects, id: objects.create({}, {"m": id}),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("bad", [-1, -(2**70), 2**64, 2**100], ids=hex)
def test_an_id_out_of_bounds_is_named_in_the_error(objects: Objects, use: str, bad: int) -> None:
    with pytest.raises(LimitError, match=str(bad)):
        USES[use](objects, bad)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "bad", [None, "abc", 1.5, object(), ("1",), np.int64(1)], ids=lambda bad: type(bad).__name__
)
def test_an_id_of_another_type_is_refused(objects: Objects, use: str, bad: object) -> None:
    with pytest.raises(TypeMismatchError):
        USES[use](objects, bad)


@pytest.mark.parametrize("use", USES)
def test_an_id_that_was_never_given_is_not_found(objects: Objects, use: str) -> None:
    for number in (0, 1, MISSING, 2**64 - 1):
        if use == "exists":
            assert not objects.exists(number)
        elif use.startswith("delete"):
            assert USES[use](objects, number) == 0
        else:
            with pytest.raises(NotFoundError, match=f"{number:016x}"):
                USES[use](objects, number)


@pytest.mark.parametrize("use", USES)
def test_a_deleted_object_is_not_found_by_any_method(objects: Objects, use: str) -> None:
    for value in (1, BIG):
        key = objects.put(value)
        objects.delete(key)
        if use == "exists":
            assert not objects.exists(key)
        elif use.startswith("delete"):
            assert USES[use](objects, key) == 0
        else:
            with pytest.raises(KeyError, match=str(key)):
                USES[use](objects, key)


def test_ids_are_numbers_that_print_as_16_digits(objects: Objects) -> None:
    key = objects.put(1)
    assert isinstance(key, int)
    assert f"{key}" == str(key) == repr(key) == f"{int(key):016x}"
    assert ObjectId.parse(str(key)) == ObjectId.parse(str(key).upper()) == key
    assert objects.get(int(key)) == objects.get(ObjectId.parse(str(key))) == 1
    assert ObjectId.parse("f") == 15


@pytest.mark.parametrize("text", ["", "xyz", "0", "-1", "0" * 16, "1" * 17, " 1_0 ", None, 5, b"f"])
def test_a_text_that_is_no_id_is_refused(text: Any) -> None:
    with pytest.raises(LimitError, match="is no object id"):
        ObjectId.parse(text)


# Deleting.


def test_delete_says_how_many_objects_went(objects: Objects) -> None:
    ids = objects.put_many([1, BIG, 2])
    assert objects.delete(ids[0]) == 1
    assert objects.delete([*ids, ids[1], MISSING]) == 2
    assert objects.delete([]) == 0
    assert objects.count() == 0


def test_a_deleted_big_value_is_seen_by_whoever_has_it(objects: Objects) -> None:
    key = objects.put(BIG)
    got = objects.get(key)
    objects.delete(key)
    for number in range(5):  # would reuse the place, if it could
        objects.put(np.full(50_000, number))
    assert (got == BIG).all()


def test_a_member_is_not_deleted_under_its_tree(objects: Objects) -> None:
    a, b = objects.put(1), objects.put(BIG)
    tree = tree_of(objects, a=a, b=b)
    for ids in (a, [b, a]):
        with pytest.raises(ConflictError, match=f"is a member of {tree}"):
            objects.delete(ids)
    assert objects.count() == 3
    assert objects.get(tree)["a"] == 1


def test_force_deletes_the_trees_that_hold_a_member_too(objects: Objects) -> None:
    a, b = objects.put(1), objects.put(2)
    inner = tree_of(objects, a=a)
    outer = tree_of(objects, inner=inner, b=b)
    other = tree_of(objects, b=b)
    assert objects.delete(a, force=True) == 3
    assert [objects.exists(key) for key in (a, inner, outer)] == [False] * 3
    assert objects.get(other) == {"b": 2}


def test_deep_deletes_what_nobody_else_needs(objects: Objects) -> None:
    alone, shared, named = objects.put_many([BIG, BIG, BIG])
    objects.put_name("kept", named)
    inner = tree_of(objects, alone=alone)
    one = tree_of(objects, inner=inner, shared=shared, named=named)
    two = tree_of(objects, shared=shared)
    assert objects.delete(one) == 3
    assert [objects.exists(key) for key in (alone, inner, shared, named)] == [
        False,
        False,
        True,
        True,
    ]
    assert objects.delete(two) == 2
    assert not objects.exists(shared)


def test_shallow_leaves_the_members(objects: Objects) -> None:
    a = objects.put(BIG)
    tree = tree_of(objects, a=a, again=a)
    assert objects.usage(a).parents == [tree]
    assert objects.delete(tree, deep=False) == 1
    assert objects.usage(a).parents == []
    assert objects.delete(a) == 1


def test_a_member_by_two_ways_goes_once(objects: Objects) -> None:
    leaf = objects.put(BIG)
    left, right = tree_of(objects, x=leaf), tree_of(objects, x=leaf)
    top = tree_of(objects, left=left, right=right, leaf=leaf)
    assert objects.delete(top) == 4
    assert objects.count() == 0


def test_tree_and_members_go_in_one_call_in_any_order(objects: Objects) -> None:
    for turn in (1, -1):
        a, b = objects.put_many([1, 2])
        ids = [a, tree_of(objects, a=a, b=b), b][::turn]
        assert objects.delete(ids, deep=False) == 3


def test_a_tree_older_than_its_member_goes_with_it_in_one_call() -> None:
    # Another process leased its numbers later: its member's id is larger than our tree's.
    store = MemoryStore()
    ours, theirs = (Objects(memory_tier(store)) for _ in range(2))
    ours.put(0)
    member = theirs.put(1)
    tree = tree_of(ours, m=member)
    assert tree < member
    assert ours.delete([tree, member], deep=False) == 2


def test_a_conflict_in_a_call_leaves_all_of_it_undone(objects: Objects) -> None:
    free, member = objects.put(BIG), objects.put(1)
    objects.put_name("n", free)
    tree = tree_of(objects, m=member)
    with pytest.raises(ConflictError):
        objects.delete([free, member])
    assert objects.get_name("n") == free
    assert objects.exists(tree)


def test_a_chain_of_trees_longer_than_the_stack_is_deleted(rig: Rig) -> None:
    objects = rig.objects
    length = 1500 if rig.kind == "volatile" else 300
    ids = [objects.put(1)]
    for _ in range(length):
        ids.append(objects.create({}, {"next": ids[-1]}))
    assert objects.size(ids[-1]) >= 1
    assert objects.delete(ids[0], force=True) == length + 1
    for _ in range(length):
        ids.append(objects.create({}, {"next": ids[-1]} if objects.exists(ids[-1]) else {}))
    assert objects.delete(ids[-1]) == length


# Trees.


def test_a_tree_gives_its_fields_and_its_members_values(objects: Objects) -> None:
    a, b = objects.put("a"), objects.put(BIG)
    fields = {
        "none": None, "yes": True, "int": -(2**63), "big": 2**64 - 1, "float": 0.5, "é\x00": "é",
        "bytes": b"\x00\xff", "list": [1, [2]], "dict": {"k": {"l": [None]}}, "": "",
    }  # fmt: skip
    tree = objects.create(fields, {"a": a, "b": b, "again": a}, typename="test::Thing")
    got = objects.get(tree)
    assert (got.pop("b") == BIG).all()
    assert got == {**fields, "a": "a", "again": "a"}
    assert objects.get(objects.create({}, {})) == {}


def test_trees_nest_and_share(objects: Objects) -> None:
    leaf = objects.put(1)
    inner = tree_of(objects, leaf=leaf)
    outer = objects.create({"n": 0}, {"left": inner, "right": inner, "leaf": leaf})
    assert objects.get(outer) == {"n": 0, "left": {"leaf": 1}, "right": {"leaf": 1}, "leaf": 1}
    assert objects.usage(leaf).parents == [inner, outer]
    assert objects.usage(inner).parents == [outer]


def test_a_tree_that_shares_at_each_of_many_levels_is_read_in_one_go(objects: Objects) -> None:
    key = objects.put(1)
    for _ in range(60):  # by paths there are 2**60 leaves
        key = tree_of(objects, left=key, right=key)
    got = objects.get(key)
    for _ in range(60):
        got = got["right"]
    assert got == 1
    assert objects.size(key) >= 1
    assert objects.meta(key)["members"]["left"]["members"]["right"]["typename"] == "entrepot::Tree"
    assert objects.delete(key) == 61


def test_a_tree_is_not_made_of_what_does_not_exist(objects: Objects) -> None:
    a = objects.put(1)
    with pytest.raises(NotFoundError, match=f"{MISSING:016x}"):
        objects.create({}, {"a": a, "b": MISSING})
    assert objects.usage(a).parents == []
    assert objects.count() == 1


def test_a_name_is_a_field_or_a_member_and_not_both(objects: Objects) -> None:
    a = objects.put(1)
    with pytest.raises(ConflictError, match="'both'"):
        objects.create({"x": 1, "both": 1}, {"both": a, "y": a})


@pytest.mark.parametrize(
    "field",
    [SMALL, 1j, 2**64, -(2**63) - 1, {1, 2}, frozenset(), {"deep": [1j]}, "\ud800",
     time.gmtime(0), range(3), uuid.UUID(int=1), DAY],
    ids=lambda field: ascii(field)[:24],
)  # fmt: skip
def test_a_field_that_another_language_could_not_read_is_refused(
    objects: Objects, field: object
) -> None:
    with pytest.raises(TypeMismatchError, match="test::T"):
        objects.create({"ok": 1, "bad": field}, {}, typename="test::T")
    assert objects.count() == 0


@pytest.mark.parametrize("bad", [1, None, b"bytes", ("a",)], ids=repr)
def test_fields_members_and_types_are_named_by_text(objects: Objects, bad: Any) -> None:
    a = objects.put(1)
    for make in (
        lambda: objects.create({bad: 1}, {}),
        lambda: objects.create({}, {bad: a}),
        lambda: objects.create({}, {}, typename=bad),
    ):
        with pytest.raises(TypeMismatchError):
            make()
    assert [info.id for info in objects.list()] == [a]


# What is told.


def test_meta_tells_the_tree_without_its_values(objects: Objects) -> None:
    before = time.time()
    a = objects.put(np.ones((3, 4), order="F"))
    b = objects.put(b"bytes")
    tree = objects.create({"rows": 3}, {"a": a, "b": b}, typename="test::Pair")
    meta = objects.meta(tree)
    assert (meta["id"], meta["typename"], meta["rows"]) == (str(tree), "test::Pair", 3)
    assert before <= meta["created"] <= time.time()
    inner = meta["members"]["a"]
    assert (inner["id"], inner["typename"]) == (str(a), "vineyard::Tensor<double>")
    assert (inner["nbytes"], inner["shape_"], inner["order_"]) == (96, [3, 4], "F")
    assert meta["members"]["b"]["typename"] == "vineyard::Blob"
    assert "members" not in inner


@pytest.mark.parametrize(
    ("value", "typename", "nbytes"),
    [
        (None, "entrepot::None", None),
        (True, "vineyard::Scalar<bool>", None),
        (1, "vineyard::Scalar<int>", None),
        (1.5, "vineyard::Scalar<double>", None),
        ("text", "vineyard::Scalar<std::string>", None),
        ("x" * 100_000, "vineyard::Scalar<std::string>", None),
        (b"x" * 5, "vineyard::Blob", 5),
        (b"x" * 100_000, "vineyard::Blob", 100_000),
        (np.zeros(3, "i4"), "vineyard::Tensor<int>", 12),
        (np.zeros((5, 5000), "f4"), "vineyard::Tensor<float>", 100_000),
        (np.zeros(2, "M8[s]"), "vineyard::Tensor<<M8[s]>", 16),
        ([1], "vineyard::PickleBuffer", None),
        ([np.zeros(100)], "vineyard::PickleBuffer", None),
        ([np.zeros(100_000)], "vineyard::PickleBuffer", None),
    ],
    ids=[f"value {at}" for at in range(14)],
)
def test_types_have_vineyards_names_and_sizes(
    objects: Objects, value: Any, typename: str, nbytes: int | None
) -> None:
    key = objects.put(value)
    (info,) = objects.list()
    assert (info.id, info.typename) == (key, typename)
    assert info.nbytes == objects.size(key) == objects.meta(key)["nbytes"]
    if nbytes is not None:
        assert info.nbytes == nbytes
    elif hasattr(value, "__len__") and isinstance(value[0], np.ndarray):
        assert value[0].nbytes <= info.nbytes < value[0].nbytes + 500


def test_size_counts_what_a_tree_is_made_of_once(objects: Objects) -> None:
    a = objects.put(BIG)
    tree = tree_of(objects, a=a, again=a, inner=tree_of(objects, a=a))
    assert objects.size(tree) == BIG.nbytes == objects.size(a)


def test_usage_tells_trees_names_and_who_looks(rig: Rig) -> None:
    objects = rig.objects
    key = objects.put(BIG, name="n")
    tree = tree_of(objects, a=key)
    usage = objects.usage(key)
    assert (usage.parents, usage.names, usage.pins) == ([tree], ["n"], 0)
    view = objects.get(key)
    assert objects.usage(key).pins == (1 if rig.is_zero_copy else 0)
    del view
    assert objects.usage(key).pins == 0
    assert objects.usage(objects.put(1)).pins == 0


def test_count_follows_every_put_and_delete(objects: Objects) -> None:
    counts = [objects.count()]
    ids = objects.put_many([1, BIG])
    counts.append(objects.count())
    tree = tree_of(objects, a=ids[0])
    counts.append(objects.count())
    objects.delete(tree, deep=False)
    counts.append(objects.count())
    objects.delete(ids)
    assert [*counts, objects.count()] == [0, 2, 3, 2, 0]


# Listing.


def test_list_chooses_by_type_name_and_limit(objects: Objects) -> None:
    ids = objects.put_many([1, 1.5, SMALL, 2, BIG, [1]])
    assert [info.id for info in objects.list()] == ids
    assert [info.id for info in objects.list("*Tensor<*>")] == [ids[2], ids[4]]
    assert [info.id for info in objects.list("vineyard::Scalar<*", limit=2)] == ids[:2]
    assert [info.id for info in objects.list(".*<(int|double)>", regex=True)] == [
        ids[0], ids[1], ids[3],
    ]  # fmt: skip
    assert objects.list("Tensor") == []
    assert objects.list("Tensor", regex=True) == []
    for limit in range(8):
        assert [info.id for info in objects.list(limit=limit)] == ids[:limit]
    assert all(info.nbytes > 0 for info in objects.list())


def test_more_objects_than_a_batch_are_listed_once_each(rig: Rig) -> None:
    ids = rig.objects.put_many(range(settings.BATCH_KEYS + 1))
    assert [info.id for info in rig.objects.list()] == ids
    assert [info.id for info in rig.objects.list("*int*", limit=settings.BATCH_KEYS)] == ids[:-1]
    assert rig.objects.list("nothing") == []
    assert rig.objects.check() == []


def test_list_refuses_what_makes_no_sense(objects: Objects) -> None:
    objects.put(1)
    for limit in (-1, -(2**70)):
        with pytest.raises(LimitError, match=str(limit)):
            objects.list(limit=limit)
    with pytest.raises(LimitError, match=r"\[a"):
        objects.list("[a", regex=True)
    for use in (
        lambda: objects.list(5),
        lambda: objects.list(b"*"),
        lambda: objects.list(None, regex=True),
        lambda: objects.list(limit="1"),
        lambda: objects.list(limit=1.5),
    ):
        with pytest.raises(TypeMismatchError):
            use()


# Together.


def test_threads_that_put_get_and_delete_do_not_disturb_each_other(rig: Rig) -> None:
    objects = rig.objects
    rounds = 40 if rig.kind != "durable" else 5

    def work(number: int) -> None:
        for turn in range(rounds):
            array = np.full(5_000, number * 1000 + turn)
            one, many = objects.put(array), objects.put_many([turn, array + 1])
            tree = objects.create({"t": turn}, {"a": one, "b": many[1]})
            got = objects.get(tree)
            assert (got["a"] == array).all()
            assert (got["b"] == array + 1).all()
            assert objects.delete([tree, many[0]]) == 4

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, number) for number in range(4)]:
            done.result(PATIENCE_S)
    assert objects.count() == 0


def test_what_is_no_series_of_things_is_a_type_error(objects: Objects) -> None:
    for use in (
        lambda: objects.put(threading.Lock()),
        lambda: objects.put_many(5),
        lambda: objects.get_many(5),
        lambda: objects.get_many([None]),
        lambda: objects.delete(None),
        lambda: objects.delete(1.5),
        lambda: objects.create(None, {}),
        lambda: objects.create({}, None),
    ):
        with pytest.raises(TypeError):
            use()
    assert objects.count() == 0


# A depot that is full to the brim.


def test_a_delete_in_parts_takes_trees_before_their_members(
    rig: Rig, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = [objects.put(number) for number in range(3)]  # their numbers are used again
    objects.delete(early)
    members = [objects.put(number) for number in range(30)]
    for id, some in zip(early, (members[:10], members[5:20], members), strict=True):
        with monkeypatch.context() as patch:
            patch.setattr(objects, "_ids", types.SimpleNamespace(next=lambda id=id: int(id)))
            assert objects.create({}, {str(member): member for member in some}) == id
    write = rig.tier.engine.write
    parts: list[int] = []

    def write_little(fn: Any, *arguments: Any) -> Any:
        if fn is core.delete_many:
            parts.append(len(arguments[1]))
            if parts[-1] > 10:
                raise OutOfMemoryError("the catalog is full")
        return write(fn, *arguments)

    monkeypatch.setattr(rig.tier.engine, "write", write_little)
    assert objects.delete([*members, *early], deep=False) == 33
    assert parts[0] == 33
    assert sum(parts[1:]) == 33
    assert objects.count() == 0
