"""The study of a table that the user brings: one job per column, whatever is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["jobs", "study"]


def jobs(table: Any) -> list[dict[str, Any]]:
    """Return one job per column."""
    return [{"column": name, "index": index} for index, name in enumerate(table)]


def study(table: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of one column of a dict of arrays or a DataFrame."""
    column: Any = table[job["column"]]
    figures = _of_series(column) if hasattr(column, "array") else _of_array(column)
    return {"column": str(job["column"]), **figures}


def _of_array(column: NDArray[Any]) -> dict[str, Any]:
    """The figures of a numpy column: numbers, or text."""
    missing = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), np.bool_)
    present = column[~missing] if missing.any() else column
    values, counts = np.unique(present, return_counts=True)
    most = int(counts.argmax()) if len(counts) else None
    return {
        "dtype": "text" if column.dtype.kind == "U" else str(column.dtype),
        "rows": len(column),
        "missing": int(missing.sum()),
        "distinct": len(values),
        **_spread(present if column.dtype.kind in "iufb" else None),
        "most": None if most is None else _one(values[most]),
        "most_rows": 0 if most is None else int(counts[most]),
    }


def _of_series(column: Any) -> dict[str, Any]:
    """The figures of a DataFrame's column, of any dtype."""
    missing = int(column.isna().sum())
    try:
        ranking = column.value_counts()
        distinct, most = len(ranking), ranking.index[0] if len(ranking) else None
        most_rows = int(ranking.iloc[0]) if len(ranking) else 0
    except TypeError:  # values that are not hashable, such as lists
        distinct, most, most_rows = None, None, 0
    numbers = column.dropna().to_numpy() if column.dtype.kind in "iufb" else None
    return {
        "dtype": "text" if str(column.dtype) in ("str", "string", "object") else str(column.dtype),
        "rows": len(column),
        "missing": missing,
        "distinct": distinct,
        **_spread(numbers),
        "most": _one(most),
        "most_rows": most_rows,
    }


def _spread(numbers: Any) -> dict[str, float | None]:
    """The least, the mean and the greatest of some numbers."""
    if numbers is None or len(numbers) == 0:
        return {"min": None, "mean": None, "max": None}
    return {
        "min": float(numbers.min()),
        "mean": float(numbers.mean(dtype=np.float64)),
        "max": float(numbers.max()),
    }


def _one(value: Any) -> Any:
    """A value out of a column as a plain Python number or text."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
