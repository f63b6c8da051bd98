"""What operations answer beyond what the original client looks at."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import entrepot
from entrepot import settings
from entrepot.gateways.http import HttpGateway
from support.http_raw import Raw

ONE = {"n": {"N": "1"}}


def xml(raw: Raw, target: str) -> ET.Element:
    answer = raw.ask("GET", target)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/xml")
    return ET.fromstring(answer.body)


def test_slashes_and_escapes_do_not_matter(raw: Raw) -> None:
    raw.ask("PUT", "//lab///d//%C3%A4%20b%23", "x")
    assert raw.ask("GET", "/%6cab/d%2F%c3%a4%20b%23/").body == b"x"


def test_functions_count_and_not_methods(raw: Raw) -> None:
    for method in ("PUT", "POST", "GET", "DELETE"):
        answer = raw.ask(method, "/lab/t/k", {"Item": ONE}, function="PutItem")
        assert (answer.status, answer.body) == (200, b"")
        answer = raw.ask(method, "/lab/t/k", {}, function="GetItem")
        assert answer.json == {"Item": ONE}


def test_the_rest_of_a_path_may_be_in_the_body(raw: Raw) -> None:
    key = {"id": {"S": "k"}}
    put = {"TableName": "dir/t", "Key": key, "Item": ONE}
    assert raw.ask("PUT", "/lab/", put, function="PutItem").status == 200
    found = raw.ask("PUT", "/lab/dir", {"TableName": "t", "Key": key}, function="GetItem")
    assert found.json == {"Item": {"id": {"S": "k"}, **ONE}}
    number = {"TableName": "t", "Key": {"id": {"N": "5"}}, "UpdateExpression": "n = 2"}
    assert raw.ask("PUT", "/lab/", number, function="UpdateItem").status == 200
    assert raw.get_item("t/5").json == {"Item": {"id": {"N": "5"}, "n": {"N": "2"}}}
    make = {"StreamName": "s", "ShardCount": 2}
    assert raw.ask("POST", "/lab/", make, function="CreateStream").status == 204
    seek = {"StreamName": "s", "ShardId": 1, "Type": "LATEST"}
    found = raw.ask("PUT", "/lab/", seek, function="Seek").json
    get = {"StreamName": "s", "ShardId": 1, **found}
    assert raw.ask("PUT", "/lab/", get, function="GetRecords").json["Records"] == []
    describe = raw.ask("PUT", "/lab/", {"StreamName": "s"}, function="DescribeStream")
    assert describe.json == {"ShardCount": 2, "RetentionPeriodHours": 24}


def test_an_update_in_the_body_of_a_put_counts_where_there_is_no_item(raw: Raw) -> None:
    body = {"UpdateExpression": "n = 1"}
    assert raw.ask("PUT", "/lab/t/k", body, function="PutItem").status == 200
    assert raw.get_item("t/k").json == {"Item": ONE}
    raw.update("t/empty", UpdateExpression="")
    assert raw.get_item("t/empty").json == {"Item": {}}


def test_each_write_has_a_version_of_its_own(raw: Raw) -> None:
    seen = {raw.put_item("t/k", ONE).headers["X-v3io-transaction-verifier"] for _ in range(20)}
    assert len(seen) == 20
    form = re.compile(r"__mtime_secs==\d+ and __mtime_nsecs==\d+")
    assert all(form.fullmatch(verifier) for verifier in seen)
    answer = raw.get_item("t/k")
    assert answer.headers["X-v3io-transaction-verifier"] in seen
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", answer.headers["Last-Modified"])


def test_an_item_keeps_its_body_and_hidden_attributes(raw: Raw) -> None:
    raw.ask("PUT", "/lab/t/k", "body")
    raw.put_item("t/k", {"n": {"N": "1"}, "__h": {"N": "2"}})
    raw.put_item("t/k", {"m": {"N": "3"}})
    assert raw.get_item("t/k", "*,__h").json == {"Item": {"m": {"N": "3"}, "__h": {"N": "2"}}}
    assert raw.ask("GET", "/lab/t/k").body == b"body"
    raw.ask("PUT", "/lab/t/k", "other")
    assert raw.get_item("t/k").json == {"Item": {"m": {"N": "3"}}}


def test_large_bodies_in_json_are_read_beside_the_loop(raw: Raw) -> None:
    text = "x" * (settings.HTTP_AT_ONCE_BYTES_MAX + 1)
    assert raw.put_item("t/k", {"s": {"S": text}}).status == 200
    assert raw.get_item("t/k").json == {"Item": {"s": {"S": text}}}
    answer = raw.put_item("t/k", {"s": {"N": text}})
    assert answer.status == 400


def test_a_scan_that_finds_little_gives_way_and_goes_on(
    raw: Raw, depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "HTTP_LOOKS_MAX", 100)
    table = depot.table("lab/t")
    with table.batch() as batch:
        for number in range(1000):
            batch.put(f"k{number:04}", {"n": number})
    found = raw.scan("t", FilterExpression="n == 777").json
    assert (found["NumItems"], found["LastItemIncluded"]) == (1, "TRUE")
    assert "NextMarker" not in found
    found = raw.scan("t", FilterExpression="n >= 990", Limit=4).json
    assert (found["NumItems"], found["LastItemIncluded"]) == (4, "FALSE")
    found = raw.scan("t", FilterExpression="n >= 990", Marker=found["NextMarker"]).json
    assert (found["NumItems"], found["LastItemIncluded"]) == (6, "TRUE")
    assert raw.scan("t", Limit="0").json["NumItems"] == 1000
    assert raw.scan("t", Segment="1", TotalSegment="2").json["NumItems"] < 1000


def test_a_page_of_a_scan_is_bounded_by_its_size(raw: Raw, depot: entrepot.Depot) -> None:
    table = depot.table("lab/t")
    for number in range(8):
        table.put(f"k{number}", {"s": "x" * 600_000})
    found = raw.scan("t").json
    assert (found["NumItems"], found["LastItemIncluded"]) == (4, "FALSE")
    rest = raw.scan("t", Marker=found["NextMarker"]).json
    assert (rest["NumItems"], rest["LastItemIncluded"]) == (4, "TRUE")


def test_a_listing_names_what_xml_cannot_hold(raw: Raw) -> None:
    raw.ask("PUT", "/lab/d/%3Ca%26%22b%3E", "x")
    raw.ask("PUT", "/lab/d/%01%0d%0a", "x")
    found = xml(raw, "/lab/?prefix=d%2F")
    assert [key.text for key in found.iterfind("Contents/Key")] == ["d/\ufffd\r\n", 'd/<a&"b>']
    assert found.findtext("Prefix") == "d/"


def test_a_listing_tells_all_of_streams(raw: Raw) -> None:
    make = {"ShardCount": 1, "RetentionPeriodHours": 2}
    raw.ask("POST", "/lab/d/s/", make, function="CreateStream")
    raw.records("d/s", {"Data": "x"})
    found = xml(raw, "/lab?prefix=d&prefix-info=1").find("CommonPrefixes")
    assert found is not None
    told = {each.tag: each.text for each in found}
    assert (told["ShardCount"], told["RetentionPeriodHours"]) == ("1", "2")
    assert (told["RetentionPeriodSec"], told["Prefix"]) == ("7200", "d/s/")
    shard = xml(raw, "/lab?prefix=d/s&prefix-info=1").find("Contents")
    assert shard is not None
    assert shard.findtext("LastSequenceId") == shard.findtext("LastSequenceID") == "1"
    plain = xml(raw, "/lab?prefix=d").find("CommonPrefixes")
    assert plain is not None
    assert [each.tag for each in plain] == ["Prefix"]
    assert raw.ask("HEAD", "/lab/d/s/").headers["Content-Length"] == "0"
    assert raw.ask("HEAD", "/lab/d/s/0").headers["Content-Length"] == "0"
    assert raw.ask("GET", "/lab/d/s/0").body == b""


def test_containers_are_made_and_listed(raw: Raw) -> None:
    assert raw.ask("PUT", "/other/").status == 200
    assert raw.ask("PUT", "/other/").status == 200
    assert raw.ask("HEAD", "/other").status == 200
    assert raw.ask("HEAD", "/none").status == 404
    found = xml(raw, "/")
    assert [name.text for name in found.iterfind("Buckets/Bucket/Name")] == ["lab", "other"]
    assert all(int(each.text or "") for each in found.iterfind("Buckets/Bucket/Id"))


@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        ("bytes=2-4", 206, b"234"),
        ("bytes=2", 206, b"23456789"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=4-2", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("lines=1", 200, b"0123456789"),
        ("-1", 200, b"0123456789"),
    ],
)
def test_ranges_have_many_forms(raw: Raw, header: str, status: int, body: bytes) -> None:
    raw.ask("PUT", "/lab/o", "0123456789")
    answer = raw.ask("GET", "/lab/o", Range=header)
    assert (answer.status, answer.body) == (status, body)


def test_records_are_answered_with_what_they_were_sent_with(raw: Raw) -> None:
    raw.ask("POST", "/lab/s/", {"ShardCount": 1}, function="CreateStream")
    sent = {"Data": "x", "ClientInfo": "Y2k=", "PartitionKey": "p"}
    raw.records("s", sent, {"Data": "y"})
    assert raw.ask("PUT", "/lab/s/", {"Records": []}, function="PutRecords").json == {
        "FailedRecordCount": 0,
        "Records": [],
    }
    location = raw.ask("PUT", "/lab/s/0", {"Type": "EARLIEST"}, function="SeekShard").json
    found = raw.ask("PUT", "/lab/s/0", {**location, "Limit": 50_000}, function="GetRecords").json
    first, second = found["Records"]
    assert (first["Data"], first["ClientInfo"], first["PartitionKey"]) == ("eA==", "Y2k=", "p")
    assert set(second) == {"ArrivalTimeSec", "ArrivalTimeNSec", "SequenceNumber", "Data"}
    assert found["RecordsBehindLatest"] == 0


def test_what_was_replaced_leaves_no_file(
    raw: Raw, gateway: HttpGateway, depot: entrepot.Depot
) -> None:
    files = depot.data_path / "files"
    for size in (200_000, 10):
        raw.ask("PUT", "/lab/o", bytes(size))
        assert raw.ask("GET", "/lab/o").body == bytes(size)
    gateway.close()
    assert list(files.iterdir()) == []


def test_figures_are_told(raw: Raw) -> None:
    pytest.importorskip("prometheus_client", reason="pip install 'entrepot[serve]'")
    raw.put_item("t/k", ONE)
    raw.get_item("t/none")
    text = raw.ask("GET", "/metrics").body.decode()
    assert 'entrepot_http_requests_total{operation="put_item",status="200"} 1.0' in text
    assert 'entrepot_http_requests_total{operation="get_item",status="404"} 1.0' in text
    assert "entrepot_http_writes_total 1.0" in text
    assert "entrepot_http_in_flight 1.0" in text
    assert "entrepot_depot_sessions 1.0" in text


def test_requests_are_logged(serve: Callable[..., HttpGateway], tmp_path: Path) -> None:
    from entrepot.gateways.http.access_log import AccessLog

    path = tmp_path / "access"
    gateway = serve(access_log=AccessLog(str(path)))
    raw = Raw(gateway.host, gateway.port)
    raw.ask("PUT", "/lab/o", "four")
    raw.ask("HEAD", "/lab/o")
    raw.send(b"nonsense\r\n\r\n")
    raw.answer()
    raw.close()
    gateway.close()
    put, head, bad = [json.loads(line) for line in path.read_text().splitlines()]
    assert (put["operation"], put["method"], put["target"]) == ("put_object", "PUT", "/lab/o")
    assert (put["status"], put["bytes_in"], put["bytes_out"]) == (200, 4, 0)
    assert (put["client"], put["key"]) == ("127.0.0.1", "")
    assert (head["operation"], head["bytes_out"]) == ("head_object", 0)
    assert (bad["operation"], bad["status"]) == ("none", 400)
