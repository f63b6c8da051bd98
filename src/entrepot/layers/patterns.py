"""Choosing names by a glob or a regular expression."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import Protocol

from entrepot.errors import LimitError, TypeMismatchError

__all__ = ["Matcher", "matcher"]


class Matcher(Protocol):
    """What makes a test of names of a pattern."""

    def __call__(self, pattern: str, *, regex: bool) -> Callable[[str], bool]:
        """Return the test."""
        ...


def matcher(pattern: str, *, regex: bool) -> Callable[[str], bool]:
    """Return a test of whole names: a glob (`*`, `?`, `[…]`), or a regular expression.

    Raises:
        LimitError: The regular expression is malformed.
        TypeMismatchError: The pattern is not a string.
    """
    if not isinstance(pattern, str):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(f"pattern is {pattern!r}, a {type(pattern).__name__}")
    if pattern == "*" and not regex:
        return lambda name: True
    try:
        compiled = re.compile(pattern if regex else fnmatch.translate(pattern))
    except re.error as error:
        raise LimitError(f"pattern {pattern!r} is no regular expression: {error}") from error
    return lambda name: compiled.fullmatch(name) is not None
