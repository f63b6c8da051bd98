"""Keys: the bytes sort as the tuples do, come back as they were, and refuse what is no key."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.engine.keys import (
    KEY_BYTES_MAX,
    NESTING_MAX,
    Key,
    KeyElement,
    Prefix,
    after,
    pack,
    pack_int,
    pack_str,
    unpack,
)
from entrepot.errors import CorruptError, LimitError, TypeMismatchError
from entrepot.testing import strategies

# The order of types, spelled out again here so that it is not the encoder judging itself.
TYPE_ORDER = [type(None), bytes, str, tuple, int, float, bool]


def python_order(left: Key, right: Key) -> int:
    """Compare as Python does where it can, by the documented order of types where it cannot."""
    for one, other in zip(left, right, strict=False):
        ranks = TYPE_ORDER.index(type(one)), TYPE_ORDER.index(type(other))
        if ranks[0] != ranks[1]:
            return -1 if ranks[0] < ranks[1] else 1
        if isinstance(one, tuple) and isinstance(other, tuple):
            order = python_order(one, other)
        else:
            order = 0 if one == other else -1 if one < other else 1  # type: ignore[operator] same types
        if order:
            return order
    return (len(left) > len(right)) - (len(left) < len(right))


def bytes_order(left: Key, right: Key) -> int:
    return (pack(left) > pack(right)) - (pack(left) < pack(right))


@given(strategies.keys(), strategies.keys())
@example(("a",), ("a\x00",))
@example(("a", "b"), ("a\x00b",))
@example((((), None),), (((None,),),))
@example(((),), ((None,),))
@example(((1,), 2), ((1, 2),))
@example((-(2**64),), (-(2**64) + 1,))
@example((-(2**2032),), (-(2**64),))
@example((2**64 - 1,), (2**64,))
@example((b"\x00\xff",), (b"\x00", b"\xff"))
def test_the_bytes_of_any_two_keys_are_in_the_order_of_the_tuples(left: Key, right: Key) -> None:
    assert bytes_order(left, right) == python_order(left, right)


@pytest.mark.parametrize("of", strategies.ELEMENT_TYPES)
@given(data=st.data())
def test_keys_of_one_type_sort_as_python_sorts_them(data: st.DataObject, of: type) -> None:
    elements = strategies.ELEMENT_TYPES[of]
    shape = data.draw(st.integers(0, 3))
    keys = data.draw(st.lists(st.tuples(*[elements] * shape), max_size=20))
    if of is type(None):
        assert len({pack(key) for key in keys}) <= 1
    else:
        assert sorted(keys, key=pack) == sorted(keys)  # type: ignore[type-var] tuples of one type


@given(strategies.keys())
def test_a_key_comes_back_as_it_was_with_its_types(key: Key) -> None:
    def typed(element: KeyElement) -> object:
        inner = [typed(part) for part in element] if isinstance(element, tuple) else element
        return type(element), inner

    assert typed(unpack(pack(key))) == typed(key)


def test_a_nan_and_a_minus_zero_come_back_as_they_were() -> None:
    nan, zero = unpack(pack((math.nan, -0.0)))
    assert isinstance(nan, float)
    assert math.isnan(nan)
    assert math.copysign(1, zero) == -1  # type: ignore[arg-type] it is a float
    assert pack((-0.0,)) < pack((0.0,))


@given(strategies.keys(), strategies.keys())
@example(("a",), ("a\x00",))
@example((b"",), (b"\x00",))
@example(((None,),), ((None, None),))
def test_a_key_lies_in_the_range_of_a_beginning_only_if_it_extends_it(
    beginning: Key, key: Key
) -> None:
    begin, packed = pack(beginning), pack(key)
    extends = typed_equal(key[: len(beginning)], beginning)
    assert (begin <= packed < after(begin)) == extends


def typed_equal(left: Key, right: Key) -> bool:
    """1, 1.0 and True are equal to Python; as elements of keys they are not."""
    return repr(left) == repr(right)


@given(strategies.keys(elements_max=3), strategies.keys(elements_max=3))
def test_a_prefix_makes_the_same_keys_as_pack(beginning: Key, rest: Key) -> None:
    prefix = Prefix(*beginning)
    assert prefix.key(*rest) == pack(beginning + rest)
    assert prefix.begin == pack(beginning)
    assert prefix.begin <= prefix.key(*rest) < prefix.end
    assert typed_equal(prefix.tail(prefix.key(*rest)), rest)
    assert Prefix(*rest, of=prefix).begin == pack(beginning + rest)


@given(st.integers(0, 2**64 - 1))
@example(0)
@example(255)
@example(256)
@example(2**64 - 1)
def test_the_quick_form_of_an_int_is_that_of_pack(number: int) -> None:
    assert pack_int(number) == pack((number,))
    assert Prefix("a").int(number) == pack(("a", number))


@given(st.text())
@example("\x00\ud800")
def test_the_quick_form_of_a_string_is_that_of_pack(text: str) -> None:
    assert pack_str(text) == pack((text,))
    assert Prefix("a").str(text) == pack(("a", text))


@pytest.mark.parametrize(
    ("key", "packed"),
    [
        ((), b""),
        ((None,), b"\x00"),
        ((b"foo\x00bar",), b"\x01foo\x00\xffbar\x00"),
        (("F\u00d4O\x00bar",), b"\x02F\xc3\x94O\x00\xffbar\x00"),
        (((b"foo\x00bar", None, ()),), b"\x05\x01foo\x00\xffbar\x00\x00\xff\x05\x00\x00"),
        ((0,), b"\x14"),
        ((-5551212,), b"\x11\xab\x4b\x93"),
        ((2**64,), b"\x1d\x09\x01\x00\x00\x00\x00\x00\x00\x00\x00"),
        ((-(2**64),), b"\x0b\xf6\xfe\xff\xff\xff\xff\xff\xff\xff\xff"),
        ((-42.0,), b"\x21\x3f\xba\xff\xff\xff\xff\xff\xff"),
        ((False, True), b"\x26\x27"),
    ],
)
def test_the_bytes_on_disk_are_those_of_the_documented_format(key: Key, packed: bytes) -> None:
    # The examples of FoundationDB's specification, where it has one.
    assert pack(key) == packed
    assert unpack(packed) == key


@pytest.mark.parametrize("element", [[], {}, 1j, object(), bytearray(b"a"), memoryview(b"a")])
def test_an_element_of_another_type_is_refused_by_its_type(element: object) -> None:
    with pytest.raises(TypeMismatchError, match=type(element).__name__):
        pack((element,))  # type: ignore[arg-type] on purpose
    with pytest.raises(TypeMismatchError, match=type(element).__name__):
        pack(("a", (1, element)))  # type: ignore[arg-type] on purpose


def test_a_key_of_4096_bytes_is_packed_and_one_of_4097_refused() -> None:
    assert len(pack(("x" * (KEY_BYTES_MAX - 2),))) == KEY_BYTES_MAX
    with pytest.raises(LimitError, match="4097 bytes, at most 4096"):
        pack(("x" * (KEY_BYTES_MAX - 1),))
    half = "x" * (KEY_BYTES_MAX // 2)
    with pytest.raises(LimitError, match="4100 bytes"):
        Prefix(half).key(half)
    with pytest.raises(LimitError, match="4100 bytes"):
        Prefix(half).str(half)
    with pytest.raises(LimitError, match="4100 bytes"):
        Prefix(half, of=Prefix(half))


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_int_of_255_bytes_is_packed_and_one_of_256_refused(sign: int) -> None:
    largest = sign * (2 ** (255 * 8) - 1)
    assert unpack(pack((largest,))) == (largest,)
    with pytest.raises(LimitError, match="256 bytes, at most 255"):
        pack((largest + sign,))


def test_tuples_nested_too_deep_are_refused_before_the_stack_ends() -> None:
    def nested(depth: int) -> Key:
        key: Key = ()
        for _ in range(depth):
            key = (key,)
        return key

    assert unpack(pack(nested(NESTING_MAX))) == nested(NESTING_MAX)
    with pytest.raises(LimitError, match="nested"):
        pack(nested(NESTING_MAX + 1))
    with pytest.raises(LimitError, match="nested"):
        pack(nested(10_000))
    with pytest.raises(CorruptError, match="nested"):
        unpack(b"\x05" * 2000 + b"\x00" * 2000)


@pytest.mark.parametrize(
    "packed",
    [
        b"\x03",
        b"\xff",
        b"\x01abc",
        b"\x02\xff\x00",
        b"\x05",
        b"\x05\x00\xff",
        b"\x05\x15\x01",
        b"\x15",
        b"\x1c\x01\x02",
        b"\x1d",
        b"\x1d\x0a\x01",
        b"\x0b",
        b"\x0b\xf0\x01",
        b"\x21\x80",
        b"\x21",
    ],
)
def test_bytes_that_are_no_key_are_called_corrupt(packed: bytes) -> None:
    with pytest.raises(CorruptError, match="is no key"):
        unpack(packed)


@given(st.binary(max_size=40))
def test_whatever_bytes_are_unpacked_the_only_error_is_ours(packed: bytes) -> None:
    with contextlib.suppress(CorruptError):
        unpack(packed)
