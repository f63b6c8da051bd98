"""Owned proxies, and borrows of them: the rules of Rust, for objects of a store.

An object has one owner, which evicts it when it is dropped, and when its process ends: in a
depot, also when that is killed. The owner lends it: to many who
read (`borrow`), or to one who may change it (`mut_borrow`, `update`). A reference that is
pickled goes to whoever loads it, and cannot be used here any more; a borrow counts as long as
its proxy lives here, or until `scopes.submit` finds that it is not needed any more.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import os
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, TypeVar, cast

from entrepot.errors import ClosedError, EntrepotError
from entrepot.proxystore.connectors.keeper import Keeper, keeper_of
from entrepot.proxystore.proxy import FactoryType, Proxy, extract, get_factory, is_resolved
from entrepot.proxystore.serialize import SerializerT
from entrepot.proxystore.store.factory import StoreFactory
from entrepot.proxystore.store.registry import discard_store, get_or_create_store, get_store
from entrepot.proxystore.store.utils import get_key

if TYPE_CHECKING:
    from entrepot.proxystore.store.base import Store
    from entrepot.proxystore.store.config import StoreConfig

__all__ = [
    "BaseRefProxy",
    "BaseRefProxyError",
    "MutableBorrowError",
    "OwnedProxy",
    "RefMutProxy",
    "RefProxy",
    "ReferenceInvalidError",
    "ReferenceNotOwnedError",
    "borrow",
    "clone",
    "end_borrow",
    "evict_key",
    "into_owned",
    "mut_borrow",
    "update",
]

T = TypeVar("T")


class BaseRefProxyError(Exception):
    """A rule of references was broken."""


class MutableBorrowError(BaseRefProxyError):
    """What is lent to one who may change it can be lent to nobody else, and the reverse."""


class ReferenceNotOwnedError(BaseRefProxyError):
    """Only the owner may do that."""


class ReferenceInvalidError(BaseRefProxyError):
    """The reference went to another process, or its time is over."""


class _Loan:
    """An object that has an owner here: who borrowed it."""

    def __init__(self, factory: StoreFactory[Any]) -> None:
        self.factory = factory
        self.pid = os.getpid()
        self.readers = 0
        self.writers = 0
        self.is_owned = True
        self.is_orphan = False
        self.store: Store[Any] | None = None
        """Whose the object is, if it was made here."""
        self.keeper = keeper_of(factory.store_config.connector)
        if self.keeper is not None:
            try:
                self.keeper.take((factory.key.object_id,))
            except EntrepotError:  # the depot is full, or not here: it can be used nevertheless
                self.keeper = None
        _owned.add(self)

    def send_away(self) -> None:
        """Let whoever loads the owner be it."""
        self.is_owned = False
        _owned.discard(self)
        if self.keeper is not None and self.pid == os.getpid():
            self.keeper.release((self.factory.key.object_id,))

    def drop(self) -> None:
        """Evict the object; when the last borrow ends, if it is lent."""
        if not self.is_owned or self.pid != os.getpid():
            return  # somewhere else is its owner now, or in the parent of this process
        self.is_owned = False
        _owned.discard(self)
        # A function's variables end in no certain order: the owner may do so before a borrow.
        self.is_orphan = bool(self.readers or self.writers)
        if not self.is_orphan:
            self.evict()

    def give_back(self, kind: str) -> None:
        """End a borrow."""
        setattr(self, kind, getattr(self, kind) - 1)
        if self.is_orphan and not (self.readers or self.writers):
            self.is_orphan = False
            self.evict()

    def evict(self) -> None:
        """Evict the object, also if its store is closed."""
        evict_key(self.factory.key, self.factory.store_config, self.store, self.keeper)


def evict_key(
    key: Any, store_config: StoreConfig, store: Store[Any] | None, keeper: Keeper | None
) -> None:
    """Evict an object, also if its store is closed; leave no store behind that was made for that.

    Args:
        key: Its key.
        store_config: What its store is made of.
        store: The store, if it is at hand.
        keeper: Who evicts the objects of its connector, if there is somebody.
    """
    store = store or get_store(store_config.name)
    if keeper is not None:
        keeper.evict((key.object_id,))
        if store is not None:
            store.cache.evict(key)
        return
    if store is not None:
        with contextlib.suppress(ClosedError):
            store.evict(key)
            return
    made = get_or_create_store(store_config, register=False)
    if made is store:
        made = type(made).from_config(replace(store_config, auto_register=False))
    try:
        made.evict(key)
    finally:
        if get_store(store_config.name) is not made:
            discard_store(made)


_owned: set[_Loan] = set()


def _drop_all() -> None:
    for loan in list(_owned):
        if not (loan.readers or loan.writers):
            loan.drop()


atexit.register(_drop_all)  # after that of depots was registered, so that it runs before


class _Validity:
    """Whether a reference may be used here."""

    def __init__(self) -> None:
        self.is_over = False

    def check(self) -> None:
        if self.is_over:
            _refuse()


def _refuse() -> NoReturn:
    raise ReferenceInvalidError(
        "Reference has been invalidated. This is likely because it was pickled and "
        "transferred to a different process."
    )


class BaseRefProxy(Proxy[T]):
    """What owners and borrows have in common."""

    __slots__ = ("__ref_loan__", "__ref_release__", "__ref_validity__")

    __ref_loan__: _Loan | None
    __ref_release__: weakref.finalize[Any, Any] | None
    __ref_validity__: _Validity
    __factory__: FactoryType[Any]

    def __init__(
        self, factory: FactoryType[T], *, cache_defaults: bool = False, target: T | None = None
    ) -> None:
        super().__init__(factory, cache_defaults=cache_defaults, target=target)
        self.__ref_loan__ = None
        self.__ref_release__ = None
        self.__ref_validity__ = _Validity()

    def __copy__(self) -> Any:
        raise NotImplementedError(_NO_COPY)

    def __deepcopy__(self, memo: Any) -> Any:
        raise NotImplementedError(_NO_COPY)

    def __reduce__(self) -> tuple[Any, ...]:
        self.__ref_validity__.check()
        _, state = super().__reduce__()
        invalidate(self)
        kind: Any = type(self)  # isinstance() would want the object
        loan = self.__ref_loan__
        if loan is not None and kind is OwnedProxy:
            loan.send_away()
        return _make_reference, (kind.__name__, *state)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return self.__reduce__()


_NO_COPY = (
    "Copy is not implemented for reference proxy types to avoid incidental misuse of the API. "
    "Use clone() instead."
)


class OwnedProxy(BaseRefProxy[T]):
    """The owner of an object, which is evicted when this is dropped or the process ends."""

    __slots__ = ()

    def __init__(
        self, factory: FactoryType[T], *, cache_defaults: bool = False, target: T | None = None
    ) -> None:
        super().__init__(factory, cache_defaults=cache_defaults, target=target)
        loan = _Loan(cast("StoreFactory[Any]", factory))
        self.__ref_loan__ = loan
        self.__ref_release__ = weakref.finalize(self, loan.drop)
        self.__ref_release__.atexit = False  # `_drop_all` does that, before depots are closed


class RefProxy(BaseRefProxy[T]):
    """A borrow to read."""

    __slots__ = ()


class RefMutProxy(BaseRefProxy[T]):
    """The one borrow that may change the object."""

    __slots__ = ()


_KINDS: dict[str, type[BaseRefProxy[Any]]] = {
    kind.__name__: kind for kind in (OwnedProxy, RefProxy, RefMutProxy)
}


def _make_reference(
    kind: str,
    factory: Any,
    default_class: type | None = None,
    default_hash: int | Exception | None = None,
) -> BaseRefProxy[Any]:
    made = _KINDS[kind](factory)
    made.__proxy_default_class__ = default_class
    made.__proxy_default_hash__ = default_hash
    return made


def invalidate(proxy: BaseRefProxy[Any]) -> None:
    """Let a reference be of no use here any more."""
    proxy.__ref_validity__.is_over = True
    proxy.__proxy_default_class__ = None
    proxy.__factory__ = _refuse
    if is_resolved(proxy):
        del proxy.__wrapped__


def end_borrow(proxy: RefProxy[Any] | RefMutProxy[Any]) -> None:
    """End a borrow before its proxy is dropped."""
    invalidate(proxy)
    if proxy.__ref_release__ is not None:
        proxy.__ref_release__()


def into_owned(
    proxy: Proxy[T], *, populate_target: bool = True, store: Store[Any] | None = None
) -> OwnedProxy[T]:
    """Return the owner of the object of a proxy. There must be no other.

    Args:
        proxy: A proxy of a store.
        populate_target: Let the owner hold the object, if the proxy does.
        store: The store of the proxy; by default the one that is registered by its name.

    Raises:
        ProxyStoreFactoryError: The proxy is none of a store.
        ValueError: It is a reference already.
    """
    if type(proxy) is not Proxy:
        raise ValueError("Only a base proxy can be converted into an owned proxy.")
    get_key(proxy)  # which says whether it is one of a store
    owner = _derived(OwnedProxy, proxy, populate_target)
    owner.__ref_loan__.store = store
    return owner


def borrow(proxy: OwnedProxy[T], *, populate_target: bool = True) -> RefProxy[T]:
    """Lend an object to read.

    Raises:
        MutableBorrowError: It is lent to somebody who may change it.
        ReferenceInvalidError: The owner went to another process.
        ReferenceNotOwnedError: `proxy` is no owner.
    """
    loan = _loan_of(proxy, "borrowed")
    if loan.writers:
        raise MutableBorrowError("Proxy was already borrowed as mutable.")
    return _lend(RefProxy, proxy, loan, "readers", populate_target)


def mut_borrow(proxy: OwnedProxy[T], *, populate_target: bool = True) -> RefMutProxy[T]:
    """Lend an object to one who may change it.

    Raises:
        MutableBorrowError: It is lent already.
        ReferenceInvalidError: The owner went to another process.
        ReferenceNotOwnedError: `proxy` is no owner.
    """
    loan = _loan_of(proxy, "borrowed")
    if loan.writers or loan.readers:
        how = "mutable" if loan.writers else "immutable"
        raise MutableBorrowError(f"Proxy was already borrowed as {how}.")
    return _lend(RefMutProxy, proxy, loan, "writers", populate_target)


def clone(proxy: OwnedProxy[T]) -> OwnedProxy[T]:
    """Store a copy of an object; return its owner.

    Raises:
        ProxyResolveMissingKeyError: The object is gone.
        ReferenceInvalidError: The owner went to another process.
        ReferenceNotOwnedError: `proxy` is no owner.
    """
    from entrepot.proxystore.store.exceptions import ProxyResolveMissingKeyError

    factory = _loan_of(proxy, "cloned").factory
    store = factory.get_store()
    body: Any = store.connector.get(factory.key)
    if body is None:
        raise ProxyResolveMissingKeyError(factory.key, type(store), store.name)
    again: StoreFactory[T] = StoreFactory(
        store.connector.put(body), factory.store_config, deserializer=factory.deserializer
    )
    target = copy.deepcopy(extract(proxy)) if is_resolved(proxy) else None
    return OwnedProxy(again, cache_defaults=True, target=target)


def update(proxy: OwnedProxy[T] | RefMutProxy[T], *, serializer: SerializerT | None = None) -> None:
    """Store an object that was changed here in place of the one in its store.

    Raises:
        MutableBorrowError: It is lent.
        NotImplementedError: The connector cannot replace objects.
        ReferenceInvalidError: The reference went to another process.
        ReferenceNotOwnedError: `proxy` may not change it.
    """
    if type(proxy) not in (OwnedProxy, RefMutProxy):
        raise ReferenceNotOwnedError("Reference is an immutable borrow.")
    proxy.__ref_validity__.check()
    loan = proxy.__ref_loan__
    if type(proxy) is OwnedProxy and loan is not None and (loan.readers or loan.writers):
        raise MutableBorrowError("OwnedProxy has been borrowed. Cannot mutate.")
    if not is_resolved(proxy):
        return
    store = get_store(proxy)
    assert store is not None, "the factory of a reference is one of a store"
    store.set_object(get_key(proxy), extract(proxy), serializer=serializer)


def _loan_of(proxy: OwnedProxy[Any], what: str) -> _Loan:
    if type(proxy) is not OwnedProxy:
        raise ReferenceNotOwnedError(f"Only owned references can be {what}.")
    proxy.__ref_validity__.check()
    loan = proxy.__ref_loan__
    assert loan is not None, "an owner has one from the beginning"
    return loan


def _lend(
    kind: type[Any], proxy: OwnedProxy[Any], loan: _Loan, which: str, populate_target: bool
) -> Any:
    lent = _derived(kind, proxy, populate_target)
    setattr(loan, which, getattr(loan, which) + 1)
    lent.__ref_loan__ = loan
    lent.__ref_release__ = weakref.finalize(lent, loan.give_back, which)
    lent.__ref_release__.atexit = False
    return lent


def _derived(kind: type[Any], proxy: Proxy[Any], populate_target: bool) -> Any:
    held = populate_target and is_resolved(proxy)
    made = kind(get_factory(proxy), cache_defaults=True, target=extract(proxy) if held else None)
    if not held:
        made.__proxy_default_class__ = proxy.__proxy_default_class__
        made.__proxy_default_hash__ = proxy.__proxy_default_hash__
    return made
