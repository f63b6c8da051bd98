"""Several processes that look at one array: how much memory do they need beside it?"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["READERS", "private_bytes"]

READERS = 4


def private_bytes(connect: Callable[..., Any], *arguments: object) -> int:
    """Return how much private memory readers need together, in bytes.

    Args:
        connect: A function of a module, called in each reader; returns a client, and the id of
            an array of ones.
        arguments: What it is called with.
    """
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    processes: list[Any] = []
    for _ in range(READERS):
        here, there = context.Pipe()
        process = context.Process(target=_read, args=(there, connect, *arguments))
        process.start()
        pipes.append(here)
        processes.append(process)
    private_kib = [pipe.recv() for pipe in pipes]
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()
    return sum(private_kib) * 1024


def _read(pipe: Connection, connect: Callable[..., Any], *arguments: object) -> None:
    """Look at every page of an array; tell how much private memory that took, in KiB."""
    client, number = connect(*arguments)
    before = _private_kib()
    array = client.get(number)
    assert int(array[::4096].sum()) == len(array[::4096])
    pipe.send(max(0, _private_kib() - before))  # pages given back meanwhile are no gain of ours
    pipe.recv()
    del array
    client.close()


def _private_kib() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
