"""One client's connection: its requests, one by one, and what it leaves behind."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from entrepot.errors import EntrepotError
from entrepot.gateways.vineyard import commands, remote, shared
from entrepot.gateways.vineyard.commands import error_reply, field
from entrepot.layers.objects.assembly import BlobDraft
from entrepot.vineyard._errors import (
    ConnectionErrorException,
    InvalidException,
    NotImplementedException,
    ObjectNotExistsException,
    VineyardException,
)
from entrepot.vineyard._local import LocalStore
from entrepot.vineyard._wire import Connection, FrameError

if TYPE_CHECKING:
    from entrepot.gateways.vineyard.server import Server

__all__ = ["Session"]

_log = logging.getLogger(__name__)

Json = dict[str, Any]

_peer = struct.Struct("3i")
"""Process, user and group at the other end of a UNIX socket."""


class Session:
    """One client's connection."""

    def __init__(self, server: Server, connection: Connection, store: LocalStore) -> None:
        self.server = server
        self.connection = connection
        self.store = store
        self.is_tcp = connection.socket.family != socket.AF_UNIX
        self.is_parked = False
        self.has_memory = False
        """Whether it has the arena's descriptor."""
        self.streams: set[tuple[int, str]] = set()
        """Id and mode of the streams that this client has opened, or read from."""
        self.writing = threading.RLock()
        """Held by who seals, shrinks or drops what this client writes, and while it leaves."""
        self._is_registered = False
        self._writer = 0
        """The process of the client, if it writes blobs itself."""

    def run(self) -> None:
        """Answer requests until the client leaves."""
        try:
            while self._answer_next():
                pass
        except (FrameError, OSError) as error:
            _log.debug("a connection ended: %s", error)
        finally:
            self.connection.close()
            try:
                self._leave()
            except (EntrepotError, VineyardException):
                _log.exception("what a client held could not be given back")
            finally:
                self.server.forget(self)

    def _leave(self) -> None:
        if self.store.depot.closed:
            return
        with self.writing:
            self.server.drafts.drop_of(self)
            # A client that leaves has stopped writing; one that is sent away may go on for a while.
            self.store.drop_drafts(writer=self._writer if self.server.is_closing else 0)
        if self._writer:
            self.server.lender.remove_writer(self._writer, self)
        for id, mode in self.streams:
            self.store.leave_stream(id, mode)
        self.server.lender.give_all_back(self)

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
        name = kind.removesuffix("_request")
        if not self._is_registered and name != "register":
            raise InvalidException(f"The connection is not registered yet, command is: {kind}")
        command = commands.COMMANDS.get(name) or shared.ANSWERS.get(name)
        if command is not None and (name != kind or name in commands.BARE):
            self.connection.send({"type": f"{name}_reply", **command(self, request)})
            self._is_registered = True
            return
        sends = remote.COMMANDS.get(name) or shared.COMMANDS.get(name)
        if sends is None or name == kind:
            raise InvalidException(f"Got unexpected command: {kind}")
        if self.is_tcp and name in shared.COMMANDS:
            raise NotImplementedException(
                f"{kind} is for clients on the same machine: connect to the IPC socket"
            )
        sends(self, request)

    def slices(self) -> Iterator[float]:
        """Yield for how long to wait next, while the client is there."""
        self.is_parked = True
        try:
            for seconds in commands.slices(self.connection.is_gone):
                self.check_depot()
                yield seconds
                # Waits this short do not look for the dead, and one may be who is waited for.
                self.store.depot.attached.tick()
        finally:
            self.is_parked = False

    def check_depot(self) -> None:
        """Notice that the depot was removed: what is still mapped is nobody's any more.

        Raises:
            ConnectionErrorException: It was.
        """
        if not self.store.connected:
            raise ConnectionErrorException("the depot was removed, or closed")

    # Blobs that the client writes itself.

    def begin_writing(self) -> None:
        """Note whose process it is that writes."""
        if not self._writer:
            ends = self.connection.socket.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _peer.size
            )
            pid: int = _peer.unpack(ends)[0]
            self.server.lender.add_writer(pid, self)
            self._writer = pid

    def begin_blob(self, size: int) -> BlobDraft | None:
        """Take room for a blob; None if it is to be empty."""
        draft = self.server.lender.with_room(lambda: self.store.begin_blob(size))
        if draft is not None:
            self.server.drafts.add(draft, self)
        return draft

    def seal_blob(self, draft: BlobDraft) -> None:
        """Make a blob that was written, by this client or by another one, visible to all."""
        with self.server.drafts.held(draft) as owner:
            loan = owner.store.seal_and_lend(draft)
            self.server.drafts.forget(draft)
        self.server.lender.keep(self, draft.id, loan)

    def drop_blob(self, draft: BlobDraft) -> None:
        """Give back a blob that was not sealed."""
        with self.server.drafts.held(draft) as owner:
            self.server.drafts.forget(draft)
            owner.store.drop_blob(draft)

    def shrink_blob(self, draft: BlobDraft, size: int) -> None:
        """Keep only the first bytes of a blob that was not sealed."""
        with self.server.drafts.held(draft) as owner:
            now = len(draft.memory)
            if not 0 <= size <= now:
                raise InvalidException(f"a blob of {now} bytes cannot be shrunk to {size}")
            owner.store.shrink_blob(draft, size)

    def bytes_of(self, id: int) -> memoryview | None:
        """Return the bytes of a blob; None if there is none."""
        with contextlib.suppress(ObjectNotExistsException):
            return self.store.bytes_of(id)
        return None
