"""Rows of Parquet files, by way of pyarrow; it is an extra.

Columns have these types, and what is read of other programs' files becomes the nearest::

    int64   double   bool   string   binary   list<int64>   list<double>
    timestamp[ns, UTC]

A column of which no type holds all (ints here and text there, ints beyond 64 bits, moments
that nanoseconds cannot count to) is text, each field in its JSON form (see `items`); its
metadata says so: `entrepot: json`.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from entrepot.cli import items
from entrepot.cli.files import needs_package
from entrepot.cli.items import NAME
from entrepot.cli.row_files import Bad, Row
from entrepot.errors import FormatError
from entrepot.layers.attributes import Timestamp

__all__ = ["Columns", "ParquetReader", "write_parquet"]

ROWS_AT_ONCE: Final = 10_000
JSON: Final = {b"entrepot": b"json"}
_NS_PER: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def _pyarrow(what: str) -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet, neither of which has types.

    Raises:
        UnavailableError: It is not installed.
    """
    if find_spec("pyarrow") is None:
        raise needs_package(f"{what} Parquet", "arrow")
    return import_module("pyarrow"), import_module("pyarrow.parquet")


# Writing.


class Columns:
    """Which columns there are, and what each holds."""

    def __init__(self) -> None:
        _pyarrow("writing")  # or the error comes behind the last row
        self.kinds: dict[str, str] = {}

    def see(self, attributes: dict[str, Any]) -> None:
        """Take account of a row."""
        for name, value in attributes.items():
            kind = _kind_of(value)
            if self.kinds.setdefault(name, kind) != kind:
                self.kinds[name] = "json"


def _kind_of(value: object) -> str:
    if isinstance(value, array):
        return "ints" if value.typecode == "q" else "floats"
    if isinstance(value, Timestamp):
        return "time" if -(1 << 63) <= _ns_of(value) < 1 << 63 else "json"
    if isinstance(value, int) and not isinstance(value, bool):
        return "int" if -(1 << 63) <= value < 1 << 63 else "json"
    return type(value).__name__


def _ns_of(moment: Timestamp) -> int:
    return moment.seconds * 10**9 + moment.nanoseconds


