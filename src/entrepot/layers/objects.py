"""Objects: immutable values by id, and trees of them.

Keys::

    ("object", id)          -> record of a value or a tree (see `values`)
    ("objects",)            -> how many there are, 8 bytes
    ("user", id, parent)    -> nothing: which trees an object is a member of

and those of `names`. Ids are 64 bits, never reused, and sort by age.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from entrepot import settings
from entrepot.arena.bulk import Bulk, Draft
from entrepot.engine.keys import Prefix, after, pack_int, unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import (
    ConflictError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
    WaitTimeoutError,
)
from entrepot.layers import names, values
from entrepot.layers.patterns import matcher
from entrepot.layers.tier import Found, Tier, load, open_record, release_record
from entrepot.waiting import Deadline

__all__ = ["ObjectId", "ObjectInfo", "Objects", "Usage"]

OBJECT = Prefix("object")
USER = Prefix("user")
COUNT = Prefix("objects").begin
_object_key = OBJECT.int
_ID_MAX = (1 << 64) - 1


class ObjectId(int):
    """The id of an object: a number of 64 bits, shown as 16 hex digits."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> ObjectId:
        """Return the id that 16 hex digits (fewer are padded) stand for.

        Raises:
            LimitError: The text is no such number.
        """
        try:
            number = int(text, 16)
        except (TypeError, ValueError):
            number = -1
        if not 0 < number <= _ID_MAX or len(text) > 16:
            raise LimitError(f"{text!r} is no object id", "ids are up to 16 hex digits")
        return cls(number)

    def __repr__(self) -> str:
        return f"{int(self):016x}"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What `list` tells of an object."""

    id: ObjectId
    typename: str
    nbytes: int
    """Size of the value in bytes, wherever it lives."""
    created: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Who uses an object."""

    parents: list[ObjectId]
    """The trees that it is a member of."""
    names: list[str]
    pins: int
    """How many processes look at its bytes just now."""


# The layer: functions on a transaction.


def put_record(tx: Transaction, key: bytes, record: bytes) -> None:
    """Store a record under a new id."""
    is_new = tx.insert(key, record)
    assert is_new, "an object id was given out twice"
    tx.put(COUNT, (count_objects(tx) + 1).to_bytes(8, "big"))


def count_objects(tx: Transaction) -> int:
    """Return how many objects there are."""
    return int.from_bytes(tx.get(COUNT) or b"", "big")


def get_record(tx: Transaction, bulk: Bulk, key: bytes) -> Found | None:
    """Return the record of an object, its bytes pinned; None if there is none."""
    record = tx.get(key)
    if record is None or record[0] < values.BULK:
        return None if record is None else (record, None)
    return open_record(tx, bulk, record)


def put_tree(tx: Transaction, number: int, record: bytes, members: Iterable[int]) -> None:
    """Store a tree whose members exist."""
    for member in members:
        if tx.get(_object_key(member)) is None:
            raise NotFoundError(f"there is no object {member:016x} to be a member")
        tx.put(USER.int(member) + pack_int(number), b"")
    put_record(tx, _object_key(number), record)


def parents_of(tx: Transaction, number: int) -> list[int]:
    """Return the ids of the trees that an object is a member of."""
    begin = USER.int(number)
    return [_int(unpack(key)[-1]) for key, _ in tx.range(begin, after(begin))]


def delete_object(tx: Transaction, bulk: Bulk, number: int, *, deep: bool, force: bool) -> int:
    """Delete an object; return how many objects went with it.

    Raises:
        ConflictError: It is a member of a tree, and `force` is not set.
    """
    record = tx.get(_object_key(number))
    if record is None:
        return 0
    parents = parents_of(tx, number)
    if parents and not force:
        raise ConflictError(
            f"object {number:016x} is a member of {parents[0]:016x}",
            "delete that one, or pass force=True to delete both",
        )
    deleted = 0
    for parent in parents:
        deleted += delete_object(tx, bulk, parent, deep=False, force=True)
    tx.delete(_object_key(number))
    tx.put(COUNT, (count_objects(tx) - 1).to_bytes(8, "big"))
    names.drop_all(tx, number)
    release_record(tx, bulk, record)
    deleted += 1
    tree = values.tree_of(record)
    for member in set(tree.members.values()) if tree is not None else ():
        tx.delete(USER.int(member) + pack_int(number))
        if deep and not parents_of(tx, member) and not names.names_of(tx, member):
            deleted += delete_object(tx, bulk, member, deep=True, force=False)
    return deleted


