"""Entries: the tree of names that tables, streams and containers share.

A container holds entries, as a file system does. A table is a directory whose entries have
attributes, a stream one whose entries are shards, an object an entry with a body; an entry
may have attributes and a body at once.

Keys::

    ("container", name)                      -> id, 8 bytes | created, 8 bytes (ns)
    ("entry", container id, directory, name) -> Entry
    ("body", inode)                          -> the body of an entry, up to BODY_INLINE_BYTES_MAX
    ("entry-trash", kind, number)            -> nothing: what is left of something large

`directory` is the whole path of it, "" for the root: so the entries of one directory lie side
by side, whatever lies beneath them, and an entry is found with one look.

Bell: ("container", name), rung when the container is made or deleted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from entrepot import settings
from entrepot.arena import files
from entrepot.engine.keys import Prefix, after, pack_int, pack_str
from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import (
    ConflictError,
    DiskFullError,
    ExistsError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
)

__all__ = [
    "DIRECTORY",
    "OBJECT",
    "SHARD",
    "STREAM",
    "Container",
    "Entry",
    "NoContainerError",
    "Path",
    "Place",
    "decode_entry",
    "encode_entry",
    "split",
]

OBJECT, DIRECTORY, STREAM, SHARD = 0, 1, 2, 3
DIRECTORIES: Final = (DIRECTORY, STREAM)
KIND_AT: Final = 1
"""Where the bytes of an entry, an array of msgpack, have its kind: a look without decoding."""
NO_BODY, INLINE = 0, 1
"""Where a body is; larger numbers are those of files."""

CONTAINER = Prefix("container")
ENTRY = Prefix("entry")
BODY = Prefix("body")
_BODIES_AT_ONCE: Final = 100
_NO_ATTRIBUTES = msgspec.Raw(b"\x80")
_CONTAINER_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9_-]*[a-z0-9])?")


class Entry(msgspec.Struct, array_like=True):
    """What is known of one name in a directory."""

    kind: int
    inode: int
    """Unique in the tier, never reused."""
    created_ns: int
    modified_ns: int
    """Later with each change: no two versions of an entry share it."""
    size: int = 0
    """Of the body, or of the records of a shard; in bytes."""
    body: int = NO_BODY
    last_sequence: int = 0
    """Of a shard: the number of its latest record; 0 before the first."""
    attributes: msgspec.Raw = _NO_ATTRIBUTES


decode_entry = msgspec.msgpack.Decoder(Entry).decode
encode_entry = msgspec.msgpack.Encoder().encode


class Path(NamedTuple):
    """A name in a directory of a container."""

    directory: str
    name: str

    @property
    def whole(self) -> str:
        """The path from the container's root."""
        return f"{self.directory}/{self.name}" if self.directory else self.name


class NoContainerError(NotFoundError):
    """There is no such container: a class of its own, to tell it from a missing entry."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no container {name!r}", "'entrepot container' lists those there are"
        )
        self.args = (name,)


class Container(NamedTuple):
    """A container as a transaction found it."""

    id: int
    created_ns: int
    name: str


# Paths.


def split(path: str) -> Path:
    """Return a path's directory and name; the root is ("", "").

    Slashes at the ends and repeated ones do not count.

    Raises:
        LimitError: A part of it is `.` or `..`, longer than 255 characters, or no Unicode.
        TypeMismatchError: It is no string.
    """
    directory, _, name = whole(path).rpartition("/")
    return Path(directory, name)


def whole(path: str) -> str:
    """Return a path without needless slashes; the root is "".

    Raises:
        LimitError: A part of it is `.` or `..`, longer than 255 characters, or no Unicode.
        TypeMismatchError: It is no string.
    """
    if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(f"a path is {path!r}, a {type(path).__name__}", "give a string")
    parts = [part for part in path.split("/") if part]
    for part in parts:
        if part in (".", ".."):
            raise LimitError(f"the path {path!r} has a part {part!r}", "paths go down only")
        if len(part) > settings.ENTRY_NAME_CHARS_MAX:
            raise LimitError(
                f"a part of the path {path[:60]!r}… has {len(part)} characters, "
                f"at most {settings.ENTRY_NAME_CHARS_MAX} are allowed"
            )
    joined = "/".join(parts)
    try:
        size = len(joined.encode()) + joined.count("\x00")  # keys have two bytes for each
    except UnicodeEncodeError as error:
        raise LimitError(f"the path {path!r} is no Unicode text") from error
    if size > settings.NAME_BYTES_MAX:
        raise LimitError(
            f"the path {path[:60]!r}… has {size} bytes, "
            f"at most {settings.NAME_BYTES_MAX} are allowed"
        )
    return joined


def check_container_name(name: str) -> str:
    """Return the name of a container, or refuse it.

    Raises:
        LimitError: It is none: a to z, 0 to 9, - and _, a letter among them, no sign at the ends.
        TypeMismatchError: It is no string.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(
            f"a container is named {name!r}, a {type(name).__name__}", "give a string"
        )
    if not _CONTAINER_NAME.fullmatch(name) or len(name) > settings.ENTRY_NAME_CHARS_MAX:
        raise LimitError(
            f"a container cannot be named {name!r}",
            "use a-z, 0-9, - and _, at least one letter, and begin and end with a letter or digit",
        )
    return name


