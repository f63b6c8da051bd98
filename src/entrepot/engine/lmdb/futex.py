"""Sleeping on a word of shared memory until another process changes it.

Linux futexes through ctypes: `wait` sleeps while a word has the value that the caller saw,
`wake_all` ends the sleep of everyone. Elsewhere, and on kernels without `futex_waitv`
(before 5.16), waiting is polling with growing pauses: slower, and as correct.

The wake goes through `PyDLL`, which keeps the GIL: the call does not block, and giving the
GIL away costs more than it does (0.5 µs against 1.0).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import sys
import time
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["WAITV_WORDS_MAX", "Watched", "Words", "wait_any"]

WAITV_WORDS_MAX = 128

_WAIT, _WAKE = 0, 1
_SIZE_U32 = 2
_FUTEX_BY_MACHINE = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_FUTEX_WAITV = 449
_EVERYBODY = ctypes.c_int(2**31 - 1)
_POLL_S_MAX = 0.005

_number = _FUTEX_BY_MACHINE.get(platform.machine()) if sys.platform == "linux" else None
if _number is not None and sys.maxsize < 2**32:
    _number = None  # a 32-bit process on a 64-bit kernel has other numbers


_waitv = ctypes.CDLL(None, use_errno=True).syscall if _number is not None else None


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Waiter(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


def _timespec(seconds: float) -> _Timespec:
    whole = int(seconds)
    return _Timespec(whole, int((seconds - whole) * 1e9))


Watched: TypeAlias = "tuple[Words, int, int]"
"""A word to wait on: the array, the index, and the value that it has until it is rung."""


class Words:
    """An array of 32-bit words in shared memory, to wait on and to wake."""

    __slots__ = ("_syscall", "_wake", "_wake_arguments", "address", "values")

    def __init__(self, memory: memoryview) -> None:
        """Take writable memory, a multiple of 4 bytes, that stays mapped as long as this lives."""
        self.values = memory.cast("I")
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._syscall = _waitv
        self._wake = ctypes.PyDLL(None).syscall if _number is not None else None
        self._wake_arguments: dict[int, tuple[ctypes.c_long | ctypes.c_void_p | ctypes.c_int, ...]]
        self._wake_arguments = {}

    def wake_all(self, index: int) -> None:
        """End the sleep of everyone who waits on the word."""
        if self._wake is None:
            return  # everyone polls
        arguments = self._wake_arguments.get(index)
        if arguments is None:
            address = ctypes.c_void_p(self.address + 4 * index)
            arguments = (ctypes.c_long(_number or 0), address, ctypes.c_int(_WAKE), _EVERYBODY)
            self._wake_arguments[index] = arguments
        self._wake(*arguments)

    def wait(self, index: int, value: int, timeout_s: float) -> None:
        """Sleep while the word has `value`, at most `timeout_s`; may return early."""
        if self._syscall is None:
            _poll(((self, index, value),), timeout_s)
            return
        timespec = _timespec(timeout_s)
        self._syscall(
            ctypes.c_long(_number or 0),
            ctypes.c_void_p(self.address + 4 * index),
            ctypes.c_int(_WAIT),
            ctypes.c_uint32(value),
            ctypes.byref(timespec),
            None,
            ctypes.c_int(0),
        )


def wait_any(watched: Sequence[Watched], timeout_s: float) -> None:
    """Sleep while each watched word has its value, at most `timeout_s`; may return early."""
    assert len(watched) <= WAITV_WORDS_MAX
    if _waitv is None:
        _poll(watched, timeout_s)
        return
    waiters = (_Waiter * len(watched))(
        *((value, words.address + 4 * index, _SIZE_U32, 0) for words, index, value in watched)
    )
    deadline = _timespec(time.monotonic() + timeout_s)
    result = _waitv(
        ctypes.c_long(_FUTEX_WAITV),
        waiters,
        ctypes.c_uint(len(watched)),
        ctypes.c_uint(0),
        ctypes.byref(deadline),
        ctypes.c_int(time.CLOCK_MONOTONIC),
    )
    if result < 0 and ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        _poll(watched, timeout_s)


def _poll(watched: Sequence[Watched], timeout_s: float) -> None:
    deadline, pause_s = time.monotonic() + timeout_s, 0.0001
    while all(words.values[index] == value for words, index, value in watched):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, _POLL_S_MAX)
