"""Fixtures of these tests: a home for one depot, peers that open it, small file systems."""

from __future__ import annotations

from support.homes import home, peers
from support.mounts import small_memory

__all__ = ["home", "peers", "small_memory"]
