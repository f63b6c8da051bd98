"""The default data set: every character of Unicode, from the tables that Python carries.

One row per assigned character, about 150,000. The study goes by family, the first word of
a character's name (LATIN, CJK, EGYPTIAN ...): one job per family.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["OTHERS", "TITLE", "characters", "frame", "jobs", "study"]

TITLE = f"all of Unicode {unicodedata.unidata_version}"

CATEGORIES = (
    *("Lu", "Ll", "Lt", "Lm", "Lo"),
    *("Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"),
    *("Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf"),
)
"""The general categories of assigned characters; letters first."""
LETTERS = 5
FAMILY_ROWS_MIN = 8
"""Smaller families go together, as `OTHERS`."""
OTHERS = "(all others)"
WORDS = 3
WORD_LETTERS_MIN = 3
TANGUT_IDEOGRAPHS = range(0x17000, 0x18D80)
"""They have names by rule, which Python's tables leave out."""


def characters() -> tuple[dict[str, Any], list[str]]:
    """Return the table, a column per key, and the families that its column `family` counts in.

    Columns: `code`, `family`, `category` (indices), `right_to_left`, `wide`, `numeric` (NaN
    where a character is no number), `utf8_bytes`, `name_length` and `name` (ASCII bytes).
    """
    texts = [
        text
        for text in map(chr, range(0x110000))
        if unicodedata.category(text) not in ("Cn", "Co", "Cs")
    ]
    codes = np.array([ord(text) for text in texts], dtype=np.uint32)
    names = [unicodedata.name(text, "") for text in texts]
    firsts = [_family(text, name) for text, name in zip(texts, names, strict=True)]
    sizes = Counter(firsts)
    families = [family for family, rows in sizes.most_common() if rows >= FAMILY_ROWS_MIN]
    families.append(OTHERS)
    family_index = {family: index for index, family in enumerate(families)}
    others = family_index[OTHERS]
    category_index = {category: index for index, category in enumerate(CATEGORIES)}
    table = {
        "code": codes,
        "family": np.array([family_index.get(first, others) for first in firsts], np.int16),
        "category": _bytes(category_index[unicodedata.category(text)] for text in texts),
        "right_to_left": _flags(unicodedata.bidirectional(text) in ("R", "AL") for text in texts),
        "wide": _flags(unicodedata.east_asian_width(text) in ("W", "F") for text in texts),
        "numeric": np.array([unicodedata.numeric(text, np.nan) for text in texts]),
        "utf8_bytes": np.searchsorted((0x80, 0x800, 0x10000), codes, "right").astype(np.uint8) + 1,
        "name_length": _bytes(len(name) for name in names),
        "name": np.array([name.encode() for name in names]),
    }
    return table, families


def frame(table: Mapping[str, NDArray[Any]]) -> Any:
    """Return the table as a pandas DataFrame, its names as text."""
    import pandas as pd  # an extra

    names = pd.Series(np.char.decode(table["name"]).tolist(), dtype="str")
    return pd.DataFrame({**table, "name": names}, copy=False)


def jobs(families: list[str]) -> list[dict[str, Any]]:
    """Return one job per family."""
    return [{"family": family, "index": index} for index, family in enumerate(families)]


def study(table: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of one family; reads whole columns, as a scan of a table does."""
    rows = np.flatnonzero(np.asarray(table["family"]) == job["index"])
    names = _texts(table["name"], rows)
    words = Counter(
        word
        for name in names
        for word in name.replace("-", " ").split()
        if len(word) >= WORD_LETTERS_MIN and word.isalpha() and word != job["family"]
    )
    codes = np.asarray(table["code"])[rows]
    return {
        "family": job["family"],
        "characters": len(rows),
        "letters": int((np.asarray(table["category"])[rows] < LETTERS).sum()),
        "numbers": int((~np.isnan(np.asarray(table["numeric"])[rows])).sum()),
        "right_to_left": int(np.asarray(table["right_to_left"])[rows].sum()),
        "wide": int(np.asarray(table["wide"])[rows].sum()),
        "utf8_bytes_mean": float(np.asarray(table["utf8_bytes"])[rows].mean()),
        "name_length_mean": float(np.asarray(table["name_length"])[rows].mean()),
        "words": [word for word, _ in words.most_common(WORDS)],
        "longest_name": max(names, key=len),
        "first": int(codes.min()),
        "last": int(codes.max()),
    }


def _texts(names: Any, rows: NDArray[np.intp]) -> list[str]:
    """Return some names; numpy has them as bytes, a DataFrame as text."""
    if isinstance(names, np.ndarray):
        return [name.decode() for name in names[rows].tolist()]
    return names.iloc[rows].tolist()


def _family(text: str, name: str) -> str:
    """The first word of the name: `CJK` of `CJK UNIFIED IDEOGRAPH-4E00`."""
    if name:
        return name.partition(" ")[0].partition("-")[0]
    return "TANGUT" if ord(text) in TANGUT_IDEOGRAPHS else "CONTROL"


def _bytes(numbers: Any) -> NDArray[np.uint8]:
    return np.fromiter(numbers, dtype=np.uint8)


def _flags(facts: Any) -> NDArray[np.bool_]:
    return np.fromiter(facts, dtype=np.bool_)
