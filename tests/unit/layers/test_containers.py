"""Containers: objects of any size, appends, ranges, directories."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from entrepot import settings
from entrepot.errors import (
    ConflictError,
    CorruptError,
    DiskFullError,
    ExistsError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
)
from entrepot.layers.containers import Container, core, delete_container
from entrepot.layers.entries import NoContainerError, split
from entrepot.layers.tables import Table
from entrepot.layers.tier import Tier

INLINE = settings.BODY_INLINE_BYTES_MAX
SIZES = [0, 1, INLINE - 1, INLINE, INLINE + 1, 3_000_000]


def pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 50_000):
        yield data[at : at + 50_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", ["bytes", "file", "pieces", "view"])
def test_an_object_comes_back_whole_and_in_ranges(container: Container, size: int, form: str):
    data = os.urandom(size)
    given = {
        "bytes": data,
        "file": io.BytesIO(data),
        "pieces": pieces(data),
        "view": memoryview(data),
    }[form]
    container.put("a/b", given)
    assert container.get("a/b") == data
    for offset, count in ((0, 1), (size // 2, 10), (size, 1), (size + 9, None), (1, None), (0, 0)):
        end = None if count is None else offset + count
        assert container.get("a/b", offset=offset, count=count) == data[offset:end]
    assert container.info("a/b").size == size


@pytest.mark.parametrize("first", SIZES)
@pytest.mark.parametrize("second", SIZES)
def test_an_append_goes_to_the_end(container: Container, first: int, second: int):
    one, two = os.urandom(first), os.urandom(second)
    container.append("o", one)
    container.append("o", two if second % 2 else pieces(two))
    container.append("o", "end")
    assert container.get("o") == one + two + b"end"


def test_a_put_replaces_and_keeps_attributes(data_tier: Tier, container: Container):
    Table(data_tier, "users", "t").put("k", {"a": 1})
    for data in (b"small", b"x" * 100_000, b"", b"y" * 200_000, b"z"):
        container.put("t/k", data)
        assert container.get("t/k") == data
        assert Table(data_tier, "users", "t").get("k") == {"a": 1}


def test_a_reader_sees_the_object_as_it_was(container: Container):
    for data in (b"small", b"x" * 100_000):
        container.put("o", data)
        with container.open("o") as reader:
            container.append("o", b"more")
            container.put("o", b"other")
            container.delete("o")
            assert reader.read() == data
            assert reader.seek(-2, os.SEEK_END) == len(data) - 2
            assert reader.read(100) == data[-2:]
            assert reader.read() == b""
            assert reader.info.size == len(data)
        with pytest.raises(ValueError, match="closed"):
            reader.read()


def test_a_put_that_fails_midway_changes_nothing(container: Container):
    def broken() -> Iterator[bytes]:
        yield b"x" * 200_000
        raise KeyError("broken")

    container.put("o", b"before")
    for call in (container.put, container.append):
        with pytest.raises(KeyError):
            call("o", broken())
    assert container.get("o") == b"before"


@pytest.mark.parametrize("data", [None, 5, ["text"], [1]], ids=repr)
def test_what_is_no_data_is_refused(container: Container, data: object):
    with pytest.raises(TypeMismatchError):
        container.put("o", data)  # pyright: ignore[reportArgumentType] on purpose


def test_a_file_of_text_is_refused(container: Container):
    with pytest.raises(TypeMismatchError, match="binary"):
        container.put("o", io.StringIO("text"))  # pyright: ignore[reportArgumentType] on purpose


def test_directories_are_made_listed_and_deleted_when_empty(container: Container):
    container.put("a/b/c", b"1")
    container.put("a/x", b"22")
    container.make_directory("/a//d/")
    container.make_directory("a/d")
    assert [(i.path, i.kind, i.size) for i in container.list("a")] == [
        ("a/b", "directory", 0),
        ("a/d", "directory", 0),
        ("a/x", "object", 2),
    ]
    assert [i.path for i in container.list(recursive=True)] == ["a", "a/b", "a/b/c", "a/d", "a/x"]
    assert [i.path for i in container.list("a", only_directories=True)] == ["a/b", "a/d"]
    assert "a/b/" in container
    assert "a/nope" not in container
    assert 5 not in container
    for path in ("a", "a/b"):
        with pytest.raises(ConflictError):
            container.delete(path)
        with pytest.raises(ConflictError):
            container.get(path)
        with pytest.raises(ConflictError):
            container.put(path, b"")
    for path in ("a/x/y", "a/x/y/z"):
        with pytest.raises(ConflictError):
            container.put(path, b"")
    with pytest.raises(ConflictError):
        container.make_directory("a/x")
    container.delete("a/b/c")
    assert list(container.list("a/b")) == []
    container.delete("a/b")
    with pytest.raises(NotFoundError):
        list(container.list("a/b"))
    container.delete("", recursive=True)
    assert list(container.list()) == []


def test_pages_of_a_directory_go_on_where_they_ended(container: Container):
    for number in range(7):
        container.put(f"d/f{number}", b"")
        container.make_directory(f"d/dir{number}")
    page, behind = container.page("d", limit=3)
    assert [info.path for info in page] == ["d/dir0", "d/dir1", "d/dir2"]
    assert behind == "dir2"
    page, behind = container.page("d", "dir5", limit=3)
    assert [info.path for info in page] == ["d/dir6", "d/f0", "d/f1"]
    page, behind = container.page("d", "dir2", limit=4, only_directories=True)
    assert ([info.path for info in page], behind) == ([f"d/dir{n}" for n in range(3, 7)], None)
    with pytest.raises(LimitError):
        container.page(limit=0)


def test_what_is_not_there_is_said_to_be_so(container: Container):
    for call in (container.get, container.delete, container.info, container.list):
        with pytest.raises(NotFoundError):
            list(call("nope"))  # pyright: ignore[reportArgumentType] some return nothing
    container.create()
    assert list(container.list()) == []
    with pytest.raises(ExistsError):
        container.create()
    with pytest.raises(LimitError):
        container.get("o", offset=-1)
    with pytest.raises(LimitError):
        container.put("/", b"")


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "1", "a b", "a/b", "é", "x" * 256, ".."])
def test_a_name_of_a_container_that_cannot_be_is_refused(data_tier: Tier, name: str):
    with pytest.raises(LimitError):
        Container(data_tier, name)


def test_appends_of_many_threads_do_not_mix(container: Container):
    def work(number: int) -> None:
        for _ in range(10):
            container.append("log", bytes([number]) * 9000)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = container.get("log")
    runs = [data[at : at + 9000] for at in range(0, len(data), 9000)]
    assert len(runs) == 40
    assert all(run == run[:1] * 9000 for run in runs)
    assert [sum(run[0] == number for run in runs) for number in range(4)] == [10] * 4


def test_large_objects_are_copied_to_a_file_and_never_held(container: Container, tmp_path: Path):
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(100 * settings.MIB)
        file.seek(50 * settings.MIB)
        file.write(b"here")
    with source.open("rb") as file:
        container.put("big", file)
    assert container.get("big", offset=50 * settings.MIB, count=4) == b"here"
    assert container.info("big").size == 100 * settings.MIB


# What tests of a random kind found.


@pytest.mark.parametrize("form", ["bytes", "pieces"])
def test_a_large_append_makes_an_object_whole_or_not_at_all(
    data_tier: Tier, container: Container, form: str, monkeypatch: pytest.MonkeyPatch
):
    data = os.urandom(200_000)

    def given() -> bytes | Iterator[bytes]:
        return data if form == "bytes" else pieces(data)

    with monkeypatch.context() as patched:

        def fail(*_: object) -> None:
            raise DiskFullError("full")

        patched.setattr(data_tier.files, "sync", fail)
        with pytest.raises(DiskFullError):
            container.append("a/new", given())
    assert "a" not in container
    container.append("a/new", given())
    container.append("a/new", given())
    assert container.get("a/new") == data * 2
    for path in ("a/new/below", "a"):
        with pytest.raises(ConflictError):
            container.append(path, given())
    bare = Container(data_tier, "absent", makes_container=False)
    with pytest.raises(NoContainerError):
        bare.append("o", given())


def between(
    container: Container, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Do something just before the next append says that it is done."""
    write, acted = container._engine.write, list[bool]()

    def write_later(fn: Callable[..., object], *args: object) -> object:
        if fn in (core.replace_body, core.extend_file) and not acted:
            acted.append(True)
            monkeypatch.undo()
            act()
        return write(fn, *args)

    monkeypatch.setattr(container._engine, "write", write_later)


