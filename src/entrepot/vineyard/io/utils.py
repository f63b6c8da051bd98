"""Small helpers that programs on vineyard import from here."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from entrepot.vineyard.deploy import sizes

__all__ = [
    "ThreadStreamExecutor",
    "capture_exception",
    "expand_full_path",
    "parse_readable_size",
]

P = ParamSpec("P")
T = TypeVar("T")


def parse_readable_size(size: int | str) -> int:
    """Return a size in bytes: `1024`, `"128k"`, `"64M"`, `"1.5Gi"`.

    Raises:
        RuntimeError: It is no size.
    """
    found = sizes.parse_readable_size(size)
    if found is None:
        raise RuntimeError(f"{size!r} is no size, for instance 256M or 1.5Gi")
    return found


def expand_full_path(path: str | os.PathLike[str]) -> str:
    """Return a path with `~` and variables of the environment filled in, absolute."""
    return os.path.abspath(os.path.expandvars(os.path.expanduser(os.fspath(path))))  # noqa: PTH100, PTH111 pathlib knows no variables


def capture_exception(function: Callable[P, T]) -> Callable[P, tuple[bool, T | str]]:
    """Return a function that never raises: (True, result), or (False, the trace as text)."""

    @functools.wraps(function)
    def captured(*args: P.args, **kwargs: P.kwargs) -> tuple[bool, T | str]:
        try:
            return True, function(*args, **kwargs)
        except Exception:  # noqa: BLE001 returned
            return False, traceback.format_exc()

    return captured


class ThreadStreamExecutor:
    """Runs several executors at once, each in a thread.

    Args:
        executor_cls: Made once for each thread with `kwargs`; its `execute()` is what runs.
        parallism: How many. (Vineyard's spelling.)
        kwargs: Passed to `executor_cls`.
    """

    def __init__(self, executor_cls: Any, parallism: int = 1, **kwargs: Any) -> None:
        self._executors: list[Any] = [executor_cls(**kwargs) for _ in range(parallism)]

    def execute(self) -> list[Any]:
        """Run all; return their results in order, or raise what the first one raised."""
        with ThreadPoolExecutor(max(len(self._executors), 1)) as pool:
            running = [pool.submit(executor.execute) for executor in self._executors]
            return [one.result() for one in running]
