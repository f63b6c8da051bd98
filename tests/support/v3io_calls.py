"""Operations of v3io, and what each sends: `protocols/v3io.md`, parts 2 and 3.9, as data."""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

__all__ = ["BATCHED", "CALLS", "Call", "find_call"]

KEY = "X-v3io-session-key"


@dataclass(frozen=True)
class Call:
    """One operation with arguments, and the request that goes over the wire."""

    id: str
    model: str
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])
    method: str = "PUT"
    target: str = ""
    function: str | None = None
    body: Any = b""  # bytes as they are, others as JSON
    headers: dict[str, str] = field(default_factory=dict[str, str])

    def on(self, client: Any) -> Any:
        """Call it: on a client, an asynchronous one or a batch."""
        return getattr(getattr(client, self.model), self.name)(*self.args, **self.kwargs)

    @property
    def body_bytes(self) -> bytes:
        """The body that it sends."""
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body, separators=(",", ":"), ensure_ascii=False).encode()


def list_(id: str, path: str, query: str, **kwargs: Any) -> Call:
    target = f"/bigdata?prefix={query}"
    return Call(id, "container", "list", ("bigdata", path), kwargs, "GET", target)


def object_(id: str, name: str, method: str, target: str, **kwargs: Any) -> Call:
    headers = kwargs.pop("sends", {})
    body = kwargs.pop("sends_body", b"")
    path = kwargs.pop("path", "o/x")
    return Call(id, "object", name, ("bigdata", path), kwargs, method, target, None, body, headers)


def item(id: str, name: str, body: Any, *args: Any, function: str, **kwargs: Any) -> Call:
    method = "POST" if function == "UpdateItem" else "PUT"
    args = ("bigdata", "dir/tbl", "k1", *args)
    return Call(id, "kv", name, args, kwargs, method, "/bigdata/dir/tbl/k1", function, body)


def scan(id: str, path: str, target: str, body: Any, **kwargs: Any) -> Call:
    return Call(id, "kv", "scan", ("bigdata", path), kwargs, "PUT", target, "GetItems", body)


def stream(
    id: str, name: str, method: str, function: str, body: Any, *args: Any, **kwargs: Any
) -> Call:
    shard = "1/" if name in ("seek", "get_records") else ""
    target = f"/bigdata/st/s1/{shard}"
    path = kwargs.pop("path", "st/s1")
    return Call(
        id, "stream", name, ("bigdata", path, *args), kwargs, method, target, function, body
    )


OCTETS = {"Content-Type": "application-octet-stream"}
ATTRIBUTES = {
    "i": 1,
    "f": 1.5,
    "s": "x",
    "b": b"\x00\x01",
    "t": True,
    "li": [1, 2],
    "lf": [1.0, 2.5],
    "ts": datetime(2020, 1, 2, 3, 4, 5, 678901, UTC),
    "el": [],
}
ENCODED = {
    "i": {"N": "1"},
    "f": {"N": "1.5"},
    "s": {"S": "x"},
    "b": {"B": "AAE="},
    "t": {"BOOL": True},
    "li": {"B": "MEGrAAEAAAAQAAAAAwEAAAEAAAAAAAAAAgAAAAAAAAA="},
    "lf": {"B": "MEGrAAEAAAAQAAAABQEAAAAAAAAAAPA/AAAAAAAABEA="},
    "ts": {"TS": "1577934245:678900957"},
    "el": {"B": "MEGrAAEAAAAAAAAAAwEAAA=="},
}
MERGE = "CreateOrReplaceAttributes"
SCAN_ALL = {
    "table_name": "dir/tbl",
    "filter_expression": "age > 1",
    "marker": "m",
    "sharding_key": "s",
    "limit": 0,
    "segment": 0,
    "total_segments": 2,
    "sort_key_range_start": "a",
    "sort_key_range_end": "b",
}
SCAN_ALL_BODY = {
    "AttributesToGet": "a,b",
    "TableName": "dir/tbl",
    "FilterExpression": "age > 1",
    "Marker": "m",
    "ShardingKey": "s",
    "Limit": 0,
    "Segment": 0,
    "TotalSegment": 2,
    "SortKeyRangeStart": "a",
    "SortKeyRangeEnd": "b",
}
RECORDS = [
    {"data": "a", "client_info": "ci", "shard_id": 1, "partition_key": "pk"},
    {"data": b"\x00", "partition_key": "p"},
    {"data": "x", "shard_id": 77},
    {"data": "z"},
    {"data": "ä", "shard_id": 0, "client_info": None},
]
RECORDS_BODY = {
    "Records": [
        {"Data": "YQ==", "ClientInfo": "Y2k=", "ShardId": 1, "PartitionKey": "pk"},
        {"Data": "AA==", "PartitionKey": "p"},
        {"Data": "eA==", "ShardId": 77},
        {"Data": "eg=="},
        {"Data": "w6Q=", "ShardId": 0},
    ]
}
FIELDS = [{"name": "age", "type": "long", "nullable": True}]
SCHEMA_BODY = {"hashingBucketNum": 0, "key": "id", "fields": FIELDS}

