"""Large bodies on disk, each a file of its own: for the durable tier.

Keys::

    ("held", session, "file", number) -> nothing: a file that is written and not yet used
    ("file-trash", number)            -> nothing: a file that nobody uses any more

A file is written and synced first, and then used, in the transaction that stores its number;
so what is acknowledged is on the disk, and a process that dies leaves only a file that it
held, or trash: whoever reaps or sweeps removes it. Files only grow: a reader that knows how
long its body is may read while another appends, and one that has it open while it is deleted
reads on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from entrepot import settings
from entrepot.engine import failpoints, held
from entrepot.engine.ids import Ids
from entrepot.engine.keys import Prefix, unpack
from entrepot.engine.protocol import Engine, Item, Transaction
from entrepot.errors import CorruptError, DiskFullError

__all__ = ["Files", "Written", "give_up", "sync_directory"]

TRASH = Prefix("file-trash")
_MODE = 0o600
_NAME = re.compile("[0-9a-f]{16}")


class Written:
    """A file that is being written: `number` is how it will be known."""

    __slots__ = ("fd", "number", "size")

    def __init__(self, number: int, fd: int) -> None:
        self.number = number
        self.fd = fd
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append some bytes.

        Raises:
            DiskFullError: There is no room.
        """
        left = memoryview(data).cast("B")
        with _disk_errors():
            while left:
                left = left[os.write(self.fd, left) :]
        self.size += len(data)


