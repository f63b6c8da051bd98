"""Sparse matrices of scipy, and sparse arrays of pandas."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from entrepot.vineyard._meta import Object, ObjectMeta
from entrepot.vineyard.data.pickle import plan_pickle
from entrepot.vineyard.data.utils import from_json, named, to_json

__all__ = ["pandas_sparse_array_builder", "register_resolvers", "register_scipy"]

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
        nbytes=int(value.nnz) * value.dtype.itemsize,
    )
    if value.format == "bsr":
        meta["blocksize"] = list(value.blocksize)
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


def pandas_sparse_array_builder(client: Any, value: Any, builder: Any, **_options: Any) -> Any:
    """Plan a sparse array: where its values are, and the values."""
    kind, (length, *places) = value.sp_index.__reduce__()
    if len(places) != 1 or not _is_usual(value.dtype):
        return plan_pickle(value)  # vineyard has places, not runs, and no fill values
    meta = named(
        f"vineyard::SparseArray<{value.dtype.name}>",
        value_type_=value.dtype.name,
        sp_index_name=kind.__name__,
        sp_index_size=int(length),
        nbytes=0,
    )
    meta.add_member("sp_index", builder.plan(client, places[0]))
    meta.add_member("sp_values", builder.plan(client, value.sp_values))
    return meta


def pandas_sparse_array_resolver(obj: Object, resolver: Any) -> Any:
    """Return the sparse array."""
    pandas: Any = importlib.import_module("pandas")
    size, dtype = int(obj.meta["sp_index_size"]), _sparse_dtype(obj.meta["value_type_"])
    places = resolver.run(obj.member("sp_index"))
    found = resolver.run(obj.member("sp_values"))
    kind = pandas.arrays.SparseArray
    if hasattr(kind, "from_indices"):
        return kind.from_indices(found, places, size, dtype.fill_value, dtype=dtype.subtype)
    indexes: Any = importlib.import_module("pandas._libs.sparse")  # pickles of pandas name it too
    return kind(found, sparse_index=indexes.IntIndex(size, places), dtype=dtype)


def _is_usual(dtype: Any) -> bool:
    """Tell whether vineyard finds a dtype by its name: the fill value is the usual one."""
    pandas: Any = importlib.import_module("pandas")
    try:
        return bool(pandas.SparseDtype.construct_from_string(dtype.name) == dtype)
    except TypeError:
        return False


def _sparse_dtype(name: str) -> Any:
    """Return the dtype of a name such as `Sparse[int64, 0]`."""
    pandas: Any = importlib.import_module("pandas")
    subtype, _, fill = name.removeprefix("Sparse[").removesuffix("]").partition(", ")
    if subtype == "bool":
        return pandas.SparseDtype(bool, fill == "True")
    return pandas.SparseDtype(subtype, np.dtype(subtype).type(fill) if fill else None)


def register_scipy(context: Any) -> None:
    """Register how sparse matrices become objects; `csr_array` and the like are pickled."""
    sparse: Any = importlib.import_module("scipy.sparse")
    for form in _PARTS:
        context.register(getattr(sparse, f"{form}_matrix"), scipy_sparse_builder)


def register_resolvers(context: Any) -> None:
    """Register how objects become sparse matrices and arrays."""
    context.register_built_in("vineyard::SparseArray", pandas_sparse_array_resolver)
    for form in _PARTS:
        context.register_built_in(f"vineyard::{form.upper()}Matrix", scipy_sparse_resolver)
