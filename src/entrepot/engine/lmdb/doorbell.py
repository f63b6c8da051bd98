"""How a process that waits is woken by a commit.

A page of words in shared memory, indexed by a hash of the bell's name.

1. A waiter reads the word.
2. It checks its condition in a transaction; if that is met, it is done.
3. It sleeps while the word is what it read in 1.
4. A committer stores its transaction id into the word after its commit, and wakes.

A commit before 2 is seen there; a commit after 2 stores after 1, so 3 does not sleep: no
wake-up is lost. Every transaction id is stored once, so "unchanged" proves that nobody
rang; an incremented counter would not, since processes could write back an old value.

A committer killed, stopped or interrupted between its commit and 4 strands nobody: sleeps are
slices of a second, and after each the waiter checks its condition again.
Two bells may share a word: a waiter then wakes for nothing, and sleeps again.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from entrepot import settings
from entrepot.engine.lmdb.futex import WAITV_WORDS_MAX, Words, wait_any
from entrepot.engine.protocol import Bell, Seen
from entrepot.errors import ClosedError

if TYPE_CHECKING:
    import asyncio

__all__ = ["Doorbell", "open_bells"]

_WATCHERS = -(-settings.BELLS_PER_ENGINE // (WAITV_WORDS_MAX - 1))
"""So many threads watch all words, one each for a share; nearly always one share is in use."""


class Doorbell:
    """The bells of one engine, as this process sees them."""

    def __init__(self, memory: memoryview, between_slices: Callable[[], object]) -> None:
        """Take the shared page, and what to do when a waiter has slept in vain."""
        self._words = Words(memory)
        self._values = self._words.values
        self._between_slices = between_slices
        self._watchers: dict[int, _Watcher] = {}
        self._lock = threading.Lock()

    def listen(self, bells: Sequence[Bell]) -> Seen:
        """Return the words of the bells as they are now."""
        return tuple([self._values[_index(bell)] for bell in bells])

    def ring(self, bell: Bell, version: int) -> None:
        """Wake everyone who waits for `bell`; `version` is the id of the transaction."""
        index = _index(bell)
        self._values[index] = version & 0xFFFFFFFF
        self._words.wake_all(index)

    def wait(self, bells: Sequence[Bell], seen: Seen, timeout: float | None) -> bool:
        """Sleep until a bell was rung since `seen`; False when `timeout` seconds passed."""
        pairs = tuple(zip(map(_index, bells), seen, strict=True))
        values = self._values
        for _ in range(settings.SPIN_COUNT):
            for index, value in pairs:
                if values[index] != value:
                    return True
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            slice_s = settings.WAIT_SLICE_S
            if deadline is not None:
                slice_s = min(slice_s, deadline - time.monotonic())
            if slice_s > 0:
                if len(pairs) == 1:
                    self._words.wait(*pairs[0], slice_s)
                else:
                    watched = [(self._words, index, value) for index, value in pairs]
                    wait_any(watched[:WAITV_WORDS_MAX], slice_s)
                if any(values[index] != value for index, value in pairs):
                    return True
            # Also behind a wait that was shorter: who waits again and again, a little each time,
            # may be the only one who can notice that somebody died. It looks at the clock.
            self._between_slices()
            if slice_s == settings.WAIT_SLICE_S:
                return True  # to look again: who was to ring may have died before it did
            if deadline is not None and time.monotonic() >= deadline:
                return False

    async def wait_async(self, bells: Sequence[Bell], seen: Seen, timeout: float | None) -> bool:
        """As `wait`, on the running event loop; one thread watches for all its tasks."""
        import asyncio  # only who awaits pays for it: 15 ms

        loop = asyncio.get_running_loop()
        waiters = [
            _Waiter(_index(bell), value, loop, loop.create_future())
            for bell, value in zip(bells, seen, strict=True)
        ]
        watched = [(waiter, self._watcher(waiter.word)) for waiter in waiters]
        for waiter, watcher in watched:
            watcher.add(waiter)
        try:
            done, _ = await asyncio.wait(
                [waiter.rung for waiter in waiters],
                timeout=timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            for waiter, watcher in watched:
                watcher.remove(waiter)
                _forget(waiter.rung)
        for rung in done:
            rung.result()
        return bool(done)

    def forget_watchers(self) -> None:
        """Drop the watcher threads: after a fork they exist in the parent only."""
        self._watchers = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the watcher threads, and wait for them: nothing may run after the engine."""
        with self._lock:
            watchers, self._watchers = list(self._watchers.values()), {}
        for watcher in watchers:
            watcher.end()

    def _watcher(self, index: int) -> _Watcher:
        share = index % _WATCHERS
        with self._lock:
            watcher = self._watchers.get(share)
            if watcher is None:
                watcher = self._watchers[share] = _Watcher(self._words, self._between_slices)
            return watcher


