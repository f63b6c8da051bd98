"""What a client talks to: a depot of this machine, or a server behind a socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from entrepot.layers.objects.assembly import BlobDraft
    from entrepot.vineyard._meta import NewBlob, ObjectMeta

__all__ = ["Status", "Store"]


@dataclass(frozen=True, slots=True)
class Status:
    """How a store is doing."""

    instance_id: int
    deployment: str
    memory_usage: int
    memory_limit: int
    deferred_requests: int
    ipc_connections: int
    rpc_connections: int


class Store(Protocol):
    """Objects, blobs, names and streams by number. Raises vineyard's exceptions.

    Numbers are those of ids; `BLOB_BIT` is set in those of blobs.
    """

    instance_id: int
    """The instance that objects made here belong to."""

    is_local: bool
    """Bytes are in the memory of this machine, and views of them cost nothing."""

    endpoint: str
    """The IPC socket (or `depot:NAME`) or `host:port`."""

    version: str

    @property
    def connected(self) -> bool:
        """Whether calls can succeed."""
        ...

    def close(self) -> None:
        """Let go of the store; may be repeated."""
        ...

    def fork(self) -> Store:
        """Return another connection to the same."""
        ...

    # Objects.

    def build(self, parts: Sequence[ObjectMeta | NewBlob]) -> list[int]:
        """Store objects with their new members, all or none, and fill in their metadata.

        Members that are new metadata or new blobs are stored too; the metadata given is told
        its id, signature and so on (`ObjectMeta.stored`).

        Raises:
            MetaTreeInvalidException: There is no typename.
            MetaTreeSubtreeNotExistsException: A member does not exist.
            NotEnoughMemoryException: There is no room.
        """
        ...

    def fetch(
        self, ids: Sequence[int], *, buffers: bool = True, sync_remote: bool = True
    ) -> dict[int, ObjectMeta]:
        """Return the metadata of objects and blobs; those that do not exist are left out.

        With `buffers`, the bytes of all their blobs are at hand.
        """
        ...

    def fetch_one(self, id: int) -> ObjectMeta:
        """Return the metadata of one object or blob, with its bytes at hand.

        Raises:
            ObjectNotExistsException: There is no such object.
        """
        ...

    def bytes_of(self, id: int) -> memoryview:
        """Return the bytes of a blob.

        Raises:
            ObjectNotExistsException: There is no such blob.
        """
        ...

    def exists(self, id: int) -> bool: ...
    def delete(self, ids: Sequence[int], *, force: bool, deep: bool, trim: bool) -> object: ...
    def persist(self, id: int) -> None: ...
    def is_persistent(self, id: int) -> bool: ...
    def label(self, id: int, labels: Mapping[str, str]) -> None: ...
    def shallow_copy(self, id: int, extra: Mapping[str, Any]) -> int: ...
    def migrate(self, id: int) -> int: ...

    def list_metas(
        self, pattern: str, *, regex: bool, limit: int, buffers: bool = True
    ) -> list[ObjectMeta]:
        """Return the metadata of objects whose type name matches, and then of sealed blobs."""
        ...

    def clear(self) -> None:
        """Delete everything, of everybody."""
        ...

    def trim(self) -> bool:
        """Return free memory to the system; tell whether there was any."""
        ...

    # Names.

    def put_name(self, id: int, name: str) -> None: ...
    def get_name(self, name: str, *, wait: bool) -> int: ...
    def drop_name(self, name: str) -> None: ...
    def list_names(self, pattern: str, *, regex: bool, limit: int) -> dict[str, int]: ...

    # Blobs in place: of a local store.

    def begin_blob(self, size: int) -> BlobDraft | None:
        """Take room for a blob that the caller writes; None if it is to be empty."""
        ...

    def seal_blob(self, draft: BlobDraft) -> None: ...
    def drop_blob(self, draft: BlobDraft) -> None: ...
    def shrink_blob(self, draft: BlobDraft, size: int) -> None: ...

    def forget_blob(self, draft: BlobDraft) -> None:
        """Drop a blob that nobody will seal, when that can be done: called by finalizers."""
        ...

    def unsealed(self, id: int) -> memoryview | None:
        """Return the bytes of a blob of this process that is not sealed; None if it is not."""
        ...

    def blob_at(self, address: int) -> int | None:
        """Return the id of the blob whose bytes begin at an address of this process."""
        ...

    # The cluster.

    def cluster(self) -> dict[int, dict[str, Any]]: ...
    def status(self) -> Status: ...

    # Streams: chunks are ids of objects or blobs.

    def create_stream(self, id: int) -> None: ...
    def open_stream(self, id: int, mode: str) -> None: ...
    def push_chunk(self, id: int, chunk: int) -> None: ...
    def pull_chunk(self, id: int) -> int: ...
    def stop_stream(self, id: int, *, failed: bool) -> None: ...
    def drop_stream(self, id: int) -> None: ...
