"""What the LMDB engine promises beyond the conformance suite."""

from __future__ import annotations

import gc
import inspect
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import pytest

from entrepot import settings
from entrepot.engine.keys import Prefix
from entrepot.engine.lmdb import LmdbEngine, environment
from entrepot.engine.lmdb.errors import BUGS, map_error
from entrepot.engine.protocol import Transaction
from entrepot.errors import (
    ClosedError,
    ConflictError,
    CorruptError,
    DiskFullError,
    EntrepotError,
    OutOfMemoryError,
)
from support.conditions import PATIENCE_S
from support.engines import fresh_lmdb, open_lmdb

THING = Prefix("thing")

ERRORS = sorted(
    (
        found
        for _, found in inspect.getmembers(lmdb, inspect.isclass)
        if issubclass(found, lmdb.Error)
    ),
    key=lambda found: found.__name__,
)


@pytest.fixture
def engine() -> Iterator[LmdbEngine]:
    with fresh_lmdb(volatile=True) as engine:
        yield engine


def put(tx: Transaction, number: int, value: bytes = b"") -> None:
    tx.put(THING.int(number), value)


# Errors.


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_lmdb_is_mapped_or_known_as_our_bug(kind: type[lmdb.Error]) -> None:
    found = map_error(kind("on purpose"), Path("/somewhere/catalog"))
    if kind in BUGS:
        assert found is None
    else:
        assert isinstance(found, EntrepotError)
        assert "/somewhere/catalog" in str(found)


def test_no_error_is_both_mapped_and_called_a_bug() -> None:
    assert set(BUGS) <= set(ERRORS)
    assert len(set(BUGS)) == len(BUGS)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (lmdb.CorruptedError("x"), CorruptError),
        (lmdb.MapFullError("x"), OutOfMemoryError),
        (lmdb.DiskError("mdb_txn_commit: No space left on device"), DiskFullError),
        (lmdb.MemoryError("x"), OutOfMemoryError),
    ],
)
def test_an_error_is_mapped_to_what_it_means(
    error: lmdb.Error, expected: type[EntrepotError], tmp_path: Path
) -> None:
    assert type(map_error(error, tmp_path)) is expected


