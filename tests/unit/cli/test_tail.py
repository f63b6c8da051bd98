"""`entrepot tail`: the last lines, their origin, and those that come."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import entrepot
from support.conditions import wait_until

Run = Callable[..., Any]


def test_the_last_lines_are_printed_and_the_partial_one(run: Run, home: Path) -> None:
    with entrepot.open() as depot:
        lines = depot.lines("train")
        lines.append([f"line {number}" for number in range(20)])
        lines.warn(UserWarning("odd"))
        lines.write("half")
        out = run("tail", "train", "-n", "2").out
        assert out.splitlines() == ["line 19", "UserWarning: odd", "half"]
        assert len(run("tail", "train").out.splitlines()) == 11
        assert str(lines.read(1).entries[0].pid) in run("tail", "train", "--origin").out
        said = run("tail", "train", "-n", "1", "--json").out.splitlines()
        documents = [json.loads(line) for line in said]
        assert [(d["number"], d["kind"], d["text"]) for d in documents] == [
            (21, "warning", "UserWarning: odd"),
            (0, "line", "half"),
        ]


def test_lines_that_are_not_there_are_named_with_those_that_are(run: Run, home: Path) -> None:
    with entrepot.open() as depot:
        depot.lines("train").write("x\n")
        said = run("tail", "other", status=1)
        assert "other" in said.err
        assert "train" in said.err


def test_following_prints_what_comes_until_the_buffer_is_closed(home: Path) -> None:
    with entrepot.open() as depot:
        lines = depot.lines("train")
        lines.append(["old", "older"])
        process = subprocess.Popen(
            [sys.executable, "-m", "entrepot", "tail", "train", "-f", "-n", "1"],
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "older\n"
            lines.write("new\n")
            assert process.stdout.readline() == "new\n"
            lines.close()
            assert process.stdout.read() == ""
        wait_until(lambda: process.returncode == 0, "the command ends")
