"""Starting instances."""

from __future__ import annotations

from entrepot.vineyard.deploy import distributed, local

__all__ = ["distributed", "local"]
