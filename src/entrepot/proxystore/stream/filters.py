"""Filters: which objects are passed over, by their metadata."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["NullFilter", "SamplingFilter"]


class NullFilter:
    """Passes nothing over."""

    def __call__(self, metadata: dict[str, Any]) -> bool:
        """Tell whether an object is passed over."""
        return False


class SamplingFilter:
    """Passes objects over by chance.

    Args:
        p: How likely, 0 to 1.

    Raises:
        ValueError: `p` is out of range.
    """

    def __init__(self, p: float) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p is {p}, it must be from 0 to 1")
        self._p = p

    def __call__(self, metadata: dict[str, Any]) -> bool:
        """Tell whether an object is passed over."""
        return random.random() <= self._p  # noqa: S311 no secret
