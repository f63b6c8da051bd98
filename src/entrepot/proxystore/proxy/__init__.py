"""Proxies: stand for an object, and fetch it when it is used.

A proxy holds a factory, a callable that returns the object. It is called once, when something
of the object is needed; until then, and when it is sent to another process, a proxy costs no
more than its factory. Everything that can be asked of the object can be asked of the proxy.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    SupportsIndex,
    TypeAlias,
    TypeGuard,
    TypeVar,
    Union,
    cast,
)

__all__ = [
    "FactoryType",
    "Proxy",
    "ProxyLocker",
    "ProxyOr",
    "ProxyResolveError",
    "extract",
    "get_factory",
    "is_proxy",
    "is_resolved",
    "resolve",
]

T = TypeVar("T")
FactoryType: TypeAlias = Callable[[], T]


def _load_lazy_proxy() -> Any:
    try:
        return importlib.import_module("lazy_object_proxy").Proxy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "proxies need lazy-object-proxy: pip install 'entrepot[proxystore]'", name=error.name
        ) from error


if TYPE_CHECKING:

    class _LazyProxy:
        __resolved__: bool
        __wrapped__: Any

        def __init__(self, factory: Callable[[], Any]) -> None: ...

else:
    _LazyProxy = _load_lazy_proxy()


class ProxyResolveError(Exception):
    """The factory of a proxy raised an error.

    Args:
        message: What to say.
        cause: The error.
    """

    def __init__(self, message: str, cause: Exception) -> None:
        super().__init__(message, cause)
        self.cause = cause

    def __str__(self) -> str:
        return f"{self.args[0]} It was {type(self.cause).__name__}: {self.cause}"


class Proxy(_LazyProxy, Generic[T]):
    """Stands for an object, which is fetched when it is used.

    `isinstance` says of a proxy what it says of the object. Objects written in C that look at
    the type itself (`json`, `str.join`, `memoryview`) want `extract(proxy)`.

    Args:
        factory: Called without arguments when the object is needed; returns it.
        cache_defaults: Remember class and hash of `target`, for use before it is fetched: also
            in copies that are sent elsewhere.
        target: The object, if it is at hand: then the factory serves copies only.

    Raises:
        TypeError: `factory` cannot be called.
    """

    __slots__ = (
        "__orig_class__",
        "__proxy_default_class__",
        "__proxy_default_hash__",
        "__proxy_factory__",
        "__weakref__",
    )

    __proxy_factory__: Callable[[], Any]
    __proxy_default_class__: type | None
    __proxy_default_hash__: int | Exception | None

    def __init__(
        self, factory: FactoryType[T], *, cache_defaults: bool = False, target: T | None = None
    ) -> None:
        if not callable(factory):
            raise TypeError("Factory must be callable.")
        super().__init__(_Once(factory))
        self.__proxy_factory__ = factory
        self.__proxy_default_class__ = None
        self.__proxy_default_hash__ = None
        if target is not None:
            if cache_defaults:
                self.__proxy_default_class__ = target.__class__
                self.__proxy_default_hash__ = _stable_hash(target)
            self.__wrapped__ = target

    @property
    def __proxy_wrapped__(self) -> T:
        return self.__wrapped__

    @__proxy_wrapped__.setter
    def __proxy_wrapped__(self, target: T) -> None:
        self.__wrapped__ = target

    __proxy_target__ = __proxy_wrapped__

    @property
    def __proxy_resolved__(self) -> bool:
        return self.__resolved__

    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] it is that of the object
        default = self.__proxy_default_class__
        if default is not None and not self.__resolved__:
            return default
        return self.__wrapped__.__class__

    def __hash__(self) -> int:
        default = self.__proxy_default_hash__
        if default is not None and not self.__resolved__:
            if isinstance(default, Exception):
                raise default
            return default
        return hash(self.__wrapped__)

    def __next__(self) -> Any:
        return next(self.__wrapped__)

    def __repr__(self) -> str:
        wrapping = ""
        if self.__resolved__:
            target = self.__wrapped__
            wrapping = f" wrapping {target!r} at {id(target):#x}"
        factory = self.__proxy_factory__
        return f"<{type(self).__name__} at {id(self):#x}{wrapping} with factory {factory!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        default = self.__proxy_default_class__
        if default is not None and not _can_be_found(default):
            default = None  # pickle could not find it, nor is it needed
        return make_proxy, (self.__proxy_factory__, default, self.__proxy_default_hash__)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return self.__reduce__()


def make_proxy(
    factory: Callable[[], Any],
    default_class: type | None = None,
    default_hash: int | Exception | None = None,
) -> Proxy[Any]:
    """Return the proxy that was pickled as this."""
    proxy: Proxy[Any] = Proxy(factory)
    proxy.__proxy_default_class__ = default_class
    proxy.__proxy_default_hash__ = default_hash
    return proxy


_process = object()
"""Another one in each forked child; cheaper to compare than process ids."""


def _note_fork() -> None:
    global _process  # noqa: PLW0603 of the process
    _process = object()


os.register_at_fork(after_in_child=_note_fork)


class _Once:
    """Calls a factory once, whichever threads ask at the same time; again if it failed."""

    __slots__ = ("_factory", "_found", "_lock", "_process")

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory: Callable[[], Any] | None = factory
        self._found: Any = None
        self._lock = threading.RLock()
        self._process = _process

    def __call__(self) -> Any:
        if self._process is not _process:  # a forked child: who held the lock is not here
            self._lock, self._process = threading.RLock(), _process
        with self._lock:
            if self._factory is not None:
                try:
                    self._found = self._factory()
                except Exception as error:
                    raise ProxyResolveError(
                        "The factory of this proxy raised an error while resolving the target "
                        "object.",
                        error,
                    ) from error
                self._factory = None
            return self._found


def _can_be_found(cls: type) -> bool:
    """Tell whether pickle finds a class by its name."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def _stable_hash(target: object) -> int | Exception | None:
    """Return a hash that other processes find too; or the error that there is none.

    Those of strings, and of what holds some, differ from process to process.
    """
    if type(target) in (int, float, complex):
        return hash(target)
    if type(target).__hash__ is None:
        return TypeError(f"unhashable type: {type(target).__name__!r}")
    return None


