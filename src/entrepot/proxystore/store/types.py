"""Names of types, for annotations."""

from __future__ import annotations

from typing import Any, TypeAlias

from entrepot.proxystore.serialize import DeserializerT, SerializerT

__all__ = ["ConnectorKeyT", "DeserializerT", "SerializerT"]

ConnectorKeyT: TypeAlias = Any
"""A named tuple: each connector has its own."""
