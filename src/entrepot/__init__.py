"""Share data between Python programs: one depot, in shared memory, with nothing to start.

::

    import entrepot

    depot = entrepot.open()
    key = depot.objects.put(frame)  # here
    depot.objects.get(key)  # in another process, without a copy
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entrepot.errors import (
    AccessDeniedError,
    ClosedError,
    ConflictError,
    CorruptError,
    DiskFullError,
    EntrepotError,
    ExistsError,
    FormatError,
    LimitError,
    NotFoundError,
    OutOfMemoryError,
    TypeMismatchError,
    UnavailableError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from entrepot import aio as aio
    from entrepot.depot import Depot, names, open, temporary
    from entrepot.layers.objects import ObjectId, Objects
    from entrepot.layers.spaces import Claim, Space

__all__ = [
    "AccessDeniedError",
    "Claim",
    "ClosedError",
    "ConflictError",
    "CorruptError",
    "Depot",
    "DiskFullError",
    "EntrepotError",
    "ExistsError",
    "FormatError",
    "LimitError",
    "NotFoundError",
    "ObjectId",
    "Objects",
    "OutOfMemoryError",
    "Space",
    "TypeMismatchError",
    "UnavailableError",
    "WaitTimeoutError",
    "__version__",
    "aio",
    "names",
    "open",
    "temporary",
]

__version__ = "0.1.0"

_HOMES = {
    "Claim": "entrepot.layers.spaces",
    "Depot": "entrepot.depot",
    "ObjectId": "entrepot.layers.objects",
    "Objects": "entrepot.layers.objects",
    "Space": "entrepot.layers.spaces",
    "names": "entrepot.depot",
    "open": "entrepot.depot",
    "temporary": "entrepot.depot",
}


def __getattr__(name: str) -> Any:
    """Load what a program uses when it is used: importing entrepot itself is cheap."""
    import importlib

    if name == "aio":
        return importlib.import_module("entrepot.aio")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'entrepot' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
