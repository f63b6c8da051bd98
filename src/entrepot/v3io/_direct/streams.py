"""Streams: create, update, describe, seek, put and get records."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from entrepot import settings
from entrepot.errors import ExistsError, LimitError, NotFoundError
from entrepot.layers import entries
from entrepot.layers.attributes import Timestamp
from entrepot.layers.streams import Stream, core
from entrepot.layers.streams.core import Appended, New, Record, ShardError
from entrepot.v3io import _protocol
from entrepot.v3io._direct.answers import JSON, Answer, filled, json_body, refused
from entrepot.v3io._direct.items import whole_number
from entrepot.v3io._direct.store import Store
from entrepot.v3io._direct.works import Shared
from entrepot.v3io._protocol import Location, Refusal, encode_location, sequence_at
from entrepot.v3io.dataplane.output import (
    DescribeStreamOutput,
    GetRecordsOutput,
    GetRecordsResult,
    PutRecordsOutput,
    PutRecordsResult,
    SeekShardOutput,
)
from entrepot.v3io.dataplane.request import Arguments
from entrepot.v3io.dataplane.response import Response

__all__ = [
    "check_seek",
    "create_stream",
    "describe_stream",
    "get_records",
    "put_records",
    "seek_shard",
    "update_stream",
]

_SEEK_TYPES: Final = ("SEQUENCE", "TIME", "EARLIEST", "LATEST")
_HOUR_S: Final = 3600
_HOURS: Final = 24
_MILLION: Final = 1_000_000
_BILLION: Final = 1_000_000_000


# The stream itself.


def create_stream(store: Store, container: str, arguments: Arguments) -> Shared:
    """Make a stream."""
    path = arguments["stream_path"]
    if not path.strip("/"):
        raise ExistsError(f"the container {container!r} is no place for a stream's shards")
    hours = whole_number("retention_period_hours", arguments.get("retention_period_hours"), 0)
    call = store.stream(container, path).creating(
        whole_number("shard_count", arguments["shard_count"], 0),
        retention_s=(hours or _HOURS) * _HOUR_S,
    )
    return Shared(call, _changed)


def update_stream(store: Store, container: str, arguments: Arguments) -> Shared:
    """Add shards to a stream."""
    stream = _stream(store, container, arguments)
    call = stream.resizing(whole_number("shard_count", arguments["shard_count"], 0))
    return Shared(call, _changed)


def _changed(_: object) -> Response:
    return Answer(204)


def describe_stream(store: Store, container: str, arguments: Arguments) -> Response:
    """Tell what a stream was made with."""
    stream = _stream(store, container, arguments)
    found = stream.engine.read(core.describe, container, stream.path)
    hours = found.retention_s // _HOUR_S
    output = filled(
        DescribeStreamOutput, {"shard_count": found.shards, "retention_period_hours": hours}
    )
    body = json_body({"ShardCount": found.shards, "RetentionPeriodHours": hours})
    return Answer(200, output, body, lambda: JSON)


def _stream(store: Store, container: str, arguments: Arguments) -> Stream:
    path = arguments["stream_path"]
    store.check_name(container)
    if not path.strip("/"):
        store.engine.read(entries.get_container, container)
        raise NotFoundError(f"there is no stream {path!r}")
    return store.stream(container, path)


# Reading.


def check_seek(container: str | None, arguments: Arguments) -> None:
    """Refuse a seek of no known type.

    Raises:
        ValueError: It is of none.
    """
    if arguments["seek_type"] not in _SEEK_TYPES:
        raise ValueError(
            f"Unsupported seek_type ({arguments['seek_type']}) for seek_shard. "
            f"Must be one of {', '.join(_SEEK_TYPES)}"
        )


def seek_shard(store: Store, container: str, arguments: Arguments) -> Response:
    """Return a location in a shard."""
    check_seek(container, arguments)
    stream = _stream(store, container, arguments)
    shard = whole_number("shard_id", arguments["shard_id"], -1)
    location = encode_location(Location(shard, stream.seek(shard, _since(arguments))))
    output = filled(SeekShardOutput, {"location": location})
    return Answer(200, output, json_body({"Location": location}), lambda: JSON)


def _since(arguments: Arguments) -> Any:
    kind = arguments["seek_type"]
    if kind == "SEQUENCE":
        return whole_number("starting_sequence_number", arguments["starting_sequence_number"], 0)
    if kind == "TIME":
        if arguments.get("timestamp_sec") is None:
            raise LimitError("timestamp_sec is missing")
        return Timestamp(
            whole_number("timestamp_sec", arguments["timestamp_sec"], 0),
            whole_number("timestamp_nsec", arguments.get("timestamp_nsec"), 0),
        )
    return kind.lower()


def get_records(store: Store, container: str, arguments: Arguments) -> Response:
    """Read records of a shard."""
    limit = whole_number("limit", arguments.get("limit") or None, settings.PAGE_ITEMS_MAX)
    if limit < 1:
        text = f"InvalidArgumentException: a limit of {limit}, at least 1 is needed"
        return refused(Refusal(400, _protocol.BAD_STREAM_ARGUMENT, text), GetRecordsOutput)
    stream = _stream(store, container, arguments)
    shard = whole_number("shard_id", arguments["shard_id"], -1)
    since = sequence_at(stream, shard, arguments["location"])
    found = stream.read(shard, since=since, limit=min(limit, settings.RECORDS_MAX))
    output = filled(
        GetRecordsOutput,
        {
            "next_location": encode_location(Location(shard, found.next)),
            "msec_behind_latest": found.behind_ns // _MILLION,
            "records_behind_latest": found.left,
            "records": [_result(record) for record in found.records],
        },
    )
    return Answer(200, output, functools.partial(_records_body, output), lambda: JSON)


def _result(record: Record) -> GetRecordsResult:
    result = GetRecordsResult.__new__(GetRecordsResult)
    _, sequence, arrived_ns, data, key, info = record
    result.__dict__ = {
        "arrival_time_sec": arrived_ns // _BILLION,
        "arrival_time_nsec": arrived_ns % _BILLION,
        "sequence_number": sequence,
        "client_info": info,
        "partition_key": key,
        "data": data,
    }
    return result


def _records_body(output: GetRecordsOutput) -> bytes:
    records = [
        _protocol.record_to_json(
            record.sequence_number,
            record.arrival_time_sec,
            record.arrival_time_nsec,
            record.data or b"",
            record.partition_key,
            record.client_info,
        )
        for record in output.records
    ]
    return msgspec.json.encode(
        {
            "NextLocation": output.next_location,
            "MSecBehindLatest": output.msec_behind_latest,
            "RecordsBehindLatest": output.records_behind_latest,
            "Records": records,
        }
    )


# Writing.


def put_records(store: Store, container: str, arguments: Arguments) -> Shared:
    """Append records to a stream.

    Raises:
        KeyError: A record has no data.
    """
    records = [_new(record) for record in arguments["records"]]
    return Shared(_stream(store, container, arguments).appending(records), _appended)


def _new(record: Mapping[str, Any]) -> New:
    info, shard = record.get("client_info"), record.get("shard_id")
    return New(
        _bytes("data", record["data"]),
        None if shard is None else whole_number("shard_id", shard, 0),
        record.get("partition_key"),
        None if info is None else _bytes("client_info", info),
    )


def _bytes(what: str, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)  # pyright: ignore[reportUnknownArgumentType] a view of whatever
    raise TypeError(f"{what} is a {type(value).__name__}: give bytes or a string")


def _appended(results: list[Appended | ShardError]) -> Response:
    records = [_put_result(result) for result in results]
    failed = sum(record.error_code is not None for record in records)
    output = filled(PutRecordsOutput, {"failed_record_count": failed, "records": records})
    return Answer(200, output, functools.partial(_put_body, output), lambda: JSON)


def _put_result(result: Appended | ShardError) -> PutRecordsResult:
    if isinstance(result, Appended):
        shard, sequence = result
        code, message = None, None
    else:
        shard, sequence = None, None
        _, code, message, _ = _protocol.refusal_of(result, "put")
    fields = {
        "sequence_number": sequence,
        "shard_id": shard,
        "error_code": code,
        "error_message": message,
    }
    return filled(PutRecordsResult, fields)


def _put_body(output: PutRecordsOutput) -> bytes:
    return msgspec.json.encode(
        {
            "FailedRecordCount": output.failed_record_count,
            "Records": [
                {"SequenceNumber": record.sequence_number, "ShardId": record.shard_id}
                if record.error_code is None
                else {"ErrorCode": record.error_code, "ErrorMessage": record.error_message}
                for record in output.records
            ],
        }
    )
