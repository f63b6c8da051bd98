"""Replies: their outputs, and which statuses raise."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from entrepot.v3io.dataplane import Client, RaiseForStatus, output
from entrepot.v3io.dataplane.response import HttpResponseError, Response
from support.http_server import HttpServer, Reply


def output_of(kind: Any, body: bytes) -> Any:
    return Response(kind, 200, {}, body).output


CONTAINERS = b"""<ListAllMyBucketsResult><Owner><ID>0</ID></Owner><Buckets>
 <Bucket><Name>bigdata</Name><CreationDate>2021-01-17T12:41:10</CreationDate><Id>1</Id></Bucket>
 <Bucket><Name>lab</Name><CreationDate>x</CreationDate><Id>1025</Id></Bucket>
</Buckets></ListAllMyBucketsResult>"""
LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult><Name>bigdata</Name><Prefix>d</Prefix><Marker/><Delimiter>/</Delimiter>
<NextMarker>d/x.txt</NextMarker><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>
<Contents><Key>d/x.txt</Key><Size>62</Size><LastModified>2019-06-02T14:30:39.18Z</LastModified>
<AccessTime>a</AccessTime><CreatingTime>c</CreatingTime><Mode>0100664</Mode><GID>0</GID>
<UID>1f</UID><InodeNumber>77</InodeNumber><LastSequenceID>5</LastSequenceID></Contents>
<Contents><Key>d/y</Key><Size>0</Size></Contents>
<CommonPrefixes><Prefix>d/sub/</Prefix><Mode>040775</Mode></CommonPrefixes></ListBucketResult>"""


def test_containers_are_listed_with_their_numbers() -> None:
    found = output_of(output.GetContainersOutput, CONTAINERS).containers
    assert [(c.name, c.creation_date, c.identifier) for c in found] == [
        ("bigdata", "2021-01-17T12:41:10", 1),
        ("lab", "x", 1025),
    ]


def test_a_listing_tells_what_it_was_told() -> None:
    page = output_of(output.GetContainerContentsOutput, LISTING)
    assert (page.name, page.next_marker, page.max_keys, page.is_truncated) == (
        "bigdata",
        "d/x.txt",
        "1000",
        "false",
    )
    assert vars(page.contents[0]) == {
        "key": "d/x.txt",
        "size": 62,
        "last_modified": "2019-06-02T14:30:39.18Z",
        "access_time": "a",
        "creating_time": "c",
        "mode": "0100664",
        "gid": "0",
        "uid": "1f",
        "inode_number": 77,
        "last_sequence_id": 5,
    }
    assert vars(page.contents[1]) == {"key": "d/y", "size": 0}
    assert vars(page.common_prefixes[0]) == {"prefix": "d/sub/", "mode": "040775"}
    assert not hasattr(page.common_prefixes[0], "gid")
    assert "d/sub/" in repr(page)


def test_a_listing_without_a_marker_has_none() -> None:
    page = output_of(output.GetContainerContentsOutput, b"<L><NextMarker/></L>")
    assert (page.next_marker, page.max_keys, page.contents) == (None, None, [])


ERROR = b'{"ErrorCode": -2, "ErrorMessage": "Container not found"}'
OF_ERRORS: list[tuple[Any, dict[str, Any]]] = [
    (
        output.GetContainersOutput,
        {"error": {"ErrorCode": -2, "ErrorMessage": "Container not found"}},
    ),
    (
        output.GetContainerContentsOutput,
        {"error": {"ErrorCode": -2, "ErrorMessage": "Container not found"}},
    ),
    (output.GetItemOutput, {"item": {}}),
    (output.GetItemsOutput, {"last": False, "next_marker": None, "items": []}),
    (output.DescribeStreamOutput, {"shard_count": None, "retention_period_hours": None}),
    (output.SeekShardOutput, {"location": None}),
    (output.PutRecordsOutput, {"failed_record_count": None, "records": []}),
    (
        output.GetRecordsOutput,
        {
            "next_location": None,
            "msec_behind_latest": None,
            "records_behind_latest": None,
            "records": [],
        },
    ),
]


