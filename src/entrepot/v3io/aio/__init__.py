"""The client for asyncio: `entrepot.v3io.aio.dataplane.Client`. Over HTTP it needs aiohttp."""

from __future__ import annotations

from entrepot.v3io.aio import dataplane

__all__ = ["dataplane"]
