"""Surveys: what containers hold, found without a look at all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot.engine.protocol import Transaction
from entrepot.errors import LimitError, NotFoundError
from entrepot.layers import survey
from entrepot.layers.survey import DirectoryInfo
from entrepot.layers.tables import Table
from entrepot.layers.tier import Tier


@pytest.fixture
def depot(tmp_path: Path):
    with entrepot.open(directory=tmp_path / "memory", data_directory=tmp_path / "data") as made:
        yield made


def test_tables_streams_and_objects_are_told_apart(depot: entrepot.Depot) -> None:
    people = depot.table("users/people")
    people.put("ann", {"age": 42})
    people.put("swiss/bob", {"age": 15})
    stream = depot.stream("users/logs/clicks", shards=3)
    stream.append_many([b"1", b"2"])
    depot.container("users").put("top", b"12345")
    depot.container("users").put("people/photo", b"x" * 100_000)
    depot.container("users").put("people/nothing", b"")
    depot.container("users").make_directory("empty")
    depot.create_container("void")
    found = {info.path: info for info in depot.directories()}
    assert list(found) == [
        "users",
        "users/logs",
        "users/logs/clicks",
        "users/people",
        "users/people/swiss",
    ]
    counts = {
        path: (info.items, info.objects, info.object_bytes, info.shards, info.records)
        for path, info in found.items()
    }
    assert counts == {
        "users": (0, 1, 5, 0, 0),
        "users/logs": (0, 0, 0, 0, 0),
        "users/logs/clicks": (0, 0, 0, 3, 2),
        "users/people": (1, 2, 100_000, 0, 0),
        "users/people/swiss": (1, 0, 0, 0, 0),
    }
    assert found["users/logs/clicks"].record_bytes == stream.info().size
    assert found["users/people"].item_bytes > 0
    assert not any(info.has_more for info in found.values())


def test_an_item_with_a_body_is_an_object_too(depot: entrepot.Depot) -> None:
    depot.container("users").put("t/both", b"body")
    depot.table("users/t").update("both", "seen = true")
    (info,) = (info for info in depot.directories() if info.path == "users/t")
    assert (info.items, info.objects) == (1, 1)


def test_what_is_not_counted_is_said_to_be_there(
    depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_ENTRIES_MAX", 64)
    with depot.table("users/large").batch() as batch:
        for number in range(200):
            batch.put(f"{number:03}", {"n": number})
    with depot.table("users/small").batch() as batch:
        for number in range(64):
            batch.put(f"{number:03}", {"n": number})
    found = {info.path: (info.items, info.has_more) for info in depot.directories()}
    assert found == {
        "users": (0, False),
        "users/large": (64, True),
        "users/small": (64, False),
    }


def test_large_items_end_a_look_sooner(
    depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_BYTES_MAX", 40_000)
    with depot.table("users/large").batch() as batch:
        for number in range(100):
            batch.put(f"{number:03}", {"data": b"x" * 1000})
    (info,) = (info for info in depot.directories() if info.items)
    assert info.has_more
    assert info.items == 64


class Counting:
    """A transaction that counts what it hands out."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self.items = 0

    def get(self, key: bytes) -> bytes | None:
        return self.tx.get(key)

    def range(self, begin: bytes, end: bytes, *, limit: int | None = None) -> list[tuple]:
        found = self.tx.range(begin, end, limit=limit)
        self.items += len(found)
        return list(found)


def test_many_items_do_not_make_a_survey_long(data_tier: Tier) -> None:
    for name in ("one", "two"):
        table = Table(data_tier, "users", name)
        with table.batch() as batch:
            for number in range(5000):
                batch.put(f"{number:06}", {"n": number})

    def look(tx: Transaction) -> tuple[list[DirectoryInfo], int]:
        counting: Any = Counting(tx)
        return survey.directories(counting, "users", 100), counting.items

    found, items = data_tier.engine.read(look)
    assert [info.path for info in found] == ["users", "users/one", "users/two"]
    assert items < 2200


def test_when_all_is_used_up_of_each_directory_a_little_is_counted(
    depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_ENTRIES_LEFT", 100)
    for name in ("a", "b"):
        with depot.table(f"users/{name}").batch() as batch:
            for number in range(100):
                batch.put(f"{number:03}", {"n": number})
    found = {info.path: info.items for info in depot.directories()}
    assert found == {"users": 0, "users/a": 98, "users/b": 32}, "2 were of the root"


def test_a_limit_and_a_container_choose_directories(depot: entrepot.Depot) -> None:
    for path in ("one/a", "one/b", "two/c"):
        depot.table(path).put("k", {"n": 1})
    assert [info.path for info in depot.directories("two")] == ["two", "two/c"]
    assert [info.path for info in depot.directories(limit=4)] == ["one", "one/a", "one/b", "two"]
    assert depot.directories(limit=0) == []
    with pytest.raises(NotFoundError, match="there is no container 'three'"):
        depot.directories("three")
    with pytest.raises(LimitError):
        depot.directories(limit=-1)


def test_a_depot_without_a_disk_has_no_directories(depot: entrepot.Depot) -> None:
    assert depot.directories() == []
    with pytest.raises(NotFoundError):
        depot.directories("users")
    assert not depot.data_path.exists()


def test_a_container_that_is_deleted_meanwhile_has_none(
    depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    depot.table("users/t").put("k", {"n": 1})
    monkeypatch.setattr(depot, "containers", lambda: ["gone", "users"])
    assert [info.path for info in depot.directories()] == ["users", "users/t"]


def test_odd_names_of_directories_come_back_as_they_are(depot: entrepot.Depot) -> None:
    names = ["a", "a b", "a-b", "a\x00b", "ä" * 200, "a/b"]
    for name in names:
        depot.table(f"users/{name}").put("k", {"n": 1})
    found = [info.path.removeprefix("users/") for info in depot.directories() if info.items]
    assert sorted(found) == sorted(names)
