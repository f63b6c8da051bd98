"""The bodies of requests in JSON, one class for each function.

Fields that are not here are ignored, as clients send some that mean nothing to us.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from entrepot.gateways.http.messages import refuse
from entrepot.v3io._protocol import BAD_STREAM_ARGUMENT, INVALID

__all__ = [
    "CreateStream",
    "GetItem",
    "GetItems",
    "GetRecords",
    "NewRecord",
    "PutItem",
    "PutRecords",
    "Seek",
    "StreamOnly",
    "UpdateStream",
    "read_body",
]

T = TypeVar("T")


class _Body(msgspec.Struct, rename="pascal"):
    pass


class GetItem(_Body):
    """Of GetItem."""

    attributes_to_get: str | None = None
    table_name: str | None = None
    key: dict[str, dict[str, Any]] | None = None


class GetItems(_Body):
    """Of GetItems."""

    attributes_to_get: str | None = None
    table_name: str | None = None
    filter_expression: str | None = None
    marker: str | None = None
    sharding_key: str | None = None
    limit: int | str | None = None
    segment: int | str | None = None
    total_segment: int | str | None = None
    sort_key_range_start: str | None = None
    sort_key_range_end: str | None = None


class PutItem(_Body):
    """Of PutItem and of UpdateItem."""

    item: dict[str, Any] | None = None
    update_mode: str | None = None
    condition_expression: str | None = None
    update_expression: str | None = None
    alternate_update_expression: str | None = None
    table_name: str | None = None
    key: dict[str, dict[str, Any]] | None = None


class StreamOnly(_Body):
    """Of DescribeStream."""

    stream_name: str | None = None


class CreateStream(_Body):
    """Of CreateStream."""

    shard_count: int
    retention_period_hours: int | None = None
    stream_name: str | None = None


class UpdateStream(_Body):
    """Of UpdateStream."""

    shard_count: int
    stream_name: str | None = None


class NewRecord(_Body):
    """A record of PutRecords."""

    data: bytes
    client_info: bytes | None = None
    shard_id: int | None = None
    partition_key: str | None = None


class PutRecords(_Body):
    """Of PutRecords."""

    records: list[NewRecord]
    stream_name: str | None = None


class Seek(_Body):
    """Of Seek and SeekShard."""

    type: str
    starting_sequence_number: int | None = None
    timestamp_sec: int | None = None
    timestamp_n_sec: int | None = msgspec.field(default=None, name="TimestampNSec")
    stream_name: str | None = None
    shard_id: int | None = None


class GetRecords(_Body):
    """Of GetRecords."""

    location: str
    limit: int | None = None
    stream_name: str | None = None
    shard_id: int | None = None


_OF_ITEMS: Final = (GetItem, GetItems, PutItem)
_DECODERS: Final[dict[Any, Any]] = {
    kind: msgspec.json.Decoder(kind).decode
    for kind in (
        *_OF_ITEMS,
        StreamOnly,
        CreateStream,
        UpdateStream,
        PutRecords,
        Seek,
        GetRecords,
    )
}


def read_body(kind: type[T], body: bytes) -> T:
    """Return a body; an empty one has no fields.

    Raises:
        RefusedError: It is not of this form; the message says where.
    """
    try:
        return _DECODERS[kind](body or b"{}")
    except RecursionError:
        text = "it is nested too deeply"
    except ValueError as error:
        text = str(error)
    if kind in _OF_ITEMS:
        raise refuse(400, INVALID, f"the body cannot be used: {text}")
    text = f"InvalidArgumentException: the body cannot be used: {text}"
    raise refuse(400, BAD_STREAM_ARGUMENT, text)
