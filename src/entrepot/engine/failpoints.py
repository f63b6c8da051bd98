"""Named places where a test may kill, fail or pause the process.

A failpoint stands between "done" and "acknowledged"::

    if failpoints.ARMED:
        failpoints.hit("engine.committed")

Disarmed it costs the test of one flag. Tests arm one with `arm`, in a child process that
is about to die. The idea is etcd's gofail.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

__all__ = ["ARMED", "KNOWN", "arm", "disarm", "hit", "kill_self"]

ARMED = False

KNOWN = frozenset(
    {
        "engine.begun",
        "engine.before_commit",
        "engine.committed",
        "engine.growing",
        "session.locked",
        "arena.reserved",
        "arena.allocated",
        "arena.copied",
        "arena.reclaiming",
        "files.synced",
        "files.written",
        "spaces.waiting",
        "spaces.handed",
        "spaces.claimed",
        "reaper.halfway",
    }
)

_actions: dict[str, Callable[[], None]] = {}


def kill_self() -> None:
    """End this process as a crash would: no clean-up runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(name: str, action: Callable[[], None] = kill_self, *, after: int = 0) -> None:
    """Run `action` when the failpoint `name` is hit for the (`after` + 1)th time."""
    global ARMED
    assert name in KNOWN, f"no failpoint is named {name!r}"
    remaining = after

    def count_down() -> None:
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            action()

    _actions[name] = count_down
    ARMED = True  # pyright: ignore[reportConstantRedefinition] a switch for tests only


def disarm() -> None:
    """Forget all armed failpoints."""
    global ARMED
    _actions.clear()
    ARMED = False  # pyright: ignore[reportConstantRedefinition] a switch for tests only


def hit(name: str) -> None:
    """Run the action of the failpoint `name`, if it has one."""
    assert name in KNOWN, f"no failpoint is named {name!r}"
    action = _actions.get(name)
    if action is not None:
        action()
