"""The outputs of operations: bodies of replies as attributes.

Each class takes the decoded body. JSON is a dict: also the error of a server, in which all
that is looked for is missing. XML is its root element.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final
from xml.etree.ElementTree import Element

from entrepot.v3io.dataplane import kv_array, kv_timestamp

__all__ = [
    "Container",
    "ContainerCommonPrefix",
    "ContainerContent",
    "DescribeStreamOutput",
    "GetContainerContentsOutput",
    "GetContainersOutput",
    "GetItemOutput",
    "GetItemsOutput",
    "GetRecordsOutput",
    "GetRecordsResult",
    "PutRecordsOutput",
    "PutRecordsResult",
    "SeekShardOutput",
]

Json = dict[str, Any]
Item = dict[str, Any]


class _Output:
    """Shows its attributes."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({shown})"


class _OfJson(_Output):
    """Made of JSON only: a reply in XML is an error of some other server."""

    json_only = True


class Container(_Output):
    """One container."""

    def __init__(self, name: str | None, creation_date: str | None, identifier: int) -> None:
        self.name = name
        self.creation_date = creation_date
        self.identifier = identifier


class GetContainersOutput(_Output):
    """The containers; or `error`, the error of the server."""

    containers: list[Container]
    error: Json

    def __init__(self, root: Element | Json) -> None:
        if isinstance(root, dict):
            self.error = root
            return
        self.containers = [
            Container(
                bucket.findtext("Name"),
                bucket.findtext("CreationDate"),
                int(bucket.findtext("Id", "0")),
            )
            for bucket in root.findall("Buckets/Bucket")
        ]


_Read = Callable[[str], object]

_ENTRY: Final[dict[str, tuple[str, _Read]]] = {
    "LastModified": ("last_modified", str),
    "AccessTime": ("access_time", str),
    "CreatingTime": ("creating_time", str),
    "Mode": ("mode", str),
    "GID": ("gid", str),
    "UID": ("uid", str),
    "InodeNumber": ("inode_number", int),
}
_CONTENT: Final[dict[str, tuple[str, _Read]]] = _ENTRY | {
    "Key": ("key", str),
    "Size": ("size", int),
    "LastSequenceID": ("last_sequence_id", int),
}
_PREFIX: Final[dict[str, tuple[str, _Read]]] = _ENTRY | {"Prefix": ("prefix", str)}


class _Entry(_Output):
    """What a listing may tell of a file or directory; what it does not is no attribute."""

    last_modified: str
    access_time: str
    creating_time: str
    mode: str
    gid: str
    uid: str
    inode_number: int

    def _read(self, element: Element, attributes: dict[str, tuple[str, _Read]]) -> None:
        for child in element:
            known = attributes.get(child.tag)
            if known is not None:
                name, read = known
                setattr(self, name, read(child.text or ""))


class ContainerContent(_Entry):
    """A file in a directory."""

    key: str
    size: int
    last_sequence_id: int

    def __init__(self, root: Element) -> None:
        self._read(root, _CONTENT)


class ContainerCommonPrefix(_Entry):
    """A directory in a directory."""

    prefix: str

    def __init__(self, root: Element) -> None:
        self._read(root, _PREFIX)


class GetContainerContentsOutput(_Output):
    """One page of a directory; or `error`, the error of the server. Texts are as they were sent."""

    name: str | None
    next_marker: str | None
    max_keys: str | None
    is_truncated: str | None
    contents: list[ContainerContent]
    common_prefixes: list[ContainerCommonPrefix]
    error: Json

    def __init__(self, root: Element | Json) -> None:
        if isinstance(root, dict):
            self.error = root
            return
        self.name = _text(root, "Name")
        self.next_marker = _text(root, "NextMarker")
        self.max_keys = _text(root, "MaxKeys")
        self.is_truncated = _text(root, "IsTruncated")
        self.contents = [ContainerContent(element) for element in root.findall("Contents")]
        self.common_prefixes = [
            ContainerCommonPrefix(element) for element in root.findall("CommonPrefixes")
        ]


