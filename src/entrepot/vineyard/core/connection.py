"""Connecting: which instance a program means."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast

import entrepot
from entrepot.errors import EntrepotError
from entrepot.vineyard._errors import ConnectionFailedException
from entrepot.vineyard._local import NO_ENDPOINT, LocalStore
from entrepot.vineyard.core.client import Client, IPCClient, RPCClient

__all__ = ["connect", "connect_raw", "envvars"]

DEPOT = "depot:"


def connect(
    socket: object = None,
    port: int | str | None = None,
    host: str | None = None,
    endpoint: Any = None,
    rdma_endpoint: str | None = None,
    session: int | None = None,
    username: str | None = None,
    password: str | None = None,
    config: str | None = None,
) -> Client:
    """Connect to an instance. Without arguments there is nothing to start: see below.

    Args:
        socket: The socket of a local instance; `depot:NAME`, or just `depot:`, for a depot of
            this machine; a host with `port`; or (host, port).
        port: Of an instance behind TCP.
        host: Of the same.
        endpoint: (host, port), `"host:port"`, or several of them with commas; also a path, as
            in vineyard's document.
        rdma_endpoint: Not used.
        session: Not used.
        username: Not used: a depot is its user's own.
        password: Not used.
        config: A file, or its directory, with the socket and the endpoint.

    Without any of these: VINEYARD_IPC_SOCKET, then VINEYARD_RPC_ENDPOINT, then the file that
    VINEYARD_CONFIG names; then the user's own depot, in this process.

    Raises:
        ConnectionFailedException: Nobody listens there.
        TypeError: The arguments are of other types.
    """
    if isinstance(socket, (tuple, list)):
        endpoint, socket = cast("Any", socket), None
    if port is not None and host is None:
        host, socket = cast("str", socket), None
    if host is not None:
        endpoint = (host, port)
    if socket is None and isinstance(endpoint, (str, Path)) and "/" in str(endpoint):
        socket, endpoint = endpoint, None
    if socket is not None and not isinstance(socket, (str, Path)):
        raise TypeError(f"socket is {socket!r}, a path is wanted")
    if socket is None and endpoint is None:
        return _connect_by_environment(config)
    if socket is not None and _is_endpoint(str(socket)):
        endpoint, socket = str(socket), None
    if socket is not None and endpoint is None:
        ipc = IPCClient(_open_socket(os.fspath(socket)))
        rpc = None
        found = os.environ.get("VINEYARD_RPC_ENDPOINT")
        with contextlib.suppress(ConnectionFailedException):  # nobody asked for it here
            rpc = _connect_endpoint(found) if found else None
        return Client(ipc, rpc)
    ipc = None if socket is None else IPCClient(_open_socket(os.fspath(socket)))
    rpc = None if endpoint is None else _connect_endpoint(endpoint)
    return Client(ipc, rpc)


def connect_raw(*arguments: Any) -> IPCClient | RPCClient:
    """Return a client of one kind: of a socket, or of a host and a port."""
    client = connect(*arguments)
    return client.ipc_client if client.has_ipc_client() else client.rpc_client


def _connect_by_environment(config: str | None) -> Client:
    socket = os.environ.get("VINEYARD_IPC_SOCKET")
    endpoint = os.environ.get("VINEYARD_RPC_ENDPOINT")
    if not socket and not endpoint:
        socket, endpoint = _read_config(config or os.environ.get("VINEYARD_CONFIG"))
    if not socket and not endpoint:
        return Client(IPCClient(_open_depot(None)))
    ipc, rpc = None, None
    failure: ConnectionFailedException | None = None
    if socket:
        try:
            ipc = IPCClient(_open_socket(socket))
        except ConnectionFailedException as error:
            failure = error
    if endpoint:
        try:
            rpc = _connect_endpoint(endpoint)
        except ConnectionFailedException as error:
            failure = error
    if ipc is None and rpc is None:
        assert failure is not None
        raise failure
    return Client(ipc, rpc)


def _open_socket(path: str) -> LocalStore:
    """Open the depot that a socket stands for."""
    if path.startswith(DEPOT):
        return _open_depot(path.removeprefix(DEPOT) or None)
    if "/" not in path and not path.endswith(".sock") and not Path(path).exists():
        return _open_depot(path)
    beside = depot_file(path)
    try:
        told = json.loads(beside.read_text())
        depot = entrepot.open(
            told["name"], directory=told["directory"], data_directory=told["data_directory"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConnectionFailedException(
            f"Failed to connect to vineyardd: Failed to connect to IPC socket: {path}: "
            f"{_why_not(path)}"
        ) from error
    except EntrepotError as error:
        raise ConnectionFailedException(f"Failed to connect to IPC socket: {error}") from error
    return LocalStore(
        depot, endpoint=path, limit=told.get("size"), rpc_endpoint=told.get("rpc") or NO_ENDPOINT
    )


def _why_not(path: str) -> str:
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        return f"{error.strerror}; 'depot:' names the depot of this machine"
    if stat.S_ISSOCK(mode):
        return "it is another server's: connect to its host and port"
    return "it is no socket"


def depot_file(socket: str | os.PathLike[str]) -> Path:
    """Return the file that tells which depot a socket stands for."""
    return Path(f"{os.fspath(socket)}.depot")


def write_depot_file(socket: str | os.PathLike[str], told: Mapping[str, object]) -> None:
    """Tell which depot a socket stands for: whoever reads it sees all of it, or none."""
    beside = depot_file(socket)
    beside.parent.mkdir(parents=True, exist_ok=True)
    draft = beside.with_name(f".{beside.name}.{os.getpid()}")
    draft.write_text(json.dumps(told))
    draft.replace(beside)


def unlink_depot_file(socket: str | os.PathLike[str], name: str) -> None:
    """Remove what was told of a depot, unless another one has taken the socket since."""
    beside = depot_file(socket)
    with contextlib.suppress(FileNotFoundError, ValueError):
        if json.loads(beside.read_text())["name"] == name:
            beside.unlink()


def _open_depot(name: str | None) -> LocalStore:
    try:
        return LocalStore(entrepot.open(name))
    except EntrepotError as error:
        raise ConnectionFailedException(str(error)) from error


def _connect_endpoint(endpoint: Any) -> RPCClient:
    failure: Exception | None = None
    for host, port in _endpoints(endpoint):
        from entrepot.vineyard._remote import RemoteStore

        try:
            return RPCClient(RemoteStore(host, port))
        except ConnectionFailedException as error:
            failure = error
    raise failure or ConnectionFailedException(f"{endpoint!r} names no endpoint")


def _endpoints(endpoint: Any) -> list[tuple[str, int]]:
    found: list[tuple[Any, Any]]
    if isinstance(endpoint, str):
        pairs = [part.strip().rpartition(":") for part in endpoint.split(",") if part.strip()]
        found = [(host, port) for host, _, port in pairs]
    else:
        host, port = endpoint
        found = [(host, port)]
    try:
        return [(str(host), int(port)) for host, port in found]
    except (TypeError, ValueError):
        raise TypeError(f"endpoint is {endpoint!r}, a host and a port are wanted") from None


def _is_endpoint(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(colon) and port.isdigit() and "/" not in host and f"{host}:" != DEPOT


def _read_config(config: str | None) -> tuple[str | None, str | None]:
    path = Path(config or "/var/run")
    candidates = [path, path / "vineyard-config.yaml", path / "vineyard" / "vineyard-config.yaml"]
    for candidate in candidates:
        if candidate.is_file():
            told = _flat_yaml(candidate.read_text())
            socket = told.get("IPCSocket")
            if socket and not Path(socket).is_absolute():
                socket = str(candidate.parent / socket)
            return socket, told.get("RPCEndpoint")
    return None, None


def _flat_yaml(text: str) -> dict[str, str]:
    """Read `key: value` lines: all that such a file has."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


@contextlib.contextmanager
def envvars(
    key: str | Mapping[str, str], value: str | None = None, append: bool = False
) -> Generator[None]:
    """Set environment variables for the block.

    Args:
        key: A name, or a dict of names and values.
        value: With a name: its value.
        append: Add to the value that is there, with a colon.
    """
    wanted = {key: value or ""} if isinstance(key, str) else dict(key)
    before = {name: os.environ.get(name) for name in wanted}
    for name, text in wanted.items():
        old = before[name]
        os.environ[name] = f"{old}:{text}" if append and old else text
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = old
