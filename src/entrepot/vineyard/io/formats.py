"""Files of rows: CSV, Parquet and ORC, as batches of Arrow, and batches as such files."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from entrepot.vineyard.io.places import Place

__all__ = ["batches_of", "described", "form_of", "write_batches"]

_FORMS = {
    "csv": "csv",
    "tsv": "csv",
    "parquet": "parquet",
    "pq": "parquet",
    "orc": "orc",
    "bytes": None,
    "raw": None,
}
_TOLD = ("delimiter", "header_row", "include_all_columns", "schema", "columns", "column_types")
"""Options that make a file of unknown suffix CSV, and that a stream's readers are told."""
_TYPES = {"int": "int64", "long": "int64", "str": "string", "float": "float32", "double": "float64"}
_HEADER_BYTES_MAX = 1 << 16
_BLOCK_BYTES = 4 << 20
"""Types of CSV columns are guessed by the first block: larger is safer, and more memory."""


def form_of(place: Place) -> str | None:
    """Return what is in a file: `csv`, `parquet` or `orc`; None for just bytes.

    Told by the option `format`, else by the suffix; any other file that is read or written with
    an option of CSV is CSV.

    Raises:
        ValueError: There is no such format.
    """
    told = place.options.get("format")
    if told is not None:
        try:
            return _FORMS[str(told).lower()]
        except KeyError:
            known = ", ".join(_FORMS)
            raise ValueError(f"format is {told!r}, there are {known}") from None
    if place.suffix in _FORMS:
        return _FORMS[place.suffix]
    return "csv" if any(name in place.options for name in _TOLD) else None


def described(place: Place, form: str | None) -> dict[str, str]:
    """Return what the readers of a stream are told of its file: texts, as vineyard has them."""
    if form is None:
        return {"path": place.path}
    told = {name: str(place.options[name]) for name in _TOLD if name in place.options}
    if "include_all_columns" in told:
        told["include_all_columns"] = "1" if _is_true(told["include_all_columns"]) else "0"
    if form == "csv":
        has_header = _has_header(place)
        told["delimiter"] = _delimiter(place)
        told["header_row"] = "1" if has_header else "0"
        if has_header:
            told["header_line"] = _first_line(place) + "\n"
    return told


# Reading.


def batches_of(place: Place, form: str) -> Iterator[Any]:
    """Yield the batches of a file."""
    with place.open("rb") as file:
        if form == "csv":
            yield from _csv_batches(file, place)
        elif form == "parquet":
            parquet = _arrow("pyarrow.parquet").ParquetFile(file)
            yield from parquet.iter_batches(columns=_names(place))
        else:
            orc = _arrow("pyarrow.orc").ORCFile(file)
            for number in range(orc.nstripes):
                yield orc.read_stripe(number, columns=_names(place))


def _csv_batches(file: Any, place: Place) -> Iterator[Any]:
    pa, csv = _arrow("pyarrow"), _arrow("pyarrow.csv")
    has_header = _has_header(place)
    names = _listed(place.options.get("schema"))
    block = int(place.options.get("block_size", _BLOCK_BYTES))
    reading = csv.ReadOptions(
        column_names=names,
        skip_rows=1 if names and has_header else 0,
        autogenerate_column_names=not has_header and not names,
        block_size=block,
    )
    converting = csv.ConvertOptions(
        include_columns=_names(place), column_types=_column_types(place, names)
    )
    with pa.input_stream(file, compression=place.packing) as unpacked:
        yield from csv.open_csv(
            unpacked,
            read_options=reading,
            parse_options=csv.ParseOptions(delimiter=_delimiter(place)),
            convert_options=converting,
        )


def _column_types(place: Place, names: list[str] | None) -> dict[str, Any] | None:
    told: Any = place.options.get("column_types")
    if not told:
        return None
    if not isinstance(told, dict):
        if names is None and _has_header(place):
            names = _first_line(place).split(_delimiter(place))
        kinds = _listed(told) or []
        told = dict(zip(names or [f"f{n}" for n in range(len(kinds))], kinds, strict=False))
    pa = _arrow("pyarrow")
    types: dict[str, Any] = dict(told)  # pyright: ignore[reportUnknownArgumentType] a user's
    return {
        name: pa.type_for_alias(_TYPES.get(kind, kind)) if isinstance(kind, str) else kind
        for name, kind in types.items()
    }


def _first_line(place: Place) -> str:
    with (
        place.open("rb") as file,
        _arrow("pyarrow").input_stream(file, compression=place.packing) as unpacked,
    ):
        body: bytes = unpacked.read(_HEADER_BYTES_MAX)
    return body.partition(b"\n")[0].decode("utf-8-sig", "replace").rstrip("\r")


# Writing.


def write_batches(place: Place, form: str, file: Any, batches: Iterable[Any]) -> None:
    """Write batches as a file of a form; without any it stays empty."""
    waiting = iter(batches)
    first = next(waiting, None)
    if first is None:
        return
    with _table_writer(form, file, first.schema, place) as write:
        write(first)
        for batch in waiting:
            write(batch)


@contextlib.contextmanager
def _table_writer(form: str, file: Any, schema: Any, place: Place) -> Generator[Any]:
    if form == "parquet":
        packing = place.options.get("compression", "snappy")
        with _arrow("pyarrow.parquet").ParquetWriter(file, schema, compression=packing) as writer:
            yield writer.write_batch
    elif form == "orc":
        pa = _arrow("pyarrow")
        with _arrow("pyarrow.orc").ORCWriter(file) as writer:

            def write(batch: Any) -> None:
                writer.write(pa.Table.from_batches([batch]))

            yield write
    else:
        pa, csv = _arrow("pyarrow"), _arrow("pyarrow.csv")
        options = csv.WriteOptions(include_header=_has_header(place), delimiter=_delimiter(place))
        with (
            pa.output_stream(file, compression=place.packing) as packed,
            csv.CSVWriter(packed, schema, write_options=options) as writer,
        ):
            yield writer.write_batch


# Options.


def _delimiter(place: Place) -> str:
    told = place.options.get("delimiter") or ("\t" if place.suffix == "tsv" else ",")
    return str(told).replace("\\t", "\t")


def _has_header(place: Place) -> bool:
    return _is_true(place.options.get("header_row", True))


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("1", "true", "yes")


def _names(place: Place) -> list[str] | None:
    """Return which columns are wanted; None for all."""
    return _listed(place.options.get("include_columns") or place.options.get("columns"))


def _listed(value: Any) -> list[str] | None:
    if not value:
        return None
    return value.split(",") if isinstance(value, str) else list(value)


def _arrow(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError("files of rows need pyarrow: pip install 'entrepot[vineyard]'") from error
