"""Locks between processes that files give: for making depots, and for growing them.

`lockf`, whose locks end with the process and are not inherited by a forked child. They
belong to the process, so a lock between its threads stands around each.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from entrepot.errors import OutOfMemoryError

__all__ = ["GrowthLock", "forget_root_lock", "leave_root", "root_lock"]

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
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            fd = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the directory was removed just now
        fcntl.lockf(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(fd).st_ino == (root / ".lock").stat().st_ino:
                return fd
        os.close(fd)


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


class GrowthLock:
    """Held while a file of a depot grows, so that all together stay within its bound."""

    def __init__(self, path: Path, *, bytes_max: int, used: Callable[[], int]) -> None:
        """Take the bound, and what tells how many bytes the files have reserved now."""
        # One descriptor for life: a depot that was removed can still be closed in good order.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            self._depth += 1
            yield
        finally:
            self._depth = 0
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
