"""Objects in a container: on disk, and for other hosts, by way of the web gateway.

`endpoint` is where the gateway listens (`entrepot serve --http`); one that begins with
`depot:` is a depot of this machine, used in this process.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from entrepot.errors import ClosedError, LimitError, NotFoundError, TypeMismatchError
from entrepot.proxystore.connectors.protocols import BytesLike, bytes_of

if TYPE_CHECKING:
    from entrepot.v3io.dataplane import Client

__all__ = ["ContainerConnector", "ContainerKey"]

_FOUND = (200, 206)
_MISSING = (404,)
_DONE = (200, 204)


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
        if self.clear if clear is None else clear:
            for name in sorted(self._mine):
                self.evict(ContainerKey(name))
        self._mine.clear()
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
        self._connected().object.delete(
            self.container, self._path(key), raise_for_status=[*_DONE, *_MISSING]
        )
        self._mine.discard(key.name)

    def exists(self, key: ContainerKey) -> bool:
        """Tell whether there is such an object."""
        reply = self._connected().object.head(
            self.container, self._path(key), raise_for_status=[*_FOUND, *_MISSING]
        )
        return reply.status_code in _FOUND

    def get(self, key: ContainerKey) -> bytes | None:
        """Return the bytes of an object, None if there is none."""
        reply = self._connected().object.get(
            self.container, self._path(key), raise_for_status=[*_FOUND, *_MISSING]
        )
        return bytes(reply.body) if reply.status_code in _FOUND else None

    def get_batch(self, keys: Sequence[ContainerKey]) -> list[bytes | None]:
        """Return the bytes of several, in order, None in the places of those missing."""
        return [self.get(key) for key in keys]

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
        """Store several; return their keys in order."""
        return [self.put(obj) for obj in objs]

    def set(self, key: ContainerKey, obj: BytesLike) -> None:
        """Store bytes under a key, in place of what is there.

        Raises:
            NotFoundError: A gateway serves no such container.
            TypeError: `obj` is no bytes.
        """
        body = obj if isinstance(obj, bytes) else bytes(bytes_of(obj))
        reply = self._connected().object.put(
            self.container, self._path(key), body=body, raise_for_status=[*_DONE, *_MISSING]
        )
        if reply.status_code in _MISSING:
            raise NotFoundError(
                f"there is no container {self.container!r} at {self.endpoint or 'V3IO_API'}",
                f"entrepot serve --http HOST:PORT --container {self.container} makes it",
            )
        self._mine.add(key.name)

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
                    access_key=self._access_key or None,
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


def _rebuild(cls: type[ContainerConnector], config: dict[str, Any]) -> ContainerConnector:
    return cls(**config)
