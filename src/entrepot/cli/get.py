"""`entrepot get`: print a value, or write it to a file."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from entrepot import Depot
from entrepot.cli.files import write_bytes, write_file
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    open_existing,
)
from entrepot.cli.present import console, emit, readable, size
from entrepot.cli.targets import SpaceTarget, Target, VariableTarget, resolve
from entrepot.errors import NotFoundError, TypeMismatchError

__all__ = ["command"]

ABSENT = object()
STDOUT = Path("-")


def command(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="An id, a name, or SPACE/VARIABLE.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write the value there: .npy .parquet .csv .json .pickle, else bytes; "
            "- is the standard output.",
            show_default=False,
        ),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Take the value out of the variable.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0, help="Wait so long for the variable's value."
        ),
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a value in a readable form, or write it to a file.

    Values that your programs stored are unpickled; get them from depots of your own only.
    """
    if out == STDOUT and as_json:
        raise typer.BadParameter("--json and --out - both want the standard output")
    with open_existing(depot, directory, data_directory) as opened:
        found = resolve(opened, target)
        value = _value(opened, found, fetch=fetch, timeout=timeout)
        written = None
        if out == STDOUT:
            write_bytes(sys.stdout.buffer, value)
        elif out is not None:
            written = write_file(out, value)
        if as_json:
            emit(_document(target, found, value, out, written))
        elif out is not None and out != STDOUT:
            console().print(Text(f"{size(written or 0)} written to {out}"))
        elif out is None:
            console().print(readable(value))


def _value(depot: Depot, target: Target, *, fetch: bool, timeout: float | None) -> Any:
    """Return the value of an object or a variable.

    Raises:
        NotFoundError: The variable has no value.
        WaitTimeoutError: It got none in `timeout` seconds.
        TypeMismatchError: The target is a whole space.
    """
    if isinstance(target, SpaceTarget):
        raise TypeMismatchError(
            f"{target.space!r} is a space", f"`entrepot ls {target.space}` lists its variables"
        )
    if not isinstance(target, VariableTarget):
        return depot.objects.get(target.id)
    space = depot.space(target.space, create=False)
    if timeout is not None:
        take = space.fetch if fetch else space.find
        return take(target.variable, timeout=timeout)
    look = space.try_fetch if fetch else space.try_find
    value = look(target.variable, ABSENT)
    if value is ABSENT:
        raise NotFoundError(
            f"variable {target.variable!r} of space {target.space!r} has no value",
            "--timeout SECONDS waits for one",
        )
    return value


def _document(
    text: str, target: Target, value: Any, out: Path | None, written: int | None
) -> dict[str, Any]:
    """Return what was got, for `--json`."""
    document = {"target": text, "id": getattr(target, "id", None), "type": type(value).__name__}
    if out is not None:
        return {**document, "file": out, "bytes": written}
    return {**document, "value": value}
