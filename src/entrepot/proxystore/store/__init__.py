"""Stores: put objects, and pass proxies of them around."""

from __future__ import annotations

import importlib
from typing import Any

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

_LATER = ("executor", "lifetimes", "ref", "scopes", "types", "utils")


def __getattr__(name: str) -> Any:
    """Load a module when it is used: `import proxystore.store` brings them, with the original."""
    if name in _LATER:
        return importlib.import_module(f"entrepot.proxystore.store.{name}")
    raise AttributeError(f"module 'entrepot.proxystore.store' has no attribute {name!r}")
