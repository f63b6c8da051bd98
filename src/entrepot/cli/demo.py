"""`entrepot demo`: the main job on real data, in a depot that is made for it and vanishes."""

import os
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

import entrepot
from entrepot.cli.options import DirectoryOption, FreshDepotOption, JsonOption
from entrepot.cli.present import console, counted, duration, emit, size
from entrepot.cli.showcase.dataset import Dataset, load
from entrepot.cli.showcase.report import bar, show_copies, show_result, show_step
from entrepot.cli.showcase.run import Outcome, Step, run, timed
from entrepot.errors import ExistsError

__all__ = ["command"]

WORKERS_MAX = 64


def command(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="A CSV or Parquet file; without it, all characters of Unicode.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=1, max=WORKERS_MAX, help="Worker processes.")
    ] = max(2, min(4, os.cpu_count() or 1)),
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", metavar="SIZE", help='Most memory the depot may use: "512M", "4G".'
        ),
    ] = None,
    depot: FreshDepotOption = None,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Share a real data set with worker processes, and show what was copied.

    Loads a table once, puts it into a fresh depot and starts worker processes, which find
    it there by name. Each takes jobs from a space, computes on the table where it lies, and
    passes results back through the space. At the end nothing is left behind.
    """
    out = console()
    outcome = Outcome()
    began = time.perf_counter()

    def tell(step: Step) -> None:
        if not as_json:
            show_step(out, step)

    with ExitStack() as stack:
        with timed(outcome, tell, "load") as words:
            data = load(file)
            words.append(
                f"{data.title}: {counted(data.rows, 'row')}, {counted(data.columns, 'column')},"
            )
            words.append(size(data.size))
        shared = stack.enter_context(_fresh(depot, directory, memory))
        paths = [shared.path, shared.data_path]
        progress = stack.enter_context(bar(out)) if out.is_terminal and not as_json else None
        task = progress.add_task("jobs", total=len(data.jobs), visible=False) if progress else None

        def advance(done: int, total: int) -> None:
            if progress is not None and task is not None:
                progress.update(task, completed=done, visible=done < total)

        run(data, shared, outcome, workers=workers, tell=tell, progress=advance)
        ending = time.perf_counter()
    left = [str(path) for path in paths if path.exists()]
    gone = (
        "the depot is gone, nothing is left behind"
        if not left
        else f"still there: {', '.join(left)}"
    )
    now = time.perf_counter()
    end = Step("end", f"{gone}; {duration(now - began)} in all", now - ending)
    outcome.steps.append(end)
    tell(end)
    if as_json:
        emit(_document(data, outcome, paths, left, time.perf_counter() - began))
    else:
        show_result(out, data, outcome)
        show_copies(out, data, outcome)
    if left:
        raise typer.Exit(1)


@contextmanager
def _fresh(
    name: str | None, directory: Path | None, memory: str | None
) -> Generator[entrepot.Depot]:
    """Yield a depot that did not exist before, and destroy it at the end.

    Raises:
        ExistsError: There is a depot of this name already.
    """
    if name is None and directory is None:
        with entrepot.temporary(memory=memory) as depot:
            yield depot
        return
    name = name or f"demo-{os.getpid()}"
    if name in entrepot.names(directory=directory):
        raise ExistsError(
            f"there is a depot {name!r} already", "the demo destroys its depot: take a new name"
        )
    depot = entrepot.open(name, memory=memory, directory=directory)
    try:
        yield depot
    finally:
        depot.destroy()


def _document(
    data: Dataset, outcome: Outcome, paths: list[Path], left: list[str], seconds: float
) -> dict[str, object]:
    """Return all that the demo found out, for `--json`."""
    return {
        "data": {
            "title": data.title,
            "kind": data.kind,
            "rows": data.rows,
            "columns": data.columns,
            "bytes": data.size,
        },
        "jobs": len(data.jobs),
        "results": outcome.results,
        "steps": [{"name": step.name, "seconds": step.seconds} for step in outcome.steps],
        "seconds": seconds,
        "copied": {
            "put_bytes": outcome.arena_after_put - outcome.arena_before,
            "arena_growth_with_workers": outcome.arena_with_workers - outcome.arena_after_put,
            "worker_bytes": sum(worker["copied"] for worker in outcome.workers),
            "space_bytes": outcome.jobs_bytes + outcome.results_bytes,
        },
        "workers": outcome.workers,
        "workers_lost": outcome.workers_lost,
        "depot": paths,
        "left_behind": left,
    }
