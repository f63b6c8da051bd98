"""Every kind of value: what comes back is what went in, and lies in shared memory."""

from __future__ import annotations

import collections
import datetime as dt
import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as npst

import entrepot.vineyard as vineyard
from entrepot.vineyard.core.client import Client

BIG = 20_000
"""Items: what is larger than a few kilobytes lies in shared memory."""


def numbered(values: list[Any]) -> list[str]:
    return [f"{number}-{type(value).__name__}" for number, value in enumerate(values)]


def through(client: Client, value: Any) -> Any:
    id = client.put(value)
    found = client.get(id)
    assert client._store.depot.check() == []
    return found


# Plain values.

PLAIN = [
    0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**200),
    True, False, 0.0, -0.0, 1.5, math.inf, -math.inf, sys.float_info.max,
    "", "text", "é\U0001f600", "\x00", "x" * 100_000, "\ud800",
    None, 1 + 2j, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.date(2026, 1, 1), dt.timedelta(5),
    {}, {"a": 1, 2: (3, [4])}, set(), {1, 2}, frozenset([1]), bytearray(b"abc"), range(5),
    Ellipsis, int, dict, collections.OrderedDict(a=1), slice(1, 2),
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=numbered(PLAIN))
def test_a_plain_value_comes_back_as_it_was(client: Client, value: Any) -> None:
    found = through(client, value)
    assert found == value
    assert type(found) is type(value)


def test_nan_comes_back_as_nan(client: Client) -> None:
    assert math.isnan(through(client, math.nan))


@pytest.mark.parametrize(
    "value",
    [[], (), [1], [1, "a", None], ([1, (2, [3])], {"a": [1]}), [np.arange(3).tolist(), [[]]]],
    ids=repr,
)
def test_lists_and_tuples_come_back_as_tuples(client: Client, value: Any) -> None:
    def as_tuple(item: Any) -> Any:
        return tuple(map(as_tuple, item)) if isinstance(item, (list, tuple)) else item

    assert through(client, value) == as_tuple(value)


def test_a_named_tuple_is_a_tuple(client: Client) -> None:
    Point = collections.namedtuple("Point", "x y")
    assert through(client, Point(1, 2)) == (1, 2)


def test_ids_and_objects_in_a_list_become_members(client: Client) -> None:
    id = client.put(np.arange(3))
    found = client.get_meta(client.put([id, client.get_object(id), client.get_meta(id)]))
    assert [found[f"__elements_-{n}"].id for n in range(3)] == [id] * 3


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000])
@pytest.mark.parametrize("kind", [bytes, memoryview, pa.py_buffer])
def test_bytes_are_blobs(client: Client, kind: Any, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    id = client.put(kind(body))
    assert int(id) >> 63
    found = client.get(id)
    assert isinstance(found, memoryview)
    assert (found.format, found.readonly, bytes(found)) == ("b", True, body)


def test_a_memoryview_of_numbers_is_its_bytes(client: Client) -> None:
    numbers = np.arange(10.0)
    assert bytes(through(client, memoryview(numbers))) == numbers.tobytes()
    assert bytes(through(client, memoryview(numbers)[::2])) == numbers[::2].tobytes()


def test_what_cannot_be_pickled(client: Client) -> None:
    with pytest.raises(TypeError, match="pickle"):
        client.put(n for n in range(3))
    assert client.list_objects("*") == []


# Arrays.

DTYPES = [
    "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", "S5", "U3",
    ">i4", ">f8", ">U2", "M8[ns]", "M8[D]", "m8[s]", "V7",
    [("a", "i4"), ("b", "f8")], [("a", ">i2", (2,)), ("b", "S3")],
]  # fmt: skip


def same(found: Any, array: Any) -> None:
    assert type(found) is type(array)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (0, 3), (BIG,), (50, 100)], ids=str)
