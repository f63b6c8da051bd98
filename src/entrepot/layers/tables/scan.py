"""Scans: which items of a table, and which of their attributes.

A scan is worked out once into a plan. Its filter is asked of a record that is decoded into
a class made for it, which has just the attributes that the filter names: msgspec skips the
rest without making objects of it. Only items that pass are decoded for the reader.

Pages end after `limit` items or `PAGE_BYTES_MAX`; a page that is not the last has at least
one item, however long the filter must look for it.
"""

from __future__ import annotations

import functools
import operator
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from entrepot import settings
from entrepot.engine.keys import after, pack_str
from entrepot.engine.protocol import Transaction
from entrepot.errors import LimitError, NotFoundError, TypeMismatchError
from entrepot.layers import entries
from entrepot.layers.attributes import MISSING, exact_hook, friendly_hook
from entrepot.layers.entries import DIRECTORIES, KIND_AT, Place
from entrepot.layers.expressions import Condition
from entrepot.layers.numbers import whole
from entrepot.layers.tables.core import SYSTEM, Item, Loaded, decode_exact, is_hidden, resolve

__all__ = [
    "ALL",
    "EVERYTHING",
    "Page",
    "Plan",
    "Range",
    "Row",
    "all_of",
    "names_of",
    "plan",
    "project",
]

ALL: Final = ("*",)
"""The attributes that users set, but for the hidden ones."""
EVERYTHING: Final = ("**",)
"""These, the hidden and the system attributes."""

_NO_FIELD: Final = re.compile(r'[\x00-\x1f"\\\ud800-\udfff]')
_HIDING: Final = b"__"
Row = tuple[str, dict[str, Any]]
"""The name of an item, and of its attributes those that were asked for."""
_Filter = Callable[[str, bytes], bool]
_Reader = Callable[[str, bytes], "dict[str, Any]"]