class Place:
    """A directory of a container, as a handle keeps it: where its entries are found."""

    __slots__ = ("_container_key", "_known", "container", "directory")

    def __init__(self, container: str, directory: str) -> None:
        self.container = check_container_name(container)
        self.directory = directory
        self._container_key = CONTAINER.str(container)
        self._known = b"", b""
        """The id of the container, and the beginning of the keys: one, as threads share it."""

    @property
    def path(self) -> str:
        """For messages: the container and the directory."""
        return f"{self.container}/{self.directory}"

    def begin(self, tx: Transaction) -> bytes:
        """Return the beginning of the keys of its entries.

        Raises:
            NoContainerError: The container is not there.
        """
        raw = tx.get(self._container_key)
        if raw is None:
            raise NoContainerError(self.container)
        number, begin = self._known
        if raw[:8] != number:  # the first time, or it was made anew
            begin = directory_key(int.from_bytes(raw[:8], "big"), self.directory)
            self._known = raw[:8], begin
        return begin


# Containers.


def make_container(
    tx: Transaction, name: str, number: int, now_ns: int, *, exist_ok: bool = True
) -> Container:
    """Make a container, or return the one that is there.

    Raises:
        ExistsError: It is there, and that is not wanted.
    """
    found = find_container(tx, name)
    if found is not None:
        if not exist_ok:
            raise ExistsError(f"there is a container {name!r} already")
        return found
    tx.put(CONTAINER.str(name), number.to_bytes(8, "big") + now_ns.to_bytes(8, "big"))
    tx.ring(CONTAINER.str(name))
    return Container(number, now_ns, name)


def find_container(tx: Transaction, name: str) -> Container | None:
    """Return a container, or None."""
    raw = tx.get(CONTAINER.str(name))
    return None if raw is None else _container(name, raw)


def get_container(tx: Transaction, name: str) -> Container:
    """Return a container.

    Raises:
        NoContainerError: It is not there.
    """
    raw = tx.get(CONTAINER.str(name))
    if raw is None:
        raise NoContainerError(name)
    return _container(name, raw)


def list_containers(tx: Transaction) -> list[Container]:
    """Return the containers, by name."""
    return [
        _container(str(CONTAINER.tail(key)[0]), raw)
        for key, raw in tx.range(CONTAINER.begin, CONTAINER.end)
    ]


def _container(name: str, raw: bytes) -> Container:
    return Container(int.from_bytes(raw[:8], "big"), int.from_bytes(raw[8:], "big"), name)


# Entries.


def directory_key(container: int, directory: str) -> bytes:
    """Return the beginning of the keys of a directory's entries."""
    return ENTRY.int(container) + pack_str(directory)


def entry_key(container: int, path: Path) -> bytes:
    """Return the key of an entry."""
    return ENTRY.int(container) + pack_str(path.directory) + pack_str(path.name)


def find_entry(tx: Transaction, container: int, path: Path) -> Entry | None:
    """Return an entry, or None. The root of a container has none."""
    raw = tx.get(entry_key(container, path))
    return None if raw is None else decode_entry(raw)


