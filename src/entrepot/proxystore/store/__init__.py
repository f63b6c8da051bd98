"""Stores: put objects, and pass proxies of them around."""

from __future__ import annotations

from entrepot.proxystore.store.base import Store
from entrepot.proxystore.store.config import StoreConfig
from entrepot.proxystore.store.factory import StoreFactory
from entrepot.proxystore.store.registry import (
    get_or_create_store,
    get_store,
    register_store,
    store_registration,
    unregister_store,
)

__all__ = [
    "Store",
    "StoreConfig",
    "StoreFactory",
    "get_or_create_store",
    "get_store",
    "register_store",
    "store_registration",
    "unregister_store",
]
