"""Listings of workspaces and variables: text whose every byte clients know."""

from __future__ import annotations

from collections.abc import Iterable

from entrepot.layers.spaces import Listed, VariableInfo

__all__ = ["parse_variables", "parse_workspaces", "variables", "workspaces"]

_BLANKS = str.maketrans("\t\n", "  ")


def workspaces(listed: Iterable[Listed]) -> str:
    """Return a line for each workspace; nothing in a field looks like the end of one."""
    return "\n".join(map(_workspace, listed)) + "\n"


def _workspace(listed: Listed) -> str:
    mark = ">" if listed.is_mine else " "
    variables = ",".join(_plain(name) for name in listed.variables)
    fields = (
        _plain(listed.name),
        _plain(listed.owner),
        str(listed.is_kept),
        str(len(listed.variables)),
        variables,
    )
    return mark + "\t".join(fields)


def variables(infos: Iterable[VariableInfo]) -> str:
    """Return a line for each variable, without an end of the last one."""
    return "\n".join(
        f"{_plain(info.name)}\t{info.values}\t{info.fetchers}\t{info.finders}\t{info.mode}"
        for info in infos
    )


def _plain(text: str) -> str:
    return text.translate(_BLANKS)


def parse_workspaces(text: str) -> dict[str, tuple[str, bool, str, bool, int, list[str]]]:
    """Return name -> (name, is mine, owner, is persistent, number of variables, their names)."""
    found: dict[str, tuple[str, bool, str, bool, int, list[str]]] = {}
    for line in text.split("\n"):
        if not line:
            continue
        name, owner, persistent, count, names = line[1:].split("\t")
        listed = names.split(",") if int(count) else []
        found[name] = (name, line[0] == ">", owner, persistent == "True", int(count), listed)
    return found


def parse_variables(text: str) -> dict[str, tuple[str, int, int, int, str]]:
    """Return name -> (name, values, fetchers, finders, mode)."""
    found: dict[str, tuple[str, int, int, int, str]] = {}
    for line in text.split("\n"):
        if line:
            name, values, fetchers, finders, mode = line.split("\t")
            found[name] = (name, int(values), int(fetchers), int(finders), mode)
    return found
