"""Bounds, verdicts, and how they are shown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["Bound", "Check", "at_least", "at_most", "show", "summary"]

VERSIONS_OF = ("entrepot", "lmdb", "numpy", "redis", "vineyard")


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure has to keep."""

    limit: float
    is_upper: bool

    def holds(self, figure: float) -> bool:
        """Tell whether `figure` is within the bound."""
        return figure <= self.limit if self.is_upper else figure >= self.limit

    def __str__(self) -> str:
        return f"{'at most' if self.is_upper else 'at least'} {_short(self.limit)}"


def at_most(limit: float) -> Bound:
    """Return the bound of a cost."""
    return Bound(limit, is_upper=True)


def at_least(limit: float) -> Bound:
    """Return the bound of a gain."""
    return Bound(limit, is_upper=False)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table: what was measured, what was promised."""

    question: str
    name: str
    figure: float
    """What the bound is about, in `unit`."""
    unit: str
    """`Lw`, `Lr`, `x` (times), `x faster`, `ms` and so on."""
    bound: Bound | None = None
    """None: for information only."""
    ours: str = ""
    """The time behind the figure, with its unit."""
    theirs: str = ""
    """The time of what it is compared with."""
    profile: tuple[str, ...] = ()
    """Where the time goes, when the bound was missed."""

    @property
    def verdict(self) -> str:
        """Return `ok`, `missed`, or nothing where nothing was promised."""
        if self.bound is None:
            return ""
        return "ok" if self.bound.holds(self.figure) else "missed"

    def as_record(self) -> dict[str, object]:
        """Return the check for JSON."""
        return {
            "question": self.question,
            "name": self.name,
            "figure": self.figure,
            "unit": self.unit,
            "bound": None if self.bound is None else str(self.bound),
            "verdict": self.verdict,
            "ours": self.ours,
            "theirs": self.theirs,
            "profile": list(self.profile),
        }


def show(checks: Sequence[Check], notes: Sequence[str], console: Console) -> None:
    """Print the table, the profiles of missed bounds, and the notes."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("operation", no_wrap=True)
    for heading in ("ours", "theirs", "measured", "bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for at, check in enumerate(checks):
        if at == 0 or checks[at - 1].question != check.question:
            if at:
                table.add_section()
            table.add_row(f"[bold]{check.question}[/]")
        table.add_row(
            f"  {check.name}",
            check.ours,
            check.theirs,
            f"{_short(check.figure)} {check.unit}",
            "" if check.bound is None else str(check.bound),
            {"ok": "[green]ok[/]", "missed": "[bold red]missed[/]"}.get(check.verdict, ""),
        )
    console.print(table)
    for check in checks:
        if check.profile:
            console.print(f"[bold]Where the time of '{check.name}' goes[/]", highlight=False)
            for line in check.profile:
                console.print(f"  {line}", markup=False, highlight=False)
            console.print()
    for note in notes:
        console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(summary(checks), highlight=False)


def summary(checks: Sequence[Check]) -> str:
    """Return how many bounds were kept."""
    bounded = [check for check in checks if check.bound is not None]
    missed = sum(check.verdict == "missed" for check in bounded)
    return f"{len(bounded)} bounds, {len(bounded) - missed} kept, {missed} missed"


def machine() -> str:
    """Return what the figures were measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in _versions())
    load = ", ".join(f"{average:.2f}" for average in os.getloadavg())
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; {versions}; load at the start {load}"
    )


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.2f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.2f} ms"
    return f"{seconds:.2f} s"


def _short(figure: float) -> str:
    """Return a figure with no more digits than it is worth."""
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.3g}"


def _versions() -> list[tuple[str, str]]:
    """Return the versions of what takes part, as far as it is installed."""
    found: list[tuple[str, str]] = []
    for name in VERSIONS_OF:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """Return the name of the processor, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
