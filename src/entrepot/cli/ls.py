"""`entrepot ls`: what is in a depot, or in one of its spaces."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import entrepot
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    open_existing,
)
from entrepot.cli.overview import grids, overview
from entrepot.cli.present import age, console, count, counted, emit, row, size, table
from entrepot.cli.targets import open_space
from entrepot.errors import NotFoundError
from entrepot.layers.objects import ObjectId, ObjectInfo
from entrepot.layers.spaces import SpaceInfo

__all__ = ["command"]

LIMIT = 100
NAMES_MAX = 10_000
"""Of those that a person is told of, so many are read."""


def command(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE", help="List the variables of this space.", show_default=False
        ),
    ] = None,
    pattern: Annotated[
        str,
        typer.Option("--pattern", "-p", metavar="GLOB", help="Only objects of matching types."),
    ] = "*",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="Most of a kind to list.")
    ] = LIMIT,
    depots: Annotated[
        bool, typer.Option("--depots", help="List the names of all depots instead.")
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List all that is in a depot, or the variables of one space.

    Of what has very many entries, a part is counted: 1,000+ is more than that.
    """
    out = console()
    if depots:
        names = entrepot.names(directory=directory, data_directory=data_directory)
        if as_json:
            emit(names)
        else:
            out.print(Text("\n".join(names)) if names else "[dim]no depots[/]")
        return
    with open_existing(depot, directory, data_directory) as opened:
        if space is not None:
            _list_variables(out, opened, space, as_json=as_json)
        else:
            _list_depot(out, opened, pattern, limit, as_json=as_json)


def _list_variables(out: Console, depot: entrepot.Depot, space: str, *, as_json: bool) -> None:
    """List the variables of one space."""
    variables = open_space(depot, space.removesuffix("/")).variables()
    if as_json:
        emit(variables)
        return
    made = table(
        f"Space {space}: {counted(len(variables), 'variable')}",
        "Variable",
        "Mode",
        ">Values",
        ">Claimed",
        ">Fetchers",
        ">Finders",
    )
    for info in variables:
        numbers = (info.values, info.claimed, info.fetchers, info.finders)
        row(made, info.name, str(info.mode), *(count(number) for number in numbers))
    out.print(made)


def _list_depot(
    out: Console, depot: entrepot.Depot, pattern: str, limit: int, *, as_json: bool
) -> None:
    """List objects with their names, spaces, and what is in containers and in lines."""
    objects = depot.objects.list(pattern, limit=limit)
    names = depot.objects.names(limit=None if as_json else NAMES_MAX)
    names_of = {info.id: _names_of(depot, info.id) for info in objects}
    spaces = depot.spaces()
    total = depot.objects.count()
    found = overview(depot) if pattern == "*" or as_json else None
    if as_json:
        listed = [{**asdict(info), "names": names_of[info.id]} for info in objects]
        emit(
            {
                "depot": depot.name,
                "objects": listed,
                "objects_total": total,
                "names": names,
                "spaces": spaces,
                **({} if found is None else asdict(found)),
            }
        )
        return
    out.print(_objects(depot.name, objects, names_of, total, limit))
    shown = {info.id for info in objects}
    others = {name: key for name, key in names.items() if key not in shown}
    if others and pattern == "*":  # else most are of objects that nobody asked for
        out.print(Padding(_names(others, limit, more=len(names) == NAMES_MAX), (1, 0, 0, 0)))
    if spaces:
        out.print(Padding(_spaces(spaces, limit), (1, 0, 0, 0)))
    for grid in [] if found is None else grids(found, limit):
        out.print(Padding(grid, (1, 0, 0, 0)))


def _objects(
    depot: str,
    objects: list[ObjectInfo],
    names_of: dict[ObjectId, list[str]],
    total: int,
    limit: int,
) -> Table:
    """Objects, the oldest first."""
    title = f"{counted(total, 'object')} in depot {depot}"
    made = table(title, "Id", "Type", ">Size", ">Age", "Names")
    for info in objects:
        row(
            made,
            Text(str(info.id), "cyan"),
            info.typename,
            size(info.nbytes),
            age(info.created),
            ", ".join(names_of[info.id]),
        )
    if len(objects) == limit < total:
        made.caption = f"the oldest {count(limit)}; --limit and --pattern choose"
    return made


def _names_of(depot: entrepot.Depot, key: ObjectId) -> list[str]:
    try:
        return depot.objects.usage(key).names
    except NotFoundError:  # deleted meanwhile
        return []


def _names(names: dict[str, ObjectId], limit: int, *, more: bool) -> Table:
    """Names of objects that are not listed."""
    made = table(counted(len(names), "further name") + (" or more" if more else ""), "Name", "Id")
    for name, key in list(names.items())[:limit]:
        row(made, name, Text(str(key), "cyan"))
    if len(names) > limit:
        made.caption = f"… and {count(len(names) - limit)} more"
    return made


def _spaces(spaces: list[SpaceInfo], limit: int) -> Table:
    """Spaces, by name."""
    title = counted(len(spaces), "space")
    made = table(title, "Space", ">Variables", ">Values", "Owner", "Lives")
    for info in spaces[:limit]:
        owner = f"process {info.owner_pid}" if info.owner_pid else "nobody"
        lives = "on disk" if info.persistent else "in memory"
        row(made, info.name, count(info.variables), count(info.values), owner, lives)
    if len(spaces) > limit:
        made.caption = f"… and {count(len(spaces) - limit)} more"
    return made
