"""`entrepot spaces`: spaces, their variables and values, who waits, and who works on what."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

import entrepot
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    open_existing,
)
from entrepot.cli.present import age, console, count, counted, emit, row, size, table
from entrepot.cli.targets import open_space
from entrepot.layers.spaces import Space, ValueInfo, VariableInfo

__all__ = ["command"]

LIMIT = 20
PREVIEW_CHARACTERS = 60


def command(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE", help="Show the variables of this space.", show_default=False
        ),
    ] = None,
    variable: Annotated[
        str | None,
        typer.Argument(
            metavar="VARIABLE", help="Show the values of this variable.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="Most values to show.")
    ] = LIMIT,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the space, or the variable, instead.")
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show spaces, and what is in them; nothing is taken, and nothing is loaded."""
    out = console()
    if delete and space is None:
        raise typer.BadParameter("name what to delete: SPACE, or SPACE VARIABLE")
    with open_existing(depot, directory, data_directory) as opened:
        if space is None:
            _show_spaces(out, opened, as_json=as_json)
            return
        found = open_space(opened, space)
        if delete:
            _delete(out, opened, found, variable, as_json=as_json)
        elif variable is None:
            _show_variables(out, opened, found, as_json=as_json)
        else:
            _show_values(out, found, variable, limit, as_json=as_json)


def _show_spaces(out: Console, depot: entrepot.Depot, *, as_json: bool) -> None:
    spaces = depot.spaces()
    if as_json:
        emit(spaces)
        return
    title = f"{counted(len(spaces), 'space')} in depot {depot.name}"
    made = table(title, "Space", ">Variables", ">Values", ">Claimed", ">Waiting", "Owner", "Lives")
    for info in spaces:
        variables = depot.space(info.name, create=False).variables()
        row(
            made,
            info.name,
            count(info.variables),
            count(info.values),
            count(sum(each.claimed for each in variables)),
            count(sum(each.fetchers + each.finders for each in variables)),
            f"process {info.owner_pid}" if info.owner else "nobody",
            "on disk" if info.persistent else "in memory",
        )
    out.print(made)


def _show_variables(out: Console, depot: entrepot.Depot, space: Space, *, as_json: bool) -> None:
    variables, claims, waiters = space.variables(), space.claims(), space.waiters()
    if as_json:
        emit({"variables": variables, "claims": claims, "waiters": waiters})
        return
    title = f"Space {space.name}: {counted(len(variables), 'variable')}"
    made = table(
        title, "Variable", "Mode", ">Values", ">Oldest", ">Claimed", ">Later", ">Waiting", "Rules"
    )
    for info in variables:
        row(
            made,
            info.name,
            info.mode,
            count(info.values),
            age(info.oldest) if info.oldest is not None else "",
            count(info.claimed),
            count(info.delayed),
            count(info.fetchers + info.finders),
            _rules(info),
        )
    out.print(made)
    pids = {session.session: session.pid for session in depot.sessions()}
    if claims:
        work = table(counted(len(claims), "claim"), "Value", "Type", ">Size", "Process", ">Since")
        for claim in claims:
            row(
                work,
                f"{claim.variable}[{claim.index}]",
                claim.typename,
                size(claim.nbytes),
                str(pids.get(claim.session, "?")),
                age(claim.since),
            )
        out.print(Padding(work, (1, 0, 0, 0)))
    if waiters:
        out.print(Padding(_waiting(waiters, pids), (1, 0, 0, 0)))


def _waiting(waiters: list[Any], pids: dict[int, int]) -> Table:
    made = table(counted(len(waiters), "wait"), "Variable", "For", "Process", ">Since")
    for waiter in waiters[:LIMIT]:
        process = str(pids.get(waiter.session, "?"))
        row(made, waiter.variable, waiter.kind, process, age(waiter.since))
    if len(waiters) > LIMIT:
        made.caption = f"… and {count(len(waiters) - LIMIT)} more"
    return made


def _rules(info: VariableInfo) -> str:
    """Say what is special about a variable."""
    said: list[str] = []
    if info.max_values:
        said.append(f"≤ {count(info.max_values)} values")
    if info.max_bytes:
        said.append(f"≤ {size(info.max_bytes)}")
    if said:
        said.append(f"then {info.when_full.replace('_', ' ')}")
    if info.ttl:
        said.append(f"for {info.ttl:g} s")
    if info.max_tries:
        said.append(f"≤ {counted(info.max_tries, 'try').replace('trys', 'tries')}")
    if info.producers is not None:
        said.append(counted(info.producers, "producer"))
    return ", ".join(said)


def _show_values(out: Console, space: Space, variable: str, limit: int, *, as_json: bool) -> None:
    if not space.id_of(variable):
        raise entrepot.NotFoundError(
            f"there is no variable {variable!r} in {space.name}",
            f"entrepot spaces {space.name} lists them",
        )
    values = space.peek(variable, limit=limit)
    if as_json:
        emit(values)
        return
    made = table(f"{space.name}/{variable}", ">Index", "Type", ">Size", ">Age", ">Tries", "Value")
    for value in values:
        row(
            made,
            str(value.index),
            value.typename,
            size(value.nbytes),
            age(value.stored),
            str(value.tries or ""),
            _preview(value),
        )
    if len(values) == limit:
        made.caption = f"the oldest {count(limit)}; --limit shows more"
    out.print(made)


def _preview(value: ValueInfo) -> str:
    """Say what a value is, as far as that can be told without loading it."""
    if "value_" in value.fields:
        said = repr(value.fields["value_"])
    else:
        said = ", ".join(f"{name.strip('_')} {field}" for name, field in value.fields.items())
    if len(said) > PREVIEW_CHARACTERS:
        said = said[: PREVIEW_CHARACTERS - 1] + "…"
    return f"{said}  ({value.reason})" if value.reason else said


def _delete(
    out: Console, depot: entrepot.Depot, space: Space, variable: str | None, *, as_json: bool
) -> None:
    if variable is None:
        depot.delete_space(space.name)
    elif not space.delete(variable):
        raise entrepot.NotFoundError(f"there is no variable {variable!r} in {space.name}")
    what = space.name if variable is None else f"{space.name}/{variable}"
    if as_json:
        emit({"deleted": what})
    else:
        out.print(f"deleted {what}", markup=False)
