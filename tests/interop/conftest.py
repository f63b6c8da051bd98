"""Instances for the tests that run against the originals too."""

from __future__ import annotations

from support.homes import home
from support.originals import gateway_socket, subject

__all__ = ["gateway_socket", "home", "subject"]
