"""Tiers: what a layer works with, of each kind, and the look around when a test is over.

Import `rig` and `tier` into a conftest to have them as fixtures. A rig is one tier and what
it takes to use it; `end` gives everything back and fails if anything is left.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import entrepot
from entrepot.arena import Arena, PagedBulk
from entrepot.arena.arena import BLOB
from entrepot.arena.paged import PAGE, PAGED
from entrepot.engine.held import HELD
from entrepot.engine.ids import Ids
from entrepot.engine.keys import Prefix, unpack
from entrepot.engine.memory import MemoryEngine, MemoryStore
from entrepot.engine.protocol import Transaction
from entrepot.layers import lines, values
from entrepot.layers.objects import OBJECT, Objects
from entrepot.layers.spaces import Space, Spaces, VariableInfo, core, records, spaces, workspaces
from entrepot.layers.tier import Tier
from entrepot.waiting import Deadline
from support.homes import memory_directory

__all__ = [
    "KINDS",
    "InLine",
    "Rig",
    "counts",
    "info_of",
    "memory_tier",
    "problems_of",
    "rig",
    "rig_of",
    "tier",
]

LINES = ("lines", "lines-block", "lines-partial")
KINDS = ("memory", "volatile", "durable")
"""The executable specification; LMDB and arena in memory; LMDB on disk."""


class Rig:
    """One tier, and the layers on it."""

    kind: str
    tier: Tier
    objects: Objects
    spaces: Spaces
    depot: entrepot.Depot | None = None
    """None where the tier is the memory engine."""

    @property
    def is_zero_copy(self) -> bool:
        """Whether big values are seen where they lie: only the arena does that."""
        return self.kind == "volatile"

    def space(self, name: str = "s", *, owned: bool = False) -> Space:
        """Open a workspace in this tier."""
        return self.spaces.open(name, owned=owned, persistent=self.kind == "durable", create=True)

    def problems(self) -> list[str]:
        """Return what is wrong in the tier just now."""
        gc.collect()
        return problems_of(self.tier)

    def end(self) -> None:
        """Give everything back; fail if anything is left."""
        raise NotImplementedError


def problems_of(tier: Tier) -> list[str]:
    """Return what is wrong in a tier, by the layers' own checks and by counting references."""
    bulk = tier.bulk
    assert isinstance(bulk, (Arena, PagedBulk))
    return [
        *tier.engine.read(bulk.check),
        *tier.engine.read(workspaces.check),
        *tier.engine.read(lines.check),
        *Objects(tier).check(),
        *tier.engine.read(wrong_users),
    ]


def wrong_users(tx: Transaction) -> list[str]:
    """Return the blobs whose users are not the records that refer to them."""
    referred = Counter(ref.at for ref in map(values.bulk_ref, _records(tx)) if ref is not None)
    counted: dict[int, int] = {}
    for prefix in (BLOB, PAGED):
        for key, value in tx.range(prefix.begin, prefix.end):
            counted[_int(prefix.tail(key)[0])] = msgspec.msgpack.decode(value)[1]
    pages = {_int(PAGE.tail(key)[0]) for key, _ in tx.range(PAGE.begin, PAGE.end)}
    written = {_int(unpack(key)[3]) for key in _held(tx, "paged")}
    lost = pages - written - set(counted)
    return [
        *(
            f"blob {at} counts {counted.get(at, 0)} users, {referred[at]} records refer to it"
            for at in sorted(set(counted) | set(referred))
            if counted.get(at, 0) != referred[at]
        ),
        *(f"pages of {at} belong to nothing" for at in sorted(lost)),
    ]


def _records(tx: Transaction) -> Iterator[bytes]:
    for prefix in (OBJECT, records.VALUE):
        yield from (value for _, value in tx.range(prefix.begin, prefix.end))
    for _, value in tx.range(records.CLAIM.begin, records.CLAIM.end):
        yield records.decode_claim(value).record
    for _, value in tx.range(records.LATER.begin, records.LATER.end):
        yield records.decode_later(value).record
    for _, value in tx.range(records.MAIL.begin, records.MAIL.end):
        record = records.decode_mail(value).record
        if record is not None:
            yield record


def _held(tx: Transaction, *kinds: str) -> list[bytes]:
    """Return the keys of what any session holds, of the given kinds or of all but chunks."""
    found = [key for key, _ in tx.range(HELD.begin, HELD.end)]
    if kinds:
        return [key for key in found if unpack(key)[2] in kinds]
    return [key for key in found if unpack(key)[2] not in ("extent", "space")]


def _int(element: object) -> int:
    assert isinstance(element, int)
    return element


