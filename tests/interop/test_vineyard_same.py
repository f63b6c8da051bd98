"""The same programs on the real vineyard and on our face: what they see is the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from support.originals import Subject

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:Passing a BlockManager:DeprecationWarning"),
]

SYSTEM = {"id", "instance_id", "signature", "transient", "global", "nbytes", "__timestamp"}


def fields(meta: Any) -> dict[str, Any]:
    """Return the plain values of metadata that are not the system's, nor additions of ours."""
    ours = {"columns_index_", "is_whole_", "layout_"}
    return {
        key: value
        for key, value in meta.items()
        if key not in SYSTEM | ours and isinstance(value, (str, int, float))
    }


SCALARS = [
    (5, {"typename": "vineyard::Scalar<int>", "value_": 5, "type_": "int"}),
    (2.5, {"typename": "vineyard::Scalar<double>", "value_": 2.5, "type_": "float"}),
    ("text", {"typename": "vineyard::Scalar<std::string>", "value_": "text", "type_": "str"}),
    ((1, "a"), {"typename": "vineyard::Sequence", "size_": 2, "__elements_-size": 2}),
    ([], {"typename": "vineyard::Sequence", "size_": 0, "__elements_-size": 0}),
]


@pytest.mark.parametrize(("value", "plain"), SCALARS, ids=["int", "float", "str", "tuple", "list"])
def test_plain_values_have_the_same_metadata(subject: Subject, value: Any, plain: Any) -> None:
    client = subject.client
    id = client.put(value)
    assert client.get(id) == (tuple(value) if isinstance(value, list) else value)
    assert fields(client.get_meta(id)) == plain


@pytest.mark.parametrize("value", [None, {"a": [1]}, {1, 2}, 1 + 2j, bytearray(b"x")], ids=str)
def test_what_is_pickled_comes_back(subject: Subject, value: Any) -> None:
    id = subject.client.put(value)
    assert subject.client.get(id) == value
    assert subject.client.get_meta(id)["typename"] == "vineyard::PickleBuffer"


ARRAYS = [
    np.arange(5), np.arange(6.0).reshape(2, 3), np.arange(3, dtype="i4"), np.arange(3, dtype="f4"),
    np.arange(3, dtype="u1"), np.array([True, False]), np.zeros((0, 3)), np.array(5.0), np.arange(100_000),
    np.array(["2026-01-01"], "M8[ns]"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ARRAYS)))
def test_arrays_have_the_same_metadata(subject: Subject, number: int) -> None:
    client, array = subject.client, ARRAYS[number]
    id = client.put(array)
    np.testing.assert_array_equal(client.get(id), array)
    assert client.get(id).dtype == array.dtype
    names = {"int32": "int", "float32": "float", "float64": "double"}
    assert fields(client.get_meta(id)) == {
        "typename": f"vineyard::Tensor<{names.get(array.dtype.name, array.dtype.name)}>",
        "shape_": json.dumps(list(array.shape)),
        "order_": '"C"',
        "partition_index_": "[]",
        "value_type_": array.dtype.name,
        "value_type_meta_": array.dtype.str,
    }
    assert client.get_meta(id)["buffer_"]["typename"] == "vineyard::Blob"
    assert client.get_meta(id)["nbytes"] == array.nbytes


def test_frames_have_the_same_metadata(subject: Subject) -> None:
    client = subject.client
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    id = client.put(frame)
    found = client.get(id)
    assert found["a"].tolist() == [1, 2]
    assert found["b"].tolist() == [0.5, 1.5]
    meta = client.get_meta(id)
    assert fields(meta) == {
        "typename": "vineyard::DataFrame",
        "columns_": '["a", "b"]',
        "__values_-size": 2,
        "__values_-key-0": '"a"',
        "__values_-key-1": '"b"',
        "partition_index_row_": -1,
        "partition_index_column_": -1,
        "row_batch_index_": 0,
    }
    assert meta["__values_-value-1"]["typename"] == "vineyard::Tensor<double>"
    assert meta["index_"]["typename"] == "vineyard::Index"
    series = client.get_meta(client.put(pd.Series([1, 2], name="s")))
    assert (series["typename"], series["name"]) == ("vineyard::Series", '"s"')
    assert series["value_"]["typename"] == "vineyard::Tensor<int64>"


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, 2, 3]),
        pa.array([1.5, None]),
        pa.array([True, False]),
        pa.nulls(3),
        pa.array(["a"], pa.large_string()),
    ],
    ids=["int", "float", "bool", "null", "string"],
)
def test_arrays_of_arrow_have_the_same_metadata(subject: Subject, array: Any) -> None:
    client = subject.client
    id = client.put(array)
    assert client.get(id).equals(array)
    names = {
        "int64": "vineyard::NumericArray<int64>", "double": "vineyard::NumericArray<double>",
        "bool": "vineyard::BooleanArray", "null": "vineyard::NullArray",
        "large_string": "vineyard::BaseBinaryArray<arrow::LargeStringArray>",
    }  # fmt: skip
    meta = client.get_meta(id)
    assert meta["typename"] == names[str(array.type)]
    assert meta["length_"] == len(array)
    if str(array.type) != "null":
        assert (meta["null_count_"], meta["offset_"]) == (array.null_count, 0)


