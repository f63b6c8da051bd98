"""What is told of objects: ids, sizes, types, users."""

from __future__ import annotations

import re
from dataclasses import dataclass

from entrepot.errors import LimitError

__all__ = ["ID_MAX", "ObjectId", "ObjectInfo", "Usage"]

ID_MAX = (1 << 64) - 1
_DIGITS = re.compile("[0-9a-fA-F]{1,16}")


class ObjectId(int):
    """The id of an object: a number of 64 bits, shown as 16 hex digits."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> ObjectId:
        """Return the id that 16 hex digits (fewer are padded) stand for.

        Raises:
            LimitError: The text is no such number.
        """
        number = int(text, 16) if isinstance(text, str) and _DIGITS.fullmatch(text) else 0  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        if not number:
            raise LimitError(f"{text!r} is no object id", "ids are up to 16 hex digits")
        return cls(number)

    def __repr__(self) -> str:
        return f"{int(self):016x}"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What `list` tells of an object."""

    id: ObjectId
    typename: str
    nbytes: int
    """Size of the value in bytes, wherever it lives."""
    created: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Who uses an object."""

    parents: list[ObjectId]
    """The trees that it is a member of."""
    names: list[str]
    pins: int
    """How many processes look at its bytes just now."""
