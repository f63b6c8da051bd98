"""A server of vineyard's protocol: a thread for each connection, as its clients ask one by one.

Bytes of blobs go straight from the socket into shared memory, and back from there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import entrepot
from entrepot.errors import EntrepotError
from entrepot.gateways.vineyard import commands
from entrepot.gateways.vineyard.commands import COMMANDS, error_reply, field, ids_field
from entrepot.vineyard._errors import CODES, InvalidException
from entrepot.vineyard._ids import EMPTY_BLOB
from entrepot.vineyard._local import LocalStore
from entrepot.vineyard._wire import Connection, FrameError

__all__ = ["Server", "Session"]

_log = logging.getLogger(__name__)
_PAUSE_S = 0.1
_BLOBS_MAX = 1 << 16
"""Most blobs that one request may name."""

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
            ipc: Where the UNIX socket is made. What is there before is replaced.
            limit: How much memory there is for blobs, if that was promised.

        Raises:
            OSError: The port or the path is in use, or may not be used.
        """
        self.depot = depot
        self._limit = limit
        self._is_closing = False
        self._sessions: set[Session] = set()
        self._lock = threading.Lock()
        self._listeners: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.ipc_socket = os.fspath(ipc) if ipc is not None else ""
        self.rpc_endpoint = "0.0.0.0:0"
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            if rpc is not None:
                listener = socket.create_server(rpc, backlog=128)
                self._listeners.append(listener)
                host, port = listener.getsockname()[:2]
                self.rpc_endpoint = f"{host}:{port}"
            if ipc is not None:
                self._listeners.append(_listen_at(Path(ipc)))
            stack.pop_all()

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
                if listener.fileno() < 0 or self._is_closing:
                    return
                _log.warning("a connection could not be accepted: %s", error)
                time.sleep(_PAUSE_S)  # too many files are open: some will be closed
                continue
            try:
                session = Session(self, Connection(sock), LocalStore(self.depot, limit=self._limit))
                with self._lock:
                    self._sessions.add(session)
                threading.Thread(target=session.run, daemon=True).start()
            except (EntrepotError, OSError, RuntimeError):  # this one is turned away; others go on
                _log.exception("a connection could not be served")
                sock.close()

    def forget(self, session: Session) -> None:
        """Note that a connection has ended."""
        with self._lock:
            self._sessions.discard(session)

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
        self._is_closing = True
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._listeners.clear()
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.connection.close()
        for thread in self._threads:
            thread.join()
        if self.ipc_socket:
            Path(self.ipc_socket).unlink(missing_ok=True)


