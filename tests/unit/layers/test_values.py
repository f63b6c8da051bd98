"""Values: any Python object comes back equal, and its bytes without a copy where they are big.

Each goes through the objects of every tier, or straight through encode and decode.
"""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import decimal
import enum
import fractions
import math
import pickle
import subprocess
import sys
import textwrap
import threading
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from entrepot import settings
from entrepot.arena import Arena
from entrepot.arena.bulk import Ref
from entrepot.errors import CorruptError, TypeMismatchError
from entrepot.layers import values
from entrepot.layers.objects import Objects
from entrepot.layers.spaces import Space
from support.tiers import Rig

COUNT = 30_000
"""Elements of an array that is too big for a catalog, whatever they are."""


def there_and_back(objects: Objects, value: object) -> Any:
    return objects.get(objects.put(value))


def straight(value: object) -> Any:
    """Encode and decode without a tier, the buffers laid out as the arena does."""
    encoded = values.encode(value)
    if isinstance(encoded, bytes):
        return values.decode(encoded)
    body = b"".join(bytes(buffer) + bytes(-len(buffer) % 64) for buffer in encoded.buffers)
    return values.decode(values.bulk_record(encoded, Ref(0, len(body))), memoryview(body))


def same(one: Any, other: Any) -> bool:
    """Compare deeply: types too, NaN equal to itself, -0.0 unequal to 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        if one.dtype.hasobject:
            return all(map(same, one.ravel().tolist(), other.ravel().tolist()))
        return one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one.hex() == other.hex()
    return bool(one == other)


# Plain values.


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 2


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


Pair = collections.namedtuple("Pair", "a b")


class Thing:
    def __init__(self, **fields: object) -> None:
        self.__dict__ = fields

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and same(self.__dict__, other.__dict__)

    __hash__ = None


PLAIN = [
    None, True, False, 0, 1, -1, 127, 128, -32, -33, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1,
    2**64, -(2**63), -(2**63) - 1, 2**1000, -(3**500), 0.0, -0.0, 0.1, 1e308, 5e-324, math.inf,
    -math.inf, math.nan, 1j, complex(math.nan, -0.0), "", "text", "é𝄞", "nul\x00nul", "\ud800",
    "a\udfffb", b"", b"\x00\xff", b"bytes", bytearray(), bytearray(b"xy"), (), (1,), [],
    [1, [2, [3]]], {}, {"a": 1}, {1: {2: 3}, None: (), (1, 2): []}, set(), {1, "a", None},
    frozenset({(1, 2)}), range(3), range(0, 9, 3), slice(1, None, 2), Ellipsis, NotImplemented,
    dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), dt.date.min, dt.timedelta(-1, 2, 3),
    decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=7), Path("/a/b"),
    Colour.RED, Level.HIGH, Text("sub"), Whole(5), Pair(1, [2]), Thing(a=1, b=[None]), Thing, int,
    len, math.sin, collections.OrderedDict(b=1, a=2), collections.Counter("abca"),
    collections.deque([1, 2], 5), collections.defaultdict(list, a=[1]),
    types.SimpleNamespace(a=1), ValueError("why", 1), np.float64(1.5), np.int8(-3),
    np.datetime64("2026-01-01"), np.bool_(True), np.str_("np"), np.dtype("i4,f8"), np.float64,
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=[f"{at}" for at, _ in enumerate(PLAIN)])
def test_a_plain_value_comes_back_equal_and_of_its_type(objects: Objects, value: Any) -> None:
    got = there_and_back(objects, value)
    if isinstance(value, ValueError):
        got, value = (type(got), got.args), (type(value), value.args)
    if isinstance(value, complex):
        got, value = repr(got), repr(value)
    assert same(got, value)
    nested = there_and_back(objects, [value]) if not isinstance(value, (str, tuple)) else None
    assert nested is None or len(nested) == 1


def test_a_value_that_holds_itself_comes_back_so(objects: Objects) -> None:
    circle: list[Any] = [1]
    circle.append({"me": circle})
    got = there_and_back(objects, circle)
    assert got[1]["me"] is got


def test_what_is_twice_in_a_value_is_one_thing_afterwards(objects: Objects) -> None:
    array = np.arange(COUNT)
    shared = ["x"]
    got = there_and_back(objects, [array, array, shared, shared])
    assert got[0] is got[1]
    assert got[2] is got[3]


BOUNDS = [
    bound + step
    for bound in (
        settings.INLINE_BYTES_MAX,
        settings.CHUNK_PIECE_BYTES_MAX,
        settings.CHUNK_BYTES,
        2 * settings.CHUNK_BYTES,
    )
    for step in (-65, -64, -1, 0, 1, 8, 64)
]


@pytest.mark.parametrize("size", BOUNDS)
def test_sizes_around_every_bound_come_back(objects: Objects, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert there_and_back(objects, body[:size]) == body[:size]
    assert there_and_back(objects, "x" * size) == "x" * size
    assert there_and_back(objects, bytearray(body[:size])) == body[:size]
    assert there_and_back(objects, [body[:size]]) == [body[:size]]
    array = np.frombuffer(body, "u1", size)
    assert (there_and_back(objects, array) == array).all()
    assert (there_and_back(objects, (array, "x" * size))[0] == array).all()


def test_a_value_at_the_inline_bound_is_stored_inside_and_one_above_is_not() -> None:
    bound = settings.INLINE_BYTES_MAX
    assert isinstance(values.encode(b"x" * bound), bytes)
    assert isinstance(values.encode(b"x" * (bound + 1)), values.Encoded)
    assert isinstance(values.encode(np.zeros(bound, "u1")), bytes)
    assert isinstance(values.encode(np.zeros(bound + 1, "u1")), values.Encoded)
    for value in ("x" * bound, ["x" * bound], [np.zeros(bound, "u1")]):
        encoded = values.encode(value)
        assert isinstance(encoded, values.Encoded), "its head does not fit any more"


@pytest.mark.parametrize("count", [1, 3, 2000])
def test_many_buffers_of_odd_sizes_are_told_apart(objects: Objects, count: int) -> None:
    many = [np.full(at * 7 % 1000, at % 251, "u1") for at in range(count)]
    many += [np.full(200_001, 9, "u1"), np.zeros(0)]
    assert same(there_and_back(objects, many), many)


# Arrays.

DTYPES = [
    "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g", "c8", "c16", "G",
    ">i2", ">u8", ">f4", ">f8", ">c16", ">U3", ">M8[D]", "M8[ns]", "M8[D]", "M8[25s]", "M8",
    "m8[us]", "m8", ">m8[s]", "U1", "U7", "S1", "S5", "V1", "V7", "i4,f8", "i1,>f8,S3,U2",
    "i4,M8[s]", "(2,3)i4,f4", "O",
]  # fmt: skip
SHAPES = [
    (),
    (0,),
    (1,),
    (3,),
    (2, 0, 3),
    (4, 5),
    (2, 3, 4),
    (1,) * 20,
    (COUNT,),
    (COUNT // 100, 100),
]


def filled(dtype: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return an array whose bytes differ."""
    kind = np.dtype(dtype)
    if kind.hasobject:
        array = np.empty(shape, kind)
        array[...] = "text"
        return array
    count = math.prod(shape)
    body = (np.arange(count * kind.itemsize) % 100).astype("u1")
    if kind.kind == "b":
        body %= 2
    if kind.kind == "U":
        return np.array([f"{at % 10}é" for at in range(count)], kind).reshape(shape)
    return np.frombuffer(body.tobytes(), kind, count).reshape(shape).copy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_type_and_shape_come_back_equal(rig: Rig, dtype: str) -> None:
    for shape in SHAPES:
        array = filled(dtype, shape)
        for value in (array, [array], {"deep": (array,)}):
            got = there_and_back(rig.objects, value)
            found = (
                got["deep"][0] if isinstance(got, dict) else got[0] if value is not array else got
            )
            assert same(found, array), shape
            if array.dtype.hasobject:
                continue
            assert found.flags.c_contiguous
            if array.size:
                assert found.flags.aligned
                assert not found.flags.writeable
                with pytest.raises(ValueError, match="WRITEABLE"):
                    found.flags.writeable = True
            if array.nbytes > settings.INLINE_BYTES_MAX:
                assert not found.flags.owndata
                assert found.ctypes.data % settings.ARENA_ALIGNMENT_BYTES == 0 or not (
                    rig.is_zero_copy
                )


