"""What replies tell of blobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

__all__ = ["MEMORY", "NOWHERE", "created", "got", "payload"]

Json = dict[str, Any]

NOWHERE: Final = -1
MEMORY: Final = 1
"""The number that the arena has for clients: there is one file, and it is never another one."""


def payload(
    id: int, size: int, *, at: int = 0, file: int = NOWHERE, bound: int = 0, is_sealed: bool = False
) -> Json:
    """Return what tells of the bytes of one blob.

    Args:
        id: The blob.
        size: How many bytes it has.
        at: Where they begin in the file.
        file: Which one.
        bound: How many bytes of it are to be mapped.
        is_sealed: Nobody will change them.
    """
    if not size:  # it is nowhere: a client fetches no file for it, so none must be sent
        at, file = 0, NOWHERE
    return {
        "object_id": id,
        "store_fd": file,
        "data_offset": at,
        "data_size": size,
        "map_size": size if file == NOWHERE else bound + 8,
        "pointer": at,
        "is_sealed": is_sealed,
        "is_owner": True,
        "is_gpu": False,
    }


def created(payloads: Sequence[Json], *, is_list: bool, files: Sequence[int] = ()) -> Json:
    """Return the reply to who made blobs; `files` are those that follow it."""
    if not is_list:
        one = payloads[0]
        return {
            "type": "create_buffer_reply",
            "id": one["object_id"],
            "fd": files[0] if files else NOWHERE,
            "created": one,
        }
    return {
        "type": "create_buffers_reply",
        "num": len(payloads),
        "ids": [one["object_id"] for one in payloads],
        "payloads": payloads,
        "fds": sorted(files),
        **{str(at): one for at, one in enumerate(payloads)},
    }


def got(payloads: Sequence[Json], files: Sequence[int] = ()) -> Json:
    """Return the reply to who asked for blobs; `files` are those that follow it."""
    return {
        "type": "get_buffers_reply",
        "num": len(payloads),
        "payloads": payloads,
        "fds": list(files),
        "compress": False,
        **{str(at): one for at, one in enumerate(payloads)},
    }
