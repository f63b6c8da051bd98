"""A depot of this machine as a store of vineyard's objects."""

from __future__ import annotations

import contextlib
import functools
import math
import pickle
import socket
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

import entrepot
from entrepot import settings
from entrepot.engine.lmdb import slots
from entrepot.errors import (
    ConflictError,
    EntrepotError,
    NotFoundError,
    OutOfMemoryError,
    WaitTimeoutError,
)
from entrepot.layers import values
from entrepot.layers.objects import Assembly, Leaf, Node
from entrepot.layers.objects.assembly import BlobDraft, Loan, Marks, Snapshot
from entrepot.layers.patterns import Matcher, matcher
from entrepot.layers.tier import load
from entrepot.vineyard._errors import (
    AssertionFailedException,
    ConnectionErrorException,
    GlobalObjectInvalidException,
    InvalidException,
    MetaTreeSubtreeNotExistsException,
    NotEnoughMemoryException,
    ObjectNotExistsException,
    ObjectNotSealedException,
    VineyardException,
    translated,
)
from entrepot.vineyard._ids import BLOB_BIT, EMPTY_BLOB, ObjectID, text_id
from entrepot.vineyard._meta import NewBlob, ObjectMeta, blob_meta, has_whole
from entrepot.vineyard._store import Status
from entrepot.vineyard._streams import ChunkDraft, LocalStreams

__all__ = ["NOT_WHOLE", "NO_ENDPOINT", "LocalStore", "Reading", "bytes_in", "missing"]

NO_ENDPOINT = "0.0.0.0:0"
"""What an instance says that listens on no port."""

VERSION = "0.24.2"
NOT_WHOLE: Any = object()
"""What `LocalStore.load` returns for an object that is made of others."""

_EXTENTS_MAX = 4096
_INT_MAX = (1 << 63) - 1
_BATCH = settings.BATCH_KEYS
_TENSOR_TYPES = {
    "int32": "int",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "float32": "float",
    "float64": "double",
}


@contextlib.contextmanager
def vineyards_errors() -> Generator[None]:
    """Raise vineyard's exceptions for ours."""
    try:
        yield
    except EntrepotError as error:
        raise translated(error) from error


_kept_open: list[entrepot.Depot] = []
"""Depots of clients that were closed while somebody had a view of a blob that was not sealed."""


