"""A table: items with typed attributes, by key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from entrepot import settings
from entrepot.engine.protocol import Transaction
from entrepot.errors import ClosedError, ConflictError, NotFoundError, TypeMismatchError
from entrepot.layers import attributes, entries, expressions
from entrepot.layers.commits import Call
from entrepot.layers.entries import Path, Place
from entrepot.layers.numbers import whole
from entrepot.layers.tables import core, scan
from entrepot.layers.tables.core import CREATE, MERGE, REPLACE, Put, Test, Updating
from entrepot.layers.tables.scan import Page, Range, Row
from entrepot.layers.tier import Tier

__all__ = ["Table", "TableBatch"]

T = TypeVar("T")
_NO_DEFAULT: Final = object()
_MODES: Final = (REPLACE, MERGE, CREATE)


class Table:
    """Items by key, each a dict of typed attributes. Made by `Depot.table`.

    An attribute is an int, float, bool, str, bytes, datetime, or a list of ints or of floats,
    and comes back as what it was. What is acknowledged is on the disk.

    Conditions and filters are text, for instance `age > 15 and starts(name, 'B')`. Values are
    best given apart from it: `table.scan("age > :least", least=15)`.
    """

    def __init__(
        self, tier: Tier, container: str, directory: str, *, makes_container: bool = True
    ) -> None:
        self.use(tier)
        self._makes_container = makes_container
        self.place = Place(container, directory)
        self.name = self.place.path
        """The container and the directory."""

    def use(self, tier: Tier) -> None:
        """Work on this tier: for the depot, when it closes."""
        self._tier = tier
        self.engine = tier.engine

    def __repr__(self) -> str:
        return f"<Table {self.name!r}>"

    # Writing.

    def put(
        self,
        key: str,
        attributes: Mapping[str, object],
        *,
        mode: str = REPLACE,
        condition: str = "",
        parameters: Mapping[str, object] | None = None,
        **bound: object,
    ) -> None:
        """Store an item.

        Args:
            key: Which one; `SHARDING.SORTING` for scans by ranges of sorting keys.
            attributes: What it has then.
            mode: `replace` what it had, `merge` with it, or `create` one that is not there.
            condition: It is stored only if this is true of what is there.
            parameters: Values for what the condition writes as `:name`.
            bound: The same, as keyword arguments.

        Raises:
            ConditionError: The condition is false; the message says why.
            ConflictError: There is a directory of that name.
            ExistsError: It is there, and was to be created.
            ExpressionError: The condition cannot be read, or not be worked out.
            LimitError: A name or the whole item is too large.
            TypeMismatchError: An attribute is of a type that cannot be.

        Cost: one transaction, which threads share, and one wait for the disk.
        """
        self._commit(
            self.putting(key, attributes, mode, condition, {**(parameters or {}), **bound})
        )

    def update(
        self,
        key: str,
        expression: str,
        *,
        condition: str = "",
        otherwise: str | None = None,
        parameters: Mapping[str, object] | None = None,
        **bound: object,
    ) -> None:
        """Change an item, made if it is not there, by an expression, in one step.

        Args:
            key: Which one.
            expression: For instance `count = if_not_exists(count, 0) + :more; REMOVE old`.
            condition: It is changed only if this is true of it.
            otherwise: What is done instead where the condition is false.
            parameters: Values for what the texts write as `:name`.
            bound: The same, as keyword arguments.

        Raises:
            ConditionError: The condition is false, and `otherwise` is not given.
            ExpressionError: A text cannot be read, or not be worked out for this item.
            ConflictError, LimitError, TypeMismatchError: As `put`.
        """
        self._commit(
            self.updating(key, expression, condition, otherwise, {**(parameters or {}), **bound})
        )

    def delete(
        self,
        key: str,
        *,
        condition: str = "",
        parameters: Mapping[str, object] | None = None,
        **bound: object,
    ) -> None:
        """Delete an item, with its body if it has one.

        Raises:
            ConditionError: The condition is false.
            ConflictError: It is a directory.
            NotFoundError: It is not there.
        """
        gone = self._commit(self.deleting(key, condition, {**(parameters or {}), **bound}))
        if entries.leaves_trash(gone):
            self._tier.sweep()

    def batch(self) -> TableBatch:
        """Return a batch: its writes are done in one transaction, all or none, at its end."""
        return TableBatch(self)

    # Reading.

    def get(self, key: str, names: str | Sequence[str] | None = None) -> dict[str, Any]:
        """Return the attributes of an item.

        Args:
            key: Which one.
            names: Only these; `"**"` for all, hidden (`__x`) and system ones included.

        Raises:
            NotFoundError: It is not there.

        Cost: one read transaction.
        """
        found = self.try_get(key, names, default=_NO_DEFAULT)
        if found is _NO_DEFAULT:
            raise core.missing_item(f"{self.name}/{key}")
        return found

    def try_get(
        self, key: str, names: str | Sequence[str] | None = None, *, default: Any = None
    ) -> Any:
        """As `get`; `default` if the item, the table or the container is not there."""
        place, name = self._at(key)
        try:
            raw = self.engine.read(core.find_item, place, name)
        except entries.NoContainerError:
            return default
        if raw is None:
            return default
        entry = core.decode_friendly(raw)
        if names is None:
            return scan.all_of(entry, raw)
        return scan.project(scan.names_of(names), name, entry)

    def get_many(
        self, keys: Sequence[str], names: str | Sequence[str] | None = None
    ) -> list[dict[str, Any] | None]:
        """Return the attributes of several items, in one snapshot; None for those not there."""
        places, wanted = [self._at(key) for key in keys], scan.names_of(names)

        def find(tx: Transaction) -> list[bytes | None]:
            return [core.find_item(tx, place, name) for place, name in places]

        try:
            found = self.engine.read(find)
        except entries.NoContainerError:
            return [None] * len(places)
        return [
            None if raw is None else scan.project(wanted, name, core.decode_friendly(raw))
            for (_, name), raw in zip(places, found, strict=True)
        ]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.try_get(key, ()) is not None

    def scan(
        self,
        where: str = "",
        *,
        names: str | Sequence[str] | None = None,
        limit: int | None = None,
        sharding_key: str | None = None,
        sort_start: str | None = None,
        sort_end: str | None = None,
        segment: int = 0,
        segments: int = 1,
        parameters: Mapping[str, object] | None = None,
        **bound: object,
    ) -> Iterator[Row]:
        """Yield (key, attributes) of the items that pass a filter, by key.

        Each page is a snapshot of its own: what is written meanwhile may be seen, or not.

        Args:
            where: For instance `age > :least`; by default all pass.
            names: Which attributes, by default all but the hidden ones.
            limit: Most items.
            sharding_key: Only the keys `SHARDING_KEY.…`.
            sort_start: With a sharding key: the first sorting key.
            sort_end: With a sharding key: the sorting key behind the last.
            segment: Which part of the table, for scans side by side; from 0.
            segments: In how many parts it is divided.
            parameters: Values for what the filter writes as `:name`.
            bound: The same, as keyword arguments: of names that are none of the above.

        Raises:
            ExpressionError: The filter cannot be read, or not be worked out for an item.
            LimitError: A number is out of range.
            NotFoundError: The table is not there.
        """
        which = Range(sharding_key, sort_start, sort_end, segment, segments)
        plan = self.plan(where, names, which, None, {**(parameters or {}), **bound})
        return self._rows(plan, None if limit is None else whole("limit", limit, 0))

    def _rows(self, plan: scan.Plan, limit: int | None) -> Iterator[Row]:
        behind: str | None = ""
        left = limit
        while behind is not None and left != 0:
            if left is not None and left < plan.limit:
                plan = plan._replace(limit=left)
            page = self.engine.read(plan.page, self.place, behind)
            yield from page.rows
            behind = page.behind
            left = None if left is None else left - len(page.rows)

    def count(
        self, where: str = "", *, parameters: Mapping[str, object] | None = None, **bound: object
    ) -> int:
        """Return how many items pass a filter.

        Raises:
            ExpressionError: The filter cannot be read, or not be worked out for an item.
            NotFoundError: The table is not there.
        """
        plan = self.plan(where, (), Range(), None, {**(parameters or {}), **bound})
        return sum(1 for _ in self._rows(plan, None))

    def clear(self) -> int:
        """Delete all items; return how many there were. Directories beneath stay."""
        count = 0
        while True:
            page = self.page(self.plan("", (), Range(), None, {}))
            calls = [self.deleting(name, "", {}) for name, _ in page.rows]
            self._tier.commits.write_all(calls)
            self._sweep_after(calls)
            gone = [call.error for call in calls if call.error is not None]
            for error in gone:
                if not isinstance(error, NotFoundError):  # somebody else deleted it
                    raise error
            count += len(calls) - len(gone)
            if page.behind is None:
                return count

    def write_all(self, calls: Sequence[Call]) -> None:
        """Do all of some writes, or nothing: for batches.

        Raises:
            EntrepotError: What the first write that refused raises; nothing was changed then.
        """
        self.engine.write(_run_all, calls)
        self._sweep_after(calls)

    def _sweep_after(self, calls: Sequence[Call]) -> None:
        done = (call for call in calls if call.fn is _delete and call.error is None)
        if any(entries.leaves_trash(call.result) for call in done):
            self._tier.sweep()

    # For faces and gateways: the same in two steps.

    def plan(
        self,
        where: str,
        names: str | Sequence[str] | None,
        which: Range,
        limit: int | None,
        parameters: Mapping[str, object],
        *,
        exact: bool = False,
    ) -> scan.Plan:
        """Work a scan out; see `scan`."""
        test = expressions.condition(where, parameters)
        wanted = scan.names_of(names)
        bound = settings.PAGE_ITEMS_MAX if limit is None else limit
        return scan.plan(test, wanted, which, bound, exact)

    def page(self, plan: scan.Plan, behind: str = "") -> Page:
        """Return a page of a scan; `Page.behind` is where the next one begins."""
        return self.engine.read(plan.page, self.place, behind)

    def get_exact(self, key: str, names: str | Sequence[str] | None = None) -> dict[str, Any]:
        """As `get`, with attributes as they are stored: arrays, moments to the nanosecond."""
        place, name = self._at(key)
        raw = self.engine.read(core.find_item, place, name)
        if raw is None:
            raise core.missing_item(f"{self.name}/{key}")
        return scan.project(scan.names_of(names), name, core.decode_exact(raw))

    def putting(
        self,
        key: str,
        given: Mapping[str, object],
        mode: str = REPLACE,
        condition: str = "",
        parameters: Mapping[str, object] | None = None,
    ) -> Call:
        """Return the write that `put` does."""
        if mode not in _MODES:
            raise TypeMismatchError(f"mode is {mode!r}", f"one of {', '.join(_MODES)}")
        checked = attributes.as_attributes(given)
        core.check_settable(frozenset(checked))
        put = Put(checked, mode, _test(condition, parameters or {}))
        return self._call(core.put_item, self._path(key), put)

    def updating(
        self,
        key: str,
        expression: str,
        condition: str = "",
        otherwise: str | None = None,
        parameters: Mapping[str, object] | None = None,
        mode: str = MERGE,
    ) -> Call:
        """Return the write that `update` does."""
        values = parameters or {}
        change = Updating.of(
            expressions.updating(expression, values),
            _test(condition, values),
            None if otherwise is None else expressions.updating(otherwise, values),
            mode,
        )
        return self._call(core.update_item, self._path(key), change)

    def deleting(
        self, key: str, condition: str = "", parameters: Mapping[str, object] | None = None
    ) -> Call:
        """Return the write that `delete` does."""
        return Call(
            _delete, self.place.container, self._path(key), _test(condition, parameters or {})
        )

    def _call(self, fn: Callable[..., Any], path: Path, what: Put | Updating) -> Call:
        ids = self._tier.ids
        inodes = tuple(ids.next() for _ in range(path.whole.count("/") + 2))
        return Call(
            _write,
            fn,
            self.place.container,
            path,
            what,
            inodes,
            time.time_ns(),
            self._makes_container,
        )

    def _path(self, key: str) -> Path:
        path = entries.split(key)
        if not path.name:
            raise entries.LimitError("the key of an item is empty")
        directory = self.place.directory
        return entries.split(f"{directory}/{path.whole}") if directory else path

    def _at(self, key: str) -> tuple[Place, str]:
        """Return where an item is: here, or in a directory beneath."""
        if isinstance(key, str) and "/" not in key and key not in (".", ".."):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            return self.place, key
        path = self._path(key)
        return Place(self.place.container, path.directory), path.name

    def _commit(self, call: Call) -> Any:
        return self._tier.commits.write(call.fn, *call.args)


class TableBatch:
    """Writes that are done in one transaction, all or none; a context manager.

    The block's end commits them; an error in it drops them.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._calls: list[Call] = []
        self._is_over = False

    def put(self, key: str, attributes: Mapping[str, object], **options: Any) -> None:
        """As `Table.put`, later."""
        self._add(self._table.putting, key, attributes, options)

    def update(self, key: str, expression: str, **options: Any) -> None:
        """As `Table.update`, later."""
        self._add(self._table.updating, key, expression, options)

    def delete(self, key: str, **options: Any) -> None:
        """As `Table.delete`, later."""
        names = ("condition",)
        known = {name: options.pop(name) for name in names if name in options}
        parameters = dict(options.pop("parameters", None) or {}, **options)
        self._queue(self._table.deleting(key, parameters=parameters, **known))

    def _add(self, make: Callable[..., Call], key: str, what: Any, options: dict[str, Any]) -> None:
        names = ("mode", "condition", "otherwise")
        known = {name: options.pop(name) for name in names if name in options}
        parameters = dict(options.pop("parameters", None) or {}, **options)
        self._queue(make(key, what, parameters=parameters, **known))

    def _queue(self, call: Call) -> None:
        if self._is_over:
            raise ClosedError("the batch is over", "begin another one with table.batch()")
        self._calls.append(call)

    def __len__(self) -> int:
        return len(self._calls)

    def commit(self) -> None:
        """Do all of it, or nothing.

        Raises:
            EntrepotError: What the first write that refused raises; nothing was changed then.
        """
        self._is_over = True
        if self._calls:
            self._table.write_all(self._calls)

    def __enter__(self) -> TableBatch:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and not self._is_over:
            self.commit()
        self._is_over = True


