"""What a transaction does to objects.

Keys::

    ("object", id)          -> record of a value or a tree (see `values`)
    ("objects",)            -> how many there are, 8 bytes
    ("user", id, parent)    -> nothing: which trees an object is a member of

and those of `names`. Ids are 64 bits, never reused, and sort by age.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from entrepot import settings
from entrepot.arena.bulk import Bulk
from entrepot.engine.keys import Prefix, after, pack_int, unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, NotFoundError
from entrepot.layers import names, values
from entrepot.layers.tier import Found, open_record, release_record

__all__ = [
    "OBJECT",
    "as_int",
    "check_count",
    "count_objects",
    "delete_many",
    "delete_value",
    "get_record",
    "list_records",
    "missing",
    "object_key",
    "parents_of",
    "put_name",
    "put_record",
    "put_tree",
    "read_records",
    "read_tree",
    "trees_first",
]

OBJECT = Prefix("object")
USER = Prefix("user")
COUNT = Prefix("objects").begin
MARK = Prefix("mark")
object_key = OBJECT.int


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
        if tx.get(object_key(member)) is None:
            raise NotFoundError(f"there is no object {member:016x} to be a member")
        tx.put(USER.int(member) + pack_int(number), b"")
    put_record(tx, object_key(number), record)


def parents_of(tx: Transaction, number: int) -> list[int]:
    """Return the ids of the trees that an object is a member of."""
    begin = USER.int(number)
    return [as_int(unpack(key)[-1]) for key, _ in tx.range(begin, after(begin))]


def _other_parents(
    tx: Transaction, number: int, known: Container[int], limit: int | None
) -> list[int]:
    """Return up to `limit` trees that an object is a member of and that are not `known`."""
    found: list[int] = []
    begin, end = USER.int(number), after(USER.int(number))
    while items := tx.range(begin, end, limit=settings.BATCH_KEYS if limit is None else 2 * limit):
        parents = (as_int(unpack(key)[-1]) for key, _ in items)
        found += [parent for parent in parents if parent not in known]
        if limit is not None and len(found) >= limit:
            return found[:limit]
        begin = items[-1][0] + b"\x00"
    return found


def knows_tree(tx: Transaction, member: int, number: int) -> bool:
    """Tell whether an object knows that it is a member of a tree."""
    return tx.get(USER.int(member) + pack_int(number)) is not None


def delete_many(
    tx: Transaction, bulk: Bulk, numbers: list[int], deep: bool, force: bool
) -> list[int]:
    """Delete several objects, and with `deep` what only they need; return what is gone.

    Without recursion: trees may be nested deeper than calls.

    Raises:
        ConflictError: One is a member of a tree that is not among them, and `force` is not set.
    """
    doomed = dict.fromkeys(number for number in numbers if tx.get(object_key(number)) is not None)
    waiting = list(doomed)
    while waiting:
        number = waiting.pop()
        others = _other_parents(tx, number, doomed, limit=None if force else 1)
        if others and not force:
            raise ConflictError(
                f"object {number:016x} is a member of {others[0]:016x}",
                "delete that one, or pass force=True to delete both",
            )
        waiting += others
        doomed |= dict.fromkeys(others)
    deleted = list(doomed)
    members = {number: _remove(tx, bulk, number) for number in doomed}
    waiting = [member for number in numbers for member in members.get(number, ())] if deep else []
    while waiting:
        number = waiting.pop()
        is_there = tx.get(object_key(number)) is not None
        if (
            is_there
            and not _other_parents(tx, number, (), limit=1)
            and not names.names_of(tx, number)
        ):
            waiting += _remove(tx, bulk, number)
            deleted.append(number)
    if deleted:
        tx.put(COUNT, (count_objects(tx) - len(deleted)).to_bytes(8, "big"))
    return deleted


def delete_value(tx: Transaction, bulk: Bulk, number: int) -> int | None:
    """Delete one object as `delete_many` does, if it is a value without a tree and a name.

    Returns:
        How many are gone; None if it has one of these, and nothing was done.

    Cost: half of `delete_many`.
    """
    key = object_key(number)
    users = USER.int(number)
    if tx.range(users, after(users), limit=1) or names.has_any(tx, number):
        return None
    record = tx.pop(key)
    if record is None:
        return 0
    if record[0] == values.TREE:
        tx.put(key, record)
        return None
    tx.delete(MARK.int(number))
    if record[0] >= values.BULK:
        release_record(tx, bulk, record)
    tx.put(COUNT, (count_objects(tx) - 1).to_bytes(8, "big"))
    return 1


def trees_first(tx: Transaction, numbers: Iterable[int]) -> list[int]:
    """Return some objects in an order in which each tree comes before its members.

    Ids do not tell: a process takes them in advance, and may make a tree of what another one
    put later.
    """
    import graphlib  # this is rare

    users: dict[int, set[int]] = {number: set() for number in numbers}
    for number in users:
        record = tx.get(object_key(number))
        tree = values.tree_of(record) if record is not None else None
        for member in tree.members.values() if tree is not None else ():
            if member in users:
                users[member].add(number)
    return list(graphlib.TopologicalSorter(users).static_order())


def _remove(tx: Transaction, bulk: Bulk, number: int) -> set[int]:
    """Remove an object that exists; return its members."""
    record = tx.pop(object_key(number))
    assert record is not None
    names.drop_all(tx, number)
    tx.delete(MARK.int(number))
    release_record(tx, bulk, record)
    tree = values.tree_of(record)
    members = set(tree.members.values()) if tree is not None else set[int]()
    for member in members:
        tx.delete(USER.int(member) + pack_int(number))
    return members


def read_tree(tx: Transaction, bulk: Bulk, number: int) -> dict[int, Found]:
    """Return the records of an object and of all that it is made of, on one snapshot."""
    found: dict[int, Found] = {}
    waiting = [number]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        item = get_record(tx, bulk, object_key(at))
        if item is None:
            raise missing(at)
        found[at] = item
        tree = values.tree_of(item[0])
        if tree is not None:
            waiting.extend(tree.members.values())
    return found


def put_name(tx: Transaction, name: str, number: int) -> None:
    """Give an object that exists a name."""
    if tx.get(object_key(number)) is None:
        raise missing(number)
    names.put(tx, name, number)


def list_records(tx: Transaction, last: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    """Return up to `limit` (key, record) behind the key `last`, oldest first."""
    return tx.range(last + b"\x00" if last else OBJECT.begin, OBJECT.end, limit=limit)


def check_count(tx: Transaction) -> list[str]:
    """Return what is wrong with the count of objects."""
    there, last = 0, b""
    while items := list_records(tx, last, settings.BATCH_KEYS):
        there, last = there + len(items), items[-1][0]
    counted = count_objects(tx)
    return [] if there == counted else [f"there are {there} objects, counted are {counted}"]


def read_records(tx: Transaction, number: int) -> dict[int, bytes]:
    """Return the records of an object and all that it is made of, without looking at blobs."""
    found: dict[int, bytes] = {}
    waiting = [number]
    while waiting:
        at = waiting.pop()
        record = tx.get(object_key(at))
        if record is None:
            raise missing(at)
        found[at] = record
        tree = values.tree_of(record)
        if tree is not None:
            waiting.extend(member for member in tree.members.values() if member not in found)
    return found


def missing(number: int) -> NotFoundError:
    """Return the error for an object that is not there."""
    return NotFoundError(
        f"there is no object {number:016x}", "it was deleted, or never put into this depot"
    )


def as_int(element: object) -> int:
    """Return an element of a key that is a number."""
    assert isinstance(element, int)
    return element