class Files:
    """The files of one durable tier."""

    def __init__(self, directory: Path, engine: Engine, ids: Ids) -> None:
        self._directory = directory
        self._engine = engine
        self._ids = ids
        engine.on_release("file", _release)

    @contextlib.contextmanager
    def writing(self) -> Generator[Written]:
        """Begin a file, and remove it unless it is used when the block ends.

        Raises:
            DiskFullError: There is no room.
        """
        self._make_directory()
        number = self._ids.next()
        key = self._engine.session.held_key("file", number)
        self._engine.write(_put, key)
        try:
            with _disk_errors():
                fd = os.open(
                    self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE
                )
            try:
                yield Written(number, fd)
            finally:
                os.close(fd)
        finally:
            if self._engine.get(key) is not None:  # it was not used
                # The file first: on a full disk there is room for the transaction then.
                self._remove(number)
                self._engine.write(_delete, key)

    def _make_directory(self) -> None:
        if not self._directory.exists():
            with _disk_errors():
                self._directory.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self._directory.parent)

    def sync(self, written: Written) -> None:
        """Have a file on the disk: before it is used.

        Raises:
            DiskFullError: There is no room.
        """
        with _disk_errors():
            os.fdatasync(written.fd)
            sync_directory(self._directory)
        if failpoints.ARMED:
            failpoints.hit("files.synced")

    def use(self, tx: Transaction, number: int) -> None:
        """Take a file into use, in the transaction that stores its number."""
        was_held = tx.delete(self._engine.session.held_key("file", number))
        assert was_held, "a file is taken into use once, by who wrote it"

    def open(self, number: int) -> int | None:
        """Return a file's descriptor, for reading; None if it was removed."""
        try:
            return os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def appending(self, number: int) -> Generator[int]:
        """Hold a file for appending and yield its descriptor: one at a time, of all processes.

        Whoever has it asks again how long the body is, writes behind that, syncs, and then
        says how long it is now. The lock ends with the process.

        Raises:
            FileNotFoundError: It was removed.
        """
        fd = os.open(self._path(number), os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def write_at(fd: int, offset: int, data: bytes | memoryview) -> None:
        """Write bytes at a place of a file.

        Raises:
            DiskFullError: There is no room.
        """
        left = memoryview(data).cast("B")
        with _disk_errors():
            while left:
                count = os.pwrite(fd, left, offset)
                left, offset = left[count:], offset + count

    @staticmethod
    def sync_at(fd: int) -> None:
        """Have what was appended on the disk.

        Raises:
            DiskFullError: There is no room.
        """
        with _disk_errors():
            os.fdatasync(fd)

    @staticmethod
    def read_at(fd: int, offset: int, count: int) -> bytes:
        """Return bytes of a file, all that were asked for.

        Raises:
            CorruptError: It is shorter than its body.
        """
        pieces: list[bytes] = []
        while count:
            piece = os.pread(fd, min(count, 1 << 30), offset)
            if not piece:
                raise CorruptError(f"a file of the depot ends at {offset}, {count} bytes too early")
            pieces.append(piece)
            offset, count = offset + len(piece), count - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def sweep(self) -> int:
        """Remove the files that nobody uses; return how many there were."""
        count = 0
        while numbers := self._engine.read(_trash):
            for number in numbers:
                self._remove(number)
            self._engine.write(_forget, numbers)
            count += len(numbers)
        return count

    def check(self, used: Callable[[Transaction], list[tuple[int, int]]]) -> list[str]:
        """Return what is wrong with the files: missing, too short, used twice, or of no use.

        Others may work meanwhile: what looks wrong is looked at again.

        Args:
            used: Returns the number of each file that is used, and how long its body is.
        """
        exists = self._directory.exists()
        names = [path.name for path in self._directory.iterdir()] if exists else []
        found, others = self._engine.read(lambda tx: (used(tx), _unused(tx)))
        sizes = dict(found)
        problems = [
            f"file {name} is of no use"
            for name in names
            if not _NAME.fullmatch(name)
            or (int(name, 16) not in sizes and int(name, 16) not in others)
        ]
        # One whose trash was forgotten between the two looks is gone.
        problems = [what for what in problems if (self._directory / what.split()[1]).exists()]
        if len(sizes) != len(found):
            problems.append("a file is the body of two objects")
        problems += [
            f"file {number:016x} is used and given up" for number in sizes if number in others
        ]
        short = [number for number, size in sizes.items() if self._size(number) < size]
        if short:
            later = dict(self._engine.read(used))
            problems += [
                f"file {number:016x} is missing or shorter than its body"
                for number in short
                if number in later
            ]
        return problems

    def _size(self, number: int) -> int:
        try:
            return Path(self._path(number)).stat().st_size
        except FileNotFoundError:
            return -1

    def _remove(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            Path(self._path(number)).unlink()

    def _path(self, number: int) -> str:
        return f"{self._directory}/{number:016x}"


def give_up(tx: Transaction, number: int) -> None:
    """Note that nobody uses a file any more; `Files.sweep` removes it."""
    tx.put(TRASH.int(number), b"")


@contextlib.contextmanager
def _disk_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                "the disk of the depot is full",
                "free some room there, or give ENTREPOT_DATA another",
            ) from error
        raise


def _put(tx: Transaction, key: bytes) -> None:
    tx.put(key, b"")


def _delete(tx: Transaction, key: bytes) -> None:
    tx.delete(key)


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on the disk: those of what was made there."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
    number = unpack(rest)[0]
    assert isinstance(number, int)
    tx.put(TRASH.int(number), b"")


def _unused(tx: Transaction) -> set[int]:
    """Return the files that are written just now, and those that are to be removed."""
    numbers = set(_numbers(tx.range(TRASH.begin, TRASH.end), 1))
    return numbers.union(_numbers(tx.range(held.HELD.begin, held.HELD.end), 3, "file"))


def _numbers(items: Sequence[Item], place: int, kind: str = "") -> Iterator[int]:
    for key, _ in items:
        elements = unpack(key)
        number = elements[place] if not kind or elements[2] == kind else None
        if isinstance(number, int):
            yield number


def _trash(tx: Transaction) -> list[int]:
    found = tx.range(TRASH.begin, TRASH.end, limit=settings.BATCH_KEYS)
    return [number for key, _ in found for number in TRASH.tail(key) if isinstance(number, int)]


def _forget(tx: Transaction, numbers: list[int]) -> None:
    for number in numbers:
        tx.delete(TRASH.int(number))
