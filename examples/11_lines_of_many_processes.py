"""Lines of many processes in one place: print, follow, and what a killed worker said last.

Run me:

    python examples/11_lines_of_many_processes.py
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading

import entrepot


def work(depot_name: str, rank: int) -> None:
    """Print as any program does; worker 2 dies in the middle of a line."""
    with entrepot.open(depot_name) as depot:
        with depot.lines("train").capture(label=f"rank {rank}", echo=False, fds=True):
            print(f"worker {rank} begins")
            os.system("echo a child process speaks")
            depot.lines("train").warn(UserWarning("the learning rate is high"))
            for step in range(3):
                sys.stderr.write(f"\rstep {step + 1} of 3")  # as progress bars do
        if rank == 2:
            depot.lines("train").write("last words")
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Start workers, and follow what they print."""
    context = multiprocessing.get_context("spawn")
    with entrepot.temporary() as depot:
        train = depot.lines("train", max_lines=1000)
        seen: list[str] = []

        def follow() -> None:
            for entry in train.tail():
                seen.append(entry.text)
                print(f"{entry.number:3} {entry.writer or entry.kind:8} {entry.text}")

        follower = threading.Thread(target=follow)
        follower.start()
        workers = [context.Process(target=work, args=(depot.name, rank)) for rank in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        depot.collect()  # what the dead held is given back; a follower does that too, by and by
        train.close()  # those who follow come to an end
        follower.join()
        print("progress bars were one line each:", seen.count("step 3 of 3") == 3)
        print("the killed one was heard:", "last words" in seen)


if __name__ == "__main__":
    main()
