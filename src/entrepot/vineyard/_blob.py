"""Blobs: consecutive bytes in shared memory, read-only once they are sealed.

They are numpy arrays of signed bytes: a class that lends its bytes to others (the buffer
protocol) must be one that is written in C.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from entrepot.vineyard._errors import (
    AssertionFailedException,
    InvalidException,
    ObjectNotExistsException,
    ObjectSealedException,
)
from entrepot.vineyard._ids import EMPTY_BLOB, ObjectID
from entrepot.vineyard._meta import Object, ObjectBuilder, ObjectMeta, blob_meta

if TYPE_CHECKING:
    from entrepot.layers.objects.assembly import BlobDraft
    from entrepot.vineyard._store import Store

__all__ = ["Blob", "BlobBuilder", "RemoteBlob", "RemoteBlobBuilder", "memory_copy"]

_Bytes = np.ndarray[Any, np.dtype[np.int8]]


class _BlobBytes(np.ndarray):
    """What blobs and their builders have in common."""

    def __eq__(self, other: object) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] an identity, not bytes
        return self is other

    def __ne__(self, other: object) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] vineyard's, not numpy's
        return self is not other

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride] an identity can be hashed
        return object.__hash__(self)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: Any) -> Any:
        found = self.view(np.ndarray)[key]  # a part is an array, and not this blob
        return found.item() if isinstance(found, np.generic) else found

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = array.view(np.ndarray)
        return plain[()] if return_scalar or not plain.ndim else plain

    @property
    def address(self) -> int:
        """The address of the first byte in this process."""
        return self.ctypes.data

    @property
    def buffer(self) -> Any:
        """The bytes as a pyarrow Buffer, without a copy."""
        pyarrow: Any = importlib.import_module("pyarrow")  # an extra
        return pyarrow.py_buffer(memoryview(cast("Any", self)))


class Blob(_BlobBytes, Object):
    """Consecutive bytes in shared memory, read-only. Lends them by the buffer protocol."""

    _meta: ObjectMeta
    """None, if this was copied from a blob: it is an array then, with no id."""

    def __new__(cls) -> Blob:
        raise TypeError("a Blob comes from a client: get_blob(), or by sealing a BlobBuilder")

    def __array_finalize__(self, origin: object) -> None:
        self._meta = None  # pyright: ignore[reportAttributeAccessIssue] only `blob_of` makes a blob

    @property
    def id(self) -> ObjectID:
        """The id of this blob."""
        return self._meta.id

    @property
    def is_empty(self) -> bool:
        """Whether this blob has no bytes."""
        return self.size == 0

    @property
    def islocal(self) -> bool:
        """Whether this blob is in the memory of this machine."""
        return True

    @staticmethod
    def empty(client: Any = None) -> Blob:
        """Return the blob that has no bytes."""
        if client is None:
            from entrepot.vineyard.core.client import default_client

            client = default_client()
        return client.create_empty_blob()

    def __repr__(self) -> str:
        return f'Object <"{self.id!r}": vineyard::Blob>'

    __str__ = __repr__

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (self.tobytes(),)


def blob_of(meta: ObjectMeta) -> Blob:
    """Return the blob of metadata that a client returned."""
    view = meta._bytes  # pyright: ignore[reportPrivateUsage] of the same family
    if view is None:
        view = meta._store.bytes_of(int(meta.id))  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess] of the same family
    flat: _Bytes = np.frombuffer(view, np.int8) if len(view) else np.empty(0, np.int8)
    blob = flat.view(Blob)
    blob._meta = meta  # pyright: ignore[reportPrivateUsage] of the same family
    blob.flags.writeable = False
    return blob


def empty_blob(store: Store) -> Blob:
    """Return the blob that has no bytes."""
    return blob_of(blob_meta(EMPTY_BLOB, memoryview(b""), 0, store, length=0))


class BlobBuilder(_BlobBytes, ObjectBuilder):
    """Bytes in shared memory that become a blob when they are sealed.

    Made by `create_blob`. Until it is sealed nobody else sees it; if it is dropped, aborted,
    or its process dies, its memory is free again.
    """

    _store: Store
    _draft: BlobDraft | None
    _number: int
    _state: str
    _kept: int

    def __new__(cls) -> BlobBuilder:
        raise TypeError("a BlobBuilder comes from a client: create_blob()")

    def __array_finalize__(self, origin: object) -> None:
        self._store = getattr(origin, "_store", None)  # pyright: ignore[reportAttributeAccessIssue] None for a part
        self._draft = None
        self._number = getattr(origin, "_number", EMPTY_BLOB)
        self._state = "part"
        self._kept = self.shape[0] if self.ndim else 1

    @classmethod
    def made(cls, store: Store, draft: BlobDraft | None) -> BlobBuilder:
        """Return the builder of a blob that a store has room for."""
        flat: _Bytes = (
            np.empty(0, np.int8) if draft is None else np.frombuffer(draft.memory, np.int8)
        )
        builder = flat.view(cls)
        builder._store, builder._draft = store, draft
        builder._number = EMPTY_BLOB if draft is None else draft.id
        builder._kept = len(flat)
        builder._state = "open"
        return builder

    def __del__(self) -> None:
        if self._state == "open" and self._draft is not None:
            self._store.forget_blob(self._draft)

    @property
    def id(self) -> ObjectID:
        """The id that the blob will have."""
        return ObjectID(self._number)

    @property
    def issealed(self) -> bool:
        """Whether it was sealed."""
        return self._state == "sealed"

    def seal(self, client: Any = None) -> Blob:
        """Make the bytes a blob that everybody can see, and nobody can change.

        Raises:
            AssertionFailedException: It was sealed before.
            ObjectNotExistsException: It was aborted.
        """
        if self._state == "sealed":
            raise AssertionFailedException("the blob builder has been already sealed")
        self._check_open()
        if self._draft is not None and self.size:
            self._store.seal_blob(self._draft)
        elif self._draft is not None:  # shrunk to nothing
            self._store.drop_blob(self._draft)
        self._draft = None
        self._state = "sealed"
        self.flags.writeable = False
        if not self.size:
            return empty_blob(self._store)
        meta = self._store.fetch_one(self._number)
        return blob_of(meta)

    def abort(self, client: Any = None) -> None:
        """Give the memory back.

        Raises:
            ObjectSealedException: It was sealed before.
            ObjectNotExistsException: It was aborted before.
        """
        if self._state == "sealed":
            raise ObjectSealedException("Cannot abort a sealed buffer")
        self._check_open()
        self._state = "aborted"
        self.flags.writeable = False
        if self._draft is not None:
            draft, self._draft = self._draft, None
            self._store.drop_blob(draft)

    def shrink(self, client: Any = None, size: int | None = None) -> None:
        """Keep only the first `size` bytes.

        Raises:
            InvalidException: It has fewer bytes than that.
            ObjectSealedException: It was sealed before.
        """
        if size is None:
            client, size = None, client
        if self._state == "sealed":
            raise ObjectSealedException("Cannot shrink a sealed buffer")
        self._check_open()
        kept = int(cast("int", size))
        if not 0 <= kept <= self.size:
            raise InvalidException(f"a blob of {self.size} bytes cannot be shrunk to {kept}")
        if self._draft is not None:
            self._store.shrink_blob(self._draft, kept)
        self._kept = kept

    @property
    def size(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] numpy's cannot shrink
        """How many bytes the blob will have."""
        return self._kept

    @property
    def nbytes(self) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] vineyard's, not numpy's
        """How many bytes the blob will have."""
        return self._kept

    def __len__(self) -> int:
        return self._kept

    def copy(  # pyright: ignore[reportIncompatibleMethodOverride] vineyard's copy, not numpy's
        self, offset: int, ptr: Any, size: int | None = None, concurrency: int = 1
    ) -> None:
        """Copy bytes into the blob: an address and a size, or an object with a buffer.

        Raises:
            AssertionFailedException: They do not fit, or do not lie in one piece.
            ObjectSealedException: It was sealed before.
            TypeError: `offset` is negative, or `ptr` is a str.
        """
        if self._state == "sealed":
            raise ObjectSealedException("Cannot write into a sealed buffer")
        self._check_open()
        memory_copy(self, ptr, offset, size)

    def _check_open(self) -> None:
        if self._state == "aborted":
            raise ObjectNotExistsException(f"the blob builder {self.id!r} was aborted")

    def __repr__(self) -> str:
        return f"BlobBuilder <{self.id!r}: {self.size} bytes, {self._state}>"

    __str__ = __repr__


class RemoteBlob(_BlobBytes):
    """A private copy of a blob of another machine, read-only."""

    _meta: ObjectMeta

    def __new__(cls) -> RemoteBlob:
        raise TypeError("a RemoteBlob comes from a client: get_remote_blob()")

    def __array_finalize__(self, origin: object) -> None:
        self._meta = getattr(origin, "_meta", None)  # pyright: ignore[reportAttributeAccessIssue] None for a part

    @classmethod
    def made(cls, meta: ObjectMeta, body: bytes | memoryview) -> RemoteBlob:
        """Return the copy of a blob."""
        flat: _Bytes = np.frombuffer(body, np.int8) if len(body) else np.empty(0, np.int8)
        blob = flat.view(cls)
        blob._meta = meta
        blob.flags.writeable = False
        return blob

    @property
    def id(self) -> ObjectID:
        """The id of the blob."""
        return self._meta.id

    @property
    def instance_id(self) -> int:
        """Where the blob is."""
        return self._meta.instance_id

    @property
    def allocated_size(self) -> int:
        """How many bytes it has."""
        return self.size

    @property
    def is_empty(self) -> bool:
        """Whether it has no bytes."""
        return self.size == 0

    def __repr__(self) -> str:
        return f"RemoteBlob <{self.id!r}: {self.size} bytes>"

    __str__ = __repr__


class RemoteBlobBuilder(_BlobBytes):
    """Bytes in this process that `create_remote_blob` makes a blob of another machine.

    Args:
        size: How many bytes.
    """

    def __new__(cls, size: int) -> RemoteBlobBuilder:
        return np.zeros(int(size), np.int8).view(cls)

    @classmethod
    def make(cls, size: int) -> RemoteBlobBuilder:
        """Return a builder of so many bytes."""
        return cls(size)

    @classmethod
    def wrap(cls, body: Any) -> RemoteBlobBuilder:
        """Return a builder of these bytes, without a copy."""
        return np.frombuffer(memoryview(body), np.int8).view(cls)

    def copy(  # pyright: ignore[reportIncompatibleMethodOverride] vineyard's copy, not numpy's
        self, offset: int, ptr: Any, size: int | None = None, concurrency: int = 1
    ) -> None:
        """Copy bytes into it; see `BlobBuilder.copy`."""
        memory_copy(self, ptr, offset, size)

    def abort(self) -> None:
        """Forget the bytes."""


def memory_copy(
    dst: Any, src: Any, offset: int = 0, size: int | None = None, concurrency: int = 1
) -> None:
    """Copy bytes from one object with a buffer into another.

    Args:
        dst: What is written into.
        src: Where the bytes are; or an address, with `size`.
        offset: Where in `dst` they go.
        size: With an address: how many.
        concurrency: Not used: as many threads are used as help.

    Raises:
        AssertionFailedException: They do not fit, or do not lie in one piece.
        TypeError: `dst` is read-only, `offset` negative or no number, `src` a str.
    """
    from entrepot.arena.region import copy_into, memory_at

    if isinstance(offset, bool) or not isinstance(offset, (int, np.integer)) or offset < 0:  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeError(f"offset is {offset!r}, it must be 0 or more")
    offset, size = int(offset), None if size is None else int(size)
    target = memoryview(dst)
    if target.readonly:
        raise TypeError("the target cannot be written: it is sealed or read-only")
    if isinstance(src, (int, np.integer)):
        if size is None:
            raise TypeError("an address needs a size")
        if offset + size > target.nbytes:
            raise _too_long(target.nbytes, offset, size)
        source = memory_at(int(cast("int", src)), size)
    else:
        source = memoryview(src)
    if not source.contiguous or not target.contiguous:
        raise AssertionFailedException("the bytes do not lie in one piece")
    source, target = source.cast("B"), target.cast("B")
    if offset + len(source) > len(target):
        raise _too_long(len(target), offset, len(source))
    if len(source):
        copy_into(target[offset : offset + len(source)], source)


def _too_long(room: int, offset: int, size: int) -> Exception:
    return AssertionFailedException(
        f"Expect a source buffer with size at most '{room - offset}', "
        f"but the buffer size is '{size}'"
    )
