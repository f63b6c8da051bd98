"""Group commit: the writes of many callers share one transaction, and one wait for the disk.

On a disk a commit costs hundreds of microseconds, whatever is in it, and they come one after
the other. So while one is under way the writes that arrive gather, and go with the next:

1. A caller puts its write in the queue. If nobody leads, it leads.
2. The leader takes all that is queued and runs it in one transaction, each on its own: one
   that refuses is answered with its error and does not keep the others.
3. It answers all, and whoever waits at the head of the queue leads next.

A write that refuses must do so before its first change; all functions of our layers do.
The idea is as old as databases (DeWitt et al., "Implementation techniques for main memory
database systems", 1984).
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from entrepot.engine.protocol import Engine, Transaction
from entrepot.errors import DiskFullError, EntrepotError, OutOfMemoryError, UnavailableError

__all__ = ["Call", "Commits", "run_together"]

_TOGETHER_MAX: Final = 1000


class Call:
    """A write: what is to run in a transaction, and what came of it."""

    __slots__ = ("args", "error", "fn", "result")

    def __init__(self, fn: Callable[..., Any], *args: Any) -> None:
        self.fn = fn
        self.args = args
        self.result: Any = None
        self.error: BaseException | None = None

    def value(self) -> Any:
        """Return what came of it, or raise its error."""
        if self.error is not None:
            raise self.error
        return self.result


class _Waiting(Call):
    __slots__ = ("is_done", "may_go")

    def __init__(self, fn: Callable[..., Any], *args: Any) -> None:
        super().__init__(fn, *args)
        self.is_done = False
        self.may_go = threading.Event()
        """Set when it is done, or leads."""


def run_together(engine: Engine, calls: Sequence[Call]) -> None:
    """Run writes in one transaction and commit them; each has its result or error then.

    Where there is no room for all of them, or one of them fails in an unforeseen way, each
    gets a transaction of its own.
    """
    try:
        engine.write(_run, calls)
    except _NothingDone:
        pass  # each call has its error
    except EntrepotError as error:
        if isinstance(error, (DiskFullError, OutOfMemoryError)):
            _run_one_by_one(engine, calls, error)
            return
        for call in calls:
            call.error = error
        raise
    except Exception as error:  # noqa: BLE001 it is told to whoever made that write
        _run_one_by_one(engine, calls, error)
    except BaseException:
        # Who runs this is interrupted. It is not known whether the commit came first.
        for call in calls:
            call.error = UnavailableError(
                "another thread was interrupted in the transaction that had this write",
                "it may be done, or not: look",
            )
        raise


def _run_one_by_one(engine: Engine, calls: Sequence[Call], error: Exception) -> None:
    if len(calls) == 1:
        calls[0].error = error
        return
    for call in calls:
        with contextlib.suppress(EntrepotError):  # the call has it, and the others go on
            run_together(engine, [call])


def _run(tx: Transaction, calls: Sequence[Call]) -> None:
    for call in calls:
        call.error = None  # it may be the second run
        try:
            call.result = call.fn(tx, *call.args)
        except EntrepotError as error:
            call.error = error
    if all(call.error is not None for call in calls):
        raise _NothingDone


class _NothingDone(Exception):  # noqa: N818 not an error: there is nothing to commit
    """All refused."""


class Commits:
    """The group commit of one engine in one process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child, where the leader is not."""
        self._lock = threading.Lock()
        self._queue: deque[_Waiting] = deque()
        self._leader: _Waiting | None = None
        """Who runs the writes just now, or was told to run the next ones."""

    def write(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run fn(tx, ...) in a transaction that others may share; return what it returns.

        Raises what it raises, and nothing is changed then.
        """
        call = _Waiting(fn, *args)
        try:
            with self._lock:
                self._queue.append(call)
                self._leader = self._leader or call
            if self._leader is not call:
                call.may_go.wait()
            if not call.is_done:
                self._lead()
        except BaseException:
            self._step_back(call)
            raise
        return call.value()

    def write_all(self, calls: Sequence[Call]) -> None:
        """Run several writes in one transaction, each on its own; see `Call.value`.

        An error that is of none of them is raised, and all that were not done have it.
        """
        for at in range(0, len(calls), _TOGETHER_MAX):
            try:
                run_together(self._engine, calls[at : at + _TOGETHER_MAX])
            except BaseException as error:
                for call in calls[at:]:
                    call.error = error
                raise

    def _lead(self) -> None:
        calls: list[_Waiting] = []
        try:
            with self._lock:
                count = min(len(self._queue), _TOGETHER_MAX)
                calls += [self._queue.popleft() for _ in range(count)]
            run_together(self._engine, calls)
        finally:
            with self._lock:
                for call in calls:
                    call.is_done = True
                    call.may_go.set()
                self._let_next_lead()

    def _step_back(self, call: _Waiting) -> None:
        """Take a write back whose caller was interrupted; if it led, another one leads."""
        with self._lock:
            if call in self._queue:
                self._queue.remove(call)
            if self._leader is call:
                self._let_next_lead()

    def _let_next_lead(self) -> None:
        self._leader = self._queue[0] if self._queue else None
        if self._leader is not None:
            self._leader.may_go.set()
