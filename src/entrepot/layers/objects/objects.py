"""The objects of a depot: immutable values by id or name, and trees of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from entrepot import settings
from entrepot.arena.bulk import Draft
from entrepot.engine.protocol import Transaction
from entrepot.errors import (
    ConflictError,
    LimitError,
    NotFoundError,
    OutOfMemoryError,
    TypeMismatchError,
    WaitTimeoutError,
)
from entrepot.layers import names, values
from entrepot.layers.objects import core, readers
from entrepot.layers.objects.assembly import BLOB_BIT
from entrepot.layers.objects.core import OBJECT, object_key, put_record
from entrepot.layers.objects.info import ID_MAX, ObjectId, ObjectInfo, Usage
from entrepot.layers.patterns import matcher
from entrepot.layers.tier import Found, Tier, load
from entrepot.waiting import Deadline

__all__ = ["Objects"]

_FEW = 8
"""Objects that can be deleted at once in a depot that is full to the brim."""


class Objects:
    """The objects of a depot."""

    def __init__(self, tier: Tier) -> None:
        self.use(tier)

    def use(self, tier: Tier) -> None:
        """Work with this tier from now on: when a depot closes, with one that is closed."""
        self._engine = tier.engine
        self._bulk = tier.bulk
        self._ids = tier.ids

    def put(self, value: object, *, name: str | None = None) -> ObjectId:
        """Store a value, and give it a name if one is told.

        Args:
            value: Anything that can be pickled. The bytes of arrays, dataframes and Arrow
                tables are copied once into shared memory.
            name: A name for `get_name`; one that was given before moves to this object.

        Raises:
            TypeMismatchError: The value cannot be pickled.
            OutOfMemoryError: The depot is full; the message says who holds what.

        Cost: one write transaction; a value over about 128 kB one more.
        """
        record = values.encode(value)
        number = self._ids.next()
        if type(record) is bytes and name is None:
            self._engine.write(put_record, object_key(number), record)
        else:
            self._put_named([(number, record)], name)
        return ObjectId(number)

    def put_many(self, many: Iterable[object]) -> list[ObjectId]:
        """Store several values: all or none, the small ones in one transaction.

        Raises:
            TypeMismatchError: A value cannot be pickled.
            OutOfMemoryError: The depot is full.
        """
        records = [(self._ids.next(), values.encode(value)) for value in many]
        self._put_named(records, None)
        return [ObjectId(number) for number, _ in records]

    def _put_named(
        self, records: list[tuple[int, bytes | values.Encoded]], name: str | None
    ) -> None:
        if name is not None:
            values.check_name(name, "name")
        small = [(number, record) for number, record in records if isinstance(record, bytes)]
        with contextlib.ExitStack() as stack:
            drafts = [
                (number, record, stack.enter_context(self._bulk.draft(record.buffers)))
                for number, record in records
                if not isinstance(record, bytes)
            ]
            self._engine.write(self._put_all, drafts, small, name)

    def _put_all(
        self,
        tx: Transaction,
        drafts: list[tuple[int, values.Encoded, Draft]],
        small: list[tuple[int, bytes]],
        name: str | None,
    ) -> None:
        for number, record in small:
            core.put_record(tx, object_key(number), record)
        for number, encoded, draft in drafts:
            self._bulk.seal(tx, draft)
            core.put_record(tx, object_key(number), values.bulk_record(encoded, draft.ref))
        if name is not None:
            names.put(tx, name, (small or drafts)[0][0])

    def create(
        self,
        fields: Mapping[str, Any],
        members: Mapping[str, int],
        *,
        typename: str = "entrepot::Tree",
        name: str | None = None,
    ) -> ObjectId:
        """Store an object made of plain fields and of other objects.

        Args:
            fields: None, bool, int, float, str, bytes, lists and dicts of them, by name.
            members: Ids of objects that exist, by name. They live as long as this does.
            typename: What kind of thing it is, for `list`.
            name: As in `put`.

        Raises:
            NotFoundError: A member does not exist.
            ConflictError: A name is used for both a field and a member.
            TypeMismatchError: A field is of another type.
        """
        both = set(fields) & set(members)
        if both:
            raise ConflictError(f"{sorted(both)[0]!r} names both a field and a member")
        ids = {member: _checked(number) for member, number in members.items()}
        record = values.encode_tree(values.Tree(typename, dict(fields), ids))
        number = self._ids.next()
        self._engine.write(self._put_tree, number, record, list(ids.values()), name)
        return ObjectId(number)

    def _put_tree(
        self, tx: Transaction, number: int, record: bytes, ids: list[int], name: str | None
    ) -> None:
        core.put_tree(tx, number, record, ids)
        if name is not None:
            names.put(tx, values.check_name(name, "name"), number)

    def get(
        self,
        id: int | None = None,
        *,
        name: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Return the value of an object; of a tree, a dict of its fields and members' values.

        A tree that vineyard's clients made is the value that they would get: a frame, an array,
        a tuple. One of a type that nobody registered is a dict too.

        Arrays are read-only; over about 16 kB they are views of shared memory, which stays as
        it is while they live, even if the object is deleted.

        Args:
            id: What `put` returned.
            name: Instead of the id, a name; `wait` and `timeout` as in `get_name`.
            wait: See `get_name`.
            timeout: See `get_name`.

        Raises:
            NotFoundError: There is no such object, or name.
            TypeMismatchError: The value's class is not importable here, or a tree is not as its
                type says.
            WaitTimeoutError: Nobody gave the name in time.

        Cost: one read transaction.
        """
        if id is None:
            if name is None:
                raise TypeMismatchError("get() was given neither an id nor a name")
            id = self.get_name(name, wait=wait, timeout=timeout)
        try:
            record = self._engine.get(object_key(id))
        except (AttributeError, IndexError, OverflowError, TypeError):
            _checked(id)
            raise
        if record is None:
            if id == BLOB_BIT:
                return b""  # vineyard's blob without bytes
            raise core.missing(_checked(id))
        if record[0] < values.TREE:
            return values.decode(record)
        if record[0] != values.TREE:
            found = self._engine.read(core.get_record, self._bulk, object_key(id))
            if found is None:
                raise core.missing(id)  # deleted since
            return values.decode(found[0], found[1])
        return _build(self._engine.read(core.read_tree, self._bulk, id), id)

    def get_many(self, ids: Iterable[int]) -> list[Any]:
        """Return the values of several objects, as they were at one moment.

        Raises:
            NotFoundError: One of them does not exist.
        """
        numbers = [_checked(id) for id in ids]
        found = self._engine.read(self._read_many, numbers)
        return [_build(found, number) for number in numbers]

    def _read_many(self, tx: Transaction, numbers: list[int]) -> dict[int, Found]:
        found: dict[int, Found] = {}
        for number in numbers:
            if number not in found:
                found |= core.read_tree(tx, self._bulk, number)
        return found

    def meta(self, id: int) -> dict[str, Any]:
        """Return what is known of an object without loading it: its metadata tree.

        Keys: id, typename, nbytes, created, the fields, and for a tree `members`: a dict of
        the same for each.

        Raises:
            NotFoundError: There is no such object.
        """
        number = _checked(id)
        return _describe_tree(self._engine.read(core.read_records, number), number)

    def exists(self, id: int) -> bool:
        """Tell whether there is such an object. Cost: one read transaction."""
        try:
            return self._engine.get(object_key(id)) is not None
        except (AttributeError, IndexError, OverflowError, TypeError):
            _checked(id)
            raise

    def delete(self, ids: int | Iterable[int], *, deep: bool = True, force: bool = False) -> int:
        """Delete one object or several, in one transaction; return how many are gone.

        (In several transactions, if the depot is so full that there is no room for one.)

        Views that were handed out stay valid; the memory is reused when they are gone. Ids
        that do not exist are passed over.

        Args:
            ids: An id, or several.
            deep: Delete members too that no other tree and no name needs.
            force: Delete an object though it is a member: the trees that hold it go too.

        Raises:
            ConflictError: An object is a member of a tree, and `force` is not set.
        """
        numbers = [_checked(id) for id in (ids if isinstance(ids, Iterable) else [ids])]
        try:
            return len(self._engine.write(core.delete_many, self._bulk, numbers, deep, force))
        except OutOfMemoryError:
            if len(numbers) <= _FEW:
                raise
        # The catalog is so full that there are no pages to delete all at once. Nothing was
        # refused, and nothing is refused below: each tree goes before its members.
        deleted = 0
        numbers = self._engine.read(core.trees_first, numbers)
        for begin in range(0, len(numbers), _FEW):
            few = numbers[begin : begin + _FEW]
            deleted += len(self._engine.write(core.delete_many, self._bulk, few, deep, force))
        return deleted

    def list(
        self, pattern: str = "*", *, regex: bool = False, limit: int | None = None
    ) -> list[ObjectInfo]:
        """Return objects whose type name matches, oldest first.

        Args:
            pattern: A glob, or with `regex` a regular expression, for the whole type name.
            regex: Which of the two.
            limit: Most objects to return.

        Raises:
            LimitError: `limit` is negative, or the regular expression is malformed.
        """
        _check_limit(limit)
        matches = matcher(pattern, regex=regex)
        found: list[ObjectInfo] = []
        last = b""
        batch = settings.BATCH_KEYS
        if pattern == "*" and not regex and limit is not None:
            batch = min(batch, max(limit, 1))
        while limit is None or len(found) < limit:
            items = self._engine.read(core.list_records, last, batch)
            for key, record in items:
                info = _info(core.as_int(OBJECT.tail(key)[0]), record)
                if matches(info.typename):
                    found.append(info)
            if len(items) < batch:
                break
            last = items[-1][0]
        return found if limit is None else found[:limit]

    def count(self) -> int:
        """Return how many objects there are."""
        return self._engine.read(core.count_objects)

    def check(self) -> list[str]:
        """Return what is wrong: members, users and names that do not fit together."""
        problems = self._engine.read(core.check_count)
        last = b""
        while items := self._engine.read(core.list_records, last, settings.BATCH_KEYS):
            problems += self._engine.read(self._check_some, items)
            last = items[-1][0]
        return problems

    def _check_some(self, tx: Transaction, items: list[tuple[bytes, bytes]]) -> list[str]:
        problems: list[str] = []
        for key, record in items:
            number = core.as_int(OBJECT.tail(key)[0])
            ref = values.bulk_ref(record)
            if tx.get(key) is None:
                continue  # deleted since it was listed
            if ref is not None and not self._bulk.users(tx, ref):
                problems.append(f"object {number:016x} has a blob that nobody uses")
            tree = values.tree_of(record)
            for member in tree.members.values() if tree is not None else ():
                if tx.get(object_key(member)) is None:
                    problems.append(f"object {number:016x} lacks its member {member:016x}")
                if not core.knows_tree(tx, member, number):
                    problems.append(f"object {member:016x} does not know its tree {number:016x}")
        return problems

    def size(self, id: int) -> int:
        """Return the size of an object in bytes, with all that it is made of.

        Raises:
            NotFoundError: There is no such object.
        """
        records = self._engine.read(core.read_records, _checked(id))
        return sum(values.describe(record).nbytes for record in records.values())

    def usage(self, id: int) -> Usage:
        """Return who uses an object.

        Raises:
            NotFoundError: There is no such object.
        """
        return self._engine.read(self._usage, _checked(id))

    def _usage(self, tx: Transaction, number: int) -> Usage:
        record = tx.get(object_key(number))
        if record is None:
            raise core.missing(number)
        ref = values.bulk_ref(record)
        pins = self._bulk.pins_of(tx, ref) if ref is not None else 0
        parents = [ObjectId(parent) for parent in core.parents_of(tx, number)]
        return Usage(parents, names.names_of(tx, number), pins)

    # Names.

    def put_name(self, name: str, id: int) -> None:
        """Give an object a name; a name that was given before moves. Wakes who waits for it.

        Raises:
            NotFoundError: There is no such object.
        """
        self._engine.write(core.put_name, values.check_name(name, "name"), _checked(id))

    def get_name(self, name: str, *, wait: bool = False, timeout: float | None = None) -> ObjectId:
        """Return the id that a name stands for.

        Args:
            name: The name.
            wait: Wait until somebody gives it, if nobody has.
            timeout: With `wait`, at most so many seconds.

        Raises:
            NotFoundError: Nobody gave it, and `wait` is not set.
            TypeMismatchError: `wait` is neither True nor False.
            WaitTimeoutError: Nobody gave it in time.
        """
        deadline = Deadline(timeout) if _waits(wait) else None
        bells = [names.bell(values.check_name(name, "name"))]
        while True:
            seen = self._engine.listen(bells)
            number = self._engine.read(names.get, name)
            if number is not None:
                return ObjectId(number)
            _check_wait(name, deadline)
            assert deadline is not None
            self._engine.wait(bells, seen, deadline.left())

    async def get_name_async(
        self, name: str, *, wait: bool = False, timeout: float | None = None
    ) -> ObjectId:
        """As `get_name`, awaited."""
        deadline = Deadline(timeout) if _waits(wait) else None
        bells = [names.bell(values.check_name(name, "name"))]
        while True:
            seen = self._engine.listen(bells)
            number = self._engine.read(names.get, name)
            if number is not None:
                return ObjectId(number)
            _check_wait(name, deadline)
            assert deadline is not None
            await self._engine.wait_async(bells, seen, deadline.left())

    def drop_name(self, name: str) -> bool:
        """Forget a name; the object stays. Tell whether the name was there."""
        return self._engine.write(names.drop, values.check_name(name, "name"))

    def names(
        self, pattern: str = "*", *, regex: bool = False, limit: int | None = None
    ) -> dict[str, ObjectId]:
        """Return names that match, with their ids, by name.

        Raises:
            LimitError: `limit` is negative, or the regular expression is malformed.
        """
        _check_limit(limit)
        matches = matcher(pattern, regex=regex)
        found = names.find(self._engine, matches, limit)
        return {name: ObjectId(number) for name, number in found.items()}


