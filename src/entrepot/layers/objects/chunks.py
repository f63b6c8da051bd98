"""Streams of chunks: objects that one process hands to another, in order, within a bound.

A chunk is an object or a blob that is stored already. It belongs to its reader from the pull
to the next pull, which deletes it; views of it stay valid. A writer that dies without a word
has failed; a reader that dies leaves a writer who is told so.

Keys::

    ("stream", id)                -> State
    ("chunk", id, number)         -> id of the chunk, its bytes (8 + 8)
    ("held", session, "stream", id, mode)   who has opened it, until it has ended

Bell: ("stream", id), rung by whatever changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from entrepot.arena.bulk import Bulk
from entrepot.engine.held import held_key
from entrepot.engine.keys import Prefix, after, pack_int, unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, ExistsError, NotFoundError
from entrepot.layers import values
from entrepot.layers.objects import core
from entrepot.layers.objects.core import object_key
from entrepot.layers.tier import Tier
from entrepot.waiting import Deadline

__all__ = ["Chunks", "StreamEndedError", "StreamFailedError", "StreamStoppedError", "register"]

STREAM = Prefix("stream")
CHUNK = Prefix("chunk")
READ: Final = 1
WRITE: Final = 2
_RUNNING, _ENDED, _FAILED = 0, 1, 2


class StreamEndedError(NotFoundError):
    """All chunks were read, and no more will come."""


class StreamFailedError(ConflictError):
    """The writer failed, or died."""


class StreamStoppedError(ConflictError):
    """The stream has ended, or its reader is gone: nothing can be written any more."""


class State(msgspec.Struct, array_like=True):
    """What is known of a stream."""

    first: int = 0
    next: int = 0
    queued: int = 0
    """Bytes of chunks that were not pulled yet."""
    ended: int = _RUNNING
    opened: int = 0
    """Who has opened it: READ, WRITE or both."""
    pulled: int = 0
    """The chunk that its reader looks at, or 0."""
    is_reader_gone: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


def register(tier: Tier) -> None:
    """Tell a tier's engine what becomes of the streams of the dead."""
    tier.engine.on_release("stream", _release(tier.bulk))


def _release(bulk: Bulk) -> Callable[[Transaction, int, bytes, bytes], None]:
    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        id, mode = map(core.as_int, unpack(rest))
        _end(tx, bulk, id, mode)

    return release


def _leave(tx: Transaction, bulk: Bulk, id: int, mode: int, session: int) -> None:
    if tx.delete(held_key(session, "stream", id, mode)):
        _end(tx, bulk, id, mode)


def _end(tx: Transaction, bulk: Bulk, id: int, mode: int) -> None:
    """Do what becomes of a stream when its reader or its writer is gone."""
    raw = tx.get(STREAM.int(id))
    if raw is None:
        return
    state = _decode(raw)
    if mode == WRITE and state.ended == _RUNNING:
        state.ended = _FAILED
    if mode == READ:
        state.is_reader_gone = True
        _delete_pulled(tx, bulk, state)
    _put(tx, id, state)


class Chunks:
    """The streams of a depot."""

    def __init__(self, tier: Tier, bytes_max: int) -> None:
        """Take the tier, and how many bytes may wait in one stream."""
        self._engine = tier.engine
        self._bulk = tier.bulk
        self._bytes_max = bytes_max

    def create(self, id: int) -> None:
        """Make a stream.

        Raises:
            ExistsError: There is one of this id.
        """
        self._engine.write(_create, id)

    def open(self, id: int, mode: int) -> None:
        """Open a stream to read or to write: each once, ever.

        Raises:
            ConflictError: Somebody has.
            NotFoundError: There is no such stream.
        """
        self._engine.write(_open, id, mode, self._engine.session.id)

    def push(self, id: int, chunk: int, timeout: float | None = None) -> bool:
        """Append a chunk; wait while too much waits to be read.

        Returns:
            Whether it was appended: False if there was no room for `timeout` seconds.

        Raises:
            NotFoundError: There is no such stream, or no such chunk.
            StreamStoppedError: It has ended, or its reader is gone.
        """
        deadline = Deadline(timeout)
        bells = [STREAM.int(id)]
        while True:
            seen = self._engine.listen(bells)
            if self._engine.write(_push, id, chunk, self._bytes_max):
                return True
            if deadline.left() == 0:
                return False
            self._engine.wait(bells, seen, deadline.left())

    def pull(self, id: int, timeout: float | None = None) -> int | None:
        """Wait for the next chunk; return its id. The one before is deleted.

        Returns:
            None if none came for `timeout` seconds.

        Raises:
            NotFoundError: There is no such stream, or it was removed meanwhile.
            StreamEndedError: There is no more.
            StreamFailedError: Its writer failed, and all before that was read.
        """
        deadline = Deadline(timeout)
        bells = [STREAM.int(id)]
        while True:
            seen = self._engine.listen(bells)
            chunk, ended = self._engine.write(_pull, self._bulk, id)
            if chunk:
                return chunk
            if ended == _ENDED:
                raise StreamEndedError(f"the stream {id:016x} is drained: there are no more chunks")
            if ended == _FAILED:
                raise StreamFailedError(f"the stream {id:016x} failed: its writer said so, or died")
            if deadline.left() == 0:
                return None
            self._engine.wait(bells, seen, deadline.left())

    def hold(self, id: int, mode: int) -> None:
        """Note that this process reads or writes a stream that it need not have opened.

        Raises:
            NotFoundError: There is no such stream.
        """
        self._engine.write(_hold, id, mode, self._engine.session.id)

    def leave(self, id: int, mode: int) -> None:
        """Note that who opened a stream is gone, as if its process had died."""
        self._engine.write(_leave, self._bulk, id, mode, self._engine.session.id)

    def stop(self, id: int, *, failed: bool) -> None:
        """Say that nothing more comes.

        Raises:
            NotFoundError: There is no such stream.
            StreamStoppedError: It was said before.
        """
        self._engine.write(_stop, id, failed, self._engine.session.id)

    def drop(self, id: int) -> None:
        """Remove a stream, with the chunks that nobody pulled; who waits for it is told.

        Raises:
            NotFoundError: There is no such stream.
        """
        self._engine.write(_drop, self._bulk, id, self._engine.session.id)


