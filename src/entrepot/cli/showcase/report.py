"""The screen of the demo: steps as they happen, then the result, then what was copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from entrepot.cli.present import count, counted, duration, row, size, table
from entrepot.cli.showcase.families import OTHERS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from entrepot.cli.showcase.dataset import Dataset
    from entrepot.cli.showcase.run import Outcome, Step

__all__ = ["bar", "show_copies", "show_result", "show_step"]

ROWS_SHOWN = 10
STEP_WIDTH = 7
WORDS_WIDTH_MIN = 110
FIGURES_WIDTH = 48
"""Columns of the table of families that are left of the longest name."""
WORDS_WIDTH = 36
LONG_TEXT = 40


def show_step(console: Console, step: Step) -> None:
    """Print one finished step: `✓ put    copied once ...   8 ms`."""
    line = Text.assemble(("✓ ", "green"), (f"{step.name:<{STEP_WIDTH}}", "bold"), f"{step.text}  ")
    line.append(duration(step.seconds), "dim")
    console.print(line)


def bar(console: Console) -> Progress:
    """Return the progress bar of the jobs; it vanishes when all are done."""
    return Progress(
        TextColumn(f"  [bold]{'work':<{STEP_WIDTH}}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("jobs"),
        console=console,
        transient=True,
    )


def show_result(console: Console, data: Dataset, outcome: Outcome) -> None:
    """Print what the workers found out."""
    draw = _families if data.study == "families" else _columns
    console.print(Padding(draw(outcome, console.width), (1, 0, 0, 0)))


def show_copies(console: Console, data: Dataset, outcome: Outcome) -> None:
    """Print what was copied and what was not, and what each worker saw."""
    workers = outcome.workers
    shared = min((worker["shared"] for worker in workers), default=0)
    copied = sum(worker["copied"] for worker in workers)
    put = outcome.arena_after_put - outcome.arena_before
    more = outcome.arena_with_workers - outcome.arena_after_put
    verdict = "bold green" if copied == 0 else "bold yellow"
    what = f"the table ({data.kind}), by put" if put else "small: it lies in the catalog"
    copies = table("What was copied", "", ">", "")
    copies.show_header = False
    row(copies, "into shared memory, once", size(put), what)
    row(
        copies,
        f"to {len(workers)} workers",
        Text(size(copied), verdict),
        f"each reads {size(shared)} in place",
    )
    row(copies, "into shared memory, for them", size(more), "one table serves them all")
    row(
        copies,
        "through the space",
        size(outcome.jobs_bytes + outcome.results_bytes),
        f"{count(len(data.jobs))} jobs and results, pickled",
    )
    console.print(Padding(copies, (1, 0)))
    console.print(_workers(workers))
    console.print(_verdict(workers), style="dim")
    if outcome.workers_lost:
        console.print(f"[yellow]{outcome.workers_lost} died; others did their jobs[/]")


def _workers(workers: list[dict[str, Any]]) -> Table:
    """One line per worker: how it got the table, and what that cost it."""
    made = table(
        "What each worker saw",
        *(">PID", ">Jobs", ">Busy", ">Got it in", ">In place", ">Copied", ">Own memory, then"),
    )
    for worker in workers:
        row(
            made,
            str(worker["pid"]),
            count(worker["jobs"]),
            duration(worker["busy_s"]),
            duration(worker["get_s"]),
            size(worker["shared"]),
            size(worker["copied"]),
            f"{size(worker['own_before'])} + {size(worker['own_growth'])}",
        )
    return made


def _verdict(workers: list[dict[str, Any]]) -> str:
    """Say in a sentence what the addresses and flags of the workers' arrays show."""
    if any(worker["copied"] for worker in workers):
        return "What is small, or made of Python objects, comes back as a copy."
    if any(worker["owned"] or worker["writeable"] for worker in workers):
        return "All their arrays point into shared memory, but some are not read-only views."
    return "All their arrays point into shared memory, own no data and are read-only."


def _families(outcome: Outcome, width: int) -> Table:
    """The greatest families of characters; a narrow terminal leaves out their words."""
    made = table(
        "What Unicode is made of",
        *("Family", ">Characters", ">Letters", ">Numbers", "Longest name"),
    )
    has_words = width >= WORDS_WIDTH_MIN
    if has_words:
        made.add_column("Frequent words")
    name_width = width - FIGURES_WIDTH - (WORDS_WIDTH if has_words else 0)
    named = [result for result in outcome.results if result["family"] != OTHERS]
    ranked = sorted(named, key=lambda result: -result["characters"])
    for result in ranked[:ROWS_SHOWN]:
        row(
            made,
            result["family"],
            *(_or_dot(result[key]) for key in ("characters", "letters", "numbers")),
            _cut(result["longest_name"].lower(), name_width),
            *([", ".join(result["words"]).lower()] if has_words else []),
        )
    return _with_rest(made, len(ranked), "families")


def _columns(outcome: Outcome, width: int) -> Table:
    """The columns of a user's table; a narrow terminal leaves out some figures."""
    keys = ("min", "mean", "max") if width >= WORDS_WIDTH_MIN else ("mean",)
    made = table(
        counted(len(outcome.results), "column"),
        *("Column", "Type", ">Missing", ">Distinct"),
        *(f">{key.capitalize()}" for key in keys),
        "Most frequent",
    )
    for result in outcome.results[:ROWS_SHOWN]:
        often = result["most"] is not None and result["most_rows"] > 1
        row(
            made,
            _cut(result["column"], LONG_TEXT // 2),
            result["dtype"],
            *(_or_dot(result[key]) for key in ("missing", "distinct")),
            *("·" if result[key] is None else f"{result[key]:,.6g}" for key in keys),
            f"{_cut(result['most'], LONG_TEXT // 2)} ({count(result['most_rows'])} times)"
            if often
            else "·",
        )
    return _with_rest(made, len(outcome.results), "columns")


def _with_rest(made: Table, results: int, what: str) -> Table:
    """Say how many results the table leaves out."""
    if results > ROWS_SHOWN:
        made.caption = f"… and {count(results - ROWS_SHOWN)} more {what} (--json prints all)"
    return made


def _or_dot(number: int | None) -> str:
    """A count, or a dot for none."""
    return count(number) if number else "·"


def _cut(text: object, width: int) -> Text:
    """A text of at most so many characters."""
    shown = str(text)
    return Text(shown if len(shown) <= width else f"{shown[: width - 1]}…")
