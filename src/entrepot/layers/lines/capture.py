"""Capture: what a process prints goes to a buffer of lines, and is still shown.

At the level of Python, `sys.stdout` and `sys.stderr` are replaced by streams that write to
both places. At the level of the system (`fds`), the file descriptors 1 and 2 become the
writing ends of pipes, and a thread carries what comes out of them to both places::

    print, C code, child processes ──► fd 1 ══ pipe ══► thread ──► the terminal
                                                            └────► lines

What is in a pipe when the capture stops is carried to its end: first the descriptors are put
back, so that the pipe has no writer but children that still run; then the thread is told to
take what is there. If there are such children, it goes on showing what they print, which is
captured no more, until the last of them ends: else they would be killed by what they print.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import fcntl
import io
import logging
import os
import select
import selectors
import sys
import termios
import threading
import warnings
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TextIO, TypeAlias

from entrepot.errors import ConflictError
from entrepot.layers.lines.records import WARNING
from entrepot.layers.lines.texts import clean
from entrepot.layers.lines.writer import LineWriter, WriterStatistics

if TYPE_CHECKING:
    from entrepot.layers.lines.lines import Lines

__all__ = ["Capture", "Tee"]

_PIECE_BYTES: Final = 64 * 1024


class Tee(io.TextIOBase):
    """A stream that writes to lines, and to where it went before."""

    def __init__(self, writer: LineWriter, before: TextIO | None) -> None:
        self._writer = writer
        self.before = before
        """Where it went before; None if it is not shown there."""
        self._bytes: _TeeBytes | None = None

    def write(self, data: str, /) -> int:
        """Write a text to both."""
        if self.before is not None:
            self.before.write(data)
        if not self._writer.closed:  # somebody kept this stream behind the end of the capture
            self._writer.write(data)
        return len(data)

    def flush(self) -> None:
        """Flush both."""
        if self.before is not None:
            self.before.flush()
        if not self._writer.closed:
            self._writer.flush()

    def close(self) -> None:
        """Do nothing: neither is ours to close."""

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Tell whether it is shown on a terminal."""
        return self.before is not None and self.before.isatty()

    def fileno(self) -> int:
        """Return where it went before."""
        if self.before is None:
            raise io.UnsupportedOperation("fileno")
        return self.before.fileno()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride] a property serves as well as a variable
        """As before."""
        return getattr(self.before, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride] see above
        """As before."""
        return getattr(self.before, "errors", None) or "backslashreplace"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """A stream of bytes, for both; as the stream before, it may have none."""
        if self._bytes is None:
            before = None if self.before is None else self.before.buffer
            self._bytes = _TeeBytes(self._writer, before, self.encoding)
        return self._bytes

    def __getattr__(self, name: str) -> Any:
        """Return what else the stream before has: `name`, `mode`."""
        if name.startswith("_") or name == "buffer" or self.before is None:
            raise AttributeError(name)
        return getattr(self.before, name)


