"""Locks between processes that files give: for making depots, and for growing them.

`lockf`, whose locks end with the process and are not inherited by a forked child. They
belong to the process, so a lock between its threads stands around each.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

from entrepot import settings
from entrepot.engine.lmdb.environment import is_stopped
from entrepot.errors import ConflictError, OutOfMemoryError, UnavailableError
from entrepot.places import private_directory

__all__ = ["GrowthLock", "HomeLock", "forget_root_lock", "leave_root", "lock_holder", "root_lock"]

_PAUSE_S_MAX = 0.005
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of Linux with 64-bit offsets: type, whence, start, length, pid."""

_root_threads = threading.RLock()


@contextlib.contextmanager
def root_lock(root: Path) -> Generator[None]:
    """Hold the lock of a root directory: nobody else makes, opens or removes a depot there."""
    with _root_threads:
        fd = _lock_root(root)
        try:
            yield
        finally:
            os.close(fd)


def _lock_root(root: Path) -> int:
    """Return a descriptor of the locked file: of the one that is there, not of one removed."""
    while True:
        private_directory(root)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(root / ".lock", flags, 0o600)
        except FileNotFoundError:
            continue  # the directory was removed just now
        try:
            _lock(fd, root / ".lock")
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(fd).st_ino == (root / ".lock").stat().st_ino:
                    private_directory(root)  # what was checked above may have been replaced
                    return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def lock_holder(fd: int, start: int, length: int) -> int | None:
    """Return the process that holds a lock on these bytes of a file (length 0: to its end)."""
    query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, query))
    return None if kind == fcntl.F_UNLCK else pid


def _lock(fd: int, path: Path, kind: int = fcntl.LOCK_EX) -> None:
    """Lock a file, waiting for whoever has it; refuse to wait for a stopped process.

    Raises:
        UnavailableError: Its holder was stopped for `STOPPED_WRITER_PATIENCE_S`.
    """
    stopped_since = None
    pause_s = 0.0002
    while True:
        try:
            fcntl.lockf(fd, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # which of them, POSIX leaves open
            pass
        else:
            return
        holder = lock_holder(fd, 0, 0)
        if holder is None or not is_stopped(holder):
            stopped_since = None
        elif stopped_since is None:
            stopped_since = time.monotonic()
        elif time.monotonic() - stopped_since > settings.STOPPED_WRITER_PATIENCE_S:
            raise UnavailableError(
                f"process {holder} is stopped and holds the lock {path}",
                f"continue it with 'kill -CONT {holder}', or end it",
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_S_MAX)


def leave_root(root: Path, *, remove: bool) -> None:
    """Remove the lock file of a root directory that holds nothing else; hold the lock.

    With `remove`, remove the directory too.
    """
    if [entry.name for entry in root.iterdir()] == [".lock"]:
        (root / ".lock").unlink()
        if remove:
            with contextlib.suppress(OSError):  # somebody makes a depot there just now
                root.rmdir()


def forget_root_lock() -> None:
    """Make the lock between threads anew: in a forked child."""
    global _root_threads
    _root_threads = threading.RLock()


class HomeLock:
    """Held, shared, by all processes that use a durable directory from one volatile one.

    The durable tier is reaped by the sessions of the volatile tier beside it; a second volatile
    tier would take the sessions of the first one for dead.
    """

    def __init__(self, path: Path, home: Path) -> None:
        """Take the lock file, and which volatile directory asks for it.

        Raises:
            ConflictError: The durable directory is in use from another volatile one.
        """
        self._path = path
        self._home = home
        self.reopen()

    def reopen(self) -> None:
        """Open and lock the file: also in a forked child, which does not inherit the lock."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock()
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        home = os.fsencode(self._home)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _lock(self._fd, self._path, fcntl.LOCK_SH)
            found = os.pread(self._fd, 4096, 0)
            if found != home:
                raise ConflictError(
                    f"{self._path.parent} is in use by the depot in {os.fsdecode(found)}",
                    f"the depot in {self._home} needs a data_directory (ENTREPOT_DATA) of its own",
                ) from None
        else:  # nobody uses it
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, home, 0)
            fcntl.lockf(self._fd, fcntl.LOCK_SH)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


class GrowthLock:
    """Held while a file of a depot grows, so that all together stay within its bound."""

    def __init__(self, path: Path, *, bytes_max: int, used: Callable[[], int]) -> None:
        """Take the bound, and what tells how many bytes the files have reserved now."""
        # One descriptor for life: a depot that was removed can still be closed in good order.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._path = path
        self._bytes_max = bytes_max
        self._used = used
        self.forget_holder()

    def forget_holder(self) -> None:
        """Make the lock between threads anew: in a forked child."""
        self._threads = threading.RLock()
        self._depth = 0

    @contextlib.contextmanager
    def guard(self, more: int, spare: int) -> Generator[None]:
        """Hold the lock, when `more` bytes may be reserved and `spare` are left then.

        Raises:
            OutOfMemoryError: They would exceed the bound.
        """
        with self._threads, self._locked():
            if more:
                used = self._used()
                if used + more + spare > self._bytes_max:
                    raise OutOfMemoryError(
                        f"the depot has reserved {used} bytes, {more} more would exceed "
                        f"memory={self._bytes_max}",
                        "delete something, or make a depot with more memory=",
                    )
            yield

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        if self._depth:
            yield
            return
        _lock(self._fd, self._path)
        try:
            self._depth += 1
            yield
        finally:
            self._depth = 0
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
