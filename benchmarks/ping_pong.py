"""How long does a value take to another process and back, when both wait for it?

Two queues; a child process fetches from one and stores into the other. Every contestant has
a child of its own, all of which live through the whole comparison, so those that are not in
turn sleep in their fetch.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from benchmarks.floors import echo_floor
from benchmarks.harness import Contestant, Plan, compare
from benchmarks.peers import NotInstalledError, manager_server, redis_queue, redis_server
from benchmarks.report import Bound, Check, at_least, duration
from benchmarks.rivals import Queue
from benchmarks.subject import Address, address_of, open_depot, queue_of, subject

__all__ = ["measure_ping_pong"]

MESSAGE = bytes(100)
ROUNDS_MAX = 1000


def measure_ping_pong(plan: Plan) -> list[Check]:
    """Return the round trip against each peer that has queues."""
    starts: list[tuple[Callable[[], Any], Bound | None]] = [
        (echo_floor, None),
        (_redis, at_least(3)),
        (_manager, at_least(1)),
    ]
    with ExitStack() as stack:
        ours = stack.enter_context(_entrepot())
        field: list[tuple[Contestant, Bound | None]] = []
        for start, bound in starts:
            try:
                field.append((stack.enter_context(start()), bound))
            except NotInstalledError as missing:
                plan.note(str(missing))
        timed, *others = compare(
            [ours, *(contestant for contestant, _ in field)], plan, rounds_max=ROUNDS_MAX
        )
        checks = [
            Check(
                "ping-pong",
                f"there and back, {theirs.name}",
                theirs.ratio(timed),
                "x faster",
                bound,
                duration(timed.median_s),
                duration(theirs.median_s),
            )
            for (_, bound), theirs in zip(field, others, strict=True)
        ]
        missed = [at for at, check in enumerate(checks) if check.verdict == "missed"]
        if missed:
            explained = plan.explain(ours, missed=True)
            checks[missed[0]] = replace(checks[missed[0]], profile=explained)
    return checks


@contextmanager
def _entrepot() -> Generator[Contestant]:
    """Yield the round trip through two variables of a space."""
    with subject() as (_, depot):
        ping, pong = queue_of(depot, "ping"), queue_of(depot, "pong")
        with _child("entrepot", ping, pong, _answer_entrepot, address_of(depot)) as contestant:
            yield contestant


@contextmanager
def _redis() -> Generator[Contestant]:
    """Yield the round trip through two lists."""
    with redis_server() as path:
        ping, pong = redis_queue(path, "ping"), redis_queue(path, "pong")
        with _child("Redis", ping, pong, _answer_redis, path) as contestant:
            yield contestant


@contextmanager
def _manager() -> Generator[Contestant]:
    """Yield the round trip through two queues of a manager."""
    with manager_server() as manager:
        there, back = manager.Queue(), manager.Queue()
        ping, pong = Queue(there.put, there.get), Queue(back.put, back.get)
        with _child("manager queue", ping, pong, _answer_manager, there, back) as contestant:
            yield contestant


@contextmanager
def _child(
    name: str, ping: Queue, pong: Queue, target: Callable[..., None], *args: object
) -> Generator[Contestant]:
    """Run the other player in a process of its own."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=args, daemon=True)
    process.start()
    try:

        def round_trip() -> None:
            ping.store(MESSAGE)
            pong.fetch()

        round_trip()
        yield Contestant(name, round_trip)
        ping.store(None)
        process.join(10)
    finally:
        if process.is_alive():
            process.kill()
        process.join()


def _answer(ping: Queue, pong: Queue) -> None:
    """Send back what comes in, until None comes in."""
    while (value := ping.fetch()) is not None:
        pong.store(value)


def _answer_entrepot(address: Address) -> None:
    with open_depot(address) as depot:
        _answer(queue_of(depot, "ping"), queue_of(depot, "pong"))


def _answer_redis(path: str) -> None:
    _answer(redis_queue(path, "ping"), redis_queue(path, "pong"))


def _answer_manager(there: Any, back: Any) -> None:
    _answer(Queue(there.put, there.get), Queue(back.put, back.get))
