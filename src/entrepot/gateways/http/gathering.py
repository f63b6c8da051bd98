"""Group commit for an event loop: what `layers.commits` is for threads.

While one commit is under way in a thread, the writes of all connections gather; they go
together with the next. Each is answered when the commit that has it is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from entrepot.engine.protocol import Engine
from entrepot.errors import EntrepotError
from entrepot.layers.commits import Call, run_together

__all__ = ["Gathering"]

_TOGETHER_MAX: Final = 1000
_log = logging.getLogger(__name__)

_Waiting = tuple[Call, Callable[[Call], None]]


class Gathering:
    """The writes of one loop on one engine."""

    def __init__(self, loop: asyncio.AbstractEventLoop, engine: Engine) -> None:
        self._loop = loop
        self._engine = engine
        self._waiting: deque[_Waiting] = deque()
        self._is_under_way = False
        self._batches: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._commit, name="entrepot-commits", daemon=True)
        self._thread.start()
        self.commits = 0
        """How many there were."""
        self.writes = 0
        """How many writes were in them."""

    def add(self, call: Call, done: Callable[[Call], None]) -> None:
        """Have a write done; `done` is called on the loop when it is, or was refused."""
        self._waiting.append((call, done))
        if not self._is_under_way:
            self._is_under_way = True
            self._loop.call_soon(self._begin)  # what else this turn of the loop reads goes too

    def _begin(self) -> None:
        count = min(len(self._waiting), _TOGETHER_MAX)
        self._batches.put([self._waiting.popleft() for _ in range(count)])

    def _run(self, batch: list[_Waiting]) -> None:
        try:
            run_together(self._engine, [call for call, _ in batch])
        except BaseException as error:  # noqa: BLE001 each call gets it: its client is told
            for call, _ in batch:
                call.error = call.error or error
            if not isinstance(error, EntrepotError):
                _log.exception("a commit of %d writes failed", len(batch))

    def _commit(self) -> None:
        while (batch := self._batches.get()) is not None:
            self._run(batch)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._tell, batch)

    def _tell(self, batch: list[_Waiting]) -> None:
        self.commits += 1
        self.writes += len(batch)
        if self._waiting:
            self._begin()
        else:
            self._is_under_way = False
        for call, done in batch:
            done(call)

    def close(self) -> None:
        """End the thread, when what it was given is done."""
        self._batches.put(None)
        self._thread.join()
