"""Instances for the tests that run against the originals too."""

from __future__ import annotations

from support.homes import home
from support.originals import subject

__all__ = ["home", "subject"]
