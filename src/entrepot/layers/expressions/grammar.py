"""From text to nodes: the language of conditions, filters and updates.

The language is that of v3io's web API, with parameters (`age > :least`) and with quotes
that may be doubled inside a string (`'it''s'`) added. Errors name the place.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from typing import TYPE_CHECKING, Any, Final, cast

from entrepot import settings
from entrepot.errors import ExpressionError, LimitError
from entrepot.layers.attributes import Attribute, Timestamp, of_blob
from entrepot.layers.expressions.nodes import (
    Action,
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
    Remove,
    Set,
    SetElement,
    SetSlice,
    Slice,
    Unary,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ARITIES", "parse_condition", "parse_update"]

GRAMMAR: Final = r"""
?condition: any
update: action? (";" action?)*

?any: all (_OR all)*
?all: negated (_AND negated)*
?negated: _NOT negated -> negation
        | comparison
?comparison: bit_or
           | bit_or COMPARISON bit_or -> compare
           | bit_or _IN "(" any ("," any)* ")" -> membership
?bit_or: bit_xor (BIT_OR bit_xor)* -> chain
?bit_xor: bit_and (BIT_XOR bit_and)* -> chain
?bit_and: shift (BIT_AND shift)* -> chain
?shift: sum (SHIFT sum)* -> chain
?sum: term ((PLUS | MINUS) term)* -> chain
?term: unary (FACTOR unary)* -> chain
?unary: (MINUS | TILDE) primary -> unary
      | primary
?primary: FLOAT -> real
        | INTEGER -> integer
        | STRING -> string
        | _TRUE -> true
        | _FALSE -> false
        | TIMESTAMP -> timestamp
        | PARAMETER -> parameter
        | "(" any ")"
        | NAME "(" [any ("," any)*] ")" -> call
        | name "[" sum "]" -> element
        | name "[" sum DOTS sum "]" -> slice
        | name -> attribute
name: NAME | QUOTED

?action: [_SET] name "=" any -> set
       | [_SET] name "[" sum "]" "=" any -> set_element
       | [_SET] name "[" sum DOTS sum "]" "=" any -> set_slice
       | _REMOVE name -> remove
       | NAME "(" name ")" -> delete

_OR.3: /or(?![A-Za-z0-9_])/i
_AND.3: /and(?![A-Za-z0-9_])/i
_NOT.3: /not(?![A-Za-z0-9_])/i
_IN.3: /in(?![A-Za-z0-9_])/i
_SET.3: /set(?![A-Za-z0-9_])/i
_REMOVE.3: /remove(?![A-Za-z0-9_])/i
_TRUE.3: /true(?![A-Za-z0-9_])/i
_FALSE.3: /false(?![A-Za-z0-9_])/i
COMPARISON.2: "==" | "!=" | "<=" | ">=" | /<(?!<)/ | />(?!>)/
SHIFT.2: "<<" | ">>"
BIT_OR: "|"
BIT_XOR: "^"
BIT_AND: "&"
PLUS: "+"
MINUS: "-"
FACTOR: "*" | "/"
TILDE: "~"
DOTS.3: ".."
TIMESTAMP.4: /[0-9]+:[0-9]+/
FLOAT.3: /([0-9]+\.(?!\.)[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+/
INTEGER.2: /[0-9]+/
STRING: /'([^']|'')*'|"([^"]|"")*"/
PARAMETER: /:[A-Za-z_][A-Za-z0-9_]*/
NAME: /[A-Za-z_][A-Za-z0-9_]*/
QUOTED: /`[^`]+`/
%ignore /\s+/
"""

ARITIES: Final = {
    "blob": (1, 1),
    "contains": (2, 2),
    "ends": (2, 2),
    "exists": (1, 1),
    "if_else": (3, 3),
    "if_not_exists": (2, 2),
    "init_array": (2, 3),
    "isnan": (1, 1),
    "length": (1, 1),
    "max": (1, 2),
    "min": (1, 2),
    "pmax": (2, 2),
    "pmin": (2, 2),
    "psum": (2, 2),
    "starts": (2, 2),
}
"""The functions, and how few and how many arguments they take."""

_NESTING = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[()\[\]]")
_INTEGER_CHARS_MAX = 40


@functools.lru_cache(maxsize=1024)
def parse_condition(text: str) -> Node:
    """Return the nodes of a condition or filter; `text` is not blank.

    Raises:
        ExpressionError: It is none; the message shows where.
        LimitError: It is too long, or nested too deeply.
    """
    return cast("Node", _parse(text, "condition"))


@functools.lru_cache(maxsize=1024)
def parse_update(text: str) -> tuple[Action, ...]:
    """Return the actions of an update, in order.

    Raises:
        ExpressionError: It is none; the message shows where.
        LimitError: It is too long, or nested too deeply.
    """
    return cast("tuple[Action, ...]", _parse(text, "update"))


def _parse(text: str, start: str) -> object:
    import lark

    _check_size(text)
    try:
        return _parser().parse(text, start=start)
    except lark.exceptions.UnexpectedEOF as error:
        raise _wrong(text, len(text), "something is missing at the end") from error
    except lark.exceptions.UnexpectedToken as error:
        token: Any = error.token  # pyright: ignore[reportUnknownMemberType] lark says little of it
        if token.type == "$END":
            raise _wrong(text, len(text), "something is missing at the end") from error
        position: int = error.pos_in_stream or 0
        what = f"{str(token)!r} is not expected there"
        if text.startswith("=", position) and start == "condition":
            what += ": == compares"
        raise _wrong(text, position, what) from error
    except lark.exceptions.UnexpectedCharacters as error:
        position = error.pos_in_stream
        what = f"{text[position]!r} is not expected there"
        if text[position] in "'\"`":
            what = f"the {text[position]} is not closed, or not expected there"
        raise _wrong(text, position, what) from error
    except _BadPart as bad:
        raise _wrong(text, bad.position, bad.what) from bad