def test_an_array_comes_back_as_it_was(client: Client, dtype: Any, shape: tuple[int, ...]) -> None:
    kind = np.dtype(dtype)
    count = math.prod(shape)
    array = np.frombuffer(
        (b"0123456\x01" * (count * kind.itemsize // 8 + 1))[: count * kind.itemsize], kind
    )
    if kind.kind == "?":
        array = np.arange(count) % 2 == 0
    if kind.kind == "U":
        array = np.array(["ab"] * count, kind)
    same(through(client, array.reshape(shape)), array.reshape(shape))


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6000.0).reshape(60, 100)),
        np.arange(10_000)[::2],
        np.arange(10_000)[::-1],
        np.broadcast_to(np.arange(5), (1000, 5)),
        np.arange(6000).reshape(20, 30, 10).transpose(2, 0, 1),
    ],
    ids=["fortran", "strided", "reversed", "broadcast", "transposed"],
)
def test_arrays_of_any_order(client: Client, array: Any) -> None:
    found = through(client, array)
    np.testing.assert_array_equal(found, array)
    assert found.flags.c_contiguous or (found.flags.f_contiguous and array.flags.f_contiguous)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, "a", None], object),
        np.array(["a", None, "b"], object),
        np.array([[1, {}], [(), []]], object),
        np.ma.masked_array([1, 2, 3], [0, 1, 0]),
        np.matrix([[1, 2], [3, 4]]),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    ],
    ids=["objects", "strings", "nested", "masked", "matrix", "record"],
)
def test_arrays_of_other_kinds(client: Client, array: Any) -> None:
    found = through(client, array)
    assert type(found) is type(array)
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