_NEVER_S = 3600.0


class _Waiter(NamedTuple):
    word: int
    seen: int
    loop: asyncio.AbstractEventLoop
    rung: asyncio.Future[None]


class _Watcher:
    """A thread that sleeps on the words that tasks wait for, and tells their event loops.

    It also sleeps on a word of its own, which changes when there is a new word to sleep on.
    Words are read and waiters added under one lock, so a waiter is told at once, or is in
    the list when the thread reads the word that it goes to sleep on.
    """

    def __init__(self, words: Words, between_slices: Callable[[], object]) -> None:
        self._words = words
        self._between_slices = between_slices
        self._lock = threading.Lock()
        self._waiters: dict[int, dict[asyncio.Future[None], _Waiter]] = {}
        self._nudges = Words(memoryview(bytearray(4)))
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="entrepot-bells", daemon=True)
        self._thread.start()

    def add(self, waiter: _Waiter) -> None:
        with self._lock:
            if self._words.values[waiter.word] != waiter.seen:
                _set(waiter.rung)
                return
            at_word = self._waiters.get(waiter.word)
            if at_word is None:
                at_word = self._waiters[waiter.word] = {}
                self._nudge()
            at_word[waiter.rung] = waiter

    def remove(self, waiter: _Waiter) -> None:
        with self._lock:
            self._waiters.get(waiter.word, {}).pop(waiter.rung, None)

    def end(self) -> None:
        self._tell_all(ClosedError("the depot was closed while a task waited"))
        with self._lock:
            self._ended = True
            self._nudge()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _nudge(self) -> None:
        self._nudges.values[0] = (self._nudges.values[0] + 1) & 0xFFFFFFFF
        self._nudges.wake_all(0)

    def _run(self) -> None:
        while not self._ended:
            with self._lock:
                watched = [(self._nudges, 0, self._nudges.values[0])]
                for index, at_word in list(self._waiters.items()):
                    value = self._words.values[index]
                    for waiter in [w for w in at_word.values() if w.seen != value]:
                        del at_word[waiter.rung]
                        _tell(waiter)
                    if at_word:
                        watched.append((self._words, index, value))
                    else:
                        del self._waiters[index]
            if len(watched) == 1:
                self._nudges.wait(*watched[0][1:], timeout_s=_NEVER_S)
            else:
                wait_any(watched, settings.WAIT_SLICE_S)
                self._reap_now_and_then()

    _reaped_at = 0.0

    def _reap_now_and_then(self) -> None:
        now = time.monotonic()
        if now - self._reaped_at >= settings.WAIT_SLICE_S:
            self._reaped_at = now
            try:
                self._between_slices()
            except Exception as error:  # noqa: BLE001 closed, removed, or a bug: those who wait are told
                self._tell_all(error)
            else:
                self._tell_all()

    def _tell_all(self, error: Exception | None = None) -> None:
        """Let all who wait check again, or give them the error that this thread met."""
        with self._lock:
            waiters = [waiter for at_word in self._waiters.values() for waiter in at_word.values()]
            self._waiters.clear()
        for waiter in waiters:
            _tell(waiter, error)


def _tell(waiter: _Waiter, error: Exception | None = None) -> None:
    try:
        waiter.loop.call_soon_threadsafe(_set, waiter.rung, error)
    except RuntimeError:
        return  # its event loop was closed: nobody waits any more


def _forget(future: asyncio.Future[None]) -> None:
    """Let go of a future that nobody awaits any more, and of an error that it may hold."""
    if not future.cancel() and not future.cancelled():
        future.exception()


def _set(rung: asyncio.Future[None], error: Exception | None = None) -> None:
    if rung.done():
        return
    if error is None:
        rung.set_result(None)
    else:
        rung.set_exception(error)


def _index(bell: Bell) -> int:
    return zlib.crc32(bell) % settings.BELLS_PER_ENGINE


def open_bells(path: Path) -> memoryview:
    """Return the shared page of bells in a file, made and reserved if it is not there."""
    length = 2 * settings.BELLS_PER_ENGINE * 4
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, length)
        return memoryview(mmap.mmap(fd, length))
    finally:
        os.close(fd)
