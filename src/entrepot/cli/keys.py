"""`entrepot keys`: who may read and write what through an HTTP gateway."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

import entrepot
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    open_existing,
)
from entrepot.cli.present import console, emit, facts, row, table
from entrepot.layers import access

__all__ = ["command"]


class Verb(StrEnum):
    """What to do."""

    ADD = "add"
    LS = "ls"
    RM = "rm"


def command(
    verb: Annotated[Verb, typer.Argument(help="What to do.")],
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="With rm: which.", show_default=False),
    ] = None,
    container: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RIGHT",
            help="With add: r, to read that container, or rw, to write it too; may be repeated.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="With add: read, write and make all containers.")
    ] = False,
    label: Annotated[str, typer.Option(help="With add: whose it is, or what for.")] = "",
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add, list and remove access keys.

    A key is shown once, when it is added; what is stored tells nothing of it. Gateways see
    at once what you add or remove. Clients send it as X-v3io-session-key.
    """
    if (verb is Verb.RM) != bool(ids):
        raise typer.BadParameter("rm takes the ids of keys, and add and ls none")
    if verb is Verb.ADD and not (container or everything):
        raise typer.BadParameter("say what it is good for: --container NAME=rw (or =r), or --all")
    if verb is not Verb.ADD and (container or everything or label):
        raise typer.BadParameter("--container, --all and --label go with add")
    with (
        entrepot.open(depot, directory=directory, data_directory=data_directory)
        if verb is Verb.ADD
        else open_existing(depot, directory, data_directory)
    ) as opened:
        engine = opened.attached.durable().engine
        if verb is Verb.ADD:
            rights = dict(_right(text) for text in container or [])
            text, key = access.new_key(label, rights, everything=everything)
            engine.write(access.add, key)
            _tell_new(text, key, as_json)
        elif verb is Verb.LS:
            _tell(engine.read(access.list_keys), as_json)
        else:
            _tell([engine.write(access.remove, id) for id in ids or []], as_json)


def _right(text: str) -> tuple[str, str]:
    name, sign, right = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r} is not NAME=RIGHT, for instance lab=rw")
    return name, right


def _entry(key: access.AccessKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "label": key.label,
        "rights": "all" if key.everything else dict(key.rights),
        "created": datetime.fromtimestamp(key.created_ns // 1_000_000_000, UTC).isoformat(),
    }


def _shown(key: access.AccessKey) -> str:
    if key.everything:
        return "all"
    return ", ".join(f"{name}={right}" for name, right in key.rights.items())


def _tell_new(text: str, key: access.AccessKey, as_json: bool) -> None:
    if as_json:
        emit({"key": text, **_entry(key)})
        return
    console().print(facts("Shown this once", {"key": text, "id": key.id, "rights": _shown(key)}))


def _tell(keys: list[access.AccessKey], as_json: bool) -> None:
    if as_json:
        emit([_entry(key) for key in keys])
        return
    found = table("Access keys", "id", "label", "rights", "created")
    for key in keys:
        row(found, key.id, key.label, _shown(key), _entry(key)["created"])
    console().print(found)
