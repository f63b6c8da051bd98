"""Names of objects: a string that stands for an id, for which others may wait.

Keys::

    ("name", name)          -> id, 8 bytes
    ("named", id, name)     -> nothing: which names an object has

Bell: ("name", name), rung when the name is given.
"""

from __future__ import annotations

from collections.abc import Callable

from entrepot import settings
from entrepot.engine.keys import Prefix, after, pack_str, unpack
from entrepot.engine.protocol import Engine, Transaction

__all__ = ["bell", "drop", "drop_all", "find", "get", "has_any", "list_names", "names_of", "put"]

NAME = Prefix("name")
NAMED = Prefix("named")


def bell(name: str) -> bytes:
    """Return the bell that is rung when `name` is given."""
    return NAME.str(name)


def put(tx: Transaction, name: str, number: int) -> None:
    """Give a name to an id; a name that was given before moves."""
    drop(tx, name)
    key = NAME.str(name)
    tx.put(key, number.to_bytes(8, "big"))
    tx.put(NAMED.int(number) + pack_str(name), b"")
    tx.ring(key)


def get(tx: Transaction, name: str) -> int | None:
    """Return the id that a name stands for, or None."""
    value = tx.get(NAME.str(name))
    return None if value is None else int.from_bytes(value, "big")


def drop(tx: Transaction, name: str) -> bool:
    """Forget a name; tell whether it was there."""
    value = tx.pop(NAME.str(name))
    if value is None:
        return False
    tx.delete(NAMED.int(int.from_bytes(value, "big")) + pack_str(name))
    return True


def names_of(tx: Transaction, number: int) -> list[str]:
    """Return the names of an id."""
    begin = NAMED.int(number)
    return [str(unpack(key)[-1]) for key, _ in tx.range(begin, after(begin))]


def has_any(tx: Transaction, number: int) -> bool:
    """Tell whether an id has a name."""
    begin = NAMED.int(number)
    return bool(tx.range(begin, after(begin), limit=1))


def drop_all(tx: Transaction, number: int) -> None:
    """Forget all names of an id."""
    for name in names_of(tx, number):
        drop(tx, name)


def list_names(tx: Transaction, last: bytes, limit: int) -> list[tuple[bytes, str, int]]:
    """Return up to `limit` (key, name, id) behind the key `last`, by name."""
    begin = last + b"\x00" if last else NAME.begin
    return [
        (key, str(NAME.tail(key)[0]), int.from_bytes(value, "big"))
        for key, value in tx.range(begin, NAME.end, limit=limit)
    ]


def find(engine: Engine, matches: Callable[[str], bool], limit: int | None) -> dict[str, int]:
    """Return up to `limit` names that match, with their ids, by name."""
    found: dict[str, int] = {}
    last = b""
    while items := engine.read(list_names, last, settings.BATCH_KEYS):
        for _, name, number in items:
            if limit is not None and len(found) >= limit:
                return found
            if matches(name):
                found[name] = number
        last = items[-1][0]
    return found
