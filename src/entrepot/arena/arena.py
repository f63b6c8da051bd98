"""Blobs in shared memory: written once, seen by everyone without a copy.

Keys::

    ("blob", offset)                     -> Blob: size, users
    ("held", session, "extent", number)  -> [offset, end, …] of what is taken and not sealed

Small blobs are cut from a chunk that this process has taken, so that storing one costs no
transaction of its own; what the chunk's held key names shrinks in the transaction that seals
or gives back a piece, in whatever order.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from entrepot import settings
from entrepot.arena import extents, loans, writers
from entrepot.arena.bulk import Draft, Ref
from entrepot.arena.pins import Pins, PinTable
from entrepot.arena.region import Region, copy_into
from entrepot.engine import failpoints, held
from entrepot.engine.keys import Prefix
from entrepot.engine.lmdb import LmdbEngine, slots
from entrepot.engine.lmdb.environment import GrowthGuard
from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import ClosedError, CorruptError, NotFoundError, OutOfMemoryError

__all__ = ["Arena", "ArenaStatistics"]

BLOB = Prefix("blob")
_ALIGNMENT = settings.ARENA_ALIGNMENT_BYTES
_OLDEST = 16
"""So many extents in limbo, and sessions, are looked at under the write lock."""


class Blob(msgspec.Struct, array_like=True):
    """A sealed extent."""

    size: int
    users: int


_encode = msgspec.msgpack.Encoder().encode
_decode_blob = msgspec.msgpack.Decoder(Blob).decode
_decode_spans = msgspec.msgpack.Decoder(list[int]).decode

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class ArenaStatistics:
    """Where the bytes of an arena are."""

    size: int
    """The bound, in bytes: the depot's `memory` setting."""
    reserved: int
    """Bytes of memory that the arena has taken from the system."""
    used: int
    """Bytes in sealed blobs."""
    free: int
    """Bytes that are reserved and free, warm or fresh."""
    limbo: int
    """Bytes of deleted blobs that wait until no reader can see them."""
    unsealed: int
    """Bytes that sessions have taken and not sealed: drafts, and what is left of chunks."""
    pinned: int
    """Bytes of blobs, deleted or not, that some process still looks at."""
    blobs: int
    """How many sealed blobs there are."""
    largest_free: int
    """The size of the largest free extent, or of the fresh end, in bytes."""


class _Extent:
    """What is left of an extent that this process has taken: a draft's own, or a chunk."""

    __slots__ = ("at", "end", "key")

    def __init__(self, at: int, end: int, key: bytes) -> None:
        self.at = at
        self.end = end
        self.key = key
        """The held key."""


class _Draft:
    """Bytes written into a piece of an extent, not sealed."""

    __slots__ = ("key", "pid", "ref")

    def __init__(self, ref: Ref, key: bytes, pid: int) -> None:
        self.ref = ref
        self.key = key
        self.pid = pid
        """The process that writes it: not a child that inherited this."""


