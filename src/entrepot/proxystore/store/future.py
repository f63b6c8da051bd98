"""Futures: results that are not there yet, and proxies of them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from entrepot.proxystore.proxy import Proxy
from entrepot.proxystore.serialize import SerializerT
from entrepot.proxystore.store.factory import PollingStoreFactory

__all__ = ["Future"]

T = TypeVar("T")


class Future(Generic[T]):
    """An object that somebody will put. Made by `Store.future`; may be pickled.

    Args:
        factory: Waits for the object.
        serializer: Instead of the store's.
    """

    def __init__(
        self, factory: PollingStoreFactory[T], *, serializer: SerializerT | None = None
    ) -> None:
        self._factory = factory
        self._serializer = serializer

    def done(self) -> bool:
        """Tell whether the object is there."""
        return self._factory.get_store().exists(self._factory.key)

    def proxy(self) -> Proxy[T]:
        """Return a proxy of the object, whose first use waits for it."""
        return Proxy(self._factory)

    def result(self) -> T:
        """Wait for the object; return it.

        Raises:
            ProxyResolveMissingKeyError: It did not come within the future's `polling_timeout`.
        """
        return self._factory()

    def set_result(self, obj: T) -> None:
        """Put the object, and wake who waits for it."""
        store: Any = self._factory.get_store()
        store.set_object(self._factory.key, obj, serializer=self._serializer)
