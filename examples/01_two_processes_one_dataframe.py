"""Two processes, one table: one puts it, the other computes on it where it lies.

Ten million rows, 160 MB: with pandas a DataFrame, else a dict of numpy arrays. Run me:

    python examples/01_two_processes_one_dataframe.py
"""

from __future__ import annotations

import multiprocessing
import time

import numpy as np

import entrepot

try:
    import pandas as pd
except ImportError:
    pd = None

ROWS = 10_000_000


def read(depot_name: str) -> None:
    """Run in another process, which knows nothing but the depot's name."""
    with entrepot.open(depot_name) as depot:
        began = time.perf_counter()
        table = depot.objects.get(depot.objects.get_name("trips"))
        got = time.perf_counter()
        km = np.asarray(table["km"])
        print(f"reader: got it in {(got - began) * 1e3:.2f} ms")
        print(f"reader: owns a copy: {km.flags.owndata}; may write to it: {km.flags.writeable}")
        print(f"reader: mean trip {km.mean():.3f} km, {(time.perf_counter() - got) * 1e3:.0f} ms")


def main() -> None:
    """Make a table, put it, and let another process read it."""
    random = np.random.default_rng(seed=1)
    table = {"km": random.exponential(5.0, ROWS), "minutes": random.exponential(12.0, ROWS)}
    if pd is not None:
        table = pd.DataFrame(table)
    with entrepot.temporary() as depot:
        began = time.perf_counter()
        depot.objects.put(table, name="trips")
        print(f"writer: put a {type(table).__name__} of {ROWS:,} rows", end=" ")
        print(f"in {(time.perf_counter() - began) * 1e3:.0f} ms; mean {table['km'].mean():.3f} km")
        reader = multiprocessing.get_context("spawn").Process(target=read, args=(depot.name,))
        reader.start()
        reader.join()
        print(f"shared memory in use: {depot.statistics().arena.used / 1e6:.0f} MB, one copy")


if __name__ == "__main__":
    main()
