"""The data plane: what is done with the contents of containers."""

from __future__ import annotations

from entrepot.v3io.dataplane import (
    batch,
    client,
    container,
    kv,
    kv_array,
    kv_cursor,
    kv_timestamp,
    model,
    object,
    output,
    request,
    response,
    stream,
    transport,
)
from entrepot.v3io.dataplane.client import Client
from entrepot.v3io.dataplane.response import RaiseForStatus

__all__ = [
    "Client",
    "RaiseForStatus",
    "batch",
    "client",
    "container",
    "kv",
    "kv_array",
    "kv_cursor",
    "kv_timestamp",
    "model",
    "object",
    "output",
    "request",
    "response",
    "stream",
    "transport",
]