@pytest.mark.parametrize("dtype", ["f8", "M8[s]", "i4,f8", ">i4", "S3", "O"])
@pytest.mark.parametrize("length", [6, 1000], ids=["small", "big"])
def test_the_order_of_an_array_survives(objects: Objects, dtype: str, length: int) -> None:
    array = filled(dtype, (length, 5))
    for nested in (False, True):
        for given_array in (np.asfortranarray(array), array.T, array):
            got = there_and_back(objects, [given_array] if nested else given_array)
            found = got[0] if nested else got
            assert same(found, given_array)
            assert found.flags.f_contiguous == given_array.flags.f_contiguous
            assert found.flags.c_contiguous == given_array.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["f8", "m8[s]", "i4,f8", ">i4", "U2", "O"])
@pytest.mark.parametrize("length", [12, 3000], ids=["small", "big"])
def test_arrays_that_are_not_contiguous_come_back_equal(
    objects: Objects, dtype: str, length: int
) -> None:
    array = filled(dtype, (length, 6))
    for view in (
        array[::2], array[::-1], array[:, 1:4], array[:, ::-2], array.T[1:], array[3:3],
        np.broadcast_to(array[0], (length, 6)), array.reshape(2, -1, 6).swapaxes(0, 1),
    ):  # fmt: skip
        assert same(there_and_back(objects, view), view)
        assert same(there_and_back(objects, [view])[0], view)


