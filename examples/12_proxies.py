"""References that resolve themselves: tasks get proxies, and fetch what they look at.

Run me:

    python examples/12_proxies.py
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

import entrepot
from entrepot.proxystore.connectors.depot import DepotConnector
from entrepot.proxystore.proxy import Proxy, is_resolved
from entrepot.proxystore.store import Store
from entrepot.proxystore.store.executor import ProxyType, StoreExecutor

try:
    import dask
except ImportError:
    dask = None


def mean_of(frames: np.ndarray[Any, Any], which: int) -> float:
    """Look at a part; know nothing of proxies."""
    return float(frames[which].mean())


def double(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return as much as was given."""
    return array * 2


def main() -> None:
    """Pass 80 MB to tasks as 700 bytes; get results, promises and owners back."""
    frames = np.ones((10, 1_000_000)) * np.arange(10)[:, None]
    with (
        entrepot.temporary(memory="1G") as depot,
        Store("example", DepotConnector(depot.name, clear=True), register=True) as store,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
    ):
        proxy = store.proxy(frames)
        print("is an array:", isinstance(proxy, np.ndarray), "and a proxy:", type(proxy) is Proxy)
        means = [pool.submit(mean_of, proxy, which) for which in range(10)]
        print("means:", [round(mean.result()) for mean in means])

        later = store.future()
        promise = later.proxy()
        print("promised, resolved:", is_resolved(promise))
        pool.submit(later.set_result, {"answer": 42}).result()
        print("kept:", promise["answer"])

        arrays = StoreExecutor(pool, store, ProxyType(np.ndarray), close_store=False)
        result = arrays.submit(double, frames[3]).result()
        print("a large result is an", type(result).__name__, "of", float(result.sum()))
        del result  # and its bytes are free again

        if dask is None:
            print("dask is not installed: pip install dask")
        else:
            parts = [dask.delayed(mean_of)(proxy, which) for which in range(10)]
            print("by dask:", dask.delayed(sum)(parts).compute(scheduler="processes"))


if __name__ == "__main__":
    main()
