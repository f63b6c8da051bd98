"""How often and how long: of the operations of a store, by key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from entrepot.proxystore.proxy import Proxy, get_factory

__all__ = ["Metrics", "StoreMetrics", "TimeStats", "Watch"]


@dataclass
class TimeStats:
    """Times of one operation."""

    count: int = 0
    avg_time_ms: float = 0
    min_time_ms: float = float("inf")
    max_time_ms: float = 0
    last_time_ms: float = 0
    last_timestamp: float = 0
    """Seconds since the epoch."""

    def add_time(self, time_ms: float) -> None:
        """Count one more."""
        self.avg_time_ms = (self.avg_time_ms * self.count + time_ms) / (self.count + 1)
        self.count += 1
        self.min_time_ms = min(self.min_time_ms, time_ms)
        self.max_time_ms = max(self.max_time_ms, time_ms)
        self.last_time_ms = time_ms
        self.last_timestamp = time.time()

    def add(self, other: TimeStats) -> None:
        """Count what another counted."""
        count = self.count + other.count
        if not count:
            return
        total = self.avg_time_ms * self.count + other.avg_time_ms * other.count
        self.avg_time_ms, self.count = total / count, count
        self.min_time_ms = min(self.min_time_ms, other.min_time_ms)
        self.max_time_ms = max(self.max_time_ms, other.max_time_ms)
        if other.last_timestamp >= self.last_timestamp:
            self.last_time_ms = other.last_time_ms
            self.last_timestamp = other.last_timestamp

    def as_dict(self) -> dict[str, Any]:
        """Return this as a dict."""
        return asdict(self)


@dataclass
class Metrics:
    """What was counted of one object."""

    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    counters: dict[str, int] = field(default_factory=dict[str, int])
    times: dict[str, TimeStats] = field(default_factory=dict[str, TimeStats])

    def as_dict(self) -> dict[str, Any]:
        """Return this as dicts."""
        return asdict(self)


class StoreMetrics:
    """What was counted of the objects of a store."""

    def __init__(self) -> None:
        self.forget_threads()
        self._metrics: dict[Hashable, Metrics] = {}

    def forget_threads(self) -> None:
        """Forget who is at work here: in a forked child, where there is nobody else."""
        # Reentrant: an owner that the garbage collector drops meanwhile evicts its object.
        self._lock = threading.RLock()

    def add_attribute(self, name: str, key: Any, value: Any) -> None:
        """Note something of an object."""
        with self._lock:
            self._of(key).attributes[name] = value

    def add_counter(self, name: str, key: Any, value: int) -> None:
        """Count something of an object."""
        with self._lock:
            counters = self._of(key).counters
            counters[name] = counters.get(name, 0) + value

    def add_time(self, name: str, key: Any, time_ms: float) -> None:
        """Count an operation, and how long it took."""
        with self._lock:
            self._of(key).times.setdefault(name, TimeStats()).add_time(time_ms)

    def aggregate_times(self) -> dict[str, TimeStats]:
        """Return the times of all objects together."""
        total: dict[str, TimeStats] = {}
        with self._lock:
            for metrics in self._metrics.values():
                for name, times in metrics.times.items():
                    total.setdefault(name, TimeStats()).add(times)
        return total

    def get_metrics(self, key_or_proxy: Any) -> Metrics | None:
        """Return what was counted of an object: by its key, those of a batch, or its proxy."""
        return self._metrics.get(_identity(key_or_proxy))

    def _of(self, key: Any) -> Metrics:
        return self._metrics.setdefault(_identity(key), Metrics())


class Watch:
    """Times the steps of one operation; says it all at once, when the key is known."""

    def __init__(self, metrics: StoreMetrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._begin = self._last = time.perf_counter()
        self._said: list[Callable[[Any], None]] = []

    def lap(self, step: str) -> None:
        """End a step: what was done since the last one ended."""
        now = time.perf_counter()
        self._time(f"{self._name}.{step}", now - self._last)
        self._last = now

    def skip(self) -> None:
        """Do not count what was done since the last step ended."""
        self._last = time.perf_counter()

    def count(self, what: str) -> None:
        """Count something."""
        name = f"{self._name}.{what}"
        self._said.append(lambda key: self._metrics.add_counter(name, key, 1))

    def note(self, what: str, value: Any) -> None:
        """Note something."""
        name = f"{self._name}.{what}"
        self._said.append(lambda key: self._metrics.add_attribute(name, key, value))

    def done(self, key: Any) -> None:
        """End the operation: it was about this key."""
        self._time(self._name, time.perf_counter() - self._begin)
        for say in self._said:
            say(key)

    def _time(self, name: str, took_s: float) -> None:
        self._said.append(lambda key: self._metrics.add_time(name, key, took_s * 1000))


def _identity(key_or_proxy: Any) -> Hashable:
    if isinstance(key_or_proxy, Proxy):
        factory: Any = get_factory(cast("Proxy[Any]", key_or_proxy))
        return factory.key
    # The keys of a batch are a list; one key is a tuple.
    return tuple(cast("list[Any]", key_or_proxy)) if type(key_or_proxy) is list else key_or_proxy
