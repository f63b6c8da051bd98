"""The error table of the web API (`protocols/v3io.md`, 3.2), row by row, and other bad input."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from support.http_raw import Answer, Raw

NO_ENTRY = (404, -2, "No such file or directory")
NO_CONTAINER = (404, -2, "Container not found")
NO_STREAM = (404, -2, "ResourceNotFoundException")
NO_SHARD = (400, -201326594, "ShardIDOutOfRangeException")
BAD_STREAM = (400, -201326592, "InvalidArgumentException")
BAD_PLACE = (400, -201326595, "IllegalLocationException")
INVALID = (400, -22, "")
ONE = {"n": {"N": "1"}}
LOCATION = base64.b64encode(bytes(15) + b"\x01").decode()

READS: list[tuple[str, str, Any, str | None]] = [
    ("GET", "", None, None),
    ("GET", "/o", None, None),
    ("PUT", "/o", b"x", None),
    ("PUT", "/d/", b"", None),
    ("DELETE", "/o", None, None),
    ("PUT", "/t/k", {}, "GetItem"),
    ("PUT", "/t/k", {"Item": ONE}, "PutItem"),
    ("PUT", "/t/k", {"UpdateExpression": "a=1"}, "UpdateItem"),
    ("PUT", "/t/", {}, "GetItems"),
    ("PUT", "/s/", {"ShardCount": 1}, "CreateStream"),
    ("PUT", "/s/", {"ShardCount": 1}, "UpdateStream"),
    ("PUT", "/s/", None, "DescribeStream"),
    ("PUT", "/s/", {"Records": [{"Data": ""}]}, "PutRecords"),
    ("PUT", "/s/0/", {"Type": "EARLIEST"}, "Seek"),
    ("PUT", "/s/0/", {"Location": LOCATION}, "GetRecords"),
]


def name_of(part: Any) -> str:
    return part if isinstance(part, str) else ""


def check(answer: Answer, expected: tuple[int, int, str]) -> None:
    status, code, text = expected
    found = answer.json
    assert (answer.status, found["ErrorCode"]) == (status, code), found
    assert text in found["ErrorMessage"]
    assert answer.headers["Content-Type"] == "application/json"


@pytest.fixture
def stream(raw: Raw) -> Raw:
    """Return a connection, and a stream `s` of two shards."""
    assert raw.ask("POST", "/lab/s/", {"ShardCount": 2}, function="CreateStream").status == 204
    return raw


@pytest.mark.parametrize("name", ["none", "UPPER", "9", "a%20b"], ids=str)
@pytest.mark.parametrize(
    ("method", "path", "body", "function"), READS, ids=[f"{m}{p}-{f}" for m, p, _, f in READS]
)
def test_a_missing_container_is_told_by_every_operation(
    raw: Raw, name: str, method: str, path: str, body: Any, function: str | None
) -> None:
    check(raw.ask(method, f"/{name}{path}", body, function=function), NO_CONTAINER)
    assert raw.ask("GET", "/lab").status == 200, "the connection stays usable"


@pytest.mark.parametrize(
    ("method", "path", "function"),
    [
        ("GET", "/o", None),
        ("GET", "/d", None),
        ("GET", "/d/", None),
        ("DELETE", "/o", None),
        ("GET", "?prefix=none", None),
        ("GET", "?prefix=none&prefix-only=1", None),
        ("PUT", "/t/k", "GetItem"),
        ("PUT", "/none/", "GetItems"),
        ("PUT", "/file/", "GetItems"),
    ],
    ids=name_of,
)
def test_what_is_missing_is_told(raw: Raw, method: str, path: str, function: str | None) -> None:
    raw.ask("PUT", "/lab/d/")
    raw.ask("PUT", "/lab/file", "x")
    check(raw.ask(method, f"/lab{path}", b"" if function else None, function=function), NO_ENTRY)


@pytest.mark.parametrize(
    ("function", "path", "body"),
    [
        ("DescribeStream", "", None),
        ("UpdateStream", "", {"ShardCount": 1}),
        ("PutRecords", "", {"Records": [{"Data": ""}]}),
        ("PutRecords", "", {"Records": []}),
        ("Seek", "0/", {"Type": "EARLIEST"}),
        ("SeekShard", "word/", {"Type": "EARLIEST"}),
        ("GetRecords", "0/", {"Location": LOCATION}),
        ("GetRecords", "0/", {"Location": "none"}),
    ],
    ids=["describe", "update", "put", "put_none", "seek", "seek_word", "get", "get_nowhere"],
)
def test_a_missing_stream_and_what_is_none_are_told(
    raw: Raw, function: str, path: str, body: Any
) -> None:
    check(raw.ask("PUT", f"/lab/none/{path}", body, function=function), NO_STREAM)
    raw.put_item("table/k", ONE)
    answer = raw.ask("PUT", f"/lab/table/{path}", body, function=function)
    assert answer.status == 400
    name = "ResourceIsnotStream" if function == "PutRecords" else "ResourceNotStreamException"
    assert answer.json["ErrorMessage"] == name


def test_a_stream_is_not_made_where_something_is(stream: Raw) -> None:
    stream.put_item("t/k", ONE)
    for path in ("s", "t", "t/k"):
        answer = stream.ask("POST", f"/lab/{path}/", {"ShardCount": 1}, function="CreateStream")
        check(answer, (409, -17, "ResourceInUseException"))


@pytest.mark.parametrize("shard", ["2", "99999999999999999999", "-1", "word"])
def test_a_shard_that_is_not_there_is_told(stream: Raw, shard: str) -> None:
    answer = stream.ask("PUT", f"/lab/s/{shard}/", {"Type": "EARLIEST"}, function="Seek")
    check(answer, NO_SHARD)
    answer = stream.ask("PUT", f"/lab/s/{shard}/", {"Location": LOCATION}, function="GetRecords")
    check(answer, NO_SHARD)


def test_a_record_for_a_missing_shard_fails_alone(stream: Raw) -> None:
    answer = stream.records("s", {"Data": "a", "ShardId": 1}, {"Data": "b", "ShardId": 7})
    assert answer.status == 200
    assert answer.json == {
        "FailedRecordCount": 1,
        "Records": [
            {"SequenceNumber": 1, "ShardId": 1},
            {"ErrorCode": -201326594, "ErrorMessage": "ShardIDOutOfRangeException"},
        ],
    }


def test_a_stream_only_grows(stream: Raw) -> None:
    shrink = stream.ask("POST", "/lab/s/", {"ShardCount": 1}, function="UpdateStream")
    check(shrink, (400, -201326593, "InvalidShardCountException"))
    same = stream.ask("POST", "/lab/s/", {"ShardCount": 2}, function="UpdateStream")
    assert same.status == 204


@pytest.mark.parametrize(
    ("function", "path", "body"),
    [
        ("CreateStream", "x/", {"ShardCount": 0}),
        ("CreateStream", "x/", {"ShardCount": 5000}),
        ("CreateStream", "x/", {"ShardCount": 1, "RetentionPeriodHours": 0}),
        ("CreateStream", "x/", {}),
        ("CreateStream", "x/", {"ShardCount": "many"}),
        ("CreateStream", "", {"ShardCount": 1}),
        ("PutRecords", "s/", {"Records": [{}]}),
        ("PutRecords", "s/", {"Records": [{"Data": "%%"}]}),
        ("PutRecords", "s/", {"Records": {"Data": ""}}),
        ("Seek", "s/0/", {"Type": "SIDEWAYS"}),
        ("Seek", "s/0/", {}),
        ("Seek", "s/0/", {"Type": "TIME"}),
        ("Seek", "s/0/", {"Type": "TIME", "TimestampSec": 1, "TimestampNSec": 10**9}),
        ("Seek", "s/0/", {"Type": "SEQUENCE"}),
        ("Seek", "s/0/", {"Type": "SEQUENCE", "StartingSequenceNumber": 2}),
        ("Seek", "0/", {"Type": "EARLIEST"}),
        ("GetRecords", "s/0/", {"Location": LOCATION, "Limit": 0}),
        ("GetRecords", "s/0/", {}),
    ],
    ids=str,
)
def test_a_bad_parameter_of_a_stream_is_told(
    stream: Raw, function: str, path: str, body: Any
) -> None:
    check(stream.ask("PUT", f"/lab/{path}", body, function=function), BAD_STREAM)


@pytest.mark.parametrize(
    "location", ["", "x", "MDAwMDAwMDA=", "ä", base64.b64encode(bytes(15) + b"\x09").decode()]
)
def test_a_location_that_is_none_is_told(stream: Raw, location: str) -> None:
    answer = stream.ask("PUT", "/lab/s/0/", {"Location": location}, function="GetRecords")
    check(answer, BAD_PLACE)


def test_a_location_of_another_shard_is_none(stream: Raw) -> None:
    found = stream.ask("PUT", "/lab/s/1/", {"Type": "LATEST"}, function="Seek").json
    answer = stream.ask("PUT", "/lab/s/0/", found, function="GetRecords")
    check(answer, BAD_PLACE)


def test_a_false_condition_is_told_in_the_words_that_clients_look_for(raw: Raw) -> None:
    raw.put_item("t/k", ONE)
    for answer in (
        raw.put_item("t/k", ONE, ConditionExpression="n == 2"),
        raw.update("t/k", UpdateExpression="n = 5", ConditionExpression="n == 2"),
    ):
        check(answer, (400, -16777244, ""))
        assert answer.body.count(b"ErrorCode") == 1
    assert raw.get_item("t/k").json == {"Item": ONE}
    answer = raw.update(
        "t/k", UpdateExpression="n=5", ConditionExpression="n==2", AlternateUpdateExpression="n=3"
    )
    assert answer.status == 200
    assert raw.get_item("t/k").json == {"Item": {"n": {"N": "3"}}}


def test_an_item_that_exists_is_told_in_the_words_that_clients_look_for(raw: Raw) -> None:
    raw.put_item("t/k", ONE)
    for answer in (
        raw.put_item("t/k", ONE, UpdateMode="CreateNewItemOnly"),
        raw.update("t/k", UpdateExpression="n = 5", UpdateMode="CreateNewItemOnly"),
    ):
        assert answer.status == 400
        assert answer.body.count(b"ErrorCode") == 2
        assert answer.json["ErrorCode"] == -369098809
        assert answer.json["InnerError"]["ErrorCode"] == -17


@pytest.mark.parametrize(
    ("function", "body"),
    [
        ("PutItem", b""),
        ("PutItem", b"{"),
        ("PutItem", b"[]"),
        ("PutItem", b"\xff\xfe"),
        ("PutItem", b'{"Item": 5}'),
        ("PutItem", b'{"Item": {"n": 5}}'),
        ("PutItem", b'{"Item": {"n": {}}}'),
        ("PutItem", b'{"Item": {"n": {"N": "1", "S": "1"}}}'),
        ("PutItem", b'{"Item": {"n": {"X": "1"}}}'),
        ("PutItem", b'{"Item": {"n": {"N": "one"}}}'),
        ("PutItem", b'{"Item": {"n": {"N": "1_000"}}}'),
        ("PutItem", b'{"Item": {"n": {"N": "' + b"9" * 5000 + b'"}}}'),
        ("PutItem", b'{"Item": {"n": {"B": "%%"}}}'),
        ("PutItem", b'{"Item": {"n": {"BOOL": 1}}}'),
        ("PutItem", b'{"Item": {"n": {"TS": "1"}}}'),
        ("PutItem", b'{"Item": {"n": {"TS": "1:1000000000"}}}'),
        ("PutItem", b'{"Item": {"n": {"S": "\\ud800"}}}'),
        ("PutItem", b'{"Item": {"": {"N": "1"}}}'),
        ("PutItem", b'{"Item": {"__name": {"S": "x"}}}'),
        ("PutItem", json.dumps({"Item": {"n" * 256: {"N": "1"}}}).encode()),
        ("PutItem", b'{"Item": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001),
        ("PutItem", b'{"Item": {}, "UpdateMode": "Sideways"}'),
        ("PutItem", b'{"Item": {}, "ConditionExpression": "n =="}'),
        ("PutItem", b'{"Item": {}, "ConditionExpression": "1 / 0 == 1"}'),
        ("PutItem", b'{"Item": {}, "ConditionExpression": "a == :b"}'),
        ("PutItem", b'{"Item": {}, "ConditionExpression": "' + b"(" * 10_000 + b'"}'),
        ("PutItem", b'{"Item": {}, "Key": {"a": {"S": ".."}}}'),
        ("PutItem", b'{"Item": {}, "Key": {}}'),
        ("PutItem", b'{"Item": {}, "TableName": "../x"}'),
        ("UpdateItem", b'{"UpdateExpression": "n = missing"}'),
        ("UpdateItem", b'{"UpdateExpression": "n ="}'),
        ("UpdateItem", b'{"UpdateExpression": "__name = 1"}'),
        ("GetItem", b'{"AttributesToGet": 5}'),
        ("GetItem", b"nonsense"),
        ("GetItems", b'{"FilterExpression": "n =="}'),
        ("GetItems", b'{"Marker": "%%"}'),
        ("GetItems", b'{"Limit": "ten"}'),
        ("GetItems", b'{"Limit": -1}'),
        ("GetItems", b'{"Segment": 1}'),
        ("GetItems", b'{"TotalSegment": 2}'),
        ("GetItems", b'{"Segment": 2, "TotalSegment": 2}'),
        ("GetItems", b'{"Segment": 0, "TotalSegment": 1025}'),
        ("GetItems", b'{"SortKeyRangeStart": "a"}'),
        ("GetItems", b'{"ShardingKey": "a", "Segment": 0, "TotalSegment": 2}'),
        ("Sing", b"{}"),
    ],
    ids=lambda part: part.decode("latin-1")[:50] if isinstance(part, bytes) else part,
)
def test_a_bad_body_is_refused_and_nothing_is_changed(raw: Raw, function: str, body: bytes) -> None:
    raw.put_item("t/k", ONE)
    check(raw.ask("PUT", "/lab/t/k", body, function=function), INVALID) if function not in (
        "GetItems",
    ) else check(raw.ask("PUT", "/lab/t/", body, function=function), INVALID)
    assert raw.get_item("t/k").json == {"Item": ONE}
    assert raw.scan("t").json["NumItems"] == 1


@pytest.mark.parametrize(
    "target",
    [
        "/lab/../other/o",
        "/lab/a/../../o",
        "/lab/./o",
        "/lab/%2e%2e/o",
        "/lab/..%2fo",
        "/../lab/o",
        "/lab/a%00b",
        "/lab/%ff",
        "/lab/" + "x" * 256,
        "/lab/" + "d/" * 1600 + "o",
    ],
    ids=lambda target: target[:20],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_path_that_tricks_is_refused(raw: Raw, method: str, target: str) -> None:
    check(raw.ask(method, target, b"x" if method == "PUT" else None), INVALID)
    assert raw.ask("GET", "/lab?prefix=").body.count(b"<Contents>") == 0


def test_a_directory_that_is_not_empty_stays(raw: Raw) -> None:
    raw.ask("PUT", "/lab/d/o", "x")
    check(raw.ask("DELETE", "/lab/d/"), (409, -39, "Directory not empty"))
    assert raw.ask("DELETE", "/lab/d/o").status == 204
    assert raw.ask("DELETE", "/lab/d/").status == 204


def test_a_range_behind_the_end_is_refused(raw: Raw) -> None:
    raw.ask("PUT", "/lab/o", "abc")
    raw.ask("PUT", "/lab/large", bytes(100_000))
    check(raw.ask("GET", "/lab/o", Range="bytes=3-"), (416, -22, "3 bytes"))
    check(raw.ask("GET", "/lab/large", Range="bytes=100000"), (416, -22, "100000 bytes"))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("PATCH", "/lab/o", 405),
        ("OPTIONS", "/lab/o", 405),
        ("DELETE", "/lab", 403),
        ("DELETE", "/lab/", 403),
        ("PUT", "/", 404),
        ("PUT", "/Not-a-name/", 400),
        ("PUT", "/lab/o", 400),
        ("GET", "/lab?max-keys=none", 400),
        ("GET", "/lab?max-keys=0", 400),
        ("GET", "/lab?prefix=..", 400),
        ("GET", "/lab?prefix=%ff", 400),
        ("GET", "/lab?" + "a=b&" * 200, 400),
    ],
    ids=lambda part: str(part)[:20],
)
def test_what_cannot_be_asked_is_refused(raw: Raw, method: str, target: str, status: int) -> None:
    more = {"Range": "bytes=1-2"} if target == "/lab/o" and method == "PUT" else {}
    answer = raw.ask(method, target, b"x" if method == "PUT" else None, **more)
    assert answer.status == status
    assert answer.json["ErrorMessage"]


def test_an_object_does_not_take_the_place_of_a_directory(
    dial: Callable[[], Raw],
) -> None:
    raw = dial()
    raw.ask("POST", "/lab/s/", {"ShardCount": 1}, function="CreateStream")
    raw.ask("PUT", "/lab/d/o", "x")
    for path in ("d", "s", "s/0", "d/o/below"):
        assert raw.ask("PUT", f"/lab/{path}", "x").status == 409
        assert dial().ask("PUT", f"/lab/{path}", bytes(200_000)).status == 409
    assert raw.ask("GET", "/lab/d/o").body == b"x"
