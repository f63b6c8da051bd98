"""Points in time as attribute values: `seconds:nanoseconds` since 1970, both in decimal."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["decode", "encode"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def encode(timestamp: datetime) -> str:
    """Return a time as text; one without a zone is local.

    It goes through a float, as in the original: of the nanoseconds, those below a microsecond
    are noise, and equal times are equal texts whoever writes them.
    """
    since = timestamp.timestamp()
    seconds = math.floor(since)
    return f"{seconds}:{int((since - seconds) * 1e9)}"


def decode(encoded_timestamp: str) -> datetime:
    """Return the time, in UTC and rounded to microseconds.

    Raises:
        ValueError: The text has another form.
        OverflowError: The year is not one of 1 to 9999.
    """
    seconds, nanoseconds = encoded_timestamp.split(":")
    return _EPOCH + timedelta(seconds=int(seconds), microseconds=round(int(nanoseconds) / 1000))