class Arena:
    """The blobs of a depot on this machine. Implements `entrepot.arena.bulk.Bulk`."""

    def __init__(
        self,
        directory: Path,
        engine: LmdbEngine,
        pin_table: PinTable,
        words: memoryview,
        *,
        size_max: int,
        growth_guard: GrowthGuard,
        find_dead: Callable[[], object],
    ) -> None:
        """Map the arena of the depot in `directory`.

        Args:
            directory: Where the file lives.
            engine: The volatile engine, which keeps the extents.
            pin_table: The pins of all sessions.
            words: This session's page of it.
            size_max: The bound, in bytes.
            growth_guard: As of the engine's environment.
            find_dead: Reaps dead sessions: called before memory is said to be out.
        """
        self._engine = engine
        self._region = Region(directory / "arena", size_max)
        if self._region.is_new and engine.read(extents.get_state).reserved:
            self._region.close()
            self._region.path.unlink()
            raise CorruptError(f"the arena {self._region.path} is lost or empty, and was not")
        self._pin_table = pin_table
        self.pins = Pins(words, self._region.map)
        self._growth_guard = growth_guard
        self._find_dead = find_dead
        self._chunks: list[_Extent] = []
        self._pid = os.getpid()
        self._is_reserving = False
        engine.on_release("extent", _release_extent)
        loans.register(engine, self)
        writers.register(engine)

    @property
    def descriptor(self) -> int:
        """The file, open for reading and writing: for programs that map it themselves."""
        return self._region.descriptor

    @property
    def address(self) -> int:
        """Where the arena begins in this process."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._region.map))

    @property
    def bound(self) -> int:
        """How many bytes it can have."""
        return self._region.size_max

    # Writing.

    @contextlib.contextmanager
    def draft(self, buffers: Sequence[memoryview]) -> Generator[Draft]:
        """Write the buffers one after the other, each at a multiple of 64 bytes."""
        draft = self._take(sum(map(_aligned, map(len, buffers))) or _ALIGNMENT)
        at = draft.ref.at
        try:
            if failpoints.ARMED:
                failpoints.hit("arena.allocated")
            for buffer in buffers:
                copy_into(self._region.bytes[at : at + len(buffer)], buffer)
                at += _aligned(len(buffer))
            if failpoints.ARMED:
                failpoints.hit("arena.copied")
            yield draft
        except BaseException:
            self.abandon(draft)
            raise

    def begin(self, size: int) -> Draft:
        """Take room for `size` bytes that the caller writes into `memory`."""
        return self._take(_aligned(size) or _ALIGNMENT)

    def memory(self, draft: Draft) -> memoryview:
        """Return the bytes of a draft, writable.

        The object that all views of it hold (`memory.obj`) can be referred to weakly, which
        tells whether a view is left.
        """
        at, size = draft.ref
        return memoryview((ctypes.c_ubyte * size).from_buffer(self._region.map, at)).cast("B")

    def abandon(self, draft: Draft, *, writer: int = 0) -> None:
        """Give back what was begun and not sealed; nobody gets it while its `writer` lives."""
        assert isinstance(draft, _Draft)
        if draft.pid == self._pid:
            self._give_back(draft.key, draft.ref.at, draft.ref.at + draft.ref.size, writer)

    def seal(self, tx: Transaction, draft: Draft) -> None:
        """Make the draft a blob with one user, in the transaction that stores its `ref`."""
        assert isinstance(draft, _Draft)
        if draft.pid != self._pid:
            raise ClosedError("these bytes are written by the parent of this process")
        at, size = draft.ref
        tx.put(BLOB.int(at), _encode(Blob(size, 1)))
        extents.count_blob(tx, size, 1)
        was_held = _let_go(tx, draft.key, at, at + size)
        assert was_held, "a draft was sealed twice"

    def _take(self, size: int) -> _Draft:
        """Take room for a draft: from a chunk, or an extent of its own."""
        if size > settings.CHUNK_PIECE_BYTES_MAX:
            extent = self._allocate(size)
            return _Draft(Ref(extent.at, size), extent.key, self._pid)
        try:
            chunk = self._chunks.pop()
        except IndexError:
            chunk = self._allocate(settings.CHUNK_BYTES)
        if chunk.end - chunk.at < size:
            self._give_back(chunk.key, chunk.at, chunk.end)
            chunk = self._allocate(settings.CHUNK_BYTES)
        draft = _Draft(Ref(chunk.at, size), chunk.key, self._pid)
        chunk.at += size
        if chunk.at < chunk.end:
            self._chunks.append(chunk)
        return draft

    def _give_back(self, key: bytes, at: int, end: int, writer: int = 0) -> None:
        """Give back a part of an extent that this process has taken, if it is not sealed."""
        with self._engine.using_spare():
            self._engine.write(_give_back, self._engine, key, at, end, writer)

    def drop_chunks(self) -> None:
        """Give back the chunks of this process."""
        while self._chunks:
            chunk = self._chunks.pop()
            self._give_back(chunk.key, chunk.at, chunk.end)

    def _allocate(self, size: int) -> _Extent:
        """Take an extent: a warm one if there is, else a fresh one, else more memory.

        Raises:
            OutOfMemoryError: There is no room even after a search for what the dead held, and
                without what is deleted and only lent.
        """
        size = max(_aligned(size), _ALIGNMENT)
        # Deleted bytes are warm: look whether they may be reused before fresh ones are touched.
        extent, has_limbo = self._engine.write(self._claim_extent, size, False)
        if extent is None and has_limbo and self.reclaim():
            extent, _ = self._engine.write(self._claim_extent, size, False)
        searched = False
        while extent is None:
            extent, _ = self._engine.write(self._claim_extent, size, True)
            if extent is not None:
                break
            try:
                self._reserve(size)
            except OutOfMemoryError:
                if not searched:
                    searched = True
                    self.drop_chunks()
                    self._find_dead()
                elif not self._engine.write(loans.take_back_deleted, self, size):
                    raise self._out_of_memory(size) from None
                while self.reclaim():
                    pass
        return extent

    def _claim_extent(self, tx: Transaction, size: int, fresh: bool) -> tuple[_Extent | None, bool]:
        base = extents.allocate(tx, size, fresh=fresh)
        if base is None and not fresh:
            base = self._take_over(tx, size)
        if base is None:
            return None, not extents.limbo_is_empty(tx)
        key = self._engine.session.held_key("extent", next(_numbers))
        tx.put(key, _encode((base, base + size)))
        return _Extent(base, base + size, key), False

    def _reserve(self, size: int) -> None:
        """Reserve more memory, so that a fresh extent of `size` bytes fits.

        Raises:
            OutOfMemoryError: The bound is reached, or the machine's memory is.
        """
        with self._growing(), self._reserving():
            state = self._engine.read(extents.get_state)
            step = min(
                max(state.reserved, settings.ARENA_BYTES_STEP_MIN), settings.ARENA_BYTES_STEP_MAX
            )
            wanted = state.top + size
            if wanted > self._region.size_max:
                raise OutOfMemoryError("the arena is at its bound")
            if wanted <= state.reserved:
                return  # another thread was quicker
            steps = -(-(wanted - state.reserved) // step) * step
            # No error is kept in a variable: frame and error would hold each other, and with
            # them all views in the frames above.
            try:
                self._reserve_to(state.reserved, state.reserved + steps)
            except OutOfMemoryError:
                self._reserve_to(state.reserved, wanted)  # just enough, then

    def _reserve_to(self, begin: int, end: int) -> None:
        end = min(end, self._region.size_max)
        with self._growth_guard(end - begin, 0):
            self._region.reserve(begin, end)
            if failpoints.ARMED:
                failpoints.hit("arena.reserved")
            self._engine.write(_note_reserved, end)

    @contextlib.contextmanager
    def _growing(self) -> Generator[None]:
        """Hold the growth lock: nobody else reserves memory or gives it back.

        First the engine's write lock: whoever finds the catalog full has that when it comes for
        the growth lock.
        """
        with self._engine.environment.write_lock, self._growth_guard(0, 0):
            yield

    @contextlib.contextmanager
    def _reserving(self) -> Generator[None]:
        """Keep `trim` from returning what is being reserved: the catalog may need room for it."""
        self._is_reserving = True
        try:
            yield
        finally:
            self._is_reserving = False

    # Reading.

    def view(self, tx: Transaction, ref: Ref) -> memoryview:
        """Return the bytes, read-only; they stay as they are while a view of them lives."""
        view = self.pins.pin(ref.at, ref.size)
        if view is not None:
            return view
        return memoryview(bytes(self._region.bytes[ref.at : ref.at + ref.size]))

    # Users.

    def retain(self, tx: Transaction, ref: Ref, users: int = 1) -> None:
        """Add users to a blob."""
        blob = _get_blob(tx, ref)
        blob.users += users
        tx.put(BLOB.int(ref.at), _encode(blob))

    def release(self, tx: Transaction, ref: Ref) -> None:
        """Take one user from a blob; the last one's leaving frees it."""
        blob = _get_blob(tx, ref)
        blob.users -= 1
        if blob.users:
            tx.put(BLOB.int(ref.at), _encode(blob))
        else:
            tx.delete(BLOB.int(ref.at))
            extents.count_blob(tx, blob.size, -1)
            extents.add_limbo(tx, ref.at, blob.size)

    def users(self, tx: Transaction, ref: Ref) -> int:
        """Return how many users a blob has; 0 if there is no such blob."""
        value = tx.get(BLOB.int(ref.at))
        return 0 if value is None else _decode_blob(value).users

    # Reclaiming.

    def reclaim(self) -> int:
        """Free some deleted extents that no reader can see any more; return their bytes.

        Returns 0 when there are none.
        """
        beginning: extents.Place | None = None
        while True:
            # In one snapshot: a session that is not in it cannot have seen what it deletes.
            waiting, live, guards = self._engine.read(self._limbo_and_live, beginning)
            if not waiting:
                return 0
            oldest, ready = self._unseen(waiting, live, guards)
            if ready:
                return self._engine.write(_free_limbo, ready, guards)
            beginning = waiting[-1][:2]
            if oldest is not None and beginning[0] > oldest:
                return 0  # what comes behind was deleted later

    def _limbo_and_live(
        self, tx: Transaction, behind: extents.Place | None
    ) -> tuple[list[tuple[int, int, int]], list[int], writers.Guards]:
        waiting = extents.limbo(tx, settings.BATCH_KEYS, behind)
        if not waiting:
            return [], [], {}
        return waiting, self._engine.session.alive(tx), writers.guards(tx)

    def _take_over(self, tx: Transaction, size: int) -> int | None:
        """Take a deleted extent of just this size as it is, where that is quick to see.

        Where values come and go, the one that went last is where the next one goes. To see that
        here saves `reclaim` three transactions.
        """
        waiting = [place for place in extents.limbo(tx, _OLDEST) if place[2] == size]
        if not waiting:
            return None
        live = self._engine.session.alive(tx)
        if len(live) > _OLDEST:
            return None
        guards = writers.guards(tx)
        _, ready = self._unseen(waiting, live, guards)
        if not ready:
            return None
        version, offset = ready[0]
        if offset in guards:
            writers.unguard(tx, offset)
        extents.take_limbo(tx, version, offset)
        return offset

    def _unseen(
        self, waiting: list[tuple[int, int, int]], live: list[int], guards: writers.Guards
    ) -> tuple[int | None, list[extents.Place]]:
        """Return the oldest snapshot in use, and which deleted extents nobody can see any more."""
        oldest = self._engine.oldest_snapshot()  # first the readers,
        pinned = self._pin_table.pinned(live)  # then the pins: see `pins`
        ready = [
            (version, offset)
            for version, offset, _ in waiting
            if (oldest is None or version <= oldest)
            and offset not in pinned
            and not guards.get(offset)
        ]
        if failpoints.ARMED:
            failpoints.hit("arena.reclaiming")
        return oldest, ready

    def trim(self) -> int:
        """Return the free end of the arena to the system; return its bytes."""
        if self._is_reserving:
            return 0
        self.drop_chunks()
        with self._growing():
            before = self._engine.write(extents.trim)
            if before is None:
                return 0
            after = self._engine.read(extents.get_state).reserved
            page = -(-after // 4096) * 4096
            if page < before.reserved:
                self._region.give_back(page, before.reserved)
            return before.reserved - after

    # Looking.

    @property
    def used(self) -> int:
        """How many bytes there are in sealed blobs."""
        return self._engine.read(extents.get_state).used

    def statistics(self) -> ArenaStatistics:
        """Return where the bytes are. Cost: a look at each session, pin and deleted blob."""
        return self._engine.read(self._count)

    def _count(self, tx: Transaction) -> ArenaStatistics:
        state = extents.get_state(tx)
        limbo = sum(size for _, _, size in extents.limbo(tx))
        unsealed = sum(end - at for _, at, end in _held_spans(tx))
        pinned = self._pin_table.pinned(self._engine.session.alive(tx))
        return ArenaStatistics(
            size=self._region.size_max,
            reserved=state.reserved,
            used=state.used,
            free=state.reserved - state.used - limbo - unsealed,
            limbo=limbo,
            unsealed=unsealed,
            pinned=_bytes_at(tx, pinned),
            blobs=state.blobs,
            largest_free=max(extents.largest_free(tx), self._region.size_max - state.top),
        )

    def pinned_by(self, slot: int) -> int:
        """Return how many bytes one session looks at."""
        offsets = self._pin_table.pinned_by(slot)
        if not offsets:
            return 0
        return self._engine.read(_bytes_at, offsets)

    def pins_of(self, tx: Transaction, ref: Ref) -> int:
        """Return how many live sessions look at a blob."""
        live = self._engine.session.alive(tx)
        return sum(ref.at in self._pin_table.pinned_by(slot) for slot in live)

    def check(self, tx: Transaction) -> list[str]:
        """Return what is wrong: every byte below the top must belong to exactly one thing."""
        parts = [(offset, size, "free") for offset, size in extents.free_extents(tx)]
        parts += [(offset, size, "limbo") for _, offset, size in extents.limbo(tx)]
        parts += [(offset, blob.size, "blob") for offset, blob in _blobs(tx)]
        parts += [
            (at, end - at, f"held by session {session:016x}")
            for session, at, end in _held_spans(tx)
        ]
        problems: list[str] = []
        end, kind = 0, "the beginning"
        for offset, size, what in sorted(parts):
            if offset != end:
                word = "overlap" if offset < end else "are lost"
                amount = abs(offset - end)
                problems.append(
                    f"arena: {amount} bytes {word} between {kind} and {what} at {offset}"
                )
            end, kind = max(end, offset + size), what
        state = extents.get_state(tx)
        if end != state.top:
            problems.append(f"arena: extents end at {end}, the top is {state.top}")
        sizes = [size for _, size, what in parts if what == "blob"]
        if (state.used, state.blobs) != (sum(sizes), len(sizes)):
            problems.append(
                f"arena: {len(sizes)} blobs of {sum(sizes)} bytes, counted are "
                f"{state.blobs} of {state.used}"
            )
        return problems

    def _out_of_memory(self, size: int) -> OutOfMemoryError:
        stats = self.statistics()
        holders = self._engine.read(self._holders)
        text = (
            f"no room for {size} bytes: of {stats.size} bytes, "
            f"{stats.size // settings.CATALOG_SHARE} are kept for the catalog, {stats.used} are in "
            f"{stats.blobs} blobs, {stats.limbo} deleted but still looked at, "
            f"{stats.unsealed} being written, the largest free piece has {stats.largest_free}"
        )
        if stats.largest_free >= size:  # as far as the arena knows, who shares it with others
            text += ", of which the catalog or the rest of the machine has taken too much"
        if holders:
            text += "; held by " + ", ".join(holders)
        return OutOfMemoryError(
            text,
            "delete something, drop views of deleted values, or open a depot with more memory=",
        )

    def _holders(self, tx: Transaction) -> list[str]:
        unsealed: dict[int, int] = {}
        for session, at, end in _held_spans(tx):
            unsealed[session] = unsealed.get(session, 0) + end - at
        texts: list[str] = []
        for number, slot in slots(tx).items():
            pinned = _bytes_at(tx, self._pin_table.pinned_by(number))
            mine = unsealed.get(slot.session, 0)
            if pinned or mine:
                texts.append(
                    f"process {slot.pid} ({slot.command}): {pinned} looked at, {mine} being written"
                )
        return texts

    # Life.

    def after_fork_in_child(self) -> None:
        """Forget the parent's chunks; its pins are kept until `adopt`."""
        self._chunks = []
        self._pid = os.getpid()
        self.pins.leave()

    def adopt(self, words: memoryview) -> None:
        """Use another page of pins, with the pins that are set: a forked child's own."""
        self.pins.move_to(words)

    def forget(self) -> None:
        """Close the file, without giving anything back; views that live keep the map."""
        self.pins.forget()
        self._region.close()

    def close(self) -> None:
        """Give the chunks back and close the file; views that live keep the map."""
        self.drop_chunks()
        self.forget()


def _aligned(size: int) -> int:
    return (size + _ALIGNMENT - 1) & -_ALIGNMENT


def _get_blob(tx: Transaction, ref: Ref) -> Blob:
    value = tx.get(BLOB.int(ref.at))
    if value is None:
        raise NotFoundError(f"there is no blob at {ref.at}")
    return _decode_blob(value)


def _blobs(tx: Transaction) -> Iterator[tuple[int, Blob]]:
    for key, value in tx.range(BLOB.begin, BLOB.end):
        offset = BLOB.tail(key)[0]
        assert isinstance(offset, int)
        yield offset, _decode_blob(value)


def _held_spans(tx: Transaction) -> Iterator[tuple[int, int, int]]:
    """Yield (session, offset, end) of all that is taken and not sealed."""
    for session in held.holders(tx):
        prefix = Prefix(session, "extent", of=held.HELD)
        for _, value in tx.range(prefix.begin, prefix.end):
            for at, end in _pairs(_decode_spans(value)):
                yield session, at, end


def _pairs(spans: list[int]) -> Iterator[tuple[int, int]]:
    return zip(spans[::2], spans[1::2], strict=True)


def _bytes_at(tx: Transaction, offsets: set[int]) -> int:
    if not offsets:
        return 0
    limbo = {offset: size for _, offset, size in extents.limbo(tx)}
    total = 0
    for offset in offsets:
        value = tx.get(BLOB.int(offset))
        total += limbo.get(offset, 0) if value is None else _decode_blob(value).size
    return total


def _let_go(tx: Transaction, key: bytes, at: int, end: int) -> bool:
    """Take a part out of what a held key names; tell whether that was in it."""
    value = tx.get(key)
    if value is None:
        return False
    spans = _decode_spans(value)
    left: list[int] = []
    for first, last in _pairs(spans):
        if first <= at and end <= last:
            left += [first, at] if first < at else []
            left += [end, last] if end < last else []
        else:
            left += [first, last]
    if left == spans:
        return False
    if left:
        tx.put(key, _encode(left))
    else:
        tx.delete(key)
    return True


def _give_back(tx: Transaction, engine: Engine, key: bytes, at: int, end: int, writer: int) -> None:
    if _let_go(tx, key, at, end):
        alive = writers.writers_of(tx, engine.session.id) if writer else []
        _free_behind(tx, at, end, [one for one in alive if one[0] == writer])


def _release_extent(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
    alive = writers.writers_of(tx, session)
    for at, end in _pairs(_decode_spans(value)):
        _free_behind(tx, at, end, alive)


def _free_behind(tx: Transaction, at: int, end: int, alive: list[tuple[int, bytes]]) -> None:
    """Free an extent, at once or when those who may still write there are gone."""
    if alive:
        extents.add_limbo(tx, at, end - at)
        writers.guard(tx, at, alive)
    else:
        extents.free(tx, at, end - at)


def _note_reserved(tx: Transaction, end: int) -> None:
    state = extents.get_state(tx)
    state.reserved = max(state.reserved, end)
    extents.put_state(tx, state)


def _free_limbo(tx: Transaction, ready: list[extents.Place], guards: writers.Guards) -> int:
    for _, offset in ready:
        if offset in guards:
            writers.unguard(tx, offset)
    return sum(extents.pop_limbo(tx, version, offset) for version, offset in ready)
