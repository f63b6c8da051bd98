"""Figures of a gateway, for Prometheus.

A request costs a few additions. Where several workers serve one port, each writes its
figures to a file once a second, in a directory that all of them know; whoever is asked adds
them up. The figures of a worker that died stay counted.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import msgspec

import entrepot

__all__ = ["DIRECTORY_VARIABLE", "Figures", "Meter", "new_meter"]

DIRECTORY_VARIABLE: Final = "ENTREPOT_FIGURES"
"""Names that directory."""
_BUCKETS_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_BOUNDS: Final = (*(str(bound) for bound in _BUCKETS_S), "+Inf")
_DEPOT: Final = {
    "durable_bytes": "Bytes on disk of the durable tier.",
    "memory_used": "Bytes of memory that the depot has taken from the system.",
    "memory_max": "The bound of the depot's memory, in bytes.",
    "objects": "Objects in memory.",
    "spaces": "Workspaces.",
    "sessions": "Processes that use the depot.",
}


class Latency(msgspec.Struct):
    """How long the requests of one operation took."""

    sum_s: float = 0.0
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * len(_BOUNDS))
    """By bucket, the last one without bound."""


class Figures(msgspec.Struct):
    """What one gateway has counted."""

    requests: dict[str, dict[int, int]] = {}
    """By operation and status."""
    latencies: dict[str, Latency] = {}
    bytes_in: int = 0
    bytes_out: int = 0
    commits: int = 0
    writes: int = 0
    connections: int = 0
    in_flight: int = 0

    def add(self, other: Figures) -> None:
        """Add those of another one."""
        for operation, statuses in other.requests.items():
            mine = self.requests.setdefault(operation, {})
            for status, count in statuses.items():
                mine[status] = mine.get(status, 0) + count
        for operation, latency in other.latencies.items():
            total = self.latencies.setdefault(operation, Latency())
            total.sum_s += latency.sum_s
            total.counts = [a + b for a, b in zip(total.counts, latency.counts, strict=True)]
        for name in self.__struct_fields__[2:]:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_decode = msgspec.msgpack.Decoder(Figures).decode
_encode = msgspec.msgpack.Encoder().encode


class Meter:
    """Counts, and tells what was counted."""

    def __init__(self) -> None:
        self._figures = Figures()
        directory = os.environ.get(DIRECTORY_VARIABLE)
        self._file = None if directory is None else Path(directory) / f"{os.getpid()}"

    def count(
        self, operation: str, status: int, seconds: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Count a request that was answered."""
        figures = self._figures
        statuses = figures.requests.get(operation)
        if statuses is None:
            statuses = figures.requests[operation] = {}
            figures.latencies[operation] = Latency()
        statuses[status] = statuses.get(status, 0) + 1
        latency = figures.latencies[operation]
        latency.sum_s += seconds
        latency.counts[bisect_left(_BUCKETS_S, seconds)] += 1
        figures.bytes_in += bytes_in
        figures.bytes_out += bytes_out

    def set(self, connections: int, in_flight: int, commits: int, writes: int) -> None:
        """Say how things are; where there are other workers, tell them."""
        figures = self._figures
        figures.connections, figures.in_flight = connections, in_flight
        figures.commits, figures.writes = commits, writes
        if self._file is not None:
            fresh = self._file.with_suffix(".new")
            fresh.write_bytes(_encode(figures))
            fresh.replace(self._file)

    def total(self) -> Figures:
        """Return what this gateway and the other workers have counted."""
        if self._file is None:
            return self._figures
        total = Figures({}, {})
        for path in self._file.parent.iterdir():
            if path.suffix == "":
                found = _decode(path.read_bytes())
                if not _is_alive(int(path.name)):
                    found.connections = found.in_flight = 0
                total.add(found)
        return total

    def text(self, depot: entrepot.Depot) -> tuple[bytes, bytes]:
        """Return all figures, those of the depot included, and of which type that text is.

        Raises:
            ModuleNotFoundError: prometheus-client is not installed.
        """
        import prometheus_client

        registry: Any = prometheus_client.CollectorRegistry()
        registry.register(_Collector([*_of_gateway(self.total()), *_of_depot(depot)]))
        text: bytes = prometheus_client.generate_latest(registry)
        return text, prometheus_client.CONTENT_TYPE_LATEST.encode()


def new_meter() -> Meter | None:
    """Return a meter; None if prometheus-client is not installed."""
    return None if find_spec("prometheus_client") is None else Meter()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


class _Collector:
    """Families of figures, as a registry asks for them."""

    def __init__(self, families: Iterable[Any]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Any]:
        """Yield them."""
        return iter(self._families)


def _of_gateway(figures: Figures) -> Iterator[Any]:
    from prometheus_client import core

    def counter(name: str, text: str, value: float) -> Any:
        return core.CounterMetricFamily(f"entrepot_http_{name}", text, value=value)

    requests: Any = core.CounterMetricFamily(
        "entrepot_http_requests", "Requests answered.", labels=("operation", "status")
    )
    for operation, statuses in figures.requests.items():
        for status, count in statuses.items():
            requests.add_metric((operation, str(status)), count)
    yield requests
    seconds: Any = core.HistogramMetricFamily(
        "entrepot_http_request_seconds",
        "From the first byte of a request to its reply.",
        labels=("operation",),
    )
    for operation, latency in figures.latencies.items():
        sums = list(zip(_BOUNDS, accumulate(latency.counts), strict=True))
        seconds.add_metric((operation,), buckets=sums, sum_value=latency.sum_s)
    yield seconds
    size: Any = core.CounterMetricFamily(
        "entrepot_http_bytes", "Bytes of bodies.", labels=("direction",)
    )
    size.add_metric(("in",), figures.bytes_in)
    size.add_metric(("out",), figures.bytes_out)
    yield size
    yield counter("commits", "Commits that gathered writes.", figures.commits)
    yield counter("writes", "Writes that were gathered.", figures.writes)
    for name, text, value in (
        ("connections", "Open connections.", figures.connections),
        ("in_flight", "Connections on which a reply is due.", figures.in_flight),
    ):
        yield core.GaugeMetricFamily(f"entrepot_http_{name}", text, value=value)


def _of_depot(depot: entrepot.Depot) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    found = depot.statistics()
    for name, text in _DEPOT.items():
        yield GaugeMetricFamily(f"entrepot_depot_{name}", text, value=getattr(found, name))
