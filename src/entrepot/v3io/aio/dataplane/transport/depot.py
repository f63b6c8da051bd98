"""No transport at all: operations are done on a depot, in this process, beside the loop.

What is read takes microseconds and is read at once, on the loop; large objects in a thread.
What is written waits for the disk in a thread. While one commit is under way the writes of all
tasks gather, and go with the next, so that a thousand tasks wait for a few commits.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Final, cast

from entrepot import settings
from entrepot.v3io.dataplane.request import Arguments, Encoder, Output
from entrepot.v3io.dataplane.response import Expected, Response
from entrepot.v3io.dataplane.transport.abstract import Actions, Exchange, Log
from entrepot.v3io.dataplane.transport.depot import Operation, depot_of, logged

if TYPE_CHECKING:
    from entrepot.v3io._direct import Work

__all__ = ["Transport"]

_CLOSED: Final = "Session is closed"  # as with aiohttp


class Transport(Exchange):
    """Does operations on a depot of this machine.

    Args:
        logger: What it logs to.
        endpoint: `depot:NAME` or `depot:`; the value of V3IO_API by default.
        verbosity: `"DEBUG"` logs each operation and each answer.
    """

    def __init__(
        self, logger: Log, endpoint: str | None = None, verbosity: str | None = None
    ) -> None:
        from entrepot.v3io import _direct  # it loads the depot, which other transports do not need

        super().__init__(logger, endpoint, verbosity=verbosity)
        self._direct = _direct
        self._store = _direct.Store(depot_of(endpoint) or None)
        self._is_closed = False
        self._waiting: list[tuple[Work, asyncio.Future[None]]] = []
        self._committing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Finish what is under way, and close the depot's handle."""
        self._is_closed = True
        if self._committing is not None:
            await self._committing
        await asyncio.to_thread(self._store.close)

    async def request(
        self,
        container: str | None,
        access_key: str | None,
        raise_for_status: Expected,
        transport_actions: int | None,
        encoder: Encoder,
        encoder_args: Arguments,
        output: Output = None,
    ) -> Response:
        """Have one operation done: see `entrepot.v3io.dataplane.transport.abstract`.

        A task that is cancelled while it waits does not take back what it wrote.

        Raises:
            HttpResponseError: The status of the answer is not expected.
            RuntimeError: The client is closed.
        """
        if self._is_closed:
            raise RuntimeError(_CLOSED)
        if transport_actions == Actions.encode_only:
            operation = Operation(
                container, access_key, raise_for_status, encoder, encoder_args, output
            )
            return cast("Response", operation)
        self.log("Tx", operation=encoder.__name__, container=container, **encoder_args)
        response = await self._do(container, encoder, encoder_args, output)
        return logged(self, response, raise_for_status)

    async def _do(
        self, container: str | None, encoder: Encoder, arguments: Arguments, output: Output
    ) -> Response:
        direct, store = self._direct, self._store
        if isinstance(arguments.get("body"), AsyncIterable):
            with tempfile.SpooledTemporaryFile(settings.MIB) as gathered:
                async for piece in arguments["body"]:
                    gathered.write(piece)
                gathered.seek(0)
                arguments = {**arguments, "body": gathered}
                return await self._do(container, encoder, arguments, output)
        if direct.is_slow(store, container, encoder, arguments):
            return await asyncio.to_thread(direct.do, store, container, encoder, arguments, output)
        if direct.is_read(encoder):
            return direct.do(store, container, encoder, arguments, output)
        work = direct.prepare(store, container, encoder, arguments, output)
        if not work.is_done:
            await self._commit(work)
        return work.result()

    async def _commit(self, work: Work) -> None:
        """Have a write done with those of other tasks."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_all())
        await done

    async def _commit_all(self) -> None:
        """Commit what waits, and what comes to wait meanwhile."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            works = [work for work, _ in waiting]
            try:
                await asyncio.to_thread(self._direct.complete, self._store, works)
            except BaseException as error:
                for _, done in waiting:
                    if isinstance(error, asyncio.CancelledError):
                        done.cancel()
                    elif not done.done():
                        done.set_exception(error)
                if not isinstance(error, Exception):
                    raise
            for _, done in waiting:
                if not done.done():  # its task may be cancelled
                    done.set_result(None)
