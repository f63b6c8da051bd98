"""`entrepot rm`: remove objects, names, spaces and variables."""

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from entrepot import Depot, attachment, places
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    locate,
    no_depot,
    open_existing,
)
from entrepot.cli.present import console, emit
from entrepot.cli.targets import (
    ObjectTarget,
    SpaceTarget,
    Target,
    require_variable,
    resolve,
)
from entrepot.engine.lmdb.locks import leave_root, root_lock
from entrepot.errors import ConflictError

__all__ = ["command"]


def command(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET",
            help="Ids, names, spaces, or SPACE/VARIABLE.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Of a name, keep its object. Of a depot, keep what it has on disk."
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Also objects that others are made of.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="The whole depot that --depot names, also for who uses it now."),
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove objects, names, spaces and variables, or with --all a depot.

    A name goes with its object, unless the object has another name. All targets must
    exist, else nothing is removed. SPACE/ means a space where a name is spelled alike.
    """
    if everything == bool(targets):
        raise typer.BadParameter("give targets, or --all --depot NAME")
    if everything and depot is None:
        raise typer.BadParameter("--all goes with the name of the depot: --all --depot NAME")
    if everything and depot is not None:
        removed = [_remove_depot(depot, directory, data_directory, keep=keep)]
    else:
        with open_existing(depot, directory, data_directory) as opened:
            found = [(text, _checked(opened, text)) for text in dict.fromkeys(targets or [])]
            removed = [_remove(opened, text, target, keep, force) for text, target in found]
        if not opened.path.exists():
            removed[-1]["note"] += _what_is_left(opened)
    if as_json:
        emit(removed)
    else:
        for entry in removed:
            said = Text.assemble(f"removed {entry['kind']} ", (entry["target"], "cyan"))
            console().print(said.append(entry["note"]))


def _what_is_left(depot: Depot) -> str:
    """Say what is left of a depot whose memory tier went with its last value."""
    if (depot.data_path / "catalog").exists():
        return f"; nothing is left in memory, what it has on disk stays, in {depot.data_path}"
    return f"; nothing is left in depot {depot.name!r}: it is gone"


def _remove_depot(
    name: str, directory: Path | None, data_directory: Path | None, *, keep: bool
) -> dict[str, Any]:
    """Remove a depot without opening it, since it may be damaged.

    Raises:
        ConflictError: Its directory holds something else too.
        NotFoundError: There is nothing to remove.
    """
    volatile, durable = locate(name, directory, data_directory)
    removed = [*volatile, *([durable] if durable is not None and not keep else [])]
    if not removed:
        raise no_depot(name, directory, data_directory)
    for path in removed:
        places.check_removable(path)
    if durable in removed:
        _check_home(durable, volatile)
    root = volatile[0].parent if volatile else places.memory_roots(directory)[0]
    with places.system_errors(root), root_lock(root):
        for path in removed:
            attachment.remove_directory(path)
        leave_root(root, remove=places.is_own_root(root))
    note = f"; what it has on disk stays, in {durable}" if keep and durable is not None else ""
    return {"target": name, "kind": "depot", "note": note}


def _check_home(durable: Path, volatile: list[Path]) -> None:
    """Refuse to remove what a depot has on disk where one in another directory uses it.

    Raises:
        ConflictError: It does.
    """
    try:
        home = Path(os.fsdecode((durable / "home").read_bytes()))
    except OSError:  # nobody used it yet
        return
    if home.is_absolute() and home.exists() and home not in [path.resolve() for path in volatile]:
        raise ConflictError(
            f"{durable} belongs to the depot in {home} too",
            f"--keep keeps it; --directory {shlex.quote(str(home.parent))} means that depot",
        )


def _checked(depot: Depot, text: str) -> Target:
    """Return what `text` means, if it exists and is one thing only.

    Raises:
        NotFoundError: It does not exist.
        ConflictError: It is a name and a space.
    """
    target = resolve(depot, text)
    if isinstance(target, ObjectTarget):
        if target.name is not None and any(info.name == text for info in depot.spaces()):
            raise ConflictError(
                f"{text!r} is a name and also a space",
                f"{text}/ is the space, {target.id} the object",
            )
    elif not isinstance(target, SpaceTarget):
        require_variable(depot, target)
    return target


def _remove(depot: Depot, text: str, target: Target, keep: bool, force: bool) -> dict[str, Any]:
    """Remove one thing, and say what it was."""
    note = ""
    if isinstance(target, ObjectTarget):
        kind = "object"
        if target.name is not None:
            depot.objects.drop_name(target.name)
            others = depot.objects.usage(target.id).names
            if keep or others:
                kind = "name"
                note = f"; the object {target.id} stays" + (
                    f", named {others[0]}" if others else ""
                )
        if kind == "object" and depot.objects.exists(target.id):
            removed = depot.objects.delete(target.id, force=force)
            note = f" and {removed - 1} that it was made of" if removed > 1 else ""
    elif isinstance(target, SpaceTarget):
        kind = "space"
        depot.delete_space(target.space)
    else:
        kind = "variable"
        depot.space(target.space, create=False).delete(target.variable)
    return {"target": text, "kind": kind, "note": note}
