"""What programs of the original may silence; nothing here warns of it."""

from __future__ import annotations

__all__ = ["ExperimentalWarning"]


class ExperimentalWarning(Warning):
    """An interface may change: the original says so of its streams."""
