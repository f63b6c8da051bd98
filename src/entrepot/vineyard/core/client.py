"""Clients: what programs call."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, cast

import numpy as np

from entrepot.vineyard._blob import (
    Blob,
    BlobBuilder,
    RemoteBlob,
    RemoteBlobBuilder,
    blob_of,
    empty_blob,
)
from entrepot.vineyard._errors import (
    ConnectionErrorException,
    ObjectNotExistsException,
    ObjectNotSealedException,
    UserInputErrorException,
)
from entrepot.vineyard._ids import BLOB_BIT, EMPTY_BLOB, ObjectID, ObjectName
from entrepot.vineyard._local import NOT_WHOLE, LocalStore
from entrepot.vineyard._meta import NewBlob, Object, ObjectMeta
from entrepot.vineyard._store import Status, Store
from entrepot.vineyard.core.context import (
    accepted,
    current_builder,
    current_driver,
    current_resolver,
)

__all__ = ["Client", "ClientBase", "IPCClient", "InstanceStatus", "RPCClient", "default_client"]

_UNKNOWN_INSTANCE = (1 << 64) - 2


class InstanceStatus:
    """How an instance is doing. Made by `client.status`."""

    __slots__ = ("_status",)
    _status: Status
    _NAMES = (
        "instance_id",
        "deployment",
        "memory_usage",
        "memory_limit",
        "deferred_requests",
        "ipc_connections",
        "rpc_connections",
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("an InstanceStatus comes from client.status")

    @classmethod
    def made(cls, status: Status) -> InstanceStatus:
        """Return the status of a store."""
        shown = object.__new__(cls)
        object.__setattr__(shown, "_status", status)
        return shown

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a status cannot be changed: {name!r}")

    @property
    def instance_id(self) -> int:
        """The instance that the client is connected to."""
        return self._status.instance_id

    @property
    def deployment(self) -> str:
        """`local` or `distributed`."""
        return self._status.deployment

    @property
    def memory_usage(self) -> int:
        """Bytes of memory in use."""
        return self._status.memory_usage

    @property
    def memory_limit(self) -> int:
        """Bytes of memory that there are."""
        return self._status.memory_limit

    @property
    def deferred_requests(self) -> int:
        """How many requests wait."""
        return self._status.deferred_requests

    @property
    def ipc_connections(self) -> int:
        """How many clients of this machine there are."""
        return self._status.ipc_connections

    @property
    def rpc_connections(self) -> int:
        """How many clients over the network there are."""
        return self._status.rpc_connections

    def __str__(self) -> str:
        lines = [f"    {name}: {getattr(self, name)}" for name in self._NAMES]
        return "\n".join(["InstanceStatus:", *lines])

    def __repr__(self) -> str:
        lines = [f"    {name}: {getattr(self, name)!r}," for name in self._NAMES]
        return "\n".join(["InstanceStatus {", *lines, "}"])


class ClientBase:
    """What all clients can do. May be used by several threads, and by forked children."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.timeout_seconds = 300
        self.compression = True
        self.spread = False

    # Values.

    def put(
        self,
        value: Any,
        builder: Any = None,
        persist: bool = False,
        name: str | ObjectName | None = None,
        **kwargs: Any,
    ) -> Any:
        """Store a value; return its id.

        Args:
            value: Anything: numpy, pandas, Arrow, scipy and plain Python data in vineyard's
                forms, the rest pickled.
            builder: `builder(client, value, **kwargs)`, instead of the current builders; what
                it returns is returned as it is.
            persist: Make it visible to all instances.
            name: With `persist`, give it this name.
            kwargs: Passed to the builder.

        Raises:
            NotEnoughMemoryException: There is no room.
            RuntimeError: No builder knows the type.
        """
        if builder is not None:
            return builder(self, value, **kwargs)
        context = current_builder()
        store = self._store
        made: Any
        if store.is_local and not kwargs:
            known = context.find(cast("type[Any]", type(value)))
            whole = getattr(known, "whole", None)
            if whole is not None and context.is_built_in(known) and whole(value):
                return self._named(ObjectID(cast("LocalStore", store).put(value)), persist, name)
        made = context.plan(self, value, **kwargs)
        if isinstance(made, NewBlob):
            id = ObjectID(store.build([made])[0] if made.nbytes else EMPTY_BLOB)
        elif isinstance(made, ObjectMeta):
            if not made.is_stored():
                self.build([made])
            id = made.id
        elif isinstance(made, ObjectID):
            id = made
        else:
            return made
        return self._named(id, persist, name)

    def _named(self, id: ObjectID, persist: bool, name: str | ObjectName | None) -> ObjectID:
        if persist:
            self.persist(id)
            if name is not None:
                self.put_name(id, name)
        elif name is not None:
            warnings.warn(
                "The object is not persisted, the name won't be associated: pass persist=True",
                UserWarning,
                stacklevel=3,
            )
        return id

    def get(
        self,
        object_id: ObjectID | int | str | None = None,
        name: Any = None,
        resolver: Any = None,
        fetch: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Return the value of an object. What lies in shared memory is read-only, not copied.

        Args:
            object_id: Its id.
            name: Instead, its name. A resolver may stand here, too, as in vineyard's document.
            resolver: `resolver(object, **kwargs)`, instead of the current resolvers.
            fetch: Make a local copy of an object of another instance.
            kwargs: Passed to the resolver.

        Raises:
            ObjectNotExistsException: There is no such object, or name.
            RuntimeError: The resolver failed; its exception is the cause.
        """
        if callable(name):
            name, resolver = None, name
        if object_id is None:
            if name is None:
                raise TypeError("get() needs an object id or a name")
            object_id = self.get_name(name)
        number = _as_number(object_id)
        store = self._store
        context, drivers = current_resolver(), current_driver()
        is_plain = resolver is None and context.is_pristine and drivers.is_pristine
        if is_plain and isinstance(store, LocalStore):
            value = store.load(number)
            if value is not NOT_WHOLE:
                return value
        if fetch:
            number = store.migrate(number)
        obj = Object.from_(store.fetch_one(number))
        if resolver is not None:
            return resolver(obj, **accepted(resolver, {"__vineyard_client": self}), **kwargs)
        value = context.run(obj, __vineyard_client=self, **kwargs)
        return value if drivers.is_pristine else drivers.resolve(value, obj.meta.typename)

    # Metadata.

    def build(self, parts: Sequence[ObjectMeta | NewBlob]) -> list[int]:
        """Store metadata and blobs with all that is new in them: for builders."""
        for part in parts:
            if isinstance(part, ObjectMeta):
                part.check()
        return self._store.build(parts)

    def fetch_meta(self, number: int) -> ObjectMeta:
        """Return the metadata of an object by its number: for builders."""
        return self._store.fetch_one(number)

    def create_metadata(self, metadata: Any, instance_id: int | None = None) -> Any:
        """Store objects that metadata describe; fill in and return the same metadata.

        Raises:
            MetaTreeInvalidException: It has no typename.
            MetaTreeSubtreeNotExistsException: A member does not exist.
        """
        if isinstance(metadata, ObjectMeta):
            self._create([metadata])
        else:
            self._create(list(metadata))
        return metadata

    def _create(self, metas: list[ObjectMeta]) -> None:
        for meta in metas:
            if meta.is_stored():  # stored again, it becomes another object
                meta.reset_key("id")
        self.build(metas)

    def get_meta(self, object_id: ObjectID, sync_remote: bool = True) -> ObjectMeta:
        """Return the metadata of an object.

        Raises:
            ObjectNotExistsException: There is no such object.
        """
        return self._store.fetch_one(_as_id(object_id))

    def get_metas(
        self, object_ids: Iterable[ObjectID], sync_remote: bool = True
    ) -> list[ObjectMeta]:
        """Return the metadata of several objects; see `get_meta`."""
        numbers = [_as_id(id) for id in object_ids]
        found = self._store.fetch(numbers, sync_remote=sync_remote)
        for number in numbers:
            if number not in found:
                raise ObjectNotExistsException(
                    f"failed to get metadata for 'o{number:016x}': no such object"
                )
        return [found[number] for number in numbers]

    def get_object(
        self, object_id: ObjectID, sync_remote: bool = True, fetch: bool = False
    ) -> Object:
        """Return an object.

        Raises:
            ObjectNotExistsException: There is no such object.
        """
        number = _as_id(object_id)
        return Object.from_(self._store.fetch_one(self._store.migrate(number) if fetch else number))

    def get_objects(self, object_ids: Iterable[ObjectID], sync_remote: bool = True) -> list[Object]:
        """Return several objects; see `get_object`."""
        return [Object.from_(meta) for meta in self.get_metas(object_ids, sync_remote)]

    def list_metadatas(
        self, pattern: str, regex: bool = False, limit: int = 5, nobuffer: bool = False
    ) -> list[ObjectMeta]:
        """Return the metadata of objects whose type name matches; see `list_objects`."""
        return self._store.list_metas(pattern, regex=regex, limit=limit, buffers=not nobuffer)

    def list_objects(self, pattern: str, regex: bool = False, limit: int = 5) -> list[Object]:
        """Return objects whose type name matches a glob, or with `regex` an expression.

        Args:
            pattern: For the whole type name.
            regex: It is a regular expression.
            limit: Most objects to return: 5 unless told otherwise.
        """
        return [Object.from_(meta) for meta in self.list_metadatas(pattern, regex, limit)]

    def exists(self, object_id: ObjectID) -> bool:
        """Tell whether there is such an object."""
        return self._store.exists(_as_id(object_id))

    def delete(
        self,
        object: Any = None,
        force: bool = False,
        deep: bool = True,
        memory_trim: bool = False,
        *,
        object_id: Any = None,
    ) -> None:
        """Delete one object or several. What does not exist is passed over.

        Values that were got stay as they are while they live.

        Args:
            object: An id, an object, its metadata, or a list of them.
            force: Delete a member of other objects too, and these with it. Without, it stays.
            deep: Delete members too that nothing else needs; blobs always go.
            memory_trim: Return free memory to the system.
            object_id: Another name of `object`.
        """
        given = object if object_id is None else object_id
        items: list[Any] = list(given) if isinstance(given, (list, tuple, set)) else [given]  # pyright: ignore[reportUnknownArgumentType] what a user gave
        numbers = [_as_target(item) for item in items]
        self._store.delete(numbers, force=force, deep=deep, trim=memory_trim)

    def persist(self, object: Any = None, *, object_id: Any = None) -> None:
        """Make an object, with all that it is made of, visible to all instances.

        Args:
            object: An id, an object or its metadata.
            object_id: Another name of `object`.

        Raises:
            MetaTreeSubtreeNotExistsException: There is no such object.
        """
        self._store.persist(_as_target(object if object_id is None else object_id))

    def shallow_copy(
        self, object_id: ObjectID, extra_metadata: Mapping[str, Any] | None = None
    ) -> ObjectID:
        """Store an object again under a new id, with the same members and blobs.

        Raises:
            MetaTreeSubtreeNotExistsException: There is no such object.
        """
        return ObjectID(self._store.shallow_copy(_as_id(object_id), extra_metadata or {}))

    def label(self, object_id: ObjectID, key: Any, value: str | None = None) -> None:
        """Give an object a label, or a dict of them."""
        labels = (
            {str(k): str(v) for k, v in cast("Mapping[Any, Any]", key).items()}
            if isinstance(key, Mapping)
            else {str(key): str(value)}
        )
        self._store.label(_as_id(object_id), labels)

    def migrate(self, object_id: ObjectID) -> ObjectID:
        """Return the id of a local copy; of a local object, its own."""
        return ObjectID(self._store.migrate(_as_id(object_id)))

    def clear(self) -> None:
        """Delete everything, of everybody."""
        self._store.clear()

    def reset(self) -> None:
        """Forget what this client keeps by itself: nothing that others see."""

    def memory_trim(self) -> bool:
        """Return free memory to the system; tell whether there was any."""
        return self._store.trim()

    def sync_meta(self) -> None:
        """See what others have done: in a depot everybody sees it at once."""
        self._store.exists(0)

    def evict(self, objects: Iterable[ObjectID]) -> None:
        """Write objects to disk: not needed, memory is bounded by the depot's setting."""
        for id in objects:
            self._checked(id)

    load = unpin = evict

    def _checked(self, id: ObjectID) -> None:
        if not self._store.exists(_as_id(id)):
            raise ObjectNotExistsException(f"there is no object {id!r}")

    def debug(self, debug: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what the instance tells of its insides."""
        return {"status": str(self.status)}

    # Names.

    def put_name(
        self, object: Any = None, name: str | ObjectName | None = None, *, object_id: Any = None
    ) -> None:
        """Give a persisted object a name; a name that was given before moves.

        Args:
            object: An id, an object or its metadata.
            name: The name.
            object_id: Another name of `object`.

        Raises:
            InvalidException: It was not persisted.
            ObjectNotExistsException: There is no such object.
        """
        self._store.put_name(_as_target(object if object_id is None else object_id), _as_name(name))

    def get_name(self, name: str | ObjectName, wait: bool = False) -> ObjectID:
        """Return the id that a name stands for.

        Args:
            name: The name.
            wait: Wait until somebody gives it. Ctrl-C ends the wait.

        Raises:
            ObjectNotExistsException: Nobody gave it.
        """
        return ObjectID(self._store.get_name(_as_name(name), wait=wait))

    def drop_name(self, name: str | ObjectName) -> None:
        """Forget a name; the object stays."""
        self._store.drop_name(_as_name(name))

    def list_names(self, pattern: str, regex: bool = False, limit: int = 5) -> dict[str, ObjectID]:
        """Return names that match, with their ids."""
        found = self._store.list_names(pattern, regex=regex, limit=limit)
        return {name: ObjectID(number) for name, number in found.items()}

    # Streams.

    def create_stream(self, id: ObjectID) -> None:
        """Make a stream of chunks with the id of an object.

        Raises:
            ObjectExistsException: There is one.
        """
        self._store.create_stream(_as_id(id))

    def open_stream(self, id: ObjectID, mode: str) -> None:
        """Open a stream for reading (`r`) or writing (`w`): each once.

        Raises:
            AssertionFailedException: There is no such mode.
            StreamOpenedException: Somebody did before.
            ObjectNotExistsException: There is no such stream.
        """
        self._store.open_stream(_as_id(id), mode)

    def push_chunk(self, stream_id: ObjectID, chunk: ObjectID) -> None:
        """Append an object or blob to a stream."""
        self._store.push_chunk(_as_id(stream_id), _as_id(chunk))

    def next_chunk_id(self, stream_id: ObjectID) -> ObjectID:
        """Wait for the next chunk of a stream; return its id.

        Raises:
            StreamDrainedException: There is no more.
            StreamFailedException: Its writer failed.
        """
        return ObjectID(self._store.pull_chunk(_as_id(stream_id)))

    def next_chunk_meta(self, stream_id: ObjectID) -> ObjectMeta:
        """Wait for the next chunk of a stream; return its metadata."""
        return self._store.fetch_one(int(self.next_chunk_id(stream_id)))

    def next_chunk(self, stream_id: ObjectID) -> Object:
        """Wait for the next chunk of a stream; return the object."""
        return Object.from_(self.next_chunk_meta(stream_id))

    def stop_stream(self, stream_id: ObjectID, failed: bool = False) -> None:
        """Say that a stream has ended, or failed."""
        self._store.stop_stream(_as_id(stream_id), failed=failed)

    def drop_stream(self, stream_id: ObjectID) -> None:
        """Remove a stream with the chunks that nobody read."""
        self._store.drop_stream(_as_id(stream_id))

    # The instance.

    @property
    def instance_id(self) -> int:
        """The instance that this client is connected to."""
        return self._store.instance_id

    @property
    def version(self) -> str:
        """The version of vineyard that the instance speaks."""
        return self._store.version

    @property
    def connected(self) -> bool:
        """Whether this client can be used."""
        return self._store.connected

    @property
    def meta(self) -> dict[int, dict[str, Any]]:
        """What is known of the instances of the cluster, by number."""
        return self._store.cluster()

    @property
    def status(self) -> InstanceStatus:
        """How the instance is doing."""
        return InstanceStatus.made(self._store.status())

    @property
    def is_ipc(self) -> bool:
        """Whether this client looks into the memory of its machine."""
        return self._store.is_local

    @property
    def is_rpc(self) -> bool:
        """Whether this client goes over the network."""
        return not self._store.is_local

    @property
    def ipc_socket(self) -> str:
        """The socket, or `depot:` and the name of the depot."""
        return self._store.cluster()[self._store.instance_id]["ipc_socket"]

    @property
    def rpc_endpoint(self) -> str:
        """Where the instance listens: host and port."""
        return self._store.cluster()[self._store.instance_id]["rpc_endpoint"]

    @contextlib.contextmanager
    def with_compression(self, enabled: bool = True) -> Generator[None]:
        """Compress what goes over the network for the block, or do not."""
        before, self.compression = self.compression, enabled
        try:
            yield
        finally:
            self.compression = before

    @contextlib.contextmanager
    def with_spread(self, enabled: bool = True) -> Generator[None]:
        """Put to any instance for the block."""
        before, self.spread = self.spread, enabled
        try:
            yield
        finally:
            self.spread = before

    def close(self) -> None:
        """Let go of the instance; may be repeated. Other clients stay connected."""
        self._store.close()

    def fork(self) -> Any:
        """Return another client of the same instance."""
        return type(self)(self._store.fork())

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "" if self.connected else " closed"
        return f"<{type(self).__name__} {self._store.endpoint}{state}>"


class _BlobCalls(ClientBase):
    """Calls on blobs in shared memory."""

    def create_blob(self, size: int | Sequence[int]) -> Any:
        """Take room for a blob, or for several; return the builder, or a list of them.

        Raises:
            NotEnoughMemoryException: There is no room.
        """
        if isinstance(size, Sequence):
            return [self._create_blob(one) for one in size]
        return self._create_blob(size)

    def _create_blob(self, size: int) -> BlobBuilder:
        return BlobBuilder.made(self._store, self._store.begin_blob(_as_size(size)))

    def create_empty_blob(self) -> Blob:
        """Return the blob that has no bytes."""
        return empty_blob(self._store)

    def get_blob(self, object_id: ObjectID, unsafe: bool = False) -> Blob | None:
        """Return a blob; None if there is no such blob.

        Args:
            object_id: Its id.
            unsafe: Also one that this process has not sealed yet.

        Raises:
            ObjectNotSealedException: It is not sealed, and `unsafe` is not set.
        """
        number = _as_id(object_id)
        if number == EMPTY_BLOB:
            return self.create_empty_blob()
        memory = self._store.unsealed(number)
        if memory is not None:
            if not unsafe:
                raise ObjectNotSealedException(f"Failed to get blob with id {object_id!r}")
            from entrepot.vineyard._meta import blob_meta

            return blob_of(blob_meta(number, memory.toreadonly(), len(memory), self._store))
        if not number & BLOB_BIT:
            return None
        meta = self._store.fetch([number]).get(number)
        return None if meta is None else blob_of(meta)

    def get_blobs(self, object_ids: Iterable[ObjectID], unsafe: bool = False) -> list[Blob | None]:
        """Return several blobs; see `get_blob`."""
        return [self.get_blob(id, unsafe) for id in object_ids]

    def allocated_size(self, target: Any) -> int:
        """Return how many bytes the blobs of an object have."""
        return self._store.fetch_one(_as_target(target)).memory_usage

    def find_shared_memory(self, target: Any) -> ObjectID | None:
        """Return the blob that an address, or the memory of an array or buffer, lies in."""
        assert isinstance(self._store, LocalStore)
        number = self._store.blob_around(_address(target))
        return None if number is None else ObjectID(number)

    def is_shared_memory(self, target: Any) -> bool:
        """Tell whether an address, or the memory of an array or buffer, lies in a blob."""
        return self.find_shared_memory(target) is not None

    def new_buffer_chunk(self, stream_id: ObjectID, size: int) -> memoryview:
        """Return a chunk of `size` bytes to write into, all 0. Wait until there is room for it.

        It is handed over by the next call, or by `stop_stream`.

        Raises:
            InvalidStreamStateException: The stream has ended, or its reader is gone.
            NotEnoughMemoryException: There is no room, and nothing that a reader could free.
        """
        assert isinstance(self._store, LocalStore)
        chunk = self._store.begin_chunk(_as_id(stream_id), _as_size(size))
        if size:
            np.frombuffer(chunk, np.uint8).fill(0)
        return chunk

    def next_buffer_chunk(self, stream_id: ObjectID) -> Any:
        """Wait for the next chunk of a stream; return its bytes, read-only; they stay."""
        return memoryview(cast("Any", self.next_chunk(stream_id))).cast("B")


class _IsIpc(type):
    """Lets a client of both kinds pass for what it has."""

    def __instancecheck__(cls, instance: object) -> bool:
        if isinstance(instance, Client) and cls.__name__ == "IPCClient":
            return instance.has_ipc_client()
        if isinstance(instance, Client) and cls.__name__ == "RPCClient":
            return instance.has_rpc_client() and not instance.has_ipc_client()
        return type.__instancecheck__(cls, instance)


class IPCClient(_BlobCalls, metaclass=_IsIpc):
    """A client of a depot of this machine: it looks into the same memory."""


class RPCClient(ClientBase, metaclass=_IsIpc):
    """A client of an instance behind a TCP port. What it gets are private copies."""

    @property
    def instance_id(self) -> int:
        """The instance of this client: none."""
        return _UNKNOWN_INSTANCE

    @property
    def remote_instance_id(self) -> int:
        """The instance that this client is connected to."""
        return self._store.instance_id

    @property
    def rdma_endpoint(self) -> str:
        """Empty: there is no RDMA."""
        return ""

    @property
    def is_fetchable(self) -> bool:
        """Whether objects of other instances can be fetched."""
        return True

    @property
    def rpc_endpoint(self) -> str:
        """What this client is connected to: host and port."""
        return self._store.endpoint

    def create_remote_blob(self, blob: Any) -> Any:
        """Store the bytes of a `RemoteBlobBuilder`, or of several; return their metadata."""
        if isinstance(blob, (list, tuple)):
            return [self._create_remote_blob(one) for one in cast("list[Any]", blob)]
        return self._create_remote_blob(blob)

    def _create_remote_blob(self, blob: RemoteBlobBuilder) -> ObjectMeta:
        number = self._store.build([NewBlob([memoryview(cast("Any", blob)).cast("B")])])[0]
        return self._store.fetch_one(number)

    def get_remote_blob(self, object_id: ObjectID, unsafe: bool = False) -> RemoteBlob:
        """Return a copy of a blob.

        Raises:
            ObjectNotExistsException: There is no such blob.
        """
        number = _as_id(object_id)
        meta = self._store.fetch_one(number)
        return RemoteBlob.made(meta, self._store.bytes_of(number))

    def get_remote_blobs(
        self, object_ids: Iterable[ObjectID], unsafe: bool = False
    ) -> list[RemoteBlob]:
        """Return copies of several blobs."""
        return [self.get_remote_blob(id, unsafe) for id in object_ids]


class Client(_BlobCalls):
    """A client of an instance, by its memory where that can be had, else over the network."""

    def __init__(self, ipc: IPCClient | None = None, rpc: RPCClient | None = None) -> None:
        first = ipc if ipc is not None else rpc
        if first is None:
            raise ConnectionErrorException("a client needs a socket or an endpoint")
        super().__init__(first._store)  # pyright: ignore[reportPrivateUsage] of the same family
        self._ipc = ipc
        self._rpc = rpc

    @property
    def ipc_client(self) -> IPCClient:
        """The client that looks into the memory.

        Raises:
            AssertionError: There is none.
        """
        if self._ipc is None:
            raise AssertionError("IPC client is not available.")
        return self._ipc

    @property
    def rpc_client(self) -> RPCClient:
        """The client that goes over the network.

        Raises:
            AssertionError: There is none.
        """
        if self._rpc is None:
            raise AssertionError("RPC client is not available.")
        return self._rpc

    @property
    def remote_instance_id(self) -> int:
        """The instance that the client goes to over the network; see `RPCClient`."""
        return self.rpc_client.remote_instance_id

    @property
    def rdma_endpoint(self) -> str:
        """Empty: there is no RDMA."""
        return ""

    def has_ipc_client(self) -> bool:
        """Tell whether there is a client that looks into the memory."""
        return self._ipc is not None

    def has_rpc_client(self) -> bool:
        """Tell whether there is a client that goes over the network."""
        return self._rpc is not None

    def default_client(self) -> ClientBase:
        """Return the client that looks into the memory, else the other one."""
        return self._ipc if self._ipc is not None else self.rpc_client

    def __getattribute__(self, name: str) -> Any:
        if name in _BLOB_NAMES and object.__getattribute__(self, "_ipc") is None:
            raise AssertionError("IPC client is not available.")
        return super().__getattribute__(name)

    def create_remote_blob(self, blob: Any) -> Any:
        """Store bytes over the network; see `RPCClient.create_remote_blob`."""
        return self.rpc_client.create_remote_blob(blob)

    def get_remote_blob(self, object_id: ObjectID, unsafe: bool = False) -> RemoteBlob:
        """Return a copy of a blob; see `RPCClient.get_remote_blob`."""
        return self.rpc_client.get_remote_blob(object_id, unsafe)

    def get_remote_blobs(
        self, object_ids: Iterable[ObjectID], unsafe: bool = False
    ) -> list[RemoteBlob]:
        """Return copies of several blobs."""
        return self.rpc_client.get_remote_blobs(object_ids, unsafe)

    def close(self) -> None:
        """Let go of the instance; may be repeated. Other clients stay connected."""
        for client in (self._ipc, self._rpc):
            if client is not None:
                client.close()

    def fork(self) -> Client:
        """Return another client of the same instance."""
        ipc = None if self._ipc is None else self._ipc.fork()
        rpc = None if self._rpc is None else self._rpc.fork()
        return Client(ipc, rpc)


_BLOB_NAMES = frozenset(
    (
        "create_blob",
        "allocated_size",
        "find_shared_memory",
        "get_blob",
        "get_blobs",
        "is_shared_memory",
        "new_buffer_chunk",
    )
)

_default: Client | None = None
_default_lock = threading.Lock()


def default_client() -> Client:
    """Return the client of `vineyard.get` and `vineyard.put`, connected when it is first used."""
    global _default
    with _default_lock:
        if _default is None or not _default.connected:
            from entrepot.vineyard.core.connection import connect

            _default = connect()
        return _default


def put(value: Any, builder: Any = None, persist: bool = False, **kwargs: Any) -> Any:
    """Store a value by the default client; see `Client.put`."""
    return default_client().put(value, builder, persist, **kwargs)


def get(object_id: ObjectID | None = None, name: str | None = None, **kwargs: Any) -> Any:
    """Return a value by the default client; see `Client.get`."""
    return default_client().get(object_id, name, **kwargs)


def _as_number(id: Any) -> int:
    if isinstance(id, ObjectID):
        return int(id)
    if isinstance(id, float):
        raise TypeError(f"{id!r} is no object id")
    return int(ObjectID(id))


def _as_id(id: Any) -> int:
    if not isinstance(id, ObjectID):
        raise TypeError(
            f"incompatible function arguments: an ObjectID is wanted, not {id!r}, "
            f"a {type(id).__name__}"
        )
    return int(id)


def _as_target(target: Any) -> int:
    if isinstance(target, (Object, ObjectMeta)):
        return int(target.id)
    return _as_id(target)


def _as_size(size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
        raise TypeError(f"size is {size!r}, it must be 0 or more bytes")
    return int(cast("int", size))


def _as_name(name: Any) -> str:
    if isinstance(name, ObjectName):
        return str(name)
    if not isinstance(name, str):
        raise TypeError(f"incompatible function arguments: a name is a str, not {name!r}")
    return name


def _address(target: Any) -> int:
    if isinstance(target, (int, np.integer)):
        return int(cast("int", target))
    if isinstance(target, np.ndarray):  # also of dates, which give no buffer
        return int(target.ctypes.data)
    try:
        return int(np.frombuffer(memoryview(target), np.uint8).ctypes.data)
    except (TypeError, ValueError) as error:
        raise UserInputErrorException(f"{target!r} has no memory to look at") from error
