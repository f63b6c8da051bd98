"""A server of vineyard's protocol: a thread for each connection, as its clients ask one by one."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import entrepot
from entrepot.errors import EntrepotError
from entrepot.gateways.vineyard.lending import Lender
from entrepot.gateways.vineyard.session import Session
from entrepot.layers.objects.assembly import BlobDraft
from entrepot.vineyard._errors import ObjectNotExistsException
from entrepot.vineyard._ids import text_id
from entrepot.vineyard._local import NO_ENDPOINT, LocalStore
from entrepot.vineyard._wire import Connection
from entrepot.vineyard.core.connection import unlink_depot_file, write_depot_file

__all__ = ["Server"]

_log = logging.getLogger(__name__)
_PAUSE_S = 0.1
_PATIENCE_S = 5.0
"""How long the end waits for requests that are at work."""

Json = dict[str, Any]


class Drafts:
    """The blobs that clients write just now, of all connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drafts: dict[int, tuple[BlobDraft, Session]] = {}

    def add(self, draft: BlobDraft, owner: Session) -> None:
        """Note who writes a blob."""
        with self._lock:
            self._drafts[draft.id] = draft, owner

    def get(self, id: int) -> BlobDraft | None:
        """Return a blob that is being written; None if it is not."""
        found = self._drafts.get(id)
        return None if found is None else found[0]

    @contextlib.contextmanager
    def held(self, draft: BlobDraft) -> Generator[Session]:
        """Keep a blob from all others, and its owner from leaving; yield who has begun it.

        Raises:
            ObjectNotExistsException: Somebody has sealed or dropped it, or its owner has left.
        """
        found = self._drafts.get(draft.id)
        if found is None:
            raise _nothing_to_write(draft.id)
        owner = found[1]
        with owner.writing:
            if draft.id not in self._drafts:
                raise _nothing_to_write(draft.id)
            yield owner

    def forget(self, draft: BlobDraft) -> None:
        """Forget a blob that was sealed or dropped."""
        with self._lock:
            del self._drafts[draft.id]

    def drop_of(self, owner: Session) -> None:
        """Forget what somebody wrote."""
        with self._lock:
            gone = [id for id, (_, session) in self._drafts.items() if session is owner]
            for id in gone:
                del self._drafts[id]


def _nothing_to_write(id: int) -> Exception:
    return ObjectNotExistsException(f"there is no blob {text_id(id)} to be written")


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
        self.depot = depot
        self.lender = Lender(depot)
        self.drafts = Drafts()
        self._limit = limit
        self.is_closing = False
        """Whether it ends: connections are ended by it then, not by their clients."""
        self._sessions: dict[Session, threading.Thread] = {}
        self._lock = threading.Lock()
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.ipc_socket = ""
        self._place: tuple[int, int] | None = None
        """Of the socket that was made; somebody may have put another one there since."""
        self.rpc_endpoint = NO_ENDPOINT
        with contextlib.ExitStack() as stack:
            stack.callback(self._stop_listening)
            if rpc is not None:
                listener = socket.create_server(rpc, backlog=128)
                self._listeners.append(listener)
                host, port = listener.getsockname()[:2]
                self.rpc_endpoint = f"{host}:{port}"
            if ipc is not None:
                self._listeners.append(_listen_at(Path(ipc)))
                self.ipc_socket = os.fspath(Path(ipc).absolute())  # ours now, and not before
                self._place = _identity(ipc)
                write_depot_file(ipc, self._told())  # clients of ours look into the memory
            stack.pop_all()

    def _told(self) -> Json:
        return {
            "name": self.depot.name,
            "directory": str(self.depot.path.parent),
            "data_directory": str(self.depot.data_path.parent),
            "size": self._limit,
            "rpc": None if self.rpc_endpoint == NO_ENDPOINT else self.rpc_endpoint,
        }

    def draft(self, id: int) -> BlobDraft | None:
        """Return a blob that some client is writing; None if it is not."""
        return self.drafts.get(id)

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
                if listener.fileno() < 0 or self.is_closing:
                    return
                _log.warning("a connection could not be accepted: %s", error)
                time.sleep(_PAUSE_S)  # too many files are open: some will be closed
                continue
            session: Session | None = None
            try:
                session = Session(self, Connection(sock), LocalStore(self.depot, limit=self._limit))
                thread = threading.Thread(target=session.run, daemon=True)
                with self._lock:
                    self._sessions[session] = thread
                thread.start()
            except (EntrepotError, OSError, RuntimeError):  # this one is turned away; others go on
                _log.exception("a connection could not be served")
                if session is not None:
                    self.forget(session)
                sock.close()

    def writers_of_chunk(self, id: int) -> list[Session]:
        """Return who writes a chunk of a stream just now."""
        with self._lock:
            sessions = list(self._sessions)
        return [session for session in sessions if session.store.chunk_draft(id) is not None]

    def forget(self, session: Session) -> None:
        """Note that a connection has ended."""
        with self._lock:
            self._sessions.pop(session, None)

    def counts(self) -> Json:
        """Return how many connections of each kind there are, and how many requests wait."""
        with self._lock:
            sessions = list(self._sessions)
        return {
            "ipc_connections": sum(not session.is_tcp for session in sessions),
            "rpc_connections": sum(session.is_tcp for session in sessions),
            "deferred_requests": sum(session.is_parked for session in sessions),
        }

    def close(self) -> None:
        """Stop listening and end all connections; may be repeated."""
        self._stop_listening()
        with self._lock:
            sessions = dict(self._sessions)
        for session in sessions:
            session.connection.close()
        deadline = time.monotonic() + _PATIENCE_S
        for thread in sessions.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _stop_listening(self) -> None:
        self.is_closing = True
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._listeners.clear()
        for thread in self._threads:
            thread.join()
        if self._place is not None and _identity(self.ipc_socket) in (self._place, None):
            Path(self.ipc_socket).unlink(missing_ok=True)
            unlink_depot_file(self.ipc_socket, self.depot.name)
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