if TYPE_CHECKING:
    ProxyOr: TypeAlias = Union[Proxy[T], T]  # noqa: UP007 an alias that can be subscripted
else:

    class ProxyOr:
        """A type: `ProxyOr[T]` is a T, or a proxy of one."""

        def __class_getitem__(cls, kind: Any) -> Any:
            return Union[Proxy[kind], kind]  # noqa: UP007 `kind` may be a string


def is_proxy(obj: object) -> TypeGuard[Proxy[Any]]:
    """Tell whether an object is a proxy, without fetching what it stands for.

    Ask this first: `isinstance` with any other class may fetch it.
    """
    return issubclass(type(obj), Proxy)


def is_resolved(proxy: Proxy[T]) -> bool:
    """Tell whether the object of a proxy is here."""
    return proxy.__proxy_resolved__


def resolve(proxy: Proxy[T]) -> None:
    """Fetch the object of a proxy, if it is not here.

    Raises:
        ProxyResolveError: The factory failed; the error is its `cause`.
    """
    proxy.__proxy_wrapped__  # noqa: B018 reading it resolves # pyright: ignore[reportUnusedExpression] as said


def extract(proxy: Proxy[T]) -> T:
    """Return the object of a proxy, fetched if need be.

    Raises:
        ProxyResolveError: The factory failed; the error is its `cause`.
    """
    return proxy.__proxy_wrapped__


def get_factory(proxy: Proxy[T]) -> FactoryType[T]:
    """Return the factory of a proxy."""
    return cast("FactoryType[T]", proxy.__proxy_factory__)


class ProxyLocker(Generic[T]):
    """Holds a proxy so that nothing resolves it by accident.

    Args:
        proxy: What `unlock` returns.
    """

    def __init__(self, proxy: Proxy[T]) -> None:
        self._proxy = proxy

    def unlock(self) -> Proxy[T]:
        """Return the proxy."""
        return self._proxy
