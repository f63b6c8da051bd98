"""The names that programs import from vineyard's extension module."""

from __future__ import annotations

from typing import Any

from entrepot.vineyard._blob import Blob, BlobBuilder, RemoteBlob, RemoteBlobBuilder, memory_copy
from entrepot.vineyard._errors import CODES, VineyardException
from entrepot.vineyard._ids import ObjectID, ObjectName
from entrepot.vineyard._meta import Object, ObjectBuilder, ObjectMeta
from entrepot.vineyard.core.client import ClientBase, InstanceStatus, IPCClient, RPCClient
from entrepot.vineyard.core.connection import connect_raw

_EXCEPTIONS = {kind.__name__: kind for kind in CODES.values()}
ConnectionFailed = CODES[33]
"""The name that the document has for it."""

_connect = connect_raw

__all__ = [
    "Blob",
    "BlobBuilder",
    "ClientBase",
    "ConnectionFailed",
    "IPCClient",
    "InstanceStatus",
    "Object",
    "ObjectBuilder",
    "ObjectID",
    "ObjectMeta",
    "ObjectName",
    "RPCClient",
    "RemoteBlob",
    "RemoteBlobBuilder",
    "VineyardException",
    "memory_copy",
]


def __getattr__(name: str) -> Any:
    try:
        return _EXCEPTIONS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return [*__all__, *_EXCEPTIONS]