class Session:
    """One client's connection."""

    def __init__(self, server: Server, connection: Connection, store: LocalStore) -> None:
        self.server = server
        self.connection = connection
        self.store = store
        self.is_tcp = connection.socket.family != socket.AF_UNIX
        self.is_parked = False
        self.streams: set[tuple[int, str]] = set()
        """Id and mode of the streams that this client has opened."""
        self._is_registered = False

    def run(self) -> None:
        """Answer requests until the client leaves."""
        try:
            while self._answer_next():
                pass
        except (FrameError, OSError) as error:
            _log.debug("a connection ended: %s", error)
        finally:
            self.connection.close()
            self.store.drop_drafts()
            for id, mode in self.streams:
                self.store.leave_stream(id, mode)
            self.server.forget(self)

    def _answer_next(self) -> bool:
        try:
            request = self.connection.receive()
            if request is None or request.get("type") == "exit_request":
                return False
            self._answer(request)
        except Exception as error:
            is_told = commands.is_vineyards(error)
            if isinstance(error, (FrameError, OSError)) and not is_told:
                raise  # of the connection itself
            if not is_told:  # the client is told of it, and others notice nothing
                _log.exception("a request failed")
            self.connection.send(error_reply(error))
        return True

    def _answer(self, request: Json) -> None:
        kind = field(request, "type", str)
        if kind == "cluster_meta":
            self.connection.send(commands.cluster_meta(self, request))
            return
        if kind == "debug_command":
            self.connection.send(commands.debug(self, request))
            return
        name = kind.removesuffix("_request")
        if not self._is_registered and name != "register":
            raise InvalidException(f"The connection is not registered yet, command is: {kind}")
        with_bytes = getattr(self, f"_{name}", None) if name in _WITH_BYTES else None
        if with_bytes is not None:
            with_bytes(request)
            return
        command = COMMANDS.get(name)
        if command is None or name == kind:
            raise InvalidException(f"Got unexpected command: {kind}")
        reply = {"type": f"{name}_reply", **command(self, request)}
        if name == "register":
            self._is_registered = True
        self.connection.send(reply)

    def slices(self) -> Iterator[float]:
        """Yield for how long to wait next, while the client is there."""
        self.is_parked = True
        try:
            yield from commands.slices(self.connection.is_gone)
        finally:
            self.is_parked = False

    # Blobs over the network.

    def _create_remote_buffer(self, request: Json) -> None:
        size = field(request, "size", int)
        self._receive_blobs([size], "create_buffer_reply", is_list=False)

    def _create_remote_buffers(self, request: Json) -> None:
        sizes = field(request, "sizes", list)
        if len(sizes) > _BLOBS_MAX:
            raise InvalidException(f"{len(sizes)} blobs at once, at most {_BLOBS_MAX} are allowed")
        self._receive_blobs(sizes, "create_buffers_reply", is_list=True)

    def _receive_blobs(self, sizes: list[Any], reply_type: str, *, is_list: bool) -> None:
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, int) or size < 0:
                raise InvalidException(f"{size!r} is no size")
        store = self.store
        drafts: list[Any] = []
        try:
            for size in sizes:
                drafts.append(store.begin_blob(size))  # noqa: PERF401 those before a failure are dropped
            payloads = [
                _payload(EMPTY_BLOB if draft is None else draft.id, size)
                for draft, size in zip(drafts, sizes, strict=True)
            ]
            reply = _created(payloads, reply_type, is_list=is_list)
            self.connection.send(reply)  # that is the word to go on
            for draft in drafts:
                if draft is not None:
                    self.connection.receive_bytes(draft.memory)
            for draft in drafts:
                if draft is not None:
                    store.seal_blob(draft)
        except BaseException:
            for draft in drafts:
                if draft is not None:
                    store.drop_blob(draft)
            raise
        self.connection.send(reply)

    def _get_remote_buffers(self, request: Json) -> None:
        if "ids" in request:
            ids = ids_field(request, "ids")
        else:
            count = field(request, "num", int)
            if not 0 <= count <= _BLOBS_MAX:
                raise InvalidException(f"{count} blobs at once, at most {_BLOBS_MAX} are allowed")
            ids = [commands.id_field(request, str(number)) for number in range(count)]
        bodies: list[memoryview] = []
        payloads: list[Json] = []
        for id in ids:
            body = memoryview(b"") if id == EMPTY_BLOB else self.store.bytes_of(id)
            bodies.append(body)
            payloads.append(_payload(id, len(body), is_sealed=True))
        reply = {
            "type": "get_buffers_reply",
            "num": len(payloads),
            "payloads": payloads,
            "fds": [],
            "compress": False,
            **{str(at): payload for at, payload in enumerate(payloads)},
        }
        self.connection.send(reply, *bodies)

    # Blobs in shared memory: descriptors are not passed by this server.

    def _refuse_memory(self, request: Json) -> None:
        raise CODES[6](
            "this server passes no memory: connect to its port, or use entrepot.vineyard"
        )

    _create_buffer = _create_buffers = _get_buffers = _seal = _refuse_memory
    _drop_buffer = _shrink_buffer = _get_next_stream_chunk = _refuse_memory


_WITH_BYTES = frozenset(
    (
        "create_remote_buffer",
        "create_remote_buffers",
        "get_remote_buffers",
        "create_buffer",
        "create_buffers",
        "get_buffers",
        "seal",
        "drop_buffer",
        "shrink_buffer",
        "get_next_stream_chunk",
    )
)


def _payload(id: int, size: int, *, is_sealed: bool = False) -> Json:
    return {
        "object_id": id,
        "store_fd": -1,
        "data_offset": 0,
        "data_size": size,
        "map_size": size,
        "pointer": 0,
        "is_sealed": is_sealed,
        "is_owner": True,
        "is_gpu": False,
    }


def _created(payloads: list[Json], reply_type: str, *, is_list: bool) -> Json:
    if not is_list:
        payload = payloads[0]
        return {"type": reply_type, "id": payload["object_id"], "fd": -1, "created": payload}
    return {
        "type": reply_type,
        "num": len(payloads),
        "ids": [payload["object_id"] for payload in payloads],
        "payloads": payloads,
        "fds": [],
        **{str(at): payload for at, payload in enumerate(payloads)},
    }


def _listen_at(path: Path) -> socket.socket:
    """Listen at a path, in the place of a socket that nobody listens at any more."""
    if path.is_socket():
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
