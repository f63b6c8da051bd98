"""Containers against a plain dict of bytes: the same random steps on both.

Two sessions put, append, read, list and delete; what is open for reading stays as it was.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import IO, Any
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from entrepot import settings
from entrepot.errors import ConflictError, ExistsError, LimitError, NotFoundError
from entrepot.layers.containers import Container, ObjectReader, delete_container
from entrepot.layers.tables import Table
from support.data import DATA_KINDS, data_problems, end_session, thorough, two_tiers_of

LIMIT = 100
"""Bodies up to so many bytes are in the catalog, in these tests."""
SIDES = st.integers(0, 1)
NAMES = st.sampled_from(["a", "b", "é", "a\x00", "a b", "'"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
SIZES = st.sampled_from([0, 1, LIMIT // 2, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT])
FORMS = st.sampled_from(["bytes", "file", "pieces"])


def given_as(form: str, data: bytes) -> bytes | IO[bytes] | Iterator[bytes]:
    if form == "bytes":
        return data
    if form == "file":
        return io.BytesIO(data)
    return iter([data[:30], b"", data[30:]])


class ContainersMachine(RuleBasedStateMachine):
    kind: str

    @initialize()
    def begin(self) -> None:
        self.ending = contextlib.ExitStack()
        self.ending.enter_context(mock.patch.object(settings, "BODY_INLINE_BYTES_MAX", LIMIT))
        self.ending.enter_context(mock.patch.object(settings, "BATCH_KEYS", 3))
        self.tiers = self.ending.enter_context(two_tiers_of(self.kind))
        self.is_there = False
        self.objects: dict[str, bytes] = {}
        self.attributes: dict[str, dict[str, int]] = {}
        self.directories: set[str] = set()
        self.readers: list[tuple[ObjectReader, bytes]] = []
        self.inodes: dict[str, int] = {}
        self.made = 0
        self.past: set[int] = set()

    def container(self, side: int) -> Container:
        return Container(self.tiers[side], "c")

    def table(self, side: int) -> Table:
        return Table(self.tiers[side], "c", "")

    def new_data(self, size: int) -> bytes:
        self.made += 1
        return (b"%d," % self.made * size)[:size]

    def above(self, path: str) -> list[str]:
        parts = path.split("/")
        return ["/".join(parts[:count]) for count in range(1, len(parts))]

    def is_blocked(self, path: str) -> bool:
        """Tell whether there can be no object of that path."""
        return path in self.directories or any(up in self.objects for up in self.above(path))

    def below(self, directory: str) -> list[str]:
        every = sorted([*self.objects, *self.directories])
        head = f"{directory}/" if directory else ""
        return [path for path in every if path.startswith(head)]

    def children(self, directory: str) -> list[str]:
        """Return the paths right beneath a directory, by name."""
        depth = directory.count("/") + 1 if directory else 0
        found = [path for path in self.below(directory) if path.count("/") == depth]
        return sorted(found, key=lambda path: path.rpartition("/")[2])

    def forget(self, path: str) -> None:
        self.objects.pop(path, None)
        self.attributes.pop(path, None)
        self.directories.discard(path)
        if path in self.inodes:
            self.past.add(self.inodes.pop(path))

    # Writing.

    @rule(side=SIDES, path=PATHS, size=SIZES, form=FORMS)
    def put(self, side: int, path: str, size: int, form: str) -> None:
        data = self.new_data(size)
        if self.is_blocked(path):
            with pytest.raises(ConflictError):
                self.container(side).put(path, given_as(form, data))
            return
        self.container(side).put(path, given_as(form, data))
        self.is_there = True
        self.objects[path] = data
        self.directories.update(self.above(path))

    @rule(side=SIDES, path=PATHS, size=SIZES, form=FORMS)
    def append(self, side: int, path: str, size: int, form: str) -> None:
        data = self.new_data(size)
        if self.is_blocked(path):
            with pytest.raises(ConflictError):
                self.container(side).append(path, given_as(form, data))
            return
        self.container(side).append(f"/{path}", given_as(form, data))
        self.is_there = True
        self.objects[path] = self.objects.get(path, b"") + data
        self.directories.update(self.above(path))

    @precondition(lambda self: self.objects)
    @rule(side=SIDES, size=SIZES, form=FORMS, data=st.data())
    def append_to_what_is_there(self, side: int, size: int, form: str, data: st.DataObject) -> None:
        self.append(side, data.draw(st.sampled_from(sorted(self.objects))), size, form)

    @rule(side=SIDES, path=PATHS)
    def put_what_breaks_off(self, side: int, path: str) -> None:
        def broken() -> Iterator[bytes]:
            yield b"x" * (LIMIT + 1)
            raise ZeroDivisionError

        for write in (self.container(side).put, self.container(side).append):
            with pytest.raises(ZeroDivisionError):
                write(path, broken())

    @rule(side=SIDES, path=PATHS, number=st.integers(0, 9))
    def put_attributes(self, side: int, path: str, number: int) -> None:
        if self.is_blocked(path):
            with pytest.raises(ConflictError):
                self.table(side).put(path, {"n": number})
            return
        self.table(side).put(path, {"n": number})
        self.is_there = True
        self.objects.setdefault(path, b"")
        self.attributes[path] = {"n": number}
        self.directories.update(self.above(path))

    @rule(side=SIDES, path=PATHS)
    def make_directory(self, side: int, path: str) -> None:
        if any(at in self.objects for at in [path, *self.above(path)]):
            with pytest.raises(ConflictError):
                self.container(side).make_directory(path)
            return
        self.container(side).make_directory(f"{path}/")
        self.is_there = True
        self.directories.update([path, *self.above(path)])

    @rule(side=SIDES, path=PATHS | st.just(""), recursive=st.booleans())
    def delete(self, side: int, path: str, recursive: bool) -> None:
        container = self.container(side)
        if not path:
            if recursive and self.is_there:
                container.delete("", recursive=True)
                for gone in self.below(""):
                    self.forget(gone)
            else:
                with pytest.raises(NotFoundError):
                    container.delete("", recursive=recursive)
        elif path not in self.objects and path not in self.directories:
            with pytest.raises(NotFoundError):
                container.delete(path, recursive=recursive)
        elif self.below(path) and not recursive:
            with pytest.raises(ConflictError):
                container.delete(path)
        else:
            container.delete(path, recursive=recursive)
            for gone in [path, *self.below(path)]:
                self.forget(gone)

    @rule(side=SIDES, path=PATHS)
    def delete_as_an_item(self, side: int, path: str) -> None:
        if path in self.objects:
            self.table(side).delete(path)
            self.forget(path)
        else:
            error = ConflictError if path in self.directories else NotFoundError
            with pytest.raises(error):
                self.table(side).delete(path)

    @rule(side=SIDES)
    def delete_the_container(self, side: int) -> None:
        if not self.is_there:
            return
        self.tiers[side].commits.write(delete_container, "c")
        for path in self.below(""):
            self.forget(path)
        self.is_there = False

    @rule(side=SIDES)
    def sweep(self, side: int) -> None:
        self.tiers[side].sweep()

    @rule(side=SIDES, exist_ok=st.booleans())
    def create(self, side: int, exist_ok: bool) -> None:
        if self.is_there and not exist_ok:
            with pytest.raises(ExistsError):
                self.container(side).create()
        else:
            self.container(side).create(exist_ok=exist_ok)
        self.is_there = True

    # Reading.

    @rule(side=SIDES, path=PATHS, offset=st.integers(0, 4 * LIMIT), count=st.none() | SIZES)
    def get(self, side: int, path: str, offset: int, count: int | None) -> None:
        container = self.container(side)
        if path in self.objects:
            end = None if count is None else offset + count
            got = container.get(path, offset=offset, count=count)
            assert got == self.objects[path][offset:end]
        else:
            error = ConflictError if path in self.directories else NotFoundError
            with pytest.raises(error):
                container.get(path, offset=offset, count=count)

    @precondition(lambda self: self.objects)
    @rule(side=SIDES, data=st.data())
    def open(self, side: int, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.objects)))
        self.readers.append((self.container(side).open(path), self.objects[path]))

    @precondition(lambda self: self.readers)
    @rule()
    def close(self) -> None:
        self.readers.pop(0)[0].close()

    @rule(side=SIDES, path=PATHS | st.just(""), only=st.booleans(), limit=st.integers(0, 4))
    def list_in_pages(self, side: int, path: str, only: bool, limit: int) -> None:
        container = self.container(side)
        if limit == 0:
            with pytest.raises(LimitError):
                container.page(path, limit=limit)
            return
        is_there = path in self.directories if path else self.is_there
        if not is_there:
            with pytest.raises(NotFoundError):
                container.page(path, limit=limit)
            return
        expected = [at for at in self.children(path) if not only or at in self.directories]
        behind: str | None = ""
        while behind is not None:
            page, behind = container.page(path, behind, limit=limit, only_directories=only)
            assert len(page) == min(limit, len(expected))
            assert [info.path for info in page] == expected[: len(page)]
            expected = expected[len(page) :]
            assert (behind is None) == (not expected)

    @rule(side=SIDES)
    def a_process_is_followed_by_another(self, side: int) -> None:
        end_session(self.tiers, side)

    # What must be so after each step.

    @invariant()
    def nothing_is_wrong_in_the_tier(self) -> None:
        if hasattr(self, "tiers"):
            assert data_problems(self.tiers[0]) == []

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        if not getattr(self, "is_there", False):
            return
        found = list(self.container(0).list(recursive=True))
        assert sorted(info.path for info in found) == self.below("")
        for info in found:
            assert info.is_directory == (info.path in self.directories)
            assert info.size == len(self.objects.get(info.path, b""))
            assert info.inode not in self.past
            assert self.inodes.setdefault(info.path, info.inode) == info.inode
            if not info.is_directory:
                assert self.table(1).get(info.path) == self.attributes.get(info.path, {})
        assert len(set(self.inodes.values())) == len(self.inodes)

    @invariant()
    def what_is_open_stays_as_it_was(self) -> None:
        for reader, data in getattr(self, "readers", ()):
            reader.seek(0)
            assert reader.read() == data

    def teardown(self) -> None:
        if hasattr(self, "ending"):
            with self.ending:
                for path, data in self.objects.items():
                    assert self.container(0).get(path) == data
                for reader, _ in self.readers:
                    reader.close()


@pytest.mark.parametrize("kind", DATA_KINDS)
def test_containers_do_what_the_model_does(kind: str) -> None:
    machine: Any = type("ContainersMachine", (ContainersMachine,), {"kind": kind})
    run_machine(machine, settings=thorough())
