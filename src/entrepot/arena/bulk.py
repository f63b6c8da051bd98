"""Where bytes go that are too big for a catalog: the seam between layers and storage.

A big value is written in two steps, so that no bytes are copied inside a transaction::

    with bulk.draft(buffers) as draft:            # space is taken and filled
        engine.write(store, …, draft)             # store calls bulk.seal(tx, draft)

If the block raises, or the process dies before the transaction commits, the space is free
again. A sealed blob has one user; it is gone when the last user releases it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from entrepot.engine.protocol import Transaction

__all__ = ["Bulk", "Draft", "Ref"]


class Ref(NamedTuple):
    """Which bytes: what a catalog stores of a blob."""

    at: int
    size: int


class Draft(Protocol):
    """Bytes that are written and not sealed."""

    @property
    def ref(self) -> Ref:
        """How the blob will be known."""
        ...


class Bulk(Protocol):
    """A store of blobs beside one engine."""

    def draft(self, buffers: Sequence[memoryview]) -> AbstractContextManager[Draft]:
        """Write the buffers one after the other, each at a multiple of 64 bytes.

        Raises:
            OutOfMemoryError: There is no room; the message says who holds what.
        """
        ...

    def begin(self, size: int) -> Draft:
        """Take room for `size` bytes that the caller writes into `memory`.

        Raises:
            OutOfMemoryError: There is no room; the message says who holds what.
        """
        ...

    def memory(self, draft: Draft) -> memoryview:
        """Return the bytes of a draft that was begun, writable until it is sealed."""
        ...

    def abandon(self, draft: Draft, *, writer: int = 0) -> None:
        """Give back what was begun and not sealed.

        Args:
            draft: What was begun.
            writer: Another process that may still write there: nobody gets it while that lives.
        """
        ...

    def seal(self, tx: Transaction, draft: Draft) -> None:
        """Make the draft a blob with one user, in the transaction that stores its `ref`."""
        ...

    def retain(self, tx: Transaction, ref: Ref, users: int = 1) -> None:
        """Add users to a blob."""
        ...

    def release(self, tx: Transaction, ref: Ref) -> None:
        """Take one user from a blob; the last one's leaving frees it."""
        ...

    def users(self, tx: Transaction, ref: Ref) -> int:
        """Return how many users a blob has; 0 if there is no such blob."""
        ...

    def pins_of(self, tx: Transaction, ref: Ref) -> int:
        """Return how many processes look at a blob just now."""
        ...

    def view(self, tx: Transaction, ref: Ref) -> memoryview:
        """Return the bytes, read-only; they stay as they are while a view of them lives."""
        ...
