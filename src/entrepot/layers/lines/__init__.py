"""Lines: bounded, ordered buffers of what many processes print."""

from entrepot.engine.protocol import Engine
from entrepot.layers.lines.checks import check
from entrepot.layers.lines.core import By, disown, find, has_any, list_buffers, release
from entrepot.layers.lines.lines import Lines, LinesInfo
from entrepot.layers.lines.records import (
    ERROR,
    LINE,
    WARNING,
    Entry,
    Kind,
    LinesStretch,
    Origin,
    check_name,
)
from entrepot.layers.lines.writer import LineWriter

__all__ = [
    "ERROR",
    "LINE",
    "WARNING",
    "By",
    "Entry",
    "Kind",
    "LineWriter",
    "Lines",
    "LinesInfo",
    "LinesStretch",
    "Origin",
    "check",
    "check_name",
    "find",
    "has_any",
    "list_buffers",
    "register",
]


def register(engine: Engine) -> None:
    """Say how what the dead held is given back."""
    engine.on_release("lines", release)
    engine.on_release("lines-buffer", disown)
