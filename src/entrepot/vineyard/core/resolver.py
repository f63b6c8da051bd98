"""Resolvers: how objects become values."""

from __future__ import annotations

from entrepot.vineyard.core.context import (
    ResolverContext,
    current_resolver,
    default_resolver_context,
    resolver_context,
)

__all__ = [
    "ResolverContext",
    "default_resolver_context",
    "get_current_resolvers",
    "resolver_context",
]

get_current_resolvers = current_resolver
