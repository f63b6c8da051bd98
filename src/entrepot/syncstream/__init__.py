"""syncstream's Python API on a depot: lines of threads, processes and hosts in one buffer.

::

    from entrepot.syncstream import LineProcBuffer

`docs/lines.md` says what is the same, and what is better. Neither Flask nor urllib3 is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entrepot.syncstream import base as base
from entrepot.syncstream import mproc as mproc
from entrepot.syncstream import utils as utils
from entrepot.syncstream import version as version
from entrepot.syncstream.base import GroupedMessage, redirect_stderr, redirect_stdout
from entrepot.syncstream.mproc import LineBuffer, LineProcBuffer, LineProcMirror
from entrepot.syncstream.version import __version__

if TYPE_CHECKING:
    from entrepot.syncstream import file as file
    from entrepot.syncstream import host as host
    from entrepot.syncstream import webtools as webtools
    from entrepot.syncstream.file import LineFileBuffer as LineFileBuffer
    from entrepot.syncstream.host import LineHostBuffer as LineHostBuffer
    from entrepot.syncstream.host import LineHostMirror as LineHostMirror
    from entrepot.syncstream.host import LineHostReader as LineHostReader

__all__ = [
    "GroupedMessage",
    "LineBuffer",
    "LineFileBuffer",
    "LineHostBuffer",
    "LineHostMirror",
    "LineHostReader",
    "LineProcBuffer",
    "LineProcMirror",
    "__version__",
    "base",
    "file",
    "host",
    "mproc",
    "redirect_stderr",
    "redirect_stdout",
    "utils",
    "version",
    "webtools",
]

_LATER = {
    "LineFileBuffer": "file",
    "LineHostBuffer": "host",
    "LineHostMirror": "host",
    "LineHostReader": "host",
}


def __getattr__(name: str) -> Any:
    """Load what needs the network, or files, when it is used."""
    import importlib

    if name in ("file", "host", "webtools"):
        return importlib.import_module(f"entrepot.syncstream.{name}")
    if name in _LATER:
        return getattr(importlib.import_module(f"entrepot.syncstream.{_LATER[name]}"), name)
    raise AttributeError(f"module 'entrepot.syncstream' has no attribute {name!r}")
