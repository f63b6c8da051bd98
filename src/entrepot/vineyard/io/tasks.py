"""Threads that feed and empty streams.

They are daemons: a program may end while nobody reads what it has opened. Before it does, they
are told to stop, so that none of them is inside the depot when that is closed.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

__all__ = ["Task"]

_JOIN_S = 5.0

_live: set[Task] = set()
_is_watched = False


class Task:
    """Work that goes on in a thread; what it raised is raised by `join`."""

    def __init__(self, work: Callable[[], object], stop: Callable[[], object]) -> None:
        """Begin the work.

        Args:
            work: What is done.
            stop: Makes it raise, soon. Called when the program ends first.
        """
        self._work, self._stop = work, stop
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="vineyard.io")
        _watch_exit()
        _live.add(self)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 raised by who joins
            self._error = error
        finally:
            _live.discard(self)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it is done.

        Args:
            timeout: Most seconds to wait; None waits for ever.
        """
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error

    def is_alive(self) -> bool:
        """Tell whether it is still at work."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Let the work end before it is done."""
        try:
            self._stop()
        except Exception:  # noqa: BLE001 it has ended by itself, or will with the process
            return
        self._thread.join(_JOIN_S)


def _watch_exit() -> None:
    """Stop all tasks at the end of the program: registered after the depot's own closing."""
    global _is_watched
    if not _is_watched:
        _is_watched = True
        atexit.register(_stop_all)
        os.register_at_fork(after_in_child=_live.clear)  # their threads are the parent's


def _stop_all() -> None:
    for task in list(_live):
        task.stop()
