"""How requests get to where they are answered, awaited.

`aiohttp` speaks HTTP; `depot` answers in this process. A transport of another kind overrides
nothing: it is any object with the methods of `Transport`, and gets the operation as its encoder
and the arguments by name.
"""

from __future__ import annotations

from typing import Protocol

from entrepot.v3io.aio.dataplane.transport import aiohttp, depot
from entrepot.v3io.dataplane.request import Arguments, Encoder, Output
from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Transport", "aiohttp", "depot"]


class Transport(Protocol):
    """What the models ask of a transport."""

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
        """Have one operation done: see `entrepot.v3io.dataplane.transport.abstract`."""
        ...

    async def close(self) -> None:
        """Give back what it holds. Nothing can be sent from now on."""
        ...
