"""Patterns that clients send: they are matched in a time that grows with their length only.

Python's own regular expressions go back and try again, some of them for ever, and hold the
interpreter meanwhile: one request would stop all connections. RE2 does neither. It has no
look-around and no references to groups; who asks for these is told so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from entrepot.errors import LimitError
from entrepot.layers.patterns import matcher
from entrepot.vineyard._errors import InvalidException, NotImplementedException

__all__ = ["NAME_BYTES_MAX", "bounded_matcher"]

NAME_BYTES_MAX: Final = 16 << 10
"""Type names are no longer; what is longer, made elsewhere, matches no pattern but `*`."""
_PATTERN_BYTES_MAX: Final = 4096
_PROGRAM_BYTES_MAX: Final = 1 << 20
"""Of a regular expression in RE2's form."""
_PATIENCE_S: Final = 2.0
_NAME_S: Final = 0.0001
"""For each name that is looked at, in addition: there may be millions."""
_KNOWN_MAX: Final = 1024
_BEYOND: Final = (
    "invalid perl operator",
    "invalid escape sequence",
    "invalid repetition size",
    "bad repetition operator",
    "pattern too large",
)
"""How RE2 says that it cannot do what others may; all else that it refuses is malformed."""


def bounded_matcher(pattern: str, *, regex: bool) -> Callable[[str], bool]:
    """Return a test of whole names, as `matcher` does; it takes a bounded time.

    The test raises InvalidException when all names together take too long.

    Raises:
        InvalidException: The pattern is too long, or needs more than RE2 can do.
        LimitError: The regular expression is malformed.
        NotImplementedException: RE2 is not installed.
    """
    size = len(_utf8(pattern))
    if size > _PATTERN_BYTES_MAX:
        raise InvalidException(
            f"the pattern is {size} bytes long, at most {_PATTERN_BYTES_MAX} are allowed"
        )
    return _within_time(_expression(pattern) if regex else _glob(pattern))


def _glob(pattern: str) -> Callable[[bytes], bool]:
    matches = matcher(pattern, regex=False)
    return lambda name: matches(name.decode("utf-8", "surrogatepass"))


def _expression(pattern: str) -> Callable[[bytes], bool]:
    try:
        import re2  # pyright: ignore[reportMissingTypeStubs] it has none
    except ImportError:
        raise NotImplementedException(
            "this server matches globs only: regular expressions need RE2 where it runs, "
            "pip install 'entrepot[serve]'"
        ) from None
    engine: Any = re2
    options = engine.Options()
    options.log_errors = False
    options.max_mem = _PROGRAM_BYTES_MAX
    options.never_capture = True  # a group costs memory for each state, and nobody asks for it
    try:
        compiled = engine.compile(_utf8(pattern), options)
    except engine.error as error:
        why = error.args[0].decode("utf-8", "replace")
        if why.startswith(_BEYOND):
            raise InvalidException(f"the pattern cannot be used here: {why}") from None
        raise LimitError(f"the pattern is no regular expression: {why}") from None
    return lambda name: compiled.fullmatch(name) is not None


def _within_time(matches: Callable[[bytes], bool]) -> Callable[[str], bool]:
    known: dict[str, bool] = {}
    """Many objects are of few types."""
    spent_s, allowed_s = 0.0, _PATIENCE_S

    def test(name: str) -> bool:
        nonlocal spent_s, allowed_s
        found = known.get(name)
        if found is not None:
            return found
        body = _utf8(name)
        if len(body) > NAME_BYTES_MAX:
            return False
        begun = time.perf_counter()
        found = matches(body)
        spent_s += time.perf_counter() - begun
        allowed_s += _NAME_S
        if spent_s > allowed_s:
            raise InvalidException(f"the pattern takes more than {_PATIENCE_S} seconds")
        if len(known) < _KNOWN_MAX:
            known[name] = found
        return found

    return test


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
