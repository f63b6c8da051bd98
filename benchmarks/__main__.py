"""One command, one table: `python -m benchmarks [--quick] [--only NAME] [--json] [--save]`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Annotated, cast

import typer
from rich.console import Console

from benchmarks.harness import Plan
from benchmarks.report import Check, machine, show

RESULTS = Path(__file__).parent / "results"
WIDTH_MIN = 120
QUESTIONS = (
    "floors",
    "small_operations",
    "ping_pong",
    "large_values",
    "scale",
    "processes",
    "startup",
    "vineyard_face",
    "vineyard_gateway",
    "nws",
    "web_api",
    "data_layer",
    "lines",
    "proxies",
)
Question = Callable[[Plan], list[Check]]


def main(
    *,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(QUESTIONS)}; may be repeated.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small rounds: do they run, not how fast.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
    save: Annotated[
        bool, typer.Option("--save", help="Also write to benchmarks/results/.")
    ] = False,
) -> None:
    """Measure entrepot against its floors and its peers, and against what it promises."""
    unknown = sorted(set(only or ()) - set(QUESTIONS))
    if unknown:
        raise typer.BadParameter(
            f"{', '.join(unknown)}: not a question; there are {', '.join(QUESTIONS)}"
        )
    signal.signal(signal.SIGTERM, _leave)  # so that servers and depots are tidied up
    measured_on = machine()
    plan = Plan(quick=quick)
    progress = Console(stderr=True)
    checks: list[Check] = []
    for name in only or QUESTIONS:
        with progress.status(f"measuring {name}"):
            checks += _question(name)(plan)
    if as_json:
        record = {
            "machine": measured_on,
            "quick": quick,
            "checks": [check.as_record() for check in checks],
            "notes": plan.notes,
        }
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        sys.stdout.write(text)
    else:
        console = Console(record=True)
        console = Console(record=True, width=max(console.width, WIDTH_MIN))
        console.print(measured_on, highlight=False, soft_wrap=True)
        show(checks, plan.notes, console)
        text = console.export_text()
    if save:
        stamp = f"{datetime.now().astimezone():%Y-%m-%d-%H%M}"
        path = RESULTS / f"{stamp}.{'json' if as_json else 'txt'}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        progress.print(f"saved as {path}")


def _question(name: str) -> Question:
    """Return the function that measures; its imports (lmdb, entrepot) load only now."""
    return cast("Question", getattr(import_module(f"benchmarks.{name}"), f"measure_{name}"))


def _leave(number: int, frame: FrameType | None) -> None:
    """End as after Ctrl-C: every `with` block tidies up."""
    del frame
    raise SystemExit(128 + number)


if __name__ == "__main__":
    typer.run(main)
