"""A connection that is none: the depot, used in this process."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Final

import entrepot
from entrepot.errors import (
    ClosedError,
    ConflictError,
    EntrepotError,
    LimitError,
    NotFoundError,
    ProducersGoneError,
)
from entrepot.layers import foreign, values
from entrepot.layers.spaces import Client, Space
from entrepot.layers.spaces.core import Ended, Position, Taken, Want
from entrepot.layers.spaces.records import FETCH, FIND
from entrepot.layers.tier import load
from entrepot.nws import _listing, _wire
from entrepot.nws._errors import NwsConnectionDroppedException, NwsOperationException
from entrepot.nws._link import Sink
from entrepot.nws._template import temporary_name
from entrepot.nws._wire import Cookie

__all__ = ["FIRST_WORKSPACE", "VERBS", "LocalLink", "Verb", "delete_later"]

FIRST_WORKSPACE: Final = "__default"
SYSTEM: Final = "[system]"


class Verb:
    """How a value is retrieved."""

    def __init__(self, name: str) -> None:
        self.kind = FETCH if "fetch" in name else FIND
        self.waits = not name.endswith("Try")
        self.is_iterated = name.startswith("i")
        self.want = Want(self.kind, in_order=self.is_iterated, only_next=self.is_iterated)

    def wants(self, cookie: Cookie | None) -> Want | None:
        """Return what is asked for with a cookie; None if there can be no such variable."""
        if cookie is None or cookie.id == _wire.NO_ID:
            return self.want
        if not cookie.id.isdecimal() or len(cookie.id) > _wire.LENGTH_DIGITS:
            return None
        return self.want._replace(after=Position(int(cookie.id), cookie.index))


VERBS: Final = {
    name: Verb(name)
    for name in (
        "fetch", "fetchTry", "find", "findTry", "ifetch", "ifetchTry", "ifind", "ifindTry",
    )
}  # fmt: skip


class LocalRetrieved:
    """A value of this process's depot."""

    is_nothing = False

    def __init__(self, taken: Taken) -> None:
        self._found = taken.found
        self.cookie = Cookie(f"{taken.id:020d}", taken.index)

    def load(self) -> Any:
        """Return the value."""
        return load(self._found)

    def content(self) -> bytes:
        """Return its bytes, as they travel."""
        return b"".join(foreign.export(*self._found).pieces)


