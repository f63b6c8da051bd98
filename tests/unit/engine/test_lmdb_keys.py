"""Keys where LMDB's own limits are: 495 bytes stored whole, 511 at most, 4096 of ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from entrepot.engine.keys import KEY_BYTES_MAX, Prefix
from entrepot.engine.lmdb import LmdbEngine
from entrepot.engine.lmdb.transaction import SHORT_KEY_BYTES_MAX
from entrepot.engine.protocol import Transaction
from entrepot.errors import LimitError
from support.engines import fresh_lmdb

ALL = Prefix("k")
SIZES = [493, 494, 495, 496, 497, 510, 511, 512, 513, 4094, 4095, 4096]


@pytest.fixture
def engine() -> Iterator[LmdbEngine]:
    with fresh_lmdb(volatile=True) as engine:
        yield engine


def key_of(size: int, last: str = "") -> bytes:
    """Return a packed key of exactly so many bytes."""
    key = ALL.str("x" * (size - len(ALL.str(last))) + last)
    assert len(key) == size
    return key


def put_all(tx: Transaction, keys: list[bytes]) -> None:
    for key in keys:
        tx.put(key, key[-20:])


def keys_in(tx: Transaction, begin: bytes, end: bytes, reverse: bool) -> list[bytes]:
    return [key for key, _ in tx.range(begin, end, reverse=reverse)]


@pytest.mark.parametrize("size", SIZES)
def test_a_key_of_any_size_is_put_got_and_deleted(engine: LmdbEngine, size: int) -> None:
    key = key_of(size)
    engine.write(put_all, [key])
    assert engine.get(key) == key[-20:]
    assert engine.read(lambda tx: tx.get(key)) == key[-20:]
    assert engine.read(lambda tx: tx.range(ALL.begin, ALL.end)) == [(key, key[-20:])]
    assert engine.write(lambda tx: tx.insert(key, b"other")) is False
    assert engine.write(lambda tx: tx.delete(key)) is True
    assert engine.get(key) is None


def test_keys_of_neighbouring_sizes_lie_in_order(engine: LmdbEngine) -> None:
    keys = [key_of(size, last) for size in SIZES for last in ("", "\x00", "a", "\U0010ffff")]
    engine.write(put_all, keys[::-1])
    keys.sort()
    for begin, end in itertools.combinations([ALL.begin, *keys, ALL.end], 2):
        expected = [key for key in keys if begin <= key < end]
        assert engine.read(keys_in, begin, end, False) == expected
        assert engine.read(keys_in, begin, end, True) == expected[::-1]


def test_a_key_that_is_the_stored_form_of_another_is_another(engine: LmdbEngine) -> None:
    # A short key may look like the head of a long one, and must not be taken for it.
    long = key_of(600)
    head = long[:SHORT_KEY_BYTES_MAX]
    engine.write(put_all, [long])
    engine.write(lambda tx: tx.put(head, b"short"))
    assert engine.get(head) == b"short"
    assert engine.get(long) == long[-20:]
    assert engine.write(lambda tx: tx.pop(head)) == b"short"
    assert engine.get(long) == long[-20:]


@pytest.mark.parametrize("size", [KEY_BYTES_MAX + 1, KEY_BYTES_MAX + 500])
def test_a_key_longer_than_4_kib_is_refused_with_its_size(engine: LmdbEngine, size: int) -> None:
    key = key_of(KEY_BYTES_MAX) + b"x" * (size - KEY_BYTES_MAX)
    for refused in (
        lambda: engine.write(lambda tx: tx.put(key, b"")),
        lambda: engine.read(lambda tx: tx.get(key)),
        lambda: engine.get(key),
        lambda: engine.write(lambda tx: tx.delete(key)),
    ):
        with pytest.raises(LimitError, match=f"key is {size} bytes, at most {KEY_BYTES_MAX}"):
            refused()


def test_a_long_value_under_a_long_key_is_whole(engine: LmdbEngine) -> None:
    key, value = key_of(2000), bytes(range(256)) * 4000
    engine.write(lambda tx: tx.put(key, value))
    assert engine.get(key) == value
    assert engine.write(lambda tx: tx.pop(key)) == value
