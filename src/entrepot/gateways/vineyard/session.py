"""What is served, and to whom: an instance, and the sessions of its clients."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Generator, Iterator
from typing import Any

import entrepot
from entrepot.gateways.vineyard.lending import Lender
from entrepot.gateways.vineyard.patterns import bounded_matcher
from entrepot.layers.objects.assembly import BlobDraft
from entrepot.vineyard._errors import (
    ConnectionErrorException,
    InvalidException,
    ObjectNotExistsException,
)
from entrepot.vineyard._ids import text_id
from entrepot.vineyard._local import NO_ENDPOINT, LocalStore
from entrepot.vineyard._wire import Connection

__all__ = ["Instance", "Session"]

Json = dict[str, Any]

_SLICE_S = 0.5
"""A parked request looks this often whether its client is still there."""
_peer = struct.Struct("3i")
"""Process, user and group at the other end of a UNIX socket."""


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


class Instance:
    """A depot that is served."""

    def __init__(self, depot: entrepot.Depot, limit: int | None) -> None:
        """Take the depot, and how much memory there is for blobs, if that was promised."""
        self.depot = depot
        self.limit = limit
        self.lender = Lender(depot)
        self.drafts = Drafts()
        self.ipc_socket = ""
        self.rpc_endpoint = NO_ENDPOINT
        self.is_closing = False
        """Whether it ends: connections are ended by it then, not by their clients."""
        self._lock = threading.Lock()
        self._sessions: set[Session] = set()

    def sessions(self) -> list[Session]:
        """Return the clients that are connected."""
        with self._lock:
            return list(self._sessions)

    def welcome(self, connection: Connection) -> Session:
        """Return the session of a new client."""
        session = Session(
            self, connection, LocalStore(self.depot, limit=self.limit, matcher=bounded_matcher)
        )
        with self._lock:
            self._sessions.add(session)
        return session

    def forget(self, session: Session) -> None:
        """Note that a client has left."""
        with self._lock:
            self._sessions.discard(session)

    def writers_of_chunk(self, id: int) -> list[Session]:
        """Return who writes a chunk of a stream just now."""
        return [session for session in self.sessions() if session.store.chunk_draft(id) is not None]

    def counts(self) -> Json:
        """Return how many connections of each kind there are, and how many requests wait."""
        sessions = self.sessions()
        return {
            "ipc_connections": sum(not session.is_tcp for session in sessions),
            "rpc_connections": sum(session.is_tcp for session in sessions),
            "deferred_requests": sum(session.is_parked for session in sessions),
        }


class Session:
    """One client's connection."""

    def __init__(self, instance: Instance, connection: Connection, store: LocalStore) -> None:
        self.instance = instance
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
        self.is_registered = False
        self._writer = 0
        """The process of the client, if it writes blobs itself."""

    def leave(self) -> None:
        """Give back all that the client held."""
        if self.store.depot.closed:
            return
        with self.writing:
            self.instance.drafts.drop_of(self)
            # A client that leaves has stopped writing; one that is sent away may go on for a while.
            self.store.drop_drafts(writer=self._writer if self.instance.is_closing else 0)
        if self._writer:
            self.instance.lender.remove_writer(self._writer, self)
        for id, mode in self.streams:
            self.store.leave_stream(id, mode)
        self.instance.lender.give_all_back(self)

    def slices(self) -> Iterator[float]:
        """Yield for how long to sleep on a bell next, while the client is there."""
        self.is_parked = True
        try:
            while True:
                self.check_depot()
                yield _SLICE_S
                if self.connection.is_gone():
                    return
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
            self.instance.lender.add_writer(pid, self)
            self._writer = pid

    def begin_blob(self, size: int) -> BlobDraft | None:
        """Take room for a blob; None if it is to be empty."""
        draft = self.instance.lender.with_room(lambda: self.store.begin_blob(size))
        if draft is not None:
            self.instance.drafts.add(draft, self)
        return draft

    def seal_blob(self, draft: BlobDraft) -> None:
        """Make a blob that was written, by this client or by another one, visible to all."""
        with self.instance.drafts.held(draft) as owner:
            loan = owner.store.seal_and_lend(draft)
            self.instance.drafts.forget(draft)
        self.instance.lender.keep(self, draft.id, loan)

    def drop_blob(self, draft: BlobDraft) -> None:
        """Give back a blob that was not sealed."""
        with self.instance.drafts.held(draft) as owner:
            self.instance.drafts.forget(draft)
            owner.store.drop_blob(draft)

    def shrink_blob(self, draft: BlobDraft, size: int) -> None:
        """Keep only the first bytes of a blob that was not sealed."""
        with self.instance.drafts.held(draft) as owner:
            now = len(draft.memory)
            if not 0 <= size <= now:
                raise InvalidException(f"a blob of {now} bytes cannot be shrunk to {size}")
            owner.store.shrink_blob(draft, size)

    def bytes_of(self, id: int) -> memoryview | None:
        """Return the bytes of a blob; None if there is none."""
        with contextlib.suppress(ObjectNotExistsException):
            return self.store.bytes_of(id)
        return None
