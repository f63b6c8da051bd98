"""Worker processes of this machine: started, watched, replaced when they die.

They end with the process that started them, also if that is killed: each watches it.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

__all__ = ["Crew", "Ready", "end_with_parent"]

_log = logging.getLogger(__name__)

_FALSE_STARTS_MAX: Final = 5
"""When so many in a row ended before they were ready, no further one is tried."""
_JOIN_S: Final = 10.0


class Crew:
    """A number of processes that all run `work(*arguments, ready)`.

    Args:
        work: A function that a new interpreter can import, or that is in the main module. It
            calls `ready()` when it is able to work.
        arguments: What it gets; they are pickled.
        count: How many processes.
        name: Of the processes, for listings.
        is_given_up: Called when workers end before they are ready, again and again; they
            are not replaced any more then.
        on_death: Called with the exit code after a worker died that was not asked to end.
    """

    def __init__(
        self,
        work: Callable[..., object],
        arguments: tuple[Any, ...],
        count: int,
        *,
        name: str = "entrepot-worker",
        is_given_up: Callable[[], object] | None = None,
        on_death: Callable[[int | None], object] | None = None,
    ) -> None:
        self.count = count
        self._work = work
        self._arguments = arguments
        self._name = name
        self._give_up = is_given_up
        self._on_death = on_death
        self._context = multiprocessing.get_context("spawn")
        self._members: list[tuple[BaseProcess, connection.Connection]] = []
        self._is_over = False
        self._false_starts = 0
        self._lock = threading.Lock()
        self._wake, self._bell = os.pipe()
        try:
            for _ in range(count):
                self._hire()
        except BaseException:
            self.kill()
            raise
        self._watcher = threading.Thread(target=self._watch, name=f"{name}-watch", daemon=True)
        self._watcher.start()

    @property
    def pids(self) -> list[int]:
        """The processes that live just now."""
        with self._lock:
            return [member.pid for member, _ in self._members if member.pid is not None]

    def _hire(self) -> None:
        told, tell = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=self._work, args=(*self._arguments, Ready(tell)), name=self._name, daemon=True
        )
        process.start()
        tell.close()
        with self._lock:
            self._members.append((process, told))

    def _watch(self) -> None:
        """Replace workers that die, until the crew is dismissed."""
        while not self._is_over:
            with self._lock:
                sentinels = {member.sentinel: member for member, _ in self._members}
            ready = connection.wait([*sentinels, self._wake])
            for sentinel in ready:
                member = sentinels.get(sentinel) if isinstance(sentinel, int) else None
                if member is not None and not self._is_over:
                    self._replace(member)

    def _replace(self, member: BaseProcess) -> None:
        member.join()
        with self._lock:
            told = next(told for each, told in self._members if each is member)
            self._members = [each for each in self._members if each[0] is not member]
        _log.info("worker %s ended with %s", member.pid, member.exitcode)
        if self._on_death is not None:
            self._on_death(member.exitcode)
        self._false_starts = 0 if _was_ready(told) else self._false_starts + 1
        if self._false_starts >= _FALSE_STARTS_MAX:
            _log.warning("workers end before they are ready: they are not replaced any more")
            if self._give_up is not None:
                self._give_up()
            return
        self._hire()

    def dismiss(self) -> None:
        """Replace nobody any more; the workers are asked to end by the caller."""
        if not self._is_over:
            self._is_over = True
            os.write(self._bell, b".")

    def join(self, timeout: float = _JOIN_S) -> None:
        """Wait until all have ended; kill those that have not after `timeout` seconds."""
        self.dismiss()
        self._watcher.join()
        deadline = time.monotonic() + timeout
        for member, _ in self._members:
            member.join(max(0.0, deadline - time.monotonic()))
        self.kill()
        for end in (self._wake, self._bell):
            os.close(end)

    def kill(self) -> None:
        """End all that still live, at once."""
        self._is_over = True
        for member, told in self._members:
            if member.is_alive():
                member.kill()
            member.join()
            told.close()


class Ready:
    """Tells who started a worker that it is able to work."""

    def __init__(self, tell: connection.Connection) -> None:
        self._tell = tell

    def __call__(self) -> None:
        """Tell it; once."""
        with contextlib.suppress(OSError):  # nobody wants to know any more
            self._tell.send_bytes(b".")
            self._tell.close()


def _was_ready(told: connection.Connection) -> bool:
    """Tell whether a worker that ended had said that it was ready."""
    with told:
        try:
            return bool(told.recv_bytes())
        except (EOFError, OSError):
            return False


def end_with_parent() -> None:
    """End this process when the one that started it ends, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="entrepot-parent", daemon=True).start()
