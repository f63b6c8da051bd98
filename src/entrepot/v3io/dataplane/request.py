"""Requests: the arguments of an operation, and how they go over the wire.

An encoder takes the container, the access key and the arguments under their names in the
signature of the operation; it returns method, path, query, headers and body. It is also the
operation's name: a transport that does not speak HTTP looks at which encoder it is given.
"""

from __future__ import annotations

import base64
import numbers
import operator
import posixpath
from array import array
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, Final, TypeGuard, cast
from urllib.parse import quote, urlencode

import msgspec

from entrepot.v3io.common.helpers import url_join
from entrepot.v3io.dataplane import kv_array, kv_timestamp
from entrepot.v3io.dataplane.response import Expected

__all__ = [
    "Arguments",
    "Body",
    "Encoded",
    "Encoder",
    "Output",
    "Request",
    "encode_create_schema",
    "encode_create_stream",
    "encode_delete_item",
    "encode_delete_object",
    "encode_describe_stream",
    "encode_get_container_contents",
    "encode_get_containers",
    "encode_get_item",
    "encode_get_items",
    "encode_get_object",
    "encode_get_records",
    "encode_head_object",
    "encode_put_item",
    "encode_put_object",
    "encode_put_records",
    "encode_seek_shard",
    "encode_update_item",
    "encode_update_stream",
    "ensure_trailing_slash",
    "object_body",
]

Arguments = Mapping[str, Any]
Body = bytes | IO[bytes] | None
Query = dict[str, str | int] | None
Encoded = tuple[str, str, Query, dict[str, str], Body]
"""Method, path, query, headers, body."""
Encoder = Callable[[str | None, str | None, Arguments], Encoded]
Output = Callable[[Any], object] | None
"""Makes the output of an operation of a decoded body; None if it has none."""

_STRING_CHARACTERS_MAX: Final = 61199
_RETENTION_HOURS: Final = 24
_UPDATE_MODE: Final = "CreateOrReplaceAttributes"
_SEEK_TYPES: Final = ("SEQUENCE", "TIME", "EARLIEST", "LATEST")


class Request:
    """One request, encoded when it is made.

    Args:
        container: The container.
        access_key: Who asks.
        raise_for_status: When its reply raises; goes before what a batch says.
        encoder: Encodes the arguments.
        encoder_args: The arguments by name.
        output: Makes its output.
    """

    def __init__(
        self,
        container: str | None,
        access_key: str | None,
        raise_for_status: Expected,
        encoder: Encoder,
        encoder_args: Arguments,
        output: Output = None,
    ) -> None:
        self.container = container
        self.access_key = access_key
        self.raise_for_status = raise_for_status
        self.encoder = encoder
        self.encoder_args = encoder_args
        self.output = output
        self.method, self.path, self.query, self.headers, self.body = encoder(
            container, access_key, encoder_args
        )
        self.transport: object = None
        """What the transport keeps with the request while it is on its way."""
        self._body_start = _position(self.body)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.encode_path()}>"

    def encode_path(self) -> str:
        """Return path and query as the target of a request."""
        path = quote(self.path)
        if not self.query:
            return path
        return f"{path}?{urlencode(self.query, quote_via=quote, safe='')}"

    def rewind_body(self) -> bool:
        """Go back to where the body began; say whether the request can be sent once more."""
        if self.body is None or isinstance(self.body, bytes):
            return True
        if self._body_start is None or getattr(self.body, "closed", False):
            return False
        self.body.seek(self._body_start)
        return True


# Containers and objects.


