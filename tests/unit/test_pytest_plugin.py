"""The fixtures for tests of others."""

from __future__ import annotations

from typing import Any

import numpy as np

import entrepot
import entrepot.vineyard
from entrepot.vineyard.contrib.ml.torch import SharedDataset


def test_a_depot_of_the_tests_own_is_given(entrepot_depot: entrepot.Depot) -> None:
    assert entrepot_depot.objects.get(entrepot_depot.objects.put(5)) == 5
    assert entrepot_depot.name in entrepot.names()


def test_the_environment_leads_to_the_same_depot(vineyard_client: Any) -> None:
    id = vineyard_client.put(5)
    with entrepot.vineyard.connect() as again:
        assert again.get(id) == 5
    vineyard_client.close()


def test_a_data_set_is_pickled_by_its_ids(vineyard_client: Any) -> None:
    import pickle

    ids = [
        vineyard_client.put(np.arange(20_000.0).reshape(5000, 4)),
        vineyard_client.put(np.arange(5000)),
    ]
    data = SharedDataset(ids, as_tensors=False)
    assert len(data) == 5000
    rows, label = data[7]
    assert (rows.tolist(), label) == ([28.0, 29.0, 30.0, 31.0], 7)
    assert vineyard_client.is_shared_memory(rows)
    body = pickle.dumps(data)
    assert len(body) < 1000
    again = pickle.loads(body)
    assert again[7][0].ctypes.data == rows.ctypes.data
    del data, again, rows
    vineyard_client.clear()
    vineyard_client.close()