def test_tables_have_the_same_metadata(subject: Subject) -> None:
    client = subject.client
    table = pa.table({"a": [1, 2], "b": [0.5, None]})
    id = client.put(table)
    assert client.get(id).equals(table)
    meta = client.get_meta(id)
    assert {k: v for k, v in fields(meta).items() if not k.startswith("__")} == {
        "typename": "vineyard::Table", "num_rows_": 2, "num_columns_": 2, "batch_num_": 1, "partitions_-size": 1,
    }  # fmt: skip
    batch = meta["partitions_-0"]
    assert (batch["typename"], batch["row_num_"], batch["column_num_"]) == (
        "vineyard::RecordBatch",
        2,
        2,
    )
    assert meta["schema_"]["typename"] == "vineyard::SchemaProxy"


def test_blobs_are_bytes_of_the_same_form(subject: Subject) -> None:
    client = subject.client
    id = client.put(b"bytes")
    assert int(id) >> 63
    view = client.get(id)
    assert (bytes(view), view.format, view.readonly) == (b"bytes", "b", True)
    builder = client.create_blob(4)
    builder.copy(0, b"ab")
    memoryview(builder)[3] = 5
    blob = builder.seal(client)
    assert (bytes(memoryview(blob)), blob.size, len(blob), blob.nbytes) == (b"ab\0\5", 4, 4, 4)
    assert blob.address
    assert int(client.create_empty_blob().id) == 1 << 63


def test_metadata_keeps_values_in_the_same_way(subject: Subject) -> None:
    vineyard, client = subject.vineyard, subject.client
    meta = vineyard.ObjectMeta()
    meta["typename"] = "my::Type"
    given = {"i": 5, "f": 1.5, "b": True, "s": "text", "l": [1, 2], "d": {"a": 1}}
    for key, value in given.items():
        meta[key] = value
    meta.add_member("m", client.put(np.arange(3)))
    found = client.get_meta(client.create_metadata(meta).id)
    assert {key: found[key] for key in given} | {
        "l": json.loads(found["l"]),
        "d": json.loads(found["d"]),
    } == given
    assert found["m"]["typename"] == "vineyard::Tensor<int64>"
    assert "nope" not in found
    with pytest.raises(KeyError, match="nope"):
        found["nope"]
    assert found.get("nope", 5) == 5
    assert found.get_member("m").typename == "vineyard::Tensor<int64>"
    with pytest.raises(RuntimeError, match="not a member"):
        found.get_member("i")


def test_a_signature_that_was_given_is_kept_and_not_unique(subject: Subject) -> None:
    vineyard, client, _ = subject
    made: list[Any] = []
    for number in range(2):
        meta = vineyard.ObjectMeta()
        meta["typename"] = "my::Type"
        meta["signature"] = 77
        meta["x"] = number
        made.append(client.create_metadata(meta))
    found = [client.get_meta(meta.id) for meta in made]
    assert [meta.signature for meta in (*made, *found)] == [77] * 4
    assert [meta["x"] for meta in found] == [0, 1]
    assert client.get_meta(client.shallow_copy(made[0].id)).signature == 77
    first = made[0].id
    again = client.create_metadata(found[0])
    assert again.id != first
    assert client.get_meta(again.id).signature == 77
    client.delete(first)
    assert client.get_meta(made[1].id)["x"] == 1
    plain = vineyard.ObjectMeta()
    plain["typename"] = "my::Type"
    signature = client.create_metadata(plain).signature
    assert signature not in (0, 77)


def test_names_are_given_moved_and_dropped(subject: Subject) -> None:
    vineyard, client = subject.vineyard, subject.client
    a, b = client.put(1), client.put(2)
    with pytest.raises(vineyard._C.InvalidException):
        client.put_name(a, "n")
    client.persist(a)
    client.put_name(a, "n")
    client.put_name(a, "ns/ä")
    assert client.get_name("n") == a
    assert client.get(name="n") == 1
    client.persist(b)
    client.put_name(b, "n")
    assert client.get_name("n") == b
    assert set(client.list_names("*")) == {"n", "ns/ä"}
    client.drop_name("n")
    client.drop_name("n")
    with pytest.raises(vineyard._C.ObjectNotExistsException):
        client.get_name("n")
    with pytest.warns(UserWarning, match="not persisted"):
        client.put(5, name="x")


