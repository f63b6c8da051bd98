"""Small helps that programs of NetWorkSpaces import: for commands and their quoting."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

__all__ = ["msc_argv2str", "msc_quote", "which"]


def which(cmd: str, path: str | None = None) -> list[str]:
    """Return the programs of a name that would be run, the first at the front; [] if none."""
    found = shutil.which(cmd, path=path)
    return [] if found is None else [found]


def msc_quote(cmd: str) -> str:
    """Return an argument as programs of Windows read it."""
    return subprocess.list2cmdline([cmd])


def msc_argv2str(argv: Sequence[str]) -> str:
    """Return a command line of arguments, as programs of Windows read it."""
    return subprocess.list2cmdline(argv)
