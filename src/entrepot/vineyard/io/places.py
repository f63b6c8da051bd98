"""Where data is: `scheme://path#options`."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

__all__ = ["Place", "is_reachable"]

_PATTERN = re.compile(r"[*?\[]")
_PACKED = {"gz": "gzip", "bz2": "bz2", "zst": "zstd", "lz4": "lz4"}
_REMOTE = frozenset(
    ("abfs", "ftp", "gcs", "gs", "hdfs", "http", "https", "memory", "oss", "s3", "sftp")
)
"""Schemes that fsspec is known to reach: who uses one without it is told so."""


@dataclass(frozen=True)
class Place:
    """A file, or several, of any file system."""

    scheme: str
    path: str
    options: dict[str, Any]
    """How it is read or written: of the path, and of the caller."""
    storage: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """How its file system is reached; may hold secrets."""

    @classmethod
    def of(
        cls,
        path: str,
        options: Mapping[str, Any] | None = None,
        storage: Mapping[str, Any] | None = None,
    ) -> Place:
        """Return the place that a path names. Without a scheme it is a local file."""
        body, mark, fragment = str(path).partition("#")
        if mark and "=" not in fragment:  # a name with such a sign, not options
            body, fragment = str(path), ""
        scheme, separator, rest = body.partition("://")
        if not separator:
            scheme, rest = "file", body
        if scheme == "file":
            rest = str(Path(rest).expanduser())
        return cls(
            scheme, rest, dict(parse_qsl(fragment)) | dict(options or {}), dict(storage or {})
        )

    @property
    def suffixes(self) -> list[str]:
        """The suffixes of its name, `["csv", "gz"]` for instance; a part's number is none."""
        name = re.sub(r"_\d+$", "", self.path.rpartition("/")[2])
        return [suffix.lower() for suffix in name.split(".")[1:]]

    @property
    def packing(self) -> str | None:
        """How it is compressed, by its name; None if it is not."""
        return _PACKED.get(self.suffixes[-1]) if self.suffixes else None

    @property
    def suffix(self) -> str:
        """The suffix that tells what is in it, `csv` for instance."""
        suffixes = self.suffixes[:-1] if self.packing else self.suffixes
        return suffixes[-1] if suffixes else ""

    def open(self, mode: str) -> Any:
        """Open the file.

        Raises:
            ImportError: It is of a file system that needs fsspec, which is not installed.
            OSError: It is not there, or may not be read or written.
        """
        if self.scheme == "file":
            return Path(self.path).open(mode)
        return _fsspec(self.scheme).open(self._url(), mode, **self.storage).open()

    @contextlib.contextmanager
    def writing(self) -> Generator[Any]:
        """Open the file to write it; if the block raises, what was there before stays.

        Raises:
            ImportError: It is of a file system that needs fsspec, which is not installed.
            OSError: It may not be written.
        """
        if self.scheme != "file":
            existed = self.exists()
            try:
                with self.open("wb") as file:
                    yield file
            except BaseException:
                if not existed:
                    self.remove()
                raise
            return
        path = Path(self.path)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with draft.open("wb") as file:
                yield file
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def exists(self) -> bool:
        """Tell whether there is such a file."""
        if self.scheme == "file":
            return Path(self.path).exists()
        found = _fsspec(self.scheme).core.url_to_fs(self._url(), **self.storage)
        return bool(found[0].exists(found[1]))

    def part(self, number: int) -> Place:
        """Return the place of one of several files."""
        return replace(self, path=f"{self.path}_{number}")

    def files(self) -> list[Place]:
        """Return the files of a pattern or of a directory, by name; of a file, itself.

        Names that begin with `.` or `_` are not data.

        Raises:
            FileNotFoundError: There are none.
        """
        if self.scheme == "file":
            found = self._local_files()
        elif self.scheme in ("http", "https"):  # a `?` is no pattern there
            found = [self.path]
        else:
            found = self._remote_files()
        if not found:
            raise FileNotFoundError(f"there is no file {self._url()}")
        return [replace(self, path=path) for path in sorted(found, key=_by_number)]

    def _local_files(self) -> list[str]:
        path = Path(self.path)
        if path.is_dir():
            return [str(of) for of in path.iterdir() if of.is_file() and _is_data(of.name)]
        if path.exists() or not _PATTERN.search(self.path):
            return [self.path]
        parent = Path(path.anchor or ".")
        pattern = str(path.relative_to(path.anchor)) if path.anchor else self.path
        return [str(of) for of in parent.glob(pattern) if of.is_file()]

    def _remote_files(self) -> list[str]:
        system, path = _fsspec(self.scheme).core.url_to_fs(self._url(), **self.storage)
        if _PATTERN.search(self.path):
            return [str(of) for of in system.glob(path)]
        if system.isdir(path):
            found = (str(of) for of in system.ls(path, detail=False))
            return [of for of in found if _is_data(of.rpartition("/")[2]) and system.isfile(of)]
        return [self.path]

    def remove(self) -> None:
        """Remove the file, if that can be done: it is half written."""
        with contextlib.suppress(Exception):
            if self.scheme == "file":
                Path(self.path).unlink(missing_ok=True)
            else:
                system, path = _fsspec(self.scheme).core.url_to_fs(self._url(), **self.storage)
                system.rm(path)

    def _url(self) -> str:
        return f"{self.scheme}://{self.path}"


def is_reachable(scheme: str) -> bool:
    """Tell whether files of a scheme can be read here, or could be with fsspec."""
    if scheme == "file" or scheme in _REMOTE:
        return True
    with contextlib.suppress(ImportError):
        registry: Any = importlib.import_module("fsspec.registry")
        return scheme in registry.known_implementations or scheme in registry.registry
    return False


def _fsspec(scheme: str) -> Any:
    try:
        importlib.import_module("fsspec.core")
        return importlib.import_module("fsspec")
    except ImportError as error:
        raise ImportError(f"{scheme}:// needs fsspec: pip install 'entrepot[vineyard]'") from error


def _is_data(name: str) -> bool:
    return not name.startswith((".", "_"))


def _by_number(path: str) -> list[Any]:
    """Return a key that has `P_10` behind `P_9`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path)]
