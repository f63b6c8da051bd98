"""What clients on this machine see of the arena: which bytes, for how long.

A client maps the whole file once. Bytes that it was told of stay where they are until it gives
them back or leaves, even if the object is deleted, and whoever deletes it. Only when memory runs
out, what is deleted for everybody else is taken back, oldest first: vineyard's Python client
never gives back what it has read, so a long-lived one would fill the memory otherwise.

What does not lie in the arena (small values in the catalog, pickles in pieces) is copied there
when such a client asks for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import entrepot
from entrepot.arena.region import copy_into
from entrepot.errors import OutOfMemoryError
from entrepot.layers.objects.assembly import Assembly, BlobDraft, Loan
from entrepot.vineyard._errors import NotEnoughMemoryException

__all__ = ["Lender", "Place"]

_KEPT_MAX = 1 << 16
"""Beyond it, what was deleted long ago is not kept for anybody."""
_Taken = TypeVar("_Taken")


class Place(NamedTuple):
    """Where the bytes of a blob are."""

    at: int
    """In the arena."""
    size: int


class _Kept:
    """A blob that some client looks at."""

    __slots__ = ("borrowers", "copy", "key", "place", "writer")

    def __init__(self, place: Place, key: bytes, copy: BlobDraft | None) -> None:
        self.place = place
        self.key = key
        """Of the loan, if it lies in the arena."""
        self.copy = copy
        """Of the bytes, if they do not."""
        self.borrowers: set[object] = set()
        self.writer: object = None
        """The borrower who has only written it, and never asked where it is."""


class Lender:
    """The bytes that the clients of one gateway look at. For any thread."""

    def __init__(self, depot: entrepot.Depot) -> None:
        """Take the depot that is served."""
        tier = depot.attached.volatile
        self._assembly = Assembly(tier)
        self._arena = depot.attached.arena
        self._lock = threading.RLock()
        self._kept: dict[int, _Kept] = {}
        """By blob, the oldest first."""
        self._borrowed: dict[object, set[int]] = {}
        self._kept_max = _KEPT_MAX
        self._writers: dict[int, set[object]] = {}
        """By process: its connections on which it writes blobs."""

    @property
    def descriptor(self) -> int:
        """The file that clients map."""
        return self._arena.descriptor

    @property
    def bound(self) -> int:
        """How many bytes of it they map."""
        return self._arena.bound

    def add_writer(self, pid: int, connection: object) -> None:
        """Note that a process begins to write blobs itself, before it can."""
        with self._lock:
            if pid not in self._writers:
                self._assembly.add_writer(pid)
            self._writers.setdefault(pid, set()).add(connection)

    def remove_writer(self, pid: int, connection: object) -> None:
        """Note that a process does not write blobs on a connection any more."""
        with self._lock:
            connections = self._writers.get(pid, set())
            connections.discard(connection)
            if not connections and self._writers.pop(pid, None) is not None:
                self._assembly.remove_writer(pid)

    def lend(
        self, borrower: object, ids: Sequence[int], bytes_of: Callable[[int], memoryview | None]
    ) -> dict[int, Place]:
        """Return where blobs are, and keep them there for a borrower.

        Args:
            borrower: Who looks at them: any object.
            ids: The blobs. Those that do not exist are left out.
            bytes_of: Returns the bytes of a blob that does not lie in the arena.

        Raises:
            OutOfMemoryError: One had to be copied, and there is no room.
        """
        with self._lock:
            there = [id for id in dict.fromkeys(ids) if self._assembly.exists(id)]
            fresh = [id for id in there if id not in self._kept]
            if fresh:
                try:
                    self._keep(fresh, bytes_of)
                except BaseException:
                    self._end([id for id in fresh if id in self._kept])
                    raise
            mine = self._borrowed.setdefault(borrower, set())
            places: dict[int, Place] = {}
            for id in there:
                kept = self._kept.get(id)
                if kept is not None:
                    kept.borrowers.add(borrower)
                    if kept.writer is borrower:
                        kept.writer = None
                    mine.add(id)
                    places[id] = kept.place
            return places

    def keep(self, borrower: object, id: int, loan: Loan) -> None:
        """Take over a loan of a blob for a borrower, who has written it."""
        with self._lock:
            self._make_few(1)
            kept = self._kept.get(id)
            if kept is None:
                kept = self._kept[id] = _Kept(Place(loan.at, loan.size), loan.key, None)
                kept.writer = borrower
            else:  # somebody who knew its id was lent it meanwhile
                self._assembly.end_loans([loan.key])
            kept.borrowers.add(borrower)
            self._borrowed.setdefault(borrower, set()).add(id)

    def _make_few(self, more: int) -> None:
        """Forget the oldest that are deleted, now and then: a table without end would be slow."""
        if len(self._kept) + more > self._kept_max:
            self._drop_deleted(list(self._kept)[: len(self._kept) // 2])
            self._kept_max = max(_KEPT_MAX, 2 * len(self._kept))

    def _keep(self, ids: Sequence[int], bytes_of: Callable[[int], memoryview | None]) -> None:
        self._make_few(len(ids))
        for id, loan in self._assembly.lend(ids).items():
            self._kept[id] = _Kept(Place(loan.at, loan.size), loan.key, None)
        for id in ids:
            body = bytes_of(id) if id not in self._kept else None
            if body is not None:
                size = len(body)
                draft = self.with_room(lambda size=size: self._assembly.begin_blob(size or 1))
                copy_into(draft.memory[: len(body)], body)
                self._kept[id] = _Kept(Place(draft.draft.ref.at, len(body)), b"", draft)

    def with_room(self, take: Callable[[], _Taken]) -> _Taken:
        """Call what takes memory; where there is none, drop copies of the deleted, and call again.

        (The arena itself has taken back by then what was deleted and only lent.)
        """
        try:
            return take()
        except (OutOfMemoryError, NotEnoughMemoryException):
            with self._lock:
                has_room = self._drop_deleted([id for id, kept in self._kept.items() if kept.copy])
            if not has_room:
                raise
            return take()

    def _drop_deleted(self, ids: Sequence[int]) -> bool:
        """Forget those that are deleted; tell whether there were some."""
        with self._lock:
            gone = [id for id in ids if not self._assembly.exists(id)]
            for id in gone:
                for borrower in self._kept[id].borrowers:
                    self._borrowed[borrower].discard(id)
            self._end(gone)
        return bool(gone)

    def give_back(self, borrower: object, ids: Iterable[int]) -> None:
        """Note that a borrower does not look at some blobs any more."""
        with self._lock:
            mine = self._borrowed.get(borrower, set())
            some = mine.intersection(ids)
            mine -= some
            self._end([id for id in some if self._leave(borrower, id)])

    def give_back_written(self, borrower: object, ids: Iterable[int]) -> None:
        """As `give_back`, of what the borrower has only written: it may look at the rest."""
        with self._lock:
            some = [id for id in ids if id in self._kept and self._kept[id].writer is borrower]
            self.give_back(borrower, some)

    def give_all_back(self, borrower: object) -> None:
        """Note that a borrower is gone."""
        with self._lock:
            mine = self._borrowed.pop(borrower, set())
            self._end([id for id in mine if self._leave(borrower, id)])

    def _leave(self, borrower: object, id: int) -> bool:
        kept = self._kept.get(id)
        if kept is None:
            return False
        kept.borrowers.discard(borrower)
        return not kept.borrowers

    def _end(self, ids: Sequence[int]) -> None:
        over = [self._kept.pop(id) for id in ids]
        self._assembly.end_loans([kept.key for kept in over if kept.key])
        for kept in over:
            if kept.copy is not None:
                self._assembly.drop_blob(kept.copy)

    def is_borrowed(self, id: int) -> bool:
        """Tell whether some client looks at a blob."""
        with self._lock:
            return id in self._kept

    def has(self, borrower: object, id: int) -> bool:
        """Tell whether a borrower looks at a blob."""
        with self._lock:
            return id in self._borrowed.get(borrower, ())
