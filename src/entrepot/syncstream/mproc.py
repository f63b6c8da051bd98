"""Buffers of lines for the threads of a process, and for the processes of a machine.

The lines of processes are in a depot, where each worker writes them itself: nobody has to
receive them, and no manager process runs. Beside them is a second buffer, the rolls: a worker
that begins leaves an unfinished line there, and finishes it when it says goodbye. If it dies,
the depot finishes that line for it, so `wait` does not hang.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Any, Final

import entrepot
from entrepot.engine.protocol import Seen
from entrepot.errors import ClosedError, ConditionError, NotFoundError, TypeMismatchError
from entrepot.layers.lines import ERROR, LINE, WARNING, By, Lines, LineWriter, Origin, core
from entrepot.layers.lines.records import BUFFER, decode_buffer
from entrepot.layers.lines.writer import host_name
from entrepot.syncstream._shelf import Address, Shelf, Shelved
from entrepot.syncstream._streams import (
    Forking,
    Pending,
    Redirecting,
    checked_maxlen,
    checked_size,
    partial_line,
)
from entrepot.syncstream.base import GroupedMessage, is_end_line_break

__all__ = ["LineBuffer", "LineProcBuffer", "LineProcMirror"]

_GONE: Final = "gone"
_STOP: Final = "the buffer asks its mirrors to stop"


def _gone() -> ClosedError:
    return ClosedError("the buffer of this mirror was closed, or its program has ended")


class LineBuffer(Forking, Redirecting):
    """A buffer of the last lines, for the threads of a process.

    Args:
        maxlen: How many lines are kept.

    Raises:
        TypeError: `maxlen` is no int, or less than 1.
    """

    def __init__(self, maxlen: int = 20) -> None:
        self.storage: deque[str | GroupedMessage] = deque(maxlen=checked_maxlen(maxlen))
        self.last_line = io.StringIO()
        self._lock = threading.RLock()
        self.hear_of_forks()

    @property
    def maxlen(self) -> int:
        """How many lines are kept."""
        return self.storage.maxlen or 0

    def __len__(self) -> int:
        with self._lock:
            partial = not self.last_line.closed and self.last_line.tell() > 0
            return min(len(self.storage) + partial, self.maxlen)

    def __bool__(self) -> bool:
        return True

    def __getstate__(self) -> Any:
        raise TypeError("a LineBuffer belongs to its process: use LineProcBuffer and its mirror")

    def parse_lines(self, lines: Sequence[str]) -> None:
        """Take a batch of finished lines: for subclasses."""
        self.storage.extend(lines)

    def write(self, data: str) -> int:
        """Write a text; return what the original does, which is no count of anything.

        Raises:
            OSError: The buffer is closed.
            TypeError: It is no text.
        """
        with self._lock:
            self.check_open()
            if not isinstance(data, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
                raise TypeMismatchError(f"a text is written, not {data!r:.50}")
            if not data:
                return 0
            lines = data.splitlines()
            rest = "" if is_end_line_break(data) else lines.pop()
            if not lines:
                return self.last_line.write(rest)
            is_lone_break = lines == [""] and not rest
            lines[0] = self._take_last() + lines[0]
            self.parse_lines(lines)
            written = self.last_line.write(rest)
            return 1 if is_lone_break else written

    def _take_last(self) -> str:
        text = self.last_line.getvalue()
        self.last_line.seek(0)
        self.last_line.truncate()
        return text

    def read(self, size: int | None = None) -> tuple[str | GroupedMessage, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] it reads lines, as the original
        """Return the last lines, oldest first; one that is not finished counts.

        Raises:
            OSError: The buffer is closed.
            TypeError: `size` is no int.
        """
        with self._lock:
            self.check_open()
            most = checked_size(size, self.maxlen)
            if not most:
                return ()
            items = list(self.storage)
            if self.last_line.tell() > 0:
                items.append(self.last_line.getvalue())
            return tuple(items[-most:])

    def new_line(self) -> None:
        """Finish the partial line, if there is one.

        Raises:
            ValueError: The buffer is closed.
        """
        with self._lock:
            self.check_usable()
            if self.last_line.tell() > 0:
                self.parse_lines([self._take_last()])

    def clear(self) -> None:
        """Drop all lines, the partial one too.

        Raises:
            ValueError: The buffer is closed.
        """
        with self._lock:
            self.check_usable()
            self.storage.clear()
            self._take_last()

    def close(self) -> None:
        """Drop all lines, and refuse further ones; may be repeated."""
        with self._lock:
            if not self.closed:
                self.clear()
                self.last_line.close()
            super().close()


class LineProcBuffer(Forking, Shelved):
    """A buffer of the last lines of several processes of this machine.

    Args:
        maxlen: How many lines are kept.
        depot: Where they are; by default this user's depot.

    Raises:
        TypeError: `maxlen` is no int, or less than 1.
    """

    def __init__(self, maxlen: int = 20, *, depot: entrepot.Depot | None = None) -> None:
        self._shelf = Shelf(checked_maxlen(maxlen), depot)
        self._rolls = Shelf(1_000_000, depot)
        self._lock = threading.RLock()
        self.hear_of_forks()
        self._is_forced = False
        self._reset()

    def _reset(self) -> None:
        self.n_mirrors = 0
        """How many workers have not said goodbye."""
        self._next_line = self._shelf.lines.info().next
        self._next_roll = self._rolls.lines.info().next
        self._mirror = LineProcMirror(_queue=(self._shelf.address, self._rolls.address))

    def __len__(self) -> int:
        self.check_open()
        return self._shelf.count()

    @property
    def mirror(self) -> LineProcMirror:
        """The mirror for a worker: ask for it once for each."""
        with self._lock:
            self.n_mirrors += 1
        return self._mirror

    def receive(self) -> bool:
        """Wait for a line, or for a worker that ends; False when that was the last one.

        Lines are in the buffer without that: this is how a program waits for its workers.
        False, too, when the buffer is closed meanwhile.

        Raises:
            OSError: The buffer is closed.
        """
        self.check_open()
        return self._receive()

    def _receive(self) -> bool:
        try:
            return self._receive_open()
        except ClosedError:
            if self.closed:  # by another thread
                return False
            raise

    def _receive_open(self) -> bool:
        lines, rolls = self._shelf.lines, self._rolls.lines
        bells = [BUFFER.str(lines.name), BUFFER.str(rolls.name)]
        while True:
            seen: Seen = lines.engine.listen(bells)
            with self._lock:
                if self.closed:
                    return False
                if self._is_forced:
                    self._is_forced = False
                    return False
                if lines.info().next > self._next_line:
                    self._next_line += 1
                    return True
                if rolls.info().next > self._next_roll:
                    self._next_roll += 1
                    self.n_mirrors = max(self.n_mirrors - 1, 0)
                    return self.n_mirrors > 0
            lines.engine.wait(bells, seen)

    def wait(self) -> None:
        """Wait until all workers have said goodbye, or are dead, or the buffer is closed.

        Raises:
            OSError: The buffer was closed before.
        """
        self.check_open()
        while self._receive():
            pass

    def stop_all_mirrors(self) -> None:
        """Have each further `write` at a mirror raise `StopIteration`.

        Raises:
            OSError: The buffer is closed.
        """
        self.check_open()
        self._shelf.lines.stop()

    def force_stop(self) -> None:
        """Have `receive` and `wait` return, whatever the workers do.

        Raises:
            OSError: The buffer is closed.
        """
        self.check_open()
        with self._lock:
            self._is_forced = True
            self.n_mirrors = 0
        self._rolls.lines.resume()  # rings the bell

    def reset_states(self) -> None:
        """End the stop, and begin with a new mirror.

        Raises:
            OSError: The buffer is closed.
            TypeError: There are workers that have not said goodbye.
        """
        self.check_open()
        with self._lock:
            if self.n_mirrors > 0:
                raise TypeMismatchError(
                    f"{self.n_mirrors} mirrors are in use", "wait for them, or force_stop()"
                )
            self._is_forced = False
            self._shelf.lines.resume()
            self._reset()

    def close(self) -> None:
        """Remove the buffer; may be repeated. Who waits is told that all is over."""
        if not self.closed:
            super().close()
            self._shelf.close()
            self._rolls.close()


class _Roll:
    """A worker's line in the rolls: not finished until it says goodbye, or dies."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        origin = Origin(host_name(), os.getpid(), "")
        self._by = By(origin, lines.tier.ids.next(), lines.engine.session.id)

    def sign(self) -> None:
        self._write([], _GONE)

    def leave(self) -> None:
        self._write([""], "")

    def _write(self, lines: list[str], rest: str) -> None:
        # Rolls that are closed are gone, and are not to be made again: hence None.
        arguments = self._by, lines, rest, True, time.time_ns()
        self._lines.tier.commits.write(core.write, self._lines.name, None, *arguments)


