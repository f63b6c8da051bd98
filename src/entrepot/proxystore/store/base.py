"""The store: objects in, keys or proxies out, and back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from entrepot.proxystore import serialize as forms
from entrepot.proxystore.connectors.protocols import (
    BytesLike,
    Connector,
    DeferrableConnector,
    bytes_of,
)
from entrepot.proxystore.proxy import Proxy, ProxyLocker, extract, is_proxy
from entrepot.proxystore.serialize import (
    DeserializerT,
    SerializationError,
    SerializerT,
    is_bytes_like,
)
from entrepot.proxystore.store import registry
from entrepot.proxystore.store.cache import LRUCache
from entrepot.proxystore.store.config import ConnectorConfig, StoreConfig, path_of
from entrepot.proxystore.store.exceptions import NonProxiableTypeError
from entrepot.proxystore.store.factory import PollingStoreFactory, StoreFactory
from entrepot.proxystore.store.future import Future
from entrepot.proxystore.store.metrics import StoreMetrics, Watch

if TYPE_CHECKING:
    from entrepot.proxystore.store.lifetimes import Lifetime
    from entrepot.proxystore.store.ref import OwnedProxy

__all__ = ["Store"]

ConnectorT = TypeVar("ConnectorT")
T = TypeVar("T")
_MISSING: Any = object()


class Store(Generic[ConnectorT]):
    """Objects by key, in a connector. May be used by all threads of a process.

    Args:
        name: How proxies find it, in whichever process they are resolved.
        connector: Where the bytes are.
        serializer: Makes bytes of objects; by default `serialize`.
        deserializer: Makes objects of bytes; by default `deserialize`.
        cache_size: How many objects that were got are kept; an object from shared memory
            is not copied for that, but stays there meanwhile.
        metrics: Count and time the operations.
        populate_target: Proxies hold the object that they were made of; copies never do.
        register: Register it by its name, until it is closed.

    Raises:
        StoreExistsError: `register` is set, and the name is taken.
        ValueError: `cache_size` is negative.
    """

    def __init__(
        self,
        name: str,
        connector: ConnectorT,
        *,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        cache_size: int = 16,
        metrics: bool = False,
        populate_target: bool = True,
        register: bool = False,
    ) -> None:
        if cache_size < 0:
            raise ValueError(f"Cache size cannot be negative. Got {cache_size}.")
        self.connector = connector
        self.cache: LRUCache[Any, Any] = LRUCache(cache_size)
        self._any: Any = connector
        self._name = name
        self._cache_size = cache_size
        self._metrics = StoreMetrics() if metrics else None
        self._serializer = serializer
        self._deserializer = deserializer
        self._populate_target = populate_target
        self.auto_register = register
        """Whether closing it forgets its name."""
        self._take_turns()
        registry.note_store(self)
        if register:
            registry.register_store(self)

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
        return f"{type(self).__name__}(name={self._name}, connector={self.connector!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a store cannot be pickled: pickle store.config(), or a proxy")

    @property
    def name(self) -> str:
        """How proxies find the store."""
        return self._name

    @property
    def metrics(self) -> StoreMetrics | None:
        """What was counted, if that was wanted."""
        return self._metrics

    @property
    def serializer(self) -> SerializerT:
        """What makes bytes of objects."""
        return self._serializer or forms.serialize

    @property
    def deserializer(self) -> DeserializerT:
        """What makes objects of bytes."""
        return self._deserializer or forms.deserialize

    def config(self) -> StoreConfig:
        """Return what makes the same store again, elsewhere."""
        return StoreConfig(
            name=self._name,
            connector=ConnectorConfig(
                kind=path_of(_class_of(self._any)), options=dict(self._any.config())
            ),
            serializer=self._serializer,
            deserializer=self._deserializer,
            cache_size=self._cache_size,
            metrics=self._metrics is not None,
            populate_target=self._populate_target,
            auto_register=self.auto_register,
        )

    @classmethod
    def from_config(cls, config: StoreConfig) -> Store[Any]:
        """Return a store of such a configuration.

        Raises:
            StoreExistsError: It wants to be registered, and the name is taken.
        """
        return cls(
            config.name,
            cast("ConnectorT", config.connector.get_connector()),
            serializer=config.serializer,
            deserializer=config.deserializer,
            cache_size=config.cache_size,
            metrics=config.metrics,
            populate_target=config.populate_target,
            register=config.auto_register,
        )

    def close(self, *args: Any, **kwargs: Any) -> None:
        """Close the connector, and forget the name and the cache; may be repeated.

        Args:
            *args: For the connector.
            **kwargs: For the connector, for instance `clear=True`.
        """
        if self.auto_register and registry.get_store(self._name) is self:
            registry.unregister_store(self)
        self.cache.clear()
        self._any.close(*args, **kwargs)

    # Objects.

    def put(
        self,
        obj: Any,
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> Any:
        """Store an object; return its key.

        Args:
            obj: Anything that the serializer takes.
            lifetime: Evict it when this ends.
            serializer: Instead of the store's.
            **kwargs: For the connector.

        Raises:
            RuntimeError: The lifetime has ended.
            SerializationError: It cannot be serialized.
            TypeError: The serializer returned no bytes.
        """
        _check_running(lifetime)
        watch = self._watch("store.put")
        parts = self._parts(obj, serializer)
        if watch is not None:
            watch.lap("serialize")
            watch.note("object_size", sum(map(len, parts)))
            watch.skip()
        with self._turn:
            if len(parts) > 1 and hasattr(self._any, "put_parts"):
                key = self._any.put_parts(list(map(memoryview, parts)), **kwargs)
            else:
                key = self._any.put(_joined(parts), **kwargs)
        if watch is not None:
            watch.lap("connector")
            watch.done(key)
        self._end_with(lifetime, key)
        return key

    def put_batch(
        self,
        objs: Sequence[Any],
        *,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Store several objects; return their keys in order. As `put`."""
        _check_running(lifetime)
        watch = self._watch("store.put_batch")
        bodies = [_joined(self._parts(obj, serializer)) for obj in objs]
        if watch is not None:
            watch.lap("serialize")
            watch.note("object_sizes", sum(map(len, bodies)))
            watch.skip()
        with self._turn:
            keys = self._any.put_batch(bodies, **kwargs)
        if watch is not None:
            watch.lap("connector")
            watch.done(keys)
        self._end_with(lifetime, *keys)
        return keys

    def set_object(self, key: Any, obj: Any, *, serializer: SerializerT | None = None) -> None:
        """Store an object under a key that the connector promised, or in place of another.

        Raises:
            NotImplementedError: The connector promises none.
        """
        if not isinstance(self.connector, DeferrableConnector):
            raise _not_deferrable(self._any)
        body = _joined(self._parts(obj, serializer))
        with self._turn:
            self._any.set(key, body)
        self.cache.evict(key)

    def get(
        self,
        key: Any,
        *,
        deserializer: DeserializerT | None = None,
        default: object | None = None,
    ) -> Any | None:
        """Return an object; the same one again while it is in the cache.

        Args:
            key: What `put` returned.
            deserializer: Instead of the store's.
            default: What to return if there is none.

        Raises:
            SerializationError: The bytes make no object.
        """
        watch = self._watch("store.get")
        generation = self.cache.generation
        found = self.cache.get(key, _MISSING)
        if watch is not None:
            watch.count("cache_misses" if found is _MISSING else "cache_hits")
        if found is not _MISSING:
            if watch is not None:
                watch.done(key)
            return found
        if watch is not None:
            watch.skip()
        with self._turn:
            body = self._any.get(key)
        if watch is not None:
            watch.lap("connector")
        if body is None:
            if watch is not None:
                watch.done(key)
            return default
        found = self._object(body, deserializer)
        if watch is not None:
            watch.lap("deserialize")
            watch.note("object_size", len(body))
            watch.done(key)
        self.cache.set(key, found, generation)
        return found

    def get_batch(
        self, keys: Sequence[Any], *, deserializer: DeserializerT | None = None
    ) -> list[Any | None]:
        """Return several objects, in order, None in the places of those missing."""
        generation = self.cache.generation
        found = {key: self.cache.get(key, _MISSING) for key in keys}
        unmet = [key for key, obj in found.items() if obj is _MISSING]
        with self._turn:
            bodies: list[Any] = self._any.get_batch(unmet) if unmet else []
        for key, body in zip(unmet, bodies, strict=True):
            found[key] = None if body is None else self._object(body, deserializer)
            if body is not None:
                self.cache.set(key, found[key], generation)
        return [found[key] for key in keys]

    def exists(self, key: Any) -> bool:
        """Tell whether there is such an object, in the cache or in the connector."""
        watch = self._watch("store.exists")
        is_there = self.cache.exists(key)
        if not is_there:
            with self._turn:
                is_there = bool(self._any.exists(key))
        if watch is not None:
            watch.done(key)
        return is_there

    def evict(self, key: Any) -> None:
        """Remove an object; one that is not there is passed over.

        Caches of other processes may have it still.
        """
        watch = self._watch("store.evict")
        with self._turn:
            self._any.evict(key)
        if watch is not None:
            watch.lap("connector")
            watch.done(key)
        self.cache.evict(key)

    def is_cached(self, key: Any) -> bool:
        """Tell whether an object is in the cache."""
        return self.cache.exists(key)

    # Proxies.

    def proxy(
        self,
        obj: T,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = False,
        **kwargs: Any,
    ) -> Proxy[T]:
        """Store an object; return a proxy of it.

        Args:
            obj: The object. Of a proxy, its object is stored anew, as that of the inner one
                may be gone when somebody wants it.
            evict: Evict it when a copy of the proxy is resolved, which only one can be then.
            lifetime: Evict it when this ends.
            serializer: Instead of the store's.
            deserializer: Instead of the store's; travels with the proxy.
            populate_target: Let the proxy hold the object; by default as the store was told.
            skip_nonproxiable: Return None and bools as they are.
            **kwargs: For the connector.

        Raises:
            NonProxiableTypeError: The object is None or a bool.
            ValueError: Both `evict` and `lifetime` are given.
        """
        if isinstance(obj, bool) or obj is None:
            return _nonproxiable(obj, skip_nonproxiable)
        _check_end(evict, lifetime)
        target: Any = extract(obj) if is_proxy(obj) else obj
        watch = self._watch("store.proxy")
        key = self.put(target, lifetime=lifetime, serializer=serializer, **kwargs)
        proxy = self._proxy_of(key, target, evict, deserializer, populate_target)
        if watch is not None:
            watch.done(key)
        return proxy

    def proxy_batch(
        self,
        objs: Sequence[T],
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = False,
        **kwargs: Any,
    ) -> list[Proxy[T]]:
        """Store several objects; return proxies of them, in order. As `proxy`."""
        _check_end(evict, lifetime)
        proxies: list[Any] = [
            _nonproxiable(obj, skip_nonproxiable) if isinstance(obj, bool) or obj is None else obj
            for obj in objs
        ]
        wanted = [
            at for at, obj in enumerate(proxies) if not (isinstance(obj, bool) or obj is None)
        ]
        targets = [extract(proxies[at]) if is_proxy(proxies[at]) else proxies[at] for at in wanted]
        keys = self.put_batch(targets, lifetime=lifetime, serializer=serializer, **kwargs)
        for at, key, target in zip(wanted, keys, targets, strict=True):
            proxies[at] = self._proxy_of(key, target, evict, deserializer, populate_target)
        return proxies

    def proxy_from_key(
        self,
        key: Any,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        deserializer: DeserializerT | None = None,
    ) -> Proxy[Any]:
        """Return a proxy of an object that was stored.

        Raises:
            ValueError: Both `evict` and `lifetime` are given.
        """
        _check_end(evict, lifetime)
        if lifetime is not None:
            lifetime.add_key(key, store=self)
        factory: StoreFactory[Any] = StoreFactory(
            key, self.config(), evict=evict, deserializer=deserializer
        )
        return Proxy(factory)

    def locked_proxy(
        self,
        obj: T,
        *,
        evict: bool = False,
        lifetime: Lifetime | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = True,
        **kwargs: Any,
    ) -> ProxyLocker[T]:
        """Store an object; return a proxy of it that nothing resolves by accident. As `proxy`."""
        proxy = self.proxy(
            obj,
            evict=evict,
            lifetime=lifetime,
            serializer=serializer,
            deserializer=deserializer,
            populate_target=populate_target,
            skip_nonproxiable=skip_nonproxiable,
            **kwargs,
        )
        return ProxyLocker(proxy) if type(proxy) is Proxy else cast("Any", proxy)

    def owned_proxy(
        self,
        obj: T,
        *,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        populate_target: bool | None = None,
        skip_nonproxiable: bool = True,
        **kwargs: Any,
    ) -> OwnedProxy[T]:
        """Store an object; return a proxy of it that evicts it when it is dropped. As `proxy`."""
        from entrepot.proxystore.store.ref import into_owned

        held = self._populate_target if populate_target is None else populate_target
        proxy = self.proxy(
            obj,
            serializer=serializer,
            deserializer=deserializer,
            populate_target=held,
            skip_nonproxiable=skip_nonproxiable,
            **kwargs,
        )
        if type(proxy) is not Proxy:
            return cast("Any", proxy)
        return into_owned(proxy, populate_target=held, store=self)

    def future(
        self,
        *,
        evict: bool = False,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        polling_interval: float = 1,
        polling_backoff_factor: float = 1,
        polling_interval_limit: float | None = None,
        polling_timeout: float | None = None,
    ) -> Future[Any]:
        """Return an object that somebody will put, and proxies of it until then.

        Args:
            evict: Evict it when a proxy of it is resolved.
            serializer: Instead of the store's.
            deserializer: Instead of the store's.
            polling_interval: Seconds between two looks, where the connector cannot wait.
            polling_backoff_factor: Each interval is so many times the one before.
            polling_interval_limit: But at most so many seconds.
            polling_timeout: Seconds after which whoever waits gives up.

        Raises:
            NotImplementedError: The connector promises no keys.
        """
        if not isinstance(self.connector, DeferrableConnector):
            raise _not_deferrable(self._any)
        factory: PollingStoreFactory[Any] = PollingStoreFactory(
            self._any.new_key(),
            self.config(),
            evict=evict,
            deserializer=deserializer,
            polling_interval=polling_interval,
            polling_backoff_factor=polling_backoff_factor,
            polling_interval_limit=polling_interval_limit,
            polling_timeout=polling_timeout,
        )
        return Future(factory, serializer=serializer)

    # Steps.

    def forget_threads(self) -> None:
        """Forget who is at work here: in a forked child, where there is nobody else."""
        self._take_turns()
        self.cache.forget_threads()
        if self._metrics is not None:
            self._metrics.forget_threads()

    def _take_turns(self) -> None:
        is_safe = getattr(self.connector, "is_thread_safe", False)
        self._turn: contextlib.AbstractContextManager[Any] = (
            contextlib.nullcontext() if is_safe else threading.RLock()
        )

    def _end_with(self, lifetime: Lifetime | None, *keys: Any) -> None:
        if lifetime is None:
            return
        try:
            lifetime.add_key(*keys, store=self)
        except BaseException:  # it ended meanwhile: nobody would evict them
            for key in keys:
                self.evict(key)
            raise

    def _watch(self, name: str) -> Watch | None:
        return None if self._metrics is None else Watch(self._metrics, name)

    def _parts(self, obj: Any, serializer: SerializerT | None) -> list[bytes | memoryview]:
        serializer = serializer or self._serializer
        if serializer is None:
            return forms.serialize_parts(obj)
        body = serializer(obj)
        if not is_bytes_like(body):
            raise TypeError("Serializer must return a bytes-like object.")
        return [bytes_of(body)]

    def _object(self, body: BytesLike, deserializer: DeserializerT | None) -> Any:
        deserializer = deserializer or self._deserializer
        if deserializer is None:
            return forms.deserialize(body)
        try:
            return deserializer(body)
        except Exception as error:
            raise SerializationError(f"Failed to deserialize object: {error}") from error

    def _proxy_of(
        self,
        key: Any,
        target: Any,
        evict: bool,
        deserializer: DeserializerT | None,
        populate_target: bool | None,
    ) -> Proxy[Any]:
        factory: StoreFactory[Any] = StoreFactory(
            key, self.config(), evict=evict, deserializer=deserializer
        )
        held = self._populate_target if populate_target is None else populate_target
        if held:
            return Proxy(factory, cache_defaults=True, target=target)
        return Proxy(factory)


def _class_of(connector: object) -> type[Any]:
    return type(connector)


def _joined(parts: Sequence[bytes | memoryview]) -> BytesLike:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _nonproxiable(obj: Any, skip: bool) -> Any:
    if not skip:
        raise NonProxiableTypeError(f"Object of {type(obj)} is not proxiable.")
    return obj


def _check_running(lifetime: Lifetime | None) -> None:
    """Refuse a lifetime that has ended, before something is stored for it."""
    if lifetime is not None and lifetime.done():
        raise RuntimeError("Lifetime has ended. Cannot use this method.")


def _check_end(evict: bool, lifetime: Any) -> None:
    if evict and lifetime is not None:
        raise ValueError(
            "The evict and lifetime parameters are mutually exclusive. "
            "Only set one of evict or lifetime."
        )


def _not_deferrable(connector: Connector[Any]) -> NotImplementedError:
    return NotImplementedError(
        f"The {type(connector).__name__} does not promise keys: it has no new_key() and set()."
    )
