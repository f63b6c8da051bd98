"""`entrepot bench`: what the basic operations cost on this machine, in a few seconds.

Each operation runs alone in one process, timed one by one; the round trip is with a second
process. A server-less design is compared with others in the project's `benchmarks/`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated

import numpy as np
import typer

import entrepot
from entrepot import Depot
from entrepot.cli.bench_peer import PING, PONG
from entrepot.cli.options import DirectoryOption, FreshDepotOption, JsonOption, open_existing
from entrepot.cli.present import console, count, duration, emit, row, size, table
from entrepot.errors import UnavailableError, WaitTimeoutError

__all__ = ["command"]

WARM_UP = 50
BATCH = 1000
"""Objects and values that are there at once; then they are deleted, untimed."""
LARGE_BYTES = 1 << 20
PEER_START_S_MAX = 30.0
SPACE_VALUE = b"x" * 100


@dataclass(frozen=True, slots=True)
class Measured:
    """The times of one operation."""

    operation: str
    runs: int
    median_s: float
    slow_s: float
    """The time that one run of a hundred exceeds."""
    bytes: int = 0
    """Bytes that one run moves, where that matters."""

    @property
    def rate(self) -> float:
        """Operations a second."""
        return 1 / self.median_s


def command(
    seconds: Annotated[
        float,
        typer.Option("--seconds", "-t", min=0.01, max=60, metavar="S", help="Time per operation."),
    ] = 0.2,
    depot: FreshDepotOption = None,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure this machine in a few seconds.

    Measures in a fresh depot that vanishes; with --depot in that depot, where it removes
    what it put.
    """
    out = console()
    measured: list[Measured] = []
    with _where(depot, directory) as opened, out.status("measuring", spinner="dots") as status:
        for found in _all(opened, seconds):
            measured.append(found)
            status.update(f"measured {found.operation}")
    if as_json:
        emit([{**_fields(found), "per_second": found.rate} for found in measured])
        return
    made = table(
        "One process, one operation", "Operation", ">Median", ">99 of 100", ">Per second", ">"
    )
    for found in measured:
        moved = f"{size(found.bytes * found.rate)}/s" if found.bytes else ""
        row(
            made,
            found.operation,
            duration(found.median_s),
            f"< {duration(found.slow_s)}",
            count(found.rate),
            moved,
        )
    out.print(made)


def _all(depot: Depot, seconds: float) -> Iterator[Measured]:
    """Measure every operation in turn."""
    small = np.arange(8.0)
    large = np.zeros(LARGE_BYTES, np.uint8)
    yield from _objects(depot, seconds, "an int", 42, 0)
    yield from _objects(depot, seconds, "a 64-byte array", small, 0)
    yield from _objects(depot, seconds, "a 1 MiB array", large, LARGE_BYTES)
    yield from _space(depot, seconds)
    yield _round_trip(depot, seconds)


def _objects(
    depot: Depot, seconds: float, what: str, value: object, nbytes: int
) -> Iterator[Measured]:
    """Measure put, get and exists with one value."""
    objects = depot.objects
    batch = BATCH if not nbytes else 16
    ids: list[entrepot.ObjectId] = []

    def put() -> None:
        ids.append(objects.put(value))

    def clear() -> None:
        objects.delete(ids)
        ids.clear()

    yield _measure(f"put {what}", put, seconds, batch=batch, between=clear, nbytes=nbytes)
    key = objects.put(value)
    yield _measure(f"get {what}", lambda: objects.get(key), seconds)
    if not nbytes and isinstance(value, int):
        yield _measure("exists", lambda: objects.exists(key), seconds)
    objects.delete(key)


def _space(depot: Depot, seconds: float) -> Iterator[Measured]:
    """Measure store, find and fetch with a value of 100 bytes."""
    space = depot.space(f"bench-{os.getpid()}", owned=True)

    def fill() -> None:
        for _ in range(BATCH):
            space.store("value", SPACE_VALUE)

    def store() -> None:
        space.store("value", SPACE_VALUE)

    def empty() -> None:
        space.delete("value")

    yield _measure("store 100 bytes", store, seconds, batch=BATCH, between=empty)
    fill()
    yield _measure("find 100 bytes", lambda: space.find("value"), seconds)
    empty()
    fill()
    yield _measure(
        "fetch 100 bytes", lambda: space.fetch("value"), seconds, batch=BATCH, between=fill
    )
    depot.delete_space(space.name)


def _round_trip(depot: Depot, seconds: float) -> Measured:
    """Measure a value that a second process fetches, and its answer.

    Raises:
        UnavailableError: The second process does not answer.
    """
    space = depot.space(f"bench-peer-{os.getpid()}", owned=True)
    arguments = [str(depot.path.parent), str(depot.data_path.parent), depot.name, space.name]
    peer = subprocess.Popen(  # noqa: S603 our own interpreter and module
        [sys.executable, "-m", "entrepot.cli.bench_peer", *arguments]
    )
    try:
        space.fetch(PONG, timeout=PEER_START_S_MAX)

        def ping() -> None:
            space.store(PING, SPACE_VALUE)
            space.fetch(PONG, timeout=PEER_START_S_MAX)

        return _measure("round trip to a process", ping, seconds)
    except WaitTimeoutError as error:
        raise UnavailableError("the second process does not answer") from error
    finally:
        peer.kill()
        peer.wait()
        depot.delete_space(space.name)


def _measure(
    operation: str,
    run: Callable[[], object],
    seconds: float,
    *,
    batch: int = 0,
    between: Callable[[], None] | None = None,
    nbytes: int = 0,
) -> Measured:
    """Time single runs for `seconds`; after each `batch` call `between`, untimed."""
    for _ in range(min(WARM_UP, batch or WARM_UP)):
        run()
    if between is not None:
        between()
    times: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds
    while (began := clock()) < end or len(times) < 2:
        run()
        times.append(clock() - began)
        if between is not None and len(times) % batch == 0:
            between()
    if between is not None:
        between()
    slow = quantiles(times, n=100)[-1]
    return Measured(operation, len(times), median(times), slow, nbytes)


@contextmanager
def _where(name: str | None, directory: Path | None) -> Generator[Depot]:
    """Yield the depot that the user names, or else a fresh one."""
    if name is None and directory is None:
        with entrepot.temporary() as depot:
            yield depot
    else:
        with open_existing(name, directory) as depot:
            yield depot


def _fields(found: Measured) -> dict[str, object]:
    return {
        "operation": found.operation,
        "runs": found.runs,
        "median_s": found.median_s,
        "slow_s": found.slow_s,
        "bytes": found.bytes,
    }
