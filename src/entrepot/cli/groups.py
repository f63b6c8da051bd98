"""Commands that have commands of their own, as `entrepot table scan`."""

import errno
import os
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import typer

from entrepot.cli.options import DataDirectoryOption, DepotOption, DirectoryOption, JsonOption
from entrepot.errors import EntrepotError, UnavailableError

__all__ = ["group", "printing"]


def group(
    summary: str,
    commands: Mapping[str, Callable[..., Any]],
    alone: Callable[..., Any] | None = None,
) -> typer.Typer:
    """Return a group of commands, which take the options that all have before or behind them.

    Args:
        summary: What they are about.
        commands: By name; the first line of a function's docstring is its help.
        alone: What is done where no command is named: alone(depot, directory,
            data_directory, as_json). By default, help is shown.
    """

    def options(
        context: typer.Context,
        depot: DepotOption = None,
        directory: DirectoryOption = None,
        data_directory: DataDirectoryOption = None,
        as_json: JsonOption = False,
    ) -> None:
        given = {
            "depot": depot,
            "directory": directory,
            "data_directory": data_directory,
            "as_json": as_json,
        }
        if context.invoked_subcommand is not None:
            context.default_map = dict.fromkeys(commands, given)
        elif alone is not None:
            alone(**given)

    made = typer.Typer(
        help=summary, no_args_is_help=alone is None, invoke_without_command=alone is not None
    )
    made.callback()(options)
    for name, function in commands.items():
        made.command(name)(function)
    return made


def printing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command that says in our words if its output cannot be written.

    A pipe that nobody reads any more is no error: typer ends the command then.
    """

    @wraps(function)
    def told(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
            sys.stdout.flush()
        except OSError as error:
            if isinstance(error, EntrepotError) or error.errno in (None, errno.EPIPE):
                raise
            _drop_output()
            raise UnavailableError(
                f"{error.filename or 'the output'} cannot be written: {error.strerror}",
                "is there room where it goes?",
            ) from error
        return result

    return told


def _drop_output() -> None:
    """Let what is still to be printed vanish, or Python would complain when it ends."""
    try:
        out = sys.stdout.fileno()
    except OSError:  # it is no file
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, out)
    os.close(nothing)
