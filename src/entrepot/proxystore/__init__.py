"""ProxyStore's Python API on a depot: import from `entrepot.proxystore`, not `proxystore`."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "1.1.0"
"""The version of proxystore whose API this is."""
