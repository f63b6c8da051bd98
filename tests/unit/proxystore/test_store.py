"""The store: objects, proxies, futures, and what is said when something is gone."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from entrepot.proxystore.connectors.depot import DepotConnector, DepotKey
from entrepot.proxystore.connectors.file import FileConnector
from entrepot.proxystore.connectors.local import LocalConnector
from entrepot.proxystore.proxy import (
    Proxy,
    ProxyLocker,
    ProxyResolveError,
    extract,
    is_resolved,
)
from entrepot.proxystore.serialize import SerializationError, serialize
from entrepot.proxystore.store import (
    Store,
    StoreConfig,
    StoreFactory,
    get_or_create_store,
    get_store,
    register_store,
    store_registration,
    unregister_store,
)
from entrepot.proxystore.store.cache import LRUCache
from entrepot.proxystore.store.config import ConnectorConfig
from entrepot.proxystore.store.exceptions import (
    NonProxiableTypeError,
    ProxyResolveMissingKeyError,
    ProxyStoreFactoryError,
    StoreExistsError,
)
from entrepot.proxystore.store.utils import aresolve, get_key, resolve_async
from support.conditions import PATIENCE_S
from support.homes import Home


def fresh(proxy: Any) -> Any:
    """Return the copy of a proxy that another process would get."""
    return pickle.loads(pickle.dumps(proxy))


def test_an_array_is_got_from_shared_memory_without_a_copy(store: Store[Any]) -> None:
    key = store.put(np.arange(100_000.0))
    first = store.get(key)
    store.cache.evict(key)
    second = store.get(key)
    assert first is not None
    assert second is not None
    assert first.ctypes.data == second.ctypes.data
    assert first.ctypes.data % 64 == 0
    assert not first.flags.writeable
    assert (first == np.arange(100_000.0)).all()


def test_a_frame_is_got_from_shared_memory_without_a_copy(store: Store[Any]) -> None:
    frame = pd.DataFrame({"a": np.arange(100_000), "b": np.arange(100_000) * 1.5})
    proxy = fresh(store.proxy(frame))
    assert proxy.equals(frame)
    again = fresh(proxy)
    store.cache.evict(get_key(proxy))
    assert again["b"].to_numpy().ctypes.data == proxy["b"].to_numpy().ctypes.data


def test_a_store_keeps_what_was_used_last(store: Store[Any]) -> None:
    key = store.put([1])
    assert not store.is_cached(key)
    assert store.get(key) is store.get(key)
    assert store.is_cached(key)
    store.evict(key)
    assert not store.is_cached(key)
    assert not store.exists(key)
    assert store.get(key) is None
    assert store.get(key, default="gone") == "gone"


def test_a_batch_keeps_its_order(store: Store[Any]) -> None:
    keys = store.put_batch([1, "a", None])
    store.evict(keys[1])
    assert store.get_batch([*keys, keys[0]]) == [1, None, None, 1]
    proxies = store.proxy_batch([[1], [2]])
    assert [fresh(proxy) for proxy in proxies] == [[1], [2]]
    assert store.proxy_batch([True, [3]], skip_nonproxiable=True) == [True, [3]]


def test_a_stored_none_is_told_from_a_missing_one_by_a_default(store: Store[Any]) -> None:
    assert store.get(store.put(None), default="gone") is None


def test_own_serializers_travel_with_the_proxy(store: Store[Any]) -> None:
    proxy = store.proxy("abc", serializer=str.encode, deserializer=upper, populate_target=False)
    assert fresh(proxy) == "ABC"
    with pytest.raises(TypeError, match="bytes-like"):
        store.put("abc", serializer=lambda _: 3)  # pyright: ignore[reportArgumentType] the point
    key = store.put(b"x", serializer=bytes)
    with pytest.raises(SerializationError, match="Unknown identifier"):
        store.get(key)
    with pytest.raises(SerializationError, match="division"):
        store.get(key, deserializer=lambda _: 1 / 0)


def upper(body: Any) -> str:
    return bytes(body).decode().upper()


def test_a_proxy_of_what_is_gone_says_so(store: Store[Any]) -> None:
    proxy = fresh(store.proxy([1]))
    store.evict(get_key(proxy))
    with pytest.raises(ProxyResolveError, match="it was evicted") as caught:
        len(proxy)
    cause = pickle.loads(pickle.dumps(caught.value.cause))
    assert isinstance(cause, ProxyResolveMissingKeyError)
    assert (cause.key, cause.store_name) == (get_key(proxy), "lab")


def test_a_proxy_that_evicts_is_resolved_once(store: Store[Any]) -> None:
    proxy = store.proxy([1], evict=True)
    first, second = fresh(proxy), fresh(proxy)
    assert first == [1]
    with pytest.raises(ProxyResolveError):
        len(second)
    assert proxy == [1]


def test_a_proxy_holds_its_object_only_if_that_is_wanted(store: Store[Any]) -> None:
    value = [1]
    assert extract(store.proxy(value)) is value
    proxy = store.proxy(value, populate_target=False)
    assert not is_resolved(proxy)
    assert extract(proxy) is not value
    assert extract(proxy) == value


def test_a_proxy_of_a_proxy_outlives_the_inner_one(store: Store[Any]) -> None:
    inner = store.proxy([1])
    outer = fresh(store.proxy(inner))
    store.evict(get_key(inner))
    assert extract(outer) == [1]


@pytest.mark.parametrize("value", [None, True, False], ids=repr)
def test_what_is_compared_by_identity_has_no_proxy(store: Store[Any], value: Any) -> None:
    with pytest.raises(NonProxiableTypeError):
        store.proxy(value)
    assert store.proxy(value, skip_nonproxiable=True) is value
    assert store.locked_proxy(value) is value
    assert store.owned_proxy(value) is value


def test_a_locked_proxy_is_locked(store: Store[Any]) -> None:
    locked = store.locked_proxy([1])
    assert isinstance(locked, ProxyLocker)
    assert locked.unlock() == [1]


def test_a_proxy_of_another_factory_is_none_of_a_store() -> None:
    for call in (get_key, get_store, resolve_async):
        with pytest.raises(ProxyStoreFactoryError, match="StoreFactory"):
            call(Proxy(list))


def test_a_proxy_is_resolved_in_the_background(store: Store[Any]) -> None:
    proxy = store.proxy_from_key(store.put([1]))
    resolve_async(proxy)
    resolve_async(proxy)
    assert proxy == [1]
    resolve_async(proxy)
    gone = store.proxy_from_key(store.connector.new_key())
    resolve_async(gone)
    with pytest.raises(ProxyResolveError, match="evicted"):
        len(gone)


def test_a_proxy_is_resolved_without_blocking_a_loop(store: Store[Any]) -> None:
    async def main() -> Any:
        future = store.future(polling_timeout=60)
        proxy = future.proxy()
        resolving = asyncio.ensure_future(aresolve(proxy))
        await asyncio.to_thread(future.set_result, [1])
        return await resolving, await aresolve(proxy)

    assert asyncio.run(main()) == ([1], [1])


def test_a_future_wakes_who_waits(store: Store[Any]) -> None:
    future = store.future()
    proxy = fresh(future.proxy())
    assert not future.done()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: len(proxy))
        pickle.loads(pickle.dumps(future)).set_result([1, 2])
        assert waiting.result() == 2
    assert future.done()
    assert future.result() == [1, 2]


def test_a_future_gives_up_in_time(store: Store[Any]) -> None:
    with pytest.raises(ProxyResolveMissingKeyError):
        store.future(polling_timeout=0.01).result()


def test_a_future_polls_where_the_connector_cannot_wait() -> None:
    connector = LocalConnector({}, include_data_in_config=True)
    with Store("polled", connector, register=True) as store:
        future = store.future(
            polling_interval=0.001, polling_backoff_factor=2, polling_interval_limit=0.01
        )
        setter = threading.Timer(0.02, future.set_result, ([1],))
        setter.start()
        assert future.result() == [1]
        setter.join()


def test_a_future_needs_a_connector_that_promises_keys() -> None:
    class Bare(LocalConnector):
        new_key = None  # pyright: ignore[reportAssignmentType] as if there were none

    with pytest.raises(NotImplementedError, match="does not promise"):
        Store("bare", Bare()).future()


# Names and configurations.


def test_the_modules_of_stores_come_with_their_package() -> None:
    code = (
        "from entrepot.proxystore import store as s\n"
        "s.utils.get_key, s.ref.borrow, s.lifetimes.Lifetime, s.executor, s.scopes, s.types\n"
        "print(hasattr(s, 'nothing'))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"


def test_stores_are_found_by_name(tmp_path: Path) -> None:
    store = Store("named", FileConnector(str(tmp_path)))
    assert get_store("named") is None
    with store_registration(store):
        assert get_store("named") is store
        with pytest.raises(StoreExistsError, match="named"):
            register_store(Store("named", LocalConnector()))
        register_store(store, exist_ok=True)
        assert get_store(store.proxy([1])) is store
    assert get_store("named") is None
    unregister_store("named")


def test_the_store_of_a_proxy_is_made_where_there_is_none(tmp_path: Path) -> None:
    store = Store("made", FileConnector(str(tmp_path)))
    proxy = fresh(store.proxy([1]))
    try:
        assert proxy == [1]
        made = get_store("made")
        assert made is not None
        assert made is not store
        assert made is get_or_create_store(store.config())
    finally:
        unregister_store("made")


def test_a_registered_store_is_forgotten_when_it_closes(tmp_path: Path) -> None:
    with Store("closing", FileConnector(str(tmp_path)), register=True) as store:
        assert get_store("closing") is store
    assert get_store("closing") is None
    store.close()


def test_a_configuration_survives_a_file(store: Store[Any], tmp_path: Path) -> None:
    config = store.config()
    config.write_toml(tmp_path / "store.toml")
    assert StoreConfig.from_toml(tmp_path / "store.toml") == config
    odd = StoreConfig(
        name='a "quoted"\nname\x7f',
        connector=ConnectorConfig(kind="file", options={"a b": [1, {"c": 2.5}], "d": True}),
    )
    odd.write_toml(tmp_path / "odd.toml")
    assert StoreConfig.from_toml(tmp_path / "odd.toml") == odd
    with pytest.raises(TypeError, match="TOML holds no"):
        StoreConfig(
            name="x", connector=ConnectorConfig(kind="file", options={"a": None})
        ).write_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "text", ['name = "x"', 'name = "x"\nunknown = 1\nconnector.kind = "file"', "no toml"]
)
def test_a_file_that_is_no_configuration_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=r"StoreConfig|Expected"):
        StoreConfig.from_toml(tmp_path / "bad.toml")


def test_connectors_have_short_names() -> None:
    for kind in ("file", "FileConnector", "entrepot.proxystore.connectors.file.FileConnector"):
        assert ConnectorConfig(kind=kind).get_connector_type() is FileConnector
    assert ConnectorConfig(kind="depot").get_connector_type() is DepotConnector
    for kind in ("unknown", "no.such.module.Class", "entrepot.proxystore.NoSuch"):
        with pytest.raises(ValueError, match=kind):
            ConnectorConfig(kind=kind).get_connector_type()


def test_a_store_cannot_be_pickled_but_its_configuration_can(store: Store[Any]) -> None:
    with pytest.raises(TypeError, match=r"store\.config"):
        pickle.dumps(store)
    assert pickle.loads(pickle.dumps(store.config())) == store.config()


def test_a_negative_cache_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Store("x", LocalConnector(), cache_size=-1)


def test_a_cache_forgets_what_was_not_used_for_longest() -> None:
    cache: LRUCache[int, str] = LRUCache(2)
    cache.set(1, "a")
    cache.set(2, "b")
    cache.set(1, "A")
    cache.set(3, "c")
    assert [cache.get(key) for key in (1, 2, 3)] == ["A", None, "c"]
    nothing: LRUCache[int, str] = LRUCache(0)
    nothing.set(1, "a")
    assert not nothing.exists(1)


def test_metrics_count_what_was_done() -> None:
    with Store("counted", LocalConnector(), metrics=True, register=True) as store:
        proxy = store.proxy([1], populate_target=False)
        assert proxy == [1]
        store.get(get_key(proxy))
        keys = store.put_batch([1, 2])
        assert store.metrics is not None
        found = store.metrics.get_metrics(proxy)
        assert found is not None
        assert found.counters == {"store.get.cache_misses": 1, "store.get.cache_hits": 1}
        assert found.attributes["store.put.object_size"] == len(serialize([1]))
        assert found.times["store.get"].count == 2
        assert {"store.proxy", "store.put.serialize", "factory.call"} <= set(found.times)
        batch = store.metrics.get_metrics(keys)
        assert batch is not None
        assert "store.put_batch" in batch.as_dict()["times"]
        assert store.metrics.aggregate_times()["store.get"].count == 2
        assert store.metrics.get_metrics(DepotKey(1)) is None


def test_a_factory_can_be_made_by_hand(store: Store[Any]) -> None:
    factory: StoreFactory[Any] = StoreFactory(store.put([1]), store.config())
    assert Proxy(factory) == [1]


class Held(LocalConnector):
    """A connector whose `get` has the bytes, and waits before it returns them."""

    def __init__(self) -> None:
        super().__init__()
        self.got, self.go = threading.Event(), threading.Event()

    def get(self, key: Any) -> Any:
        body = super().get(key)
        self.got.set()
        self.go.wait()
        return body


@pytest.mark.parametrize("change", ["update", "evict"])
@pytest.mark.parametrize("many", [False, True], ids=["one", "batch"])
def test_a_get_beside_a_change_keeps_nothing_that_is_over(change: str, many: bool) -> None:
    store = Store("beside", Held())
    key = store.connector.new_key()
    store.set_object(key, "old")
    getting = threading.Thread(
        target=store.get_batch if many else store.get, args=([key] if many else key,)
    )
    getting.start()
    store.connector.got.wait()
    if change == "update":
        store.set_object(key, "new")
    else:
        store.evict(key)
    store.connector.go.set()
    getting.join()
    assert store.get(key) == ("new" if change == "update" else None)
    assert store.exists(key) == (change == "update")


@pytest.mark.parametrize("what", ["cache", "metrics"])
def test_an_owner_may_be_dropped_in_the_middle_of_a_store(what: str, store: Store[Any]) -> None:
    # What the garbage collector does, at a moment of its own choice: here at each of them.
    again = Store("collected", store.connector, metrics=what == "metrics", cache_size=2)
    key = again.put([0])

    def drop_owners() -> None:
        for number in range(300):
            knot: list[Any] = [again.owned_proxy([number])]
            knot.append(knot)
            del knot
            again.get(key)

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        dropping = threading.Thread(target=drop_owners, daemon=True)
        dropping.start()
        dropping.join(PATIENCE_S / 2)
    finally:
        gc.set_threshold(*before)
    assert not dropping.is_alive()
    gc.collect()


class Slow(LocalConnector):
    """A connector that is long in the making."""

    begun, go = threading.Event(), threading.Event()

    def __init__(self) -> None:
        self.begun.set()
        self.go.wait()
        super().__init__()


@pytest.fixture
def making(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Thread]:
    """A store that is being made in another thread."""
    monkeypatch.setitem(sys.modules, "slow_connector", SimpleNamespace(Slow=Slow))
    monkeypatch.setattr(Slow, "begun", threading.Event())
    monkeypatch.setattr(Slow, "go", threading.Event())
    config = StoreConfig(name="slow", connector=ConnectorConfig(kind="slow_connector.Slow"))
    thread = threading.Thread(target=get_or_create_store, args=(config,))
    thread.start()
    Slow.begun.wait()
    yield thread
    Slow.go.set()
    thread.join()
    unregister_store("slow")


def test_a_store_is_found_while_another_is_made(
    making: threading.Thread, store: Store[Any]
) -> None:
    proxy = store.proxy_from_key(store.put([7]))
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(proxy[0]), daemon=True)
    asking.start()
    asking.join(PATIENCE_S / 2)
    assert making.is_alive()
    assert found == [7]


def test_a_forked_child_makes_stores_while_its_parent_does(
    making: threading.Thread, tmp_path: Path
) -> None:
    other = Store("other", FileConnector(str(tmp_path / "store")))
    proxy = other.proxy_from_key(other.put([7]))
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        os._exit(proxy[0])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert making.is_alive()


def test_a_forked_child_gets_what_its_parent_was_getting() -> None:
    store = Store("forked", Held())
    store.connector.is_thread_safe = False
    store.forget_threads()
    key = store.put("x")
    getting = threading.Thread(target=store.get, args=(key,))
    getting.start()
    store.connector.got.wait()
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        store.connector.go.set()
        os._exit(7 if store.get(key) == "x" else 1)
    store.connector.go.set()
    getting.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_what_is_there_is_not_waited_for_behind_promises(store: Store[Any]) -> None:
    promises = [store.future() for _ in range(20)]
    waiting = [future.proxy() for future in promises]
    for proxy in waiting:
        resolve_async(proxy)
    proxy = store.proxy_from_key(store.put([1]))
    resolve_async(proxy)
    assert proxy == [1]
    for future in promises:
        future.set_result(0)
    # Who still waited behind the end of the test would make the store again.
    assert waiting == [0] * len(waiting)


def test_a_program_ends_while_a_promise_is_waited_for(home: Home) -> None:
    body = [str(home.name), str(home.root), str(home.data)]
    subprocess.run([sys.executable, "-c", WAIT_FOR_EVER, *body], check=True, timeout=PATIENCE_S)


WAIT_FOR_EVER = """
import sys
from entrepot.proxystore.connectors.depot import DepotConnector
from entrepot.proxystore.store import Store
from entrepot.proxystore.store.utils import resolve_async
name, directory, data = sys.argv[1:]
connector = DepotConnector(name, directory=directory, data_directory=data, memory="64M")
proxy = Store("lab", connector, register=True).future().proxy()
resolve_async(proxy)
"""


def test_to_store_a_proxy_does_not_fetch_its_object(store: Store[Any]) -> None:
    assert pd.DataFrame  # who is imported is asked whether it is one of its own
    key = store.put([1])
    stored = store.put(store.proxy_from_key(key, evict=True))
    assert store.connector.exists(key)
    inner = store.get(stored)
    assert not is_resolved(inner)
    assert inner == [1]


@pytest.mark.parametrize("many", [False, True], ids=["one", "batch"])
def test_a_proxy_of_an_owner_leaves_it_the_owner(store: Store[Any], many: bool) -> None:
    owner: Any = store.owned_proxy([1, 2])
    proxy = store.proxy_batch([owner])[0] if many else store.proxy(owner)
    assert owner == [1, 2]
    del owner
    gc.collect()
    assert fresh(proxy) == [1, 2]


def test_a_file_that_was_cut_says_what_is_missing(tmp_path: Path) -> None:
    store = Store("cut", FileConnector(str(tmp_path / "store")))
    key = store.put([1] * 100)
    path = tmp_path / "store" / key.filename
    whole = path.read_bytes()
    for size in (0, 2, 50):
        path.write_bytes(whole[:size])
        with pytest.raises(SerializationError, match=f"{size} bytes"):
            store.get(key)
