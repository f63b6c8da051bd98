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
    ConditionError,
    ConflictError,
    CorruptError,
    DiskFullError,
    EntrepotError,
    ExistsError,
    ExpressionError,
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
    from entrepot.layers.containers import Container as Container
    from entrepot.layers.containers import ObjectReader as ObjectReader
    from entrepot.layers.lines import Lines as Lines
    from entrepot.layers.streams import Consumer as Consumer
    from entrepot.layers.streams import Record as Record
    from entrepot.layers.streams import Stream as Stream
    from entrepot.layers.streams import Stretch as Stretch
    from entrepot.layers.tables import Table as Table
    from entrepot.layers.tables import TableBatch as TableBatch

__all__ = [
    "AccessDeniedError",
    "Claim",
    "ClosedError",
    "ConditionError",
    "ConflictError",
    "Consumer",
    "Container",
    "CorruptError",
    "Depot",
    "DiskFullError",
    "EntrepotError",
    "ExistsError",
    "ExpressionError",
    "FormatError",
    "FullError",
    "LimitError",
    "Lines",
    "NotFoundError",
    "ObjectId",
    "ObjectReader",
    "Objects",
    "OutOfMemoryError",
    "ProducersGoneError",
    "Record",
    "Space",
    "SpaceExecutor",
    "Stream",
    "Stretch",
    "Table",
    "TableBatch",
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


_LATER = {
    "Consumer": "entrepot.layers.streams",
    "Container": "entrepot.layers.containers",
    "Lines": "entrepot.layers.lines",
    "ObjectReader": "entrepot.layers.containers",
    "Record": "entrepot.layers.streams",
    "SpaceExecutor": "entrepot.executor",
    "Stream": "entrepot.layers.streams",
    "Stretch": "entrepot.layers.streams",
    "Table": "entrepot.layers.tables",
    "TableBatch": "entrepot.layers.tables",
}
"""Name -> the module that has it, loaded when the name is used."""


def __getattr__(name: str) -> Any:
    """Load what few programs use when it is used: asyncio costs as much as all the rest."""
    if name == "aio" or name in _LATER:
        import importlib

        if name == "aio":
            return importlib.import_module("entrepot.aio")
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'entrepot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
