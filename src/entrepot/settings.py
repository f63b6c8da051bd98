"""Every default and limit, its unit in its name; how they relate is asserted below."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from entrepot.errors import LimitError, TypeMismatchError

__all__ = ["data_root", "default_memory_root", "fallback_root", "memory_root", "parse_size"]

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

FORMAT_VERSION: Final = 1

DEPOT_NAME_BYTES_MAX: Final = 100
NAME_BYTES_MAX: Final = 3000
"""Names of objects, workspaces and variables: they are part of keys of at most 4 KiB."""

SESSIONS_MAX: Final = 4096
READERS_MAX: Final = 4096
READERS_PER_PROCESS_MAX: Final = 64
"""Read transactions that one process has open at once; further threads wait their turn."""

CATALOG_BYTES_FIRST: Final = 4 * MIB
CATALOG_BYTES_STEP_MIN: Final = 4 * MIB
CATALOG_BYTES_STEP_MAX: Final = 64 * MIB
CATALOG_BYTES_STEP_LAST: Final = 2 * MIB
"""The step by which the catalog grows where a whole one does not fit any more."""
CATALOG_BYTES_SPARE: Final = 1 * MIB
"""Kept free for a catalog that is full: a delete needs pages too, before it frees some."""
CATALOG_SHARE: Final = 8
"""The arena leaves the catalog so many-th part of the memory, to grow into."""
DURABLE_BYTES_FIRST: Final = 64 * GIB
"""The map of the durable tier is sparse: address space, not disk."""

MEMORY_BYTES_MIN: Final = 16 * MIB
SHM_BYTES_MIN: Final = 256 * MIB
"""A /dev/shm smaller than this (containers often have 64 MB) is passed over for a disk."""
ARENA_BYTES_STEP_MIN: Final = 16 * MIB
ARENA_BYTES_STEP_MAX: Final = 64 * MIB
ARENA_ALIGNMENT_BYTES: Final = 64
CHUNK_BYTES: Final = 1 * MIB
"""What a process leases at once for small blobs."""
CHUNK_PIECE_BYTES_MAX: Final = 128 * KIB

INLINE_BYTES_MAX: Final = 16 * KIB
"""Up to here a value lives in the catalog and comes back as a copy: a pin and a view cost more."""

PINS_PER_SESSION: Final = 512
BELLS_PER_ENGINE: Final = 1024

WAIT_SLICE_S: Final = 1.0
"""A waiter looks again this often whatever happens, and reaps the dead."""
SPIN_COUNT: Final = 100
"""Looks at a bell before sleeping on it: about 10 microseconds, which steadies latency."""

SECONDS_MAX: Final = 10**10
"""Of delays and times to live: three centuries, which a count of microseconds holds."""

LOOK_COUNT: Final = 60
"""Looks for a value before joining the line: about 50 microseconds, less than a sleep costs."""

LOOK_COUNT_BRISK: Final = 200
BRISK_S: Final = 0.0005
"""After a wait that was so short, the next one looks so often before it joins the line."""

LOOKS_PER_YIELD: Final = 4
"""Of those who look without sleeping: whom they wait for may need this very processor."""

STOPPED_WRITER_PATIENCE_S: Final = 2.0
"""How long a write waits for a stopped process (Ctrl-Z, debugger) that holds the write lock."""

NWS_LOOK_S: Final = 0.00006
"""So long a client over TCP looks for an answer before it sleeps."""

IDS_PER_LEASE: Final = 1 << 16
BATCH_KEYS: Final = 1000
"""Most keys that one transaction touches when a big thing is deleted or walked through."""
PARALLEL_COPY_BYTES_MIN: Final = 16 * MIB
COPY_PIECE_BYTES: Final = 512 * KIB
"""Fits the second cache, and is long enough to let the interpreter go meanwhile."""

NWS_ARGUMENTS_MAX: Final = 16
NWS_ARGUMENT_BYTES_MAX: Final = 64 * KIB
"""Of a request to a NetWorkSpaces gateway, but for the value of a store."""
NWS_ENTRIES_MAX: Final = 64
NWS_VALUE_BYTES_MAX: Final = 4 * GIB
NWS_CONNECTIONS_MAX: Final = 50_000
NWS_KEPT_BYTES_MAX: Final = 256 * MIB
"""Of big values that were sent, and are kept until their clients have surely read them."""
NWS_STALL_S: Final = 60.0
"""A client that sends nothing more of a big value for so long is given up."""
NWS_PIECE_BYTES: Final = 256 * KIB
"""What is handed to a socket at once of a big value."""

HTTP_HEAD_BYTES_MAX: Final = 64 * KIB
"""Of a request to an HTTP gateway: its target and headers."""
HTTP_BODY_BYTES_MAX: Final = 32 * MIB
"""Of a request in JSON; what is put as an object may be of any size."""
HTTP_CONNECTIONS_MAX: Final = 50_000
HTTP_PIPELINED_MAX: Final = 64
"""Requests of one connection that wait for their turn, before no more is read from it."""
HTTP_AT_ONCE_BYTES_MAX: Final = 64 * KIB
"""Larger bodies in JSON are read by a thread: the loop would do nothing else meanwhile."""
HTTP_LOOKS_MAX: Final = 2000
"""Entries that a scan looks at before other requests have their turn."""
HTTP_IDLE_S: Final = 900.0
"""A connection on which nothing is asked for so long is closed."""
HTTP_STALL_S: Final = 60.0
"""A client that sends no more of a request, or takes no more of a reply, for so long is given up;
so is one that takes so long for the head of a request."""
HTTP_RATE_BYTES_MIN: Final = 1 * KIB
"""So many bytes of a body a client sends in each second, on the whole, or is given up."""
HTTP_LINGER_S: Final = 2.0
"""How long a refused client may read the refusal while it still sends."""
HTTP_STOP_S: Final = 30.0
"""How long a gateway that stops works on what it has accepted."""
HTTP_PIECE_BYTES: Final = 256 * KIB
"""What is handed to a socket at once of a large object."""
HTTP_UPLOAD_BYTES_MAX: Final = 4 * MIB
"""Of one upload, what waits for the disk before no more of it is read."""
HTTP_UPLOADS_MAX: Final = 32
"""Large objects that are written at once; further ones wait."""
HTTP_LOG_BYTES_MAX: Final = 64 * KIB
"""Of the access log, what waits to be written."""

LINE_CHARS_MAX: Final = 1 * MIB
"""A longer line becomes several."""
LINES_DEFAULT: Final = 10_000
LINES_MAX: Final = 100_000_000
LINES_BYTES_DEFAULT: Final = 16 * MIB
"""All entries of a buffer of lines together."""
LINES_WRITE_CHARS_MAX: Final = 32 * MIB
"""Of what is written to a buffer at once."""
LINES_BODY_BYTES_MAX: Final = 8 * MIB
"""Of a request that writes lines."""
LINE_BUFFERS_MAX: Final = 10_000
"""Of those that a gateway makes."""
PARTIAL_LINES_MAX: Final = 1000
"""Of writers of one buffer that have not finished a line; of more, the oldest are finished."""
LINES_QUEUE_CHARS_MAX: Final = 1 * MIB
"""What a writer keeps that cannot write just now; what comes then is dropped, and counted."""

ENTRY_NAME_CHARS_MAX: Final = 255
"""Of one part of a path, and of the name of a container."""
BODY_INLINE_BYTES_MAX: Final = 64 * KIB
"""Larger bodies of objects are files."""
ATTRIBUTE_NAME_CHARS_MAX: Final = 255
ITEM_BYTES_MAX: Final = 64 * MIB
"""All attributes of one item together."""
PAGE_ITEMS_MAX: Final = 1000
"""Of what one page of a scan or of a listing returns."""
PAGE_BYTES_MAX: Final = 2 * MIB
SCAN_STRETCH: Final = 500
"""Items that a scan takes from the engine at once."""
SEGMENTS_MAX: Final = 1024
SHARDS_MAX: Final = 4096
RETENTION_S_DEFAULT: Final = 24 * 3600
RETENTION_S_MAX: Final = 366 * 24 * 3600
BLOCK_BYTES_MAX: Final = 256 * KIB
"""Records that come together are kept together, up to about this."""
RECORDS_MAX: Final = 10_000
"""Of what one read of a shard returns."""
RECORD_BYTES_MAX: Final = 64 * MIB
RECORDS_BYTES_MAX: Final = 10 * MIB
"""What one read of a shard returns at most, but for a single record that is larger."""
EXPRESSION_CHARS_MAX: Final = 2 * MIB
EXPRESSION_NESTING_MAX: Final = 100
ARRAY_ELEMENTS_MAX: Final = 1 * MIB
"""Of what `init_array` makes."""

assert CHUNK_PIECE_BYTES_MAX * 4 <= CHUNK_BYTES
assert INLINE_BYTES_MAX <= CHUNK_PIECE_BYTES_MAX
assert CATALOG_BYTES_FIRST + ARENA_BYTES_STEP_MIN <= 2 * MEMORY_BYTES_MIN
assert CATALOG_BYTES_SPARE < CATALOG_BYTES_STEP_LAST <= CATALOG_BYTES_STEP_MIN
assert ARENA_BYTES_STEP_MIN >= CHUNK_BYTES
assert READERS_PER_PROCESS_MAX < READERS_MAX
assert PINS_PER_SESSION * 8 == 4 * KIB, "a session's pins fill one page"

_UNITS = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB, "T": 1 << 40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)


def parse_size(size: int | str, what: str = "memory") -> int:
    """Return a size in bytes: an int as it is, `"512M"`, `"4G"`, `"1.5 GiB"` by powers of 1024.

    Raises:
        LimitError: It is negative, or not a size.
        TypeMismatchError: It is neither an int nor a string.
    """
    if isinstance(size, bool) or not isinstance(size, (int, str)):  # pyright: ignore[reportUnnecessaryIsInstance] users are not type checked
        raise TypeMismatchError(
            f"{what} is {size!r}, a {type(size).__name__}", 'give bytes or "4G"'
        )
    if isinstance(size, str):
        match = _SIZE.fullmatch(size)
        if match is None:
            raise LimitError(f"{what} is {size!r}, which is no size", 'for instance "512M" or "4G"')
        return int(float(match[1]) * _UNITS[match[2].upper()])
    if size < 0:
        raise LimitError(f"{what} is {size}, a size is not negative")
    return size


def memory_root() -> Path:
    """Return where volatile depots live: ENTREPOT_DIR, else this user's directory in /dev/shm."""
    return _from_environment("ENTREPOT_DIR") or default_memory_root()


def default_memory_root() -> Path:
    """Return where volatile depots live when nobody says otherwise."""
    return Path(f"/dev/shm/entrepot-{os.getuid()}")


def data_root() -> Path:
    """Return where durable data lives: ENTREPOT_DATA, else `~/.local/share/entrepot`."""
    shared = _from_environment("XDG_DATA_HOME")
    return _from_environment("ENTREPOT_DATA") or (
        (shared or Path.home() / ".local" / "share") / "entrepot"
    )


def fallback_root() -> Path:
    """Return where volatile depots live when /dev/shm is missing or too small: a disk."""
    return (_from_environment("XDG_CACHE_HOME") or Path.home() / ".cache") / "entrepot"


def _from_environment(variable: str) -> Path | None:
    """Return the directory that a variable names: absolute, since programs go elsewhere."""
    given = os.environ.get(variable)
    return Path(given).absolute() if given else None
