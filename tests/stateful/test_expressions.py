"""Random expressions, attributes and keys.

Expressions are worked out twice: by ours, from their text, and by a few lines of Python, from
the tree that the text was written from.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from array import array
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.errors import ExpressionError
from entrepot.layers.attributes import (
    MISSING,
    Timestamp,
    as_attributes,
    encode,
    exact_hook,
    friendly,
    friendly_hook,
    of_blob,
    to_blob,
)
from entrepot.layers.containers import Container
from entrepot.layers.expressions import condition, updating
from entrepot.layers.tables import Table
from support.data import DATA_KINDS, data_tier_of

# A tree, as text and as what it is.


class Node(NamedTuple):
    """An operator and what it works on; of `constant` and `name` just that."""

    sign: str
    parts: tuple[Any, ...]


Item: TypeAlias = dict[str, Any]
RANKS = {
    "or": 1,
    "and": 2,
    "not": 3,
    **dict.fromkeys(["==", "!=", "<", "<=", ">", ">=", "in"], 4),
    "|": 5,
    "^": 6,
    "&": 7,
    "<<": 8,
    ">>": 8,
    "+": 9,
    "-": 9,
    "*": 10,
    "/": 10,
    "minus": 11,
    "~": 11,
}
"""How tightly operators bind; what is not here binds tightest."""
CONSTANTS = st.integers(0, 5) | st.sampled_from(
    [0.5, 2.0, 1e308, True, False, "", "a", "it's", 1 << 62, (1 << 64) - 1]
)
NAMES = st.sampled_from(["n", "f", "s", "t", "x", "Missing"])
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(-3, 5),
        "f": st.sampled_from([0.5, -2.0, math.inf, math.nan]),
        "s": st.sampled_from(["a", "b", ""]),
        "t": st.booleans(),
        "x": st.integers(-3, 5) | st.sampled_from([0.5, "a", True, b"a"]),
    },
)


def binary(signs: list[str]) -> Any:
    def extend(inner: Any) -> Any:
        return st.builds(lambda sign, *two: Node(sign, two), st.sampled_from(signs), inner, inner)

    return extend


def extended(inner: Any) -> Any:
    return st.one_of(
        binary(["+", "-", "*", "/", "|", "^", "&", "<<", ">>"])(inner),
        binary(["==", "!=", "<", "<=", ">", ">="])(inner),
        binary(["and", "or"])(inner),
        st.builds(
            lambda sign, one: Node(sign, (one,)), st.sampled_from(["not", "minus", "~"]), inner
        ),
        st.builds(lambda *parts: Node("if_else", parts), inner, inner, inner),
        st.builds(
            lambda name, other: Node("if_not_exists", (Node("name", (name,)), other)), NAMES, inner
        ),
        st.builds(lambda name: Node("exists", (Node("name", (name,)),)), NAMES),
        st.builds(
            lambda one, many: Node("in", (one, *many)),
            inner,
            st.lists(inner, min_size=1, max_size=3),
        ),
    )


TREES = st.recursive(
    CONSTANTS.map(lambda value: Node("constant", (value,)))
    | NAMES.map(lambda n: Node("name", (n,))),
    extended,
    max_leaves=12,
)


def rank_of(node: Node) -> int:
    return RANKS.get(node.sign, 12)


def text_of(node: Node, least: int = 0) -> str:
    """Return a tree as text, with parentheses where it binds less tightly than `least`."""
    sign, parts = node
    rank = rank_of(node)
    if sign == "constant":
        return text_of_constant(parts[0])
    if sign == "name":
        return parts[0]
    if sign in ("if_else", "if_not_exists", "exists"):
        return f"{sign}({', '.join(map(text_of, parts))})"
    if sign == "not":
        text = f"NOT {text_of(parts[0], rank)}"
    elif rank == 11:
        text = f"{'-' if sign == 'minus' else sign}{text_of(parts[0], 12)}"
    elif sign == "in":
        members = ", ".join(map(text_of, parts[1:]))
        text = f"{text_of(parts[0], 5)} IN ({members})"
    else:
        left = 5 if rank == 4 else rank
        text = f"{text_of(parts[0], left)} {sign} {text_of(parts[1], rank + 1)}"
    return f"({text})" if rank < least else text


def text_of_constant(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "False"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


# The other evaluator.


class WrongError(Exception):
    """It cannot be worked out."""


class UnclearError(Exception):
    """It is missing something, or cannot be worked out: which is seen first is not promised."""


NOTHING = object()
"""What an expression is that needs an attribute that is not there."""


def work_out(node: Node, item: Item) -> Any:
    sign, parts = node
    if sign == "constant":
        return parts[0]
    if sign == "name":
        return item.get(parts[0], NOTHING)
    if sign == "exists":
        return parts[0].parts[0] in item
    if sign == "if_not_exists":
        value = work_out(parts[0], item)
        return work_out(parts[1], item) if value is NOTHING else value
    if sign == "if_else":
        return work_out(parts[1] if is_true(parts[0], item) else parts[2], item)
    if sign == "not":
        return not is_true(parts[0], item)
    if sign == "and":
        return is_true(parts[0], item) and is_true(parts[1], item)
    if sign == "or":
        return is_true(parts[0], item) or is_true(parts[1], item)
    if sign == "in":
        one = work_out(parts[0], item)
        return any(compared("==", one, work_out(part, item)) for part in parts[1:])
    if sign in ("minus", "~"):
        return signed(node, work_out(parts[0], item))
    one, other = two_of(parts, item)
    if RANKS[sign] == 4:
        return compared(sign, one, other)
    return NOTHING if one is NOTHING or other is NOTHING else computed(sign, one, other)


def two_of(parts: tuple[Any, ...], item: Item) -> tuple[Any, Any]:
    one = work_out(parts[0], item)
    try:
        return one, work_out(parts[1], item)
    except WrongError:
        if one is NOTHING:
            raise UnclearError from None
        raise


def is_true(node: Node, item: Item) -> bool:
    value = work_out(node, item)
    if value is NOTHING:
        return False
    if isinstance(value, (bool, int, float)):
        return bool(value)
    raise WrongError


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def compared(sign: str, one: Any, other: Any) -> bool:
    if one is NOTHING or other is NOTHING:
        return False
    if type(one) is not type(other) and not (is_number(one) and is_number(other)):
        return False
    return {
        "==": one == other,
        "!=": one != other,
        "<": one < other,
        "<=": one <= other,
        ">": one > other,
        ">=": one >= other,
    }[sign]


def signed(node: Node, value: Any) -> Any:
    if value is NOTHING:
        return NOTHING
    if node.sign == "minus" and isinstance(value, (int, float)):
        # A negative constant is written so, and is not worked out.
        return -value if node.parts[0].sign == "constant" and is_number(value) else fit(-value)
    if node.sign == "~" and isinstance(value, int):
        return fit(-1 - value)
    raise WrongError


def computed(sign: str, one: Any, other: Any) -> Any:
    if sign == "+" and type(one) is type(other) and isinstance(one, (str, bytes)):
        return one + other
    for value in (one, other):
        if not isinstance(value, (int, float)) or (RANKS[sign] < 9 and isinstance(value, float)):
            raise WrongError
    if sign in ("<<", ">>"):
        if not 0 <= other <= 63:
            raise WrongError
        return fit(one * 2**other if sign == "<<" else one // 2**other)
    if sign == "/":
        if other == 0:
            raise WrongError
        if isinstance(one, float) or isinstance(other, float):
            return one / other
        return fit(abs(one) // abs(other) * (1 if (one < 0) == (other < 0) else -1))
    return fit(
        {
            "+": lambda: one + other,
            "-": lambda: one - other,
            "*": lambda: one * other,
            "|": lambda: one | other,
            "&": lambda: one & other,
            "^": lambda: one ^ other,
        }[sign]()
    )


def fit(value: Any) -> Any:
    if isinstance(value, float):
        return value
    if not -(2**63) <= value < 2**64:
        raise WrongError
    return int(value)


def outcome(node: Node, item: Item) -> Any:
    try:
        return work_out(node, item)
    except WrongError:
        return WrongError


def same(got: Any, expected: Any) -> bool:
    if type(got) is not type(expected):
        return False
    if isinstance(got, float) and math.isnan(got):
        return math.isnan(expected)
    return got == expected


def resolve(name: str) -> Any:
    return lambda item: item.get(name, MISSING)


@given(TREES, ITEMS)
@example(Node("not", (Node("not", (Node("constant", (5,)),)),)), {})
def test_a_value_is_what_the_other_evaluator_says(tree: Node, item: Item) -> None:
    try:
        expected = outcome(tree, item)
    except UnclearError:
        expected = WrongError
    found = dict(item)
    run = updating(f"result = {text_of(tree)}", {}).compile(resolve)
    if expected is WrongError or expected is NOTHING:
        with pytest.raises(ExpressionError):
            run(found, found)
        assert found == item or any(map(is_nan, item.values()))
    else:
        run(found, found)
        assert same(found["result"], expected)


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


@given(TREES, st.lists(ITEMS, max_size=4))
def test_a_condition_is_what_the_other_evaluator_says(tree: Node, items: list[Item]) -> None:
    found = condition(text_of(tree), {})
    assert found is not None
    test = found.compile(resolve)
    for item in items:
        try:
            expected = is_true(tree, item)
        except WrongError:
            with pytest.raises(ExpressionError):
                test(item)
        except UnclearError:
            pass
        else:
            assert test(item) is expected


def test_a_scan_finds_what_the_other_evaluator_says() -> None:
    with data_tier_of("memory") as tier:
        table = Table(tier, "users", "t")

        @given(TREES, st.lists(ITEMS, min_size=1, max_size=5))
        def scan(tree: Node, items: list[Item]) -> None:
            table.put("first", {})  # so that the table is there
            table.clear()
            for number, item in enumerate(items):
                table.put(f"{number}", item)
            try:
                passing = [f"{n}" for n, item in enumerate(items) if is_true(tree, item)]
            except WrongError:
                with pytest.raises(ExpressionError):
                    list(table.scan(text_of(tree)))
            except UnclearError:
                pass
            else:
                assert [name for name, _ in table.scan(text_of(tree))] == passing
                calls = [table.deleting(f"{n}", text_of(tree)) for n in range(len(items))]
                tier.commits.write_all(calls)
                done = [f"{n}" for n, call in enumerate(calls) if call.error is None]
                assert done == passing

        scan()


@given(st.text(max_size=30))
@example("'" * 3)
@example("not " * 50)
@example("1:")
@example("0e9999999")
def test_any_text_is_an_expression_or_a_clear_error(text: str) -> None:
    for parse in (condition, updating):
        position = position_of_error(parse, text)
        assert position is None or 0 <= position <= len(text)


def position_of_error(parse: Callable[..., object], text: str) -> int | None:
    try:
        parse(text, {})
    except ExpressionError as error:
        return error.position
    return None


# Attributes.

ZONES = st.none() | st.integers(-23, 23).map(lambda hours: dt.timezone(dt.timedelta(hours=hours)))
FIRST, LAST = dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1)  # noqa: DTZ001 hypothesis adds zones
MOMENTS = st.datetimes(FIRST, LAST, timezones=ZONES)
EXACT = st.one_of(
    st.integers(-(1 << 200), 1 << 200),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1)).map(lambda values: array("q", values)),
    st.lists(st.floats(allow_nan=False)).map(lambda values: array("d", values)),
    st.builds(Timestamp, st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 999_999_999)),
)
ATTRIBUTE_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
decode_exact = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=exact_hook).decode
decode_friendly = msgspec.msgpack.Decoder(dict[str, Any], ext_hook=friendly_hook).decode


@given(st.dictionaries(ATTRIBUTE_NAMES, EXACT, max_size=5))
def test_attributes_come_back_as_they_were(attributes: Item) -> None:
    encoded = encode(as_attributes(attributes))
    found, shown = decode_exact(encoded), decode_friendly(encoded)
    assert list(found) == list(shown) == list(attributes)
    for name, value in attributes.items():
        assert type(found[name]) is type(value)
        assert found[name] == value
        if isinstance(value, array):
            assert found[name].typecode == value.typecode
            assert shown[name] == value.tolist()
        elif not isinstance(value, Timestamp):
            assert shown[name] == value
        else:
            assert type(shown[name]) in (dt.datetime, Timestamp)
    # Bits of floats too: minus zero stays that.
    for name, value in attributes.items():
        if isinstance(value, float):
            assert struct.pack("<d", found[name]) == struct.pack("<d", value)


@given(MOMENTS)
@example(dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC))
def test_a_datetime_comes_back_as_the_same_moment(moment: dt.datetime) -> None:
    encoded = encode(as_attributes({"a": moment}))
    assert decode_friendly(encoded)["a"] == moment.astimezone(dt.UTC)


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 999_999_999))
@example(253402300799, 999_999_999)
@example(-62135596800, 0)
def test_any_timestamp_can_be_shown(seconds: int, nanoseconds: int) -> None:
    moment = Timestamp(seconds, nanoseconds)
    shown = friendly(moment)
    if isinstance(shown, dt.datetime):
        back = Timestamp.of(shown)
        distance = (back.seconds - seconds) * 10**9 + back.nanoseconds - nanoseconds
        assert abs(distance) <= 500
    else:
        assert shown == moment
        assert not -62135596800 <= seconds < 253402300799


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1)) | st.lists(st.floats(allow_nan=False)))
def test_an_array_is_a_blob_and_back(values: list[Any]) -> None:
    (given_array,) = as_attributes({"a": values}).values()
    assert isinstance(given_array, array)
    assert of_blob(to_blob(given_array)) == given_array


@given(st.binary())
@example(to_blob(array("q", [1]))[:-1])
@example(to_blob(array("q", [1])) + b"x")
def test_bytes_that_are_no_blob_stay_bytes(data: bytes) -> None:
    found = of_blob(data)
    assert found == data or isinstance(found, array)


# Keys.

PARTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/"), min_size=1, max_size=8
).filter(lambda part: part not in (".", ".."))


@pytest.mark.parametrize("kind", DATA_KINDS)
def test_keys_of_any_characters_are_kept_and_in_order(kind: str) -> None:
    with data_tier_of(kind) as tier:
        table, container = Table(tier, "users", "t"), Container(tier, "users")

        @given(st.sets(PARTS, min_size=1, max_size=6), st.data())
        def put_and_look(keys: set[str], data: st.DataObject) -> None:
            table.put("first", {})  # what an example that failed has left goes first
            table.clear()
            with table.batch() as batch:
                for key in keys:
                    batch.put(key, {"key": key})
            expected = sorted(keys)
            assert list(table.scan()) == [(key, {"key": key}) for key in expected]
            assert [info.path for info in container.list("t")] == [f"t/{key}" for key in expected]
            key = data.draw(st.sampled_from(expected))
            assert table.get(key, ["key", "__name"]) == {"key": key, "__name": key}
            page, _ = container.page("t", key)
            assert [info.path for info in page] == [f"t/{k}" for k in expected if k > key]
            assert table.clear() == len(keys)

        put_and_look()
