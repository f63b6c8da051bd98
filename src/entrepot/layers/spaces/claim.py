"""A value that a process works on, and gives back if the work is not done."""

from __future__ import annotations

import traceback
import warnings
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from entrepot import settings
from entrepot.errors import ClosedError, ConflictError, LimitError, NotFoundError
from entrepot.layers.spaces import core
from entrepot.layers.spaces.core import Taken
from entrepot.layers.tier import Tier, load
from entrepot.waiting import Deadline

__all__ = ["Claim"]

_REASON_MAX: Final = 1000


class Claim:
    """A value that this process works on. See `Space.claim`."""

    value: Any
    index: int
    """The value's index in its variable: 0 for the first that was ever stored."""
    tries: int
    """How often it was claimed, this time included."""
    reason: str
    """Why the last try failed, if somebody said so."""

    def __init__(
        self,
        tier: Tier,
        variable: str,
        session: int,
        taken: Taken,
        key_of: Callable[[str], bytes],
    ) -> None:
        about = taken.about
        self.variable = variable
        self.index = taken.index
        self.tries = about.tries if about is not None else 1
        self.reason = about.reason if about is not None else ""
        self.value = load(taken.found)
        self._tier = tier
        self._session = session
        self._id = taken.id
        self._key_of = key_of
        self._ended = False
        # Not __del__: a Ctrl-C that comes inside a finalizer is lost, and this one would run at the
        # end of each claim. This runs at the end of those only that were dropped.
        self._ref: Any = weakref.ref(self, _warn_of_dropped)
        _open_claims[self._ref] = f"{variable}[{taken.index}]"

    def done(self) -> None:
        """Say that the work is done: the value is gone for good.

        Raises:
            ClosedError: The claim has ended, or belongs to the parent of this process.
            ConflictError: It was given back meanwhile: the depot was closed here.
        """
        self._end(core.DONE)

    def release(self, *, to: str = "front", delay: float = 0, reason: str = "") -> None:
        """Give the value back.

        A variable with `max_tries` puts what was tried so often aside instead: see
        `Space.declare`.

        Args:
            to: "front": to its place, where it is the oldest again. "back": behind all others,
                so that what fails every time does not hold them up.
            delay: Seconds for which nobody gets it.
            reason: Why, for who tries next, and for who looks at what failed.

        Raises:
            ClosedError: The claim has ended, or belongs to the parent of this process.
            LimitError: `to` or `delay` cannot be.
        """
        if to not in ("front", "back"):
            raise LimitError(f"to is {to!r}", 'give "front" or "back"')
        delay_s = Deadline(delay).timeout or 0.0
        if delay_s > settings.SECONDS_MAX:
            raise LimitError(
                f"delay is {delay_s} seconds, at most {settings.SECONDS_MAX} are allowed",
                "move it into another variable",
            )
        self._end(core.Ending(False, to == "back", delay_s, str(reason)[:_REASON_MAX]))

    def move(self, target: str) -> None:
        """Put the value into another variable of the space; it is gone from this one.

        Raises:
            ClosedError: The claim has ended, or belongs to the parent of this process.
            ConflictError: It was given back meanwhile: the depot was closed here.
            NotFoundError: The variable was deleted, and the value with it.
        """
        self._end(core.Ending(target=self._key_of(target)))

    def _end(self, ending: core.Ending) -> None:
        if self._ended:
            raise ClosedError(f"the claim of {self.variable}[{self.index}] has ended")
        engine = self._tier.engine
        if engine.session.id != self._session:
            raise ClosedError(
                f"the claim of {self.variable}[{self.index}] belongs to another process",
                "claim in the process that does the work",
            )
        was_there = engine.write(
            core.end_claim, self._tier.bulk, self._session, self._id, self.index, ending
        )
        self._ended = True
        _open_claims.pop(self._ref, None)
        self._ref = None
        if was_there is None and (ending.is_done or ending.target is not None):
            raise ConflictError(
                f"the claim of {self.variable}[{self.index}] was given back meanwhile",
                "the depot was closed here; somebody else may do the work again",
            )
        if not was_there and ending.target is not None:
            raise NotFoundError(f"{self.variable} was deleted while its value was claimed")

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ended:
            return
        if kind is None:
            self._end(core.DONE)
        else:
            said = "".join(traceback.format_exception_only(kind, error)).strip()
            self._end(core.Ending(reason=said[:_REASON_MAX]))


_open_claims: dict[weakref.ref[Any], str] = {}
"""Claims that have not ended, and what they are of."""


def _warn_of_dropped(ref: weakref.ref[Any]) -> None:
    """Warn of a claim that nobody can end any more: the process's end gives it back."""
    name = _open_claims.pop(ref, None)
    if name is not None:
        warnings.warn(
            f"the claim of {name} was dropped: end it, or use 'with'", ResourceWarning, stacklevel=2
        )
