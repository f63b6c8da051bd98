"""Sparse matrices of scipy."""

from __future__ import annotations

import importlib
from typing import Any

from entrepot.vineyard._meta import Object, ObjectMeta
from entrepot.vineyard.data.utils import from_json, named, to_json

__all__ = ["register_resolvers", "register_scipy"]

_PARTS = {
    "bsr": ("data", "indices", "indptr"),
    "coo": ("data", "row", "col"),
    "csc": ("data", "indices", "indptr"),
    "csr": ("data", "indices", "indptr"),
    "dia": ("data", "offsets"),
}


def scipy_sparse_builder(client: Any, value: Any, builder: Any, **_options: Any) -> ObjectMeta:
    """Plan a sparse matrix: an array for each of its parts."""
    meta = named(
        f"vineyard::{value.format.upper()}Matrix<{value.dtype.name}>",
        value_type_=value.dtype.name,
        shape_=to_json(list(value.shape)),
        ndim=2,
        nnz=int(value.nnz),
        partition_index_="[]",
    )
    if value.format == "bsr":
        meta["blocksize"] = to_json(list(value.blocksize))
    if value.format in ("bsr", "csr"):
        meta["has_sorted_indices"] = bool(value.has_sorted_indices)
    for part in _PARTS[value.format]:
        meta.add_member(part, builder.plan(client, getattr(value, part)))
    return meta


def scipy_sparse_resolver(obj: Object, resolver: Any) -> Any:
    """Return the matrix, on arrays in shared memory."""
    sparse: Any = importlib.import_module("scipy.sparse")
    form = obj.meta.typename.partition("Matrix")[0][-3:].lower()
    parts = [resolver.run(obj.member(part)) for part in _PARTS[form]]
    shape = tuple(from_json(obj.meta["shape_"]))
    given = (parts[0], tuple(parts[1:])) if form == "coo" else tuple(parts)
    return getattr(sparse, f"{form}_matrix")(given, shape=shape, copy=False)


def register_scipy(context: Any) -> None:
    """Register how sparse matrices become objects; `csr_array` and the like are pickled."""
    sparse: Any = importlib.import_module("scipy.sparse")
    for form in _PARTS:
        context.register(getattr(sparse, f"{form}_matrix"), scipy_sparse_builder)


def register_resolvers(context: Any) -> None:
    """Register how objects become sparse matrices."""
    for form in _PARTS:
        context.register_built_in(f"vineyard::{form.upper()}Matrix", scipy_sparse_resolver)
