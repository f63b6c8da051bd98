"""`entrepot demo` and `entrepot bench`: real runs, with worker processes."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import entrepot
from entrepot.cli import demo
from entrepot.cli.showcase import columns, dataset, families
from entrepot.cli.showcase import run as run_module


def nothing_is_left(home: Path) -> None:
    assert entrepot.names() == []
    for root in (home / "memory", home / "data"):
        assert not root.exists() or [path.name for path in root.iterdir()] in ([], [".lock"])


def test_the_demo_shares_all_of_unicode_and_leaves_nothing_behind(run, home: Path) -> None:
    document = run("demo", "--workers", 2, "--json").document
    rows = sum(
        unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs") for code in range(0x110000)
    )
    assert document["data"]["rows"] == rows
    assert sum(result["characters"] for result in document["results"]) == rows
    assert {result["family"] for result in document["results"]} >= {"LATIN", "CJK", "GREEK"}
    assert document["left_behind"] == []
    nothing_is_left(home)


def test_the_demo_proves_that_workers_copy_nothing(run, home: Path) -> None:
    document = run("demo", "--workers", 3, "--json").document
    size = document["data"]["bytes"]
    assert len(document["workers"]) == 3
    for worker in document["workers"]:
        assert worker["shared"] == size
        assert worker["copied"] == worker["owned"] == worker["writeable"] == 0
        assert worker["own_growth"] < size / 4
    assert document["copied"]["put_bytes"] >= size
    assert document["copied"]["arena_growth_with_workers"] < size / 10
    assert sum(worker["jobs"] for worker in document["workers"]) == document["jobs"]


def test_the_demo_tells_a_person_what_was_copied(run, home: Path) -> None:
    said = run("demo", "--memory", "128M")
    for word in (
        "all of Unicode",
        "LATIN",
        "into shared memory, once",
        "own no data and are read-only",
    ):
        assert word in said.out
    assert "nothing is left behind" in said.out
    nothing_is_left(home)


def test_the_demo_runs_without_pandas(run, home: Path, monkeypatch) -> None:
    monkeypatch.setattr(dataset, "has_frames", lambda: False)
    document = run("demo", "--json").document
    assert document["data"]["kind"] == "numpy arrays"
    assert all(worker["copied"] == 0 for worker in document["workers"])
    nothing_is_left(home)


@pytest.fixture
def trips(home: Path) -> Path:
    random = np.random.default_rng(seed=7)
    path = home / "trips.csv"
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["city", "km", "riders"])
        for _ in range(5000):
            city = random.choice(["Bern", "Basel", "Chur"])
            lines.writerow([city, f"{random.exponential(5):.3f}", random.integers(1, 5)])
    return path


@pytest.mark.parametrize("frames", [True, False])
def test_the_demo_studies_the_columns_of_a_file(run, home, trips, monkeypatch, frames) -> None:
    if frames:
        pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setattr("entrepot.cli.files.has_frames", lambda: False)
    document = run("demo", trips, "--json").document
    assert document["data"]["rows"] == 5000
    found = {result["column"]: result for result in document["results"]}
    assert found["city"]["distinct"] == 3
    assert found["riders"]["min"] == 1
    assert found["riders"]["max"] == 4
    assert 4 < found["km"]["mean"] < 6
    assert all(worker["copied"] == 0 for worker in document["workers"])
    assert "Most frequent" in run("demo", trips).out
    nothing_is_left(home)


def test_the_demo_admits_that_a_small_table_is_copied(run, home: Path) -> None:
    (home / "small.csv").write_text("city,km\nBern,3.5\nBasel,7\n")
    said = run("demo", home / "small.csv")
    assert "2 rows, 2 columns" in said.out
    assert "comes back as a copy" in said.out
    assert "point into shared memory" not in said.out


def test_ctrl_c_ends_the_demo_and_leaves_nothing_behind(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "entrepot", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a group of its own, as a shell gives to what it starts
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(b"started" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        said = process.stdout.read() + process.stderr.read()
        assert process.wait(20) == 130
        assert b"Traceback" not in said
    nothing_is_left(home)


def test_a_worker_that_is_killed_costs_no_result(run, home: Path, monkeypatch) -> None:
    crew_of = run_module.Crew.gather

    def kill_one(self, space, variable, count, timeout):
        found = crew_of(self, space, variable, count, timeout)
        if variable == "ready":
            self.processes[0].kill()
            self.processes[0].wait()
        return found

    monkeypatch.setattr(run_module.Crew, "gather", kill_one)
    document = run("demo", "--workers", 3, "--json").document
    assert document["workers_lost"] == 1
    assert len(document["workers"]) == 2
    assert len(document["results"]) == document["jobs"]
    nothing_is_left(home)


def test_workers_that_all_die_are_an_error_with_their_words(run, home: Path, monkeypatch) -> None:
    load = demo.load

    def load_nonsense(path):
        return dataclasses.replace(load(path), study="nonsense")

    monkeypatch.setattr(demo, "load", load_nonsense)
    said = run("demo", status=1)
    assert "worker processes died" in said.err
    assert "nonsense" in said.err
    nothing_is_left(home)


def test_the_demo_studies_a_parquet_file(run, home: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    when = pd.date_range("2020-01-01", periods=100)
    pd.DataFrame({"when": when, "n": range(100)}).to_parquet(home / "days.parquet")
    document = run("demo", home / "days.parquet", "--json").document
    assert [result["distinct"] for result in document["results"]] == [100, 100]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "there is no"),
        ("empty.csv", "", "is empty"),
        ("heading.csv", "a,b\n", "without rows"),
        ("table.xlsx", "x", "no table that is known by its ending"),
        ("broken.parquet", "x", "cannot be read as parquet"),
    ],
)
def test_the_demo_refuses_what_is_no_table(run, home, name, content, message) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    if content is not None:
        (home / name).write_text(content)
    assert message in run("demo", home / name, status=1).err.replace("\n", " ")
    nothing_is_left(home)


def test_a_ragged_file_is_refused_with_its_line(run, home, monkeypatch) -> None:
    monkeypatch.setattr("entrepot.cli.files.has_frames", lambda: False)
    (home / "ragged.csv").write_text("a,b\n1,2\n1,2,3\n")
    said = run("demo", home / "ragged.csv", status=1).err.replace("\n", " ")
    assert "3 fields in line 3, but 2 headings" in said


def test_reading_parquet_without_pyarrow_says_what_to_install(run, home, monkeypatch) -> None:
    monkeypatch.setattr("entrepot.cli.files.find_spec", lambda name: None)
    (home / "table.parquet").write_bytes(b"PAR1")
    assert "pip install 'entrepot[" in run("demo", home / "table.parquet", status=1).err


def test_the_demo_never_takes_a_depot_that_exists(run, home: Path) -> None:
    run("put", "--value", "1", "--name", "precious", "-d", "lab")
    assert "there is a depot 'lab' already" in run("demo", "-d", "lab", status=1).err
    assert run("get", "precious", "-d", "lab").out.strip() == "1"


def test_the_demo_takes_a_name_and_a_directory_and_removes_both(run, home: Path) -> None:
    run("demo", "-d", "show", "--directory", home / "elsewhere")
    assert not (home / "elsewhere" / "show").exists()


def test_a_study_of_columns_is_the_same_for_arrays_and_frames() -> None:
    pd = pytest.importorskip("pandas")
    table = {"n": np.array([1.0, np.nan, 3.0, 3.0]), "t": np.array(["a", "b", "b", "b"])}
    frame = pd.DataFrame(table)
    for job in columns.jobs(table):
        assert columns.study(table, job) == columns.study(frame, job)


def test_every_character_is_in_one_family() -> None:
    table, names = families.characters()
    sizes = np.bincount(table["family"], minlength=len(names))
    assert sizes.sum() == len(table["code"])
    assert (sizes > 0).all()
    assert len({len(column) for column in table.values()}) == 1


def test_bench_prints_a_rate_for_every_operation(run, home: Path) -> None:
    document = run("bench", "--seconds", 0.02, "--json").document
    found = {entry["operation"] for entry in document}
    assert found >= {"put an int", "get an int", "exists", "round trip to a process"}
    assert all(entry["per_second"] > 0 for entry in document)
    nothing_is_left(home)
    assert "round trip" in run("bench", "--seconds", 0.01).out


def test_bench_in_a_depot_of_the_user_leaves_it_as_it_was(run, home: Path) -> None:
    run("put", "--value", "1", "--name", "precious", "-d", "lab")
    run("bench", "--seconds", 0.01, "-d", "lab")
    document = run("ls", "-d", "lab", "--json").document
    assert document["objects_total"] == 1
    assert document["spaces"] == []
