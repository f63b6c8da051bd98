"""One client of NetWorkSpaces' protocol: its requests, its answers, what it waits for.

::

    handshake ──> requests ──┬──> answer ──> requests …
                             ├──> wait (one at most) ──> answer
                             └──> the value of a big store, received into shared memory

A value that was fetched is kept here until the client asks for something else, or leaves in
good order: if the connection turns out to be dead instead, the value goes back to its place.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from entrepot import settings
from entrepot.arena.bulk import Draft
from entrepot.errors import (
    ConflictError,
    EntrepotError,
    LimitError,
    NotFoundError,
    WaitTimeoutError,
)
from entrepot.layers import foreign, values
from entrepot.layers.spaces import Client, Space
from entrepot.layers.spaces.core import Ended, Taken, Waiter, Want
from entrepot.layers.spaces.records import FETCH
from entrepot.nws import _listing, _wire
from entrepot.nws._local import VERBS, Verb
from entrepot.nws._template import temporary_name
from entrepot.nws._wire import Cookie, FrameError
from entrepot.waiting import Deadline

if TYPE_CHECKING:
    from entrepot.gateways.nws.server import NwsGateway

__all__ = ["Connection"]

_log = logging.getLogger(__name__)

_OFFERED = {b"MetadataToServer": b"", b"MetadataFromServer": b""}
_FOR_EVER = Deadline(None)
_DESCRIPTOR_MAX = (1 << 32) - 1
_UNACKNOWLEDGED_AT = 24
"""Where Linux's `tcp_info` tells how many packets the other side has not acknowledged."""


def _nothing(_: object) -> None:
    """Undo what needs no undoing."""


class _Waiting(NamedTuple):
    """What a connection waits for."""

    space: Space
    variable: str
    want: Want
    waiter: Waiter


class _Incoming:
    """The value of a store that is being received."""

    def __init__(self, arguments: list[bytes], rest: int, size: int) -> None:
        self.arguments = arguments
        """Those before the value."""
        self.rest = rest
        """How many arguments come behind it."""
        self.size = size
        self.at = 0
        self.space: Space | None = None
        self.draft: Draft | None = None
        self.memory: memoryview | None = None
        """Where it goes; None if it is not wanted, and only passes."""


class Connection(asyncio.BufferedProtocol):
    """Answers one client."""

    def __init__(self, gateway: NwsGateway) -> None:
        self._gateway = gateway
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended."""
        self._transport: asyncio.Transport = None  # pyright: ignore[reportAttributeAccessIssue] set before all else
        self._client: Client = None  # pyright: ignore[reportAttributeAccessIssue] likewise
        self._has_client = False
        self._peer = ""
        self._pending = bytearray()
        """What came of a request that has not all come."""
        self._next: Callable[[bytes | bytearray, int], int | None] = self._shake_hands
        """Reads what comes next at a place of the data; returns where it ends, if it all came."""
        self._has_cookies = True
        self._reads_metadata = self._writes_metadata = False
        self._metadata = b""
        self._waiting: _Waiting | None = None
        self._incoming: _Incoming | None = None
        self._is_busy = False
        """A thread works for it."""
        self._outgoing: Iterator[bytes | memoryview] | None = None
        """What is left of a big value that is being sent."""
        self._is_full = False
        """The client does not read as fast as we write."""
        self._fetched: tuple[Space, str, Taken] | None = None
        """What it took last, and may not have read yet."""
        self._is_paused = False
        self._is_over = False
        self._room: asyncio.Task[None] | None = None
        """A store that waits for room."""
        self._stall: asyncio.TimerHandle | None = None
        """Ends the connection when a value that was begun does not go on coming."""

    @property
    def is_waiting(self) -> bool:
        """Whether a find or fetch waits for a value."""
        return self._waiting is not None

    @property
    def owes(self) -> bool:
        """Whether its client fetched something of which it is not known that it has it."""
        return self._fetched is not None and not self._has_read_all()

    # Life.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        gateway = self._gateway
        gateway.connections.add(self)
        peer = transport.get_extra_info("peername")
        if peer is None:  # it was reset before we came to it
            self.abort()
            return
        self._peer = f"{peer[0]}:{peer[1]}"
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            self._client = gateway.depot.client(self._peer)
            self._has_client = True
        except EntrepotError as error:
            _log.error("%s was turned away: %s", self._peer, error)
            self.abort()
            return
        if len(gateway.connections) > gateway.connections_max:
            _log.warning("%s was turned away: there are too many connections", self._peer)
            self.abort()

    def eof_received(self) -> bool:
        """Note that the client sends no more: it is gone."""
        if self._has_read_all():
            self._forget()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End: nobody waits here any more, and what it owns goes."""
        self._is_over = True
        self._gateway.connections.discard(self)
        self._gateway.unkeep(self)
        if self._stall is not None:
            self._stall.cancel()
        if self._room is not None:
            self._room.cancel()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._gateway.mailroom(waiting.space).forget(waiting.waiter)
            self._undo(waiting.space, lambda: waiting.space.cancel_wait(waiting.waiter))
        self._abandon()
        fetched, self._fetched = self._fetched, None
        if fetched is not None:
            space, variable, taken = fetched
            self._undo(space, lambda: space.restore(variable, taken))
        try:
            # Before the next connection opens what this one owned.
            has_more = self._has_client and self._client.leave()
        except EntrepotError as error:
            _ignore(None, error)
        else:
            if has_more:  # it may be much
                self._gateway.run_in_thread(self._client.sweep, _ignore)
        self.end.set_result(None)

    def _undo(self, space: Space, work: Callable[[], None]) -> None:
        """Give something back after the end."""
        if space.persistent:
            self._gateway.run_in_thread(work, _ignore)
            return
        try:
            work()
        except EntrepotError as error:
            _ignore(None, error)

    def abort(self) -> None:
        """End the connection at once. What the client fetched and has read is its own."""
        self._is_over = True
        if self._fetched is not None and self._has_read_all():
            self._forget()
        self._transport.abort()

    def _has_read_all(self) -> bool:
        """Tell whether the client's system took all that was sent, and did not throw it away."""
        if self._outgoing is not None or self._transport.get_write_buffer_size():
            return False
        sock: socket.socket = self._transport.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return False
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return not int.from_bytes(info[_UNACKNOWLEDGED_AT:][:4], sys.byteorder)

    def _abandon(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming.draft is not None and incoming.space is not None:
            incoming.memory = None
            draft, bulk = incoming.draft, incoming.space.bulk
            self._undo(incoming.space, lambda: bulk.abandon(draft))

    # Receiving.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to receive: straight into shared memory, if it is a big value."""
        incoming = self._incoming
        if incoming is not None and incoming.memory is not None:
            return incoming.memory[incoming.at :]
        return memoryview(self._gateway.received)

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received."""
        self._gateway.wakefulness.note()
        incoming = self._incoming
        if incoming is not None:
            if incoming.memory is not None:
                incoming.at += nbytes
                if incoming.at == incoming.size:
                    self._end_value(incoming)
                return
            data = bytes(memoryview(self._gateway.received)[:nbytes])
            data = self._pass_over(incoming, data)
            if not data:
                return
        else:
            data = bytes(memoryview(self._gateway.received)[:nbytes])
        if self._waiting is not None:  # as the original: nothing may be asked meanwhile
            self.abort()
            return
        if self._pending:
            self._pending += data
            data = self._pending
        self._read(data)

    def _pass_over(self, incoming: _Incoming, data: bytes) -> bytes:
        """Let bytes pass that are not wanted; return what comes behind them."""
        count = min(len(data), incoming.size - incoming.at)
        incoming.at += count
        if incoming.at == incoming.size:
            self._end_value(incoming)
        return data[count:]

    def _read(self, data: bytes | bytearray) -> None:
        """Do all requests of which all has come; keep the rest."""
        at: int | None = 0
        end = len(data)
        try:
            while at < end and not self._is_over and self._is_free():
                behind = self._next(data, at)
                if behind is None:
                    break
                at = behind
        except FrameError as error:
            _log.info("%s: %s", self._peer, error)
            self.abort()
            return
        if self._is_over:
            return
        if at == end:
            self._pending.clear()
        elif data is self._pending:
            del self._pending[:at]
        else:
            self._pending[:] = memoryview(data)[at:]
        if self._pending and self._waiting is not None:
            self.abort()

    def _is_free(self) -> bool:
        """Tell whether the next request may be looked at."""
        return not (
            self._waiting is not None
            or self._is_busy
            or self._is_full
            or self._outgoing is not None
            or self._incoming is not None
        )

    def _go_on(self) -> None:
        """Look at what came meanwhile."""
        if self._is_over:
            return
        if self._is_paused and not self._is_full and not self._is_busy:
            self._is_paused = False
            self._transport.resume_reading()
        if self._pending and self._is_free():
            self._read(self._pending)

    # Handshake.

    def _shake_hands(self, data: bytes | bytearray, at: int) -> int | None:
        word = bytes(data[at : at + 4])
        if len(word) < 4:
            return None
        self._next = self._read_request
        if word[:1] == b"X":
            self._next = self._negotiate
            self._write(_wire.OFFER + _wire.dictionary(_OFFERED))
        else:
            self._has_cookies = word not in (b"0000", b"1111")
            self._write(_wire.NEW_SERVER)
        return at + 4

    def _negotiate(self, data: bytes | bytearray, at: int) -> int | None:
        word = bytes(data[at : at + 4])
        if len(word) < 4:
            return None
        if word != _wire.WANT:
            raise FrameError(f"{word!r} where options were expected")
        parsed = _wire.parse_dictionary(data, at + 4)
        if parsed is None:
            return None
        wanted, at = parsed
        if any(name not in _OFFERED for name in wanted):
            self._write(_wire.REFUSED)
            self._is_over = True
            self._transport.close()
            return at
        self._reads_metadata = wanted.get(b"MetadataToServer", b"0") == b"1"
        self._writes_metadata = wanted.get(b"MetadataFromServer", b"0") == b"1"
        self._write(_wire.AGREED)
        self._next = self._read_metadata if self._reads_metadata else self._read_request
        return at

    def _read_metadata(self, data: bytes | bytearray, at: int) -> int | None:
        parsed = _wire.parse_dictionary(data, at)
        if parsed is None:
            return None
        self._metadata = bytes(data[at : parsed[1]])
        if len(self._metadata) > settings.NWS_ARGUMENT_BYTES_MAX - 1:
            raise FrameError(f"metadata of {len(self._metadata)} bytes")
        self._next = self._read_request
        return parsed[1]

    # Requests.

    def _read_request(self, data: bytes | bytearray, at: int) -> int | None:
        parsed = _wire.parse(data, at, self._gateway.value_bytes_max)
        if parsed is None:
            return None
        if self._reads_metadata:
            self._next = self._read_metadata
        self._forget()  # it asks for something else, so it has what it fetched
        if isinstance(parsed, _wire.Value):
            return self._begin_value(parsed, data)
        arguments, behind = parsed
        self._do(arguments)
        return behind

    def _do(self, arguments: list[bytes]) -> None:
        verb = arguments[0]
        handler = _HANDLERS.get(verb)
        try:
            if handler is None:
                self._answer(False)
            elif not handler.least <= len(arguments) - 1 <= handler.most:
                self._refuse(handler)
            else:
                handler.run(self, *arguments[1:])
        except (NotFoundError, ConflictError, LimitError, Ended, FrameError) as error:
            self._refuse(handler, error)
        except EntrepotError as error:  # no memory left, a stopped writer: theirs to hear
            _log.warning("%s: %s failed: %s", self._peer, verb.decode("latin-1"), error)
            self._refuse(handler, error)

    def _refuse(self, handler: _Handler | None, error: Exception | None = None) -> None:
        if handler is not None and handler.is_long:
            self._fail(error)
        else:
            self._answer(False, error)

    def _space(self, name: bytes) -> Space:
        """Return a workspace that this connection opened.

        Raises:
            NotFoundError: It did not.
        """
        space = self._client.opened.get(_text(name))
        if space is None:
            raise NotFoundError(f"the workspace {_text(name)!r} was not opened")
        return space

    def _run(
        self,
        space: Space,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        *,
        is_long: bool = False,
        undo: Callable[[Any], None] = _nothing,
    ) -> None:
        """Do something with a space: at once, or in a thread if it may wait for a disk.

        Args:
            space: With which.
            work: What to do.
            then: What to do on the loop with its result.
            is_long: Which form the answer has that says that it failed.
            undo: What to do with the result if the client is gone by then.
        """
        if space.persistent:
            self._run_in_thread(work, then, is_long=is_long, undo=undo)
        else:
            then(work())

    def _run_in_thread(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        *,
        is_long: bool = False,
        undo: Callable[[Any], None] = _nothing,
    ) -> None:
        self._is_busy = True
        self._pause()

        def done(result: Any, error: BaseException | None) -> None:
            self._is_busy = False
            if self._is_over:
                if error is None:
                    self._gateway.run_in_thread(lambda: undo(result), _ignore)
                return
            if error is None:
                then(result)
            else:
                (self._fail if is_long else self._refuse_short)(error)
            self._go_on()

        self._gateway.run_in_thread(work, done)

    def _refuse_short(self, error: BaseException) -> None:
        self._answer(False, error)

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _open(self, name: bytes, label: bytes, persistent: bytes, create: bytes = b"yes") -> None:
        self._enter(name, create, owned=True, kept=persistent == b"yes", label=label)

    def _use(self, name: bytes, label: bytes, persistent: bytes, create: bytes = b"yes") -> None:
        self._enter(name, create, owned=False, kept=False, label=label)

    def _enter(self, name: bytes, create: bytes, *, owned: bool, kept: bool, label: bytes) -> None:
        self._client.open(
            _text(name),
            owned=owned,
            kept=kept,
            create=create == b"yes",
            label=f"{self._peer} ({_text(label)})",
        )
        self._answer(True)

    def _delete_workspace(self, name: bytes) -> None:
        self._run_in_thread(lambda: self._client.delete(_text(name)), self._answer_stored)

    def _list_workspaces(self, name: bytes | None = None) -> None:
        listed = self._client.list()
        if name is not None:
            listed = [one for one in listed if one.name == _text(name)]
        self._send_text(_listing.workspaces(listed))

    def _make_temporary(self, template: bytes = b"__ws__%d", *_: bytes) -> None:
        name = temporary_name(_text(template))
        if name is None:
            raise NotFoundError("the template has not just one integer specifier")
        self._client.open(name, owned=False)
        self._send_text(name)

    def _declare(self, workspace: bytes, variable: bytes, mode: bytes) -> None:
        space = self._space(workspace)
        self._run(space, lambda: space.declare(_text(variable), _text(mode)), self._answer_done)

    def _delete_variable(self, workspace: bytes, variable: bytes) -> None:
        space = self._space(workspace)

        def then(was_there: bool) -> None:
            self._gateway.look()
            self._answer(was_there)

        self._run_in_thread(lambda: space.delete(_text(variable)), then)

    def _list_variables(self, workspace: bytes) -> None:
        space = self._space(workspace)
        self._run(
            space,
            space.variables,
            lambda infos: self._send_text(_listing.variables(infos)),
            is_long=True,
        )

    # Storing.

    def _store(
        self, workspace: bytes, variable: bytes, descriptor: bytes, value: bytes, id: bytes = b""
    ) -> None:
        space = self._space(workspace)
        self._check_id(space, variable, id)
        record = values.encode_foreign(_descriptor(descriptor), self._metadata, value)
        name = _text(variable)
        # Whoever waits here is looked for after the store, so no bell need wake this process.
        hush = None if space.persistent else self._gateway.mailroom(space).hush
        self._store_when_room(
            space, name, lambda: space.store_record(name, record, timeout=0, hush=hush)
        )

    def _store_when_room(
        self,
        space: Space,
        name: str,
        attempt: Callable[[], object],
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        """Store something and answer: at once, or when a variable that is full has room."""

        def work() -> bool:
            try:
                attempt()
            except WaitTimeoutError:
                return False
            except BaseException:
                give_up()
                raise
            return True

        def then(is_stored: bool) -> None:
            if is_stored:
                self._answer_stored(None)
            else:
                self._is_busy = True
                self._pause()
                waiting = self._wait_for_room(space, name, work, give_up)
                self._room = asyncio.get_running_loop().create_task(waiting)

        self._run(space, work, then, undo=lambda is_stored: None if is_stored else give_up())

    async def _wait_for_room(
        self, space: Space, name: str, work: Callable[[], bool], give_up: Callable[[], None]
    ) -> None:
        """Try a store again whenever there may be room."""
        try:
            while True:
                bells = space.room_bells(name)
                seen = space.engine.listen(bells)
                if await asyncio.to_thread(work) if space.persistent else work():
                    break
                await space.engine.wait_async(bells, seen, space.until_due(None))
            error = None
        except asyncio.CancelledError:
            give_up()
            raise
        except EntrepotError as failure:
            error = failure
        self._room = None
        self._is_busy = False
        if self._is_over:
            return
        if error is None:
            self._answer_stored(None)
        else:
            self._answer(False, error)
        self._go_on()

    def _check_id(self, space: Space, variable: bytes, id: bytes) -> None:
        if id.strip() and space.id_of(_text(variable)) != _wire.number(id):
            raise NotFoundError("the variable is another one")

    def _answer_stored(self, _: object) -> None:
        self._gateway.look()  # first who waited for it: it has more to do than the answer's reader
        self._answer(True)

    def _answer_done(self, _: object) -> None:
        self._answer(True)

    def _begin_value(self, value: _wire.Value, data: bytes | bytearray) -> int:
        """Begin to receive a big value, into shared memory if it is wanted."""
        incoming = _Incoming(
            value.arguments, value.arguments_count - _wire.STORE_VALUE - 1, value.size
        )
        came = memoryview(data)[value.begin :]
        try:
            if incoming.rest > 1:
                raise LimitError("a store has at most 6 arguments")
            space = self._space(value.arguments[1])
            _descriptor(value.arguments[3])
            incoming.draft = space.bulk.begin(value.size)
            incoming.space = space
            incoming.memory = space.bulk.memory(incoming.draft)[: value.size]
            incoming.memory[: len(came)] = came
        except EntrepotError as error:  # the bytes come all the same
            _log.info("%s: a value of %d bytes is refused: %s", self._peer, value.size, error)
        incoming.at = len(came)
        self._incoming = incoming
        self._watch_for_stall(incoming, -1)
        return len(data)

    def _watch_for_stall(self, incoming: _Incoming, seen: int) -> None:
        """End the connection if nothing came of a value for long: it takes the room of others."""
        self._stall = None
        if self._incoming is not incoming or self._is_over:
            return
        if incoming.at == seen:
            _log.warning("%s: %d bytes of a value did not come", self._peer, incoming.size - seen)
            self.abort()
            return
        self._stall = self._gateway.call_later(
            settings.NWS_STALL_S, self._watch_for_stall, incoming, incoming.at
        )

    def _end_value(self, incoming: _Incoming) -> None:
        """All of a big value has come: store it, unless more arguments follow."""
        self._incoming = None
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if incoming.rest:
            self._next = lambda data, at: self._end_arguments(incoming, data, at)
            return
        self._store_incoming(incoming, b"")

    def _end_arguments(self, incoming: _Incoming, data: bytes | bytearray, at: int) -> int | None:
        """Read the variable's id, which may come behind a value."""
        digits = _wire.LENGTH_DIGITS
        if len(data) - at < digits:
            return None
        size = _wire.number(data[at : at + digits])
        if size > settings.NWS_ARGUMENT_BYTES_MAX:
            raise FrameError(f"an argument has {size} bytes")
        if len(data) - at < digits + size:
            return None
        at += digits
        self._next = self._read_metadata if self._reads_metadata else self._read_request
        self._store_incoming(incoming, bytes(data[at : at + size]))
        return at + size

    def _store_incoming(self, incoming: _Incoming, id: bytes) -> None:
        space, draft, memory = incoming.space, incoming.draft, incoming.memory
        if space is None or draft is None or memory is None:
            self._answer(False)
            return
        _, _, variable, descriptor = incoming.arguments
        encoded = values.encode_foreign(_descriptor(descriptor), self._metadata, memory)
        assert isinstance(encoded, values.Encoded)

        name = _text(variable)

        def attempt() -> None:
            self._check_id(space, variable, id)
            space.store_draft(name, encoded, draft, timeout=0)

        try:
            self._store_when_room(space, name, attempt, lambda: space.bulk.abandon(draft))
        except (EntrepotError, FrameError) as error:
            self._answer(False, error)

    # Finding and fetching.

    def retrieve(self, verb: Verb, workspace: bytes, variable: bytes, *cookie: bytes) -> None:
        """Do one of the verbs that find or fetch."""
        space = self._space(workspace)
        name = _text(variable)
        want = verb.want
        if cookie:
            id, index = cookie
            text = id.decode("latin-1").strip() or _wire.NO_ID
            found = verb.wants(Cookie(text, _wire.number(index)))
            if found is None:
                raise NotFoundError("there is no such variable")
            want = found
        self._run(
            space,
            lambda: self._take(space, name, verb, want),
            lambda taken: self._took(space, name, want, taken),
            is_long=True,
            undo=lambda taken: _give_back(space, name, want, taken),
        )

    @staticmethod
    def _take(space: Space, name: str, verb: Verb, want: Want) -> Taken | Waiter | None:
        if verb.waits:
            return space.join_line(name, want)
        taken = space.take(name, want)
        if taken is None:
            space.mention(name)
        return taken

    def _took(self, space: Space, name: str, want: Want, taken: Taken | Waiter | None) -> None:
        if taken is None:
            self._fail()
        elif isinstance(taken, Waiter):
            self._waiting = _Waiting(space, name, want, taken)
            self._gateway.mailroom(space).expect(taken, self._has_mail)
        else:
            self._send_value(space, name, want, taken)

    def _has_mail(self, error: EntrepotError | None) -> None:
        """Something was given to the find or fetch that waits: send it."""
        waiting, self._waiting = self._waiting, None
        if waiting is None or self._is_over:
            return
        if error is not None:
            self.abort()
            return
        space, name, want, waiter = waiting

        def work() -> Taken:
            try:
                return space.leave_line(name, want, waiter, _FOR_EVER)
            except BaseException:
                space.cancel_wait(waiter)
                raise

        try:
            self._run(
                space,
                work,
                lambda taken: self._send_value(space, name, want, taken),
                is_long=True,
                undo=lambda taken: _give_back(space, name, want, taken),
            )
        except EntrepotError as failure:  # the variable was deleted
            self._fail(failure)
        self._go_on()

    # Sending.

    def _send_value(self, space: Space, name: str, want: Want, taken: Taken) -> None:
        if want.kind == FETCH:
            self._fetched = space, name, taken
        portable = foreign.export(*taken.found)
        cookie = (taken.id, taken.index) if self._has_cookies else None
        size = portable.size
        head = _wire.reply(portable.descriptor, cookie, size)
        if self._writes_metadata:
            head = (portable.metadata or b"0000") + head
        if size <= settings.NWS_PIECE_BYTES:
            self._transport.write(b"".join((head, *portable.pieces)))
            return
        if self._fetched is not None:
            self._gateway.keep(self, size)
        self._transport.write(head)
        self._outgoing = _small(portable.pieces)
        self._send_more()

    def _send_more(self) -> None:
        """Send more of a big value, until the client has to catch up."""
        outgoing = self._outgoing
        while outgoing is not None and not self._is_full and not self._is_over:
            piece = next(outgoing, None)
            if piece is None:
                self._outgoing = outgoing = None
            else:
                self._transport.write(piece)

    def _forget(self) -> None:
        """Let go of what the client fetched: it has it."""
        if self._fetched is not None:
            self._fetched = None
            self._gateway.unkeep(self)

    def lose(self) -> None:
        """Let go of a big value that was kept for long, while much else is: for the gateway."""
        self._fetched = None

    def pause_writing(self) -> None:
        """Wait until the client has read more."""
        self._is_full = True
        self._pause()

    def resume_writing(self) -> None:
        """Go on: the client has read more."""
        self._is_full = False
        self._send_more()
        if self._outgoing is None:
            self._go_on()

    def _write(self, data: bytes) -> None:
        self._transport.write(data)

    def _answer(self, is_done: bool, error: BaseException | None = None) -> None:
        answer = b"0000" if is_done else b"0001"
        if self._writes_metadata:
            answer = _reason(is_done, error) + answer
        self._transport.write(answer)

    def _fail(self, error: BaseException | None = None) -> None:
        answer = _wire.FAILURE if self._has_cookies else _wire.FAILURE_WITHOUT_COOKIE
        if self._writes_metadata:
            answer = _reason(False, error) + answer
        self._transport.write(answer)

    def _send_text(self, text: str) -> None:
        body = _bytes(text)
        head = b"0000%020d" % 0
        if self._has_cookies:
            head += _wire.NO_ID.encode() + b"%020d" % 0
        if self._writes_metadata:
            head = b"0000" + head
        self._transport.write(b"%b%020d%b" % (head, len(body), body))


class _Handler(NamedTuple):
    """How a verb is done."""

    run: Callable[..., None]
    least: int
    """How many arguments it has, besides its name."""
    most: int
    is_long: bool


def _retrieving(verb: Verb) -> Callable[..., None]:
    def run(connection: Connection, *arguments: bytes) -> None:
        connection.retrieve(verb, *arguments)

    return run


# fmt: off
_HANDLERS: dict[bytes, _Handler] = {
    b"open ws": _Handler(Connection._open, 3, 4, False),  # pyright: ignore[reportPrivateUsage] of the same file
    b"use ws": _Handler(Connection._use, 3, 4, False),  # pyright: ignore[reportPrivateUsage] of the same file
    b"delete ws": _Handler(Connection._delete_workspace, 1, 1, False),  # pyright: ignore[reportPrivateUsage] of the same file
    b"list wss": _Handler(Connection._list_workspaces, 0, 1, True),  # pyright: ignore[reportPrivateUsage] of the same file
    b"mktemp ws": _Handler(Connection._make_temporary, 0, 2, True),  # pyright: ignore[reportPrivateUsage] of the same file
    b"declare var": _Handler(Connection._declare, 3, 3, False),  # pyright: ignore[reportPrivateUsage] of the same file
    b"delete var": _Handler(Connection._delete_variable, 2, 2, False),  # pyright: ignore[reportPrivateUsage] of the same file
    b"list vars": _Handler(Connection._list_variables, 1, 1, True),  # pyright: ignore[reportPrivateUsage] of the same file
    b"store": _Handler(Connection._store, 4, 5, False),  # pyright: ignore[reportPrivateUsage] of the same file
}
# fmt: on
for _name, _verb in VERBS.items():
    _count = 4 if _verb.is_iterated else 2
    _HANDLERS[_name.encode()] = _Handler(_retrieving(_verb), _count, _count, True)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    """Return text that has names in it, also those that a program gave and that are no text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _descriptor(text: bytes) -> int:
    """Return what explains a value.

    Raises:
        LimitError: It is no number of 32 bits.
    """
    try:
        descriptor = int(text)
    except ValueError:
        descriptor = -1
    if not 0 <= descriptor <= _DESCRIPTOR_MAX:
        raise LimitError(f"the descriptor {text!r} is no number of 32 bits")
    return descriptor


def _reason(is_done: bool, error: BaseException | None) -> bytes:
    if is_done:
        return b"0000"
    reason = str(error) if error is not None else "there is no value"
    return _wire.dictionary({b"nwsReason": reason.encode("utf-8", "replace")[:1000]})


def _small(pieces: list[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Cut pieces, so that none is copied whole while a client is slow."""
    for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), settings.NWS_PIECE_BYTES):
            yield view[at : at + settings.NWS_PIECE_BYTES]


def _give_back(space: Space, name: str, want: Want, taken: Taken | Waiter | None) -> None:
    """Undo what was done for a client that is gone."""
    if isinstance(taken, Waiter):
        space.cancel_wait(taken)
    elif taken is not None and want.kind == FETCH:
        space.restore(name, taken)


def _ignore(_: object, error: BaseException | None) -> None:
    """Note what failed after the end of a connection: there is nobody to tell."""
    if error is not None:
        _log.warning("what a connection held was not given back: %s", error)
