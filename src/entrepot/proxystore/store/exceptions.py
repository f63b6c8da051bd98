"""Errors of stores."""

from __future__ import annotations

from typing import Any

__all__ = [
    "NonProxiableTypeError",
    "ProxyResolveMissingKeyError",
    "ProxyStoreFactoryError",
    "StoreError",
    "StoreExistsError",
]


class StoreError(Exception):
    """Something is wrong with a store."""


class StoreExistsError(StoreError):
    """A store of that name is registered already."""


class ProxyStoreFactoryError(StoreError):
    """A proxy is none of a store."""


class ProxyResolveMissingKeyError(Exception):
    """The object that a proxy stands for is gone.

    Args:
        key: Its key.
        store_type: The class of the store that was asked.
        store_name: Its name.
    """

    def __init__(self, key: Any, store_type: type[Any], store_name: str) -> None:
        super().__init__(key, store_type, store_name)
        self.key = key
        self.store_type = store_type
        self.store_name = store_name

    def __str__(self) -> str:
        return (
            f"there is no object of key {self.key!r} in {self.store_type.__name__} "
            f"{self.store_name!r}: it was evicted, or its proxy could be resolved once only"
        )


class NonProxiableTypeError(Exception):
    """No proxy can stand for an object: None and the bools are compared by identity."""
