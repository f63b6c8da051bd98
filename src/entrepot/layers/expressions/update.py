"""Updates: actions that change the attributes of an item, from left to right."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportDeprecated=false
# Arrays are of ints or of doubles, by a code that is known at run time only.

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from entrepot.errors import ExpressionError
from entrepot.layers.attributes import MISSING, Attributes
from entrepot.layers.expressions.evaluate import (
    Compiled,
    Resolve,
    as_element,
    compile_value,
    place_in,
    slice_of,
)
from entrepot.layers.expressions.nodes import Action, Remove, Set, SetElement, SetSlice

__all__ = ["Run", "compile_update"]

Run: TypeAlias = "Callable[[Any, Attributes], None]"
"""Takes an item and the dict of its attributes, which it changes; the item sees the changes."""


def compile_update(actions: tuple[Action, ...], resolve: Resolve) -> Run:
    """Return a function that does the actions one after the other.

    Raises:
        ExpressionError: One uses a parameter for which there is no value.
    """
    steps = tuple(_step(action, resolve) for action in actions)

    def run(item: Any, attributes: Attributes) -> None:
        for step in steps:
            step(item, attributes)

    return run


def _step(action: Action, resolve: Resolve) -> Run:
    if isinstance(action, Remove):
        name = action.name
        return lambda item, attributes: cast("None", attributes.pop(name, None))
    if isinstance(action, Set):
        return _set(action, resolve)
    if isinstance(action, SetElement):
        return _set_element(action, resolve)
    return _set_slice(action, resolve)


def _set(action: Set, resolve: Resolve) -> Run:
    name, get = action.name, _present(action.name, compile_value(action.value, resolve))

    def step(item: Any, attributes: Attributes) -> None:
        value = get(item)
        # Two attributes never share an array: to set an element of one changes only that.
        attributes[name] = value[:] if type(value) is array else value

    return step


def _set_element(action: SetElement, resolve: Resolve) -> Run:
    name, get = action.name, _present(action.name, compile_value(action.value, resolve))
    get_index = _present(name, compile_value(action.index, resolve))

    def step(item: Any, attributes: Attributes) -> None:
        values: Any = attributes.get(name, MISSING)
        index = place_in(values, get_index(item), name)
        values[index] = as_element(get(item), values.typecode)

    return step


def _set_slice(action: SetSlice, resolve: Resolve) -> Run:
    name, get = action.name, _present(action.name, compile_value(action.value, resolve))
    get_first = _present(name, compile_value(action.first, resolve))
    get_last = _present(name, compile_value(action.last, resolve))

    def step(item: Any, attributes: Attributes) -> None:
        values: Any = attributes.get(name, MISSING)
        where = slice_of(values, get_first(item), get_last(item), name)
        count = where.stop - where.start
        given = get(item)
        if type(given) is not array:
            given = array(values.typecode, [as_element(given, values.typecode)]) * count
        if len(given) != count:
            raise ExpressionError(
                f"{len(given)} elements were given for the {count} of the slice of {name!r}"
            )
        code = values.typecode
        values[where] = array(code, (as_element(element, code) for element in given))

    return step


def _present(name: str, get: Compiled) -> Compiled:
    """Return the getter, refusing a value that is not there."""

    def run(item: Any) -> Any:
        value = get(item)
        if value is MISSING:
            raise ExpressionError(
                f"what {name!r} is set to needs an attribute that the item does not have",
                "if_not_exists(attribute, default) stands in for it",
            )
        return value

    return run
