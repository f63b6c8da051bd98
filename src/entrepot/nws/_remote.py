"""A connection over TCP to a NetWorkSpaces server: ours, or an original one."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from entrepot import settings
from entrepot.layers import foreign
from entrepot.nws import _wire
from entrepot.nws._errors import (
    NwsConnectException,
    NwsConnectionDroppedException,
    NwsUnsupportedOperationException,
)
from entrepot.nws._link import Sink
from entrepot.nws._wire import Cookie, FrameError

__all__ = ["RemoteLink"]

_PIECE_BYTES = 256 * 1024
_BUFFER_BYTES = 64 * 1024
_SLEEPS_MAX = 255


class RemoteRetrieved:
    """A value that came over the wire."""

    def __init__(self, descriptor: int, cookie: Cookie, body: bytes) -> None:
        self.descriptor = descriptor
        self.cookie = cookie
        self._body = body

    @property
    def is_nothing(self) -> bool:
        """Whether there is no value, and no text either."""
        return not self._body and not self.descriptor & foreign.DIRECT

    def load(self) -> Any:
        """Return the value."""
        return foreign.to_value(self.descriptor, self._body)

    def content(self) -> bytes:
        """Return its bytes."""
        return self._body


class RemoteLink:
    """Asks a server, one request at a time. Implements `Link`.

    What is cut short (by Ctrl-C, or a file that fails) ends the connection: its answer would
    come some time later, in place of another's.
    """

    def __init__(self, host: str, port: int, protocol: int) -> None:
        """Connect.

        Args:
            host: Where the server listens.
            port: Likewise.
            protocol: Of the pickles that are sent; programs in Python 2 read up to 2.

        Raises:
            NwsConnectException: Nobody listens there.
        """
        self._protocol = protocol
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._sleeps = self._sleeps_left = 0
        """So many requests do not look for their answer, after the last look was in vain."""
        try:
            self.socket = socket.create_connection((host, port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._reader = self.socket.makefile("rb", _BUFFER_BYTES)
            self._poll = select.poll()
            self._poll.register(self.socket, select.POLLIN)
            self.socket.sendall(_wire.WITH_COOKIES)
            answer = self._receive(4)
        except (OSError, NwsConnectionDroppedException) as error:
            raise NwsConnectException(
                f"unable to connect to the NWS server at {host}:{port}"
            ) from error
        self.handshake = answer.decode("latin-1")
        self._has_cookies = answer != _wire.OLD_SERVER

    # Verbs.

    def open(self, name: str, *, owned: bool, persistent: bool, create: bool) -> bool:
        """Open a workspace."""
        verb, label = ("open ws", str(os.getpid())) if owned else ("use ws", "")
        arguments = [verb, name, label, "yes" if persistent else "no"]
        return self._short(*arguments) if create else self._short(*arguments, "no")

    def delete_workspace(self, name: str) -> bool:
        """Delete a workspace."""
        return self._short("delete ws", name)

    def list_workspaces(self) -> str | None:
        """Return the listing of all workspaces."""
        return self._text("list wss")

    def make_temporary(self, template: str) -> str | None:
        """Make a workspace of a new name."""
        return self._text("mktemp ws", template)

    def declare(self, workspace: str, variable: str, mode: str) -> bool:
        """Give a variable its mode."""
        return self._short("declare var", workspace, variable, mode)

    def delete_variable(self, workspace: str, variable: str) -> bool:
        """Delete a variable."""
        return self._short("delete var", workspace, variable)

    def list_variables(self, workspace: str) -> str | None:
        """Return the listing of the variables of a workspace."""
        return self._text("list vars", workspace)

    def store(self, workspace: str, variable: str, value: object) -> bool:
        """Send a value."""
        portable = foreign.from_value(value, self._protocol)
        size = portable.size
        head = self._store_head(workspace, variable, portable.descriptor, size)
        with self._exchange():
            if size <= _PIECE_BYTES:
                self.socket.sendall(b"".join((head, *portable.pieces)))
            else:
                self.socket.sendall(head)
                for piece in portable.pieces:
                    self.socket.sendall(piece)
            return self._status() == 0

    def store_pieces(
        self, workspace: str, variable: str, size: int, read: Callable[[int], bytes]
    ) -> bool:
        """Send bytes as they are read."""
        descriptor = foreign.PYTHON | foreign.DIRECT | foreign.BINARY
        with self._exchange() as exchange:
            self.socket.sendall(self._store_head(workspace, variable, descriptor, size))
            while size > 0:
                with exchange.outside():
                    piece = read(size)
                self.socket.sendall(piece)
                size -= len(piece)
            return self._status() == 0

    def _store_head(self, workspace: str, variable: str, descriptor: int, size: int) -> bytes:
        space, name = _bytes(workspace), _bytes(variable)
        return b"0005%020dstore%020d%b%020d%b%020d%020d%020d" % (
            *(5, len(space), space, len(name), name),
            *(20, descriptor, size),
        )

    def retrieve(
        self, verb: str, workspace: str, variable: str, cookie: Cookie | None
    ) -> RemoteRetrieved | None:
        """Ask for a value."""
        with self._exchange():
            self._ask_for_value(verb, workspace, variable, cookie)
            status, descriptor, found, size = self._long_head()
            body = self._receive(size)
        return RemoteRetrieved(descriptor, found, body) if status == 0 else None

    def retrieve_into(
        self, verb: str, workspace: str, variable: str, cookie: Cookie | None, sink: Sink
    ) -> tuple[int, Cookie] | None:
        """Hand the bytes of a value to `sink` as they come."""
        with self._exchange() as exchange:
            self._ask_for_value(verb, workspace, variable, cookie)
            status, _, found, size = self._long_head()
            left = size
            while left:
                piece = self._receive(min(left, _PIECE_BYTES))
                left -= len(piece)
                if status == 0:
                    with exchange.outside():
                        sink(piece)
        return (size, found) if status == 0 else None

    def _ask_for_value(
        self, verb: str, workspace: str, variable: str, cookie: Cookie | None
    ) -> None:
        arguments = [verb, workspace, variable]
        if cookie is not None:
            if not self._has_cookies:
                raise NwsUnsupportedOperationException(
                    f"NWS server does not support {verb}: {self.handshake}"
                )
            arguments += [cookie.id, f"{cookie.index:020d}"]
        self._send(*arguments)

    def close(self) -> None:
        """End the connection; what it owns goes soon after. In a forked child only its copy."""
        if self._pid == os.getpid():
            with contextlib.suppress(OSError):  # it ends here also where somebody still reads
                self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        with contextlib.suppress(OSError):
            self._reader.close()

    # Frames.

    def _exchange(self) -> _Exchange:
        return _Exchange(self)

    def _send(self, *arguments: str) -> None:
        self.socket.sendall(_wire.request(map(_bytes, arguments)))

    def _short(self, *arguments: str) -> bool:
        with self._exchange():
            self._send(*arguments)
            return self._status() == 0

    def _text(self, *arguments: str) -> str | None:
        with self._exchange():
            self._send(*arguments)
            status, _, _, size = self._long_head()
            body = self._receive(size)
        return str(body, "utf-8", "surrogateescape") if status == 0 else None

    def _status(self) -> int:
        self._look_for_answer()
        return _wire.number(self._receive(4))

    def _long_head(self) -> tuple[int, int, Cookie, int]:
        self._look_for_answer()
        head = self._receive(84 if self._has_cookies else 44)
        cookie = _wire.START
        if self._has_cookies:
            cookie = Cookie(head[24:44].decode("latin-1"), _wire.number(head[44:64]))
        descriptor = head[4:24]
        size = _wire.number(head[-20:])
        # A very old server spoils a descriptor that is negative.
        known = _wire.number(descriptor) if descriptor.isdigit() else 0
        return _wire.number(head[:4]), known, cookie, size

    def _look_for_answer(self) -> None:
        """Wait a moment for an answer without sleeping, as long as that is worth it.

        Where nothing else runs, to wake up takes longer than our gateway needs for a request.
        Where much runs, who looks keeps the processor from it: then the next requests sleep,
        more of them each time.
        """
        if self._sleeps_left:
            self._sleeps_left -= 1
            return
        looks, end_s = 1, time.perf_counter() + settings.NWS_LOOK_S
        while not self._poll.poll(0) and time.perf_counter() < end_s:
            looks += 1
            if not looks % settings.LOOKS_PER_YIELD:
                os.sched_yield()  # the gateway, or who it answers first, may need this processor
        if time.perf_counter() < end_s:
            self._sleeps = 0
        else:
            self._sleeps = self._sleeps_left = min(2 * self._sleeps + 1, _SLEEPS_MAX)

    def _receive(self, size: int) -> bytes:
        """Return just so many bytes."""
        body = self._reader.read(size)
        if len(body) < size:
            raise NwsConnectionDroppedException("NWS server connection dropped")
        return body

    @property
    def lock(self) -> threading.Lock:
        """Held from a request until its answer."""
        return self._lock


class _Exchange:
    """A request and its answer: threads take turns, and what is cut short ends the connection."""

    def __init__(self, link: RemoteLink) -> None:
        self._link = link
        self._is_outside = False

    def __enter__(self) -> _Exchange:
        self._link.lock.acquire()
        return self

    @contextlib.contextmanager
    def outside(self) -> Generator[None]:
        """Let errors of the block be the caller's own, not the connection's."""
        self._is_outside = True
        yield
        self._is_outside = False

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self._link.lock.release()
        if kind is None or issubclass(kind, NwsUnsupportedOperationException):
            return
        self._link.close()
        if not self._is_outside and issubclass(kind, (OSError, FrameError)):
            raise NwsConnectionDroppedException("NWS server connection dropped") from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