def test_a_field_of_a_structured_array_comes_back(objects: Objects) -> None:
    dtype = np.dtype(
        {"names": ["a", "b"], "formats": ["i4", ">f8"], "offsets": [4, 16]}, align=False
    )
    array = np.zeros(COUNT, dtype)
    array["a"], array["b"] = np.arange(COUNT), 0.5
    for value in (array, array["a"], array[["b"]], array[5], array.view(np.recarray)):
        got = there_and_back(objects, value)
        assert type(got) is type(value)
        assert got.dtype == value.dtype
        assert got.tolist() == value.tolist()


def test_dtypes_keep_their_metadata_and_titles(objects: Objects) -> None:
    titled = np.zeros(3, np.dtype({"names": ["a"], "formats": ["i4"], "titles": ["A"]}))
    assert there_and_back(objects, titled).dtype.fields["A"][0] == "i4"


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclasses_of_arrays_come_back_as_such(objects: Objects) -> None:
    for size in (5, COUNT):
        masked = np.ma.masked_array(np.arange(size), np.arange(size) % 2 == 0, fill_value=-1)
        got = there_and_back(objects, masked)
        assert type(got) is type(masked)
        assert (got.mask == masked.mask).all()
        assert (got.filled() == masked.filled()).all()
        matrix = np.asmatrix(np.arange(size).reshape(1, -1))
        got = there_and_back(objects, matrix)
        assert type(got) is type(matrix)
        assert (got == matrix).all()


def test_a_huge_array_comes_back_without_a_copy(rig: Rig) -> None:
    array = np.arange(5_000_000, dtype="f8")  # 40 MB: copied in by several threads
    if rig.kind == "memory":
        array = array[:500_000]
    key = rig.objects.put(array)
    got = rig.objects.get(key)
    assert (got == array).all()
    assert not got.flags.owndata
    assert np.shares_memory(got, rig.objects.get(key)) == rig.is_zero_copy
    assert rig.problems() == []


def address_range(rig: Rig) -> range:
    arena = rig.tier.bulk
    assert isinstance(arena, Arena)
    whole = np.frombuffer(arena._region.map, "u1")
    return range(whole.ctypes.data, whole.ctypes.data + whole.nbytes)


