"""Waiting for what must become true: tests wait on conditions, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["PATIENCE_S", "is_asleep", "is_in_futex", "is_running", "is_stopped", "wait_until"]

PATIENCE_S = 60.0
"""How long a test waits for what must come. Only a failing test waits that long."""

_LOOK_S = 0.002
_FUTEX_CALLS = {"202", "449", "98"}


def wait_until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return when the condition is met; fail with `what` if it is not met in time."""
    deadline = time.monotonic() + patience_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s} s in vain: {what}"
        pause.wait(_LOOK_S)


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped by a signal."""
    return _state(pid) in ("T", "t")


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    return _state(pid) not in ("", "Z", "X")


def is_asleep(pid: int) -> bool:
    """Tell whether the main thread of a process sleeps in a system call."""
    return _state(pid) == "S"


def is_in_futex(pid: int) -> bool:
    """Tell whether the main thread of a process sleeps on a futex: it waits for a bell."""
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    except (OSError, IndexError):
        return False
    return call in _FUTEX_CALLS


def _state(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[0]
