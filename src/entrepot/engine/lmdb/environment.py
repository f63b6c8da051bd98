"""One LMDB environment of this process: opened, gated, grown, and reopened after a fork.

Facts that shape this file (each measured):

- LMDB 0.9's format only: 1.0 with a writable map aborts the process.
- Volatile: writable map (2.5 times the write rate), every page of it reserved, because a
  write into a full tmpfs through a map is a SIGBUS. It grows in steps.
- Durable: no writable map; the map is sparse and large; a full disk is a clean error.
- Growing and forking need all transactions of this process to be over. So every read
  transaction needs one of a fixed number of tokens, and whoever has all tokens and the write
  lock is alone. Taking and giving back a token is one atomic operation on a list.
- A transaction that waits for the write lock cannot be interrupted, and a stopped process
  (Ctrl-Z) keeps it for ever. So we peek at LMDB's lock word before we block.
- No file descriptor of LMDB's lock file may be closed while the environment is open: that
  would drop the record locks by which LMDB knows that this process lives.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import lmdb

from entrepot import settings
from entrepot.engine import failpoints
from entrepot.engine.lmdb.errors import map_error
from entrepot.engine.lmdb.transaction import LmdbTransaction
from entrepot.errors import CorruptError, OutOfMemoryError, UnavailableError

__all__ = ["Environment", "GrowthGuard"]

GrowthGuard = Callable[[int, int], "contextlib.AbstractContextManager[None]"]
"""Called with the bytes that a map is to grow by, and those that are to be left then: holds
the depot's growth lock for the block, or raises OutOfMemoryError where the depot's `memory`
setting forbids it."""

NOBODY_WRITES = memoryview(bytes(4)).cast("I")
"""Stands in for LMDB's lock word where that cannot be read."""
_LOST_TOKEN_S = 3.0
_LOCK_WORD_AT = 64
_THREAD_MASK = 0x3FFFFFFF
_SIZE_KEY = b"\xff\x01"
"""A key behind all that a layer can use: how many bytes of the map data may use. Writing it
publishes the size of the map."""


