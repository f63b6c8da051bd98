"""Figures of a gateway, for Prometheus.

Where several workers serve one port, each writes its figures to files in the directory
that PROMETHEUS_MULTIPROC_DIR names, and whoever is asked adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any, Final

import entrepot

__all__ = ["DIRECTORY_VARIABLE", "Meter", "new_meter"]

DIRECTORY_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_DEPOT: Final = {
    "durable_bytes": "Bytes on disk of the durable tier.",
    "memory_used": "Bytes of memory that the depot has taken from the system.",
    "memory_max": "The bound of the depot's memory, in bytes.",
    "objects": "Objects in memory.",
    "spaces": "Workspaces.",
    "sessions": "Processes that use the depot.",
}


def new_meter() -> Meter | None:
    """Return a meter; None if prometheus-client is not installed."""
    return None if find_spec("prometheus_client") is None else Meter()


class Meter:
    """What one gateway counts."""

    def __init__(self) -> None:
        import prometheus_client as prometheus

        self._prometheus: Any = prometheus
        self.kind = prometheus.CONTENT_TYPE_LATEST.encode()
        self._own: Any = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "entrepot_http_requests",
            "Requests answered.",
            ("operation", "status"),
            registry=self._own,
        )
        self._seconds = prometheus.Histogram(
            "entrepot_http_request_seconds",
            "From the first byte of a request to its reply.",
            ("operation",),
            buckets=_BUCKETS_S,
            registry=self._own,
        )
        bytes_ = prometheus.Counter(
            "entrepot_http_bytes", "Bytes of bodies.", ("direction",), registry=self._own
        )
        self._received = bytes_.labels("in").inc
        self._sent = bytes_.labels("out").inc
        self._commits = self._counter("commits", "Commits that gathered writes.")
        self._writes = self._counter("writes", "Writes that were gathered.")
        self._connections = self._gauge("connections", "Open connections.")
        self._in_flight = self._gauge("in_flight", "Connections on which a reply is due.")
        self._counted = (0, 0)
        self._children: dict[tuple[str, int], tuple[Callable[[], None], Any]] = {}

    def _counter(self, name: str, text: str) -> Any:
        return self._prometheus.Counter(f"entrepot_http_{name}", text, registry=self._own)

    def _gauge(self, name: str, text: str) -> Any:
        return self._prometheus.Gauge(
            f"entrepot_http_{name}", text, multiprocess_mode="livesum", registry=self._own
        )

    def count(
        self, operation: str, status: int, seconds: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Count a request that was answered."""
        found = self._children.get((operation, status))
        if found is None:
            inc = self._requests.labels(operation, str(status)).inc
            found = self._children[operation, status] = (
                inc,
                self._seconds.labels(operation).observe,
            )
        inc, observe = found
        inc()
        observe(seconds)
        if bytes_in:
            self._received(bytes_in)
        if bytes_out:
            self._sent(bytes_out)

    def set(self, connections: int, in_flight: int, commits: int, writes: int) -> None:
        """Say how things are."""
        self._connections.set(connections)
        self._in_flight.set(in_flight)
        self._commits.inc(commits - self._counted[0])
        self._writes.inc(writes - self._counted[1])
        self._counted = (commits, writes)

    def text(self, depot: entrepot.Depot) -> bytes:
        """Return all figures, those of other workers and of the depot included."""
        registry = self._own
        if DIRECTORY_VARIABLE in os.environ:
            from prometheus_client import multiprocess

            registry = self._prometheus.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        figures: Any = self._prometheus.CollectorRegistry()
        figures.register(_Depot(depot))
        latest: Callable[[Any], bytes] = self._prometheus.generate_latest
        return latest(registry) + latest(figures)


class _Depot:
    """The figures of a depot, as Prometheus collects them."""

    def __init__(self, depot: entrepot.Depot) -> None:
        self._depot = depot

    def collect(self) -> Iterator[Any]:
        """Yield them."""
        from prometheus_client.core import GaugeMetricFamily

        found = self._depot.statistics()
        for name, text in _DEPOT.items():
            yield GaugeMetricFamily(f"entrepot_depot_{name}", text, value=getattr(found, name))
