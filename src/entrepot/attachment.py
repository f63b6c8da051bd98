"""This process's hold on one depot: its session, engines, arena; shared by all its handles.

LMDB's files and POSIX record locks allow one opening per process, so every `Depot` of one
directory shares one attachment, and a registry keeps them.

Fork, step by step (a child that closes what it inherited frees the parent's slots in LMDB's
table of readers, and must not lose the parent's pins before it has its own):

1. Before the fork, wait until no transaction is open in this process.
2. The child closes the inherited environments at once. If pins are set, it opens the depot
   and sets the same pins in a session of its own; else it opens at its first transaction.
3. The child closes a pipe; the parent waits for that (or for the child's end), and goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import os
import re
import select
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

from entrepot import places, settings
from entrepot.arena import Arena, PagedBulk
from entrepot.arena.files import Files, sync_directory
from entrepot.arena.pins import PinTable
from entrepot.engine.ids import Ids
from entrepot.engine.lmdb import LmdbEngine, LmdbSession
from entrepot.engine.lmdb.doorbell import open_bells
from entrepot.engine.lmdb.locks import (
    GrowthLock,
    HomeLock,
    forget_root_lock,
    leave_root,
    lock_holder,
    root_lock,
)
from entrepot.engine.protocol import Transaction
from entrepot.errors import (
    ClosedError,
    ConflictError,
    DiskFullError,
    EntrepotError,
    OutOfMemoryError,
    UnavailableError,
)
from entrepot.layers import containers, lines, streams
from entrepot.layers.objects import OBJECT, chunks, raw
from entrepot.layers.spaces import spaces, workspaces
from entrepot.layers.tier import Tier

__all__ = ["Attachment", "attach"]

_FORK_PATIENCE_S = 2.0
_SWEEPERS = (spaces.sweep, containers.sweep, streams.sweep)
"""Of the durable tier. Containers first: what was in one may leave shards to sweep."""


class Attachment:
    """An open depot, as one process sees it."""

    volatile: Tier
    arena: Arena

    def __init__(self, directory: Path, data_directory: Path, memory_max: int) -> None:
        """Open the files; the caller holds the root's lock and has checked the directory."""
        self.directory = directory
        self._catalog_file = str(directory / "catalog" / "data.mdb")
        self.data_directory = data_directory
        self.memory_max = memory_max
        self.handles = 0
        self._lock = threading.RLock()
        self._ticked_at = 0.0
        self._is_making_room = False
        self._durable: Tier | None = None
        self._durable_engine: LmdbEngine | None = None
        self._home: HomeLock | None = None
        self._needs_reopening = False
        self._is_reopening = False
        self._is_left = False
        self._opened = contextlib.ExitStack()
        with self._opened:
            self._open()
            self._opened = self._opened.pop_all()  # all is well: it stays open

    def _open(self) -> None:
        directory = self.directory
        self._bells = open_bells(directory / "bells")
        self._growth = growth = GrowthLock(
            directory / "growth", bytes_max=self.memory_max, used=self.reserved_bytes
        )
        self._opened.callback(growth.close)
        self.session = LmdbSession(directory / "sessions")
        self._opened.callback(self.session.forget)
        self.engine = LmdbEngine(
            directory / "catalog",
            volatile=True,
            bells=self._bells[: len(self._bells) // 2],
            session=self.session,
            growth_guard=self._growth.guard,
            between_slices=self.tick,
            make_room=self.make_room,
        )
        self._opened.callback(self.engine.close)
        self.pin_table = PinTable(directory / "pins")
        self._opened.callback(self.pin_table.close)
        with self.engine.using_spare():
            self.session.begin(self.engine, self.pin_table.open)
        self.arena = Arena(
            directory,
            self.engine,
            self.pin_table,
            self.pin_table.words(self.session.slot),
            size_max=self.memory_max,
            growth_guard=self._guard_arena,
            find_dead=self.reap,
        )
        self._opened.callback(self.arena.forget)
        self.volatile = Tier(self.engine, self.arena, Ids(self.engine), None, (spaces.sweep,))
        spaces.register(self.volatile)
        lines.register(self.engine)
        chunks.register(self.volatile)
        raw.register(self.volatile)
        self._inode = self._find_inode()
        self.reap()

    def reserved_bytes(self) -> int:
        """Return how much memory the catalog and the arena have reserved."""
        arena = self.directory / "arena"
        catalog = (self.directory / "catalog" / "data.mdb").stat().st_size
        return catalog + (arena.stat().st_blocks * 512 if arena.exists() else 0)

    # The durable tier.

    def has_durable(self) -> bool:
        """Tell whether this depot has a durable tier, open or not."""
        return self._durable is not None or (self.data_directory / "catalog").exists()

    def durable(self) -> Tier:
        """Return the durable tier, opened or made if need be."""
        with self._lock:
            if self._durable is None:
                self._durable = self._open_durable()
            return self._durable

    def _open_durable(self) -> Tier:
        places.private_directory(self.data_directory.parent)
        remove_leftovers(self.data_directory)
        places.private_directory(self.data_directory)
        for other in _attachments.values():
            if other is not self and other.data_directory == self.data_directory and other._home:
                raise ConflictError(
                    f"{self.data_directory} is in use by the depot in {other.directory}",
                    "give this one a data_directory (ENTREPOT_DATA) of its own",
                )
        with (
            contextlib.ExitStack() as opened,
            places.system_errors(self.data_directory, on_disk=True),
        ):
            home = HomeLock(self.data_directory / "home", self.directory)
            opened.callback(home.close)
            is_new = places.Format.read(self.data_directory) is None
            if is_new:
                places.Format(settings.FORMAT_VERSION, "any", 0).write(self.data_directory)
            engine = LmdbEngine(
                self.data_directory / "catalog",
                volatile=False,
                bells=self._bells[len(self._bells) // 2 :],
                session=self.session,
                growth_guard=self._growth.guard,
                between_slices=self.tick,
                make_room=self.make_room,
            )
            opened.callback(engine.close)
            if is_new:  # before anything is acknowledged
                for made in (engine.path, self.data_directory, self.data_directory.parent):
                    sync_directory(made)
            ids = Ids(engine)
            files = Files(self.data_directory / "files", engine, ids)
            tier = Tier(engine, PagedBulk(engine, ids), ids, files, _SWEEPERS)
            spaces.register(tier)
            engine.on_release("consumer", streams.release)
            lines.register(engine)
            with contextlib.suppress(DiskFullError):  # what is there can be read: later, then
                engine.reap()
                tier.sweep()
            opened.pop_all()  # all is well: it stays open
        self._durable_engine, self._home = engine, home
        return tier

    def engines(self) -> list[LmdbEngine]:
        """Return the engines that are open."""
        return [self.engine, *([self._durable_engine] if self._durable_engine else [])]

    def tiers(self) -> list[Tier]:
        """Return the tiers that are open."""
        return [self.volatile, *([self._durable] if self._durable else [])]

    def _guard_arena(self, more: int, spare: int) -> AbstractContextManager[None]:
        """Guard a growth of the arena: it leaves the catalog a share, to grow into."""
        catalog = (self.directory / "catalog" / "data.mdb").stat().st_size
        share = self.memory_max // settings.CATALOG_SHARE - catalog
        return self._growth.guard(more, spare + max(share, 0) + settings.CATALOG_BYTES_SPARE)

    def make_room(self) -> bool:
        """Return the free end of the arena to the system; tell whether there was any."""
        if self._is_making_room or "arena" not in vars(self):
            return False
        self._is_making_room = True
        try:
            self.arena.reclaim()
            return self.arena.trim() > 0
        except OutOfMemoryError:
            return False
        finally:
            self._is_making_room = False

    # The dead.

    def tick(self) -> None:
        """Do what somebody must do now and then: called by waiters, each second.

        Raises:
            ClosedError: The depot was removed, or this process let go of it.
        """
        if self._is_left:
            raise ClosedError("the depot was closed while somebody waited")
        now = time.monotonic()
        if now - self._ticked_at >= settings.WAIT_SLICE_S:
            self._ticked_at = now
            self.check_place()
            self.reap()

    def reap(self) -> int:
        """Give back what dead sessions held; return how many there were."""
        for tier in self.tiers():
            engine = tier.engine
            # The rest when there is room, or when who stopped in a write goes on.
            with contextlib.suppress(OutOfMemoryError, DiskFullError, UnavailableError):
                if engine.reap() or engine.read(workspaces.has_trash):
                    tier.sweep()
        return self.session.free_dead_slots()

    def check_place(self) -> None:
        """Notice that the depot was removed under us.

        Raises:
            ClosedError: Its files are gone from their directory.
        """
        if self._find_inode() != self._inode:
            raise ClosedError(
                f"the depot in {self.directory} was removed",
                "systemd's RemoveIPC, 'entrepot rm --all', depot.destroy() do that: open it anew",
            )

    def _find_inode(self) -> int:
        try:
            # Not a Path's: this is asked often, and building one costs more than asking.
            return os.stat(self._catalog_file).st_ino  # noqa: PTH116 see above
        except OSError:
            return 0

    # Forking.

    def pause(self) -> None:
        """Wait until no transaction is open in this process, and let none begin."""
        self._lock.acquire()
        for engine in self.engines():
            engine.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        for engine in self.engines():
            engine.resume()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Close what was inherited; keep the pins of views that were inherited too."""
        self.arena.after_fork_in_child()  # first: a view that dies must not clear the parent's pin
        self._lock = threading.RLock()
        self._growth.forget_holder()
        self._is_reopening = self._is_making_room = False
        for tier in self.tiers():
            tier.forget()
        for engine in self.engines():
            engine.forget_threads()
        if not self._needs_reopening:  # else the parent was such a child, and never used it
            for engine in self.engines():
                engine.suspend(self._reopen)
            if self._home is not None:
                self._home.close()
            self.session.close_after_fork(self._reopen)
            self._needs_reopening = True
        if self.arena.pins.count:
            self._reopen()

    def _reopen(self) -> None:
        """Open what a forked child inherited and closed, with a session of its own.

        The lock is that of writes: a write that is the first use has it when it comes here.
        """
        with self.engine.environment.write_lock:
            if not self._needs_reopening or self._is_reopening:
                return
            self.check_place()
            self._is_reopening = True
            try:
                with contextlib.ExitStack() as opened:
                    self.session.reopen()
                    opened.callback(self.session.forget)
                    if self._home is not None:
                        self._home.reopen()
                        opened.callback(self._home.close)
                    for engine in self.engines():
                        engine.reopen()
                        opened.callback(engine.suspend, self._reopen)
                    with self.engine.using_spare():
                        self.session.begin(self.engine, self.pin_table.open)
                    opened.pop_all()  # all is well: it stays open
            finally:
                self._is_reopening = False
            self.arena.adopt(self.pin_table.words(self.session.slot))
            self._needs_reopening = False

    # The end.

    def is_empty(self) -> bool:
        """Tell whether the volatile tier holds nothing that anybody could come back for."""
        return self.engine.read(_is_empty)

    def leave(self) -> None:
        """Give back all that this process holds, but for the pins of views that live."""
        self._is_left = True
        for engine in self.engines():
            engine.stop_watching()
        self.arena.drop_chunks()
        for engine in self.engines():
            with contextlib.suppress(DiskFullError):  # whoever comes next takes it for dead
                engine.release(self.session.id)
        for tier in self.tiers():
            with contextlib.suppress(DiskFullError):  # whoever comes next sweeps
                tier.sweep()

    def rejoin(self) -> None:
        """Undo `leave`: there is a handle again."""
        self._is_left = False

    def close(self) -> None:
        """End the session; remove the depot if it is empty and nobody else is here."""
        if self._needs_reopening:  # a forked child that never used it
            self.arena.forget()
            self.pin_table.close()
            self._growth.close()
            return
        root = self.directory.parent
        with contextlib.ExitStack() as stack:  # an error in one step keeps none of the others
            stack.callback(self._growth.close)
            stack.callback(self.session.forget)
            if self._home is not None:
                stack.callback(self._home.close)
            for engine in self.engines():
                stack.callback(engine.close)
            stack.callback(self.pin_table.close)
            stack.callback(self.arena.forget)
            is_unused = False
            with root_lock(root):
                try:
                    is_unused = self._end()
                finally:
                    stack.close()
                    if is_unused:
                        remove_directory(self.directory)
                    leave_root(root, remove=places.is_own_root(root))

    def _end(self) -> bool:
        """End the session; tell whether the depot is of no more use."""
        is_there = self._find_inode() == self._inode
        try:
            self.leave()
        finally:
            self.arena.pins.leave()  # before another session can take the slot
            others = self.session.end()
        return others == 0 and is_there and self.is_empty()


def remove_directory(directory: Path) -> None:
    """Remove a depot's directory: out of sight first, then away."""
    hidden = directory.with_name(f".{directory.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        directory.rename(hidden)
    except FileNotFoundError:
        return
    _remove_tree(hidden)


def remove_leftovers(directory: Path) -> None:
    """Remove what is left of removals of this directory whose processes died in them."""
    if not directory.parent.exists():
        return
    for hidden in directory.parent.glob(f".{glob.escape(directory.name)}.*"):
        if hidden.name.removeprefix(f".{directory.name}.").replace(".", "").isdigit():
            _remove_tree(hidden)


def temporary_name() -> str:
    """Return a name for a depot that goes with its maker."""
    return f"temporary-{os.getpid()}-{os.urandom(4).hex()}"


def sweep_temporary(root: Path, data_root: Path) -> None:
    """Remove temporary depots whose makers were killed, and that nobody uses."""
    with _registry_lock, root_lock(root):
        for directory in root.glob("temporary-*"):
            found = _TEMPORARY.fullmatch(directory.name)
            if found is None or directory in _attachments or _is_used(directory, int(found[1])):
                continue
            data = data_root / directory.name
            with contextlib.suppress(EntrepotError):  # it is no depot of ours: it stays
                for path in (directory, data):
                    if path.exists():
                        places.check_removable(path)
                        remove_directory(path)


def _is_used(directory: Path, maker: int) -> bool:
    """Tell whether the maker of a depot lives, or another process has it open."""
    if Path(f"/proc/{maker}").exists():
        return True
    try:
        fd = os.open(directory / "sessions", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False  # half made: whoever makes one holds the root's lock
    except OSError:
        return True  # somebody else's
    try:
        return lock_holder(fd, 0, 0) is not None
    finally:
        os.close(fd)  # this process has no lock there, which that would drop


def _remove_tree(directory: Path) -> None:
    import shutil  # only here, and it loads all compressions

    shutil.rmtree(directory, ignore_errors=True)


def _is_empty(tx: Transaction) -> bool:
    if tx.range(OBJECT.begin, OBJECT.end, limit=1):
        return False
    return not workspaces.has_any(tx) and not lines.has_any(tx)


# The registry of this process.

_TEMPORARY = re.compile(r"temporary-([0-9]+)-[0-9a-f]{8}")

_attachments: dict[Path, Attachment] = {}
_registry_lock = threading.RLock()


def attach(name: str, *, root: Path, data_root: Path, memory_max: int | None) -> Attachment:
    """Return this process's attachment to a depot, made if need be; one more handle uses it.

    Raises:
        AccessDeniedError: Its directory is another user's, open to others, or a link.
        FormatError: Another version of entrepot made it.
        CorruptError: Its files are damaged.
        ConflictError: It exists with another bound than `memory_max`.
        LimitError: `memory_max` is too small.
    """
    places.private_directory(root)
    directory = root.resolve() / name
    with _registry_lock:
        attachment = _attachments.get(directory)
        if attachment is not None:
            try:
                attachment.check_place()
            except ClosedError:
                del _attachments[directory]
            else:
                places.check_memory(directory, attachment.memory_max, memory_max)
                attachment.handles += 1
                attachment.rejoin()
                return attachment
        with places.system_errors(directory), root_lock(root):
            remove_leftovers(directory)
            bound, is_new = _prepare(directory, memory_max)
            try:
                attachment = Attachment(directory, data_root.resolve() / name, bound)
            except BaseException:
                if is_new:  # or the bound that cannot be had would stay with it
                    remove_directory(directory)
                raise
        attachment.handles = 1
        _attachments[directory] = attachment
        return attachment


def _prepare(directory: Path, memory_max: int | None) -> tuple[int, bool]:
    """Make the depot's directory, or check it; return the depot's bound, and whether it is new."""
    if directory.is_symlink() or directory.exists():
        places.private_directory(directory)
        places.check_whole(directory)
    found = places.Format.read(directory)
    if found is not None and found.boot != places.boot_id():
        remove_directory(directory)  # on a disk, from before a reboot: what it held is gone
        found = None
    if found is not None:
        return places.check_memory(directory, found.memory_max, memory_max), False
    bound = places.check_bound(
        places.default_memory(directory.parent) if memory_max is None else memory_max
    )
    if directory.exists():
        places.check_removable(directory)
        remove_directory(directory)  # half made: its maker died
    places.private_directory(directory)
    try:
        places.check_room(directory)
        places.Format(settings.FORMAT_VERSION, places.boot_id(), bound).write(directory)
    except BaseException:
        remove_directory(directory)
        raise
    return bound, True


def detach(attachment: Attachment) -> None:
    """Take one handle from an attachment; the last one ends the session.

    If views of its blobs live on, the session does too, until they are gone or the process
    ends: their memory must not be reused.
    """
    with _registry_lock:
        attachment.handles -= 1
        close_unused()


def close_unused() -> None:
    """End the sessions that have no handle and no view left; those with views hold just these."""
    with _registry_lock, contextlib.ExitStack() as stack:
        for directory, attachment in list(_attachments.items()):
            if attachment.handles > 0:
                continue
            if attachment.arena.pins.count:
                stack.callback(attachment.leave)
            else:
                del _attachments[directory]
                stack.callback(attachment.close)


def _close_all() -> None:
    with _registry_lock, contextlib.ExitStack() as stack:
        for attachment in list(_attachments.values()):
            stack.callback(attachment.close)
        _attachments.clear()


_pipe: tuple[int, int] | None = None


def _before_fork() -> None:
    global _pipe
    _registry_lock.acquire()
    for attachment in _attachments.values():
        attachment.pause()
    _pipe = os.pipe() if _attachments else None


def _after_fork_in_parent() -> None:
    global _pipe
    if _pipe is not None:
        read_end, write_end = _pipe
        _pipe = None
        os.close(write_end)
        select.select([read_end], [], [], _FORK_PATIENCE_S)
        os.close(read_end)
    for attachment in _attachments.values():
        attachment.resume()
    _registry_lock.release()


def _after_fork_in_child() -> None:
    global _pipe, _registry_lock
    _registry_lock = threading.RLock()
    forget_root_lock()
    try:
        for attachment in _attachments.values():
            attachment.after_fork_in_child()
    finally:
        if _pipe is not None:
            os.close(_pipe[0])
            os.close(_pipe[1])
            _pipe = None


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
atexit.register(_close_all)
