"""The conformance suite: what every engine promises, one test per promise.

A subclass supplies the engine and one way to die; pytest finds the rest::

    engine        a fixture: a fresh, open engine, closed by the fixture
    die_holding   another session takes some things and dies without giving them back

Nothing here knows how an engine works. Where the contract lets an engine wake a waiter
early, so does the suite: it waits for conditions, as the layers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from entrepot.engine.keys import KEY_BYTES_MAX, Prefix, unpack
from entrepot.engine.protocol import Engine, Item, Transaction
from entrepot.errors import LimitError

__all__ = ["EngineSuite"]

R = TypeVar("R")

PATIENCE_S = 60.0
"""How long a test waits for what must come. Only a failing test waits that long."""
NOTICED_AT_ONCE_S = 0.8
"""A wait that missed its wake-up is rescued after a slice of a second: later than this."""

THINGS = Prefix("thing")
LONG = "x" * 600


class EngineSuite:
    """Subclass it, supply the two members below, and pytest runs every test on your engine."""

    @pytest.fixture
    def engine(self) -> Engine:
        """Return a fresh engine, for one test."""
        raise NotImplementedError

    def die_holding(self, engine: Engine, kind: str, count: int) -> int:
        """Let another session of the same depot hold things and die, as by kill -9.

        It writes `session.held_key(kind, index)` with the value `b"%d" % index` for each
        index from 0 to `count` - 1.

        Returns:
            The id of the dead session.
        """
        raise NotImplementedError

    # -- one key ---------------------------------------------------------------------------

    def test_a_key_that_was_never_put_has_no_value(self, engine: Engine) -> None:
        assert engine.read(_get, THINGS.int(1)) is None

    def test_a_value_put_in_one_transaction_is_got_in_the_next(self, engine: Engine) -> None:
        engine.write(_put, THINGS.int(1), b"one")
        assert engine.read(_get, THINGS.int(1)) == b"one"

    def test_a_later_put_replaces_the_value(self, engine: Engine) -> None:
        engine.write(_put, THINGS.int(1), b"a long first value")
        engine.write(_put, THINGS.int(1), b"two")
        assert engine.read(_get, THINGS.int(1)) == b"two"

    def test_insert_sets_a_value_only_where_there_is_none(self, engine: Engine) -> None:
        assert engine.write(_insert, THINGS.int(1), b"first") is True
        assert engine.write(_insert, THINGS.int(1), b"second") is False
        assert engine.read(_get, THINGS.int(1)) == b"first"

    def test_insert_does_not_replace_an_empty_value(self, engine: Engine) -> None:
        engine.write(_put, THINGS.int(1), b"")
        assert engine.write(_insert, THINGS.int(1), b"more") is False
        assert engine.read(_get, THINGS.int(1)) == b""

    def test_delete_removes_the_key_and_tells_whether_it_was_there(self, engine: Engine) -> None:
        engine.write(_put, THINGS.int(1), b"")
        assert engine.write(_delete, THINGS.int(1)) is True
        assert engine.write(_delete, THINGS.int(1)) is False
        assert engine.read(_get, THINGS.int(1)) is None

    def test_pop_removes_the_key_and_returns_its_value(self, engine: Engine) -> None:
        engine.write(_put, THINGS.int(1), b"one")
        assert engine.write(_pop, THINGS.int(1)) == b"one"
        assert engine.write(_pop, THINGS.int(1)) is None
        assert engine.read(_get, THINGS.int(1)) is None

    @pytest.mark.parametrize("size", [0, 1, 511, 4096, 1 << 20])
    def test_a_value_of_any_size_comes_back_as_it_was(self, engine: Engine, size: int) -> None:
        value = random.Random(size).randbytes(size)
        engine.write(_put, THINGS.int(1), value)
        assert engine.read(_get, THINGS.int(1)) == value
        assert engine.read(_all_things) == [(THINGS.int(1), value)]
        assert engine.write(_pop, THINGS.int(1)) == value

    # -- one transaction -------------------------------------------------------------------

    def test_what_the_function_returns_is_the_result(self, engine: Engine) -> None:
        def add(tx: Transaction, left: int, right: int) -> int:
            return left + right

        assert engine.read(add, 1, 2) == 3
        assert engine.write(add, 3, 4) == 7

    def test_a_write_sees_its_own_changes(self, engine: Engine) -> None:
        engine.write(_put, THINGS.int(1), b"old")
        engine.write(_put, THINGS.int(2), b"old")

        def change(tx: Transaction) -> tuple[bytes | None, bool, bool, list[Item]]:
            tx.put(THINGS.int(1), b"new")
            tx.put(THINGS.int(3), b"new")
            gone = tx.delete(THINGS.int(2))
            return tx.get(THINGS.int(1)), gone, tx.insert(THINGS.int(3), b"again"), _all_things(tx)

        expected = [(THINGS.int(1), b"new"), (THINGS.int(3), b"new")]
        assert engine.write(change) == (b"new", True, False, expected)
        assert engine.read(_all_things) == expected

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_a_write_that_raises_changes_nothing(
        self, engine: Engine, error: type[BaseException]
    ) -> None:
        engine.write(_put, THINGS.int(1), b"old")

        def fail(tx: Transaction) -> None:
            tx.put(THINGS.int(1), b"new")
            tx.put(THINGS.int(2), b"new")
            tx.ring(b"bell")
            raise error("on purpose")

        seen = engine.listen([b"bell"])
        with pytest.raises(error, match="on purpose"):
            engine.write(fail)
        assert engine.read(_all_things) == [(THINGS.int(1), b"old")]
        assert engine.listen([b"bell"]) == seen
        engine.write(_put, THINGS.int(1), b"the engine still works")
        assert engine.read(_get, THINGS.int(1)) == b"the engine still works"

    def test_a_read_that_raises_leaves_the_engine_usable(self, engine: Engine) -> None:
        def fail(tx: Transaction) -> None:
            raise ValueError("on purpose")

        for _ in range(200):  # more often than any engine has places for readers in one process
            with pytest.raises(ValueError, match="on purpose"):
                engine.read(fail)
        assert engine.read(_all_things) == []

    def test_versions_grow_with_every_change(self, engine: Engine) -> None:
        def put_and_tell(tx: Transaction, number: int) -> int:
            tx.put(THINGS.int(number), b"")
            return tx.version

        last = engine.read(_version)
        for number in range(5):
            version = engine.write(put_and_tell, number)
            assert version > last
            assert engine.read(_version) >= version
            last = version

    # -- ranges ----------------------------------------------------------------------------

    def test_a_range_is_in_order_whatever_the_order_of_the_puts(self, engine: Engine) -> None:
        numbers = list(range(300))
        random.Random(1).shuffle(numbers)
        for number in numbers:
            engine.write(_put, THINGS.int(number), b"%d" % number)
        expected = [(THINGS.int(number), b"%d" % number) for number in range(300)]
        assert engine.read(_all_things) == expected

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("limit", [None, 0, 1, 2, 3, 100])
    def test_a_range_ends_before_its_end_and_at_its_limit(
        self, engine: Engine, limit: int | None, reverse: bool
    ) -> None:
        _put_numbers(engine, 10)

        def some(tx: Transaction) -> list[int]:
            items = tx.range(THINGS.int(3), THINGS.int(6), limit=limit, reverse=reverse)
            return [_number(key) for key, _ in items]

        expected = [5, 4, 3] if reverse else [3, 4, 5]
        assert engine.read(some) == expected[:limit]
        assert engine.write(some) == expected[:limit]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_a_range_whose_bounds_are_no_keys_has_what_lies_between(
        self, engine: Engine, reverse: bool
    ) -> None:
        _put_numbers(engine, 10)

        def between(tx: Transaction, begin: bytes, end: bytes) -> int:
            return len(tx.range(begin, end, reverse=reverse))

        assert engine.read(between, THINGS.begin, THINGS.end) == 10
        assert engine.read(between, b"", b"\xff") >= 10
        assert engine.read(between, THINGS.int(1000), THINGS.int(2000)) == 0
        assert engine.read(between, THINGS.int(5), THINGS.int(5)) == 0
        assert engine.read(between, THINGS.int(6), THINGS.int(5)) == 0
        assert engine.read(between, Prefix("nothing").begin, Prefix("nothing").end) == 0

    def test_a_range_of_one_prefix_has_none_of_its_neighbours(self, engine: Engine) -> None:
        names = ["thin", "thing\x00", "thing", "thinga", "things"]
        for name in names:
            engine.write(_put, Prefix(name).key("inside"), name.encode())
        assert engine.read(_all_things) == [(THINGS.key("inside"), b"thing")]

    # -- long keys -------------------------------------------------------------------------

    def test_long_keys_that_begin_alike_are_told_apart(self, engine: Engine) -> None:
        keys = _long_keys()
        for index, key in enumerate(keys):
            assert engine.write(_insert, key, b"%d" % index) is True
        for index, key in enumerate(keys):
            assert engine.read(_get, key) == b"%d" % index
            assert engine.write(_insert, key, b"again") is False
        for index, key in enumerate(keys):
            assert engine.write(_pop, key) == b"%d" % index
            assert engine.read(_get, key) is None
        assert engine.read(_all_things) == []

    def test_long_keys_that_begin_alike_are_in_order(self, engine: Engine) -> None:
        keys = _long_keys()
        random.Random(2).shuffle(keys)
        for key in keys:
            engine.write(_put, key, b"")
        keys.sort()

        def between(tx: Transaction, begin: bytes, end: bytes, reverse: bool) -> list[bytes]:
            return [key for key, _ in tx.range(begin, end, reverse=reverse)]

        assert engine.read(between, THINGS.begin, THINGS.end, False) == keys
        assert engine.read(between, THINGS.begin, THINGS.end, True) == keys[::-1]
        for first in range(0, len(keys), 3):
            for last in range(first, len(keys), 4):
                expected = keys[first:last]
                assert engine.read(between, keys[first], keys[last], False) == expected
                assert engine.read(between, keys[first], keys[last], True) == expected[::-1]

    def test_a_limited_range_of_long_keys_has_the_first_or_the_last(self, engine: Engine) -> None:
        keys = sorted(_long_keys())
        for key in keys:
            engine.write(_put, key, b"")

        def few(tx: Transaction, reverse: bool) -> list[bytes]:
            items = tx.range(keys[2], keys[-2], limit=3, reverse=reverse)
            return [key for key, _ in items]

        assert engine.read(few, False) == keys[2:5]
        assert engine.read(few, True) == keys[-3:-6:-1]

    def test_a_key_of_4_kib_works_and_a_longer_one_is_refused(self, engine: Engine) -> None:
        longest = THINGS.str("k" * (KEY_BYTES_MAX - len(THINGS.begin) - 2))
        assert len(longest) == KEY_BYTES_MAX
        engine.write(_put, longest, b"fits")
        assert engine.read(_all_things) == [(longest, b"fits")]
        too_long = longest[:-1] + b"k\x00"
        with pytest.raises(LimitError, match="4097"):
            engine.write(_put, too_long, b"")
        with pytest.raises(LimitError, match="4097"):
            engine.write(_insert, too_long, b"")
        assert engine.read(_all_things) == [(longest, b"fits")]

    # -- many threads ----------------------------------------------------------------------

    def test_no_increment_is_lost_and_each_returns_its_own_result(self, engine: Engine) -> None:
        def increment(tx: Transaction) -> int:
            count = int(tx.get(THINGS.int(0)) or b"0") + 1
            tx.put(THINGS.int(0), b"%d" % count)
            return count

        def work() -> list[int]:
            return [engine.write(increment) for _ in range(50)]

        with _switching_often():
            results = sorted(result for found in _in_threads(8, work) for result in found)
        assert results == list(range(1, 401))

    def test_a_snapshot_does_not_change_while_others_write(self, engine: Engine) -> None:
        _put_numbers(engine, 3)
        looked, written = threading.Event(), threading.Event()

        def look_twice(tx: Transaction) -> tuple[list[Item], list[Item], int]:
            before = _all_things(tx)
            looked.set()
            assert written.wait(PATIENCE_S)
            return before, _all_things(tx), tx.version

        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(engine.read, look_twice)
            assert looked.wait(PATIENCE_S)
            oldest = engine.oldest_snapshot()
            engine.write(_put, THINGS.int(1), b"changed")
            engine.write(_delete, THINGS.int(2))
            engine.write(_put, THINGS.int(7), b"new")
            assert engine.oldest_snapshot() == oldest
            written.set()
            before, after, version = reader.result(PATIENCE_S)
        assert before == after
        assert oldest == version
        assert engine.oldest_snapshot() is None
        assert engine.read(_get, THINGS.int(1)) == b"changed"

    def test_readers_never_see_half_a_transfer(self, engine: Engine) -> None:
        accounts, total = 4, 400
        for account in range(accounts):
            engine.write(_put, THINGS.int(account), b"%d" % (total // accounts))
        stop = threading.Event()

        def transfer(tx: Transaction, source: int, target: int) -> None:
            tx.put(THINGS.int(source), b"%d" % (int(tx.get(THINGS.int(source)) or b"0") - 1))
            tx.put(THINGS.int(target), b"%d" % (int(tx.get(THINGS.int(target)) or b"0") + 1))

        def sum_up(tx: Transaction) -> int:
            return sum(int(value) for _, value in _all_things(tx))

        def audit() -> set[int]:
            sums = {engine.read(sum_up)}
            while not stop.is_set():
                sums.add(engine.read(sum_up))
            return sums

        with ThreadPoolExecutor(2) as pool:
            audits = [pool.submit(audit) for _ in range(2)]
            chance = random.Random(3)
            try:
                for _ in range(200):
                    source, target = chance.sample(range(accounts), 2)
                    engine.write(transfer, source, target)
            finally:
                stop.set()
            assert [found.result(PATIENCE_S) for found in audits] == [{total}, {total}]

    # -- bells -----------------------------------------------------------------------------

    def test_a_bell_rung_before_the_wait_ends_it_at_once(self, engine: Engine) -> None:
        seen = engine.listen([b"a", b"b"])
        engine.write(_ring, b"b")
        begun = time.monotonic()
        assert engine.wait([b"a", b"b"], seen, PATIENCE_S) is True
        assert time.monotonic() - begun < PATIENCE_S / 2

    def test_a_write_that_only_rings_is_heard_every_time(self, engine: Engine) -> None:
        for _ in range(10):
            seen = engine.listen([b"bell"])
            engine.write(_ring, b"bell")
            assert engine.listen([b"bell"]) != seen

    @pytest.mark.parametrize("timeout", [-1.0, 0.0, 0.05, 1.2])
    def test_a_wait_for_nothing_lasts_as_long_as_its_timeout(
        self, engine: Engine, timeout: float
    ) -> None:
        seen = engine.listen([b"bell"])
        begun = time.monotonic()
        assert _wait_for(engine, b"bell", lambda: False, timeout) is False
        assert time.monotonic() - begun >= timeout
        assert time.monotonic() - begun < timeout + 5
        assert engine.listen([b"bell"]) == seen

    def test_the_commit_is_visible_to_whoever_its_bell_wakes(self, engine: Engine) -> None:
        def announce(tx: Transaction, number: int) -> None:
            tx.put(THINGS.int(0), b"%d" % number)
            tx.ring(b"bell")

        def follow() -> list[int]:
            heard: list[int] = []
            while not heard or heard[-1] < 99:
                seen = engine.listen([b"bell"])
                number = int(engine.read(_get, THINGS.int(0)) or b"0")
                if heard and number == heard[-1]:
                    assert engine.wait([b"bell"], seen, PATIENCE_S)
                else:
                    heard.append(number)
            return heard

        with ThreadPoolExecutor(1) as pool:
            follower = pool.submit(follow)
            for number in range(100):
                engine.write(announce, number)
            heard = follower.result(PATIENCE_S)
        assert heard == sorted(heard)

    def test_two_threads_that_wake_each_other_miss_no_wake_up(self, engine: Engine) -> None:
        rounds = 300

        def play(parity: int) -> int:
            late = 0
            for number in range(parity, rounds, 2):
                begun = time.monotonic()
                came = _wait_for(
                    engine,
                    b"turn %d" % parity,
                    lambda number=number: engine.read(_get, THINGS.int(0)) == b"%d" % number,
                    PATIENCE_S,
                )
                assert came
                late += time.monotonic() - begun > NOTICED_AT_ONCE_S
                engine.write(_pass_on, number + 1, b"turn %d" % (1 - parity))
            return late

        engine.write(_put, THINGS.int(0), b"0")
        with ThreadPoolExecutor(2) as pool:
            late = sum(pool.map(play, (0, 1), timeout=PATIENCE_S))
        # A busy machine may hold up one; a lost wake-up would be late in many of the rounds.
        assert late <= rounds // 50

    def test_one_ring_wakes_all_threads_that_wait(self, engine: Engine) -> None:
        waiting = threading.Barrier(21)

        def wait() -> bool:
            seen = engine.listen([b"bell"])
            waiting.wait(PATIENCE_S)
            return engine.wait([b"bell"], seen, PATIENCE_S)

        with ThreadPoolExecutor(20) as pool:
            waits = [pool.submit(wait) for _ in range(20)]
            waiting.wait(PATIENCE_S)
            engine.write(_ring, b"bell")
            assert all(wait.result(PATIENCE_S) for wait in waits)

    # -- bells in asyncio ------------------------------------------------------------------

    def test_a_thousand_tasks_wait_without_a_thread_each(self, engine: Engine) -> None:
        def open_gate(tx: Transaction) -> None:
            tx.put(THINGS.int(0), b"open")
            tx.ring(b"gate")

        async def wait() -> None:
            seen = engine.listen([b"gate"])
            while engine.read(_get, THINGS.int(0)) is None:
                assert await engine.wait_async([b"gate"], seen, PATIENCE_S)
                seen = engine.listen([b"gate"])

        async def main() -> tuple[int, float]:
            tasks = [asyncio.create_task(wait()) for _ in range(1000)]
            for _ in range(3):  # all of them run up to their wait
                await asyncio.sleep(0)
            threads = threading.active_count()
            await asyncio.to_thread(engine.write, open_gate)
            begun = time.monotonic()
            await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_S)
            return threads, time.monotonic() - begun

        threads_before = threading.active_count()
        threads, seconds = asyncio.run(main())
        assert threads - threads_before <= 3
        assert seconds < PATIENCE_S / 2

    def test_tasks_are_woken_by_their_own_loop_too(self, engine: Engine) -> None:
        async def wait(bell: bytes) -> bool:
            return await engine.wait_async([bell], engine.listen([bell]), PATIENCE_S)

        async def main() -> bool:
            task = asyncio.create_task(wait(b"bell"))
            await asyncio.sleep(0)
            engine.write(_ring, b"bell")
            return await asyncio.wait_for(task, PATIENCE_S)

        assert asyncio.run(main()) is True
        assert asyncio.run(main()) is True, "the engine outlives an event loop"

    def test_two_tasks_that_wake_each_other_miss_no_wake_up(self, engine: Engine) -> None:
        rounds = 100

        async def play(parity: int) -> int:
            bell, late = b"turn %d" % parity, 0
            for number in range(parity, rounds, 2):
                begun = time.monotonic()
                seen = engine.listen([bell])
                while engine.read(_get, THINGS.int(0)) != b"%d" % number:
                    assert await engine.wait_async([bell], seen, PATIENCE_S)
                    seen = engine.listen([bell])
                late += time.monotonic() - begun > NOTICED_AT_ONCE_S
                engine.write(_pass_on, number + 1, b"turn %d" % (1 - parity))
            return late

        async def main() -> int:
            return sum(await asyncio.wait_for(asyncio.gather(play(0), play(1)), PATIENCE_S))

        engine.write(_put, THINGS.int(0), b"0")
        assert asyncio.run(main()) <= rounds // 50

    def test_a_waiting_task_neither_blocks_the_loop_nor_outlives_its_timeout(
        self, engine: Engine
    ) -> None:
        async def main() -> tuple[bool, float, int]:
            turns = 0
            begun = time.monotonic()
            task = asyncio.create_task(engine.wait_async([b"x"], engine.listen([b"x"]), 0.2))
            while not task.done():
                await asyncio.sleep(0.005)
                turns += 1
            return await task, time.monotonic() - begun, turns

        woken, seconds, turns = asyncio.run(main())
        assert woken is False
        assert 0.2 <= seconds < 5
        assert turns >= 5

    def test_a_cancelled_wait_leaves_the_others_waiting(self, engine: Engine) -> None:
        async def main() -> list[bool | BaseException]:
            seen = engine.listen([b"bell"])
            tasks = [
                asyncio.create_task(engine.wait_async([b"bell"], seen, PATIENCE_S))
                for _ in range(3)
            ]
            await asyncio.sleep(0)
            tasks[1].cancel()
            await asyncio.wait([tasks[1]])
            assert not tasks[0].done()
            engine.write(_ring, b"bell")
            return await asyncio.gather(*tasks, return_exceptions=True)

        first, second, third = asyncio.run(main())
        assert (first, third) == (True, True)
        assert isinstance(second, asyncio.CancelledError)

    # -- sessions --------------------------------------------------------------------------

    def test_what_a_dead_session_held_is_given_back_once(self, engine: Engine) -> None:
        given_back = _give_back_things(engine)
        count = 2500  # more than one transaction gives back
        dead = self.die_holding(engine, "thing", count)
        assert dead != engine.session.id
        assert engine.reap() == 1
        assert engine.reap() == 0
        assert engine.read(given_back) == [(dead, b"%d" % index) for index in range(count)]
        assert engine.read(_held) == []

    def test_what_a_living_session_holds_stays_with_it(self, engine: Engine) -> None:
        given_back = _give_back_things(engine)
        held = engine.session.held_key("thing", 0)
        engine.write(_put, held, b"mine")
        assert engine.reap() == 0
        assert engine.read(given_back) == []
        assert engine.read(_get, held) == b"mine"
        engine.write(_delete, held)

    def test_the_dead_are_told_apart(self, engine: Engine) -> None:
        given_back = _give_back_things(engine)
        dead = [self.die_holding(engine, "thing", 1) for _ in range(2)]
        assert len({*dead, engine.session.id}) == 3
        engine.reap()
        assert sorted(engine.read(given_back)) == [(session, b"0") for session in sorted(dead)]

    def test_a_waiter_gets_what_a_dead_session_held(self, engine: Engine) -> None:
        given_back = _give_back_things(engine)
        dead = self.die_holding(engine, "thing", 1)
        came = _wait_for(engine, b"given back", lambda: bool(engine.read(given_back)), PATIENCE_S)
        assert came
        assert engine.read(given_back) == [(dead, b"0")]


def _get(tx: Transaction, key: bytes) -> bytes | None:
    return tx.get(key)


def _put(tx: Transaction, key: bytes, value: bytes) -> None:
    tx.put(key, value)


def _insert(tx: Transaction, key: bytes, value: bytes) -> bool:
    return tx.insert(key, value)


def _delete(tx: Transaction, key: bytes) -> bool:
    return tx.delete(key)


def _pop(tx: Transaction, key: bytes) -> bytes | None:
    return tx.pop(key)


def _ring(tx: Transaction, bell: bytes) -> None:
    tx.ring(bell)


def _pass_on(tx: Transaction, number: int, bell: bytes) -> None:
    tx.put(THINGS.int(0), b"%d" % number)
    tx.ring(bell)


def _version(tx: Transaction) -> int:
    return tx.version


def _all_things(tx: Transaction) -> list[Item]:
    return tx.range(THINGS.begin, THINGS.end)


def _held(tx: Transaction) -> list[Item]:
    # The layout of held keys is spelled out: an engine must share it with all others.
    held = Prefix("held")
    return tx.range(held.begin, held.end)


def _number(key: bytes) -> int:
    number = THINGS.tail(key)[0]
    assert isinstance(number, int)
    return number


def _put_numbers(engine: Engine, count: int) -> None:
    for number in range(count):
        engine.write(_put, THINGS.int(number), b"%d" % number)


def _long_keys() -> list[bytes]:
    """Return keys of 500 to 4096 bytes, most of which agree in their first 600 and more."""
    texts = ["x" * size for size in range(498, 520)]
    texts += [LONG + tail for tail in ("", "\x00", "\x00\x00", "a", "aa", "b", "\xff")]
    texts += [LONG * 5 + tail for tail in ("", "\x00", "a", "b" * 500, "b" * 501, "c")]
    return [THINGS.str(text) for text in texts] + [THINGS.key(LONG, 1), THINGS.key(LONG, -1)]


def _give_back_things(engine: Engine) -> Callable[[Transaction], list[tuple[int, bytes]]]:
    """Register a release that puts held things among THINGS; return what lists those."""

    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        assert unpack(rest) == (int(value),)
        key = THINGS.key(session) + rest
        assert tx.get(key) is None, "given back twice"
        tx.put(key, value)
        tx.ring(b"given back")

    def given_back(tx: Transaction) -> list[tuple[int, bytes]]:
        return [(_number(key), value) for key, value in _all_things(tx)]

    engine.on_release("thing", release)
    return given_back


def _wait_for(engine: Engine, bell: bytes, condition: Callable[[], bool], timeout: float) -> bool:
    """Wait as a layer does: listen, check, sleep, again."""
    deadline = time.monotonic() + timeout
    while True:
        seen = engine.listen([bell])
        if condition():
            return True
        if not engine.wait([bell], seen, deadline - time.monotonic()):
            return False


@contextlib.contextmanager
def _switching_often() -> Generator[None]:
    """Let threads take turns so often that a missing lock shows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _in_threads(count: int, work: Callable[[], R]) -> list[R]:
    with ThreadPoolExecutor(count) as pool:
        return [running.result(PATIENCE_S) for running in [pool.submit(work) for _ in range(count)]]
