"""References with Parsl (`pip install parsl` first): apps get proxies, and pass them on.

Run me:

    python examples/13_proxies_with_parsl.py
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import entrepot
from entrepot.proxystore.connectors.depot import DepotConnector
from entrepot.proxystore.store import Store

try:
    import parsl
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider
except ImportError:
    parsl = None


def mean_of(frames: Any, which: int) -> float:
    """Look at a part; know nothing of proxies."""
    return float(frames[which].mean())


def doubled(frame: Any, config: Any) -> Any:
    """Return a proxy, in a locker: Parsl would ask it for its hash, and so fetch its object."""
    from entrepot.proxystore.store import get_or_create_store  # an app brings its imports along

    return get_or_create_store(config).locked_proxy(frame * 2, populate_target=False)


def total_of(locked: Any) -> float:
    """Take the result of another app."""
    return float(locked.unlock().sum())


def main() -> None:
    """Pass 8 MB to apps as 700 bytes, and from one app to the next."""
    with (
        tempfile.TemporaryDirectory() as logs,
        entrepot.temporary(memory="256M") as depot,
        Store("parsl", DepotConnector(depot.name, clear=True), register=True) as store,
    ):
        frames = store.proxy(np.ones((10, 100_000)) * np.arange(10)[:, None])
        print("objects in the depot:", depot.objects.count())
        if parsl is None:
            print("parsl is not installed: pip install parsl")
            return
        os.environ["PATH"] += f"{os.pathsep}{Path(sys.executable).parent}"  # where its workers are
        workers = LocalProvider(init_blocks=1, max_blocks=1)
        pool = HighThroughputExecutor(address="127.0.0.1", encrypted=False, provider=workers)
        with parsl.load(parsl.Config(executors=[pool], run_dir=logs, initialize_logging=False)):
            look, double, add = map(parsl.python_app, (mean_of, doubled, total_of))
            means = [look(frames, which) for which in range(10)]
            print("means:", [round(mean.result()) for mean in means])
            print("from app to app:", add(double(frames, store.config())).result())


if __name__ == "__main__":
    main()
