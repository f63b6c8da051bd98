"""What an expression consists of, once it was parsed.

Chains (`a AND b AND c`, `a + b - c`) are one node each, so that a long one is not deep.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TypeAlias

from entrepot.layers.attributes import Attribute

__all__ = [
    "Action",
    "And",
    "Call",
    "Chain",
    "Compare",
    "Element",
    "Literal",
    "Membership",
    "Name",
    "Node",
    "Not",
    "Or",
    "Parameter",
    "Remove",
    "Set",
    "SetElement",
    "SetSlice",
    "Slice",
    "Unary",
]


@dataclass(frozen=True, slots=True, eq=False)
class Literal:
    """A constant. One is equal to another of the same type only: 1 is not 1.0, nor true."""

    value: Attribute

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[object, object]:
        value = self.value
        if isinstance(value, array):  # which has no hash
            return value.typecode, value.tobytes()
        return type(value), value


@dataclass(frozen=True, slots=True)
class Parameter:
    """`:name`, for which a value is given apart from the text."""

    name: str


@dataclass(frozen=True, slots=True)
class Name:
    """An attribute of the item."""

    name: str


@dataclass(frozen=True, slots=True)
class Element:
    """`name[index]`."""

    name: str
    index: Node


@dataclass(frozen=True, slots=True)
class Slice:
    """`name[first..last]`, the last one included."""

    name: str
    first: Node
    last: Node


@dataclass(frozen=True, slots=True)
class Call:
    """`function(…)`."""

    function: str
    arguments: tuple[Node, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x` or `~x`."""

    sign: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators of one rank, from left to right: `first (sign operand)…`."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """`left sign right`."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Membership:
    """`operand IN (member, …)`."""

    operand: Node
    members: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT operand`."""

    operand: Node


@dataclass(frozen=True, slots=True)
class And:
    """All of them."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of them."""

    operands: tuple[Node, ...]


Node: TypeAlias = (
    Literal
    | Parameter
    | Name
    | Element
    | Slice
    | Call
    | Unary
    | Chain
    | Compare
    | Membership
    | Not
    | And
    | Or
)


@dataclass(frozen=True, slots=True)
class Set:
    """`name = value`."""

    name: str
    value: Node


@dataclass(frozen=True, slots=True)
class SetElement:
    """`name[index] = value`."""

    name: str
    index: Node
    value: Node


@dataclass(frozen=True, slots=True)
class SetSlice:
    """`name[first..last] = value`."""

    name: str
    first: Node
    last: Node
    value: Node


@dataclass(frozen=True, slots=True)
class Remove:
    """`REMOVE name` or `delete(name)`."""

    name: str


Action: TypeAlias = Set | SetElement | SetSlice | Remove
