"""Where the files of depots are, and whether they may be trusted.

::

    ROOT/                     /dev/shm/entrepot-UID, 0700
        .lock                 held while a depot is made, opened or removed
        NAME/                 the volatile tier
            format            "entrepot 1 <id of this boot> <memory in bytes>"
            catalog/          LMDB
            arena  pins  bells  sessions  growth
    DATA_ROOT/NAME/           the durable tier, made when it is first used
        format  catalog/
        home              the directory in memory from which it is used
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from entrepot import settings
from entrepot.errors import (
    AccessDeniedError,
    ConflictError,
    CorruptError,
    DiskFullError,
    EntrepotError,
    FormatError,
    LimitError,
    OutOfMemoryError,
    TypeMismatchError,
    UnavailableError,
)

__all__ = [
    "Format",
    "check_depot_name",
    "check_removable",
    "check_whole",
    "choose_root",
    "depot_names",
    "is_own_root",
    "memory_roots",
    "private_directory",
    "system_errors",
]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_FORMAT = "format"
_ANY_BOOT = "any"
_FILES = {_FORMAT, "arena", "bells", "catalog", "growth", "home", "pins", "sessions"}
"""All that a depot has in its directories, but for drafts of the format file."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM}
_TOO_MANY_FILES = {errno.EMFILE, errno.ENFILE}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


@dataclass(frozen=True, slots=True)
class Format:
    """What the `format` file of a depot says."""

    version: int
    boot: str
    memory_max: int

    def write(self, directory: Path) -> None:
        """Write the file, so that it is there whole or not at all.

        Raises:
            AccessDeniedError: The directory may not be written.
            DiskFullError: There is no room for it, in the durable tier.
            OutOfMemoryError: There is no room for it, in memory.
        """
        draft = directory / f".{_FORMAT}.{os.getpid()}"
        with system_errors(directory, on_disk=self.boot == _ANY_BOOT):
            try:
                draft.write_text(f"entrepot {self.version} {self.boot} {self.memory_max}\n")
                draft.replace(directory / _FORMAT)
            except BaseException:
                with contextlib.suppress(OSError):
                    draft.unlink()
                raise

    @classmethod
    def read(cls, directory: Path) -> Format | None:
        """Return what the file says; None if the directory or the file is not there.

        Raises:
            FormatError: Another version of entrepot wrote it.
            CorruptError: It is no such file.
            AccessDeniedError: It may not be read.
        """
        with system_errors(directory):
            try:
                words = (directory / _FORMAT).read_text(errors="replace").split()
            except (FileNotFoundError, NotADirectoryError):
                return None
        if len(words) != 4 or words[0] != "entrepot" or not (words[1] + words[3]).isdigit():
            raise CorruptError(
                f"{directory / _FORMAT} does not describe a depot",
                f"`entrepot doctor --depot {directory.name}` says what to do",
            )
        if int(words[1]) != settings.FORMAT_VERSION:
            raise FormatError(
                f"the depot in {directory} has format {words[1]}, this entrepot reads "
                f"{settings.FORMAT_VERSION}",
                "use the entrepot that made it, or give up what is in it: "
                f"`entrepot rm --all --depot {directory.name}`",
            )
        return cls(int(words[1]), words[2], int(words[3]))


@contextlib.contextmanager
def system_errors(path: Path, *, on_disk: bool = False) -> Generator[None]:
    """Give what the system refuses within the block one of our errors, which names `path`.

    Raises:
        AccessDeniedError: It may not be written, entered or made.
        DiskFullError: With `on_disk`: it is full, or the quota is used up.
        OutOfMemoryError: Without: the same.
        UnavailableError: Anything else, for instance that too many files are open.
    """
    try:
        yield
    except EntrepotError:  # some of ours are OSErrors too
        raise
    except OSError as error:
        raise _translate(error, path, on_disk=on_disk) from error


def _translate(error: OSError, path: Path, *, on_disk: bool) -> EntrepotError:
    message = f"cannot use {path}: {error.strerror or error}"
    if error.errno in _FULL:
        if on_disk:
            return DiskFullError(message, "free some space on that disk")
        return OutOfMemoryError(
            message, "ask for less memory=, free some there, or set ENTREPOT_DIR to another place"
        )
    if error.errno in _TOO_MANY_FILES:
        return UnavailableError(
            message, "too many open files: close some, or raise the limit (ulimit -n)"
        )
    if error.errno in _DENIED:
        return AccessDeniedError(message, "set ENTREPOT_DIR and ENTREPOT_DATA to places of yours")
    return UnavailableError(message)


def check_depot_name(name: object) -> str:
    """Return the name of a depot, which is the name of a directory too.

    Raises:
        LimitError: It is empty, too long, or has characters that a file name should not have.
        TypeMismatchError: It is not a string.
    """
    if not isinstance(name, str):
        raise TypeMismatchError(f"depot name is {name!r}, a {type(name).__name__}", "give a string")
    if name.startswith("etcd://"):
        raise UnavailableError(
            f"{name!r} names a depot in a cluster, which this version cannot open",
            "name a depot of this machine",
        )
    if not _NAME.fullmatch(name) or len(name) > settings.DEPOT_NAME_BYTES_MAX:
        raise LimitError(
            f"depot name is {name!r}",
            f"up to {settings.DEPOT_NAME_BYTES_MAX} letters, digits, '_', '-' and '.'",
        )
    return name


