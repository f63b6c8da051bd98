"""Factories: how a proxy finds its object. They know the store and the key, and little else."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future as _Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from entrepot.proxystore.serialize import DeserializerT
from entrepot.proxystore.store.config import StoreConfig
from entrepot.proxystore.store.exceptions import ProxyResolveMissingKeyError
from entrepot.proxystore.store.registry import get_or_create_store

if TYPE_CHECKING:
    from entrepot.proxystore.store.base import Store

__all__ = ["PollingStoreFactory", "StoreFactory"]

T = TypeVar("T")
_THREADS = 16
_WAIT_SLICE_S = 60.0
_MISSING: Any = object()


class _Background:
    """Threads that fetch. They end with the process, whatever they wait for."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[_Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads = 0

    def submit(self, fn: Callable[[], T]) -> _Future[T]:
        future: _Future[T] = _Future()
        self._work.put((future, fn))
        if self._idle.acquire(blocking=False):
            return future
        with self._lock:
            if self._threads < _THREADS:
                self._threads += 1
                name = f"proxystore-{self._threads}"
                threading.Thread(target=self._run, name=name, daemon=True).start()
        return future

    def _run(self) -> None:
        while True:
            future, fn = self._work.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn())
                except BaseException as error:  # noqa: BLE001 it is for who asks for the object
                    future.set_exception(error)
            del future, fn  # what they hold is not this thread's
            self._idle.release()


_background = _Background()


def _forget_threads() -> None:
    """Forget the threads: in a forked child there are none."""
    global _background  # noqa: PLW0603 of the process
    _background = _Background()


os.register_at_fork(after_in_child=_forget_threads)


class StoreFactory(Generic[T]):
    """Gets an object from a store, which is found by its name, or made of its configuration.

    Args:
        key: The object's.
        store_config: What its store is made of where there is none of that name.
        evict: Evict the object when it is got.
        deserializer: Instead of the store's.
    """

    def __init__(
        self,
        key: Any,
        store_config: StoreConfig,
        *,
        evict: bool = False,
        deserializer: DeserializerT | None = None,
    ) -> None:
        self.key = key
        self.store_config = store_config
        self.evict = evict
        self.deserializer = deserializer
        self._obj_future: _Future[T] | None = None

    def __call__(self) -> T:
        """Get the object, or wait for the thread that does."""
        store = self.get_store()
        began = time.perf_counter()
        future, self._obj_future = self._obj_future, None
        # One that waits behind others is not waited for: they may wait for this program.
        found = self.resolve() if future is None or future.cancel() else future.result()
        if store.metrics is not None:
            took_ms = (time.perf_counter() - began) * 1000
            store.metrics.add_time("factory.call", self.key, took_ms)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_obj_future": None}

    def get_store(self) -> Store[Any]:
        """Return the store, made and registered if there is none of its name here."""
        return get_or_create_store(self.store_config)

    def resolve(self) -> T:
        """Get the object.

        Raises:
            ProxyResolveMissingKeyError: It is gone.
        """
        store = self.get_store()
        began = time.perf_counter()
        found: Any = store.get(self.key, deserializer=self.deserializer, default=_MISSING)
        if found is _MISSING:
            raise ProxyResolveMissingKeyError(self.key, type(store), store.name)
        if self.evict:
            store.evict(self.key)
        if store.metrics is not None:
            took_ms = (time.perf_counter() - began) * 1000
            store.metrics.add_time("factory.resolve", self.key, took_ms)
        return found

    def resolve_async(self) -> None:
        """Begin to get the object in a thread; the next call waits for it."""
        if self._obj_future is None:
            self._obj_future = _background.submit(self.resolve)


class PollingStoreFactory(StoreFactory[T]):
    """Gets an object that is perhaps not there yet: waits for it.

    Where the connector can wait (`DepotConnector`), its putting wakes this; else this looks
    again and again.

    Args:
        key: The object's.
        store_config: See `StoreFactory`.
        deserializer: See `StoreFactory`.
        evict: See `StoreFactory`.
        polling_interval: Seconds between two looks.
        polling_backoff_factor: Each interval is so many times the one before.
        polling_interval_limit: But at most so many seconds.
        polling_timeout: Seconds after which it gives up; by default never.
    """

    def __init__(
        self,
        key: Any,
        store_config: StoreConfig,
        *,
        deserializer: DeserializerT | None = None,
        evict: bool = False,
        polling_interval: float = 1,
        polling_backoff_factor: float = 1,
        polling_interval_limit: float | None = None,
        polling_timeout: float | None = None,
    ) -> None:
        super().__init__(key, store_config, evict=evict, deserializer=deserializer)
        self._polling_interval = polling_interval
        self._polling_backoff_factor = polling_backoff_factor
        self._polling_interval_limit = polling_interval_limit
        self._polling_timeout = polling_timeout

    def resolve(self) -> T:
        """Wait for the object, and get it.

        Raises:
            ProxyResolveMissingKeyError: It did not come in time.
        """
        store = self.get_store()
        wait: Callable[..., bool] | None = getattr(store.connector, "wait", None)
        timeout = self._polling_timeout
        ends = float("inf") if timeout is None else time.monotonic() + timeout
        interval = self._polling_interval
        while not store.exists(self.key):
            left = ends - time.monotonic()
            if left <= 0:
                raise ProxyResolveMissingKeyError(self.key, type(store), store.name)
            if wait is not None:
                wait(self.key, min(left, _WAIT_SLICE_S))
                continue
            time.sleep(min(interval, left))
            interval *= self._polling_backoff_factor
            if self._polling_interval_limit is not None:
                interval = min(interval, self._polling_interval_limit)
        return super().resolve()