def test_big_arrays_lie_in_the_arena_wherever_in_a_value_they_are(rig: Rig) -> None:
    if not rig.is_zero_copy:
        pytest.skip("there is no arena")
    inside = address_range(rig)
    array = np.arange(COUNT)
    for value, find in (
        (array, lambda got: got),
        ([1, {"a": array}], lambda got: got[1]["a"]),
        (Thing(array=array), lambda got: got.array),
        (np.asfortranarray(array.reshape(2, -1)), lambda got: got),
        ([array.view("M8[s]")], lambda got: got[0]),
        (array.view("i4,f4"), lambda got: got),
        ({"text": "x" * 100_000, "array": array}, lambda got: got["array"]),
    ):
        key = rig.objects.put(value)
        found = find(rig.objects.get(key))
        assert found.ctypes.data in inside
        assert np.shares_memory(found, find(rig.objects.get(key)))
        assert found.ctypes.data % settings.ARENA_ALIGNMENT_BYTES == 0


def test_a_view_of_a_view_keeps_the_bytes_in_place(rig: Rig) -> None:
    key = rig.objects.put(np.full(COUNT, 7))
    view = memoryview(rig.objects.get(key)[10:].reshape(-1, 2).T)[1:]
    rig.objects.delete(key)
    for number in range(5):
        rig.objects.put(np.full(COUNT, number))
    assert set(np.asarray(view).ravel().tolist()) == {7}


# pandas.


@pytest.fixture
def pandas() -> Any:
    return pytest.importorskip("pandas")


