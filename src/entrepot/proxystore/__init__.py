"""ProxyStore's Python API on a depot: change `import proxystore` to `import entrepot.proxystore`."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "1.1.0"
"""The version of proxystore whose API this is."""
