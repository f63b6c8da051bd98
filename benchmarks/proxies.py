"""What does a connector of ProxyStore cost: a depot beside files in memory and Redis?

`DepotConnector` beside the original `FileConnector` on /dev/shm and the original
`RedisConnector`, or, where proxystore is not installed, what it does by redis-py.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import entrepot
from benchmarks.harness import Contestant, Plan, Timing, compare
from benchmarks.peers import NotInstalledError, redis_on_port
from benchmarks.report import Bound, Check, at_least, duration

__all__ = ["measure_proxies"]

QUESTION = "proxies"
OURS, OUR_FILES, FILES, REDIS = "depot", "our files", "files", "Redis"
PROXYSTORE_INSTALL = "pip install proxystore==1.1.0"
SIZES = {"1 KB": 1_000, "1 MB": 1_000_000, "100 MB": 100_000_000}
QUICK_SIZES = {"1 KB": 1_000, "1 MB": 100_000, "100 MB": 1_000_000}
BOUNDS: dict[tuple[str, str], Bound] = {
    **{("1 KB", operation): at_least(4) for operation in ("put", "get", "exists", "evict")},
    ("100 MB", "get"): at_least(20),
    ("100 MB", "get and read"): at_least(20),
}
"""How many times faster than Redis."""
ROUNDS_LARGE = 7
LARGE = 10_000_000
PAGE_BYTES = 4096


def measure_proxies(plan: Plan) -> list[Check]:
    """Return our connectors against the original's, call by call and size by size."""
    with ExitStack() as stack:
        connectors = _connectors(stack, plan)
        checks: list[Check] = []
        for named, size in (QUICK_SIZES if plan.quick else SIZES).items():
            body = os.urandom(size)
            for operation, make in _OPERATIONS.items():
                contestants = [make(name, each, body) for name, each in connectors.items()]
                checks += _checks(plan, operation, named, size, contestants)
        return checks


def _checks(
    plan: Plan, operation: str, named: str, size: int, contestants: list[Contestant]
) -> list[Check]:
    rounds_max = ROUNDS_LARGE if size > LARGE else 400
    if operation == "evict" and size > LARGE:
        timings = _one_by_one(contestants)
    else:
        timings = compare(contestants, plan, rounds_min=5, rounds_max=rounds_max)
    ours = timings[0]
    checks: list[Check] = []
    for theirs in timings[1:]:
        bound = BOUNDS.get((named, operation)) if theirs.name == REDIS else None
        figure = theirs.ratio(ours)
        missed = bound is not None and not bound.holds(figure)
        checks.append(
            Check(
                QUESTION,
                f"{operation} {named}: {OURS} beside {theirs.name}",
                figure,
                "x faster",
                bound,
                duration(ours.median_s),
                duration(theirs.median_s),
                plan.explain(contestants[0], missed=missed),
            )
        )
    return checks


def _one_by_one(contestants: list[Contestant]) -> list[Timing]:
    """Time one call a round: a turn of evictions would need its objects in memory at once."""
    rounds: list[list[float]] = [[] for _ in contestants]
    for _ in range(ROUNDS_LARGE):
        for contestant, figures in zip(contestants, rounds, strict=True):
            assert contestant.before is not None
            contestant.before(1)
            began = perf_counter()
            contestant.call()
            figures.append(perf_counter() - began)
    return [
        Timing(contestant.name, tuple(figures))
        for contestant, figures in zip(contestants, rounds, strict=True)
    ]


def _connectors(stack: ExitStack, plan: Plan) -> dict[str, Any]:
    """Open the connectors, ours first."""
    from entrepot.proxystore.connectors.depot import DepotConnector
    from entrepot.proxystore.connectors.file import FileConnector

    depot = stack.enter_context(entrepot.temporary(memory="128M" if plan.quick else "1G"))
    memory = Path("/dev/shm")
    home = Path(
        stack.enter_context(tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None))
    )
    found: dict[str, Any] = {
        OURS: stack.enter_context(DepotConnector(depot.name, directory=depot.path.parent)),
        OUR_FILES: stack.enter_context(FileConnector(str(home / "ours"))),
    }
    try:
        original: Any = import_module("proxystore.connectors.file").FileConnector
        found[FILES] = stack.enter_context(original(str(home / "theirs")))
    except ImportError:
        plan.note(str(NotInstalledError("ProxyStore", PROXYSTORE_INSTALL)))
    try:
        port = stack.enter_context(redis_on_port(_free_port()))
        found[REDIS] = stack.enter_context(_redis(port))
    except NotInstalledError as missing:
        plan.note(str(missing))
    return found


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextmanager
def _redis(port: int) -> Generator[Any]:
    try:
        kind: Any = import_module("proxystore.connectors.redis").RedisConnector
    except ImportError:
        kind = _RedisConnector
    connector = kind("127.0.0.1", port)
    yield connector
    connector.close()


class _RedisConnector:
    """The calls of a connector, by redis-py."""

    def __init__(self, host: str, port: int) -> None:
        redis: Any = import_module("redis")
        self._client: Any = redis.StrictRedis(host=host, port=port)
        self._numbers = count()

    def put(self, body: bytes) -> str:
        key = f"benchmark-{next(self._numbers)}"
        self._client.set(key, body)
        return key

    def get(self, key: str) -> bytes | None:
        return self._client.get(key)

    def exists(self, key: str) -> bool:
        return bool(self._client.exists(key))

    def evict(self, key: str) -> None:
        self._client.delete(key)

    def close(self) -> None:
        self._client.close()


def _putting(name: str, connector: Any, body: bytes) -> Contestant:
    """Put; what was put is evicted behind each turn."""
    keys: list[Any] = []

    def after() -> None:
        while keys:
            connector.evict(keys.pop())

    return Contestant(name, lambda: keys.append(connector.put(body)), after=after)


def _evicting(name: str, connector: Any, body: bytes) -> Contestant:
    """Evict what was put ahead of the turn."""
    keys: deque[Any] = deque()

    def before(calls: int) -> None:
        keys.extend(connector.put(body) for _ in range(calls - len(keys)))

    def after() -> None:
        while keys:
            connector.evict(keys.pop())

    return Contestant(name, lambda: connector.evict(keys.popleft()), before, after)


def _asking(operation: str, name: str, connector: Any, body: bytes) -> Contestant:
    """Get an object, or ask for it; it is put ahead of each turn, and evicted behind it."""
    key: list[Any] = []

    def before(calls: int) -> None:
        del calls
        key.append(connector.put(body))

    call = getattr(connector, operation)
    return Contestant(name, lambda: call(key[0]), before, lambda: connector.evict(key.pop()))


def _reading(name: str, connector: Any, body: bytes) -> Contestant:
    """Get an object, and look at a byte of each page of it."""
    asked = _asking("get", name, connector, body)

    def call() -> int:
        return int(np.frombuffer(asked.call(), np.uint8)[::PAGE_BYTES].sum())

    return Contestant(name, call, asked.before, asked.after)


_OPERATIONS: dict[str, Callable[[str, Any, bytes], Contestant]] = {
    "put": _putting,
    "get": partial(_asking, "get"),
    "get and read": _reading,
    "exists": partial(_asking, "exists"),
    "evict": _evicting,
}
