"""Expressions: conditions, filters and updates of items, as text.

A text is parsed once (`grammar`), its parameters are filled in, and it becomes a function
of an item (`evaluate`, `update`); whoever uses it many times keeps the function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from entrepot.errors import TypeMismatchError
from entrepot.layers.attributes import as_attribute
from entrepot.layers.expressions import grammar, nodes, update, walk
from entrepot.layers.expressions.evaluate import Resolve, compile_condition

__all__ = ["Condition", "Resolve", "Update", "condition", "updating"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition or filter whose parameters are filled in."""

    text: str
    node: nodes.Node
    names: frozenset[str]
    """The attributes that it looks at."""

    def compile(self, resolve: Resolve) -> Callable[[Any], bool]:
        """Return a function that tells whether it is true for an item.

        Args:
            resolve: Takes an attribute's name, returns how it is got from an item.
        """
        return compile_condition(self.node, resolve)


@dataclass(frozen=True, slots=True)
class Update:
    """An update whose parameters are filled in."""

    text: str
    actions: tuple[nodes.Action, ...]

    @property
    def targets(self) -> frozenset[str]:
        """The attributes that it sets or removes."""
        return frozenset(action.name for action in self.actions)

    def compile(self, resolve: Resolve) -> update.Run:
        """Return a function that changes the attributes of an item, a dict.

        Args:
            resolve: Takes an attribute's name, returns how it is got from that dict.
        """
        return update.compile_update(self.actions, resolve)


def condition(text: str, parameters: Mapping[str, object]) -> Condition | None:
    """Return a condition; None for a blank one, which is true for all.

    Args:
        text: For instance `age > 15 and starts(name, 'B')`.
        parameters: Values for what the text writes as `:name`.

    Raises:
        ExpressionError: It cannot be read; the message shows where.
        LimitError: It is too long, or nested too deeply.
        TypeMismatchError: It is no string, or a parameter is of a type that no attribute has.
    """
    if not _checked(text).strip():
        return None
    node = grammar.parse_condition(text)
    if parameters:
        node = walk.bind(node, _values(parameters))
    return Condition(text, node, walk.names_in(node))


def updating(text: str, parameters: Mapping[str, object]) -> Update:
    """Return an update; a blank one does nothing.

    Args:
        text: For instance `SET count = if_not_exists(count, 0) + 1; REMOVE old`.
        parameters: Values for what the text writes as `:name`.

    Raises:
        ExpressionError: It cannot be read; the message shows where.
        LimitError: It is too long, or nested too deeply.
        TypeMismatchError: It is no string, or a parameter is of a type that no attribute has.
    """
    actions = grammar.parse_update(_checked(text))
    if parameters:
        values = _values(parameters)
        actions = tuple(walk.bind(action, values) for action in actions)
    return Update(text, actions)


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise TypeMismatchError(
            f"an expression is {text!r}, a {type(text).__name__}", "give a string"
        )
    return text


def _values(parameters: Mapping[str, object]) -> dict[str, Any]:
    return {name: as_attribute(f":{name}", value) for name, value in parameters.items()}