def test_deletes_take_the_same_objects_away(subject: Subject) -> None:
    vineyard, client = subject.vineyard, subject.client
    a, b = client.put(np.arange(3)), client.put(2)
    whole = client.put([a, b])
    client.delete(a)
    assert client.exists(a)
    client.delete(whole, deep=False)
    assert [client.exists(id) for id in (whole, a, b)] == [False, True, True]
    whole = client.put([a, b])
    client.delete(a, force=True)
    assert [client.exists(id) for id in (whole, a, b)] == [False, False, True]
    whole = client.put([b])
    client.delete(whole)
    assert not client.exists(b)
    client.delete([whole, a])
    with pytest.raises(vineyard._C.ObjectNotExistsException):
        client.get(whole)
    with pytest.raises(vineyard._C.ObjectNotExistsException):
        client.get_meta(whole)


def test_errors_are_of_the_same_classes(subject: Subject) -> None:
    vineyard, client = subject.vineyard, subject.client
    gone = vineyard.ObjectID(12345)
    raises = pytest.raises
    for kind, call in (
        ("ObjectNotExistsException", lambda: client.get(gone)),
        ("ObjectNotExistsException", lambda: client.get_object(gone)),
        ("MetaTreeSubtreeNotExistsException", lambda: client.persist(gone)),
        ("MetaTreeSubtreeNotExistsException", lambda: client.shallow_copy(gone)),
        ("MetaTreeInvalidException", lambda: client.create_metadata(vineyard.ObjectMeta())),
        ("NotEnoughMemoryException", lambda: client.create_blob(1 << 30)),
    ):
        with raises(getattr(vineyard._C, kind)):
            call()
    for call in (lambda: client.exists("o5"), lambda: client.get_meta(5), lambda: client.get(None)):
        with raises(TypeError):
            call()
    builder = client.create_blob(4)
    with raises(vineyard._C.ObjectNotExistsException):
        client.get_meta(builder.id)
    with raises(vineyard._C.AssertionFailedException):
        builder.copy(0, b"12345")
    builder.seal(client)
    with raises(vineyard._C.AssertionFailedException):
        builder.seal(client)


def test_lists_and_copies_find_the_same(subject: Subject) -> None:
    client = subject.client
    ids = [client.put(np.full(3, number)) for number in range(7)]
    assert len(client.list_objects("vineyard::Tensor*")) == 5
    assert len(client.list_objects("vineyard::Tensor*", limit=100)) == 7
    assert len(client.list_objects("vineyard::Tens.*", regex=True, limit=100)) == 7
    assert client.list_objects("nothing*") == []
    copy = client.shallow_copy(ids[0])
    assert copy != ids[0]
    assert client.get(copy).tolist() == [0, 0, 0]
    client.delete(ids[0])
    assert client.get(copy).tolist() == [0, 0, 0]


def test_contexts_build_and_resolve_in_the_same_way(subject: Subject) -> None:
    vineyard, client = subject.vineyard, subject.client

    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    def build(client: Any, value: Point, builder: Any) -> Any:
        meta = vineyard.ObjectMeta()
        meta["typename"] = "my::Point"
        meta.add_member("x", builder.run(client, value.x))
        return client.create_metadata(meta)

    def resolve(obj: Any, resolver: Any) -> Point:
        return Point(resolver.run(obj.member("x")))

    with vineyard.builder_context() as builders, vineyard.resolver_context() as resolvers:
        builders.register(Point, build)
        resolvers.register("my::Point", resolve)
        assert client.get(client.put(Point(5))).x == 5
        assert [point.x for point in client.get(client.put([Point(1), Point(2)]))] == [1, 2]
    with pytest.raises(RuntimeError):
        client.get(
            client.put(5),
            resolver=lambda obj, **_: (_ for _ in ()).throw(RuntimeError("no")).__next__(),
        )


def test_shared_memory_is_written_frozen_and_read(subject: Subject) -> None:
    module: Any = __import__(f"{subject.vineyard.__name__}.shared_memory", fromlist=["x"])
    client = subject.client
    block = module.SharedMemory(client, create=True, size=5)
    block.buf[:3] = memoryview(b"abc").cast(block.buf.format)
    block.freeze()
    assert bytes(module.SharedMemory(client, name=block.name).buf) == b"abc\0\0"
    made = module.ShareableList(client, [1, "text", None, 2.5, True, b"x"])
    made.freeze()
    assert list(module.ShareableList(client, name=made.shm.name)) == [
        1,
        "text",
        None,
        2.5,
        True,
        b"x",
    ]


def test_a_global_object_holds_no_global_one(subject: Subject) -> None:
    vineyard, client, _ = subject

    def make(is_global: bool, member: Any) -> Any:
        meta = vineyard.ObjectMeta()
        meta["typename"] = "T"
        meta.set_global(is_global)
        meta.add_member("a", member)
        return client.create_metadata(meta)

    outer = make(True, client.put(5))
    assert outer.isglobal
    for member in (outer, outer.id):
        with pytest.raises(vineyard._C.GlobalObjectInvalidException):
            make(True, member)
    assert make(False, outer)["a"].isglobal
