"""`entrepot worker`: do the tasks that executors put into a space."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli.options import DataDirectoryOption, DepotOption, DirectoryOption
from entrepot.cli.present import console

__all__ = ["command"]


def command(
    space: Annotated[
        str, typer.Argument(metavar="SPACE", help="Where the tasks are: see SpaceExecutor.")
    ],
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
) -> None:
    """Do the tasks that executors put into a space, until Ctrl-C.

    The functions run in this process, with its rights and its modules: those that Python finds,
    and those in the current directory.
    """
    from entrepot.executor import work

    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as for `python -m entrepot worker`
    console(stderr=True).print(f"[dim]working for {space}, until Ctrl-C[/]")
    memory, disk = (None if path is None else str(path) for path in (directory, data_directory))
    work(depot, memory, disk, space, None)
