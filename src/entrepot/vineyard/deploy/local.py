"""An instance on this machine: a depot, and a process that serves it to others."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from typing import IO, Any, ParamSpec, TypeVar

import entrepot
from entrepot import settings
from entrepot.errors import EntrepotError
from entrepot.vineyard.core.connection import unlink_depot_file, write_depot_file
from entrepot.vineyard.deploy.sizes import parse_readable_size

__all__ = ["get_current_socket", "shutdown", "start_vineyardd", "try_init"]

_PATIENCE_S = 30.0
_OVERHEAD_BYTES = 4 * settings.MIB


P = ParamSpec("P")
R = TypeVar("R")

_IN_THE_DOCUMENT = (
    "etcd_endpoints",
    "vineyardd_path",
    "size",
    "socket",
    "rpc",
    "rpc_socket_port",
    "debug",
)


def _in_either_order(call: Callable[P, R]) -> Callable[P, R]:
    """Take arguments also as in vineyard's document, which has no `meta`: endpoints come first."""

    @functools.wraps(call)
    def either(*arguments: P.args, **keywords: P.kwargs) -> R:
        first = arguments[0] if arguments else ""
        if first is not None and "://" not in str(first):
            return call(*arguments, **keywords)
        return again(**{**dict(zip(_IN_THE_DOCUMENT, arguments, strict=False)), **keywords})

    again: Any = call
    return either


@_in_either_order
@contextlib.contextmanager
def start_vineyardd(
    meta: str = "etcd",
    etcd_endpoints: str | None = None,
    etcd_prefix: str | None = None,
    vineyardd_path: str | None = None,
    size: int | str = "",
    socket: str | None = None,
    rpc: bool = True,
    rpc_socket_port: int = 9600,
    debug: bool = False,
) -> Generator[tuple[subprocess.Popen[bytes], str, str | None]]:
    """Start an instance for the block: a fresh depot of a size, and with `rpc` its server.

    Args:
        meta: Not used: metadata is in the depot. If endpoints or None come first, the order of
            all is that of vineyard's document.
        etcd_endpoints: Given back as it is: one machine needs none.
        etcd_prefix: Not used.
        vineyardd_path: Not used: there is no other program.
        size: How many bytes of blobs there may be: a number, or with a suffix `128k`, `256M`,
            `1.5Gi` (all powers of 1024). By default half of /dev/shm.
        socket: A path that stands for the instance: `vineyard.connect(socket)`, in any process
            of this user. By default one in a temporary directory.
        rpc: Listen on `rpc_socket_port` too, for other machines' clients: on loopback only.
        rpc_socket_port: Which port; 0 takes a free one.
        debug: Let the server write what it does to the standard error output.

    Yields:
        The server's process, the socket, and `etcd_endpoints`.

    Raises:
        RuntimeError: The size is none, or too small, or the port is in use.
    """
    if "://" in (meta or ""):
        etcd_endpoints = meta
    bytes_max = parse_readable_size(size)
    with contextlib.ExitStack() as stack:
        if socket is None:
            home = tempfile.mkdtemp(prefix="entrepot-vineyard-")
            stack.callback(_in_this_process(shutil.rmtree), home, ignore_errors=True)
            socket = f"{home}/vineyard.sock"
        depot = stack.enter_context(_fresh_depot(bytes_max))
        told = {
            "name": depot.name,
            "directory": str(depot.path.parent),
            "data_directory": str(depot.data_path.parent),
            "size": bytes_max,
        }
        stack.callback(_in_this_process(unlink_depot_file), socket, depot.name)
        write_depot_file(socket, told)
        port = rpc_socket_port if rpc else None
        process, rpc_endpoint = stack.enter_context(
            _served(depot, socket, port, bytes_max, debug=debug)
        )
        write_depot_file(socket, told | {"rpc": rpc_endpoint})
        yield process, socket, etcd_endpoints


def _in_this_process(call: Callable[..., object]) -> Callable[..., None]:
    """Return a call that does nothing in forked children."""
    pid = os.getpid()

    def guarded(*arguments: object, **keywords: object) -> None:
        if os.getpid() == pid:
            call(*arguments, **keywords)

    return guarded