def test_a_catalog_that_is_no_catalog_is_refused(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    (catalog / "data.mdb").write_bytes(random.Random(1).randbytes(1 << 20))
    with pytest.raises(CorruptError, match="damaged"), open_lmdb(tmp_path, volatile=True):
        pass


# Transactions.


def test_a_write_inside_a_write_is_refused_and_leaves_the_engine_usable(
    engine: LmdbEngine,
) -> None:
    def nest(tx: Transaction) -> None:
        put(tx, 1)
        engine.write(put, 2)

    with pytest.raises(ConflictError, match="inside another"):
        engine.write(nest)
    assert engine.read(lambda tx: tx.range(THING.begin, THING.end)) == []
    engine.write(put, 3)
    assert engine.get(THING.int(3)) == b""


def test_a_read_inside_a_write_sees_what_was_there_before(engine: LmdbEngine) -> None:
    def look(tx: Transaction) -> bytes | None:
        put(tx, 1, b"new")
        return engine.get(THING.int(1))

    assert engine.write(look) is None
    assert engine.get(THING.int(1)) == b"new"


def test_each_commit_of_any_kind_has_its_own_version(engine: LmdbEngine) -> None:
    def ring(tx: Transaction) -> int:
        tx.ring(b"bell")
        return tx.version

    versions = [engine.write(ring) for _ in range(5)]
    assert len(set(versions)) == 5


def test_more_readers_than_the_process_may_have_wait_their_turn(engine: LmdbEngine) -> None:
    count = settings.READERS_PER_PROCESS_MAX
    inside, leave = threading.Barrier(count + 1), threading.Event()

    def stay(tx: Transaction) -> bool:
        inside.wait(PATIENCE_S)
        return leave.wait(PATIENCE_S)

    with ThreadPoolExecutor(count + 5) as pool:
        first = [pool.submit(engine.read, stay) for _ in range(count)]
        inside.wait(PATIENCE_S)
        late = [pool.submit(engine.get, THING.int(1)) for _ in range(5)]
        assert not any(waiting.done() for waiting in late)
        leave.set()
        assert all(done.result(PATIENCE_S) for done in first)
        assert [done.result(PATIENCE_S) for done in late] == [None] * 5


class InterruptedBehindAbort:
    """A transaction; Ctrl-C comes as soon as its `abort` is done."""

    def __init__(self, txn: Any) -> None:
        self._txn = txn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def abort(self) -> None:
        self._txn.abort()
        raise KeyboardInterrupt


def test_ctrl_c_at_the_end_of_a_read_keeps_nobody_from_closing(
    engine: LmdbEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_LOST_TOKEN_S", 0)
    with monkeypatch.context() as patched:
        begin = engine._begin
        patched.setattr(
            engine, "_begin", lambda **options: InterruptedBehindAbort(begin(**options))
        )
        with pytest.raises(KeyboardInterrupt):
            engine.read(lambda tx: tx.get(THING.int(1)))
    engine.pause()
    engine.resume()
    engine.write(put, 1, b"after")
    assert engine.get(THING.int(1)) == b"after"


def test_ctrl_c_while_the_gate_closes_opens_it_again(
    engine: LmdbEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    def close_the_gate(tx: Transaction) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(environment.time, "sleep", interrupt)
            with pytest.raises(KeyboardInterrupt):
                engine.pause()

    engine.read(close_the_gate)
    with ThreadPoolExecutor() as pool:  # in other threads: the lock knows its own
        pool.submit(engine.write, put, 1, b"after").result(PATIENCE_S)
        assert pool.submit(engine.get, THING.int(1)).result(PATIENCE_S) == b"after"
    engine.pause()
    engine.resume()


def test_a_closed_engine_refuses_every_call() -> None:
    with fresh_lmdb(volatile=True) as engine:
        pass
    for refused in (
        lambda: engine.get(THING.int(1)),
        lambda: engine.read(lambda tx: None),
        lambda: engine.write(put, 1),
    ):
        with pytest.raises(ClosedError):
            refused()


def test_nothing_of_a_closed_engine_is_left_open() -> None:
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 the names are what counts
    for _ in range(3):
        with fresh_lmdb(volatile=True) as engine:
            engine.write(put, 1)
    del engine
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= len(before)  # noqa: PTH208 the same


# The guard for each new release of py-lmdb: LMDB 1.0 fails it with a writable map.

OPERATIONS = 20_000


@pytest.mark.parametrize("volatile", [True, False])
def test_random_operations_with_held_readers_and_aborts_equal_a_dict(
    volatile: bool, chance: random.Random
) -> None:
    model: dict[bytes, bytes] = {}

    class OnPurposeError(Exception):
        pass

    def some(tx: Transaction, steps: list[tuple[bytes, bytes | None]], fail: bool) -> None:
        for key, value in steps:
            if value is None:
                tx.delete(key)
            else:
                tx.put(key, value)
        if fail:
            raise OnPurposeError

    def draw() -> list[tuple[bytes, bytes | None]]:
        return [
            (
                THING.key(chance.choice(("", "a", "b" * 600)), chance.randrange(300)),
                None
                if chance.random() < 0.45
                else chance.randbytes(chance.choice((0, 10, 500, 3000, 9000))),
            )
            for _ in range(chance.choice((1, 1, 5, 60)))
        ]

    def hold(tx: Transaction, go_on: threading.Event) -> list[tuple[bytes, bytes]]:
        go_on.wait(PATIENCE_S)
        return tx.range(THING.begin, THING.end)

    with (
        fresh_lmdb(volatile=volatile) as engine,
        ThreadPoolExecutor(1) as pool,
    ):
        # Growing waits for the readers of this process: let the map be large enough before.
        engine.write(put, 0, bytes(100 * settings.MIB))
        engine.write(lambda tx: tx.delete(THING.int(0)))
        done = 0
        while done < OPERATIONS:
            go_on = threading.Event()
            snapshot = sorted(model.items())
            held = pool.submit(engine.read, hold, go_on)
            while not held.running() or engine.oldest_snapshot() is None:
                pass
            for _ in range(40):
                steps = draw()
                done += len(steps)
                if chance.random() < 0.2:
                    with pytest.raises(OnPurposeError):
                        engine.write(some, steps, True)
                    continue
                engine.write(some, steps, False)
                for key, value in steps:
                    if value is None:
                        model.pop(key, None)
                    else:
                        model[key] = value
            go_on.set()
            assert held.result(PATIENCE_S) == snapshot
            assert engine.read(lambda tx: tx.range(THING.begin, THING.end)) == sorted(model.items())
