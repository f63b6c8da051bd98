"""The depot: one shared place of data, as a program holds it."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import weakref
from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

from entrepot import attachment, places, settings
from entrepot.arena import ArenaStatistics
from entrepot.engine import held
from entrepot.engine.lmdb import Slot, slots
from entrepot.engine.lmdb.environment import is_stopped
from entrepot.engine.lmdb.locks import root_lock
from entrepot.errors import ClosedError, ConflictError, LimitError, TypeMismatchError
from entrepot.layers import containers, entries, streams, survey
from entrepot.layers import lines as line_buffers
from entrepot.layers.containers import Container
from entrepot.layers.lines import Lines
from entrepot.layers.objects import Objects, readers
from entrepot.layers.spaces import Client, Space, SpaceInfo, Spaces, workspaces
from entrepot.layers.streams import Stream
from entrepot.layers.survey import DirectoryInfo
from entrepot.layers.tables import Table
from entrepot.layers.tier import Tier

__all__ = [
    "Collected",
    "Depot",
    "DepotStatistics",
    "Diagnosis",
    "ReaderInfo",
    "SessionInfo",
    "names",
    "open",
    "temporary",
]

readers.register("vineyard::", "entrepot.vineyard._values:reader_of")  # loaded when it is needed


@dataclass(frozen=True, slots=True)
class DepotStatistics:
    """How full a depot is."""

    name: str
    path: Path
    memory_max: int
    """The `memory` setting, in bytes: the bound of catalog and arena together."""
    memory_used: int
    """Bytes of memory that catalog and arena have taken from the system."""
    catalog_bytes: int
    catalog_used: int
    """Bytes of the catalog's pages that are in use."""
    arena: ArenaStatistics
    objects: int
    spaces: int
    sessions: int
    durable_bytes: int
    """Bytes on disk of the durable tier; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A process that uses the depot, or that died in it and was not reaped yet."""

    session: int
    slot: int
    pid: int
    command: str
    started: float
    """Seconds since the epoch."""
    alive: bool
    is_self: bool
    pinned_bytes: int
    """Bytes of blobs that it looks at."""
    held: dict[str, int]
    """How many things of each kind it holds: claim, extent, owned, paged, space, waiter."""


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """An open read transaction. One that stays open keeps deleted data from being reused."""

    pid: int
    version: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What `Depot.collect` gave back."""

    sessions: int
    """Dead sessions that were reaped."""
    reclaimed_bytes: int
    """Bytes of deleted blobs that may be reused now."""
    readers: int
    """Slots of dead readers that were cleared."""
    trimmed_bytes: int
    """Bytes that went back to the system."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a doctor would look at."""

    writer: int | None
    """The thread id of who is writing just now."""
    stopped_writer: int | None
    """The same, if that thread is stopped: nobody can write until it continues or ends."""
    readers: list[ReaderInfo]
    limbo_bytes: int
    problems: list[str]
    memory_free: int
    """Bytes free in the file system of the volatile tier."""
    memory_total: int
    disk_free: int
    """Bytes free in the file system of the durable tier."""
    disk_total: int


def open(
    name: str | None = None,
    *,
    memory: int | str | None = None,
    directory: str | os.PathLike[str] | None = None,
    data_directory: str | os.PathLike[str] | None = None,
) -> Depot:
    """Open a depot of this machine, made if it is not there. There is nothing to start.

    Args:
        name: Which one; by default ENTREPOT_DEPOT, or "default".
        memory: Its bound, when it is made: bytes, or "512M", "4G". By default ENTREPOT_MEMORY,
            or half of /dev/shm. Memory is taken in steps, as it is needed.
        directory: Where the memory tier lives: a directory of directories; by default
            ENTREPOT_DIR, or this user's in /dev/shm, or on a disk where that is too small.
        data_directory: Where the durable tier lives, likewise; by default ENTREPOT_DATA, or
            `~/.local/share/entrepot`.

    Raises:
        AccessDeniedError: The directory is another user's, open to others, or a link.
        ConflictError: The depot exists with another `memory`.
        CorruptError: Its files are damaged.
        FormatError: Another version of entrepot made it.
        LimitError: The name or `memory` cannot be.
        OutOfMemoryError: There is no room for its first pages.
    """
    name = places.check_depot_name(name or os.environ.get("ENTREPOT_DEPOT") or "default")
    asked = memory if memory is not None else os.environ.get("ENTREPOT_MEMORY")
    memory_max = None if asked is None else settings.parse_size(asked)
    root = places.choose_root(Path(directory) if directory else None, name, memory_max)
    if memory is None and places.Format.read(root / name) is not None:
        memory_max = None  # ENTREPOT_MEMORY is for depots that are made
    data_root = Path(data_directory) if data_directory else settings.data_root()
    return Depot(
        name, attachment.attach(name, root=root, data_root=data_root, memory_max=memory_max)
    )


