"""`entrepot tail`: the lines that programs print into a buffer."""

import sys
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from entrepot.cli.options import DataDirectoryOption, DepotOption, DirectoryOption, open_existing
from entrepot.cli.present import console
from entrepot.errors import NotFoundError
from entrepot.layers.lines import LINE, Entry, Lines

__all__ = ["command"]

_COLOURS = {"warning": "yellow", "error": "red"}


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which lines.")] = "default",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")
    ] = False,
    last: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="Begin with the last so many.")
    ] = 10,
    origin: Annotated[
        bool, typer.Option("--origin", "-o", help="Say when, on which host and by whom.")
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print the last lines that programs wrote to a buffer, and those that come."""
    with open_existing(depot, directory, data_directory) as opened:
        known = opened.list_lines()
        if name not in known:
            hint = f"there are: {', '.join(known)}" if known else "depot.lines(NAME) makes some"
            raise NotFoundError(f"there are no lines {name!r} in the depot {opened.name!r}", hint)
        lines = opened.lines(name)
        out = console()
        try:
            if follow:
                _follow(lines, last, out, as_json=as_json, origin=origin)
                return
            stretch = lines.read(last, partial=True)
            for entry in (*stretch.entries, *stretch.partials):
                _print(out, entry, as_json=as_json, origin=origin)
        except KeyboardInterrupt:
            return  # that is how one ends it


def _follow(lines: Lines, last: int, out: Console, *, as_json: bool, origin: bool) -> None:
    due = 0
    for entry in lines.tail(last):
        if due and entry.number > due and not as_json:
            missed = entry.number - due
            out.print(Text(f"… {missed} entries were dropped before they were read", "dim"))
        due = entry.number + 1
        _print(out, entry, as_json=as_json, origin=origin)


def _print(out: Console, entry: Entry, *, as_json: bool, origin: bool) -> None:
    if as_json:
        import json

        document = {
            "number": entry.number,
            "kind": entry.kind,
            "text": entry.text,
            "time": entry.arrived_ns / 1e9,
            "host": entry.host,
            "pid": entry.pid,
            "writer": entry.writer,
        }
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    text = Text()
    if origin:
        moment = datetime.fromtimestamp(entry.arrived_ns / 1e9).astimezone()
        who = f"{entry.host} {entry.pid}" + (f" {entry.writer}" if entry.writer else "")
        text.append(f"{moment:%H:%M:%S.%f} {who}: ", "dim")
    text.append(entry.text, "" if entry.kind == LINE else _COLOURS[entry.kind])
    out.print(text, soft_wrap=True)
