"""Joining the paths of requests."""

from __future__ import annotations

__all__ = ["url_join"]


def url_join(base: str, *parts: str) -> str:
    """Return base and parts with a slash between them and one in front; no slash is squeezed.

    Raises:
        IndexError: Base or a part is empty.
    """
    path = ""
    for part in (base, *parts):
        path += part if part[0] == "/" else f"/{part}"
    return path
