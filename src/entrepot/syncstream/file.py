"""A buffer of lines in files, for processes that share a directory.

::

    PATH-0.log, PATH-1.log, …     the last lines; 0 is the newest one
    PATH-TMP.tmp                  the partial line of a writer
    PATH.lock, PATH-TMP.lock      locks of the lines, and of that
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from entrepot.errors import TypeMismatchError
from entrepot.layers.lines.texts import clean
from entrepot.syncstream._streams import Forking, Redirecting, checked_maxlen, checked_size
from entrepot.syncstream.base import GroupedMessage, is_end_line_break

__all__ = ["LineFileBuffer"]

_locks: Final[dict[Path, threading.RLock]] = {}
"""Locks of files hold off other processes, not other threads of this one."""


class LineFileBuffer(Forking, Redirecting):
    """A buffer of the last lines, in files.

    Args:
        file_path: Where; what stands behind the last dot of the name is dropped.
        maxlen: How many lines are kept.
        tmp_id: Of this writer: each has a partial line of its own.

    Raises:
        TypeError: The path is empty, or `maxlen` no int of at least 1.
    """

    def __init__(
        self, file_path: str | os.PathLike[str], maxlen: int = 20, tmp_id: str = "tmp"
    ) -> None:
        if not os.fspath(file_path):
            raise TypeMismatchError("file_path is empty: it is the path of the files")
        path = Path(file_path)
        self.file_path = path.with_suffix("")
        self.maxlen = checked_maxlen(maxlen)
        self.tmp_id = str(tmp_id)
        self.file_path.parent.mkdir(parents=True, exist_ok=True)
        self.hear_of_forks()

    def begin_in_child(self) -> None:
        """Forget the locks: a thread that is not here may hold them."""
        _locks.clear()

    def _file(self, tail: str) -> Path:
        return self.file_path.with_name(self.file_path.name + tail)

    def __len__(self) -> int:
        return len(self.read())

    def __bool__(self) -> bool:
        return True

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other threads, processes and hosts out: by POSIX locks, as on a shared directory."""
        path = self._file(".lock").absolute()
        lock = _locks.setdefault(path, threading.RLock())
        with lock, path.open("ab") as file:
            os.lockf(file.fileno(), os.F_LOCK, 0)  # let go with the file
            yield

    def _partial(self) -> str:
        try:
            raw = self._file(f"-{self.tmp_id}.tmp").read_bytes()
        except FileNotFoundError:
            return ""
        return raw.decode(errors="replace")  # a full disk may have cut a character

    def _set_partial(self, text: str) -> None:
        path = self._file(f"-{self.tmp_id}.tmp")
        if text:
            path.write_text(text, "utf-8", newline="")
        else:
            path.unlink(missing_ok=True)

    def parse_lines(self, lines: Sequence[str]) -> None:
        """Take a batch of finished lines; they are moved, and the oldest go."""
        kept = list(reversed(list(lines)[-self.maxlen :]))
        parts = [self._file(f"-{number}.part") for number in range(len(kept))]
        try:
            for part, line in zip(parts, kept, strict=True):  # first: this is what may fail
                part.write_text(line, "utf-8", newline="")
            for number in range(self.maxlen - 1, -1, -1):
                path = self._file(f"-{number}.log")
                if number + len(kept) >= self.maxlen:
                    path.unlink(missing_ok=True)
                else:
                    with contextlib.suppress(FileNotFoundError):
                        path.replace(self._file(f"-{number + len(kept)}.log"))
            for number, part in enumerate(parts):
                part.replace(self._file(f"-{number}.log"))  # no reader sees half a line
        except OSError:
            for part in parts:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)
            raise

    def write(self, data: str) -> int:
        """Write a text; return how many characters stand behind its last line break.

        Raises:
            OSError: The buffer is closed, or a file cannot be written.
            TypeError: It is no text.
        """
        self.check_open()
        if not isinstance(data, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeMismatchError(f"a text is written, not {data!r:.50}")
        if not data:
            return 0
        data = clean(data)
        lines = data.splitlines()
        rest = "" if is_end_line_break(data) else lines.pop()
        with self._locked():
            partial = self._partial()
            if lines:
                lines[0] = partial + lines[0]
                self.parse_lines(lines)
                self._set_partial(rest)
            else:
                self._set_partial(partial + rest)
        return 1 if data.splitlines() == [""] else len(rest)

    def read(self, size: int | None = None) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] it reads lines, as the original
        """Return the last lines, oldest first; this writer's partial line counts.

        Raises:
            OSError: The buffer is closed.
            TypeError: `size` is no int.
        """
        self.check_open()
        most = checked_size(size, self.maxlen)
        if not most:
            return ()
        with self._locked():
            found: list[str] = []
            for number in range(self.maxlen):
                try:
                    found.append(self._file(f"-{number}.log").read_bytes().decode(errors="replace"))
                except FileNotFoundError:  # or a writer was killed while it moved them
                    continue
            found.reverse()
            partial = self._partial()
        if partial:
            found.append(partial)
        return tuple(found[-most:])

    def new_line(self) -> None:
        """Finish the partial line, if there is one.

        Raises:
            ValueError: The buffer is closed.
        """
        self.check_usable()
        with self._locked():
            partial = self._partial()
            if partial:
                self.parse_lines([partial])
                self._set_partial("")

    def send_exc(self, exc: BaseException) -> None:
        """Write an error with its traceback, as one item of several lines."""
        self.check_open()
        self.new_line()
        with self._locked():
            self.parse_lines([str(GroupedMessage(exc))])

    def clear(self) -> None:
        """Drop all lines.

        Raises:
            ValueError: The buffer is closed.
        """
        self.check_usable()
        with self._locked():
            for number in range(self.maxlen):
                self._file(f"-{number}.log").unlink(missing_ok=True)
            self._set_partial("")

    def close(self) -> None:
        """Drop all lines, and refuse further ones; may be repeated."""
        if not self.closed:
            self.clear()
        super().close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        if self.closed:
            return
        if error is None:
            self.new_line()
        else:
            self.send_exc(error)