def write_parquet(
    file: BinaryIO, columns: Columns, rows: Iterator[tuple[str, dict[str, Any]]]
) -> None:
    """Write items whose columns were seen before."""
    pa, pq = _pyarrow("writing")
    types: dict[str, Any] = {
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "str": pa.string(),
        "bytes": pa.binary(),
        "ints": pa.list_(pa.int64()),
        "floats": pa.list_(pa.float64()),
        "time": pa.timestamp("ns", "UTC"),
        "json": pa.string(),
    }
    kinds = {name: kind for name, kind in columns.kinds.items() if name != NAME}
    fields = [pa.field(NAME, pa.string())]
    fields += [
        pa.field(name, types[kind], metadata=JSON if kind == "json" else None)
        for name, kind in kinds.items()
    ]
    schema = pa.schema(fields)
    with pq.ParquetWriter(file, schema) as writer:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            arrays = [pa.array([key for key, _ in some], pa.string())]
            for name, kind in kinds.items():
                values = [_field(kind, attributes.get(name)) for _, attributes in some]
                made = pa.array(values, pa.int64() if kind == "time" else types[kind])
                arrays.append(made.cast(types[kind]) if kind == "time" else made)
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _field(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "json":
        return json.dumps(items.as_json(value), ensure_ascii=False, allow_nan=False)
    if kind == "time":
        return _ns_of(value)
    return list(value) if kind in ("ints", "floats") else value


# Reading.


class _Wrong:
    """Stands for a field that cannot be read."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class ParquetReader:
    """Reads the rows of a Parquet file, some thousands at a time."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._arrow, parquet = _pyarrow("reading")
        self._path = path
        self._read = 0
        try:
            self._file = parquet.ParquetFile(file)
            schema: Any = self._file.schema_arrow
        except (ValueError, OSError) as error:  # ArrowInvalid is a ValueError
            raise self._damaged(error) from error
        self.total: int | None = self._file.metadata.num_rows
        names: list[str] = schema.names
        self.columns: list[str] | None = names
        if len(set(names)) < len(names):
            raise FormatError(f"{str(path)!r} has two columns of one name")
        self._converters = [
            (field.name, self._converter(field.name, field.type, field.metadata or {}))
            for field in schema
        ]

    def _damaged(self, error: Exception) -> FormatError:
        reason = str(error).partition("\n")[0]
        return FormatError(f"{str(self._path)!r} cannot be read as Parquet: {reason}")

    def position(self) -> int:
        """Return how many rows were read."""
        return self._read

    def rows(self) -> Iterator[Row | Bad]:
        """Yield the rows."""
        batches: Iterator[Any] = self._file.iter_batches(ROWS_AT_ONCE)
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                columns = [
                    convert(batch.column(number))
                    for number, (_, convert) in enumerate(self._converters)
                ]
            except (ValueError, OSError) as error:
                raise self._damaged(error) from error
            yield from self._rows(batch.num_rows, columns)

    def _rows(self, number: int, columns: list[list[Any]]) -> Iterator[Row | Bad]:
        names = [name for name, _ in self._converters]
        lines = zip(*columns, strict=True) if columns else [()] * number
        for values in lines:
            self._read += 1
            where = f"row {self._read}"
            wrong = [value for value in values if isinstance(value, _Wrong)]
            if wrong:
                yield Bad(where, wrong[0].reason)
                continue
            fields = {
                name: value for name, value in zip(names, values, strict=True) if value is not None
            }
            yield Row(where, fields, dict(fields))

    def _converter(
        self, name: str, kind: Any, metadata: dict[bytes, bytes]
    ) -> Callable[[Any], list[Any]]:
        """Return what makes attributes of a column.

        Raises:
            FormatError: No attribute can hold what it is of.
        """
        pa, types = self._arrow, self._arrow.types
        if metadata.get(b"entrepot") == b"json":
            return lambda column: [_from_json(name, text) for text in column.to_pylist()]
        if types.is_dictionary(kind):
            inner = self._converter(name, kind.value_type, {})
            return lambda column: inner(column.dictionary_decode())
        if types.is_date(kind):
            seconds = self._converter(name, pa.timestamp("ms"), {})
            return lambda column: seconds(column.cast(pa.timestamp("ms")))
        if types.is_timestamp(kind):
            factor = _NS_PER[kind.unit]
            return lambda column: [
                None if value is None else Timestamp(*divmod(value * factor, 10**9))
                for value in column.cast(pa.int64()).to_pylist()
            ]
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            if types.is_integer(kind.value_type):
                return lambda column: [_list(name, "q", value) for value in column.to_pylist()]
            if types.is_floating(kind.value_type):
                return lambda column: [_list(name, "d", value) for value in column.to_pylist()]
        elif any(
            check(kind)
            for check in (
                types.is_integer,
                types.is_floating,
                types.is_boolean,
                types.is_string,
                types.is_large_string,
                types.is_binary,
                types.is_large_binary,
                types.is_fixed_size_binary,
                types.is_null,
            )
        ):
            return lambda column: column.to_pylist()
        raise FormatError(
            f"column {name!r} of {str(self._path)!r} is of type {kind}, which no attribute has",
            "turn it into text, a number, a moment or a list of numbers, or leave it out",
        )


def _list(name: str, typecode: str, value: list[Any] | None) -> Any:
    if value is None:
        return None
    try:
        return array(typecode, value)
    except (TypeError, OverflowError) as error:
        return _Wrong(f"column {name!r} has a list that cannot be stored: {error}")


def _from_json(name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return items.from_json(name, json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        return _Wrong(f"column {name!r} holds no JSON of an attribute: {error}")
