"""What an event loop has done in a thread: whole, also when the task that asked is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["in_thread", "to_its_end"]

P = ParamSpec("P")
S = TypeVar("S")


async def in_thread(take: Callable[[], S], give_back: Callable[[S], object]) -> S:
    """Take something in a thread; what comes too late for a cancelled task goes back."""
    lock = threading.Lock()
    taken: list[S] = []
    cancelled: list[bool] = []

    def run() -> S:
        got = take()
        with lock:
            is_late = bool(cancelled)
            if not is_late:
                taken.append(got)
        if is_late:
            give_back(got)
        return got

    try:
        return await asyncio.to_thread(run)
    except asyncio.CancelledError:
        with lock:
            cancelled.append(True)
        for got in taken:
            await asyncio.shield(asyncio.to_thread(give_back, got))
        raise


async def to_its_end(do: Callable[P, S], *args: P.args, **kwargs: P.kwargs) -> S:
    """Do something in a thread; a cancelled task goes on when it is done, not before.

    For what changes an object that the task may use again at once.
    """
    work = asyncio.create_task(asyncio.to_thread(do, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):  # again; the first is raised below
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # nobody is left to be told
        raise
