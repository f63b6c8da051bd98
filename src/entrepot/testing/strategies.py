"""Hypothesis strategies: elements of keys, whole keys, packed keys that make trouble."""

from __future__ import annotations

from hypothesis import strategies as st

from entrepot.engine.keys import KEY_BYTES_MAX, Key, KeyElement, pack

__all__ = ["ELEMENT_TYPES", "keys", "long_texts", "packed_keys", "values"]

_INTS_OF_INTEREST = [
    sign * (power + step)
    for bits in (8, 16, 32, 63, 64, 72, 128, 2032)
    for power in (1 << bits,)
    for step in (-1, 0, 1)
    for sign in (-1, 1)
]

ELEMENT_TYPES: dict[type, st.SearchStrategy[KeyElement]] = {
    bytes: st.binary(max_size=20) | st.lists(st.sampled_from([0, 1, 254, 255])).map(bytes),
    str: st.text(max_size=20) | st.text("\x00\x01a\x7f\x80\ud800\udfff\ue000\U0010ffff"),
    int: st.integers() | st.sampled_from(_INTS_OF_INTEREST),
    # Without -0.0, which Python calls equal to 0.0, and NaN, which it cannot order.
    float: st.floats(allow_nan=False).map(lambda number: number + 0.0),
    bool: st.booleans(),
    type(None): st.none(),
}
"""A strategy for each type that an element of a key can have, in no order."""


def keys(*, elements_max: int = 5, nested: bool = True) -> st.SearchStrategy[Key]:
    """Return a strategy for tuples that `pack` takes."""
    element: st.SearchStrategy[KeyElement] = st.one_of(*ELEMENT_TYPES.values())
    if nested:
        element = st.recursive(
            element, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6
        )
    return st.lists(element, max_size=elements_max).map(tuple)


def long_texts() -> st.SearchStrategy[str]:
    """Return a strategy for texts that agree in their first 600 bytes, up to a full key."""
    # Sizes, not texts, are sampled: hypothesis prints what it samples from.
    begin = st.sampled_from([600, 1000, 2000, KEY_BYTES_MAX - 100]).map("x".__mul__)
    return st.tuples(begin, st.text("\x00ab\xff", max_size=4)).map("".join)


def packed_keys(*beginning: str | int) -> st.SearchStrategy[bytes]:
    """Return a strategy for packed keys that begin alike, short and long ones, often equal."""
    last = st.one_of(
        st.integers(0, 9),
        st.sampled_from(["", "a", "b", "ab", "\x00", "a\x00"]),
        long_texts(),
        st.binary(max_size=3),
    )
    return last.map(lambda element: pack((*beginning, element)))


def values() -> st.SearchStrategy[bytes]:
    """Return a strategy for values: empty ones, small ones, ones larger than a page."""
    return st.binary(max_size=8) | st.sampled_from([0, 5000, 70_000]).map(b"y".__mul__)
