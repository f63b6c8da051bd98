"""Numbers that are unique in a tier, and grow with time.

Keys::

    ("ids",)  -> the end of the last lease, 8 bytes

A process leases 65,536 numbers in one transaction and hands them out by itself. A lease
begins at the time of day in milliseconds, times 65,536, or after the last lease, whichever
is later: so numbers stay unique when the volatile catalog is lost at a reboot, keys made of
them are appended at the end of the tree, and a number says roughly when it was made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from entrepot import settings
from entrepot.engine.keys import Prefix
from entrepot.engine.protocol import Engine, Transaction

__all__ = ["Ids"]

IDS = Prefix("ids")
_ID_MAX = (1 << 63) - 1


class Ids:
    """This process's numbers of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._left: Iterator[int] = iter(())
        self._lock = threading.Lock()

    def next(self) -> int:
        """Return a number from 1 to 2**63 - 1 that nobody else gets."""
        try:
            return next(self._left)  # atomic, as an iterator of a range is written in C
        except StopIteration:
            return self._lease()

    def forget(self) -> None:
        """Drop the lease: in a forked child, where it is the parent's."""
        self._left = iter(())
        self._lock = threading.Lock()

    def _lease(self) -> int:
        with self._lock:
            for number in self._left:  # another thread was quicker
                return number
            begin = self._engine.write(_lease, time.time_ns() // 1_000_000 * settings.IDS_PER_LEASE)
            self._left = iter(range(begin + 1, begin + settings.IDS_PER_LEASE))
            return begin


def _lease(tx: Transaction, not_before: int) -> int:
    last = tx.get(IDS.begin)
    begin = max(not_before, int.from_bytes(last, "big") if last else 0)
    end = begin + settings.IDS_PER_LEASE
    assert 0 < begin < end <= _ID_MAX
    tx.put(IDS.begin, end.to_bytes(8, "big"))
    return begin
