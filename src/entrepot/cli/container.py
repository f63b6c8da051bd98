"""`entrepot container`: containers and their objects."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, TypeAlias

import typer
from rich.text import Text

import entrepot
from entrepot.cli.files import replacing, system_errors
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
from entrepot.cli.present import age, console, counted, emit, progress, row, size, table
from entrepot.errors import ConflictError, LimitError, NotFoundError
from entrepot.layers.containers import Container, Info
from entrepot.layers.containers.core import NotEmptyError

__all__ = ["COMMANDS", "alone"]

STDIO = Path("-")
PIECE_BYTES = 1 << 20

PathArgument: TypeAlias = Annotated[
    str,
    typer.Argument(metavar="PATH", help="CONTAINER/OBJECT or CONTAINER/DIR.", show_default=False),
]
NameArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="The container.", show_default=False)
]
FileArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FILE", help="What to read; - is stdin.", show_default=False)
]


def alone(
    depot: str | None, directory: Path | None, data_directory: Path | None, as_json: bool
) -> None:
    """List containers."""
    with open_existing(depot, directory, data_directory) as opened:
        names = opened.containers()
    if as_json:
        emit(names)
        return
    made = table(f"{counted(len(names), 'container')} in depot {depot_name(depot)}", "Container")
    for name in names:
        row(made, name)
    console().print(made)


def ls(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="PATH",
            help="CONTAINER or CONTAINER/DIR; else containers are listed.",
            show_default=False,
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also what is in directories beneath.")
    ] = False,
    long: Annotated[bool, typer.Option("--long", "-l", help="With kind, size and age.")] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is in a container, or in a directory of it; directories end with a slash."""
    if path is None:
        alone(depot, directory, data_directory, as_json)
        return
    with open_existing(depot, directory, data_directory) as opened:
        container, inner = _existing(opened, path)
        with hinting(
            typed(f"container ls {container.name}", opened.name, directory, data_directory)
        ):
            if inner and not container.info(inner).is_directory:
                found: Iterator[Info] = iter([container.info(inner)])
            else:
                found = container.list(inner, recursive=recursive)
            if as_json:
                emit(list(found))
            elif long:
                made = table("", "Name", "Kind", ">Size", ">Changed")
                made.title = None
                for entry in found:
                    shown = "" if entry.is_directory else size(entry.size)
                    row(made, _name(entry), entry.kind, shown, age(entry.modified_ns / 1e9))
                console().print(made)
            else:
                out = console()
                for entry in found:
                    out.print(Text(_name(entry)), soft_wrap=True)


def _name(entry: Info) -> str:
    return entry.path + ("/" if entry.is_directory else "")


def _existing(depot: entrepot.Depot, path: str) -> tuple[Container, str]:
    """Return a container that is there, and the path in it."""
    check_data(depot, path)
    name, _, inner = path.strip("/").partition("/")
    return depot.container(name), inner


def _object(path: str) -> None:
    """Refuse what names a container only.

    Raises:
        LimitError: It does.
    """
    if "/" not in path.strip("/"):
        raise LimitError(f"{path!r} names a container", "name what is in it: CONTAINER/OBJECT")


