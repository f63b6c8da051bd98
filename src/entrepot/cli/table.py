"""`entrepot table`: tables, their items, and files of rows."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.table import Table as Grid
from rich.text import Text

import entrepot
from entrepot.cli import imports, items, overview
from entrepot.cli.files import replacing, system_errors
from entrepot.cli.items import as_text, exact_rows, item_json, names_of
from entrepot.cli.options import (
    DataDirectoryOption,
    DepotOption,
    DirectoryOption,
    JsonOption,
    check_data,
    depot_name,
    hinting,
    open_existing,
    typed,
)
from entrepot.cli.present import (
    console,
    count,
    counted,
    duration,
    emit,
    facts,
    progress,
    row,
    table,
)
from entrepot.cli.row_files import Form, form_of, write_rows
from entrepot.errors import ConditionError, NotFoundError
from entrepot.layers.tables import Table

__all__ = ["COMMANDS"]

STDOUT = Path("-")
SHOWN = 100
CELL_CHARACTERS = 200
BATCH = 1000

PathArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="PATH", help="The table: CONTAINER/TABLE.", show_default=False)
]
KeyArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="KEY", help="The item.", show_default=False)
]
WhereOption: TypeAlias = Annotated[
    str, typer.Option("--where", "-w", metavar="EXPR", help="Only items of which this is true.")
]
NamesOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--names", metavar="A,B", help="Only these attributes; ** for hidden and system ones too."
    ),
]
IfOption: TypeAlias = Annotated[
    str, typer.Option("--if", metavar="COND", help="Only if this is true of the item.")
]
FormOption: TypeAlias = Annotated[
    Form | None,
    typer.Option("--format", "-f", help="What FILE is; by default its ending says it."),
]


def ls(
    container: Annotated[
        str | None,
        typer.Argument(metavar="CONTAINER", help="Only tables of this one.", show_default=False),
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tables: directories whose entries have attributes."""
    with open_existing(depot, directory, data_directory) as opened:
        if container is not None:
            check_data(opened, container)
        found = overview.tables(overview.within(opened, container))
    if as_json:
        emit(found)
        return
    made = table(f"{counted(len(found), 'table')} in depot {depot_name(depot)}", "Table", ">Items")
    for info in found:
        row(made, info["table"], overview.at_least(info["items"], info["more"]))
    if any(info["more"] for info in found):
        made.caption = "`entrepot table count` counts them all"
        made.min_width = len(made.caption)
    console().print(made)


