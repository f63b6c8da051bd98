"""An iterator over the values of a variable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from entrepot.errors import NotFoundError, ProducersGoneError
from entrepot.layers import values
from entrepot.layers.spaces.core import Ended, Position, Taken, Want
from entrepot.layers.spaces.records import FETCH

if TYPE_CHECKING:
    from entrepot.layers.spaces.space import Space

__all__ = ["Values"]


class Values(Iterator[Any]):
    """An iterator over the values of a variable, which repeats none.

    After its end it stays ended until `restart` (go on behind the last value) or `reset`
    (begin anew).
    """

    def __init__(
        self, space: Space, variable: str, kind: int, *, wait: bool, timeout: float | None
    ) -> None:
        self.variable = values.check_name(variable, "variable name")
        self.waits = wait
        self.timeout = timeout
        self.has_ended = False
        self._space = space
        self._kind = kind
        self._after: Position | None = None

    def __iter__(self) -> Values:
        return self

    def __next__(self) -> Any:
        while not self.has_ended:
            taken = self._next()
            if taken is None:
                self.end()
            elif self.is_new(taken):
                return self.accept(taken)
        raise StopIteration

    def _next(self) -> Taken | None:
        space, want = self._space, self.want()
        try:
            if self.waits:
                return space.wait(self.variable, want, self.timeout)
            return space.take(self.variable, want)
        except (Ended, NotFoundError, ProducersGoneError):
            return None

    # The steps of an iteration, for this class and its async twin.

    def want(self) -> Want:
        """Return what the next step asks for."""
        return Want(self._kind, in_order=True, after=self._after)

    def is_new(self, taken: Taken) -> bool:
        """Tell whether a value was not seen before: one that was given back may have been."""
        after = self._after
        return self._kind == FETCH or after is None or taken.index > after.index

    def accept(self, taken: Taken) -> Any:
        """Step over a value and return it."""
        value = self._space.loaded(taken, self.variable if self._kind == FETCH else None)
        self._after = Position(taken.id, taken.index)
        return value

    def end(self) -> None:
        """Note that the end was reached."""
        self.has_ended = True

    def restart(self) -> None:
        """Go on behind the last value, after the end was reached."""
        self.has_ended = False

    def reset(self) -> None:
        """Begin anew: with the oldest value that is there then."""
        self._after = None
        self.has_ended = False
