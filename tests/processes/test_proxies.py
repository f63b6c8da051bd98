"""Proxies that go to other processes: forked, spawned, and started by themselves.

Guaranteed:

1. A proxy arrives as its factory, and its object is looked at where it lies.
2. Exactly one owner evicts, wherever it went.
3. A forked child evicts nothing that its parent owns.
4. What a killed process owned in a depot is evicted by whoever notices.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entrepot.proxystore.connectors.depot import DepotConnector
from entrepot.proxystore.connectors.file import FileConnector
from entrepot.proxystore.proxy import is_resolved
from entrepot.proxystore.store import Store, get_or_create_store
from entrepot.proxystore.store.executor import ProxyType, StoreExecutor
from entrepot.proxystore.store.lifetimes import ContextLifetime, LeaseLifetime, StaticLifetime
from entrepot.proxystore.store.ref import OwnedProxy, borrow
from entrepot.proxystore.store.scopes import submit
from entrepot.proxystore.store.utils import get_key
from support.conditions import wait_until
from support.homes import Home
from support.peers import Peer
from support.tasks import look_at, own_again, total_of

Start = Callable[..., Peer]


@pytest.fixture(params=["depot", "file"])
def store(request: pytest.FixtureRequest, home: Home, tmp_path: Path) -> Iterator[Store[Any]]:
    connector: Any
    if request.param == "depot":
        connector = DepotConnector(
            home.name,
            directory=home.root,
            data_directory=home.data,
            memory="256M",
            clear=True,
        )
    else:
        connector = FileConnector(str(tmp_path / "files"))
    with Store("across", connector, register=True) as store:
        yield store


@pytest.fixture(params=["fork", "spawn"])
def pool(request: pytest.FixtureRequest, store: Store[Any]) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context(request.param)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


def is_gone(store: Store[Any], key: Any) -> bool:
    gc.collect()
    store.cache.clear()
    return not store.exists(key)


def test_a_pool_passes_proxies_in_both_directions(
    pool: ProcessPoolExecutor, store: Store[Any]
) -> None:
    array = np.arange(100_000.0)
    proxies = [store.proxy(array + number) for number in range(6)]
    assert list(pool.map(total_of, proxies)) == [float((array + n).sum()) for n in range(6)]
    seen = pool.submit(look_at, proxies[0]).result()
    assert seen["pid"] != os.getpid()
    assert not seen["was resolved"]
    assert seen["is array"]
    assert not seen["owns its bytes"]


def test_a_future_is_set_elsewhere(pool: ProcessPoolExecutor, store: Store[Any]) -> None:
    future = store.future(polling_interval=0.01)
    proxy = future.proxy()
    done = pool.submit(future.set_result, [1, 2])
    assert proxy == [1, 2]
    done.result()


def test_an_executor_with_a_store_passes_arrays(
    pool: ProcessPoolExecutor, store: Store[Any]
) -> None:
    executor = StoreExecutor(pool, store, ProxyType(np.ndarray), close_store=False)
    result = executor.submit(np.add, np.ones(50_000), 1).result()
    assert type(result) is OwnedProxy
    assert float(result.sum()) == 100_000
    key = get_key(result)
    del result
    # The threads of the pool let go of it when they come to it.
    wait_until(lambda: is_gone(store, key), "it goes with its owner")


def test_a_borrow_ends_when_the_task_of_another_process_is_done(
    pool: ProcessPoolExecutor, store: Store[Any]
) -> None:
    owner = store.owned_proxy(np.ones(10))
    key = get_key(owner)
    future = submit(pool.submit, args=(total_of, borrow(owner)))
    assert future.result() == 10
    assert store.exists(key)
    del owner, future
    wait_until(lambda: is_gone(store, key), "it goes with its last borrow")


def test_an_owner_that_went_away_and_came_back_evicts_here(
    pool: ProcessPoolExecutor, store: Store[Any]
) -> None:
    owner = pool.submit(own_again, store.owned_proxy([1])).result()
    key = get_key(owner)
    assert owner == [1]
    assert store.exists(key)
    del owner
    wait_until(lambda: is_gone(store, key), "it goes with its owner")


def test_a_forked_child_evicts_nothing_of_its_parent(store: Store[Any]) -> None:
    owner = store.owned_proxy([1])
    pid = os.fork()
    if not pid:
        code = 1
        try:
            del owner
            gc.collect()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert store.exists(get_key(owner))
    assert owner == [1]


def load(here: Any, body: bytes) -> Any:
    proxy = pickle.loads(body)
    here.proxy = proxy
    return is_resolved(proxy), float(proxy.sum()), bool(proxy.flags.owndata)


def end_of_owner(here: Any) -> None:
    del here.proxy


def test_an_owner_evicts_where_it_was_loaded(home: Home, peers: Start, store: Store[Any]) -> None:
    owner = store.owned_proxy(np.ones(100_000))
    key = get_key(owner)
    peer = peers(opens=False)
    assert peer.run(load, pickle.dumps(owner)) == (False, 100_000.0, False)
    del owner
    gc.collect()
    assert store.exists(key)
    peer.run(end_of_owner)
    assert not store.exists(key)


def test_an_owner_evicts_when_its_process_ends(peers: Start, store: Store[Any]) -> None:
    owner = store.owned_proxy(np.ones(100_000))
    key = get_key(owner)
    peer = peers(opens=False)
    peer.run(load, pickle.dumps(owner))
    peer.close()
    assert not store.exists(key)


def own(here: Any, store_config: Any) -> list[Any]:
    """Own objects in each way that there is; return their keys."""
    store = get_or_create_store(store_config)
    here.owner = store.owned_proxy(np.ones(100_000))
    here.lifetime = ContextLifetime(store)
    return [
        get_key(here.owner),
        store.put([2], lifetime=here.lifetime),
        store.put([3], lifetime=StaticLifetime()),
        store.put(np.zeros(100_000), lifetime=here.lifetime),
    ]


def others(here: Any, store_config: Any) -> list[Any]:
    """Return the keys of what goes on when the process that put it is gone."""
    store = get_or_create_store(store_config)
    here.lease = LeaseLifetime(store, 3600)
    return [store.put([4]), store.put([5], lifetime=here.lease)]


@pytest.mark.parametrize("store", ["depot"], indirect=True)
def test_what_a_killed_process_owned_is_evicted(peers: Start, store: Store[Any]) -> None:
    peer = peers(opens=False)
    keys = peer.run(own, store.config())
    kept = peer.run(others, store.config())
    assert all(map(store.exists, keys))
    peer.kill()
    store.connector._depot.collect()
    assert not any(map(store.exists, keys))
    assert all(map(store.exists, kept))


def send(here: Any, store_config: Any) -> bytes:
    return pickle.dumps(get_or_create_store(store_config).owned_proxy([1]))


@pytest.mark.parametrize("store", ["depot"], indirect=True)
def test_an_owner_survives_the_process_that_sent_it(peers: Start, store: Store[Any]) -> None:
    peer = peers(opens=False)
    sent = peer.run(send, store.config())
    peer.kill()
    store.connector._depot.collect()
    owner = pickle.loads(sent)
    key = get_key(owner)
    assert owner == [1]
    del owner
    gc.collect()
    assert not store.exists(key)
