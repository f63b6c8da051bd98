"""The application: which commands there are, and how each is loaded and guarded."""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

import entrepot
from entrepot.errors import EntrepotError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["COMMANDS", "GROUPS", "application"]

COMMANDS = {
    "demo": "Share a real data set with worker processes, and show what was copied.",
    "ls": "List all that is in a depot, or the variables of one space.",
    "get": "Print a value, or write it to a file.",
    "put": "Put a file or a literal into a depot.",
    "rm": "Remove objects, names, spaces and variables.",
    "spaces": "Browse spaces: variables, values, who waits, who works on what.",
    "table": "Look at tables and change them; import and export files.",
    "stream": "Look at streams; append and follow records.",
    "container": "List containers, or look into one; put, get and remove objects.",
    "tail": "Print the lines that programs write to a buffer, and follow them.",
    "stat": "Show the figures of a depot, or all about one thing in it.",
    "top": "Watch memory, processes and spaces live.",
    "gc": "Give back what dead processes held.",
    "doctor": "Look for problems; exit status 1 when there are any.",
    "bench": "Measure this machine in a few seconds.",
    "serve": "Let programs that speak another protocol, or on other machines, use a depot.",
    "keys": "Add, list and remove the access keys of an HTTP gateway.",
    "worker": "Do the tasks that executors put into a space.",
    "run": "Run an unmodified program of another system on a depot.",
}
"""Command -> one line of help. The code of `COMMAND` is `command` in `entrepot.cli.COMMAND`."""
GROUPS = ("table", "stream", "container")
"""Commands that have commands of their own: `COMMANDS` in `entrepot.cli.COMMAND`."""


def application(arguments: Sequence[str]) -> typer.Typer:
    """Return the application, ready for `arguments`.

    Only the module of the command that `arguments` names is loaded, so that
    `entrepot --help` reads none; the others are known by their line of help.
    """
    wanted = next((argument for argument in arguments if argument in COMMANDS), None)
    app = typer.Typer(
        help="One shared place for Python data, with no server.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, summary in COMMANDS.items():
        if name in GROUPS and name == wanted:
            app.add_typer(_load_group(name, summary), name=name, short_help=summary)
            continue
        function = _load(name) if name == wanted else _not_loaded
        settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
        # What stands behind the name of a script is the script's own.
        app.command(name, short_help=summary, context_settings=settings if name == "run" else None)(
            function
        )
    return app


def _tell_version(wanted: bool) -> None:
    """Print the version and exit, if that is what was asked."""
    if wanted:
        typer.echo(f"entrepot {entrepot.__version__}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """One shared place for Python data, with no server."""


def _not_loaded() -> None:
    """Stand for a command that `arguments` did not name."""
    raise AssertionError("a command was run that was not loaded")


def _load(name: str) -> Callable[..., Any]:
    """Return the function of a command."""
    return _guarded(import_module(f"entrepot.cli.{name}").command)


def _load_group(name: str, summary: str) -> typer.Typer:
    """Return a command that has commands of its own."""
    from entrepot.cli.groups import group, printing

    module = import_module(f"entrepot.cli.{name}")
    alone = getattr(module, "alone", None)
    return group(
        summary,
        {name: _guarded(printing(function)) for name, function in module.COMMANDS.items()},
        None if alone is None else _guarded(printing(alone)),
    )


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose errors, if they are ours, become two lines and exit status 1."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except EntrepotError as error:
            from entrepot.cli.present import fail  # rich: 30 ms that a clean run may save

            fail(error)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error

    return guarded
