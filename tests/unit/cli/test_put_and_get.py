"""`entrepot put` and `entrepot get`: every kind of file and literal, in and out again."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

import entrepot


def test_a_literal_that_is_put_is_printed_by_get(run) -> None:
    said = run("put", "--value", "{'a': [1, 2.5, None]}", "--name", "settings")
    assert "named settings" in said.out
    assert "{'a': [1, 2.5, None]}" in run("get", "settings").out
    assert run("get", "settings", "--json").document["value"] == {"a": [1, 2.5, None]}


def test_a_literal_may_be_json(run) -> None:
    run("put", "--value", '{"on": true, "off": null}', "--name", "switches")
    assert run("get", "switches", "--json").document["value"] == {"on": True, "off": None}


def test_a_literal_that_is_neither_python_nor_json_is_refused_with_a_way_out(run) -> None:
    said = run("put", "--value", "hello there", status=1)
    assert "'hello there' is neither a Python literal nor JSON" in said.err
    assert "quotes" in said.err
    assert "Traceback" not in said.err


def test_a_literal_is_never_evaluated(run) -> None:
    assert "neither" in run("put", "--value", "__import__('os').getpid()", status=1).err


def test_an_id_that_put_prints_is_understood_by_get(run) -> None:
    document = run("put", "--value", "42", "--json").document
    assert len(document["id"]) == 16
    assert run("get", document["id"]).out.strip() == "42"


@pytest.mark.parametrize(
    ("name", "content"),
    [("photo.jpg", b"\xff\xd8 bytes"), ("empty.bin", b""), ("run.pickle", pickle.dumps([1]))],
)
def test_any_other_file_comes_and_goes_as_its_bytes(run, home: Path, name, content) -> None:
    (home / name).write_bytes(content)
    run("put", home / name, "--name", "file")
    assert run("get", "file", "--json").document["type"] == "bytes"
    run("get", "file", "--out", home / "back.bin")
    assert (home / "back.bin").read_bytes() == content


def test_the_standard_input_is_a_file_called_minus(run, home: Path) -> None:
    run("put", "-", "--name", "piped", given=b"through a pipe")
    run("get", "piped", "--out", home / "piped.bin")
    assert (home / "piped.bin").read_bytes() == b"through a pipe"


def test_text_and_json_files_become_what_they_say(run, home: Path) -> None:
    (home / "note.txt").write_text("grüezi")
    (home / "list.json").write_text("[1, 2]")
    run("put", home / "note.txt", "--name", "note")
    run("put", home / "list.json", "--name", "list")
    assert run("get", "note").out.strip() == "grüezi"
    run("get", "list", "--out", home / "back.json")
    assert (home / "back.json").read_text() == "[\n  1,\n  2\n]\n"


def test_an_array_comes_and_goes_as_npy(run, home: Path) -> None:
    array = np.arange(100_000.0).reshape(100, 1000)
    np.save(home / "array.npy", array)
    run("put", home / "array.npy", "--name", "array")
    assert "100 x 1,000 float64" in run("get", "array").out
    document = run("get", "array", "--json").document["value"]
    assert document["shape"] == [100, 1000]
    assert document["head"][:3] == [0, 1, 2]
    run("get", "array", "--out", home / "back.npy")
    assert np.array_equal(np.load(home / "back.npy"), array)


def test_an_array_of_python_objects_is_refused_as_a_file(run, home: Path) -> None:
    np.save(home / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "cannot be read as npy" in run("put", home / "objects.npy", status=1).err


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_comes_and_goes(run, home: Path, ending: str) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"city": ["Bern", "Basel"], "people": [134_000, 173_000]})
    frame.to_csv(home / "cities.csv", index=False)
    frame.to_parquet(home / "cities.parquet")
    run("put", home / f"cities.{ending}", "--name", "cities")
    assert "Basel" in run("get", "cities").out
    document = run("get", "cities", "--json").document["value"]
    assert document["rows"] == 2
    assert document["head"]["people"] == [134_000, 173_000]
    run("get", "cities", "--out", home / "back.csv")
    assert (home / "back.csv").read_text() == (home / "cities.csv").read_text()
    run("get", "cities", "--out", home / "back.parquet")
    assert pd.read_parquet(home / "back.parquet").equals(frame)
    run("get", "cities", "--out", home / "back.pickle")
    assert pickle.loads((home / "back.pickle").read_bytes()).equals(frame)


def test_a_table_is_a_dict_of_arrays_without_pandas(run, home: Path, monkeypatch) -> None:
    monkeypatch.setattr("entrepot.cli.files.has_frames", lambda: False)
    (home / "cities.csv").write_text("city,people,area\nBern,134000,51.6\nBasel,173000,\n")
    run("put", home / "cities.csv", "--name", "cities")
    with entrepot.open() as depot:
        table = depot.objects.get(depot.objects.get_name("cities"))
        assert list(table["city"]) == ["Bern", "Basel"]
        assert table["people"].dtype == np.int64
        assert np.isnan(table["area"][1])
        del table
    run("get", "cities", "--out", home / "back.csv")
    assert (home / "back.csv").read_text().splitlines()[1] == "Bern,134000,51.6"


def test_a_value_of_a_variable_is_put_found_and_fetched(run) -> None:
    run("put", "--value", "1", "--space", "jobs", "--variable", "task", "--persistent")
    run("put", "--value", "2", "--space", "jobs", "--variable", "task", "--persistent")
    assert run("get", "jobs/task").out.strip() == "1"
    assert run("get", "jobs/task").out.strip() == "1"
    assert run("get", "jobs/task", "--fetch").out.strip() == "1"
    assert run("get", "jobs/task", "--fetch", "--timeout", 5).out.strip() == "2"
    said = run("get", "jobs/task", status=1)
    assert "has no value" in said.err
    assert "--timeout" in said.err
    assert run("get", "jobs/task", "--timeout", 0.05, status=1).err


def test_a_name_with_a_slash_goes_before_a_variable(run) -> None:
    run("put", "--value", "'variable'", "--space", "a", "--variable", "b", "--persistent")
    run("put", "--value", "'object'", "--name", "a/b")
    assert run("get", "a/b").out.strip() == "object"


def test_a_space_and_a_variable_may_have_slashes(run) -> None:
    run("put", "--value", "7", "--space", "x/y", "--variable", "z/w", "--persistent")
    assert run("get", "x/y/z/w").out.strip() == "7"


def test_a_whole_space_is_no_value(run) -> None:
    run("put", "--value", "7", "--space", "jobs", "--variable", "task", "--persistent")
    assert "entrepot ls jobs" in run("get", "jobs", status=1).err


@pytest.mark.parametrize("target", ["nobody", "00000000deadbeef", "no/thing", "", "/", "a/"])
def test_a_target_that_is_not_there_is_named_in_the_error(run, target: str) -> None:
    run("put", "--value", "7")
    assert f"nothing in depot 'default' is called {target!r}" in run("get", target, status=1).err


def test_a_depot_that_is_not_there_is_not_made_by_reading(run) -> None:
    said = run("get", "x", "--depot", "typo", status=1)
    assert "there is no depot 'typo'" in said.err
    assert entrepot.names() == []


def test_a_depot_may_live_in_another_directory(run, home: Path) -> None:
    run("put", "--value", "7", "--name", "n", "-d", "lab", "--directory", home / "elsewhere")
    assert (home / "elsewhere" / "lab").is_dir()
    assert run("get", "n", "-d", "lab", "--directory", home / "elsewhere").out.strip() == "7"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "there is no"),
        ("empty.csv", b"", "is empty"),
        ("empty.npy", b"", "is empty"),
        ("broken.npy", b"no array", "cannot be read as npy"),
        ("broken.json", b"{", "cannot be read as json"),
        ("broken.parquet", b"no parquet at all", "cannot be read as parquet"),
        ("broken.txt", b"\xff\xfe\xfa", "cannot be read as txt"),
        ("broken.csv", b'a,b\n"1,2\n', "cannot be read as csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_clear_error(run, home, name, content, message) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    if content is not None:
        (home / name).write_bytes(content)
    said = run("put", home / name, status=1)
    assert message in said.err.replace("\n", " ")
    assert "Traceback" not in said.err
    assert entrepot.names() == []


def test_a_directory_is_no_file(run, home: Path) -> None:
    assert "is a directory" in run("put", home, status=1).err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_clear_error(run, home: Path) -> None:
    (home / "secret").write_text("x")
    (home / "secret").chmod(0)
    assert "may not be accessed" in run("put", home / "secret", status=1).err


def test_a_value_without_a_form_for_the_ending_leaves_no_file(run, home: Path) -> None:
    run("put", "--value", "{'a': {1, 2}}", "--name", "odd")
    for ending in ("json", "csv", "bin"):
        said = run("get", "odd", "--out", home / f"odd.{ending}", status=1)
        assert "a dict cannot be written" in said.err
    assert list(home.glob("*odd*")) == []
    assert "there is no" in run("get", "odd", "-o", home / "no" / "odd.pickle", status=1).err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["file", "--value", "1"],
        ["--value", "1", "--space", "s"],
        ["--value", "1", "--variable", "v"],
        ["--value", "1", "--space", "s", "--variable", "v", "--name", "n"],
    ],
)
def test_arguments_of_put_that_do_not_fit_together_are_refused(run, arguments) -> None:
    assert run("put", *arguments, status=2).err
    assert entrepot.names() == []
