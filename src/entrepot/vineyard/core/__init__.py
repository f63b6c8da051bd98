"""Clients, and the registries that say how values and objects become each other."""

from __future__ import annotations

from entrepot.vineyard.core import builder, driver, resolver
from entrepot.vineyard.core.context import (
    BuilderContext,
    DriverContext,
    ResolverContext,
    builder_context,
    context,
    default_builder_context,
    default_driver_context,
    default_resolver_context,
    driver_context,
    resolver_context,
)

__all__ = [
    "BuilderContext",
    "DriverContext",
    "ResolverContext",
    "builder",
    "builder_context",
    "context",
    "default_builder_context",
    "default_driver_context",
    "default_resolver_context",
    "driver",
    "driver_context",
    "resolver",
    "resolver_context",
]