def frames(pd: Any, rows: int) -> dict[str, Any]:
    index = pd.RangeIndex(rows)
    numbers = np.arange(rows)
    return {
        "numbers": pd.DataFrame({"a": numbers, "b": numbers / 2, "c": numbers % 2 == 0}),
        "mixed": pd.DataFrame(
            {"a": numbers, "t": [f"é{n}" for n in numbers], "o": [(n,) for n in numbers]}
        ),
        "nullable": pd.DataFrame({
            "i": pd.array([None if n % 3 else n for n in range(rows)], dtype="Int64"),
            "b": pd.array([None if n % 3 else True for n in range(rows)], dtype="boolean"),
            "s": pd.array([None if n % 3 else "x" for n in range(rows)], dtype="string"),
        }),
        "times": pd.DataFrame({
            "naive": pd.date_range("2020", periods=rows, freq="s"),
            "zone": pd.date_range("2020", periods=rows, freq="h", tz="Europe/Zurich"),
            "delta": pd.to_timedelta(numbers, unit="s"),
            "period": pd.period_range("2020", periods=rows, freq="D"),
            "missing": pd.Series([pd.NaT] * rows, dtype="datetime64[ns]"),
        }),
        "categories": pd.DataFrame({
            "c": pd.Categorical(
                [("a", "b")[n % 2] for n in range(rows)], categories=["b", "a", "c"], ordered=True
            ),
            "interval": pd.arrays.IntervalArray.from_breaks(np.arange(rows + 1)),
            "sparse": pd.arrays.SparseArray(numbers % 7 == 0),
        }),
        "multi": pd.DataFrame(
            {("x", 1): numbers, ("y", 2): numbers},
            index=pd.MultiIndex.from_arrays([numbers, numbers[::-1]], names=["i", None]),
        ),
        "series": pd.Series(numbers / 3, index=index * 2, name="named"),
        "text series": pd.Series([f"{n}" for n in numbers], dtype="str"),
        "object series": pd.Series([{"n": n} for n in numbers], dtype="object"),
        "index": pd.Index(numbers.astype("f8"), name="n"),
        "range": index,
        "times index": pd.date_range("2020", periods=rows, freq="s", tz="UTC"),
        "multi index": pd.MultiIndex.from_product([["a", "b"], range(rows // 2)]),
        "slice": pd.DataFrame({"a": numbers, "b": numbers})[1::2],
        "column": pd.DataFrame({"a": numbers, "b": numbers})["b"],
        "duplicated": pd.DataFrame(np.ones((rows, 2)), columns=["a", "a"]),
    }  # fmt: skip


@pytest.mark.parametrize("rows", [0, 2, COUNT])
def test_frames_series_and_indexes_come_back_equal(rig: Rig, pandas: Any, rows: int) -> None:
    if rows == COUNT and rig.kind != "volatile":
        rows = 3000
    for name, frame in frames(pandas, rows).items():
        for value in (frame, {"deep": [frame]}):
            got = there_and_back(rig.objects, value)
            found = got["deep"][0] if value is not frame else got
            if isinstance(frame, pandas.DataFrame):
                pandas.testing.assert_frame_equal(found, frame, check_freq=True)
            elif isinstance(frame, pandas.Series):
                pandas.testing.assert_series_equal(found, frame)
            else:
                pandas.testing.assert_index_equal(found, frame, exact=True)
            assert type(found) is type(frame), name


def test_the_numbers_of_a_frame_are_seen_where_they_lie(rig: Rig, pandas: Any) -> None:
    if not rig.is_zero_copy:
        pytest.skip("there is no arena")
    inside = address_range(rig)
    pd, numbers = pandas, np.arange(COUNT)
    frame = pd.DataFrame({
        "f": numbers / 2, "i": numbers, "b": numbers % 2 == 0, "when": numbers.astype("M8[s]"),
        "c": pd.Categorical(numbers % 300), "maybe": pd.array(numbers, dtype="Int64"),
    })  # fmt: skip
    got = there_and_back(rig.objects, frame)
    for column in ("f", "i", "b", "when"):
        assert got[column].to_numpy().ctypes.data in inside, column
    assert got["c"].array.codes.ctypes.data in inside
    assert got["maybe"].array._data.ctypes.data in inside
    assert got["i"].sum() == numbers.sum()


def test_a_frame_may_be_worked_on_without_harm_to_what_is_stored(rig: Rig, pandas: Any) -> None:
    frame = pandas.DataFrame({"a": np.arange(COUNT), "b": np.arange(COUNT)})
    key = rig.objects.put(frame)
    mine = rig.objects.get(key)
    mine["new"] = mine["a"] + 1
    mine.drop(columns="b")
    mine.sort_values("a", ascending=False)
    with contextlib.suppress(ValueError):  # read-only, where pandas does not copy on write
        mine.loc[0, "a"] = -1
        mine.iloc[1, 0] = -1
    pandas.testing.assert_frame_equal(rig.objects.get(key), frame)


# Arrow.


@pytest.fixture
def arrow() -> Any:
    return pytest.importorskip("pyarrow")


def arrow_things(pa: Any, rows: int) -> dict[str, Any]:
    numbers = pa.array(range(rows), pa.int64())
    some = pa.array([None if n % 3 else n for n in range(rows)], pa.int32())
    texts = pa.array([None if n % 5 else f"é{n}" for n in range(rows)], pa.string())
    lists = pa.array(
        [None if n % 4 == 3 else [n] * (n % 3) for n in range(rows)], pa.list_(pa.int64())
    )
    structs = pa.array(
        [{"a": n, "b": [f"{n}"]} for n in range(rows)],
        pa.struct({"a": pa.int64(), "b": pa.list_(pa.string())}),
    )
    words = pa.array(
        [("x", "y", None)[n % 3] for n in range(rows)], pa.string()
    ).dictionary_encode()
    table = pa.table({"n": numbers, "some": some, "t": texts, "l": lists, "s": structs, "d": words})
    return {
        "numbers": numbers, "nulls inside": some, "texts": texts, "lists": lists,
        "structs": structs, "dictionary": words, "nulls": pa.nulls(rows), "table": table,
        "bools": pa.array([n % 2 == 0 for n in range(rows)], pa.bool_()),
        "large": pa.array([f"{n}" for n in range(rows)], pa.large_string()),
        "binary": pa.array([b"\x00" * (n % 4) for n in range(rows)], pa.binary()),
        "fixed": pa.array([b"abcd"] * rows, pa.binary(4)),
        "decimal": pa.array([decimal.Decimal(n) for n in range(rows)], pa.decimal128(20, 2)),
        "times": pa.array(range(rows), pa.timestamp("us", "UTC")),
        "slice": numbers.slice(rows // 3, rows // 3), "text slice": texts.slice(rows // 2),
        "table slice": table.slice(rows // 3, 5), "sliced columns": table.select(["t", "n"]),
        "chunked": pa.chunked_array([numbers, numbers.slice(1), numbers.slice(0, 0)]),
        "with metadata": table.replace_schema_metadata({"k": "v"}),
        "batch": pa.record_batch({"n": numbers, "t": texts}),
        "batch slice": pa.record_batch({"n": numbers, "t": texts}).slice(rows // 2),
        "schema": table.schema, "type": pa.list_(pa.int8()), "empty": table.slice(0, 0),
        "map": pa.array([[("k", n)] for n in range(rows)], pa.map_(pa.string(), pa.int64())),
    }  # fmt: skip


@pytest.mark.parametrize("rows", [0, 5, 3000])
def test_arrow_data_comes_back_equal(rig: Rig, arrow: Any, rows: int) -> None:
    for name, thing in arrow_things(arrow, rows).items():
        for value in (thing, [{"deep": thing}]):
            got = there_and_back(rig.objects, value)
            found = got if value is thing else got[0]["deep"]
            assert found.equals(thing), name
            assert type(found) is type(thing), name
            if hasattr(found, "validate"):
                found.validate(full=True)
            if hasattr(thing, "schema"):
                assert found.schema.equals(thing.schema, check_metadata=True)


def test_arrow_data_is_seen_where_it_lies(rig: Rig, arrow: Any) -> None:
    if not rig.is_zero_copy:
        pytest.skip("there is no arena")
    inside = address_range(rig)
    for thing in (arrow.array(range(COUNT)), arrow.array(["text"] * COUNT)):
        for found in (
            there_and_back(rig.objects, thing),
            there_and_back(rig.objects, arrow.table({"c": thing}))["c"].chunk(0),
        ):
            buffers = [buffer for buffer in found.buffers() if buffer is not None]
            assert all(buffer.address in inside for buffer in buffers if buffer.size > 1000)
            assert not any(buffer.is_mutable for buffer in buffers)


def test_arrow_buffers_and_tensors_come_back(rig: Rig, arrow: Any) -> None:
    body = bytes(range(256)) * 200
    assert there_and_back(rig.objects, arrow.py_buffer(body)).to_pybytes() == body
    array = np.arange(COUNT).reshape(2, -1)
    scalar = arrow.scalar({"a": [1, None]})
    assert there_and_back(rig.objects, scalar) == scalar
    assert (there_and_back(rig.objects, {"t": array})["t"] == array).all()


# Classes, functions, and what cannot be stored.


def test_an_object_of_a_users_class_comes_back_with_its_arrays(objects: Objects) -> None:
    thing = Thing(small=np.arange(3), big=np.arange(COUNT), other=Thing(x=None))
    got = there_and_back(objects, thing)
    assert got == thing
    assert not got.big.flags.owndata


def test_lambdas_closures_and_local_classes_travel_by_cloudpickle(objects: Objects) -> None:
    pytest.importorskip("cloudpickle")
    array = np.arange(COUNT)

    class Local:
        def total(self) -> int:
            return int(array.sum())

    assert there_and_back(objects, lambda x: x + 1)(2) == 3
    assert there_and_back(objects, Local().total)() == array.sum()
    assert there_and_back(objects, Local)().total() == array.sum()
    assert [f(1) for f in there_and_back(objects, [lambda x: x, lambda x: -x])] == [1, -1]


UNPICKLABLE = {
    "lock": threading.Lock(),
    "generator": (number for number in ()),
    "frame": sys._getframe(),
    "file": sys.__stderr__,
}


@pytest.mark.parametrize("what", UNPICKLABLE)
def test_what_cannot_be_pickled_is_named_by_its_type(objects: Objects, what: str) -> None:
    value = UNPICKLABLE[what]
    with pytest.raises(TypeMismatchError, match=type(value).__name__) as caught:
        objects.put(value)
    assert isinstance(caught.value, TypeError)
    assert caught.value.__cause__ is not None
    with pytest.raises(TypeMismatchError, match="list"):
        objects.put([np.zeros(COUNT), value])
    assert objects.count() == 0


class Grudging:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError(), KeyError(1), RecursionError()])
def test_whatever_pickling_raises_is_told_as_ours(objects: Objects, error: Exception) -> None:
    with pytest.raises(TypeMismatchError, match="Grudging cannot be pickled"):
        objects.put(Grudging(error))
    assert objects.count() == 0


def test_an_interrupt_while_pickling_is_no_error_of_the_value(objects: Objects) -> None:
    with pytest.raises(KeyboardInterrupt):
        objects.put(Grudging(KeyboardInterrupt()))
    assert objects.count() == 0


@pytest.mark.parametrize("cloudpickle", [True, False])
def test_memory_that_runs_out_is_no_error_of_the_value(
    objects: Objects, space: Space, monkeypatch: pytest.MonkeyPatch, cloudpickle: bool
) -> None:
    if not cloudpickle:
        monkeypatch.setitem(sys.modules, "cloudpickle", None)
    several: list[Any] = [Grudging(MemoryError("no more")), [lambda: 0, Grudging(MemoryError())]]
    for value in several[: 2 if cloudpickle else 1]:
        for put in (objects.put, lambda value: space.store("v", value)):
            with pytest.raises(MemoryError):
                put(value)


def deeper() -> None:
    deeper()


class Deep:
    """Calls itself without end when it is loaded."""

    def __reduce__(self) -> Any:
        return deeper, ()


def test_what_is_nested_too_deep_is_told_so(objects: Objects) -> None:
    with pytest.raises(TypeMismatchError, match="pickled: it is nested deeper") as caught:
        objects.put(Grudging(RecursionError()))
    assert "setrecursionlimit" in caught.value.hint
    key = objects.put(Deep())
    with pytest.raises(TypeMismatchError, match="loaded here: it is nested deeper") as caught:
        objects.get(key)
    assert "setrecursionlimit" in caught.value.hint


class Strided:
    """Gives pickle a buffer with gaps, which cannot be taken out of band."""

    def __init__(self, size: int) -> None:
        self.array = np.arange(size)[::2]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return bytes, (pickle.PickleBuffer(self.array),)


@pytest.mark.parametrize("size", [4, 4 * COUNT])
def test_a_buffer_with_gaps_is_refused_as_a_value(objects: Objects, size: int) -> None:
    with pytest.raises(TypeMismatchError, match="Strided"):
        objects.put(Strided(size))
    assert objects.count() == 0


def test_a_value_nested_deeper_than_calls_is_refused(objects: Objects) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TypeMismatchError, match="list"):
        objects.put(deep)
    while deep:
        deep = deep[0]


class Vanishing:
    """A class that is gone when its object is loaded."""


def test_a_class_that_is_not_importable_here_is_named(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = objects.put_many([Vanishing(), [Vanishing(), np.zeros(COUNT)]])
    monkeypatch.delattr(sys.modules[__name__], "Vanishing")
    for key in keys:
        with pytest.raises(TypeMismatchError, match="Vanishing") as caught:
            objects.get(key)
        assert "importable" in caught.value.hint
    with pytest.raises(TypeMismatchError):
        objects.get_many(keys)
    assert objects.meta(keys[0])["typename"] == "vineyard::PickleBuffer"
    assert objects.exists(keys[1])


@pytest.mark.parametrize("form", [0, 8, 42, 0x7F])
def test_a_record_of_an_unknown_form_is_damaged(form: int) -> None:
    with pytest.raises(CorruptError, match=f"{form:#04x}"):
        values.decode(bytes([form]) + bytes(20))


# Other processes: what is there depends on what they may import.


def run_python(tmp_path: Path, script: str, *arguments: str) -> str:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, path, tmp_path / "memory", tmp_path / "data", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_cloudpickle_a_lambda_is_refused_with_the_way_out(tmp_path: Path) -> None:
    script = """
        import sys
        sys.modules["cloudpickle"] = None
        import entrepot
        with entrepot.open("d", directory=sys.argv[1], data_directory=sys.argv[2]) as depot:
            try:
                depot.objects.put(lambda: 1)
            except entrepot.TypeMismatchError as error:
                print(error)
            print(depot.objects.get(depot.objects.put({"plain": 1})))
            depot.destroy()
    """
    printed = run_python(tmp_path, script)
    assert "a function cannot be pickled" in printed
    assert "pip install 'entrepot[cloudpickle]'" in printed
    assert printed.endswith("{'plain': 1}")


DEFINES = """
    import sys
    {importing}
    import entrepot
    class Point:
        def __init__(self, x):
            self.x = x
        def double(self):
            return 2 * self.x
    with entrepot.open("d", directory=sys.argv[1], data_directory=sys.argv[2]) as depot:
        key = depot.objects.put(Point(21), name="point")
        assert depot.objects.get(key).double() == 42
        assert type(depot.objects.get(key)) is Point
"""
LOADS = """
    import sys
    import entrepot
    with entrepot.open("d", directory=sys.argv[1], data_directory=sys.argv[2]) as depot:
        try:
            print(depot.objects.get(name="point").double())
        except entrepot.TypeMismatchError as error:
            print(error)
        depot.destroy()
"""


def test_a_class_of_main_travels_along_where_cloudpickle_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    run_python(tmp_path, DEFINES.format(importing="import cloudpickle"))
    assert run_python(tmp_path, LOADS) == "42"


def test_a_class_of_main_that_is_not_there_is_named(tmp_path: Path) -> None:
    run_python(tmp_path, DEFINES.format(importing="sys.modules['cloudpickle'] = None"))
    printed = run_python(tmp_path, LOADS)
    assert "cannot be loaded here" in printed
    assert "Point" in printed


# Any value at all.

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.text(st.characters()),
    st.binary(max_size=300), st.binary(max_size=100).map(bytearray), st.datetimes(),
    st.complex_numbers(allow_nan=False), st.decimals(allow_nan=False), st.uuids(),
    st.sampled_from([2**63, 2**64, -(2**63) - 1, -0.0, math.nan, "\ud800"]),
    st.sampled_from(["x" * 20_000, b"y" * 20_000]),
)  # fmt: skip
ARRAYS = npst.arrays(
    st.one_of(
        npst.scalar_dtypes(),
        npst.array_dtypes(max_size=3),
        st.sampled_from(["S3", "U2", ">M8[D]"]).map(np.dtype),
    ),
    npst.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=6),
)
STRETCHED = st.builds(np.repeat, ARRAYS, st.sampled_from([700, 3000]))
LEAVES = SCALARS | ARRAYS | STRETCHED
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4),
        st.builds(lambda value: Thing(value=value), inner),
    ),
    max_leaves=8,
)


