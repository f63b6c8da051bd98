"""What workers do in tests: functions that another process can import."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "CannotTravelError",
    "die_always",
    "die_always_with",
    "die_once",
    "end_at_once",
    "fail",
    "fail_strangely",
    "generate",
    "is_terminal",
    "leave",
    "lock_of",
    "look_at",
    "numbers",
    "own_again",
    "pid",
    "square",
    "total",
    "total_of",
    "wait_for",
]


class CannotTravelError(Exception):
    """Cannot be made again from what pickle keeps of it."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def square(number: int) -> int:
    return number * number


def numbers(count: int) -> np.ndarray:
    return np.arange(count)


def total(array: np.ndarray) -> int:
    return int(array.sum())


def fail(text: str) -> None:
    raise ValueError(text)


def fail_strangely() -> None:
    raise CannotTravelError(1, 2)


def die_once(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def die_always() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lock_of() -> object:
    import threading

    return threading.Lock()


def end_at_once(*_: object) -> None:
    os._exit(1)


def pid() -> int:
    return os.getpid()


def wait_for(depot: tuple[str, str, str], variable: str) -> int:
    """Work until somebody stores a value."""
    import entrepot

    name, directory, data = depot
    with entrepot.open(name, directory=directory, data_directory=data) as opened:
        space = opened.space("signals")
        space.store("began", os.getpid())
        return space.fetch(variable, timeout=60)


def generate(number: int) -> Any:
    """Return what cannot be pickled."""
    return (n for n in range(number))


def leave(number: int) -> None:
    """End the process, as scripts do."""
    sys.exit(number)


def is_terminal() -> bool:
    """Ask what libraries ask before they print."""
    return sys.stdout.isatty()


def die_always_with(_: object) -> None:
    """Die of it, whoever does it."""
    die_always()


def total_of(array: Any) -> float:
    """Add an array up, or what stands for it."""
    return float(array.sum())


def look_at(proxy: Any) -> dict[str, Any]:
    """Say what a proxy is in this process."""
    from entrepot.proxystore.proxy import is_resolved

    was_resolved = is_resolved(proxy)
    return {
        "pid": os.getpid(),
        "was resolved": was_resolved,
        "is array": isinstance(proxy, np.ndarray),
        "owns its bytes": bool(proxy.flags.owndata),
    }


def own_again(owner: Any) -> Any:
    """Return what was sent."""
    len(owner)
    return owner