@given(
    npst.arrays(
        npst.scalar_dtypes() | npst.array_dtypes(max_size=3).filter(lambda d: d.itemsize > 0),
        npst.array_shapes(min_dims=0, min_side=0, max_side=40, max_dims=3),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_array_comes_back_as_it_was(client: Client, array: Any) -> None:
    same(client.get(client.put(array)), array)


def test_large_arrays_are_views_of_shared_memory(client: Client) -> None:
    id = client.put(np.arange(BIG))
    first, second = client.get(id), client.get(id)
    assert first.ctypes.data == second.ctypes.data
    assert not first.flags.writeable
    assert client.is_shared_memory(first)
    client.delete(id)
    for number in range(20):
        client.delete(client.put(np.full(BIG, number)))
    assert (first == np.arange(BIG)).all(), "what a reader holds stays as it is"


def test_what_came_from_the_store_reuses_its_blob(client: Client) -> None:
    id = client.put(np.arange(BIG))
    array = client.get(id)
    before = client.status.memory_usage
    again = client.put(array)
    assert again != id
    assert client.get_meta(again)["buffer_"].id == client.get_meta(id)["buffer_"].id
    assert client.status.memory_usage == before
    client.delete(id)
    assert (client.get(again) == np.arange(BIG)).all()
    part = client.put(array[1:])
    assert client.get_meta(part)["buffer_"].id != client.get_meta(again)["buffer_"].id
    assert (client.get(part) == np.arange(BIG)[1:]).all()


def test_equal_arrays_share_nothing(client: Client) -> None:
    a, b = client.put(np.arange(BIG)), client.put(np.arange(BIG))
    assert client.get_meta(a)["buffer_"].id != client.get_meta(b)["buffer_"].id


def test_the_metadata_of_a_tensor(client: Client) -> None:
    meta = client.get_meta(client.put(np.arange(6, dtype="f8").reshape(2, 3)))
    assert {k: v for k, v in meta.items() if k.endswith("_") and k != "buffer_"} == {
        "shape_": "[2, 3]", "order_": '"C"', "partition_index_": "[]",
        "value_type_": "float64", "value_type_meta_": "<f8",
    }  # fmt: skip
    assert (meta.typename, meta.nbytes) == ("vineyard::Tensor<double>", 48)


# Frames.

INDEXES = [
    pd.RangeIndex(3), pd.RangeIndex(5, 20, 5, name="r"), pd.Index([3, 1, 2]), pd.Index([]),
    pd.Index(["a", "b", "c"], name="names"), pd.Index([1.5, np.nan, 2]), pd.Index([1, "a", None], dtype=object),
    pd.date_range("2026-01-01", periods=3, freq="D", name="d"), pd.date_range("2026", periods=3, tz="Europe/Rome"),
    pd.timedelta_range("1h", periods=3), pd.period_range("2026-01", periods=3, freq="M"),
    pd.CategoricalIndex(["a", "b", "a"]), pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", None]),
    pd.IntervalIndex.from_breaks([0, 1, 2, 3]), pd.Index([1, 2, None], dtype="Int64"),
    pd.Index([1, 2, 3], name=("a", 1)), pd.Index([True, False, True]),
]  # fmt: skip


@pytest.mark.parametrize("index", INDEXES, ids=numbered(INDEXES))
def test_an_index_comes_back_as_it_was(client: Client, index: Any) -> None:
    pd.testing.assert_index_equal(through(client, index), index, exact=True)
    series = pd.Series(range(len(index)), index=index, name="s")
    pd.testing.assert_series_equal(through(client, series), series, check_freq=True)


COLUMNS: dict[str, Any] = {
    "int64": [1, 2, 3],
    "int8": np.array([1, 2, 3], "i1"),
    "float": [1.5, np.nan, math.inf],
    "bool": [True, False, True],
    "str": ["a", "b", "c"],
    "none": ["a", None, "c"],
    "object": [1, "a", {}],
    "complex": [1j, 2, 3],
    "datetime": pd.date_range("2026", periods=3),
    "tz": pd.date_range("2026", periods=3, tz="UTC"),
    "timedelta": pd.to_timedelta([1, 2, 3], unit="s"),
    "period": pd.period_range("2026", periods=3, freq="D"),
    "category": pd.Categorical(["a", "b", "a"], categories=["b", "a", "c"], ordered=True),
    "Int64": pd.array([1, None, 3], "Int64"),
    "boolean": pd.array([True, None, False], "boolean"),
    "string": pd.array(["a", None, "c"], "string"),
    "arrow": pd.array(["a", None, "c"], pd.ArrowDtype(pa.string())),
    "interval": pd.interval_range(0, 3),
    "sparse": pd.arrays.SparseArray([0.0, 0.0, 1.0]),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_series_and_frames_of_each_type(client: Client, kind: str) -> None:
    series = pd.Series(COLUMNS[kind], name=kind)
    pd.testing.assert_series_equal(through(client, series), series)
    frame = pd.DataFrame({"first": [1, 2, 3], kind: COLUMNS[kind]})
    pd.testing.assert_frame_equal(through(client, frame), frame)


@pytest.mark.parametrize("name", [None, "a", 5, 1.5, ("a", 1), dt.date(2026, 1, 1), b"x"], ids=repr)
def test_the_name_of_a_series_may_be_anything(client: Client, name: Any) -> None:
    assert through(client, pd.Series([1], name=name)).name == name


def frames() -> dict[str, Any]:
    plain = pd.DataFrame({"a": range(3), "b": [1.5, 2, 3]})
    return {
        "plain": plain,
        "empty": pd.DataFrame(),
        "no rows": plain.iloc[:0],
        "no columns": pd.DataFrame(index=[1, 2, 3]),
        "duplicate names": pd.DataFrame(np.arange(6).reshape(2, 3), columns=["a", "a", "b"]),
        "numbers as names": pd.DataFrame(np.arange(6).reshape(2, 3)),
        "dates as names": pd.DataFrame([[1, 2]], columns=pd.date_range("2026", periods=2)),
        "levels": pd.DataFrame(
            np.arange(8).reshape(2, 4),
            columns=pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", "y"]),
            index=pd.MultiIndex.from_tuples([("p", 1), ("q", 2)]),
        ),
        "all types": pd.DataFrame({kind: COLUMNS[kind] for kind in COLUMNS}),
        "named axes": plain.rename_axis("rows").rename_axis("columns", axis=1),
        "one block": pd.DataFrame(np.arange(20_000.0).reshape(5000, 4), columns=list("abcd")),
    }


@pytest.mark.parametrize("which", frames())
def test_a_frame_comes_back_as_it_was(client: Client, which: str) -> None:
    frame = frames()[which]
    found = through(client, frame)
    pd.testing.assert_frame_equal(found, frame, check_freq=True)
    pd.testing.assert_frame_equal(through(client, found), frame)


def test_columns_are_views_of_shared_memory(client: Client) -> None:
    frame = pd.DataFrame(
        {"a": np.arange(BIG), "b": np.arange(BIG) * 1.5, "c": np.arange(BIG) % 2 == 0}
    )
    frame["d"] = pd.date_range("2026", periods=BIG, freq="s")
    found = client.get(client.put(frame))
    for name in frame:
        assert client.is_shared_memory(found[name].to_numpy())
    found["new"] = 1
    assert found["new"].sum() == BIG
    again = client.put(found)
    assert client.get_meta(again)["__values_-value-0"]["buffer_"].id == client.find_shared_memory(
        found["a"].to_numpy()
    )


def test_the_metadata_of_a_frame(client: Client) -> None:
    meta = client.get_meta(client.put(pd.DataFrame({"a": [1], "b": [2.0]})))
    assert meta.typename == "vineyard::DataFrame"
    assert (meta["columns_"], meta["__values_-size"]) == ('["a", "b"]', 2)
    assert (meta["__values_-key-1"], meta["__values_-value-1"].typename) == (
        '"b"',
        "vineyard::Tensor<double>",
    )
    assert (meta["partition_index_row_"], meta["partition_index_column_"]) == (-1, -1)
    assert meta["index_"].typename == "vineyard::Index"


# Arrow.

ARROW = [
    pa.array([1, 2, None]), pa.array([], pa.int64()), pa.array([1, 2, 3], pa.uint8()), pa.array([1.5, None]),
    pa.array([1.5], pa.float32()), pa.array(np.array([1.5], "f2")), pa.array([True, None, False]), pa.nulls(3),
    pa.array(["a", None, "c"]), pa.array(["a", None], pa.large_string()), pa.array([b"a", None]),
    pa.array([b"a", None], pa.large_binary()), pa.array([b"abc", None], pa.binary(3)), pa.array([], pa.large_string()),
    pa.array([[1, 2], None, []]), pa.array([[1, 2], None], pa.large_list(pa.int8())), pa.array([{"a": 1, "b": "x"}, None]),
    pa.array(["a", "b", "a"]).dictionary_encode(), pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
    pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]), pa.array([dt.date(2026, 1, 1)]), pa.array([dt.time(1)]), pa.array([dt.timedelta(1)]),
    pa.array([1, 2], pa.decimal128(5, 2)), pa.array([[1, 2]], pa.list_(pa.int32(), 2)),
    pa.chunked_array([[1, 2], [3]]), pa.array(range(100))[10:20], pa.array([True, False] * 50)[3:9],
    pa.array(["abc", "d", None, "ef"], pa.large_string())[1:], pa.array(range(BIG)),
]  # fmt: skip


@pytest.mark.parametrize("array", ARROW, ids=numbered(ARROW))
def test_arrays_of_arrow(client: Client, array: Any) -> None:
    found = through(client, array)
    assert type(found) is type(array)
    assert found.equals(array)
    assert found.type == array.type
    found.validate(full=True)
    if isinstance(array, pa.Array):
        batch = pa.RecordBatch.from_arrays([array], ["x"])
        got = through(client, batch)
        assert got.equals(batch)
        assert got.schema == batch.schema


def test_scalars_and_schemas_of_arrow(client: Client) -> None:
    assert through(client, pa.scalar(5)) == pa.scalar(5)
    schema = pa.schema(
        [pa.field("a", pa.string(), nullable=False), ("b", pa.list_(pa.int8()))], {"k": "v"}
    )
    found = through(client, schema)
    assert found.equals(schema, check_metadata=True)


def test_a_table_comes_back_as_it_was(client: Client) -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1, None], "s": ["x", "y"]})
    for table in (
        pa.Table.from_batches([batch, batch.slice(1), batch]),
        pa.Table.from_batches([], batch.schema),
        pa.table({}),
        pa.table({"a": pa.chunked_array([[1], [2, 3]])}).replace_schema_metadata({"k": "v"}),
    ):
        found = through(client, table)
        assert found.equals(table)
        assert found.schema.equals(table.schema, check_metadata=True)
        assert found.to_batches() == table.to_batches()


