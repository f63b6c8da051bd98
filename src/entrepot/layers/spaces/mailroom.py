"""Tells those who wait on an event loop that something was given to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from entrepot.arena.bulk import Bulk
from entrepot.engine.protocol import Engine
from entrepot.errors import EntrepotError
from entrepot.layers.spaces import core
from entrepot.layers.spaces.core import Waiter
from entrepot.layers.spaces.records import DUE_BELL, session_bell
from entrepot.layers.spaces.rules import next_due_us, now_us

__all__ = ["Mailroom"]

_ROUND_S = 1.0
"""A porter notices this often that nobody waits any more."""


class Mailroom:
    """Watches the mail of one session for all who wait on one event loop.

    All waits of a session share a bell. One task listens to it, looks for whom there is mail,
    and tells just those: a store costs the same whether one waits or ten thousand do, and a
    wait costs no task.
    """

    def __init__(self, engine: Engine, bulk: Bulk) -> None:
        self._engine = engine
        self._bulk = bulk
        self._calls: dict[int, Callable[[EntrepotError | None], None]] = {}
        self._porter: asyncio.Task[None] | None = None

    def expect(self, waiter: Waiter, tell: Callable[[EntrepotError | None], None]) -> None:
        """Have `tell` called once, on the loop, when there is mail for `waiter`.

        It gets None, or the error that ended all waiting: the depot was closed or removed.
        """
        self._calls[waiter.number] = tell
        if self._porter is None or self._porter.done():
            self._porter = asyncio.get_running_loop().create_task(self._carry(waiter.session))
        if self._engine.read(core.has_mail, waiter):  # it came before we could be told of it
            asyncio.get_running_loop().call_soon(self._tell, waiter.number)

    def forget(self, waiter: Waiter) -> None:
        """Call nobody for `waiter` any more."""
        self._calls.pop(waiter.number, None)

    @property
    def hush(self) -> core.Hush:
        """Those who wait here: a store on this loop need not ring for them, if it looks then."""
        return core.Hush(self._engine.session.id, self._calls)

    def look(self) -> None:
        """Tell at once whoever has mail: after a store on this loop, which may have been for us."""
        if self._calls:
            for number in self._engine.read(core.mail_of, self._engine.session.id):
                self._tell(number)

    def _tell(self, number: int) -> None:
        tell = self._calls.pop(number, None)
        if tell is not None:
            tell(None)

    async def _carry(self, session: int) -> None:
        try:
            await self._carry_while_wanted(session)
        except EntrepotError as error:  # the depot was closed or removed: tell all who wait
            calls = list(self._calls.values())
            self._calls.clear()
            for tell in calls:
                tell(error)

    async def _carry_while_wanted(self, session: int) -> None:
        bells = [session_bell(session), DUE_BELL]
        while self._calls:
            seen = self._engine.listen(bells)
            seconds = self._until_due()
            for number in self._engine.read(core.mail_of, session):
                self._tell(number)
            await self._engine.wait_async(bells, seen, seconds)

    def _until_due(self) -> float:
        """Do what is due, and return how long to sleep."""
        while True:
            at_us = self._engine.read(next_due_us)
            seconds = _ROUND_S if at_us is None else (at_us - now_us()) / 1e6
            if seconds > 0:
                return min(seconds, _ROUND_S)
            self._engine.write(core.tend, self._bulk)
