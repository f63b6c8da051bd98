"""Lines: bounded, ordered buffers of what many processes print."""

from entrepot.layers.lines.checks import check
from entrepot.layers.lines.core import release
from entrepot.layers.lines.lines import Lines, LinesInfo
from entrepot.layers.lines.records import ERROR, LINE, WARNING, Entry, Kind, Stretch
from entrepot.layers.lines.writer import LineWriter

__all__ = [
    "ERROR",
    "LINE",
    "WARNING",
    "Entry",
    "Kind",
    "LineWriter",
    "Lines",
    "LinesInfo",
    "Stretch",
    "check",
    "release",
]
