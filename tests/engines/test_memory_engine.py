"""The memory engine: the conformance suite, and what it promises beyond it, to tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from entrepot.engine.keys import Prefix
from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import ClosedError, TypeMismatchError
from entrepot.testing import EngineSuite

KEYS = Prefix("key")


@pytest.fixture
def engine() -> Iterator[MemoryEngine]:
    engine = MemoryEngine()
    yield engine
    engine.close()
    assert engine.store.readers == {}
    assert engine.store.sleepers == {}


class TestMemoryEngine(EngineSuite):
    @pytest.fixture
    def engine(self, engine: MemoryEngine) -> Engine:
        return engine

    def die_holding(self, engine: Engine, kind: str, count: int) -> int:
        assert isinstance(engine, MemoryEngine)
        other = MemoryEngine(engine.store)

        def hold(tx: Transaction) -> None:
            for index in range(count):
                tx.put(other.session.held_key(kind, index), b"%d" % index)

        other.write(hold)
        other.end_session()
        return other.session.id


def put(tx: Transaction, key: bytes, value: bytes) -> None:
    tx.put(key, value)


def get(tx: Transaction, key: bytes) -> bytes | None:
    return tx.get(key)


def test_a_write_function_runs_twice_and_the_second_result_is_kept(engine: MemoryEngine) -> None:
    runs: list[bytes | None] = []

    def append(tx: Transaction) -> int:
        runs.append(tx.get(KEYS.int(1)))
        tx.put(KEYS.int(1), b"%d" % len(runs))
        return len(runs)

    assert engine.write(append) == 2
    assert runs == [None, None], "both runs begin from the same state"
    assert engine.read(get, KEYS.int(1)) == b"2"


def test_a_read_function_runs_once(engine: MemoryEngine) -> None:
    runs: list[int] = []
    engine.read(lambda tx: runs.append(tx.version))
    assert len(runs) == 1


def test_two_engines_on_one_store_share_everything_but_their_session() -> None:
    store = MemoryStore()
    one, other = MemoryEngine(store), MemoryEngine(store)
    one.write(put, KEYS.int(1), b"shared")
    assert other.read(get, KEYS.int(1)) == b"shared"
    assert one.session.id != other.session.id
    one.close()
    assert other.read(get, KEYS.int(1)) == b"shared"
    other.close()


def test_two_reapers_give_back_each_thing_once_and_count_each_death_once() -> None:
    store = MemoryStore()
    engines = [MemoryEngine(store) for _ in range(4)]

    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        key = KEYS.begin + rest
        tx.put(key, b"%d" % (int(tx.get(key) or b"0") + 1))

    for engine in engines:
        engine.on_release("thing", release)
        for index in range(20):
            key = engine.session.held_key("thing", engine.session.id, index)
            engine.write(put, key, b"")
    for engine in engines[:2]:
        engine.end_session()
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(MemoryEngine.reap, engines[2:]))
    assert sum(counts) == 2
    given_back = engines[2].read(lambda tx: tx.range(KEYS.begin, KEYS.end))
    assert [value for _, value in given_back] == [b"1"] * 40
    for engine in engines[2:]:
        engine.close()


def test_closing_gives_back_what_the_session_held(engine: MemoryEngine) -> None:
    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        tx.put(KEYS.begin + rest, value)

    other = MemoryEngine(engine.store)
    other.on_release("thing", release)
    other.write(put, other.session.held_key("thing", 1), b"held")
    other.close()
    assert engine.read(get, KEYS.int(1)) == b"held"
    assert engine.reap() == 0


def test_a_closed_engine_refuses_every_call() -> None:
    engine = MemoryEngine()
    engine.close()
    engine.close()
    assert engine.closed
    with pytest.raises(ClosedError, match="volatile engine is closed"):
        engine.read(get, KEYS.int(1))
    with pytest.raises(ClosedError):
        engine.write(put, KEYS.int(1), b"")
    with pytest.raises(ClosedError):
        engine.wait([b"bell"], engine.listen([b"bell"]))


def test_a_wait_ends_when_another_thread_closes_the_engine() -> None:
    engine = MemoryEngine()
    listened = threading.Event()

    def wait() -> None:
        seen = engine.listen([b"bell"])
        listened.set()
        engine.wait([b"bell"], seen)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        assert listened.wait(60)
        engine.close()
        with pytest.raises(ClosedError):
            waiting.result(60)


def test_a_transaction_inside_a_transaction_is_our_bug(engine: MemoryEngine) -> None:
    def nest(tx: Transaction) -> None:
        engine.read(get, KEYS.int(1))

    with pytest.raises(AssertionError, match="inside a transaction"):
        engine.read(nest)
    with pytest.raises(AssertionError, match="inside a transaction"):
        engine.write(nest)
    assert engine.read(get, KEYS.int(1)) is None


def test_a_transaction_used_after_its_end_is_our_bug(engine: MemoryEngine) -> None:
    kept = engine.write(lambda tx: tx)
    with pytest.raises(AssertionError, match="after its function returned"):
        kept.get(KEYS.int(1))


def test_a_change_inside_a_read_is_our_bug(engine: MemoryEngine) -> None:
    for change in (put, lambda tx, key, _: tx.delete(key), lambda tx, key, _: tx.ring(key)):
        with pytest.raises(AssertionError, match="given to `read` changes"):
            engine.read(change, KEYS.int(1), b"")


def test_a_value_that_could_change_later_is_refused(engine: MemoryEngine) -> None:
    with pytest.raises(TypeMismatchError, match="bytearray"):
        engine.write(put, KEYS.int(1), bytearray(b"x"))  # type: ignore[arg-type] on purpose
    assert engine.read(get, KEYS.int(1)) is None