class LocalLink:
    """Does what a server does, without one. Implements `Link`."""

    handshake = _wire.NEW_SERVER.decode()

    def __init__(self, name: str | None) -> None:
        """Open the depot of a name, or this user's."""
        self._depot: entrepot.Depot | None = entrepot.open(name)
        self.name = self._depot.name
        self._client: Client = self._depot.client()
        self._client.reserve(FIRST_WORKSPACE, SYSTEM)

    def _space(self, workspace: str) -> Space | None:
        self._check_open()
        return self._client.opened.get(workspace)

    def _check_open(self) -> None:
        if self._depot is None or self._depot.closed:
            raise NwsConnectionDroppedException("the connection to the depot is closed")

    def open(self, name: str, *, owned: bool, persistent: bool, create: bool) -> bool:
        """Open a workspace."""
        self._check_open()
        label = f"in-process ({os.getpid()})"
        try:
            with _mapped("open"):
                self._client.open(name, owned=owned, kept=persistent, create=create, label=label)
        except NotFoundError:
            return False
        return True

    def delete_workspace(self, name: str) -> bool:
        """Delete a workspace."""
        self._check_open()
        try:
            self._client.delete(name)
        except NotFoundError:
            return False
        return True

    def list_workspaces(self) -> str | None:
        """Return the listing of all workspaces."""
        self._check_open()
        return _listing.workspaces(self._client.list())

    def make_temporary(self, template: str) -> str | None:
        """Make a workspace of a new name, which nobody owns yet."""
        self._check_open()
        name = temporary_name(template)
        if name is not None:
            with _mapped("mktempWs"):
                self._client.open(name, owned=False)
        return name

    def declare(self, workspace: str, variable: str, mode: str) -> bool:
        """Give a variable its mode."""
        space = self._space(workspace)
        if space is None:
            return False
        try:
            space.declare(variable, mode)
        except (ConflictError, LimitError, NotFoundError):
            return False
        return True

    def delete_variable(self, workspace: str, variable: str) -> bool:
        """Delete a variable; those who wait for it are told."""
        space = self._space(workspace)
        return space is not None and space.delete(variable)

    def list_variables(self, workspace: str) -> str | None:
        """Return the listing of the variables of a workspace."""
        space = self._space(workspace)
        if space is None:
            return None
        try:
            return _listing.variables(space.variables())
        except NotFoundError:
            return None

    def store(self, workspace: str, variable: str, value: object) -> bool:
        """Store a value as it is: big ones lie in shared memory."""
        space = self._client.opened.get(workspace)
        if space is None:
            self._check_open()
            return False
        record = values.encode(value)  # what it raises is of the value
        try:
            with _mapped("store"):
                space.store_record(variable, record)
        except NotFoundError:
            return False
        return True

    def store_pieces(
        self, workspace: str, variable: str, size: int, read: Callable[[int], bytes]
    ) -> bool:
        """Store bytes, written straight into shared memory if they are many."""
        space = self._space(workspace)
        if space is None:
            return False
        try:
            with _mapped("store file"):
                if size <= entrepot.settings.INLINE_BYTES_MAX:
                    body = b"".join(_pieces(size, read))
                    space.store_record(variable, values.encode(body))
                    return True
                draft = space.bulk.begin(size)
                try:
                    memory = space.bulk.memory(draft)[:size]
                    at = 0
                    for piece in _pieces(size, read):
                        memory[at : at + len(piece)] = piece
                        at += len(piece)
                    encoded = values.Encoded(values.BYTES, b"", [memory])
                    space.store_draft(variable, encoded, draft)
                except BaseException:
                    space.bulk.abandon(draft)
                    raise
        except NotFoundError:
            return False
        return True

    def retrieve(
        self, verb: str, workspace: str, variable: str, cookie: Cookie | None
    ) -> LocalRetrieved | None:
        """Find or fetch a value."""
        taken = self._take(verb, workspace, variable, cookie)
        return None if taken is None else LocalRetrieved(taken)

    def retrieve_into(
        self, verb: str, workspace: str, variable: str, cookie: Cookie | None, sink: Sink
    ) -> tuple[int, Cookie] | None:
        """Hand the bytes of a value to `sink`."""
        taken = self._take(verb, workspace, variable, cookie)
        if taken is None:
            return None
        portable = foreign.export(*taken.found)
        for piece in portable.pieces:
            sink(piece)
        return portable.size, LocalRetrieved(taken).cookie

    def _take(
        self, verb: str, workspace: str, variable: str, cookie: Cookie | None
    ) -> Taken | None:
        space = self._client.opened.get(workspace)
        if space is None:
            self._check_open()
            return None
        how = VERBS[verb]
        want = how.wants(cookie)
        if want is None:
            return None
        try:
            if how.waits:
                return space.wait(variable, want, None)
            taken = space.take(variable, want)
            if taken is None:
                space.mention(variable)
            return taken
        except (NotFoundError, ConflictError, LimitError, Ended):
            return None
        except ProducersGoneError as error:
            if how.is_iterated:
                return None  # iterators end, as they do over TCP
            raise NwsOperationException(f"{verb} of {variable!r} failed: {error}") from error
        except ClosedError as error:
            raise NwsConnectionDroppedException(str(error)) from error

    def close(self) -> None:
        """End what is owned here; may be repeated."""
        depot, self._depot = self._depot, None
        if depot is not None:
            _end(depot, self._client)


def _end(depot: entrepot.Depot, client: Client) -> None:
    with contextlib.suppress(EntrepotError):  # it is closed, or gone: nothing is owned any more
        if not depot.closed:
            client.close()
            depot.close()


def _pieces(size: int, read: Callable[[int], bytes]) -> Any:
    while size > 0:
        piece = read(size)
        yield piece
        size -= len(piece)


@contextlib.contextmanager
def _mapped(what: str) -> Any:
    """Name what failed for want of memory, or because of a limit, as NetWorkSpaces does."""
    try:
        yield
    except NotFoundError:
        raise
    except ClosedError as error:
        raise NwsConnectionDroppedException(str(error)) from error
    except EntrepotError as error:
        raise NwsOperationException(f"{what} failed: {error}") from error


# Connections that were dropped without being closed. A finalizer may run in the middle of a
# transaction of the same thread, so another thread does the work.

_dropped: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
_undertaker_pid = 0


def delete_later(close: Callable[[], None]) -> None:
    """Have a connection closed soon, from wherever the last reference to it went."""
    global _undertaker_pid
    if _undertaker_pid != os.getpid():
        _undertaker_pid = os.getpid()
        threading.Thread(target=_bury, name="entrepot-nws-close", daemon=True).start()
    _dropped.put(close)


def _bury() -> None:
    while True:
        _dropped.get()()
