"""What a transaction does to a buffer of lines; the keys are drawn in `records`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from entrepot import settings
from entrepot.engine.held import held_key
from entrepot.engine.keys import after, pack_int, unpack
from entrepot.engine.protocol import Transaction
from entrepot.errors import ClosedError, ConditionError, NotFoundError
from entrepot.layers.lines.records import (
    BLOCK,
    BUFFER,
    LINE,
    PARTIAL,
    Block,
    Buffer,
    Entry,
    Kind,
    LinesStretch,
    Origin,
    Partial,
    arrived_of,
    count_of,
    decode_block,
    decode_buffer,
    decode_partial,
    encode,
    encode_block,
)
from entrepot.layers.lines.texts import cut, joined, shown

__all__ = [
    "By",
    "change",
    "clear",
    "delete",
    "disown",
    "end_partials",
    "find",
    "has_any",
    "list_buffers",
    "own",
    "read",
    "release",
    "trim",
    "write",
]

_BLOCKS_AT_ONCE: Final = 256
_TRIMMED_MIN: Final = 16
"""Blocks that a write drops at most, and twice as many as it brings lines."""


class By(NamedTuple):
    """Who writes."""

    origin: Origin
    number: int
    """Of the writer, in its tier: each has its own partial line."""
    session: int
    progress: bool = False


# Buffers.


def find(tx: Transaction, name: str) -> Buffer | None:
    """Return a buffer, or None."""
    raw = tx.get(BUFFER.str(name))
    return None if raw is None else decode_buffer(raw)


def list_buffers(tx: Transaction) -> list[tuple[str, Buffer]]:
    """Return the buffers, by name."""
    found = tx.range(BUFFER.begin, BUFFER.end)
    return [(str(BUFFER.tail(key)[0]), decode_buffer(raw)) for key, raw in found]


def has_any(tx: Transaction) -> bool:
    """Tell whether there is a buffer."""
    return bool(tx.range(BUFFER.begin, BUFFER.end, limit=1))


def change(
    tx: Transaction,
    name: str,
    made: Buffer,
    max_lines: int | None = None,
    max_bytes: int | None = None,
    max_age_ns: int | None = None,
    is_closed: bool | None = None,
    is_stopped: bool | None = None,
) -> None:
    """Set what is given of a buffer, which is made if it is not there."""
    buffer = find(tx, name) or msgspec.structs.replace(made)
    if max_lines is not None:
        buffer.max_lines = max_lines
    if max_bytes is not None:
        buffer.max_bytes = max_bytes
    if max_age_ns is not None:
        buffer.max_age_ns = max_age_ns
    if is_closed is not None:
        buffer.is_closed = is_closed
    if is_stopped is not None:
        buffer.is_stopped = is_stopped
    _bound(tx, buffer, 0)
    _put(tx, BUFFER.str(name), buffer)


def clear(tx: Transaction, name: str) -> bool:
    """Drop all entries and partial lines; tell whether `trim` has to be called for the rest."""
    buffer = find(tx, name)
    if buffer is None:
        return False
    begin = PARTIAL.int(buffer.id)
    for key, raw in tx.range(begin, after(begin)):
        writer = PARTIAL.tail(key)[1]
        assert isinstance(writer, int)
        tx.delete(held_key(decode_partial(raw).session, "lines", buffer.id, writer))
        tx.delete(key)
    buffer.partials = 0
    buffer.first = buffer.next
    has_more = _drop_hidden(tx, buffer, settings.BATCH_KEYS)
    _put(tx, BUFFER.str(name), buffer)
    return has_more


def trim(tx: Transaction, name: str, now_ns: int) -> bool:
    """Drop what nobody sees any more, or is too old; tell whether there is more of that."""
    buffer = find(tx, name)
    if buffer is None:
        return False
    _bound(tx, buffer, now_ns)
    has_more = _drop_hidden(tx, buffer, settings.BATCH_KEYS)
    tx.put(BUFFER.str(name), encode(buffer))
    return has_more


def delete(tx: Transaction, name: str, owner: int | None = None) -> bool:
    """Delete a buffer, or a part of what is in it; tell whether it has to be called again."""
    if clear(tx, name):
        return True
    key = BUFFER.str(name)
    if owner is not None:
        tx.delete(held_key(owner, "lines-buffer", name))
    tx.delete(key)
    tx.ring(key)
    return False


def own(tx: Transaction, name: str, made: Buffer, session: int) -> None:
    """Have a buffer go with a session."""
    change(tx, name, made)
    tx.put(held_key(session, "lines-buffer", name), b"")


def disown(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
    """Delete a buffer whose owner is dead."""
    (name,) = unpack(rest)
    while delete(tx, str(name)):
        pass


def _put(tx: Transaction, key: bytes, buffer: Buffer) -> None:
    tx.put(key, encode(buffer))
    tx.ring(key)


# Writing.


def write(
    tx: Transaction,
    name: str,
    made: Buffer | None,
    by: By,
    lines: Sequence[str],
    rest: str,
    has_partial: bool,
    now_ns: int,
    kind: Kind = LINE,
    ends: bool = False,
    obeys: bool = False,
) -> int:
    """Append what a writer wrote; return the number of the next entry to come.

    Args:
        tx: The transaction.
        name: The buffer.
        made: What the buffer is if it is not there; None: it is not made.
        by: Who writes.
        lines: Finished lines, of which the first goes on with the writer's partial line, unless
            `ends` is set; or the report of a warning or an error.
        rest: What is behind the last line: the partial line from now on.
        has_partial: Whether the writer may have one already.
        now_ns: When.
        kind: What `lines` are.
        ends: Finish the partial line first; there is no `rest` then.
        obeys: Refuse this when writers are asked to stop.

    Raises:
        ClosedError: The buffer is closed.
        ConditionError: Writers are asked to stop.
        NotFoundError: It is not there, and is not made.
    """
    key = _key_of(name)
    raw = tx.get(key)
    if raw is not None:
        buffer = decode_buffer(raw)
    elif made is not None:
        buffer = msgspec.structs.replace(made)
    else:
        raise NotFoundError(f"there are no lines {name!r}")
    if buffer.is_closed:
        raise ClosedError(f"the lines {name!r} are closed", "Lines.reopen opens them again")
    if obeys and buffer.is_stopped:
        raise ConditionError(f"the lines {name!r} ask their writers to stop")
    before = buffer.next
    if now_ns > buffer.latest_ns:  # time does not run backwards in a buffer
        buffer.latest_ns = now_ns
    partial = _take_partial(tx, buffer, by.number) if has_partial else None
    if ends or kind != LINE:
        if partial is not None:
            _append(tx, buffer, LINE, by.origin, [shown(partial.text)])
    elif partial is not None or by.progress:
        before_text = "" if partial is None else partial.text
        if lines:
            first = shown(joined(before_text, lines[0], progress=by.progress))
            lines = [*cut([first]), *lines[1:]]
            before_text = ""
        rest = joined(before_text, rest, progress=by.progress)
    if len(rest) > settings.LINE_CHARS_MAX:
        *more, rest = cut([rest])
        lines = [*lines, *more]
    if lines:
        _append(tx, buffer, kind, by.origin, lines)
    if rest:
        _put_partial(tx, name, buffer, by, rest)
    _bound(tx, buffer, now_ns)
    if buffer.oldest < buffer.first or buffer.size > buffer.max_bytes:
        _drop_hidden(tx, buffer, 2 * (buffer.next - before) + _TRIMMED_MIN)
    _put(tx, key, buffer)
    return buffer.next


_key_of = functools.lru_cache(maxsize=1000)(BUFFER.str)


def _append(
    tx: Transaction, buffer: Buffer, kind: Kind, origin: Origin, texts: Sequence[str]
) -> None:
    """Append entries as blocks."""
    if kind != LINE or len(texts) == 1:
        _put_block(tx, buffer, kind, origin, list(texts))
        return
    block: list[str] = []
    size = 0
    for text in texts:
        if block and size + len(text) > settings.BLOCK_BYTES_MAX:
            _put_block(tx, buffer, kind, origin, block)
            block, size = [], 0
        block.append(text)
        size += len(text) + 3
    _put_block(tx, buffer, kind, origin, block)


def _put_block(
    tx: Transaction, buffer: Buffer, kind: Kind, origin: Origin, texts: list[str]
) -> None:
    count = len(texts) if kind == LINE else 1
    raw = encode_block(Block(kind, *origin, texts), count, buffer.latest_ns)
    tx.put(BLOCK.int(buffer.id) + pack_int(buffer.next), raw)
    buffer.size += len(raw)
    buffer.next += count


def _put_partial(tx: Transaction, name: str, buffer: Buffer, by: By, text: str) -> None:
    if buffer.partials >= settings.PARTIAL_LINES_MAX:
        _end_oldest_partial(tx, buffer)
    tx.put(
        PARTIAL.int(buffer.id) + pack_int(by.number),
        encode(Partial(by.session, *by.origin, buffer.latest_ns, text)),
    )
    tx.put(
        held_key(by.session, "lines", buffer.id, by.number), name.encode("utf-8", "surrogatepass")
    )
    buffer.partials += 1


def _take_partial(tx: Transaction, buffer: Buffer, writer: int) -> Partial | None:
    raw = tx.pop(PARTIAL.int(buffer.id) + pack_int(writer))
    if raw is None:
        return None  # somebody cleared the buffer
    partial = decode_partial(raw)
    tx.delete(held_key(partial.session, "lines", buffer.id, writer))
    buffer.partials -= 1
    return partial


def _end_oldest_partial(tx: Transaction, buffer: Buffer) -> None:
    begin = PARTIAL.int(buffer.id)
    ((key, _),) = tx.range(begin, after(begin), limit=1)
    writer = PARTIAL.tail(key)[1]
    assert isinstance(writer, int)
    _end_partial(tx, buffer, writer)


def _end_partial(tx: Transaction, buffer: Buffer, writer: int) -> None:
    partial = _take_partial(tx, buffer, writer)
    if partial is not None:
        origin = Origin(partial.host, partial.pid, partial.writer)
        _append(tx, buffer, LINE, origin, [shown(partial.text)])


def end_partials(tx: Transaction, name: str, now_ns: int) -> None:
    """Finish the partial lines of all writers."""
    buffer = find(tx, name)
    if buffer is None or not buffer.partials:
        return
    buffer.latest_ns = max(buffer.latest_ns, now_ns)
    begin = PARTIAL.int(buffer.id)
    for key, _ in tx.range(begin, after(begin)):
        writer = PARTIAL.tail(key)[1]
        assert isinstance(writer, int)
        _end_partial(tx, buffer, writer)
    _bound(tx, buffer, now_ns)
    _drop_hidden(tx, buffer, settings.BATCH_KEYS)
    _put(tx, BUFFER.str(name), buffer)


def release(tx: Transaction, session: int, rest: bytes, value: bytes) -> None:
    """Finish a partial line for its writer, which died."""
    name = value.decode("utf-8", "surrogatepass")
    id, writer = unpack(rest)
    buffer = find(tx, name)
    if buffer is None or buffer.id != id:
        return
    assert isinstance(writer, int)
    raw = tx.get(PARTIAL.int(buffer.id) + pack_int(writer))
    if raw is not None and decode_partial(raw).session == session:
        _end_partial(tx, buffer, writer)
        _bound(tx, buffer, 0)
        _drop_hidden(tx, buffer, _TRIMMED_MIN)
        _put(tx, BUFFER.str(name), buffer)


# Bounds.


def _bound(tx: Transaction, buffer: Buffer, now_ns: int) -> None:
    """Hide what is too much, or too old."""
    if buffer.next - buffer.max_lines > buffer.first:
        buffer.first = buffer.next - buffer.max_lines
    if not buffer.max_age_ns:
        return
    before_ns = now_ns - buffer.max_age_ns
    begin = BLOCK.int(buffer.id)
    for _ in range(_TRIMMED_MIN):
        if not buffer.oldest < buffer.next:
            return
        key = begin + pack_int(buffer.oldest)
        raw = tx.get(key)
        assert raw is not None, "there are no gaps between blocks"
        if arrived_of(raw) >= before_ns:
            return
        tx.delete(key)
        buffer.size -= len(raw)
        buffer.oldest += count_of(raw)
        buffer.first = max(buffer.first, buffer.oldest)


def _drop_hidden(tx: Transaction, buffer: Buffer, limit: int) -> bool:
    """Drop up to `limit` blocks that are hidden, or too many bytes; tell if more of them are left.

    The latest block stays, however large it is.
    """
    begin = BLOCK.int(buffer.id)
    for _ in range(limit):
        if buffer.oldest >= buffer.next:
            return False
        is_hidden = buffer.oldest < buffer.first
        if not is_hidden and buffer.size <= buffer.max_bytes:
            return False
        key = begin + pack_int(buffer.oldest)
        raw = tx.get(key)
        assert raw is not None, "there are no gaps between blocks"
        end = buffer.oldest + count_of(raw)
        if end > buffer.first:
            if buffer.size <= buffer.max_bytes or end >= buffer.next:
                return False
            buffer.first = end
        tx.delete(key)
        buffer.size -= len(raw)
        buffer.oldest = end
    return buffer.oldest < buffer.first


# Reading.


def read(
    tx: Transaction,
    name: str,
    since: int | None,
    limit: int,
    now_ns: int,
    with_partials: bool = False,
) -> LinesStretch:
    """Return entries, oldest first.

    Args:
        tx: The transaction.
        name: The buffer; one that is not there is empty.
        since: The number to begin with; None: the last `limit` there are.
        limit: Most entries.
        now_ns: When: older ones than the buffer's age are not seen.
        with_partials: Return the partial lines too, where nothing is left behind.
    """
    buffer = find(tx, name)
    if buffer is None:
        return LinesStretch(
            [], since if since is not None and since < 1 else 1, 0, 0, [], False, False
        )
    first = _first_seen(tx, buffer, now_ns)
    if since is None:
        begin = max(first, buffer.next - limit)
    else:
        begin = min(max(first, since), buffer.next)
    end = min(begin + limit, buffer.next)
    entries, size = list[Entry](), 0
    prefix = BLOCK.int(buffer.id)
    at = prefix + pack_int(begin)
    found = tx.range(prefix, at + b"\x00", limit=1, reverse=True) if begin < end else []
    number = begin
    while found:
        for key, raw in found:
            number = int.from_bytes(key[len(prefix) + 1 :], "big")
            if number >= end or (entries and size > settings.RECORDS_BYTES_MAX and since):
                end = min(end, number)
                break
            entries += _entries(number, raw, begin, end)
            size += len(raw)
        last = found[-1][0]
        if number >= end or begin >= end:
            break
        found = tx.range(last + b"\x00", after(prefix), limit=_BLOCKS_AT_ONCE)
    following = entries[-1].number + 1 if entries else begin
    missed = 0 if since is None else max(first - max(since, 1), 0)
    partials = _partials(tx, buffer) if with_partials and following == buffer.next else []
    return LinesStretch(
        entries,
        following,
        missed,
        buffer.next - following,
        partials,
        buffer.is_closed,
        buffer.is_stopped,
    )


def _entries(number: int, raw: bytes, begin: int, end: int) -> list[Entry]:
    block = decode_block(raw)
    arrived_ns = arrived_of(raw)
    origin = block.host, block.pid, block.writer
    if block.kind != LINE:
        return [Entry(number, block.kind, tuple(block.texts), arrived_ns, *origin)]
    skipped = max(begin - number, 0)
    texts = block.texts[skipped : end - number]
    return [
        Entry(at, LINE, (text,), arrived_ns, *origin)
        for at, text in enumerate(texts, number + skipped)
    ]


def _first_seen(tx: Transaction, buffer: Buffer, now_ns: int) -> int:
    """Return the number of the oldest entry that is not too old."""
    if not buffer.max_age_ns:
        return buffer.first
    before_ns = now_ns - buffer.max_age_ns
    begin = BLOCK.int(buffer.id)
    low, high = buffer.first, buffer.next
    while low < high:  # the answer is from `low` to `high`
        middle = (low + high) // 2
        ((key, raw),) = tx.range(begin, begin + pack_int(middle) + b"\x00", limit=1, reverse=True)
        number = int.from_bytes(key[len(begin) + 1 :], "big")
        if arrived_of(raw) < before_ns:
            low = number + count_of(raw)
        else:
            high = max(number, low)
    return low


def _partials(tx: Transaction, buffer: Buffer) -> list[Entry]:
    if not buffer.partials:
        return []
    begin = PARTIAL.int(buffer.id)
    found = [decode_partial(raw) for _, raw in tx.range(begin, after(begin))]
    return [
        Entry(0, LINE, (shown(p.text),), p.arrived_ns, p.host, p.pid, p.writer)
        for p in sorted(found, key=lambda p: p.arrived_ns)
    ]
