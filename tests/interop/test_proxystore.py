"""The original proxystore 1.1.0 beside our face: connectors of one in stores of the other."""

from __future__ import annotations

import importlib
import os
import pickle
import queue
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from entrepot.proxystore import serialize as our_forms
from entrepot.proxystore.connectors.file import FileConnector, FileKey
from entrepot.proxystore.connectors.local import LocalConnector
from entrepot.proxystore.proxy import Proxy, ProxyResolveError, is_resolved
from entrepot.proxystore.store import Store
from entrepot.proxystore.store.executor import ProxyType, StoreExecutor
from entrepot.proxystore.store.utils import get_key
from entrepot.proxystore.stream import StreamConsumer, StreamProducer
from entrepot.proxystore.stream.shims.depot import DepotPublisher, DepotSubscriber
from support.connectors import KINDS, connector_of, depot_connector
from support.homes import Home
from support.tasks import total_of

pytestmark = pytest.mark.interop

PARTS = {
    "Proxy": "proxy",
    "Store": "store",
    "FileConnector": "connectors.file",
    "FileKey": "connectors.file",
    "LocalConnector": "connectors.local",
    "MultiConnector": "connectors.multi",
    "Policy": "connectors.multi",
    "serialize": "serialize",
    "deserialize": "serialize",
    "get_key": "store.utils",
    "is_resolved": "proxy",
    "Connector": "connectors.protocols",
}