def _get(tx: Transaction, id: int) -> State:
    raw = tx.get(STREAM.int(id))
    if raw is None:
        raise NotFoundError(f"there is no stream {id:016x}", "create it, or it was removed")
    return _decode(raw)


def _put(tx: Transaction, id: int, state: State) -> None:
    tx.put(STREAM.int(id), _encode(state))
    tx.ring(STREAM.int(id))


def _create(tx: Transaction, id: int) -> None:
    if not tx.insert(STREAM.int(id), _encode(State())):
        raise ExistsError(f"there is a stream {id:016x} already")


def _open(tx: Transaction, id: int, mode: int, session: int) -> None:
    state = _get(tx, id)
    if state.opened & mode:
        raise ConflictError(
            f"the stream {id:016x} was opened before", "a stream has one reader and one writer"
        )
    state.opened |= mode
    tx.put(held_key(session, "stream", id, mode), b"")
    _put(tx, id, state)


def _hold(tx: Transaction, id: int, mode: int, session: int) -> None:
    _get(tx, id)
    tx.put(held_key(session, "stream", id, mode), b"")


def _push(tx: Transaction, id: int, chunk: int, bytes_max: int) -> bool:
    state = _get(tx, id)
    if state.ended != _RUNNING or state.is_reader_gone:
        reason = "its reader is gone" if state.is_reader_gone else "it has ended"
        raise StreamStoppedError(f"nothing can be written into the stream {id:016x}: {reason}")
    if tx.get(object_key(chunk)) is None:
        raise core.missing(chunk)
    size = sum(values.describe(record).nbytes for record in core.read_records(tx, chunk).values())
    if state.queued and state.queued + size > bytes_max:
        return False
    tx.put(CHUNK.int(id) + pack_int(state.next), chunk.to_bytes(8, "big") + size.to_bytes(8, "big"))
    state.next += 1
    state.queued += size
    _put(tx, id, state)
    return True


def _pull(tx: Transaction, bulk: Bulk, id: int) -> tuple[int, int]:
    """Return the next chunk, or 0; and whether the stream has ended, if there is none.

    (Not by an exception: that would undo the transaction, and the chunk before would stay.)
    """
    state = _get(tx, id)
    before = state.pulled
    _delete_pulled(tx, bulk, state)
    if state.first == state.next:
        if before:
            _put(tx, id, state)
        return 0, state.ended
    raw = tx.pop(CHUNK.int(id) + pack_int(state.first))
    assert raw is not None
    state.first += 1
    state.queued -= int.from_bytes(raw[8:], "big")
    state.pulled = int.from_bytes(raw[:8], "big")
    _put(tx, id, state)
    return state.pulled, _RUNNING


def _delete_pulled(tx: Transaction, bulk: Bulk, state: State) -> None:
    if state.pulled:
        chunk, state.pulled = state.pulled, 0
        if not core.parents_of(tx, chunk):  # else it is a part of something by now
            core.delete_many(tx, bulk, [chunk], deep=True, force=False)


def _stop(tx: Transaction, id: int, failed: bool, session: int) -> None:
    state = _get(tx, id)
    if state.ended != _RUNNING:
        raise StreamStoppedError(f"the stream {id:016x} has ended before")
    state.ended = _FAILED if failed else _ENDED
    tx.delete(held_key(session, "stream", id, WRITE))
    _put(tx, id, state)


def _drop(tx: Transaction, bulk: Bulk, id: int, session: int) -> None:
    state = _get(tx, id)
    _delete_pulled(tx, bulk, state)
    begin = CHUNK.int(id)
    for key, raw in tx.range(begin, after(begin)):
        tx.delete(key)
        chunk = int.from_bytes(raw[:8], "big")
        if not core.parents_of(tx, chunk):
            core.delete_many(tx, bulk, [chunk], deep=True, force=False)
    for mode in (READ, WRITE):
        tx.delete(held_key(session, "stream", id, mode))
    tx.delete(STREAM.int(id))
    tx.ring(STREAM.int(id))
