"""Somebody who is going to store values: while there is one, those who wait have hope."""

from __future__ import annotations

import itertools
from types import TracebackType

from entrepot.layers.spaces import core
from entrepot.layers.tier import Tier

__all__ = ["Producer"]

_numbers = itertools.count(1)


class Producer:
    """A process's word that it will store values. See `Space.producer`.

    It ends with `close`, at the end of a `with` block, or with the process.
    """

    def __init__(self, tier: Tier, instance: int, space: str, variable: str, key: bytes) -> None:
        self.variable = variable
        self._tier = tier
        self._name = f"{space}/{variable}"
        self._session = tier.engine.session.id
        self._number = next(_numbers)
        self._is_open = True
        tier.engine.write(core.add_producer, instance, key, self._session, self._number)

    def __repr__(self) -> str:
        return f"<Producer of {self._name}{'' if self._is_open else ' closed'}>"

    def close(self) -> None:
        """Say that no more values come from here; may be repeated."""
        engine = self._tier.engine
        if not self._is_open or engine.session.id != self._session:  # or a child's copy
            return
        self._is_open = False
        engine.write(core.end_producer, self._session, self._number)

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
