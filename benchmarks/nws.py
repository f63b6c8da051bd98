"""What does a tuple space cost, in the process and over TCP, beside what people use for it?

The same calls by way of: the NetWorkSpaces face on the depot; the face and the original client
over TCP to our gateway; the original client and server (Twisted); Redis lists; a manager's
queue. And how ten thousand fetches wait on one gateway.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import entrepot
from benchmarks.harness import Contestant, Plan, Timing, compare
from benchmarks.peers import NotInstalledError, manager_server, redis_queue, redis_server
from benchmarks.report import Bound, Check, at_least, at_most, duration
from benchmarks.rivals import Queue, fetching, finding, storing

__all__ = ["measure_nws"]

MESSAGE = "x" * 100
QUESTION = "nws"
INSIDE, TCP, ORIGINAL_CLIENT = "in-process", "face over TCP", "original client, our gateway"
ORIGINAL, REDIS, MANAGER, ECHO = "original NWS", "Redis", "manager queue", "TCP echo"
TESTS = Path(__file__).parents[1] / "tests"
BLOCKED = 10_000
QUICK_BLOCKED = 50


@dataclass(frozen=True)
class Way:
    """How any process reaches the queues of one contestant."""

    kind: str
    where: Any


def open_queue(way: Way, variable: str) -> Queue:
    """Return a queue, in whichever process this is."""
    if way.kind == REDIS:
        return redis_queue(way.where, variable)
    if way.kind == MANAGER:
        queue = way.where[variable]
        return Queue(queue.put, queue.get)
    if way.kind in (INSIDE, TCP):
        from entrepot.nws.client import NetWorkSpace
    else:
        NetWorkSpace = _original_client(way.where[2]).NetWorkSpace  # noqa: N806 a class
    # Each way has its own: who waits for another one's ping would answer it.
    space = NetWorkSpace(f"benchmark {way.kind}", *way.where[:2], useUse=True)
    return Queue(
        partial(space.store, variable),
        partial(space.fetch, variable),
        partial(space.find, variable),
    )


def _original_client(home: str) -> Any:
    for path in (home, str(TESTS)):
        if path not in sys.path:
            sys.path.insert(0, path)
    from support.nws_adapter import adapt_client

    if "nws.client" not in sys.modules:
        return adapt_client()
    return sys.modules["nws.client"]


def measure_nws(plan: Plan) -> list[Check]:
    """Return each way to a queue against the others."""
    with ExitStack() as stack:
        depot = stack.enter_context(entrepot.temporary(memory="256M"))
        port = stack.enter_context(_gateway(depot))
        ways = [Way(INSIDE, (f"depot:{depot.name}",)), Way(TCP, ("127.0.0.1", port))]
        try:
            home = _originals()
            ways.append(Way(ORIGINAL_CLIENT, ("127.0.0.1", port, home)))
            server = stack.enter_context(_original_server(home))
            ways.append(Way(ORIGINAL, ("127.0.0.1", server, home)))
        except NotInstalledError as missing:
            plan.note(str(missing))
        try:
            ways.append(Way(REDIS, stack.enter_context(redis_server())))
        except NotInstalledError as missing:
            plan.note(str(missing))
        manager = stack.enter_context(manager_server())
        names = ["store", "fetch", "array", "ping", "pong", "throughput"]
        ways.append(Way(MANAGER, {name: manager.Queue() for name in names}))
        with _awake():
            checks = _single(plan, ways)
        checks += [
            *_array(plan, ways),
            *_ping_pong(plan, ways),
            *_throughput(plan, ways),
        ]
        checks += _blocked(plan, depot)
        return checks


@contextmanager
def _awake() -> Generator[None]:
    """Keep the processors awake: else a round trip costs 15 us or 80, whoever serves it.

    What spins has the lowest priority there is, and makes room at once.
    """
    context = multiprocessing.get_context("spawn")
    spinners = [context.Process(target=_spin, daemon=True) for _ in os.sched_getaffinity(0)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.join()


def _spin() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


@contextmanager
def _gateway(depot: entrepot.Depot) -> Generator[int]:
    """Yield the port of a gateway in a process of its own."""
    with _gateway_process(depot) as (_, port):
        yield port


@contextmanager
def _original_server(home: str) -> Generator[int]:
    """Yield the port of the original server."""
    if find_spec("twisted") is None:
        raise NotInstalledError("original NWS", "pip install twisted")
    from support.nws_originals import environment

    command = [sys.executable, "-m", "support.nws_adapter", "serve"]
    with _process(command, environment(Path(home))) as process:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line.strip():
            raise NotInstalledError("original NWS", "pip install twisted")
        yield int(line)


def _originals() -> str:
    sys.path.insert(0, str(TESTS))
    try:
        from support.nws_originals import (
            NotFetchedError,
            fetch_originals,
        )

        try:
            return str(fetch_originals(server=True))
        except NotFetchedError as error:
            raise NotInstalledError("original NWS", str(error)) from error
    finally:
        sys.path.remove(str(TESTS))
        sys.path.append(str(TESTS))


@contextmanager
def _process(
    command: list[str], environment: dict[str, str] | None = None
) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the gateway has ended")
    return line


# One caller.


def _single(plan: Plan, ways: list[Way]) -> list[Check]:
    checks: list[Check] = []
    calls: list[tuple[str, Callable[..., Contestant]]] = [
        ("store", storing), ("fetch", fetching), ("find", finding),
    ]  # fmt: skip
    for name, make in calls:
        variable = "store" if name == "store" else "fetch"
        players = [
            make(way.kind, open_queue(way, variable), MESSAGE)
            for way in ways
            if not (name == "find" and way.kind == MANAGER)
        ]
        with _echo() as echo:
            checks += _against(plan, name, compare([*players, echo], plan))
    return checks


def _array(plan: Plan, ways: list[Way]) -> list[Check]:
    import numpy as np

    array = np.arange(1 << 17, dtype=np.float64)
    players: list[Contestant] = []
    for way in ways:
        queue = open_queue(way, "array")
        players.append(Contestant(way.kind, partial(_there_and_out, queue, array)))
    return _against(plan, "1 MiB array: store and fetch", compare(players, plan), redis=50)


def _there_and_out(queue: Queue, value: object) -> None:
    queue.store(value)
    queue.fetch()


def _against(plan: Plan, name: str, timed: list[Timing], *, redis: float = 3) -> list[Check]:
    """Return what is promised of one operation, and what the others need for it."""
    by = {each.name: each for each in timed}
    ours, over_tcp = by[INSIDE], by[TCP]
    checks: list[Check] = []

    def add(what: str, us: Timing, them: Timing, bound: Bound | None) -> None:
        checks.append(
            Check(
                QUESTION,
                f"{name}, {what}",
                them.ratio(us),
                "x faster",
                bound,
                duration(us.median_s),
                duration(them.median_s),
            )
        )

    for rival in (REDIS, MANAGER, ORIGINAL):
        if rival in by:
            bound = at_least(redis) if rival == REDIS else at_least(3)
            add(f"in-process, {rival}", ours, by[rival], bound)
    if ORIGINAL in by:
        add(f"over TCP, {ORIGINAL}", over_tcp, by[ORIGINAL], at_least(1.5))
        add(ORIGINAL_CLIENT, by[ORIGINAL_CLIENT], by[ORIGINAL], None)
    if ECHO in by:
        checks.append(
            Check(
                QUESTION,
                f"{name}, over TCP, {ECHO}",
                over_tcp.ratio(by[ECHO]),
                "x",
                at_most(2.5),
                duration(over_tcp.median_s),
                duration(by[ECHO].median_s),
            )
        )
    return checks


@contextmanager
def _echo() -> Generator[Contestant]:
    """Yield a round trip of a message over TCP, to a process that does nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = multiprocessing.get_context("spawn").Process(
            target=_answer_bytes, args=(listener.getsockname()[1],), daemon=True
        )
        child.start()
        ours, _ = listener.accept()
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    message = bytes(200)

    def round_trip() -> None:
        ours.sendall(message)
        ours.recv(len(message))

    round_trip()
    yield Contestant(ECHO, round_trip)
    ours.close()
    child.join()


