"""Connectors: where the bytes of a store's objects are."""

from __future__ import annotations

__all__: list[str] = []
