"""Every example runs as it is, says what it should, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))

SAYS = {
    "01_two_processes_one_dataframe": ["owns a copy: False; may write to it: False", "one copy"],
    "02_jobs_and_results": ["60 jobs, 60 results, none lost, though 3 workers were killed"],
    "03_wait_for_a_name": ["names: model/0, model/1, model/2", "never comes: "],
    "04_async": ["1000 tasks wait", "all 1000 letters"],
    "05_object_trees": [
        "part of 2 objects",
        "version 1 deleted; the features are still there: True",
        "version 2 deleted; the features are still there: False",
    ],
    "06_vineyard_in_a_pool": ["totals are right: True", "looked at shared memory: True"],
    "07_vineyard_and_dask": ["total: 6000000.0"],
    "08_executor": ["rows: [0, 1, 2, 3, 4, 5]", "died on the way: True", "copied: False"],
    "09_networkspaces": [
        "over TCP: [3, 1, 2]",
        "in the process: {'number': 2}",
        "results: [3, 2, 1, 0, 1, 2]",
    ],
    "10_v3io_tables_and_streams": [
        "objects written: 16",
        "{'__size': 0, 'age': 9, 'quip': 'boo', 'height': 130}",
        "older than 15: [('bob', 43), ('linda', 41)]",
        "first shard record #2",
        "own API: {'age': 43, 'feature': 'mustache'}",
    ],
    "12_proxies": [
        "is an array: True and a proxy: True",
        "means: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
        "kept: 42",
        "an OwnedProxy of 6000000.0",
    ],
    "13_proxies_with_parsl": ["objects in the depot: 1"],
    "11_lines_of_many_processes": [
        "a child process speaks",
        "were one line each: True",
        "was heard: True",
    ],
    "14_original_vineyard_clients": [
        "the original's total is right: True",
        "its answer is right: True",
        "looked at in place: True",
    ],
}


def test_every_example_has_its_expected_words_here() -> None:
    assert {example.stem for example in EXAMPLES} == set(SAYS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_as_it_is_and_ends_clean(example: Path, tmp_path: Path) -> None:
    roots = {"ENTREPOT_DIR": str(tmp_path / "memory"), "ENTREPOT_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        env={**os.environ, **roots},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout)
    for words in SAYS[example.stem]:
        assert words in done.stdout
    for root in map(Path, roots.values()):
        assert not root.exists() or [path.name for path in root.iterdir()] in ([], [".lock"])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_one_screen(example: Path) -> None:
    assert len(example.read_text().splitlines()) <= 70
