"""What every command takes, and how it opens its depot."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import entrepot
from entrepot import places, settings
from entrepot.errors import EntrepotError, NotFoundError

if TYPE_CHECKING:
    from entrepot import Depot

__all__ = [
    "DepotOption",
    "DirectoryOption",
    "FreshDepotOption",
    "JsonOption",
    "check_data",
    "depot_name",
    "hinting",
    "known_depots",
    "locate",
    "no_depot",
    "open_existing",
    "typed",
]

DepotOption = Annotated[
    str | None,
    typer.Option(
        "--depot",
        "-d",
        metavar="NAME",
        help="The depot; else $ENTREPOT_DEPOT, else 'default'.",
        show_default=False,
    ),
]
FreshDepotOption = Annotated[
    str | None,
    typer.Option(
        "--depot",
        "-d",
        metavar="NAME",
        help="The depot; without it, a fresh one that vanishes.",
        show_default=False,
    ),
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        metavar="DIR",
        help="Where depots live in memory; else $ENTREPOT_DIR, else under /dev/shm.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def depot_name(name: str | None) -> str:
    """Return the name of the depot that `--depot NAME` means."""
    return name or os.environ.get("ENTREPOT_DEPOT") or "default"


def known_depots(directory: Path | None) -> list[str]:
    """Return the names of the depots in memory, and of those that a reboot left on disk."""
    roots = [*places.memory_roots(directory), settings.data_root()]
    return sorted({name for root in roots for name in places.depot_names(root)})


def locate(name: str, directory: Path | None) -> tuple[list[Path], Path | None]:
    """Return where a depot lies, sound or damaged: in memory, and on disk.

    A directory that is empty, or has nothing of a depot, is none.
    """
    name = places.check_depot_name(name)
    volatile = [root / name for root in places.memory_roots(directory)]
    durable = settings.data_root() / name
    return [path for path in volatile if _is_depot(path)], durable if _is_depot(durable) else None


def _is_depot(path: Path) -> bool:
    try:
        return (path / "format").exists() or (path / "catalog").exists()
    except OSError:  # another user's: whoever opens it is told
        return False


def no_depot(name: str, directory: Path | None) -> NotFoundError:
    """Return the error that says what there is instead, and how a depot begins and ends."""
    known = known_depots(directory)
    if known:
        hint = f"there {'are' if len(known) > 1 else 'is'}: {', '.join(known)}"
    else:
        hint = (
            "a depot begins with the first value that is put (`entrepot put --value 42 "
            "--name answer`), and is gone with the last value that is removed"
        )
    first, *others = places.memory_roots(directory)
    where = " or ".join(map(str, [first, *(root for root in others if root.exists())]))
    return NotFoundError(f"there is no depot {name!r} in {where}", hint)


def typed(command: str, name: str, directory: Path | None) -> str:
    """Return a command for this depot as a person would type it."""
    words = f"entrepot {command} --depot {name}"
    return words if directory is None else f"{words} --directory {shlex.quote(str(directory))}"


def open_existing(name: str | None, directory: Path | None) -> Depot:
    """Open a depot that exists: a mistyped name must not make an empty one.

    Raises:
        NotFoundError: There is no depot of this name.
        CorruptError: Files of it are lost.
    """
    wanted = depot_name(name)
    if wanted not in known_depots(directory) and not locate(wanted, directory)[0]:
        raise no_depot(wanted, directory)
    for path in locate(wanted, directory)[0]:
        places.check_whole(path)
    return entrepot.open(wanted, directory=directory)


def check_data(depot: Depot, name: str) -> None:
    """Refuse to look for a container where there is none, which would make files.

    Raises:
        NotFoundError: The depot has no such container.
    """
    container = name.strip("/").partition("/")[0]
    known = depot.containers()
    if container not in known:
        there = f"there {'are' if len(known) > 1 else 'is'}: {', '.join(known)}"
        raise NotFoundError(
            f"there is no container {container!r} in depot {depot.name}",
            there if known else "it has none; what is put into one makes it",
        )


@contextlib.contextmanager
def hinting(
    hint: str,
    of: type[EntrepotError] | tuple[type[EntrepotError], ...] = NotFoundError,
    *,
    always: bool = False,
) -> Generator[None]:
    """Give a hint to errors of some kinds that have none: what is not there, for instance.

    With `always`, also in place of one that they have, which speaks to programs.
    """
    try:
        yield
    except of as error:
        error.hint = hint if always else error.hint or hint
        raise
