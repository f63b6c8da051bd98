"""Lifetimes: objects that are evicted together, when something ends."""

from __future__ import annotations

import atexit
import os
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from entrepot.proxystore.connectors.keeper import Keeper, keeper_of
from entrepot.proxystore.proxy import Proxy
from entrepot.proxystore.store.ref import evict_key
from entrepot.proxystore.store.registry import get_store
from entrepot.proxystore.store.utils import get_key

if TYPE_CHECKING:
    from entrepot.proxystore.store.base import Store

__all__ = [
    "ContextLifetime",
    "LeaseLifetime",
    "Lifetime",
    "StaticLifetime",
    "register_lifetime_atexit",
]


@runtime_checkable
class Lifetime(Protocol):
    """Knows objects, and evicts them when it ends."""

    def add_key(self, *keys: Any, store: Store[Any] | None = None) -> None:
        """Let objects end with this: by their keys in a store."""
        ...

    def add_proxy(self, *proxies: Proxy[Any]) -> None:
        """Let objects end with this: by their proxies."""
        ...

    def close(self, *, close_stores: bool = False) -> None:
        """End, and evict the objects."""
        ...

    def done(self) -> bool:
        """Tell whether it has ended."""
        ...


class _Held:
    """Objects by store; evicted at once.

    Args:
        keeps: Evict them too if this process is killed, where the connector can.
    """

    def __init__(self, *, keeps: bool) -> None:
        # Reentrant: an owner that the garbage collector drops meanwhile evicts its object.
        self._lock = threading.RLock()
        self._keeps = keeps
        self._keys: dict[str, tuple[Store[Any], Keeper | None, set[Any]]] = {}
        self._is_over = False
        self._pid = os.getpid()

    def add(self, store: Store[Any], keys: tuple[Any, ...]) -> None:
        with self._lock:
            _check_running(self._is_over)
            if store.name not in self._keys:
                keeper = keeper_of(store.config().connector) if self._keeps else None
                self._keys[store.name] = store, keeper, set()
            _, keeper, held = self._keys[store.name]
            if keeper is not None:
                keeper.take([key.object_id for key in keys if key not in held])
            held.update(keys)

    def evict(self, *, close_stores: bool) -> None:
        """Evict all that can be, and then say what could not be."""
        if self._pid != os.getpid():
            return  # a forked child: its parent evicts them
        with self._lock:
            self._is_over = True
            held = list(self._keys.values())
            self._keys.clear()
        problems: list[Exception] = []
        for store, keeper, keys in held:
            for key in keys:
                try:
                    evict_key(key, store.config(), store, keeper)
                except Exception as error:  # noqa: BLE001 raised below, when the others are gone
                    problems.append(error)
            if close_stores:
                store.close()
        if problems:
            raise problems[0]


class ContextLifetime:
    """Ends with a `with` block, or when it is closed; in a depot, at the latest with its process.

    A forked child has a copy, which evicts nothing.

    Args:
        store: Where the objects are whose store is not told.
        name: What to call it.
    """

    _goes_with_its_process = True

    def __init__(self, store: Store[Any], *, name: str | None = None) -> None:
        self.store = store
        self.name = name or str(uuid.uuid4())
        self._held = _Held(keeps=self._goes_with_its_process)
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name}, store={self.store!r})"

    def add_key(self, *keys: Any, store: Store[Any] | None = None) -> None:
        """Let objects end with this.

        Args:
            *keys: Their keys.
            store: Where they are; by default the store of the lifetime.

        Raises:
            RuntimeError: It has ended.
        """
        _check_running(self._done)
        self._held.add(self.store if store is None else store, keys)

    def add_proxy(self, *proxies: Proxy[Any]) -> None:
        """Let objects end with this, by their proxies.

        Raises:
            ProxyStoreFactoryError: A proxy is none of a store.
            RuntimeError: It has ended.
        """
        _check_running(self._done)
        _add_proxies(self, proxies)

    def close(self, *, close_stores: bool = False) -> None:
        """End, and evict the objects; may be repeated.

        Args:
            close_stores: Close the stores of the objects too.
        """
        if self._done:
            return
        self._done = True
        self._held.evict(close_stores=close_stores)

    def done(self) -> bool:
        """Tell whether it has ended."""
        return self._done


