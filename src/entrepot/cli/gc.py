"""`entrepot gc`: give back what dead processes held."""

from typing import Annotated

import typer

from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    open_existing,
)
from entrepot.cli.present import console, count, emit, facts, size

__all__ = ["command"]


def command(
    trim: Annotated[
        bool, typer.Option("--trim", help="Also give free memory back to the system.")
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give back what dead processes held: memory, pins, claims, readers.

    Every process that opens a depot does so now and then; this does it now. Memory that is
    given back to the system costs the next put of its size again what fresh memory costs.
    """
    with open_existing(depot, directory, data_directory) as opened:
        done = opened.collect(trim=trim)
    if as_json:
        emit(done)
        return
    console().print(
        facts(
            "Collected",
            {
                "sessions of dead processes": count(done.sessions),
                "stale readers": count(done.readers),
                "memory free again": size(done.reclaimed_bytes),
                "memory back to the system": size(done.trimmed_bytes),
            },
        )
    )
