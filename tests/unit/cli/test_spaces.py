"""`entrepot spaces`: browsing without taking anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from tests.unit.cli.conftest import Run

import entrepot


@pytest.fixture
def depot(home: object) -> Iterator[entrepot.Depot]:
    with entrepot.open() as made:
        yield made


def test_spaces_are_shown_with_who_waits_and_works(depot: entrepot.Depot, run: Run) -> None:
    space = depot.space("jobs")
    space.declare("task", max_values=9, max_tries=2, ttl=600)
    for value in ("a text", np.arange(5)):
        space.store("task", value)
    claim = space.claim("task")
    producer = space.producer("task")
    waiter = space.join_line("other", entrepot.layers.spaces.core.FETCH_ONE)
    said = run("spaces").out
    assert "jobs" in said
    assert "1 space in depot default" in said
    said = run("spaces", "jobs").out
    for part in (
        "task[0]",
        "≤ 9 values, then wait",
        "for 600 s",
        "≤ 2 tries",
        "producer",
        "fetch",
    ):
        assert part in said
    document = run("spaces", "jobs", "--json").document
    assert [each["variable"] for each in document["claims"]] == ["task"]
    assert [each["variable"] for each in document["waiters"]] == ["other"]
    assert isinstance(waiter, entrepot.layers.spaces.core.Waiter)
    space.cancel_wait(waiter)
    producer.close()
    claim.done()


def test_values_are_peeked_at_and_stay(depot: entrepot.Depot, run: Run) -> None:
    space = depot.space("jobs")
    space.store("task", "a text")
    space.claim("task").release(reason="no luck")
    for number in range(5):
        space.store("task", np.arange(number + 1))
    said = run("spaces", "jobs", "task", "-n", "2").out
    for part in ("'a text'", "(no luck)", "shape [1]", "the oldest 2"):
        assert part in said
    assert len(run("spaces", "jobs", "task", "--json").document) == 6
    assert space.variables()[0].values == 6


def test_a_variable_and_a_space_are_deleted(depot: entrepot.Depot, run: Run) -> None:
    space = depot.space("jobs")
    space.store("a", 1)
    space.store("b", 1)
    assert "deleted jobs/a" in run("spaces", "jobs", "a", "--delete").out
    assert [info.name for info in space.variables()] == ["b"]
    assert run("spaces", "jobs", "--delete", "--json").document == {"deleted": "jobs"}
    assert depot.spaces() == []


def test_what_is_not_there_is_said_with_a_next_step(depot: entrepot.Depot, run: Run) -> None:
    depot.space("jobs")
    assert "entrepot spaces jobs" in run("spaces", "jobs", "nope", status=1).err
    assert "nope" in run("spaces", "jobs", "nope", "--delete", status=1).err
    assert "no space 'other'" in run("spaces", "other", status=1).err
    assert "name what to delete" in run("spaces", "--delete", status=2).err


def test_names_that_are_no_text_are_shown_as_they_can_be(depot: entrepot.Depot) -> None:
    depot.space("\udcf6").store("\ud800", 1)
    command = [sys.executable, "-m", "entrepot", "spaces", "--depot", depot.name]
    command += ["--directory", str(depot.path.parent)]
    for words in ([], ["--json"]):
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "udcf6" in done.stdout
