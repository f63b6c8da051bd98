"""What every command takes, and how it opens its depot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import entrepot
from entrepot import places, settings
from entrepot.errors import NotFoundError

if TYPE_CHECKING:
    from entrepot import Depot

__all__ = [
    "DepotOption",
    "DirectoryOption",
    "JsonOption",
    "depot_name",
    "known_depots",
    "open_existing",
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
    durable = places.depot_names(settings.data_root()) if directory is None else []
    return sorted({*entrepot.names(directory=directory), *durable})


def open_existing(name: str | None, directory: Path | None) -> Depot:
    """Open a depot that exists: a mistyped name must not make an empty one.

    Raises:
        NotFoundError: There is no depot of this name.
    """
    wanted = depot_name(name)
    known = known_depots(directory)
    if wanted not in known:
        others = f"there are: {', '.join(known)}" if known else "`entrepot put FILE` makes one"
        raise NotFoundError(f"there is no depot {wanted!r}", others)
    return entrepot.open(wanted, directory=directory)
