"""The main job: one table in shared memory, worker processes, jobs and results in a space.

::

    this process              depot                      worker processes
    load the table
    put ────────────────────> demo/table ──────────────> get: a view, nothing copied
    store jobs ─────────────> space demo, job ─────────> claim
    fetch results <────────── space demo, result <────── store
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from entrepot.cli.present import count, duration
from entrepot.cli.showcase.worker import SAMPLE, SPACE, TABLE
from entrepot.errors import UnavailableError, WaitTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import BinaryIO

    from entrepot import Depot, Space
    from entrepot.cli.showcase.dataset import Dataset

__all__ = ["Outcome", "Step", "run", "timed"]

LOOK_S = 0.5
"""How often a wait for workers looks whether they are alive."""
START_S_MAX = 60.0
LEAVE_S_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the job, and how long it took."""

    name: str
    text: str
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What came of it, filled in as it happens."""

    steps: list[Step] = field(default_factory=list[Step])
    results: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """The figures of each job, in the order of the jobs."""
    workers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What each worker reported when it left."""
    workers_lost: int = 0
    arena_before: int = 0
    arena_after_put: int = 0
    arena_with_workers: int = 0
    jobs_bytes: int = 0
    results_bytes: int = 0


@contextmanager
def timed(outcome: Outcome, tell: Callable[[Step], None], name: str) -> Generator[list[str]]:
    """Time a step of the job; what the block appends to the list is told about it."""
    words: list[str] = []
    began = time.perf_counter()
    yield words
    step = Step(name, " ".join(words), time.perf_counter() - began)
    outcome.steps.append(step)
    tell(step)


def run(
    data: Dataset,
    depot: Depot,
    outcome: Outcome,
    *,
    workers: int,
    tell: Callable[[Step], None],
    progress: Callable[[int, int], None],
) -> None:
    """Share `data` through `depot` with worker processes, and fill in `outcome`.

    Raises:
        UnavailableError: All workers died; the message says what the last one wrote.
    """
    space = depot.space(SPACE, owned=True)
    depot.objects.put(data.sample(), name=SAMPLE)
    outcome.arena_before = depot.statistics().arena.used
    with timed(outcome, tell, "put") as words:
        depot.objects.put(data.table, name=TABLE)
        words.append("copied once, into shared memory")
    outcome.arena_after_put = depot.statistics().arena.used
    with Crew(depot, data.study, workers) as crew:
        with timed(outcome, tell, "share") as words:
            ready = crew.gather(space, "ready", workers, START_S_MAX)
            slowest = max(report["get_s"] for report in ready)
            words.append(f"{len(ready)} processes started; each got the table")
            words.append(f"in {duration(slowest)} or less")
        outcome.arena_with_workers = depot.statistics().arena.used
        with timed(outcome, tell, "work") as words:
            results = _hand_out(data, space, crew, progress)
            words.append(
                f"{count(len(data.jobs))} jobs claimed, {count(len(results))} results back"
            )
        outcome.results = [results[index] for index in sorted(results)]
        outcome.workers = crew.dismiss(space)
        outcome.workers_lost = crew.lost
    outcome.jobs_bytes = sum(len(pickle.dumps(job, 5)) for job in data.jobs)
    outcome.results_bytes = sum(len(pickle.dumps(result, 5)) for result in outcome.results)


def _hand_out(
    data: Dataset, space: Space, crew: Crew, progress: Callable[[int, int], None]
) -> dict[int, dict[str, Any]]:
    """Store the jobs and fetch their results; a job done twice, after a kill, counts once."""
    for job in data.jobs:
        space.store("job", job)
    results: dict[int, dict[str, Any]] = {}
    while len(results) < len(data.jobs):
        result = crew.fetch(space, "result")
        results[result["index"]] = result["figures"]
        progress(len(results), len(data.jobs))
    return results


class Crew:
    """The worker processes, from start to end. A context manager: none outlives the block."""

    def __init__(self, depot: Depot, study: str, workers: int) -> None:
        self.errors: list[BinaryIO] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.arguments = [
            *(sys.executable, "-m", "entrepot.cli.showcase.worker"),
            *(str(depot.path.parent), str(depot.data_path.parent), depot.name, study),
        ]
        self.workers = workers
        self.lost = 0

    def __enter__(self) -> Self:
        for _ in range(self.workers):
            error = tempfile.TemporaryFile()  # closed at the end of the block
            self.errors.append(error)
            self.processes.append(
                subprocess.Popen(  # noqa: S603 our own interpreter and module
                    self.arguments, stdin=subprocess.DEVNULL, stdout=error, stderr=error
                )
            )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        for error in self.errors:
            error.close()

    def fetch(self, space: Space, variable: str, timeout: float = float("inf")) -> Any:
        """Fetch a value that a worker stores, as long as one is alive to do so."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return space.fetch(variable, timeout=LOOK_S)
            except WaitTimeoutError:
                self._look()
                if time.monotonic() > deadline:
                    raise

    def gather(self, space: Space, variable: str, count: int, timeout: float) -> list[Any]:
        """Fetch one value of each of `count` workers, but for those that died."""
        found: list[Any] = []
        while len(found) < count - self.lost:
            found.append(self.fetch(space, variable, timeout))
        return found

    def dismiss(self, space: Space) -> list[Any]:
        """Send all workers home, and return what each that is alive reports at the end."""
        for _ in self.processes:
            space.store("job", None)
        self._look()
        return self.gather(space, "left", len(self.processes), LEAVE_S_MAX)

    def _look(self) -> None:
        """Count the dead."""
        dead = [index for index, process in enumerate(self.processes) if process.poll()]
        self.lost = len(dead)
        if self.lost == len(self.processes):
            self.errors[dead[-1]].seek(0)
            said = self.errors[dead[-1]].read().decode(errors="replace").strip()
            raise UnavailableError(f"all {self.lost} worker processes died; the last: {said}")
