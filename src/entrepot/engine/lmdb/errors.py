"""LMDB's errors, mapped to ours: the one place where that happens."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import lmdb

from entrepot import settings
from entrepot.errors import (
    CorruptError,
    DiskFullError,
    EntrepotError,
    LimitError,
    OutOfMemoryError,
    UnavailableError,
)

__all__ = ["BUGS", "map_error"]

BUGS: tuple[type[lmdb.Error], ...] = (
    lmdb.BadDbiError,
    lmdb.BadRslotError,
    lmdb.BadTxnError,
    lmdb.CryptoFailError,
    lmdb.CursorFullError,
    lmdb.DbsFullError,
    lmdb.EnvEncryptionError,
    lmdb.IncompatibleError,
    lmdb.InvalidParameterError,
    lmdb.KeyExistsError,
    lmdb.NotFoundError,
    lmdb.ReadonlyError,
    lmdb.TlsFullError,
)
"""What LMDB raises only when we use it wrongly: these pass as they are."""

_DAMAGE: tuple[type[lmdb.Error], ...] = (
    lmdb.BadChecksumError,
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.ProblemError,
    lmdb.VersionMismatchError,
)


def map_error(error: lmdb.Error, path: Path) -> EntrepotError | None:
    """Return our error for one of LMDB's, or None for our own bugs."""
    if isinstance(error, _DAMAGE):
        return CorruptError(
            f"the catalog {path} is damaged: {error}",
            f"'entrepot doctor --depot {path.parent.name}' says what to do",
        )
    if isinstance(error, lmdb.MapFullError):
        return OutOfMemoryError(f"the catalog {path} is full")
    if isinstance(error, lmdb.TxnFullError):
        return LimitError(f"one transaction on {path} changes too much", "split it")
    if isinstance(error, lmdb.BadValsizeError):
        return LimitError(f"a key or value is empty or too long for {path}: {error}")
    if isinstance(error, lmdb.ReadersFullError):
        return UnavailableError(
            f"the reader table of {path} is full",
            f"clear dead readers with 'entrepot gc --depot {path.parent.name}'",
        )
    if isinstance(error, lmdb.MemoryError):
        return OutOfMemoryError(f"no memory for a transaction on {path}: {error}")
    if isinstance(error, (lmdb.DiskError, lmdb.LockError, lmdb.MapResizedError)):
        return _from_system(error, path)
    if isinstance(error, BUGS):
        return None
    return _from_system(error, path)


def _from_system(error: lmdb.Error, path: Path) -> EntrepotError:
    number = getattr(error, "code", 0)
    if number == errno.ENOSPC or "No space left" in str(error) or _is_short_write(error, path):
        return DiskFullError(
            f"the disk that holds {path} is full", "free some space; nothing was lost"
        )
    if number == errno.ENOMEM or "Cannot allocate memory" in str(error):
        return OutOfMemoryError(f"no memory to map {path}: {error}")
    return UnavailableError(f"cannot use the catalog {path}: {error}")


def _is_short_write(error: lmdb.Error, path: Path) -> bool:
    """Tell whether a full disk took only a part of a write: LMDB calls that an I/O error."""
    if "Input/output error" not in str(error):
        return False
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize < settings.MIB
