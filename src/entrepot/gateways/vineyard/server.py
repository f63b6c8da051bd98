"""A server of vineyard's protocol: a thread for each connection, as its clients ask one by one."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import entrepot
from entrepot.errors import EntrepotError
from entrepot.gateways.vineyard.dialogue import serve
from entrepot.gateways.vineyard.session import Instance, Session
from entrepot.vineyard._local import NO_ENDPOINT
from entrepot.vineyard._wire import Connection
from entrepot.vineyard.core.connection import unlink_depot_file, write_depot_file

__all__ = ["Server"]

_log = logging.getLogger(__name__)
_PAUSE_S = 0.1
_PATIENCE_S = 5.0
"""How long the end waits for requests that are at work."""

Json = dict[str, Any]


class Server:
    """Serves a depot on a TCP port, a UNIX socket, or both."""

    def __init__(
        self,
        depot: entrepot.Depot,
        *,
        rpc: tuple[str, int] | None = None,
        ipc: str | os.PathLike[str] | None = None,
        limit: int | None = None,
    ) -> None:
        """Listen.

        Args:
            depot: What is served. The caller closes it.
            rpc: Host and port; port 0 takes a free one.
            ipc: Where the UNIX socket is made, for this user. A socket that nobody listens at
                any more is replaced.
            limit: How much memory there is for blobs, if that was promised.

        Raises:
            OSError: The port or the path is in use, or may not be used.
        """
        self._instance = Instance(depot, limit)
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._dialogues: dict[Session, threading.Thread] = {}
        self._lock = threading.Lock()
        self._place: tuple[int, int] | None = None
        """Of the socket that was made; somebody may have put another one there since."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_listening)
            if rpc is not None:
                listener = socket.create_server(rpc, backlog=128)
                self._listeners.append(listener)
                host, port = listener.getsockname()[:2]
                self._instance.rpc_endpoint = f"{host}:{port}"
            if ipc is not None:
                self._listeners.append(_listen_at(Path(ipc)))
                # Ours now, and not before.
                self._instance.ipc_socket = os.fspath(Path(ipc).absolute())
                self._place = _identity(ipc)
                write_depot_file(ipc, self._told())  # clients of ours look into the memory
            stack.pop_all()

    @property
    def ipc_socket(self) -> str:
        """Where the UNIX socket is; empty if there is none."""
        return self._instance.ipc_socket

    @property
    def rpc_endpoint(self) -> str:
        """Where it listens on TCP."""
        return self._instance.rpc_endpoint

    def _told(self) -> Json:
        depot = self._instance.depot
        return {
            "name": depot.name,
            "directory": str(depot.path.parent),
            "data_directory": str(depot.data_path.parent),
            "size": self._instance.limit,
            "rpc": None if self.rpc_endpoint == NO_ENDPOINT else self.rpc_endpoint,
        }

    def start(self) -> None:
        """Accept connections, in threads."""
        for listener in self._listeners:
            thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError as error:
                if listener.fileno() < 0 or self._instance.is_closing:
                    return
                _log.warning("a connection could not be accepted: %s", error)
                time.sleep(_PAUSE_S)  # too many files are open: some will be closed
                continue
            session: Session | None = None
            try:
                session = self._instance.welcome(Connection(sock))
                self._begin(session)
            except (EntrepotError, OSError, RuntimeError, MemoryError):
                # This one is turned away; others go on.
                _log.exception("a connection could not be served")
                if session is not None:
                    self._instance.forget(session)
                sock.close()

    def _begin(self, session: Session) -> None:
        """Serve a client, in a thread of its own."""

        def run() -> None:
            try:
                serve(session)
            finally:
                with self._lock:
                    self._dialogues.pop(session, None)

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            self._dialogues[session] = thread
        try:
            thread.start()
        except BaseException:
            with self._lock:
                del self._dialogues[session]
            raise

    def close(self) -> None:
        """Stop listening and end all connections; may be repeated."""
        self._stop_listening()
        with self._lock:
            dialogues = dict(self._dialogues)
        for session in dialogues:
            session.connection.close()
        deadline = time.monotonic() + _PATIENCE_S
        for thread in dialogues.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _stop_listening(self) -> None:
        self._instance.is_closing = True
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._listeners.clear()
        for thread in self._threads:
            thread.join()
        if self._place is not None and _identity(self.ipc_socket) in (self._place, None):
            Path(self.ipc_socket).unlink(missing_ok=True)
            unlink_depot_file(self.ipc_socket, self._instance.depot.name)
        self._place = None


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Tell one file from another at the same path; None if there is none."""
    try:
        found = Path(path).lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _listen_at(path: Path) -> socket.socket:
    """Listen at a path, in the place of a socket that nobody listens at any more."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(os.fspath(path)) != errno.ECONNREFUSED:
                # Also one that may not be asked: it is another user's.
                raise OSError(errno.EADDRINUSE, "somebody listens there", os.fspath(path))
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener
