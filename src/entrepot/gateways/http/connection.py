"""A connection of an HTTP gateway: requests are read from it, and answered in their order.

1. The parser calls the `on_…` methods. At the end of its head a request is looked at: what is
   asked, and whether it may be. Its body is collected, or fed to an upload if it is large.
2. A request that is complete waits for its turn, which comes when the one before is answered.
   Writes need not wait for writes: they are done in their order anyway, in one commit.
3. What a handler returns is gone on with (`_go_on`) until it is a reply. Replies are written
   in the order of their requests, those that are ready together in one piece.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Final, cast

from entrepot import settings
from entrepot.errors import EntrepotError
from entrepot.gateways.http import objects
from entrepot.gateways.http.messages import (
    Download,
    Outcome,
    RefusedError,
    Reply,
    Request,
    Steps,
    Work,
    Write,
    refuse,
)
from entrepot.gateways.http.uploads import Upload
from entrepot.layers.commits import Call
from entrepot.v3io._protocol import INVALID

try:
    import httptools
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the HTTP gateway needs httptools: pip install 'entrepot[serve]'", name=error.name
    ) from error

if TYPE_CHECKING:
    from entrepot.gateways.http.server import HttpGateway

__all__ = ["Connection"]

_log = logging.getLogger(__name__)
_KNOWN: Final = frozenset(
    (
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"range",
        b"transfer-encoding",
        b"x-v3io-function",
        b"x-v3io-session-key",
    )
)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Exchange:
    """A request whose turn has come, and its reply when there is one."""

    __slots__ = ("reply", "request", "upload")

    def __init__(self, request: Request, upload: Upload | None) -> None:
        self.request = request
        self.upload = upload
        self.reply: Reply | None = None


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, gateway: HttpGateway) -> None:
        self._gateway = gateway
        self._loop = gateway.loop
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._parser: Any = httptools.HttpRequestParser(self)
        self._request: Request | None = None
        """The one that is being read."""
        self._has_head = False
        self._head_bytes = 0
        """Of the target and the headers that were parsed."""
        self._raw_bytes = 0
        """Bytes that came since something of the request was parsed: of a head or a trailer."""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._body_bytes_max = 0
        self._refusal: Reply | None = None
        """What the request that is being read is answered, whatever its body is."""
        self._upload: Upload | None = None
        self._owes_continue = False
        self._waiting: deque[tuple[Request, Reply | Upload | None]] = deque()
        self._under_way: deque[_Exchange] = deque()
        self._is_deaf = False
        """Whether what comes is not looked at any more: the connection is nearly over."""
        self._is_cut = False
        """Whether it is deaf in the middle of what the client sends."""
        self._lingers_until: float | None = None
        self._advances = False
        self._is_choked = False
        """Whether the client does not take what is written."""
        self._drained: asyncio.Future[None] | None = None
        self._is_paused = False
        """Whether nothing is read from it just now."""
        self._is_lost = False
        self._heard = 0.0
        self._reads_since = 0.0
        self._unsent = (0, 0.0)
        """How many bytes were not taken when somebody looked, and since when that is so."""
        self.peer = ""

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._heard = time.monotonic()
        if not self._gateway.welcome(self):
            self._is_deaf = True
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=4 * settings.HTTP_PIECE_BYTES)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._gateway.wakefulness.note()
        self._heard = time.monotonic()
        if self._is_deaf:
            return
        self._raw_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_deaf = True  # whatever it wants to speak, we do not: its request was answered
        except httptools.HttpParserCallbackError:
            _log.exception("a request could not be read")
            self._end_with(refuse(500, INVALID, "the gateway failed; its log says why"))
        except httptools.HttpParserError as error:
            self._end_with(refuse(400, INVALID, f"this is no HTTP/1.1: {error}"))
        size_max = settings.HTTP_HEAD_BYTES_MAX
        if self._request is not None and max(self._raw_bytes, self._head_bytes) > size_max:
            self._refuse_head()

    def eof_received(self) -> bool:
        """Answer what was asked, if something was, and close."""
        if self._upload is not None:
            self._upload.fail()
        self._is_deaf = True
        is_plain = self._transport.get_extra_info("sslcontext") is None
        if is_plain and (self._waiting or self._under_way) and self._lingers_until is None:
            (self._waiting[-1][0] if self._waiting else self._under_way[-1].request).closes = True
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything."""
        self._is_lost = self._is_deaf = True
        if self._upload is not None:
            self._upload.fail()
        for exchange in self._under_way:
            if exchange.upload is not None:
                exchange.upload.fail()
        self._waiting.clear()
        self._wake()
        self._gateway.farewell(self)

    def pause_writing(self) -> None:
        """Note that the client does not take what is written."""
        self._is_choked = True
        self._unsent = (0, time.monotonic())

    def resume_writing(self) -> None:
        """Go on."""
        self._is_choked = False
        self._wake()
        self._advance()

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # What the parser tells.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._request = request = Request()
        request.began = self._reads_since = self._heard
        self._has_head = False
        self._head_bytes = self._raw_bytes = 0
        self._body = []
        self._body_bytes = 0
        self._refusal = None

    def on_url(self, url: bytes) -> None:
        """Take the target, or a part of it."""
        assert self._request is not None, "the parser began a request"
        self._request.target += url
        self._head_bytes += len(url)
        self._raw_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, if it is one that we know."""
        assert self._request is not None, "the parser began a request"
        self._head_bytes += len(name) + len(value) + 4
        self._raw_bytes = 0
        name = name.lower()
        if name in _KNOWN and not self._has_head:
            self._request.headers[name] = value

    def on_headers_complete(self) -> None:
        """Look at what is asked, before its body comes."""
        request, parser = self._request, self._parser
        assert request is not None, "the parser began a request"
        self._has_head = True
        self._raw_bytes = 0
        if self._is_deaf:
            return
        if self._head_bytes > settings.HTTP_HEAD_BYTES_MAX:
            self._refuse_head()
            return
        headers = request.headers
        request.method = parser.get_method()
        request.function = headers.get(b"x-v3io-function", b"")
        request.closes = not parser.should_keep_alive() or parser.should_upgrade()
        if parser.get_http_version() != "1.1":
            request.is_http_1_0 = True
        length = int(headers.get(b"content-length", b"0"))
        try:
            self._gateway.admit(request)
        except (RefusedError, EntrepotError) as error:
            self._refusal = self._gateway.failed(error, request)
            self._body_bytes_max = settings.HTTP_AT_ONCE_BYTES_MAX
            if length > self._body_bytes_max or b"expect" in headers:
                self._end_with(None)
            return
        route = request.route
        is_streamed = route is not None and route.streams
        self._body_bytes_max = (
            settings.BODY_INLINE_BYTES_MAX if is_streamed else settings.HTTP_BODY_BYTES_MAX
        )
        if length > self._body_bytes_max and not is_streamed:
            self._refuse_body(length)
            return
        if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            self._end_with(refuse(501, INVALID, "of transfer encodings only chunked is known"))
            return
        if headers.get(b"expect", b"").lower() == b"100-continue" and not request.is_http_1_0:
            self._owes_continue = True
        if length > self._body_bytes_max:
            self._begin_upload(request)  # it may be refused: the body is not asked for then
        else:
            self._pay_continue()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        request = self._request
        assert request is not None, "the parser began a request"
        self._raw_bytes = 0
        self._owes_continue = False
        request.bytes_in += len(body)
        if self._is_deaf:
            return
        if self._upload is not None:
            self._upload.feed(body)
            if self._upload.is_full:
                self._pause()
            return
        self._body_bytes += len(body)
        if self._body_bytes <= self._body_bytes_max:
            if self._refusal is None:
                self._body.append(body)
            return
        if self._refusal is not None:
            self._end_with(None)
        elif request.route is not None and request.route.streams:
            self._body.append(body)
            self._begin_upload(request)
        else:
            self._refuse_body(None)

    def on_message_complete(self) -> None:
        """Have a request answered."""
        request = self._request
        assert request is not None, "the parser began a request"
        self._request = None
        self._has_head = False
        self._raw_bytes = 0
        self._owes_continue = False
        if self._is_deaf:
            return
        if request.closes:
            self._is_deaf = True
        if self._upload is not None:
            self._upload.end()
            self._upload = None
            return
        body = self._body
        request.body = body[0] if len(body) == 1 else b"".join(body)
        self._enqueue(request, self._refusal)

    # Refusing.

    def _refuse_body(self, length: int | None) -> None:
        most = settings.HTTP_BODY_BYTES_MAX
        size = "more" if length is None else f"{length}"
        self._end_with(
            refuse(413, INVALID, f"the body has {size} bytes, at most {most} are allowed here")
        )

    def _refuse_head(self) -> None:
        most = settings.HTTP_HEAD_BYTES_MAX
        self._end_with(refuse(431, INVALID, f"the head of the request has more than {most} bytes"))

    def _end_with(self, error: RefusedError | None) -> None:
        """Answer the request that is being read, and read no more from this connection."""
        if self._is_deaf:
            return
        self._is_deaf = self._is_cut = True
        request = self._request or Request()
        request.began = request.began or self._heard
        request.closes = True
        if self._upload is not None:  # it is under way, and will be answered
            self._upload.fail()
            return
        reply = self._refusal if error is None else self._gateway.failed(error, request)
        self._enqueue(request, reply)

    # Uploads.

    def _begin_upload(self, request: Request) -> None:
        try:
            objects.check_upload(self._gateway.handles, request)
        except (RefusedError, EntrepotError) as error:
            self._refusal = self._gateway.failed(error, request)
            self._end_with(None)
            return
        self._upload = upload = Upload(self._loop, self._resume)
        for piece in self._body:
            upload.feed(piece)
        self._body = []
        self._enqueue(request, upload)

    def _store(self, exchange: _Exchange, upload: Upload) -> None:
        """Have a thread store what comes, and answer when that is done."""
        gateway, request = self._gateway, exchange.request
        if self._owes_continue:
            self._owes_continue = False
            self._transport.write(_CONTINUE)
        self._in_thread(
            exchange,
            lambda: objects.upload(gateway.handles, request, upload.pieces()),
            gateway.uploaders,
        )

    # The order of things.

    def _enqueue(self, request: Request, outcome: Reply | Upload | None) -> None:
        if outcome is None and not (
            self._waiting or self._under_way or self._is_choked or self._advances or self._is_lost
        ):
            done = self._gateway.run(request)
            if type(done) is Reply:  # nearly always, of reads: the short way
                self._transport.write(self._encode(done, request, 0))
                self._gateway.record(self, request, done)
                if done.closes:
                    self._hang_up()
                return
            exchange = _Exchange(request, None)
            self._under_way.append(exchange)
            self._go_on(exchange, done)
            return
        self._waiting.append((request, outcome))
        self._advance()
        if self._has_enough:
            self._pause()

    @property
    def _has_enough(self) -> bool:
        """Whether so much was asked that no more should be read before some is answered."""
        if len(self._waiting) >= settings.HTTP_PIPELINED_MAX:
            return True
        size = sum(len(request.body) for request, _ in self._waiting)
        size += sum(len(exchange.request.body) for exchange in self._under_way)
        return size >= settings.HTTP_BODY_BYTES_MAX and bool(self._waiting)

    def _advance(self) -> None:
        """Begin what can begin now."""
        if self._advances:
            return  # the loop below goes on
        self._advances = True
        try:
            self._begin_what_can()
        finally:
            self._advances = False
        if not self._under_way:
            self._pay_continue()
        if self._is_paused:
            self._resume()

    def _begin_what_can(self) -> None:
        while self._waiting and not self._is_choked:
            request, outcome = self._waiting[0]
            if self._under_way and not (
                outcome is None and self._gathers(request) and self._all_gather()
            ):
                return
            self._waiting.popleft()
            exchange = _Exchange(request, outcome if isinstance(outcome, Upload) else None)
            self._under_way.append(exchange)
            if outcome is None:
                outcome = self._gateway.run(request)
            if isinstance(outcome, Upload):
                self._store(exchange, outcome)
            else:
                self._go_on(exchange, outcome)

    def _all_gather(self) -> bool:
        return len(self._under_way) < settings.HTTP_PIPELINED_MAX and all(
            self._gathers(exchange.request) for exchange in self._under_way
        )

    @staticmethod
    def _gathers(request: Request) -> bool:
        return (
            request.route is not None
            and request.route.gathers
            and len(request.body) <= settings.HTTP_AT_ONCE_BYTES_MAX
        )

    def _pause(self) -> None:
        if not self._is_paused and not self._is_lost:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        is_full = self._upload is not None and self._upload.is_full
        if self._is_paused and not (self._is_lost or is_full or self._has_enough):
            self._is_paused = False
            self._reads_since += time.monotonic() - self._heard  # that was not the client's fault
            self._heard = time.monotonic()
            self._transport.resume_reading()

    def _pay_continue(self) -> None:
        """Ask for the body of a request that waits to be asked, if it is its turn."""
        if self._owes_continue and not self._under_way and not self._waiting:
            self._owes_continue = False
            self._transport.write(_CONTINUE)

    # Going on.

    def _go_on(self, exchange: _Exchange, outcome: Outcome) -> None:
        """Do what is to be done next for a request."""
        kind = type(outcome)
        if kind is Reply:
            exchange.reply = cast("Reply", outcome)
            if exchange is self._under_way[0]:
                self._send()
        elif isinstance(outcome, Write):
            then = outcome.then

            def written(call: Call) -> None:
                self._tell(exchange, self._gateway.attempt(exchange.request, _then, then, call))

            self._gateway.gathering.add(outcome.call, written)
        elif isinstance(outcome, Work):
            self._in_thread(exchange, outcome.fn, self._gateway.threads)
        elif isinstance(outcome, Steps):
            self._step(exchange, outcome.steps)
        else:
            assert isinstance(outcome, Download), "that is all there is"
            self._gateway.begin_task(self._download(exchange, outcome))

    def _tell(self, exchange: _Exchange, outcome: Outcome) -> None:
        """Go on when something came back, and with what waited for it."""
        self._go_on(exchange, outcome)
        self._advance()

    def _in_thread(self, exchange: _Exchange, fn: Any, executor: Executor) -> None:
        future = self._loop.run_in_executor(executor, self._gateway.attempt, exchange.request, fn)

        def done(future: asyncio.Future[Outcome]) -> None:
            outcome = future.result()
            upload = exchange.upload
            if upload is not None:
                upload.is_over = True
                exchange.upload = None
                if not upload.has_ended:  # it was refused before its end
                    self._is_deaf = self._is_cut = True
                    self._upload = None
                    exchange.request.closes = True
                    self._resume()
            self._tell(exchange, outcome)

        future.add_done_callback(done)

    def _step(self, exchange: _Exchange, steps: Iterator[Reply | None]) -> None:
        outcome = self._gateway.attempt(exchange.request, next, steps)
        if outcome is not None:
            self._tell(exchange, outcome)
        elif not self._is_lost:
            self._loop.call_soon(self._step, exchange, steps)

    async def _download(self, exchange: _Exchange, download: Download) -> None:
        """Send a large body in pieces, no faster than the client takes them."""
        reader, left, reply = download.reader, download.count, download.reply
        request, transport, head = exchange.request, self._transport, b""
        try:
            reader.seek(download.offset)
            while left and not self._is_lost:
                count = min(left, settings.HTTP_PIECE_BYTES)
                piece = await self._loop.run_in_executor(self._gateway.threads, reader.read, count)
                if not head:
                    head = self._encode(reply, request, len(self._under_way) - 1)
                    transport.writelines((head, piece))
                else:
                    transport.write(piece)
                left -= len(piece)
                if self._is_choked and not self._is_lost:
                    self._drained = self._loop.create_future()
                    await self._drained
        except (EntrepotError, OSError) as error:
            if not head:
                self._tell(exchange, self._gateway.failed(error, request))
                return
            _log.error("%s broke off: %s", request.target.decode("latin-1"), error)
            transport.abort()
        finally:
            reader.close()
        self._gateway.record(self, request, reply)
        self._under_way.popleft()
        if reply.closes:
            self._hang_up()
        self._advance()

    # Replies.

    def _send(self) -> None:
        """Write the replies that are ready, in order."""
        ready: list[bytes] = []
        under_way = self._under_way
        is_over = False
        while under_way and (reply := under_way[0].reply) is not None:
            request = under_way.popleft().request
            ready.append(self._encode(reply, request, len(under_way)))
            self._gateway.record(self, request, reply)
            if reply.closes:
                is_over = True
                break
        if not self._is_lost:
            self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
            if is_over:
                self._hang_up()

    def _encode(self, reply: Reply, request: Request, others: int) -> bytes:
        is_last = self._gateway.is_stopping and not self._waiting and not others
        if request.closes or is_last:
            reply.closes = True
        return reply.encode(self._gateway.date, request)

    def _hang_up(self) -> None:
        """Close; if the client may be sending still, let it read the reply first."""
        self._waiting.clear()
        self._is_deaf = True
        if not self._is_cut or self._is_lost:
            self._transport.close()
            return
        self._lingers_until = time.monotonic() + settings.HTTP_LINGER_S
        if self._is_paused:
            self._resume()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # What the gateway tells.

    @property
    def is_busy(self) -> bool:
        """Whether something was asked that is not answered."""
        return bool(self._waiting or self._under_way or self._request)

    def stop(self) -> None:
        """Close now, or when what was asked is answered."""
        if not self.is_busy:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def look(self, now: float, stall_s: float, idle_s: float) -> None:
        """Give up a client that stalls."""
        if self._lingers_until is not None:
            if now > self._lingers_until:
                self._transport.abort()
        elif self._is_choked:
            size = self._transport.get_write_buffer_size()
            if size != self._unsent[0]:
                self._unsent = (size, now)
            elif now - self._unsent[1] > stall_s:
                self._transport.abort()
        elif self._request is not None and not self._is_deaf:
            self._look_at_reading(self._request, now, stall_s)
        elif not self.is_busy and now - self._heard > idle_s:
            self._transport.close()

    def _look_at_reading(self, request: Request, now: float, stall_s: float) -> None:
        if self._is_paused:
            return
        allowed_s = stall_s
        if self._has_head:
            allowed_s += request.bytes_in / settings.HTTP_RATE_BYTES_MIN
        if now - self._heard > stall_s or now - self._reads_since > allowed_s:
            if self._upload is not None or self._under_way:
                self._transport.abort()
            else:
                self._end_with(refuse(408, INVALID, "the rest of the request did not come"))


def _then(then: Any, call: Call) -> Outcome:
    return then(call.value())