@given(ANYTHING)
@example([np.zeros((0, 3), "V5")])
@example([np.zeros(0, "M8[s]"), np.asfortranarray(np.ones((2, 3), "m8[D]"))])
def test_any_value_survives(value: Any) -> None:
    got = straight(value)
    assert same(got, value)
    assert same(straight(got), value), "what came back may be stored again"


@given(ARRAYS, st.data())
def test_any_view_of_any_array_survives(array: Any, data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(array.ndim)))
    view = array.transpose(axes)
    if array.ndim:
        view = view[data.draw(npst.basic_indices(view.shape, allow_ellipsis=False))]
    view = np.asarray(view)
    for value in (view, [view]):
        got = straight(value)
        assert same(got if value is view else got[0], view)


@given(ANYTHING)
def test_what_is_told_of_a_record_fits_its_value(value: Any) -> None:
    encoded = values.encode(value)
    record = encoded if isinstance(encoded, bytes) else values.bulk_record(encoded, Ref(64, 128))
    assert (values.bulk_ref(record) is None) == isinstance(encoded, bytes)
    told = values.describe(record)
    assert told.nbytes >= 0
    assert told.typename.startswith(("vineyard::", "entrepot::"))
    assert values.tree_of(record) is None
    if type(value) is np.ndarray and told.typename.startswith("vineyard::Tensor"):
        assert told.nbytes == value.nbytes
        assert told.fields["shape_"] == list(value.shape)
