"""Lines: a bounded, ordered buffer of what many processes print."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from entrepot import settings
from entrepot.engine.protocol import Engine
from entrepot.errors import LimitError, TypeMismatchError
from entrepot.layers.commits import Call
from entrepot.layers.lines import core
from entrepot.layers.lines.core import By
from entrepot.layers.lines.records import (
    BUFFER,
    LINE,
    Buffer,
    Entry,
    Kind,
    LinesStretch,
    check_name,
)
from entrepot.layers.lines.texts import clean, cut, split
from entrepot.layers.lines.writer import LineWriter
from entrepot.layers.tier import Tier
from entrepot.waiting import Deadline

if TYPE_CHECKING:
    from entrepot.layers.lines.capture import Capture
    from entrepot.layers.lines.logs import LinesHandler

__all__ = ["Following", "Lines", "LinesInfo"]

_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class LinesInfo:
    """What a buffer of lines is, and what is in it."""

    first: int
    """The number of the oldest entry; `next` if there is none."""
    next: int
    """The number of the entry to come."""
    bytes: int
    max_lines: int
    max_bytes: int
    max_age: float | None
    partials: int
    """Lines that are not finished."""
    closed: bool
    stopped: bool
    """Whether writers are asked to stop."""

    @property
    def count(self) -> int:
        """How many entries there are."""
        return self.next - self.first


class Lines:
    """A buffer of lines, warnings and errors. Made by `Depot.lines`.

    Any number of processes write and read. Entries are numbered from 1; the oldest go when
    there are too many, and a number is never used again, so that a reader can tell what it
    missed. The buffer is made by the first write.
    """

    def __init__(
        self,
        tier: Tier,
        name: str,
        *,
        max_lines: int | None = None,
        max_bytes: int | None = None,
        max_age: float | None = None,
    ) -> None:
        self.name = check_name(name)
        max_age_ns = _age_ns(max_age)
        _check_bound("max_lines", max_lines, settings.LINES_MAX)
        _check_bound("max_bytes", max_bytes, settings.SECONDS_MAX * settings.GIB)
        self._made = Buffer(
            tier.ids.next(),
            time.time_ns(),
            settings.LINES_DEFAULT if max_lines is None else max_lines,
            settings.LINES_BYTES_DEFAULT if max_bytes is None else max_bytes,
            max_age_ns or 0,
        )
        self._own: LineWriter | None = None
        self._writers: weakref.WeakSet[LineWriter] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.use(tier)
        if (max_lines, max_bytes, max_age_ns) != (None, None, None):
            self._change(max_lines, max_bytes, max_age_ns)

    def use(self, tier: Tier) -> None:
        """Work on this tier: for the depot, when it closes."""
        self.tier = tier
        self.engine: Engine = tier.engine
        if self._own is not None:
            self._own.use(tier)
        for writer in list(self._writers):
            writer.use(tier)

    def __repr__(self) -> str:
        return f"<Lines {self.name!r}>"

    @property
    def persistent(self) -> bool:
        """Whether it is in the durable tier."""
        return self.engine.name == "durable"

    # Writing.

    def writer(
        self,
        label: str = "",
        *,
        progress: bool = False,
        patient: bool = False,
        makes: bool = True,
        obeys: bool = False,
    ) -> LineWriter:
        """Return a text stream that writes here; give it to `print`, or to whom wants a file.

        Args:
            label: What its entries say of who wrote them, beside host and process.
            progress: A carriage return goes back to the beginning of the line, so that a
                progress bar is one line.
            patient: Errors are not raised: what cannot be written waits, up to a bound, and is
                tried again; see `LineWriter.statistics`.
            makes: Make the buffer if it is not there.
            obeys: Raise `ConditionError` when writers are asked to stop.
        """
        made = self._new_writer(label, progress, patient, makes=makes, obeys=obeys, keeps=self)
        self._writers.add(made)
        return made

    def _new_writer(
        self,
        label: str = "",
        progress: bool = False,
        patient: bool = False,
        *,
        makes: bool = True,
        obeys: bool = False,
        keeps: object = None,
    ) -> LineWriter:
        return LineWriter(
            self.tier,
            self.name,
            self._made if makes else None,
            label=label,
            progress=progress,
            patient=patient,
            obeys=obeys,
            keeps=keeps,
        )

    def own_writer(self) -> LineWriter:
        """Return the writer behind `write`."""
        with self._lock:
            if self._own is None or self._own.closed:
                self._own = self._new_writer()
            return self._own

    def write(self, text: str) -> None:
        """Write a text: lines, or parts of one, which others' never get into.

        It is there for all readers when this returns; with the durable tier, on the disk.

        Raises:
            ClosedError: The buffer, or the depot, is closed.
            OutOfMemoryError: There is no room.
        """
        self.own_writer().write(text)

    def append(self, lines: Iterable[str]) -> None:
        """Append whole lines in one transaction.

        A string with line breaks in it becomes several lines.

        Raises:
            ClosedError: The buffer, or the depot, is closed.
            LimitError: They are more than may come at once.
        """
        if isinstance(lines, str):
            raise TypeMismatchError("lines are given in a list", "or use write")
        texts: list[str] = []
        for line in lines:
            found, rest = split(line)
            texts += [*found, *cut([rest])] if rest or not found else found
        size = sum(map(len, texts))
        if size > settings.LINES_WRITE_CHARS_MAX:
            raise LimitError(
                f"{size} characters at once, at most {settings.LINES_WRITE_CHARS_MAX} are allowed"
            )
        if texts:
            self.own_writer().add(LINE, texts)

    def warn(self, warning: Warning) -> None:
        """Append a warning.

        Raises:
            TypeMismatchError: It is none.
        """
        self.own_writer().warn(warning)

    def fail(self, error: BaseException) -> None:
        """Append an error, with its traceback.

        Raises:
            TypeMismatchError: It is none.
        """
        self.own_writer().fail(error)

    def capture(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        warnings: bool = True,
        logging: bool = False,
        fds: bool = False,
        progress: bool = True,
        echo: bool = True,
        label: str = "",
    ) -> Capture:
        """Take what this process prints, in a `with` block or until `stop()`.

        Args:
            stdout: What goes to `sys.stdout`.
            stderr: What goes to `sys.stderr`.
            warnings: Warnings, as entries of their own.
            logging: Log records that reach the root logger, formatted.
            fds: Take the file descriptors 1 and 2, with what C code and child processes write.
            progress: A carriage return goes back to the beginning of the line.
            echo: Still show it where it went before.
            label: What the entries say of who wrote them.

        It begins at once. What cannot be written to the buffer is kept for later, up to a bound,
        and never raised from a `print`.
        """
        from entrepot.layers.lines.capture import Capture

        return Capture(
            self,
            stdout=stdout,
            stderr=stderr,
            warnings=warnings,
            logging=logging,
            fds=fds,
            progress=progress,
            echo=echo,
            label=label,
        )

    def handler(self, label: str = "") -> LinesHandler:
        """Return a `logging.Handler` that writes here; each record is one line or several."""
        from entrepot.layers.lines.logs import LinesHandler

        return LinesHandler(self, label)

    # Reading.

    def read(
        self,
        last: int | None = None,
        *,
        since: int | None = None,
        limit: int = 10_000,
        partial: bool = False,
    ) -> LinesStretch:
        """Return entries, oldest first, without waiting.

        Args:
            last: The last so many; by default all, up to `limit`.
            since: Instead: from this number on; mostly `next` of the `LinesStretch` before.
            limit: Most entries.
            partial: Return lines that are not finished, too.

        Raises:
            LimitError: A number is negative.
            TypeMismatchError: A number is none.
        """
        for what, number in (("last", last), ("since", since), ("limit", limit)):
            _check_bound(what, number, 1 << 63, least=0)
        if since is None:
            limit, begin = (limit if last is None else last), None
        else:
            begin = since
        return self.engine.read(core.read, self.name, begin, limit, time.time_ns(), partial)

    def tail(
        self, last: int = 0, *, since: int | None = None, timeout: float | None = None
    ) -> Iterator[Entry]:
        """Yield entries as they come, until the buffer is closed.

        Args:
            last: Begin with the last so many that there are.
            since: Instead: begin with this number. A gap in the numbers is what was missed.
            timeout: It ends when so many seconds passed without an entry; by default never.
        """
        return self._tail(self.following(last, since), timeout)

    def _tail(self, following: Following, timeout: float | None) -> Generator[Entry]:
        deadline = Deadline(timeout)
        while True:
            seen = self.engine.listen(following.bells)
            entries = following.take()
            if entries:
                yield from entries
                deadline = Deadline(timeout)
                continue
            if following.has_ended or deadline.left() == 0:
                return
            self.engine.wait(following.bells, seen, deadline.left())

    def following(self, last: int, since: int | None) -> Following:
        """Return where a tail begins, for this class and its async twin."""
        if since is None:
            stretch = self.read(last)
            since = stretch.entries[0].number if stretch.entries else stretch.next
        return Following(self, since)

    def info(self) -> LinesInfo:
        """Return what the buffer is."""
        buffer = self.engine.read(core.find, self.name) or self._made
        return LinesInfo(
            buffer.first,
            buffer.next,
            buffer.size,
            buffer.max_lines,
            buffer.max_bytes,
            buffer.max_age_ns / 1e9 if buffer.max_age_ns else None,
            buffer.partials,
            buffer.is_closed,
            buffer.is_stopped,
        )

    # The buffer.

    def new_line(self) -> None:
        """Finish the partial lines of all writers."""
        self._commit(core.end_partials, self.name, time.time_ns())

    def clear(self) -> None:
        """Drop all entries and partial lines; numbers go on."""
        while self._commit(core.clear, self.name):
            pass

    def trim(self) -> None:
        """Drop what is too old; writes do the same, little by little."""
        while self._commit(core.trim, self.name, time.time_ns()):
            pass

    def stop(self) -> None:
        """Ask writers to stop: they see it in `info`, the mirrors of syncstream in `write`."""
        self._change(is_stopped=True)

    def resume(self) -> None:
        """Undo `stop`."""
        self._change(is_stopped=False)

    def close(self) -> None:
        """Finish partial lines and refuse further ones; those who follow come to an end."""
        self.new_line()
        self._change(is_closed=True)

    def reopen(self) -> None:
        """Undo `close`."""
        self._change(is_closed=False)

    def own(self) -> None:
        """Have the buffer go with this process: for faces."""
        self._commit(core.own, self.name, self._made, self.engine.session.id)

    def writing(
        self,
        text: str,
        by: By,
        kind: Kind = LINE,
        report: Sequence[str] = (),
        *,
        obeys: bool = False,
    ) -> Call:
        """Return a write for somebody else: for faces and gateways.

        Args:
            text: What is written, for lines.
            by: Who writes.
            kind: What it is.
            report: The lines of a warning or an error; of none and no text either, the partial
                line is finished.
            obeys: Raise `ConditionError` when writers are asked to stop.
        """
        lines, rest = split(clean(text)) if text else ([clean(line) for line in report], "")
        rest_of = rest, True, time.time_ns(), kind, not text, obeys
        return Call(core.write, self.name, self._made, by, lines, *rest_of)

    def delete(self) -> None:
        """Remove the buffer with all that is in it. The next write makes a new one."""
        while self._commit(core.delete, self.name, self.engine.session.id):
            pass

    def _change(
        self,
        max_lines: int | None = None,
        max_bytes: int | None = None,
        max_age_ns: int | None = None,
        *,
        is_closed: bool | None = None,
        is_stopped: bool | None = None,
    ) -> None:
        self._commit(
            core.change,
            self.name,
            self._made,
            max_lines,
            max_bytes,
            max_age_ns,
            is_closed,
            is_stopped,
        )

    def _commit(self, fn: Any, *args: Any) -> Any:
        return self.tier.commits.write(fn, *args)


class Following:
    """Where a reader is that follows a buffer."""

    def __init__(self, lines: Lines, since: int) -> None:
        self.bells = [BUFFER.str(lines.name)]
        self.has_ended = False
        self._lines = lines
        self._since = since

    def take(self) -> list[Entry]:
        """Return the next entries, and go on behind them."""
        stretch = self._lines.read(since=self._since, limit=_AT_ONCE)
        if stretch.next < self._since:  # it was deleted, and what is there now is a new buffer
            stretch = self._lines.read(since=1, limit=_AT_ONCE)
        self._since = stretch.next
        self.has_ended = stretch.is_closed and not stretch.entries
        return stretch.entries


def _age_ns(max_age: float | None) -> int | None:
    if max_age is None:
        return None
    if isinstance(max_age, bool) or not isinstance(max_age, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(f"max_age is {max_age!r}, a {type(max_age).__name__}")
    if not 0 < max_age <= settings.SECONDS_MAX:
        raise LimitError(f"max_age is {max_age}, 0 to {settings.SECONDS_MAX} seconds are allowed")
    return max(1, int(max_age * 1e9))


def _check_bound(what: str, number: int | None, most: int, *, least: int = 1) -> None:
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(f"{what} is {number!r}, a {type(number).__name__}")
    if not least <= number <= most:
        raise LimitError(f"{what} is {number}, {least} to {most} are allowed")
