"""Operations on streams."""

from __future__ import annotations

from typing import Any, Final

from entrepot import settings
from entrepot.gateways.http import bodies
from entrepot.gateways.http.handles import Handles, path_of
from entrepot.gateways.http.messages import Outcome, Reply, Request, Write, json_reply, refuse
from entrepot.gateways.http.targets import below
from entrepot.layers.attributes import Timestamp
from entrepot.layers.streams import Stream, core
from entrepot.v3io._protocol import (
    BAD_STREAM_ARGUMENT,
    SHARD_OUT_OF_RANGE,
    Location,
    encode_location,
    record_to_json,
    refusal_of,
    sequence_at,
)

__all__ = [
    "create_stream",
    "describe_stream",
    "get_records",
    "put_records",
    "seek_shard",
    "update_stream",
]

_BILLION: Final = 1_000_000_000
_HOUR_S: Final = 3600


def _bad(text: str) -> Exception:
    return refuse(400, BAD_STREAM_ARGUMENT, f"InvalidArgumentException: {text}")


def _stream(handles: Handles, request: Request, name: str | None) -> Stream:
    path = below(request.path, name) if name else request.path
    if not path:
        raise _bad("the path names no stream")
    return handles.stream(request.container, path)


def create_stream(handles: Handles, request: Request) -> Outcome:
    """Make a stream."""
    asked = bodies.read_body(bodies.CreateStream, request.body)
    hours = asked.retention_period_hours
    retention_s = settings.RETENTION_S_DEFAULT if hours is None else hours * _HOUR_S
    stream = _stream(handles, request, asked.stream_name)
    return Write(stream.creating(asked.shard_count, retention_s), _done)


def update_stream(handles: Handles, request: Request) -> Outcome:
    """Add shards to a stream."""
    asked = bodies.read_body(bodies.UpdateStream, request.body)
    return Write(_stream(handles, request, asked.stream_name).resizing(asked.shard_count), _done)


def _done(result: object) -> Reply:
    return Reply(204)


def describe_stream(handles: Handles, request: Request) -> Outcome:
    """Answer what a stream is."""
    asked = bodies.read_body(bodies.StreamOnly, request.body)
    stream = _stream(handles, request, asked.stream_name)
    found = handles.engine.read(core.describe, stream.container, stream.path)
    return json_reply(
        {"ShardCount": found.shards, "RetentionPeriodHours": found.retention_s // _HOUR_S}
    )


def put_records(handles: Handles, request: Request) -> Outcome:
    """Append records; each is answered on its own."""
    asked = bodies.read_body(bodies.PutRecords, request.body)
    stream = _stream(handles, request, asked.stream_name)
    records = [
        core.New(each.data, each.shard_id, each.partition_key, each.client_info)
        for each in asked.records
    ]
    if not records:
        handles.engine.read(core.describe, stream.container, stream.path)  # it must be there
        return _put_reply([])
    return Write(stream.appending(records), _put_reply)


def _put_reply(results: list[core.Appended | core.ShardError]) -> Reply:
    records: list[dict[str, Any]] = []
    failed = 0
    for result in results:
        if isinstance(result, core.Appended):
            records.append({"SequenceNumber": result.sequence, "ShardId": result.shard})
        else:
            failed += 1
            _, code, message, _ = refusal_of(result, "put")
            records.append({"ErrorCode": code, "ErrorMessage": message})
    return json_reply({"FailedRecordCount": failed, "Records": records})


# Reading.


def _shard(
    handles: Handles, request: Request, name: str | None, shard: int | None
) -> tuple[Stream, int]:
    """Return a stream and the number of a shard: in the body, or at the end of the path."""
    if shard is not None:
        return _stream(handles, request, name), shard
    path = below(request.path, name) if name else request.path
    directory, last = path_of(path)
    if not directory:
        raise _bad("the path names no shard of a stream")
    stream = handles.stream(request.container, directory)
    if last.isascii() and last.isdigit() and len(last) < 10:
        return stream, int(last)
    handles.engine.read(core.describe, stream.container, stream.path)  # it must be there
    raise refuse(400, SHARD_OUT_OF_RANGE, f"ShardIDOutOfRangeException: {last[:60]!r} is no shard")


def seek_shard(handles: Handles, request: Request) -> Outcome:
    """Answer where to begin in a shard."""
    asked = bodies.read_body(bodies.Seek, request.body)
    stream, shard = _shard(handles, request, asked.stream_name, asked.shard_id)
    sequence = stream.seek(shard, _since(asked))  # pyright: ignore[reportArgumentType] it takes a Timestamp too
    return json_reply({"Location": encode_location(Location(shard, sequence))})


def _since(asked: bodies.Seek) -> int | str | Timestamp:
    kind = asked.type
    if kind in ("EARLIEST", "LATEST"):
        return kind.lower()
    if kind == "SEQUENCE":
        if asked.starting_sequence_number is None:
            raise _bad("the field StartingSequenceNumber is missing")
        return asked.starting_sequence_number
    if kind == "TIME":
        if asked.timestamp_sec is None:
            raise _bad("the field TimestampSec is missing")
        return Timestamp(asked.timestamp_sec, asked.timestamp_n_sec or 0)
    raise _bad(f"Type is {kind[:60]!r}, not EARLIEST, LATEST, TIME or SEQUENCE")


def get_records(handles: Handles, request: Request) -> Outcome:
    """Answer records of a shard from a location on."""
    asked = bodies.read_body(bodies.GetRecords, request.body)
    stream, shard = _shard(handles, request, asked.stream_name, asked.shard_id)
    limit = 1000 if asked.limit is None else asked.limit
    if limit < 1:
        raise _bad(f"Limit is {limit}, at least 1 is needed")
    since = sequence_at(stream, shard, asked.location)
    found = stream.read(shard, since=since, limit=min(limit, settings.RECORDS_MAX))
    return json_reply(
        {
            "NextLocation": encode_location(Location(shard, found.next)),
            "MSecBehindLatest": found.behind_ns // 1_000_000,
            "RecordsBehindLatest": found.left,
            "Records": [_record(record) for record in found.records],
        }
    )


def _record(record: core.Record) -> dict[str, Any]:
    seconds, nanoseconds = divmod(record.arrived_ns, _BILLION)
    return record_to_json(
        record.sequence, seconds, nanoseconds, record.data, record.key, record.info
    )
