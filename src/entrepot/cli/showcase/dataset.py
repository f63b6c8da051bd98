"""A table, and the jobs that study it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from entrepot.cli.files import has_frames, read_table
from entrepot.cli.showcase import columns, families
from entrepot.cli.showcase.evidence import buffers

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Dataset", "load"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table, and the jobs that study it."""

    title: str
    study: str
    """`families` or `columns`: what the workers do with a job."""
    table: Any
    """A DataFrame, or a dict of numpy arrays."""
    jobs: list[dict[str, Any]]
    rows: int
    columns: int
    size: int
    """Bytes of all columns."""

    @property
    def kind(self) -> str:
        """What the table is, in words."""
        return "numpy arrays" if isinstance(self.table, dict) else type(self.table).__name__

    def sample(self) -> Any:
        """Return the first row, as a table of its own."""
        if hasattr(self.table, "head"):
            return self.table.head(1).copy()
        return {name: self.table[name][:1].copy() for name in self.table}


def load(path: Path | None) -> Dataset:
    """Return the table of a file, or the default one.

    Raises:
        As `read_table`.
    """
    if path is None:
        table, names = families.characters()
        jobs = families.jobs(names)
        title, study = families.TITLE, "families"
        if has_frames():
            table = families.frame(table)
    else:
        table = read_table(path)
        jobs = columns.jobs(table)
        title, study = path.name, "columns"
    names = list(table)
    size = sum(buffer.size for buffer in buffers(table))
    return Dataset(title, study, table, jobs, len(table[names[0]]), len(names), size)
