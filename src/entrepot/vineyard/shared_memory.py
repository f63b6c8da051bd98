"""`multiprocessing.shared_memory`, on blobs: written by one, frozen, then read by all."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Sequence
from operator import index
from types import TracebackType
from typing import Any

import msgspec

from entrepot.vineyard._errors import ObjectNotExistsException
from entrepot.vineyard._ids import ObjectID

__all__ = ["ShareableList", "SharedMemory"]

Item = int | float | bool | str | bytes | None


class SharedMemory:
    """A block of shared memory. Nobody else sees it before it is frozen; nobody writes after.

    Args:
        vineyard_client: A client of the depot where it lies.
        name: Of a block that exists: what its `name` says, or the id of its blob.
        create: Make a block.
        size: With `create`: how many bytes.

    Raises:
        ValueError: `size` and `create` do not fit together, or there is no name.
        ObjectNotExistsException: There is no such block, or it is not frozen yet.
    """

    def __init__(
        self,
        vineyard_client: Any,
        name: str | int | ObjectID | None = None,
        create: bool = False,
        size: int = 0,
    ) -> None:
        if size < 0:
            raise ValueError("'size' must be a positive integer")
        if create and size == 0:
            raise ValueError("'size' must be a positive number different from zero")
        if create and name is not None:
            raise ValueError("'name' can only be given for a block that exists")
        if not create and name is None:
            raise ValueError("'name' can only be None if create=True")
        if size and not create:
            warnings.warn("'size' is only used with create=True", UserWarning, stacklevel=2)
        self.client = vineyard_client
        self._builder: Any = None
        if create:
            self._builder = vineyard_client.create_blob(size)
            self._id: ObjectID = self._builder.id
            self._view = memoryview(self._builder).cast("B")
        else:
            self._id = name if isinstance(name, ObjectID) else ObjectID(name)  # pyright: ignore[reportArgumentType] not None here
            blob = vineyard_client.get_object(self._id)
            self._view = memoryview(blob).cast("B")

    @property
    def name(self) -> str:
        """What others open it by, once it is frozen."""
        return repr(self._id)

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self._view)

    @property
    def buf(self) -> memoryview:
        """Its bytes: writable until it is frozen."""
        return self._view

    def freeze(self) -> SharedMemory:
        """Make it visible to others, and read-only; return it. May be repeated."""
        if self._builder is not None:
            builder, self._builder = self._builder, None
            blob = builder.seal(self.client)
            self._view = memoryview(blob).cast("B")
        return self

    def close(self) -> None:
        """Freeze it: its bytes stay for others."""
        self.freeze()

    def unlink(self) -> None:
        """Remove it. Those who look at it keep their view.

        Raises:
            ObjectNotExistsException: It was removed before.
        """
        if self._builder is not None:
            builder, self._builder = self._builder, None
            self._view = memoryview(b"")
            builder.abort(self.client)
            return
        if not self.client.exists(self._id):
            raise ObjectNotExistsException(f"the block {self.name} was removed before")
        self.client.delete(self._id)

    def __enter__(self) -> SharedMemory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        self.freeze()
        return _open_block, (self.client.ipc_socket, self.name)

    def __repr__(self) -> str:
        return f"SharedMemory({self.name!r}, size={self.size})"


class ShareableList(Sequence[Item]):
    """A list of fixed length in a block: numbers, booleans, short strings and bytes, None.

    Items can be assigned until it is frozen, as those of the standard library's list: a string
    or bytes may be as long as the place of the first one.

    Layout of the block: length of the header (8) | header: msgpack [[kind, offset, room], …] |
    the items, each at a multiple of 8.

    Args:
        vineyard_client: A client of the depot where it lies.
        sequence: What a new list holds; nothing, by default.
        name: Of a list that exists: its `shm.name`.

    Raises:
        KeyError: An item is of another type.
    """

    shm: SharedMemory

    def __init__(
        self,
        vineyard_client: Any,
        sequence: Iterable[Item] | None = None,
        *,
        name: str | None = None,
    ) -> None:
        if name is not None:
            self.shm = SharedMemory(vineyard_client, name)
        else:
            self.shm = _make_block(vineyard_client, list(() if sequence is None else sequence))
        size = _length.unpack_from(self.shm.buf)[0]
        self._places: list[list[Any]] = _decode(self.shm.buf[8 : 8 + size])
        self._begin = 8 + _rounded(size)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> Item:  # pyright: ignore[reportIncompatibleMethodOverride] no slices, as the standard library's
        kind, offset, room = self._place(position)
        at = self._begin + offset
        body = self.shm.buf[at : at + room]
        if kind in _PACKED:
            return _PACKED[kind].unpack_from(body)[0]
        if kind == "None":
            return None
        length = _length.unpack_from(body)[0]
        found = bytes(body[8 : 8 + length])
        return found.decode() if kind == "str" else found

    def __setitem__(self, position: int, value: Item) -> None:
        """Assign an item, of any type that fits where the old one was.

        Raises:
            IndexError: There is no such item.
            TypeError: The list is frozen.
            ValueError: The value is too long.
        """
        _, offset, room = place = self._place(position)
        if self.shm.buf.readonly:
            raise TypeError("cannot modify read-only memory: the list is frozen")
        kind, body = _packed(value)
        if len(body) > room:
            raise ValueError("bytes/str item exceeds available storage")
        at = self._begin + offset
        self.shm.buf[at : at + len(body)] = body
        place[0] = kind
        header = _header(self._places)
        self.shm.buf[8 : 8 + len(header)] = header

    def _place(self, position: int) -> list[Any]:
        try:
            return self._places[index(position)]
        except IndexError:
            raise IndexError("index out of range") from None

    @property
    def format(self) -> str:
        """How the items lie in memory, in the words of the `struct` module."""
        return "".join(
            _PACKED[kind].format if kind in _PACKED else f"{room}s"
            for kind, _, room in self._places
        )

    def freeze(self) -> ShareableList:
        """Make it visible to others, and read-only; return it."""
        self.shm.freeze()
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        self.freeze()
        return _open_list, (self.shm.client.ipc_socket, self.shm.name)

    def __repr__(self) -> str:
        return f"ShareableList({list(self)!r}, name={self.shm.name!r})"


_length = struct.Struct("<q")
_PACKED = {"int": struct.Struct("<q"), "float": struct.Struct("<d"), "bool": struct.Struct("<?7x")}
_KIND_CHARS = 5
"""Kinds are padded, so that the header's length stays as it is when an item changes its type."""
_encode = msgspec.msgpack.Encoder().encode


