"""Plain bytes as objects: stored as they are, looked at without a copy.

An id may be promised before there are bytes for it; who waits for it is woken when they come.

Keys::

    ("held", session, "owned", id)  -> nothing: the object goes when the session ends

Bell: the key of the object, rung by `RawBytes.keep`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from entrepot import settings
from entrepot.arena.bulk import Bulk, Draft
from entrepot.arena.region import copy_into
from entrepot.engine.held import held_key
from entrepot.engine.keys import unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import ConflictError, TypeMismatchError
from entrepot.layers import values
from entrepot.layers.objects import core
from entrepot.layers.objects.core import object_key
from entrepot.layers.tier import Found, Tier
from entrepot.waiting import Deadline

__all__ = ["Parts", "RawBytes", "register"]

Parts = Sequence[memoryview]
"""Bytes in pieces, which are stored one right after the other."""

_Planned = tuple[int, bytes | tuple[values.Encoded, Draft]]


def register(tier: Tier) -> None:
    """Tell a tier's engine what becomes of the objects that the dead owned."""
    tier.engine.on_release("owned", _release(tier.bulk))


def _release(bulk: Bulk) -> Callable[[Transaction, int, bytes, bytes], None]:
    def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
        with suppress(ConflictError):  # it is a member of a tree now, and goes with that
            core.delete_many(tx, bulk, [core.as_int(unpack(rest)[0])], False, False)

    return release