class GetItemOutput(_OfJson):
    """One item: its attributes by name."""

    def __init__(self, decoded_body: Json) -> None:
        self.item = _item(decoded_body.get("Item", {}))


class GetItemsOutput(_OfJson):
    """One page of items; `last` if no other follows, else `next_marker` asks for it."""

    def __init__(self, decoded_body: Json) -> None:
        self.last = decoded_body.get("LastItemIncluded") == "TRUE"
        self.next_marker: str | None = decoded_body.get("NextMarker")
        self.items = [_item(item) for item in decoded_body.get("Items", [])]


class DescribeStreamOutput(_OfJson):
    """What a stream was made or updated with."""

    def __init__(self, decoded_body: Json) -> None:
        self.shard_count: int | None = decoded_body.get("ShardCount")
        self.retention_period_hours: int | None = decoded_body.get("RetentionPeriodHours")


class SeekShardOutput(_OfJson):
    """Where to read from: opaque, for `get_records`."""

    def __init__(self, decoded_body: Json) -> None:
        self.location: str | None = decoded_body.get("Location")


class PutRecordsResult(_Output):
    """What became of one record: where it is, or why it is not."""

    def __init__(self, decoded_body: Json) -> None:
        self.sequence_number: int | None = decoded_body.get("SequenceNumber")
        self.shard_id: int | None = decoded_body.get("ShardId")
        self.error_code: int | None = decoded_body.get("ErrorCode")
        self.error_message: str | None = decoded_body.get("ErrorMessage")


class PutRecordsOutput(_OfJson):
    """What became of the records, in their order."""

    def __init__(self, decoded_body: Json) -> None:
        self.failed_record_count: int | None = decoded_body.get("FailedRecordCount")
        self.records = [PutRecordsResult(record) for record in decoded_body.get("Records", [])]


class GetRecordsResult(_Output):
    """One record; data and client_info are bytes."""

    def __init__(self, decoded_body: Json) -> None:
        self.arrival_time_sec: int | None = decoded_body.get("ArrivalTimeSec")
        self.arrival_time_nsec: int | None = decoded_body.get("ArrivalTimeNSec")
        self.sequence_number: int | None = decoded_body.get("SequenceNumber")
        self.client_info = _bytes(decoded_body.get("ClientInfo"))
        self.partition_key: str | None = decoded_body.get("PartitionKey")
        self.data = _bytes(decoded_body.get("Data"))


class GetRecordsOutput(_OfJson):
    """Records of one shard, and the location after them."""

    def __init__(self, decoded_body: Json) -> None:
        self.next_location: str | None = decoded_body.get("NextLocation")
        self.msec_behind_latest: int | None = decoded_body.get("MSecBehindLatest")
        self.records_behind_latest: int | None = decoded_body.get("RecordsBehindLatest")
        self.records = [GetRecordsResult(record) for record in decoded_body.get("Records", [])]


def _text(root: Element, tag: str) -> str | None:
    element = root.find(tag)
    return None if element is None else element.text


def _bytes(encoded: str | None) -> bytes | None:
    return None if encoded is None else base64.b64decode(encoded)


def _item(encoded: dict[str, dict[str, Any]]) -> Item:
    return {name: _value(typed) for name, typed in encoded.items()}


def _value(typed: dict[str, Any]) -> Any:
    """Return the value of an attribute; one of an unknown type as it was sent."""
    for kind, value in typed.items():
        decode = _DECODERS.get(kind)
        return value if decode is None else decode(value)
    raise ValueError("an attribute has neither type nor value")


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _blob(encoded: str) -> bytes | list[float]:
    blob = base64.b64decode(encoded)
    if kv_array.is_array(blob):
        try:
            return kv_array.decode(blob)
        except ValueError:
            pass  # bytes that begin like an array
    return blob


_DECODERS: Final[dict[str, Callable[[Any], object]]] = {
    "N": _number,
    "B": _blob,
    "TS": kv_timestamp.decode,
}