class Range(NamedTuple):
    """Which items: those of one sharding key, or of one segment, or all."""

    sharding_key: str | None = None
    start: str | None = None
    """With `sharding_key`: the first sorting key."""
    end: str | None = None
    """With `sharding_key`: the sorting key behind the last."""
    segment: int = 0
    segments: int = 1

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            LimitError: A number is out of range, or there are start or end and no sharding key.
            TypeMismatchError: Something is of another type.
        """
        whole("segments", self.segments)
        whole("segment", self.segment)
        if not 1 <= self.segments <= settings.SEGMENTS_MAX:
            raise LimitError(f"{self.segments} segments, 1 to {settings.SEGMENTS_MAX} are allowed")
        if not 0 <= self.segment < self.segments:
            raise LimitError(
                f"segment {self.segment} is none of the {self.segments}, which begin at 0"
            )
        for what in (self.sharding_key, self.start, self.end):
            if what is not None and not isinstance(what, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
                raise TypeMismatchError(
                    f"a key of a range is {what!r}, a {type(what).__name__}", "keys are strings"
                )
        if self.sharding_key is None:
            if self.start is not None or self.end is not None:
                raise LimitError("a range of sorting keys needs the sharding key")
        elif self.segments > 1:
            raise LimitError("a scan is by sharding key or by segments, not both")
        elif not self.sharding_key or "." in self.sharding_key:
            raise LimitError(
                f"{self.sharding_key!r} is no sharding key",
                "it is what stands before the first dot",
            )

    def keys(self, begin: bytes) -> tuple[bytes, bytes]:
        """Return the first key, and the one behind the last."""
        if self.sharding_key is None:
            return begin, after(begin)
        head = begin + pack_str(f"{self.sharding_key}.")[:-1]
        first = begin + pack_str(f"{self.sharding_key}.{self.start or ''}")[:-1]
        if self.end is None:
            return first, after(head)
        return first, begin + pack_str(f"{self.sharding_key}.{self.end}")[:-1]


class Page(NamedTuple):
    """A stretch of a scan."""

    rows: list[Row]
    behind: str | None
    """The name behind which the next page begins; None if this is the last."""


class Plan(NamedTuple):
    """A scan, worked out."""

    passes: _Filter | None
    wants_name: bool
    """Whether the filter asks for the name; else it is given none."""
    read: _Reader
    range: Range
    limit: int
    looks: int | None = None
    """After so many entries a page ends, even if it has no items: for who must give way."""

    def page(self, tx: Transaction, place: Place, behind: str = "") -> Page:
        """Return a page of items that pass, which begins behind a name.

        Args:
            tx: A snapshot.
            place: The table.
            behind: The name behind which it begins.

        Raises:
            NoContainerError: The container is not there.
            NotFoundError: The table is not there.
            ExpressionError: The filter cannot be worked out for an item.
        """
        begin = place.begin(tx)
        first, end = self.range.keys(begin)
        if behind:
            first = max(first, begin + pack_str(behind) + b"\x00")
        return _walk(tx, self, begin, first, end, place)


def _walk(
    tx: Transaction, plan: Plan, begin: bytes, first: bytes, end: bytes, place: Place
) -> Page:
    passes, read, limit, wants_name = plan.passes, plan.read, plan.limit, plan.wants_name
    segment, segments = plan.range.segment, plan.range.segments
    rows: list[Row] = []
    offset, size, looks = len(begin) + 1, 0, 0
    stretch = min(settings.SCAN_STRETCH, limit + 1) if passes is None else settings.SCAN_STRETCH
    is_first = True
    while True:
        found = tx.range(first, end, limit=stretch)
        if not found and is_first:
            _check_there(tx, begin, place)
        is_first = False
        for key, raw in found:
            if segments > 1 and zlib.crc32(key[offset:-1]) % segments != segment:
                continue
            if raw[KIND_AT] in DIRECTORIES:
                continue
            if passes is not None:
                name = entries.name_of(key, begin) if wants_name else ""
                if not passes(name, raw):
                    continue
            if len(rows) >= limit or size >= settings.PAGE_BYTES_MAX:
                return Page(rows, rows[-1][0])
            name = entries.name_of(key, begin)  # mostly here: those that pass are few
            rows.append((name, read(name, raw)))
            size += len(raw)
        if len(found) < stretch:
            return Page(rows, None)
        first = found[-1][0] + b"\x00"
        looks += stretch
        if plan.looks is not None and looks >= plan.looks:
            return Page(rows, entries.name_of(found[-1][0], begin))


def _check_there(tx: Transaction, begin: bytes, place: Place) -> None:
    """Refuse a table that is not there: one without entries has an entry in the one above."""
    if place.directory and not tx.range(begin, after(begin), limit=1):
        container = entries.get_container(tx, place.container)
        if not entries.is_directory(tx, container.id, place.directory):
            raise NotFoundError(f"there is no table {place.path!r}")


@functools.lru_cache(maxsize=1024)
def plan(
    where: Condition | None, names: tuple[str, ...], which: Range, limit: int, exact: bool
) -> Plan:
    """Work a scan out.

    Args:
        where: Which items pass.
        names: Which attributes are read: some, `ALL` or `EVERYTHING`.
        which: Which items are looked at.
        limit: How many items a page has at most.
        exact: Attributes as they are, rather than as users are given them.

    Raises:
        LimitError: A number is out of range.
        ExpressionError: The filter uses a parameter for which there is no value.
    """
    which.check()
    if whole("limit", limit) < 1:
        raise LimitError(f"a page of {limit} items, at least 1 is needed")
    return Plan(
        None if where is None else _filter(where),
        where is not None and "__name" in where.names,
        _reader(names, exact),
        which,
        min(limit, settings.PAGE_ITEMS_MAX),
    )


def names_of(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return which attributes are asked for: a name, several, or all.

    Raises:
        TypeMismatchError: They are no names.
    """
    if names is None:
        return ALL
    if isinstance(names, str):
        return (names,)
    try:
        found = tuple(dict.fromkeys(names))
    except TypeError as error:
        raise TypeMismatchError(f"names is {names!r}", "a string, or a list of them") from error
    if not all(isinstance(name, str) for name in found):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(f"{found!r} are no names of attributes", "names are strings")
    if "**" in found:
        return EVERYTHING
    return found


# Filters.


