"""The checks of the data layer: whatever is damaged is said to be so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.arena import files
from entrepot.engine.keys import pack_int
from entrepot.engine.protocol import Transaction
from entrepot.layers import entries
from entrepot.layers.containers import Container
from entrepot.layers.entries import BODY, CONTAINER, Entry, split
from entrepot.layers.streams import New, Stream, core
from entrepot.layers.tables import Table
from entrepot.layers.tier import Tier
from support.data import data_problems, memory_data_tier


@pytest.fixture
def filled(tmp_path: Path) -> Tier:
    """Return a tier that has something of everything."""
    tier = memory_data_tier(tmp_path / "files")
    Table(tier, "users", "people").put("bob", {"a": 1})
    container = Container(tier, "users")
    container.put("d/small", b"x")
    container.put("d/large", bytes(100_000))
    container.put("people/bob", b"body")
    container.put("d/below/empty", b"")
    stream = Stream(tier, "users", split("clicks"))
    stream.create(2)
    for number in range(3):
        stream.append_many([New(b"%d" % number, 0)] * 2)
    stream.consumer("g").read(timeout=0)
    assert data_problems(tier) == []
    return tier


def entry_of(tx: Transaction, path: str) -> Entry:
    found = entries.find_entry(tx, entries.get_container(tx, "users").id, split(path))
    assert found is not None
    return found


def set_entry(tx: Transaction, path: str, **changed: int) -> None:
    entry = entry_of(tx, path)
    for name, value in changed.items():
        setattr(entry, name, value)
    entries.put_entry(tx, entries.get_container(tx, "users").id, split(path), entry)


def drop_entry(tx: Transaction, path: str) -> None:
    tx.delete(entries.entry_key(entries.get_container(tx, "users").id, split(path)))


def record_key(tx: Transaction, sequence: int) -> bytes:
    return core.RECORD.int(entry_of(tx, "clicks/0").inode) + pack_int(sequence)


def drop_held(tx: Transaction) -> None:
    for key, _ in tx.range(b"\x02held", b"\x02helf"):
        tx.delete(key)


DAMAGES: dict[str, tuple[Callable[[Transaction], object], str]] = {
    "no container": (lambda tx: tx.delete(CONTAINER.str("users")), "which is none"),
    "no directory": (lambda tx: drop_entry(tx, "d/below"), "d/below/empty is in no directory"),
    "object above": (lambda tx: set_entry(tx, "d/below", kind=0), "is in no directory"),
    "no body": (lambda tx: tx.delete(BODY.int(entry_of(tx, "d/small").inode)), "lost its body"),
    "short body": (lambda tx: set_entry(tx, "d/small", size=9), "1 bytes and says 9"),
    "size of nothing": (lambda tx: set_entry(tx, "d/below/empty", size=9), "0 bytes and says 9"),
    "lost body": (lambda tx: tx.put(BODY.int(77), b""), "body 4d belongs to no entry"),
    "body of a directory": (lambda tx: set_entry(tx, "d/below", body=1), "is no object"),
    "lost file": (lambda tx: drop_entry(tx, "d/large"), "is of no use"),
    "given up file": (
        lambda tx: files.give_up(tx, entry_of(tx, "d/large").body),
        "is used and given up",
    ),
    "short file": (lambda tx: set_entry(tx, "d/large", size=100_001), "shorter than its body"),
    "no file": (lambda tx: set_entry(tx, "d/large", body=77), "missing or shorter"),
    "file of two": (
        lambda tx: set_entry(tx, "people/bob", body=entry_of(tx, "d/large").body),
        "two objects",
    ),
    "no stream record": (
        lambda tx: tx.delete(core.STREAM_KEY.int(entry_of(tx, "clicks").inode)),
        "lost its record",
    ),
    "no stream": (lambda tx: set_entry(tx, "clicks", kind=1), "is in no stream"),
    "too many shards": (
        lambda tx: entries.put_entry(
            tx, entries.get_container(tx, "users").id, split("clicks/2"), Entry(3, 99, 1, 1)
        ),
        "is none of the 2",
    ),
    "gap": (lambda tx: tx.delete(record_key(tx, 3)), "gap before record 5"),
    "no last block": (lambda tx: tx.delete(record_key(tx, 5)), "ends at record 4 and says 6"),
    "wrong size": (lambda tx: set_entry(tx, "clicks/0", size=1), "bytes of records and says 1"),
    "lost records": (lambda tx: drop_entry(tx, "clicks/0"), "have no shard"),
    "lost group": (lambda tx: tx.put(core.POSITION.int(77) + b"\x02g\x00", b""), "has no stream"),
    "dead consumer": (drop_held, "is of no session"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_found(filled: Tier, name: str):
    damage, what = DAMAGES[name]
    filled.engine.write(lambda tx: damage(tx) and None)
    assert any(what in problem for problem in data_problems(filled)), data_problems(filled)


def test_a_stranger_among_the_files_is_found(filled: Tier, tmp_path: Path):
    for name in ("0000000000000001", "stranger"):
        (tmp_path / "files" / name).touch()
        assert data_problems(filled) == [f"file {name} is of no use"]
        (tmp_path / "files" / name).unlink()


def test_what_was_deleted_and_not_yet_swept_is_no_problem(filled: Tier):
    from entrepot.layers import containers, streams

    filled.commits.write(core.delete_stream, entries_id(filled), split("clicks"))
    assert data_problems(filled) == []
    filled.commits.write(containers.delete_container, "users")
    assert data_problems(filled) == []
    filled.sweep()
    assert data_problems(filled) == []
    assert filled.engine.read(streams.check) == []


def entries_id(tier: Tier) -> int:
    return tier.engine.read(entries.get_container, "users").id
