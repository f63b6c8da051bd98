"""Builders: how values become objects."""

from __future__ import annotations

from entrepot.vineyard.core.context import (
    BuilderContext,
    builder_context,
    current_builder,
    default_builder_context,
)

__all__ = [
    "BuilderContext",
    "builder_context",
    "default_builder_context",
    "get_current_builders",
]

get_current_builders = current_builder
