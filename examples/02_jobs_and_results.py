"""Jobs and results: workers claim jobs, some are killed in the middle, and nothing is lost.

A claimed job returns to its place when its worker dies, so another one takes it. Run me:

    python examples/02_jobs_and_results.py
"""

from __future__ import annotations

import multiprocessing
import os
import time

import entrepot

JOBS = 60
WORKERS = 3
KILLS = 3


def work(depot_name: str) -> None:
    """Claim jobs until there are no more; the result is stored before the claim is done."""
    with entrepot.open(depot_name) as depot:
        space = depot.space("squares")
        while (claim := space.try_claim("job")) is not None:
            with claim:
                space.store("started", os.getpid())
                time.sleep(0.02)  # a long computation, in which one can be killed
                space.store("result", (claim.value, claim.value**2, os.getpid()))


def main() -> None:
    """Store jobs, start workers, kill some, replace them, and count the results."""
    spawn = multiprocessing.get_context("spawn")
    with entrepot.temporary() as depot:
        space = depot.space("squares")
        for number in range(JOBS):
            space.store("job", number)
        began = time.perf_counter()
        workers = [spawn.Process(target=work, args=(depot.name,)) for _ in range(WORKERS + KILLS)]
        for worker in workers[:WORKERS]:
            worker.start()
        for replacement in workers[WORKERS:]:
            victim = space.fetch("started", timeout=30)  # it is at work just now
            next(worker for worker in workers if worker.pid == victim).kill()
            print(f"killed worker {victim} in the middle of a job; another takes its place")
            replacement.start()
            while space.try_fetch("started") is not None:
                pass
        results: dict[int, int] = {}
        hands: set[int] = set()
        while len(results) < JOBS:
            number, square, pid = space.fetch("result", timeout=30)
            results[number] = square  # a job that was killed after its result counts once
            hands.add(pid)
        seconds = time.perf_counter() - began
        for worker in workers:
            worker.join()
    assert results == {number: number**2 for number in range(JOBS)}
    print(f"{JOBS} jobs, {len(results)} results, none lost, though {KILLS} workers were killed")
    print(f"{len(hands)} processes gave results; {seconds:.2f} s with starting them")


if __name__ == "__main__":
    main()
