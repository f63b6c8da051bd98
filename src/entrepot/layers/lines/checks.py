"""What may be wrong with the lines of a tier: for `Depot.check`."""

from __future__ import annotations

from entrepot.engine.held import held_key
from entrepot.engine.keys import after
from entrepot.engine.protocol import Transaction
from entrepot.layers.lines import core
from entrepot.layers.lines.records import BLOCK, PARTIAL, Buffer, count_of, decode_partial

__all__ = ["check"]


def check(tx: Transaction) -> list[str]:
    """Return what is wrong with buffers, their blocks and their partial lines."""
    problems: list[str] = []
    known = set[int]()
    for name, buffer in core.list_buffers(tx):
        known.add(buffer.id)
        problems += [f"lines {name!r} {what}" for what in _wrong(tx, buffer)]
    for prefix in (BLOCK, PARTIAL):
        lost = {prefix.tail(key)[0] for key, _ in tx.range(prefix.begin, prefix.end)} - known
        problems += [f"lines of {id!r} belong to no buffer" for id in lost]
    return problems


def _wrong(tx: Transaction, buffer: Buffer) -> list[str]:
    wrong: list[str] = []
    number, size = buffer.oldest, 0
    for key, raw in tx.range(BLOCK.int(buffer.id), after(BLOCK.int(buffer.id))):
        if BLOCK.tail(key)[1] != number:
            wrong.append(f"have a gap before entry {BLOCK.tail(key)[1]}")
        number += count_of(raw)
        size += len(raw)
    if number != buffer.next:
        wrong.append(f"end at entry {number - 1} and say {buffer.next - 1}")
    if size != buffer.size:
        wrong.append(f"have {size} bytes and say {buffer.size}")
    if not buffer.oldest <= buffer.next or not buffer.first <= buffer.next:
        wrong.append("begin behind their end")
    partials = tx.range(PARTIAL.int(buffer.id), after(PARTIAL.int(buffer.id)))
    if len(partials) != buffer.partials:
        wrong.append(f"have {len(partials)} partial lines and say {buffer.partials}")
    for key, raw in partials:
        writer = PARTIAL.tail(key)[1]
        assert isinstance(writer, int)
        if tx.get(held_key(decode_partial(raw).session, "lines", buffer.id, writer)) is None:
            wrong.append(f"have a partial line of {writer:x} that no session holds")
    return wrong
