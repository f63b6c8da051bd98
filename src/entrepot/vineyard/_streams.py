"""Streams of a local store.

What a writer has handed over and nobody has read is bounded: 80 % of the memory for blobs, as in
vineyard, for each stream. Beyond it the writer sleeps on the stream's bell, which every pull
rings; so do a reader that drops the stream and the one who finds the reader dead, and then the
writer is told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import msgspec

from entrepot import settings
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, EntrepotError, ExistsError, NotFoundError
from entrepot.layers.objects.assembly import BlobDraft
from entrepot.layers.objects.chunks import (
    READ,
    STREAM,
    WRITE,
    Chunks,
    State,
    StreamEndedError,
    StreamFailedError,
    StreamStoppedError,
)
from entrepot.vineyard._errors import (
    AssertionFailedException,
    InvalidStreamStateException,
    NotEnoughMemoryException,
    ObjectExistsException,
    ObjectNotExistsException,
    StreamDrainedException,
    StreamFailedException,
    StreamOpenedException,
    translated,
)
from entrepot.vineyard._store import Status
from entrepot.waiting import Deadline

__all__ = ["ChunkDraft", "LocalStreams"]

_MODES = {"r": READ, "w": WRITE}
_UNBOUNDED = 1 << 62

_decode_state = msgspec.msgpack.Decoder(State).decode


class ChunkDraft(NamedTuple):
    """A chunk that its writer still fills."""

    blob: BlobDraft
    lent: memoryview
    """What the writer was given."""


class LocalStreams:
    """The stream calls of `LocalStore`."""

    depot: Any
    _chunk_drafts: dict[int, ChunkDraft]
    """By stream: what the next chunk will be."""
    _share_bytes: int = 0

    def begin_blob(self, size: int) -> BlobDraft | None:
        """See `LocalStore`."""
        raise NotImplementedError

    def seal_blob(self, draft: BlobDraft) -> None:
        """See `LocalStore`."""
        raise NotImplementedError

    def drop_blob(self, draft: BlobDraft) -> None:
        """See `LocalStore`."""
        raise NotImplementedError

    def delete(self, ids: Sequence[int], *, force: bool, deep: bool, trim: bool) -> list[int]:
        """See `LocalStore`."""
        raise NotImplementedError

    def status(self) -> Status:
        """See `LocalStore`."""
        raise NotImplementedError

    def _chunks(self, bytes_max: int | None = None) -> Chunks:
        return Chunks(self.depot.attached.volatile, bytes_max or self._share())

    def _share(self) -> int:
        """Return how many bytes may wait in one stream."""
        if not self._share_bytes:
            self._share_bytes = max(self.status().memory_limit * 4 // 5, settings.MIB)
        return self._share_bytes

    def create_stream(self, id: int) -> None:
        """Make a stream with the id of an object."""
        with _streams_errors():
            self._chunks().create(id)

    def open_stream(self, id: int, mode: str) -> None:
        """Open a stream for reading (`r`) or writing (`w`): each once."""
        if mode not in _MODES:
            raise AssertionFailedException(f"a stream is opened with 'r' or 'w', not {mode!r}")
        with _streams_errors():
            self._chunks().open(id, _MODES[mode])

    def push_chunk(self, id: int, chunk: int) -> None:
        """Append an object or a blob; wait while too much waits to be read."""
        self.try_push_chunk(id, chunk, None)

    def try_push_chunk(self, id: int, chunk: int, timeout: float | None) -> bool:
        """As `push_chunk`; False if there was no room for `timeout` seconds."""
        with _streams_errors():
            return self._chunks().push(id, chunk, timeout)

    def pull_chunk(self, id: int) -> int:
        """Wait for the next chunk; return its id."""
        chunk = self.try_pull_chunk(id, None)
        assert chunk is not None
        return chunk

    def try_pull_chunk(self, id: int, timeout: float | None) -> int | None:
        """As `pull_chunk`; None if none came for `timeout` seconds."""
        with _streams_errors():
            return self._chunks().pull(id, timeout)

    def hold_stream(self, id: int, mode: str) -> None:
        """Note who reads, `r`, or writes, `w`, a stream that he has not opened."""
        with _streams_errors():
            self._chunks().hold(id, _MODES[mode])

    def leave_stream(self, id: int, mode: str) -> None:
        """Note that who opened a stream, `r` or `w`, is gone without a word."""
        with contextlib.suppress(EntrepotError):  # the depot may be closed: then all is over
            self._chunks().leave(id, _MODES[mode])

    def stop_stream(self, id: int, *, failed: bool) -> None:
        """Say that a stream has ended, or failed; a chunk that is being written is the last."""
        if failed:  # what is half written is no chunk
            self.drop_chunk(id)
        self.end_chunk(id)
        with _streams_errors():
            self._chunks().stop(id, failed=failed)

    def drop_stream(self, id: int) -> None:
        """Remove a stream with the chunks that nobody read."""
        self.drop_chunk(id)
        with _streams_errors():
            self._chunks().drop(id)

    # Chunks that are written in place.

    def chunk_draft(self, id: int) -> BlobDraft | None:
        """Return the chunk of a stream that is being written; None if it has no bytes."""
        draft = self._chunk_drafts.get(id)
        return None if draft is None else draft.blob

    def begin_chunk(self, id: int, size: int, *, shares: int = 1) -> memoryview:
        """Return a new chunk to write into; hand over the one before. Wait until there is room.

        Written into are these bytes only until the next chunk begins, or the stream ends.

        Args:
            id: The stream.
            size: How many bytes, not zeroed.
            shares: How many streams have the room that one could have.

        Raises:
            InvalidStreamStateException: The stream has ended, or its reader is gone.
            NotEnoughMemoryException: There is no room, and no reader who could make any.
            ObjectNotExistsException: There is no such stream.
        """
        lent = self.try_begin_chunk(id, size, None, shares=shares)
        assert lent is not None
        return lent

    def try_begin_chunk(
        self, id: int, size: int, timeout: float | None, *, shares: int = 1
    ) -> memoryview | None:
        """As `begin_chunk`; None if there was no room for `timeout` seconds."""
        self.end_chunk(id)
        engine, bells = self.depot.attached.volatile.engine, [STREAM.int(id)]
        deadline = Deadline(timeout)
        with _streams_errors():
            while True:
                seen = engine.listen(bells)
                state = engine.read(_writable_state, id)
                if not state.queued or state.queued + size <= self._share() // shares:
                    try:
                        return self._take_room(id, size)
                    except NotEnoughMemoryException:
                        # Other things fill the memory: what is read next may be enough.
                        if not state.queued and not state.pulled:
                            raise
                if deadline.left() == 0:
                    return None
                engine.wait(bells, seen, deadline.left())

    def _take_room(self, id: int, size: int) -> memoryview:
        blob = self.begin_blob(size)
        if blob is None:
            return memoryview(bytearray())
        lent = blob.memory.cast("B")
        self._chunk_drafts[id] = ChunkDraft(blob, lent)
        return lent

    def end_chunk(self, id: int) -> None:
        """Hand over the chunk that is being written, if there is one."""
        draft = self._chunk_drafts.pop(id, None)
        if draft is None:
            return
        _take_back(draft.lent)
        self.seal_blob(draft.blob)
        try:
            with _streams_errors():  # room was waited for when it began
                self._chunks(_UNBOUNDED).push(id, draft.blob.id)
        except BaseException:
            self.delete([draft.blob.id], force=False, deep=True, trim=False)
            raise

    def drop_chunk(self, id: int) -> None:
        """Give up the chunk that is being written, if there is one."""
        draft = self._chunk_drafts.pop(id, None)
        if draft is not None:
            _take_back(draft.lent)
            self.drop_blob(draft.blob)


def _take_back(lent: memoryview) -> None:
    """Make writing behind the end an error, where nothing else looks at the bytes."""
    with contextlib.suppress(BufferError):
        lent.release()


def _writable_state(tx: Transaction, id: int) -> State:
    raw = tx.get(STREAM.int(id))
    if raw is None:
        raise NotFoundError(f"there is no stream {id:016x}", "create it, or it was removed")
    state = _decode_state(raw)
    if state.ended or state.is_reader_gone:
        reason = "its reader is gone" if state.is_reader_gone else "it has ended"
        raise StreamStoppedError(f"nothing can be written into the stream {id:016x}: {reason}")
    return state


@contextlib.contextmanager
def _streams_errors() -> Generator[None]:
    try:
        yield
    except StreamEndedError as error:
        raise StreamDrainedException("no more chunks") from error
    except StreamFailedError as error:
        raise StreamFailedException(str(error)) from error
    except StreamStoppedError as error:
        raise InvalidStreamStateException(str(error)) from error
    except ExistsError as error:
        raise ObjectExistsException(str(error)) from error
    except ConflictError as error:
        raise StreamOpenedException("Stream already opened") from error
    except NotFoundError as error:
        raise ObjectNotExistsException(str(error)) from error
    except EntrepotError as error:
        raise translated(error) from error
