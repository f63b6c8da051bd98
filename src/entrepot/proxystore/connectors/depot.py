"""Objects in shared memory: a depot of this machine, with no server and no copy on a get."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import entrepot
from entrepot.errors import ClosedError, LimitError, TypeMismatchError
from entrepot.layers.objects.info import ID_MAX
from entrepot.layers.objects.raw import RawBytes
from entrepot.proxystore.connectors.keeper import Keeper, Place, keeper_at
from entrepot.proxystore.connectors.mine import Mine
from entrepot.proxystore.connectors.protocols import BytesLike, bytes_of

__all__ = ["DepotConnector", "DepotKey"]


class DepotKey(NamedTuple):
    """Key to objects in a depot."""

    object_id: int
    """The object's id, which `depot.objects` knows too. Never used twice."""


class DepotConnector:
    """Connector to a depot of this machine.

    May be used by all threads of a process, and by its forked children. What is put stays
    until it is evicted, also when the process ends.

    Args:
        name: Which depot; by default ENTREPOT_DEPOT, or "default".
        directory: Where its memory tier lives; see `entrepot.open`.
        data_directory: Where its durable tier lives.
        memory: Its bound, when it is made: bytes, or "4G".
        clear: At `close()`, remove what was put through this instance.

    Raises:
        EntrepotError: The depot cannot be opened; see `entrepot.open`.
    """

    is_thread_safe = True
    """So a store need not let its threads wait for each other."""

    def __init__(
        self,
        name: str | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        data_directory: str | os.PathLike[str] | None = None,
        memory: int | str | None = None,
        clear: bool = False,
    ) -> None:
        depot = entrepot.open(
            name, directory=directory, data_directory=data_directory, memory=memory
        )
        self.clear = clear
        self.name = depot.name
        self.directory = str(depot.path.parent)
        self.data_directory = str(depot.data_path.parent)
        self._depot: entrepot.Depot | None = depot
        self._raw: RawBytes | None = RawBytes(depot.attached.volatile)
        self._mine = Mine[int](lambda ids: [id for id in ids if self.exists(DepotKey(id))])
        self._keeper = keeper_at(self._place())
        self._keeper.join()

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
        return f"{type(self).__name__}(name={self.name}, directory={self.directory})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.config())

    def close(self, clear: bool | None = None) -> None:
        """Let go of the depot; may be repeated. Views that live stay valid.

        Args:
            clear: Remove what was put through this instance and is still there; by default
                what the connector was made with. What others put is never touched.
        """
        depot, raw = self._depot, self._raw
        if depot is None or raw is None:
            return
        mine = self._mine.taken()
        try:
            if (self.clear if clear is None else clear) and mine:
                raw.delete_many(mine)
        finally:
            self._depot = self._raw = None
            depot.close()
            self._keeper.part()

    def config(self) -> dict[str, Any]:
        """Return what is needed to make another instance."""
        return {
            "name": self.name,
            "directory": self.directory,
            "data_directory": self.data_directory,
            "clear": self.clear,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DepotConnector:
        """Return an instance of such a configuration."""
        return cls(**config)

    @classmethod
    def keeper(
        cls,
        name: str | None = None,
        *,
        directory: str | os.PathLike[str] | None = None,
        data_directory: str | os.PathLike[str] | None = None,
        **_: Any,
    ) -> Keeper:
        """Return what evicts, for this process, objects of a connector of such arguments."""
        return keeper_at(Place(name, _text(directory), _text(data_directory)))

    def _place(self) -> Place:
        return Place(self.name, self.directory, self.data_directory)

    def evict(self, key: DepotKey) -> None:
        """Remove an object; one that is not there is passed over. Views of it stay valid.

        Raises:
            ConflictError: It was made a member of another object.
        """
        number = _number(key)
        self._bytes().delete(number)
        self._mine.discard(number)

    def exists(self, key: DepotKey) -> bool:
        """Tell whether there is such an object. Cost: one read transaction."""
        return self._bytes().exists(_number(key))

    def get(self, key: DepotKey) -> memoryview | None:
        """Return the bytes of an object, read-only; None if there is none.

        Over 16 kB they are a view of shared memory, which stays as it is while the view lives.

        Raises:
            TypeMismatchError: The key is none of a depot, or the object is no bytes.
        """
        return self._bytes().get(_number(key))

    def get_batch(self, keys: Sequence[DepotKey]) -> list[memoryview | None]:
        """Return the bytes of several as they were at one moment, None for those missing."""
        return self._bytes().get_many([_number(key) for key in keys])

    def new_key(self, obj: BytesLike | None = None) -> DepotKey:
        """Return a fresh key, with nothing stored.

        Args:
            obj: Ignored.
        """
        return DepotKey(self._bytes().promise())

    def put(self, obj: BytesLike) -> DepotKey:
        """Store bytes; return a fresh key. They are copied once.

        Raises:
            OutOfMemoryError: The depot is full; the message says who holds what.
            TypeError: `obj` is no bytes.
        """
        return self.put_parts((bytes_of(obj),))

    def put_parts(self, parts: Sequence[memoryview]) -> DepotKey:
        """Store bytes that come in pieces, without joining them before."""
        number = self._bytes().put(parts)
        self._mine.add(number)
        return DepotKey(number)

    def put_batch(self, objs: Sequence[BytesLike]) -> list[DepotKey]:
        """Store several, all or none, in one transaction; return their keys in order."""
        numbers = self._bytes().put_many([(bytes_of(obj),) for obj in objs])
        self._mine.add(*numbers)
        return [DepotKey(number) for number in numbers]

    def set(self, key: DepotKey, obj: BytesLike) -> None:
        """Store bytes under a key, in place of what is there, and wake who waits for it."""
        number = _number(key)
        self._bytes().keep(number, (bytes_of(obj),))
        self._mine.add(number)

    def wait(self, key: DepotKey, timeout: float | None = None) -> bool:
        """Wait until there is such an object; False when `timeout` seconds passed."""
        return self._bytes().wait(_number(key), timeout)

    def _bytes(self) -> RawBytes:
        if self._raw is None:
            raise ClosedError(f"the connector to depot {self.name!r} is closed")
        return self._raw


def _rebuild(cls: type[DepotConnector], config: dict[str, Any]) -> DepotConnector:
    return cls(**config)


def _text(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.fspath(path)


def _number(key: DepotKey) -> int:
    number = getattr(key, "object_id", None)
    if type(number) is not int:
        raise TypeMismatchError(f"{key!r} is no key of a depot", "give what put() returned")
    if not 0 < number <= ID_MAX:
        raise LimitError(f"object id is {number}, it must be from 1 to {ID_MAX}")
    return number
