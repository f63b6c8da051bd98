"""Objects as files in a directory, which many hosts may share.

::

    store_dir/NAME          the bytes
    store_dir/NAME.ready    empty: there are bytes, whole
    store_dir/.HOST.PID.*.part  bytes that are being written; swept when their writer is dead,
                                if this host can tell, or when they are a day old

The first two are the original's layout, so both may use one directory. What is written goes
to a name of its own and is then renamed: a reader sees the bytes before or those after, also
when the writer is killed or the power fails.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from entrepot.errors import LimitError, TypeMismatchError
from entrepot.proxystore.connectors.protocols import BytesLike, bytes_of

__all__ = ["FileConnector", "FileKey"]

_READY = ".ready"
_PART = ".part"
_NAME_BYTES_MAX = 200
"""Of a file name 255 are allowed; that of a part has an addition."""
_PART_AGE_MAX_S = 24 * 3600.0
"""Nobody writes for so long without a change of the file's time, however clocks differ."""
_CLEAR_TRIES = 100


def _host() -> str:
    """Return who can tell by a process id whether a writer lives: without dots.

    Names of hosts are not enough: some have the same one, and containers of a host have
    process ids of their own.
    """
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return uuid.uuid5(uuid.NAMESPACE_DNS, " ".join(parts)).hex[:12]


_HOST = _host()


class FileKey(NamedTuple):
    """Key to objects in a file system directory."""

    filename: str
    """Unique object filename."""