@contextlib.contextmanager
def _fresh_depot(bytes_max: int | None) -> Generator[entrepot.Depot]:
    memory = None
    if bytes_max is not None:
        # The catalog has its share of a depot's memory; what is promised is for blobs alone.
        share = settings.CATALOG_SHARE
        memory = -(-(bytes_max + _OVERHEAD_BYTES) * share // (share - 1))
        memory = max(memory, settings.MEMORY_BYTES_MIN)
        if bytes_max < settings.MIB // 8:
            raise RuntimeError(f"an instance of {bytes_max} bytes is too small: 128k at least")
    made = entrepot.temporary(memory=memory)
    try:
        depot = made.__enter__()
    except EntrepotError as error:
        raise RuntimeError(f"vineyardd could not be started: {error}") from error
    pid = os.getpid()
    try:
        yield depot
    finally:
        if os.getpid() == pid:  # in a forked child it is the parent's to end
            made.__exit__(None, None, None)


@contextlib.contextmanager
def _served(
    depot: entrepot.Depot, socket: str, port: int | None, bytes_max: int | None, *, debug: bool
) -> Generator[tuple[subprocess.Popen[bytes], str | None]]:
    words = [sys.executable, "-m", "entrepot", "serve", "--json", "--depot", depot.name]
    words += ["--directory", str(depot.path.parent)]
    words += ["--data-directory", str(depot.data_path.parent), "--ipc", socket]
    if port is not None:
        words += ["--rpc", f"127.0.0.1:{port}"]
    if bytes_max is not None:
        words += ["--blob-bytes-max", str(bytes_max)]
    pid = os.getpid()
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())  # not a pipe: nobody would read it
        theirs, ours = os.pipe()  # the server ends where this process is killed
        stack.callback(os.close, ours)
        try:
            process = subprocess.Popen(  # noqa: S603 our own
                [*words, "--starter-fd", str(theirs)],
                stdout=subprocess.PIPE,
                stderr=None if debug else errors,
                pass_fds=(theirs,),
            )
        finally:
            os.close(theirs)
        try:
            yield process, _await_ready(process, errors)
        finally:
            if os.getpid() == pid:  # in a forked child it is the parent's to end
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _await_ready(process: subprocess.Popen[bytes], errors: IO[bytes]) -> str | None:
    """Wait until the server says where it listens; return where on the network."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _PATIENCE_S)
    told = b""
    while ready and (line := process.stdout.readline()):
        told += line
        with contextlib.suppress(ValueError):  # not all of it has come
            found: str | None = json.loads(told)["rpc"]
            return found
    process.terminate()
    code = process.wait()
    errors.seek(0)
    text = errors.read().decode(errors="replace").strip()
    raise RuntimeError(f"vineyardd exited unexpectedly with code {code}, error is: {text}")


# An instance of this process.

_started: contextlib.ExitStack | None = None
_socket: str | None = None


def try_init() -> str:
    """Start an instance for this process and its children; return its socket.

    Raises:
        AssertionError: There is one already.
        ValueError: VINEYARD_IPC_SOCKET names another one.
    """
    global _started, _socket
    assert _started is None, "an instance was started before"
    if os.environ.get("VINEYARD_IPC_SOCKET"):
        raise ValueError("VINEYARD_IPC_SOCKET names an instance already")
    with contextlib.ExitStack() as stack:
        _, socket, _ = stack.enter_context(start_vineyardd(rpc=False))
        _started = stack.pop_all()
    _socket = os.environ["VINEYARD_IPC_SOCKET"] = socket
    atexit.register(_in_this_process(shutdown))
    return socket


def get_current_socket() -> str:
    """Return the socket of the instance of this process.

    Raises:
        ValueError: There is none.
    """
    if _socket is None:
        raise ValueError("no instance was started: call try_init()")
    return _socket


def shutdown() -> None:
    """End the instance of this process, if there is one."""
    global _started, _socket
    if _started is not None:
        stack, _started, _socket = _started, None, None
        os.environ.pop("VINEYARD_IPC_SOCKET", None)
        stack.close()
