"""Files to values and back; the ending says what a file is.

::

    .csv  .tsv     a table: a pandas DataFrame; without pandas a dict of numpy arrays
    .parquet       a table: a pandas DataFrame, or without pandas a pyarrow Table
    .npy           a numpy array, mapped, so that putting it copies it once
    .json  .txt    what JSON says; text
    .pickle .pkl   any value, written only: reading one could run foreign code
    any other      bytes
"""

from __future__ import annotations

import csv
import errno
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from entrepot.errors import (
    AccessDeniedError,
    DiskFullError,
    EntrepotError,
    FormatError,
    NotFoundError,
    TypeMismatchError,
    UnavailableError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "has_frames",
    "needs_package",
    "read_file",
    "read_table",
    "replacing",
    "system_errors",
    "write_bytes",
    "write_file",
]

BYTES = (bytes, bytearray, memoryview)
TABLE_ENDINGS = (".csv", ".tsv", ".parquet")


def has_frames() -> bool:
    """Whether tables become DataFrames whose text columns can be shared (pandas and pyarrow)."""
    return find_spec("pandas") is not None and find_spec("pyarrow") is not None


def read_file(path: Path) -> Any:
    """Return the value that a file holds.

    Raises:
        NotFoundError, AccessDeniedError: There is no such file, or it may not be read.
        FormatError: It is not what its ending says.
        UnavailableError: The package that reads it is not installed.
    """
    return _read(path, _READERS.get(path.suffix.lower(), Path.read_bytes))


def read_table(path: Path) -> Any:
    """Return the table that a CSV or Parquet file holds: a DataFrame or a dict of arrays.

    Raises:
        As `read_file`; FormatError also for other endings and for tables without rows.
    """
    if path.suffix.lower() not in TABLE_ENDINGS:
        raise FormatError(
            f"{str(path)!r} is no table that is known by its ending",
            f"give a file that ends in {', '.join(TABLE_ENDINGS)}",
        )
    table = _read(path, _READERS[path.suffix.lower()])
    if hasattr(table, "column_names"):  # pyarrow without pandas
        table = {name: table[name].to_numpy() for name in table.column_names}
    names = list(table)
    if not names or len(table[names[0]]) == 0:
        raise FormatError(f"{str(path)!r} holds a table without rows")
    return table


def write_file(path: Path, value: Any) -> int:
    """Write a value as the ending of `path` says, all or nothing; return the bytes written.

    Raises:
        TypeMismatchError: The value has no form with this ending.
        NotFoundError, AccessDeniedError: The directory does not exist, or is not ours to write.
        UnavailableError: The package that writes it is not installed.
    """
    writer = _WRITERS.get(path.suffix.lower(), write_bytes)
    with replacing(path) as file:
        writer(file, value)
        return file.tell()


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """Give a file that takes the place of `path` when the block ends well, and vanishes if not.

    Raises:
        NotFoundError, AccessDeniedError: The directory does not exist, or is not ours to write.
        DiskFullError: There is no room.
    """
    with system_errors(path.parent):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextmanager
def system_errors(path: Path) -> Generator[None]:
    """Turn what the system says about a path into our errors."""
    name = str(path)
    try:
        yield
    except EntrepotError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"there is no {name!r}", "check the path") from error
    except IsADirectoryError as error:
        raise NotFoundError(f"{name!r} is a directory", "give a file") from error
    except PermissionError as error:
        raise AccessDeniedError(f"{name!r} may not be accessed: {error.strerror}") from error
    except OSError as error:
        if error.errno is None:  # not the system's
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"{name!r} cannot be written: {error.strerror}") from error
        raise UnavailableError(f"{name!r} cannot be used: {error.strerror}") from error


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    """Run a reader; whatever it says about the content becomes a `FormatError`."""
    with system_errors(path):
        if reader is not Path.read_bytes and path.stat().st_size == 0:
            raise FormatError(f"{str(path)!r} is empty")
        try:
            return reader(path)
        except (ValueError, ArithmeticError, csv.Error, EOFError) as error:
            # pandas' ParserError and pyarrow's ArrowInvalid are ValueErrors too.
            if isinstance(error, EntrepotError):
                raise
            reason = str(error).strip().partition("\n")[0]
            kind = path.suffix.lower().removeprefix(".")
            raise FormatError(f"{str(path)!r} cannot be read as {kind}: {reason}") from error
        except OSError as error:
            if error.errno is not None:
                raise
            # pyarrow says so of damaged Parquet files.
            raise FormatError(f"{str(path)!r} cannot be read: {error}") from error


def needs_package(what: str, extras: str) -> UnavailableError:
    """The error for a package that is not installed."""
    return UnavailableError(
        f"{what} needs a package that is not installed", f"pip install 'entrepot[{extras}]'"
    )


# Reading.


def _read_csv(path: Path) -> Any:
    """Read a table of values parted by commas, or tabs in `.tsv`."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    if has_frames():
        import pandas as pd  # an extra

        return pd.read_csv(path, sep=separator)  # pyright: ignore[reportUnknownMemberType] pandas has partly typed signatures
    return _read_csv_plain(path, separator)


def _read_csv_plain(path: Path, separator: str) -> dict[str, NDArray[Any]]:
    """Read a table with the standard library into one numpy array per column."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, delimiter=separator, strict=True)
        names = next(lines, None)
        if not names:
            raise FormatError(f"{str(path)!r} has no heading line")
        rows: list[list[str]] = []
        for row in lines:
            if not row:
                continue
            if len(row) != len(names):
                raise FormatError(
                    f"{str(path)!r} has {len(row)} fields in line {lines.line_num}, "
                    f"but {len(names)} headings"
                )
            rows.append(row)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return {name: _column(list(column)) for name, column in zip(names, columns, strict=True)}


