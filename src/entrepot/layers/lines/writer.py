"""A writer of lines: a text stream that stands in for a file, such as `sys.stdout`."""

from __future__ import annotations

import io
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from entrepot import settings
from entrepot.errors import (
    ClosedError,
    ConflictError,
    EntrepotError,
    NotFoundError,
    TypeMismatchError,
)
from entrepot.layers.lines import core
from entrepot.layers.lines.core import By
from entrepot.layers.lines.records import ERROR, LINE, WARNING, Buffer, Kind, Origin
from entrepot.layers.lines.texts import clean, report_of, split
from entrepot.layers.tier import Tier

__all__ = ["LineWriter", "WriterStatistics", "host_name"]

_RETRY_S: Final = 0.05
_RETRY_S_MAX: Final = 5.0
_END: Final = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
"""What a line, or a state of a progress bar, ends with."""


def host_name() -> str:
    """Return what this machine is called."""
    return os.uname().nodename


@dataclass(frozen=True, slots=True)
class WriterStatistics:
    """What a patient writer could not write."""

    waiting: int
    """Pieces of text that wait to be written."""
    dropped: int
    """Pieces that were given up, as too much waited."""


class _Place:
    """A thread's own place in a buffer: its partial line."""

    __slots__ = ("by", "has_gap", "has_partial", "is_busy", "is_cut", "pid")

    def __init__(self, by: By, pid: int) -> None:
        self.by = by
        self.pid = pid
        self.has_partial = False
        self.is_busy = False
        """Whether it is written just now; a finalizer that prints may run meanwhile."""
        self.has_gap = False
        """Whether the rest of a line is to be dropped, as its beginning was."""
        self.is_cut = False
        """Whether what waits last ends its line, as what came then was dropped."""


