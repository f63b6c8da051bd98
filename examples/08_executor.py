"""A pool of workers on a space: one dies in the middle, and the result is there all the same.

Run me:

    python examples/08_executor.py
"""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import numpy as np

import entrepot


def work(number: int, mark: str) -> np.ndarray:
    """Make a row; die on the way, the first time that somebody works on number 3."""
    if number == 3 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(1_000_000, number)


def main() -> None:
    """Share a function out to workers, and look at what comes back."""
    with (
        tempfile.TemporaryDirectory() as directory,
        entrepot.SpaceExecutor(max_workers=2) as pool,
    ):
        marks = [f"{directory}/died"] * 6
        rows = list(pool.map(work, range(6), marks))
        print("rows:", [int(row[0]) for row in rows])
        print("a worker died on the way:", Path(marks[0]).exists())
        print("the rows were copied:", any(row.flags.owndata for row in rows))
        del rows


if __name__ == "__main__":
    main()
