"""ObjectMeta and Object: as a dict, of members, as the store fills it in."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard import ObjectID, ObjectMeta
from entrepot.vineyard.core.client import Client


def meta_of(client: Client, **plain: Any) -> ObjectMeta:
    meta = ObjectMeta()
    meta["typename"] = "my::Thing"
    for key, value in plain.items():
        meta[key] = value
    return client.create_metadata(meta)


def test_new_metadata_is_empty() -> None:
    meta = ObjectMeta()
    assert json.loads(repr(meta)) == {"global": False}
    assert str(meta) == f"ObjectMeta {meta!r}"
    assert meta.nbytes == 0
    for name in ("id", "typename", "signature", "instance_id"):
        with pytest.raises(RuntimeError, match=name):
            getattr(meta, name)
    assert ObjectMeta(global_=True).isglobal


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("text", "text"),
        ("", ""),
        (True, True),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (1.5, 1.5),
        (float("inf"), float("inf")),
        (None, None),
        (b"bytes", "bytes"),
        ([1, 2], "[1,2]"),
        ((1.5, "a"), '[1.5,"a"]'),
        ({"a": 1}, '{"a":1}'),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        ([np.int64(1), np.float64(2.5)], "[1,2.5]"),
        (np.arange(3), "[0,1,2]"),
        (np.array([5]), "[5]"),
        (np.eye(2), "[[1.0,0.0],[0.0,1.0]]"),
        ({"a": np.arange(2)}, '{"a":[0,1]}'),
    ],
    ids=repr,
)
def test_plain_values_come_back_with_their_types(client: Client, given: Any, kept: Any) -> None:
    meta = meta_of(client, value=given)
    assert meta["value"] == kept
    again = client.get_meta(meta.id)
    assert again["value"] == kept
    assert type(again["value"]) is type(kept)


@pytest.mark.parametrize(
    "wrong", [2**64, -(2**63) - 1, object(), {1, 2}], ids=["big", "low", "object", "set"]
)
def test_what_metadata_cannot_hold(wrong: Any) -> None:
    meta = ObjectMeta()
    with pytest.raises(TypeError):
        meta["value"] = wrong
    assert "value" not in meta


def test_keys_are_strings() -> None:
    meta = ObjectMeta()
    with pytest.raises(TypeError):
        meta[5] = 1
    with pytest.raises(TypeError):
        meta[5]


def test_metadata_is_like_a_dict(client: Client) -> None:
    meta = client.get_meta(meta_of(client, x=1).id)
    assert meta["x"] == meta.get("x") == 1
    assert meta.get("nope") is None
    assert meta.get("nope", 5) == 5
    assert "x" in meta
    assert "nope" not in meta
    with pytest.raises(KeyError, match="'nope' does not exist"):
        meta["nope"]
    assert set(meta) == {k for k, _ in meta.items()} >= {
        "id", "instance_id", "signature", "transient", "global", "nbytes", "__timestamp",
    }  # fmt: skip
    assert meta.meta is meta


def test_odd_keys_survive(client: Client) -> None:
    odd = {"": 1, "a/b": 2, "c~d": 3, "é": 4, "sp ace": 5}
    again = client.get_meta(meta_of(client, **odd).id)
    assert {key: again[key] for key in odd} == odd


def test_members_by_value_by_metadata_and_by_id(client: Client) -> None:
    id = client.put(np.arange(3))
    other = client.put(np.arange(4))
    meta = ObjectMeta()
    meta["typename"] = "my::Tree"
    meta.add_member("by_id", id)
    meta.add_member("by_meta", client.get_meta(id))
    meta["by_object"] = client.get_object(other)
    tree = client.get_meta(client.create_metadata(meta).id)
    assert tree["by_id"].id == tree["by_meta"].id == id
    assert tree["by_object"].id == other
    member = tree.get_member("by_object")
    assert member is not None
    assert member.typename == "vineyard::Tensor<int64>"
    assert tree.get_member("nope") is None
    with pytest.raises(RuntimeError, match="not a member"):
        tree.get_member("typename")
    with pytest.raises(RuntimeError, match="already"):
        tree.add_member("by_id", id)
    with pytest.raises(TypeError, match="member"):
        tree.add_member("none", None)


def test_a_tree_of_new_metadata_is_stored_as_a_whole(client: Client) -> None:
    inner, outer = ObjectMeta(), ObjectMeta()
    inner["typename"], outer["typename"] = "my::Inner", "my::Outer"
    inner["x"] = 1
    outer.add_member("inner", inner)
    before = client._store.depot.attached.engine.read(lambda tx: tx.version)
    client.create_metadata(outer)
    after = client._store.depot.attached.engine.read(lambda tx: tx.version)
    assert after <= before + 2  # one for the ids that were leased
    assert client.get_meta(outer.id)["inner"]["x"] == 1


def test_what_cannot_be_created(client: Client) -> None:
    with pytest.raises(vineyard._C.MetaTreeInvalidException, match="typename"):
        client.create_metadata(ObjectMeta())
    meta = ObjectMeta()
    meta["typename"] = "my::Tree"
    meta.add_member("gone", ObjectID(12345))
    with pytest.raises(vineyard._C.MetaTreeSubtreeNotExistsException):
        client.create_metadata(meta)
    blob = client.create_blob(10)
    meta = ObjectMeta()
    meta["typename"] = "my::Tree"
    meta.add_member("unsealed", blob.id)
    with pytest.raises(vineyard._C.VineyardException):
        client.create_metadata(meta)
    blob.abort(client)
    assert client.list_objects("my::*") == []


def test_creating_twice_makes_two_objects(client: Client) -> None:
    meta = meta_of(client, x=1)
    first = meta.id
    client.create_metadata(meta)
    assert meta.id != first
    assert client.exists(first)
    assert client.exists(meta.id)


def test_several_at_once(client: Client) -> None:
    metas = [ObjectMeta() for _ in range(3)]
    for number, meta in enumerate(metas):
        meta["typename"], meta["number"] = "my::Thing", number
    assert client.create_metadata(metas) is metas
    assert [meta["number"] for meta in client.get_metas([meta.id for meta in metas])] == [0, 1, 2]


def test_changing_metadata_that_was_got_changes_nothing_there(client: Client) -> None:
    id = meta_of(client, x=1).id
    meta = client.get_meta(id)
    meta["x"] = 2
    assert client.get_meta(id)["x"] == 1


def test_metadata_can_be_pickled_and_copied(client: Client) -> None:
    id = client.put((1, np.arange(3)))
    meta = client.get_meta(id)
    for again in (pickle.loads(pickle.dumps(meta)), copy.copy(meta)):
        assert json.loads(repr(again)) == json.loads(repr(meta))
        assert again.id == id


def test_ids_in_metadata_have_the_letter(client: Client) -> None:
    meta = meta_of(client)
    assert meta["id"] == f"o{meta.id!r}"


def test_objects_show_their_metadata_and_members(client: Client) -> None:
    id = client.put((1, "a"))
    found = client.get_object(id)
    assert repr(found) == str(found) == f'Object <"{id!r}": vineyard::Sequence>'
    assert (found.id, found.typename, found.islocal, found.isglobal, found.ispersist) == (
        id, "vineyard::Sequence", True, False, False,
    )  # fmt: skip
    assert (
        found.member("__elements_-0").meta["value_"] == found["__elements_-0"].meta["value_"] == 1
    )
    for wrong in ("nope", "size_"):
        with pytest.raises(RuntimeError):
            found.member(wrong)
    with pytest.raises(TypeError):
        vineyard.Object()
    client.persist(id)
    assert client.get_object(id).ispersist
    assert client.get_meta(id)["transient"] is False
    assert client.get_meta(id)["__elements_-0"]["transient"] is False


def test_labels_and_global(client: Client) -> None:
    id = meta_of(client).id
    client.label(id, "color", "red")
    client.label(id, {"size": "big"})
    assert client.get_meta(id).labels == {"color": "red", "size": "big"}
    assert client.get_meta(id).label("size") == "big"
    meta = ObjectMeta()
    meta["typename"] = "my::Global"
    meta.set_global()
    assert client.get_object(client.create_metadata(meta).id).isglobal


def test_memory_usage_counts_each_blob_once(client: Client) -> None:
    id = client.put(np.zeros(1000))
    meta = ObjectMeta()
    meta["typename"] = "my::Tree"
    meta.add_member("a", id)
    meta.add_member("b", id)
    tree = client.get_meta(client.create_metadata(meta).id)
    assert tree.memory_usage == client.allocated_size(tree.id) == 8000
    assert client.get_meta(id).memory_usage_details() == {
        "buffer_": "7.81 KB",
        "summary": "7.81 KB",
    }
