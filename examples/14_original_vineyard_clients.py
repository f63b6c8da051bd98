"""A program of vineyard's users as it is, with the original client, beside `entrepot`: one copy.

The original's package is needed for its side (Linux, Python 3.11). Run me:

    pip install vineyard vineyard-bdist
    python examples/14_original_vineyard_clients.py
"""

from __future__ import annotations

import importlib
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd

import entrepot.vineyard as ours
from entrepot.vineyard.deploy.local import start_vineyardd


def original_program(socket: str, id: int) -> tuple[float, int]:
    """Run in a process of its own: nothing of entrepot in it."""
    warnings.simplefilter("ignore")  # the original uses what pandas will drop
    vineyard: Any = importlib.import_module("vineyard")
    client = vineyard.connect(socket)
    prices = client.get(vineyard.ObjectID(id))["price"]
    half = pd.DataFrame({"price": prices.to_numpy() / 2}, index=np.arange(len(prices)))
    return float(prices.sum()), int(client.put(half))


def main() -> None:
    """Put a frame with entrepot, let the original read it and put another one, read that."""
    if find_spec("vineyard") is None:
        print("skipped: pip install vineyard vineyard-bdist (Linux, Python 3.11)")
        return
    frame = pd.DataFrame({"price": np.arange(1_000_000.0)})
    with (
        start_vineyardd(size="256M", rpc=False) as (_, socket, _),
        ours.connect(socket) as client,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
    ):
        id = client.put(frame)
        total, answer = pool.submit(original_program, socket, int(id)).result()
        print("the original's total is right:", total == frame["price"].sum())
        found = client.get(ours.ObjectID(answer))
        print("its answer is right:", found["price"].equals(frame["price"] / 2))
        print("looked at in place:", client.is_shared_memory(found["price"].to_numpy()))


if __name__ == "__main__":
    main()