class _TeeBytes(io.BufferedIOBase):
    """What a `Tee` has for those who write bytes."""

    def __init__(self, writer: LineWriter, before: Any, encoding: str) -> None:
        self._writer = writer
        self._before = before
        self._decoder = codecs.getincrementaldecoder(encoding)("backslashreplace")

    def write(self, data: Any, /) -> int:
        raw = bytes(data)
        if self._before is not None:
            self._before.write(raw)
        if not self._writer.closed:
            _write(self._writer, self._decoder.decode(raw))
        return len(raw)

    def flush(self) -> None:
        if self._before is not None:
            self._before.flush()

    def close(self) -> None:
        """Do nothing: neither is ours to close."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._before is None:
            raise io.UnsupportedOperation("fileno")
        return self._before.fileno()


class Capture:
    """What a process prints, taken until `stop`. Made by `Lines.capture`."""

    def __init__(
        self,
        lines: Lines,
        *,
        stdout: bool,
        stderr: bool,
        warnings: bool,
        logging: bool,
        fds: bool,
        progress: bool,
        echo: bool,
        label: str,
    ) -> None:
        self.lines = lines
        self._lock = threading.Lock()
        self._undo = contextlib.ExitStack()
        self._writers: list[LineWriter] = []
        self._shown_on: TextIO | None = None
        with self._undo:
            names = [name for name, on in (("stdout", stdout), ("stderr", stderr)) if on]
            # Each stream has a writer: half a line of one is not finished by the other.
            writers = {name: self._writer(label, progress) for name in names}
            if fds:
                self._take_descriptors(names, writers, echo)
            else:
                for name in names:
                    self._take_stream(name, writers[name], echo)
            if warnings:
                self._take_warnings(self._writer(label, progress), echo)
            if logging:
                self._take_logs(label, echo)
            atexit.register(self.stop)
            self._undo.callback(atexit.unregister, self.stop)
            self._undo = self._undo.pop_all()  # all is well: it goes on

    def _writer(self, label: str, progress: bool) -> LineWriter:
        writer = self.lines.writer(label, progress=progress, patient=True)
        self._writers.append(writer)
        return writer

    def _take_stream(self, name: str, writer: LineWriter, echo: bool) -> None:
        before = getattr(sys, name)
        tee = Tee(writer, before if echo else None)
        setattr(sys, name, tee)

        def put_back() -> None:
            if getattr(sys, name) is tee:  # else somebody else took it meanwhile, and is shown it
                setattr(sys, name, before)

        self._undo.callback(put_back)

    def _take_descriptors(
        self, names: list[str], writers: dict[str, LineWriter], echo: bool
    ) -> None:
        carrier = _Carrier()
        self._undo.callback(carrier.end)
        for name in names:
            stream: Any = getattr(sys, name)
            try:
                number = stream.fileno()
            except (AttributeError, OSError, ValueError):
                number = -1
            own = 1 if name == "stdout" else 2
            if number != own:  # a notebook, or a test: print goes somewhere else
                self._take_stream(name, writers[name], echo)
            else:
                stream.flush()
                if _is_buffered(stream):
                    stream.reconfigure(line_buffering=True)  # so that it comes in its turn
                    self._undo.callback(_buffer_again, stream)
            try:
                saved = os.dup(own)
            except OSError as error:
                raise ConflictError(f"this process has no {name} (descriptor {own})") from error
            carrier.take(own, saved, writers[name], echo=echo)
            self._undo.callback(carrier.put_back, own)
            self._undo.callback(_flush, stream)  # it was printed while it was captured
            if name == "stderr":
                self._shown_on = open(saved, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115 a descriptor, which the carrier closes
                self._undo.callback(self._shown_on.close)
        carrier.start()

    def _take_warnings(self, writer: LineWriter, echo: bool) -> None:
        before = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if file is None and not writer.closed:
                text = warnings.formatwarning(message, category, filename, lineno, line)
                writer.add(WARNING, clean(text).splitlines())
                if not echo:
                    return
                file = self._terminal()
            before(message, category, filename, lineno, file, line)
            if file is not None:
                file.flush()

        warnings.showwarning = show

        def put_back() -> None:
            if warnings.showwarning is show:
                warnings.showwarning = before

        self._undo.callback(put_back)

    def _terminal(self) -> TextIO | None:
        """Return where `sys.stderr` went before: what it is now would take things once more."""
        if self._shown_on is not None:
            return self._shown_on
        return sys.stderr.before if isinstance(sys.stderr, Tee) else sys.stderr

    def _take_logs(self, label: str, echo: bool) -> None:
        handler = self.lines.handler(label)
        handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        self._undo.callback(handler.close)
        self._undo.callback(root.removeHandler, handler)
        self._writers.append(handler.writer)
        if echo:
            last = _LastResort(handler, self._terminal)
            root.addHandler(last)
            self._undo.callback(root.removeHandler, last)

    def statistics(self) -> WriterStatistics:
        """Return what could not be written so far, and what was given up."""
        found = [writer.statistics() for writer in self._writers]
        return WriterStatistics(sum(s.waiting for s in found), sum(s.dropped for s in found))

    def stop(self) -> None:
        """Put everything back; may be repeated. Nothing that was printed is lost.

        What children that still run print from now on is shown, and captured no more.
        """
        with self._lock:
            undo, self._undo = self._undo, contextlib.ExitStack()
        undo.close()
        for writer in self._writers:
            writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and isinstance(error, Exception):
            with contextlib.suppress(Exception):  # the program's own error matters more
                self.lines.fail(error)
        self.stop()


def _is_buffered(stream: TextIO) -> bool:
    return isinstance(stream, io.TextIOWrapper) and not stream.line_buffering


def _flush(stream: Any) -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        stream.flush()


def _buffer_again(stream: Any) -> None:
    stream.reconfigure(line_buffering=False)


class _LastResort(logging.Handler):
    """Shows what logging shows where nobody has set it up: our handler alone ends that."""

    def __init__(self, ours: logging.Handler, terminal: Callable[[], TextIO | None]) -> None:
        super().__init__()
        self._ours = ours
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        last, file = logging.lastResort, self._terminal()
        if last is None or file is None or record.levelno < last.level:
            return
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            if any(one is not self._ours and one is not self for one in logger.handlers):
                return  # somebody has set it up
            logger = logger.parent if logger.propagate else None
        try:
            file.write(self.format(record) + "\n")
            file.flush()
        except Exception:  # noqa: BLE001 logging has its own way to tell of errors
            self.handleError(record)


class _End:
    """The reading end of a pipe that stands in for a descriptor."""

    def __init__(self, reads: int, saved: int, writer: LineWriter, identity: _Identity) -> None:
        self.reads = reads
        self.saved = saved
        """What the descriptor was before."""
        self.writer = writer
        self.identity = identity
        """Of the pipe."""
        self.is_shown = False
        self.has_ended = False
        self.decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")


_Identity: TypeAlias = tuple[int, int]


def _identity(descriptor: int) -> _Identity:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


class _Carrier:
    """A thread that carries what comes out of pipes to lines, and to where it went before."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self.ends: dict[int, _End] = {}
        """For each descriptor."""
        self._has_taken_all = threading.Event()
        self._lingers = False
        self._closing = threading.Lock()
        self._has_shown_all = threading.Event()
        self._thread = threading.Thread(target=self._run, name="entrepot-capture", daemon=True)
        _carriers.add(self)

    def take(self, own: int, saved: int, writer: LineWriter, *, echo: bool) -> None:
        """Have a pipe stand in for a descriptor, which is kept in `saved`."""
        reads, writes = os.pipe()
        os.set_blocking(reads, False)
        end = _End(reads, saved, writer, _identity(writes))
        end.is_shown = echo
        self.ends[own] = end
        self._selector.register(reads, selectors.EVENT_READ, end)
        os.dup2(writes, own)
        os.close(writes)

    def put_back(self, own: int) -> None:
        """Put a descriptor back, wherever in this process the pipe stands in for it by now."""
        end = self.ends[own]
        places = [own]
        for other in list(_carriers):  # one that began later kept the pipe as what it puts back
            if other is not self:
                places += [one.saved for one in other.ends.values()]
        for place in places:
            with contextlib.suppress(OSError):  # the program closed it
                if _identity(place) == end.identity:
                    os.dup2(end.saved, place, inheritable=place == own)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._carry_ready():
                pass
            for end in self.ends.values():
                self._take_rest(end)
        finally:
            self._lingers = not all(end.has_ended for end in self.ends.values())
            self._has_taken_all.set()
        if self._lingers:  # children have it still
            try:
                self._linger()
            finally:
                self._has_shown_all.set()

    def _linger(self) -> None:
        """Show what children print, until the last of them ends, or the program does."""
        os.read(self._wake, 1)
        while not all(end.has_ended for end in self.ends.values()):
            if not self._carry_ready(records=False):
                for end in self.ends.values():
                    self._take_rest(end, records=False)
                return
        self._close()

    def _show_at_exit(self) -> None:
        """Show what children have printed, as the program ends."""
        with self._closing:
            if self._wake < 0 or not self._thread.is_alive():
                return
            os.write(self._waker, b".")
        self._has_shown_all.wait()

    def _carry_ready(self, *, records: bool = True) -> bool:
        """Carry a piece of each pipe that has one; tell whether to go on."""
        ready = self._selector.select()
        for key, _ in ready:
            if key.data is not None:
                self._carry(key.data, records=records)
        return all(key.fd != self._wake for key, _ in ready)

    def _carry(self, end: _End, most: int = _PIECE_BYTES, *, records: bool = True) -> int:
        """Carry a piece; return how many bytes it has."""
        try:
            data = os.read(end.reads, most)
        except BlockingIOError:
            return 0
        if not data:
            end.has_ended = True
            self._selector.unregister(end.reads)
            return 0
        if end.is_shown:
            _show(end.saved, data)
        if records:
            _write_always(end.writer, end.decoder.decode(data))
        return len(data)

    def _take_rest(self, end: _End, *, records: bool = True) -> None:
        """Carry what was written before the descriptors were put back, and no more."""
        left = 0 if end.has_ended else _waiting(end.reads)
        while left > 0 and (taken := self._carry(end, min(left, _PIECE_BYTES), records=records)):
            left -= taken
        if records:
            _write_always(end.writer, end.decoder.decode(b"", final=True))
        if not end.has_ended and not _waiting(end.reads):
            self._carry(end, records=False)  # is there anybody who writes?

    def end(self) -> None:
        """Carry what is there, and end; the descriptors were put back."""
        if self._thread.is_alive():  # it is not in a forked child: the parent's carries
            os.write(self._waker, b".")
            self._has_taken_all.wait()
            if self._lingers:
                atexit.register(self._show_at_exit)
                return
            self._thread.join()
        self._close()

    def _close(self) -> None:
        _carriers.discard(self)
        atexit.unregister(self._show_at_exit)
        with self._closing:
            self.forget()
        for end in self.ends.values():
            os.close(end.saved)
        self.ends = {}

    def forget(self) -> None:
        """Close what only the thread uses: nobody in a forked child takes what comes."""
        if self._wake >= 0:
            self._selector.close()
            for descriptor in (self._wake, self._waker, *(e.reads for e in self.ends.values())):
                os.close(descriptor)
            self._wake = self._waker = -1


_carriers: weakref.WeakSet[_Carrier] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for carrier in list(_carriers):
        carrier.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _waiting(descriptor: int) -> int:
    """Return how many bytes are in a pipe."""
    found = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(found, sys.byteorder)


def _show(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone keeps no line
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:  # somebody made it so; we have time
                select.select([], [descriptor], [])


def _write_always(writer: LineWriter, text: str) -> None:
    with contextlib.suppress(Exception):  # a pipe that nobody empties would stop the program
        _write(writer, text)


def _write(writer: LineWriter, text: str) -> None:
    if text:
        writer.write(text)
