"""`depot.objects` gives the values of what vineyard's clients put together from parts."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

import entrepot.vineyard as vineyard
from entrepot.errors import TypeMismatchError
from entrepot.layers.objects import readers
from entrepot.vineyard.core.client import Client


def stored(client: Client, typename: str, **members: Any) -> int:
    meta = vineyard.ObjectMeta()
    meta["typename"] = typename
    for name, member in members.items():
        meta.add_member(name, member)
    return int(client.create_metadata(meta).id)


def test_frames_and_tuples_of_a_client_are_values_for_the_depot(client: Client) -> None:
    objects = client._store.depot.objects
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    ids = [int(client.put(value)) for value in (frame, (1, ("a", np.arange(3))), b"")]
    found = objects.get_many(ids[:2])
    pd.testing.assert_frame_equal(found[0], frame)
    assert found[1][0] == 1
    assert found[1][1][1].tolist() == [0, 1, 2]
    assert objects.get(ids[2]) == b""


def test_what_nobody_registered_is_a_dict(client: Client) -> None:
    objects = client._store.depot.objects
    frame = client.put(pd.DataFrame({"a": [1]}))
    for typename in ("vineyard::Nobody", "my::Type", "vineyard::ByteStream"):
        found = objects.get(stored(client, typename, frame=frame))
        assert found["frame"]["a"].tolist() == [1]


def test_resolvers_of_the_user_make_values_for_the_depot_too(client: Client) -> None:
    id = stored(client, "vineyard::Nobody", part=client.put(5))
    with vineyard.resolver_context({"vineyard::Nobody": lambda obj: obj.meta.typename}):
        assert client._store.depot.objects.get(id) == "vineyard::Nobody"
    assert client._store.depot.objects.get(id) == {"part": 5}


def test_what_is_not_as_its_type_says_is_told(client: Client) -> None:
    id = stored(client, "vineyard::DataFrame")
    with pytest.raises(TypeMismatchError, match="is a vineyard::DataFrame that cannot be made"):
        client._store.depot.objects.get(id)
    assert client._store.depot.objects.meta(id)["typename"] == "vineyard::DataFrame"


def test_nothing_of_the_face_is_loaded_before_it_is_needed() -> None:
    script = (
        "import sys, json, entrepot; print(json.dumps([m for m in sys.modules if 'vineyard' in m]))"
    )
    assert json.loads(subprocess.check_output([sys.executable, "-c", script])) == []
    assert readers.knows("vineyard::Tensor<int64>")
    assert not readers.knows("entrepot::Tree")


@pytest.mark.parametrize("value", [
    pytest.param(np.asfortranarray(np.arange(60_000.0).reshape(200, 300)), id="large Fortran"),
    pytest.param(np.asfortranarray(np.arange(6.0).reshape(2, 3)), id="small Fortran"),
])  # fmt: skip
def test_the_blob_of_an_array_is_in_c_order(client: Client, value: Any) -> None:
    id = client.put(value)
    assert client.get(id).flags.f_contiguous
    blob: Any = client.get_object(id).member("buffer_")
    assert np.frombuffer(blob, value.dtype).tolist() == value.reshape(-1).tolist()
    assert "layout_" not in client.get_meta(id)


def test_a_big_endian_array_is_a_pickle_for_other_programs(client: Client) -> None:
    id = client.put(np.arange(3, dtype=">i4"))
    assert client.get_meta(id).typename == "vineyard::PickleBuffer"
    assert client.get(id).dtype == np.dtype(">i4")
    assert [of.id for of in client.list_objects("vineyard::Pickle*")] == [id]


def test_a_part_of_what_was_pickled_can_be_put_again(client: Client) -> None:
    array = client.get(client.put({"a": np.arange(100_000)}))["a"]
    assert client.get(client.put(array)).tolist() == array.tolist()


def test_objects_of_pandas_stay_objects(client: Client) -> None:
    series = pd.Series(["a", None], dtype=object)
    assert client.get(client.put(series)).dtype == object
    assert client.get(client.put(series.to_frame("s")))["s"].dtype == object


@pytest.mark.parametrize("value", [
    pytest.param(pd.arrays.SparseArray([0, 0, 1.0]), id="floats"),
    pytest.param(pd.arrays.SparseArray([0, 0, 1]), id="ints"),
    pytest.param(pd.arrays.SparseArray([True, False]), id="bools"),
    pytest.param(pd.arrays.SparseArray([5, 5, 1], fill_value=5), id="with a fill value"),
    pytest.param(pd.arrays.SparseArray([0, 1.0], fill_value=0.0, kind="block"), id="of runs"),
])  # fmt: skip
def test_sparse_arrays_come_back_as_they_were(client: Client, value: Any) -> None:
    found = client.get(client.put(value))
    assert (found.dtype, found.tolist()) == (value.dtype, value.tolist())
