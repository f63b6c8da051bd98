"""What the builders and resolvers have in common."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

import numpy as np

from entrepot.vineyard._blob import RemoteBlobBuilder
from entrepot.vineyard._meta import NewBlob, ObjectMeta, plain_of_numpy

__all__ = [
    "build_buffer",
    "build_numpy_buffer",
    "dump_label",
    "from_json",
    "load_label",
    "named",
    "normalize_cpptype",
    "normalize_dtype",
    "pickled",
    "to_json",
]

_LABELS = (str, int, float, bool, type(None))


def to_json(value: object) -> str:
    """Return a value as the JSON text that vineyard keeps."""
    return json.dumps(value, default=plain_of_numpy)


def from_json(text: Any) -> Any:
    """Return the value of JSON text."""
    return json.loads(text)


def named(typename: str, **fields: Any) -> ObjectMeta:
    """Return new metadata of a type, with plain values."""
    meta = ObjectMeta()
    meta["typename"] = typename
    for name, value in fields.items():
        meta[name] = value
    return meta


def pickled(value: object) -> NewBlob:
    """Return a blob of a value's pickle."""
    return NewBlob([memoryview(pickle.dumps(value, protocol=5))])


def dump_label(meta: ObjectMeta, field: str, label: object) -> None:
    """Keep a name of pandas, which may be anything that can be hashed."""
    if type(label) in _LABELS:
        meta[field] = to_json(label)
        return
    meta[field] = to_json(str(label))
    meta[f"{field}_pickle_"] = base64.b64encode(pickle.dumps(label, protocol=5)).decode()


def load_label(meta: ObjectMeta, field: str) -> Any:
    """Return a name that was kept."""
    exact = meta.get(f"{field}_pickle_")
    if exact is not None:
        return pickle.loads(base64.b64decode(exact))  # noqa: S301 within one user's depot
    found = meta.get(field)
    return None if found is None else from_json(found)


# For builders and resolvers of users.

_CPP_OF = {"int32": "int", "float32": "float", "float64": "double"}
_NUMPY_OF: dict[Any, str] = {
    **dict.fromkeys(("i32", "int", "int32", "int32_t"), "int32"),
    **dict.fromkeys(("u32", "uint", "uint_t", "uint32", "uint32_t"), "uint32"),
    **dict.fromkeys((int, "i64", "int64", "long long", "int64_t"), "int64"),
    **dict.fromkeys(("u64", "uint64", "uint64_t"), "uint64"),
    "float32": "float32",
    **dict.fromkeys(("float", "double", "float64"), "float64"),
}


def normalize_dtype(dtype: Any, dtype_meta: Any = None) -> Any:
    """Return numpy's dtype for the name of a type of C++ or numpy; other names as they are.

    Args:
        dtype: The name.
        dtype_meta: The dtype of strings, whose names say too little.
    """
    if isinstance(dtype, np.dtype):
        return dtype  # pyright: ignore[reportUnknownVariableType] of any kind
    if dtype in _NUMPY_OF:
        return np.dtype(_NUMPY_OF[dtype])
    return np.dtype(dtype_meta) if str(dtype).startswith("str") else dtype


def normalize_cpptype(dtype: np.dtype[Any]) -> str:
    """Return how C++ calls a dtype."""
    return _CPP_OF.get(dtype.name, dtype.name)


def build_buffer(client: Any, address: Any, size: int, *_ignored: Any, **_options: Any) -> Any:
    """Store bytes as a blob; return it, or its metadata.

    Args:
        client: A client of either kind.
        address: Where the bytes are: an address, or an object with a buffer; None for no bytes.
            Of what is a blob of this depot already, that blob is returned.
        size: How many there are.
    """
    if not client.is_ipc:
        remote = RemoteBlobBuilder(size)
        if address is not None:
            _fill(remote, address, size)
        return client.create_remote_blob(remote)
    if address is None or not size:
        return client.create_empty_blob()
    if _is_address(address):
        number = client._store.blob_at(int(address))
        known = None if number is None else client.fetch_meta(number)
        if known is not None and known.memory_usage == size:
            return known
    made = client.create_blob(size)
    _fill(made, address, size)
    return made.seal(client)


def _is_address(address: object) -> bool:
    return isinstance(address, (int, np.integer))


def _fill(builder: Any, address: Any, size: int) -> None:
    if _is_address(address):
        builder.copy(0, int(address), size)
    else:
        builder.copy(0, address)


def build_numpy_buffer(client: Any, array: np.ndarray[Any, Any]) -> Any:
    """Store the items of an array as a blob, in C order; of one of objects, its pickle."""
    if array.dtype.hasobject:
        body = pickle.dumps(array, protocol=5)
        return build_buffer(client, body, len(body))
    flat = np.ascontiguousarray(array)
    return build_buffer(client, flat.ctypes.data, flat.nbytes)
