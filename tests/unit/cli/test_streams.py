"""`entrepot stream`: records appended, followed, and what is known of a stream."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

import entrepot
from entrepot.cli import stream as command
from entrepot.layers.streams import New
from support.conditions import PATIENCE_S, is_in_futex, wait_until


@pytest.fixture
def depot(home: object) -> Iterator[entrepot.Depot]:
    with entrepot.open() as made:
        yield made


@pytest.fixture
def clicks(depot: entrepot.Depot) -> entrepot.Stream:
    return depot.stream("users/clicks", shards=2, retention=7200)


def test_a_stream_is_made_with_its_shards_and_its_retention(run: Run) -> None:
    said = run("stream", "create", "users/clicks", "--shards", "3", "--retention", "36h").out
    assert "made users/clicks: 3 shards, kept for 36 h" in said
    found = run("stream", "create", "users/logs", "--json").document
    assert (found["shards"], found["retention_s"]) == (1, 86400)
    assert "'users/clicks'" in run("stream", "create", "users/clicks", status=1).err
    with entrepot.open() as depot:
        assert depot.stream("users/clicks").info().retention_s == 36 * 3600


@pytest.mark.parametrize(
    ("text", "seconds", "shown"),
    [
        ("90s", 90, "90 s"),
        ("90", 90, "90 s"),
        ("5m", 300, "5 min"),
        ("5 min", 300, "5 min"),
        ("24h", 86400, "1 d"),
        ("7d", 604800, "7 d"),
    ],
)
def test_a_retention_is_a_number_and_a_unit(run: Run, text: str, seconds: int, shown: str) -> None:
    assert shown in run("stream", "create", "users/s", "--retention", text).out
    assert run("stream", "info", "users/s", "--json").document["retention_s"] == seconds


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["users/s", "--retention", "soon"], 1, "is no time"),
        (["users/s", "--retention", "5 years"], 1, "24h"),
        (["users/s", "--retention", "0s"], 1, "a retention of 0 s"),
        (["users/s", "--retention", "9999d"], 1, "are allowed"),
        (["users/s", "--shards", "5000"], 1, "5000 shards"),
        (["users/s", "--shards", "0"], 2, "--shards"),
        (["users"], 1, "names no stream"),
    ],
    ids=["word", "unit", "zero", "long", "many", "none", "container"],
)
def test_a_stream_that_cannot_be_is_refused(
    depot: entrepot.Depot, run: Run, words: list[str], status: int, says: str
) -> None:
    assert says in run("stream", "create", *words, status=status).err
    assert depot.containers() == []


def test_streams_are_listed(depot: entrepot.Depot, clicks: entrepot.Stream, run: Run) -> None:
    clicks.append(b"12345")
    depot.stream("users/deep/er", shards=1)
    depot.table("other/t").put("a", {"x": 1})
    said = run("stream", "ls").out
    assert "2 streams in depot default" in said
    for part in ("users/clicks", "users/deep/er", "2 h"):
        assert part in said
    found = run("stream", "ls", "users", "--json").document
    assert [(each["stream"], each["records"]) for each in found] == [
        ("users/clicks", 1),
        ("users/deep/er", 0),
    ]
    assert run("stream", "ls", "other", "--json").document == []
    assert run("stream", "--json", "ls", "other").document == []


def test_records_are_appended_by_argument_and_by_lines(clicks: entrepot.Stream, run: Run) -> None:
    said = run("stream", "append", "users/clicks", "hello", "--shard", "1").out
    assert "appended 1 record to users/clicks  shard 1, number 1" in said
    found = run("stream", "append", "users/clicks", "é", "-s", "1", "--key", "k", "--json").document
    assert found == {"stream": "users/clicks", "appended": 1, "shard": 1, "sequence": 2}
    said = run("stream", "append", "users/clicks", "-s", "0", given=b"a\r\nb\n\n\xffc").out
    assert "appended 4 records" in said
    assert [record.data for record in clicks.read(0).records] == [b"a", b"b", b"", b"\xffc"]
    assert [(r.data, r.key) for r in clicks.read(1).records] == [
        (b"hello", None),
        ("é".encode(), "k"),
    ]
    assert "appended 0 records" in run("stream", "append", "users/clicks", given=b"").out


def test_lines_are_appended_as_they_come() -> None:
    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(3)

    assert list(command._lines(Slow(b"a\nbc\nd"))) == [[b"a"], [b"bc"], [b"d"]]


def test_records_are_printed_with_where_they_are(clicks: entrepot.Stream, run: Run) -> None:
    clicks.append_many([New(b"one", 0), New(b"two", 1, "k"), New(b"\xff", 0), New(b"[red]", 0)])
    said = run("stream", "tail", "users/clicks", "--no-follow").out.splitlines()
    assert [line.split()[0] for line in said] == ["0:1", "0:2", "0:3", "1:1"]
    assert said[0].endswith("  one")
    assert said[1].endswith("\\xff")
    assert said[2].endswith("[red]")
    assert said[3].endswith("  k  two")
    lines = run("stream", "tail", "users/clicks", "--no-follow", "--json").out.splitlines()
    found = [json.loads(line) for line in lines]
    assert [each["data"] for each in found] == ["one", {"$bytes": "/w=="}, "[red]", "two"]
    assert (found[3]["shard"], found[3]["sequence"], found[3]["key"]) == (1, 1, "k")
    assert found[0]["arrived"].endswith("Z")


def test_where_a_tail_begins_can_be_said(clicks: entrepot.Stream, run: Run) -> None:
    clicks.append_many([New(b"%d" % number, 0, None, b"who") for number in range(5)])

    def data(*words: str) -> list[str]:
        said = run("stream", "tail", "users/clicks", "--no-follow", "--json", *words).out
        return [json.loads(line)["data"] for line in said.splitlines()]

    assert data() == ["0", "1", "2", "3", "4"]
    assert data("--from", "latest") == []
    assert data("--from", "4", "--shard", "0") == ["3", "4"]
    assert data("--from", "earliest", "--limit", "2") == ["0", "1"]
    assert data("--from", "2020-01-01") == ["0", "1", "2", "3", "4"]
    assert data("--from", "2100-01-01T00:00:00Z") == []
    assert data("--shard", "1") == []
    said = run("stream", "tail", "users/clicks", "--from", "4", status=2).err
    assert "--shard" in said
    said = run("stream", "tail", "users/clicks", "--from", "noon", status=2).err
    assert "neither earliest" in said
    run("stream", "tail", "users/clicks", "--from", "99", "--shard", "0", status=1)
    run("stream", "tail", "users/clicks", "--no-follow", "--shard", "7", status=1)


def test_a_tail_follows_until_ctrl_c(clicks: entrepot.Stream, home: Path) -> None:
    words = [sys.executable, "-m", "entrepot", "stream", "tail", "users/clicks", "--json"]
    out = home / "out"
    with out.open("wb") as file, subprocess.Popen(words, stdout=file) as process:
        wait_until(lambda: is_in_futex(process.pid), "it waits for records")
        clicks.append(b"first")
        wait_until(lambda: out.read_bytes().count(b"\n") == 1, "it printed the first")
        clicks.append_many([b"second", b"third"])
        wait_until(lambda: out.read_bytes().count(b"\n") == 3, "it printed all")
        wait_until(lambda: is_in_futex(process.pid), "it waits for more")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    found = [json.loads(line)["data"] for line in out.read_text().splitlines()]
    assert found[0] == "first"
    assert sorted(found[1:]) == ["second", "third"]


def test_what_a_stream_is_is_shown_with_its_shards(clicks: entrepot.Stream, run: Run) -> None:
    clicks.append_many([New(b"x", 1)] * 3)
    said = run("stream", "info", "users/clicks").out
    for part in ("users/clicks", "records ever", "2 h", "Oldest"):
        assert part in said
    found = run("stream", "info", "users/clicks", "--json").document
    assert (found["shards"], found["records"]) == (2, 3)
    assert found["sequences"] == [{"oldest": 1, "next": 1}, {"oldest": 1, "next": 4}]


def test_shards_are_added_and_never_taken_away(clicks: entrepot.Stream, run: Run) -> None:
    assert "users/clicks has 4 shards" in run("stream", "resize", "users/clicks", "4").out
    assert run("stream", "resize", "users/clicks", "5", "--json").document["shards"] == 5
    said = run("stream", "resize", "users/clicks", "2", status=1).err
    assert "5 shards" in said
    assert clicks.info().shards == 5


def test_consumer_groups_are_listed_with_how_far_they_are_behind(
    clicks: entrepot.Stream, run: Run
) -> None:
    clicks.append_many([New(b"x", 0)] * 3)
    with clicks.consumer("readers") as consumer:
        consumer.read(2)
        consumer.commit()
        said = run("stream", "groups", "users/clicks").out
        assert "1 group of users/clicks" in said
        assert "0: 3" in said
        (found,) = run("stream", "groups", "users/clicks", "--json").document
    assert (found["group"], found["consumers"], found["behind"]) == ("readers", 1, 1)


def test_a_stream_is_removed(depot: entrepot.Depot, clicks: entrepot.Stream, run: Run) -> None:
    assert "removed users/clicks" in run("stream", "rm", "users/clicks").out
    depot.stream("users/clicks", shards=1)
    assert run("stream", "rm", "users/clicks", "--json").document == {"removed": "users/clicks"}
    assert list(depot.container("users").list()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["info", "users/nope"],
        ["append", "users/nope", "x"],
        ["append", "users/nope"],
        ["tail", "users/nope", "--no-follow"],
        ["resize", "users/nope", "3"],
        ["groups", "users/nope"],
        ["rm", "users/nope"],
    ],
    ids=" ".join,
)
def test_a_stream_that_is_not_there_is_said_with_a_next_step(
    depot: entrepot.Depot, clicks: entrepot.Stream, run: Run, words: list[str]
) -> None:
    said = run("stream", *words, status=1).err
    assert "there is no stream 'users/nope'" in said
    assert "entrepot stream " in said
    words[1] = "nope/s"
    said = run("stream", *words, status=1).err
    assert "there is no container 'nope'" in said
    assert ("entrepot stream create nope/s" in said) == (words[0] == "append")
    assert "depot." not in said
    depot.table("users/people").put("a", {"x": 1})
    words[1] = "users/people"
    assert "error: " in run("stream", *words, status=1).err
    assert "no depot 'x'" in run("stream", *words, "--depot", "x", status=1).err