@pytest.mark.parametrize("size", [60_000, 100_000], ids=["inline", "file"])
@pytest.mark.parametrize("change", ["put", "append", "delete", "delete container"])
def test_an_append_sees_what_others_did_meanwhile(
    data_tier: Tier,
    container: Container,
    size: int,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
):
    container.put("o", b"a" * size)
    end = b"end" * 10_000
    before = {
        "put": b"b" * size,
        "append": b"a" * size + b"more",
        "delete": b"",
        "delete container": b"",
    }[change]
    acts: dict[str, Callable[[], object]] = {
        "put": lambda: container.put("o", b"b" * size),
        "append": lambda: container.append("o", b"more") if size < 65_000 else None,
        "delete": lambda: container.delete("o"),
        "delete container": lambda: data_tier.commits.write(delete_container, "users"),
    }
    if change == "append" and size > 65_000:
        before = b"a" * size  # another append would wait for this one
    between(container, acts[change], monkeypatch)
    container.append("o", end)
    assert container.get("o") == before + end


def test_a_body_that_is_gone_is_said_to_be_so(container: Container, data_tier: Tier):
    container.put("o", bytes(100_000))
    assert data_tier.files is not None
    number = data_tier.engine.read(core.find, "users", split("o")).body
    Path(data_tier.files._path(number)).unlink()
    for call in (lambda: container.get("o"), lambda: container.append("o", b"x")):
        with pytest.raises(CorruptError, match="users/o"):
            call()
    container.put("o", b"again")
    assert container.get("o") == b"again"


