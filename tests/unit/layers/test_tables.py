"""Tables: typed items, conditions, updates, scans."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from array import array
from pathlib import Path

import numpy as np
import pytest

from entrepot import settings
from entrepot.errors import (
    ClosedError,
    ConditionError,
    ConflictError,
    EntrepotError,
    ExistsError,
    ExpressionError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
)
from entrepot.layers.attributes import Timestamp
from entrepot.layers.containers import Container
from entrepot.layers.entries import NoContainerError
from entrepot.layers.tables import Range, Table
from entrepot.layers.tier import Tier
from support.data import TEXT_CODE

WHEN = dt.datetime(2020, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


VALUES = [
    (1, 1),
    (1.0, 1.0),
    (-0.5, -0.5),
    (True, True),
    ("", ""),
    ("é\x00" * 1000, "é\x00" * 1000),
    (b"\x00\xff", b"\x00\xff"),
    (bytearray(b"a"), b"a"),
    (memoryview(b"ab")[::2], b"a"),
    (1 << 63, 1 << 63),
    (1 << 70, 1 << 70),
    (-(1 << 70), -(1 << 70)),
    (WHEN, WHEN),
    (dt.datetime(1960, 1, 1, tzinfo=dt.UTC),) * 2,
    ([1, 2], [1, 2]),
    ([], []),
    ([1.5, 2], [1.5, 2.0]),
    ((True, 2), [1, 2]),
    (array("f", [1.5]), [1.5]),
    (array("B", [1, 2]), [1, 2]),
    (np.int64(5), 5),
    (np.float32(1.5), 1.5),
    (np.bool_(True), True),
    (np.arange(3), [0, 1, 2]),
    (np.array([1.5]), [1.5]),
]


@pytest.mark.parametrize(
    ("value", "expected"),
    VALUES,
    ids=[f"{n}-{type(value).__name__}" for n, (value, _) in enumerate(VALUES)],
)
def test_an_attribute_comes_back_with_its_type(table: Table, value: object, expected: object):
    table.put("k", {"a": value})
    found = table.get("k")["a"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "value",
    [None, {}, 1j, ["a"], [None], [b"x"], {1}, np.zeros((2, 2)), array(TEXT_CODE, "x")],
    ids=str,
)
def test_what_is_no_attribute_is_refused_and_nothing_is_stored(table: Table, value: object):
    with pytest.raises(TypeMismatchError, match="'a'"):
        table.put("k", {"b": 1, "a": value})
    assert "k" not in table


@pytest.mark.parametrize("name", ["", "x" * 256, 5])
def test_a_name_that_cannot_be_is_refused(table: Table, name: str):
    with pytest.raises((LimitError, TypeMismatchError)):
        table.put("k", {name: 1})


@pytest.mark.parametrize("key", ["", "/", "..", "a/../b", "x" * 256, 5, "\ud800"])
def test_a_key_that_cannot_be_is_refused(table: Table, key: str):
    with pytest.raises((LimitError, TypeMismatchError)):
        table.put(key, {"a": 1})


def test_a_put_replaces_merges_or_creates(table: Table):
    table.put("k", {"a": 1, "b": 2, "__hidden": 3})
    table.put("k", {"c": 3})
    assert table.get("k") == {"c": 3}
    assert table.get("k", ["__hidden", "a"]) == {"__hidden": 3}
    table.put("k", {"d": 4}, mode="merge")
    assert table.get("k") == {"c": 3, "d": 4}
    with pytest.raises(ExistsError):
        table.put("k", {}, mode="create")
    table.put("new", {}, mode="create")
    assert table.get("new") == {}
    with pytest.raises(TypeMismatchError):
        table.put("k", {}, mode="no")


def test_a_false_condition_changes_nothing_and_says_why(table: Table):
    table.put("k", {"a": 1})
    with pytest.raises(ConditionError, match="a is 1") as raised:
        table.put("k", {"a": 2}, condition="a > :x", x=5)
    assert raised.value.item == {"a": 1}
    assert table.get("k") == {"a": 1}
    with pytest.raises(ConditionError, match="no item"):
        table.put("other", {"a": 2}, condition="a > 5")
    assert "other" not in table
    table.put("other", {"a": 2}, condition="not exists(a)")
    with pytest.raises(ConditionError):
        table.delete("other", condition="a == 3")
    table.delete("other", condition="a == 2")


def test_system_attributes_can_be_read_and_asked_and_not_set(table: Table):
    table.put("k", {"a": 1})
    system = table.get("k", "**")
    assert system["__name"] == "k"
    assert system["__size"] == 0
    assert system["__obj_type"] == 0
    before = (system["__mtime_secs"], system["__mtime_nsecs"])
    condition = "__mtime_secs == {} and __mtime_nsecs == {} and __name == 'k'".format(*before)
    table.put("k", {"a": 2}, condition=condition)
    with pytest.raises(ConditionError):
        table.put("k", {"a": 3}, condition=condition)
    for setting in ({"__name": 1}, {"__mtime_secs": 5}):
        with pytest.raises(ExpressionError):
            table.put("k", setting)
    with pytest.raises(ExpressionError):
        table.update("k", "__size = 5")


def test_no_two_versions_of_an_item_share_a_moment(table: Table):
    moments = set[tuple[int, int]]()
    for number in range(50):
        table.put("k", {"a": number})
        found = table.get("k", ["__mtime_secs", "__mtime_nsecs"])
        moments.add((found["__mtime_secs"], found["__mtime_nsecs"]))
    assert len(moments) == 50


def test_an_update_makes_the_item_or_takes_the_other_way(table: Table):
    table.update("k", "n = if_not_exists(n, 0) + :more", more=5)
    table.update("k", "n = 1", condition="n == 100", otherwise="n = n + 1; REMOVE x")
    assert table.get("k") == {"n": 6}
    table.update("k", "n = 1", condition="n == 6", otherwise="n = 0")
    assert table.get("k") == {"n": 1}
    with pytest.raises(ConditionError):
        table.update("k", "n = 9", condition="n == 100")
    with pytest.raises(ExpressionError):
        table.update("new", "a = b")
    assert "new" not in table
    table.update("empty", "")
    assert table.get("empty") == {}


def test_what_is_not_there_is_said_to_be_so(table: Table):
    with pytest.raises(NoContainerError):
        table.get("k") if table.try_get("k") else table.scan().__next__()
    with pytest.raises(NotFoundError):
        table.get("k")
    assert table.try_get("k", default=5) == 5
    assert table.get_many(["k", "l"]) == [None, None]
    table.put("k", {})
    for call in (lambda: table.get("l"), lambda: table.delete("l")):
        with pytest.raises(NotFoundError, match="people/l"):
            call()
    table.delete("k")
    assert list(table.scan()) == []


def test_directories_and_items_do_not_stand_for_each_other(data_tier: Tier, table: Table):
    table.put("k", {})
    table.put("below/k", {"a": 1})
    assert table.get("below/k") == {"a": 1}
    above = Table(data_tier, "users", "")
    for call in (
        lambda: above.put("people", {}),
        lambda: above.delete("people"),
        lambda: table.put("k/deeper", {}),
    ):
        with pytest.raises(ConflictError):
            call()
    assert [name for name, _ in table.scan()] == ["k"]
    with pytest.raises(NotFoundError):
        list(Table(data_tier, "users", "nope").scan())


def test_an_item_is_an_object_too(data_tier: Tier, table: Table):
    container = Container(data_tier, "users")
    table.put("k", {"a": 1})
    container.put("people/k", "body")
    assert table.get("k", ["a", "__size"]) == {"a": 1, "__size": 4}
    table.put("k", {"b": 1})
    assert container.get("people/k") == b"body"
    table.delete("k")
    assert "people/k" not in container


# Scans.


def test_a_scan_yields_what_passes_in_the_order_of_keys(table: Table):
    with table.batch() as batch:
        for number in range(2500):
            batch.put(f"k{number:04}", {"n": number, "even": number % 2 == 0, "x": "y" * 10})
    assert [name for name, _ in table.scan("n >= 10 and n < :last", last=13)] == [
        "k0010",
        "k0011",
        "k0012",
    ]
    assert list(table.scan("n == 5", names=["n", "nope"])) == [("k0005", {"n": 5})]
    assert next(table.scan("n == 5", names="**"))[1]["__name"] == "k0005"
    assert list(table.scan("__name == 'k0007'", names="n")) == [("k0007", {"n": 7})]
    assert [n["n"] for _, n in table.scan("even == true", limit=3)] == [0, 2, 4]
    assert len(list(table.scan(limit=1500))) == 1500
    assert list(table.scan(limit=0)) == []
    assert table.count() == 2500
    assert table.count("n > 2400") == 99
    assert list(table.scan("nope == 1")) == []
    with pytest.raises(ExpressionError):
        list(table.scan("x + n > 1"))
    assert table.clear() == 2500
    assert table.count() == 0


def test_pages_go_on_where_they_ended(table: Table):
    for number in range(25):
        table.put(f"k{number:02}\x00", {"n": number})
    plan = table.plan("n != 3", None, Range(), 4, {})
    names, behind, pages = list[str](), "", 0
    while behind is not None:
        page = table.page(plan, behind)
        assert 0 < len(page.rows) <= 4
        names += [name for name, _ in page.rows]
        behind, pages = page.behind, pages + 1
    assert names == [f"k{number:02}\x00" for number in range(25) if number != 3]
    assert pages == 6


def test_a_page_is_bounded_in_bytes(table: Table, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "PAGE_BYTES_MAX", 1000)
    for number in range(10):
        table.put(f"k{number}", {"x": "y" * 400})
    page = table.page(table.plan("", None, Range(), None, {}))
    assert len(page.rows) == 3
    assert len(list(table.scan())) == 10


@pytest.mark.parametrize("segments", [1, 3, 7])
def test_segments_are_disjoint_and_cover_the_table(table: Table, segments: int):
    names = {f"k{number}" for number in range(100)}
    with table.batch() as batch:
        for name in names:
            batch.put(name, {})
    parts = [
        [name for name, _ in table.scan(segment=segment, segments=segments)]
        for segment in range(segments)
    ]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(parts)


def test_sorting_keys_are_scanned_by_range(table: Table):
    for key in ("a.1", "a.2", "a.3", "a.3.x", "b.1", "a", "a.", "aa.1"):
        table.put(key, {})

    def keys(**options: str) -> list[str]:
        return [name for name, _ in table.scan(**options)]

    assert keys(sharding_key="a") == ["a.", "a.1", "a.2", "a.3", "a.3.x"]
    assert keys(sharding_key="a", sort_start="2") == ["a.2", "a.3", "a.3.x"]
    assert keys(sharding_key="a", sort_start="1", sort_end="3") == ["a.1", "a.2"]
    assert keys(sharding_key="a", sort_end="3.x") == ["a.", "a.1", "a.2", "a.3"]
    assert keys(sharding_key="c") == []


@pytest.mark.parametrize(
    "which",
    [
        Range(segment=1),
        Range(segment=-1, segments=2),
        Range(segments=0),
        Range(segments=1025),
        Range(start="a"),
        Range(end="a"),
        Range("a", segments=2),
        Range("a.b"),
        Range(""),
    ],
    ids=str,
)
def test_a_range_that_cannot_be_is_refused(table: Table, which: Range):
    with pytest.raises(LimitError):
        table.plan("", None, which, None, {})


# Many at once.


def test_a_batch_is_done_as_a_whole_or_not_at_all(table: Table):
    with table.batch() as batch:
        batch.put("a", {"n": 1})
        batch.update("a", "n = n + :x", x=1)
        batch.put("b", {}, mode="create")
        batch.put("gone", {})
        batch.delete("gone")
    assert (table.get("a"), "b" in table, "gone" in table) == ({"n": 2}, True, False)
    half = table.batch()
    half.put("a", {"n": 99})
    half.put("b", {}, mode="create")
    with pytest.raises(ExistsError):
        half.commit()
    assert table.get("a") == {"n": 2}
    with contextlib.suppress(KeyError), table.batch() as batch:
        batch.put("a", {"n": 99})
        raise KeyError
    assert table.get("a") == {"n": 2}
    with pytest.raises(ClosedError):
        batch.put("a", {})
    with table.batch():
        pass


def test_threads_share_commits_and_none_is_lost(table: Table):
    errors: list[EntrepotError] = []

    def work(number: int) -> None:
        for _ in range(20):
            table.update("counter", "n = if_not_exists(n, 0) + 1")
            try:
                table.put("k", {}, condition="n == 5")
            except ConditionError as error:
                errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.get("counter") == {"n": 160}
    assert len(errors) == 160
    assert "k" not in table


def test_a_container_that_was_made_anew_is_empty(data_tier: Tier, table: Table):
    from entrepot.layers.containers import delete_container

    table.put("k", {"a": 1})
    data_tier.commits.write(delete_container, "users")
    assert table.try_get("k") is None
    table.put("l", {})
    assert [name for name, _ in table.scan()] == ["l"]


# What tests of a random kind found.


def test_a_filter_is_worked_out_anew_for_a_parameter_of_another_type(table: Table):
    for key, value in (("int", 1), ("float", 1.0), ("true", True), ("ints", [1])):
        table.put(key, {"a": value})
    for value, names in ((1, ["float", "int"]), (True, ["true"]), (1.0, ["float", "int"])):
        assert [name for name, _ in table.scan("a == :x", x=value)] == names
    assert [name for name, _ in table.scan("a == :x", x=[1])] == ["ints"]
    assert [name for name, _ in table.scan("a in (:x)", x=True)] == ["true"]


@pytest.mark.parametrize("name", ['"', "\\", "\n", "\x00", "é", " "], ids=ascii)
def test_an_attribute_may_be_named_oddly(table: Table, name: str):
    table.put("k", {name: 1, "b": 2})
    table.put("other", {name: 2})
    assert list(table.scan(f"`{name}` == 1", names=[name])) == [("k", {name: 1})]
    assert list(table.scan("exists(b)", names=[name, name, "b"])) == [("k", {name: 1, "b": 2})]
    assert table.get("k", [name]) == {name: 1}


def test_a_moment_that_is_no_datetime_comes_back_as_a_timestamp(table: Table):
    far = Timestamp(1 << 60, 5)
    table.put("k", {"a": far, "b": 1})
    assert table.get("k") == {"a": far, "b": 1}
    assert list(table.scan(names=["a"])) == [("k", {"a": far})]
    ahead = dt.timezone(dt.timedelta(hours=5))
    for moment in (dt.datetime(1, 1, 1, tzinfo=ahead), dt.datetime.max.replace(tzinfo=ahead)):
        if moment.year == 1:
            with pytest.raises(LimitError):
                table.put("k", {"a": moment})
        else:
            table.put("k", {"a": moment})
            assert table.get("k")["a"] == moment


def test_a_number_of_thousands_of_digits_is_refused(table: Table):
    table.put("k", {"a": (1 << 4096) - 1})
    assert table.get("k") == {"a": (1 << 4096) - 1}
    for number in (1 << 4096, -(10**5000)):
        with pytest.raises(LimitError, match="bits"):
            table.put("k", {"a": number})
        with pytest.raises(LimitError, match="bits"):
            table.update("k", "a = :x + 1", x=number)
    assert table.get("k") == {"a": (1 << 4096) - 1}


@pytest.mark.parametrize(
    ("directory", "key"),
    [
        ("d" * 250 + "/" + "e" * 250, "/".join(["k" * 250] * 11)),
        ("d", "/".join(["\x00" * 250] * 8)),
    ],
    ids=["long", "zeros"],
)
def test_a_path_that_is_too_long_is_refused_before_anything_is_changed(
    data_tier: Tier, directory: str, key: str
):
    table = Table(data_tier, "users", directory)
    with pytest.raises(LimitError, match="3000"):
        table.put(key, {"a": 1})
    with pytest.raises(LimitError, match="3000"):
        Container(data_tier, "users").put(f"{directory}/{key}", b"x")
    with pytest.raises(NoContainerError):
        list(Container(data_tier, "users").list())


def test_files_of_items_go_when_all_are_deleted_at_once(data_tier: Tier, table: Table, tmp_path):
    container = Container(data_tier, "users")
    for number in range(4):
        container.put(f"people/{number}", bytes(100_000))
    with table.batch() as batch:
        batch.delete("0")
        batch.delete("1")
    assert len(files_in(tmp_path)) == 2
    assert table.clear() == 2
    assert files_in(tmp_path) == []


def files_in(directory: Path) -> list[Path]:
    """Return the files of large bodies, wherever the tier has them."""
    return [path for path in directory.rglob("files/*") if path.is_file()]


def test_a_scan_gives_way_after_so_many_looks(table: Table):
    with table.batch() as batch:
        for number in range(2 * settings.SCAN_STRETCH + 10):
            batch.put(f"k{number:05}", {"n": number})
    plan = table.plan("n == 1005", None, Range(), None, {})._replace(looks=1)
    pages, behind = [], ""
    while behind is not None:
        page = table.page(plan, behind)
        pages.append([name for name, _ in page.rows])
        behind = page.behind
    assert pages == [[], [], ["k01005"]]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limit": -1}, LimitError),
        ({"limit": "3"}, TypeMismatchError),
        ({"limit": 2.0}, TypeMismatchError),
        ({"names": 5}, TypeMismatchError),
        ({"segment": "0", "segments": 2}, TypeMismatchError),
        ({"sharding_key": 5}, TypeMismatchError),
        ({"sharding_key": "a", "sort_end": 3}, TypeMismatchError),
    ],
)
def test_a_scan_refuses_at_once_what_it_cannot_do(table: Table, arguments, error):
    with pytest.raises(error):
        table.scan(**arguments)


def test_a_scan_takes_no_items_and_numbers_of_numpy(table: Table):
    table.put("a", {"x": 1})
    table.put("b", {"x": 2})
    assert list(table.scan(limit=0)) == []
    assert list(table.scan(limit=np.int64(1), segment=np.int64(0))) == [("a", {"x": 1})]
