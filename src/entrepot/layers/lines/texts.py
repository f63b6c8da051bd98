"""Texts to lines: where they end, what a carriage return does, how errors and warnings read."""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from entrepot import settings
from entrepot.errors import TypeMismatchError

__all__ = ["clean", "cut", "drawn", "joined", "report_of", "shown", "split"]

_BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


def clean(text: str) -> str:
    """Return a text that can be stored: halves of characters are written as escapes."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def split(text: str, *, progress: bool = False) -> tuple[list[str], str]:
    """Return the finished lines of a text, without their breaks, and what is behind the last.

    Args:
        text: The text.
        progress: Lines end with a line feed only, and what stands behind a carriage return
            replaces what stands before it, as on a terminal; of the first line, and of what is
            behind the last, see `joined` and `shown`.
    """
    if not progress:
        lines = text.splitlines()
        rest = "" if not text or text[-1] in _BREAKS else lines.pop()
    else:
        *lines, rest = text.split("\n")
        lines[1:] = map(shown, lines[1:])  # the first may go on with a line that was there
    if len(text) > settings.LINE_CHARS_MAX:
        lines = cut(lines)
    return lines, rest


def cut(lines: Iterable[str]) -> list[str]:
    """Return lines none of which is too long: those that were are several."""
    most = settings.LINE_CHARS_MAX
    return [line[at : at + most] for line in lines for at in range(0, len(line) or 1, most)]


def joined(before: str, text: str, *, progress: bool = False) -> str:
    """Return a line of which `before` was there and `text` comes."""
    return drawn(before + text) if progress else before + text


def drawn(text: str) -> str:
    """Return what a terminal shows of a line; ends with a return if the next text replaces it."""
    if "\r" not in text:
        return text
    last = next((piece for piece in reversed(text.split("\r")) if piece), "")
    return last + "\r" if last and text.endswith("\r") else last


def shown(text: str) -> str:
    """Return a line as a terminal shows it: what stands behind its last carriage return."""
    return drawn(text).rstrip("\r") if "\r" in text else text


def report_of(error: BaseException) -> list[str]:
    """Return the lines of the report of an error or a warning, with its traceback if it has one.

    Raises:
        TypeMismatchError: It is neither.
    """
    if not isinstance(error, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(
            f"an error or a warning is wanted, not {error!r:.50}", "write() takes texts"
        )
    try:
        parts = traceback.format_exception(error)
    except Exception as failure:  # noqa: BLE001 whatever a user's __str__ does, the report must come
        parts = [f"{type(error).__qualname__}: <no text: {type(failure).__qualname__}>"]
    return clean("".join(parts)).splitlines()
