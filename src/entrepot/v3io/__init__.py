"""v3io's client: containers of objects, tables of items, and streams.

::

    import entrepot.v3io as v3io

    client = v3io.dataplane.Client(endpoint="http://host:8081", access_key="…")
    client.kv.put("lab", "people", "ann", {"age": 42})
    client.kv.get("lab", "people", "ann").output.item  # {"age": 42}

The names and their meanings are those of v3io 0.7.2; `entrepot.v3io.aio.dataplane` has the
client of asyncio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entrepot.v3io import dataplane
from entrepot.v3io.dataplane import Client, RaiseForStatus

if TYPE_CHECKING:
    from entrepot.v3io import aio

__all__ = ["Client", "RaiseForStatus", "__version__", "aio", "dataplane"]

__version__ = "0.7.2"  # of the client that this one answers like


def __getattr__(name: str) -> Any:
    """Load the client of asyncio when it is used: few programs want it."""
    if name == "aio":
        import importlib

        return importlib.import_module("entrepot.v3io.aio")
    raise AttributeError(f"module 'entrepot.v3io' has no attribute {name!r}")