def _check_size(text: str) -> None:
    if len(text) > settings.EXPRESSION_CHARS_MAX:
        raise LimitError(
            f"the expression has {len(text)} characters, "
            f"at most {settings.EXPRESSION_CHARS_MAX} are allowed"
        )
    depth = deepest = 0
    for match in _NESTING.finditer(text):
        if match[0] in "([":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in ")]":
            depth -= 1
    if deepest > settings.EXPRESSION_NESTING_MAX:
        raise LimitError(
            f"the expression is nested {deepest} deep, "
            f"at most {settings.EXPRESSION_NESTING_MAX} is allowed"
        )


def _wrong(text: str, position: int, what: str) -> ExpressionError:
    around = text[max(0, position - 20) : position] + " --> " + text[position : position + 20]
    return ExpressionError(
        f"expression, at character {position + 1}: {what}", f"it reads …{around}…", position
    )


class _BadPart(Exception):  # noqa: N818 not an error of ours: it becomes one, with the text
    def __init__(self, position: int, what: str) -> None:
        super().__init__(what)
        self.position = position
        self.what = what


@functools.cache
def _parser() -> Any:
    """Return the parser, made at the first use: lark takes 40 ms to load."""
    import lark

    make_inline: Any = lark.v_args  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] the same

    def inline(fn: Callable[..., object]) -> Callable[..., object]:
        return cast("Callable[..., object]", make_inline(inline=True)(fn))

    class Builder(lark.Transformer[Any, Any]):
        """Makes nodes while the text is parsed: there is no tree in between."""

        def any(self, parts: list[Node]) -> Node:
            return Or(tuple(parts))

        def all(self, parts: list[Node]) -> Node:
            return And(tuple(parts))

        def chain(self, parts: list[Any]) -> Node:
            if len(parts) == 1:
                return parts[0]
            rest = zip(map(str, parts[1::2]), parts[2::2], strict=True)
            return Chain(parts[0], tuple(rest))

        def membership(self, parts: list[Node]) -> Node:
            return Membership(parts[0], tuple(parts[1:]))

        def call(self, parts: list[Any]) -> Node:
            name, arguments = parts[0], tuple(part for part in parts[1:] if part is not None)
            return _call(str(name).lower(), arguments, name.start_pos)

        def update(self, parts: list[Action | None]) -> tuple[Action, ...]:
            return tuple(part for part in parts if part is not None)

        @inline
        def negation(self, operand: Node) -> Node:
            # Two in a row are kept: they make true or false of a number.
            if isinstance(operand, Not) and isinstance(operand.operand, Not):
                return operand.operand
            return Not(operand)

        @inline
        def compare(self, left: Node, sign: str, right: Node) -> Node:
            return Compare(str(sign), left, right)

        @inline
        def unary(self, sign: str, operand: Node) -> Node:
            return _unary(str(sign), operand)

        @inline
        def real(self, token: str) -> Node:
            return Literal(float(token))

        @inline
        def integer(self, token: Any) -> Node:
            if len(token) > _INTEGER_CHARS_MAX:
                raise _BadPart(token.start_pos, "the number is too long")
            return Literal(int(token))

        @inline
        def string(self, token: str) -> Node:
            quote = token[0]
            return Literal(str(token[1:-1]).replace(quote * 2, quote))

        @inline
        def true(self) -> Node:
            return Literal(True)

        @inline
        def false(self) -> Node:
            return Literal(False)

        @inline
        def timestamp(self, token: Any) -> Node:
            seconds, nanoseconds = token.split(":")
            try:
                return Literal(Timestamp(int(seconds), int(nanoseconds)))
            except (LimitError, ValueError) as error:
                raise _BadPart(token.start_pos, f"{token} is no timestamp") from error

        @inline
        def parameter(self, token: str) -> Node:
            return Parameter(str(token[1:]))

        @inline
        def name(self, token: Any) -> str:
            name = str(token).strip("`")
            if len(name) > settings.ATTRIBUTE_NAME_CHARS_MAX:
                raise _BadPart(token.start_pos, "the name of the attribute is too long")
            return name

        @inline
        def attribute(self, name: str) -> Node:
            return Name(name)

        @inline
        def element(self, name: str, index: Node) -> Node:
            return Element(name, index)

        @inline
        def slice(self, name: str, first: Node, dots: str, last: Node) -> Node:
            return Slice(name, first, last)

        @inline
        def set(self, *parts: Any) -> Action:
            return Set(parts[-2], parts[-1])

        @inline
        def set_element(self, *parts: Any) -> Action:
            return SetElement(*parts[-3:])

        @inline
        def set_slice(self, *parts: Any) -> Action:
            name, first, _, last, value = parts[-5:]
            return SetSlice(name, first, last, value)

        @inline
        def remove(self, name: str) -> Action:
            return Remove(name)

        @inline
        def delete(self, verb: Any, name: str) -> Action:
            if str(verb).lower() != "delete":
                raise _BadPart(verb.start_pos, f"{str(verb)!r} is no action of an update")
            return Remove(name)

    return lark.Lark(
        GRAMMAR,
        parser="lalr",
        lexer="contextual",
        start=["condition", "update"],
        transformer=Builder(),
        maybe_placeholders=True,
    )


