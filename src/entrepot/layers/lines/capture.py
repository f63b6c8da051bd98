"""Capture: what a process prints goes to a buffer of lines, and is still shown.

At the level of Python, `sys.stdout` and `sys.stderr` are replaced by streams that write to
both places. At the level of the system (`fds`), the file descriptors 1 and 2 become the
writing ends of pipes, and a thread carries what comes out of them to both places::

    print, C code, child processes ──► fd 1 ══ pipe ══► thread ──► the terminal
                                                            └────► lines

What is in a pipe when the capture stops is carried to its end: first the descriptors are put
back, so that the pipe has no writer but children that still run; then the thread is told to
take what is there, and ends.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import io
import logging
import os
import selectors
import sys
import threading
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

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

    def __getattr__(self, name: str) -> Any:
        """Return what else the stream before has: `buffer`, `name`, `mode`."""
        if name.startswith("_") or self.before is None:
            raise AttributeError(name)
        return getattr(self.before, name)


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
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._undo = contextlib.ExitStack()
        self._writers: list[LineWriter] = []
        self._carrier: _Carrier | None = None
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
                self._take_logs(label)
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
        self._carrier = _Carrier()
        self._undo.callback(self._carrier.end)
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
            ours, theirs = os.pipe()
            os.dup2(theirs, own)
            os.close(theirs)
            self._undo.callback(_put_back, own, saved, stream)
            self._carrier.add(ours, saved if echo else None, writers[name])
            if name == "stderr":
                self._shown_on = open(os.dup(saved), "w", errors="backslashreplace")  # noqa: SIM115, PTH123 a descriptor, closed with the capture
                self._undo.callback(self._shown_on.close)
        self._carrier.start()

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
                file = self._shown_on  # else what it is shown on would take it once more
                if file is None and isinstance(sys.stderr, Tee):
                    file = sys.stderr.before
            before(message, category, filename, lineno, file, line)
            if file is not None:
                file.flush()

        warnings.showwarning = show

        def put_back() -> None:
            if warnings.showwarning is show:
                warnings.showwarning = before

        self._undo.callback(put_back)

    def _take_logs(self, label: str) -> None:
        handler = self.lines.handler(label)
        handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
        root = logging.getLogger()
        root.addHandler(handler)
        self._undo.callback(handler.close)
        self._undo.callback(root.removeHandler, handler)
        self._writers.append(handler.writer)

    def statistics(self) -> WriterStatistics:
        """Return what could not be written so far, and what was given up."""
        found = [writer.statistics() for writer in self._writers]
        return WriterStatistics(sum(s.waiting for s in found), sum(s.dropped for s in found))

    def stop(self) -> None:
        """Put everything back; may be repeated. Nothing that was printed is lost."""
        with self._lock:
            undo, self._undo = self._undo, contextlib.ExitStack()
        if os.getpid() != self._pid and self._carrier is not None:
            undo.pop_all()  # a forked child, where no thread carries: the parent's does
            return
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


def _put_back(own: int, saved: int, stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.flush()  # what is in its buffer was printed while it was captured
    os.dup2(saved, own)


def _buffer_again(stream: Any) -> None:
    stream.reconfigure(line_buffering=False)


class _Carrier:
    """A thread that carries what comes out of pipes to lines, and to where it went before."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._ends: list[tuple[int, int | None, LineWriter, Any]] = []
        self._thread = threading.Thread(target=self._run, name="entrepot-capture", daemon=True)

    def add(self, ours: int, before: int | None, writer: LineWriter) -> None:
        """Carry what comes out of a pipe; its end, and `before`, are closed with us."""
        os.set_blocking(ours, False)
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        end = (ours, before, writer, decoder)
        self._ends.append(end)
        self._selector.register(ours, selectors.EVENT_READ, end)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        has_ended = False
        while not has_ended:
            ready = self._selector.select()
            has_ended = any(key.fd == self._wake for key, _ in ready)
            for key, _ in ready:
                if key.data is not None:
                    self._carry(key.data)
        for end in self._ends:  # what was written before the descriptors were put back
            while self._carry(end):
                pass
            _write(end[2], end[3].decode(b"", final=True))

    def _carry(self, end: tuple[int, int | None, LineWriter, Any]) -> bool:
        """Carry a piece; tell whether there was one."""
        ours, before, writer, decoder = end
        try:
            data = os.read(ours, _PIECE_BYTES)
        except BlockingIOError:
            return False
        if not data:
            return False
        if before is not None:
            with contextlib.suppress(OSError):  # a terminal that is gone keeps no line
                rest = data
                while rest:
                    rest = rest[os.write(before, rest) :]
        _write(writer, decoder.decode(data))
        return True

    def end(self) -> None:
        """Carry what is there, and end; the descriptors were put back."""
        if self._thread.is_alive():
            os.write(self._waker, b".")
            self._thread.join()
        self._selector.close()
        for ours, _, _, _ in self._ends:
            os.close(ours)
        for _, before, _, _ in self._ends:
            if before is not None:
                os.close(before)
        os.close(self._wake)
        os.close(self._waker)


def _write(writer: LineWriter, text: str) -> None:
    if text:
        writer.write(text)
