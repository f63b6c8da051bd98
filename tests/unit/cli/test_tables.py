"""`entrepot table`: items, and files of rows that come back as they went out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
from tests.unit.cli.conftest import Run

import entrepot
from entrepot.cli import imports, items, present
from entrepot.cli.row_files import Bad, Form, Row, key_maker, reader_of, write_rows
from entrepot.errors import TypeMismatchError
from entrepot.layers.attributes import Timestamp, as_attributes
from support.conditions import wait_until

EVERYTHING: dict[str, Any] = {
    "int": 5,
    "negative": -7,
    "long": 1 << 70,
    "float": 1.5,
    "whole": 2.0,
    "nan": float("nan"),
    "inf": float("-inf"),
    "yes": True,
    "no": False,
    "text": 'a "quoted", text\nof two lines \u2028 é',
    "digits": "007",
    "empty": "",
    "bytes": bytes(range(256)),
    "none": b"",
    "ints": array("q", [1, -2]),
    "floats": array("d", [1.0, 2.5]),
    "odd": array("d", [1.0, float("inf")]),
    "nothing": array("q"),
    "nowhere": array("d"),
    "time": Timestamp(1_763_713_800, 123_456_789),
    "early": Timestamp(-70_000_000_000, 1),
    "never": Timestamp(-(1 << 62), 5),
    "_x": 1,
}
"""An item with all types, and the odd ones of each."""


@pytest.fixture
def depot(home: object) -> Iterator[entrepot.Depot]:
    with entrepot.open() as made:
        yield made


@pytest.fixture
def people(depot: entrepot.Depot) -> entrepot.Table:
    table = depot.table("users/people")
    table.put("ann", {"age": 30, "name": "Ann [red]", "ok": True})
    table.put("bob", {"age": 41, "w": 1.5, "photo": b"\x00\x01"})
    return table


def stored(table: entrepot.Table) -> dict[str, str]:
    """Return all items in their JSON form: exact, and equal to itself where nan is in it."""
    rows = items.exact_rows(table, "", None, None)
    return {key: items.item_json(key, dict(sorted(found.items()))) for key, found in rows}


def test_tables_are_listed_and_what_is_none_is_not(
    depot: entrepot.Depot, people: entrepot.Table, run: Run
) -> None:
    depot.table("users/deep/er").put("a", {"x": 1})
    depot.table("other/").put("top", {"x": 1})
    depot.container("users").put("files/a", b"no item")
    depot.stream("users/clicks", shards=1)
    said = run("table", "ls").out
    assert "3 tables in depot default" in said
    for name in ("users/people", "users/deep/er", "other"):
        assert name in said
    assert "files" not in said
    found = run("table", "ls", "users", "--json").document
    assert [(each["table"], each["items"]) for each in found] == [
        ("users/deep/er", 1),
        ("users/people", 2),
    ]
    found = run("table", "ls", "/users/deep/", "--json").document
    assert [each["table"] for each in found] == ["users/deep/er"]
    assert run("table", "ls", "users/dee", "--json").document == []


def test_a_large_table_is_not_counted_to_its_end_to_be_listed(
    depot: entrepot.Depot, run: Run
) -> None:
    with depot.table("users/many").batch() as batch:
        for number in range(1001):
            batch.put(f"k{number}", {"n": number})
    assert "1,000+" in run("table", "ls").out
    assert run("table", "ls", "--json").document[0]["more"]
    assert run("table", "count", "users/many").out == "1001\n"


def test_options_stand_before_the_command_or_behind_it(people: entrepot.Table, run: Run) -> None:
    for words in (("--json", "count", "users/people"), ("count", "users/people", "--json")):
        assert run("table", *words).document == {"table": "users/people", "items": 2}
    assert "there is no depot 'x'" in run("table", "-d", "x", "ls", status=1).err
    assert run("table", "-d", "x", "count", "users/people", "-d", "default").out == "2\n"


def test_an_item_is_put_with_types_and_shown(run: Run) -> None:
    words = ["n=5", "f=1.5", "e=1e3", "yes=true", "no=false", "t=text", 'd="5"', "a=[1,2]"]
    words += ["g=[1.0,2]", 'b={"$bytes":"AAE="}', "eq=a=b", "empty=", "z=007", "neg=-0.5"]
    run("table", "put", "users/people", "ann", *words)
    with entrepot.open() as depot:
        assert depot.table("users/people").get("ann") == {
            "n": 5,
            "f": 1.5,
            "e": 1000.0,
            "yes": True,
            "no": False,
            "t": "text",
            "d": "5",
            "a": [1, 2],
            "g": [1.0, 2.0],
            "b": b"\x00\x01",
            "eq": "a=b",
            "empty": "",
            "z": "007",
            "neg": -0.5,
        }
    said = run("table", "get", "users/people", "ann").out
    for part in ("users/people/ann", "1.5  float", "true  bool", "text  text", "AAE=  bytes"):
        assert part in said
    assert run("table", "get", "users/people", "ann", "--names", "n, t", "--json").document == {
        "__name": "ann",
        "n": 5,
        "t": "text",
    }
    assert "__size" in run("table", "get", "users/people", "ann", "--names", "**").out


def test_an_item_that_get_prints_as_json_is_one_that_put_takes(
    depot: entrepot.Depot, run: Run
) -> None:
    table = depot.table("users/people")
    table.put("a", EVERYTHING)
    before = stored(table)
    text = run("table", "get", "users/people", "a", "--json").out
    table.put("a", {"x": 1})
    run("table", "put", "users/people", "a", "--json", text)
    assert stored(table) == before


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["k"], 2, "NAME=VALUE"),
        (["k", "x=1", "--json", "{}"], 2, "NAME=VALUE"),
        (["k", "x"], 2, "'x' is no NAME=VALUE"),
        (["k", "=5"], 2, "is no NAME=VALUE"),
        (["k", "x=1", "x=2"], 2, "given twice"),
        (["k", "x=[draft]"], 1, "for text write x='\"[draft]\"'"),
        (["k", 'x=["a"]'], 1, "more than numbers"),
        (["k", 'x={"a": 1}'], 1, "is a JSON object"),
        (["k", 'x={"$bytes": "?"}'], 1, "is no $bytes"),
        (["k", 'x={"$time": "noon"}'], 1, "is no $time"),
        (["k", "x=" + "9" * 400], 1, "400 digits"),
        (["k", "__size=1"], 1, "system attribute"),
        (["k", "--json", "[1]"], 1, "no JSON object"),
        (["k", "--json", "{"], 1, "it is no JSON"),
        (["", "x=1"], 1, "empty"),
    ],
    ids=lambda part: part if isinstance(part, str) else None,
)
def test_what_cannot_be_put_is_refused_in_one_line(
    depot: entrepot.Depot, run: Run, words: list[str], status: int, says: str
) -> None:
    assert says in run("table", "put", "users/people", *words, status=status).err
    assert depot.containers() == []


def test_an_item_is_changed_by_an_expression(people: entrepot.Table, run: Run) -> None:
    assert "31" in run("table", "update", "users/people", "ann", "age = age + 1").out
    said = run(
        "table", "update", "users/people", "ann", "age = 0", "--if", "age > 40", status=1
    ).err
    assert "age is 31" in said
    assert "--else EXPR" in said
    words = ("ann", "age = 0", "--if", "age > 40", "--else", "young = 1", "--json")
    assert run("table", "update", "users/people", *words).document["young"] == 1
    assert people.get("ann", ["age", "young"]) == {"age": 31, "young": 1}
    assert "expression" in run("table", "update", "users/people", "ann", "age =", status=1).err


def test_an_item_is_removed_if_it_is_as_thought(people: entrepot.Table, run: Run) -> None:
    said = run("table", "rm", "users/people", "ann", "--if", "age > 40", status=1).err
    assert "age is 30" in said
    assert "removed users/people/ann" in run("table", "rm", "users/people", "ann").out
    assert run("table", "rm", "users/people", "bob", "--json").document == {
        "removed": "users/people/bob"
    }
    assert (
        "entrepot table scan users/people"
        in run("table", "rm", "users/people", "bob", status=1).err
    )


def test_items_that_pass_are_printed_as_a_table_as_json_and_as_csv(
    people: entrepot.Table, run: Run
) -> None:
    said = run("table", "scan", "users/people").out
    assert "2 items of users/people" in said
    for part in ("Ann [red]", "41", "AAE="):
        assert part in said
    said = run("table", "scan", "users/people", "-n", "1").out
    assert "the first 1" in said
    assert "bob" not in said
    lines = run("table", "scan", "users/people", "--where", "age > 35", "--json").out
    assert json.loads(lines) == {
        "__name": "bob",
        "age": 41,
        "photo": {"$bytes": "AAE="},
        "w": 1.5,
    }
    assert run("table", "scan", "users/people", "--csv").out.splitlines()[1:] == [
        "ann,30,Ann [red],true,,",
        "bob,41,,,1.5,AAE=",
    ]
    assert run("table", "scan", "users/people", "--csv", "--names", "w,age").out == (
        "__name,w,age\nann,,30\nbob,1.5,41\n"
    )
    assert len(run("table", "scan", "users/people", "--json", "-n", "1").out.splitlines()) == 1
    assert run("table", "count", "users/people", "--where", "age > 35").out == "1\n"


def test_what_is_not_there_is_said_with_a_next_step(
    depot: entrepot.Depot, people: entrepot.Table, run: Run
) -> None:
    for command in (["scan"], ["count"], ["export"]):
        words = ["out.csv"] if command == ["export"] else []
        said = run("table", *command, "users/nope", *words, status=1).err
        assert "there is no table 'users/nope'" in said
        assert "entrepot table ls" in said
        said = run("table", *command, "nope/people", *words, status=1).err
        assert "there is no container 'nope'" in said
        assert "there is: users" in said
    assert "entrepot table scan" in run("table", "get", "users/people", "zoe", status=1).err
    assert "nope" in run("table", "ls", "nope", status=1).err
    assert "not both" in run("table", "scan", "users/people", "--json", "--csv", status=2).err
    assert "expression" in run("table", "scan", "users/people", "-w", "age >", status=1).err
    depot.delete_container("users")
    assert "it has none" in run("table", "count", "users/people", status=1).err
    assert not Path("out.csv").exists()


# Files.

WHOLE = st.integers(-(1 << 63), (1 << 63) - 1)
ATTRIBUTES = st.one_of(
    st.integers(-(1 << 80), 1 << 80),
    st.floats(),
    st.booleans(),
    st.text(st.characters(codec="utf-8")),
    st.binary(),
    st.lists(WHOLE).map(lambda values: array("q", values)),
    st.lists(st.floats()).map(lambda values: array("d", values)),
    st.builds(Timestamp, WHOLE, st.integers(0, 999_999_999)),
    st.builds(Timestamp, st.integers(-(1 << 36), 1 << 36), st.integers(0, 999_999_999)),
)
NAMES = st.one_of(st.sampled_from("abc"), st.text(st.characters(codec="utf-8"), min_size=1))
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1)
ITEMS = st.dictionaries(KEYS, st.dictionaries(NAMES, ATTRIBUTES), max_size=5)


def shown(attributes: dict[str, Any]) -> dict[str, str]:
    """Return attributes so that nan is equal to itself, and 1 is not 1.0."""
    return {name: repr(value) for name, value in attributes.items()}


@pytest.mark.parametrize("form", [Form.JSONL, Form.PARQUET])
def test_whatever_an_item_holds_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, form: Form
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows"

    @hypothesis.given(ITEMS)
    def check(given: dict[str, dict[str, Any]]) -> None:
        given = {
            key: {name: v for name, v in found.items() if name != items.NAME}
            for key, found in given.items()
        }
        with path.open("wb") as file:
            assert write_rows(file, form, given.items(), None) == len(given)
        found: dict[str, dict[str, Any]] = {}
        with path.open("rb") as file:
            reader = reader_of(file, path, form, text_only=False)
            key_of = key_maker(None, path, reader.columns)
            for row in reader.rows():
                assert isinstance(row, Row), row
                attributes = dict(row.attributes)
                del attributes[items.NAME]
                found[key_of(row.fields)] = as_attributes(attributes)
        assert {key: shown(item) for key, item in found.items()} == {
            key: shown(item) for key, item in given.items()
        }

    check()


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "json", "parquet", "pq"])
def test_what_is_exported_with_types_comes_back_as_it_was(
    depot: entrepot.Depot, home: Path, run: Run, ending: str
) -> None:
    table = depot.table("users/all")
    table.put("a", EVERYTHING)
    table.put("b", dict.fromkeys(EVERYTHING, 5))  # other types in the same columns
    table.put("c.é", {"only": "here"})
    table.put("d", {})
    file = home / f"all.{ending}"
    assert "exported 4 items" in run("table", "export", "users/all", file).out
    assert "imported 4 rows" in run("table", "import", "users/again", file).out
    assert stored(depot.table("users/again")) == stored(table)
    assert list(home.glob(".all*")) == []


def test_csv_comes_back_as_ints_floats_bools_and_text(
    depot: entrepot.Depot, home: Path, run: Run
) -> None:
    table = depot.table("users/all")
    for number in range(3):
        table.put(
            f"k{number}",
            {"n": number, "f": number / 2, "ok": number == 1, "t": f'a,"{number}"\nb', "z": "007"},
        )
    table.put("k3", {"n": 3, "f": float("inf")})
    file = home / "all.csv"
    run("table", "export", "users/all", file)
    run("table", "import", "users/again", file)
    assert stored(depot.table("users/again")) == stored(table)
    run("table", "export", "users/again", home / "again.csv")
    assert (home / "again.csv").read_bytes() == file.read_bytes()
    run("table", "export", "users/all", home / "all.tsv")
    run("table", "import", "users/tabs", home / "all.tsv")
    assert stored(depot.table("users/tabs")) == stored(table)
    run("table", "import", "users/text", file, "--text-only")
    assert depot.table("users/text").get("k1", ["n", "f", "ok"]) == {
        "n": "1",
        "f": "0.5",
        "ok": "true",
    }


@pytest.mark.parametrize(
    ("fields", "kind", "values"),
    [
        ("1 -2 0", int, [1, -2, 0]),
        ("1 2.5 -3e2", float, [1.0, 2.5, -300.0]),
        ("1 .5 nan", float, [1.0, 0.5, None]),
        ("true FALSE True", bool, [True, False, True]),
        ("1 true", str, ["1", "true"]),
        ("1 007", str, ["1", "007"]),
        ("1 +5", str, ["1", "+5"]),
        ("1_000", str, ["1_000"]),
        ("1 x", str, ["1", "x"]),
        ("99999999999999999999", int, [10**20 - 1]),
        ("٣", str, ["٣"]),
    ],
    ids=["ints", "floats", "nan", "bools", "mixed", "zeros", "plus", "under", "text", "long", "३"],
)
def test_a_column_of_csv_is_of_the_narrowest_type_that_holds_all(
    home: Path, fields: str, kind: type, values: list[Any]
) -> None:
    path = home / "a.csv"
    path.write_text("k,v\n" + "".join(f"{i},{v}\n" for i, v in enumerate(fields.split())))
    with path.open("rb") as file:
        rows = list(reader_of(file, path, Form.CSV, text_only=False).rows())
    assert not any(isinstance(row, Bad) for row in rows)
    found = [row.attributes["v"] for row in rows if not isinstance(row, Bad)]
    assert {type(value) for value in found} == {kind}
    for value, wanted in zip(found, values, strict=True):
        assert value == wanted or (wanted is None and value != value)


def test_keys_are_made_of_columns(depot: entrepot.Depot, home: Path, run: Run) -> None:
    file = home / "a.csv"
    file.write_text("\ufeffid,day,n\n007,2.50,1\n\n008,3,\n")
    run("table", "import", "users/one", file, "--key", "id")
    assert dict(depot.table("users/one").scan()) == {
        "007": {"id": "007", "day": 2.5, "n": 1},
        "008": {"id": "008", "day": 3.0},
    }
    run("table", "import", "users/two", file, "--key", "{id}.{day}")
    assert [key for key, _ in depot.table("users/two").scan(sharding_key="007")] == ["007.2.50"]
    lines = home / "a.jsonl"
    lines.write_text('{"a": 5, "b": true, "c": null}\n\n{"a": 1.5, "b": "x"}\n')
    run("table", "import", "users/three", lines, "--key", "{a}-{b}")
    assert dict(depot.table("users/three").scan()) == {
        "1.5-x": {"a": 1.5, "b": "x"},
        "5-true": {"a": 5, "b": True},
    }


@pytest.mark.parametrize(
    ("name", "content", "words", "says"),
    [
        ("a.csv", "id,n\n1,2\n", [], "no column '__name'"),
        ("a.csv", "id,n\n1,2\n", ["-k", "x"], "there are: id, n"),
        ("a.csv", "id,n\n1,2\n", ["-k", "{id"], "cannot be read"),
        ("a.csv", "id,n\n1,2\n", ["-k", "{id!r}"], "is no template"),
        ("a.csv", "", [], "has no heading line"),
        ("a.csv", "a,a\n1,2\n", ["-k", "a"], "'a' twice"),
        ("a.csv", "a,\n1,2\n", ["-k", "a"], "in its first line"),
        ("a.csv", "id,n\n1,2\n3\n", ["-k", "id"], "line 3: it has 1 fields"),
        ("a.csv", "id,n\n1,2\n,5\n", ["-k", "id"], "line 3: there is no 'id'"),
        ("a.csv", 'id,n\n1,"2\n\n\n', ["-k", "id"], "line 2: it cannot be read"),
        ("a.csv", 'id,n\n1,"2\n"\n3\n', ["-k", "id"], "line 4: it has 1 fields"),
        ("a.csv", "id,n\na/b,2\n", ["-k", "id"], "line 2: the key 'a/b' has a slash"),
        ("a.csv", b"id,n\n1,\xff\n", ["-k", "id"], "line 2: it is no UTF-8"),
        ("a.jsonl", '{"__name": "a"}\n{\n', [], "line 2: it is no JSON"),
        ("a.jsonl", '{"a": 1}\n', [], "line 1: there is no '__name'"),
        ("a.jsonl", '{"__name": "a", "x": {}}\n', [], "line 1: attribute 'x' is a JSON object"),
        ("a.jsonl", '{"__name": "a", "x": [1, "b"]}\n', [], "more than numbers"),
        ("a.jsonl", '{"__name": [1]}\n', [], "is a list"),
        ("a.jsonl", '{"__name": "a", "": 1}\n', [], "line 1: an attribute's name"),
        ("a.jsonl", '{"__name": "a", "x": "\\ud800"}\n', [], "line 1: an attribute is no Unicode"),
        ("a.jsonl", "[" * 100_000, [], "line 1: it is no JSON"),
        ("a.jsonl", b"\xff\n", [], "line 1: it is no JSON"),
        ("a.parquet", "no parquet", [], "cannot be read as Parquet"),
        ("a.foo", "", [], "--format csv|tsv|jsonl|parquet"),
        ("a.csv", None, [], "there is no"),
    ],
    ids=[
        "no-key",
        "other-key",
        "half-template",
        "odd-template",
        "empty",
        "twice",
        "unnamed",
        "short",
        "keyless",
        "unclosed",
        "two-lines",
        "slash",
        "latin",
        "half-json",
        "json-keyless",
        "object",
        "mixed-list",
        "list-key",
        "nameless",
        "surrogate",
        "deep",
        "bytes",
        "damaged",
        "ending",
        "missing",
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_line(
    depot: entrepot.Depot,
    home: Path,
    run: Run,
    name: str,
    content: str | bytes | None,
    words: list[str],
    says: str,
) -> None:
    file = home / name
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = " ".join(run("table", "import", "users/t", file, *words, status=1).err.split())
    assert says in said
    assert name in said or "--key '{" in said
    assert depot.containers() == []


def test_bad_rows_are_left_out_and_counted_if_that_is_wanted(
    depot: entrepot.Depot, home: Path, run: Run
) -> None:
    depot.container("users").make_directory("t/taken")
    file = home / "a.jsonl"
    lines = ['{"__name": "a", "n": 1}', "{", '{"__name": "taken"}', '{"x": 1}', '{"__name": "b"}']
    file.write_text("\n".join(lines))
    said = run("table", "import", "users/t", file, status=1)
    assert "line 2" in said.err
    assert "stored before it: 0 rows; --skip-bad" in said.err
    said = run("table", "import", "users/t", file, "--skip-bad")
    assert "imported 2 rows" in said.out
    assert "left out 3 bad rows; the first: " in said.err
    found = run("table", "import", "users/t", file, "--skip-bad", "--json").document
    assert (found["imported"], found["skipped"]) == (2, 3)
    assert found["first_bad"].startswith(f"{file}, line 2")
    assert sorted(stored(depot.table("users/t"))) == ["a", "b"]


def test_a_bad_row_ends_an_import_after_the_batches_before_its_own(
    depot: entrepot.Depot, home: Path, run: Run
) -> None:
    depot.container("users").make_directory("t/taken")
    file = home / "a.csv"
    keys = [*(f"k{n}" for n in range(25)), "taken", "z"]
    file.write_text("id\n" + "\n".join(keys) + "\n")
    said = run("table", "import", "users/t", file, "-k", "id", "--batch", "10", status=1).err
    assert "line 27: 't/taken' is a directory" in said
    assert "stored before it: 20 rows" in said
    assert sorted(stored(depot.table("users/t"))) == sorted(keys[:20])


def test_system_attributes_in_a_file_are_passed_over(
    depot: entrepot.Depot, people: entrepot.Table, home: Path, run: Run
) -> None:
    for ending in ("csv", "jsonl", "parquet"):
        file = home / f"all.{ending}"
        run("table", "export", "users/people", file, "--names", "**")
        run("table", "import", f"users/{ending}", file)
        assert depot.table(f"users/{ending}").get("ann", "age") == {"age": 30}


def test_an_export_takes_a_filter_and_names_and_goes_to_stdout_too(
    people: entrepot.Table, home: Path, run: Run
) -> None:
    file = home / "a.csv"
    words = ("--where", "age > 35", "--names", "age", "--json")
    found = run("table", "export", "users/people", file, *words).document
    assert (found["items"], found["bytes"]) == (1, len(file.read_bytes()))
    assert file.read_text() == "__name,age\nbob,41\n"
    assert run("table", "export", "users/people", "-", "-f", "csv", "--names", "age").out == (
        "__name,age\nann,30\nbob,41\n"
    )
    said = run("table", "export", "users/people", "-", "-f", "csv", "--json", status=2).err
    assert "stdout" in said
    assert "says nothing" in run("table", "export", "users/people", "-", status=1).err
    said = run("table", "export", "users/people", home / "no" / "a.csv", status=1).err
    assert "there is no" in said


def test_an_export_that_fails_leaves_the_file_that_was_there(
    people: entrepot.Table, home: Path, run: Run
) -> None:
    file = home / "a.jsonl"
    file.write_text("before")
    run("table", "export", "users/nope", file, status=1)
    assert file.read_text() == "before"
    assert [path.name for path in home.iterdir() if path.name.startswith(".a")] == []


def test_parquet_without_pyarrow_names_the_extra(
    people: entrepot.Table, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entrepot.cli.parquet_rows.find_spec", lambda name: None)
    file = home / "a.parquet"
    assert (
        "pip install 'entrepot[arrow]'"
        in run("table", "export", "users/people", file, status=1).err
    )
    assert not file.exists()
    file.write_bytes(b"PAR1")
    assert "reading Parquet" in run("table", "import", "users/t", file, status=1).err


def test_parquet_of_other_programs_becomes_what_an_item_can_hold(
    depot: entrepot.Depot, home: Path, run: Run
) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    day = datetime(2026, 11, 21, tzinfo=UTC)
    columns = {
        "id": pa.array(["a", "b"]).dictionary_encode(),
        "small": pa.array([1, None], pa.int8()),
        "single": pa.array([0.5, None], pa.float32()),
        "date": pa.array([day.date(), None]),
        "naive": pa.array([day.replace(tzinfo=None), None], pa.timestamp("ms")),
        "zoned": pa.array([day, None], pa.timestamp("s", "Europe/Berlin")),
        "list": pa.array([[1.5], []], pa.large_list(pa.float32())),
        "ints": pa.array([[1], None], pa.list_(pa.int16())),
        "null": pa.nulls(2),
        "blob": pa.array([b"x", None], pa.large_binary()),
    }
    file = home / "a.parquet"
    pq.write_table(pa.table(columns), file)
    run("table", "import", "users/t", file, "-k", "id")
    found = depot.table("users/t").get("a")
    assert found.pop("id") == "a"
    assert found == {
        "small": 1,
        "single": 0.5,
        "date": day,
        "naive": day,
        "zoned": day,
        "list": [1.5],
        "ints": [1],
        "blob": b"x",
    }
    assert depot.table("users/t").get("b") == {"id": "b", "list": []}


def test_parquet_that_no_item_can_hold_is_refused(home: Path, run: Run) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    file = home / "a.parquet"
    pq.write_table(pa.table({"id": ["a"], "s": [{"x": 1}]}), file)
    said = run("table", "import", "users/t", file, "-k", "id", status=1).err
    assert "column 's'" in said
    assert "which no attribute has" in said
    pq.write_table(pa.table({"id": ["a", "b"], "l": [[1], [None]]}), file)
    assert "row 2: column 'l'" in run("table", "import", "users/t", file, "-k", "id", status=1).err
    field = pa.field("j", pa.string(), metadata={"entrepot": "json"})
    rows = pa.table([["a"], ["{"]], schema=pa.schema([pa.field("id", pa.string()), field]))
    pq.write_table(rows, file)
    said = run("table", "import", "users/t", file, "-k", "id", status=1).err
    assert "holds no JSON" in said
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), file)
    assert "two columns of one name" in run("table", "import", "users/t", file, status=1).err


def test_an_import_that_is_killed_leaves_whole_batches_only(
    depot: entrepot.Depot, home: Path
) -> None:
    pipe = home / "rows.jsonl"
    os.mkfifo(pipe)
    words = [sys.executable, "-m", "entrepot", "table", "import", "users/t", str(pipe)]
    table = depot.table("users/t")
    depot.create_container("users")
    words += ["--batch", "100"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process, pipe.open("w") as rows:
        for number in range(250):
            rows.write(json.dumps({"__name": f"k{number:03}", "n": number}) + "\n")
        rows.flush()
        wait_until(lambda: _count(table) >= 200, "two batches are stored")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert [row["n"] for _, row in table.scan()] == list(range(200))


@pytest.mark.parametrize("skip_bad", [False, True], ids=["stop", "skip"])
def test_a_full_disk_ends_an_import_and_is_the_fault_of_no_row(
    depot: entrepot.Depot, home: Path, monkeypatch: pytest.MonkeyPatch, skip_bad: bool
) -> None:
    file = home / "a.csv"
    file.write_text("id\n1\n2\n")
    table = depot.table("users/t")

    def refuse(*arguments: object) -> None:
        raise entrepot.DiskFullError("the disk is full")

    wanted = imports.Wanted("id", Form.CSV, 10, False, skip_bad)
    for numbers_are_there in (False, True):
        if numbers_are_there:
            table.put("k", {})
        with monkeypatch.context() as patch:
            patch.setattr(table.engine, "write", refuse)
            with pytest.raises(entrepot.DiskFullError, match="the disk is full"):
                imports.import_file(table, file, wanted, hidden=True)
    assert table.count() == 1


@pytest.mark.parametrize("words", ["scan users/people", "scan users/people --json", "ls"])
def test_output_that_cannot_be_written_is_an_error_of_one_line(
    people: entrepot.Table, words: str
) -> None:
    command = [sys.executable, "-m", "entrepot", "table", *words.split()]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert done.returncode == 1
    assert "error: the output cannot be written: No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_reader_that_has_enough_ends_a_scan_quietly(people: entrepot.Table) -> None:
    with people.batch() as batch:
        for number in range(5000):
            batch.put(f"k{number}", {"text": "x" * 100})
    command = [sys.executable, "-m", "entrepot", "table", "scan", "users/people", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"__name": "ann"')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def _count(table: entrepot.Table) -> int:
    try:
        return table.count()
    except entrepot.NotFoundError:
        return 0


def test_progress_is_shown_on_a_terminal_only() -> None:
    assert present.progress(of_bytes=True).disable
    assert present.progress(of_bytes=False, hidden=True).disable


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T08:30:00Z", Timestamp(1795249800)),
        ("2026-11-21 08:30", Timestamp(1795249800)),
        ("2026-11-21T09:30:00.5+01:00", Timestamp(1795249800, 500_000_000)),
        ("2026-11-21", Timestamp(1795219200)),
        ("-5:7", Timestamp(-5, 7)),
        ("1969-12-31T23:59:59.000000001Z", Timestamp(-1, 1)),
    ],
)
def test_a_moment_is_read_with_and_without_a_zone(text: str, moment: Timestamp) -> None:
    assert items.moment_of(text) == moment
    assert items.moment_of(items.iso(moment)) == moment


@pytest.mark.parametrize("text", ["noon", "2026-13-01", "", "5", "5:1234567890"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(TypeMismatchError, match=r"\$time"):
        items.from_json("x", {"$time": text})
