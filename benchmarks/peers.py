"""Peers: what a Python programmer would take instead, each used as its manual shows.

    Redis                     Debian's server on a UNIX socket, redis-py, values pickled
    multiprocessing.Manager   its queue, and its dict
    vineyard 0.24             its server on a UNIX socket, its Python client

A server is started here, on a socket in a directory of its own, and stopped with it; nothing
that runs already is touched. A peer that is not installed is left out and named in a note.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from shutil import which
from typing import Any, cast

from benchmarks.harness import Plan
from benchmarks.rivals import Queue, Rival, Store

__all__ = [
    "NotInstalledError",
    "manager_server",
    "peers",
    "redis_client",
    "redis_on_port",
    "redis_queue",
    "redis_server",
    "vineyard_client",
]

REDIS_INSTALL = "apt-get install -y redis-server && pip install redis"
VINEYARD_INSTALL = "pip install vineyard vineyard-bdist  (Linux, Python 3.11)"
VINEYARD_MEMORY = "2G"
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0


class NotInstalledError(Exception):
    """A peer is missing; the message says how to install it."""

    def __init__(self, peer: str, command: str) -> None:
        super().__init__(f"{peer}: not installed ({command})")


@contextmanager
def peers(plan: Plan) -> Generator[list[Rival]]:
    """Start every peer that is installed and yield them; note the others."""
    with ExitStack() as stack:
        rivals: list[Rival] = []
        for start in (_redis, _manager, _vineyard):
            try:
                rivals += stack.enter_context(start())
            except NotInstalledError as missing:
                plan.note(str(missing))
        yield rivals


# ── Redis ──────────────────────────────────────────────────────────────────────────────────


@contextmanager
def redis_server(*, durable: bool = False) -> Generator[str]:
    """Start a Redis server and yield the path of its socket.

    Args:
        durable: It waits for the disk at each write; else it keeps nothing there.
    """
    program = which("redis-server")
    if program is None or find_spec("redis") is None:
        raise NotInstalledError("Redis", REDIS_INSTALL)
    with tempfile.TemporaryDirectory(prefix="entrepot-redis-") as directory:
        path = str(Path(directory) / "redis.sock")
        command = [program, "--port", "0", "--unixsocket", path, "--dir", directory]
        command += ["--save", "", "--appendonly", "yes" if durable else "no"]
        command += ["--appendfsync", "always"]
        with _running(command, ready=_redis_answers(path)):
            yield path


@contextmanager
def redis_on_port(port: int) -> Generator[int]:
    """Run Redis on a port of this machine."""
    program = which("redis-server")
    if program is None or find_spec("redis") is None:
        raise NotInstalledError("Redis", REDIS_INSTALL)
    with tempfile.TemporaryDirectory(prefix="entrepot-redis-") as directory:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory]
        with _running([*command, "--save", "", "--appendonly", "no"], ready=_listens(port)):
            yield port


def _listens(port: int) -> Callable[[], bool]:
    def listens() -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    return listens


def redis_queue(path: str, name: str) -> Queue:
    """Connect to a server and return a list as a queue."""
    client = redis_client(path)

    def store(value: object) -> None:
        client.rpush(name, pickle.dumps(value, 5))

    def fetch() -> object:
        return pickle.loads(client.blpop([name])[1])

    def find() -> object:
        return pickle.loads(client.lindex(name, 0))

    return Queue(store, fetch, find)


@contextmanager
def _redis() -> Generator[list[Rival]]:
    """Yield Redis."""
    with redis_server() as path:
        client = redis_client(path)
        numbers = count()

        def put(value: object) -> str:
            key = f"object:{next(numbers)}"
            client.set(key, pickle.dumps(value, 5))
            return key

        def get(key: str) -> object:
            return pickle.loads(client.get(key))

        def exists(key: str) -> bool:
            return bool(client.exists(key))

        def delete(keys: list[str]) -> None:
            client.delete(*keys)

        store = Store(put, get, exists, delete)
        yield [Rival("Redis", 4.0, store, partial(redis_queue, path))]
        client.close()


def redis_client(path: str) -> Any:
    """Return a client of the server at `path`."""
    import redis

    return redis.Redis(unix_socket_path=path)


def _redis_answers(path: str) -> Callable[[], bool]:
    """Return a function that tells whether the server is up."""
    import redis

    def answers() -> bool:
        try:
            return bool(redis_client(path).ping())
        except redis.ConnectionError:
            return False

    return answers


# ── multiprocessing.Manager ────────────────────────────────────────────────────────────────


@contextmanager
def manager_server() -> Generator[Any]:
    """Start a manager process and yield the manager."""
    with multiprocessing.get_context("spawn").Manager() as manager:
        yield manager


@contextmanager
def _manager() -> Generator[list[Rival]]:
    """Yield the manager's queue and its dict."""
    with manager_server() as manager:
        proxy = cast("dict[int, object]", manager.dict())
        numbers = count()

        def put(value: object) -> int:
            key = next(numbers)
            proxy[key] = value
            return key

        def delete(keys: list[int]) -> None:
            for key in keys:
                del proxy[key]

        def queue(name: str) -> Queue:
            del name  # every queue of a manager is a new one
            shared = manager.Queue()
            return Queue(shared.put, shared.get)

        store = Store(put, proxy.__getitem__, proxy.__contains__, delete)
        yield [Rival("manager queue", 2.0, queue=queue), Rival("manager dict", 1.0, store)]


# ── vineyard ───────────────────────────────────────────────────────────────────────────────


@contextmanager
def _vineyard() -> Generator[list[Rival]]:
    """Yield vineyard."""
    with vineyard_client() as client:
        yield [Rival("vineyard", 10.0, Store(client.put, client.get, client.exists, client.delete))]


@contextmanager
def vineyard_client(mib: int | None = None, *, port: int | None = None) -> Generator[Any]:
    """Yield a client of a real vineyard server of so much memory; with `port`, it has RPC too.

    Raises:
        NotInstalledError: It is not installed.
    """
    if find_spec("vineyard") is None or find_spec("vineyard.bdist") is None:
        raise NotInstalledError("vineyard", VINEYARD_INSTALL)
    import vineyard

    with tempfile.TemporaryDirectory(prefix="entrepot-vineyard-") as directory:
        path = Path(directory) / "vineyard.sock"
        program = Path(str(vineyard.__file__)).parent / "bdist" / "vineyardd"
        size = VINEYARD_MEMORY if mib is None else f"{mib}M"
        command = [str(program), "--socket", str(path), "--size", size]
        command += ["--meta", "local", "--deployment", "local"]
        command += ["--norpc"] if port is None else ["--rpc_socket_port", str(port)]
        with _running(command, ready=path.exists):
            client = cast("Any", vineyard).connect(str(path))
            yield client
            client.close()


# ── for all ────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _running(command: list[str], *, ready: Callable[[], bool]) -> Generator[None]:
    """Run a server, quietly, until the block ends."""
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us: we stop it in our turn
    )
    try:
        gives_up_at = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if server.poll() is not None:
                raise RuntimeError(f"{command[0]} ended at once with code {server.returncode}")
            if time.monotonic() > gives_up_at:
                raise RuntimeError(f"{command[0]} did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.02)
        yield
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT_S)
        if server.poll() is None:
            server.kill()
            server.wait()
