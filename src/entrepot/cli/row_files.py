"""Files of rows: CSV, JSON lines and Parquet, to the items of a table and back.

A reader yields rows, and what is wrong with those that are none. A writer is given keys and
exact attributes (see `items`). Nothing holds a file or a table in memory.

::

    .csv .tsv                a heading line; no types, so they are inferred by column
    .jsonl .ndjson .json     one JSON object a line, see `items`: all types are kept
    .parquet .pq             see `parquet_rows`: all types are kept
"""

from __future__ import annotations

import csv
import io
import os
import string
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from entrepot import settings
from entrepot.cli import items
from entrepot.cli.items import NAME
from entrepot.errors import FormatError, LimitError, TypeMismatchError

__all__ = ["Bad", "Form", "Reader", "Row", "form_of", "key_maker", "reader_of", "write_rows"]

Item = tuple[str, dict[str, Any]]


class Form(StrEnum):
    """What a file is."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_ENDINGS: Final = {
    ".csv": Form.CSV,
    ".tsv": Form.TSV,
    ".jsonl": Form.JSONL,
    ".ndjson": Form.JSONL,
    ".json": Form.JSONL,
    ".parquet": Form.PARQUET,
    ".pq": Form.PARQUET,
}


def form_of(path: Path, form: Form | None) -> Form:
    """Return what a file is: what is said, or what its ending says.

    Raises:
        FormatError: Neither says it.
    """
    found = form or _ENDINGS.get(path.suffix.lower())
    if found is None:
        raise FormatError(
            f"the ending of {str(path)!r} says nothing",
            f"--format {'|'.join(Form)}, or a file that ends in {', '.join(_ENDINGS)}",
        )
    return found


class Row(NamedTuple):
    """A row of a file."""

    where: str
    """For instance `line 17`."""
    fields: Mapping[str, object]
    """As they stand in the file: keys are made of them."""
    attributes: dict[str, object]


class Bad(NamedTuple):
    """A row that is none."""

    where: str
    reason: str


class Reader(Protocol):
    """An open file of rows."""

    columns: list[str] | None
    """Their names; None where each row has its own."""
    total: int | None
    """The size of the file, in units of `position`; None if it is not known."""

    def position(self) -> int:
        """Return how far it has read."""
        ...

    def rows(self) -> Iterator[Row | Bad]:
        """Yield the rows, once."""
        ...


def reader_of(file: BinaryIO, path: Path, form: Form, *, text_only: bool) -> Reader:
    """Return a reader.

    Raises:
        FormatError: The file is not what it is said to be.
        UnavailableError: A package that reads it is not installed.
    """
    if form is Form.PARQUET:
        from entrepot.cli.parquet_rows import ParquetReader

        return ParquetReader(file, path)
    if form is Form.JSONL:
        return _JsonReader(file, path)
    return _CsvReader(file, path, "\t" if form is Form.TSV else ",", text_only=text_only)


def _size_of(file: BinaryIO) -> int | None:
    try:
        return os.fstat(file.fileno()).st_size or None  # a pipe has none
    except OSError:  # it is in memory
        return None


# Keys.


def key_maker(
    wanted: str | None, path: Path, columns: list[str] | None
) -> Callable[[Mapping[str, object]], str]:
    """Return what makes the key of a row.

    Args:
        wanted: A column, or a template such as `{a}.{b}`; by default `__name`.
        path: The file, for messages.
        columns: The columns there are, if that is known.

    Raises:
        FormatError: There is no such column, or the template cannot be read.
    """
    wanted = NAME if wanted is None else wanted
    parts = [("", wanted)] if "{" not in wanted and "}" not in wanted else _template(wanted)
    for _, name in parts:
        if name is not None and columns is not None and name not in columns:
            raise FormatError(
                f"{str(path)!r} has no column {name!r}, which is to be the key",
                f"--key COLUMN, or --key '{{a}}.{{b}}'; there are: {', '.join(columns)}",
            )

    def key_of(fields: Mapping[str, object]) -> str:
        return "".join(
            text + ("" if name is None else _key_part(name, fields.get(name)))
            for text, name in parts
        )

    return key_of


def _template(wanted: str) -> list[tuple[str, str | None]]:
    try:
        parsed = list(string.Formatter().parse(wanted))
    except ValueError as error:
        raise FormatError(f"--key {wanted!r} cannot be read: {error}", "as in {a}.{b}") from error
    if any(name == "" or how or conversion for _, name, how, conversion in parsed):
        raise FormatError(f"--key {wanted!r} is no template", "as in {a}.{b}: names of columns")
    return [(text, name) for text, name, _, _ in parsed]


def _key_part(name: str, value: object) -> str:
    if value is None or value == "":
        hint = "--key COLUMN names the column that is the key" if name == NAME else ""
        raise TypeMismatchError(f"there is no {name!r}, which is to be its key", hint)
    if not isinstance(value, (str, int, float)):
        raise TypeMismatchError(f"{name!r}, which is to be its key, is a {type(value).__name__}")
    text = items.as_text(value)
    if "/" in text:
        raise LimitError(f"the key {text!r} has a slash in it")
    return text


# CSV.

_KINDS: Final = {"int": items.INT, "float": items.FLOAT}


class _CsvReader:
    """Reads a file twice: first to see what each column is, then its rows."""

    def __init__(self, file: BinaryIO, path: Path, separator: str, *, text_only: bool) -> None:
        csv.field_size_limit(settings.ITEM_BYTES_MAX)
        self._file = file
        self._path = path
        self._separator = separator
        self.total = _size_of(file)
        lines = self._lines()
        _, heading = next(lines, ("", None))
        if not heading or isinstance(heading, str):
            raise FormatError(
                f"{str(path)!r} has no heading line", "its first line names the columns"
            )
        self.columns: list[str] | None = heading
        for name in heading:
            if not name or heading.count(name) > 1:
                raise FormatError(
                    f"{str(path)!r} names a column {name!r} "
                    + ("twice" if name else "in its first line"),
                    "each column has a name of its own",
                )
        self._heading = heading
        self._convert = [str] * len(heading) if text_only else self._infer(lines)

    def position(self) -> int:
        return self._file.tell()

    def rows(self) -> Iterator[Row | Bad]:
        lines = self._lines()
        next(lines)
        names, number = self._heading, len(self._heading)
        columns = list(zip(names, self._convert, strict=True))
        for where, fields in lines:
            if isinstance(fields, str):
                yield Bad(where, fields)
            elif len(fields) != number:
                yield Bad(where, f"it has {len(fields)} fields, and there are {number} columns")
            else:
                attributes: dict[str, object] = {
                    name: convert(field)
                    for (name, convert), field in zip(columns, fields, strict=True)
                    if field
                }
                yield Row(where, dict(zip(names, fields, strict=True)), attributes)

    def _lines(self) -> Iterator[tuple[str, list[str] | str]]:
        """Yield where a row is, and its fields, or what is wrong with it."""
        self._file.seek(0)
        lines = csv.reader(self._text(), delimiter=self._separator, strict=True)
        while True:
            where = f"line {lines.line_num + 1}"
            try:
                fields = next(lines)
                "".join(fields).encode()
            except StopIteration:
                return
            except csv.Error as error:
                yield where, f"it cannot be read: {error}"
            except UnicodeEncodeError:
                yield where, "it is no UTF-8"
            else:
                if fields:
                    yield where, fields

    def _text(self) -> Iterator[str]:
        """Yield the lines; a byte that is no UTF-8 becomes what cannot be encoded again."""
        for number, line in enumerate(self._file):
            text = line.decode("utf-8", "surrogateescape")
            yield text.removeprefix("\ufeff") if number == 0 else text

    def _infer(self, lines: Iterator[tuple[str, list[str] | str]]) -> list[Callable[[str], Any]]:
        """Return for each column what makes attributes of its fields."""
        left = [{"int", "float", "bool"} for _ in self._heading]
        for _, fields in lines:
            if isinstance(fields, str) or len(fields) != len(left):
                continue
            for kinds, field in zip(left, fields, strict=True):
                if kinds and field:
                    kinds -= {kind for kind in kinds if not _is_of(kind, field)}
        return [_converter(kinds) for kinds in left]


def _is_of(kind: str, field: str) -> bool:
    if kind == "bool":
        return field in items.BOOLS
    return _KINDS[kind].fullmatch(field) is not None


def _converter(kinds: set[str]) -> Callable[[str], Any]:
    if len(kinds) == 3 or not kinds:  # empty throughout, or text
        return str
    if "bool" in kinds:
        return items.BOOLS.__getitem__
    return int if "int" in kinds else float


# JSON lines.


class _JsonReader:
    """Reads items in their JSON form, one a line."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.columns: list[str] | None = None  # each row has its own
        self._file = file
        self._read = 0
        self.total = _size_of(file)

    def position(self) -> int:
        return self._read

    def rows(self) -> Iterator[Row | Bad]:
        for number, line in enumerate(self._file, 1):
            self._read += len(line)
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                fields = items.item_from_json(text)
            except TypeMismatchError as error:
                yield Bad(f"line {number}", str(error))
                continue
            yield Row(f"line {number}", fields, dict(fields))


