"""Buffers of lines for several hosts: the server, the mirror that writes, the reader."""

from __future__ import annotations

import functools
import io
import math
import os
import threading
import time
from collections import ChainMap, deque
from collections.abc import Callable, Hashable, Mapping
from types import TracebackType
from typing import Any, Final, Self, cast

import entrepot
from entrepot import settings
from entrepot.errors import ClosedError, EntrepotError, LimitError, TypeMismatchError
from entrepot.layers.lines.writer import host_name
from entrepot.syncstream._asgi import App, Served
from entrepot.syncstream._contract import (
    Answer,
    Asked,
    answer,
    answer_refusal,
    refusal_of,
    serialized,
)
from entrepot.syncstream._http import Client, ReplyError, StoppedError
from entrepot.syncstream._shelf import Shelf, Shelved
from entrepot.syncstream._streams import (
    ClosedIOError,
    Forking,
    Pending,
    Redirecting,
    checked_maxlen,
    checked_size,
    partial_line,
)
from entrepot.syncstream.base import GroupedMessage, is_end_line_break

__all__ = ["LineHostBuffer", "LineHostMirror", "LineHostReader"]

_GET_HEADERS: Final = {"Accept": "application/json", "User-Agent": "cainmagi/syncstream"}
_POST_HEADERS: Final = {"Content-Type": "application/json"}
_RETRY_S: Final = 0.1
_RETRY_S_MAX: Final = 5.0
_AT_ONCE_CHARS: Final = settings.LINES_BODY_BYTES_MAX // 16
"""A character has up to 12 bytes in JSON."""
_AT_ONCE_CHARS_MIN: Final = 1024
_TOO_LARGE: Final = 413
"""Who replies that to a text will do so whenever it comes again."""


