"""`entrepot run`: run an unmodified program of another system on a depot."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from entrepot.cli.options import DataDirectoryOption, DepotOption, DirectoryOption
from entrepot.errors import EntrepotError, NotFoundError
from entrepot.faces import FACES, bind

__all__ = ["command"]


def command(
    script: Annotated[str, typer.Argument(help="The script; with -m, the module.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="What the program gets as its own arguments.")
    ] = None,
    faces: Annotated[
        str, typer.Option("--as", metavar="NAMES", help=f"Which systems: {', '.join(FACES)}.")
    ] = ",".join(FACES),
    is_module: Annotated[bool, typer.Option("-m", help="Run a module, as `python -m`.")] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
) -> None:
    """Run a program that imports vineyard, nws, v3io, syncstream or proxystore, unmodified.

    `import vineyard`, in it and in the Python processes that it starts, gives entrepot's face
    of that name. What stands behind the script's name is the program's own.
    """
    if depot is not None:
        os.environ["ENTREPOT_DEPOT"] = depot
    if directory is not None:
        os.environ["ENTREPOT_DIR"] = str(directory.absolute())
    if data_directory is not None:
        os.environ["ENTREPOT_DATA"] = str(data_directory.absolute())
    bind(name.strip() for name in faces.split(",") if name.strip())
    path = Path(script)
    if not is_module and not path.exists():
        raise NotFoundError(f"there is no script {script!r}", "with -m, name a module")
    sys.argv = [script, *(arguments or [])]
    sys.path.insert(0, "" if is_module else str(path.resolve().parent))
    if is_module and not _is_there(script):
        raise NotFoundError(f"there is no module {script!r}", "without -m, name a script")
    try:
        if is_module:
            runpy.run_module(script, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(str(path), run_name="__main__")
    except EntrepotError as error:  # the program's, not this command's
        traceback.print_exc()
        raise typer.Exit(1) from error


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # what is above it is not there, or no package
        return False
