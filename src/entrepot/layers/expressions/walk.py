"""Walks over nodes: which attributes they name, and filling in parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from entrepot.layers.attributes import Attribute
from entrepot.layers.expressions.nodes import Element, Literal, Name, Node, Parameter, Slice

__all__ = ["bind", "names_in"]

Part = TypeVar("Part")


def names_in(node: Node) -> frozenset[str]:
    """Return the attributes that an expression looks at."""
    return frozenset(part.name for part in _parts(node) if isinstance(part, (Name, Element, Slice)))


def _parts(part: object) -> Iterator[object]:
    if isinstance(part, tuple):
        for inner in cast("tuple[object, ...]", part):
            yield from _parts(inner)
    elif dataclasses.is_dataclass(part):
        yield part
        for field in dataclasses.fields(part):
            yield from _parts(getattr(part, field.name))


def bind(part: Part, values: Mapping[str, Attribute]) -> Part:
    """Return the same with values for the parameters that have one."""
    changed: Any = part
    if isinstance(part, Parameter):
        changed = Literal(values[part.name]) if part.name in values else part
    elif isinstance(part, tuple):
        changed = tuple(bind(inner, values) for inner in cast("tuple[object, ...]", part))
    elif dataclasses.is_dataclass(part) and not isinstance(part, (type, Literal)):
        fields = {f.name: bind(getattr(part, f.name), values) for f in dataclasses.fields(part)}
        changed = dataclasses.replace(part, **fields)
    return changed