def _unary(sign: str, operand: Node) -> Node:
    """Return a signed operand; a signed number is a number."""
    if isinstance(operand, Literal):
        value = operand.value
        if sign == "-" and type(value) in (int, float):
            return Literal(-cast("float", value))
        if sign == "-" and isinstance(value, Timestamp):
            return Literal(Timestamp(-value.seconds, value.nanoseconds))
    return Unary(sign, operand)


def _call(function: str, arguments: tuple[Node, ...], position: int) -> Node:
    arity = ARITIES.get(function)
    if arity is None:
        raise _BadPart(position, f"there is no function {function}()")
    if not arity[0] <= len(arguments) <= arity[1]:
        wanted = str(arity[0]) if arity[0] == arity[1] else f"{arity[0]} to {arity[1]}"
        raise _BadPart(position, f"{function}() takes {wanted} arguments, not {len(arguments)}")
    if function in ("exists", "if_not_exists") and not isinstance(arguments[0], Name):
        raise _BadPart(position, f"{function}() asks for the name of an attribute")
    if function == "blob":
        return Literal(_blob(arguments[0], position))
    return Call(function, arguments, position)


def _blob(argument: Node, position: int) -> Attribute:
    text = argument.value if isinstance(argument, Literal) else None
    if not isinstance(text, str):
        raise _BadPart(position, "blob() takes a string of base64")
    try:
        return of_blob(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise _BadPart(position, f"blob() takes base64: {error}") from error
