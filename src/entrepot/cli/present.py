"""Numbers, tables and values, as a person or as JSON reads them."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.pretty import Pretty
from rich.table import Table
from rich.text import Text

from entrepot import ObjectId

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress

    from entrepot.errors import EntrepotError

__all__ = [
    "age",
    "console",
    "count",
    "counted",
    "duration",
    "emit",
    "facts",
    "fail",
    "plain",
    "progress",
    "readable",
    "row",
    "share",
    "size",
    "table",
]

BYTES = (bytes, bytearray, memoryview)
PIPE_WIDTH = 120
"""Columns of a table that goes to a file or a pipe; a terminal says its own."""
TITLE_WIDTH = 60
"""A title up to this is on one line, however narrow its table is."""
HEAD_ITEMS = 100
"""Of a long array, list or text, JSON shows this many items, and how many there are."""
HEAD_CHARACTERS = 10_000


def console(*, stderr: bool = False) -> Console:
    """Return the console: as wide as the terminal, or wide enough for a pipe."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in console._environ:  # pyright: ignore[reportPrivateUsage] the mapping that rich itself consults
        console.width = PIPE_WIDTH
    return console


def emit(document: Any) -> None:
    """Print one JSON document."""
    # Not msgspec: names that are no text are to come out as escapes.
    sys.stdout.write(json.dumps(plain(document), indent=2, ensure_ascii=False) + "\n")


def fail(error: EntrepotError) -> None:
    """Print the message and the hint of an error to stderr."""
    out = console(stderr=True)
    out.print(
        f"[bold red]error:[/] {escape(error.message or type(error).__name__)}", soft_wrap=True
    )
    if error.hint:
        out.print(f"[dim]hint:[/]  {escape(error.hint)}", soft_wrap=True)


def progress(*, of_bytes: bool, hidden: bool = False) -> Progress:
    """Return progress bars on stderr, which only a terminal shows; a context manager.

    Args:
        of_bytes: They count bytes, not things.
        hidden: Show none at all.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    out = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True) if of_bytes else MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=out,
        transient=True,
        disable=hidden or not out.is_terminal,
    )


def size(bytes_count: float) -> str:
    """Return a size by powers of 1024: `17 B`, `4.0 KiB`, `23.1 MiB`."""
    if bytes_count < 1024:
        return f"{bytes_count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        bytes_count /= 1024
        if bytes_count < 1024:
            return f"{bytes_count:.1f} {unit}"
    return f"{bytes_count / 1024:.1f} TiB"


def count(number: float) -> str:
    """Return a number with its thousands apart: `144,762`."""
    return f"{number:,.0f}"


def counted(number: int, noun: str) -> str:
    """Return a number of things: `1 object`, `2 objects`."""
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Return a short time with three figures: `8.4 µs`, `12 ms`, `1.27 s`."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"


def age(since: float) -> str:
    """Return how long ago a moment was, in its largest unit: `3 s`, `5 min`, `2 h`, `9 d`."""
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"


def share(part: float, whole: float, *, width: int = 30) -> Text:
    """Return a bar that is filled as far as `part` is of `whole`, and the percentage."""
    fraction = min(1.0, part / whole) if whole > 0 else 0.0
    filled = math.ceil(fraction * width)
    colour = "green" if fraction < 0.75 else "yellow" if fraction < 0.9 else "red"
    return Text.assemble(
        ("━" * filled, colour), ("━" * (width - filled), "bright_black"), f" {fraction:.0%}"
    )


def table(title: str, *columns: str) -> Table:
    """Return an empty table; a column whose heading begins with `>` is of numbers."""
    made = Table(
        title=Text(title, "bold"),
        title_justify="left",
        min_width=min(len(title), TITLE_WIDTH),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    for column in columns:
        right = column.startswith(">")
        made.add_column(
            column.removeprefix(">"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    return made


def row(to: Table, *cells: str | Text) -> None:
    """Add a row; a `str` is shown as it is, since `[names]` of users are not markup."""
    to.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def facts(title: str, rows: Mapping[str, str | Text]) -> Table:
    """Return a table of two columns: what, and its figure."""
    made = table(title, "", "")
    made.show_header = False
    made.columns[0].style = "dim"
    made.columns[0].no_wrap = True
    for name, value in rows.items():
        row(made, name, value)
    return made


def readable(value: Any) -> RenderableType:
    """Return a value in the form in which its author would print it."""
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, BYTES):
        data = cast("bytes", value)
        more = f" … ({size(len(data))} in all; --out FILE writes them)"
        return Text(repr(bytes(data[:HEAD_ITEMS])) + (more if len(data) > HEAD_ITEMS else ""))
    package = type(value).__module__.partition(".")[0]  # pyright: ignore[reportUnknownMemberType] of a user's own value
    if package in {"numpy", "pandas", "pyarrow"}:
        return Text(_heading(value) + str(value))
    return Pretty(value, max_length=HEAD_ITEMS, max_string=HEAD_CHARACTERS)


def plain(value: Any) -> Any:
    """Return `value` with nothing in it but what JSON has; what is long is cut, and says so.

    Ids become 16 hex digits, records and mappings objects, arrays and frames a shape with
    their first items, and what nothing else fits its `repr`.
    """
    match value:
        case None | bool() | str():
            return value
        case ObjectId():
            return str(value)
        case int():
            return value if abs(value) < 1 << 63 else str(value)
        case float():
            return value if math.isfinite(value) else None
        case Path():
            return str(value)
        case bytes() | bytearray() | memoryview():
            data = cast("bytes", value)
            return {"bytes": len(data), "head": repr(bytes(data[:HEAD_ITEMS]))}
        case Mapping():
            return {str(key): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in cast("Iterable[Any]", value)]
        case _:
            return _plain_object(value)


def _plain_object(value: Any) -> Any:
    """Return the JSON form of records, arrays and frames, else the `repr`."""
    if isinstance(value, msgspec.Struct):
        return plain(msgspec.structs.asdict(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    return _plain_data(value)


def _plain_data(value: Any) -> Any:
    """Return the JSON form of arrays, of numpy's scalars and of frames, else the `repr`."""
    if hasattr(value, "dtype") and hasattr(value, "shape") and hasattr(value, "tolist"):
        if value.shape == () and not hasattr(value, "__array_finalize__"):
            return plain(value.item())
        items = value.ravel() if hasattr(value, "flat") else value  # a pandas Series is flat
        return {**_shape(value), "head": plain(items[:HEAD_ITEMS].tolist())}
    if hasattr(value, "columns") and hasattr(value, "dtypes") and hasattr(value, "head"):
        head = value.head(HEAD_ITEMS)
        return {
            "rows": len(value),
            "columns": {str(name): str(dtype) for name, dtype in value.dtypes.items()},
            "head": {str(name): plain(head[name].tolist()) for name in value.columns},
        }
    text = repr(value)
    return text if len(text) <= HEAD_CHARACTERS else text[:HEAD_CHARACTERS] + "…"


def _shape(value: Any) -> dict[str, Any]:
    """The dtype and the shape of an array."""
    return {"dtype": str(value.dtype), "shape": list(value.shape)}


def _heading(value: Any) -> str:
    """One line above an array: what it is, which its text does not say."""
    if not hasattr(value, "dtype") or not getattr(value, "shape", None):
        return ""
    shape = " x ".join(count(extent) for extent in value.shape)
    return f"{type(value).__name__} of {shape} {value.dtype}\n"
