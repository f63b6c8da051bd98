"""The data plane, awaited: what is done with the contents of containers."""

from __future__ import annotations

from entrepot.v3io.aio.dataplane import (
    client,
    container,
    kv,
    kv_cursor,
    object,
    stream,
    transport,
)
from entrepot.v3io.aio.dataplane.client import Client
from entrepot.v3io.dataplane.response import RaiseForStatus

__all__ = [
    "Client",
    "RaiseForStatus",
    "client",
    "container",
    "kv",
    "kv_cursor",
    "object",
    "stream",
    "transport",
]
