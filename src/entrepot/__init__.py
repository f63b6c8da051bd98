"""Share data between Python programs: one depot, in shared memory, with nothing to start.

::

    import entrepot

    depot = entrepot.open()
    key = depot.objects.put(frame)  # here
    depot.objects.get(key)  # in another process, without a copy
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entrepot.depot import Depot, names, open, temporary
from entrepot.errors import (
    AccessDeniedError,
    ClosedError,
    ConflictError,
    CorruptError,
    DiskFullError,
    EntrepotError,
    ExistsError,
    FormatError,
    FullError,
    LimitError,
    NotFoundError,
    OutOfMemoryError,
    ProducersGoneError,
    TypeMismatchError,
    UnavailableError,
    WaitTimeoutError,
)
from entrepot.layers.objects import ObjectId, Objects
from entrepot.layers.spaces import Claim, Space

if TYPE_CHECKING:
    from entrepot import aio as aio
    from entrepot.executor import SpaceExecutor as SpaceExecutor

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
    "FullError",
    "LimitError",
    "NotFoundError",
    "ObjectId",
    "Objects",
    "OutOfMemoryError",
    "ProducersGoneError",
    "Space",
    "SpaceExecutor",
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


def __getattr__(name: str) -> Any:
    """Load what few programs use when it is used: asyncio costs as much as all the rest."""
    if name in ("aio", "SpaceExecutor"):
        import importlib

        if name == "aio":
            return importlib.import_module("entrepot.aio")
        return importlib.import_module("entrepot.executor").SpaceExecutor
    raise AttributeError(f"module 'entrepot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
