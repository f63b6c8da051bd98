"""Objects put together from parts, and blobs written in place: for faces and gateways.

`Objects` stores whole values. Programs that speak of blobs and metadata instead (vineyard's
API and its wire protocol) build the same objects here: a `Node` with its members, new or
old, is stored in one transaction, so a process that dies midway leaves no half of it.

A blob of its own has an id with the highest bit set. The bytes of an array that was put whole
have one too: that of the object, with this bit. It becomes a blob of its own, that shares the
memory, when it is made a member of something else.

Keys::

    ("mark", id)  -> Marks: what may change of an object that is otherwise sealed

Bell: the key of a blob, rung when what was written in place is sealed.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from entrepot import settings
from entrepot.arena import loans, writers
from entrepot.arena.bulk import Draft, Ref
from entrepot.engine.protocol import Transaction
from entrepot.errors import LimitError
from entrepot.layers import names, values
from entrepot.layers.objects import core
from entrepot.layers.objects.core import OBJECT, object_key
from entrepot.layers.tier import Found, Tier, open_record
from entrepot.waiting import Deadline

__all__ = ["BLOB_BIT", "Assembly", "BlobDraft", "Leaf", "Loan", "Marks", "Node", "Snapshot"]

BLOB_BIT = 1 << 63
MARK = core.MARK


class Leaf(NamedTuple):
    """A value that is stored whole."""

    record: bytes | values.Encoded
    is_blob: bool = False
    """Give it the id of a blob."""


class Loan(NamedTuple):
    """Bytes that stay where they are for a program without a session."""

    at: int
    """Where in the arena they begin."""
    size: int
    key: bytes
    """What ends it."""


class Node(NamedTuple):
    """An object made of plain fields and of members: new ones, or ids of old ones."""

    typename: str
    fields: Mapping[str, Any]
    members: Mapping[str, Node | Leaf | int]


class Marks(msgspec.Struct, array_like=True):
    """What may change of a sealed object."""

    persistent: bool = False
    labels: dict[str, str] = {}


class Snapshot(NamedTuple):
    """Objects and all that they are made of, as they were at one moment."""

    found: dict[int, Found]
    marks: dict[int, Marks]
    parts: dict[int, int]
    """Ids of blobs that are the bytes of a value put whole, and the ids of those values."""


_encode = msgspec.msgpack.Encoder().encode
_decode_marks = msgspec.msgpack.Decoder(Marks).decode


def _no_bytes() -> bytes:
    record = values.encode_blob(memoryview(b""))
    assert isinstance(record, bytes)
    return record


_NO_BYTES = _no_bytes()


class BlobDraft:
    """A blob that is being written in place."""

    def __init__(self, id: int, draft: Draft, memory: memoryview) -> None:
        self.id = id
        self.draft = draft
        self.memory = memory
        """Its bytes, writable."""
        self._viewed: weakref.ref[Any] | None = None
        with contextlib.suppress(TypeError):  # of the durable tier, whose bytes are private
            self._viewed = weakref.ref(memory.obj)

    @property
    def is_viewed(self) -> bool:
        """Whether somebody has a view of its bytes."""
        return self._viewed is not None and self._viewed() is not None


class Assembly:
    """The objects of a depot, from below."""

    def __init__(self, tier: Tier) -> None:
        self._engine = tier.engine
        self._bulk = tier.bulk
        self._ids = tier.ids

    # Building.

    def build(self, parts: Sequence[Node | Leaf]) -> list[int]:
        """Store objects with all their new members, all or none; return their ids.

        Raises:
            NotFoundError: A member that is given by its id does not exist.
            OutOfMemoryError: The depot is full.
            TypeMismatchError: A field is of a type that no other language could read.
        """
        leaves: list[tuple[int, bytes | values.Encoded]] = []
        trees: list[tuple[int, bytes, list[int]]] = []
        ids = [self._plan(part, leaves, trees) for part in parts]
        with contextlib.ExitStack() as stack:
            drafts = {
                number: stack.enter_context(self._bulk.draft(record.buffers))
                for number, record in leaves
                if not isinstance(record, bytes)
            }
            self._engine.write(self._store, leaves, drafts, trees)
        return ids

    def _plan(
        self,
        part: Node | Leaf | int,
        leaves: list[tuple[int, bytes | values.Encoded]],
        trees: list[tuple[int, bytes, list[int]]],
    ) -> int:
        if isinstance(part, int):
            return int(part)
        number = self._ids.next()
        if isinstance(part, Leaf):
            if part.is_blob:
                number |= BLOB_BIT
            leaves.append((number, part.record))
            return number
        members = {name: self._plan(of, leaves, trees) for name, of in part.members.items()}
        record = values.encode_tree(values.Tree(part.typename, dict(part.fields), members))
        trees.append((number, record, list(members.values())))
        return number

    def _store(
        self,
        tx: Transaction,
        leaves: list[tuple[int, bytes | values.Encoded]],
        drafts: dict[int, Draft],
        trees: list[tuple[int, bytes, list[int]]],
    ) -> None:
        for number, record in leaves:
            if not isinstance(record, bytes):
                draft = drafts[number]
                self._bulk.seal(tx, draft)
                core.put_record(tx, object_key(number), values.bulk_record(record, draft.ref))
            else:
                core.put_record(tx, object_key(number), record)
        for number, record, members in trees:
            self._put_tree(tx, number, record, members)

    def _put_tree(self, tx: Transaction, number: int, record: bytes, members: list[int]) -> None:
        for member in members:
            if member & BLOB_BIT and tx.get(object_key(member)) is None:
                if member == BLOB_BIT:  # the blob without bytes is there when it is needed
                    core.put_record(tx, object_key(member), _NO_BYTES)
                else:
                    self._part(tx, member)
        core.put_tree(tx, number, record, members)

    def _part(self, tx: Transaction, id: int) -> None:
        """Make the bytes of a value that was put whole a blob of its own, without a copy."""
        owner = tx.get(object_key(id ^ BLOB_BIT))
        if owner is None:
            raise core.missing(id)
        record = values.blob_of(owner)
        ref = values.bulk_ref(record)
        if ref is not None:
            self._bulk.retain(tx, ref)
        core.put_record(tx, object_key(id), record)

    def put_blob(self, buffers: Iterable[memoryview]) -> int:
        """Store bytes as a blob of its own, the buffers one after the other; return its id."""
        body = list(buffers)
        whole = body[0] if len(body) == 1 else memoryview(b"".join(body))
        return self.build([Leaf(values.encode_blob(whole), is_blob=True)])[0]

    # Blobs in place.

    def begin_blob(self, size: int) -> BlobDraft:
        """Take room for a blob that the caller writes himself.

        Until it is sealed nobody else sees it; if this process dies, it is gone.

        Raises:
            LimitError: `size` is negative or 0.
            OutOfMemoryError: The depot is full.
        """
        if size <= 0:
            raise LimitError(f"a blob of {size} bytes cannot be written")
        draft = self._bulk.begin(size)
        memory = self._bulk.memory(draft)[:size]
        return BlobDraft(self._ids.next() | BLOB_BIT, draft, memory)

    def seal_blob(self, blob: BlobDraft) -> None:
        """Make a blob that was written visible to all."""
        self._engine.write(self._seal_blob, blob)

    def seal_and_lend(self, blob: BlobDraft) -> Loan:
        """Make a blob visible to all, and keep it where it is until `end_loans`."""
        return self._engine.write(self._seal_and_lend, blob)

    def _seal_blob(self, tx: Transaction, blob: BlobDraft) -> None:
        self._bulk.seal(tx, blob.draft)
        encoded = values.Encoded(values.BYTES, b"", [blob.memory])
        record = values.bulk_record(encoded, blob.draft.ref)
        key = object_key(blob.id)
        core.put_record(tx, key, record)
        tx.ring(key)  # its id was known before: somebody may wait for it

    def _seal_and_lend(self, tx: Transaction, blob: BlobDraft) -> Loan:
        self._seal_blob(tx, blob)
        ref = blob.draft.ref
        key = loans.lend(tx, self._engine, self._bulk, ref)
        return Loan(ref.at, len(blob.memory), key)

    def drop_blob(self, blob: BlobDraft, *, writer: int = 0) -> bool:
        """Give back a blob that was not sealed; False if somebody still has a view of it.

        It is not given back then: what is written through that view would end up in whatever
        lies there next. Try again later.

        Args:
            blob: What was begun.
            writer: The process that `add_writer` noted, if it may still write there: nobody
                gets the memory while it lives.
        """
        blob.memory = memoryview(b"")
        if blob.is_viewed:
            return False
        self._bulk.abandon(blob.draft, writer=writer)
        return True

    def shrink_blob(self, blob: BlobDraft, size: int) -> None:
        """Keep only the first `size` bytes of a blob that is not sealed."""
        blob.memory = blob.memory[:size]

    # Bytes for programs that map the arena themselves.

    def add_writer(self, pid: int) -> None:
        """Note that a process writes blobs itself: if this one dies, it may go on for a while."""
        self._engine.write(writers.note, self._engine, pid)

    def remove_writer(self, pid: int) -> None:
        """Note that a process does not write blobs any more."""
        self._engine.write(writers.forget, self._engine, pid)

    def lend(self, ids: Iterable[int]) -> dict[int, Loan]:
        """Keep the bytes of blobs and arrays where they are until `end_loans`.

        Left out are ids that do not exist, and those whose bytes do not lie in the arena.
        """
        return self._engine.write(self._lend, list(ids))

    def _lend(self, tx: Transaction, ids: list[int]) -> dict[int, Loan]:
        lent: dict[int, Loan] = {}
        for id in ids:
            record = tx.get(object_key(id))
            if record is None and id & BLOB_BIT:
                record = tx.get(object_key(id ^ BLOB_BIT))
                if record is not None and not values.is_array(record):
                    record = None  # its bytes are a pickle's, which lies nowhere in one piece
            body = values.body_ref(record) if record is not None else None
            if body is not None:
                lent[id] = Loan(*body, loans.lend(tx, self._engine, self._bulk, body))
        return lent

    def end_loans(self, keys: Sequence[bytes]) -> None:
        """End loans; those that have ended are passed over."""
        for begin in range(0, len(keys), settings.BATCH_KEYS):
            self._engine.write(self._end_loans, keys[begin : begin + settings.BATCH_KEYS])

    def _end_loans(self, tx: Transaction, keys: Sequence[bytes]) -> None:
        for key in keys:
            loans.take_back(tx, self._bulk, key)

    # Looking.

    def put(self, value: object) -> int:
        """Store a value whole; return its id."""
        record = values.encode(value)
        if not isinstance(record, bytes):
            return self.build([Leaf(record)])[0]
        number = self._ids.next()
        self._engine.write(core.put_record, object_key(number), record)
        return number

    def get(self, id: int) -> Found | None:
        """Return the record of one object, with its bytes pinned; None if there is none."""
        return self._engine.read(core.get_record, self._bulk, object_key(id))

    def read(self, ids: Iterable[int], *, with_bytes: bool = True) -> Snapshot:
        """Return objects with all that they are made of; ids that do not exist are left out.

        Bytes that lie in shared memory are pinned: they stay as they are while a view lives.
        Without `with_bytes`, records of arrays and blobs there come without a view.
        """
        return self._engine.read(self._read, list(ids), with_bytes)

    def _found(self, tx: Transaction, id: int, with_bytes: bool) -> Found | None:
        record = tx.get(object_key(id))
        if record is None:
            return None
        is_plain = id & BLOB_BIT or values.is_array(record)  # bytes put whole are a pickle, too
        if not with_bytes and is_plain and values.body_ref(record) is not None:
            return record, None
        return open_record(tx, self._bulk, record)

    def _read(self, tx: Transaction, ids: list[int], with_bytes: bool) -> Snapshot:
        found: dict[int, Found] = {}
        marks: dict[int, Marks] = {}
        parts: dict[int, int] = {}
        waiting = list(ids)
        while waiting:
            at = waiting.pop()
            if at in found or at in parts:
                continue
            item = self._found(tx, at, with_bytes)
            if item is None and at & BLOB_BIT:
                owner = at ^ BLOB_BIT
                if owner in found or tx.get(object_key(owner)) is not None:
                    parts[at] = owner
                    waiting.append(owner)
                continue
            if item is None:
                continue
            found[at] = item
            if not at & BLOB_BIT:
                raw = tx.get(MARK.int(at))
                if raw is not None:
                    marks[at] = _decode_marks(raw)
            tree = values.tree_of(item[0])
            if tree is not None:
                waiting.extend(tree.members.values())
        return Snapshot(found, marks, parts)

    def delete(self, ids: Iterable[int], *, deep: bool, force: bool) -> list[int]:
        """Delete as `Objects.delete` does; return the ids of all that is gone.

        Raises:
            ConflictError: An object is a member of a tree, and `force` is not set.
        """
        return self._engine.write(core.delete_many, self._bulk, list(ids), deep, force)

    def exists(self, id: int) -> bool:
        """Tell whether there is such an object or blob."""
        if self._engine.get(object_key(id)) is not None:
            return True
        return bool(id & BLOB_BIT) and self._engine.get(object_key(id ^ BLOB_BIT)) is not None

    def wait(self, ids: Iterable[int], timeout: float | None = None) -> bool:
        """Wait until there are objects or blobs of these ids; False when `timeout` seconds passed.

        Woken by who seals a blob, and by who keeps a promise (`RawBytes.keep`): no other id is
        known to anybody before there is something. The rest is noticed by who looks again.
        """
        deadline = Deadline(timeout)
        for id in ids:
            # The bytes of a value have an id too: of what will be there, one cannot tell which.
            bells = (
                [object_key(id), object_key(id & ~BLOB_BIT)] if id & BLOB_BIT else [object_key(id)]
            )
            while True:
                seen = self._engine.listen(bells)
                if self.exists(id):
                    break
                if deadline.left() == 0:
                    return False
                self._engine.wait(bells, seen, deadline.left())
        return True

    def find(self, last: int, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` (id, record) behind the id `last`, by id: blobs come last."""
        begin = object_key(last) if last else b""
        items = self._engine.read(core.list_records, begin, limit)
        return [(core.as_int(OBJECT.tail(key)[0]), record) for key, record in items]

    def names(self, matches: Callable[[str], bool], limit: int) -> dict[str, int]:
        """Return up to `limit` names that match, with their ids, by name."""
        return names.find(self._engine, matches, limit)

    # Marks.

    def marks(self, id: int) -> Marks:
        """Return the marks of an object."""
        raw = self._engine.get(MARK.int(id))
        return Marks() if raw is None else _decode_marks(raw)

    def persist(self, id: int) -> None:
        """Mark an object, and all objects that it is made of, as to be kept.

        Raises:
            NotFoundError: There is no such object.
        """
        self._engine.write(self._persist, id)

    def _persist(self, tx: Transaction, id: int) -> None:
        waiting, seen = [id], set[int]()
        while waiting:
            at = waiting.pop()
            if at in seen or at & BLOB_BIT:
                continue
            seen.add(at)
            record = tx.get(object_key(at))
            if record is None:
                raise core.missing(at)
            marks = _marks_of(tx, at)
            if not marks.persistent:
                marks.persistent = True
                tx.put(MARK.int(at), _encode(marks))
            tree = values.tree_of(record)
            if tree is not None:
                waiting.extend(tree.members.values())

    def label(self, id: int, labels: Mapping[str, str]) -> None:
        """Give an object labels, beside those that it has.

        Raises:
            NotFoundError: There is no such object.
        """
        self._engine.write(self._label, id, dict(labels))

    def _label(self, tx: Transaction, id: int, labels: dict[str, str]) -> None:
        if tx.get(object_key(id)) is None:
            raise core.missing(id)
        marks = _marks_of(tx, id)
        marks.labels = marks.labels | labels
        tx.put(MARK.int(id), _encode(marks))

    def copy(self, id: int, extra: Mapping[str, Any]) -> int:
        """Store an object again under a new id, with the same members and bytes.

        Args:
            id: A tree, or a value.
            extra: Fields to add, or to put in the place of fields and members, and perhaps a
                "typename": of a tree only.

        Raises:
            NotFoundError: There is no such object.
            TypeMismatchError: A field is of a type that no other language could read.
        """
        number = self._ids.next()
        self._engine.write(self._copy, id, number, dict(extra))
        return number

    def _copy(self, tx: Transaction, id: int, number: int, extra: dict[str, Any]) -> None:
        record = tx.get(object_key(id))
        if record is None:
            raise core.missing(id)
        tree = values.tree_of(record)
        if tree is None:
            ref: Ref | None = values.bulk_ref(record)
            if ref is not None:
                self._bulk.retain(tx, ref)
            core.put_record(tx, object_key(number), record)
            return
        typename = extra.get("typename", tree.typename)
        fields = dict(tree.fields) | {name: of for name, of in extra.items() if name != "typename"}
        members = {name: of for name, of in tree.members.items() if name not in extra}
        again = values.encode_tree(values.Tree(typename, fields, members))
        self._put_tree(tx, number, again, list(members.values()))


def _marks_of(tx: Transaction, id: int) -> Marks:
    raw = tx.get(MARK.int(id))
    return Marks() if raw is None else _decode_marks(raw)