@contextlib.contextmanager
def temporary(*, memory: int | str | None = None) -> Generator[Depot]:
    """Make a depot of its own for the block, and remove it at the end.

    Other processes open it by its `name` meanwhile. What a process left that was killed in
    such a block, the next block of any process removes.

    Raises:
        OutOfMemoryError: There is no room for its first pages.
    """
    depot = open(attachment.temporary_name(), memory=memory)
    try:
        attachment.sweep_temporary(depot.path.parent, depot.data_path.parent)
        yield depot
    finally:
        try:
            if not depot.closed:
                depot.destroy()
        except ClosedError:  # somebody else has removed it
            depot.close()


def names(
    *,
    directory: str | os.PathLike[str] | None = None,
    data_directory: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Return the names of this user's depots on this machine, those only on disk included.

    Args:
        directory: Where memory tiers live; see `open`.
        data_directory: Where durable tiers live; see `open`.
    """
    memory = places.memory_roots(Path(directory) if directory is not None else None)
    roots = [
        *memory,
        Path(data_directory) if data_directory is not None else settings.data_root(),
    ]
    return sorted({name for root in roots for name in places.depot_names(root)})


class Depot:
    """One shared place of data. Made by `entrepot.open`.

    May be used by all threads of a process, and by its forked children. Close it, or use it
    as a context manager; what it holds stays, for this and other programs, until the machine
    restarts (the durable tier: until it is deleted).
    """

    name: str
    path: Path
    """The directory of the memory tier."""
    data_path: Path
    """The directory of the durable tier."""
    objects: Objects

    def __init__(self, name: str, attached: attachment.Attachment) -> None:
        self.name = name
        self.path = attached.directory
        self.data_path = attached.data_directory
        self._attached: attachment.Attachment | None = attached
        self._lock = threading.Lock()
        self._spaces = Spaces(attached.volatile, attached.durable, attached.has_durable)
        self._opened: weakref.WeakSet[_Layer] = weakref.WeakSet()
        self.objects = Objects(attached.volatile)

    def __repr__(self) -> str:
        return f"<Depot {self.name!r} in {self.path}{' closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._attached is None

    @property
    def attached(self) -> attachment.Attachment:
        """This process's attachment: for the layers above, not for programs.

        Raises:
            ClosedError: The depot is closed.
        """
        if self._attached is None:
            raise _closed(self.name)
        return self._attached

    def space(
        self,
        name: str = "default",
        *,
        owned: bool = False,
        persistent: bool = False,
        create: bool = True,
    ) -> Space:
        """Open a workspace, made if it is not there.

        Args:
            name: Which one.
            owned: End it, with all that is in it, when this process ends; if nobody owns it,
                and it is not persistent.
            persistent: Make it in the durable tier, where what is acknowledged survives a
                reboot; each write then waits for the disk. One that exists stays where it is.
            create: Make it if it is not there.

        Raises:
            NotFoundError: It is not there, and `create` is not set.
            ConflictError: `persistent` is set, and it exists and is not, or `owned` is set too.
        """
        self.attached.check_place()
        space = self._spaces.open(name, owned=owned, persistent=persistent, create=create)
        self._opened.add(space)
        return space

    def spaces(self) -> list[SpaceInfo]:
        """Return the workspaces, by name."""
        self.attached.check_place()
        return self._spaces.list()

    def delete_space(self, name: str) -> None:
        """Delete a workspace and all that is in it; those who wait there are told.

        Raises:
            NotFoundError: There is no such workspace.
        """
        self.attached.check_place()
        self._spaces.delete(name)

    def client(self, label: str = "") -> Client:
        """Begin a client: one of several users that this process works for.

        Programs that work for themselves need none. What a client owns ends with it, or with
        this process.

        Args:
            label: What it says of itself, for listings.
        """
        self.attached.check_place()
        return Client(self._spaces, label, self._opened.add)

    def lines(
        self,
        name: str = "default",
        *,
        persistent: bool = False,
        max_lines: int | None = None,
        max_bytes: int | None = None,
        max_age: float | None = None,
    ) -> Lines:
        """Return a buffer of lines, warnings and errors of many processes.

        The first write makes it. Bounds that are given replace those that it had.

        Args:
            name: Which one.
            persistent: Make it in the durable tier, where what is acknowledged survives a
                reboot; each write then waits for the disk. One that exists stays where it is.
            max_lines: Most entries; the oldest go. By default 10,000.
            max_bytes: Most bytes, likewise. By default 16 MiB.
            max_age: How long entries are kept, in seconds. By default as long as there is room.

        Raises:
            ConflictError: `persistent` is set, and it exists and is not.
            LimitError: The name or a bound cannot be.
        """
        attached = self.attached
        attached.check_place()
        line_buffers.check_name(name)
        tier = attached.volatile
        is_volatile = tier.engine.read(line_buffers.find, name) is not None
        if persistent and is_volatile:
            raise ConflictError(
                f"the lines {name!r} are in memory, and are to be persistent", "delete them first"
            )
        if persistent or (
            not is_volatile
            and attached.has_durable()
            and attached.durable().engine.read(line_buffers.find, name) is not None
        ):
            tier = attached.durable()
        return self._open(
            Lines(tier, name, max_lines=max_lines, max_bytes=max_bytes, max_age=max_age)
        )

    def list_lines(self) -> list[str]:
        """Return the names of the buffers of lines."""
        attached = self.attached
        attached.check_place()
        if attached.has_durable():
            attached.durable()
        found = [tier.engine.read(line_buffers.list_buffers) for tier in attached.tiers()]
        return sorted({name for buffers in found for name, _ in buffers})

    # The data layer, on disk.

    def table(self, path: str) -> Table:
        """Return a table: a directory of a container whose entries have attributes.

        Container and table are made when something is put there.

        Args:
            path: `CONTAINER/TABLE`, for instance `users/people`.

        Raises:
            LimitError: That is no such path.
        """
        tier, container, rest = self._data(path)
        return self._open(Table(tier, container, rest.whole))

    def stream(
        self, path: str, *, shards: int | None = None, retention: float | timedelta | None = None
    ) -> Stream:
        """Return a stream: records in shards, in a directory of a container.

        Args:
            path: `CONTAINER/STREAM`, for instance `users/clicks`.
            shards: Make it with so many, where it is not there. A stream that is there is
                left as it is; `Stream.resize` adds shards.
            retention: When it is made: how long records are kept, in seconds or as a timedelta;
                by default a day.

        Raises:
            LimitError: That is no such path, or a number is out of range.
            ConflictError: With `shards`: something else has that name.
            TypeMismatchError: A number is none.
        """
        tier, container, rest = self._data(path)
        if not rest.name:
            raise LimitError(f"{path!r} names no stream", 'for instance "users/clicks"')
        stream = self._open(Stream(tier, container, rest))
        if shards is not None:
            kept_s = settings.RETENTION_S_DEFAULT if retention is None else _seconds(retention)
            stream.create(shards, retention_s=kept_s, exist_ok=True)
        return stream

    def container(self, name: str) -> Container:
        """Return a container: objects of any size by path. It is made when something is put there.

        Raises:
            LimitError: No container can be named so.
        """
        self.attached.check_place()
        return self._open(Container(self.attached.durable(), name))

    def containers(self) -> list[str]:
        """Return the names of the containers."""
        attached = self.attached
        attached.check_place()
        if not attached.has_durable():
            return []
        return [c.name for c in attached.durable().engine.read(entries.list_containers)]

    def directories(
        self, container: str | None = None, *, limit: int | None = None
    ) -> list[DirectoryInfo]:
        """Return the directories that have entries, tables and streams among them, by path.

        Cheap however many entries there are: see `DirectoryInfo.has_more`.

        Args:
            container: Only those of this one.
            limit: Most directories to return.

        Raises:
            LimitError: `limit` is negative.
            NotFoundError: There is no such container.
        """
        self.attached.check_place()
        if limit is not None and limit < 0:
            raise LimitError(f"limit is {limit}, it must not be negative")
        found: list[DirectoryInfo] = []
        names = self.containers() if container is None else [container]
        for name in names:
            left = (1 << 62) if limit is None else limit - len(found)
            found += self._directories(name, left, is_named=container is not None)
        return found

    def _directories(self, name: str, limit: int, *, is_named: bool) -> list[DirectoryInfo]:
        if not self.attached.has_durable():
            raise entries.NoContainerError(name)
        try:
            return self.attached.durable().engine.read(survey.directories, name, limit)
        except entries.NoContainerError:
            if is_named:
                raise
            return []  # deleted since the containers were listed

    def create_container(self, name: str, *, exist_ok: bool = False) -> Container:
        """Make a container; what is put somewhere makes its container by itself.

        Raises:
            ExistsError: It is there, and that is not wanted.
            LimitError: No container can be named so.
        """
        container = self.container(name)
        container.create(exist_ok=exist_ok)
        return container

    def delete_container(self, name: str) -> None:
        """Delete a container with all tables, streams and objects that are in it.

        Raises:
            NotFoundError: It is not there.
        """
        tier = self.container(name).tier
        tier.commits.write(containers.delete_container, name)
        tier.sweep()

    def _data(self, path: str) -> tuple[Tier, str, entries.Path]:
        self.attached.check_place()
        container, _, rest = entries.whole(path).partition("/")
        return self.attached.durable(), container, entries.split(rest)

    def _open(self, layer: _L) -> _L:
        self._opened.add(layer)
        return layer

    # Looking after it.

    def statistics(self) -> DepotStatistics:
        """Return how full the depot is."""
        attached = self.attached
        environment = attached.engine.environment.env
        info, stat = environment.info(), environment.stat()
        durable = attached.data_directory / "catalog" / "data.mdb"
        return DepotStatistics(
            name=self.name,
            path=self.path,
            memory_max=attached.memory_max,
            memory_used=attached.reserved_bytes(),
            catalog_bytes=info["map_size"],
            catalog_used=(info["last_pgno"] + 1) * stat["psize"],
            arena=attached.arena.statistics(),
            objects=self.objects.count(),
            spaces=self._spaces.count(),
            sessions=len(self.sessions()),
            durable_bytes=durable.stat().st_size if durable.exists() else 0,
        )

    def sessions(self) -> list[SessionInfo]:
        """Return the processes that use the depot, the dead that were not reaped included."""
        attached = self.attached
        found = attached.engine.read(slots)
        return [self._session_info(number, slot) for number, slot in sorted(found.items())]

    def _session_info(self, number: int, slot: Slot) -> SessionInfo:
        attached = self.attached
        counts: dict[str, int] = {}
        for engine in attached.engines():
            for kind, count in engine.read(held.count_held, slot.session).items():
                counts[kind] = counts.get(kind, 0) + count
        return SessionInfo(
            session=slot.session,
            slot=number,
            pid=slot.pid,
            command=slot.command,
            started=slot.started_s,
            alive=attached.session.is_locked(number),
            is_self=number == attached.session.slot,
            pinned_bytes=attached.arena.pinned_by(number),
            held=counts,
        )

    def collect(self, *, trim: bool = False) -> Collected:
        """Give back what dead processes held and what was deleted.

        This happens by itself when memory is needed or somebody waits; call it to have it now.

        Args:
            trim: Also return the free end of the arena to the system.
        """
        attached = self.attached
        reaped = attached.reap()
        readers = sum(engine.environment.env.reader_check() for engine in attached.engines())
        for tier in attached.tiers():
            tier.sweep()
        reclaimed = 0
        while freed := attached.arena.reclaim():
            reclaimed += freed
        trimmed = attached.arena.trim() if trim else 0
        return Collected(reaped, reclaimed, readers, trimmed)

    def check(self) -> list[str]:
        """Walk through everything and return what is wrong; an empty list when it is sound."""
        attached = self.attached
        problems = attached.engine.read(attached.arena.check)
        for tier in attached.tiers():
            problems += tier.engine.read(workspaces.check)
            problems += tier.engine.read(entries.check)
            problems += tier.engine.read(streams.check)
            problems += tier.engine.read(line_buffers.check)
            if tier.files is not None:
                problems += tier.files.check(entries.used_files)
        problems += self.objects.check()
        return problems

    def diagnose(self) -> Diagnosis:
        """Return what keeps the depot from working well."""
        attached = self.attached
        writer = attached.engine.environment.writer() or None
        memory, disk = os.statvfs(self.path), os.statvfs(_existing(self.data_path))
        return Diagnosis(
            writer=writer,
            stopped_writer=writer if writer is not None and is_stopped(writer) else None,
            readers=[
                ReaderInfo(reader.pid, reader.version)
                for engine in attached.engines()
                for reader in engine.readers()
            ],
            limbo_bytes=attached.arena.statistics().limbo,
            problems=self.check(),
            memory_free=memory.f_bavail * memory.f_frsize,
            memory_total=memory.f_blocks * memory.f_frsize,
            disk_free=disk.f_bavail * disk.f_frsize,
            disk_total=disk.f_blocks * disk.f_frsize,
        )

    # The end.

    def close(self) -> None:
        """Let go of the depot; may be repeated. What it holds stays, for others.

        The process's last handle ends its session: its claims go back, its owned workspaces
        end. Views that live stay valid.
        """
        with self._lock:
            attached, self._attached = self._attached, None
        if attached is not None:
            closed: Any = _Closed(self.name)
            self.objects.use(closed)
            for layer in self._opened:
                layer.use(closed)
            attachment.detach(attached)

    def destroy(self) -> None:
        """Remove the depot with all it holds, in memory and on disk, also for others.

        Raises:
            ConflictError: A depot in another directory uses what is on disk.
        """
        attached = self.attached
        attached.check_place()
        if attached.has_durable():
            attached.durable()  # refused where a depot elsewhere uses it
        with root_lock(self.path.parent):
            attachment.remove_directory(self.path)
            if self.data_path.exists():
                attachment.remove_directory(self.data_path)
        self.close()

    def __enter__(self) -> Depot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Layer(Protocol):
    """What a depot hands out."""

    def use(self, tier: Any) -> None: ...


_L = TypeVar("_L", bound=_Layer)


class _Closed:
    """Stands for the tier of a closed depot: whatever is asked of it, it is closed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute in ("engine", "bulk", "ids", "commits"):
            return self
        raise _closed(self._name)


def _seconds(retention: object) -> int:
    """Return a retention as a stream takes it.

    Raises:
        LimitError: It is no number that can be.
        TypeMismatchError: It is no number.
    """
    if isinstance(retention, timedelta):
        retention = retention.total_seconds()
    if isinstance(retention, bool) or not isinstance(retention, (int, float)):
        raise TypeMismatchError(
            f"retention is {retention!r}, a {type(retention).__name__}",
            "give seconds, for instance 24 * 3600, or a timedelta",
        )
    if not math.isfinite(retention):
        raise LimitError(f"retention is {retention}, it must be a number of seconds")
    return int(retention)


def _closed(name: str) -> ClosedError:
    return ClosedError(f"the depot {name!r} is closed", "open it again with entrepot.open()")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