def _decode(body: memoryview) -> list[list[Any]]:
    places = msgspec.msgpack.decode(body)
    return [[kind.strip(), offset, room] for kind, offset, room in places]


def _header(places: list[list[Any]]) -> bytes:
    return _encode([[kind.ljust(_KIND_CHARS), offset, room] for kind, offset, room in places])


def _packed(value: object) -> tuple[str, bytes]:
    kind = type(value).__name__
    if kind in _PACKED:
        try:
            return kind, _PACKED[kind].pack(value)
        except struct.error as error:
            raise ValueError(f"{value!r} does not fit into 64 bits") from error
    if value is None:
        return "None", bytes(8)
    if isinstance(value, (str, bytes)):
        body = value.encode() if isinstance(value, str) else value
        return kind, _length.pack(len(body)) + body
    raise KeyError(f"{value!r} is a {kind}: a list holds int, float, bool, None, str and bytes")


def _make_block(client: Any, items: list[Any]) -> SharedMemory:
    places: list[list[Any]] = []
    bodies: list[bytes] = []
    offset = 0
    for item in items:
        kind, body = _packed(item)
        room = _rounded(len(body))
        places.append([kind, offset, room])
        bodies.append(body.ljust(room, b"\0"))
        offset += room
    header = _header(places)
    begin = 8 + _rounded(len(header))
    block = SharedMemory(client, create=True, size=begin + offset)
    whole = _length.pack(len(header)) + header.ljust(begin - 8, b"\0") + b"".join(bodies)
    block.buf[:] = whole
    return block


def _rounded(size: int) -> int:
    return -(-size // 8) * 8


def _open_block(socket: str, name: str) -> SharedMemory:
    from entrepot.vineyard.core.connection import connect

    return SharedMemory(connect(socket), name)


def _open_list(socket: str, name: str) -> ShareableList:
    from entrepot.vineyard.core.connection import connect

    return ShareableList(connect(socket), name=name)
