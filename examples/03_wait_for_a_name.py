"""Wait for a name: a reader asks for an object before it is made, and wakes when it is.

No polling, no port, no file to look for. Run me:

    python examples/03_wait_for_a_name.py
"""

from __future__ import annotations

import multiprocessing
import time

import numpy as np

import entrepot


def publish(depot_name: str) -> None:
    """Put three models, one after another, in another process."""
    with entrepot.open(depot_name) as depot:
        for version in range(3):
            time.sleep(0.1)  # training
            model = {"version": version, "weights": np.full(1_000_000, version, np.float32)}
            model["put_at"] = time.monotonic()
            depot.objects.put(model, name=f"model/{version}")


def main() -> None:
    """Wait for each model, and for one that never comes."""
    with entrepot.temporary() as depot:
        trainer = multiprocessing.get_context("spawn").Process(target=publish, args=(depot.name,))
        trainer.start()
        for version in range(3):
            key = depot.objects.get_name(f"model/{version}", wait=True, timeout=30)
            model = depot.objects.get(key)
            late_ms = (time.monotonic() - model["put_at"]) * 1e3
            print(f"model/{version} is {key}: {model['weights'].nbytes / 1e6:.0f} MB", end=" ")
            print(f"in our hands {late_ms:.1f} ms after its put began")
        trainer.join()
        try:
            depot.objects.get_name("model/3", wait=True, timeout=0.2)
        except entrepot.WaitTimeoutError as error:
            print(f"and the one that never comes: {error}")
        print(f"names: {', '.join(sorted(depot.objects.names('model/*')))}")


if __name__ == "__main__":
    main()