def is_directory(tx: Transaction, container: int, directory: str) -> bool:
    """Tell whether there is such a directory; the root always is."""
    if not directory:
        return True
    found = find_entry(tx, container, split(directory))
    return found is not None and found.kind in DIRECTORIES


def make_directories(
    tx: Transaction, container: int, directory: str, inodes: Iterator[int], now_ns: int
) -> Entry | None:
    """Make a directory and those above it, where they are not there; return its entry.

    Raises:
        ConflictError: One of them is an object.
    """
    if not directory:
        return None
    path = split(directory)
    found = find_entry(tx, container, path)
    if found is None:
        make_directories(tx, container, path.directory, inodes, now_ns)
        found = Entry(DIRECTORY, next(inodes), now_ns, now_ns)
        put_entry(tx, container, path, found)
    elif found.kind not in DIRECTORIES:
        raise ConflictError(f"{directory!r} is an object, not a directory")
    return found


def inodes_for(path: Path, numbers: Iterator[int]) -> tuple[int, ...]:
    """Return as many numbers as a write to `path` may need: taken before its transaction."""
    depth = path.directory.count("/") + 1 if path.directory else 0
    return tuple(itertools.islice(numbers, depth + 1))


def put_entry(tx: Transaction, container: int, path: Path, entry: Entry) -> None:
    """Store an entry."""
    tx.put(entry_key(container, path), encode_entry(entry))


def list_entries(
    tx: Transaction, container: int, directory: str, behind: str, limit: int
) -> list[tuple[str, Entry]]:
    """Return up to `limit` (name, entry) of a directory behind the name `behind`, by name."""
    begin = directory_key(container, directory)
    first = begin + pack_str(behind) + b"\x00" if behind else begin
    found = tx.range(first, after(begin), limit=limit)
    return [(name_of(key, begin), decode_entry(raw)) for key, raw in found]


def name_of(key: bytes, begin: bytes) -> str:
    """Return the name in an entry's key, of which `begin` is the directory's part."""
    body = key[len(begin) + 1 : -1]
    if b"\x00" in body:
        body = body.replace(b"\x00\xff", b"\x00")
    return body.decode("utf-8", "surrogatepass")


def is_empty(tx: Transaction, container: int, directory: str) -> bool:
    """Tell whether a directory has no entries."""
    begin = directory_key(container, directory)
    return not tx.range(begin, after(begin), limit=1)


def remove_entry(tx: Transaction, container: int, path: Path, entry: Entry) -> None:
    """Delete an entry with all it has; of a directory, only the entry."""
    tx.delete(entry_key(container, path))
    _drop_contents(tx, entry)


def drop_body(tx: Transaction, entry: Entry) -> None:
    """Delete the body of an entry, if it has one."""
    if entry.body == INLINE:
        tx.delete(BODY.int(entry.inode))
    elif entry.body != NO_BODY:
        files.give_up(tx, entry.body)


def leaves_trash(entry: Entry) -> bool:
    """Tell whether there is something to sweep when an entry is gone."""
    return entry.body > INLINE or entry.kind in (SHARD, STREAM)


def next_moment(entry: Entry, now_ns: int) -> int:
    """Return when an entry is modified, if it is now: later than ever before."""
    return max(now_ns, entry.modified_ns + 1)


# What is left of large things.

TRASH = Prefix("entry-trash")
RECORDS, ENTRIES, GROUPS = 1, 2, 3
"""What there is to sweep: the records of a shard, the entries of a container, the consumer
groups of a stream."""


def throw_away(tx: Transaction, kind: int, number: int) -> None:
    """Note that what belongs to something deleted is to be swept."""
    tx.put(TRASH.int(kind) + pack_int(number), b"")


def thrown_away(tx: Transaction, kind: int, limit: int) -> Sequence[int]:
    """Return what there is to sweep."""
    begin = TRASH.int(kind)
    found = tx.range(begin, after(begin), limit=limit)
    numbers: list[int] = []
    for key, _ in found:
        number = TRASH.tail(key)[1]
        assert isinstance(number, int)
        numbers.append(number)
    return numbers


