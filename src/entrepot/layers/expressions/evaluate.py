"""From nodes to functions of an item: what an expression is compiled to.

Each node becomes a closure that takes an item and returns its value; there is no `eval`.
How an attribute is got from an item is the caller's: a scan decodes into a record that has
only the attributes that the expression names, an update works on a dict.

- What needs an attribute that is not there is `MISSING`; to compare it gives false, always.
- Values of different kinds compare as false, also with `!=`. Numbers are one kind.
- Booleans count as 1 and 0 where something is computed.
- Only the branch of `if_else` that is taken is worked out, and only what AND and OR need.
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# Values are of any kind, and arrays of either: what is unknown of them is asked at run time.

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from entrepot import settings
from entrepot.errors import ExpressionError
from entrepot.layers.attributes import MISSING, Attribute, Missing, Timestamp
from entrepot.layers.expressions.nodes import (
    And,
    Call,
    Chain,
    Compare,
    Element,
    Literal,
    Membership,
    Name,
    Node,
    Not,
    Or,
    Parameter,
    Slice,
    Unary,
)

__all__ = [
    "Compiled",
    "Resolve",
    "Value",
    "as_element",
    "compile_condition",
    "compile_value",
    "place_in",
    "slice_of",
]

Value: TypeAlias = "Attribute | Missing"
Compiled: TypeAlias = "Callable[[Any], Any]"
"""Takes an item, returns a value (of a condition: a bool)."""
Resolve: TypeAlias = "Callable[[str], Compiled]"
"""Returns how an attribute is got from an item: the value, or `MISSING`."""

_NUMBERS: Final = frozenset((int, float))
_COUNTED: Final = frozenset((int, float, bool))
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


# Conditions.


def compile_condition(node: Node, resolve: Resolve) -> Callable[[Any], bool]:
    """Return a function that tells whether the condition is true for an item.

    Raises:
        ExpressionError: It uses a parameter for which there is no value.
    """
    if isinstance(node, (And, Or)):
        return _junction(node, resolve)
    if isinstance(node, Not):
        operand = compile_condition(node.operand, resolve)
        return lambda item: not operand(item)
    if isinstance(node, Compare):
        return _comparison(node, resolve)
    if isinstance(node, Membership):
        return _membership(node, resolve)
    if isinstance(node, Call) and node.function in _TESTS:
        return _TESTS[node.function](node, resolve)
    value_of = compile_value(node, resolve)
    return lambda item: _truth(value_of(item))


def _truth(value: Value) -> bool:
    if type(value) in _COUNTED:
        return bool(value)
    if value is MISSING:
        return False
    raise ExpressionError(f"a condition is {_shown(value)}, which is neither true nor false")


def _junction(node: And | Or, resolve: Resolve) -> Callable[[Any], bool]:
    operands = tuple(compile_condition(operand, resolve) for operand in node.operands)
    if len(operands) == 2:
        first, second = operands
        if isinstance(node, And):
            return lambda item: first(item) and second(item)
        return lambda item: first(item) or second(item)
    if isinstance(node, And):

        def run_all(item: Any) -> bool:
            for operand in operands:  # noqa: SIM110 twice as fast as all() of a generator
                if not operand(item):
                    return False
            return True

        return run_all

    def run_any(item: Any) -> bool:
        for operand in operands:  # noqa: SIM110 twice as fast as any() of a generator
            if operand(item):
                return True
        return False

    return run_any


_SIGNS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _comparison(node: Compare, resolve: Resolve) -> Callable[[Any], bool]:
    left, sign, right = node.left, node.sign, node.right
    if isinstance(left, Literal) and not isinstance(right, Literal):
        left, sign, right = right, _MIRRORED[sign], left
    compare = _SIGNS[sign]
    get = compile_value(left, resolve)
    if isinstance(right, Literal):
        return _with_constant(get, sign, right.value)
    get_other = compile_value(right, resolve)

    def run(item: Any) -> bool:
        one, other = get(item), get_other(item)
        kind, other_kind = type(one), type(other)
        if kind is not other_kind and not (kind in _NUMBERS and other_kind in _NUMBERS):
            return False
        return one is not MISSING and _ordered(compare, one, other)

    return run


def _ordered(compare: Callable[[Any, Any], bool], one: Any, other: Any) -> bool:
    """Compare values of one kind; arrays are blobs, which are equal or not."""
    if type(one) is array and compare not in (operator.eq, operator.ne):
        return False
    return compare(one, other)


def _with_constant(get: Compiled, sign: str, constant: Any) -> Callable[[Any], bool]:
    """Return the comparison of what `get` gets with a constant: the form of most filters.

    Each is written out: a scan of a million items spends its time here.
    """
    kind = type(constant)
    if kind not in _NUMBERS:
        compare = _SIGNS[sign]

        def run(item: Any) -> bool:
            value = get(item)
            return type(value) is kind and _ordered(compare, value, constant)

        return run
    numbers = _NUMBERS
    if sign == "==":

        def equal(item: Any) -> bool:
            value = get(item)
            return type(value) in numbers and value == constant

        return equal
    if sign == "!=":

        def unequal(item: Any) -> bool:
            value = get(item)
            return type(value) in numbers and value != constant

        return unequal
    if sign == "<":

        def less(item: Any) -> bool:
            value = get(item)
            return type(value) in numbers and value < constant

        return less
    if sign == "<=":

        def at_most(item: Any) -> bool:
            value = get(item)
            return type(value) in numbers and value <= constant

        return at_most
    if sign == ">":

        def more(item: Any) -> bool:
            value = get(item)
            return type(value) in numbers and value > constant

        return more

    def at_least(item: Any) -> bool:
        value = get(item)
        return type(value) in numbers and value >= constant

    return at_least


def _membership(node: Membership, resolve: Resolve) -> Callable[[Any], bool]:
    get = compile_value(node.operand, resolve)
    if all(isinstance(m, Literal) and type(m.value) is not array for m in node.members):
        members = frozenset(
            (type(m.value) if type(m.value) not in _NUMBERS else int, m.value)
            for m in cast("tuple[Literal, ...]", node.members)
        )

        def run(item: Any) -> bool:
            value = get(item)
            kind = type(value)
            if kind is array:
                return False
            return (int if kind in _NUMBERS else kind, value) in members

        return run
    tests = Or(tuple(Compare("==", node.operand, member) for member in node.members))
    return compile_condition(tests, resolve)


def _exists(node: Call, resolve: Resolve) -> Callable[[Any], bool]:
    get = compile_value(node.arguments[0], resolve)
    return lambda item: get(item) is not MISSING


def _text_test(
    test: Callable[[str, str], bool],
) -> Callable[[Call, Resolve], Callable[[Any], bool]]:
    def make(node: Call, resolve: Resolve) -> Callable[[Any], bool]:
        get, get_part = (compile_value(argument, resolve) for argument in node.arguments)

        def run(item: Any) -> bool:
            text, part = get(item), get_part(item)
            return type(text) is str and type(part) is str and test(text, part)

        return run

    return make


def _is_nan(node: Call, resolve: Resolve) -> Callable[[Any], bool]:
    get = compile_value(node.arguments[0], resolve)

    def run(item: Any) -> bool:
        value = get(item)
        return type(value) is float and math.isnan(value)

    return run


_TESTS: Final[dict[str, Callable[[Call, Resolve], Callable[[Any], bool]]]] = {
    "exists": _exists,
    "starts": _text_test(str.startswith),
    "ends": _text_test(str.endswith),
    "contains": _text_test(operator.contains),
    "isnan": _is_nan,
}


# Values.


def compile_value(node: Node, resolve: Resolve) -> Compiled:
    """Return a function that works out the value of an expression for an item.

    Raises:
        ExpressionError: It uses a parameter for which there is no value.
    """
    if isinstance(node, Name):
        return resolve(node.name)
    if isinstance(node, Literal):
        value = node.value
        return lambda item: value
    if isinstance(node, Chain):
        return _chain(node, resolve)
    if isinstance(node, Unary):
        return _signed(node, resolve)
    if isinstance(node, Element):
        return _element(node, resolve)
    if isinstance(node, Slice):
        return _slice(node, resolve)
    if isinstance(node, Call) and node.function not in _TESTS:
        return _FUNCTIONS[node.function](node, resolve)
    if isinstance(node, Parameter):
        raise ExpressionError(
            f"no value was given for :{node.name}", f"pass {node.name}=… with the expression"
        )
    return compile_condition(node, resolve)


def _signed(node: Unary, resolve: Resolve) -> Compiled:
    get, sign = compile_value(node.operand, resolve), node.sign

    def run(item: Any) -> Value:
        value = get(item)
        if value is MISSING:
            return MISSING
        if type(value) not in (_COUNTED if sign == "-" else (int, bool)):
            raise ExpressionError(f"{sign}{_shown(value)} cannot be worked out")
        return _bounded(-value if sign == "-" else ~int(value))

    return run


def _chain(node: Chain, resolve: Resolve) -> Compiled:
    get = compile_value(node.first, resolve)
    steps = tuple(
        (sign, _OPERATORS[sign], compile_value(operand, resolve)) for sign, operand in node.rest
    )

    def run(item: Any) -> Value:
        value = get(item)
        for sign, operate, get_operand in steps:
            operand = get_operand(item)
            if value is MISSING or operand is MISSING:
                return MISSING
            try:
                value = operate(value, operand)
            except (TypeError, ValueError, ArithmeticError) as error:
                raise ExpressionError(
                    f"{_shown(value)} {sign} {_shown(operand)} cannot be worked out: {error}"
                ) from error
        return value

    return run


def _add(one: Any, other: Any) -> Value:
    kind, other_kind = type(one), type(other)
    if kind in _COUNTED and other_kind in _COUNTED:
        return _bounded(one + other)
    if kind is other_kind and kind in (str, bytes):
        if len(one) + len(other) > settings.ITEM_BYTES_MAX:
            raise ValueError("what comes of it is too long")
        return one + other
    raise TypeError("they are of different kinds")


def _subtract(one: Any, other: Any) -> Value:
    return _bounded(_number(one) - _number(other))


def _multiply(one: Any, other: Any) -> Value:
    return _bounded(_number(one) * _number(other))


def _divide(one: Any, other: Any) -> Value:
    one, other = _number(one), _number(other)
    if isinstance(one, int) and isinstance(other, int):
        quotient = abs(one) // abs(other)  # toward zero, as in C
        return _bounded(quotient if (one < 0) == (other < 0) else -quotient)
    return one / other


def _number(value: Any) -> Any:
    if type(value) not in _COUNTED:
        raise TypeError(f"{_shown(value)} is no number")
    return value


def _bits(operate: Callable[[int, int], int]) -> Callable[[Any, Any], Value]:
    def run(one: Any, other: Any) -> Value:
        if type(one) not in (int, bool) or type(other) not in (int, bool):
            raise TypeError("bits are those of whole numbers")
        return _bounded(operate(int(one), int(other)))

    return run


def _shift_left(one: int, other: int) -> int:
    if not 0 <= other < 64:
        raise ValueError("a shift is by 0 to 63")
    return one << other


def _shift_right(one: int, other: int) -> int:
    if not 0 <= other < 64:
        raise ValueError("a shift is by 0 to 63")
    return one >> other


_OPERATORS: Final[dict[str, Callable[[Any, Any], Value]]] = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "<<": _bits(_shift_left),
    ">>": _bits(_shift_right),
    "&": _bits(operator.and_),
    "|": _bits(operator.or_),
    "^": _bits(operator.xor),
}


def _bounded(value: Any) -> Any:
    """Return a number that was worked out: whole ones stay within 64 bits."""
    if isinstance(value, float):
        return value
    if not _INT_MIN <= value <= _INT_MAX:
        raise ExpressionError(f"what comes of an operation, {_shown(value)}, is beyond 64 bits")
    return int(value)


# Arrays.


def place_in(values: Value, index: Value, name: str) -> int:
    """Return an index that is within an array.

    Raises:
        ExpressionError: There is no such place, or no array.
    """
    if type(values) is not array:
        what = "not there" if values is MISSING else f"{_shown(values)}, no array"
        raise ExpressionError(f"{name!r} is indexed and is {what}")
    if type(index) is bool or not isinstance(index, int):
        raise ExpressionError(f"the index of {name!r} is {_shown(index)}, no whole number")
    if not 0 <= index < len(values):
        raise ExpressionError(f"index {index} is outside {name!r}, of {len(values)} elements")
    return index


def slice_of(values: Value, first: Value, last: Value, name: str) -> slice:
    """Return the range of a slice that is within an array; `last` belongs to it.

    Raises:
        ExpressionError: There is no such range, or no array.
    """
    begin, end = place_in(values, first, name), place_in(values, last, name)
    if end < begin:
        raise ExpressionError(f"the slice {name}[{begin}..{end}] ends before it begins")
    return slice(begin, end + 1)


def _element(node: Element, resolve: Resolve) -> Compiled:
    get, get_index, name = resolve(node.name), compile_value(node.index, resolve), node.name

    def run(item: Any) -> Value:
        values, index = get(item), get_index(item)
        if values is MISSING or index is MISSING:
            return MISSING
        return values[place_in(values, index, name)]

    return run


def _slice(node: Slice, resolve: Resolve) -> Compiled:
    get, name = resolve(node.name), node.name
    get_first, get_last = compile_value(node.first, resolve), compile_value(node.last, resolve)

    def run(item: Any) -> Value:
        values, first, last = get(item), get_first(item), get_last(item)
        if values is MISSING or first is MISSING or last is MISSING:
            return MISSING
        return values[slice_of(values, first, last, name)]

    return run


# Functions.


def _if_else(node: Call, resolve: Resolve) -> Compiled:
    test = compile_condition(node.arguments[0], resolve)
    get, get_other = (compile_value(argument, resolve) for argument in node.arguments[1:])
    return lambda item: get(item) if test(item) else get_other(item)


def _if_not_exists(node: Call, resolve: Resolve) -> Compiled:
    get, get_other = (compile_value(argument, resolve) for argument in node.arguments)

    def run(item: Any) -> Value:
        value = get(item)
        return get_other(item) if value is MISSING else value

    return run


def _length(node: Call, resolve: Resolve) -> Compiled:
    get = compile_value(node.arguments[0], resolve)

    def run(item: Any) -> Value:
        value = get(item)
        if type(value) in (str, bytes, array):
            return len(value)
        if value is MISSING:
            return MISSING
        raise ExpressionError(f"{_shown(value)} has no length")

    return run


def _extreme(pick: Callable[..., Any]) -> Callable[[Call, Resolve], Compiled]:
    """Return min or max, of an array or of two values; the winner keeps its type."""

    def make(node: Call, resolve: Resolve) -> Compiled:
        getters = tuple(compile_value(argument, resolve) for argument in node.arguments)

        def run(item: Any) -> Value:
            values = [get(item) for get in getters]
            if MISSING in values:
                return MISSING
            if len(values) == 1:
                if type(values[0]) is not array or not values[0]:
                    raise ExpressionError(
                        f"{node.function}() of {_shown(values[0])}, no array with elements"
                    )
                return pick(values[0])
            return _pick(node.function, pick, *values)

        return run

    return make


def _pick(function: str, pick: Callable[..., Any], one: Any, other: Any) -> Value:
    kinds = {type(one), type(other)}
    if kinds <= _COUNTED:
        picked = pick(one, other)
        return float(picked) if float in kinds and type(picked) is int else picked
    if len(kinds) == 1 and kinds <= {str, bytes, Timestamp}:
        return pick(one, other)
    raise ExpressionError(
        f"{function}() of {_shown(one)} and {_shown(other)}, which do not compare"
    )


def _init_array(node: Call, resolve: Resolve) -> Compiled:
    get_count, get_kind, *get_fill = (
        compile_value(argument, resolve) for argument in node.arguments
    )

    def run(item: Any) -> Value:
        count, kind = get_count(item), get_kind(item)
        if type(count) is not int or not 0 <= count <= settings.ARRAY_ELEMENTS_MAX:
            raise ExpressionError(
                f"init_array() makes 0 to {settings.ARRAY_ELEMENTS_MAX} elements, "
                f"not {_shown(count)}"
            )
        code = {"int": "q", "double": "d"}.get(kind) if isinstance(kind, str) else None
        if code is None:
            raise ExpressionError(f"init_array() makes 'int' or 'double', not {_shown(kind)}")
        fill = get_fill[0](item) if get_fill else 0
        return array(code, [as_element(fill, code)]) * count

    return run


def as_element(value: Value, code: str) -> Any:
    """Return a value as an element of an array: of whole numbers, its whole part.

    Raises:
        ExpressionError: It is no number, or does not fit.
    """
    if type(value) not in _COUNTED:
        raise ExpressionError(f"an element of an array is a number, not {_shown(value)}")
    try:
        element = int(cast("float", value)) if code == "q" else float(cast("float", value))
    except (ValueError, OverflowError) as error:
        raise ExpressionError(f"{_shown(value)} is no element of an array: {error}") from error
    if code == "q" and not _INT_MIN <= element <= -_INT_MIN - 1:
        raise ExpressionError(f"{_shown(value)} is beyond 64 bits")
    return element


def _pairwise(pick: Callable[[Any, Any], Any]) -> Callable[[Call, Resolve], Compiled]:
    def make(node: Call, resolve: Resolve) -> Compiled:
        get, get_other = (compile_value(argument, resolve) for argument in node.arguments)

        def run(item: Any) -> Value:
            one, other = get(item), get_other(item)
            if one is MISSING or other is MISSING:
                return MISSING
            if type(one) is not array or type(other) is not array or len(one) != len(other):
                raise ExpressionError(f"{node.function}() takes two arrays of one length")
            code = "d" if "d" in (one.typecode, other.typecode) else "q"
            try:
                return array(code, map(pick, one, other))
            except OverflowError as error:
                raise ExpressionError(
                    f"an element of {node.function}() is beyond 64 bits"
                ) from error

        return run

    return make


_FUNCTIONS: Final[dict[str, Callable[[Call, Resolve], Compiled]]] = {
    "if_else": _if_else,
    "if_not_exists": _if_not_exists,
    "init_array": _init_array,
    "length": _length,
    "max": _extreme(max),
    "min": _extreme(min),
    "pmax": _pairwise(max),
    "pmin": _pairwise(min),
    "psum": _pairwise(operator.add),
}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
