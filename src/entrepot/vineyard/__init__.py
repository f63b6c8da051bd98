"""vineyard's Python API on a depot: `import entrepot.vineyard as vineyard`.

There is nothing to start: `vineyard.connect()` opens the user's depot of this machine, in this
process. What is put is shared at once with all processes that do the same.
"""

from __future__ import annotations

import importlib
from typing import Any

from entrepot.vineyard import _C, _errors, core, data
from entrepot.vineyard._blob import (
    Blob,
    BlobBuilder,
    RemoteBlob,
    RemoteBlobBuilder,
    memory_copy,
)
from entrepot.vineyard._ids import ObjectID, ObjectName
from entrepot.vineyard._meta import Object, ObjectBuilder, ObjectMeta
from entrepot.vineyard.core.client import (
    Client,
    InstanceStatus,
    IPCClient,
    RPCClient,
    get,
    put,
)
from entrepot.vineyard.core.connection import connect, connect_raw, envvars
from entrepot.vineyard.core.context import (
    BuilderContext,
    ResolverContext,
    builder_context,
    default_builder_context,
    default_driver_context,
    default_resolver_context,
    driver_context,
    resolver_context,
)
from entrepot.vineyard.data import register_builtin_types

__version__ = "0.24.2"
_connect = connect_raw
ConnectionFailed = _errors.CODES[33]

register_builtin_types(default_builder_context, default_resolver_context)

_MODULES = frozenset(("deploy", "io", "shared_memory"))

__all__ = [
    "Blob",
    "BlobBuilder",
    "BuilderContext",
    "Client",
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
    "ResolverContext",
    "builder_context",
    "connect",
    "core",
    "data",
    "default_builder_context",
    "default_driver_context",
    "default_resolver_context",
    "driver_context",
    "envvars",
    "get",
    "memory_copy",
    "put",
    "register_builtin_types",
    "resolver_context",
]


def __getattr__(name: str) -> Any:
    if name in ("get_current_socket", "shutdown", "try_init"):
        from entrepot.vineyard.deploy import local

        return getattr(local, name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name.endswith("Exception"):
        return getattr(_C, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
