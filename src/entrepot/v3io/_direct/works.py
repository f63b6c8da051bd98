"""What an operation is, before it is done: a read, or a write that may share a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from entrepot.layers.commits import Call
from entrepot.v3io.dataplane.response import Response

__all__ = ["Alone", "Shared"]


class Shared(NamedTuple):
    """A write that may share a commit with others."""

    call: Call
    answer: Callable[[Any], Response]
    """Makes the answer of what the call results in."""


class Alone(NamedTuple):
    """A write that may not: for instance of what is first written to a file."""

    run: Callable[[], Response]