# Writing.


def write_rows(file: BinaryIO, form: Form, rows: Iterable[Item], names: list[str] | None) -> int:
    """Write items to a file; return how many there were.

    Raises:
        UnavailableError: A package that writes it is not installed.
    """
    if form is Form.JSONL:
        number = 0
        for key, attributes in rows:
            number += 1
            file.write(items.item_json(key, attributes).encode() + b"\n")
        return number
    if form is Form.PARQUET:
        from entrepot.cli.parquet_rows import Columns, write_parquet

        columns = Columns()
        with tempfile.TemporaryFile() as spool:
            number = _spool(spool, rows, columns.see)
            write_parquet(file, columns, _spooled(spool))
        return number
    separator = "\t" if form is Form.TSV else ","
    if names is not None and not any(name in ("*", "**") for name in names):
        return _write_csv(file, rows, names, separator)
    seen: dict[str, None] = {}
    with tempfile.TemporaryFile() as spool:
        _spool(spool, rows, seen.update)
        return _write_csv(file, _spooled(spool), list(seen), separator)


def _spool(spool: BinaryIO, rows: Iterable[Item], see: Callable[[dict[str, Any]], object]) -> int:
    """Put rows aside: which columns there are is known behind the last."""
    number = 0
    for key, attributes in rows:
        number += 1
        see(attributes)
        spool.write(items.item_json(key, attributes).encode() + b"\n")
    return number


def _spooled(spool: BinaryIO) -> Iterator[Item]:
    spool.seek(0)
    for line in spool:
        attributes: dict[str, Any] = items.item_from_json(line)
        yield attributes.pop(NAME), attributes


def _write_csv(file: BinaryIO, rows: Iterable[Item], names: list[str], separator: str) -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    number = 0
    try:
        lines = csv.writer(text, delimiter=separator, lineterminator="\n")
        columns = [name for name in names if name != NAME]
        lines.writerow([NAME, *columns])
        for key, attributes in rows:
            number += 1
            found = (attributes.get(name) for name in columns)
            lines.writerow([key, *("" if v is None else items.as_text(v) for v in found)])
    finally:
        text.detach()
    return number