def get(
    path: PathArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - is stdout.")] = STDIO,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an object to a file, or to the standard output."""
    _object(path)
    if as_json and file == STDIO:
        raise typer.BadParameter("--json says what was written: name a FILE")
    if file.is_dir():
        file /= path.strip("/").rpartition("/")[2]
    with open_existing(depot, directory, data_directory) as opened:
        container, inner = _existing(opened, path)
        with (
            hinting(
                typed(f"container ls {container.name} -r", opened.name, directory, data_directory)
            ),
            hinting(
                typed(f"container ls {path}", opened.name, directory, data_directory), ConflictError
            ),
        ):
            reader = container.open(inner)
    with reader:
        if file == STDIO:
            shutil.copyfileobj(reader, sys.stdout.buffer, PIECE_BYTES)
            sys.stdout.buffer.flush()
            return
        with progress(of_bytes=True, hidden=as_json) as bar, replacing(file) as output:
            task = bar.add_task(file.name, total=reader.info.size)
            while piece := reader.read(PIECE_BYTES):
                output.write(piece)
                bar.advance(task, len(piece))
    if as_json:
        emit({"file": file, "bytes": reader.info.size})
    else:
        console().print(Text(f"{size(reader.info.size)} written to {file}"))


def put(
    file: FileArgument,
    path: PathArgument,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a file as an object, in place of one that is there."""
    _send(file, path, Container.put, "put into", depot, directory, data_directory, as_json=as_json)


def append(
    file: FileArgument,
    path: PathArgument,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Append a file to an object, made if it is not there."""
    _send(
        file,
        path,
        Container.append,
        "appended to",
        depot,
        directory,
        data_directory,
        as_json=as_json,
    )


def _send(
    file: Path,
    path: str,
    store: Callable[[Container, str, Iterator[bytes]], None],
    done: str,
    depot: str | None,
    directory: Path | None,
    data_directory: Path | None,
    *,
    as_json: bool,
) -> None:
    if file != STDIO and (path.endswith("/") or "/" not in path):
        path = f"{path.rstrip('/')}/{file.name}"
    _object(path)
    with system_errors(file):
        source = sys.stdin.buffer if file == STDIO else file.open("rb")
        total = None if file == STDIO else file.stat().st_size
    sent = 0
    try:
        with (
            entrepot.open(
                depot_name(depot), directory=directory, data_directory=data_directory
            ) as opened,
            progress(of_bytes=True, hidden=as_json) as bar,
        ):
            task = bar.add_task(file.name, total=total)
            name, _, inner = path.strip("/").partition("/")

            def pieces() -> Iterator[bytes]:
                nonlocal sent
                while piece := _read(source, file):
                    sent += len(piece)
                    bar.update(task, completed=sent)
                    yield piece

            with hinting(f"{path.rstrip('/')}/ puts it into the directory", ConflictError):
                store(opened.container(name), inner, pieces())
    finally:
        if file != STDIO:
            source.close()
    if as_json:
        emit({"path": path, "bytes": sent})
    else:
        console().print(Text(f"{size(sent)} {done} {path}"))


def _read(source: BinaryIO, file: Path) -> bytes:
    with system_errors(file):
        return source.read(PIECE_BYTES)


def rm(
    path: PathArgument,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="A directory with all that is in it.")
    ] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove an object with its attributes, or a directory: a table, for instance."""
    if "/" not in path.strip("/"):
        raise LimitError(
            f"{path!r} names a container", f"entrepot container rm-container {path.strip('/')}"
        )
    with open_existing(depot, directory, data_directory) as opened:
        container, inner = _existing(opened, path)
        with hinting(
            typed(f"container ls {container.name} -r", opened.name, directory, data_directory)
        ):
            if recursive:
                container.info(inner)
            try:
                container.delete(inner, recursive=recursive)
            except NotEmptyError as error:
                error.hint = "-r removes it with all that is in it"
                raise
    if as_json:
        emit({"removed": path})
    else:
        console().print(Text(f"removed {path}"))


def mkdir(
    path: PathArgument,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a directory, and those above it."""
    _object(path)
    name, _, inner = path.strip("/").partition("/")
    with entrepot.open(
        depot_name(depot), directory=directory, data_directory=data_directory
    ) as opened:
        opened.container(name).make_directory(inner)
    if as_json:
        emit({"made": path})
    else:
        console().print(Text(f"made {path}"))


def create(
    name: NameArgument,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a container; what is put into one makes it by itself."""
    with entrepot.open(
        depot_name(depot), directory=directory, data_directory=data_directory
    ) as opened:
        opened.create_container(name)
    if as_json:
        emit({"made": name})
    else:
        console().print(Text(f"made container {name}"))


def rm_container(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a container with all tables, streams and objects in it."""
    with open_existing(depot, directory, data_directory) as opened:
        check_data(opened, name)
        if "/" in name.strip("/"):
            raise NotFoundError(f"{name!r} is no container", f"entrepot container rm -r {name}")
        if not yes:
            typer.confirm(
                f"Remove container {name} of depot {opened.name} with all that is in it?",
                abort=True,
                err=True,
            )
        opened.delete_container(name)
    if as_json:
        emit({"removed": name})
    else:
        console().print(Text(f"removed container {name}"))


COMMANDS = {
    "ls": ls,
    "get": get,
    "put": put,
    "append": append,
    "rm": rm,
    "mkdir": mkdir,
    "create": create,
    "rm-container": rm_container,
}
