"""Where programs of the original may look for its version."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "1.2.2"
"""Of the API that this is; `entrepot.__version__` is ours."""
