"""Many processes print into one buffer: forked from one that is started by a test.

::

    python -m support.line_storm ROOT DATA PROCESSES LINES ACKNOWLEDGED

It prints the process ids and waits for a line; then all print. The file ACKNOWLEDGED has four
bytes for each: how many of its lines it knows to be written.
"""

from __future__ import annotations

import json
import os
import sys

import entrepot
from entrepot.syncstream import LineProcMirror
from entrepot.syncstream._shelf import Address

__all__ = ["text_of"]


def text_of(process: int, number: int) -> str:
    """Return what a line of the storm says."""
    return f"{process} {number} {'x' * ((process * 7 + number) % 60)}."


def main() -> None:
    """Fork, and wait for all."""
    root, data, processes, lines, acknowledged = sys.argv[1:]
    depot = entrepot.open("lab", directory=root, data_directory=data)
    depot.lines("storm").info()
    file = os.open(acknowledged, os.O_RDWR)
    ready, go = os.pipe()
    pids: list[int] = []
    for process in range(int(processes)):
        pid = os.fork()
        if not pid:
            os.close(go)
            os.read(ready, 1)  # until the other end is closed
            print_lines(process, int(lines), root, data, depot, file)
            os._exit(0)
        pids.append(pid)
    print(json.dumps(pids), flush=True)
    sys.stdin.readline()
    os.close(go)
    for pid in pids:
        os.waitpid(pid, 0)
    depot.close()


def print_lines(
    process: int, lines: int, root: str, data: str, depot: entrepot.Depot, file: int
) -> None:
    """Print, half of the processes through a mirror, and note what is written."""
    if process % 2:
        stream = depot.lines("storm").writer(str(process))
    else:
        address = Address("lab", root, data, "storm")
        stream = LineProcMirror(_queue=(address, address._replace(name="rolls")))
    for number in range(lines):
        print(text_of(process, number), file=stream)
        os.pwrite(file, (number + 1).to_bytes(4, "big"), 4 * process)
    stream.close()


if __name__ == "__main__":
    main()