class LineProcMirror(Forking, Redirecting):
    """What a worker writes to; made by `LineProcBuffer.mirror`.

    Args:
        q_maxsize: Not used: there is no queue.
        aggressive: Write each piece at once, not when its line is finished.
        timeout: Not used: writing takes microseconds.
        _queue: The addresses of the lines and of the rolls.
        _state: Not used.
        _state_lock: Not used.
    """

    def __init__(
        self,
        q_maxsize: int = 0,
        aggressive: bool = False,
        timeout: float | None = None,
        _queue: tuple[Address, Address] | None = None,
        _state: object = None,
        _state_lock: object = None,
    ) -> None:
        self.q_maxsize = q_maxsize
        self.aggressive = aggressive
        self.timeout = timeout
        self._addresses = _queue
        self._home = os.getpid()
        """Whose children are workers; theirs are not, they print for them."""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._pending = Pending()
        self._pid = 0
        self._has_signed = False
        self._is_guest = False
        """Whether this is a child of a worker, whose death is no goodbye."""
        self.hear_of_forks()

    def begin_in_child(self) -> None:
        """Be a worker, or a guest of one."""
        is_guest = self._is_guest or (self._has_signed and os.getppid() != self._home)
        self._begin()
        self._is_guest = is_guest

    def __getstate__(self) -> dict[str, Any]:
        return {
            "q_maxsize": self.q_maxsize,
            "aggressive": self.aggressive,
            "timeout": self.timeout,
            "_addresses": self._addresses,
            "_home": self._home,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._begin()

    def _connect(self) -> None:
        """Open the depot in this process, and sign the rolls."""
        if self._pid == os.getpid():
            return
        if self._addresses is None:
            raise TypeMismatchError("this mirror has no buffer", "LineProcBuffer.mirror does")
        lines, rolls = self._addresses
        self._depot = entrepot.open(
            lines.depot, directory=lines.directory, data_directory=lines.data_directory
        )
        self._lines: Lines = self._depot.lines(lines.name)
        # A buffer that was closed is gone, and is not to be made again.
        self._writer: LineWriter = self._lines.writer(makes=False, obeys=True)
        self._roll = _Roll(self._depot.lines(rolls.name))
        self._key = BUFFER.str(lines.name)
        self._pid = os.getpid()

    def _sign(self) -> None:
        self._connect()
        if not self._has_signed and not self._is_guest:
            self._roll.sign()
            self._has_signed = True

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        """Hold the lock; say what is wrong in the caller's words.

        Raises:
            ClosedError: The buffer is closed.
            StopIteration: The mirrors were told to stop.
        """
        with self._lock:
            try:
                yield
            except NotFoundError as error:
                raise _gone() from error

    def check_states(self) -> None:
        """Raise if the mirrors were told to stop.

        Raises:
            StopIteration: They were.
        """
        if self.closed:
            return
        with self._writing():
            self._check_stop()

    def _check_stop(self) -> None:
        self._sign()
        raw = self._lines.engine.get(self._key)
        if raw is None:
            raise _gone()
        if decode_buffer(raw).is_stopped:
            raise StopIteration(_STOP)

    def write(self, data: str) -> int:
        """Write a text; return how many characters it has.

        Raises:
            OSError: The mirror is closed.
            ClosedError: The buffer is closed.
            StopIteration: The mirrors were told to stop.
            TypeError: It is no text.
        """
        self.check_open()
        if not isinstance(data, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeMismatchError(f"a text is written, not {data!r:.50}")
        sends = self.aggressive or is_end_line_break(data) or len(data.splitlines()) > 1
        with self._lock:
            try:
                if not sends or not data:
                    self._check_stop()
                    self._pending.text += data
                    return len(data)
                self._sign()
                self._writer.write(self._pending.text + data)
                self._pending.text = ""
            except ConditionError as error:
                raise StopIteration(_STOP) from error
            except NotFoundError as error:
                raise _gone() from error
        return len(data)

    def _write_anyway(self, text: str) -> None:
        self._writer.obeys = False
        try:
            self._writer.write(text)
        finally:
            self._writer.obeys = True

    @property
    def last_line(self) -> io.StringIO:
        """The text of this thread that waits; writing to it changes nothing."""
        return partial_line(self._pending.text)

    def read(self, size: int | None = None) -> str:
        """Return the text that waits for the end of its line, or its last characters.

        Raises:
            OSError: The mirror is closed.
        """
        self.check_open()
        waiting = str(self._pending)
        return waiting if size is None else waiting[-size:] if size > 0 else ""

    def clear(self) -> None:
        """Drop the text that waits.

        Raises:
            ValueError: The mirror is closed.
        """
        self.check_usable()
        self._pending.clear()

    def new_line(self, check: bool = True) -> None:
        """Finish the line that waits, if this thread has one.

        Args:
            check: Raise if the mirrors were told to stop.

        Raises:
            ClosedError: The buffer is closed.
            StopIteration: The mirrors were told to stop.
            ValueError: The mirror is closed.
        """
        self.check_usable()
        with self._writing():
            if not self._pending.text:
                return
            if check:
                self._check_stop()
            self._connect()
            self._write_anyway(self._pending.text + "\n")
            self._pending.text = ""

    def send_data(self, data: str) -> None:
        """Write a text at once.

        Raises:
            ClosedError: The buffer is closed.
        """
        if not self.closed:
            with self._writing():
                self._sign()
                self._write_anyway(data)

    def send_eof(self) -> None:
        """Say goodbye: once for each worker.

        Raises:
            ClosedError: The buffer is closed.
            StopIteration: A line waits, and the mirrors were told to stop.
        """
        if self.closed:
            return
        with self._writing():
            self.new_line()
            self._finish_others()
            self._say_goodbye()

    def send_error(self, obj_err: Any = None, *, error: Any = None) -> None:
        """Write an error with its traceback, and say goodbye.

        Raises:
            ClosedError: The buffer is closed.
        """
        if self.closed:
            return
        given = error if obj_err is None else obj_err
        message = GroupedMessage(given)
        with self._writing():
            self.new_line(check=not isinstance(given, StopIteration))
            self._finish_others()
            self._sign()
            self._writer.add(ERROR, message.data)
            self._say_goodbye()

    def send_warning(self, obj_warn: Any = None, *, warning: Any = None) -> None:
        """Write a warning.

        Raises:
            ClosedError: The buffer is closed.
        """
        if self.closed:
            return
        message = GroupedMessage(warning if obj_warn is None else obj_warn)
        with self._writing():
            self.new_line()
            self._sign()
            self._writer.add(WARNING, message.data)

    def _finish_others(self) -> None:
        """Write what waits of other threads, as the worker ends with this one."""
        for key, text in self._pending.of_all():
            self._writer.add(LINE, [text])
            self._pending.drop(key)

    def _say_goodbye(self) -> None:
        self._sign()
        self._writer.new_line()
        self._roll.leave()
        self._has_signed = False

    def close(self, exc: BaseException | None = None) -> None:
        """Say goodbye, with an error if there is one; may be repeated."""
        if self.closed:
            return
        try:
            if exc is None:
                self.send_eof()
            else:
                self.send_error(exc)
        except ClosedError:
            if exc is not None or self._pending.of_all():
                raise
            # else nothing is lost, and nobody waits for a goodbye
        if self._pid == os.getpid():
            self._writer.close()
            self._depot.close()
            self._pid = 0
        super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        self.close(error)
