"""Drivers: methods that results are given."""

from __future__ import annotations

from entrepot.vineyard.core.context import (
    DriverContext,
    current_driver,
    default_driver_context,
    driver_context,
)

__all__ = [
    "DriverContext",
    "default_driver_context",
    "driver_context",
    "get_current_drivers",
]

get_current_drivers = current_driver
