"""What does entrepot cost before it does anything?

Each figure comes from new Python processes: the import, the first `open()` of a depot that
another process has open already, and a process that has a depot open and does nothing. The
children keep their compiled files in a directory of their own, as an installed package has
them; the first child makes them and is not counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import entrepot
from benchmarks.harness import Plan
from benchmarks.report import Check, at_most
from benchmarks.subject import address_of, subject

__all__ = ["measure_startup"]

CHILDREN = 11
QUICK_CHILDREN = 2
IDLE_S = 5.0
QUICK_IDLE_S = 0.3
HEAVY = ("numpy", "pandas", "pyarrow")

IMPORT = """
import sys, time
started = time.perf_counter()
import entrepot
print(time.perf_counter() - started, sum(name in sys.modules for name in sys.argv[1:]))
"""

OPEN = """
import sys, time
import entrepot
def open_once():
    started = time.perf_counter()
    depot = entrepot.open(sys.argv[1], directory=sys.argv[2], data_directory=sys.argv[3])
    elapsed = time.perf_counter() - started
    depot.close()
    return elapsed
print(open_once(), open_once())
"""

IMPORTS_SHOWN = 10

IDLE = """
import sys, time
import entrepot
with entrepot.open(sys.argv[1], directory=sys.argv[2], data_directory=sys.argv[3]):
    used, started = time.process_time(), time.monotonic()
    time.sleep(float(sys.argv[4]))
    share = (time.process_time() - used) / (time.monotonic() - started)
    with open("/proc/self/smaps_rollup") as lines:
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines if line.endswith("kB\\n")}
    print(share, sizes["Private_Clean:"] + sizes["Private_Dirty:"])
"""


def measure_startup(plan: Plan) -> list[Check]:
    """Return the import, the open and the idle depot."""
    children = QUICK_CHILDREN if plan.quick else CHILDREN
    with tempfile.TemporaryDirectory(prefix="entrepot-startup-") as directory:
        environment = dict(os.environ, PYTHONPYCACHEPREFIX=directory)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with subject() as (_, depot):
            at = address_of(depot)
            place = [at.name, at.directory, at.data_directory]
            return [
                *_import_checks(_run_many(children, environment, IMPORT, HEAVY)),
                *_open_checks(children, environment, place, plan),
                *_idle_checks(depot, environment, place, plan),
            ]


def _import_checks(runs: list[list[float]]) -> list[Check]:
    """Return the time of the import, and what it dragged in."""
    return [
        Check(
            "startup", "import entrepot", median(run[0] for run in runs) * 1e3, "ms", at_most(100)
        ),
        Check(
            "startup",
            f"  of {', '.join(HEAVY)}",
            max(run[1] for run in runs),
            "imported",
            at_most(0),
        ),
    ]


def _open_checks(
    children: int, environment: dict[str, str], place: list[str], plan: Plan
) -> list[Check]:
    """Return the time of the first open of a process, and of the second."""
    runs = _run_many(children, environment, OPEN, place)
    first_ms, again_ms = (median(column) * 1e3 for column in zip(*runs, strict=True))
    bound = at_most(10)
    explained = bound.holds(first_ms) or plan.quick
    imports = () if explained else _dearest_imports(environment, place)
    return [
        Check("startup", "open() of a warm depot, first", first_ms, "ms", bound, profile=imports),
        Check("startup", "open() of a warm depot, again", again_ms, "ms", bound),
    ]


def _dearest_imports(environment: dict[str, str], place: list[str]) -> tuple[str, ...]:
    """Return what is imported by the first open, with all that each import drags in."""
    done = _python(environment, ["-X", "importtime", "-c", OPEN, *place])
    rows: list[tuple[int, str]] = []
    for line in done.stderr.splitlines():
        _, _, figures = line.partition("import time:")
        own, _, rest = figures.partition("|")
        cumulative, _, module = rest.partition("|")
        if own.strip().isdigit():
            rows.append((int(cumulative), module.strip()))
    dearest = sorted(rows, reverse=True)[:IMPORTS_SHOWN]
    return tuple(f"{cost_us / 1e3:6.1f} ms  import {module}" for cost_us, module in dearest)


def _idle_checks(
    depot: entrepot.Depot, environment: dict[str, str], place: list[str], plan: Plan
) -> list[Check]:
    """Return what a process costs that has a depot open, and the depot itself."""
    idle_s = QUICK_IDLE_S if plan.quick else IDLE_S
    share, private_kib = _run(environment, IDLE, [*place, str(idle_s)])
    depot_mib = _disk_bytes(depot.path) / (1 << 20)
    process_mib = private_kib / 1024
    return [
        Check(
            "startup", "idle process with an open depot", share * 100, "% of a core", at_most(0.1)
        ),
        Check(
            "startup",
            "  its memory, and the depot's",
            process_mib + depot_mib,
            "MiB",
            at_most(40),
            f"{process_mib:.1f} MiB",
            f"{depot_mib:.1f} MiB",
        ),
    ]


def _disk_bytes(directory: Path) -> int:
    """Return the memory that the files of a depot really occupy."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def _run_many(
    children: int, environment: dict[str, str], program: str, arguments: Sequence[str]
) -> list[list[float]]:
    """Run a program in so many processes, one after the other, after one that is not counted."""
    _run(environment, program, arguments)
    return [_run(environment, program, arguments) for _ in range(children)]


def _run(environment: dict[str, str], program: str, arguments: Sequence[str]) -> list[float]:
    """Run a program in a process of its own and return the figures that it prints."""
    done = _python(environment, ["-c", program, *arguments])
    return [float(word) for word in done.stdout.split()]


def _python(
    environment: dict[str, str], arguments: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True
    )