def test_all_files_of_a_container_go_however_many(
    data_tier: Tier, container: Container, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(settings, "BATCH_KEYS", 3)
    monkeypatch.setattr(settings, "BODY_INLINE_BYTES_MAX", 10)
    for number in range(10):
        container.put(f"{number}", bytes(11))
    data_tier.commits.write(delete_container, "users")
    data_tier.sweep()
    assert [path for path in tmp_path.rglob("files/*") if path.is_file()] == []


def test_a_container_that_is_not_there_is_not_emptied(container: Container):
    with pytest.raises(NotFoundError):
        container.delete("", recursive=True)


def test_writes_of_a_container_may_share_a_transaction_with_others(container: Container):
    calls = [container.creating(), container.putting("d/o", b"a"), container.appending("d/o", b"b")]
    calls += [container.making_directory("e"), container.putting("e", b""), container.deleting("d")]
    container.tier.commits.write_all(calls)
    assert calls[1].value() is None
    assert calls[2].value() is None
    for refused in calls[4:]:
        with pytest.raises(ConflictError):
            refused.value()
    assert container.get("d/o") == b"ab"
    large = container.appending("d/o", bytes(settings.BODY_INLINE_BYTES_MAX))
    container.tier.commits.write_all([large])
    assert large.value().size == 2, "it is to be appended with `append`"
    assert container.get("d/o") == b"ab"


def test_an_append_never_writes_over_what_a_reader_does_not_see_yet(
    data_tier: Tier, container: Container, monkeypatch: pytest.MonkeyPatch
):
    # As after a kill between LMDB's commit and its word to the readers.
    container.put("o", b"a" * 100_000)
    read = data_tier.engine.read
    stale = read(core.find_appendable, "users", split("o"))
    container.append("o", b"committed, and not seen")
    with monkeypatch.context() as patched:

        def read_late(fn: Callable[..., object], *args: object) -> object:
            return stale if fn is core.find_appendable else read(fn, *args)

        patched.setattr(data_tier.engine, "read", read_late)
        container.append("o", b"more")
    assert container.get("o") == b"a" * 100_000 + b"committed, and not seen" + b"more"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"offset": -3}, LimitError, "offset is -3"),
        ({"count": -1}, LimitError, "count is -1"),
        ({"offset": "a"}, TypeMismatchError, "offset is 'a', a str"),
        ({"count": 1.5}, TypeMismatchError, "count is 1.5, a float"),
    ],
)
def test_a_range_that_cannot_be_is_refused_by_name(container: Container, arguments, error, says):
    container.put("o", b"text")
    with pytest.raises(error, match=says):
        container.get("o", **arguments)