def _answer_bytes(port: int) -> None:
    theirs = socket.create_connection(("127.0.0.1", port))
    theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while message := theirs.recv(4096):
        theirs.sendall(message)


# Two processes and more.


def _ping_pong(plan: Plan, ways: list[Way]) -> list[Check]:
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        players: list[Contestant] = []
        pings: list[Queue] = []
        for way in ways:
            ping, pong = open_queue(way, "ping"), open_queue(way, "pong")
            child = context.Process(target=_answer, args=(way,), daemon=True)
            child.start()
            stack.callback(child.join)
            ping.store("begin")
            pong.fetch()
            pings.append(ping)
            players.append(Contestant(way.kind, partial(_round_trip, ping, pong)))
        timed = compare(players, plan, calls_min=20)
        for ping in pings:
            ping.store("end")
    return _against(plan, "ping-pong", timed)


def _round_trip(ping: Queue, pong: Queue) -> None:
    ping.store(MESSAGE)
    pong.fetch()


def _answer(way: Way) -> None:
    ping, pong = open_queue(way, "ping"), open_queue(way, "pong")
    while (message := ping.fetch()) != "end":
        pong.store(message)


def _throughput(plan: Plan, ways: list[Way]) -> list[Check]:
    """Return how many values a second pass from producers to consumers."""
    checks: list[Check] = []
    for pairs in (1, 4):
        count = 40 if plan.quick else 4000 // pairs
        rates = {way.kind: _rate(plan, way, pairs, count) for way in ways}
        for way, other, bound in (
            (INSIDE, REDIS, at_least(3)),
            (INSIDE, MANAGER, at_least(3)),
            (INSIDE, ORIGINAL, at_least(3)),
            (TCP, ORIGINAL, at_least(1.5)),
        ):
            if other in rates:
                checks.append(
                    Check(
                        QUESTION,
                        f"{pairs} to {pairs}, {way}, {other}",
                        rates[way] / rates[other],
                        "x faster",
                        bound,
                        f"{rates[way]:,.0f}/s",
                        f"{rates[other]:,.0f}/s",
                    )
                )
    return checks