class Environment:
    """An open LMDB environment, and the gate that its transactions go through."""

    def __init__(self, path: Path, *, volatile: bool, growth_guard: GrowthGuard) -> None:
        self.path = path
        self.volatile = volatile
        self._growth_guard = growth_guard
        self.forget_gate()
        self._open()

    def forget_gate(self) -> None:
        """Make the gate anew: in a forked child, where the old one may be held for ever."""
        self.write_lock = threading.RLock()
        self._parked: list[LmdbTransaction] = []
        self._tokens = [LmdbTransaction() for _ in range(settings.READERS_PER_PROCESS_MAX)]
        self.idle = list(self._tokens)

    # Opening and closing.

    def _open(self) -> None:
        self.path.mkdir(mode=0o700, exist_ok=True)
        with self._growth_guard(0, 0):  # see `_adopt_size`
            self._open_at_its_size()
            self._map_lock_word()
        self.env.reader_check()
        self.begin = self.env.begin

    def _open_at_its_size(self) -> None:
        data = self.path / "data.mdb"
        size = data.stat().st_size if data.exists() else 0
        first = settings.CATALOG_BYTES_FIRST if self.volatile else settings.DURABLE_BYTES_FIRST
        try:
            self.env = self._open_lmdb(max(size, first))
            if self.volatile:
                if self.env.info()["map_size"] > max(size, first):
                    self.env.close()
                    os.truncate(data, size)  # LMDB made it longer: keep the evidence
                    raise CorruptError(
                        f"the catalog {data} is {size} bytes long and was longer",
                        "something truncated it; "
                        f"'entrepot doctor --depot {self.path.parent.name}' says what to do",
                    )
                _reserve(data, max(size, first))
            self._find_pages_max()
        except lmdb.Error as error:
            self._close_half_open()
            raise map_error(error, self.path) or error from error
        except BaseException:
            self._close_half_open()
            raise
        self._keep_spare()

    def _close_half_open(self) -> None:
        """Close what was opened and turned out to be of no use: LMDB opens nothing twice."""
        if "env" in vars(self):
            self.env.close()

    def _open_lmdb(self, map_bytes: int) -> lmdb.Environment:
        return lmdb.open(
            str(self.path),
            map_size=map_bytes,
            mode=0o600,
            writemap=self.volatile,
            sync=not self.volatile,
            metasync=not self.volatile,
            max_readers=settings.READERS_MAX,
            max_spare_txns=0,  # a cached reader slot would leak over a fork
            lib_version=0,
        )

    def close(self) -> None:
        """Close the environment; there must be no transaction left."""
        self.env.close()
        self._unmap_lock_word()

    def reopen(self) -> None:
        """Open again what was closed: in a forked child."""
        self._open()

    # The gate.

    def wait_for_idle(self) -> LmdbTransaction:
        """Wait until this process has fewer read transactions, or a growth is over."""
        while True:
            time.sleep(0.0001)
            with contextlib.suppress(IndexError):
                return self.idle.pop()

    def pause(self) -> None:
        """Wait until no transaction is open in this process, and let none begin."""
        self.write_lock.acquire()
        try:
            self._parked = self._take_all()
        except BaseException:
            self.write_lock.release()
            raise

    def resume(self) -> None:
        """Undo `pause`."""
        self.idle.extend(self._parked)
        self._parked = []
        self.write_lock.release()

    def _take_all(self) -> list[LmdbTransaction]:
        ours = set(self._tokens)
        taken: list[LmdbTransaction] = []
        lost_after = time.monotonic() + _LOST_TOKEN_S
        try:
            while len(taken) < len(ours):
                try:
                    token = self.idle.pop()
                except IndexError:
                    time.sleep(0.0001)
                else:
                    if token in ours:  # else it counted as lost, and was replaced
                        taken.append(token)
                    continue
                if time.monotonic() > lost_after:
                    # An exception that a signal handler raised between two instructions can lose a
                    # token: one that is nowhere, and has no transaction, is such.
                    lost = {token for token in ours.difference(taken) if token.txn is None}
                    fresh = [LmdbTransaction() for _ in lost]
                    ours = ours - lost | set(fresh)
                    self._tokens = list(ours)
                    taken += fresh
        except BaseException:
            self.idle.extend(taken)
            raise
        return taken

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    # Growing.

    def adopt_size(self) -> None:
        """Take over the size that another process gave the map."""
        with self._alone(), self._growth_guard(0, 0):
            self._adopt_size()

    def _adopt_size(self) -> int:
        # Under the growth lock: LMDB cuts a file that it maps writable to the size that it
        # read before, and others may have made it longer meanwhile.
        self.env.set_mapsize(0)
        self._find_pages_max()
        return self.env.info()["map_size"]

    def _find_pages_max(self) -> None:
        with self.env.begin() as txn:
            value = txn.get(_SIZE_KEY)
        size = self.env.info()["map_size"]
        limit = int.from_bytes(value, "big") if value else size
        is_overdrawn = self.volatile and 0 < size - limit <= settings.CATALOG_BYTES_SPARE
        self.pages_max = limit // self.env.stat()["psize"] if is_overdrawn else 0

    def grow(self) -> None:
        """Make the map larger, or take over the size that another process gave it meanwhile.

        Raises:
            OutOfMemoryError: The `memory` setting or the machine's memory is used up.
        """
        with self._alone(), self._growth_guard(0, 0):
            old = self.env.info()["map_size"]
            if self._adopt_size() > old:
                return
            if not self.volatile:
                self._grow_to(2 * old, limit=2 * old)
                return
            step = max(old // 2, settings.CATALOG_BYTES_STEP_MIN)
            steps = (min(step, settings.CATALOG_BYTES_STEP_MAX), settings.CATALOG_BYTES_STEP_LAST)
            for step in steps:
                try:
                    with self._growth_guard(step, settings.CATALOG_BYTES_SPARE):
                        self._grow_to(old + step, limit=old + step)
                except OutOfMemoryError:
                    if step == steps[-1]:
                        raise
                else:
                    return

    def overdraw(self) -> bool:
        """Grow by what is spared for writes that free pages; tell whether that was possible.

        Data may use no more pages than before (`pages_max`), so it is not used up by others.
        """
        with self._alone(), self._growth_guard(0, 0):
            old = self.env.info()["map_size"]
            if self._adopt_size() > old:
                return True
            if self.pages_max or not self.volatile:
                return False
            try:
                with self._growth_guard(settings.CATALOG_BYTES_SPARE, 0):
                    os.truncate(self.path / "spare", 0)
                    self._grow_to(old + settings.CATALOG_BYTES_SPARE, limit=old)
            except OutOfMemoryError:
                return False
            return True

    def _grow_to(self, size: int, *, limit: int) -> None:
        if self.volatile:
            _reserve(self.path / "data.mdb", size)
        if failpoints.ARMED:
            failpoints.hit("engine.growing")
        self.env.set_mapsize(size)
        with self.env.begin(write=True) as txn:
            txn.put(_SIZE_KEY, limit.to_bytes(8, "big"))
        self._find_pages_max()
        self._keep_spare()

    def _keep_spare(self) -> None:
        """Reserve what is spared in a file of its own: where memory is full, that is there."""
        if self.volatile and not self.pages_max:
            with contextlib.suppress(OutOfMemoryError):
                _reserve(self.path / "spare", settings.CATALOG_BYTES_SPARE)

    # A stopped writer.

    def _map_lock_word(self) -> None:
        self._lock_fd = os.open(self.path / "lock.mdb", os.O_RDONLY | os.O_CLOEXEC)
        self._lock_map = mmap.mmap(self._lock_fd, mmap.PAGESIZE, prot=mmap.PROT_READ)
        whole = memoryview(self._lock_map)
        part = whole[_LOCK_WORD_AT : _LOCK_WORD_AT + 4]
        self.lock_words = part.cast("I")
        self._lock_views = (self.lock_words, part, whole)
        if not self._is_lock_word_known():
            # Another libc or machine: read a word that is always 0, so the peek never fires.
            self.lock_words = NOBODY_WRITES

    def _unmap_lock_word(self) -> None:
        # Now, and not when the garbage is collected: the map has a descriptor of its own, and
        # closing it later would drop the locks of an environment that was opened meanwhile.
        self.lock_words = NOBODY_WRITES
        for view in self._lock_views:
            view.release()
        self._lock_map.close()
        os.close(self._lock_fd)

    def _is_lock_word_known(self) -> bool:
        if not (sys.platform == "linux" and platform.machine() == "x86_64"):
            return False
        if self.lock_words[0] != 0:
            return True  # somebody writes just now: known from the time when this depot was made
        with self.env.begin(write=True):
            return self.lock_words[0] & _THREAD_MASK == threading.get_native_id()

    def writer(self) -> int:
        """Return the thread id of the process that is writing now, or 0."""
        return self.lock_words[0] & _THREAD_MASK

    def await_writer(self) -> None:
        """Wait a moment for another process's write; refuse to block on a stopped one.

        Raises:
            UnavailableError: It was stopped for `STOPPED_WRITER_PATIENCE_S`.
        """
        owner = self.writer()
        if self.volatile:  # a commit takes microseconds; one that waits for a disk does not
            spin_until = time.perf_counter() + 0.0002
            while time.perf_counter() < spin_until:
                if self.writer() != owner:
                    return
        deadline = time.monotonic() + settings.STOPPED_WRITER_PATIENCE_S
        while self.writer() == owner and is_stopped(owner):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"process {owner} is stopped and holds the write lock of {self.path}",
                    f"continue it with 'kill -CONT {owner}', or end it",
                )
            time.sleep(0.01)


def is_stopped(thread: int) -> bool:
    """Tell whether a thread is stopped by a signal or a debugger."""
    try:
        status = Path(f"/proc/{thread}/stat").read_text()
    except OSError:
        return False  # it has ended: LMDB recovers the lock
    return status.rpartition(")")[2].split()[0] in ("T", "t")


def _reserve(path: Path, size: int) -> None:
    """Reserve every page of a file, so that touching one is never a SIGBUS."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        raise OutOfMemoryError(
            f"cannot reserve {size} bytes for {path}: {error.strerror}",
            "free memory in /dev/shm, or open the depot in another directory",
        ) from error
    finally:
        os.close(fd)
