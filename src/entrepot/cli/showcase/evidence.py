"""Where the bytes of a table are: in the depot's shared memory, or in this process.

Nothing here asks the library. The addresses of the columns are looked up in
`/proc/self/maps`, which says for each range of addresses the file that it shows, and
`/proc/self/smaps_rollup` says how much memory is this process's alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Buffer", "Whereabouts", "buffers", "own_memory", "whereabouts"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """A range of bytes that a table uses."""

    address: int
    size: int
    owns_data: bool
    writeable: bool


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a table's bytes are, seen from one process."""

    shared: int
    """Bytes at addresses that show a file of the depot."""
    copied: int
    """All other bytes."""
    owned: int
    """Buffers that say that they own their data."""
    writeable: int
    """Buffers that can be written to."""


def whereabouts(table: Any, depot_path: Path) -> Whereabouts:
    """Return where the bytes of a table are."""
    ranges = list(_mapped(depot_path))
    shared = copied = owned = writeable = 0
    for buffer in buffers(table):
        end = buffer.address + buffer.size
        if any(low <= buffer.address and end <= high for low, high in ranges):
            shared += buffer.size
        else:
            copied += buffer.size
        owned += buffer.owns_data
        writeable += buffer.writeable
    return Whereabouts(shared, copied, owned, writeable)


def buffers(table: Any) -> Iterator[Buffer]:
    """Yield the buffers of a dict of numpy arrays or of a DataFrame, each one once."""
    seen: set[tuple[int, int]] = set()
    for name in table:
        column = table[name]
        found = [_of_array(column)] if isinstance(column, np.ndarray) else _of_series(column)
        for buffer in found:
            place = (buffer.address, buffer.size)
            if buffer.address == 0 or place not in seen:  # Arrow's chunks may be slices of one
                seen.add(place)
                yield buffer


def own_memory() -> int:
    """Return the bytes that belong to this process alone: memory that shows no file.

    The kernel's `Private_*` would not do: it also counts pages of shared memory that only
    one process happens to look at.
    """
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


def _mapped(directory: Path) -> Iterator[tuple[int, int]]:
    """Yield the ranges of addresses that show files under `directory`."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith(f"{directory}/"):
            low, _, high = fields[0].partition("-")
            yield int(low, 16), int(high, 16)


def _of_array(array: Any) -> Buffer:
    """The buffer of an array; of one with gaps only as many bytes as it has items for."""
    address, _ = array.__array_interface__["data"]
    return Buffer(address, array.nbytes, bool(array.flags.owndata), bool(array.flags.writeable))


def _of_series(series: Any) -> Iterator[Buffer]:
    """The buffers of a DataFrame's column: Arrow's, numpy's, or none that can be shared."""
    values = series.array
    if hasattr(values, "_pa_array"):  # what pandas calls an ArrowExtensionArray
        for chunk in values.__arrow_array__().chunks:
            for buffer in chunk.buffers():
                if buffer is not None:
                    yield Buffer(buffer.address, buffer.size, False, bool(buffer.is_mutable))
    elif hasattr(values, "codes"):  # a Categorical
        yield _of_array(values.codes)
    elif hasattr(values, "asi8"):  # dates and times
        yield _of_array(values.asi8)
    elif hasattr(values, "_mask"):  # numbers that may be missing
        yield from (_of_array(values._data), _of_array(values._mask))
    elif values.dtype.kind in "iufbc" and hasattr(values, "to_numpy"):
        yield _of_array(series.to_numpy())
    else:
        yield Buffer(0, int(series.memory_usage(index=False, deep=True)), True, True)
