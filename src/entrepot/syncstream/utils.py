"""Modules that load on first use: what programs of the original may import from here."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any, cast

__all__ = [
    "ModuleReplaceError",
    "cancel_type",
    "get_lazy_attribute",
    "is_module_invalid",
    "lazy_import",
]


class ModuleReplaceError(ImportError):
    """A module stands in place of another one, and is not it."""


def lazy_import(name: str, *_: Any, **__: Any) -> ModuleType:
    """Import a module; Python does that quickly enough by now."""
    return importlib.import_module(name)


def get_lazy_attribute(module: ModuleType, name: str, default: Any = None) -> Any:
    """Return an attribute of a module, or `default` where it has none."""
    return getattr(module, name, default)


def is_module_invalid(module: object) -> bool:
    """Tell whether something is no module that can be used."""
    return not isinstance(module, ModuleType)


def cancel_type(value: object) -> Any:
    """Return a value as one of no particular type, for type checkers."""
    return cast("Any", value)