class LocalStore(LocalStreams):
    """The objects of a depot. Implements `Store`."""

    instance_id = 0
    is_local = True
    version = VERSION

    def __init__(
        self,
        depot: entrepot.Depot,
        *,
        endpoint: str | None = None,
        limit: int | None = None,
        rpc_endpoint: str = NO_ENDPOINT,
        matcher: Matcher = matcher,
    ) -> None:
        """Take a depot, which this closes.

        Args:
            depot: Where the objects are.
            endpoint: The IPC socket that names it.
            limit: How much memory there is for blobs, if that was promised.
            rpc_endpoint: Where a server of it listens on the network.
            matcher: What understands patterns of names and types.
        """
        self._matcher = matcher
        self._rpc_endpoint = rpc_endpoint
        self.depot = depot
        self.endpoint = endpoint if endpoint is not None else f"depot:{depot.name}"
        self._limit = limit
        tier = depot.attached.volatile
        self._assembly = Assembly(tier)
        self._arena = depot.attached.arena
        self._base = self._arena.address
        self._extents: dict[int, int] = {}
        """Which blob begins where in the arena, of those that were looked at."""
        self._drafts: dict[int, BlobDraft] = {}
        self._chunk_drafts: dict[int, ChunkDraft] = {}
        self._forgotten: list[BlobDraft] = []
        self._viewed: list[BlobDraft] = []
        """Given up, but somebody still has a view of them."""
        self._is_closed = False

    @property
    def connected(self) -> bool:
        """Whether the depot is open, and still there."""
        if self._is_closed or self.depot.closed:
            return False
        try:
            self.depot.attached.check_place()
        except EntrepotError:
            return False
        return True

    def close(self) -> None:
        """Close the depot; blobs that were not sealed are dropped."""
        with vineyards_errors():
            if not self.depot.closed and not self._is_closed:
                self.drop_drafts()
            self._is_closed = True
            if self._viewed:
                # What is written through a view must hit nobody: this process keeps the memory.
                _kept_open.append(self.depot)
            else:
                self.depot.close()

    def fork(self) -> LocalStore:
        """Return another hold on the same depot."""
        with vineyards_errors():
            again = entrepot.open(
                self.depot.name,
                directory=self.depot.path.parent,
                data_directory=self.depot.data_path.parent,
            )
            return LocalStore(
                again,
                endpoint=self.endpoint,
                limit=self._limit,
                rpc_endpoint=self._rpc_endpoint,
                matcher=self._matcher,
            )

    def _check_open(self) -> None:
        if not self.connected:
            raise ConnectionErrorException("Client is not connected")
        while self._forgotten:
            self._drop(self._forgotten.pop())
        self._drop_viewed()

    def _drop_viewed(self, writer: int = 0) -> None:
        if self._viewed:
            drop = self._assembly.drop_blob
            self._viewed = [draft for draft in self._viewed if not drop(draft, writer=writer)]

    # Values put whole.

    def put(self, value: object) -> int:
        """Store a value whole; return its id."""
        self._check_open()
        try:
            return self._assembly.put(value)
        except EntrepotError as error:
            raise self._translated(error) from error

    def load(self, id: int) -> Any:
        """Return a value that was put whole; NOT_WHOLE for any other object.

        Raises:
            ObjectNotExistsException: There is no such object.
        """
        if self.depot.closed:
            self._check_open()
        found = self._assembly.get(id)
        if found is None:
            if id & BLOB_BIT:
                return NOT_WHOLE
            raise missing(id)
        record, view = found
        if record[0] == values.TREE:
            return NOT_WHOLE
        if view is not None:
            self.note(record, id)
        if values.is_blob(record):
            return values.blob_body(record, view).cast("b")
        with vineyards_errors():
            return load(found)

    def note(self, record: bytes, id: int) -> None:
        """Remember which blob begins where: what is put again reuses it."""
        ref = values.body_ref(record)
        if ref is not None:
            if len(self._extents) >= _EXTENTS_MAX:
                self._extents.clear()
            self._extents[ref.at] = id | BLOB_BIT

    # Objects.

    def build(self, parts: Sequence[ObjectMeta | NewBlob]) -> list[int]:
        """Store objects with their new members, all or none, and fill in their metadata."""
        self._check_open()
        try:
            numbers = self._assembly.build([self._part(part) for part in parts])
        except NotFoundError as error:
            raise MetaTreeSubtreeNotExistsException(str(error)) from error
        except EntrepotError as error:
            raise self._translated(error) from error
        for part, number in zip(parts, numbers, strict=True):
            if isinstance(part, ObjectMeta):
                part.stored(self, number)
        return numbers

    def _part(self, part: Any) -> Any:
        if isinstance(part, NewBlob):
            return self._blob_part(part)
        if isinstance(part, ObjectID):
            return self._checked_member(int(part))
        assert isinstance(part, ObjectMeta)
        if part.is_stored() and part._store is not None:  # pyright: ignore[reportPrivateUsage] of the same family
            return self._checked_member(int(part.id))
        if has_whole(part):
            return Leaf(values.encode(part.whole))
        part.check()
        if part.isglobal:
            self._check_flat(part)
        members = {name: self._part(member) for name, member in part.members().items()}
        return Node(part.typename, part.own_fields(), members)

    def _check_flat(self, part: ObjectMeta) -> None:
        """Refuse what is global in something global."""
        for name, member in part.members().items():
            if isinstance(member, ObjectID):
                found = self.fetch([int(member)], buffers=False).get(int(member))
                is_global = found is not None and found.isglobal
            else:
                is_global = isinstance(member, ObjectMeta) and member.isglobal
            if is_global:
                raise GlobalObjectInvalidException(
                    f"Global object cannot have nested structure: its member {name!r} is global"
                )

    def _blob_part(self, blob: NewBlob) -> Leaf | int:
        if not blob.nbytes:
            return EMPTY_BLOB
        body = blob.buffers[0] if len(blob.buffers) == 1 else memoryview(b"".join(blob.buffers))
        return Leaf(values.encode_blob(body.cast("B")), is_blob=True)

    def _checked_member(self, number: int) -> int:
        if number in self._drafts:
            raise _unsealed(number)
        return number

    def fetch(
        self, ids: Sequence[int], *, buffers: bool = True, sync_remote: bool = True
    ) -> dict[int, ObjectMeta]:
        """Return the metadata of objects and blobs; those that do not exist are left out."""
        self._check_open()
        with vineyards_errors():
            snapshot = self._assembly.read(ids, with_bytes=buffers)
        reading = Reading(self, snapshot)
        return {id: meta for id in ids if (meta := reading.meta(id, is_asked=True)) is not None}

    def fetch_one(self, id: int) -> ObjectMeta:
        """Return the metadata of one object or blob, with its bytes at hand."""
        meta = self.fetch([id]).get(id)
        if meta is None:
            raise missing(id)
        return meta

    def bytes_of(self, id: int) -> memoryview:
        """Return the bytes of a blob."""
        self._check_open()
        return bytes_in(self._assembly.read([id]), id)

    def exists(self, id: int) -> bool:
        """Tell whether there is such an object or blob."""
        if self.depot.closed or self._forgotten:
            self._check_open()
        if id == EMPTY_BLOB:
            return False
        return self._assembly.exists(id) or id in self._drafts

    def await_objects(self, ids: Sequence[int], seconds: float) -> bool:
        """Wait a while for objects and blobs; tell whether they exist. Our own drafts do."""
        self._check_open()
        wanted = [id for id in ids if id != EMPTY_BLOB and id not in self._drafts]
        with vineyards_errors():
            return self._assembly.wait(wanted, seconds)

    def delete(self, ids: Sequence[int], *, force: bool, deep: bool, trim: bool) -> list[int]:
        """Delete objects; what is a member of another is left, unless `force` is set.

        Returns:
            All that is gone.
        """
        self._check_open()
        with vineyards_errors():
            blobs = [] if deep else self._blobs_of(ids)
            gone = self._delete([id for id in ids if id != EMPTY_BLOB], force=force, deep=deep)
            if blobs:
                gone += self._delete(blobs, force=False, deep=False)
            if trim:
                self.trim()
        return gone

    def _delete(self, ids: Sequence[int], *, force: bool, deep: bool) -> list[int]:
        try:
            return self._assembly.delete(ids, force=force, deep=deep)
        except OutOfMemoryError:  # of the catalog: then fewer at once
            self.depot.objects.delete(ids, force=force, deep=deep)
            return list(ids)
        except ConflictError:
            gone: list[int] = []
            left = list(ids)
            while left:
                refused: list[int] = []
                for id in left:
                    try:
                        gone += self._assembly.delete([id], force=force, deep=deep)
                    except ConflictError:
                        refused.append(id)
                if len(refused) == len(left):
                    break
                left = refused
            return gone

    def _blobs_of(self, ids: Sequence[int]) -> list[int]:
        """Return the blobs that objects hold themselves: they never outlive them."""
        found = self._assembly.read(ids, with_bytes=False).found
        trees = [values.tree_of(found[id][0]) for id in ids if id in found]
        members = [of for tree in trees if tree is not None for of in tree.members.values()]
        return [number for number in members if number & BLOB_BIT and number != EMPTY_BLOB]

    def persist(self, id: int) -> None:
        """Mark an object, and all that it is made of, as to be kept."""
        self._check_open()
        try:
            self._assembly.persist(id)
        except NotFoundError as error:
            raise MetaTreeSubtreeNotExistsException(str(error)) from error

    def is_persistent(self, id: int) -> bool:
        """Tell whether an object was persisted."""
        self._check_open()
        return self._assembly.marks(id).persistent

    def label(self, id: int, labels: Mapping[str, str]) -> None:
        """Give an object labels."""
        self._check_open()
        with vineyards_errors():
            self._assembly.label(id, labels)

    def shallow_copy(self, id: int, extra: Mapping[str, Any]) -> int:
        """Store an object again under a new id, with the same members and bytes."""
        self._check_open()
        if id & BLOB_BIT:
            raise AssertionFailedException(f"the blob {text_id(id)} cannot be shallow-copied")
        try:
            meta = self.fetch_one(id)
            if extra and meta.has_load:
                return self._copy_of_whole(meta, extra)
            return self._assembly.copy(id, {"signature": meta.signature, **extra})
        except (NotFoundError, ObjectNotExistsException) as error:
            raise MetaTreeSubtreeNotExistsException(str(error)) from error

    def _copy_of_whole(self, meta: ObjectMeta, extra: Mapping[str, Any]) -> int:
        """Store a value that was put whole as a tree: only that has a place for more fields."""
        again = ObjectMeta()
        fields = {"signature": meta.signature, "typename": meta.typename, **meta.own_fields()}
        for name, value in {**fields, **extra}.items():
            again[name] = value
        for name, member in meta.members().items():
            if name not in extra:
                number = int(member.id)
                if member._bytes is None:  # pyright: ignore[reportPrivateUsage] of the same family
                    # A pickle, or in Fortran order: the bytes that others read lie nowhere.
                    again.add_member(name, NewBlob([self.bytes_of(number)]))
                else:
                    again.add_member(name, ObjectID(number))
        return self.build([again])[0]

    def migrate(self, id: int) -> int:
        """Return the id: all that is in a depot is local."""
        if not self.exists(id):
            raise missing(id)
        return id

    def list_metas(
        self, pattern: str, *, regex: bool, limit: int, buffers: bool = True
    ) -> list[ObjectMeta]:
        """Return the metadata of objects whose type name matches, and then of sealed blobs."""
        return list(self.find(pattern, regex=regex, limit=limit, buffers=buffers).values())

    def find(
        self, pattern: str, *, regex: bool, limit: int, buffers: bool
    ) -> dict[int, ObjectMeta]:
        """As `list_metas`, by number."""
        self._check_open()
        try:
            matches = self._matcher(pattern, regex=regex)
        except EntrepotError:
            return {}
        wanted: list[int] = []
        last = 0
        batch = min(_BATCH, max(limit, 1))  # where most match, few are looked at
        all_match = pattern == "*" and not regex
        while len(wanted) < limit:
            items = self._assembly.find(last, batch)
            for number, record in items:
                if number != EMPTY_BLOB and (all_match or matches(_typename(number, record))):
                    wanted.append(number)
            if len(items) < batch:
                break
            last, batch = items[-1][0], min(_BATCH, 2 * batch)
        return self.fetch(wanted[: max(limit, 0)], buffers=buffers)

    def clear(self) -> None:
        """Delete everything, of everybody."""
        self._check_open()
        with vineyards_errors():
            last = 0
            while items := self._assembly.find(last, _BATCH):
                self.depot.objects.delete([number for number, _ in items], force=True)
                last = 0
            self.depot.collect()

    def trim(self) -> bool:
        """Return free memory to the system; tell whether there was any."""
        self._check_open()
        with vineyards_errors():
            return self.depot.collect(trim=True).trimmed_bytes > 0

    # Names.

    def put_name(self, id: int, name: str) -> None:
        """Give an object that was persisted a name."""
        self._check_open()
        if id & BLOB_BIT:
            raise InvalidException("blobs cannot have name")
        if not self.exists(id):
            raise missing(id)
        if not self.is_persistent(id):
            raise InvalidException("transient objects cannot have name, please persist it first")
        with vineyards_errors():
            self.depot.objects.put_name(name, id)

    def get_name(self, name: str, *, wait: bool) -> int:
        """Return the id that a name stands for."""
        self._check_open()
        try:
            return int(self.depot.objects.get_name(name, wait=wait))
        except NotFoundError:
            raise ObjectNotExistsException(f"failed to find name: {name}") from None
        except EntrepotError as error:
            raise translated(error) from error

    def await_name(self, name: str, seconds: float) -> int | None:
        """Wait a while for a name; return the id that it stands for, or None."""
        try:
            return int(self.depot.objects.get_name(name, wait=True, timeout=seconds))
        except WaitTimeoutError:
            return None
        except EntrepotError as error:
            raise translated(error) from error

    def drop_name(self, name: str) -> None:
        """Forget a name."""
        self._check_open()
        with vineyards_errors():
            self.depot.objects.drop_name(name)

    def list_names(self, pattern: str, *, regex: bool, limit: int) -> dict[str, int]:
        """Return names that match, with the ids that they stand for."""
        self._check_open()
        try:
            matches = self._matcher(pattern, regex=regex)
            return self._assembly.names(matches, max(limit, 0))
        except EntrepotError:
            return {}

    # Blobs in place.

    def begin_blob(self, size: int) -> BlobDraft | None:
        """Take room for a blob that the caller writes; None if it is to be empty."""
        self._check_open()
        if size == 0:
            return None
        if size >= 1 << 63:
            raise NotEnoughMemoryException(f"there is no memory for a blob of {size} bytes")
        try:
            draft = self._assembly.begin_blob(size)
        except EntrepotError as error:
            raise self._translated(error) from error
        self._drafts[draft.id] = draft
        return draft

    def seal_blob(self, draft: BlobDraft) -> None:
        """Make a blob that was written visible to all."""
        self._check_open()
        with vineyards_errors():
            self._assembly.seal_blob(draft)
            self._drafts.pop(draft.id, None)

    def seal_and_lend(self, draft: BlobDraft) -> Loan:
        """As `seal_blob`; the bytes stay where they are until the loan ends."""
        self._check_open()
        with vineyards_errors():
            loan = self._assembly.seal_and_lend(draft)
            self._drafts.pop(draft.id, None)
            return loan

    def drop_blob(self, draft: BlobDraft) -> None:
        """Give back a blob that was not sealed."""
        self._check_open()
        with vineyards_errors():
            self._drop(draft)

    def _drop(self, draft: BlobDraft, writer: int = 0) -> None:
        if self._drafts.pop(draft.id, None) is None:
            return
        if not self._assembly.drop_blob(draft, writer=writer):
            self._viewed.append(draft)

    def drop_drafts(self, *, writer: int = 0) -> None:
        """Give back all blobs that were not sealed: when its `writer` is gone, if there is one."""
        for draft in list(self._drafts.values()):
            self._drop(draft, writer)
        self._drop_viewed(writer)  # when they were given up, the traceback of an error had views

    def shrink_blob(self, draft: BlobDraft, size: int) -> None:
        """Keep only the first `size` bytes of a blob that is not sealed."""
        self._assembly.shrink_blob(draft, size)

    def forget_blob(self, draft: BlobDraft) -> None:
        """Drop a blob at the next call: a finalizer may run inside one."""
        self._forgotten.append(draft)

    def unsealed(self, id: int) -> memoryview | None:
        """Return the bytes of a blob of this process that is not sealed; None if it is not."""
        draft = self._drafts.get(id)
        return None if draft is None else draft.memory

    def blob_at(self, address: int) -> int | None:
        """Return the id of the blob whose bytes begin at an address of this process."""
        number = self._extents.get(address - self._base)
        return number if number is not None and self._assembly.exists(number) else None

    def blob_around(self, address: int) -> int | None:
        """Return the id of a blob that an address of this process lies in."""
        offset = address - self._base
        if not 0 <= offset < self._arena.bound:
            return None
        for number, record in self._all():
            ref = values.bulk_ref(record)
            if ref is not None and ref.at <= offset < ref.at + ref.size:
                return number | BLOB_BIT
        return None

    def _all(self) -> Generator[tuple[int, bytes]]:
        last = 0
        while items := self._assembly.find(last, _BATCH):
            yield from items
            last = items[-1][0]

    # The cluster.

    def cluster(self) -> dict[int, dict[str, Any]]:
        """Return what is known of the one instance."""
        self._check_open()
        host = socket.gethostname()
        return {
            0: {
                "hostid": uuid.getnode(),
                "hostname": host,
                "nodename": host,
                "ipc_socket": self.endpoint,
                "rpc_endpoint": self._rpc_endpoint,
                "timestamp": time.time_ns() // 1_000_000,
            }
        }

    def status(self) -> Status:
        """Return how the depot is doing."""
        usage, limit = self.memory()
        with vineyards_errors():
            return Status(
                instance_id=self.instance_id,
                deployment="local",
                memory_usage=usage,
                memory_limit=limit,
                deferred_requests=0,
                ipc_connections=len(self.depot.attached.engine.read(slots)),
                rpc_connections=0,
            )

    def memory(self) -> tuple[int, int]:
        """Return how many bytes are in blobs, and how many may be.

        Not by the depot's statistics: programs ask for this often, and those look at each pin.
        """
        self._check_open()
        with vineyards_errors():
            usage = self._arena.used + sum(len(draft.memory) for draft in self._drafts.values())
            if self._limit:
                return usage, self._limit
            attached = self.depot.attached
            catalog_bytes = attached.engine.environment.env.info()["map_size"]
            catalog = max(catalog_bytes, attached.memory_max // settings.CATALOG_SHARE)
            # Metadata may have taken what was for blobs.
            return usage, max(0, attached.memory_max - catalog - settings.CATALOG_BYTES_SPARE)

    def _translated(self, error: EntrepotError) -> Exception:
        found = translated(error)
        if isinstance(found, NotEnoughMemoryException) and not self.depot.closed:
            status = self.status()
            found = NotEnoughMemoryException(
                f"Failed to allocate memory, total available memory size are "
                f"{status.memory_limit}, and {status.memory_usage} are already in use: {error}"
            )
        return found


def bytes_in(snapshot: Snapshot, id: int) -> memoryview:
    """Return the bytes of a blob that was read, as vineyard's clients expect them.

    Raises:
        ObjectNotExistsException: It was not.
    """
    owner = id if id in snapshot.found else id & ~BLOB_BIT  # of the bytes of a value put whole
    if owner not in snapshot.found:
        raise missing(id)
    record, view = snapshot.found[owner]
    if values.is_tensor(record):
        return values.c_ordered(values.array_parts(record, view))
    if values.is_blob(record) and owner == id:
        return values.blob_body(record, view)
    return memoryview(b"".join(_pickle_of(record, view)))


class Reading:
    """Makes metadata of a snapshot."""

    def __init__(self, store: Any, snapshot: Snapshot) -> None:
        """Take where the objects are, and what was read there.

        `store` is what the metadata asks for the bytes of blobs; it is told where they begin.
        """
        self._store = store
        self._snapshot = snapshot
        self._made: dict[int, ObjectMeta] = {}

    def meta(self, id: int, *, is_asked: bool = False) -> ObjectMeta | None:
        if id in self._made and not is_asked:
            return self._made[id]
        if id & BLOB_BIT:
            made = self._blob(id, is_asked=is_asked)
        elif id in self._snapshot.found:
            made = self._object(id)
        else:
            made = None
        if made is not None:
            self._made[id] = made
        return made

    def _blob(self, id: int, *, is_asked: bool) -> ObjectMeta | None:
        if id == EMPTY_BLOB:
            return blob_meta(id, memoryview(b""), 0, self._store, length=0)
        owner = self._snapshot.parts.get(id, id)
        found = self._snapshot.found.get(owner)
        if found is None:
            return None
        record, view = found
        ref = values.body_ref(record)
        if ref is not None and view is None:
            return blob_meta(id, None, ref.size, self._store, length=ref.size if is_asked else 0)
        if values.is_tensor(record):
            parts = values.array_parts(record, view)
            if parts.fortran:  # put into C order when somebody asks for it
                size = len(parts.body)
                return blob_meta(id, None, size, self._store, length=size if is_asked else 0)
            body = parts.body
        elif values.is_blob(record) and owner == id:
            body = values.blob_body(record, view)
        else:  # a pickle: its bytes are put together when somebody asks for them
            size = sum(map(len, _pickle_of(record, view)))
            return blob_meta(id, None, size, self._store, length=size if is_asked else 0)
        if view is not None:
            self._store.note(record, id)
        length = len(body) if is_asked else 0
        return blob_meta(id, body, len(body), self._store, length=length)

    def _object(self, id: int) -> ObjectMeta:
        record, view = self._snapshot.found[id]
        marks = self._snapshot.marks.get(id) or Marks()
        plain: dict[str, Any] = {
            "id": text_id(id),
            "instance_id": self._store.instance_id,
            "signature": id,
            "transient": not marks.persistent,
            "global": False,
            "nbytes": 0,
            "__timestamp": int(values.made_at(record) * 1000),
        }
        if marks.labels:
            import json

            plain["__labels"] = json.dumps(marks.labels)
        members: dict[str, Any] = {}
        tree = values.tree_of(record)
        meta = ObjectMeta.fetched(plain, members, self._store)
        if tree is not None:
            plain["typename"] = tree.typename
            plain |= tree.fields
            for name, number in tree.members.items():
                member = self.meta(number)
                members[name] = ObjectID(number) if member is None else member
            return meta
        if values.is_tensor(record):
            self._tensor(id, record, view, plain, members)
        elif (fields := _scalar_fields(record, view)) is not None:
            plain |= fields
        else:
            size = sum(map(len, _pickle_of(record, view)))
            plain |= {"typename": "vineyard::PickleBuffer", "size_": size, "nbytes": size}
            members["buffer_"] = blob_meta(id | BLOB_BIT, None, size, self._store)
        if view is not None or values.bulk_ref(record) is None:
            meta._load = lambda: load((record, view))  # pyright: ignore[reportPrivateUsage] of the same family
        else:
            store = self._store  # alone: all that was read would be held by a cycle otherwise
            meta._load = lambda: store.load(id)  # pyright: ignore[reportPrivateUsage] of the same family
        return meta

    def _tensor(
        self,
        id: int,
        record: bytes,
        view: memoryview | None,
        plain: dict[str, Any],
        members: dict[str, Any],
    ) -> None:
        dtype, shape, fortran = values.array_form(record)
        name, typename = _names_of(dtype)
        body: memoryview | None = None
        if view is not None or (ref := values.body_ref(record)) is None:
            bytes_here = values.array_parts(record, view).body
            size = len(bytes_here)
            body = None if fortran and size else bytes_here
        else:
            size = ref.size
        plain |= {
            "typename": typename,
            "shape_": str(list(shape)),
            "order_": '"F"' if fortran else '"C"',
            "partition_index_": "[]",
            "value_type_": name,
            "value_type_meta_": dtype,
            "nbytes": size,
        }
        if view is not None:
            self._store.note(record, id)
        number = id | BLOB_BIT if size else EMPTY_BLOB
        members["buffer_"] = blob_meta(number, body, size, self._store)


def _pickle_of(record: bytes, view: memoryview | None) -> list[bytes | memoryview]:
    """Return the pickle, in pieces, that a value is for other programs."""
    if values.is_pickle(record):
        return values.in_band(record, view)
    return [pickle.dumps(load((record, view)), protocol=5)]


def _scalar_fields(record: bytes, view: memoryview | None) -> dict[str, Any] | None:
    """Return the plain values of a scalar's metadata; None if the wire has no form for it."""
    if values.is_pickle(record):
        return None
    value = values.decode(record, view)
    if isinstance(value, bool):
        return {"typename": "vineyard::Scalar<int>", "value_": value, "type_": "bool"}
    if isinstance(value, int) and -_INT_MAX <= value <= _INT_MAX:
        return {"typename": "vineyard::Scalar<int>", "value_": value, "type_": "int"}
    if isinstance(value, float) and math.isfinite(value):
        return {"typename": "vineyard::Scalar<double>", "value_": value, "type_": "float"}
    if isinstance(value, str):
        return {"typename": "vineyard::Scalar<std::string>", "value_": value, "type_": "str"}
    return None


@functools.lru_cache(256)
def _names_of(text: str) -> tuple[str, str]:
    """Return the name of a dtype, and the type name of a tensor of it."""
    name = np.dtype(text).name
    return name, f"vineyard::Tensor<{_TENSOR_TYPES.get(name, name)}>"


def _typename(number: int, record: bytes) -> str:
    if number & BLOB_BIT:
        return "vineyard::Blob"
    tree = values.tree_of(record)
    if tree is not None:
        return tree.typename
    if values.is_tensor(record):
        name: str = values.describe(record).fields["value_type_"]
        dtype = {"int": "int32", "uint": "uint32"}.get(name, name)
        return f"vineyard::Tensor<{_TENSOR_TYPES.get(dtype, dtype)}>"
    if values.is_pickle(record) or values.is_array(record):
        return "vineyard::PickleBuffer"
    return values.describe(record).typename.replace("Scalar<bool>", "Scalar<int>")


def missing(id: int) -> VineyardException:
    """Return the exception for an object that is not there."""
    return ObjectNotExistsException(f"failed to get metadata for '{text_id(id)}': no such object")


def _unsealed(number: int) -> Exception:
    return ObjectNotSealedException(f"the blob {text_id(number)} is not sealed yet")
