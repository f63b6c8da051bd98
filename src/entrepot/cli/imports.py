"""Importing a file into a table: batch by batch, each in one transaction."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from entrepot.cli.files import system_errors
from entrepot.cli.present import counted, progress
from entrepot.cli.row_files import Bad, Form, Row, key_maker, reader_of
from entrepot.errors import (
    DiskFullError,
    EntrepotError,
    FormatError,
    OutOfMemoryError,
    UnavailableError,
)
from entrepot.layers.commits import Call, run_together
from entrepot.layers.tables.core import SYSTEM

if TYPE_CHECKING:
    from entrepot.engine.protocol import Transaction
    from entrepot.layers.tables import Table

__all__ = ["STDIN", "Done", "Wanted", "import_file"]

STDIN: Final = Path("-")
_PIECE_BYTES: Final = 1 << 20

_FATAL = (DiskFullError, OutOfMemoryError, UnavailableError)
"""Errors that are not the fault of a row."""


class Wanted(NamedTuple):
    """How a file is imported."""

    key: str | None
    form: Form
    batch: int
    text_only: bool
    skip_bad: bool


@dataclass(slots=True)
class Done:
    """What was imported."""

    rows: int = 0
    skipped: int = 0
    first_bad: str | None = None
    """Where the first bad row is, and what is wrong with it."""


def import_file(table: Table, file: Path, wanted: Wanted, *, hidden: bool) -> Done:
    """Store the rows of a file.

    Args:
        table: Where.
        file: What is read.
        wanted: How.
        hidden: Show no progress.

    Raises:
        FormatError: The file cannot be read, or a row is bad and `skip_bad` is not set: then
            the batches before that row's are stored, and nothing of its own.
        NotFoundError, AccessDeniedError: There is no such file, or it may not be read.
    """
    with system_errors(file), _opened(file, wanted.form) as opened:
        reader = reader_of(opened, file, wanted.form, text_only=wanted.text_only)
        key_of = key_maker(wanted.key, file, reader.columns)
        work = _Import(table, file, wanted, key_of)
        of_bytes = wanted.form is not Form.PARQUET
        with progress(of_bytes=of_bytes, hidden=hidden) as bar:
            task = bar.add_task(file.name, total=reader.total)
            for row in reader.rows():
                if work.add(row):
                    bar.update(task, completed=reader.position())
            work.flush()
    return work.done


@contextlib.contextmanager
def _opened(file: Path, form: Form) -> Generator[BinaryIO]:
    """Open a file, or the standard input; of a pipe, CSV and Parquet want a copy to go back in."""
    with contextlib.ExitStack() as stack:
        source: BinaryIO = (
            sys.stdin.buffer if file == STDIN else stack.enter_context(file.open("rb"))
        )
        if form is not Form.JSONL and not source.seekable():
            copy = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(source, copy, _PIECE_BYTES)
            copy.seek(0)
            yield copy
        else:
            yield source


class _Import:
    """An import under way."""

    def __init__(
        self,
        table: Table,
        file: Path,
        wanted: Wanted,
        key_of: Callable[[Mapping[str, object]], str],
    ) -> None:
        self.done = Done()
        self._table = table
        self._file = file
        self._wanted = wanted
        self._key_of = key_of
        self._calls: list[Call] = []
        self._places: list[str] = []

    def add(self, row: Row | Bad) -> bool:
        """Take a row; tell whether a batch was stored."""
        if isinstance(row, Bad):
            self._refuse(row.where, row.reason)
            return False
        try:
            key = self._key_of(row.fields)
            attributes = {n: value for n, value in row.attributes.items() if n not in SYSTEM}
            self._calls.append(self._table.putting(key, attributes))
        except _FATAL:
            raise
        except EntrepotError as error:
            self._refuse(row.where, str(error), error)
            return False
        self._places.append(row.where)
        if len(self._calls) < self._wanted.batch:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Store what was gathered, in one transaction."""
        calls, places = self._calls, self._places
        self._calls, self._places = [], []
        if not calls:
            return
        if self._wanted.skip_bad:
            run_together(self._table.engine, calls)
            for call, where in zip(calls, places, strict=True):
                if isinstance(call.error, _FATAL) or (
                    call.error is not None and not isinstance(call.error, EntrepotError)
                ):
                    raise call.error
                if call.error is not None:
                    self._refuse(where, str(call.error))
                else:
                    self.done.rows += 1
            return
        at = 0

        def store(tx: Transaction) -> None:
            nonlocal at
            for at, call in enumerate(calls):  # noqa: B007 read where it ended
                call.fn(tx, *call.args)

        try:
            self._table.engine.write(store)
        except _FATAL:
            raise
        except EntrepotError as error:
            self._refuse(places[at], str(error), error)
        self.done.rows += len(calls)

    def _refuse(self, where: str, reason: str, error: EntrepotError | None = None) -> None:
        said = f"{self._file}, {where}: {reason}"
        if not self._wanted.skip_bad:
            raise FormatError(
                said,
                f"stored before it: {counted(self.done.rows, 'row')}; "
                "--skip-bad leaves bad rows out",
            ) from error
        self.done.skipped += 1
        self.done.first_bad = self.done.first_bad or said
