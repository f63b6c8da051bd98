"""Floors: what nothing that is built like entrepot can undercut on this machine.

    Lw      a bare py-lmdb write transaction with one put of 100 bytes
    Lr      a bare py-lmdb read transaction with one get of 100 bytes
    copy    numpy copies one warm buffer into another
    echo    a byte string goes to another process over a UNIX socket, and back

Lw and Lr run on an environment that is opened as entrepot's volatile tier is: in shared
memory, writemap, no sync, every page reserved, LMDB 0.9, no spare transactions. py-lmdb by
itself would keep one spare read transaction (`max_spare_txns=1`), which makes Lr cheaper but
leaks reader slots over a fork; that figure is shown beside the other.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import lmdb

from benchmarks.harness import Contestant, Plan, compare
from benchmarks.report import Check, duration

__all__ = [
    "LmdbFloor",
    "copy_floor",
    "echo_floor",
    "lmdb_floor",
    "measure_floors",
    "open_environment",
    "shared_memory",
]

MAP_BYTES = 64 << 20
KEYS = 1000
VALUE = bytes(100)
MESSAGE = bytes(100)
COPY_BYTES = 256 << 20
QUICK_COPY_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class LmdbFloor:
    """The two units that costs are counted in."""

    write: Contestant
    """Lw."""
    read: Contestant
    """Lr."""


def shared_memory() -> str | None:
    """Return the directory in memory, or None where there is none: the temporary one is used."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def lmdb_floor(*, spare_transactions: int = 0) -> Generator[LmdbFloor]:
    """Yield Lw and Lr on an environment of their own, removed at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="entrepot-floor-", dir=shared_memory()) as directory,
        open_environment(directory, spare_transactions) as environment,
    ):
        keys = [b"object/%08d" % number for number in range(KEYS)]
        with environment.begin(write=True) as tx:
            for key in keys:
                tx.put(key, VALUE)
        begin, next_key = environment.begin, partial(next, cycle(keys))

        def write() -> None:
            with begin(write=True) as tx:
                tx.put(next_key(), VALUE)

        def read() -> None:
            with begin() as tx:
                tx.get(next_key())

        yield LmdbFloor(Contestant("Lw", write), Contestant("Lr", read))


@contextmanager
def open_environment(directory: str, spare_transactions: int = 0) -> Generator[lmdb.Environment]:
    """Open an environment with the settings of the volatile tier."""
    environment = lmdb.open(
        directory,
        map_size=MAP_BYTES,
        writemap=True,
        sync=False,
        metasync=False,
        max_readers=4096,
        max_spare_txns=spare_transactions,
        lib_version=0,
    )
    try:
        data = os.open(Path(directory) / "data.mdb", os.O_RDWR)
        try:
            os.posix_fallocate(data, 0, MAP_BYTES)
        finally:
            os.close(data)
        yield environment
    finally:
        environment.close()


def copy_floor(size: int) -> Contestant:
    """Return a copy of `size` bytes between two numpy buffers that were both touched before."""
    import numpy as np

    source = np.ones(size, dtype=np.uint8)
    target = np.ones(size, dtype=np.uint8)
    return Contestant("numpy copy", partial(np.copyto, target, source))


@contextmanager
def echo_floor() -> Generator[Contestant]:
    """Yield a round trip to a child process over a UNIX socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs,), daemon=True)
    child.start()
    theirs.close()
    try:

        def round_trip() -> None:
            ours.sendall(MESSAGE)
            ours.recv(len(MESSAGE))

        round_trip()
        yield Contestant("socket echo", round_trip)
    finally:
        ours.close()
        child.join()


def _echo(connection: socket.socket) -> None:
    """Send back what comes in, until the other end closes."""
    while message := connection.recv(len(MESSAGE)):
        connection.sendall(message)


def measure_floors(plan: Plan) -> list[Check]:
    """Return the floors themselves; they have no bounds."""
    copied_bytes = QUICK_COPY_BYTES if plan.quick else COPY_BYTES
    with lmdb_floor() as floor, lmdb_floor(spare_transactions=1) as spare, echo_floor() as echo:
        write, read, read_spare, round_trip = compare(
            [floor.write, floor.read, spare.read, echo], plan
        )
    (copy,) = compare([copy_floor(copied_bytes)], plan)
    return [
        Check("floors", "Lw: LMDB write transaction, one put", write.median_s * 1e6, "µs"),
        Check("floors", "Lr: LMDB read transaction, one get", read.median_s * 1e6, "µs"),
        Check("floors", "Lr with max_spare_txns=1", read_spare.median_s * 1e6, "µs"),
        Check("floors", "UNIX socket echo, Python", round_trip.median_s * 1e6, "µs"),
        Check(
            "floors",
            f"numpy copy of {copied_bytes >> 20} MiB, warm",
            copied_bytes / copy.median_s / (1 << 30),
            "GiB/s",
            ours=duration(copy.median_s),
        ),
    ]
