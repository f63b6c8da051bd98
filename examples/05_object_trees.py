"""Object trees: objects made of objects, which share their parts and describe themselves.

Two versions of a data set share their features; only the labels differ. Run me:

    python examples/05_object_trees.py
"""

from __future__ import annotations

import time

import numpy as np

import entrepot

ROWS = 1_000_000


def main() -> None:
    """Build two trees on one big array, look at them, and take them down."""
    random = np.random.default_rng(seed=1)
    with entrepot.temporary() as depot:
        objects = depot.objects
        began = time.perf_counter()
        features = objects.put(random.random((ROWS, 8), dtype=np.float32))
        trees = []
        for version in (1, 2):
            labels = objects.put(random.integers(0, 2, ROWS, dtype=np.int8))
            fields = {"version": version, "rows": ROWS}
            tree = objects.create(
                fields, {"features": features, "labels": labels}, typename="demo::DataSet"
            )
            objects.put_name(f"dataset/{version}", tree)
            trees.append(tree)
        print(f"two trees on one array: {(time.perf_counter() - began) * 1e3:.0f} ms")

        for tree in trees:
            meta = objects.meta(tree)
            print(f"  {meta['typename']} {tree} version {meta['version']}", end=": ")
            for name, member in meta["members"].items():
                print(f"{name} {member['nbytes'] / 1e6:.0f} MB", end="  ")
            print()
        used = depot.statistics().arena.used
        print(f"shared memory: {used / 1e6:.0f} MB, the features are there once")
        print(f"the features are part of {len(objects.usage(features).parents)} objects")

        try:
            objects.delete(features)
        except entrepot.ConflictError as error:
            print(f"so they cannot go alone: {error}")
        first, second = trees
        objects.delete(first)
        print(f"version 1 deleted; the features are still there: {objects.exists(features)}")
        objects.delete(second)
        print(f"version 2 deleted; the features are still there: {objects.exists(features)}")


if __name__ == "__main__":
    main()
