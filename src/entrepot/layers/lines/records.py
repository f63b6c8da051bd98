"""What is stored of a buffer of lines.

Keys::

    ("lines", name)                         -> Buffer
    ("lines-block", id, number)             -> entries of one write, of which the first has
                                               that number:
        count (4) | arrived_ns (8) | Block
    ("lines-partial", id, writer)           -> Partial: what a writer has written of a line
    ("held", session, "lines", id, writer)  -> name of the buffer: whose partial line that is

Entries are numbered from 1 without gaps, and numbers are never used again: a reader that goes
on behind a number sees what it missed. Blocks do not change. Those that are wholly before
`Buffer.first` are on their way out, and nobody sees them any more::

     oldest            first                          next
       | block | block | block | block | … | block |
       | trimmed soon  | what readers see          |

Bell: ("lines", name), rung by each change.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from entrepot import settings
from entrepot.engine.keys import Prefix
from entrepot.errors import CorruptError, LimitError, TypeMismatchError

__all__ = [
    "BLOCK",
    "BUFFER",
    "ERROR",
    "HEAD_BYTES",
    "LINE",
    "PARTIAL",
    "WARNING",
    "Block",
    "Buffer",
    "Entry",
    "Kind",
    "LinesStretch",
    "Origin",
    "Partial",
    "arrived_of",
    "check_name",
    "count_of",
    "decode_block",
    "decode_buffer",
    "decode_partial",
    "encode",
    "encode_block",
]

Kind: TypeAlias = Literal["line", "warning", "error"]
LINE: Final = "line"
WARNING: Final = "warning"
ERROR: Final = "error"

BUFFER = Prefix("lines")
BLOCK = Prefix("lines-block")
PARTIAL = Prefix("lines-partial")
HEAD_BYTES: Final = 12


class Buffer(msgspec.Struct, array_like=True, gc=False):
    """A buffer: its bounds, and which numbers it has."""

    id: int
    created_ns: int
    max_lines: int
    max_bytes: int
    max_age_ns: int = 0
    """0: entries do not age."""
    first: int = 1
    """The number of the oldest entry that readers see, or will see."""
    next: int = 1
    oldest: int = 1
    """The number with which the oldest block begins that is still there."""
    size: int = 0
    """Bytes of the blocks that are there."""
    latest_ns: int = 0
    partials: int = 0
    is_closed: bool = False
    is_stopped: bool = False


class Origin(NamedTuple):
    """Who wrote an entry."""

    host: str
    pid: int
    writer: str


class Block(msgspec.Struct, array_like=True, gc=False):
    """Entries of one write: lines, or the one warning or error whose text these lines are."""

    kind: Kind
    host: str
    pid: int
    writer: str
    texts: list[str]


class Partial(msgspec.Struct, array_like=True, gc=False):
    """What a writer has written of a line."""

    session: int
    """That of the process that holds it."""
    host: str
    pid: int
    writer: str
    arrived_ns: int
    text: str


class Entry(NamedTuple):
    """A line, a warning or an error in a buffer."""

    number: int
    """Its place in the buffer, from 1; 0 for a line that is not finished."""
    kind: Kind
    texts: tuple[str, ...]
    """One for a line; of a warning or an error, the lines of its report."""
    arrived_ns: int
    """Nanoseconds since the epoch."""
    host: str
    pid: int
    writer: str
    """What the writer is called; mostly nothing."""

    @property
    def text(self) -> str:
        """The whole text."""
        return "\n".join(self.texts)


class LinesStretch(NamedTuple):
    """Entries of a buffer, and what is around them."""

    entries: list[Entry]
    next: int
    """The number to go on with."""
    missed: int
    """How many entries there were before these that were asked for, and are gone."""
    left: int
    """How many there are behind these."""
    partials: list[Entry]
    """The lines that are not finished, if they were asked for and `left` is 0."""
    is_closed: bool
    is_stopped: bool


encode = msgspec.msgpack.Encoder().encode
decode_buffer = msgspec.msgpack.Decoder(Buffer).decode
decode_partial = msgspec.msgpack.Decoder(Partial).decode
_decode_block = msgspec.msgpack.Decoder(Block).decode


def encode_block(block: Block, count: int, arrived_ns: int) -> bytes:
    """Return what is stored of a block."""
    return count.to_bytes(4, "big") + arrived_ns.to_bytes(8, "big") + encode(block)


def count_of(raw: bytes) -> int:
    """Return how many entries a stored block has."""
    return int.from_bytes(raw[:4], "big")


def arrived_of(raw: bytes) -> int:
    """Return when a stored block came."""
    return int.from_bytes(raw[4:HEAD_BYTES], "big")


def decode_block(raw: bytes) -> Block:
    """Return a stored block.

    Raises:
        CorruptError: It is none.
    """
    try:
        return _decode_block(memoryview(raw)[HEAD_BYTES:])
    except msgspec.DecodeError as error:
        raise CorruptError(f"a block of lines cannot be read: {error}") from error


def check_name(name: object) -> str:
    """Return the name of a buffer.

    Raises:
        LimitError: It is empty or too long.
        TypeMismatchError: It is no string.
    """
    if not isinstance(name, str):
        raise TypeMismatchError(f"the name of lines is {name!r}, a {type(name).__name__}")
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size <= settings.NAME_BYTES_MAX:
        raise LimitError(
            f"the name of lines has {size} bytes, 1 to {settings.NAME_BYTES_MAX} are allowed"
        )
    return name
