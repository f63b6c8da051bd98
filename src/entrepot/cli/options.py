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
    "DataDirectoryOption",
    "DepotOption",
    "DirectoryOption",
    "FreshDepotOption",
    "JsonOption",
    "check_data",
    "data_root",
    "depot_name",
    "hinting",
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
DataDirectoryOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        "--data-directory",
        metavar="DIR",
        help="Where depots live on disk; else $ENTREPOT_DATA, else in ~/.local/share.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def depot_name(name: str | None) -> str:
    """Return the name of the depot that `--depot NAME` means."""
    return name or os.environ.get("ENTREPOT_DEPOT") or "default"


def data_root(data_directory: Path | None) -> Path:
    """Return where depots live on disk, as `--data-dir` says it."""
    return settings.data_root() if data_directory is None else data_directory.absolute()


def locate(
    name: str, directory: Path | None, data_directory: Path | None = None
) -> tuple[list[Path], Path | None]:
    """Return where a depot lies, sound or damaged: in memory, and on disk.

    A directory that is empty, or has nothing of a depot, is none.
    """
    name = places.check_depot_name(name)
    volatile = [root / name for root in places.memory_roots(directory)]
    durable = data_root(data_directory) / name
    return [path for path in volatile if _is_depot(path)], durable if _is_depot(durable) else None


def _is_depot(path: Path) -> bool:
    try:
        return (path / "format").exists() or (path / "catalog").exists()
    except OSError:  # another user's: whoever opens it is told
        return False


def no_depot(
    name: str, directory: Path | None, data_directory: Path | None = None
) -> NotFoundError:
    """Return the error that says what there is instead, and how a depot begins and ends."""
    known = entrepot.names(directory=directory, data_directory=data_directory)
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


def typed(
    command: str, name: str, directory: Path | None, data_directory: Path | None = None
) -> str:
    """Return a command for this depot as a person would type it."""
    words = f"entrepot {command} --depot {name}"
    for option, path in (("--directory", directory), ("--data-dir", data_directory)):
        if path is not None:
            words += f" {option} {shlex.quote(str(path))}"
    return words


def open_existing(
    name: str | None, directory: Path | None, data_directory: Path | None = None
) -> Depot:
    """Open a depot that exists: a mistyped name must not make an empty one.

    Raises:
        NotFoundError: There is no depot of this name.
        CorruptError: Files of it are lost.
    """
    wanted = depot_name(name)
    volatile, _ = locate(wanted, directory, data_directory)
    if (
        wanted not in entrepot.names(directory=directory, data_directory=data_directory)
        and not volatile
    ):
        raise no_depot(wanted, directory, data_directory)
    for path in volatile:
        places.check_whole(path)
    return entrepot.open(wanted, directory=directory, data_directory=data_directory)


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
