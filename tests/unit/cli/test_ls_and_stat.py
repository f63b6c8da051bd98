"""`entrepot ls` and `entrepot stat`: what is there, and all about it."""

from __future__ import annotations

import numpy as np
import pytest

import entrepot
from entrepot.cli import ls, overview


@pytest.fixture
def full(home) -> dict[str, str]:
    """A depot with a named tree, and a space with two variables; returns the ids."""
    with entrepot.open() as depot:
        big = depot.objects.put(np.zeros(100_000))
        tree = depot.objects.create({"version": 3}, {"big": big}, typename="test::Tree")
        depot.objects.put_name("tree", tree)
        space = depot.space("jobs", persistent=True)
        space.declare("stack", "lifo")
        for number in range(3):
            space.store("task", number)
        return {"big": str(big), "tree": str(tree)}


def test_ls_lists_objects_with_their_names_and_spaces(run, full) -> None:
    said = run("ls")
    for word in (full["big"], full["tree"], "test::Tree", "tree", "781.", "jobs", "on disk"):
        assert word in said.out
    document = run("ls", "--json").document
    assert document["objects_total"] == 2
    assert {entry["id"] for entry in document["objects"]} == set(full.values())
    assert [entry["names"] for entry in document["objects"] if entry["id"] == full["tree"]] == [
        ["tree"]
    ]
    assert [(space["name"], space["values"]) for space in document["spaces"]] == [("jobs", 3)]


def test_ls_of_a_space_lists_its_variables(run, full) -> None:
    said = run("ls", "jobs")
    assert "stack" in said.out
    assert "lifo" in said.out
    found = {info["name"]: info["values"] for info in run("ls", "jobs", "--json").document}
    assert found == {"stack": 0, "task": 3}


def test_ls_says_what_the_limit_leaves_out(run, full) -> None:
    said = run("ls", "--limit", 1).out
    assert "the oldest 1" in said
    assert "1 further name" in said
    assert len(run("ls", "--limit", 1, "--json").document["objects"]) == 1


def test_ls_of_a_pattern_lists_matching_types_only(run, full) -> None:
    found = run("ls", "--pattern", "test::*", "--json").document["objects"]
    assert [entry["id"] for entry in found] == [full["tree"]]
    assert "further name" not in run("ls", "--pattern", "vineyard::*").out


def test_ls_names_the_depots(run, full) -> None:
    assert run("ls", "--depots").out.split() == ["default"]
    assert run("ls", "--depots", "--json").document == ["default"]


def test_ls_of_a_space_that_is_not_there_is_an_error(run, full) -> None:
    assert "no space 'nowhere'" in run("ls", "nowhere", status=1).err
    said = run("ls", "tree", status=1).err
    assert "'tree' is an object, not a space" in said
    assert "`entrepot stat tree`" in said


@pytest.fixture
def data(full) -> None:
    """One of each thing that is in containers, and lines in both tiers."""
    with entrepot.open() as depot:
        with depot.table("shop/orders").batch() as batch:
            for number in range(3):
                batch.put(f"k{number}", {"price": number})
        depot.stream("shop/clicks", shards=2).append(b"12345")
        depot.container("shop").put("notes/today.txt", b"x" * 2048)
        depot.create_container("void")
        for name, persistent in (("train", False), ("audit", True)):
            with depot.lines(name, persistent=persistent).writer() as writer:
                writer.write("one\ntwo\n")


def test_ls_lists_tables_streams_containers_and_lines(run, data) -> None:
    said = run("ls").out
    for title in ("1 table", "1 stream", "2 containers", "2 buffers of lines"):
        assert title in said
    for name in ("shop/orders", "shop/clicks", "void", "train", "audit", "2.0 KiB"):
        assert name in said
    document = run("ls", "--json").document
    (table,) = document["tables"]
    assert (table["table"], table["items"], table["more"]) == ("shop/orders", 3, False)
    (stream,) = document["streams"]
    assert (stream["stream"], stream["shards"], stream["records"]) == ("shop/clicks", 2, 1)
    assert document["containers"] == [
        {
            "container": "shop",
            "objects": 1,
            "size": 2048,
            "tables": 1,
            "streams": 1,
            "more": False,
        },
        {"container": "void", "objects": 0, "size": 0, "tables": 0, "streams": 0, "more": False},
    ]
    assert [(each["lines"], each["entries"], each["persistent"]) for each in document["lines"]] == [
        ("audit", 2, True),
        ("train", 2, False),
    ]
    assert document["more_directories"] is False