@pytest.fixture(scope="module")
def original() -> SimpleNamespace:
    """Return the names of the original that these tests use."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # streams are experimental, it says
            found = {
                name: getattr(importlib.import_module(f"proxystore.{module}"), name)
                for name, module in PARTS.items()
            }
            for name in ("StreamProducer", "StreamConsumer"):
                found[name] = getattr(importlib.import_module("proxystore.stream"), name)
            for name in ("QueuePublisher", "QueueSubscriber"):
                module = importlib.import_module("proxystore.stream.shims.queue")
                found[name] = getattr(module, name)
    except ImportError as error:
        pytest.skip(f"pip install proxystore==1.1.0: {error}")
    return SimpleNamespace(**found)


VALUES = {
    "bytes": b"abc",
    "str": "text",
    "array": np.arange(10),
    "large array": np.arange(100_000.0).reshape(100, 1000),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "dates": np.array(["2026-01-01"], "M8[ns]"),
    "records": np.zeros(3, [("a", "i4"), ("b", "f8")]),
    "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    "series": pd.Series([1.5, 2.5]),
    "dict": {"a": [1, None, 2.5]},
}


def are_equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one.equals(other)) if isinstance(one, (pd.DataFrame, pd.Series)) else one == other


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_each_reads_what_the_other_serialized(original: SimpleNamespace, value: Any) -> None:
    ours, theirs = our_forms.serialize(value), original.serialize(value)
    assert ours[:3] == theirs[:3]
    assert are_equal(original.deserialize(ours), value)
    assert are_equal(our_forms.deserialize(theirs), value)


@pytest.fixture(params=[kind for kind in KINDS if kind != "local"])
def our_connector(
    request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    monkeypatch.setenv("ENTREPOT_DIR", str(home.root))
    monkeypatch.setenv("ENTREPOT_DATA", str(home.data))
    with connector_of(request.param, home) as connector:
        connector.clear = True
        yield connector


def test_the_originals_store_works_with_our_connectors(
    original: SimpleNamespace, our_connector: Any
) -> None:
    assert isinstance(our_connector, original.Connector)
    with original.Store("theirs", our_connector, register=True, cache_size=0) as store:
        for value in VALUES.values():
            proxy = store.proxy(value, populate_target=False)
            again = pickle.loads(pickle.dumps(proxy))
            assert not original.is_resolved(again)
            assert are_equal(again.__proxy_wrapped__, value)
            assert store.exists(original.get_key(again))
            store.evict(original.get_key(again))
            assert store.get(original.get_key(again)) is None
        keys = store.put_batch([1, "a"])
        assert [store.get(key) for key in keys] == [1, "a"]
        future = store.future(polling_interval=0.01)
        proxy = future.proxy()
        future.set_result([1])
        assert proxy == [1]
        owned = store.owned_proxy([1, 2])
        key = original.get_key(owned)
        assert store.exists(key)
        del owned
        assert not store.exists(key)


def test_the_originals_store_makes_our_connector_again(
    original: SimpleNamespace, our_connector: Any, tmp_path: Path
) -> None:
    store = original.Store("rebuilt", our_connector, register=False)
    config = store.config()
    config.write_toml(tmp_path / "store.toml")
    again = original.Store.from_config(type(config).from_toml(tmp_path / "store.toml"))
    assert again.get(store.put([1])) == [1]
    if not isinstance(again.connector, FileConnector):
        again.close()


def test_our_store_works_with_the_originals_connectors(
    original: SimpleNamespace, tmp_path: Path
) -> None:
    kinds = {
        "file": original.FileConnector(str(tmp_path / "files")),
        "multi": original.MultiConnector(
            {"only": (original.FileConnector(str(tmp_path / "more")), original.Policy())}
        ),
    }
    for name, connector in kinds.items():
        with Store(name, connector, register=True, cache_size=0) as store:
            for value in [*VALUES.values(), {"a": np.ones(50_000)}]:
                proxy = pickle.loads(pickle.dumps(store.proxy(value, populate_target=False)))
                assert type(proxy) is Proxy
                assert not is_resolved(proxy)
                if not isinstance(value, dict):
                    assert are_equal(value, proxy.__proxy_wrapped__)
                store.evict(get_key(proxy))
                assert not store.exists(get_key(proxy))
            if name == "file":
                owner = store.owned_proxy([1])
                assert owner == [1]
                key = get_key(owner)
                del owner
                assert not store.exists(key)
            gone = store.proxy_from_key(get_key(proxy))
            with pytest.raises(ProxyResolveError, match="evicted"):
                len(gone)


def test_both_file_connectors_share_a_directory(original: SimpleNamespace, tmp_path: Path) -> None:
    ours, theirs = FileConnector(str(tmp_path)), original.FileConnector(str(tmp_path))
    assert ours.config() == theirs.config()
    for writer, reader in ((ours, theirs), (theirs, ours)):
        key = writer.put(b"abc")
        assert reader.exists(key)
        assert reader.get(key) == b"abc"
        reader.evict(key)
        assert not writer.exists(key)
        assert writer.get(key) is None
    promised = ours.new_key()
    theirs.set(original.FileKey(promised.filename), b"set")
    assert ours.get(promised) == b"set"
    ours.set(FileKey(promised.filename), b"again")
    assert theirs.get(original.FileKey(promised.filename)) == b"again"
    theirs.close()
    assert ours.get(promised) is None
    ours.close()


def test_each_class_of_the_original_has_our_namesake(original: SimpleNamespace) -> None:
    ours = {"Store": Store, "FileConnector": FileConnector, "LocalConnector": LocalConnector}
    ours["Proxy"] = Proxy
    for name, mine in ours.items():
        theirs = getattr(original, name)
        missing = {part for part in dir(theirs) if not part.startswith("_")} - set(dir(mine))
        assert not missing, f"{name} lacks {missing}"


def test_our_broker_carries_the_originals_stream(original: SimpleNamespace, home: Home) -> None:
    with depot_connector(home, clear=True) as connector, home.open() as depot:
        store = original.Store("streamed", connector, register=True)
        producer = original.StreamProducer(DepotPublisher(depot), default_store=store)
        for number in range(3):
            producer.send("t", [number])
        producer.close(topics=["t"])
        consumer = original.StreamConsumer(DepotSubscriber(depot, "t", timeout=60))
        assert list(consumer.iter_objects()) == [[0], [1], [2]]
        consumer.close()
        store.close()


def test_the_originals_broker_carries_our_stream(original: SimpleNamespace, home: Home) -> None:
    through: Any = queue.Queue()
    with (
        depot_connector(home, clear=True) as connector,
        Store("streamed", connector, register=True) as store,
    ):
        producer = StreamProducer[Any](original.QueuePublisher({"t": through}), default_store=store)
        producer.send("t", np.arange(10_000))
        producer.close_topics("t")
        consumer = StreamConsumer[Any](original.QueueSubscriber(through))
        assert [int(proxy.sum()) for proxy in consumer] == [49_995_000]


@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_a_client_of_dask_passes_arrays_by_proxy(home: Home) -> None:
    distributed: Any = pytest.importorskip("distributed", reason="pip install distributed")
    with (
        depot_connector(home, clear=True) as connector,
        Store("dask", connector, register=True) as store,
        distributed.Client(processes=False, dashboard_address=None, n_workers=1) as client,
    ):
        pool = StoreExecutor(client, store, ProxyType(np.ndarray), close_store=False)
        result = pool.submit(np.add, np.ones(50_000), 1).result()
        assert type(result) is Proxy
        assert float(result.sum()) == 100_000
        results = list(pool.map(np.add, [np.ones(2), np.ones(3)], [1, 2]))
        assert [float(each.sum()) for each in results] == [4, 9]
        for each in (result, *results):
            store.evict(get_key(each))
        assert client.submit(np.sum, store.proxy(np.ones(1_000))).result() == 1_000


@pytest.mark.filterwarnings("ignore")  # Parsl's own
def test_apps_of_parsl_look_at_what_is_in_a_depot(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsl: Any = pytest.importorskip("parsl", reason="pip install parsl")
    from parsl.concurrent import ParslPoolExecutor
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    # It starts its workers by name; they are to find what is called.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    executor = HighThroughputExecutor(
        address="127.0.0.1",
        max_workers_per_node=1,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = parsl.Config(
        executors=[executor], run_dir=str(tmp_path / "parsl"), initialize_logging=False
    )
    with (
        depot_connector(home, clear=True) as connector,
        Store("parsl", connector, register=True) as store,
        ParslPoolExecutor(config) as pool,
    ):
        array = np.ones(50_000)
        assert pool.submit(total_of, store.proxy(array)).result() == 50_000
        owning = StoreExecutor(pool, store, ProxyType(np.ndarray), close_store=False)
        assert list(owning.map(total_of, [array, array * 2])) == [50_000, 100_000]
        later = store.future()
        assert pool.submit(later.set_result, [1]).result() is None
        assert later.proxy() == [1]
