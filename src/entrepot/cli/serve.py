"""`entrepot serve`: let programs that speak another protocol use a depot."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

import entrepot
from entrepot import settings
from entrepot.cli.options import DataDirectoryOption, DepotOption, DirectoryOption, JsonOption
from entrepot.cli.present import console, emit, facts
from entrepot.cli.serve_http import HttpOptions, serve_http
from entrepot.errors import EntrepotError, UnavailableError

__all__ = ["command"]

_PATH_BYTES_MAX = 107
"""Of a UNIX socket: the system's bound."""
_NO_HOST = "name an address of this machine: 127.0.0.1, or 0.0.0.0 for all that it has"
_HINTS = {
    errno.EADDRINUSE: "another program may listen there: take another port or path",
    errno.EADDRNOTAVAIL: _NO_HOST,
    errno.EACCES: "ports below 1024 are for the administrator: take a higher one",
}


def command(
    rpc: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="vineyard's protocol over TCP; port 0: a free one."),
    ] = None,
    ipc: Annotated[
        Path | None, typer.Option(metavar="SOCKET", help="vineyard's protocol on a UNIX socket.")
    ] = None,
    nws: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="NetWorkSpaces' protocol over TCP, as port 8765."),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="v3io's web API, as port 8081."),
    ] = None,
    container: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --http: a container to make; may be repeated."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=1024, help="With --http: processes that serve that port.")
    ] = 1,
    require_key: Annotated[
        bool,
        typer.Option("--require-key", help="With --http: on loopback too, and before any is made."),
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="PEM", help="With --http: speak HTTPS.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The certificate's key, if it is not there.")
    ] = None,
    access_log: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --http: a line of JSON per request; -: to here."),
    ] = None,
    stop_timeout: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="With --http: how long to finish at the end."),
    ] = settings.HTTP_STOP_S,
    parent_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    starter_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The bound of the depot, if it is made now.")
    ] = None,
    blob_bytes_max: Annotated[int | None, typer.Option(hidden=True)] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: DataDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a depot to programs that speak another protocol, until Ctrl-C.

    There is no server between programs that use entrepot on this machine: this is for other
    machines, and for original clients. It listens on loopback unless you name another host.
    Then --http wants an access key ('entrepot keys add'); --rpc and --nws know no password,
    so name another host only in a network that you trust.
    """
    if rpc is None and ipc is None and nws is None and http is None:
        raise typer.BadParameter(
            "say where: --http 127.0.0.1:8081, --nws 127.0.0.1:8765, --rpc HOST:PORT, or --ipc PATH"
        )
    if ipc is not None:
        _check_place(ipc)
    over = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        over.set()

    with (
        entrepot.open(
            depot, memory=memory, directory=directory, data_directory=data_directory
        ) as opened,
        contextlib.ExitStack() as stack,
    ):
        where: dict[str, str | None] = {"depot": opened.name}
        if rpc is not None or ipc is not None:
            where |= _serve_vineyard(stack, opened, rpc, ipc, blob_bytes_max)
        if nws is not None:
            where |= _serve_nws(stack, opened, nws)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        if starter_fd is not None:
            waiting = threading.Thread(target=_await_end, args=(starter_fd, over.set), daemon=True)
            waiting.start()
        tend: Callable[[], None] = _nothing
        if http is not None:
            options = HttpOptions(
                *_address(http),
                containers=container or [],
                workers=workers,
                requires_key=require_key,
                tls_cert=tls_cert,
                tls_key=tls_key,
                access_log=access_log,
                stop_timeout=stop_timeout,
                parent=parent_fd,
            )
            with _listening(http):
                told, tend = serve_http(stack, opened, options, _places(opened), over.set)
            where |= told
        if parent_fd is not None:
            _wait(over, opened, tend)
            return
        if as_json:
            emit(where)
        else:
            told = {name: text for name, text in where.items() if text is not None}
            console().print(facts("Serving, until Ctrl-C", told))
        _wait(over, opened, tend)


def _wait(over: threading.Event, depot: entrepot.Depot, tend: Callable[[], None]) -> None:
    while not over.wait(1.0):  # a signal ends the wait; the system may lose one
        depot.attached.check_place()  # nobody else finds a depot that was removed: then end, too
        tend()


def _await_end(starter_fd: int, stop: Callable[[], None]) -> None:
    """Stop when the other end of a pipe is closed: who started this is gone, killed perhaps."""
    while os.read(starter_fd, 1):
        pass
    stop()


def _nothing() -> None:
    pass


def _places(depot: entrepot.Depot) -> list[str]:
    """Return the options that find an open depot again."""
    memory, disk = str(depot.path.parent), str(depot.data_path.parent)
    return ["--depot", depot.name, "--directory", memory, "--data-dir", disk]


def _serve_vineyard(
    stack: contextlib.ExitStack,
    depot: entrepot.Depot,
    rpc: str | None,
    ipc: Path | None,
    blob_bytes_max: int | None,
) -> dict[str, str | None]:
    from entrepot.gateways.vineyard import Server

    address = None if rpc is None else _address(rpc)
    with _listening(str(rpc or ipc)):
        server = Server(depot, rpc=address, ipc=ipc, limit=blob_bytes_max)
    stack.callback(server.close)
    server.start()
    return {
        "rpc": server.rpc_endpoint if rpc is not None else None,
        "ipc": server.ipc_socket or None,
    }


def _serve_nws(
    stack: contextlib.ExitStack, depot: entrepot.Depot, nws: str
) -> dict[str, str | None]:
    from entrepot.gateways.nws import NwsGateway

    with _listening(nws):
        gateway = NwsGateway(depot, *_address(nws))
    stack.callback(gateway.close)
    gateway.start()
    return {"nws": f"{gateway.host}:{gateway.port}"}


@contextlib.contextmanager
def _listening(where: str) -> Generator[None]:
    try:
        yield
    except EntrepotError:
        raise  # some are system errors too, and say more
    except OSError as error:
        number = error.errno or 0
        hint = _HINTS.get(number, _NO_HOST if number < 0 else "take another port or path")
        raise UnavailableError(
            f"cannot listen on {error.filename or where}: {error.strerror or error}", hint
        ) from error


def _check_place(path: Path) -> None:
    """Refuse where no UNIX socket can be made; the system's own words would not say why."""
    why = ""
    if path.is_dir() or (path.exists() and not path.is_socket()):
        why = f"a {'directory' if path.is_dir() else 'file'} is there"
    elif not path.parent.is_dir():
        why = f"there is no directory {path.parent}"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        why = f"you may not write in {path.parent}"
    elif len(os.fsencode(path)) > _PATH_BYTES_MAX:
        why = f"the path is longer than {_PATH_BYTES_MAX} bytes"
    if why:
        raise UnavailableError(
            f"cannot listen on {path}: {why}", "take another path, for instance /tmp/v.sock"
        )


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is no HOST:PORT, for instance 127.0.0.1:9600")
    return host.strip("[]") or "127.0.0.1", int(port)
