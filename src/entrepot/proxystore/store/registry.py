"""The stores of this process, by name: where proxies find theirs."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from entrepot.proxystore.proxy import Proxy, get_factory
from entrepot.proxystore.store.exceptions import ProxyStoreFactoryError, StoreExistsError

if TYPE_CHECKING:
    from entrepot.proxystore.store.base import Store
    from entrepot.proxystore.store.config import StoreConfig

__all__ = [
    "discard_store",
    "get_or_create_store",
    "get_store",
    "note_store",
    "register_store",
    "store_registration",
    "unregister_store",
]

_stores: dict[str, Store[Any]] = {}
_made: weakref.WeakSet[Store[Any]] = weakref.WeakSet()
_lock = threading.RLock()
_making: dict[str, threading.RLock] = {}  # pyright: ignore[reportInvalidTypeForm] a function, says the stub
"""Who makes the store of a name: one thread, while others find, and make, those of other names."""


def get_store(val: str | Proxy[Any]) -> Store[Any] | None:
    """Return a store by its name, or that of a proxy; None if it is not registered here.

    The store of a proxy is made and registered if it is not there.

    Raises:
        ProxyStoreFactoryError: The proxy is none of a store.
    """
    from entrepot.proxystore.store.factory import StoreFactory

    if isinstance(val, Proxy):
        factory: Any = get_factory(val)
        if not isinstance(factory, StoreFactory):
            raise ProxyStoreFactoryError(
                "The proxy must contain a factory with type StoreFactory. "
                f"{type(factory).__name__} is not supported."
            )
        return cast("StoreFactory[Any]", factory).get_store()
    return _stores.get(val)


def get_or_create_store(store_config: StoreConfig, *, register: bool = True) -> Store[Any]:
    """Return the store of that name; make it if it is not registered here.

    Args:
        store_config: What to make it of.
        register: Register one that is made, for the next who asks.
    """
    from entrepot.proxystore.store.base import Store

    store = _stores.get(store_config.name)  # not behind one that is being made
    if store is not None:
        return store
    with _lock:
        making = _making.setdefault(store_config.name, threading.RLock())
    with making:
        store = _stores.get(store_config.name)
        if store is not None:
            return store
        made = Store[Any].from_config(replace(store_config, auto_register=False))
        if not register:
            return made
        made.auto_register = store_config.auto_register
        with _lock:
            store = _stores.setdefault(made.name, made)
    if store is not made:  # somebody registered one meanwhile
        discard_store(made)
    return store


def discard_store(store: Store[Any]) -> None:
    """Close a store that was made for a moment, and clear nothing."""
    with contextlib.suppress(TypeError):  # a connector whose close() takes nothing
        store.close(clear=False)
        return
    store.close()


def note_store(store: Store[Any]) -> None:
    """Let a store know when it is in a forked child."""
    _made.add(store)


def _after_fork() -> None:
    """Make locks anew: who held them in the parent is not here."""
    global _lock  # noqa: PLW0603 of the process
    _lock = threading.RLock()
    _making.clear()
    for store in list(_made):
        store.forget_threads()


os.register_at_fork(after_in_child=_after_fork)


def register_store(store: Store[Any], exist_ok: bool = False) -> None:
    """Let proxies of this process find a store.

    Raises:
        StoreExistsError: There is one of that name, and `exist_ok` is not set.
    """
    with _lock:
        if store.name in _stores and not exist_ok:
            raise StoreExistsError(f'A store named "{store.name}" already exists.')
        _stores[store.name] = store


def unregister_store(name_or_store: str | Store[Any]) -> None:
    """Forget a store; one that is not registered is passed over."""
    name = name_or_store if isinstance(name_or_store, str) else name_or_store.name
    with _lock:
        _stores.pop(name, None)


@contextlib.contextmanager
def store_registration(*stores: Store[Any], exist_ok: bool = False) -> Generator[None]:
    """Register stores for a block.

    Raises:
        StoreExistsError: As in `register_store`.
    """
    with contextlib.ExitStack() as stack:
        for store in stores:
            register_store(store, exist_ok=exist_ok)
            stack.callback(unregister_store, store)
        yield
