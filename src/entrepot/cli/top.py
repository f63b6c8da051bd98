"""`entrepot top`: memory, processes and spaces, live."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from entrepot import Depot
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    open_existing,
)
from entrepot.cli.present import console, count, emit, row, share, size, table
from entrepot.cli.processes import processes
from entrepot.depot import DepotStatistics, SessionInfo
from entrepot.layers.spaces import SpaceInfo

__all__ = ["command"]

SPACES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """What a depot looks like at one moment."""

    at: float
    statistics: DepotStatistics
    sessions: list[SessionInfo]
    spaces: list[SpaceInfo]

    @classmethod
    def of(cls, depot: Depot) -> "Frame":
        """Look at a depot."""
        return cls(time.time(), depot.statistics(), depot.sessions(), depot.spaces())


def command(
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.1, metavar="SECONDS", help="Time per frame.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and exit.")] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Watch memory, processes and spaces live; Ctrl-C ends it.

    Into a pipe, and as JSON, it prints one frame.
    """
    out = console()
    with open_existing(depot, directory, data_directory) as opened:
        frame = Frame.of(opened)
        if as_json:
            emit(_document(frame))
        elif once or not out.is_terminal:
            out.print(_render(frame, None))
        else:
            with Live(_render(frame, None), console=out, screen=True, auto_refresh=False) as live:
                while True:
                    time.sleep(interval)
                    before, frame = frame, Frame.of(opened)
                    live.update(_render(frame, before), refresh=True)


def _document(frame: Frame) -> dict[str, Any]:
    """Return a frame for `--json`."""
    return {
        "at": frame.at,
        "statistics": frame.statistics,
        "sessions": frame.sessions,
        "spaces": frame.spaces,
    }


def _render(frame: Frame, before: Frame | None) -> RenderableType:
    """Draw a frame; `before` is the previous one, for rates."""
    figures = frame.statistics
    arena = figures.arena
    head = Text.assemble(
        ("depot ", "dim"),
        (figures.name, "bold"),
        ("   objects ", "dim"),
        count(figures.objects) + _rate(frame, before),
        ("   processes ", "dim"),
        count(figures.sessions),
        ("   ", ""),
        (time.strftime("%H:%M:%S", time.localtime(frame.at)), "dim"),
    )
    bar = Text.assemble(
        ("memory ", "dim"), share(figures.memory_used, figures.memory_max, width=40)
    )
    bar.append(f"  {size(figures.memory_used)} of {size(figures.memory_max)}")
    parts = Text.assemble(
        *(("       arena ", "dim"), size(arena.used)),
        *(("   pinned ", "dim"), size(arena.pinned)),
        *(("   limbo ", "dim"), size(arena.limbo)),
        *(("   free ", "dim"), size(arena.free)),
        *(("   catalog ", "dim"), size(figures.catalog_used)),
    )
    shown: list[RenderableType] = [head, bar, parts, Text(), processes(frame.sessions)]
    if frame.spaces:
        shown += [Text(), _spaces(frame, before)]
    return Group(*shown)


def _rate(frame: Frame, before: Frame | None) -> str:
    """How fast the number of objects changes."""
    if before is None:
        return ""
    change = frame.statistics.objects - before.statistics.objects
    rate = change / max(1e-3, frame.at - before.at)
    return f" ({rate:+,.0f}/s)" if change else ""


def _spaces(frame: Frame, before: Frame | None) -> Table:
    """The spaces, the fullest first, and how fast they fill or empty."""
    earlier = {info.name: info.values for info in before.spaces} if before else {}
    made = table("Spaces", "Space", ">Variables", ">Values", ">Change", "Owner")
    ranked = sorted(frame.spaces, key=lambda info: (-info.values, info.name))
    for info in ranked[:SPACES_SHOWN]:
        change = info.values - earlier.get(info.name, info.values)
        row(
            made,
            info.name,
            count(info.variables),
            count(info.values),
            f"{change:+,}" if change else "·",
            f"process {info.owner_pid}" if info.owner_pid else "nobody",
        )
    if len(ranked) > SPACES_SHOWN:
        made.caption = f"… and {len(ranked) - SPACES_SHOWN} more"
    return made
