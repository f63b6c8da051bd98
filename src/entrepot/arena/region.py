"""The one file of an arena, mapped by everyone, and its pages.

The file is as long as twice the arena's bound, so that a view may be rounded up to a power
of two; that is address space, not memory. Pages are reserved in steps before anyone touches
them: in a full tmpfs the first touch of an unreserved page, even to read it, is a SIGBUS.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from entrepot import settings
from entrepot.errors import CorruptError, OutOfMemoryError

__all__ = ["Region"]

_KEEP_SIZE, _PUNCH_HOLE = 1, 2


class Region:
    """A mapped file of shared memory."""

    def __init__(self, path: Path, size_max: int) -> None:
        """Map the file, made if it is not there, for at most `size_max` bytes of blobs."""
        self.path = path
        self.size_max = size_max
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        length = _page_up(2 * size_max)
        found = os.fstat(self._fd).st_size
        self.is_new = found == 0
        if self.is_new:
            os.ftruncate(self._fd, length)
        elif found != length:
            os.close(self._fd)
            raise CorruptError(f"the arena {path} is {found} bytes long and should be {length}")
        self.map = mmap.mmap(self._fd, length)
        self.bytes = memoryview(self.map)

    @property
    def descriptor(self) -> int:
        """The open file."""
        return self._fd

    def reserve(self, begin: int, end: int) -> None:
        """Reserve the pages from `begin` to `end`.

        Raises:
            OutOfMemoryError: The machine has no such memory left.
        """
        try:
            os.posix_fallocate(self._fd, begin, end - begin)
        except OSError as error:
            raise OutOfMemoryError(
                f"cannot reserve {end - begin} more bytes in {self.path}: {error.strerror}",
                "free memory in /dev/shm, or give the depot another directory",
            ) from error

    def give_back(self, begin: int, end: int) -> None:
        """Return the pages from `begin` to `end` to the system; nobody may touch them."""
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
        fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        if fallocate(self._fd, _KEEP_SIZE | _PUNCH_HOLE, begin, end - begin) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self.path))

    def close(self) -> None:
        """Close the file; the map goes when the last view of it is gone."""
        os.close(self._fd)
        del self.bytes, self.map  # Python's map has a descriptor of its own


def memory_at(address: int, size: int) -> memoryview:
    """Return the bytes at an address of this process: nobody checks that it is one."""
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


def copy_into(target: memoryview, source: memoryview) -> None:
    """Copy bytes; large ones in threads, without the interpreter lock."""
    size = len(source)
    if size != len(target):
        raise ValueError(f"{size} bytes cannot be copied into {len(target)}")
    if size < settings.PARALLEL_COPY_BYTES_MIN:
        target[:] = source
        return
    import numpy as np

    to, origin = np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8)
    pieces = iter(range(0, size, settings.COPY_PIECE_BYTES))

    def copy_pieces() -> None:
        for at in pieces:  # each thread takes the next: none waits for a slow one
            part = slice(at, at + settings.COPY_PIECE_BYTES)
            np.copyto(to[part], origin[part])

    threads = [threading.Thread(target=copy_pieces) for _ in range(min(4, os.cpu_count() or 1) - 1)]
    try:
        for thread in threads:
            thread.start()
        copy_pieces()
    finally:
        _end(threads, pieces)


def _end(threads: list[threading.Thread], pieces: Iterator[int]) -> None:
    """Wait for the threads, interrupted or not: they write where others may write next."""
    interruption: BaseException | None = None
    while True:
        try:
            for _ in pieces:  # where all went well, there are none left
                pass
            for thread in threads:
                if thread.is_alive():
                    thread.join()
        except BaseException as error:  # noqa: BLE001 raised again below
            interruption = error
        else:
            break
    if interruption is not None:
        raise interruption


def _page_up(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
