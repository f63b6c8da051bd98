"""`entrepot doctor`: what is wrong with a depot, and who holds what."""

import os
import warnings
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from entrepot import places, settings
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    data_root,
    depot_name,
    locate,
    open_existing,
    typed,
)
from entrepot.cli.present import console, emit, facts, size
from entrepot.cli.processes import processes
from entrepot.depot import DepotStatistics, Diagnosis, SessionInfo
from entrepot.errors import CorruptError, EntrepotError, FormatError

__all__ = ["command"]

FREE_SHARE_MIN = 0.02
ROOM_MIN = 2 * settings.CATALOG_BYTES_FIRST
"""Bytes that a depot wants to begin with."""
USED_SHARE_MAX = 0.95


def command(
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for problems: owners, pins, limbo, readers, a stopped lock holder, space.

    Exit status 1 when there are any.
    """
    if depot is None and not any(locate(depot_name(None), directory, data_directory)):
        _look_around(depot_name(None), directory, data_directory, as_json=as_json)
        return
    try:
        with open_existing(depot, directory, data_directory) as opened:
            opened.spaces()  # opens what is on disk too, so that it is checked
            diagnosis = opened.diagnose()
            sessions = opened.sessions()
            statistics = opened.statistics()
    except EntrepotError as error:
        name = depot_name(depot)
        is_damage = isinstance(error, (CorruptError, FormatError))
        advice = _advise(error, name, directory, data_directory) if is_damage else error.hint
        if as_json:
            problems = [error.message]
            emit({"depot": name, "sound": False, "problems": problems, "advice": advice})
        elif is_damage:
            _show_damage(console(), name, error, advice)
        else:
            raise
        raise typer.Exit(1) from error
    problems = [*diagnosis.problems, *_judge(diagnosis, sessions, statistics)]
    advice = ""
    if diagnosis.problems:
        again = typed("rm --all", statistics.name, directory, data_directory)
        advice = f"this is a defect, please report it; copy what you need, then begin anew: {again}"
    if as_json:
        emit(
            {
                "depot": statistics.name,
                "sound": not problems,
                "problems": problems,
                "advice": advice,
                "diagnosis": diagnosis,
                "sessions": sessions,
                "statistics": statistics,
            }
        )
    else:
        _show(console(), diagnosis, sessions, statistics, problems)
        if advice:
            console().print(f"[dim]→[/] {escape(advice)}", soft_wrap=True)
    if problems:
        raise typer.Exit(1)


def _look_around(
    name: str, directory: Path | None, data_directory: Path | None, *, as_json: bool
) -> None:
    """Tell whether a depot can be made, where there is none yet; make nothing."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        root = places.choose_root(directory, name, None)
    problems = [str(warning.message) for warning in told]
    roots = {"memory": root, "durable data": data_root(data_directory)}
    problems += [problem for path in roots.values() for problem in _judge_place(path)]
    if as_json:
        emit({"depot": name, "sound": not problems, "problems": problems, "places": roots})
    else:
        shown = {f"{what} would be in": _place(path) for what, path in roots.items()}
        out = console()
        out.print(facts(f"Depot {name}: not there", shown))
        for problem in problems:
            out.print(f"[bold red]✗[/] {escape(problem)}", soft_wrap=True)
        if not problems:
            out.print("[bold green]✓[/] no depot yet: one can be made, for instance by")
            out.print("  entrepot put --value 42 --name answer")
    if problems:
        raise typer.Exit(1)


def _judge_place(path: Path) -> list[str]:
    """Return what keeps a depot from being made under a root directory."""
    there = _existing(path)
    problems: list[str] = []
    if there == path:
        try:
            places.private_directory(path)
        except EntrepotError as error:
            problems.append(str(error))
    elif not os.access(there, os.W_OK | os.X_OK):
        problems.append(f"{path} cannot be made: {there} may not be written")
    free, _ = _room(there)
    if free < ROOM_MIN:
        problems.append(f"{path} has {size(free)} left, a depot begins with {size(ROOM_MIN)}")
    return problems


def _place(path: Path) -> str:
    return f"{path}: {_free(*_room(_existing(path)))}"


def _room(path: Path) -> tuple[int, int]:
    """Return the bytes that are free in a file system, and all."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _existing(path: Path) -> Path:
    """Return the path, or of its parents the first that is there."""
    return next(place for place in (path, *path.parents) if os.path.lexists(place))


def _advise(
    error: EntrepotError, name: str, directory: Path | None, data_directory: Path | None
) -> str:
    """Return what to do about damage: what is lost, and the command that clears it away."""
    _, durable = locate(name, directory, data_directory)
    first = "use the entrepot that made it, or " if isinstance(error, FormatError) else ""
    if durable is not None and str(durable) in error.message:
        first = first or f"bring {durable} back from a copy, or "
        lost, command = "all that the depot has, in memory and on disk", "rm --all"
    elif durable is not None:
        lost, command = "what is in memory (this keeps what is on disk)", "rm --all --keep"
    else:
        lost, command = "what was in it", "rm --all"
    return f"{first}give up {lost}: {typed(command, name, directory, data_directory)}"


def _show_damage(out: Console, name: str, error: EntrepotError, advice: str) -> None:
    """Print what keeps a depot from being opened."""
    out.print(Text(f"Depot {name}", "bold"))
    out.print(f"[bold red]✗[/] {escape(error.message)}", soft_wrap=True)
    out.print(f"[dim]→[/] {escape(advice)}", soft_wrap=True)


def _judge(
    diagnosis: Diagnosis, sessions: list[SessionInfo], statistics: DepotStatistics
) -> list[str]:
    """Return what the figures say is wrong, each with what to do about it."""
    problems: list[str] = []
    if diagnosis.stopped_writer is not None:
        thread = diagnosis.stopped_writer
        problems.append(f"{thread} holds the write lock and is stopped: kill -CONT {thread}")
    dead = [info for info in sessions if not info.alive and (info.pinned_bytes or info.held)]
    problems += [f"process {info.pid} died and was not reaped yet: entrepot gc" for info in dead]
    for what, free, total in (
        ("memory", diagnosis.memory_free, diagnosis.memory_total),
        ("disk", diagnosis.disk_free, diagnosis.disk_total),
    ):
        if free < FREE_SHARE_MIN * total:
            problems.append(f"the {what} is nearly full: {size(free)} of {size(total)} are free")
    arena = statistics.arena
    if statistics.memory_used - arena.free > USED_SHARE_MAX * statistics.memory_max:
        problems.append(
            f"the depot is nearly full: {size(statistics.memory_used - arena.free)} in use, "
            f"of at most {size(statistics.memory_max)}"
        )
    return problems


def _show(
    out: Console,
    diagnosis: Diagnosis,
    sessions: list[SessionInfo],
    statistics: DepotStatistics,
    problems: list[str],
) -> None:
    """Print what was found, the verdict last."""
    lock = Text("free" if diagnosis.writer is None else f"thread {diagnosis.writer}")
    if diagnosis.stopped_writer is not None:
        lock = Text(f"thread {diagnosis.stopped_writer}, which is stopped", "red")
    readers = ", ".join(str(reader.pid) for reader in diagnosis.readers)
    out.print(
        facts(
            f"Depot {statistics.name}",
            {
                "write lock": lock,
                "open readers": f"processes {readers}" if readers else "none",
                "deleted, not yet free": size(diagnosis.limbo_bytes),
                "pinned": size(statistics.arena.pinned),
                "depot": f"{size(statistics.memory_used)} of at most {size(statistics.memory_max)}",
                "memory": _free(diagnosis.memory_free, diagnosis.memory_total),
                "disk": _free(diagnosis.disk_free, diagnosis.disk_total),
            },
        )
    )
    out.print(Padding(processes(sessions), (1, 0)))
    for problem in problems:
        out.print(f"[bold red]✗[/] {escape(problem)}")
    if not problems:
        out.print("[bold green]✓[/] sound: no problems found")


def _free(free: int, total: int) -> str:
    return f"{size(free)} free of {size(total)}"