class LineWriter(io.TextIOBase):
    """A text stream into a buffer of lines. Made by `Lines.writer`.

    What is written is there for all readers when `write` returns. Each thread has a partial
    line of its own, and so has a forked child, so that texts never mix within a line. When a
    process dies, its partial lines become lines.
    """

    def __init__(
        self,
        tier: Tier,
        name: str,
        made: Buffer | None,
        *,
        label: str = "",
        progress: bool = False,
        patient: bool = False,
        obeys: bool = False,
        keeps: object = None,
    ) -> None:
        """Begin.

        Args:
            tier: Where the buffer is.
            name: The buffer.
            made: What it is, if it is not there; None: it is not made.
            label: What the writer is called.
            progress: A carriage return goes back to the beginning of the line.
            patient: Errors are not raised: what cannot be written waits for a later write.
            obeys: Refuse texts when writers are asked to stop.
            keeps: What must live as long as this: whoever tells it that the depot was closed.
        """
        self._keeps = keeps
        self._label = clean(label)
        self._progress = progress
        self._patient = patient
        self.obeys = obeys
        """Whether texts are refused when writers are asked to stop."""
        self._made = made
        self.buffer_name = name
        self._of_thread = threading.local()
        self._unfinished: set[_Place] = set()
        """Those that have partial lines."""
        self._pid = os.getpid()
        self._queue: deque[tuple[int, _Place, Callable[..., None], tuple[Any, ...]]] = deque()
        """What waits: its size, and what is to be done with which arguments."""
        self._queued_chars = 0
        self._catching_up = threading.Lock()
        self._dropped = 0
        self._retry_s = 0.0
        self._retry_at = 0.0
        self.use(tier)

    def use(self, tier: Any) -> None:
        """Work on this tier: for the depot, when it closes."""
        self._tier = tier
        engine = tier.engine
        self._commit: Callable[..., Any]
        if engine is not tier and (self._patient or engine.name == "volatile"):
            # A patient one must not wait for a commit that its own thread is in the midst of.
            self._commit = engine.write
        else:  # on a disk threads share a commit; of a closed depot even asking for it raises
            self._commit = self._commit_together

    def _commit_together(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._tier.commits.write(fn, *args)

    # Writing.

    def write(self, data: str, /) -> int:
        """Write a text; return how many characters it has.

        Raises:
            ClosedError: The writer, the buffer or the depot is closed.
            OutOfMemoryError: There is no room.
            TypeMismatchError: It is no string.
        """
        if type(data) is not str and not isinstance(data, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeMismatchError(f"a line is a string, not {data!r:.50}")
        if self.closed:
            raise ClosedError(f"this writer of the lines {self.buffer_name!r} is closed")
        if data:
            place = None if self._patient else self._place()
            if place and not place.is_busy and len(data) <= settings.LINES_WRITE_CHARS_MAX:
                place.is_busy = True  # what `_do` does, without its calls: this is the hot path
                try:
                    self._write_at(place, clean(data))
                finally:
                    place.is_busy = False
            elif len(data) > settings.LINES_WRITE_CHARS_MAX:
                step = settings.LINES_WRITE_CHARS_MAX
                for at in range(0, len(data), step):
                    self.write(data[at : at + step])
            elif self._patient:
                self._write_patiently(clean(data))
            else:
                self._do(len(data), self._write_at, clean(data))
        return len(data)

    def _write_patiently(self, data: str) -> None:
        """Write a text, but not the rest of a line whose beginning was dropped."""
        try:
            place = self._place()
        except EntrepotError:  # the depot is closed: there is no place any more
            self._dropped += 1
            return
        if place.has_gap and not place.is_busy:
            end = _END.search(data)
            if end is None:
                self._dropped += 1
                return
            place.has_gap = False
            data = data[end.end() :]
        if data:
            self._do(len(data), self._write_at, data)

    def _write_at(self, place: _Place, data: str) -> None:
        lines, rest = split(data, progress=self._progress)
        had_partial = place.has_partial
        if rest:  # with progress it may be nothing but a return: then nothing is found later
            place.has_partial = True  # before it is there: an interrupt may come right behind that
            self._unfinished.add(place)
        try:
            self._commit(
                core.write,
                self.buffer_name,
                self._made,
                place.by,
                lines,
                rest,
                had_partial,
                time.time_ns(),
                LINE,
                False,
                self.obeys,
            )
        except EntrepotError:
            if rest and not had_partial:
                place.has_partial = False
                self._unfinished.discard(place)
            raise
        if had_partial and lines and not rest:
            place.has_partial = False
            self._unfinished.discard(place)

    def writelines(self, lines: Iterable[str], /) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] of a text stream they are strings
        """Write texts, as one: those that are to be lines end with a line feed."""
        self.write("".join(lines))

    def add(self, kind: Kind, texts: Sequence[str]) -> None:
        """Append whole lines, or the report of a warning or an error, after the partial line.

        Raises:
            ClosedError: The writer, the buffer or the depot is closed.
        """
        if self.closed:
            raise ClosedError(f"this writer of the lines {self.buffer_name!r} is closed")
        self._do(sum(map(len, texts)), self._add_at, kind, [clean(text) for text in texts])

    def _add_at(self, place: _Place, kind: Kind, texts: Sequence[str]) -> None:
        self._commit(
            core.write,
            self.buffer_name,
            self._made,
            place.by,
            texts,
            "",
            place.has_partial,
            time.time_ns(),
            kind,
            True,
        )
        place.has_partial = False
        self._unfinished.discard(place)

    def warn(self, warning: Warning) -> None:
        """Append a warning, as `add`."""
        self.add(WARNING, report_of(warning))

    def fail(self, error: BaseException) -> None:
        """Append an error with its traceback, as `add`."""
        self.add(ERROR, report_of(error))

    def new_line(self) -> None:
        """Finish this thread's partial line, if there is one."""
        if self._patient and self._queue:
            self.add(LINE, [])  # behind those that wait, which may be parts of a line
            return
        try:
            has_partial = self.has_partial
        except EntrepotError:  # the depot is closed
            if self._patient:
                return
            raise
        if has_partial:
            self.add(LINE, [])

    @property
    def has_partial(self) -> bool:
        """Whether this thread has a partial line."""
        return self._place().has_partial

    def _place(self) -> _Place:
        try:
            place: _Place = self._of_thread.place
        except AttributeError:  # the first time in this thread
            pass
        else:
            if place.pid == os.getpid():  # else this is a forked child
                return place
        place = self._of_thread.place = self._new_place()
        return place

    def _new_place(self) -> _Place:
        pid = os.getpid()
        if self._pid != pid:  # a forked child: what waits is its parent's
            self._pid = pid
            self._queue.clear()
            self._unfinished.clear()
            self._queued_chars = 0
            self._catching_up = threading.Lock()
        origin = Origin(host_name(), pid, self._label)
        session = self._tier.engine.session.id
        return _Place(By(origin, self._tier.ids.next(), session, self._progress), pid)

    # Patience.

    def _do(self, chars: int, fn: Callable[..., None], *args: Any) -> None:
        """Do a write now, behind those that wait; if it fails and we are patient, later."""
        if not self._patient:
            place = self._place()
            if place.is_busy:  # a finalizer, in the midst of a write: a line of its own
                place = self._new_place()
            _run(place, fn, args)
            return
        try:
            place = self._place()
        except EntrepotError:  # the depot is closed: there is no place any more
            self._dropped += 1
            return
        if self._queue or place.is_busy:
            self._keep(chars, place, fn, args)
            if not place.is_busy and time.monotonic() >= self._retry_at:
                self._catch_up()
            return
        try:
            _run(place, fn, args)
        except ConflictError:  # in the midst of another write of this thread: the next one does it
            self._keep(chars, place, fn, args)
        except EntrepotError:
            self._fall_back()
            self._keep(chars, place, fn, args)
        else:
            place.is_cut = False
            if self._queue:
                self._catch_up()

    def _keep(
        self, chars: int, place: _Place, fn: Callable[..., None], args: tuple[Any, ...]
    ) -> None:
        if self._queued_chars + chars > settings.LINES_QUEUE_CHARS_MAX:
            self._dropped += 1
            if not place.is_cut:  # what waits of this line and what comes next are not one line
                self._queue.append((0, place, self._add_at, (LINE, [])))
                place.is_cut = True
            place.has_gap = fn == self._write_at and not _END.search(args[0][-1:])
            return
        place.is_cut = False
        self._queued_chars += chars
        self._queue.append((chars, place, fn, args))

    def _catch_up(self) -> bool:
        """Write what waits; tell whether nothing is left of it."""
        lock = self._catching_up
        if not lock.acquire(blocking=False):
            return False  # another thread does it, or this one, and we are in a finalizer
        try:
            while self._queue:
                chars, place, fn, args = self._queue[0]
                if place.is_busy:
                    return False
                try:
                    _run(place, fn, args)
                except ConflictError:
                    return False
                except EntrepotError:
                    self._fall_back()
                    return False
                self._queue.popleft()
                self._queued_chars -= chars
            self._retry_s = 0.0
            return True
        finally:
            lock.release()

    def _fall_back(self) -> None:
        self._retry_s = min(max(2 * self._retry_s, _RETRY_S), _RETRY_S_MAX)
        self._retry_at = time.monotonic() + self._retry_s

    def statistics(self) -> WriterStatistics:
        """Return what could not be written."""
        return WriterStatistics(sum(1 for chars, *_ in list(self._queue) if chars), self._dropped)

    # As a file.

    encoding = "utf-8"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType] a constant serves as well as a property
    errors = "backslashreplace"  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType] see above

    @property
    def name(self) -> str:
        """What files are called in messages."""
        return f"<lines {self.buffer_name!r}>"

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return False."""
        return False

    def flush(self) -> None:
        """Write what waits, if something does; all else is written already."""
        if self._patient and self._queue and not self.closed:
            self._catch_up()

    def close(self) -> None:
        """Finish the partial lines of all threads; may be repeated.

        What is waiting is tried once more; what cannot be written then is dropped, and counted.
        """
        if self.closed:
            return
        try:
            if self._queue and not self._catch_up():
                self._dropped += len(self._queue)
            self._end()
        except (ClosedError, NotFoundError):
            pass  # with the buffer or the depot, all partial lines were finished
        except EntrepotError:
            if not self._patient:
                raise
        finally:
            super().close()

    def _end(self) -> None:
        pid = os.getpid()
        for place in list(self._unfinished):
            if place.pid == pid:  # a parent's is the parent's
                self._add_at(place, LINE, [])

    def __del__(self) -> None:
        """Leave the partial line to whoever finishes those of the dead: this may be any moment."""


def _run(place: _Place, fn: Callable[..., None], args: tuple[Any, ...]) -> None:
    place.is_busy = True
    try:
        fn(place, *args)
    finally:
        place.is_busy = False
