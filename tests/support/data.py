"""The data layer in tests: a tier of each kind that can hold it, and the look around at the end."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import entrepot
from entrepot.arena import PagedBulk
from entrepot.arena.files import Files
from entrepot.engine.ids import Ids
from entrepot.engine.keys import unpack
from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.layers import containers, entries, streams
from entrepot.layers.tier import Tier
from support.homes import memory_directory

__all__ = [
    "DATA_KINDS",
    "TEXT_CODE",
    "data_problems",
    "data_tier",
    "data_tier_of",
    "end_session",
    "memory_data_tier",
    "thorough",
    "two_tiers_of",
]

DATA_KINDS = ("memory", "durable")
"""The executable specification, and LMDB on disk."""
TEXT_CODE = "w" if sys.version_info >= (3, 13) else "u"
"""Of an array of text: the old one is deprecated."""
_SWEEPERS = (containers.sweep, streams.sweep)


def memory_data_tier(files: Path, store: MemoryStore | None = None) -> Tier:
    """Return a tier of a new session on a store."""
    engine = MemoryEngine(store, name="durable")
    ids = Ids(engine)
    tier = Tier(engine, PagedBulk(engine, ids), ids, Files(files, engine, ids), _SWEEPERS)
    engine.on_release("consumer", streams.release)
    return tier


@contextlib.contextmanager
def data_tier_of(kind: str, directory: Path | None = None) -> Iterator[Tier]:
    """Make a tier for the block; fail if something of it is left when all is deleted.

    Its files are in `directory`, by default in memory.
    """
    root = memory_directory()
    home = root if directory is None else directory
    try:
        if kind == "memory":
            home.mkdir(exist_ok=True)
            tier = memory_data_tier(home / "files")
            yield tier
            assert_all_goes(tier, home / "files")
        else:
            with entrepot.open(
                "data", directory=root, data_directory=home / "data", memory="64M"
            ) as depot:
                tier = depot.attached.durable()
                yield tier
                assert_all_goes(tier, depot.data_path / "files")
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def two_tiers_of(kind: str) -> Iterator[list[Tier]]:
    """Make a tier for the block as two sessions see it; fail if something of it is left.

    Of the kind that is on disk there is one session for each process: both are the same.
    """
    if kind != "memory":
        with data_tier_of(kind) as tier:
            yield [tier, tier]
        return
    root = memory_directory()
    try:
        store = MemoryStore()
        tiers = [memory_data_tier(root / "files", store) for _ in range(2)]
        yield tiers
        assert_all_goes(tiers[0], root / "files")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def thorough() -> hypothesis.settings:
    """Return settings for a machine that is quick, and has many rules: more steps of it."""
    default = hypothesis.settings.default
    assert default is not None
    return hypothesis.settings(
        max_examples=2 * default.max_examples,
        stateful_step_count=2 * default.stateful_step_count,
    )


def end_session(tiers: list[Tier], side: int) -> bool:
    """Let one of two sessions die as by kill -9, and another one begin; False where none can."""
    dying, files = tiers[side].engine, tiers[side].files
    if not isinstance(dying, MemoryEngine):
        return False
    assert files is not None
    dying.end_session()
    assert tiers[1 - side].engine.reap() == 1
    tiers[side] = memory_data_tier(files._directory, dying.store)
    tiers[side].sweep()
    return True


def data_problems(tier: Tier) -> list[str]:
    """Return what is wrong with the data layer of a tier, by its own checks."""
    assert tier.files is not None
    return [
        *tier.engine.read(entries.check),
        *tier.engine.read(streams.check),
        *tier.files.check(entries.used_files),
    ]


def assert_all_goes(tier: Tier, files: Path) -> None:
    """Delete all containers; fail if a key or a file stays, or something was wrong before."""
    assert data_problems(tier) == []
    for found in tier.engine.read(entries.list_containers):
        tier.commits.write(containers.delete_container, found.name)
    tier.sweep()
    left = [unpack(key) for key, _ in tier.engine.read(lambda tx: tx.range(b"", b"\xfe"))]
    assert [key for key in left if key[0] != "ids"] == []
    assert not files.exists() or list(files.iterdir()) == []


@pytest.fixture(params=DATA_KINDS)
def data_tier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tier]:
    """Return a fresh tier of each kind; look for leaks when the test is over."""
    with data_tier_of(request.param, tmp_path) as tier:
        yield tier