def _run_all(tx: Transaction, calls: Sequence[Call]) -> None:
    for call in calls:
        call.result = call.fn(tx, *call.args)


def _write(
    tx: Transaction,
    fn: Callable[..., T],
    container: str,
    path: Path,
    what: Put | Updating,
    inodes: tuple[int, ...],
    now_ns: int,
    makes_container: bool,
) -> T:
    """Do a write in a container, which is made if it is not there."""
    found = entries.find_container(tx, container)
    if found is None and makes_container:
        found = entries.Container(inodes[-1], now_ns, container)
        result = fn(tx, found.id, path, what, inodes[:-1], now_ns)
        entries.make_container(tx, container, found.id, now_ns)
        return result
    if found is None:
        raise entries.NoContainerError(container)
    return fn(tx, found.id, path, what, inodes, now_ns)


def _delete(tx: Transaction, container: str, path: Path, test: Test | None) -> entries.Entry:
    found = entries.get_container(tx, container)
    key = entries.entry_key(found.id, path)
    raw = tx.get(key)
    if raw is None:
        raise core.missing_item(f"{container}/{path.whole}")
    loaded = core.decode_exact(raw)
    if loaded.kind in entries.DIRECTORIES:
        raise ConflictError(f"{path.whole!r} is a directory, not an item")
    if test is not None and not test.run(core.Item(path.name, loaded)):
        raise core.false_condition(test.condition, core.Item(path.name, loaded), path)
    gone = entries.decode_entry(raw)
    entries.remove_entry(tx, found.id, path, gone)
    return gone


def _test(condition: str, parameters: Mapping[str, object]) -> Test | None:
    return Test.of(expressions.condition(condition, parameters))
