"""`entrepot ls` and `entrepot stat`: what is there, and all about it."""

from __future__ import annotations

import numpy as np
import pytest

import entrepot


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
