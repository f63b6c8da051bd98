"""`entrepot put`: a file or a literal becomes an object, or a value of a variable."""

import ast
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

import entrepot
from entrepot.cli.files import read_file
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    depot_name,
)
from entrepot.cli.present import console, duration, emit, size
from entrepot.errors import TypeMismatchError

__all__ = ["command"]

STDIN = Path("-")


def command(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help=".csv .parquet .npy .json .txt, any other as bytes; - is the standard input.",
            show_default=False,
        ),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(
            "--value", "-v", metavar="LITERAL", help="A Python literal or JSON, instead of FILE."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", metavar="NAME", help="Give the object a name.")
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", "-s", metavar="SPACE", help="Store it in this space.")
    ] = None,
    variable: Annotated[
        str | None,
        typer.Option("--variable", metavar="VARIABLE", help="The variable of the space."),
    ] = None,
    persistent: Annotated[
        bool, typer.Option("--persistent", help="Make the space on disk, if it is not there.")
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a file or a literal into a depot; the depot is made if it is not there."""
    if (file is None) == (value is None):
        raise typer.BadParameter("give a FILE, or --value LITERAL")
    if (space is None) != (variable is None):
        raise typer.BadParameter("--space and --variable go together")
    if space is not None and name is not None:
        raise typer.BadParameter("--name is for objects; a value of a space has none")
    content = _literal(value) if value is not None else _content(file or STDIN)
    with entrepot.open(
        depot_name(depot), directory=directory, data_directory=data_directory
    ) as opened:
        began = time.perf_counter()
        document: dict[str, Any]
        if space is not None and variable is not None:
            opened.space(space, persistent=persistent).store(variable, content)
            seconds = time.perf_counter() - began
            said = Text.assemble("stored in ", (f"{space}/{variable}", "cyan"))
            document = {"space": space, "variable": variable}
        else:
            key = opened.objects.put(content, name=name)
            seconds = time.perf_counter() - began
            nbytes = opened.objects.size(key)
            said = Text.assemble((str(key), "cyan"), f"  {size(nbytes)}")
            said.append(f"  named {name}" if name else "")
            document = {"id": key, "name": name, "nbytes": nbytes}
        if as_json:
            emit(
                {
                    "depot": opened.name,
                    **document,
                    "type": type(content).__name__,
                    "seconds": seconds,
                }
            )
        else:
            said.append(f"  {type(content).__name__}, {duration(seconds)}", "dim")
            console().print(said)


def _content(file: Path) -> Any:
    """Return what a file, or the standard input, holds."""
    return sys.stdin.buffer.read() if file == STDIN else read_file(file)


def _literal(text: str) -> Any:
    """Read a Python literal, else JSON.

    Raises:
        TypeMismatchError: It is neither.
    """
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        raise TypeMismatchError(
            f"{shown!r} is neither a Python literal nor JSON", "text wants quotes: --value '\"hi\"'"
        ) from error