def _describe_tree(records: dict[int, bytes], number: int) -> dict[str, Any]:
    described: dict[int, dict[str, Any]] = {}
    for at in _members_first(records, number):
        info = _info(at, records[at])
        meta: dict[str, Any] = {
            "id": str(info.id),
            "typename": info.typename,
            "nbytes": info.nbytes,
            "created": info.created,
        }
        fields = values.describe(records[at]).fields
        meta |= {name: value for name, value in fields.items() if name not in meta}
        tree = values.tree_of(records[at])
        if tree is not None:
            meta["members"] = {name: described[member] for name, member in tree.members.items()}
        described[at] = meta
    return described[number]


def _build(found: dict[int, Found], number: int) -> Any:
    built: dict[int, Any] = {}
    records = {at: record for at, (record, _) in found.items()}
    for at in _members_first(records, number, is_whole=readers.knows):
        tree = values.tree_of(found[at][0])
        if tree is None:
            built[at] = load(found[at])
        elif readers.knows(tree.typename):
            built[at] = readers.read(tree.typename, found, at)
        else:
            built[at] = tree.fields | {name: built[to] for name, to in tree.members.items()}
    return built[number]


def _members_first(
    records: Mapping[int, bytes], number: int, *, is_whole: Callable[[str], bool] | None = None
) -> list[int]:
    """Return the ids that an object is made of, each once, behind those of its members.

    The members of a tree whose type name is told to be whole are left out.
    """
    order: dict[int, None] = {}
    waiting = [number]
    while waiting:
        at = waiting[-1]
        tree = values.tree_of(records[at])
        is_opened = tree is not None and not (is_whole is not None and is_whole(tree.typename))
        members = tree.members.values() if tree is not None and is_opened else ()
        unmet = [member for member in members if member not in order]
        waiting += unmet
        if not unmet:
            order[at] = None
            waiting.pop()
    return list(order)


