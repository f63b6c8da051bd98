"""An executor that passes large arguments and results by proxy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any

from entrepot.proxystore.proxy import is_proxy
from entrepot.proxystore.store.registry import get_or_create_store, register_store
from entrepot.proxystore.store.utils import get_key

if TYPE_CHECKING:
    from entrepot.proxystore.store.base import Store
    from entrepot.proxystore.store.config import StoreConfig

__all__ = ["ProxyAlways", "ProxyNever", "ProxyType", "StoreExecutor"]


class ProxyNever:
    """Pass nothing by proxy."""

    def __call__(self, item: Any) -> bool:
        """Tell whether to pass it by proxy."""
        return False


class ProxyAlways:
    """Pass everything by proxy."""

    def __call__(self, item: Any) -> bool:
        """Tell whether to pass it by proxy."""
        return True


class ProxyType:
    """Pass objects of some types by proxy.

    Args:
        *types: Which.
    """

    def __init__(self, *types: type) -> None:
        self.types = types

    def __call__(self, item: Any) -> bool:
        """Tell whether to pass it by proxy."""
        return isinstance(item, self.types)


class StoreExecutor(Executor):
    """An executor, with arguments and results in a store.

    Args:
        executor: What runs the tasks: one of `concurrent.futures`, or a Dask client.
        store: Where arguments and results are; registered if it is not.
        should_proxy: Says of each argument and result whether it is passed by proxy; must be
            picklable. By default nothing is.
        ownership: Arguments are evicted when their task is done, results when their proxies
            are dropped (not those of Dask, which may send a result more than once). Otherwise
            they stay until somebody evicts them.
        close_store: `shutdown` closes the store.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store[Any],
        should_proxy: Callable[[Any], bool] | None = None,
        *,
        ownership: bool = True,
        close_store: bool = True,
    ) -> None:
        self.executor: Any = executor
        self.store = store
        self.should_proxy = should_proxy or ProxyNever()
        self.ownership = ownership
        self.close_store = close_store
        self._is_dask = hasattr(executor, "gather")
        register_store(store, exist_ok=True)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function elsewhere; return its future result, or the future proxy of it."""
        return self._submit(self._wrapped(function), args, kwargs)

    def map(  # pyright: ignore[reportIncompatibleMethodOverride] the name is proxystore's
        self, function: Callable[..., Any], *iterables: Iterable[Any], **kwargs: Any
    ) -> Iterator[Any]:
        """Call a function for each of the items; return results, or proxies, in order.

        Args:
            function: What to call.
            *iterables: Its arguments.
            **kwargs: `timeout` and `chunksize`, as `concurrent.futures` has them; to a client
                of Dask, whatever its `map` takes.

        Raises:
            ValueError: `chunksize` is less than 1.
        """
        wrapped = self._wrapped(function)
        calls = list(zip(*iterables, strict=False))
        if self._is_dask:
            return self._dask_map(wrapped, calls, kwargs)
        timeout: float | None = kwargs.pop("timeout", None)
        chunk: int = kwargs.pop("chunksize", 1)
        if chunk < 1:
            raise ValueError(f"chunksize is {chunk}, it must be 1 or more")
        if kwargs:
            raise TypeError(f"map() takes no argument {', '.join(kwargs)}")
        ends = None if timeout is None else time.monotonic() + timeout
        # Not by the executor's own map: it does not tell when it needs an argument no more.
        futures = [
            self._submit(partial(_call_each, wrapped), calls[at : at + chunk], {}, is_many=True)
            for at in range(0, len(calls), chunk)
        ]
        return _in_order(futures, ends)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down, and close the store if that is wanted."""
        if hasattr(self.executor, "shutdown"):
            try:
                self.executor.shutdown(wait=wait, cancel_futures=cancel_futures)
            except TypeError:  # a client of Dask
                self.executor.shutdown()
        if self.close_store:
            self.store.close()

    def _submit(
        self, call: Any, args: Sequence[Any], kwargs: dict[str, Any], is_many: bool = False
    ) -> Any:
        """Submit a call; evict what it was passed when it is done, or cannot be submitted."""
        keys: list[Any] = []
        try:
            if is_many:  # a sequence of the arguments of several
                args = [tuple(self._passed(item, keys) for item in each) for each in args]
            else:
                args = [self._passed(item, keys) for item in args]
            kwargs = {name: self._passed(item, keys) for name, item in kwargs.items()}
            future = self.executor.submit(call, *args, **kwargs)
        except BaseException:
            self._evict(keys)
            raise
        self._evict_after(future, keys)
        return future

    def _dask_map(
        self, wrapped: Callable[..., Any], calls: Sequence[Any], kwargs: dict[str, Any]
    ) -> Iterator[Any]:
        keys: list[list[Any]] = [[] for _ in calls]
        try:
            passed = [
                [self._passed(item, mine) for item in call]
                for call, mine in zip(calls, keys, strict=True)
            ]
            futures: list[Any] = (
                self.executor.map(wrapped, *map(list, zip(*passed, strict=True)), **kwargs)
                if passed
                else []
            )
        except BaseException:
            self._evict([key for mine in keys for key in mine])
            raise
        for future, mine in zip(futures, keys, strict=True):
            self._evict_after(future, mine)
        return (result for result in self.executor.gather(futures))

    def _passed(self, item: Any, keys: list[Any]) -> Any:
        # A proxy first: to ask what else it is could fetch its object, and evict it.
        if is_proxy(item) or isinstance(item, bool) or item is None:
            return item
        if not self.should_proxy(item):
            return item
        proxy = self.store.proxy(item, populate_target=True)
        keys.append(get_key(proxy))
        return proxy

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        # Dask sends a result as often as somebody asks for it: none of them could be its owner.
        owns_results = self.ownership and not self._is_dask
        return partial(_call, function, self.store.config(), self.should_proxy, owns_results)

    def _evict_after(self, future: Any, keys: list[Any]) -> None:
        if keys and self.ownership:
            future.add_done_callback(partial(self._evict_done, keys))

    def _evict_done(self, keys: list[Any], future: Any) -> None:
        self._evict(keys)

    def _evict(self, keys: list[Any]) -> None:
        for key in keys:
            self.store.evict(key)


def _in_order(futures: list[Future[Any]], ends: float | None) -> Iterator[Any]:
    futures.reverse()
    try:
        while futures:
            # Popped, and not kept: a result belongs to who asked for it.
            yield from _drained(
                futures.pop().result(None if ends is None else ends - time.monotonic())
            )
    finally:
        for future in futures:
            future.cancel()


def _drained(results: list[Any]) -> Iterator[Any]:
    results.reverse()
    while results:
        yield results.pop()


def _call_each(call: Callable[..., Any], /, *calls: Sequence[Any]) -> list[Any]:
    return [call(*args) for args in calls]


def _call(
    function: Callable[..., Any],
    store_config: StoreConfig,
    should_proxy: Callable[[Any], bool],
    ownership: bool,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    result = function(*args, **kwargs)
    if is_proxy(result) or isinstance(result, bool) or result is None or not should_proxy(result):
        return result
    store = get_or_create_store(store_config)
    if ownership:
        return store.owned_proxy(result, populate_target=False)
    return store.proxy(result, populate_target=False)
