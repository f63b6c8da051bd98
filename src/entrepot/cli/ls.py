"""`entrepot ls`: what is in a depot, or in one of its spaces."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

import entrepot
from entrepot.cli.options import (
    DepotOption,
    DirectoryOption,
    JsonOption,
    known_depots,
    open_existing,
)
from entrepot.cli.present import age, console, count, counted, emit, row, size, table

__all__ = ["command"]

LIMIT = 100


def command(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPACE]", help="List the variables of this space.", show_default=False
        ),
    ] = None,
    pattern: Annotated[
        str,
        typer.Option("--pattern", "-p", metavar="GLOB", help="Only objects of matching types."),
    ] = "*",
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="Most objects to list.")
    ] = LIMIT,
    depots: Annotated[
        bool, typer.Option("--depots", help="List the names of all depots instead.")
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List objects, names and spaces, or the variables of one space."""
    out = console()
    if depots:
        names = known_depots(directory)
        if as_json:
            emit(names)
        else:
            out.print(Text("\n".join(names)) if names else "[dim]no depots[/]")
        return
    with open_existing(depot, directory) as opened:
        if space is not None:
            _list_variables(out, opened, space, as_json=as_json)
        else:
            _list_depot(out, opened, pattern, limit, as_json=as_json)


def _list_variables(out: Console, depot: entrepot.Depot, space: str, *, as_json: bool) -> None:
    """List the variables of one space."""
    variables = depot.space(space.removesuffix("/"), create=False).variables()
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
    """List objects with their names, and spaces."""
    objects = depot.objects.list(pattern, limit=limit)
    names: dict[Any, list[str]] = {}
    for name, key in depot.objects.names().items():
        names.setdefault(key, []).append(name)
    spaces = depot.spaces()
    total = depot.statistics().objects
    if as_json:
        emit(
            {
                "depot": depot.name,
                "objects": [
                    {
                        "id": info.id,
                        "typename": info.typename,
                        "nbytes": info.nbytes,
                        "created": info.created,
                        "names": names.get(info.id, []),
                    }
                    for info in objects
                ],
                "objects_total": total,
                "spaces": spaces,
            }
        )
        return
    made = table(
        f"{counted(total, 'object')} in depot {depot.name}", "Id", "Type", ">Size", ">Age", "Names"
    )
    for info in objects:
        row(
            made,
            Text(str(info.id), "cyan"),
            info.typename,
            size(info.nbytes),
            age(info.created),
            ", ".join(names.get(info.id, [])),
        )
    if len(objects) == limit < total:
        made.caption = f"the first {count(limit)}; --limit and --pattern choose"
    out.print(made)
    if spaces:
        made = table(
            counted(len(spaces), "space"), "Space", ">Variables", ">Values", "Owner", "Lives"
        )
        for info in spaces:
            owner = f"process {info.owner_pid}" if info.owner_pid else "nobody"
            lives = "on disk" if info.persistent else "in memory"
            row(made, info.name, count(info.variables), count(info.values), owner, lives)
        out.print(made)
