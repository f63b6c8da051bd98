"""`entrepot serve`: let programs that speak another protocol use a depot."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

import entrepot
from entrepot.cli.options import DepotOption, DirectoryOption, JsonOption
from entrepot.cli.present import console, emit, facts
from entrepot.errors import UnavailableError

__all__ = ["command"]


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
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="The bound of the depot, if it is made now.")
    ] = None,
    blob_bytes_max: Annotated[int | None, typer.Option(hidden=True)] = None,
    depot: DepotOption = None,
    directory: DirectoryOption = None,
    data_directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where depots live on disk.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a depot to programs that speak another protocol, until Ctrl-C.

    There is no server between programs that use entrepot on this machine: this is for other
    machines, and for original clients. It listens on loopback unless you name another host;
    there is no password, so name one only in a network that you trust.
    """
    if rpc is None and ipc is None and nws is None:
        raise typer.BadParameter("say where: --nws 127.0.0.1:8765, --rpc HOST:PORT, or --ipc PATH")
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
        if as_json:
            emit(where)
        else:
            told = {name: text for name, text in where.items() if text is not None}
            console().print(facts("Serving, until Ctrl-C", told))
        while not over.wait(1.0):  # a signal ends the wait; the system may lose one
            pass


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
    except OSError as error:
        raise UnavailableError(
            f"cannot listen on {where}: {error.strerror or error}",
            "another program may listen there: take another port or path",
        ) from error


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{text!r} is no HOST:PORT, for instance 127.0.0.1:9600")
    return host or "127.0.0.1", int(port)