def encode_get_containers(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """List the containers: no arguments."""
    return "GET", "/", None, _headers(access_key), None


def encode_get_container_contents(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """List a directory: path, get_all_attributes, directories_only, limit, marker."""
    query: dict[str, str | int] = {"prefix": kwargs["path"]}
    if kwargs.get("get_all_attributes"):
        query["prefix-info"] = 1
    if kwargs.get("directories_only"):
        query["prefix-only"] = 1
    if kwargs.get("limit") is not None:
        query["max-keys"] = kwargs["limit"]
    if kwargs.get("marker"):
        query["marker"] = kwargs["marker"]
    return "GET", url_join(container_name or ""), query, _headers(access_key), None


def encode_head_object(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Look whether there is an object: path."""
    return "HEAD", _path(container_name, kwargs["path"]), None, _headers(access_key), None


def encode_get_object(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Read an object: path, offset, num_bytes."""
    headers = _headers(access_key)
    offset, size = kwargs.get("offset"), kwargs.get("num_bytes")
    if size:
        start = offset or 0
        headers["Range"] = f"bytes={start}-{start + size - 1}"
    elif offset:
        headers["Range"] = f"bytes={offset}"  # without a dash: to the end, for these servers
    return "GET", _path(container_name, kwargs["path"]), None, headers, None


def encode_put_object(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Write an object: path, body, append."""
    headers = _headers(access_key)
    if kwargs.get("append"):
        headers["Range"] = "-1"
    else:
        headers["Content-Type"] = "application-octet-stream"
    body = kwargs.get("body")
    if isinstance(body, dict):
        headers["Content-Type"] = "application/json"
    return "PUT", _path(container_name, kwargs["path"]), None, headers, object_body(body)


def object_body(body: Any) -> Any:
    """Return the bytes of an object; what they are read from is returned as it is."""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, dict):  # the original sends all that are dicts as JSON
        return _JSON.encode(body)
    if body is None or isinstance(body, bytes) or hasattr(body, "read"):
        return body
    try:
        return memoryview(body).tobytes()
    except TypeError:
        return body  # pieces


def encode_delete_object(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Delete an object or an empty directory: path."""
    return "DELETE", _path(container_name, kwargs["path"]), None, _headers(access_key), None


# Items.


def encode_put_item(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Replace the attributes of an item: table_path, key, attributes, condition."""
    body: dict[str, object] = {"Item": _encode_attributes(kwargs["attributes"])}
    if kwargs.get("condition") is not None:
        body["ConditionExpression"] = kwargs["condition"]
    path = _item_path(container_name, kwargs)
    return _function("PUT", path, access_key, "PutItem", body)


def encode_update_item(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Change an item.

    Arguments: table_path, key, attributes, expression, condition, update_mode,
    alternate_expression.

    Raises:
        RuntimeError: There are neither attributes nor an expression.
    """
    attributes, expression = kwargs.get("attributes"), kwargs.get("expression")
    alternate = kwargs.get("alternate_expression")
    if not attributes and not expression:
        raise RuntimeError("One of expression or attributes must be populated for update item")
    body: dict[str, object] = {"UpdateMode": kwargs.get("update_mode") or _UPDATE_MODE}
    if kwargs.get("condition") is not None:
        body["ConditionExpression"] = kwargs["condition"]
    if expression:
        body["UpdateExpression"] = expression
    path = _item_path(container_name, kwargs)
    if attributes and not alternate:
        body["Item"] = _encode_attributes(attributes)
        return _function("PUT", path, access_key, "PutItem", body)
    if alternate:
        body["AlternateUpdateExpression"] = alternate
    return _function("POST", path, access_key, "UpdateItem", body)


def encode_get_item(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Read an item: table_path, key, attribute_names."""
    body = {"AttributesToGet": _names(kwargs["attribute_names"])}
    return _function("PUT", _item_path(container_name, kwargs), access_key, "GetItem", body)


def encode_get_items(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Read a page of a table.

    Arguments: table_path, table_name, attribute_names, filter_expression, marker, sharding_key,
    limit, segment, total_segments, sort_key_range_start, sort_key_range_end.
    """
    body: dict[str, object] = {"AttributesToGet": _names(kwargs["attribute_names"])}
    for name, field in _SCAN:
        if kwargs.get(name) not in (None, ""):
            body[field] = kwargs[name]
    path = _path(container_name, ensure_trailing_slash(kwargs["table_path"]))
    return _function("PUT", path, access_key, "GetItems", body)


_SCAN: Final = (
    ("table_name", "TableName"),
    ("filter_expression", "FilterExpression"),
    ("marker", "Marker"),
    ("sharding_key", "ShardingKey"),
    ("limit", "Limit"),
    ("segment", "Segment"),
    ("total_segments", "TotalSegment"),
    ("sort_key_range_start", "SortKeyRangeStart"),
    ("sort_key_range_end", "SortKeyRangeEnd"),
)


def encode_delete_item(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Delete an item, which is an object: table_path, key."""
    return "DELETE", _item_path(container_name, kwargs), None, _headers(access_key), None


def encode_create_schema(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Write the object that describes a table: table_path, key, fields."""
    path = _join(kwargs["table_path"], ".#schema")
    schema = {"hashingBucketNum": 0, "key": kwargs.get("key"), "fields": kwargs.get("fields")}
    body = _JSON.encode(schema)
    return encode_put_object(container_name, access_key, {"path": path, "body": body})


# Streams.


def encode_create_stream(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Make a stream: stream_path, shard_count, retention_period_hours."""
    body = {
        "ShardCount": kwargs["shard_count"],
        "RetentionPeriodHours": kwargs.get("retention_period_hours") or _RETENTION_HOURS,
    }
    path = _stream_path(container_name, kwargs)
    return _function("POST", path, access_key, "CreateStream", body)


def encode_update_stream(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Add shards to a stream: stream_path, shard_count."""
    body = {"ShardCount": kwargs["shard_count"]}
    path = _stream_path(container_name, kwargs)
    return _function("POST", path, access_key, "UpdateStream", body)


def encode_describe_stream(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Ask what a stream was made with: stream_path."""
    path = _stream_path(container_name, kwargs)
    return _function("PUT", path, access_key, "DescribeStream", None)


def encode_seek_shard(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Ask for a location in a shard.

    Arguments: stream_path, shard_id, seek_type, starting_sequence_number, timestamp_sec,
    timestamp_nsec.

    Raises:
        ValueError: There is no such type.
    """
    seek_type = kwargs["seek_type"]
    if seek_type not in _SEEK_TYPES:
        raise ValueError(
            f"Unsupported seek_type ({seek_type}) for seek_shard. "
            f"Must be one of {', '.join(_SEEK_TYPES)}"
        )
    body: dict[str, object] = {"Type": seek_type}
    if seek_type == "SEQUENCE":
        body["StartingSequenceNumber"] = kwargs.get("starting_sequence_number")
    elif seek_type == "TIME":
        body["TimestampSec"] = kwargs.get("timestamp_sec")
        body["TimestampNSec"] = kwargs.get("timestamp_nsec")
    return _function("PUT", _shard_path(container_name, kwargs), access_key, "SeekShard", body)


def encode_put_records(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Append records to a stream: stream_path, records.

    Raises:
        KeyError: A record has no data.
    """
    body = {"Records": [_encode_record(record) for record in kwargs["records"]]}
    path = _stream_path(container_name, kwargs)
    return _function("POST", path, access_key, "PutRecords", body)


def encode_get_records(
    container_name: str | None, access_key: str | None, kwargs: Arguments
) -> Encoded:
    """Read records of a shard: stream_path, shard_id, location, limit."""
    body = {"Location": kwargs["location"]}
    if kwargs.get("limit"):
        body["Limit"] = kwargs["limit"]
    return _function("PUT", _shard_path(container_name, kwargs), access_key, "GetRecords", body)


# Paths.


def ensure_trailing_slash(path: str) -> str:
    """Return a path as that of a directory."""
    return path if path.endswith("/") else f"{path}/"


def _path(container: str | None, path: str) -> str:
    return url_join(container or "", path)


def _join(table_path: str, key: str) -> str:
    return posixpath.join(table_path, key)


def _item_path(container: str | None, kwargs: Arguments) -> str:
    return _path(container, _join(kwargs["table_path"], kwargs["key"]))


def _stream_path(container: str | None, kwargs: Arguments) -> str:
    return _path(container, ensure_trailing_slash(kwargs["stream_path"]))


def _shard_path(container: str | None, kwargs: Arguments) -> str:
    shard = f"{kwargs['shard_id']}/"
    return _path(container, ensure_trailing_slash(kwargs["stream_path"]) + shard)


def _position(body: Body) -> int | None:
    """Return where a file is read from; None if it cannot go back, or there is no file."""
    if body is None or isinstance(body, bytes):
        return None
    try:
        return body.tell() if body.seekable() else None
    except (AttributeError, OSError):
        return None  # an iterable, or something that only reads


# Headers and bodies.


def _headers(access_key: str | None) -> dict[str, str]:
    return {} if access_key is None else {"X-v3io-session-key": access_key}


def _function(
    method: str, path: str, access_key: str | None, name: str, body: Mapping[str, object] | None
) -> Encoded:
    headers = {"X-v3io-function": name, **_headers(access_key)}
    if body is None:
        return method, path, None, headers, None
    headers["Content-Type"] = "application/json"
    return method, path, None, headers, _JSON.encode(body)


_JSON: Final = msgspec.json.Encoder(enc_hook=operator.index)  # numpy's integers are not ints


def _names(attribute_names: str | Sequence[str]) -> str:
    return attribute_names if isinstance(attribute_names, str) else ",".join(attribute_names)


def _encode_record(record: Mapping[str, Any]) -> dict[str, object]:
    encoded: dict[str, object] = {"Data": _base64(record["data"])}
    if record.get("client_info") is not None:
        encoded["ClientInfo"] = _base64(record["client_info"])
    if record.get("shard_id") is not None:
        encoded["ShardId"] = record["shard_id"]
    if record.get("partition_key") is not None:
        encoded["PartitionKey"] = record["partition_key"]
    return encoded


def _base64(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def _encode_attributes(attributes: Mapping[str, object]) -> dict[str, dict[str, object]]:
    for name in attributes:
        # json would make a text of a number.
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] of users
            raise TypeError(f"an attribute is named {name!r}, a {type(name).__name__}")
    return {name: _encode_attribute(name, value) for name, value in attributes.items()}


def _encode_attribute(name: str, value: object) -> dict[str, object]:
    if isinstance(value, str):
        if len(value) > _STRING_CHARACTERS_MAX:
            raise AttributeError(
                f"Attribute {name} is too long({len(value)} bytes) "
                f"when max is {_STRING_CHARACTERS_MAX} bytes"
            )
        return {"S": str.__str__(value)}  # the text of a subclass, whatever it shows
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, bytes | bytearray):
        return {"B": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"TS": kv_timestamp.encode(value)}
    if isinstance(value, list):
        return {"B": kv_array.encode_list(cast("list[float]", value)).decode()}
    if _is_array_of_numbers(value):
        return {"B": kv_array.encode_array(value, value.typecode).decode()}
    scalar = _scalar(value)
    if scalar is None:
        raise AttributeError(f"Attribute {name} has unsupported type {type(value)}")
    return {"BOOL": scalar} if isinstance(scalar, bool) else {"N": str(scalar)}


def _is_array_of_numbers(value: object) -> TypeGuard[array[float]]:
    return isinstance(value, array) and value.typecode in kv_array.TYPECODES


def _scalar(value: object) -> float | None:
    """Return a number, also one of numpy, as Python's; None if it is none.

    A duration of numpy says that it is an integer, but has no index; a point in time has an
    item that is a number, but is none.
    """
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, numbers.Integral):
        try:
            return operator.index(value)
        except TypeError:
            return None
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational):
        return float(value)
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        inner = item()
        return inner if isinstance(inner, bool) else None
    return None