def sweep_all(engine: Engine, kind: int, begins_of: Callable[[int], Sequence[bytes]]) -> None:
    """Sweep all there is of a kind, in many transactions.

    Args:
        engine: The engine of the tier.
        kind: What is to be swept.
        begins_of: Returns how the keys begin that are to go with something deleted.

    Raises:
        DiskFullError: There is no room, not even to delete.
    """
    limit = settings.BATCH_KEYS
    while numbers := engine.read(thrown_away, kind, 1):
        try:
            engine.write(_sweep_some, kind, numbers[0], begins_of(numbers[0]), limit)
        except DiskFullError:
            if limit == 1:
                raise
            limit = 1  # that needs little room at once


def _sweep_some(
    tx: Transaction, kind: int, number: int, begins: Sequence[bytes], limit: int
) -> None:
    """Delete some of the keys that begin so; when none is left, forget what was to be swept."""
    for begin in begins:
        for key, raw in tx.range(begin, after(begin), limit=limit):
            tx.delete(key)
            if kind == ENTRIES:
                _drop_contents(tx, decode_entry(raw))
            limit -= 1
        if limit == 0:
            return
    tx.delete(TRASH.int(kind) + pack_int(number))


def _drop_contents(tx: Transaction, entry: Entry) -> None:
    drop_body(tx, entry)
    if entry.kind == SHARD:
        throw_away(tx, RECORDS, entry.inode)
    elif entry.kind == STREAM:
        throw_away(tx, GROUPS, entry.inode)


# Looking after it.


def check(tx: Transaction) -> list[str]:
    """Return what is wrong with the entries of a tier and their small bodies."""
    known = {container.id: container.name for container in list_containers(tx)}
    going = set(thrown_away(tx, ENTRIES, 1 << 62))
    problems: list[str] = []
    at: tuple[int, str] | None = None
    bodies = 0
    for container, path, entry in walk(tx):
        bodies += entry.body == INLINE
        if at != (container, path.directory):
            at = container, path.directory
            if container not in known and container not in going:
                problems.append(
                    f"entry {path.whole!r} is in container {container:x}, which is none"
                )
            elif container not in going and not is_directory(tx, *at):
                problems.append(f"entry {known[container]}/{path.whole} is in no directory")
        wrong = _wrong_body(tx, entry)
        if wrong:
            problems.append(f"entry {known.get(container, container)}/{path.whole} {wrong}")
    if bodies != sum(1 for _ in pages(tx, BODY, _BODIES_AT_ONCE)):
        problems += _lost_bodies(tx)
    return problems


def walk(tx: Transaction) -> Iterator[tuple[int, Path, Entry]]:
    """Yield all entries with their containers' ids, those of deleted containers included."""
    for key, raw in pages(tx, ENTRY, settings.BATCH_KEYS):
        container, directory, name = ENTRY.tail(key)
        assert isinstance(container, int)
        yield container, Path(str(directory), str(name)), decode_entry(raw)


def pages(tx: Transaction, prefix: Prefix, limit: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield all keys of a kind with their values, so many at a time."""
    begin = prefix.begin
    while found := tx.range(begin, prefix.end, limit=limit):
        yield from found
        begin = found[-1][0] + b"\x00"


def used_files(tx: Transaction) -> list[tuple[int, int]]:
    """Return (number, size) of each body that is a file: for `Files.check`."""
    return [(entry.body, entry.size) for _, _, entry in walk(tx) if entry.body > INLINE]


def _wrong_body(tx: Transaction, entry: Entry) -> str:
    if entry.kind != OBJECT:
        return "has a body and is no object" if entry.body != NO_BODY else ""
    if entry.body > INLINE:
        return ""  # see `Files.check`
    body = tx.get(BODY.int(entry.inode)) if entry.body == INLINE else b""
    if body is None:
        return "has lost its body"
    return "" if len(body) == entry.size else f"has {len(body)} bytes and says {entry.size}"


def _lost_bodies(tx: Transaction) -> list[str]:
    owners = {entry.inode for _, _, entry in walk(tx) if entry.body == INLINE}
    lost = (BODY.tail(key)[0] for key, _ in pages(tx, BODY, _BODIES_AT_ONCE))
    return [f"body {inode:x} belongs to no entry" for inode in lost if inode not in owners]
