"""What the models of an asynchronous client share."""

from __future__ import annotations

from typing import Protocol

from entrepot.v3io.aio.dataplane.transport import Transport

__all__ = ["Connected", "Model"]


class Connected(Protocol):
    """A client, as its models see it."""

    @property
    def _transport(self) -> Transport: ...
    @property
    def _access_key(self) -> str | None: ...


class Model:
    """Operations on one kind of thing.

    Args:
        client: Whose transport and access key they use; those it has when the model is made.
    """

    def __init__(self, client: Connected) -> None:
        self._transport = client._transport  # pyright: ignore[reportPrivateUsage] of ours
        self._access_key = client._access_key  # pyright: ignore[reportPrivateUsage] of ours
