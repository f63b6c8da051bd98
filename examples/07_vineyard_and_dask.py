"""Dask tasks that pass ids instead of data: what they share lies in one memory.

Needs dask (pip install 'dask[distributed]'); without it, says so. Run me:

    python examples/07_vineyard_and_dask.py
"""

from __future__ import annotations

import numpy as np

import entrepot.vineyard as vineyard

try:
    import dask
except ImportError:
    dask = None


def make(number: int) -> vineyard.ObjectID:
    """Make a part of the data; return its id."""
    return vineyard.connect().put(np.full(1_000_000, number, np.float64))


def add(*ids: vineyard.ObjectID) -> float:
    """Add parts up, where they lie; then delete them."""
    client = vineyard.connect()
    total = sum(float(client.get(id).sum()) for id in ids)
    client.delete(list(ids))
    return total


def main() -> None:
    """Run the tasks: in processes of dask, or here."""
    if dask is None:
        print("dask is not installed: pip install 'dask[distributed]'; the tasks run here")
        total = add(*[make(number) for number in range(4)])
    else:
        parts = [dask.delayed(make)(number) for number in range(4)]
        total = dask.delayed(add)(*parts).compute(scheduler="processes")
    print("total:", total)


if __name__ == "__main__":
    main()