class FileConnector:
    """Connector to a shared file system.

    Args:
        store_dir: Directory of the objects, made if it is not there.
        clear: Remove the directory, and all that is in it, at `close()`.
        buffering: How files are opened; see `open`.

    Raises:
        TypeError: `store_dir` is no path.
    """

    is_thread_safe = True
    """So a store need not let its threads wait for each other."""

    def __init__(self, store_dir: str, *, clear: bool = True, buffering: int = -1) -> None:
        self.store_dir = os.path.abspath(os.fspath(store_dir))  # noqa: PTH100 "" is the current directory
        self.clear = clear
        self.buffering = buffering
        self._prefix = os.path.join(self.store_dir, "")  # noqa: PTH118 a string, joined for each call
        if not os.path.exists(self.store_dir):  # noqa: PTH110 as above
            Path(self.store_dir).mkdir(parents=True, exist_ok=True)
        else:
            self._sweep()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(directory={self.store_dir})"

    def close(self, clear: bool | None = None) -> None:
        """Remove the directory with all objects, those of others too, if that is wanted.

        Args:
            clear: Whether to; by default what the connector was made with.
        """
        if not (self.clear if clear is None else clear):
            return
        for last in [False] * (_CLEAR_TRIES - 1) + [True]:
            try:
                # Where a link leads: what is to go are the objects, not the link alone.
                shutil.rmtree(os.path.realpath(self.store_dir), onerror=_unless_gone)
            except OSError as error:
                if last or error.errno != errno.ENOTEMPTY:  # somebody else put meanwhile
                    raise
            else:
                break
        if os.path.islink(self.store_dir):  # noqa: PTH114 a string, see above
            _remove(self.store_dir)

    def config(self) -> dict[str, Any]:
        """Return what is needed to make another instance."""
        return {"store_dir": self.store_dir, "clear": self.clear, "buffering": self.buffering}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FileConnector:
        """Return an instance of such a configuration.

        Raises:
            TypeError: An entry is unknown, or missing.
        """
        return cls(**config)

    def evict(self, key: FileKey) -> None:
        """Remove an object; one that is not there is passed over."""
        path = self._path(key)
        for name in (path + _READY, path):  # what is not marked is not read any more
            _remove(name)

    def exists(self, key: FileKey) -> bool:
        """Tell whether there is such an object."""
        return os.path.exists(self._path(key) + _READY)  # noqa: PTH110 a third of the time

    def get(self, key: FileKey) -> bytes | None:
        """Return the bytes of an object, None if there is none."""
        path = self._path(key)
        if not os.path.exists(path + _READY):  # noqa: PTH110 a third of the time
            return None
        try:
            with open(path, "rb", buffering=self.buffering) as file:  # noqa: PTH123 a third of the time
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None  # evicted since, or not whole

    def get_batch(self, keys: Sequence[FileKey]) -> list[bytes | None]:
        """Return the bytes of several, in order, None in the places of those missing."""
        return [self.get(key) for key in keys]

    def new_key(self, obj: BytesLike | None = None) -> FileKey:
        """Return a fresh key, with nothing stored.

        Args:
            obj: Ignored.
        """
        return FileKey(str(uuid.uuid4()))

    def put(self, obj: BytesLike) -> FileKey:
        """Store bytes; return a fresh key. On the disk when this returns.

        Raises:
            FileNotFoundError: The directory has vanished, or a connector was closed and cleared.
            NotADirectoryError: There is a file in its place.
            TypeError: `obj` is no bytes.
        """
        key = self.new_key(obj)
        self.set(key, obj)
        return key

    def put_batch(self, objs: Sequence[BytesLike]) -> list[FileKey]:
        """Store several; return their keys in order."""
        return [self.put(obj) for obj in objs]

    def set(self, key: FileKey, obj: BytesLike) -> None:
        """Store bytes under a key, in place of what is there.

        Raises:
            FileNotFoundError: As in `put`.
        """
        body = bytes_of(obj)
        path = self._path(key)
        part = f"{self._prefix}.{_HOST}.{os.getpid()}.{uuid.uuid4().hex}{_PART}"
        try:
            self._write(part, path, body)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.isdir(self.store_dir):  # noqa: PTH112 see above
                raise
            what = "is a file" if os.path.exists(self.store_dir) else "has vanished"  # noqa: PTH110 see above
            text = f"the directory of the store {what}, perhaps a connector was closed"
            raise type(error)(error.errno, text, self.store_dir) from error

    def _write(self, part: str, path: str, body: memoryview) -> None:
        try:
            with open(part, "xb", buffering=self.buffering) as file:  # noqa: PTH123 see above
                rest = body
                while rest:  # an unbuffered file may take less than it is given
                    rest = rest[file.write(rest) :]
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)  # noqa: PTH105 see above
        except BaseException:
            _remove(part)
            raise
        os.close(os.open(path + _READY, os.O_CREAT | os.O_WRONLY, 0o666))
        directory = os.open(self.store_dir, os.O_RDONLY)
        try:
            os.fsync(directory)  # both names; in this order, as file systems keep that
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
                raise
        finally:
            os.close(directory)

    def _sweep(self) -> None:
        """Remove what was being written by those who died; what cannot be is left."""
        with contextlib.suppress(OSError), os.scandir(self.store_dir) as entries:
            for entry in entries:
                if entry.name[0] == "." and entry.name.endswith(_PART) and _is_over(entry):
                    with contextlib.suppress(OSError):  # another user's, or to be read only
                        _remove(entry.path)

    def _path(self, key: FileKey) -> str:
        name = getattr(key, "filename", None)
        if not isinstance(name, str):
            raise TypeMismatchError(f"{key!r} is no key of a file", "give what put() returned")
        if (
            not name
            or name[0] == "."
            or "/" in name
            or "\0" in name
            or name.endswith(_READY)
            or len(name) > _NAME_BYTES_MAX
            or not (name.isascii() or _is_short(name))
        ):
            raise LimitError(f"{name!r} is no name of a file in the directory of the store")
        return self._prefix + name


def _is_over(part: os.DirEntry[str]) -> bool:
    """Tell whether nobody writes a part any more."""
    words = part.name.split(".")
    if len(words) == 5 and words[1] == _HOST and words[2].isdecimal():
        return not Path("/proc", words[2]).exists()
    return len(words) == 5 and time.time() - part.stat().st_mtime > _PART_AGE_MAX_S


def _is_short(name: str) -> bool:
    try:
        return len(os.fsencode(name)) <= _NAME_BYTES_MAX
    except UnicodeEncodeError:
        return False


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 a third of the time
    except (FileNotFoundError, NotADirectoryError):
        return


def _unless_gone(function: Callable[..., Any], path: str, reason: Any) -> None:
    """Go on when somebody else was quicker: several may close at once."""
    error = reason[1]
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
