"""Where data is: `scheme://path#options`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """A file, or several, of any file system."""

    scheme: str
    path: str
    options: dict[str, Any]

    @classmethod
    def of(cls, path: str, options: dict[str, Any] | None = None) -> Place:
        """Return the place that a path names. Without a scheme it is a local file."""
        body, _, fragment = str(path).partition("#")
        scheme, separator, rest = body.partition("://")
        told = dict(parse_qsl(fragment)) | (options or {})
        return cls(scheme, rest, told) if separator else cls("file", body, told)

    @property
    def suffix(self) -> str:
        """The suffix of the path, `csv` for instance."""
        return Path(self.path).suffix.lstrip(".").lower()

    def open(self, mode: str) -> Any:
        """Open the file.

        Raises:
            ImportError: It is of a file system that needs fsspec, which is not installed.
            OSError: It is not there, or may not be read or written.
        """
        if self.scheme == "file":
            return Path(self.path).expanduser().open(mode)
        try:
            fsspec: Any = importlib.import_module("fsspec")
        except ImportError as error:
            raise ImportError(
                f"{self.scheme}:// needs fsspec: pip install 'entrepot[vineyard]'"
            ) from error
        storage: dict[str, Any] = self.options.get("storage_options") or {}
        return fsspec.open(f"{self.scheme}://{self.path}", mode, **storage).open()

    def part(self, number: int) -> Place:
        """Return the place of one of several files."""
        return Place(self.scheme, f"{self.path}_{number}", self.options)
