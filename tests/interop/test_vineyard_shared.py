"""One catalog: what an original client, `entrepot.vineyard` and `depot.objects` put is one thing.

Each value is put by each of them and got by all. Left out are the combinations in which the
original cannot read even what it has put itself (see docs/vineyard.md).
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse

import entrepot.vineyard as ours

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:Passing a (Single)?BlockManager:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'sparse_index' parameter"),  # the original gives it
    pytest.mark.filterwarnings("ignore:No other vineyard instance:UserWarning"),
]

SYSTEM = {"id", "instance_id", "signature", "transient", "__timestamp", "length", "nbytes"}
OURS = {"columns_index_", "attrs_", "is_whole_"}


class Sides(NamedTuple):
    """The three that share a depot."""

    original: Any
    face: Any
    depot: Any
    remote: Any

    def put(self, side: str, value: Any) -> int:
        put = self.depot.objects.put if side == "depot" else getattr(self, side).put
        return int(put(value))

    def get(self, side: str, id: int) -> Any:
        if side == "depot":
            return self.depot.objects.get(id)
        client = getattr(self, side)
        return client.get((ours if side == "face" else original()).ObjectID(id))

    def meta(self, id: int) -> dict[str, Any]:
        """Return the metadata as the original sees it."""
        return json.loads(repr(self.original.get_meta(original().ObjectID(id))))


def original() -> Any:
    return importlib.import_module("vineyard")


@pytest.fixture(scope="module")
def module_sides(gateway_socket: str) -> Iterator[Sides]:
    theirs = original().connect(gateway_socket).fork()
    face = ours.connect(gateway_socket)
    host, port = theirs.rpc_endpoint.split(":")
    remote = original().connect(host, int(port))
    yield Sides(theirs, face, face._store.depot, remote)
    remote.close()
    theirs.close()
    face.close()


@pytest.fixture
def sides(module_sides: Sides) -> Iterator[Sides]:
    yield module_sides
    module_sides.face.clear()


def same(found: Any, value: Any) -> None:
    """Check that what was got is what was put, but for names of classes that only one side has."""
    if isinstance(value, (pd.DataFrame, pd.Series)):
        assert str(found)  # pandas cannot print what the original makes of some arrays
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(pd.DataFrame(found), value, check_freq=False)
    elif isinstance(value, pd.Series):
        assert found.tolist() == value.tolist()
        assert (found.name, found.dtype) == (value.name, value.dtype)
        pd.testing.assert_index_equal(found.index, value.index, exact="equiv")
    elif isinstance(value, pd.Index):
        pd.testing.assert_index_equal(found, value, exact="equiv")
    elif scipy.sparse.issparse(value):
        assert (type(found), found.dtype) == (type(value), value.dtype)
        assert found.toarray().tolist() == value.toarray().tolist()
    elif isinstance(value, np.ndarray):
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert found.tolist() == value.tolist()
    elif isinstance(value, tuple):
        assert len(found) == len(value)
        for one, other in zip(found, value, strict=True):
            same(one, other)
    elif isinstance(value, bytes):
        assert bytes(found) == value
    elif hasattr(value, "equals"):
        assert found.equals(value)
    else:
        assert found == value


def members(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the fields of metadata that are not the system's, of all its members too."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if key in SYSTEM | OURS:
            continue
        if isinstance(value, dict):
            flat |= members(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def arrays() -> dict[str, Any]:
    dtypes = [
        "i1",
        "i2",
        "i4",
        "i8",
        "u1",
        "u2",
        "u4",
        "u8",
        "f2",
        "f4",
        "f8",
        "c8",
        "c16",
        "?",
        "M8[ns]",
        "M8[s]",
        "m8[ns]",
    ]
    values: dict[str, Any] = {f"array {d}": np.arange(6).astype(d).reshape(2, 3) for d in dtypes}
    return values | {
        "array without axes": np.array(5.0),
        "array without items": np.zeros((0, 3)),
        "array in Fortran order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "transposed array": np.arange(60_000.0).reshape(200, 300).T,
        "large array": np.arange(100_000),
        "array of objects": np.array(["a", None, [1]], object),
    }


SPARSE = scipy.sparse.random(8, 8, 0.2, random_state=0)
EXACT: dict[str, Any] = {
    "int": 5, "negative int": -5, "float": 2.5, "str": "täxt", "empty str": "",
    "tuple": (1, ("a", 2.5), ()),
    **arrays(),
    "index": pd.Index([1, 2, 3], name="n"), "index of floats": pd.Index([1.5, 2]),
    "frame": pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}, index=[7, 8]),
    "frame of bools": pd.DataFrame({"a": [True, False]}, index=[0.5, 1.5]),
    "frame with columns of ints": pd.DataFrame({0: [1, 2], 1: [3.0, 4]}, index=[7, 8]),
    **{
        f"matrix {form}": getattr(scipy.sparse, f"{form}_matrix")(SPARSE)
        for form in ("bsr", "coo", "csc", "csr", "dia")
    },
    "sparse array": pd.arrays.SparseArray([0, 0, 1.0]),
    "sparse array of ints": pd.arrays.SparseArray([0, 0, 1]),
    **{
        f"arrow {kind}": pa.array([1, None, 3], kind)
        for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "double")
    },
    "arrow bools": pa.array([True, None]), "arrow nulls": pa.nulls(3), "arrow slice": pa.array(range(10))[3:6],
    "arrow strings": pa.array(["a", None, ""], pa.large_string()),
    "arrow slice of strings": pa.array(["a", "b", "c"], pa.large_string())[1:],
    "arrow nothing": pa.array([], pa.int64()),
    "batch": pa.record_batch({"a": [1, 2], "b": [0.5, None]}),
    "table": pa.table({"a": [1, 2], "b": [0.5, None]}),
    "table of chunks": pa.concat_tables([pa.table({"a": [1]}), pa.table({"a": [2]})]),
}  # fmt: skip
"""Put by either side, these have the same type names and fields."""

OTHERS: dict[str, Any] = {
    "none": None, "dict": {"a": [1]}, "complex": 1 + 2j, "set": {1, 2}, "bytearray": bytearray(b"x"),
    "bytes": b"abc", "no bytes": b"", "many bytes": b"x" * 200_000,
    "number of numpy": np.int64(5), "timestamp": pd.Timestamp("2026-01-01"),
    "chunked array": pa.chunked_array([[1], [2]]), "arrow binary": pa.array([b"a", None]),
    "arrow dictionary": pa.array(["a", "a"]).dictionary_encode(), "arrow struct": pa.array([{"a": 1}]),
    "large list": pa.array([[1], [2, 3]], pa.large_list(pa.int64())),
    "schema": pa.schema([("a", pa.int64())], metadata={b"k": b"v"}),
    "range": pd.RangeIndex(3), "index of dates": pd.DatetimeIndex(["2026-01-01", "2026-01-03"]),
    "series": pd.Series([1, 2], name="s"), "series with an index": pd.Series([1.5, 2], index=[5, 6]),
    "plain frame": pd.DataFrame({c: np.arange(50_000.0) for c in "abc"}),
    "frame by date": pd.DataFrame({"a": [1, 2]}, index=pd.DatetimeIndex(["2026-01-01", "2026-01-03"])),
    "frame of dates": pd.DataFrame({"d": pd.date_range("2026", periods=2), "n": [1, 2]}),
    "frame of objects": pd.DataFrame({"o": pd.Series(["a", None], dtype=object)}),
    "csr array": scipy.sparse.csr_array(SPARSE),
    "frame without rows": pd.DataFrame({"a": np.zeros(0)}),
    "table of categories": pa.table({"d": pa.array(["a", "b"]).dictionary_encode()}),
}  # fmt: skip

ONLY_OURS: dict[str, Any] = {
    "big-endian array": np.arange(6).astype(">i4"), "array of bytes": np.array([b"a", b"bcd"]),
    "structured array": np.array([(1, 2.0)], "i4,f8"), "array of text": np.array(["a", "bcd"]),
    "infinity": float("inf"), "large int": 2**63, "larger int": 2**70,
    "arrow dates": pa.array([1, 2], pa.date32()), "arrow times": pa.array([1, 2], pa.timestamp("us")),
    "arrow half": pa.array(np.array([1, 2], "f2")), "arrow text": pa.array(["a", None]),
    "arrow lists": pa.array([[1], None, [2, 3]]), "bytes of one length": pa.array([b"ab"], pa.binary(2)),
    "table of text": pa.table({"a": ["x", "y"], "l": [[1], [2]]}),
    "table of times": pa.table({"t": pa.array([1, 2], pa.timestamp("us"))}),
    "series of dates": pd.Series(pd.date_range("2026", periods=2), name="d"),
    "series of time differences": pd.Series(pd.to_timedelta([1, 2], unit="s")),
    "series of categories": pd.Series(["a", "b"], dtype="category"),
    "sparse array of runs": pd.arrays.SparseArray([0, 1.0], fill_value=0.0, kind="block"),
}  # fmt: skip
"""What the original cannot store, or cannot read when it has stored it."""


@pytest.mark.parametrize("getter", ["original", "face", "depot"])
@pytest.mark.parametrize("putter", ["original", "face", "depot"])
@pytest.mark.parametrize("name", [*EXACT, *OTHERS])
def test_what_one_side_puts_all_others_get(
    sides: Sides, name: str, putter: str, getter: str
) -> None:
    value = (EXACT | OTHERS)[name]
    same(sides.get(getter, sides.put(putter, value)), value)


@pytest.mark.parametrize("getter", ["original", "face", "depot"])
@pytest.mark.parametrize("putter", ["face", "depot"])
@pytest.mark.parametrize("name", ONLY_OURS)
def test_what_the_original_cannot_store_it_can_get(
    sides: Sides, name: str, putter: str, getter: str
) -> None:
    same(sides.get(getter, sides.put(putter, ONLY_OURS[name])), ONLY_OURS[name])


@pytest.mark.parametrize("name", EXACT)
def test_type_names_and_fields_are_the_originals_own(sides: Sides, name: str) -> None:
    theirs, own = (sides.meta(sides.put(side, EXACT[name])) for side in ("original", "face"))
    expected, found = members(theirs), members(own)
    for fields in (expected, found):
        for key in [key for key in fields if key.endswith("schema_binary_")]:
            del fields[key]  # Arrow's own bytes, of another version
    assert found == expected


NETWORK = ["int", "str", "tuple", "large array", "array in Fortran order", "frame", "matrix csr", "table"]  # fmt: skip


@pytest.mark.parametrize("putter", ["remote", "face", "depot"])
@pytest.mark.parametrize("name", NETWORK)
def test_what_one_side_puts_is_got_over_the_network(sides: Sides, name: str, putter: str) -> None:
    id = sides.put(putter, EXACT[name])
    for getter in ("remote", "original", "face", "depot"):
        same(sides.get(getter, id), EXACT[name])


@pytest.mark.parametrize("getter", ["original", "face", "depot"])
def test_strings_of_pandas_come_to_the_original_as_objects(sides: Sides, getter: str) -> None:
    kind = object if getter == "original" else "str"
    index = pd.Index(["x", "y"], dtype="str")
    id = sides.put("face", pd.DataFrame({"a": ["p", None]}, index=index, dtype="str"))
    found = pd.DataFrame(sides.get(getter, id))
    assert (found["a"].dtype, found.index.dtype) == (kind, kind)
    assert found.index.tolist() == ["x", "y"]
    assert found["a"].iloc[0] == "p"
    assert pd.isna(found["a"].iloc[1])


def test_a_column_that_the_original_has_lost_is_not_made_up(sides: Sides) -> None:
    id = sides.put("original", pd.DataFrame({"a": ["x", "y"]}))
    with pytest.raises(RuntimeError, match="its other values were not stored"):
        sides.get("face", id)
    with pytest.raises(Exception, match=r"meta\(\) tells what it is made of"):
        sides.get("depot", id)


def test_a_fill_value_that_the_original_cannot_read_is_read(sides: Sides) -> None:
    value = pd.arrays.SparseArray([5, 5, 1], fill_value=5)
    id = sides.put("original", value)
    same(sides.get("face", id), value)
    same(sides.get("depot", id), value)


# Of several parts.


@pytest.mark.parametrize("maker", ["original", "face"])
def test_objects_of_the_whole_cluster_are_seen_by_all(sides: Sides, maker: str) -> None:
    package = "vineyard" if maker == "original" else "entrepot.vineyard"
    make: Any = importlib.import_module(f"{package}.data.dataframe").make_global_dataframe
    client = getattr(sides, maker)
    parts = [client.put(pd.DataFrame({"a": [n, n]}, index=[0, 5])) for n in range(2)]
    id = int(make(client, parts).id)
    meta = sides.meta(id)
    assert (meta["typename"], meta["global"], meta["transient"]) == (
        "vineyard::GlobalDataFrame", True, False,
    )  # fmt: skip
    for getter in ("face", "depot"):
        assert [part["a"].tolist() for part in sides.get(getter, id)] == [[0, 0], [1, 1]]
    tensors: Any = importlib.import_module(f"{package}.data.tensor")
    blocks = [client.put(np.full(2, n)) for n in range(2)]
    whole = tensors.make_global_tensor(client, blocks, shape=[4], partition_shape=[2])
    found = sides.get("depot", int(whole.id))
    assert json.loads(found["shape_"]) == [4]
    assert [found[f"partitions_-{n}"].tolist() for n in range(2)] == [[0, 0], [1, 1]]
    assert sides.meta(int(whole.id))["partitions_-1"]["typename"] == "vineyard::Tensor<int64>"


@pytest.mark.parametrize("maker", ["original", "face"])
def test_metadata_of_a_users_own_type_is_a_dict_for_the_depot(sides: Sides, maker: str) -> None:
    package = original() if maker == "original" else ours
    client = getattr(sides, maker)
    meta = package.ObjectMeta()
    meta["typename"] = "my::Type"
    meta["number"], meta["list"] = 5, [1, 2]
    meta.add_member("array", client.put(np.arange(3)))
    meta.add_member("frame", client.put(pd.DataFrame({"a": [1, 2]}, index=[3, 4])))
    meta.add_member("bytes", client.put(b"abc"))
    id = int(client.create_metadata(meta).id)
    found = sides.get("depot", id)
    assert (found["number"], found["list"]) == (5, "[1,2]")
    assert found["array"].tolist() == [0, 1, 2]
    assert found["frame"]["a"].tolist() == [1, 2]
    assert bytes(found["bytes"]) == b"abc"
    assert sides.meta(id)["array"]["typename"] == "vineyard::Tensor<int64>"
    assert ours.ObjectID(id) in [of.id for of in sides.face.list_objects("my::*")]
    assert sides.face.get_meta(ours.ObjectID(id))["frame"]["typename"] == "vineyard::DataFrame"
    assert [type(of) for of in sides.depot.objects.get_many([id, int(meta["array"].id)])] == [
        dict, np.ndarray,
    ]  # fmt: skip


def test_a_tree_of_the_depot_has_values_of_vineyard_as_members(sides: Sides) -> None:
    frame = sides.put("original", pd.DataFrame({"a": [1, 2]}, index=[3, 4]))
    id = sides.depot.objects.create({"epoch": 1}, {"frame": frame})
    found = sides.depot.objects.get(id)
    assert (found["epoch"], found["frame"]["a"].tolist()) == (1, [1, 2])
    assert sides.meta(int(id))["frame"]["typename"] == "vineyard::DataFrame"


def test_blobs_that_one_writes_the_others_read(sides: Sides) -> None:
    writer = sides.original.create_blob(4)
    original().memory_copy(memoryview(writer), b"abcd")
    id = int(writer.seal(sides.original).id)
    assert bytes(sides.get("face", id)) == sides.get("depot", id) == b"abcd"
    made = sides.face.create_blob(100_000)
    memoryview(made)[:3] = memoryview(b"xyz").cast("b")
    theirs = sides.original.get_blob(original().ObjectID(int(made.seal(sides.face).id)))
    assert (bytes(memoryview(theirs)[:3]), theirs.size) == (b"xyz", 100_000)


# What is known of objects.


def test_names_labels_and_deletes_are_seen_by_all(sides: Sides) -> None:
    a, b = sides.put("original", np.arange(3)), sides.put("face", np.arange(4))
    theirs, face, depot = sides.original, sides.face, sides.depot
    oid = original().ObjectID
    theirs.persist(oid(a))
    assert face.get_object(ours.ObjectID(a)).ispersist
    theirs.put_name(oid(a), "by the original")
    face.persist(ours.ObjectID(b))
    face.put_name(ours.ObjectID(b), "by the face")
    depot.objects.put_name("by the depot", a)
    names = {"by the original": a, "by the face": b, "by the depot": a}
    for seen in (theirs.list_names("*"), face.list_names("*"), depot.objects.names()):
        assert {name: int(id) for name, id in seen.items()} == names
    assert depot.objects.get(name="by the original").tolist() == [0, 1, 2]
    assert theirs.get(name="by the face").tolist() == [0, 1, 2, 3]
    theirs.label(oid(a), {"color": "red"})
    face.label(ours.ObjectID(a), {"size": "small"})
    assert face.get_meta(ours.ObjectID(a)).labels == {"color": "red", "size": "small"}
    assert json.loads(theirs.get_meta(oid(a))["__labels"]) == {"color": "red", "size": "small"}
    listed: list[Any] = [
        theirs.list_objects("vineyard::Tensor*"),
        face.list_objects("vineyard::Tensor*"),
    ]
    assert all({int(of.id) for of in objects} == {a, b} for objects in listed)
    theirs.delete(oid(b))
    assert not face.exists(ours.ObjectID(b))
    face.delete(ours.ObjectID(a))
    assert not theirs.exists(oid(a))
    assert (depot.objects.exists(a), depot.objects.names()) == (False, {})


def test_a_copy_of_one_is_an_object_for_all(sides: Sides) -> None:
    id = sides.put("face", np.arange(3))
    copy = int(sides.original.shallow_copy(original().ObjectID(id)))
    sides.face.delete(ours.ObjectID(id))
    for getter in ("original", "face", "depot"):
        assert sides.get(getter, copy).tolist() == [0, 1, 2]


# One copy.

BIG = 10_000_000


def used(sides: Sides) -> int:
    return sides.depot.statistics().arena.used


@pytest.mark.parametrize("putter", ["original", "face", "depot"])
def test_what_anybody_puts_lies_in_memory_once(sides: Sides, putter: str) -> None:
    before = used(sides)
    value = np.arange(BIG // 8)
    id = sides.put(putter, value)
    after = used(sides)
    assert BIG <= after - before < BIG + 100_000
    held = [sides.get(getter, id) for getter in ("original", "face", "depot")]
    assert used(sides) == after
    arena = sides.depot.attached.arena
    for array in held[1:]:
        assert arena.address <= array.ctypes.data < arena.address + arena.bound
        assert not array.flags.writeable
    assert [int(array[-1]) for array in held] == [BIG // 8 - 1] * 3


@pytest.mark.parametrize("value", [
    pytest.param(lambda: pd.DataFrame({c: np.arange(500_000.0) for c in "ab"}), id="frame"),
    pytest.param(lambda: pa.table({"a": np.arange(500_000.0)}), id="table"),
])  # fmt: skip
def test_frames_and_tables_of_the_original_are_looked_at_in_place(
    sides: Sides, value: Callable[[], Any]
) -> None:
    id = sides.put("original", value())
    before = used(sides)
    arena = sides.depot.attached.arena
    held = [sides.get(getter, id) for getter in ("face", "depot")]
    for found in held:
        column = found["a"].to_numpy() if isinstance(found, pd.DataFrame) else found["a"].chunk(0).to_numpy()  # fmt: skip
        assert arena.address <= column.ctypes.data < arena.address + arena.bound
    assert used(sides) == before


def test_an_array_out_of_a_dict_can_be_put_again(sides: Sides) -> None:
    id = sides.put("face", {"a": np.arange(100_000.0)})
    again = sides.put("face", sides.get("face", id)["a"])
    same(sides.get("original", again), np.arange(100_000.0))


def test_a_transposed_view_is_not_mistaken_for_what_it_views(sides: Sides) -> None:
    id = sides.put("face", np.arange(60_000.0).reshape(200, 300))
    turned = sides.get("face", id).T
    again = sides.put("face", turned)
    for getter in ("original", "face", "depot"):
        same(sides.get(getter, again), np.arange(60_000.0).reshape(200, 300).T)
