"""What a transaction does to the objects of a container: entries with a body (see `entries`).

A small body is in the catalog, a large one is a file that was written before. Attributes of
an entry stay when its body changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from entrepot.arena.files import Files
from entrepot.engine.keys import after, pack_str
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, LimitError, NotFoundError
from entrepot.layers import entries
from entrepot.layers.attributes import Timestamp
from entrepot.layers.entries import (
    BODY,
    DIRECTORIES,
    DIRECTORY,
    INLINE,
    NO_BODY,
    OBJECT,
    SHARD,
    STREAM,
    Entry,
    Path,
    Place,
)

__all__ = ["Body", "Changed", "Info", "NewBody", "NotEmptyError"]


@dataclass(frozen=True, slots=True)
class Info:
    """What is known of an object or directory without reading it."""

    path: str
    """From the container's root; a directory's without a slash at its end."""
    kind: str
    """`object`, `directory`, `stream`, or `shard`."""
    size: int
    """Of the body, in bytes."""
    modified_ns: int
    created_ns: int
    inode: int
    """A number that no other entry of the depot ever had."""
    last_sequence: int
    """Of a shard: the number of its latest record."""

    @property
    def is_directory(self) -> bool:
        """Whether there may be entries beneath it: streams are directories too."""
        return self.kind in ("directory", "stream")

    @property
    def modified(self) -> datetime:
        """When it was changed last."""
        return Timestamp(*divmod(self.modified_ns, 1_000_000_000)).datetime()


class Body(NamedTuple):
    """Where the bytes of an object are, at one moment."""

    entry: Entry
    data: bytes | None
    """The bytes themselves, where they are in the catalog."""


class NewBody(NamedTuple):
    """Bytes for an object: themselves, or the file in which they are."""

    data: bytes
    file: int = 0
    size: int = 0


class Changed(Exception):  # noqa: N818 not an error: the caller tries again
    """Somebody else changed the object meanwhile."""


class NotEmptyError(ConflictError):
    """A directory that is to be deleted has entries."""


_KINDS = {OBJECT: "object", DIRECTORY: "directory", STREAM: "stream", SHARD: "shard"}


def info_of(path: str, entry: Entry) -> Info:
    """Return what is known of an entry."""
    return Info(
        path,
        _KINDS[entry.kind],
        entry.size,
        entry.modified_ns,
        entry.created_ns,
        entry.inode,
        entry.last_sequence,
    )


# Reading.


def find(tx: Transaction, container: str, path: Path) -> Entry:
    """Return an entry.

    Raises:
        NoContainerError: The container is not there.
        NotFoundError: The entry is not there.
    """
    found = entries.find_entry(tx, entries.get_container(tx, container).id, path)
    if found is None:
        raise missing(container, path)
    return found


def missing(container: str, path: Path) -> NotFoundError:
    """Return the error for an entry that is not there."""
    return NotFoundError(f"there is no object or directory {container}/{path.whole}")


def find_body(tx: Transaction, container: str, path: Path) -> Body:
    """Return where the bytes of an object are.

    Raises:
        ConflictError: It is a directory.
        NotFoundError: It is not there.
    """
    return _body_of(tx, f"{container}/{path.whole}", find(tx, container, path))


def find_body_at(tx: Transaction, place: Place, name: str) -> Body:
    """As `find_body`, for whoever keeps the place."""
    raw = tx.get(place.begin(tx) + pack_str(name))
    if raw is None:
        raise missing(place.container, Path(place.directory, name))
    return _body_of(tx, f"{place.path}/{name}", entries.decode_entry(raw))


def _body_of(tx: Transaction, path: str, entry: Entry) -> Body:
    if entry.kind in DIRECTORIES:
        raise ConflictError(f"{path} is a directory, not an object")
    if entry.body == NO_BODY:
        return Body(entry, b"")
    return Body(entry, tx.get(BODY.int(entry.inode)) if entry.body == INLINE else None)


def list_page(
    tx: Transaction,
    container: str,
    directory: str,
    behind: str,
    limit: int,
    *,
    only_directories: bool,
) -> tuple[list[Info], bool]:
    """Return entries of a directory behind a name, by name, and whether there are more.

    Raises:
        NotFoundError: There is no such directory, or container.
    """
    number = entries.get_container(tx, container).id
    begin = entries.directory_key(number, directory)
    first = begin + pack_str(behind) + b"\x00" if behind else begin
    found: list[Info] = []
    is_there = False
    while True:
        stretch = tx.range(first, after(begin), limit=limit + 1)
        for key, raw in stretch:
            is_there = True
            if only_directories and raw[entries.KIND_AT] not in DIRECTORIES:
                continue
            if len(found) == limit:
                return found, True
            name = entries.name_of(key, begin)
            path = f"{directory}/{name}" if directory else name
            found.append(info_of(path, entries.decode_entry(raw)))
        if len(stretch) <= limit:
            break
        first = stretch[-1][0] + b"\x00"
    if not is_there and not entries.is_directory(tx, number, directory):
        raise NotFoundError(f"there is no directory {container}/{directory}")
    return found, False


# Writing.


def put_body(
    tx: Transaction,
    container: str,
    path: Path,
    body: NewBody,
    files: Files | None,
    inodes: Sequence[int],
    now_ns: int,
) -> Entry | None:
    """Store the bytes of an object; return what it was before, if it was there.

    The container is made if it is not there, when `inodes` has a number to spare for it.

    Raises:
        ConflictError: There is a directory or a shard, or what is above is no directory.
        NoContainerError: The container is not there, and is not to be made.
    """
    found, number, numbers = _container_for_write(tx, container, path, inodes)
    old = None if found is None else entries.find_entry(tx, found.id, path)
    entry = _changed(tx, container, number, path, old, numbers, now_ns)
    if old is not None:
        entries.drop_body(tx, old)
    _set_body(tx, entry, body, files)
    if found is None:
        entries.make_container(tx, container, number, now_ns)
    entries.put_entry(tx, number, path, entry)
    return old


def _container_for_write(
    tx: Transaction, container: str, path: Path, inodes: Sequence[int]
) -> tuple[entries.Container | None, int, Sequence[int]]:
    """Return the container, its id, and the numbers that are left for entries."""
    found = entries.find_container(tx, container)
    if found is not None:
        return found, found.id, inodes
    if len(inodes) < path.whole.count("/") + 2:
        raise entries.NoContainerError(container)
    return None, inodes[-1], inodes[:-1]


def _changed(
    tx: Transaction,
    container: str,
    number: int,
    path: Path,
    old: Entry | None,
    inodes: Sequence[int],
    now_ns: int,
) -> Entry:
    """Return the entry of an object that gets another body; make the directories above it."""
    if not path.name:
        raise LimitError("the path of an object is empty")
    if old is None:
        numbers = iter(inodes)
        entry = Entry(OBJECT, next(numbers), now_ns, now_ns)
        entries.make_directories(tx, number, path.directory, numbers, now_ns)
        return entry
    if old.kind != OBJECT:
        raise ConflictError(f"{container}/{path.whole} is a {_KINDS[old.kind]}, not an object")
    return Entry(
        OBJECT,
        old.inode,
        old.created_ns,
        entries.next_moment(old, now_ns),
        attributes=old.attributes,
    )


def _set_body(tx: Transaction, entry: Entry, body: NewBody, files: Files | None) -> None:
    if body.file:
        assert files is not None, "a file was written to some files"
        files.use(tx, body.file)
        entry.body, entry.size = body.file, body.size
    elif body.data:
        tx.put(BODY.int(entry.inode), body.data)
        entry.body, entry.size = INLINE, len(body.data)
    else:
        entry.body, entry.size = NO_BODY, 0


def extend_inline(
    tx: Transaction,
    container: str,
    path: Path,
    data: bytes,
    limit: int,
    inodes: Sequence[int],
    now_ns: int,
) -> Entry | None:
    """Append bytes to an object whose body is in the catalog and stays there; make it if need be.

    Returns:
        None when it is done, else the entry, whose body must become or is a file.

    Raises:
        ConflictError, NoContainerError: As `put_body`.
    """
    found, number, numbers = _container_for_write(tx, container, path, inodes)
    old = None if found is None else entries.find_entry(tx, found.id, path)
    if (
        old is not None
        and old.kind == OBJECT
        and (old.body > INLINE or old.size + len(data) > limit)
    ):
        return old
    entry = _changed(tx, container, number, path, old, numbers, now_ns)
    before = tx.get(BODY.int(entry.inode)) if old is not None and old.body == INLINE else None
    _set_body(tx, entry, NewBody((before or b"") + data), None)
    if found is None:
        entries.make_container(tx, container, number, now_ns)
    entries.put_entry(tx, number, path, entry)
    return None


def find_appendable(tx: Transaction, container: str, path: Path) -> Body | None:
    """Return where the bytes of an object are that is to become longer; None if it is not there.

    Raises:
        ConflictError: It is no object, or something above it is none.
    """
    found = entries.find_container(tx, container)
    entry = None if found is None else entries.find_entry(tx, found.id, path)
    if entry is None:
        return None
    if entry.kind != OBJECT:
        raise ConflictError(f"{container}/{path.whole} is a {_KINDS[entry.kind]}, not an object")
    return find_body(tx, container, path)


def replace_body(
    tx: Transaction,
    container: str,
    path: Path,
    seen: Entry | None,
    body: NewBody,
    files: Files,
    inodes: Sequence[int],
    now_ns: int,
) -> None:
    """Store bytes in a file in place of those in the catalog, or of none.

    Args:
        tx: The transaction.
        container: The container's name.
        path: The object.
        seen: What it was when its bytes were copied; None if it was not there.
        body: The file.
        files: Where that is.
        inodes: As for `put_body`.
        now_ns: Now.

    Raises:
        Changed: It is not any more as it was seen.
        ConflictError, NoContainerError: As `put_body`.
    """
    found, number, numbers = _container_for_write(tx, container, path, inodes)
    old = None if found is None else entries.find_entry(tx, found.id, path)
    if _version(old) != _version(seen):
        raise Changed
    entry = _changed(tx, container, number, path, old, numbers, now_ns)
    if old is not None:
        entries.drop_body(tx, old)
    _set_body(tx, entry, body, files)
    if found is None:
        entries.make_container(tx, container, number, now_ns)
    entries.put_entry(tx, number, path, entry)


def _version(entry: Entry | None) -> tuple[int, int] | None:
    return None if entry is None else (entry.inode, entry.modified_ns)


def extend_file(
    tx: Transaction, container: str, path: Path, seen: Entry, size: int, now_ns: int
) -> None:
    """Say that a body that is a file is longer.

    Raises:
        Changed: It is not any more the body that was seen.
    """
    found = entries.find_container(tx, container)
    old = None if found is None else entries.find_entry(tx, found.id, path)
    if found is None or old is None or (old.body, old.size) != (seen.body, seen.size):
        raise Changed
    old.size = size
    old.modified_ns = entries.next_moment(old, now_ns)
    entries.put_entry(tx, found.id, path, old)


def make_directory(
    tx: Transaction, container: str, path: Path, inodes: Sequence[int], now_ns: int
) -> None:
    """Make a directory and those above it, where they are not there.

    Raises:
        ConflictError: One of them is an object.
        NoContainerError: The container is not there, and is not to be made.
    """
    found, number, numbers = _container_for_write(tx, container, path, inodes)
    entries.make_directories(tx, number, path.whole, iter(numbers), now_ns)
    if found is None:
        entries.make_container(tx, container, number, now_ns)


def delete(tx: Transaction, container: str, path: Path) -> Entry:
    """Delete an object or an empty directory; return what it was.

    Raises:
        NotEmptyError: The directory has entries.
        NotFoundError: It is not there.
    """
    number = entries.get_container(tx, container).id
    entry = entries.find_entry(tx, number, path)
    if entry is None:
        raise missing(container, path)
    if entry.kind in DIRECTORIES and not entries.is_empty(tx, number, path.whole):
        raise NotEmptyError(
            f"the directory {container}/{path.whole} is not empty", "delete what is in it first"
        )
    entries.remove_entry(tx, number, path, entry)
    return entry


def make_container(
    tx: Transaction, name: str, number: int, now_ns: int, exist_ok: bool
) -> entries.Container:
    """As `entries.make_container`."""
    return entries.make_container(tx, name, number, now_ns, exist_ok=exist_ok)


def delete_container(tx: Transaction, name: str) -> None:
    """Delete a container with all that is in it; the rest is swept.

    Raises:
        NoContainerError: It is not there.
    """
    number = entries.get_container(tx, name).id
    tx.delete(entries.CONTAINER.str(name))
    tx.ring(entries.CONTAINER.str(name))
    entries.throw_away(tx, entries.ENTRIES, number)