def assert_nothing_is_left(rig: Rig) -> None:
    """Delete all there is; fail if something stays, or was held by nobody."""
    gc.collect()
    engine = rig.tier.engine
    assert problems_of(rig.tier) == []
    assert engine.read(_held) == [], "this session still waits, or claims, or writes"
    for info in rig.spaces.list():
        rig.spaces.delete(info.name)
    rig.objects.delete([info.id for info in rig.objects.list()], force=True)
    spaces.sweep(rig.tier)
    for name, _ in engine.read(lines.list_buffers):
        lines.Lines(rig.tier, name).delete()
    assert rig.objects.names() == {}
    assert problems_of(rig.tier) == []
    for layer in ("object", "user", "name", "named", "space", "blob", "paged", "page", *LINES):
        prefix = Prefix(layer)
        left = engine.read(
            lambda tx, p=prefix: [unpack(key) for key, _ in tx.range(p.begin, p.end)]
        )
        assert [key for key in left if key != ("space", "number")] == []


# The memory engine.


def memory_tier(store: MemoryStore | None = None, *, name: str = "volatile") -> Tier:
    """Return a tier of a new session on a store, alone or shared with other tiers."""
    engine = MemoryEngine(store, name=name)
    ids = Ids(engine)
    tier = Tier(engine, PagedBulk(engine, ids), ids)
    spaces.register(tier)
    lines.register(engine)
    return tier


class MemoryRig(Rig):
    """The memory engine with blobs as pages of it."""

    kind = "memory"

    def __init__(self) -> None:
        self.tier = memory_tier()
        self._disk = memory_tier(name="durable")
        self.objects = Objects(self.tier)
        self.spaces = Spaces(self.tier, lambda: self._disk, lambda: True)

    def end(self) -> None:
        """Give everything back; fail if anything is left."""
        assert_nothing_is_left(self)
        for engine in (self.tier.engine, self._disk.engine):
            assert isinstance(engine, MemoryEngine)
            engine.close()
            assert engine.store.readers == {}
            assert engine.store.sleepers == {}


# The tiers of a depot.


class DepotRig(Rig):
    """One tier of a fresh depot."""

    def __init__(self, kind: str, root: Path, data: Path) -> None:
        self.kind = kind
        self.depot = depot = entrepot.open(
            "rig", directory=root, data_directory=data, memory="128M"
        )
        attached = depot.attached
        self.tier = attached.volatile if kind == "volatile" else attached.durable()
        self.objects = Objects(self.tier)
        self.spaces = Spaces(attached.volatile, attached.durable, attached.has_durable)

    def end(self) -> None:
        """Give everything back; fail if anything is left."""
        depot = self.depot
        assert depot is not None
        if depot.closed:
            return
        assert_nothing_is_left(self)
        depot.collect(trim=True)
        assert depot.check() == []
        (session,) = depot.sessions()
        assert session.pinned_bytes == 0
        assert session.held == {}
        arena = depot.statistics().arena
        assert (arena.used, arena.limbo, arena.pinned, arena.unsealed) == (0, 0, 0, 0), arena
        depot.close()
        assert not depot.path.exists(), "an empty depot goes with the last who used it"


@contextlib.contextmanager
def rig_of(kind: str, data: Path | None = None) -> Iterator[Rig]:
    """Make a rig for the block; its durable files are in `data`, by default in memory too."""
    if kind == "memory":
        rig = MemoryRig()
        yield rig
        rig.end()
        return
    root = memory_directory()
    rig = DepotRig(kind, root, root / "data" if data is None else data)
    try:
        yield rig
        rig.end()
    finally:
        if not rig.depot.closed:
            rig.depot.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Return a tier of each kind, and the layers on it; look for leaks when the test is over."""
    with rig_of(request.param, tmp_path / "data") as rig:
        yield rig


@pytest.fixture
def tier(rig: Rig) -> Tier:
    """Return a fresh tier of each kind."""
    return rig.tier


# Standing in line, as a process that waits does, without a thread.


class InLine:
    """One who waits in a variable's line."""

    def __init__(self, space: Space, variable: str, want: core.Want = core.FETCH_ONE) -> None:
        self.space, self.variable, self.want = space, variable, want
        waiter = space.join_line(variable, want)
        assert isinstance(waiter, core.Waiter), f"it had not to wait, it got {waiter}"
        self.waiter = waiter

    def has_mail(self) -> bool:
        """Tell whether something was given to it."""
        return self.space.engine.read(core.has_mail, self.waiter)

    def taken(self) -> core.Taken:
        """Leave the line with what was given, or raise as a wait whose time is over."""
        return self.space.leave_line(self.variable, self.want, self.waiter, Deadline(0))

    def value(self) -> Any:
        """Return the value that was given."""
        return self.space.loaded(self.taken())

    def cancel(self) -> None:
        """Leave the line, whatever was given."""
        self.space.cancel_wait(self.waiter)


def info_of(space: Space, variable: str) -> VariableInfo:
    """Return what is known of one variable."""
    (info,) = [info for info in space.variables() if info.name == variable]
    return info


def counts(space: Space, variable: str) -> tuple[int, int, int, int]:
    """Return how many values, fetchers, finders and claims a variable has."""
    info = info_of(space, variable)
    return info.values, info.fetchers, info.finders, info.claimed
