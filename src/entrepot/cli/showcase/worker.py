"""A worker process of the demo: finds the depot by name, takes jobs, gives back results.

It shares nothing with the process that started it but the names on its command line. The
space belongs to that process, so that it vanishes with it, and a waiting worker ends.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import entrepot
from entrepot.cli.showcase import columns, families
from entrepot.cli.showcase.evidence import own_memory, whereabouts

__all__ = ["SAMPLE", "SPACE", "TABLE"]

STUDIES = {"families": families.study, "columns": columns.study}
TABLE = "demo/table"
SAMPLE = "demo/sample"
"""The first row of the table, for whoever wants to know only what it is made of."""
SPACE = "demo"
JOB_WAIT_S = 60.0


def work(depot: entrepot.Depot, study: str) -> None:
    """Take jobs until one says to stop; report first and last what this process holds."""
    space = depot.space(SPACE, create=False)
    depot.objects.get(depot.objects.get_name(SAMPLE))  # loads pandas, which is not what we time
    before = own_memory()
    began = time.perf_counter()
    table: Any = depot.objects.get(depot.objects.get_name(TABLE))
    get_s = time.perf_counter() - began
    report: dict[str, Any] = {
        "pid": os.getpid(),
        "get_s": get_s,
        "own_before": before,
        "own_growth": own_memory() - before,
        **asdict(whereabouts(table, depot.path)),
    }
    space.store("ready", report)
    done = 0
    busy_s = 0.0
    while True:
        with space.claim("job", timeout=JOB_WAIT_S) as claim:
            job = claim.value
            if job is None:
                break
            began = time.perf_counter()
            figures = STUDIES[study](table, job)
            busy_s += time.perf_counter() - began
            space.store("result", {"index": job["index"], "figures": figures})
        done += 1
    report |= {"jobs": done, "busy_s": busy_s, "own_after": own_memory()}
    space.store("left", report)


def main() -> None:
    """Open the depot that the command line names, and work."""
    directory, data_directory, name, study = sys.argv[1:]
    with entrepot.open(
        name, directory=Path(directory), data_directory=Path(data_directory)
    ) as depot:
        work(depot, study)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # the process that started us says so
    except entrepot.EntrepotError as error:
        sys.exit(str(error))