def test_ls_of_a_pattern_of_types_shows_no_containers(run, data) -> None:
    assert "shop" not in run("ls", "--pattern", "test::*").out


def test_ls_says_where_it_stopped_looking_for_tables(
    run, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "DIRECTORIES_MAX", 2)
    said = run("ls").out
    assert "1 stream or more" in said
    document = run("ls", "--json").document
    assert document["tables"] == []
    assert document["more_directories"] is True
    assert document["containers"][0]["more"] is True
    assert run("stat", "--json").document["more_directories"] is True


def test_ls_shows_of_each_kind_as_many_as_the_limit(run, data) -> None:
    said = run("ls", "--limit", 1).out
    assert "audit" in said
    assert "train" not in said
    assert said.count("… and 1 more") == 2


def test_ls_says_when_it_did_not_read_all_names(run, full, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ls, "NAMES_MAX", 1)
    assert "1 further name or more" in run("ls", "--limit", 1).out
    assert len(run("ls", "--json").document["names"]) == 1


def test_ls_of_what_is_no_space_says_which_command_lists_it(run, data) -> None:
    assert "`entrepot container ls shop`" in run("ls", "shop", status=1).err
    assert "`entrepot tail train`" in run("ls", "train", status=1).err
    assert "`entrepot tail train`" in run("stat", "train", status=1).err


def test_stat_counts_what_is_in_spaces_containers_and_lines(run, data) -> None:
    document = run("stat", "--json").document
    counts = {
        kind: document[kind]
        for kind in ("spaces", "variables", "values", "containers", "tables", "streams", "lines")
    }
    assert counts == {
        "spaces": 1,
        "variables": 2,
        "values": 3,
        "containers": 2,
        "tables": 1,
        "streams": 1,
        "lines": 2,
    }
    said = run("stat").out
    for part in ("1 (2 variables, 3 values)", "2 buffers (4 entries)", "containers"):
        assert part in said


def test_ls_and_stat_make_no_data_on_disk(run, home) -> None:
    run("put", "--value", 1, "--name", "a")
    assert run("ls", "--json").document["tables"] == []
    assert run("stat", "--json").document["containers"] == 0
    assert "table" not in run("ls").out
    assert not (home / "data").exists()


def test_an_id_may_be_as_vineyards_clients_print_it(run, full) -> None:
    assert run("stat", f"o{full['big']}", "--json").document["id"] == full["big"]


def test_stat_shows_the_depot(run, full) -> None:
    said = run("stat")
    assert "256.0 MiB" in said.out
    document = run("stat", "--json").document
    assert document["objects"] == 2
    assert document["spaces"] == 1
    assert document["arena"]["used"] >= 800_000


def test_stat_shows_an_object_with_its_members_and_users(run, full) -> None:
    said = run("stat", "tree")
    for word in (full["tree"], "test::Tree", "version", "member", "big", "all members 781."):
        assert word in said.out
    document = run("stat", "tree", "--json").document
    assert document["version"] == 3
    assert document["members"]["big"]["nbytes"] >= 800_000
    assert document["usage"]["names"] == ["tree"]
    assert run("stat", full["big"], "--json").document["usage"]["parents"] == [full["tree"]]


def test_stat_shows_a_space_and_a_variable(run, full) -> None:
    assert run("stat", "jobs", "--json").document["variables"] == 2
    assert run("stat", "jobs/stack", "--json").document["mode"] == "lifo"
    assert "lifo" in run("stat", "jobs/stack").out
    assert "nobody" in run("stat", "jobs").out
    assert "no variable" in run("stat", "jobs/nothing", status=1).err
