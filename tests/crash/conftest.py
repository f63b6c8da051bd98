"""Fixtures of these tests: a home for one depot, and peers that open it."""

from __future__ import annotations

from support.homes import home, peers

__all__ = ["home", "peers"]