@pytest.mark.parametrize(("kind", "attributes"), OF_ERRORS, ids=[k.__name__ for k, _ in OF_ERRORS])
def test_the_output_of_an_error_lacks_what_it_does_not_tell(
    kind: Any, attributes: dict[str, Any]
) -> None:
    assert vars(output_of(kind, ERROR)) == attributes


def test_items_are_told_apart_by_pages() -> None:
    page = output_of(
        output.GetItemsOutput,
        b'{"LastItemIncluded": "FALSE", "NumItems": 1, "NextMarker": "m",'
        b' "Items": [{"__name": {"S": "k1"}, "n": {"N": "2"}, "odd": {"X": "?"}}]}',
    )
    assert (page.last, page.next_marker) == (False, "m")
    assert page.items == [{"__name": "k1", "n": 2, "odd": "?"}]
    assert output_of(output.GetItemsOutput, b'{"LastItemIncluded": "TRUE"}').last


def test_streams_are_described() -> None:
    described = output_of(
        output.DescribeStreamOutput, b'{"ShardCount": 8, "RetentionPeriodHours": 24}'
    )
    assert (described.shard_count, described.retention_period_hours) == (8, 24)
    assert output_of(output.SeekShardOutput, b'{"Location": "AQ=="}').location == "AQ=="


def test_records_that_were_refused_tell_why() -> None:
    done = output_of(
        output.PutRecordsOutput,
        b'{"FailedRecordCount":1,"Records":[{"SequenceNumber":18446744073709551615,"ShardId":1},'
        b'{"ErrorCode":-201326594,"ErrorMessage":"ShardIDOutOfRangeException"}]}',
    )
    good, bad = done.records
    assert (good.sequence_number, good.shard_id, good.error_code) == (2**64 - 1, 1, None)
    assert (bad.sequence_number, bad.error_code) == (None, -201326594)
    assert bad.error_message == "ShardIDOutOfRangeException"
    assert done.failed_record_count == 1


def test_records_are_read_as_bytes() -> None:
    page = output_of(
        output.GetRecordsOutput,
        b'{"NextLocation": "L", "MSecBehindLatest": 3, "RecordsBehindLatest": 1, "Records": ['
        b'{"ArrivalTimeSec": 1, "ArrivalTimeNSec": 2, "SequenceNumber": 3, "PartitionKey": "k",'
        b' "ClientInfo": "Y2k=", "Data": "AA=="}, {"SequenceNumber": 4, "Data": ""}]}',
    )
    assert (page.next_location, page.msec_behind_latest, page.records_behind_latest) == ("L", 3, 1)
    first, second = page.records
    assert (first.arrival_time_sec, first.arrival_time_nsec, first.partition_key) == (1, 2, "k")
    assert (first.client_info, first.data, first.sequence_number) == (b"ci", b"\0", 3)
    assert (second.client_info, second.data) == (None, b"")


def test_an_output_is_parsed_when_it_is_asked_for_and_once() -> None:
    response = Response(output.GetItemOutput, 200, {}, b"")
    assert response.output is None
    response.body = b'{"Item": {"a": {"N": "1"}}}'
    assert response.output.item == {"a": 1}
    response.body = b""
    assert response.output.item == {"a": 1}
    assert Response(None, 200, {}, b"anything").output is None


