"""What somebody trips over who uses the commands for the first time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.conftest import Run

import entrepot


@pytest.fixture
def shop(home: Path) -> None:
    with entrepot.open() as depot:
        depot.table("shop/orders").put("a", {"city": "Bern"})
        depot.container("shop").put("files/today.txt", "rain")


def test_rm_of_the_last_value_says_what_stays_on_disk(run: Run, shop: None, home: Path) -> None:
    run("put", "--value", "1", "--name", "a")
    said = run("rm", "a").out
    assert "it is gone" not in said
    assert "what it has on disk stays" in said
    assert str(home / "data" / "default") in said.replace("\n", "")


def test_container_ls_without_a_path_lists_containers(run: Run, shop: None) -> None:
    assert "1 container in depot default" in run("container", "ls").out
    assert run("container", "ls", "--json").document == ["shop"]


@pytest.mark.parametrize("path", ["shop/orders", "shop/files"])
def test_get_of_a_directory_says_how_to_look_into_it(run: Run, shop: None, path: str) -> None:
    said = run("container", "get", path, status=1).err
    assert "is a directory" in said
    assert f"entrepot container ls {path} --depot default" in said


def test_put_onto_a_directory_says_how_to_put_into_it(run: Run, shop: None, home: Path) -> None:
    (home / "a.csv").write_text("x")
    said = run("container", "put", home / "a.csv", "shop/files", status=1).err
    assert "shop/files/ puts it into the directory" in said
    run("container", "put", home / "a.csv", "shop/files/")
    assert run("container", "get", "shop/files/a.csv").out == "x"


def test_one_equals_sign_is_told_from_two(run: Run, shop: None) -> None:
    said = run("table", "scan", "shop/orders", "--where", "city = 'Bern'", status=1).err
    assert "== compares" in said
    assert "== compares" not in run("table", "scan", "shop/orders", "-w", "a >", status=1).err


def test_a_scan_of_a_container_alone_says_where_its_tables_are(run: Run, shop: None) -> None:
    assert "`entrepot table ls shop`" in run("table", "scan", "shop").out
    assert "table ls" not in run("table", "scan", "shop/orders").out


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_rows_are_imported_from_the_standard_input(
    run: Run, home: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"csv": b"id,n\na,1\nb,2\n", "jsonl": b'{"id":"a","n":1}\n{"id":"b","n":2}\n'}
    words = ("table", "import", "shop/t", "-", "--format", form, "--key", "id")
    assert "imported 2 rows" in run(*words, given=rows[form]).out
    with entrepot.open() as depot:
        assert depot.table("shop/t").get("b") == {"id": "b", "n": 2}
    assert "-, line 2" in run(*words, given=b"id\n,\n", status=1).err or form == "jsonl"


def test_rows_are_imported_from_a_pipe_that_has_a_path(home: Path) -> None:
    words = ["table", "import", "shop/t", "/dev/stdin", "-f", "csv", "-k", "id", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "entrepot", *words],
        input=b"id,n\na,1\n",
        capture_output=True,
        check=False,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    assert b'"imported": 1' in done.stdout


def test_ls_shows_of_spaces_as_many_as_the_limit(run: Run, home: Path) -> None:
    for name in ("one", "two"):
        run("put", "--value", "1", "--space", name, "--variable", "v")
    said = run("ls", "--limit", 1).out
    assert "2 spaces" in said
    assert "… and 1 more" in said
    assert "two" not in said


def test_stat_counts_one_entry_of_lines(run: Run, home: Path) -> None:
    with entrepot.open() as depot, depot.lines("train").writer() as writer:
        writer.write("one\n")
    assert "1 buffer (1 entry)" in run("stat").out


def test_a_name_given_as_an_id_is_told_how_it_is_given(home: Path) -> None:
    with entrepot.open() as depot:
        depot.objects.put(1, name="prices")
        with pytest.raises(entrepot.TypeMismatchError, match=r"get\(name=TEXT\)"):
            depot.objects.get("prices")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("create shop/orders", "there is an entry 'shop/orders' already"),
        ("create shop/clicks", "there is a stream 'shop/clicks' already"),
        ("append shop/nope x", "there is no stream 'shop/nope'"),
        ("append shop/orders x", "'shop/orders' is no stream"),
        ("resize shop/clicks 1", "the stream 'shop/clicks' has 2 shards"),
    ],
    ids=["entry", "twice", "missing", "table", "fewer"],
)
def test_errors_of_streams_say_the_path_that_was_typed(
    run: Run, shop: None, words: str, says: str
) -> None:
    run("stream", "create", "shop/clicks", "--shards", 2)
    assert says in run("stream", *words.split(), status=1).err


def test_an_id_of_zeros_is_not_there_like_any_other(run: Run, shop: None) -> None:
    assert "is called '0000000000000000'" in run("get", "0" * 16, status=1).err


def test_ls_of_a_variable_says_what_shows_its_values(run: Run, home: Path) -> None:
    run("put", "--value", "1", "--space", "jobs", "--variable", "task")
    assert "`entrepot spaces jobs task`" in run("ls", "jobs/task", status=1).err


@pytest.mark.parametrize("words", [("ls",), ("rm", "k123")], ids=["ls", "rm"])
def test_keys_of_a_depot_that_is_not_there_make_none(
    run: Run, home: Path, words: tuple[str, ...]
) -> None:
    assert "there is no depot 'typo'" in run("keys", *words, "-d", "typo", status=1).err
    assert not (home / "memory").exists()
    assert not (home / "data").exists()


@pytest.mark.parametrize(
    ("module", "says"),
    [("nope_nope", "there is no module 'nope_nope'"), ("json.nope", "no module 'json.nope'")],
)
def test_run_of_a_module_that_is_not_there_is_one_line(home: Path, module: str, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "entrepot", "run", "-m", module],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
    )
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