def _info(number: int, record: bytes) -> ObjectInfo:
    typename, nbytes, _ = values.describe(record)
    return ObjectInfo(ObjectId(number), typename, nbytes, values.made_at(record))


def _checked(id: object) -> int:
    if isinstance(id, bool) or not isinstance(id, int):
        raise TypeMismatchError(
            f"object id is {id!r}, a {type(id).__name__}",
            "give what put() returned, or ObjectId.parse(text); get(name=TEXT) takes a name",
        )
    if not 0 <= id <= ID_MAX:
        raise LimitError(f"object id is {id}, it must be from 0 to {ID_MAX}")
    return int(id)


def _check_limit(limit: int | None) -> None:
    if isinstance(limit, bool) or not isinstance(limit, (int, type(None))):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(f"limit is {limit!r}, a {type(limit).__name__}")
    if limit is not None and limit < 0:
        raise LimitError(f"limit is {limit}, it cannot be negative")


def _waits(wait: object) -> bool:
    """Refuse seconds, with which one would wait for ever.

    Raises:
        TypeMismatchError: `wait` is neither True nor False.
    """
    if not isinstance(wait, bool):
        raise TypeMismatchError(
            f"wait is {wait!r}, a {type(wait).__name__}",
            "wait=True, timeout=SECONDS waits for at most so long",
        )
    return wait


def _check_wait(name: str, deadline: Deadline | None) -> None:
    if deadline is None:
        raise NotFoundError(f"no object has the name {name!r}", "pass wait=True to wait for it")
    if deadline.left() == 0:
        raise WaitTimeoutError(f"nobody gave the name {name!r} within {deadline.timeout} seconds")