def boot_id() -> str:
    """Return what tells this boot of the machine from the others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def private_directory(path: Path) -> Path:
    """Make a directory that only this user can enter, or check that it is one.

    Raises:
        AccessDeniedError: It is a link, another user's, or open to others; or cannot be made.
        OutOfMemoryError: There is no room for it.
    """
    with system_errors(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise AccessDeniedError(
            f"{path} is not a directory of its own (a link or a file)",
            "a depot is not reached through links: name the directory itself",
        )
    if found.st_uid != os.getuid():
        raise AccessDeniedError(
            f"{path} belongs to user {found.st_uid}, you are {os.getuid()}",
            "open a depot of your own, in another directory",
        )
    if found.st_mode & 0o077:
        raise AccessDeniedError(
            f"{path} can be entered by other users (mode {found.st_mode & 0o777:o})",
            f"chmod 700 {path}",
        )
    return path


def depot_names(root: Path) -> list[str]:
    """Return the names of the depots under a root directory.

    Leftovers of a removal that was killed (`.NAME.pid.time`) have no name of a depot.
    """
    try:
        found = sorted(path.name for path in root.iterdir())
    except OSError:
        return []
    return [name for name in found if _NAME.fullmatch(name) and _has_format(root / name)]


def _has_format(directory: Path) -> bool:
    try:
        return (directory / _FORMAT).exists()
    except OSError:  # another user's: it cannot even be looked at
        return False


def check_removable(directory: Path) -> None:
    """Refuse to remove a directory that is not a depot's, sound or damaged.

    Raises:
        AccessDeniedError: It is a link, another user's, or open to others.
        ConflictError: Something is in it that a depot never makes.
    """
    private_directory(directory)
    with system_errors(directory):
        found = sorted(entry.name for entry in directory.iterdir())
    for name in found:
        if name not in _FILES and not name.startswith(f".{_FORMAT}."):
            raise ConflictError(
                f"{directory} holds {name!r}, which is no part of a depot",
                "move it away, or remove the directory yourself",
            )


def check_whole(directory: Path) -> None:
    """Refuse a memory tier that lost what the rest of it was made after: it would be made anew.

    Raises:
        CorruptError: Its format file or its catalog is gone or empty, and was not.
    """
    if not any((directory / name).exists() for name in ("pins", "arena")):
        return  # not there, or its maker died while it made it
    for path in (directory / _FORMAT, directory / "catalog" / "data.mdb"):
        if not path.exists() or not path.stat().st_size:
            raise CorruptError(
                f"{path} is lost or empty, and was not",
                f"`entrepot doctor --depot {directory.name}` says what to do",
            )


def memory_roots(directory: Path | None) -> list[Path]:
    """Return the roots under which `open` finds depots that exist."""
    if directory is not None:
        return [directory.absolute()]
    if os.environ.get("ENTREPOT_DIR"):
        return [settings.memory_root()]
    return [settings.memory_root(), _disk_root()]


def is_own_root(root: Path) -> bool:
    """Tell whether entrepot chose this root by itself: then it may remove it too."""
    own = (settings.default_memory_root(), _disk_root())
    return root.resolve() in {path.resolve() for path in own}


def _disk_root() -> Path:
    return settings.fallback_root() / "volatile"


_told: set[Path] = set()


def choose_root(directory: Path | None, name: str, memory_max: int | None) -> Path:
    """Return the root for a depot: memory where there is enough, else a disk, said once."""
    candidates = memory_roots(directory)
    if len(candidates) == 1:
        return candidates[0]
    for candidate in candidates:
        if _has_format(candidate / name):
            return candidate
    root, disk = candidates
    reason = _why_not(root.parent, memory_max)
    if reason is None:
        return root
    if disk not in _told:
        _told.add(disk)
        warnings.warn(
            f"{reason}: the depot lives in {disk}, on a disk, and is slower; "
            "set ENTREPOT_DIR to choose a place",
            stacklevel=3,
        )
    return disk


def _why_not(memory: Path, memory_max: int | None) -> str | None:
    try:
        found = os.statvfs(memory)
    except OSError as error:
        return f"{memory} cannot be used ({error.strerror})"
    if not os.access(memory, os.W_OK | os.X_OK):
        return f"{memory} cannot be written"
    size = found.f_blocks * found.f_frsize
    wanted = settings.SHM_BYTES_MIN if memory_max is None else memory_max
    if size < wanted:
        return f"{memory} has {size} bytes, {wanted} are wanted"
    return None


def default_memory(root: Path) -> int:
    """Return half of what the file system of a root directory can hold."""
    found = os.statvfs(root)
    return max(found.f_blocks * found.f_frsize // 2, settings.MEMORY_BYTES_MIN)


def check_memory(directory: Path, found: int, asked: int | None) -> int:
    """Return the bound of a depot that exists.

    Raises:
        ConflictError: The caller asks for another one.
    """
    if asked is not None and asked != found:
        raise ConflictError(
            f"the depot in {directory} has memory={found}, {asked} was asked for",
            "leave memory out, or remove the depot first",
        )
    return found


def check_bound(memory_max: int) -> int:
    """Return the bound of a new depot.

    Raises:
        LimitError: It is too small to hold anything.
    """
    if memory_max < settings.MEMORY_BYTES_MIN:
        raise LimitError(
            f"memory is {memory_max} bytes, at least {settings.MEMORY_BYTES_MIN} are needed"
        )
    return memory_max


def check_room(directory: Path) -> None:
    """Refuse to make a depot where its first pages do not fit: touching them would be fatal.

    Raises:
        OutOfMemoryError: The file system is full.
    """
    found = os.statvfs(directory)
    room, wanted = found.f_bavail * found.f_frsize, 2 * settings.CATALOG_BYTES_FIRST
    if room < wanted:
        raise OutOfMemoryError(
            f"{directory.parent} has {room} bytes left, a depot needs {wanted} to begin with",
            "free some memory there, or set ENTREPOT_DIR to another place",
        )