class RawBytes:
    """The objects of a depot that are plain bytes."""

    def __init__(self, tier: Tier) -> None:
        self._engine = tier.engine
        self._bulk = tier.bulk
        self._ids = tier.ids

    def put(self, parts: Parts) -> int:
        """Store bytes; return their id. Copied once, whatever pieces they come in.

        Raises:
            OutOfMemoryError: The depot is full.
        """
        record = _record(parts)
        number = self._ids.next()
        if record is not None:
            self._engine.write(core.put_record, object_key(number), record)
        else:
            with self._draft(parts) as planned:
                self._engine.write(self._store, [(number, planned)], False)
        return number

    def put_many(self, many: Sequence[Parts]) -> list[int]:
        """Store several, all or none, in one transaction; return their ids in order."""
        with ExitStack() as stack:
            planned = [(self._ids.next(), self._plan(stack, parts)) for parts in many]
            self._engine.write(self._store, planned, False)
        return [number for number, _ in planned]

    def promise(self) -> int:
        """Return an id that nobody else gets, for `keep`."""
        return self._ids.next()

    def keep(self, id: int, parts: Parts) -> None:
        """Store bytes under an id, in place of what is there, and wake who waits for it."""
        with ExitStack() as stack:
            self._engine.write(self._store, [(id, self._plan(stack, parts))], True)

    def get(self, id: int) -> memoryview | None:
        """Return the bytes, read-only, without a copy if they are many; None if there are none.

        They stay as they are while a view of them lives, even if the object is deleted.

        Raises:
            TypeMismatchError: The object is something else than bytes.
        """
        record = self._engine.get(object_key(id))
        if record is None:
            return None
        if record[0] < values.BULK:
            return _body(id, (record, None))
        found = self._engine.read(core.get_record, self._bulk, object_key(id))
        return None if found is None else _body(id, found)

    def get_many(self, ids: Sequence[int]) -> list[memoryview | None]:
        """Return several as they were at one moment, in order; None in the place of missing."""
        found = self._engine.read(self._read, ids)
        return [None if item is None else _body(id, item) for id, item in zip(ids, found)]  # noqa: B905 one for each

    def exists(self, id: int) -> bool:
        """Tell whether there is such an object."""
        return self._engine.get(object_key(id)) is not None

    def delete(self, id: int) -> None:
        """Delete an object; one that does not exist is passed over.

        Raises:
            ConflictError: It is a member of a tree.
        """
        if self._engine.write(core.delete_value, self._bulk, id) is None:
            self.delete_many((id,))

    def delete_many(self, ids: Sequence[int]) -> int:
        """Delete objects; return how many are gone. Those that do not exist are passed over.

        Raises:
            ConflictError: One is a member of a tree.
        """
        return len(self._engine.write(core.delete_many, self._bulk, list(ids), False, False))

    def own(self, ids: Sequence[int]) -> None:
        """Let objects go when this session ends, if they are not deleted or disowned before.

        Raises:
            OutOfMemoryError: The depot is full.
        """
        if ids:
            self._engine.write(_own, self._engine.session.id, ids)

    def disown(self, ids: Sequence[int]) -> None:
        """Undo `own`."""
        if ids:
            self._engine.write(_disown, self._engine.session.id, ids)

    def delete_owned(self, id: int) -> None:
        """Delete an object, which this session owns no more.

        Raises:
            ConflictError: It is a member of a tree.
        """
        self._engine.write(_delete_owned, self._bulk, self._engine.session.id, id)

    def wait(self, id: int, timeout: float | None = None) -> bool:
        """Wait until there are bytes under an id; False when `timeout` seconds passed."""
        deadline = Deadline(timeout)
        bells = [object_key(id)]
        while True:
            seen = self._engine.listen(bells)
            if self.exists(id):
                return True
            if deadline.left() == 0:
                return False
            self._engine.wait(bells, seen, deadline.left())

    def _read(self, tx: Transaction, ids: Sequence[int]) -> list[Found | None]:
        return [core.get_record(tx, self._bulk, object_key(id)) for id in ids]

    def _plan(self, stack: ExitStack, parts: Parts) -> bytes | tuple[values.Encoded, Draft]:
        record = _record(parts)
        return stack.enter_context(self._draft(parts)) if record is None else record

    @contextmanager
    def _draft(self, parts: Parts) -> Generator[tuple[values.Encoded, Draft]]:
        """Take room, and write the pieces there."""
        if len(parts) == 1:
            with self._bulk.draft(parts) as draft:
                yield values.Encoded(values.BYTES, b"", [parts[0]]), draft
            return
        size = sum(map(len, parts))
        draft = self._bulk.begin(size)
        try:
            whole = self._bulk.memory(draft)[:size]
            at = 0
            for part in parts:
                copy_into(whole[at : at + len(part)], part)
                at += len(part)
            yield values.Encoded(values.BYTES, b"", [whole]), draft
        except BaseException:
            self._bulk.abandon(draft)
            raise

    def _store(self, tx: Transaction, planned: Sequence[_Planned], replaces: bool) -> None:
        for number, what in planned:
            key = object_key(number)
            if replaces:
                core.delete_many(tx, self._bulk, [number], False, False)
                tx.ring(key)
            if isinstance(what, bytes):
                core.put_record(tx, key, what)
            else:
                self._bulk.seal(tx, what[1])
                core.put_record(tx, key, values.bulk_record(what[0], what[1].ref))


def _own(tx: Transaction, session: int, ids: Sequence[int]) -> None:
    for id in ids:
        tx.put(held_key(session, "owned", id), b"")


def _disown(tx: Transaction, session: int, ids: Sequence[int]) -> None:
    for id in ids:
        tx.delete(held_key(session, "owned", id))


def _delete_owned(tx: Transaction, bulk: Bulk, session: int, id: int) -> None:
    tx.delete(held_key(session, "owned", id))
    if core.delete_value(tx, bulk, id) is None:
        core.delete_many(tx, bulk, [id], False, False)


def _record(parts: Parts) -> bytes | None:
    """Return the record of few bytes; None for many."""
    if sum(map(len, parts)) > settings.INLINE_BYTES_MAX:
        return None
    record = values.encode_blob(parts[0] if len(parts) == 1 else memoryview(b"".join(parts)))
    assert isinstance(record, bytes)
    return record


def _body(id: int, found: Found) -> memoryview:
    if not values.is_blob(found[0]):
        raise TypeMismatchError(
            f"object {id:016x} is no bytes", "depot.objects.get() returns what it is"
        )
    return values.blob_body(*found)
