"""Who evicts, and when: owners and borrows, lifetimes, the executor."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from entrepot.proxystore.proxy import Proxy, is_resolved
from entrepot.proxystore.store import Store
from entrepot.proxystore.store.exceptions import ProxyStoreFactoryError
from entrepot.proxystore.store.executor import (
    ProxyAlways,
    ProxyNever,
    ProxyType,
    StoreExecutor,
)
from entrepot.proxystore.store.lifetimes import (
    ContextLifetime,
    LeaseLifetime,
    Lifetime,
    StaticLifetime,
    register_lifetime_atexit,
)
from entrepot.proxystore.store.ref import (
    BaseRefProxyError,
    MutableBorrowError,
    OwnedProxy,
    ReferenceInvalidError,
    ReferenceNotOwnedError,
    RefMutProxy,
    RefProxy,
    borrow,
    clone,
    into_owned,
    mut_borrow,
    update,
)
from entrepot.proxystore.store.scopes import mark_refs_out_of_scope, submit
from entrepot.proxystore.store.utils import get_key
from support.conditions import wait_until

# Owners and borrows.


def test_an_object_goes_with_its_owner(store: Store[Any]) -> None:
    owner = store.owned_proxy([1])
    key = get_key(owner)
    assert owner == [1]
    assert store.exists(key)
    del owner
    gc.collect()
    assert not store.exists(key)


def test_many_may_read_or_one_may_write(store: Store[Any]) -> None:
    owner = store.owned_proxy([1])
    first, second = borrow(owner), borrow(owner, populate_target=False)
    assert (type(first), type(second)) == (RefProxy, RefProxy)
    assert isinstance(second, list)
    assert not is_resolved(second)
    assert first == second == [1]
    with pytest.raises(MutableBorrowError, match="as immutable"):
        mut_borrow(owner)
    with pytest.raises(MutableBorrowError, match="has been borrowed"):
        update(owner)
    del first, second
    writer = mut_borrow(owner)
    assert type(writer) is RefMutProxy
    for call in (borrow, mut_borrow):
        with pytest.raises(MutableBorrowError, match="as mutable"):
            call(owner)
    del writer


def test_what_a_writer_changed_is_stored(store: Store[Any]) -> None:
    owner = store.owned_proxy([1])
    key = get_key(owner)
    writer = mut_borrow(owner, populate_target=False)
    update(writer)
    writer.append(2)
    update(writer)
    del writer
    assert store.get(key) == [1, 2]
    owner += [3]
    update(owner)
    assert store.get(key) == [1, 2, 3] or store.get(key) == [1, 3]


def test_only_owners_lend_and_clone(store: Store[Any]) -> None:
    owner = store.owned_proxy([1])
    reader: Any = borrow(owner)
    for call in (borrow, mut_borrow, clone):
        with pytest.raises(ReferenceNotOwnedError):
            call(reader)
    with pytest.raises(ReferenceNotOwnedError, match="immutable borrow"):
        update(reader)
    with pytest.raises(ValueError, match="base proxy"):
        into_owned(owner)
    with pytest.raises(ValueError, match="base proxy"):
        into_owned([1])  # pyright: ignore[reportArgumentType] that is the point
    with pytest.raises(ProxyStoreFactoryError):
        into_owned(Proxy(list))
    with pytest.raises(BaseRefProxyError, match="is no borrow"):
        mark_refs_out_of_scope(owner)  # pyright: ignore[reportArgumentType] that is the point


def test_a_clone_is_another_object(store: Store[Any]) -> None:
    owner = store.owned_proxy([1])
    other = clone(owner)
    assert type(other) is OwnedProxy
    assert get_key(other) != get_key(owner)
    key = get_key(owner)
    del owner
    assert not store.exists(key)
    assert other == [1]
    assert pickle.loads(pickle.dumps(other)) == [1]


def test_a_reference_is_not_copied_by_accident(store: Store[Any]) -> None:
    owner = store.owned_proxy([1])
    for call in (copy.copy, copy.deepcopy):
        with pytest.raises(NotImplementedError, match="clone"):
            call(owner)


def test_an_owner_that_was_sent_away_evicts_nothing(store: Store[Any]) -> None:
    owner = store.owned_proxy([1])
    key = get_key(owner)
    body = pickle.dumps(owner)
    for use in (len, borrow, clone, update, pickle.dumps):
        with pytest.raises(ReferenceInvalidError):
            use(owner)
    del owner
    assert store.exists(key)
    there: Any = pickle.loads(body)
    assert type(there) is OwnedProxy
    assert there == [1]
    del there
    assert not store.exists(key)


def test_an_object_whose_owner_is_dropped_while_lent_goes_with_the_last_borrow(
    store: Store[Any],
) -> None:
    owner = store.owned_proxy([1])
    key, reader = get_key(owner), borrow(owner)
    del owner
    assert store.exists(key)
    assert reader == [1]
    del reader
    assert not store.exists(key)


def test_a_borrow_ends_when_its_task_is_done(store: Store[Any]) -> None:
    owner = store.owned_proxy([1, 2])
    with ThreadPoolExecutor(1) as pool:
        lent = borrow(owner)
        future: Future[int] = submit(pool.submit, args=(len, lent))
        assert future.result() == 2
    wait_until(lambda: _is_free(owner), "the borrow ended")
    with pytest.raises(ReferenceInvalidError):
        len(lent)


def _is_free(owner: Any) -> bool:
    try:
        mut_borrow(owner)
    except MutableBorrowError:
        return False
    return True


# Lifetimes.


def test_objects_go_with_their_context(store: Store[Any]) -> None:
    with ContextLifetime(store, name="mine") as lifetime:
        assert isinstance(lifetime, Lifetime)
        keys = [store.put(1, lifetime=lifetime), *store.put_batch([2], lifetime=lifetime)]
        keys.append(get_key(store.proxy([3], lifetime=lifetime)))
        proxy = store.proxy([4])
        lifetime.add_proxy(proxy)
        keys.append(get_key(proxy))
        keys.append(get_key(store.proxy_from_key(store.put(5), lifetime=lifetime)))
        assert all(map(store.exists, keys))
        assert not lifetime.done()
        assert "mine" in repr(lifetime)
    assert lifetime.done()
    assert not any(map(store.exists, keys))
    lifetime.close()
    for call in (lambda: lifetime.add_key(1), lambda: lifetime.add_proxy(proxy)):
        with pytest.raises(RuntimeError, match="has ended"):
            call()
    with pytest.raises(ValueError, match="mutually exclusive"):
        store.proxy([1], evict=True, lifetime=lifetime)


@pytest.mark.parametrize(
    "expiry",
    [0.01, timedelta(milliseconds=10), datetime.now(UTC) + timedelta(milliseconds=10)],
    ids=["seconds", "timedelta", "datetime"],
)
def test_objects_go_when_their_lease_is_over(store: Store[Any], expiry: Any) -> None:
    lifetime = LeaseLifetime(store, expiry)
    key = store.put([1])
    if not lifetime.done():
        lifetime.add_key(key)
        wait_until(lambda: not store.exists(key), "the lease is over")
    wait_until(lifetime.done, "it says so")
    with pytest.raises(RuntimeError, match="has ended"):
        lifetime.extend(1)
    lifetime.close()


def test_a_lease_can_be_made_longer_and_closed_before(store: Store[Any]) -> None:
    lifetime = LeaseLifetime(store, 3600)
    key = store.put([1], lifetime=lifetime)
    lifetime.extend(3600)
    lifetime.extend(datetime.now(UTC) + timedelta(hours=1))
    assert store.exists(key)
    lifetime.close()
    assert not store.exists(key)


def test_there_is_one_static_lifetime(store: Store[Any]) -> None:
    lifetime = StaticLifetime()
    assert StaticLifetime() is lifetime
    key = store.put([1], lifetime=lifetime)
    proxy = store.proxy([1])
    lifetime.add_proxy(proxy)
    with pytest.raises(ValueError, match="store"):
        lifetime.add_key(key)
    lifetime.close()
    assert not store.exists(key)
    assert StaticLifetime() is not lifetime
    StaticLifetime().close()


def test_what_ends_a_lifetime_at_exit_may_come_late(store: Store[Any]) -> None:
    lifetime = ContextLifetime(store)
    key = store.put([1], lifetime=lifetime)
    end = register_lifetime_atexit(lifetime, close_stores=False)
    end()
    end()
    assert not store.exists(key)


# The executor.


def total(array: Any, *, times: int = 1) -> Any:
    return np.full(3, float(array.sum()) * times)


def test_large_arguments_and_results_go_by_proxy(store: Store[Any]) -> None:
    with StoreExecutor(ThreadPoolExecutor(1), store, ProxyType(np.ndarray)) as pool:
        future = pool.submit(total, np.ones(10), times=2)
        result = future.result()
        assert type(result) is OwnedProxy
        assert (result == 20).all()
        key = get_key(result)
        assert store.exists(key)
        del result, future
        gc.collect()
        wait_until(lambda: not store.exists(key), "the thread lets go, too: it is evicted")
        results = list(pool.map(total, [np.ones(1), np.ones(2)]))
        assert [float(result[0]) for result in results] == [1, 2]
        del results
        depot: Any = store.connector
        wait_until(lambda: depot._depot.objects.count() == 0, "arguments are evicted")


@pytest.mark.parametrize("should", [None, ProxyNever()], ids=["default", "never"])
def test_nothing_goes_by_proxy_unless_that_is_wanted(store: Store[Any], should: Any) -> None:
    with StoreExecutor(ThreadPoolExecutor(1), store, should, close_store=False) as pool:
        assert type(pool.submit(total, np.ones(2)).result()) is np.ndarray
        assert store.exists(store.put(1))


def test_without_ownership_results_stay(store: Store[Any]) -> None:
    with StoreExecutor(ThreadPoolExecutor(1), store, ProxyAlways(), ownership=False) as pool:
        is_called = threading.Event()
        result = pool.submit(str, 5).result()
        assert type(result) is Proxy
        assert pool.submit(is_called.is_set).result() is False
        key = get_key(result)
        del result
        assert store.exists(key)
