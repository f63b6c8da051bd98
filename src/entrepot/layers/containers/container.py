"""A container: objects by path, in directories."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final, TypeAlias, cast

from entrepot import settings
from entrepot.arena.files import Files, Written
from entrepot.engine.protocol import Transaction
from entrepot.errors import (
    CorruptError,
    DiskFullError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
)
from entrepot.layers import entries
from entrepot.layers.commits import Call
from entrepot.layers.containers import core
from entrepot.layers.containers.core import Changed, Info, NewBody
from entrepot.layers.entries import Entry, Path
from entrepot.layers.numbers import whole
from entrepot.layers.tier import Tier

__all__ = ["Container", "Data", "ObjectReader", "sweep"]

Data: TypeAlias = bytes | bytearray | memoryview | str | IO[bytes] | Iterable[bytes]
"""What can be stored: bytes, text as UTF-8, or a binary file or pieces, which are streamed."""

_PIECE_BYTES: Final = settings.MIB
_SPOOL_BYTES: Final = 4 * settings.MIB


class Container:
    """Objects by path: bytes of any size, in directories. Made by `Depot.container`.

    Directories are made by what is put in them, and stay when they become empty. What is
    acknowledged is on the disk. Large objects are streamed, never held in memory.
    """

    def __init__(self, tier: Tier, name: str, *, makes_container: bool = True) -> None:
        self.use(tier)
        self.name = entries.check_container_name(name)
        self._makes_container = makes_container

    def use(self, tier: Tier) -> None:
        """Work on this tier: for the depot, when it closes."""
        self._tier = tier
        self._engine = tier.engine

    def __repr__(self) -> str:
        return f"<Container {self.name!r}>"

    @property
    def tier(self) -> Tier:
        """Where it is: for the depot, faces and gateways."""
        return self._tier

    def create(self, *, exist_ok: bool = False) -> None:
        """Make the container, empty.

        Raises:
            ExistsError: It is there, and that is not wanted.
        """
        self._commit(self.creating(exist_ok=exist_ok))

    def creating(self, *, exist_ok: bool = False) -> Call:
        """Return the write that `create` does."""
        return Call(core.make_container, self.name, self._tier.ids.next(), time.time_ns(), exist_ok)

    # Writing.

    def put(self, path: str, data: Data) -> None:
        """Store an object, in place of one that is there.

        Args:
            path: Where; directories above it are made.
            data: Bytes, text, a binary file, or pieces of bytes.

        Raises:
            ConflictError: There is a directory, or something above it is an object.
            DiskFullError: There is no room; what was there stays.
            LimitError: The path cannot be.
            TypeMismatchError: `data` is of no such type.

        Cost: small ones one transaction; large ones one file, and a wait for the disk for both.
        """
        at = entries.split(path)
        head, rest = _head(data)
        if rest is None:
            self._commit_body(at, NewBody(head))
            return
        files = self._files()
        with files.writing() as written:
            _copy(head, rest, written)
            files.sync(written)
            self._commit_body(at, NewBody(b"", written.number, written.size))

    def putting(self, path: str, data: Data) -> Call | None:
        """Return the write that `put` does, for faces and gateways.

        It results in what was there before, for `swept`. Of what is large, or may be, there is
        none: it must be written to a file before.
        """
        if isinstance(data, (bytes, bytearray, memoryview, str)):
            head, rest = _head(data)
            if rest is None:
                return self._putting_body(entries.split(path), NewBody(head))
        return None

    def _putting_body(self, at: Path, body: NewBody) -> Call:
        inodes, now_ns = self._inodes(at), time.time_ns()
        return Call(core.put_body, self.name, at, body, self._tier.files, inodes, now_ns)

    def _commit_body(self, at: Path, body: NewBody) -> None:
        self.swept(self._commit(self._putting_body(at, body)))

    def swept(self, gone: Entry | None) -> None:
        """Remove what is left of an entry that was replaced or deleted."""
        if gone is not None and entries.leaves_trash(gone):
            self._tier.sweep()

    def _commit(self, call: Call) -> Any:
        return self._tier.commits.write(call.fn, *call.args)

    def append(self, path: str, data: Data) -> None:
        """Append bytes to an object, made if it is not there. Appends do not mix.

        Raises:
            ConflictError, DiskFullError, LimitError, TypeMismatchError: As `put`.
        """
        at = entries.split(path)
        head, rest = _head(data)
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
            if rest is not None:
                _copy_to_spool(_pieces(head, rest), spool)
            given = None if rest is None else cast("IO[bytes]", spool)
            while not self._try_append(at, head, given):
                pass

    def appending(self, path: str, data: bytes) -> Call:
        """Return the write that `append` does where the object stays small.

        What it returns is None when that is done, else an entry: then nothing was done, and
        `append` is to be called.
        """
        at, limit = entries.split(path), settings.BODY_INLINE_BYTES_MAX
        return Call(
            core.extend_inline, self.name, at, data, limit, self._inodes(at), time.time_ns()
        )

    def _try_append(self, at: Path, head: bytes, spool: IO[bytes] | None) -> bool:
        """Append what is given; False if somebody else changed the object meanwhile."""
        if spool is None:
            limit = settings.BODY_INLINE_BYTES_MAX
            args = self.name, at, head, limit, self._inodes(at), time.time_ns()
            if self._tier.commits.write(core.extend_inline, *args) is None:
                return True
        else:
            spool.seek(0)
        pieces = iter((head,)) if spool is None else _pieces_of(spool)
        seen = self._engine.read(core.find_appendable, self.name, at)
        try:
            if seen is not None and seen.data is None:
                self._append_to_file(at, seen.entry, pieces)
            else:
                self._move_to_file(at, seen, pieces)
        except FileNotFoundError:
            if seen is not None:
                with contextlib.suppress(NotFoundError):
                    self._check_changed(at, seen.entry)
            return False
        except Changed:
            return False
        return True

    def _append_to_file(self, at: Path, seen: Entry, pieces: Iterator[bytes]) -> None:
        files = self._files()
        with files.appending(seen.body) as fd:
            # A write, though it changes nothing: it sees the commit of a process that was killed
            # right behind it. A read may not yet, and these bytes would be written over.
            now = self._engine.write(core.find_appendable, self.name, at)
            if now is None or now.entry.body != seen.body:
                raise Changed
            end = now.entry.size
            for piece in pieces:
                files.write_at(fd, end, piece)
                end += len(piece)
            files.sync_at(fd)
            self._engine.write(core.extend_file, self.name, at, now.entry, end, time.time_ns())

    def _move_to_file(self, at: Path, seen: core.Body | None, pieces: Iterator[bytes]) -> None:
        files = self._files()
        with files.writing() as written:
            if seen is not None:
                written.write(seen.data or b"")
            for piece in pieces:
                written.write(piece)
            files.sync(written)
            self._engine.write(
                core.replace_body,
                self.name,
                at,
                None if seen is None else seen.entry,
                NewBody(b"", written.number, written.size),
                files,
                self._inodes(at),
                time.time_ns(),
            )

    def make_directory(self, path: str) -> None:
        """Make a directory, and those above it; one that is there is left as it is.

        Raises:
            ConflictError: One of them is an object.
        """
        self._commit(self.making_directory(path))

    def making_directory(self, path: str) -> Call:
        """Return the write that `make_directory` does: for faces and gateways."""
        at = entries.split(path)
        return Call(core.make_directory, self.name, at, self._inodes(at), time.time_ns())

    def delete(self, path: str, *, recursive: bool = False) -> None:
        """Delete an object with its attributes, or a directory.

        Args:
            path: Which one.
            recursive: Delete a directory with all that is in it; else it must be empty.

        Raises:
            ConflictError: The directory is not empty.
            NotFoundError: It is not there.
        """
        at = entries.split(path)
        if recursive:
            self._delete_below(at.whole)
            if not at.name:
                self._engine.read(entries.get_container, self.name)  # refuses one that is not there
                return
        self.swept(self._commit(self.deleting(path)))

    def deleting(self, path: str) -> Call:
        """Return the write that `delete` does of one entry, for faces and gateways.

        It results in what was there, for `swept`.
        """
        return Call(core.delete, self.name, entries.split(path))

    def _delete_below(self, directory: str) -> None:
        behind: str | None = ""
        while behind is not None:
            try:
                page, behind = self.page(directory, behind)
            except NotFoundError:
                return  # it is an object, or nothing
            for entry in page:
                if entry.is_directory:
                    self._delete_below(entry.path)
            calls = [Call(core.delete, self.name, entries.split(entry.path)) for entry in page]
            self._tier.commits.write_all(calls)
            for call in calls:
                if call.error is not None and not isinstance(call.error, NotFoundError):
                    raise call.error  # else somebody deleted it meanwhile
            self._tier.sweep()

    # Reading.

    def get(self, path: str, *, offset: int = 0, count: int | None = None) -> bytes:
        """Return bytes of an object.

        Args:
            path: Which one.
            offset: Where to begin; what is behind the end is empty.
            count: How many bytes, by default all.

        Raises:
            ConflictError: It is a directory.
            LimitError: A number is negative.
            NotFoundError: It is not there.
        """
        offset = whole("offset", offset, 0)
        count = None if count is None else whole("count", count, 0)
        with self.open(path) as reader:
            if offset:
                reader.seek(offset)
            return reader.read(-1 if count is None else count)

    def open(self, path: str) -> ObjectReader:
        """Return an object as a binary file for reading, as it is now: changes are not seen.

        Raises:
            ConflictError: It is a directory.
            CorruptError: Its file is gone.
            NotFoundError: It is not there.
        """
        at = entries.split(path)
        while True:
            body = self._engine.read(core.find_body, self.name, at)
            if body.data is not None:
                return ObjectReader(core.info_of(at.whole, body.entry), body.data, None)
            fd = self._files().open(body.entry.body)
            if fd is not None:
                return ObjectReader(core.info_of(at.whole, body.entry), None, fd)
            self._check_changed(at, body.entry)

    def _check_changed(self, at: Path, seen: Entry) -> None:
        """Refuse an object whose file is not there, unless it was changed or deleted meanwhile.

        Raises:
            CorruptError: It was not: a file goes after all that refers to it.
            NotFoundError: It was deleted.
        """
        if self._engine.read(core.find, self.name, at).body == seen.body:
            raise CorruptError(f"the body of {self.name}/{at.whole} is gone from the disk")

    def info(self, path: str) -> Info:
        """Return what is known of an object or directory.

        Raises:
            NotFoundError: It is not there.
        """
        at = entries.split(path)
        if not at.name:
            found = self._engine.read(entries.get_container, self.name)
            return Info("", "directory", 0, found.created_ns, found.created_ns, found.id, 0)
        return core.info_of(at.whole, self._engine.read(core.find, self.name, at))

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        try:
            self.info(path)
        except NotFoundError:
            return False
        return True

    def list(
        self, directory: str = "", *, recursive: bool = False, only_directories: bool = False
    ) -> Iterator[Info]:
        """Yield what is in a directory, by name.

        Args:
            directory: Which one, by default the container's root.
            recursive: Also what is in the directories beneath, each behind itself.
            only_directories: Leave out objects.

        Raises:
            NotFoundError: There is no such directory.
        """
        behind: str | None = ""
        while behind is not None:
            page, behind = self.page(directory, behind, only_directories=only_directories)
            for entry in page:
                yield entry
                if recursive and entry.is_directory:
                    yield from self.list(
                        entry.path, recursive=True, only_directories=only_directories
                    )

    def page(
        self,
        directory: str = "",
        behind: str = "",
        *,
        limit: int = settings.PAGE_ITEMS_MAX,
        only_directories: bool = False,
    ) -> tuple[list[Info], str | None]:
        """Return entries of a directory, and the name behind which the next page begins.

        Raises:
            LimitError: `limit` is not positive.
            NotFoundError: There is no such directory.
        """
        if limit < 1:
            raise LimitError(f"a page of {limit} entries, at least 1 is needed")
        bound = min(limit, settings.PAGE_ITEMS_MAX)
        path = entries.whole(directory)

        def read(tx: Transaction) -> tuple[list[Info], bool]:
            return core.list_page(
                tx, self.name, path, behind, bound, only_directories=only_directories
            )

        found, has_more = self._engine.read(read)
        return found, found[-1].path.rpartition("/")[2] if has_more else None

    def _files(self) -> Files:
        assert self._tier.files is not None, "containers live where there are files"
        return self._tier.files

    def _inodes(self, path: Path) -> tuple[int, ...]:
        count = path.whole.count("/") + 1 + self._makes_container
        return tuple(self._tier.ids.next() for _ in range(count))


class ObjectReader(io.RawIOBase):
    """The bytes of an object at one moment: a binary file for reading, with `info`."""

    def __init__(self, info: Info, data: bytes | None, fd: int | None) -> None:
        super().__init__()
        self.info = info
        self._data = data
        self._fd = fd
        self._at = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; return where that is."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.info.size}[whence]
        self._at = max(begin + offset, 0)
        return self._at

    def tell(self) -> int:
        """Return where it stands."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes: `size`, or all that are left."""
        self._checkClosed()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] RawIOBase has it
        left = max(self.info.size - self._at, 0)
        count = left if size is None or size < 0 else min(size, left)
        if self._data is not None:
            piece = self._data[self._at : self._at + count]
        else:
            assert self._fd is not None
            piece = Files.read_at(self._fd, self._at, count)
        self._at += count
        return piece

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; return how many there were."""
        view = memoryview(buffer).cast("B")
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Let go of the bytes; may be repeated."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
        super().close()


# What is stored.


def _head(data: Data) -> tuple[bytes, Iterator[bytes] | None]:
    """Return all of what is small; of what is large its beginning, and the rest as pieces."""
    limit = settings.BODY_INLINE_BYTES_MAX
    if isinstance(data, str):
        data = data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        view = memoryview(data).cast("B")
        if len(view) <= limit:
            return bytes(view), None
        return b"", iter((cast("bytes", view),))
    pieces = _pieces_of(data)
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) > limit:
            return bytes(head), pieces
    return bytes(head), None


def _pieces_of(data: IO[bytes] | Iterable[bytes]) -> Iterator[bytes]:
    read = getattr(data, "read", None)
    if callable(read):
        while piece := read(_PIECE_BYTES):
            yield _checked(piece)
        return
    if not isinstance(data, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(
            f"an object's data is a {type(data).__name__}",
            "give bytes, text, a binary file or pieces",
        )
    for piece in data:
        yield _checked(piece)


def _checked(piece: object) -> bytes:
    if not isinstance(piece, (bytes, bytearray, memoryview)):
        raise TypeMismatchError(
            f"a piece of an object is a {type(piece).__name__}", "open files in binary mode"
        )
    return cast("bytes", piece)


def _pieces(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _copy_to_spool(pieces: Iterator[bytes], spool: IO[bytes]) -> None:
    for piece in pieces:
        try:
            spool.write(piece)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise DiskFullError(
                f"there is no room in {tempfile.gettempdir()} for what is appended",
                "let TMPDIR be where there is some",
            ) from error


def _copy(head: bytes, rest: Iterator[bytes], written: Written) -> None:
    for piece in _pieces(head, rest):
        written.write(piece)


def sweep(tier: Tier) -> None:
    """Drop the entries of containers that were deleted, some at a time."""
    entries.sweep_all(tier.engine, entries.ENTRIES, lambda number: [entries.ENTRY.int(number)])
