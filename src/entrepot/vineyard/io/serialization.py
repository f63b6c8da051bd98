"""Objects to files and back: anything that can be got can be written."""

from __future__ import annotations

import pickle
from typing import Any

from entrepot.vineyard._ids import ObjectID
from entrepot.vineyard.io.places import Place

__all__ = ["deserialize", "serialize"]


def serialize(
    path: str,
    object_id: ObjectID,
    *_arguments: object,
    vineyard_ipc_socket: Any = None,
    vineyard_endpoint: Any = None,
    **options: Any,
) -> None:
    """Write the value of an object to a file.

    Args:
        path: Where: a path, or `scheme://path` of anything that fsspec reaches.
        object_id: Its id.
        vineyard_ipc_socket: Where the object is; by default, where `connect()` goes.
        vineyard_endpoint: The same, over the network.
        options: Of the file system.

    Raises:
        RuntimeError: It could not be read or written; the reason is its cause.
    """
    from entrepot.vineyard.io.drivers import client_of

    try:
        value = client_of(vineyard_ipc_socket, vineyard_endpoint).get(object_id)
        with Place.of(path, options).open("wb") as file:
            pickle.dump(value, file, protocol=5)
    except Exception as error:
        raise RuntimeError(f"Unable to serialize to {path!r}: {error}") from error


def deserialize(
    path: str,
    *_arguments: object,
    vineyard_ipc_socket: Any = None,
    vineyard_endpoint: Any = None,
    **options: Any,
) -> ObjectID:
    """Read the value of a file that `serialize` wrote; return the id of its object.

    The file is unpickled: read only what you trust.

    Raises:
        RuntimeError: It could not be read; the reason is its cause.
    """
    from entrepot.vineyard.io.drivers import client_of

    try:
        with Place.of(path, options).open("rb") as file:
            value = pickle.load(file)  # noqa: S301 said above
        return client_of(vineyard_ipc_socket, vineyard_endpoint).put(value)
    except Exception as error:
        raise RuntimeError(f"Unable to deserialize {path!r}: {error}") from error
