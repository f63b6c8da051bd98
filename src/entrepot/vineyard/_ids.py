"""Ids and names of objects, as vineyard's API has them."""

from __future__ import annotations

import re

from entrepot.vineyard._errors import UserInputErrorException

__all__ = ["BLOB_BIT", "EMPTY_BLOB", "INVALID", "ObjectID", "ObjectName"]

BLOB_BIT = 1 << 63
EMPTY_BLOB = BLOB_BIT
INVALID = (1 << 64) - 1

_DIGITS = re.compile(r"[oO]?([0-9a-fA-F]{1,16})")
_URI = "vineyard://"


class ObjectID:
    """The id of an object: a number of 64 bits.

    Made of a number, of another id, or of its hexadecimal digits, with or without the letter
    `o` that vineyard writes before them. Without an argument it is the id of nothing.

    Raises:
        TypeError: It is made of something else, or of a number out of range.
        ValueError: The text has other characters, or more than 16 digits.
    """

    __slots__ = ("_id",)
    _id: int

    def __init__(self, id: int | str | ObjectID = INVALID) -> None:
        object.__setattr__(self, "_id", _number(id))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an ObjectID cannot be changed: {name!r}")

    def __int__(self) -> int:
        return self._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __eq__(self, other: object) -> bool:
        return self._id == other._id if isinstance(other, ObjectID) else NotImplemented

    def __repr__(self) -> str:
        return f"{self._id:016x}"

    def __str__(self) -> str:
        return f'ObjectID <"{self._id:016x}">'

    def __reduce__(self) -> tuple[type[ObjectID], tuple[int]]:
        return type(self), (self._id,)

    @property
    def uri(self) -> str:
        """The id as a URI, `vineyard://o` and 16 digits."""
        return f"{_URI}o{self._id:016x}"

    @classmethod
    def from_uri(cls, uri: str) -> ObjectID:
        """Return the id that a URI names.

        Raises:
            UserInputErrorException: It is no such URI.
        """
        return cls(_strip(uri))


class ObjectName:
    """A name of an object. Accepted wherever a name is."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
            raise TypeError(f"a name is a str, not {name!r}")
        self._name = name

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> bool:
        return self._name == other._name if isinstance(other, ObjectName) else NotImplemented

    def __repr__(self) -> str:
        return repr(self._name)

    def __str__(self) -> str:
        return self._name

    def __reduce__(self) -> tuple[type[ObjectName], tuple[str]]:
        return type(self), (self._name,)

    @property
    def uri(self) -> str:
        """The name as a URI."""
        return _URI + self._name

    @classmethod
    def from_uri(cls, uri: str) -> ObjectName:
        """Return the name that a URI names.

        Raises:
            UserInputErrorException: It is no such URI.
        """
        return cls(_strip(uri))


def text_id(number: int) -> str:
    """Return the form that ids have on the wire and in metadata."""
    return f"o{number:016x}"


def number_of(text: str) -> int:
    """Return the number of an id in metadata."""
    return int(text[1:], 16)


def _number(id: object) -> int:
    if isinstance(id, ObjectID):
        return int(id)
    if isinstance(id, str):
        found = _DIGITS.fullmatch(id)
        if found is None:
            raise ValueError(f"{id!r} is no object id: up to 16 hexadecimal digits")
        return int(found[1], 16)
    if type(id).__name__ == "ObjectID":  # the original's, in a program that uses both
        return int(id)  # pyright: ignore[reportArgumentType] it has an __int__
    try:
        number = int(id.__index__())  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType] None for a part
    except AttributeError:
        raise TypeError(f"an ObjectID cannot be made of {id!r}, a {type(id).__name__}") from None
    if not 0 <= number <= INVALID:
        raise TypeError(f"an ObjectID is from 0 to 2**64 - 1, not {number}")
    return number


def _strip(uri: str) -> str:
    if not uri.startswith(_URI):
        raise UserInputErrorException(f"{uri!r} does not begin with {_URI!r}")
    return uri[len(_URI) :]
