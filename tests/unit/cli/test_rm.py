"""`entrepot rm`: what goes, what stays, and what is refused."""

from __future__ import annotations

import pytest

import entrepot


@pytest.fixture
def ids(home) -> dict[str, str]:
    """A depot with a named object, a tree and a space; returns the ids."""
    with entrepot.open() as depot:
        objects = depot.objects
        named = objects.put([1], name="named")
        part = objects.put([2])
        tree = objects.create({}, {"part": part})
        depot.space("jobs", persistent=True).store("task", 1)
        depot.space("jobs").store("other", 1)
        return {"named": str(named), "part": str(part), "tree": str(tree)}


def exists(key: str) -> bool:
    with entrepot.open() as depot:
        return depot.objects.exists(entrepot.ObjectId.parse(key))


def test_a_name_goes_with_its_object(run, ids) -> None:
    assert "removed object named" in run("rm", "named").out
    assert not exists(ids["named"])
    assert "nothing in depot" in run("get", "named", status=1).err


def test_a_name_goes_alone_where_its_object_has_another(run, ids) -> None:
    with entrepot.open() as depot:
        depot.objects.put_name("alias", entrepot.ObjectId.parse(ids["named"]))
    assert run("rm", "alias", "--json").document[0]["kind"] == "name"
    assert exists(ids["named"])


def test_a_name_goes_alone_where_its_object_is_to_be_kept(run, ids) -> None:
    run("rm", "named", "--keep")
    assert exists(ids["named"])
    assert run("rm", "named", status=1).err


def test_a_tree_goes_with_its_parts(run, ids) -> None:
    assert "and 1 that it was made of" in run("rm", ids["tree"]).out
    assert not exists(ids["part"])


def test_a_part_goes_only_by_force(run, ids) -> None:
    assert "member" in run("rm", ids["part"], status=1).err
    assert exists(ids["part"])
    run("rm", "--force", ids["part"])
    assert not exists(ids["part"])


def test_a_variable_and_a_space_go(run, ids) -> None:
    run("rm", "jobs/task")
    assert [info["name"] for info in run("ls", "jobs", "--json").document] == ["other"]
    run("rm", "jobs")
    assert run("ls", "--json").document["spaces"] == []


def test_many_go_at_once_and_none_when_one_is_not_there(run, ids) -> None:
    said = run("rm", ids["tree"], "jobs/nothing", "named", status=1)
    assert "nothing" in said.err
    assert exists(ids["tree"])
    assert len(run("rm", ids["tree"], "jobs/task", "named", "--json").document) == 3


def test_a_target_that_is_a_name_and_a_space_is_refused(run, ids) -> None:
    run("put", "--value", "1", "--name", "jobs")
    assert "also a space" in run("rm", "jobs", status=1).err
    run("rm", "jobs/")
    assert run("get", "jobs").out.strip() == "1"


def test_a_whole_depot_goes_when_it_is_named(run, ids) -> None:
    run("put", "--value", "1", "--name", "other", "-d", "other")
    assert "removed depot default" in run("rm", "--all", "--depot", "default").out
    assert entrepot.names() == ["other"]
    assert "there is no depot" in run("ls", status=1).err


def test_a_whole_depot_does_not_go_by_mistake(run, ids) -> None:
    run("rm", "--all", status=2)
    run("rm", "--all", "--depot", "default", "named", status=2)
    run("rm", status=2)
    assert exists(ids["named"])
