"""Sizes as vineyard's users write them."""

from __future__ import annotations

import re

__all__ = ["parse_readable_size"]

_UNITS = {unit: 1 << (10 * power) for power, unit in enumerate(("", "K", "M", "G", "T", "P", "E"))}
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([KMGTPE]?)i?B?\s*", re.IGNORECASE)


def parse_readable_size(size: int | str | None) -> int | None:
    """Return a size in bytes; None for an empty one: half of the memory that there is.

    Every suffix is a power of 1024, as vineyard's are: `K`, `k` and `Ki` are the same.

    Raises:
        RuntimeError: It is no size.
    """
    if size is None or size == "":
        return None
    if isinstance(size, int):
        return size
    found = _SIZE.fullmatch(str(size))
    if found is None:
        raise RuntimeError(f"{size!r} is no size, for instance 256M or 1.5Gi")
    return int(float(found[1]) * _UNITS[found[2].upper()])
