"""Objects in a container: on disk, and for other hosts, by way of the web gateway.

`endpoint` is where the gateway listens (`entrepot serve --http`); one that begins with
`depot:` is a depot of this machine, used in this process.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from entrepot.errors import (
    AccessDeniedError,
    ClosedError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
    UnavailableError,
)
from entrepot.proxystore.connectors.mine import Mine
from entrepot.proxystore.connectors.protocols import BytesLike, bytes_of

if TYPE_CHECKING:
    from entrepot.v3io.dataplane import Client
    from entrepot.v3io.dataplane.response import Response

__all__ = ["ContainerConnector", "ContainerKey"]

_FOUND = (200, 206)
_MISSING = (404,)
_DONE = (200, 204)
_DENIED = (401, 403)
_REFUSED = 400
_ANYBODY = "anybody"
"""Who asks where nobody was told: a gateway that knows no keys serves everybody."""


class ContainerKey(NamedTuple):
    """Key to objects in a container."""

    name: str
    """Unique name in the directory of the connector."""


class ContainerConnector:
    """Connector to a directory of a container.

    Args:
        container: Which container; in this process it is made when something is put there, by
            a gateway when it is told to (`entrepot serve --container`).
        endpoint: Where it is: URL or host:port of a gateway, or `depot:NAME`; by default
            V3IO_API, or this user's depot.
        directory: Where in the container the objects are.
        access_key: Who asks, if the gateway wants to know; by default V3IO_ACCESS_KEY.
        clear: At `close()`, remove what was put through this instance.
    """

    is_thread_safe = True
    """So a store need not let its threads wait for each other."""

    def __init__(
        self,
        container: str,
        *,
        endpoint: str = "",
        directory: str = "proxystore",
        access_key: str = "",
        clear: bool = False,
    ) -> None:
        self.container = container
        self.endpoint = endpoint
        self.directory = directory.strip("/")
        self.clear = clear
        self._access_key = access_key
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._pid = os.getpid()
        self._closed = False
        self._mine = Mine[str](self._those_there)
        self._connected()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.endpoint or "default"
        return f"{type(self).__name__}(container={self.container}, endpoint={where})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.config())

    def close(self, clear: bool | None = None) -> None:
        """Close the connections; may be repeated.

        Args:
            clear: Remove what was put through this instance and is still there; by default
                what the connector was made with.
        """
        if self._closed:
            return
        mine = self._mine.taken()
        try:
            if self.clear if clear is None else clear:
                self._delete(sorted(mine))
        finally:
            self._closed = True
            if self._client is not None and self._pid == os.getpid():
                self._client.close()
            self._client = None

    def config(self) -> dict[str, Any]:
        """Return what is needed to make another instance, the access key included."""
        return {
            "container": self.container,
            "endpoint": self.endpoint,
            "directory": self.directory,
            "access_key": self._access_key,
            "clear": self.clear,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ContainerConnector:
        """Return an instance of such a configuration."""
        return cls(**config)

    def evict(self, key: ContainerKey) -> None:
        """Remove an object; one that is not there is passed over."""
        reply = self._connected().object.delete(
            self.container, self._path(key), raise_for_status="never"
        )
        self._found(reply, _DONE)
        self._mine.discard(key.name)

    def exists(self, key: ContainerKey) -> bool:
        """Tell whether there is such an object."""
        reply = self._connected().object.head(
            self.container, self._path(key), raise_for_status="never"
        )
        return self._found(reply, _FOUND)

    def get(self, key: ContainerKey) -> bytes | None:
        """Return the bytes of an object, None if there is none."""
        reply = self._connected().object.get(
            self.container, self._path(key), raise_for_status="never"
        )
        return bytes(reply.body) if self._found(reply, _FOUND) else None

    def get_batch(self, keys: Sequence[ContainerKey]) -> list[bytes | None]:
        """Return the bytes of several, in order, None in the places of those missing.

        Over several connections at once.
        """
        batch = self._connected().create_batch()
        for key in keys:
            batch.object.get(self.container, self._path(key))
        return [
            bytes(reply.body) if self._found(reply, _FOUND) else None
            for reply in batch.wait(raise_for_status="never")
        ]

    def new_key(self, obj: BytesLike | None = None) -> ContainerKey:
        """Return a fresh key, with nothing stored.

        Args:
            obj: Ignored.
        """
        return ContainerKey(str(uuid.uuid4()))

    def put(self, obj: BytesLike) -> ContainerKey:
        """Store bytes; return a fresh key. On the disk when this returns."""
        key = self.new_key()
        self.set(key, obj)
        return key

    def put_batch(self, objs: Sequence[BytesLike]) -> list[ContainerKey]:
        """Store several, all or none; return their keys in order.

        Over several connections at once.
        """
        bodies = [_body(obj) for obj in objs]
        keys = [self.new_key() for _ in bodies]
        batch = self._connected().create_batch()
        for key, body in zip(keys, bodies, strict=True):
            batch.object.put(self.container, self._path(key), body=body)
        try:
            for reply in batch.wait(raise_for_status="never"):
                self._check_stored(reply)
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is what is said
                self._delete([key.name for key in keys])
            raise
        self._mine.add(*(key.name for key in keys))
        return keys

    def set(self, key: ContainerKey, obj: BytesLike) -> None:
        """Store bytes under a key, in place of what is there.

        Raises:
            AccessDeniedError: The gateway wants another access key.
            LimitError: No container can be named so.
            NotFoundError: A gateway serves no such container.
            TypeError: `obj` is no bytes.
            UnavailableError: The gateway cannot do it now.
        """
        reply = self._connected().object.put(
            self.container, self._path(key), body=_body(obj), raise_for_status="never"
        )
        self._check_stored(reply)
        self._mine.add(key.name)

    def _check_stored(self, reply: Response) -> None:
        if not self._found(reply, _DONE):
            raise NotFoundError(
                f"there is no container {self.container!r} at {self.endpoint or 'V3IO_API'}",
                f"entrepot serve --http HOST:PORT --container {self.container} makes it",
            )

    def _delete(self, names: Sequence[str]) -> None:
        batch = self._connected().create_batch()
        for name in names:
            batch.object.delete(self.container, self._path(ContainerKey(name)))
        for reply in batch.wait(raise_for_status="never"):
            self._found(reply, _DONE)

    def _those_there(self, names: Sequence[str]) -> list[str]:
        batch = self._connected().create_batch()
        for name in names:  # a batch has no head
            batch.object.get(self.container, self._path(ContainerKey(name)), offset=0, num_bytes=1)
        replies = batch.wait(raise_for_status="never")
        return [
            name
            for name, reply in zip(names, replies, strict=True)
            if reply.status_code not in _MISSING
        ]

    def _found(self, reply: Response, well: tuple[int, ...]) -> bool:
        """Tell whether something was there; raise what the reply says if it says neither."""
        status = reply.status_code
        if status in well:
            return True
        if status in _MISSING:
            return False
        where = f"container {self.container!r} at {self.endpoint or 'V3IO_API'}"
        said = f"{where} replied {status}: {_message(reply.body)}"
        if status in _DENIED:
            raise AccessDeniedError(said, "give the access_key of the gateway, or V3IO_ACCESS_KEY")
        raise LimitError(said) if status == _REFUSED else UnavailableError(said)

    def _connected(self) -> Client:
        if self._closed:
            raise ClosedError(f"the connector to container {self.container!r} is closed")
        if self._pid != os.getpid():  # a forked child: who held the lock is not here
            self._lock, self._client, self._pid = threading.RLock(), None, os.getpid()
        with self._lock:
            if self._client is None:
                from entrepot.v3io.dataplane import Client

                self._client = Client(
                    endpoint=self.endpoint or None,
                    access_key=self._access_key or os.environ.get("V3IO_ACCESS_KEY") or _ANYBODY,
                    logger_verbosity="CRITICAL",
                )
            return self._client

    def _path(self, key: ContainerKey) -> str:
        name = getattr(key, "name", None)
        if not isinstance(name, str):
            raise TypeMismatchError(f"{key!r} is no key of a container", "give what put() returned")
        if not name or "/" in name or name in (".", ".."):
            raise LimitError(f"{name!r} is no name of an object in the directory of the connector")
        return f"{self.directory}/{name}" if self.directory else name


def _body(obj: BytesLike) -> bytes:
    return obj if isinstance(obj, bytes) else bytes(bytes_of(obj))


def _message(body: bytes) -> str:
    """Return what a reply says, out of its JSON if it is that."""
    text = bytes(body).decode(errors="replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(text)["ErrorMessage"])
    return text


def _rebuild(cls: type[ContainerConnector], config: dict[str, Any]) -> ContainerConnector:
    return cls(**config)
