"""Brokers for streams of proxies."""

from __future__ import annotations

__all__: list[str] = []
