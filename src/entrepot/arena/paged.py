"""Blobs as pages of the engine itself: for the durable tier, and for any engine.

Keys::

    ("paged", id)                   -> size, users
    ("page", id, number)            -> up to 256 KiB
    ("held", session, "paged", id)  -> what is written and not sealed

Reading copies. What is written is as durable as the engine; each page is a transaction of
its own, so that other writers get their turn while something large is stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

import msgspec

from entrepot import settings
from entrepot.arena.bulk import Draft, Ref
from entrepot.engine import failpoints
from entrepot.engine.ids import Ids
from entrepot.engine.keys import Prefix, pack_int, unpack
from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import NotFoundError

__all__ = ["PagedBulk"]

PAGED = Prefix("paged")
PAGE = Prefix("page")
_PAGE_BYTES = 256 * settings.KIB
_PAGES_PER_WRITE = 16
_ALIGNMENT = settings.ARENA_ALIGNMENT_BYTES


class _Paged(msgspec.Struct, array_like=True):
    size: int
    users: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Paged).decode


class _PagedDraft:
    __slots__ = ("memory", "ref")

    def __init__(self, ref: Ref, memory: bytearray | None = None) -> None:
        self.ref = ref
        self.memory = memory
        """What is written only when it is sealed: of a draft that was begun."""


class PagedBulk:
    """Blobs in an engine. Implements `entrepot.arena.bulk.Bulk`."""

    def __init__(self, engine: Engine, ids: Ids) -> None:
        self._engine = engine
        self._ids = ids
        engine.on_release("paged", _release_paged)

    @contextlib.contextmanager
    def draft(self, buffers: Sequence[memoryview]) -> Generator[Draft]:
        """Write the buffers one after the other, each at a multiple of 64 bytes."""
        body = b"".join(_padded(buffer) for buffer in buffers)
        number = self._ids.next()
        pages = [body[at : at + _PAGE_BYTES] for at in range(0, len(body), _PAGE_BYTES)]
        key = self._engine.session.held_key("paged", number)
        try:
            for first in range(0, len(pages), _PAGES_PER_WRITE):
                some = pages[first : first + _PAGES_PER_WRITE]
                self._engine.write(_put_pages, key, number, first, some)
            if failpoints.ARMED:
                failpoints.hit("files.written")
            yield _PagedDraft(Ref(number, len(body)))
        except BaseException:
            self._engine.write(_abandon, key, number)
            raise

    def begin(self, size: int) -> Draft:
        """Take room for `size` bytes that the caller writes into `memory`: in this process."""
        return _PagedDraft(Ref(self._ids.next(), size), bytearray(size))

    def memory(self, draft: Draft) -> memoryview:
        """Return the bytes of a draft that was begun, writable."""
        assert isinstance(draft, _PagedDraft)
        assert draft.memory is not None
        return memoryview(draft.memory)

    def abandon(self, draft: Draft, *, writer: int = 0) -> None:
        """Give back what was begun and not sealed."""
        assert isinstance(draft, _PagedDraft)
        draft.memory = None

    def seal(self, tx: Transaction, draft: Draft) -> None:
        """Make the draft a blob with one user, in the transaction that stores its `ref`."""
        assert isinstance(draft, _PagedDraft)
        if draft.memory is not None:
            for number, at in enumerate(range(0, len(draft.memory), _PAGE_BYTES)):
                page = bytes(draft.memory[at : at + _PAGE_BYTES])
                tx.put(PAGE.int(draft.ref.at) + pack_int(number), page)
        tx.delete(self._engine.session.held_key("paged", draft.ref.at))
        tx.put(PAGED.int(draft.ref.at), _encode(_Paged(draft.ref.size, 1)))

    def retain(self, tx: Transaction, ref: Ref, users: int = 1) -> None:
        """Add users to a blob."""
        paged = _get(tx, ref)
        paged.users += users
        tx.put(PAGED.int(ref.at), _encode(paged))

    def release(self, tx: Transaction, ref: Ref) -> None:
        """Take one user from a blob; the last one's leaving frees it."""
        paged = _get(tx, ref)
        paged.users -= 1
        if paged.users:
            tx.put(PAGED.int(ref.at), _encode(paged))
        else:
            tx.delete(PAGED.int(ref.at))
            _delete_pages(tx, ref.at)

    def users(self, tx: Transaction, ref: Ref) -> int:
        """Return how many users a blob has; 0 if there is no such blob."""
        value = tx.get(PAGED.int(ref.at))
        return 0 if value is None else _decode(value).users

    def pins_of(self, tx: Transaction, ref: Ref) -> int:
        """Return 0: reading copies."""
        return 0

    def view(self, tx: Transaction, ref: Ref) -> memoryview:
        """Return a copy of the bytes."""
        _get(tx, ref)
        pages = Prefix(ref.at, of=PAGE)
        return memoryview(b"".join(page for _, page in tx.range(pages.begin, pages.end)))

    def check(self, tx: Transaction) -> list[str]:
        """Return what is wrong: each blob must have all its pages."""
        problems: list[str] = []
        for key, value in tx.range(PAGED.begin, PAGED.end):
            number = PAGED.tail(key)[0]
            assert isinstance(number, int)
            size, wanted = len(self.view(tx, Ref(number, 0))), _decode(value).size
            if size != wanted:
                problems.append(f"paged blob {number:016x} has {size} of {wanted} bytes")
        return problems


def _padded(buffer: memoryview) -> bytes:
    return bytes(buffer) + bytes(-len(buffer) % _ALIGNMENT)


def _get(tx: Transaction, ref: Ref) -> _Paged:
    value = tx.get(PAGED.int(ref.at))
    if value is None:
        raise NotFoundError(f"there is no paged blob {ref.at:016x}")
    return _decode(value)


def _put_pages(tx: Transaction, key: bytes, number: int, first: int, pages: list[bytes]) -> None:
    tx.put(key, b"")
    for at, page in enumerate(pages, first):
        tx.put(PAGE.int(number) + pack_int(at), page)


def _delete_pages(tx: Transaction, number: int) -> None:
    pages = Prefix(number, of=PAGE)
    for key, _ in tx.range(pages.begin, pages.end):
        tx.delete(key)


def _abandon(tx: Transaction, key: bytes, number: int) -> None:
    if tx.delete(key):
        _delete_pages(tx, number)


def _release_paged(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
    number = unpack(rest)[0]
    assert isinstance(number, int)
    _delete_pages(tx, number)
