r"""Objects to files and back: their metadata, and the bytes of their blobs.

A file is::

    b"vineyard tree 1\n"   8 bytes: size of the text      the text, JSON      the blobs
    text: {"root": n, "nodes": [{"fields": ..., "members": {name: n}, "persist": bool,
                                 "blob": [offset, size]}, ...]}

Nodes come after their members; a member of several objects is one node. Offsets count from the
first blob. What is pickled stays pickled: reading the file runs nothing, getting the object does.
"""

from __future__ import annotations

import json
from typing import Any

from entrepot.vineyard._ids import EMPTY_BLOB, ObjectID
from entrepot.vineyard._meta import NewBlob, Object, ObjectMeta
from entrepot.vineyard.io.places import Place

__all__ = ["deserialize", "serialize"]

_MAGIC = b"vineyard tree 1\n"
_BLOB = "vineyard::Blob"
_STREAMS = frozenset(
    f"vineyard::{kind}"
    for kind in (
        "ByteStream",
        "DataframeStream",
        "ParallelStream",
        "RecordBatchStream",
        "StreamCollection",
    )
)
_GIVEN_ANEW = frozenset(("id", "instance_id", "signature", "transient", "__timestamp", "__labels"))


def serialize(
    path: str,
    object_id: ObjectID,
    *_arguments: object,
    vineyard_ipc_socket: Any = None,
    vineyard_endpoint: Any = None,
    storage_options: dict[str, Any] | None = None,
    **_options: Any,
) -> None:
    """Write an object, with all that it is made of, to a file.

    Args:
        path: Where: a path, or `scheme://path` of anything that fsspec reaches.
        object_id: Its id.
        vineyard_ipc_socket: Where the object is; by default, where `connect()` goes.
        vineyard_endpoint: The same, over the network.
        storage_options: Of the file system.

    Raises:
        RuntimeError: It could not be read or written, or it is a stream; the reason is its
            cause.
    """
    from entrepot.vineyard.io.drivers import client_of

    try:
        with client_of(vineyard_ipc_socket, vineyard_endpoint) as client:
            tree = _Tree(client)
            root = tree.add(client.get_meta(object_id))
            text = json.dumps({"root": root, "nodes": tree.nodes}).encode()
            place = Place.of(path, storage=storage_options)
            with place.writing() as file:
                file.write(_MAGIC + len(text).to_bytes(8, "big") + text)
                for blob in tree.blobs:
                    file.write(blob)
    except Exception as error:
        raise RuntimeError(f"Unable to serialize to {path!r}: {error}") from error


class _Tree:
    """An object as numbered nodes, members first."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._numbers: dict[int, int] = {}
        self.nodes: list[dict[str, Any]] = []
        self.blobs: list[Any] = []
        self._size = 0

    def add(self, meta: ObjectMeta) -> int:
        id = int(meta.id)
        if id not in self._numbers:
            node = self._blob(meta) if meta.typename == _BLOB else self._object(meta)
            self._numbers[id] = len(self.nodes)
            self.nodes.append(node)
        return self._numbers[id]

    def _blob(self, meta: ObjectMeta) -> dict[str, Any]:
        body: Any = memoryview(Object.from_(meta)).cast("B")  # pyright: ignore[reportArgumentType] it lends its bytes
        self.blobs.append(body)
        self._size += len(body)
        return {"blob": [self._size - len(body), len(body)]}

    def _object(self, meta: ObjectMeta) -> dict[str, Any]:
        if meta.typename in _STREAMS:
            raise TypeError(f"a {meta.typename} passes by, it cannot be kept: write what it gives")
        fields = {name: value for name, value in meta.fields().items() if name not in _GIVEN_ANEW}
        members = {name: self.add(meta[name]) for name in meta.members()}
        return {
            "fields": fields,
            "members": members,
            "persist": not meta.get("transient", True),
        }


def deserialize(
    path: str,
    *_arguments: object,
    vineyard_ipc_socket: Any = None,
    vineyard_endpoint: Any = None,
    storage_options: dict[str, Any] | None = None,
    **_options: Any,
) -> ObjectID:
    """Store what `serialize` wrote; return its id. All of it is stored, or nothing.

    Getting the object may unpickle what is in the file: get only what you trust.

    Raises:
        RuntimeError: It could not be read or stored; the reason is its cause.
    """
    from entrepot.vineyard.io.drivers import client_of

    try:
        place = Place.of(path, storage=storage_options)
        with client_of(vineyard_ipc_socket, vineyard_endpoint) as client, place.open("rb") as file:
            return _store(client, file)
    except Exception as error:
        raise RuntimeError(f"Unable to deserialize {path!r}: {error}") from error


def _store(client: Any, file: Any) -> ObjectID:
    head = _read(file, len(_MAGIC) + 8)
    if not head.startswith(_MAGIC):
        raise ValueError("it was not written by serialize()")
    told: Any = json.loads(_read(file, int.from_bytes(head[-8:], "big")))
    made: list[ObjectID] = []
    try:
        for node in told["nodes"]:
            made.append(_store_node(client, file, node, made))
    except BaseException:
        for id in reversed(made):  # what holds others first
            client.delete(id)
        raise
    return made[int(told["root"])]


def _store_node(client: Any, file: Any, node: dict[str, Any], made: list[ObjectID]) -> ObjectID:
    if "blob" in node:  # they come in the order in which they lie there
        size = int(node["blob"][1])
        if not size:
            return ObjectID(EMPTY_BLOB)
        return ObjectID(client.build([NewBlob([memoryview(_read(file, size))])])[0])
    meta = ObjectMeta(bool(node["fields"].get("global")))
    for name, value in node["fields"].items():
        if name != "global":
            meta[name] = value
    for name, number in node["members"].items():
        meta.add_member(name, made[number])
    id: ObjectID = client.create_metadata(meta).id
    if node["persist"]:
        client.persist(id)
    return id


def _read(file: Any, size: int) -> bytes:
    body = file.read(size)
    if len(body) != size:
        raise ValueError(f"it breaks off: {size - len(body)} bytes are missing")
    return body