def _column(texts: list[str]) -> NDArray[Any]:
    """Return texts as integers, else as floats (an empty one is NaN), else as they are."""
    import numpy as np

    try:
        return np.array([int(text) for text in texts], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return np.array([float(text) if text.strip() else np.nan for text in texts])
    except ValueError:
        return np.array(texts, dtype=np.str_)


def _read_parquet(path: Path) -> Any:
    """Read Parquet with pandas, or with pyarrow alone."""
    if find_spec("pyarrow") is None:
        raise needs_package("reading Parquet", "arrow,pandas")
    if find_spec("pandas") is not None:
        import pandas as pd

        return pd.read_parquet(path)  # pyright: ignore[reportUnknownMemberType] partly typed
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs] it has none

    return pq.read_table(path)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] pyarrow has no types


def _read_npy(path: Path) -> NDArray[Any]:
    """Map an array; one of Python objects is refused, because it is a pickle."""
    import numpy as np

    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


_READERS: Mapping[str, Callable[[Path], Any]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
    ".npy": _read_npy,
    ".json": _read_json,
    ".txt": _read_text,
}


# Writing.


def write_bytes(file: BinaryIO, value: Any) -> None:
    """Write bytes and text as they are; nothing else has one obvious form.

    Raises:
        TypeMismatchError: The value is something else.
    """
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, BYTES):
        raise _unwritable(value, "bytes")
    file.write(cast("bytes", value))


def _write_npy(file: BinaryIO, value: Any) -> None:
    import numpy as np

    array: NDArray[Any] | None = None if hasattr(value, "columns") else np.asanyarray(value)
    if array is None or array.dtype.hasobject:
        raise _unwritable(value, ".npy")
    np.save(file, array, allow_pickle=False)


def _write_parquet(file: BinaryIO, value: Any) -> None:
    if find_spec("pyarrow") is None:
        raise needs_package("writing Parquet", "arrow")
    import pyarrow as pa  # pyright: ignore[reportMissingTypeStubs] it has none
    import pyarrow.parquet as pq  # pyright: ignore[reportMissingTypeStubs] it has none

    table: Any
    if hasattr(value, "column_names"):  # a pyarrow Table
        table = value
    elif hasattr(value, "columns"):
        table = pa.Table.from_pandas(value)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] pyarrow has no types
    elif (columns := _columns(value)) is not None:
        table = pa.table(columns)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] pyarrow has no types
    else:
        raise _unwritable(value, ".parquet")
    pq.write_table(table, file)  # pyright: ignore[reportUnknownMemberType] partly typed


def _write_csv(file: BinaryIO, value: Any) -> None:
    if hasattr(value, "to_pandas"):  # a pyarrow Table
        value = value.to_pandas()
    if hasattr(value, "to_csv"):
        value.to_csv(file, index=False)
        return
    columns = _columns(value)
    if columns is None:
        raise _unwritable(value, ".csv")
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    lines = _Lines(file)
    writer = csv.writer(lines)
    writer.writerow(columns)
    writer.writerows(rows)


def _write_json(file: BinaryIO, value: Any) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2)
    except (TypeError, ValueError) as error:
        raise _unwritable(value, ".json") from error
    file.write(text.encode() + b"\n")


def _write_pickle(file: BinaryIO, value: Any) -> None:
    pickle.dump(value, file, protocol=pickle.HIGHEST_PROTOCOL)


_WRITERS: Mapping[str, Callable[[BinaryIO, Any], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".npy": _write_npy,
    ".json": _write_json,
    ".pickle": _write_pickle,
    ".pkl": _write_pickle,
}


class _Lines:
    """A text file for `csv.writer` on top of a binary one."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def write(self, text: str) -> int:
        return self.file.write(text.encode())


def _columns(value: Any) -> dict[str, NDArray[Any]] | None:
    """Return a value as named columns of one length, or None if it has no such form."""
    import numpy as np

    if isinstance(value, Mapping):
        named = cast("Mapping[Any, Any]", value)
        made = {str(name): np.asarray(column) for name, column in named.items()}
    elif isinstance(value, np.ndarray):
        array = cast("NDArray[Any]", value)
        if array.ndim not in (1, 2):
            return None
        columns = array.T if array.ndim == 2 else array[None]
        made = {str(index): column for index, column in enumerate(columns)}
    else:
        return None
    shapes = {column.shape for column in made.values()}
    return made if len(shapes) == 1 and len(shapes.pop()) == 1 else None


def _unwritable(value: Any, form: str) -> TypeMismatchError:
    """The error for a value that has no such form."""
    return TypeMismatchError(
        f"a {type(value).__name__} cannot be written as {form}",
        "an --out FILE that ends in .pickle takes any value; .npy arrays; .csv, .parquet tables",
    )


def _umask() -> int:
    """The permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
