"""Names of temporary workspaces."""

from __future__ import annotations

import itertools
import os
import re

__all__ = ["temporary_name"]

# A template may come from the network, so no formatter gets to see it: "%099999999999d".
_SPECIFIER = re.compile(r"%([-+ 0#]*)(\d{0,3})([diuxXos])")
_WIDTH_MAX = 100
_counter = itertools.count()
_suffixes: dict[int, str] = {}
"""By process: a forked child makes names of its own."""


def temporary_name(template: str) -> str | None:
    """Return a name made of a template with one integer specifier; None if it has not just one.

    The names are unique: they end with a suffix of the process that makes them.
    """
    count = next(_counter)
    parts = template.replace("%%", "\0").split("%")
    if len(parts) != 2:
        return None
    match = _SPECIFIER.match("%" + parts[1])
    if match is None:
        return None
    flags, width, kind = match.groups()
    if int(width or 0) > _WIDTH_MAX:
        return None
    made = f"%{flags}{width}{kind}" % count
    name = (parts[0] + made + parts[1][match.end() - 1 :]).replace("\0", "%")
    suffix = _suffixes.get(os.getpid())
    if suffix is None:
        suffix = _suffixes[os.getpid()] = f"__nwss{os.urandom(4).hex()}"
    return name + suffix
