"""What goes wrong below the gateway: full disks, busy depots, lost files, our own bugs."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

import entrepot
from entrepot.arena.files import Written
from entrepot.errors import DiskFullError, UnavailableError
from entrepot.gateways.http import HttpGateway, gathering, items
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home
from support.http_raw import Raw, request

ONE = {"n": {"N": "1"}}


def raising(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: object) -> None:
        raise error

    return raise_it


def test_an_upload_that_fills_the_disk_is_refused_at_once(
    raw: Raw, dial: Callable[[], Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.ask("PUT", "/lab/o", bytes(100_000))
    monkeypatch.setattr(Written, "write", raising(DiskFullError("the disk is full")))
    raw.send(b"PUT /lab/o HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n" + bytes(1_000_000))
    answer = raw.answer()
    assert (answer.status, answer.json["ErrorCode"]) == (507, -28)
    assert answer.headers["Connection"] == "close"
    assert dial().ask("GET", "/lab/o").body == bytes(100_000)


def test_a_write_that_fills_the_disk_is_refused_alone(
    raw: Raw, gateway: HttpGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = gateway.handles.engine
    write = engine.write
    monkeypatch.setattr(engine, "write", raising(DiskFullError("the disk is full")))
    answer = raw.put_item("t/k", ONE)
    assert (answer.status, answer.json["ErrorCode"]) == (507, -28)
    monkeypatch.setattr(engine, "write", write)
    assert raw.put_item("t/k", ONE).status == 200


def test_a_busy_depot_is_told_with_the_code_that_clients_retry(
    raw: Raw, gateway: HttpGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = UnavailableError("process 5 is stopped and holds the write lock")
    monkeypatch.setattr(gateway.handles.engine, "write", raising(error))
    answer = raw.put_item("t/k", ONE)
    assert (answer.status, answer.json["ErrorCode"]) == (503, -117440512)
    assert "process 5" in answer.json["ErrorMessage"]


def test_a_bug_of_ours_is_logged_and_not_shown(
    raw: Raw, gateway: HttpGateway, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with caplog.at_level(logging.CRITICAL + 1):
        monkeypatch.setattr(items, "attribute_to_json", raising(ZeroDivisionError("secret")))
        raw.put_item("t/k", ONE)
        answer = raw.get_item("t/k")
        assert answer.status == raw.scan("t").status == 500
        assert "secret" not in answer.body.decode()
        monkeypatch.setattr(items, "_stored", raising(ZeroDivisionError("secret")))
        assert raw.put_item("t/k", ONE).status == 500
        monkeypatch.setattr(gathering, "run_together", raising(ZeroDivisionError("secret")))
        answer = raw.ask("PUT", "/lab/o", "x")
    assert answer.status == 500
    monkeypatch.undo()
    assert raw.ask("PUT", "/lab/o", "x").status == 200


def test_a_file_that_is_gone_is_told(
    raw: Raw, home: Home, depot: entrepot.Depot, caplog: pytest.LogCaptureFixture
) -> None:
    raw.ask("PUT", "/lab/o", bytes(100_000))
    shutil.rmtree(depot.data_path / "files")
    home.is_damaged = True
    with caplog.at_level(logging.CRITICAL + 1):
        answer = raw.ask("GET", "/lab/o")
    assert (answer.status, answer.json["ErrorCode"]) == (500, -5)


def test_a_file_that_is_too_short_breaks_the_reply_off(
    raw: Raw, home: Home, depot: entrepot.Depot, caplog: pytest.LogCaptureFixture
) -> None:
    raw.ask("PUT", "/lab/o", bytes(1_000_000))
    (file,) = (depot.data_path / "files").iterdir()
    with file.open("r+b") as opened:
        opened.truncate(600_000)
    home.is_damaged = True
    with caplog.at_level(logging.CRITICAL + 1):
        raw.send(request("GET", "/lab/o"))
        with pytest.raises((AssertionError, ConnectionResetError)):
            raw.answer()


def test_other_requests_go_on_while_a_commit_waits_for_the_disk(
    raw: Raw, dial: Callable[[], Raw], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.put_item("t/k", ONE)
    other = dial()  # a client that is alone has its commits on the loop: nobody else waits
    assert other.get_item("t/k").json == {"Item": ONE}
    begun, may_go = threading.Event(), threading.Event()
    run = gathering.run_together

    def wait_and_run(*arguments: Any) -> None:
        begun.set()
        assert may_go.wait(PATIENCE_S)
        run(*arguments)

    monkeypatch.setattr(gathering, "run_together", wait_and_run)
    raw.send(request("PUT", "/lab/t/k", {"Item": {"n": {"N": "2"}}}, function="PutItem"))
    assert begun.wait(PATIENCE_S)
    assert other.get_item("t/k").json == {"Item": ONE}
    may_go.set()
    assert raw.answer().status == 200
    assert raw.get_item("t/k").json == {"Item": {"n": {"N": "2"}}}


def test_two_uploads_to_one_place_are_both_whole(dial: Callable[[], Raw]) -> None:
    one, other = dial(), dial()
    size = 500_000
    head = b"PUT /lab/o HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size
    one.send(head + b"a" * 250_000)
    other.send(head + b"b" * 250_000)
    one.send(b"a" * 250_000)
    other.send(b"b" * 250_000)
    assert one.answer().status == other.answer().status == 200
    assert one.ask("GET", "/lab/o").body in (b"a" * size, b"b" * size)


def test_appends_of_many_clients_do_not_mix(dial: Callable[[], Raw]) -> None:
    raws = [dial() for _ in range(4)]
    for _ in range(10):
        for number, raw in enumerate(raws):
            raw.send(request("PUT", "/lab/log", str(number) * 5000, Range="-1"))
    assert all(raw.answer().status == 200 for raw in raws for _ in range(10))
    body = raws[0].ask("GET", "/lab/log").body
    pieces = [body[at : at + 5000] for at in range(0, len(body), 5000)]
    assert sorted(pieces) == sorted([str(number).encode() * 5000 for number in range(4)] * 10)


def test_an_unknown_transfer_encoding_is_refused(raw: Raw) -> None:
    raw.send(b"PUT /lab/o HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
    assert raw.answer().status == 501


def test_records_of_many_clients_are_numbered_without_gaps(
    raw: Raw, dial: Callable[[], Raw]
) -> None:
    raw.ask("POST", "/lab/s/", {"ShardCount": 1}, function="CreateStream")
    raws = [dial() for _ in range(20)]
    body = {"Records": [{"Data": "eA==", "ShardId": 0}] * 10}
    for each in raws:
        each.send(request("POST", "/lab/s/", body, function="PutRecords"))
    found = [each.answer().json["Records"] for each in raws]
    numbers = sorted(record["SequenceNumber"] for records in found for record in records)
    assert numbers == list(range(1, 201))


def test_a_gateway_that_is_closed_has_no_connections(raw: Raw, gateway: HttpGateway) -> None:
    raw.put_item("t/k", ONE)
    gateway.close()
    wait_until(lambda: not gateway.connections, "all are gone")
    assert raw.is_over()
    assert gateway.loop.is_closed()