def _delete_many(tx: Transaction, bulk: Bulk, numbers: list[int], deep: bool, force: bool) -> int:
    # Trees first, so that members named in the same call are free to go.
    return sum(delete_object(tx, bulk, n, deep=deep, force=force) for n in sorted(numbers)[::-1])


def read_tree(tx: Transaction, bulk: Bulk, number: int) -> dict[int, Found]:
    """Return the records of an object and of all that it is made of, on one snapshot."""
    found: dict[int, Found] = {}
    waiting = [number]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        item = get_record(tx, bulk, _object_key(at))
        if item is None:
            raise _missing(at)
        found[at] = item
        tree = values.tree_of(item[0])
        if tree is not None:
            waiting.extend(tree.members.values())
    return found


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
            self._engine.write(put_record, _object_key(number), record)
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
        big = [(number, record) for number, record in records if not isinstance(record, bytes)]
        self._put_drafts(big, [], small, name)

    def _put_drafts(
        self,
        big: list[tuple[int, values.Encoded]],
        drafts: list[tuple[int, values.Encoded, Draft]],
        small: list[tuple[int, bytes]],
        name: str | None,
    ) -> None:
        """Write the drafts one inside the other, then store everything in one transaction."""
        if len(drafts) < len(big):
            number, encoded = big[len(drafts)]
            with self._bulk.draft(encoded.buffers) as draft:
                self._put_drafts(big, [*drafts, (number, encoded, draft)], small, name)
            return
        self._engine.write(self._put_all, drafts, small, name)

    def _put_all(
        self,
        tx: Transaction,
        drafts: list[tuple[int, values.Encoded, Draft]],
        small: list[tuple[int, bytes]],
        name: str | None,
    ) -> None:
        for number, record in small:
            put_record(tx, _object_key(number), record)
        for number, encoded, draft in drafts:
            self._bulk.seal(tx, draft)
            put_record(tx, _object_key(number), values.bulk_record(encoded, draft.ref))
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
        put_tree(tx, number, record, ids)
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

        Arrays are read-only; over about 16 kB they are views of shared memory, which stays as
        it is while they live, even if the object is deleted.

        Args:
            id: What `put` returned.
            name: Instead of the id, a name; `wait` and `timeout` as in `get_name`.
            wait: See `get_name`.
            timeout: See `get_name`.

        Raises:
            NotFoundError: There is no such object, or name.
            TypeMismatchError: The value's class is not importable here.
            WaitTimeoutError: Nobody gave the name in time.

        Cost: one read transaction.
        """
        if id is None:
            if name is None:
                raise TypeMismatchError("get() was given neither an id nor a name")
            id = self.get_name(name, wait=wait, timeout=timeout)
        try:
            record = self._engine.get(_object_key(id))
        except (AttributeError, IndexError, OverflowError, TypeError):
            _checked(id)
            raise
        if record is None:
            raise _missing(_checked(id))
        if record[0] < values.TREE:
            return values.decode(record)
        if record[0] != values.TREE:
            found = self._engine.read(get_record, self._bulk, _object_key(id))
            if found is None:
                raise _missing(id)  # deleted since
            return values.decode(found[0], found[1])
        return _build(self._engine.read(read_tree, self._bulk, id), id)

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
                found |= read_tree(tx, self._bulk, number)
        return found

    def meta(self, id: int) -> dict[str, Any]:
        """Return what is known of an object without loading it: its metadata tree.

        Keys: id, typename, nbytes, created, the fields, and for a tree `members`: a dict of
        the same for each.

        Raises:
            NotFoundError: There is no such object.
        """
        number = _checked(id)
        return _describe_tree(self._engine.read(_read_records, number), number)

    def exists(self, id: int) -> bool:
        """Tell whether there is such an object. Cost: one read transaction."""
        try:
            return self._engine.get(_object_key(id)) is not None
        except (AttributeError, IndexError, OverflowError, TypeError):
            _checked(id)
            raise

    def delete(self, ids: int | Iterable[int], *, deep: bool = True, force: bool = False) -> int:
        """Delete one object or several, in one transaction; return how many are gone.

        Views that were handed out stay valid; the memory is reused when they are gone. Ids
        that do not exist are passed over.

        Args:
            ids: An id, or several.
            deep: Delete members too that no other tree and no name needs.
            force: Delete an object though it is a member: the trees that hold it go too.

        Raises:
            ConflictError: An object is a member of a tree, and `force` is not set.
        """
        numbers = [_checked(id) for id in ([ids] if isinstance(ids, int) else ids)]
        return self._engine.write(_delete_many, self._bulk, numbers, deep, force)

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
            items = self._engine.read(_list_records, last, batch)
            for key, record in items:
                info = _info(_int(OBJECT.tail(key)[0]), record)
                if matches(info.typename):
                    found.append(info)
            if len(items) < batch:
                break
            last = items[-1][0]
        return found if limit is None else found[:limit]

    def count(self) -> int:
        """Return how many objects there are."""
        return self._engine.read(count_objects)

    def check(self) -> list[str]:
        """Return what is wrong: members, users and names that do not fit together."""
        problems = self._engine.read(_check_count)
        last = b""
        while items := self._engine.read(_list_records, last, settings.BATCH_KEYS):
            problems += self._engine.read(self._check_some, items)
            last = items[-1][0]
        return problems

    def _check_some(self, tx: Transaction, items: list[tuple[bytes, bytes]]) -> list[str]:
        problems: list[str] = []
        for key, record in items:
            number = _int(OBJECT.tail(key)[0])
            ref = values.bulk_ref(record)
            if tx.get(key) is None:
                continue  # deleted since it was listed
            if ref is not None and not self._bulk.users(tx, ref):
                problems.append(f"object {number:016x} has a blob that nobody uses")
            tree = values.tree_of(record)
            for member in tree.members.values() if tree is not None else ():
                if tx.get(_object_key(member)) is None:
                    problems.append(f"object {number:016x} lacks its member {member:016x}")
                if number not in parents_of(tx, member):
                    problems.append(f"object {member:016x} does not know its tree {number:016x}")
        return problems

    def size(self, id: int) -> int:
        """Return the size of an object in bytes, with all that it is made of.

        Raises:
            NotFoundError: There is no such object.
        """
        records = self._engine.read(_read_records, _checked(id))
        return sum(values.describe(record).nbytes for record in records.values())

    def usage(self, id: int) -> Usage:
        """Return who uses an object.

        Raises:
            NotFoundError: There is no such object.
        """
        return self._engine.read(self._usage, _checked(id))

    def _usage(self, tx: Transaction, number: int) -> Usage:
        record = tx.get(_object_key(number))
        if record is None:
            raise _missing(number)
        ref = values.bulk_ref(record)
        pins = self._bulk.pins_of(tx, ref) if ref is not None else 0
        parents = [ObjectId(parent) for parent in parents_of(tx, number)]
        return Usage(parents, names.names_of(tx, number), pins)

    # Names.

    def put_name(self, name: str, id: int) -> None:
        """Give an object a name; a name that was given before moves. Wakes who waits for it.

        Raises:
            NotFoundError: There is no such object.
        """
        self._engine.write(_put_name, values.check_name(name, "name"), _checked(id))

    def get_name(self, name: str, *, wait: bool = False, timeout: float | None = None) -> ObjectId:
        """Return the id that a name stands for.

        Args:
            name: The name.
            wait: Wait until somebody gives it, if nobody has.
            timeout: With `wait`, at most so many seconds.

        Raises:
            NotFoundError: Nobody gave it, and `wait` is not set.
            WaitTimeoutError: Nobody gave it in time.
        """
        deadline = Deadline(timeout) if wait else None
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
        deadline = Deadline(timeout) if wait else None
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
        found: dict[str, ObjectId] = {}
        last = b""
        while items := self._engine.read(names.list_names, last, settings.BATCH_KEYS):
            for _, name, number in items:
                if limit is not None and len(found) >= limit:
                    return found
                if matches(name):
                    found[name] = ObjectId(number)
            last = items[-1][0]
        return found


def _put_name(tx: Transaction, name: str, number: int) -> None:
    if tx.get(_object_key(number)) is None:
        raise _missing(number)
    names.put(tx, name, number)


def _list_records(tx: Transaction, last: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    return tx.range(last + b"\x00" if last else OBJECT.begin, OBJECT.end, limit=limit)


def _check_count(tx: Transaction) -> list[str]:
    there, last = 0, b""
    while items := _list_records(tx, last, settings.BATCH_KEYS):
        there, last = there + len(items), items[-1][0]
    counted = count_objects(tx)
    return [] if there == counted else [f"there are {there} objects, counted are {counted}"]


def _read_records(tx: Transaction, number: int) -> dict[int, bytes]:
    """Return the records of an object and all that it is made of, without looking at blobs."""
    found: dict[int, bytes] = {}
    waiting = [number]
    while waiting:
        at = waiting.pop()
        record = tx.get(_object_key(at))
        if record is None:
            raise _missing(at)
        found[at] = record
        tree = values.tree_of(record)
        if tree is not None:
            waiting.extend(member for member in tree.members.values() if member not in found)
    return found


def _describe_tree(records: dict[int, bytes], number: int) -> dict[str, Any]:
    info = _info(number, records[number])
    meta: dict[str, Any] = {
        "id": str(info.id),
        "typename": info.typename,
        "nbytes": info.nbytes,
        "created": info.created,
    }
    meta |= {k: v for k, v in values.describe(records[number]).fields.items() if k not in meta}
    tree = values.tree_of(records[number])
    if tree is not None:
        meta["members"] = {
            name: _describe_tree(records, member) for name, member in tree.members.items()
        }
    return meta


def _build(found: dict[int, Found], number: int) -> Any:
    item = found[number]
    tree = values.tree_of(item[0])
    if tree is None:
        return load(item)
    return {**tree.fields, **{name: _build(found, at) for name, at in tree.members.items()}}


def _info(number: int, record: bytes) -> ObjectInfo:
    typename, nbytes, _ = values.describe(record)
    return ObjectInfo(ObjectId(number), typename, nbytes, values.made_at(record))


def _checked(id: object) -> int:
    if isinstance(id, bool) or not isinstance(id, int):
        raise TypeMismatchError(
            f"object id is {id!r}, a {type(id).__name__}",
            "give what put() returned, or ObjectId.parse(text)",
        )
    if not 0 <= id <= _ID_MAX:
        raise LimitError(f"object id is {id}, it must be from 0 to {_ID_MAX}")
    return int(id)


def _missing(number: int) -> NotFoundError:
    return NotFoundError(
        f"there is no object {number:016x}", "it was deleted, or never put into this depot"
    )


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 0:
        raise LimitError(f"limit is {limit}, it cannot be negative")


def _check_wait(name: str, deadline: Deadline | None) -> None:
    if deadline is None:
        raise NotFoundError(f"no object has the name {name!r}", "pass wait=True to wait for it")
    if deadline.left() == 0:
        raise WaitTimeoutError(f"nobody gave the name {name!r} within {deadline.timeout} seconds")


def _int(element: object) -> int:
    assert isinstance(element, int)
    return element
