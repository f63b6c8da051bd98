"""An LMDB transaction behind our protocol, with keys of up to 4 KiB.

LMDB's keys have at most 511 bytes. A longer key is stored under its first 495 bytes and a
hash of 16 bytes of the whole, and its value begins with the rest of the key::

    stored key    head (495) | blake2b-128 of the key (16)     always 511 bytes
    stored value  length of the rest (2) | rest | value

Only such keys are longer than 495 bytes. Those that share a head lie side by side, right
behind the key that is the head itself, so a range gathers each such group, sorts it by the
whole keys, and all comes out in order. (A group is held in memory for that: keys that
differ only after 495 bytes should be few.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from entrepot.engine.keys import KEY_BYTES_MAX
from entrepot.engine.protocol import Bell, Item
from entrepot.errors import LimitError

__all__ = ["SHORT_KEY_BYTES_MAX", "LmdbTransaction"]

_STORED_BYTES_MAX = 511
_HASH_BYTES = 16
SHORT_KEY_BYTES_MAX = _STORED_BYTES_MAX - _HASH_BYTES
_RUNG = b"\xff\x02"
"""A key behind all that a layer can use."""
assert SHORT_KEY_BYTES_MAX == 495


class LmdbTransaction:
    """One LMDB transaction at a time; the engine reuses the object for the next."""

    __slots__ = ("rung", "txn")

    txn: Any
    """LMDB's transaction; None while there is none. (Any: each line below would have to ask.)"""
    rung: list[Bell]

    def __init__(self) -> None:
        self.txn = None
        self.rung = []

    @property
    def version(self) -> int:
        return self.txn.id()

    def get(self, key: bytes) -> bytes | None:
        if len(key) <= 495:  # SHORT_KEY_BYTES_MAX, spelled out: this is the hottest line of all
            return self.txn.get(key)
        stored = self.txn.get(_stored(key))
        return None if stored is None else _value(stored)

    def put(self, key: bytes, value: bytes) -> None:
        if len(key) > SHORT_KEY_BYTES_MAX:
            self.txn.put(_stored(key), _with_rest(key, value))
        else:
            self.txn.put(key, value)

    def insert(self, key: bytes, value: bytes) -> bool:
        if len(key) > SHORT_KEY_BYTES_MAX:
            return self.txn.put(_stored(key), _with_rest(key, value), overwrite=False)
        return self.txn.put(key, value, overwrite=False)

    def delete(self, key: bytes) -> bool:
        return self.txn.delete(_stored(key) if len(key) > SHORT_KEY_BYTES_MAX else key)

    def pop(self, key: bytes) -> bytes | None:
        if len(key) > SHORT_KEY_BYTES_MAX:
            stored = self.txn.pop(_stored(key))
            return None if stored is None else _value(stored)
        return self.txn.pop(key)

    def range(
        self, begin: bytes, end: bytes, *, limit: int | None = None, reverse: bool = False
    ) -> list[Item]:
        items: list[Item] = []
        if limit is not None and limit <= 0:
            return items
        cursor = self.txn.cursor()
        if reverse:
            # A long `end` may lie inside a group of long keys: start behind all of them.
            beyond = end[:SHORT_KEY_BYTES_MAX] + b"\xff" * (_HASH_BYTES + 1)
            start = beyond[:_STORED_BYTES_MAX] if len(end) > SHORT_KEY_BYTES_MAX else end
            placed = cursor.set_range(start)
            if not (cursor.prev() if placed else cursor.last()):
                return items
            walk: Iterable[Item] = cursor.iterprev(True, True)
        else:
            if not cursor.set_range(begin[:SHORT_KEY_BYTES_MAX]):
                return items
            if limit == 1:  # the common case, without a generator
                item = cursor.item()
                if begin <= item[0] and len(item[0]) <= SHORT_KEY_BYTES_MAX:
                    return [item] if item[0] < end else items
            walk = cursor.iternext(True, True)
        for item in _whole(walk, reverse=reverse):
            key = item[0]
            if reverse:
                if key >= end:
                    continue
                if key < begin:
                    break
            else:
                if key < begin:
                    continue
                if key >= end:
                    break
            items.append(item)
            if len(items) == limit:
                break
        return items

    def ring(self, bell: Bell) -> None:
        if not self.rung:
            # LMDB gives a transaction that changes nothing no id of its own, and the bell's word
            # must be one that no other commit stores: so let this one change something.
            self.txn.put(_RUNG, b"")
        self.rung.append(bell)


def _whole(walk: Iterable[Item], *, reverse: bool) -> Iterator[Item]:
    """Yield items with their whole keys, each group of long keys in its order."""
    group: list[Item] = []
    head = b""
    for key, value in walk:
        if len(key) <= SHORT_KEY_BYTES_MAX:
            if group:
                yield from sorted(group, reverse=reverse)
                group = []
            yield key, value
            continue
        if group and key[:SHORT_KEY_BYTES_MAX] != head:
            yield from sorted(group, reverse=reverse)
            group = []
        head = key[:SHORT_KEY_BYTES_MAX]
        rest_bytes = int.from_bytes(value[:2], "big")
        group.append((head + value[2 : 2 + rest_bytes], value[2 + rest_bytes :]))
    yield from sorted(group, reverse=reverse)


def _stored(key: bytes) -> bytes:
    if len(key) > KEY_BYTES_MAX:
        raise LimitError(f"key is {len(key)} bytes, at most {KEY_BYTES_MAX} are allowed")
    import hashlib  # long keys are rare, and OpenSSL takes 8 ms to load

    return key[:SHORT_KEY_BYTES_MAX] + hashlib.blake2b(key, digest_size=_HASH_BYTES).digest()


def _with_rest(key: bytes, value: bytes) -> bytes:
    rest = key[SHORT_KEY_BYTES_MAX:]
    return len(rest).to_bytes(2, "big") + rest + value


def _value(stored: bytes) -> bytes:
    return stored[2 + int.from_bytes(stored[:2], "big") :]
