"""A home for the depots of these tests."""

from __future__ import annotations

from support.homes import home

__all__ = ["home"]