def _filter(where: Condition) -> _Filter:
    """Return what tells whether a record passes: it decodes what the filter names."""
    wanted = sorted(name for name in where.names if name not in SYSTEM)
    if not _are_fields(wanted):
        return _filter_of_whole(where)
    record = _record_of(wanted)
    decode = msgspec.msgpack.Decoder(record, ext_hook=exact_hook).decode
    fields = {name: f"attributes.f{number}" for number, name in enumerate(wanted)}

    def get_of(name: str) -> Callable[[Any], Any]:
        get = SYSTEM.get(name)
        if get is None:
            return operator.attrgetter(fields[name])
        if name == "__name":
            return operator.attrgetter("name")
        return lambda entry: get("", entry)

    test = where.compile(get_of)
    if "__name" not in where.names:
        return lambda name, raw: test(decode(raw))

    def run(name: str, raw: bytes) -> bool:
        entry: Any = decode(raw)
        entry.name = name
        return test(entry)

    return run


def _filter_of_whole(where: Condition) -> _Filter:
    test = where.compile(resolve)
    return lambda name, raw: test(Item(name, decode_exact(raw)))


def _are_fields(names: Sequence[str]) -> bool:
    """Tell whether msgspec can have a class with fields of these names."""
    return not any(map(_NO_FIELD.search, names))


def _record_of(names: Sequence[str]) -> type[msgspec.Struct]:
    """Return a class of entries that have just these attributes, as `attributes.f0` and so on."""
    wanted = [f"f{number}" for number in range(len(names))]
    attributes = msgspec.defstruct(
        "Attributes",
        [(field, Any, MISSING) for field in wanted],
        rename=dict(zip(wanted, names, strict=True)),
        gc=False,
    )
    system = [field for field in Loaded.__struct_fields__ if field != "attributes"]
    return msgspec.defstruct(
        "Record",
        [*((field, int) for field in system), ("attributes", attributes), ("name", str, "")],
        array_like=True,
        gc=False,
    )


# Readers.


def _reader(names: tuple[str, ...], exact: bool) -> _Reader:
    """Return what reads the attributes that are asked for from a record."""
    hook: Callable[[int, memoryview], object] = exact_hook if exact else friendly_hook
    is_general = names in (ALL, EVERYTHING) or any(name in SYSTEM or name == "*" for name in names)
    if not is_general and _are_fields(names):
        return _reader_of_some(names, hook)
    decode = msgspec.msgpack.Decoder(Loaded, ext_hook=hook).decode
    if names == ALL:
        return lambda name, raw: all_of(decode(raw), raw)
    return lambda name, raw: project(names, name, decode(raw))


def _reader_of_some(names: tuple[str, ...], hook: Callable[[int, memoryview], object]) -> _Reader:
    decode = msgspec.msgpack.Decoder(_record_of(names), ext_hook=hook).decode
    fields = [(name, f"f{number}") for number, name in enumerate(names)]

    def read(_: str, raw: bytes) -> dict[str, Any]:
        record: Any = decode(raw)
        attributes = record.attributes
        return {
            name: value
            for name, field in fields
            if (value := getattr(attributes, field)) is not MISSING
        }

    return read


def all_of(entry: Loaded, raw: bytes) -> dict[str, Any]:
    """Return of an item's attributes all but the hidden ones; `raw` is its record."""
    # One look at the bytes spares most items one at each name.
    return entry.attributes if _HIDING not in raw else project(ALL, "", entry)


def project(names: tuple[str, ...], name: str, entry: Loaded) -> dict[str, Any]:
    """Return of an item's attributes those that are asked for."""
    attributes = entry.attributes
    if names == ALL:
        if any(map(is_hidden, attributes)):
            return {n: v for n, v in attributes.items() if not is_hidden(n)}
        return attributes
    if names == EVERYTHING:
        system = {
            n: value for n, get in SYSTEM.items() if (value := get(name, entry)) is not MISSING
        }
        return {**attributes, **system}
    found: dict[str, Any] = {}
    for asked in names:
        if asked == "*":
            found.update((n, v) for n, v in attributes.items() if not is_hidden(n))
            continue
        get = SYSTEM.get(asked)
        value = attributes.get(asked, MISSING) if get is None else get(name, entry)
        if value is not MISSING:
            found[asked] = value
    return found