def _rate(plan: Plan, way: Way, pairs: int, count: int) -> float:
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    children: list[Any] = []
    for is_producer in (True, False) * pairs:
        ours, theirs = context.Pipe()
        child = context.Process(target=_work, args=(way, is_producer, theirs), daemon=True)
        child.start()
        theirs.close()
        pipes.append(ours)
        children.append(child)
    for pipe in pipes:
        pipe.recv()
    rates: list[float] = []
    for _ in range(1 if plan.quick else 3):
        begin = time.perf_counter()
        for pipe in pipes:
            pipe.send(count)
        for pipe in pipes:
            pipe.recv()
        rates.append(count * pairs / (time.perf_counter() - begin))
    for pipe in pipes:
        pipe.send(0)
    for child in children:
        child.join()
    return median(rates)


def _work(way: Way, is_producer: bool, orders: Connection) -> None:
    queue = open_queue(way, "throughput")
    orders.send(None)
    while count := orders.recv():
        for _ in range(count):
            if is_producer:
                queue.store(MESSAGE)
            else:
                queue.fetch()
        orders.send(None)


# Many that wait.


def _blocked(plan: Plan, depot: entrepot.Depot) -> list[Check]:
    """Return what it costs that very many wait on one gateway."""
    from entrepot.nws import _wire

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = QUICK_BLOCKED if plan.quick else min(BLOCKED, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets: list[socket.socket] = []
    try:
        with _gateway_process(depot) as (pid, port):
            before = _resident_bytes(pid)
            for _ in range(count):
                sock = socket.create_connection(("127.0.0.1", port))
                sockets.append(sock)
                sock.sendall(b"1112" + _wire.request([b"use ws", b"many", b"", b"no"]))
                _exactly(sock, 8)
                sock.sendall(_wire.request([b"fetch", b"many", b"v"]))
            space = depot.space("many")
            while not (found := space.variables()) or found[0].fetchers < count:
                time.sleep(0.01)
            each = max(0, _resident_bytes(pid) - before) / count  # a few cost less than chance
            begin = time.perf_counter()
            for number in range(count):
                space.store("v", number.to_bytes(4, "big"))
            stored_s = time.perf_counter() - begin
            in_order = all(
                _exactly(sock, 88)[84:] == number.to_bytes(4, "big")
                for number, sock in enumerate(sockets)
            )
            served_s = time.perf_counter() - begin
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return [
        Check(
            QUESTION,
            f"{count:,} blocked fetches, memory of each",
            each / 1024,
            "KiB",
            at_most(32),
            f"{each / 1024:.1f} KiB",
        ),
        Check(
            QUESTION,
            f"{count:,} blocked fetches served in order",
            float(in_order),
            "",
            at_least(1),
            f"stored {duration(stored_s / count)} each",
            f"served {duration(served_s / count)} each",
        ),
    ]


def _exactly(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = sock.recv(size - len(found))
        if not piece:
            raise ConnectionError("the gateway has closed a connection")
        found += piece
    return found


@contextmanager
def _gateway_process(depot: entrepot.Depot) -> Generator[tuple[int, int]]:
    command = [sys.executable, "-m", "entrepot", "serve", "--nws", "127.0.0.1:0", "--json"]
    with _process([*command, "--depot", depot.name]) as process:
        told = ""
        port = 0
        while not port:
            told += _line(process)
            try:
                port = int(json.loads(told)["nws"].rpartition(":")[2])
            except ValueError:
                continue
        yield process.pid, port


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
