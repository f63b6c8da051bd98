"""`entrepot stream`: streams and their records."""

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO, TypeAlias

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

import entrepot
from entrepot.cli import overview
from entrepot.cli.items import as_json as json_form
from entrepot.cli.items import iso, moment_of
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
from entrepot.cli.present import console, count, counted, emit, facts, row, size, table
from entrepot.errors import LimitError
from entrepot.layers.attributes import Timestamp
from entrepot.layers.streams import Appended, New, Record, Since, Stream

__all__ = ["COMMANDS"]

READ_BYTES = 1 << 20
UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}

PathArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="PATH", help="The stream: CONTAINER/STREAM.", show_default=False)
]


def ls(
    container: Annotated[
        str | None,
        typer.Argument(metavar="CONTAINER", help="Only streams of this one.", show_default=False),
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List streams."""
    with open_existing(depot, directory, data_directory) as opened:
        if container is not None:
            check_data(opened, container)
        found = overview.streams(opened, overview.within(opened, container))
    if as_json:
        emit(found)
        return
    title = f"{counted(len(found), 'stream')} in depot {depot_name(depot)}"
    made = table(title, "Stream", ">Shards", ">Records", ">Size", ">Kept for")
    for each in found:
        numbers = count(each["shards"]), count(each["records"]), size(each["size"])
        row(made, each["stream"], *numbers, _length(each["retention_s"]))
    console().print(made)


def _document(name: str, info: Any) -> dict[str, Any]:
    return {
        "stream": name,
        "shards": info.shards,
        "retention_s": info.retention_s,
        "records": info.records,
        "size": info.size,
    }


def create(
    path: PathArgument,
    shards: Annotated[
        int, typer.Option("--shards", "-s", min=1, metavar="N", help="How many shards.")
    ] = 1,
    retention: Annotated[
        str,
        typer.Option(
            "--retention", metavar="TIME", help="How long records are kept: 90s, 24h, 7d."
        ),
    ] = "24h",
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a stream; depot and container are made."""
    retention_s = _seconds(retention)
    with entrepot.open(
        depot_name(depot), directory=directory, data_directory=data_directory
    ) as opened:
        made = opened.stream(path)
        made.create(shards, retention_s=retention_s)
        if as_json:
            emit(_document(made.name, made.info()))
        else:
            said = f"made {made.name}: {counted(shards, 'shard')}, kept for {_length(retention_s)}"
            console().print(Text(said))


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip())
    unit = UNITS.get(found[2] or "s") if found else None
    if found is None or unit is None:
        raise LimitError(f"{text!r} is no time", f"a number and one of {', '.join(UNITS)}: 24h")
    return int(found[1]) * unit


def _length(seconds: int) -> str:
    for unit in ("d", "h", "min"):
        if seconds >= UNITS[unit] and seconds % UNITS[unit] == 0:
            return f"{seconds // UNITS[unit]} {unit}"
    return f"{seconds} s"


def info(
    path: PathArgument,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a stream is, and its shards."""
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        with hinting(typed("stream ls", opened.name, directory, data_directory), always=True):
            about, sequences = found.info(), found.sequences()
    if as_json:
        shards = [{"oldest": oldest, "next": behind} for oldest, behind in sequences]
        emit({**_document(found.name, about), "sequences": shards})
        return
    figures = {
        "records ever": count(about.records),
        "kept": size(about.size),
        "kept for": _length(about.retention_s),
    }
    made = table("", ">Shard", ">Oldest", ">Next", ">Records")
    made.title = None
    for number, (oldest, behind) in enumerate(sequences):
        row(made, str(number), count(oldest), count(behind), count(behind - oldest))
    console().print(facts(found.name, figures), Padding(made, (1, 0, 0, 0)))


def _existing(depot: entrepot.Depot, path: str) -> Stream:
    """Return a stream of a container that is there."""
    check_data(depot, path)
    return depot.stream(path)


def append(
    path: PathArgument,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="RECORD",
            help="The record; else each line of the standard input is one.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", "-k", metavar="K", help="Its shard is this key's.")
    ] = None,
    shard: Annotated[
        int | None, typer.Option("--shard", "-s", min=0, metavar="N", help="The shard.")
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Append a record, or the lines of the standard input as they come."""
    with (
        open_existing(depot, directory, data_directory) as opened,
        hinting(
            typed(f"stream create {path} --shards N", opened.name, directory, data_directory),
            always=True,
        ),
    ):
        stream = _existing(opened, path)
        if data is not None:
            pages = iter([[data.encode()]])
        else:
            stream.info()  # before somebody types lines
            pages = _lines(sys.stdin.buffer)
        number = 0
        last: Appended | None = None
        for page in pages:
            last = stream.append_many([New(line, shard, key) for line in page])[-1]
            number += len(page)
    if as_json:
        where = {} if last is None else {"shard": last.shard, "sequence": last.sequence}
        emit({"stream": stream.name, "appended": number, **where})
        return
    said = Text(f"appended {counted(number, 'record')} to {stream.name}")
    if number == 1 and last is not None:
        said.append(f"  shard {last.shard}, number {last.sequence}", "dim")
    console().print(said)


def _lines(file: BinaryIO) -> Iterator[list[bytes]]:
    """Yield lines, those together that came together."""
    read = getattr(file, "read1", file.read)
    rest = b""
    while piece := read(READ_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield [line.removesuffix(b"\r") for line in lines]
    if rest:
        yield [rest]


def tail(
    path: PathArgument,
    since: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="earliest, latest, a record's number, or a moment; latest if it follows.",
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        int | None, typer.Option("--shard", "-s", min=0, metavar="N", help="Only this shard.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, until Ctrl-C.")
    ] = True,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, metavar="N", help="End after so many records."),
    ] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print records, and those that come."""
    where = _since(since or ("latest" if follow else "earliest"))
    with open_existing(depot, directory, data_directory) as opened:
        stream = _existing(opened, path)
        with hinting(typed("stream ls", opened.name, directory, data_directory), always=True):
            if isinstance(where, int) and shard is None and stream.info().shards > 1:
                raise typer.BadParameter("a number is one of a shard: --shard N says which")
            shards = None if shard is None else [shard]
            out = console()
            records = stream.tail(shards, since=where, timeout=None if follow else 0)
            try:
                for number, record in enumerate(records, 1):
                    _print(out, record, as_json=as_json)
                    if number == limit:
                        return
            except KeyboardInterrupt:
                return  # that is how one ends it


def _since(text: str) -> Since:
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    if text.isdigit():
        return int(text)
    try:
        return moment_of(text).datetime()
    except ValueError as error:
        raise typer.BadParameter(
            f"--from {text!r} is neither earliest, latest, a number nor a moment "
            "such as 2026-11-21T08:30:00Z"
        ) from error


def _print(out: Console, record: Record, *, as_json: bool) -> None:
    arrived = Timestamp(*divmod(record.arrived_ns, 1_000_000_000))
    if as_json:
        document: dict[str, Any] = {
            "shard": record.shard,
            "sequence": record.sequence,
            "arrived": iso(arrived),
            "data": _text_or_bytes(record.data),
        }
        if record.key is not None:
            document["key"] = record.key
        if record.info is not None:
            document["info"] = _text_or_bytes(record.info)
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    at = datetime.fromtimestamp(record.arrived_ns / 1e9, UTC).astimezone()
    said = Text.assemble(
        (f"{record.shard}:{record.sequence}", "cyan"),
        (f"  {at:%H:%M:%S}  ", "dim"),
        (f"{record.key}  " if record.key is not None else "", "green"),
        record.data.decode("utf-8", "backslashreplace"),
    )
    out.print(said, soft_wrap=True)
    sys.stdout.flush()


def _text_or_bytes(data: bytes) -> object:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return json_form(data)


def resize(
    path: PathArgument,
    shards: Annotated[int, typer.Argument(metavar="SHARDS", min=1, help="How many it has then.")],
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add shards to a stream; the shard of a key changes with that."""
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        with hinting(typed("stream ls", opened.name, directory, data_directory), always=True):
            found.resize(shards)
            if as_json:
                emit(_document(found.name, found.info()))
            else:
                console().print(Text(f"{found.name} has {counted(shards, 'shard')}"))


def groups(
    path: PathArgument,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List consumer groups, and how far they are behind."""
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        with hinting(typed("stream ls", opened.name, directory, data_directory), always=True):
            there, sequences = found.groups(), found.sequences()
    behind = {
        group.group: sum(
            following - max(oldest, group.positions.get(shard, oldest))
            for shard, (oldest, following) in enumerate(sequences)
        )
        for group in there
    }
    if as_json:
        emit([{**group._asdict(), "behind": behind[group.group]} for group in there])
        return
    title = f"{counted(len(there), 'group')} of {found.name}"
    made = table(title, "Group", ">Consumers", ">Behind", "Next record by shard")
    for group in there:
        positions = ", ".join(f"{shard}: {at}" for shard, at in sorted(group.positions.items()))
        row(made, group.group, str(group.consumers), count(behind[group.group]), positions)
    console().print(made)


def rm(
    path: PathArgument,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a stream with all its records."""
    with open_existing(depot, directory, data_directory) as opened:
        found = _existing(opened, path)
        with hinting(typed("stream ls", opened.name, directory, data_directory), always=True):
            found.delete()
    if as_json:
        emit({"removed": found.name})
    else:
        console().print(Text(f"removed {found.name}"))


COMMANDS = {
    "ls": ls,
    "create": create,
    "info": info,
    "append": append,
    "tail": tail,
    "resize": resize,
    "groups": groups,
    "rm": rm,
}
