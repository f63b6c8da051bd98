"""What there is in a depot besides objects and spaces: tables, streams, containers and lines.

`ls` lists it, `stat` counts it, and `table ls` and `stream ls` list their share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from entrepot.cli.present import count, counted, row, size, table
from entrepot.errors import NotFoundError

if TYPE_CHECKING:
    from rich.table import Table as Grid

    from entrepot import Depot
    from entrepot.layers.survey import DirectoryInfo

__all__ = ["Overview", "at_least", "grids", "overview", "streams", "tables", "within"]

DIRECTORIES_MAX = 1000
"""What has more, as an archive of files has, is not listed to its end."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is, as `--json` shows it."""

    tables: list[dict[str, Any]]
    streams: list[dict[str, Any]]
    containers: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    more_directories: bool
    """Whether there are directories that were not looked at: tables and streams, perhaps."""


def overview(depot: Depot) -> Overview:
    """Return what there is, without a look at all of it."""
    directories = depot.directories(limit=DIRECTORIES_MAX + 1)
    has_more = len(directories) > DIRECTORIES_MAX
    del directories[DIRECTORIES_MAX:]
    return Overview(
        tables(directories),
        streams(depot, directories),
        [_container(name, directories, has_more) for name in depot.containers()],
        [_lines(depot, name) for name in depot.list_lines()],
        has_more,
    )


def within(depot: Depot, path: str | None) -> list[DirectoryInfo]:
    """Return a directory with those beneath it, or all."""
    if path is None:
        return depot.directories()
    path = path.strip("/")
    found = depot.directories(path.partition("/")[0])
    return [info for info in found if f"{info.path}/".startswith(f"{path}/")]


def tables(directories: Iterable[DirectoryInfo]) -> list[dict[str, Any]]:
    """Return those that are tables."""
    return [
        {"table": info.path, "items": info.items, "bytes": info.item_bytes, "more": info.has_more}
        for info in directories
        if info.items
    ]


def streams(depot: Depot, directories: Iterable[DirectoryInfo]) -> list[dict[str, Any]]:
    """Return those that are streams."""
    found: list[dict[str, Any]] = []
    for path in (info.path for info in directories if info.shards):
        try:
            info = depot.stream(path).info()
        except NotFoundError:
            continue  # deleted meanwhile
        found.append(
            {
                "stream": path,
                "shards": info.shards,
                "retention_s": info.retention_s,
                "records": info.records,
                "size": info.size,
            }
        )
    return found


def _container(name: str, directories: Sequence[DirectoryInfo], has_more: bool) -> dict[str, Any]:
    own = [info for info in directories if info.path.partition("/")[0] == name]
    is_last = not own or own[-1] is directories[-1]
    return {
        "container": name,
        "objects": sum(info.objects for info in own),
        "size": sum(info.object_bytes for info in own),
        "tables": sum(info.items > 0 for info in own),
        "streams": sum(info.shards > 0 for info in own),
        "more": any(info.has_more for info in own) or (has_more and is_last),
    }


def _lines(depot: Depot, name: str) -> dict[str, Any]:
    lines = depot.lines(name)
    info = lines.info()
    return {
        "lines": name,
        "entries": info.count,
        "bytes": info.bytes,
        "closed": info.closed,
        "persistent": lines.persistent,
    }


# For people.


def at_least(number: int, more: bool) -> str:
    """Return a count, which may be a bound from below."""
    return count(number) + ("+" if more else "")


def grids(found: Overview, limit: int) -> list[Grid]:
    """Return a table for each kind of which there is anything."""
    kinds = (
        ("table", found.tables, ("Table", ">Items", ">Size"), _table_row),
        ("stream", found.streams, ("Stream", ">Shards", ">Records", ">Size"), _stream_row),
        (
            "container",
            found.containers,
            ("Container", ">Objects", ">Size", ">Tables", ">Streams"),
            _container_row,
        ),
        (
            "buffer",
            found.lines,
            ("Lines", ">Entries", ">Size", "State", "Lives"),
            _lines_row,
        ),
    )
    made: list[Grid] = []
    for noun, documents, headings, cells in kinds:
        if not documents:
            continue
        title = counted(len(documents), noun) + (" of lines" if noun == "buffer" else "")
        if found.more_directories and noun in ("table", "stream"):
            title += " or more"
        grid = table(title, *headings)
        for document in documents[:limit]:
            row(grid, *cells(document))
        if len(documents) > limit:
            grid.caption = f"… and {count(len(documents) - limit)} more"
        made.append(grid)
    return made


def _table_row(document: dict[str, Any]) -> tuple[str, ...]:
    plus = "+" if document["more"] else ""
    return document["table"], count(document["items"]) + plus, size(document["bytes"]) + plus


def _stream_row(document: dict[str, Any]) -> tuple[str, ...]:
    records = count(document["records"])
    return document["stream"], count(document["shards"]), records, size(document["size"])


def _container_row(document: dict[str, Any]) -> tuple[str, ...]:
    plus = "+" if document["more"] and document["objects"] else ""  # "0+" would be puzzling
    return (
        document["container"],
        count(document["objects"]) + plus,
        size(document["size"]) + plus,
        count(document["tables"]),
        count(document["streams"]),
    )


def _lines_row(document: dict[str, Any]) -> tuple[str, ...]:
    return (
        document["lines"],
        count(document["entries"]),
        size(document["bytes"]),
        "closed" if document["closed"] else "open",
        "on disk" if document["persistent"] else "in memory",
    )
