"""Asyncio: a thousand tasks wait at once in one process, without a thread each.

Another process stores a thousand values; every one wakes the task that waits for it. Run me:

    python examples/04_async.py
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time

import entrepot

TASKS = 1000


def answer(depot_name: str) -> None:
    """Store one value for every task, in another process."""
    with entrepot.open(depot_name) as depot:
        space = depot.space("mail")
        for number in range(TASKS):
            space.store(f"box/{number}", f"letter {number}")


async def main() -> None:
    """Start a thousand waiting tasks, and the process that wakes them."""
    with entrepot.temporary() as made:
        async with await entrepot.aio.open(made.name) as depot:
            space = await depot.space("mail")
            threads_before = threading.active_count()
            tasks = [
                asyncio.create_task(space.fetch(f"box/{number}", timeout=60))
                for number in range(TASKS)
            ]
            await asyncio.sleep(0.2)  # let all of them get to their wait
            waiting = sum(not task.done() for task in tasks)
            threads = threading.active_count() - threads_before
            print(f"{waiting} tasks wait, with {threads} thread(s) more than before")
            began = time.perf_counter()
            spawn = multiprocessing.get_context("spawn")
            sender = spawn.Process(target=answer, args=(made.name,))
            sender.start()
            letters = await asyncio.gather(*tasks)
            seconds = time.perf_counter() - began
            sender.join()
        assert letters == [f"letter {number}" for number in range(TASKS)]
        print(f"all {len(letters)} letters came to their tasks, {seconds:.2f} s after the")
        print("other process was started")


if __name__ == "__main__":
    asyncio.run(main())
