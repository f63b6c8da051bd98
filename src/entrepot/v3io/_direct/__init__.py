"""v3io's operations on a depot, in this process: without HTTP, and without encoding.

`operations` finds what an encoder of `entrepot.v3io.dataplane.request` stands for: an operation
is known by its encoder. It is a read, which is done when it is asked for, or a write, which may
share a commit with others. Both end in an answer (`answers`): a response whose output is ready,
and whose body and headers are made if somebody looks at them.
"""

from __future__ import annotations

from entrepot.v3io._direct.operations import Work, complete, do, is_read, is_slow, prepare
from entrepot.v3io._direct.store import CLOSED, Store

__all__ = ["CLOSED", "Store", "Work", "complete", "do", "is_read", "is_slow", "prepare"]