def test_buffers_of_arrow_are_views_of_shared_memory(client: Client) -> None:
    for array in (
        pa.array(np.arange(BIG)),
        pa.array(["text"] * BIG),
        pa.array(["text"] * BIG, pa.large_string()),
    ):
        found = client.get(client.put(array))
        assert client.find_shared_memory(found.buffers()[-1].address) is not None


def test_a_polars_frame_comes_back_as_it_was(client: Client) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, 2], "s": ["x", None]})
    assert through(client, frame).equals(frame)


# Sparse matrices.


@pytest.mark.parametrize("form", ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_a_sparse_matrix_comes_back_as_it_was(client: Client, form: str, kind: str) -> None:
    matrix = getattr(sp, f"{form}_{kind}")(np.diag(np.arange(200.0)))
    found = through(client, matrix)
    assert type(found) is type(matrix)
    assert (found.toarray() == matrix.toarray()).all()


# Of a whole cluster.


def test_global_tensors_and_frames(client: Client) -> None:
    from entrepot.vineyard.data.dataframe import make_global_dataframe
    from entrepot.vineyard.data.tensor import make_global_tensor

    blocks = [client.put(np.arange(3) + n) for n in range(2)]
    meta = make_global_tensor(client, blocks, shape=(6,), partition_shape=(2,))
    assert (meta.typename, meta.isglobal, meta["partitions_-size"]) == (
        "vineyard::GlobalTensor",
        True,
        2,
    )
    assert (meta["shape_"], meta["partition_shape_"]) == ("[6]", "[2]")
    unknown = make_global_tensor(client, blocks)
    assert (unknown["shape_"], unknown["partition_shape_"]) == ("[]", "[]")
    assert client.get_object(meta.id).ispersist
    assert client.get_object(blocks[0]).ispersist
    frame = pd.DataFrame({"a": [1]})
    whole = make_global_dataframe(client, [client.put(frame), client.get_object(client.put(frame))])
    found = client.get(whole.id)
    assert isinstance(found, list)
    assert [len(part) for part in found] == [1, 1]


# Contexts.


def test_a_builder_and_a_resolver_of_ones_own(client: Client) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    def build(client: Any, value: Point, builder: Any, **kw: Any) -> vineyard.ObjectMeta:
        meta = vineyard.ObjectMeta()
        meta["typename"] = "my::Point"
        meta["twice"] = kw.get("twice", False)
        meta.add_member("x", builder.run(client, value.x))
        return client.create_metadata(meta)

    def resolve(obj: Any, resolver: Any, **kw: Any) -> Point:
        return Point(resolver.run(obj.member("x")) * kw.get("times", 1))

    with (
        vineyard.builder_context({Point: build}),
        vineyard.resolver_context({"my::Point": resolve}),
    ):
        id = client.put(Point(5), twice=True)
        assert client.get_meta(id)["twice"] is True
        assert client.get(id).x == 5
        assert client.get(id, times=3).x == 15
        found = client.get(client.put([Point(1), Point(2)]))
        assert [point.x for point in found] == [1, 2]
    assert isinstance(client.get(id), vineyard.Object)
    assert client.get(id, resolver=lambda obj, **_: obj.typename) == "my::Point"
    assert client.put(Point(6), builder=lambda client, value: "as it is") == "as it is"


def by_hand(client: Any, value: Any, **_: Any) -> vineyard.ObjectMeta:
    from entrepot.vineyard.data import utils

    meta = vineyard.ObjectMeta()
    meta["typename"] = f"my::Array<{utils.normalize_cpptype(value.dtype)}>"
    meta["kind"] = value.dtype.name
    meta["shape"] = utils.to_json([np.int64(length) for length in value.shape])
    meta.add_member("body", utils.build_numpy_buffer(client, value))
    return client.create_metadata(meta)


def read_by_hand(obj: Any) -> Any:
    from entrepot.vineyard.data import utils

    dtype = utils.normalize_dtype(obj.meta["kind"])
    flat = np.frombuffer(memoryview(obj.member("body")), dtype)
    return flat.reshape(utils.from_json(obj.meta["shape"]))


@pytest.mark.parametrize("size", [0, 3, BIG], ids=["empty", "small", "large"])
@pytest.mark.parametrize("kind", ["int32", "int64", "float32", "float64", "uint8"])
def test_a_builder_may_make_buffers_with_the_packages_helpers(
    client: Client, kind: str, size: int
) -> None:
    array = np.arange(size * 2).astype(kind).reshape(2, size)
    with (
        vineyard.builder_context({np.ndarray: by_hand}),
        vineyard.resolver_context({"my::Array": read_by_hand}),
    ):
        id = client.put(array.T)
        np.testing.assert_array_equal(client.get(id), array.T)
        assert client.get(id).dtype == array.dtype
    small = {"int32": "int", "float32": "float", "float64": "double"}.get(kind, kind)
    assert client.get_meta(id).typename == f"my::Array<{small}>"


def test_a_buffer_that_is_a_blob_already_is_taken_as_it_is(client: Client) -> None:
    from entrepot.vineyard.data.utils import build_buffer, build_numpy_buffer, normalize_dtype

    id = client.put(np.arange(BIG))
    found = client.get(id)
    blob = client.get_meta(id)["buffer_"].id
    assert build_numpy_buffer(client, found).id == blob
    assert build_numpy_buffer(client, found[: BIG // 2]).id != blob
    assert build_buffer(client, None, 0).id == build_buffer(client, b"", 0).id
    assert bytes(memoryview(build_buffer(client, b"abc", 3))) == b"abc"
    assert len(build_numpy_buffer(client, np.array([{}], dtype=object))) > 0
    assert normalize_dtype("str32", "<U8") == normalize_dtype(np.dtype("<U8"))
    assert normalize_dtype(int) == normalize_dtype("long long") == np.int64
    assert normalize_dtype("other") == "other"


def test_a_resolver_of_ones_own_gets_the_keywords_of_get_and_no_others(client: Client) -> None:
    def resolve(obj: Any, resolver: Any, **keywords: Any) -> dict[str, Any]:
        return keywords

    id = client.put(np.arange(3))
    with vineyard.resolver_context({"vineyard::Tensor": resolve}):
        assert client.get(id) == {}
        assert client.get(id, more=1) == {"more": 1}


@pytest.mark.parametrize("value", [5, True, 2.5, "text"], ids=["int", "bool", "float", "str"])
def test_a_scalar_may_be_global(client: Client, value: Any) -> None:
    id = client.put(value, global_=True)
    assert client.get_meta(id).isglobal
    assert client.get(id) == value
    assert not client.get_meta(client.put(value, global_=False)).isglobal


def test_own_builders_take_the_place_of_ours(client: Client) -> None:
    with vineyard.builder_context() as context:
        context.register(int, lambda client, value: client.put(f"int {value}"))
        assert client.get(client.put(5)) == "int 5"
    assert client.get(client.put(5)) == 5
    with vineyard.resolver_context({"vineyard::Scalar": lambda obj: obj.meta["value_"] + 1}):
        assert client.get(client.put(5)) == 6


def test_a_resolver_that_fails(client: Client) -> None:
    def fail(obj: Any) -> None:
        raise ZeroDivisionError("oh")

    id = client.put(5)
    with vineyard.resolver_context({"vineyard::Scalar": fail}):
        with pytest.raises(
            RuntimeError, match=r"Unable to construct .* vineyard::Scalar<int>.* oh"
        ) as caught:
            client.get(id)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_contexts_are_of_one_thread_and_nest(client: Client) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with vineyard.resolver_context({"vineyard::Scalar": lambda obj: "outer"}) as outer:
        assert outer.parent_context is vineyard.default_resolver_context
        with vineyard.resolver_context({"vineyard::Scalar": lambda obj: "inner"}):
            id = client.put(5)
            assert client.get(id) == "inner"
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(client.get, id).result() == 5
        assert client.get(id) == "outer"


def test_drivers_become_methods(client: Client) -> None:
    with vineyard.driver_context({"vineyard::Tensor": {"total": lambda self: self.sum()}}):
        assert client.get(client.put(np.arange(4))).total() == 6