class LineHostBuffer(Shelved):
    """A buffer of the last lines that mirrors on several hosts write to, by HTTP.

    Args:
        api_route: Where it is served; the state at the same route and `-state`.
        endpoint: What Flask calls it; by default the route with dots.
        maxlen: How many lines are kept.
        depot: Where they are; by default this user's depot.
        name: Of lines in the depot that other processes serve too; by default lines of its
            own, which go with it.

    Raises:
        TypeError: `api_route` is empty or no text, or `maxlen` no int of at least 1.
    """

    def __init__(
        self,
        api_route: str = "/sync-stream",
        endpoint: str | None = None,
        maxlen: int = 20,
        *,
        depot: entrepot.Depot | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(api_route, str) or not api_route:  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeMismatchError(f"api_route is {api_route!r}: it is a text such as /lines")
        self.api_route = api_route
        self.endpoint = endpoint or api_route.strip("/").replace("/", ".")
        self._shelf = Shelf(checked_maxlen(maxlen), depot, name)
        self._is_own = name is None

    def __len__(self) -> int:
        return self._shelf.count()

    def serve(self, app: Any) -> Any:
        """Serve the buffer in a Flask application, or in any ASGI application.

        Returns:
            The application to run: of Flask and of frameworks that take middleware the same
            one, of other ASGI applications one that stands before it.

        Raises:
            AssertionError: A Flask application had its first request, or has that endpoint.
            TypeError: It is no application.
            ValueError: The route does not begin with a slash.
        """
        if not self.api_route.startswith("/"):
            raise LimitError(f"the route {self.api_route!r} does not begin with a slash")
        if hasattr(app, "add_url_rule"):
            for is_state, tail in ((False, ""), (True, "-state")):
                app.add_url_rule(
                    self.api_route + tail,
                    endpoint=self.endpoint + tail,
                    view_func=self._view(is_state),
                    methods=["GET", "POST", "DELETE", "PUT", "PATCH"],
                )
            return app
        if hasattr(app, "add_middleware"):
            app.add_middleware(Served, lines=self._lines, route=self.api_route)
            return app
        if not callable(app):
            raise TypeMismatchError(f"{app!r:.80} is neither a Flask nor an ASGI application")
        return Served(cast("App", app), lines=self._lines, route=self.api_route)

    def _lines(self) -> Any:
        if self.closed:
            raise ClosedError(f"the buffer at {self.api_route} is closed")
        return self._shelf.lines

    def _answer(self, asked: Asked) -> Answer:
        try:
            lines = self._lines()
        except ClosedError as error:
            return answer_refusal(refusal_of(error), str(error))
        return answer(lines, asked)

    def _view(self, is_state: bool) -> Any:
        def view() -> Any:
            import flask  # whoever serves in Flask has it

            asked = flask.request
            if (asked.content_length or 0) > settings.LINES_BODY_BYTES_MAX:
                found = answer_refusal(413, f"at most {settings.LINES_BODY_BYTES_MAX} bytes")
            else:
                body, kind = asked.get_data(), asked.content_type or ""
                found = self._answer(Asked(asked.method, is_state, asked.args, body, kind))
            headers = {"Allow": found.allow} if found.allow else None
            return flask.Response(
                found.body, found.status, headers, content_type="application/json"
            )

        return view

    def read_serialized(self, size: int | None = None) -> tuple[Any, ...]:
        """Return the last items, ready for JSON."""
        return tuple(serialized(self.read(size)))

    def stop_all_mirrors(self) -> None:
        """Have each further `write` at a mirror raise `StopIteration`."""
        self._shelf.lines.stop()

    def reset_states(self) -> None:
        """End the stop."""
        self._shelf.lines.resume()

    def close(self) -> None:
        """Drop all lines and refuse further ones; may be repeated.

        Lines that have a name in the depot stay there, for others that serve or read them.
        """
        if not self.closed and self._is_own:
            self._shelf.lines.clear()
            self._shelf.lines.close()
        super().close()


class _Caller:
    """One who asks a buffer by HTTP."""

    address: str
    timeout: float | None

    def _set_address(self, address: object, timeout: object) -> None:
        if not isinstance(address, str) or not address:
            raise TypeMismatchError(f"address is {address!r}: it is the URL of a buffer")
        if timeout is not None and (
            isinstance(timeout, bool)
            or not isinstance(timeout, (int, float))
            or math.isnan(timeout)
            or timeout <= 0
        ):
            raise TypeMismatchError(f"timeout is {timeout!r}: it is in seconds, or None")
        self.address = address
        self.timeout = timeout
        self._of: tuple[int, str] | None = None

    @property
    def _client(self) -> Client:
        """The connection of this process: a forked child opens its own."""
        here = os.getpid(), self.address
        if self._of != here:
            self._made = Client(self.address, self.timeout)
            self._of = here
        self._made.timeout = self.timeout
        return self._made

    def _get_state(self, name: str) -> dict[str, Any]:
        client = self._client
        return client.ask("GET", f"{client.path}-state?state={name}", _GET_HEADERS)

    def _post(self, content: Mapping[str, Any]) -> None:
        client = self._client
        client.ask("POST", client.path, {**_GET_HEADERS, **_POST_HEADERS}, content)

    def _hang_up(self) -> None:
        if self._of is not None and self._of[0] == os.getpid():
            self._made.close()


class LineHostMirror(Forking, _Caller, Redirecting):
    """What a program on any host writes to; its lines are in a `LineHostBuffer`.

    What cannot be sent is kept, up to a bound, and goes with the next line: see `dropped`.
    Each thread has a line of its own that is not finished, and so has a forked child.

    Args:
        address: The URL of the buffer.
        aggressive: Send each piece at once, not when its line is finished.
        timeout: Seconds to wait for a reply; None for ever.
        patient: Errors of the network are not raised: a program whose output is redirected
            goes on, also when it closes the mirror.

    Raises:
        TypeError: The address is empty or no text.
    """

    def __init__(
        self,
        address: str,
        aggressive: bool = False,
        timeout: float | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self._set_address(address, timeout)
        self.aggressive = aggressive
        self.patient = patient
        self.dropped = 0
        """How many characters were given up, as too much waited."""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._pending = Pending()
        self._unsent: deque[tuple[Hashable, str]] = deque()
        """What is to be sent, and of which thread."""
        self._retry_s = self._retry_at = 0.0
        self._id = os.urandom(8).hex()
        self._writers: dict[Hashable, str] = {}
        """What threads are called that have a partial line there, as far as we know."""
        self._count = 0
        self._at_once = _AT_ONCE_CHARS
        self._knows_writers: bool | None = None
        self.hear_of_forks()

    def begin_in_child(self) -> None:
        """Begin anew: what waits is the parent's, and a thread of it may hold the lock."""
        self.dropped = 0
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: getattr(self, name) for name in ("address", "aggressive", "timeout", "patient")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set_address(state["address"], state["timeout"])
        self.aggressive, self.patient = state["aggressive"], state["patient"]
        self.dropped = 0
        self._begin()

    @property
    def headers(self) -> ChainMap[str, str]:
        """The headers of a POST; changing them changes nothing."""
        return ChainMap({}, dict(_POST_HEADERS), dict(_GET_HEADERS))

    @property
    def headers_get(self) -> ChainMap[str, str]:
        """The headers of a GET; changing them changes nothing."""
        return ChainMap({}, dict(_GET_HEADERS))

    def check_states(self) -> None:
        """Raise if the mirrors were told to stop.

        Raises:
            ConnectionError: The buffer cannot be reached.
            StopIteration: They were.
        """
        if self.closed:
            return
        with self._lock:
            try:
                self._check_states()
            except (EntrepotError, OSError):
                self._fall_back()
                if not self.patient:
                    raise

    def _check_states(self) -> None:
        state = self._get_state("closed")
        self._knows_writers = state.get("writers") is True
        if state.get("data"):
            raise _stop()

    def _message(self, kind: str, data: Any = None, writer: str = "") -> dict[str, Any]:
        message: dict[str, Any] = {"type": kind}
        if data is not None:
            message["data"] = data
        if self._knows_writers:
            writer = writer or self._writer_of(self._pending.key)
            message.update(writer=writer, host=host_name(), pid=os.getpid())
        return message

    def _writer_of(self, key: Hashable) -> str:
        name = self._writers.get(key)
        if name is None:
            self._count += 1
            name = f"{host_name()}-{os.getpid()}-{self._id}-{self._count}"
            self._writers[key] = name
        return name

    def write(self, data: str) -> int:
        """Write a text; return how many characters it has.

        Raises:
            ConnectionError: The buffer cannot be reached, or refuses; the text is kept, unless
                it would never be taken.
            OSError: The mirror is closed.
            StopIteration: The mirrors were told to stop; the text is not taken.
            TypeError: It is no text.
        """
        if self.closed:
            raise ClosedIOError("this LineHostMirror is closed")
        if not isinstance(data, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeMismatchError(f"a text is written, not {data!r:.50}")
        with self._lock:
            is_whole = is_end_line_break(data) or len(data.splitlines()) > 1
            sends = bool(data) and (self.aggressive or is_whole)
            if self.patient and time.monotonic() < self._retry_at:
                self._keep_for_later(data, sends)
                return len(data)
            try:
                if not sends or not self._knows_writers:
                    self._check_states()
            except (EntrepotError, OSError):
                self._fall_back()
                self._keep_for_later(data, sends)
                if not self.patient:
                    raise
                return len(data)
            if not sends:
                self._pending.text += data
            else:
                self._send(data)
        return len(data)

    def _fall_back(self) -> None:
        self._retry_s = min(max(2 * self._retry_s, _RETRY_S), _RETRY_S_MAX)
        self._retry_at = time.monotonic() + self._retry_s

    def _keep_for_later(self, data: str, sends: bool) -> None:
        if sends:
            self._queue(data)
            self._bound()
        elif self._waiting() + len(data) > settings.LINES_QUEUE_CHARS_MAX:
            self.dropped += len(data)
        else:
            self._pending.text += data

    def _waiting(self) -> int:
        return sum(len(text) for _, text in self._unsent) + len(str(self._pending))

    def _queue(self, data: str) -> None:
        """Have what this thread has, and a text, wait to be sent."""
        self._unsent.append((self._pending.key, self._pending.text + data))
        self._pending.text = ""

    def _bound(self) -> None:
        """Drop the latest of what waits, where it is too much."""
        excess = self._waiting() - settings.LINES_QUEUE_CHARS_MAX
        while excess > 0 and self._unsent:
            key, text = self._unsent.pop()
            self.dropped += len(text)
            excess -= len(text)
            for at in range(len(self._unsent) - 1, -1, -1):  # what comes next is no end of that
                if self._unsent[at][0] is key:
                    before = self._unsent[at][1]
                    if not is_end_line_break(before):
                        self._unsent[at] = key, before + "\n"
                    break

    def _send(self, data: str, *, stops: bool = True) -> None:
        """Send what waits, and then what this thread has, and a text."""
        pending = self._pending.text
        self._queue(data)
        if self.patient and time.monotonic() < self._retry_at:
            self._bound()
            return
        try:
            self._send_unsent(stops=stops)
        except StoppedError as error:
            key, text = self._unsent.pop()  # nothing was sent, of what waited neither
            kept = text[: len(text) - len(pending) - len(data)]
            if kept:
                self._unsent.append((key, kept))
            self._pending.text = pending
            raise _stop() from error
        except (EntrepotError, OSError):
            self._fall_back()
            self._bound()
            if not self.patient:
                raise

    def _send_unsent(self, *, stops: bool = False) -> None:
        joined: deque[tuple[Hashable, str]] = deque()
        for key, text in self._unsent:
            # The original knows nobody, and cuts nothing.
            goes_on = joined and (joined[-1][0] is key or not self._knows_writers)
            joined.append((key, joined.pop()[1] + text if goes_on else text))
        self._unsent = joined
        while joined:
            key, text = joined[0]
            piece = text[: self._at_once] if self._knows_writers else text
            message = self._message("str", {"value": piece}, self._writer_of(key))
            if stops and self._knows_writers:
                message["stops"] = True
            try:
                self._post(message)
            except ReplyError as error:
                if error.status != _TOO_LARGE:
                    raise
                if self._knows_writers and min(len(text), self._at_once) > _AT_ONCE_CHARS_MIN:
                    self._at_once = min(len(text), self._at_once) // 2
                    continue
                joined.popleft()
                self.dropped += len(text)
                raise
            stops = False  # the rest belongs to what was taken
            if len(piece) < len(text):
                joined[0] = key, text[len(piece) :]
                continue
            joined.popleft()
            if is_end_line_break(text):  # no partial line
                self._writers.pop(key, None)
        self._retry_s = 0.0

    def send_data(self, data: str) -> None:
        """Send a text at once.

        Raises:
            ConnectionError: The buffer cannot be reached, or refuses.
        """
        if not self.closed and data:
            with self._lock:
                pending, self._pending.text = self._pending.text, ""
                try:
                    self._send(data, stops=False)
                finally:
                    self._pending.text = pending

    @property
    def last_line(self) -> io.StringIO:
        """The text of this thread that waits; writing to it changes nothing."""
        return partial_line(self._pending.text)

    def read(self, size: int | None = None) -> str:
        """Return the text that waits, or its last characters.

        Raises:
            OSError: The mirror is closed.
        """
        self.check_open()
        waiting = "".join(text for _, text in self._unsent) + str(self._pending)
        return waiting if size is None else waiting[-size:] if size > 0 else ""

    def clear(self) -> None:
        """Drop the text that waits.

        Raises:
            ValueError: The mirror is closed.
        """
        self.check_usable()
        with self._lock:
            self._pending.clear()
            self._unsent.clear()

    def new_line(self, check: bool = True) -> None:
        """Finish the line that waits, if this thread has one, and send what could not be sent.

        Args:
            check: Raise if the mirrors were told to stop.

        Raises:
            ConnectionError: The buffer cannot be reached, or refuses.
            StopIteration: They were.
            ValueError: The mirror is closed.
        """
        self.check_usable()
        with self._lock:
            if not self._pending.text and not self._unsent:
                return
            if check and not (self.patient and time.monotonic() < self._retry_at):
                self.check_states()
            if self._pending.text:
                self._send("\n", stops=False)
            else:
                self._try(self._send_unsent)

    def _try(self, do: Callable[[], object]) -> bool:
        """Do something; tell whether it went well, where errors are not raised."""
        if self.patient and time.monotonic() < self._retry_at:
            return False
        try:
            do()
        except (EntrepotError, OSError):
            self._fall_back()
            if not self.patient:
                raise
            return False
        return True

    def send_eof(self) -> None:
        """Finish the line that waits, and say that this is the end; one may go on.

        Raises:
            ConnectionError: The buffer cannot be reached, or refuses.
            StopIteration: A line waits, and the mirrors were told to stop.
        """
        if not self.closed:
            with self._lock:
                self.new_line()
                self._finish_others()
                if self._try(lambda: self._post(self._message("close"))):
                    self._writers.pop(self._pending.key, None)

    def _finish_others(self) -> None:
        """Send what other threads have, and end their partial lines."""
        for key, text in self._pending.of_all():
            if key is not self._pending.key:
                self._unsent.append((key, text + "\n"))
                self._pending.drop(key)
        self._try(self._send_unsent)
        if self._knows_writers:
            for key, writer in list(self._writers.items()):
                message = self._message("close", writer=writer)
                if key is not self._pending.key and self._try(
                    functools.partial(self._post, message)
                ):
                    del self._writers[key]

    def send_error(self, obj_err: Any = None, *, error: Any = None) -> None:
        """Send an error with its traceback.

        Raises:
            ConnectionError: The buffer cannot be reached, or refuses.
        """
        self._send_message("error", error if obj_err is None else obj_err)

    def send_warning(self, obj_warn: Any = None, *, warning: Any = None) -> None:
        """Send a warning.

        Raises:
            ConnectionError: The buffer cannot be reached, or refuses.
        """
        self._send_message("warning", warning if obj_warn is None else obj_warn)

    def _send_message(self, kind: str, given: Any) -> None:
        if self.closed:
            return
        message = GroupedMessage(given).serialize()
        with self._lock:
            self.new_line(check=not isinstance(given, StopIteration))
            if not self._try(lambda: self._post(self._message(kind, message))):
                self.dropped += sum(map(len, message["data"]))
            else:
                self._writers.pop(self._pending.key, None)  # its partial line was ended

    def close(self, exc: BaseException | None = None) -> None:
        """Send the end, or an error, and refuse further texts; may be repeated.

        A patient mirror is closed in any case; what it could not send is counted as dropped.

        Raises:
            ConnectionError: That could not be sent; the mirror stays open.
        """
        if self.closed:
            return
        with self._lock:
            self._retry_at = 0.0  # once more
            if exc is None:
                self.send_eof()
            else:
                self._finish_others()
                self.send_error(exc)
            if self.patient:
                self.dropped += self._waiting()
                self._pending.clear()
                self._unsent.clear()
            self._hang_up()
        super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        self.close(error)


class LineHostReader(Forking, _Caller):
    """Reads a `LineHostBuffer` from any host.

    Args:
        address: The URL of the buffer.
        timeout: Seconds to wait for a reply; None for ever.

    Raises:
        TypeError: The address is empty or no text.
    """

    def __init__(self, address: str, timeout: float | None = None) -> None:
        self._set_address(address, timeout)
        self._lock = threading.RLock()
        self.hear_of_forks()

    @property
    def headers(self) -> ChainMap[str, str]:
        """The headers of a GET; changing them changes nothing."""
        return ChainMap({}, dict(_GET_HEADERS))

    @property
    def headers_post(self) -> ChainMap[str, str]:
        """The headers of a POST; changing them changes nothing."""
        return ChainMap({}, dict(_POST_HEADERS), dict(_GET_HEADERS))

    def read(self, size: int | None = None) -> tuple[str | GroupedMessage, ...]:
        """Return the last items, oldest first.

        Raises:
            ConnectionError: The buffer cannot be reached, or refuses.
            TypeError: `size` is no int.
        """
        if size is not None:
            size = checked_size(size, 1 << 53)
        with self._lock:
            client = self._client
            path = client.path if size is None else f"{client.path}?n={size}"
            data = client.ask("GET", path, _GET_HEADERS).get("data")
        items = cast("list[Any]", data) if isinstance(data, list) else []
        return tuple(GroupedMessage.deserialize(item) for item in items)

    def _state(self, name: str) -> Any:
        with self._lock:
            return self._get_state(name).get("data")

    def __len__(self) -> int:
        return int(self._state("curlen") or 0)

    def __bool__(self) -> bool:
        return True

    @property
    def maxlen(self) -> int | None:
        """How many lines the buffer keeps."""
        return self._state("maxlen")

    @property
    def closed(self) -> bool:
        """Whether mirrors are told to stop."""
        return bool(self._state("closed"))

    def clear(self) -> bool:
        """Drop all lines of the buffer."""
        return self._do("DELETE", "")

    def stop_all_mirrors(self) -> bool:
        """Have each further `write` at a mirror raise `StopIteration`."""
        return self._do("POST", "-state", {"state": "closed", "value": "true"})

    def reset_states(self) -> bool:
        """End the stop."""
        return self._do("DELETE", "-state")

    def _do(self, method: str, tail: str, content: Mapping[str, Any] | None = None) -> bool:
        with self._lock:
            client = self._client
            client.ask(method, client.path + tail, {**_GET_HEADERS, **_POST_HEADERS}, content)
        return True

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        with self._lock:
            self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _stop() -> StopIteration:
    return StopIteration("the buffer asks its mirrors to stop")
