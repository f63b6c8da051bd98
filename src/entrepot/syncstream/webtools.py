"""What programs of the original may import from here: urllib3's pool, with replies that close.

Our mirrors do not use it. It needs urllib3, which is imported on first use.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    SafePoolManager: Any
    SafeRequest: Any

__all__ = ["SafePoolManager", "SafeRequest", "clean_http_manager", "close_request_session"]


def close_request_session(reply: Any) -> None:
    """Give the connection of a reply back to its pool."""
    with contextlib.suppress(Exception):  # a connection that is broken is not worth an error
        reply.drain_conn()
    reply.release_conn()
    reply.close()


def clean_http_manager(manager: Any) -> None:
    """Close all connections of a pool."""
    manager.clear()


def _make() -> dict[str, Any]:
    import urllib3

    pool: Any = urllib3.PoolManager

    class SafeRequest(contextlib.AbstractContextManager[Any]):
        """A reply, in a `with` block."""

        def __init__(self, reply: Any) -> None:
            self._reply = reply

        def __enter__(self) -> Any:
            return self._reply

        def __exit__(self, *_: object) -> None:
            close_request_session(self._reply)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._reply, name)

    class SafePoolManager(pool):
        """urllib3's `PoolManager`, whose `request` gives a context manager."""

        def request(self, *args: Any, **kwargs: Any) -> Any:
            return SafeRequest(pool.request(self, *args, **kwargs))

        def __exit__(self, *_: object) -> bool:
            clean_http_manager(self)
            return False

    return {"SafePoolManager": SafePoolManager, "SafeRequest": SafeRequest}


def __getattr__(name: str) -> Any:
    """Make the classes when they are first used."""
    if name in ("SafePoolManager", "SafeRequest"):
        made = _make()
        globals().update(made)
        return made[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
