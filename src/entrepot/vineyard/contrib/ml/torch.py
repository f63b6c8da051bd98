"""Tensors of torch in a depot, and data sets whose workers look at shared memory."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard._meta import Object, ObjectMeta
from entrepot.vineyard.core.context import builder_context, resolver_context
from entrepot.vineyard.data.tensor import tensor_resolver

__all__ = ["SharedDataset", "torch_context"]


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError("this needs torch: https://pytorch.org/get-started") from error


@contextlib.contextmanager
def torch_context(client: Any = None) -> Generator[None]:
    """Within the block, put takes tensors of torch, and get gives tensors instead of arrays.

    Tensors that are got lie in shared memory: do not write into them.
    """
    torch = _torch()
    with (
        builder_context({torch.Tensor: _build_tensor}),
        resolver_context({"vineyard::Tensor": _resolve_tensor}),
    ):
        yield


def _build_tensor(client: Any, value: Any, builder: Any, **_options: Any) -> ObjectMeta:
    return builder.plan(client, value.detach().cpu().numpy())


def _resolve_tensor(obj: Object) -> Any:
    return _as_tensor(tensor_resolver(obj))


def _as_tensor(array: Any) -> Any:
    """Return a tensor on the memory of an array."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return _torch().from_numpy(np.atleast_1d(array)).reshape(array.shape)


class SharedDataset:
    """Arrays of one length as a data set for torch's DataLoader, by their ids.

    It is pickled by ids only: each worker looks into the same memory. (A data set is whatever
    has a length and items; torch itself is needed with `as_tensors` only.)

    Args:
        ids: Of arrays that were put.
        socket: What `connect` takes: where they are.
        as_tensors: Give tensors, not arrays.
    """

    def __init__(
        self, ids: Sequence[ObjectID], socket: str | None = None, *, as_tensors: bool = True
    ) -> None:
        self._ids = list(ids)
        self._socket = socket
        self._as_tensors = as_tensors
        self._arrays: list[Any] = []
        self._pid = 0

    def _open(self) -> list[Any]:
        if self._pid != os.getpid():
            from entrepot.vineyard.core.connection import connect

            client = connect(self._socket)
            self._arrays = [client.get(id) for id in self._ids]
            self._pid = os.getpid()
            lengths = {len(array) for array in self._arrays}
            if len(lengths) > 1:
                raise ValueError(f"the arrays are of different lengths: {sorted(lengths)}")
        return self._arrays

    def __len__(self) -> int:
        return len(self._open()[0])

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        rows = [array[number] for array in self._open()]
        return tuple(_as_tensor(np.asarray(row)) if self._as_tensors else row for row in rows)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_arrays": [], "_pid": 0}