BILLION = b'<!DOCTYPE a [<!ENTITY b "c">]><a><Name>&b;</Name></a>'
UNREADABLE = [
    ("text", output.GetItemOutput, b"nonsense"),
    ("binary", output.GetItemOutput, b"\xff\x00"),
    ("a_number", output.GetItemOutput, b"5"),
    ("a_list", output.GetItemOutput, b"[1]"),
    ("xml_for_json", output.GetItemOutput, b"<a/>"),
    ("odd_attribute", output.GetItemOutput, b'{"Item": {"a": 1}}'),
    ("no_type", output.GetItemOutput, b'{"Item": {"a": {}}}'),
    ("no_number", output.GetItemOutput, b'{"Item": {"a": {"N": "x"}}}'),
    ("bad_base64", output.GetItemOutput, b'{"Item": {"a": {"B": "x"}}}'),
    ("far_time", output.GetItemOutput, b'{"Item": {"a": {"TS": "99999999999999:0"}}}'),
    ("deep_json", output.GetItemOutput, b"[" * 100_000),
    ("cut_xml", output.GetContainerContentsOutput, b"<a><Name>"),
    ("entities", output.GetContainerContentsOutput, BILLION),
    ("entities_in_utf16", output.GetContainerContentsOutput, BILLION.decode().encode("utf-16")),
    ("no_size", output.GetContainerContentsOutput, b"<a><Contents><Size>x</Size></Contents></a>"),
]


@pytest.mark.parametrize(
    ("kind", "body"), [u[1:] for u in UNREADABLE], ids=[u[0] for u in UNREADABLE]
)
def test_a_body_that_cannot_be_read_is_an_error_of_the_reply(kind: Any, body: bytes) -> None:
    with pytest.raises(HttpResponseError, match=r"^Failed to parse response with status 200, body"):
        output_of(kind, body)


EXPECTED: list[tuple[Any, list[int], list[int]]] = [
    (None, [200, 204, 299], [300, 308, 404, 500]),
    ([], [200, 299], [300, 404]),
    ("always", [200, 299], [300, 404]),
    ("never", [200, 308, 404, 500], []),
    ([200, 404], [200, 404], [201, 500]),
    ((404,), [404], [200]),
]


@pytest.mark.parametrize(("expected", "good", "bad"), EXPECTED, ids=[str(e[0]) for e in EXPECTED])
def test_a_status_that_is_not_expected_raises(
    expected: Any, good: list[int], bad: list[int]
) -> None:
    for status in good:
        Response(None, status, {}, b"").raise_for_status(expected)
    for status in bad:
        with pytest.raises(HttpResponseError) as caught:
            Response(None, status, {}, b"").raise_for_status(expected)
        assert caught.value.status_code == status


def test_what_is_no_list_of_statuses_is_refused() -> None:
    with pytest.raises(ValueError, match="raise_for_status is '404'"):
        Response(None, 404, {}, b"").raise_for_status("404")
    assert (RaiseForStatus.never, RaiseForStatus.always) == ("never", "always")


def test_an_error_shows_status_and_body() -> None:
    with pytest.raises(HttpResponseError) as caught:
        Response(None, 404, {}, b"boo").raise_for_status()
    error = caught.value
    assert str(error) == "Request failed with status 404: b'boo'"
    assert error.args == (str(error),)
    assert repr(HttpResponseError("m", 404)) == "HttpResponseError('m', 404)"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status_code) == (str(error), 404)
    assert HttpResponseError().status_code is None


def test_an_error_tells_where_things_have_moved() -> None:
    text = "^Request failed due to a Permanent Redirect. Please change URL to: there$"
    with pytest.raises(HttpResponseError, match=text):
        Response(None, 308, {"Location": "there"}, b"boo").raise_for_status()


def test_headers_are_those_of_the_reply_in_their_capitals(
    client: Client, server: HttpServer
) -> None:
    server.replies.append(Reply(200, b"x" * 31))
    response = client.object.get("b", "p")
    assert ("Content-Length", "31") in response.headers.items()
    assert response.headers["content-length"] == "31"
    assert repr(response) == "<Response 200, 31 bytes>"


def test_an_error_is_logged_as_well(
    client: Client, server: HttpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.replies.append(Reply(404, ERROR))
    with (
        Client(endpoint=server.url, access_key="k") as noisy,
        pytest.raises(HttpResponseError, match="Container not found"),
    ):
        noisy.kv.get("b", "t", "k")
    assert "[warning] Response error: Request failed with status 404" in capsys.readouterr().out
