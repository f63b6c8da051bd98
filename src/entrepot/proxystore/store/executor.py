"""An executor that passes large arguments and results by proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from entrepot.proxystore.proxy import Proxy
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
        keys: list[Any] = []
        args = tuple(self._passed(item, keys) for item in args)
        kwargs = {name: self._passed(item, keys) for name, item in kwargs.items()}
        future: Future[Any] = self.executor.submit(self._wrapped(function), *args, **kwargs)
        self._evict_after(future, keys)
        return future

    def map(  # pyright: ignore[reportIncompatibleMethodOverride] the name is proxystore's
        self, function: Callable[..., Any], *iterables: Iterable[Any], **kwargs: Any
    ) -> Iterator[Any]:
        """Call a function for each of the items; return results, or proxies, in order.

        Args:
            function: What to call.
            *iterables: Its arguments.
            **kwargs: For the executor.
        """
        keys: list[Any] = []
        passed = [[self._passed(item, keys) for item in items] for items in iterables]
        results = self.executor.map(self._wrapped(function), *passed, **kwargs)
        return self._results(results, keys)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down, and close the store if that is wanted."""
        if hasattr(self.executor, "shutdown"):
            try:
                self.executor.shutdown(wait=wait, cancel_futures=cancel_futures)
            except TypeError:  # a client of Dask
                self.executor.shutdown()
        if self.close_store:
            self.store.close()

    def _passed(self, item: Any, keys: list[Any]) -> Any:
        if isinstance(item, bool) or item is None or isinstance(item, Proxy):
            return cast("Any", item)
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

    def _results(self, results: Any, keys: list[Any]) -> Iterator[Any]:
        if self._is_dask:
            results = self.executor.gather(list(results))
        try:
            yield from results
        finally:
            if self.ownership:
                self._evict(keys)

    def _evict(self, keys: list[Any]) -> None:
        for key in keys:
            self.store.evict(key)


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
    if isinstance(result, (bool, type(None), Proxy)) or not should_proxy(result):
        return cast("Any", result)
    store = get_or_create_store(store_config)
    if ownership:
        return store.owned_proxy(result, populate_target=False)
    return store.proxy(result, populate_target=False)
