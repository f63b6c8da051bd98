"""Pins: a process's marks on the extents that it still looks at.

One page of 512 words for each session, in one shared file. A word is 0, or the offset of an
extent plus 1. Setting and clearing one is a plain store: no lock, no transaction.

The protocol that keeps a reader's bytes from being reused (epoch-based reclamation, see
K. Fraser, "Practical lock-freedom", 2004, with hazard pointers on top):

1. A reader finds the extent in a read transaction and sets its pin before that ends.
2. A deletion moves the extent to limbo, under the version of its transaction.
3. Whoever wants to reuse it first looks at the open read transactions: the extent must be
   deleted in every snapshot that is still in use.
4. Then at the pins of all live sessions, in this order: a reader that had found the extent
   has either not ended (3 sees it) or has set its pin before (4 sees it).

On machines that may reorder stores, a memory barrier in all processes stands between 3 and 4.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from entrepot import settings

__all__ = ["PinTable", "Pins"]

_PAGE_BYTES = settings.PINS_PER_SESSION * 8
_MEMBARRIER = {"x86_64": 324, "aarch64": 283}.get(platform.machine())
_NO_PINS = bytes(_PAGE_BYTES)
_syscall: Any = ctypes.PyDLL(None).syscall if sys.platform == "linux" else None
_GLOBAL_EXPEDITED, _REGISTER_GLOBAL_EXPEDITED = 1 << 1, 1 << 2


class PinTable:
    """The pins of all sessions, mapped."""

    def __init__(self, path: Path) -> None:
        """Map the file, made if it is not there."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        length = settings.SESSIONS_MAX * _PAGE_BYTES
        if os.fstat(self._fd).st_size < length:
            os.ftruncate(self._fd, length)
        self._words = memoryview(mmap.mmap(self._fd, length)).cast("Q")
        _membarrier(_REGISTER_GLOBAL_EXPEDITED)

    def open(self, slot: int) -> None:
        """Reserve and clear the page of a slot, before its new owner is known to others."""
        os.posix_fallocate(self._fd, slot * _PAGE_BYTES, _PAGE_BYTES)
        self.words(slot)[:] = memoryview(_NO_PINS).cast("Q")

    def words(self, slot: int) -> memoryview:
        """Return the words of a slot."""
        begin = slot * settings.PINS_PER_SESSION
        return self._words[begin : begin + settings.PINS_PER_SESSION]

    def pinned(self, slots: Iterable[int]) -> set[int]:
        """Return the offsets that the given sessions pin. Their pages must have been opened."""
        _membarrier(_GLOBAL_EXPEDITED)
        found: set[int] = set()
        for slot in slots:
            found |= self.pinned_by(slot)
        return found

    def pinned_by(self, slot: int) -> set[int]:
        """Return the offsets that one session pins."""
        words = self.words(slot)
        if words.tobytes() == _NO_PINS:
            return set()
        return {word - 1 for word in set(words.tolist()) if word}

    def close(self) -> None:
        """Close the file; the map goes when the last view of it is gone."""
        os.close(self._fd)
        del self._words  # Python's map has a descriptor of its own


class Pins:
    """This process's pins, and the views that hold them."""

    def __init__(self, words: memoryview, memory: mmap.mmap) -> None:
        self._words = words
        self._memory = memory
        self._free = list(range(settings.PINS_PER_SESSION))
        self._classes: dict[int, type[Any]] = {}

    @property
    def count(self) -> int:
        """How many pins are set."""
        return settings.PINS_PER_SESSION - len(self._free)

    def pin(self, offset: int, size: int) -> memoryview | None:
        """Pin an extent and return a read-only view of its bytes; None if all pins are set.

        The pin is held until the last view of the view, of whatever kind, is gone. Must be
        called inside the transaction that found the extent.
        """
        try:
            index = self._free.pop()
        except IndexError:
            return None
        try:
            self._words[index] = offset + 1
            # One class per power of two, cut to size below: one for each size is 20 times dearer.
            bits = (size - 1).bit_length()
            view_class = self._classes.get(bits)
            if view_class is None:
                view_class = self._classes[bits] = _view_class(1 << bits)
            view = view_class.from_buffer(self._memory, offset)
            view.index = index
        except BaseException:
            self.unpin(index)
            raise
        view.pins = self  # from here on the pin goes with the view
        return memoryview(view).toreadonly().cast("B")[:size]

    def unpin(self, index: int) -> None:
        """Clear a pin. May run in any thread at any moment: it touches no lock, no catalog."""
        self._words[index] = 0
        self._free.append(index)

    def leave(self) -> None:
        """Keep the pins in private memory: in a forked child, where the page is the parent's."""
        self._words = memoryview(bytearray(self._words.tobytes())).cast("Q")

    def forget(self) -> None:
        """Let go of the memory, when no pin is set any more, or none of this process."""
        self.leave()
        self._classes.clear()
        del self._memory

    def move_to(self, words: memoryview) -> None:
        """Set the same pins in other words: those of a forked child's own session."""
        words[:] = self._words
        self._words = words


def _view_class(size: int) -> type[Any]:
    class PinnedBytes(ctypes.c_ubyte * size):
        __slots__ = ("index", "pins")
        pins: Pins
        index: int

        def __del__(self) -> None:
            try:
                pins = self.pins
            except AttributeError:
                return  # interrupted while it was made
            pins.unpin(self.index)

    return PinnedBytes


def _membarrier(command: int) -> None:
    if _syscall is not None and _MEMBARRIER is not None:
        _syscall(
            ctypes.c_long(_MEMBARRIER), ctypes.c_int(command), ctypes.c_int(0), ctypes.c_int(0)
        )
