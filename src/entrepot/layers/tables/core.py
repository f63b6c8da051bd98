"""What a transaction does to the items of a table.

An item is an entry that has attributes (see `entries`). A write is one step: it finds the
item, checks its condition, works out the new attributes and stores them. Whoever refuses
does so before the first change, so that many writes can share a transaction and each fail
on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

import msgspec

from entrepot.engine.keys import pack_str
from entrepot.engine.protocol import Transaction
from entrepot.errors import (
    ConditionError,
    ConflictError,
    ExistsError,
    ExpressionError,
    LimitError,
    NotFoundError,
)
from entrepot.layers import attributes, entries
from entrepot.layers.attributes import MISSING, Attributes, exact_hook, friendly, friendly_hook
from entrepot.layers.entries import DIRECTORIES, OBJECT, SHARD, Entry, Path, encode_entry
from entrepot.layers.expressions import Condition, Update
from entrepot.layers.expressions.evaluate import Compiled

__all__ = [
    "CREATE",
    "MERGE",
    "REPLACE",
    "SYSTEM",
    "Item",
    "Loaded",
    "Put",
    "Test",
    "Updating",
    "decode_exact",
    "decode_friendly",
    "find_item",
    "is_hidden",
    "put_item",
    "resolve",
    "system_value",
    "update_item",
]

REPLACE, MERGE, CREATE = "replace", "merge", "create"


class Loaded(msgspec.Struct, array_like=True):
    """An entry with its attributes decoded."""

    kind: int
    inode: int
    created_ns: int
    modified_ns: int
    size: int
    body: int
    last_sequence: int
    attributes: dict[str, Any]


decode_exact: Final = msgspec.msgpack.Decoder(Loaded, ext_hook=exact_hook).decode
"""Decodes an entry, its attributes as expressions and gateways want them."""
decode_friendly: Final = msgspec.msgpack.Decoder(Loaded, ext_hook=friendly_hook).decode
"""Decodes an entry, its attributes as users are given them."""


class Item:
    """An item as expressions see it; `entry` is None if there is none."""

    __slots__ = ("attributes", "entry", "name")

    def __init__(self, name: str, entry: Loaded | None) -> None:
        self.name = name
        self.entry = entry
        self.attributes: Attributes = {} if entry is None else entry.attributes


# System attributes.

_BILLION = 1_000_000_000
_FILE_MODE, _DIRECTORY_MODE = 0o100664, 0o040775

SYSTEM: Final[dict[str, Callable[[str, Any], Any]]] = {
    "__name": lambda name, entry: name,
    "__size": lambda name, entry: entry.size,
    "__mode": lambda name, entry: _DIRECTORY_MODE if entry.kind in DIRECTORIES else _FILE_MODE,
    "__atime_secs": lambda name, entry: entry.modified_ns // _BILLION,
    "__atime_nsecs": lambda name, entry: entry.modified_ns % _BILLION,
    "__mtime_secs": lambda name, entry: entry.modified_ns // _BILLION,
    "__mtime_nsecs": lambda name, entry: entry.modified_ns % _BILLION,
    "__ctime_secs": lambda name, entry: entry.created_ns // _BILLION,
    "__ctime_nsecs": lambda name, entry: entry.created_ns % _BILLION,
    "__uid": lambda name, entry: 0,
    "__gid": lambda name, entry: 0,
    "__obj_type": lambda name, entry: SHARD if entry.kind == SHARD else 0,
    "__collection_id": lambda name, entry: 0,
    "__inode_number": lambda name, entry: entry.inode,
    "__last_sequence_num": lambda name, entry: (
        entry.last_sequence if entry.kind == SHARD else MISSING
    ),
}
"""What each item has besides what was put there: (name, entry) to the value."""


def system_value(attribute: str, name: str, entry: Any) -> Any:
    """Return a system attribute of an item, or MISSING if it has none of that name."""
    get = SYSTEM.get(attribute)
    return MISSING if get is None else get(name, entry)


def is_hidden(attribute: str) -> bool:
    """Tell whether an attribute is left out where all are asked for."""
    return attribute.startswith("__")


def resolve(name: str) -> Compiled:
    """Return how an expression gets an attribute from an `Item`."""
    get = SYSTEM.get(name)
    if get is None:
        return lambda item: item.attributes.get(name, MISSING)
    return lambda item: MISSING if item.entry is None else get(item.name, item.entry)


# Writing.


class Test(NamedTuple):
    """A condition, ready to be asked."""

    condition: Condition
    run: Callable[[Any], bool]

    @classmethod
    def of(cls, condition: Condition | None) -> Test | None:
        """Return the test of a condition; None for one that is always true."""
        return None if condition is None else cls(condition, condition.compile(resolve))


class Put(NamedTuple):
    """New attributes for an item."""

    attributes: Attributes
    mode: str = REPLACE
    """REPLACE all but the hidden ones, MERGE with those there are, or CREATE a new item."""
    test: Test | None = None


class Updating(NamedTuple):
    """An expression that changes an item."""

    run: Callable[[Any, Attributes], None]
    test: Test | None = None
    otherwise: Callable[[Any, Attributes], None] | None = None
    """What is done where the test is false."""
    mode: str = MERGE

    @classmethod
    def of(
        cls,
        update: Update,
        test: Test | None = None,
        otherwise: Update | None = None,
        mode: str = MERGE,
    ) -> Updating:
        """Make it ready to run.

        Raises:
            ExpressionError: It sets a system attribute.
        """
        for each in (update, otherwise):
            if each is not None:
                check_settable(each.targets)
        other = None if otherwise is None else otherwise.compile(resolve)
        return cls(update.compile(resolve), test, other, mode)


def check_settable(names: frozenset[str]) -> None:
    """Refuse system attributes.

    Raises:
        ExpressionError: One of the names is that of a system attribute.
    """
    for name in names:
        if name in SYSTEM:
            raise ExpressionError(f"{name!r} is a system attribute and cannot be set")


def put_item(
    tx: Transaction, container: int, path: Path, put: Put, inodes: tuple[int, ...], now_ns: int
) -> Entry | Loaded:
    """Store attributes; return the entry as it is then.

    Raises:
        ConditionError: The test is false.
        ConflictError: There is a directory, or what is above is none.
        ExistsError: It is there, and was to be created.
    """
    key, found = _find(tx, container, path)
    item = Item(path.name, found)
    _check(item, put.mode, put.test, path)
    given = put.attributes
    if found is not None:
        if put.mode == MERGE:
            given = {**found.attributes, **given}
        elif any(map(is_hidden, found.attributes)):
            hidden = {n: v for n, v in found.attributes.items() if is_hidden(n)}
            given = {**hidden, **given}
    return _store(tx, container, path, key, found, given, inodes, now_ns)


def update_item(
    tx: Transaction,
    container: int,
    path: Path,
    update: Updating,
    inodes: tuple[int, ...],
    now_ns: int,
) -> Entry | Loaded:
    """Change an item, made if it is not there, by an expression; return the entry.

    Raises:
        ConditionError: The test is false, and there is no alternative.
        ConflictError: There is a directory, or what is above is none.
        ExistsError: It is there, and was to be created.
        ExpressionError: The update cannot be worked out for this item.
    """
    key, found = _find(tx, container, path)
    item, run = Item(path.name, found), update.run
    if update.otherwise is not None and update.test is not None and not update.test.run(item):
        run = update.otherwise
        _check(item, update.mode, None, path)
    else:
        _check(item, update.mode, update.test, path)
    run(item, item.attributes)
    for name in item.attributes:
        attributes.check_name(name)
    return _store(tx, container, path, key, found, item.attributes, inodes, now_ns)


def _find(tx: Transaction, container: int, path: Path) -> tuple[bytes, Loaded | None]:
    if not path.name:
        raise LimitError("the key of an item is empty")
    key = entries.entry_key(container, path)
    raw = tx.get(key)
    found = None if raw is None else decode_exact(raw)
    if found is not None and found.kind in DIRECTORIES:
        raise ConflictError(f"{path.whole!r} is a directory, not an item")
    return key, found


def _check(item: Item, mode: str, test: Test | None, path: Path) -> None:
    if mode == CREATE and item.entry is not None:
        raise ExistsError(f"there is an item {path.whole!r} already")
    if test is not None and not test.run(item):
        raise false_condition(test.condition, item, path)


def false_condition(condition: Condition, item: Item, path: Path) -> ConditionError:
    """Return an error that says why the condition is false."""
    if item.entry is None and not any(map(is_hidden, condition.names)):
        return ConditionError(
            f"the condition {condition.text!r} is false: there is no item {path.whole!r}", "", None
        )
    values = {name: resolve(name)(item) for name in sorted(condition.names)}
    shown = ", ".join(
        f"{name} is {'not there' if value is MISSING else repr(friendly(value))[:60]}"
        for name, value in values.items()
    )
    return ConditionError(
        f"the condition {condition.text!r} is false for {path.whole!r}: {shown}",
        "",
        {name: friendly(value) for name, value in item.attributes.items()},
    )


def _store(
    tx: Transaction,
    container: int,
    path: Path,
    key: bytes,
    found: Loaded | None,
    given: Attributes,
    inodes: tuple[int, ...],
    now_ns: int,
) -> Entry | Loaded:
    raw = msgspec.Raw(attributes.encode(given))
    if found is None:
        numbers = iter(inodes)
        entry = Entry(OBJECT, next(numbers), now_ns, now_ns, attributes=raw)
        entries.make_directories(tx, container, path.directory, numbers, now_ns)
    else:
        entry = Entry(
            found.kind,
            found.inode,
            found.created_ns,
            entries.next_moment(cast("Entry", found), now_ns),
            found.size,
            found.body,
            found.last_sequence,
            raw,
        )
    tx.put(key, encode_entry(entry))
    return entry


# Reading.


def find_item(tx: Transaction, place: entries.Place, name: str) -> bytes | None:
    """Return the record of an entry; None if there is none.

    Raises:
        NoContainerError: The container is not there.
    """
    return tx.get(place.begin(tx) + pack_str(name))


def missing_item(path: str) -> NotFoundError:
    """Return the error for an item that is not there."""
    return NotFoundError(f"there is no item {path!r}")
