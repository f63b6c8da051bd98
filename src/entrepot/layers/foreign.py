"""Values as programs in other languages send them: bytes, and a descriptor that explains them.

The convention is NetWorkSpaces': 32 bits, of which bits 24 to 31 name the language that made
the value, bit 0 says that the bytes are the value itself, not serialized, and bit 1 that they
are binary data rather than text. What came from elsewhere is kept as it came, so that it goes
back unchanged; a value that a Python program stored as an object is turned into such bytes
here when somebody from outside asks. Nothing is ever unpickled for that.
"""

from __future__ import annotations

import pickle
from typing import Any, Final, NamedTuple

from entrepot.errors import TypeMismatchError
from entrepot.layers import values

__all__ = ["BINARY", "DIRECT", "PYTHON", "Portable", "export", "from_value", "load", "to_value"]

DIRECT: Final = 1
BINARY: Final = 2
PYTHON: Final = 1 << 24
_LANGUAGES: Final = {
    2: "Matlab", 3: "R", 4: "Perl", 5: "Ruby", 6: "Octave", 7: "Java", 8: "C#", 9: "Objective-C",
}  # fmt: skip

PROTOCOL: Final = 5
"""Of pickles for other programs: the first that holds an array without blowing it up."""


class Portable(NamedTuple):
    """A value as it travels."""

    descriptor: int
    metadata: bytes
    """What its sender said of it, as it came."""
    pieces: list[bytes | memoryview]
    """Its bytes, to be sent one after the other."""

    @property
    def size(self) -> int:
        """How many bytes the pieces are in all."""
        return sum(map(len, self.pieces))


def from_value(value: object, protocol: int = PROTOCOL) -> Portable:
    """Return a Python value as it travels: text and bytes as they are, the rest pickled.

    Raises:
        TypeMismatchError: It cannot be pickled; the reason is its cause.
    """
    if type(value) is str:
        try:
            return Portable(PYTHON | DIRECT, b"", [value.encode("utf-8", "surrogateescape")])
        except UnicodeEncodeError:
            pass  # half a surrogate pair: only a pickle keeps it
    elif type(value) is bytes:
        return Portable(PYTHON | DIRECT | BINARY, b"", [value])
    if protocol == PROTOCOL:
        return Portable(PYTHON, b"", values.pickled(value))
    try:
        return Portable(PYTHON, b"", [pickle.dumps(value, protocol)])
    except MemoryError:
        raise  # nothing is wrong with the value
    except Exception as error:
        raise TypeMismatchError(f"a {type(value).__name__} cannot be pickled: {error}") from error


def to_value(descriptor: int, body: bytes | bytearray | memoryview) -> Any:
    """Return what travelling bytes mean to a Python program.

    This unpickles what is not direct: only for values of those whom the caller trusts.

    Raises:
        TypeMismatchError: Another language serialized it, or it cannot be loaded here.
    """
    if descriptor & DIRECT:
        return bytes(body) if descriptor & BINARY else str(body, "utf-8", "surrogateescape")
    if not len(body):
        return None
    language = _LANGUAGES.get(descriptor >> 24)
    if language is not None:
        raise TypeMismatchError(
            f"the value was serialized by {language}",
            f"store it from {language} as text, which passes between languages",
        )
    try:
        # Python 2 pickles its byte strings as text of no encoding.
        return pickle.loads(body, encoding="latin-1")  # noqa: S301 the caller trusts it; see above
    except MemoryError:
        raise  # nothing is wrong with the value
    except Exception as error:
        raise TypeMismatchError(
            f"a stored value cannot be loaded here: {type(error).__name__}: {error}",
            "the module that defines its class must be importable in this process",
        ) from error


def load(record: bytes, view: memoryview | None) -> Any:
    """Return the value of a record that came from outside; see `to_value`."""
    descriptor, _, body = values.foreign_parts(record, view)
    return to_value(descriptor, body)


def export(record: bytes, view: memoryview | None) -> Portable:
    """Return the value of any record as it travels, without loading it."""
    form = record[0] & ~values.BULK
    if form == values.FOREIGN:
        descriptor, metadata, body = values.foreign_parts(record, view)
        return Portable(descriptor, metadata, [body])
    if form == values.BYTES:
        return Portable(PYTHON | DIRECT | BINARY, b"", [values.blob_body(record, view)])
    if form in (values.PICKLE, values.PACKED):
        return Portable(PYTHON, b"", values.in_band(record, view))
    return from_value(values.decode(record, view))  # a plain value or array: no pickle to load
