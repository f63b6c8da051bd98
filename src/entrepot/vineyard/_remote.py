"""A server behind TCP as a store: ours, or a real vineyardd."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, cast

from entrepot.layers.objects.assembly import BlobDraft
from entrepot.vineyard._errors import (
    AssertionFailedException,
    ConnectionErrorException,
    ConnectionFailedException,
    ObjectNotExistsException,
    VineyardException,
)
from entrepot.vineyard._ids import BLOB_BIT, EMPTY_BLOB, INVALID, ObjectID, number_of, text_id
from entrepot.vineyard._meta import BLOB, NewBlob, ObjectMeta, blob_meta
from entrepot.vineyard._store import Status
from entrepot.vineyard._wire import VERSION, Connection, FrameError

__all__ = ["RemoteStore"]

_PATIENCE_S = 10.0


class RemoteStore:
    """The objects of a server. Implements `Store`. Bytes that are got are private copies."""

    is_local = False

    def __init__(self, host: str, port: int) -> None:
        """Connect.

        Raises:
            ConnectionFailedException: Nobody listens there, or it is no such server.
        """
        self._address = (host, port)
        self.endpoint = f"{host}:{port}"
        self._lock = threading.Lock()
        self._connection, told = self._connect()
        self._pid = os.getpid()
        self._spare: list[Connection] = []
        """Connections for calls that may wait, which none uses just now."""
        self._spare_pid = os.getpid()
        self._is_closed = False
        self.instance_id = int(told["instance_id"])
        self.version = str(told.get("version", "0.0.0"))

    @contextlib.contextmanager
    def _exclusive(self) -> Generator[Connection]:
        """Yield the connection, to this thread alone; in a forked child, one of its own."""
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            self._connection, _ = self._connect()  # what was inherited is the parent's
            self._pid = os.getpid()
        with self._lock:
            yield self._connection

    def _connect(self) -> tuple[Connection, dict[str, Any]]:
        try:
            sock = socket.create_connection(self._address, _PATIENCE_S)
            connection = Connection(sock)
            told = connection.ask(
                {
                    "type": "register_request",
                    "version": VERSION,
                    "store_type": 1,
                    "session_id": 0,
                    "username": "",
                    "password": "",
                },
                "register_reply",
            )
            sock.settimeout(None)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except (OSError, FrameError, VineyardException) as error:
            raise ConnectionFailedException(
                f"Failed to connect to vineyardd: {self.endpoint}: {error}"
            ) from error
        return connection, told

    @property
    def connected(self) -> bool:
        """Whether the server is there."""
        return self._connection.is_open and not self._connection.is_gone()

    def close(self) -> None:
        """Leave the server; may be repeated."""
        self._is_closed = True
        while self._spare and self._spare_pid == os.getpid():
            self._spare.pop().close()
        if self._pid == os.getpid() and self._connection.is_open:
            # Not while another thread waits for its answer: that ends with the connection.
            if self._lock.acquire(blocking=False):
                try:
                    with contextlib.suppress(OSError):
                        self._connection.send({"type": "exit_request"})
                finally:
                    self._lock.release()
            self._connection.close()

    def fork(self) -> RemoteStore:
        """Return another connection to the same server."""
        return RemoteStore(*self._address)

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a command and return the reply."""
        with self._exclusive() as connection:
            return connection.ask({"type": f"{command}_request", **arguments}, f"{command}_reply")

    @contextlib.contextmanager
    def _apart(self) -> Generator[Connection]:
        """Yield a connection for a call that may wait: others go on meanwhile."""
        if self._spare_pid != os.getpid():
            self._spare, self._spare_pid = [], os.getpid()
        connection = self._spare.pop() if self._spare else self._connect()[0]
        try:
            yield connection
        except BaseException as error:
            if not isinstance(error, VineyardException):  # no answer: it is out of step
                connection.close()
            raise
        finally:
            if connection.is_open and not self._is_closed:
                self._spare.append(connection)
            else:
                connection.close()

    # Objects.

    def build(self, parts: Sequence[ObjectMeta | NewBlob]) -> list[int]:
        """Store objects with their new members, and fill in their metadata.

        If one step fails, what was made before it is deleted.
        """
        made: list[int] = []
        try:
            nodes = [self._node(part, made) for part in parts]
        except BaseException:
            if made and self._connection.is_open:
                with contextlib.suppress(VineyardException):
                    self.delete(made[::-1], force=True, deep=False, trim=False)
            raise
        numbers = [number_of(node["id"]) for node in nodes]
        for part, number in zip(parts, numbers, strict=True):
            if isinstance(part, ObjectMeta) and not part.is_stored():
                part.stored(self, number)
        return numbers

    def _node(self, part: Any, made: list[int]) -> dict[str, Any]:
        if isinstance(part, NewBlob):
            return self._blob_node(self._upload(part, made), part.nbytes)
        if isinstance(part, ObjectID):
            number = int(part)
            return self._blob_node(number, 0) if number & BLOB_BIT else {"id": text_id(number)}
        assert isinstance(part, ObjectMeta)
        if part.is_stored():
            return part.tree()
        part.check()
        tree = dict(part.fields())
        tree |= {name: self._node(member, made) for name, member in part.members().items()}
        tree |= {"instance_id": self.instance_id, "transient": True}
        tree.setdefault("nbytes", 0)
        reply = self._ask("create_data", content=tree)
        number = int(reply["id"])
        made.append(number)
        return tree | {"id": text_id(number), "signature": reply["signature"]}

    def _blob_node(self, number: int, size: int) -> dict[str, Any]:
        node = {
            "id": text_id(number),
            "typename": BLOB,
            "instance_id": self.instance_id,
            "length": size,
            "nbytes": size,
            "transient": True,
        }
        return node | {"signature": EMPTY_BLOB} if number == EMPTY_BLOB else node

    def _upload(self, blob: NewBlob, made: list[int]) -> int:
        size = blob.nbytes
        if not size:
            return EMPTY_BLOB
        with self._exclusive() as connection:
            request = {
                "type": "create_remote_buffer_request",
                "size": size,
                "compress": False,
                "use_rdma": False,
            }
            reply = connection.ask(request, "create_buffer_reply")
            made.append(int(reply["id"]))
            try:
                connection.send_bytes(*(buffer.cast("B") for buffer in blob.buffers))
                connection.await_reply("create_buffer_reply")
            except VineyardException:
                raise  # the server's answer: the connection is in step
            except BaseException as error:
                connection.close()
                if isinstance(error, (OSError, FrameError)):
                    raise ConnectionErrorException(f"the server is gone: {error}") from error
                raise
        return int(reply["id"])

    def fetch(
        self, ids: Sequence[int], *, buffers: bool = True, sync_remote: bool = True
    ) -> dict[int, ObjectMeta]:
        """Return the metadata of objects and blobs; those that do not exist are left out."""
        found = {id: self._empty() for id in ids if id == EMPTY_BLOB}
        wanted = [id for id in dict.fromkeys(ids) if id != EMPTY_BLOB]
        if wanted:
            reply = self._ask("get_data", id=wanted, sync_remote=sync_remote, wait=False)
            found |= self._metas(reply["content"], buffers=buffers)
        return {id: found[id] for id in ids if id in found}

    def _metas(self, content: Any, *, buffers: bool) -> dict[int, ObjectMeta]:
        told: dict[str, Any] = content or {}
        trees = {number_of(text): tree for text, tree in told.items()}
        blobs: set[int] = set()
        for tree in trees.values():
            _find_blobs(tree, blobs)
        blobs.discard(EMPTY_BLOB)
        bodies = self._download(sorted(blobs)) if buffers and blobs else {}
        return {number: self._meta(tree, bodies, is_asked=True) for number, tree in trees.items()}

    def _meta(
        self, tree: Mapping[str, Any], bodies: Mapping[int, memoryview], *, is_asked: bool = False
    ) -> ObjectMeta:
        if tree.get("typename") == BLOB:
            number = number_of(tree["id"])
            if number == EMPTY_BLOB:
                return self._empty()
            body = bodies.get(number)
            size = len(body) if body is not None else int(tree.get("length", 0))
            return blob_meta(number, body, size, self, length=size if is_asked else 0)
        plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
        members = {
            key: self._meta(cast("dict[str, Any]", value), bodies)
            for key, value in tree.items()
            if isinstance(value, dict)
        }
        return ObjectMeta.fetched(plain, members, self)

    def _empty(self) -> ObjectMeta:
        return blob_meta(EMPTY_BLOB, memoryview(b""), 0, self, length=0)

    def _download(self, ids: Sequence[int]) -> dict[int, memoryview]:
        request: dict[str, Any] = {
            "type": "get_remote_buffers_request",
            "num": len(ids),
            "unsafe": False,
            "compress": False,
            "use_rdma": False,
        }
        request |= {str(at): id for at, id in enumerate(ids)}
        found: dict[int, memoryview] = {}
        with self._exclusive() as connection:
            reply = connection.ask(request, "get_buffers_reply")
            payloads = reply.get("payloads") or [reply[str(at)] for at in range(reply["num"])]
            try:
                for payload in payloads:
                    body = bytearray(int(payload["data_size"]))
                    connection.receive_bytes(memoryview(body))
                    found[int(payload["object_id"])] = memoryview(body).toreadonly()
            except BaseException as error:
                connection.close()
                if isinstance(error, (OSError, FrameError)):
                    raise ConnectionErrorException(f"the server is gone: {error}") from error
                raise
        return found

    def fetch_one(self, id: int) -> ObjectMeta:
        """Return the metadata of one object or blob, with its bytes at hand."""
        meta = self.fetch([id]).get(id)
        if meta is None:
            raise _missing(id)
        return meta

    def bytes_of(self, id: int) -> memoryview:
        """Return a copy of the bytes of a blob."""
        if id == EMPTY_BLOB:
            return memoryview(b"")
        try:
            return self._download([id])[id]
        except (KeyError, AssertionFailedException) as error:
            raise _missing(id) from error

    def exists(self, id: int) -> bool:
        """Tell whether there is such an object or blob."""
        return bool(self._ask("exists", id=id)["exists"])

    def delete(self, ids: Sequence[int], *, force: bool, deep: bool, trim: bool) -> None:
        """Delete objects; what is a member of another is left, unless `force` is set."""
        self._ask(
            "del_data", id=list(ids), force=force, deep=deep, memory_trim=trim, fastpath=False
        )

    def persist(self, id: int) -> None:
        """Mark an object as to be kept."""
        self._ask("persist", id=id)

    def is_persistent(self, id: int) -> bool:
        """Tell whether an object was persisted."""
        return bool(self._ask("if_persist", id=id)["persist"])

    def label(self, id: int, labels: Mapping[str, str]) -> None:
        """Give an object labels."""
        self._ask("label", id=id, keys=list(labels), values=list(labels.values()))

    def shallow_copy(self, id: int, extra: Mapping[str, Any]) -> int:
        """Store an object again under a new id, with the same members and bytes."""
        more = {"extra": dict(extra)} if extra else {}
        return int(self._ask("shallow_copy", id=id, **more)["target_id"])

    def migrate(self, id: int) -> int:
        """Return the id of a copy at the server's instance."""
        return int(self._ask("migrate_object", object_id=id)["object_id"])

    def list_metas(
        self, pattern: str, *, regex: bool, limit: int, buffers: bool = True
    ) -> list[ObjectMeta]:
        """Return the metadata of objects whose type name matches, and then of sealed blobs."""
        with self._exclusive() as connection:
            reply = connection.ask(
                {"type": "list_data_request", "pattern": pattern, "regex": regex, "limit": limit},
                "get_data_reply",
            )
        return list(self._metas(reply["content"], buffers=buffers).values())

    def clear(self) -> None:
        """Delete everything, of everybody."""
        self._ask("clear")

    def trim(self) -> bool:
        """Return free memory to the system; tell whether there was any."""
        return bool(self._ask("memory_trim")["trimmed"])

    # Names.

    def put_name(self, id: int, name: str) -> None:
        """Give an object that was persisted a name."""
        self._ask("put_name", object_id=id, name=name)

    def get_name(self, name: str, *, wait: bool) -> int:
        """Return the id that a name stands for."""
        request = {"type": "get_name_request", "name": name, "wait": wait}
        if not wait:
            return int(self._ask("get_name", name=name, wait=False)["object_id"])
        with self._apart() as connection:
            return int(connection.ask(request, "get_name_reply")["object_id"])

    def drop_name(self, name: str) -> None:
        """Forget a name."""
        self._ask("drop_name", name=name)

    def list_names(self, pattern: str, *, regex: bool, limit: int) -> dict[str, int]:
        """Return names that match, with the ids that they stand for."""
        reply = self._ask("list_name", pattern=pattern, regex=regex, limit=limit)
        names: dict[str, int] = reply["names"] or {}
        return {name: int(id) for name, id in names.items()}

    # Blobs in place: only where the memory is.

    def begin_blob(self, size: int) -> BlobDraft | None:
        """Refuse: there is no memory to write into."""
        raise _not_local()

    def seal_blob(self, draft: BlobDraft) -> None:
        """Refuse."""
        raise _not_local()

    def drop_blob(self, draft: BlobDraft) -> None:
        """Refuse."""
        raise _not_local()

    def shrink_blob(self, draft: BlobDraft, size: int) -> None:
        """Refuse."""
        raise _not_local()

    def forget_blob(self, draft: BlobDraft) -> None:
        """Do nothing: there are none."""

    def unsealed(self, id: int) -> memoryview | None:
        """Return None: there are none."""
        return None

    def blob_at(self, address: int) -> int | None:
        """Return None: no memory of this process is the server's."""
        return None

    # The cluster.

    def cluster(self) -> dict[int, dict[str, Any]]:
        """Return what is known of the instances, by number."""
        with self._exclusive() as connection:
            reply = connection.ask({"type": "cluster_meta"}, "cluster_meta")
        return {int(key[1:]): told for key, told in reply["meta"].items()}

    def status(self) -> Status:
        """Return how the server is doing."""
        told = self._ask("instance_status")["meta"]
        return Status(**{name: told[name] for name in Status.__slots__})

    # Streams.

    def create_stream(self, id: int) -> None:
        """Make a stream with the id of an object."""
        self._ask("create_stream", object_id=id)

    def open_stream(self, id: int, mode: str) -> None:
        """Open a stream for reading (`r`) or writing (`w`)."""
        modes = {"r": 1, "w": 2}
        if mode not in modes:
            raise AssertionFailedException(f"a stream is opened with 'r' or 'w', not {mode!r}")
        self._ask("open_stream", object_id=id, mode=modes[mode])

    def push_chunk(self, id: int, chunk: int) -> None:
        """Append an object or a blob."""
        with self._apart() as connection:
            request = {"type": "push_next_stream_chunk_request", "id": id, "chunk": chunk}
            connection.ask(request, "push_next_stream_chunk_reply")

    def pull_chunk(self, id: int) -> int:
        """Wait for the next chunk; return its id."""
        with self._apart() as connection:
            request = {"type": "pull_next_stream_chunk_request", "id": id}
            return int(connection.ask(request, "pull_next_stream_chunk_reply")["chunk"])

    def stop_stream(self, id: int, *, failed: bool) -> None:
        """Say that a stream has ended, or failed."""
        self._ask("stop_stream", id=id, failed=failed)

    def drop_stream(self, id: int) -> None:
        """Remove a stream with the chunks that nobody read."""
        self._ask("drop_stream", id=id)

    def sync(self) -> None:
        """Have the server look at what others have done."""
        self._ask("get_data", id=[INVALID], sync_remote=True, wait=False)


def _find_blobs(tree: Any, found: set[int]) -> None:
    waiting = [tree]
    while waiting:
        at = waiting.pop()
        if at.get("typename") == BLOB:
            found.add(number_of(at["id"]))
        waiting += _dicts(at.values())


def _dicts(values: Iterable[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]


def _missing(id: int) -> VineyardException:
    return ObjectNotExistsException(f"failed to get metadata for '{text_id(id)}': no such object")


def _not_local() -> AssertionError:
    return AssertionError("IPC client is not available.")
