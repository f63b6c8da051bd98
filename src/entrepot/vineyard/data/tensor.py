"""Numpy arrays, and tensors of a whole cluster."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard._meta import NewBlob, Object, ObjectMeta
from entrepot.vineyard.data.pickle import plan_pickle
from entrepot.vineyard.data.utils import from_json, named, pickled, to_json

__all__ = ["make_global_tensor", "numpy_ndarray_builder", "register_builders", "tensor_resolver"]

_Array = np.ndarray[Any, np.dtype[Any]]
_PLAIN_KINDS = frozenset("biufcSUmM")
_TYPES = {"int32": "int", "float32": "float", "float64": "double"}


def is_plain(array: _Array) -> bool:
    """Tell whether bytes, shape and dtype are all that there is of an array."""
    dtype = array.dtype
    return (
        type(array) is np.ndarray
        and dtype.kind in _PLAIN_KINDS
        and dtype.itemsize > 0
        and not dtype.metadata
        and (array.flags.writeable or array.base is None)  # else it may be a blob's
    )


def numpy_ndarray_builder(client: Any, value: _Array, **options: Any) -> ObjectMeta:
    """Plan an array.

    One that came from the store, and is not a part of what came, reuses its blob.
    """
    dtype = value.dtype
    if isinstance(value, np.memmap):
        value = value.view(np.ndarray)
    if type(value) is not np.ndarray or dtype.metadata:
        return plan_pickle(value)
    if dtype.kind == "O":
        return _plan_objects(value, options)
    if dtype.kind not in _PLAIN_KINDS or not dtype.itemsize:
        return plan_pickle(value)
    blob = None
    if not value.flags.writeable and value.size and _is_as_others_read_it(value):
        blob = client._store.blob_at(value.ctypes.data)
    partition = options.get("partition_index")
    if blob is not None or partition is not None:
        return _plan_plain(value, ObjectID(blob) if blob is not None else None, partition)
    return ObjectMeta.of_whole(value, lambda meta: _describe(meta, value, None, None))


numpy_ndarray_builder.whole = is_plain  # pyright: ignore[reportFunctionMemberAccess] what a client looks for


def _is_as_others_read_it(array: _Array) -> bool:
    return array.flags.c_contiguous and array.dtype.isnative and array.dtype.kind not in "SV"


def _plan_plain(array: _Array, blob: ObjectID | None, partition: Any) -> ObjectMeta:
    meta = ObjectMeta()
    _describe(meta, array, blob, partition)
    return meta


def _describe(meta: ObjectMeta, array: _Array, blob: ObjectID | None, partition: Any) -> None:
    dtype = array.dtype
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    meta["typename"] = f"vineyard::Tensor<{_TYPES.get(dtype.name, dtype.name)}>"
    meta["shape_"] = to_json(list(array.shape))
    meta["order_"] = to_json("F" if fortran else "C")
    meta["partition_index_"] = to_json(list(partition) if partition is not None else [])
    meta["value_type_"] = dtype.name
    meta["value_type_meta_"] = dtype.str
    meta["nbytes"] = array.nbytes
    if blob is not None:
        meta.add_member("buffer_", blob)
        return
    flat = np.ascontiguousarray(array).reshape(-1).view("u1")
    meta.add_member("buffer_", NewBlob([memoryview(flat.data)] if array.size else []))


def _plan_objects(array: _Array, options: dict[str, Any]) -> ObjectMeta:
    def complete(meta: ObjectMeta) -> None:
        blob = pickled(array)
        meta["typename"] = "vineyard::Tensor<object>"
        meta["shape_"] = to_json(list(array.shape))
        meta["order_"] = to_json("C")
        meta["partition_index_"] = to_json(list(options.get("partition_index") or []))
        meta["value_type_"] = "object"
        meta["value_type_meta_"] = array.dtype.str
        meta["nbytes"] = blob.nbytes
        meta.add_member("buffer_", blob)

    meta = ObjectMeta()
    complete(meta)
    return meta


def tensor_resolver(obj: Object) -> Any:
    """Return the array: a read-only view of shared memory, where it lies there."""
    meta = obj.meta
    if meta.has_load:
        return meta.load()
    blob: Any = obj.member("buffer_")
    if meta["value_type_"] == "object":
        return pickle.loads(memoryview(blob))  # noqa: S301 within one user's depot
    if meta["typename"] == "vineyard::Tensor<std::string>":
        from entrepot.vineyard.data.arrow import strings_of

        return strings_of(blob).reshape(from_json(meta["shape_"]))
    dtype = np.dtype(meta.get("value_type_meta_") or meta["value_type_"])
    shape = tuple(from_json(meta["shape_"]))
    count = math.prod(shape)
    if not count:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(blob, dtype, count)
    array = flat.reshape(shape)
    return np.asfortranarray(array) if from_json(meta.get("order_", '"C"')) == "F" else array


def make_global_tensor(
    client: Any,
    blocks: Sequence[Any],
    extra_meta: dict[str, Any] | None = None,
    shape: Sequence[int] | None = None,
    partition_shape: Sequence[int] | None = None,
) -> ObjectMeta:
    """Store a tensor of a whole cluster, made of tensors that are stored.

    Args:
        client: A client.
        blocks: Ids, objects or metadata of its parts, in C order of their places.
        extra_meta: More plain values.
        shape: Of the whole.
        partition_shape: How many parts there are along each axis.

    Returns:
        Its metadata. It is persisted, and so are its parts.
    """
    meta = global_meta(client, "vineyard::GlobalTensor", blocks, extra_meta)
    meta["shape_"] = to_json(list(shape or []))
    meta["partition_shape_"] = to_json(list(partition_shape or []))
    client.create_metadata(meta)
    client.persist(meta.id)
    return client.get_meta(meta.id)


def global_meta(
    client: Any, typename: str, blocks: Sequence[Any], extra_meta: dict[str, Any] | None
) -> ObjectMeta:
    """Return new metadata of an object of a whole cluster, with its parts."""
    meta = named(typename, **(extra_meta or {}))
    meta.set_global(True)
    meta["partitions_-size"] = len(blocks)
    for number, block in enumerate(blocks):
        part = ObjectID(block) if isinstance(block, (int, str)) else block
        client.persist(part)
        meta.add_member(f"partitions_-{number}", part)
    return meta


def register_builders(context: Any) -> None:
    """Register how arrays become objects."""
    context.register_built_in(np.ndarray, numpy_ndarray_builder)


def register_resolvers(context: Any) -> None:
    """Register how objects become arrays."""
    context.register_built_in("vineyard::Tensor", tensor_resolver)