CALLS = [
    list_("list", "d", "d"),
    list_("list_root", "", ""),
    list_(
        "list_everything",
        "some dir/",
        "some%20dir%2F&prefix-info=1&prefix-only=1&max-keys=5&marker=a%2Fb",
        get_all_attributes=True,
        directories_only=True,
        limit=5,
        marker="a/b",
    ),
    list_(
        "list_switched_off",
        "d",
        "d",
        get_all_attributes=False,
        directories_only=False,
        marker="",
    ),
    object_("head", "head", "HEAD", "/bigdata/o/x"),
    object_("get", "get", "GET", "/bigdata/o/x"),
    object_("get_odd_name", "get", "GET", "/bigdata/o/%C3%A4%20b%23%25.txt", path="o/ä b#%.txt"),
    object_("get_rooted", "get", "GET", "/bigdata/o/x", path="/o/x"),
    object_("get_offset_0", "get", "GET", "/bigdata/o/x", offset=0),
    object_("get_offset", "get", "GET", "/bigdata/o/x", offset=2, sends={"Range": "bytes=2"}),
    object_(
        "get_range",
        "get",
        "GET",
        "/bigdata/o/x",
        offset=2,
        num_bytes=3,
        sends={"Range": "bytes=2-4"},
    ),
    object_("get_head_of", "get", "GET", "/bigdata/o/x", num_bytes=3, sends={"Range": "bytes=0-2"}),
    object_(
        "put_text",
        "put",
        "PUT",
        "/bigdata/o/x",
        body="ä",
        sends=OCTETS,
        sends_body=b"\xc3\xa4",
    ),
    object_("put_bytes", "put", "PUT", "/bigdata/o/x", body=b"\x00", sends_body=b"\x00"),
    object_("put_nothing", "put", "PUT", "/bigdata/o/x", sends=OCTETS),
    object_("put_directory", "put", "PUT", "/bigdata/d/", path="d/"),
    object_(
        "put_append",
        "put",
        "PUT",
        "/bigdata/o/x",
        body="AB",
        append=True,
        sends={"Range": "-1"},
        sends_body=b"AB",
    ),
    object_("delete", "delete", "DELETE", "/bigdata/o/x"),
    item("kv_put", "put", {"Item": ENCODED}, ATTRIBUTES, function="PutItem"),
    item(
        "kv_put_if",
        "put",
        {"Item": {"a": {"N": "1"}}, "ConditionExpression": ""},
        {"a": 1},
        function="PutItem",
        condition="",
    ),
    item(
        "kv_put_array",
        "put",
        {"Item": {"a": {"B": "MEGrAAEAAAAIAAAAAwEAAAcAAAAAAAAA"}}},
        {"a": array("i", [7])},
        function="PutItem",
    ),
    item(
        "kv_update_attributes",
        "update",
        {"UpdateMode": MERGE, "ConditionExpression": "x", "Item": {"a": {"N": "1"}}},
        function="PutItem",
        attributes={"a": 1},
        condition="x",
    ),
    item(
        "kv_update_expression",
        "update",
        {"UpdateMode": "CreateNewItemOnly", "UpdateExpression": "n = 1"},
        function="UpdateItem",
        expression="n = 1",
        update_mode="CreateNewItemOnly",
    ),
    item(
        "kv_update_alternate",
        "update",
        {
            "UpdateMode": MERGE,
            "ConditionExpression": "n == 100",
            "UpdateExpression": "n = 1",
            "AlternateUpdateExpression": "n = 2",
        },
        function="UpdateItem",
        attributes={"a": 1},
        expression="n = 1",
        condition="n == 100",
        alternate_expression="n = 2",
    ),
    item(
        "kv_update_both",
        "update",
        {"UpdateMode": MERGE, "UpdateExpression": "n = 1", "Item": {"a": {"N": "1"}}},
        function="PutItem",
        attributes={"a": 1},
        expression="n = 1",
    ),
    item("kv_get", "get", {"AttributesToGet": "*"}, function="GetItem"),
    item(
        "kv_get_names",
        "get",
        {"AttributesToGet": "i,__size,nope"},
        function="GetItem",
        attribute_names=["i", "__size", "nope"],
    ),
    item(
        "kv_get_one_name",
        "get",
        {"AttributesToGet": "age"},
        function="GetItem",
        attribute_names="age",
    ),
    item(
        "kv_get_everything",
        "get",
        {"AttributesToGet": "**"},
        function="GetItem",
        attribute_names="**",
    ),
    scan("kv_scan", "dir/tbl", "/bigdata/dir/tbl/", {"AttributesToGet": "*"}),
    scan(
        "kv_scan_named",
        "",
        "/bigdata/",
        {"AttributesToGet": "*", "TableName": "dir/tbl"},
        table_name="dir/tbl",
    ),
    scan(
        "kv_scan_everything",
        "/",
        "/bigdata/",
        SCAN_ALL_BODY,
        attribute_names=("a", "b"),
        **SCAN_ALL,
    ),
    scan(
        "kv_scan_empty_texts",
        "t/",
        "/bigdata/t/",
        {"AttributesToGet": "*"},
        table_name="",
        filter_expression="",
        marker="",
        sharding_key="",
    ),
    Call(
        "kv_delete",
        "kv",
        "delete",
        ("bigdata", "dir/tbl", "k1"),
        {},
        "DELETE",
        "/bigdata/dir/tbl/k1",
    ),
    Call(
        "kv_rooted_key", "kv", "delete", ("bigdata", "dir/tbl", "/k1"), {}, "DELETE", "/bigdata/k1"
    ),
    Call(
        "kv_create_schema",
        "kv",
        "create_schema",
        ("bigdata", "dir/tbl"),
        {"key": "id", "fields": FIELDS},
        "PUT",
        "/bigdata/dir/tbl/.%23schema",
        None,
        SCHEMA_BODY,
        OCTETS,
    ),
    stream(
        "create",
        "create",
        "POST",
        "CreateStream",
        {"ShardCount": 8, "RetentionPeriodHours": 24},
        8,
    ),
    stream(
        "create_retaining",
        "create",
        "POST",
        "CreateStream",
        {"ShardCount": 8, "RetentionPeriodHours": 3},
        8,
        path="st/s1/",
        retention_period_hours=3,
    ),
    stream("update", "update", "POST", "UpdateStream", {"ShardCount": 9}, 9),
    stream("describe", "describe", "PUT", "DescribeStream", b""),
    stream("put_records", "put_records", "POST", "PutRecords", RECORDS_BODY, RECORDS),
    stream("seek_earliest", "seek", "PUT", "SeekShard", {"Type": "EARLIEST"}, 1, "EARLIEST"),
    stream("seek_latest", "seek", "PUT", "SeekShard", {"Type": "LATEST"}, 1, "LATEST"),
    stream(
        "seek_sequence",
        "seek",
        "PUT",
        "SeekShard",
        {"Type": "SEQUENCE", "StartingSequenceNumber": 5},
        1,
        "SEQUENCE",
        starting_sequence_number=5,
    ),
    stream(
        "seek_time",
        "seek",
        "PUT",
        "SeekShard",
        {"Type": "TIME", "TimestampSec": 1, "TimestampNSec": None},
        1,
        "TIME",
        timestamp_sec=1,
    ),
    stream("get_records", "get_records", "PUT", "GetRecords", {"Location": "L"}, 1, "L", limit=0),
    stream(
        "get_records_limited",
        "get_records",
        "PUT",
        "GetRecords",
        {"Location": "MDAwMDAwMDA=", "Limit": 1},
        1,
        "MDAwMDAwMDA=",
        limit=1,
    ),
]

BATCHED = [
    call
    for call in CALLS
    if (call.model, call.name) not in {("object", "head"), ("kv", "create_schema")}
]


def find_call(id: str) -> Call:
    """Return the call of that id."""
    return next(call for call in CALLS if call.id == id)
