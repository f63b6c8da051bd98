"""What the builders and resolvers have in common."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

from entrepot.vineyard._meta import NewBlob, ObjectMeta

__all__ = ["dump_label", "from_json", "load_label", "named", "pickled", "to_json"]

_LABELS = (str, int, float, bool, type(None))


def to_json(value: object) -> str:
    """Return a value as the JSON text that vineyard keeps."""
    return json.dumps(value)


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
