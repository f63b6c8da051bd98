"""What can be done with proxies of stores."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar, cast

from entrepot.proxystore.proxy import Proxy, extract, get_factory, is_resolved
from entrepot.proxystore.store.exceptions import ProxyStoreFactoryError
from entrepot.proxystore.store.factory import StoreFactory

__all__ = ["aresolve", "get_key", "resolve_async"]

T = TypeVar("T")


def get_key(proxy: Proxy[T]) -> Any:
    """Return the key of the object of a proxy, which is not resolved by that.

    Raises:
        ProxyStoreFactoryError: The proxy is none of a store.
    """
    return _factory_of(proxy).key


def resolve_async(proxy: Proxy[T]) -> None:
    """Begin to fetch the object of a proxy in a thread; its first use waits for it.

    Raises:
        ProxyStoreFactoryError: The proxy is none of a store.
    """
    if not is_resolved(proxy):
        _factory_of(proxy).resolve_async()


async def aresolve(proxy: Proxy[T]) -> T:
    """Fetch the object of a proxy, and return it, without blocking the event loop.

    Raises:
        ProxyResolveError: It cannot be had; the reason is its `cause`.
    """
    if is_resolved(proxy):
        return extract(proxy)
    return await asyncio.to_thread(extract, proxy)


def _factory_of(proxy: Proxy[T]) -> StoreFactory[T]:
    factory: Any = get_factory(proxy)
    if not isinstance(factory, StoreFactory):
        raise ProxyStoreFactoryError(
            "The proxy must contain a factory with type StoreFactory. "
            f"{type(factory).__name__} is not supported."
        )
    return cast("StoreFactory[T]", factory)
