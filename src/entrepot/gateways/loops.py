"""Event loops of gateways: fast ones, and awake between requests that follow each other closely.

A client that waits for each answer sends its next request some 50 microseconds later. A loop
that sleeps meanwhile must be woken, which costs as much again: 11 microseconds where the
processor is awake, about 70 where it sleeps. So where requests come fast the loop looks for
the next one without sleeping, for a moment; where they do not it sleeps as ever. On a machine
of one processor it always does.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final

__all__ = ["Wakefulness", "new_loop"]

_BRISK_S: Final = 0.0005
"""Requests that follow each other within this time are fast."""
_AWAKE_S: Final = 0.0001
"""So long the loop looks for the next one."""


class Wakefulness:
    """Of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_worth_it = len(os.sched_getaffinity(0)) > 1
        self._noted = 0.0
        self._is_awake = False

    def note(self) -> None:
        """Note that something was received; call it on the loop."""
        now = time.perf_counter()
        is_brisk = now - self._noted < _BRISK_S
        self._noted = now
        if is_brisk and self._is_worth_it and not self._is_awake:
            self._is_awake = True
            self._loop.call_soon(self._look_around)

    def _look_around(self) -> None:
        if time.perf_counter() - self._noted < _AWAKE_S:
            self._loop.call_soon(self._look_around)
        else:
            self._is_awake = False


def new_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop where it is installed: twice as fast."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
