"""Objects into bytes and back: the original's forms, and ours for large arrays."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from entrepot.proxystore.serialize import (
    SerializationError,
    deserialize,
    is_bytes_like,
    serialize,
    serialize_parts,
)

FRAME = pd.DataFrame({"a": np.arange(5), "b": list("vwxyz")})
FORMS = {
    "bytes": (b"abc", b"BS\n"),
    "str": ("äbc", b"US\n"),
    "array": (np.arange(5), b"NP\n"),
    "frame": (FRAME, b"PD\n"),
    "dict": ({"a": [1]}, b"PK\n"),
    "lambda": (lambda: 5, b"PK\n"),
    "surrogate": ("\ud800", b"PK\n"),
    "large": ({"a": np.arange(10_000)}, b"EV\n"),
}


@pytest.mark.parametrize(("value", "form"), FORMS.values(), ids=FORMS)
def test_each_type_has_its_form(value: Any, form: bytes) -> None:
    body = serialize(value)
    assert body[:3] == form
    for buffer in (body, bytearray(body), memoryview(body)):
        found = deserialize(buffer)
        assert type(found) is type(value)
        assert pickle.dumps(found) == pickle.dumps(value) if not callable(value) else found() == 5


ARRAYS = {
    "ints": np.arange(1000),
    "empty": np.zeros((0, 3)),
    "scalar": np.array(2.5),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(100).reshape(10, 10)[::2, ::3],
    "big-endian": np.arange(5, dtype=">i4"),
    "dates": np.array(["2026-01-01", "NaT"], "M8[ns]"),
    "text": np.array(["a", "bcd"]),
    "records": np.zeros(3, [("a", "i4"), ("b", "f8", (2,))]),
    "objects": np.array([1, "a", None], object),
    "no width": np.zeros(3, "V0"),
    "many dimensions": np.zeros((1, 2, 3, 4, 5, 6)),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_an_array_comes_back_as_it_was(array: Any) -> None:
    body = serialize(array)
    found = deserialize(body)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "M")
    if body[:3] == b"NP\n":
        saved = np.load(io.BytesIO(body[3:]))
        assert np.array_equal(saved, array, equal_nan=array.dtype.kind == "M")


def test_what_numpy_saved_is_read_without_its_data_aligned() -> None:
    file = io.BytesIO()
    np.save(file, np.arange(100))
    found = deserialize(b"NP\n" + file.getvalue())
    assert np.array_equal(found, np.arange(100))
    assert found.flags.aligned


def test_a_large_array_is_written_and_read_without_a_copy() -> None:
    array = np.arange(100_000)
    parts = serialize_parts(array)
    assert np.shares_memory(np.frombuffer(parts[1], np.uint8), array)
    assert len(parts[0]) % 64 == 0
    body = serialize(array)
    found = deserialize(body)
    assert np.shares_memory(found, np.frombuffer(body, np.uint8))
    assert not found.flags.writeable


def test_arrays_inside_of_objects_are_read_without_a_copy() -> None:
    frame = pd.DataFrame({"a": np.arange(100_000), "b": np.arange(100_000) * 1.5})
    body = serialize([frame, np.ones(50_000, "f4")])
    found, ones = deserialize(body)
    assert found.equals(frame)
    whole = np.frombuffer(body, np.uint8)
    assert np.shares_memory(ones, whole)
    assert np.shares_memory(found["b"].to_numpy(), whole)


def test_polars_of_the_original_are_read() -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    file = io.BytesIO()
    frame.write_ipc(file)
    assert deserialize(b"PL\n" + file.getvalue()).equals(frame)
    assert deserialize(serialize(frame)).equals(frame)


@pytest.mark.parametrize("bad", [b"", b"x", b"XX\n1", b"NP"], ids=["empty", "x", "XX", "NP"])
def test_bytes_of_no_known_form_are_refused(bad: bytes) -> None:
    with pytest.raises(SerializationError, match="Unknown identifier"):
        deserialize(bad)


@pytest.mark.parametrize("name", ["str", "array", "frame", "dict", "large"])
def test_bytes_that_were_cut_are_refused(name: str) -> None:
    body = serialize(FORMS[name][0])
    for end in (4, len(body) // 2, len(body) - 1):
        if name == "str" and end != 5:
            continue
        with pytest.raises(SerializationError, match="make no object here"):
            deserialize(body[:end])


def test_what_is_no_bytes_is_refused_by_its_type() -> None:
    with pytest.raises(ValueError, match="bytes-like"):
        deserialize(3)  # pyright: ignore[reportArgumentType] that is the point
    assert is_bytes_like(bytearray())
    assert not is_bytes_like("text")


class Stubborn:
    def __reduce__(self) -> Any:
        raise RuntimeError("no")


def test_what_cannot_be_pickled_is_a_clear_error() -> None:
    with pytest.raises(SerializationError, match="Stubborn"):
        serialize(Stubborn())
