"""The embedded engine: LMDB behind the Engine protocol.

The hot paths are `read` and `write`. What they do besides LMDB's own work: take a token
(the gate of `environment`), look for a stopped writer, and ring bells after the commit.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import lmdb

from entrepot import settings
from entrepot.engine import failpoints, held
from entrepot.engine.lmdb.doorbell import Doorbell
from entrepot.engine.lmdb.environment import NOBODY_WRITES, Environment, GrowthGuard
from entrepot.engine.lmdb.errors import map_error
from entrepot.engine.lmdb.session import LmdbSession
from entrepot.engine.lmdb.transaction import SHORT_KEY_BYTES_MAX, LmdbTransaction
from entrepot.engine.protocol import Bell, Release, Seen
from entrepot.errors import ClosedError, ConflictError, OutOfMemoryError

__all__ = ["LmdbEngine"]

_FULL_TRIES = 20
_FULL_PAUSE_S = 0.001

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class LmdbEngine:
    """One tier of a depot on this machine. See `entrepot.engine.protocol.Engine`."""

    name: str
    session: LmdbSession

    def __init__(
        self,
        path: Path,
        *,
        volatile: bool,
        bells: memoryview,
        session: LmdbSession,
        growth_guard: GrowthGuard,
        between_slices: Callable[[], object],
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open the environment in the directory `path`, made if it is not there.

        Args:
            path: A directory of its own.
            volatile: Memory, every page reserved; or disk, synced at each commit.
            bells: This engine's page of shared memory.
            session: This process's session, shared by the engines of a depot.
            growth_guard: See `environment`.
            between_slices: What a waiter does when it has slept in vain, a slice or less; it is
                to look at the clock itself.
            make_room: Returns memory to the system that the map could have; tells whether it did.
        """
        self.name = "volatile" if volatile else "durable"
        self.path = path
        self.session = session
        self.doorbell = Doorbell(bells, between_slices)
        self.environment = Environment(path, volatile=volatile, growth_guard=growth_guard)
        self._make_room = make_room
        self._releases: dict[str, Release] = {}
        self._writing = LmdbTransaction()
        self._is_writing = False
        self._uses_spare = False
        self._adopt()

    def _adopt(self) -> None:
        """Take over what the hot paths use from a newly opened environment."""
        environment = self.environment
        self._begin: Callable[..., lmdb.Transaction[bytes]] = environment.begin
        self._idle = environment.idle
        self._write_lock = environment.write_lock
        self._lock_words = environment.lock_words

    def read(self, fn: Callable[[LmdbTransaction, *Ts], R], /, *args: *Ts) -> R:
        """Run fn(tx, ...) on one consistent snapshot and return what it returns."""
        idle = self._idle
        try:
            tx = idle.pop()
        except IndexError:
            tx = self.environment.wait_for_idle()
        try:
            txn = tx.txn = self._begin()
        except lmdb.Error as error:
            idle.append(tx)
            self._recover(error)
            return self.read(fn, *args)
        except BaseException:
            idle.append(tx)
            raise
        try:
            return fn(tx, *args)
        except lmdb.Error as error:
            raise map_error(error, self.path) or error from error
        finally:
            tx.txn = None  # first: Ctrl-C behind any call loses a token, which must have none then
            txn.abort()
            txn = None  # frees its slot, which `abort` keeps: see `close_after_fork`
            idle.append(tx)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of one key: the short form of a `read` of just that."""
        if len(key) > SHORT_KEY_BYTES_MAX:
            return self.read(LmdbTransaction.get, key)
        idle = self._idle
        try:
            tx = idle.pop()
        except IndexError:
            tx = self.environment.wait_for_idle()
        try:
            txn = tx.txn = self._begin()
        except lmdb.Error as error:
            idle.append(tx)
            self._recover(error)
            return self.get(key)
        except BaseException:
            idle.append(tx)
            raise
        try:
            return txn.get(key)
        except lmdb.Error as error:
            raise map_error(error, self.path) or error from error
        finally:
            tx.txn = txn = None  # nothing else refers to it: that ends it
            idle.append(tx)

    def write(self, fn: Callable[[LmdbTransaction, *Ts], R], /, *args: *Ts) -> R:
        """Run fn(tx, ...) and commit: all or nothing, as if no other write ran meanwhile."""
        refused = 0
        while True:
            with self._write_lock:
                if self._is_writing:
                    raise ConflictError(
                        "a write transaction began inside another one of the same thread",
                        "a signal handler or a finalizer must not use the depot",
                    )
                if self._lock_words[0]:
                    self.environment.await_writer()
                try:
                    txn = self._begin(write=True)
                except lmdb.Error as error:
                    self._recover(error)
                    continue
                tx = self._writing
                tx.txn = txn
                self._is_writing = True
                try:
                    if tx.rung:
                        tx.rung.clear()
                    if failpoints.ARMED:
                        failpoints.hit("engine.begun")
                    pages = _pages(txn) if self.environment.pages_max else 0
                    result = fn(tx, *args)
                    if (
                        pages
                        and not self._uses_spare
                        and max(pages, self.environment.pages_max) < _pages(txn)
                    ):
                        raise lmdb.MapFullError("what is left is for deletes")
                    rung = tuple(dict.fromkeys(tx.rung)) if tx.rung else ()
                    version = txn.id() if rung else 0
                    if failpoints.ARMED:
                        failpoints.hit("engine.before_commit")
                    txn.commit()
                except lmdb.MapFullError as error:
                    txn.abort()
                    self._is_writing = False
                    self._find_pages(error, refused)
                    refused += 1
                    continue
                except lmdb.Error as error:
                    txn.abort()
                    self._is_writing = False
                    self._recover(error)
                    continue
                except BaseException:
                    txn.abort()
                    raise
                finally:
                    self._is_writing = False
            if failpoints.ARMED:
                failpoints.hit("engine.committed")
            for bell in rung:
                self.doorbell.ring(bell, version)
            return result

    def _recover(self, error: lmdb.Error) -> None:
        """Do what makes a second try succeed, or raise our error for LMDB's."""
        if isinstance(error, lmdb.MapResizedError):
            self.environment.adopt_size()
        elif isinstance(error, lmdb.ReadersFullError) and self.environment.env.reader_check():
            return
        else:
            raise map_error(error, self.path) or error from error

    def _find_pages(self, error: lmdb.MapFullError, refused: int) -> None:
        """Find room for a write that found the map full, or raise OutOfMemoryError.

        Pages that earlier commits freed cannot be reused while an older snapshot is read, also
        by the dead. So, in this order: forget dead readers, grow, make room for that, wait a
        moment for the readers of other processes, and use what is spared for this. That is what
        lets a delete work when all is full.
        """
        if self.environment.env.reader_check():
            return
        try:
            self.environment.grow()
        except OutOfMemoryError as full:
            if refused >= _FULL_TRIES and not self.environment.overdraw():
                raise OutOfMemoryError(full.message, full.hint) from error
            if refused or not self._make_room():
                time.sleep(_FULL_PAUSE_S)

    # Waiting.

    def listen(self, bells: Sequence[Bell]) -> Seen:
        """Return the state of the bells, to be read before the condition is checked."""
        return self.doorbell.listen(bells)

    def wait(self, bells: Sequence[Bell], seen: Seen, timeout: float | None = None) -> bool:
        """Sleep until a bell was rung since `seen`; False when `timeout` seconds passed."""
        return self.doorbell.wait(bells, seen, timeout)

    async def wait_async(
        self, bells: Sequence[Bell], seen: Seen, timeout: float | None = None
    ) -> bool:
        """As `wait`, without blocking the event loop and without a thread for each waiter."""
        return await self.doorbell.wait_async(bells, seen, timeout)

    # Sessions.

    def on_release(self, kind: str, release: Release) -> None:
        """Say how things of one kind are given back when the session that held them is dead."""
        self._releases[kind] = release

    def reap(self) -> int:
        """Give back what dead sessions held in this engine; return how many were dead."""
        holders = self.read(held.holders)
        alive = self.session.live_sessions() if holders else set[int]()
        dead = [session for session in holders if session not in alive]
        for session in dead:
            self.release(session)
        self.environment.env.reader_check()
        return len(dead)

    def release(self, session: int) -> None:
        """Give back all that a session holds in this engine.

        Raises:
            OutOfMemoryError: The map is so full that not even one thing can be given back.
        """
        batch, has_more = settings.BATCH_KEYS, True
        while has_more:
            try:
                with self.using_spare():
                    has_more = self.write(held.release_batch, session, self._releases, batch)
            except OutOfMemoryError:
                if batch == 1:
                    raise
                batch = 1  # that needs few pages at once
            if has_more and failpoints.ARMED:
                failpoints.hit("reaper.halfway")

    @contextlib.contextmanager
    def using_spare(self) -> Generator[None]:
        """Let writes of the block use what is spared for a full map: they free it for others."""
        with self._write_lock:
            self._uses_spare = True
            try:
                yield
            finally:
                self._uses_spare = False

    def oldest_snapshot(self) -> int | None:
        """Return the version of the oldest snapshot that a reader still uses; None if none."""
        versions = [reader.version for reader in self.readers()]
        return min(versions, default=None)

    def readers(self) -> list[Reader]:
        """Return the open read transactions of all processes."""
        lines = self.environment.env.readers().splitlines()[1:]
        rows = [line.split() for line in lines]
        return [
            Reader(int(row[0]), row[1], int(row[2]))
            for row in rows
            if len(row) == 3 and row[2] != "-"
        ]

    # Life.

    def pause(self) -> None:
        """Wait until no transaction is open in this process, and let none begin."""
        self.environment.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self.environment.resume()

    def forget_threads(self) -> None:
        """Forget what other threads did: in a forked child, where there are none."""
        self.environment.forget_gate()
        self.doorbell.forget_watchers()
        self._is_writing = False
        self._writing = LmdbTransaction()
        self._idle = self.environment.idle
        self._write_lock = self.environment.write_lock

    def suspend(self, first_use: Callable[[], None]) -> None:
        """Close the environment until `reopen`; the next transaction calls `first_use`.

        So a forked child closes what it inherited. The parent must have no transaction open
        meanwhile, nor one that is aborted and still referred to: its slot in the table of readers
        is freed when the last reference goes, so the child's close would free it too, and the
        parent's later one that of another reader.
        """

        def begin_anew(**options: bool) -> lmdb.Transaction[bytes]:
            first_use()
            return self._begin(**options)

        self.pause()
        try:
            self._begin = begin_anew
            self._lock_words = NOBODY_WRITES
            self.environment.close()
        finally:
            self.resume()

    def reopen(self) -> None:
        """Open the environment again, in a forked child."""
        self.environment.reopen()
        self._adopt()

    def stop_watching(self) -> None:
        """End the threads that watch bells for event loops."""
        self.doorbell.close()

    def close(self) -> None:
        """Close the environment; every later call raises ClosedError."""
        self.stop_watching()
        self.pause()
        self._begin = _closed
        self._lock_words = NOBODY_WRITES
        self.environment.close()
        self.resume()


class Reader:
    """An open read transaction of some process."""

    __slots__ = ("pid", "thread", "version")

    def __init__(self, pid: int, thread: str, version: int) -> None:
        self.pid = pid
        self.thread = thread
        self.version = version


def _pages(txn: lmdb.Transaction[bytes]) -> int:
    """Return how many pages the data uses."""
    stat = txn.stat(None)
    return stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]


def _closed(**_options: bool) -> lmdb.Transaction[bytes]:
    raise ClosedError("the depot is closed", "open it again with entrepot.open()")