def get(
    path: PathArgument,
    key: KeyArgument,
    names: NamesOption = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print an item."""
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        with hinting(typed(f"table scan {path}", opened.name, directory, data_directory)):
            attributes = found.get_exact(key, names_of(names))
    if as_json:
        sys.stdout.write(item_json(key, attributes) + "\n")
        return
    rows = {
        name: Text.assemble(_cell(value), (f"  {_type_of(value)}", "dim"))
        for name, value in attributes.items()
    }
    console().print(facts(f"{found.name}/{key}", rows))


def _existing(depot: entrepot.Depot, path: str) -> Table:
    """Return a table of a container that is there."""
    check_data(depot, path)
    return depot.table(path)


def _cell(value: object) -> str:
    text = as_text(value)
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"


def _type_of(value: object) -> str:
    kind = type(value).__name__
    return {"str": "text", "Timestamp": "time"}.get(kind, kind)


def put(
    path: PathArgument,
    key: KeyArgument,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE",
            help='5, 1.5, true, text, [1,2], {"$bytes":"AAE="}; \'"5"\' is text.',
            show_default=False,
        ),
    ] = None,
    item: Annotated[
        str | None,
        typer.Option("--json", metavar="ITEM", help='All of it: {"age": 5, "name": "Ann"}.'),
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
) -> None:
    """Store an item in place of what it was; depot, container and table are made."""
    if (item is None) == (not values):
        raise typer.BadParameter("give NAME=VALUE, or --json ITEM")
    attributes = _typed(values or []) if item is None else items.item_from_json(item)
    attributes.pop(items.NAME, None)
    with entrepot.open(
        depot_name(depot), directory=directory, data_directory=data_directory
    ) as opened:
        opened.table(path).put(key, attributes)
    console().print(Text(f"put {path.strip('/')}/{key}"))


def _typed(words: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"{word!r} is no NAME=VALUE")
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice")
        found[name] = items.from_word(name, text)
    return found


def update(
    path: PathArgument,
    key: KeyArgument,
    expression: Annotated[
        str,
        typer.Argument(
            metavar="EXPRESSION",
            help="For instance 'n = if_not_exists(n, 0) + 1; REMOVE old'.",
            show_default=False,
        ),
    ],
    condition: IfOption = "",
    otherwise: Annotated[
        str | None,
        typer.Option("--else", metavar="EXPR", help="What is done if the condition is false."),
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change an item by an expression, and print it."""
    with entrepot.open(
        depot_name(depot), directory=directory, data_directory=data_directory
    ) as opened:
        found = opened.table(path)
        with hinting("--else EXPR says what is done then", ConditionError):
            found.update(key, expression, condition=condition, otherwise=otherwise)
        attributes = found.get_exact(key)
    if as_json:
        sys.stdout.write(item_json(key, attributes) + "\n")
    else:
        shown = {name: _cell(value) for name, value in attributes.items()}
        console().print(facts(f"{found.name}/{key}", shown))


def rm(
    path: PathArgument,
    key: KeyArgument,
    condition: IfOption = "",
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove an item; `entrepot container rm -r` removes whole tables."""
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        scan_it = typed(f"table scan {path}", opened.name, directory, data_directory)
        with hinting(scan_it, (NotFoundError, ConditionError)):
            found.delete(key, condition=condition)
    if as_json:
        emit({"removed": f"{found.name}/{key}"})
    else:
        console().print(Text(f"removed {found.name}/{key}"))


def scan(
    path: PathArgument,
    where: WhereOption = "",
    names: NamesOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, metavar="N", help=f"Most items; of a table, {SHOWN}."),
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines, as `export` writes them.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Print the items that pass a filter, by key."""
    if as_json and as_csv:
        raise typer.BadParameter("--json or --csv, not both")
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        wanted = names_of(names)
        shown = limit if as_json or as_csv else (limit or SHOWN) + 1
        with hinting(typed("table ls", opened.name, directory, data_directory)):
            rows = exact_rows(found, where, wanted, shown)
            if as_json or as_csv:
                sys.stdout.flush()
                form = Form.JSONL if as_json else Form.CSV
                write_rows(sys.stdout.buffer, form, rows, wanted)
                sys.stdout.buffer.flush()
            else:
                console().print(_grid(found.name, list(rows), limit or SHOWN))


def _grid(name: str, rows: list[tuple[str, dict[str, Any]]], limit: int) -> Grid:
    has_more, rows = len(rows) > limit, rows[:limit]
    columns = list(dict.fromkeys(name for _, attributes in rows for name in attributes))
    are_numbers = {
        column: all(isinstance(a.get(column, 0), (int, float)) for _, a in rows)
        for column in columns
    }
    headings = [f">{c}" if are_numbers[c] else c for c in columns]
    made = table(f"{counted(len(rows), 'item')} of {name}", "Key", *headings)
    for key, attributes in rows:
        cells = (_cell(attributes[c]) if c in attributes else "" for c in columns)
        row(made, key, *cells)
    if has_more:
        made.caption = f"the first {count(limit)}; --limit shows more"
    elif not rows and "/" not in name.strip("/"):  # that of a container's root
        made.caption = f"`entrepot table ls {name.strip('/')}` lists the tables beneath"
        made.min_width = len(made.caption)
    return made


def count_items(
    path: PathArgument,
    where: WhereOption = "",
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print how many items pass a filter."""
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        with hinting(typed("table ls", opened.name, directory, data_directory)):
            number = found.count(where)
    if as_json:
        emit({"table": found.name, "items": number})
    else:
        console().print(Text(str(number)))


def import_file(
    path: PathArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help=".csv .tsv .jsonl .parquet; - is stdin.")
    ],
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            "-k",
            metavar="COLUMN",
            help=f"The column that is the key, or '{{a}}.{{b}}'; else {items.NAME}.",
            show_default=False,
        ),
    ] = None,
    form: FormOption = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, metavar="ROWS", help="Rows per transaction.")
    ] = BATCH,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="Of CSV, keep all fields as text.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad rows out, and count them.")
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store the rows of a file as items; depot, container and table are made.

    A bad row ends it, with what was stored in whole batches before. Empty fields of CSV are
    attributes that are not there; its columns become int, float, bool or text.
    """
    began = time.perf_counter()
    wanted = imports.Wanted(key, form_of(file, form), batch, text_only, skip_bad)
    with system_errors(file):
        if file != imports.STDIN:
            file.stat()  # or an error would leave an empty depot
    with entrepot.open(
        depot_name(depot), directory=directory, data_directory=data_directory
    ) as opened:
        found = opened.table(path)
        done = imports.import_file(found, file, wanted, hidden=as_json)
    seconds = time.perf_counter() - began
    if as_json:
        emit(
            {
                "table": found.name,
                "imported": done.rows,
                "skipped": done.skipped,
                "first_bad": done.first_bad,
                "seconds": seconds,
            }
        )
        return
    said = Text(f"imported {counted(done.rows, 'row')} into {found.name}")
    console().print(said.append(f"  {duration(seconds)}", "dim"))
    if done.skipped:
        note = f"left out {counted(done.skipped, 'bad row')}; the first: {done.first_bad}"
        console(stderr=True).print(Text(note, "yellow"), soft_wrap=True)


def export_file(
    path: PathArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help=".csv .tsv .jsonl .parquet; - is stdout.")
    ],
    where: WhereOption = "",
    names: NamesOption = None,
    form: FormOption = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write items to a file, which `import` reads again; CSV does not keep all types."""
    kind = form_of(file, form)
    if file == STDOUT and as_json:
        raise typer.BadParameter("--json says what was written; with - that is stdout's")
    began = time.perf_counter()
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        wanted = names_of(names)
        with (
            hinting(typed("table ls", opened.name, directory, data_directory)),
            progress(of_bytes=False, hidden=as_json) as bar,
        ):
            total = None if bar.disable else found.count(where)
            task = bar.add_task(file.name, total=total)
            rows = bar.track(exact_rows(found, where, wanted, None), task_id=task)
            if file == STDOUT:
                write_rows(sys.stdout.buffer, kind, rows, wanted)
                sys.stdout.buffer.flush()
                return
            with replacing(file) as output:
                number = write_rows(output, kind, rows, wanted)
                size = output.tell()
    seconds = time.perf_counter() - began
    if as_json:
        emit({"file": file, "items": number, "bytes": size, "seconds": seconds})
    else:
        said = Text(f"exported {counted(number, 'item')} to {file}")
        console().print(said.append(f"  {duration(seconds)}", "dim"))


COMMANDS = {
    "ls": ls,
    "get": get,
    "put": put,
    "update": update,
    "rm": rm,
    "scan": scan,
    "count": count_items,
    "import": import_file,
    "export": export_file,
}
