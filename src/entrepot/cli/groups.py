"""Commands that have commands of their own, as `entrepot table scan`."""

from collections.abc import Callable, Mapping
from typing import Any

import typer

from entrepot.cli.options import DepotOption, DirectoryOption, JsonOption

__all__ = ["group"]


def group(
    summary: str,
    commands: Mapping[str, Callable[..., Any]],
    alone: Callable[..., Any] | None = None,
) -> typer.Typer:
    """Return a group of commands, which take the options that all have before or behind them.

    Args:
        summary: What they are about.
        commands: By name; the first line of a function's docstring is its help.
        alone: What is done where no command is named: alone(depot, directory, as_json). By
            default, help is shown.
    """

    def options(
        context: typer.Context,
        depot: DepotOption = None,
        directory: DirectoryOption = None,
        as_json: JsonOption = False,
    ) -> None:
        given = {"depot": depot, "directory": directory, "as_json": as_json}
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
