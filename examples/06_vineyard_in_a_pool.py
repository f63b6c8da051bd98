"""A program of vineyard's users with its import changed, and a pool of processes.

An array is put once; the workers get ids, and look at the same memory. Run me:

    python examples/06_vineyard_in_a_pool.py
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd

import entrepot.vineyard as vineyard


def total(id: vineyard.ObjectID, column: str) -> tuple[float, bool]:
    """Run in a worker: sum a column, where it lies."""
    client = vineyard.connect()
    values = client.get(id)[column].to_numpy()
    return float(values.sum()), client.is_shared_memory(values)


def main() -> None:
    """Put a frame, let workers compute on it, and delete it."""
    frame = pd.DataFrame({name: np.arange(1_000_000.0) for name in "abcd"})
    with vineyard.connect() as client:
        id = client.put(frame)
        print(client.get_meta(id).typename, "of", client.get_meta(id).memory_usage >> 20, "MiB")
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(total, [id] * 4, "abcd"))
        print("totals are right:", all(found_sum == frame["a"].sum() for found_sum, _ in found))
        print("workers looked at shared memory:", all(is_shared for _, is_shared in found))
        client.delete(id)


if __name__ == "__main__":
    main()