class LeaseLifetime(ContextLifetime):
    """Ends at a moment, in a thread of this process; if that dies before, nothing is evicted.

    Args:
        store: See `ContextLifetime`.
        expiry: When: a moment, a time from now, or seconds from now.
        name: See `ContextLifetime`.
    """

    _goes_with_its_process = False  # others may count on the moment that was told

    def __init__(
        self, store: Store[Any], expiry: datetime | timedelta | float, *, name: str | None = None
    ) -> None:
        super().__init__(store, name=name)
        self._changed = threading.Condition()
        self._ends = time.monotonic() + _seconds(expiry)
        self._thread = threading.Thread(target=self._run, name=f"lease-{self.name}", daemon=True)
        self._thread.start()

    def close(self, *, close_stores: bool = False) -> None:
        """End now, and evict the objects; may be repeated."""
        super().close(close_stores=close_stores)
        with self._changed:
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def extend(self, expiry: datetime | timedelta | float) -> None:
        """End later.

        Args:
            expiry: A moment; or how much later than until now, as a timedelta or in seconds.

        Raises:
            RuntimeError: It has ended.
        """
        _check_running(self._done)
        with self._changed:
            if isinstance(expiry, datetime):
                self._ends = time.monotonic() + _seconds(expiry)
            else:
                self._ends += _seconds(expiry)
            self._changed.notify_all()

    def _run(self) -> None:
        with self._changed:
            while not self._done and (left := self._ends - time.monotonic()) > 0:
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
        self.close()


class StaticLifetime:
    """Ends with the process, in a depot also if that is killed. There is one."""

    name = "static"
    _instance: StaticLifetime | None = None
    _held: _Held
    _done: bool

    def __new__(cls) -> StaticLifetime:
        """Return the one, made when it is wanted first."""
        if cls._instance is None:
            made = super().__new__(cls)
            made._held = _Held(keeps=True)
            made._done = False
            cls._instance = made
            register_lifetime_atexit(made, close_stores=True)
        return cls._instance

    def add_key(self, *keys: Any, store: Store[Any] | None = None) -> None:
        """Let objects end with the process.

        Raises:
            RuntimeError: It has ended.
            ValueError: `store` is not told.
        """
        _check_running(self._done)
        if store is None:
            raise ValueError("The store parameter is required by StaticLifetime.")
        self._held.add(store, keys)

    def add_proxy(self, *proxies: Proxy[Any]) -> None:
        """Let objects end with the process, by their proxies.

        Raises:
            ProxyStoreFactoryError: A proxy is none of a store.
            RuntimeError: It has ended.
        """
        _check_running(self._done)
        _add_proxies(self, proxies)

    def close(self, *, close_stores: bool = False) -> None:
        """End now, and evict the objects; done by itself when the process ends."""
        if self._done:
            return
        self._done = True
        self._held.evict(close_stores=close_stores)
        type(self)._instance = None

    def done(self) -> bool:
        """Tell whether it has ended."""
        return self._done


def register_lifetime_atexit(lifetime: Lifetime, close_stores: bool = True) -> Callable[[], None]:
    """Let a lifetime end with the process, if not before; return what ends it then.

    Args:
        lifetime: Which.
        close_stores: Close the stores of its objects too.
    """

    def end() -> None:
        if not lifetime.done():
            lifetime.close(close_stores=close_stores)

    atexit.register(end)
    return end


def _add_proxies(lifetime: Lifetime, proxies: tuple[Proxy[Any], ...]) -> None:
    for proxy in proxies:
        store = get_store(proxy)
        lifetime.add_key(get_key(proxy), store=store)


def _check_running(is_done: bool) -> None:
    if is_done:
        raise RuntimeError("Lifetime has ended. Cannot use this method.")


def _seconds(expiry: datetime | timedelta | float) -> float:
    if isinstance(expiry, datetime):
        return (expiry - datetime.now(expiry.tzinfo)).total_seconds()
    return expiry.total_seconds() if isinstance(expiry, timedelta) else float(expiry)
