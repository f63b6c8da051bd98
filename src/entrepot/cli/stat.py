"""`entrepot stat`: the figures of a depot, or all about one thing in it."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from entrepot import Depot
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    open_existing,
)
from entrepot.cli.overview import Overview, at_least, overview
from entrepot.cli.present import age, console, count, counted, emit, facts, plain, share, size
from entrepot.cli.targets import ObjectTarget, SpaceTarget, Target, VariableTarget, resolve
from entrepot.depot import DepotStatistics
from entrepot.errors import NotFoundError

__all__ = ["command"]


def command(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="An id, a name, a space, or SPACE/VARIABLE; without it, the depot.",
            show_default=False,
        ),
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the figures of a depot, or all about one thing in it."""
    with open_existing(depot, directory, data_directory) as opened:
        if target is None:
            found, figures = overview(opened), opened.statistics()
            document: Any = {**asdict(figures), **_contents(opened, found)}
            shown = _depot(opened, figures, found)
        else:
            document, shown = _thing(opened, resolve(opened, target))
        if as_json:
            emit(document)
        else:
            console().print(shown)


def _contents(depot: Depot, found: Overview) -> dict[str, Any]:
    """How many things of each kind there are, but for objects; for JSON."""
    spaces = depot.spaces()
    return {
        "variables": sum(info.variables for info in spaces),
        "values": sum(info.values for info in spaces),
        "containers": len(found.containers),
        "tables": len(found.tables),
        "streams": len(found.streams),
        "lines": len(found.lines),
        "more_directories": found.more_directories,
    }


def _depot(depot: Depot, figures: DepotStatistics, found: Overview) -> RenderableType:
    """The figures of a depot."""
    arena = figures.arena
    contents = _contents(depot, found)
    in_spaces = (
        f"{counted(contents['variables'], 'variable')}, {counted(contents['values'], 'value')}"
    )
    entries = sum(each["entries"] for each in found.lines)
    in_lines = f"{count(entries)} {'entry' if entries == 1 else 'entries'}"
    more = found.more_directories
    return facts(
        f"Depot {figures.name}",
        {
            "in": str(figures.path),
            "durable data in": str(depot.data_path),
            "  catalog on disk": size(figures.durable_bytes),
            "memory": share(figures.memory_used, figures.memory_max),
            "  used, of at most": f"{size(figures.memory_used)} of {size(figures.memory_max)}",
            "  catalog": f"{size(figures.catalog_used)} used of {size(figures.catalog_bytes)}",
            "  arena": f"{size(arena.used)} used of {size(arena.reserved)} reserved",
            "  in limbo": f"{size(arena.limbo)} deleted, still looked at or not yet collected",
            "  pinned": size(arena.pinned),
            "  largest free": size(arena.largest_free),
            "objects": f"{count(figures.objects)} ({count(arena.blobs)} blobs in the arena)",
            "spaces": f"{count(figures.spaces)} ({in_spaces})",
            "containers": count(contents["containers"]),
            "tables": at_least(contents["tables"], more),
            "streams": at_least(contents["streams"], more),
            "lines": f"{counted(contents['lines'], 'buffer')} ({in_lines})",
            "sessions": count(figures.sessions),
        },
    )


def _thing(depot: Depot, target: Target) -> tuple[Any, RenderableType]:
    """All about one thing, for JSON and for people."""
    match target:
        case ObjectTarget():
            return _object(depot, target)
        case SpaceTarget():
            info = next(info for info in depot.spaces() if info.name == target.space)
            return info, _record(f"Space {target.space}", info)
        case VariableTarget():
            for info in depot.space(target.space, create=False).variables():
                if info.name == target.variable:
                    return info, _record(f"Variable {target.space}/{target.variable}", info)
            raise NotFoundError(f"space {target.space!r} has no variable {target.variable!r}")


def _object(depot: Depot, target: ObjectTarget) -> tuple[Any, RenderableType]:
    """An object's metadata, members and usage."""
    meta = depot.objects.meta(target.id)
    usage = depot.objects.usage(target.id)
    tree = Tree(Text(f"Object {target.id}", "bold"), guide_style="dim")
    _grow(tree, meta)
    if meta.get("members"):
        tree.add(_entry("size with all members", size(sum(_sizes(meta).values()))))
    use = tree.add(_entry("used", ""))
    use.add(_entry("names", ", ".join(usage.names) or "·"))
    use.add(_entry("parents", ", ".join(map(str, usage.parents)) or "·"))
    use.add(_entry("pins", count(usage.pins)))
    return {**meta, "id": target.id, "usage": usage}, tree


def _sizes(meta: dict[str, Any]) -> dict[str, int]:
    """The bytes of an object and of all that it is made of, by id: a part may be in it twice."""
    found: dict[str, int] = {meta["id"]: meta["nbytes"]}
    for member in meta.get("members", {}).values():
        found |= _sizes(member)
    return found


def _grow(tree: Tree, meta: dict[str, Any]) -> None:
    """Add the fields and the members of an object's metadata to a tree."""
    for key, value in meta.items():
        if key == "members":
            for name, member in value.items():
                _grow(tree.add(_entry("member", name)), member)
        elif key == "created":
            tree.add(_entry(key, f"{age(value)} ago"))
        elif key == "nbytes":
            tree.add(_entry("size", size(value)))
        else:
            tree.add(_entry(key, str(plain(value))))


def _entry(key: str, value: str) -> Text:
    """One line of a tree."""
    return Text.assemble((f"{key} ", "dim"), value)


def _record(title: str, record: Any) -> RenderableType:
    """A record's fields, but the number of a session: the process says more."""
    fields = {name: value for name, value in asdict(record).items() if name != "owner"}
    if "owner_pid" in fields:
        fields["owner_pid"] = f"process {fields['owner_pid']}" if fields["owner_pid"] else "nobody"
    if "created" in fields:
        fields["created"] = f"{age(fields['created'])} ago"
    return facts(
        title,
        {
            name.removesuffix("_pid"): count(value) if type(value) is int else str(value)
            for name, value in fields.items()
        },
    )
