"""HTTP/1.1 as bytes: how requests may come, how replies go, and what is given up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest

import entrepot
from entrepot import settings
from entrepot.gateways.http import HttpGateway
from support.conditions import wait_until
from support.http_raw import Raw, request

CHUNKED = b"PUT /lab/o HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG = bytes(range(256)) * 4096 * 5


def test_replies_have_capitals_a_length_and_come_in_one_piece(raw: Raw) -> None:
    raw.put_item("t/k", {"n": {"N": "1"}})
    raw.send(request("PUT", "/lab/t/k", {"AttributesToGet": "*"}, function="GetItem"))
    piece = raw.socket.recv(1 << 16)
    assert b'\r\n\r\n{"Item":{"n":{"N":"1"}}}' in piece
    assert b"\r\nContent-Length: 24\r\n" in piece
    assert b"\r\nContent-Type: application/json\r\n" in piece
    assert b"\r\nX-v3io-transaction-verifier: __mtime_secs==" in piece


def test_a_connection_stays_open_between_requests(raw: Raw, gateway: HttpGateway) -> None:
    for number in range(5):
        assert raw.ask("PUT", "/lab/o", str(number)).status == 200
        assert raw.ask("GET", "/lab/o").body == str(number).encode()
    assert len(gateway.connections) == 1


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"GET /lab/o HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False),
        (b"GET /lab/o HTTP/1.0\r\n\r\n", False),
        (b"GET /lab/o HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET /lab/o HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", False),
        (b"GET http://x/lab/o HTTP/1.1\r\nHost: x\r\n\r\n", True),
    ],
    ids=["close", "http_1_0", "http_1_0_kept", "upgrade", "whole_address"],
)
def test_the_client_says_whether_a_connection_stays(raw: Raw, head: bytes, stays: bool) -> None:
    raw.ask("PUT", "/lab/o", "x")
    raw.send(head)
    answer = raw.answer()
    assert (answer.status, answer.body) == (200, b"x")
    if stays:
        raw.send(head)
        assert raw.answer().body == b"x"
    else:
        assert answer.headers["Connection"] == "close"
        assert raw.is_over()


def test_pipelined_requests_are_answered_in_order(raw: Raw) -> None:
    writes = [
        request("PUT", f"/lab/t/k{n}", {"Item": {"n": {"N": str(n)}}}, function="PutItem")
        for n in range(50)
    ]
    reads = [
        request("PUT", f"/lab/t/k{n}", {"AttributesToGet": "n"}, function="GetItem")
        for n in range(50)
    ]
    raw.send(b"".join(writes[:25] + reads[:25] + writes[25:] + reads[25:]))
    statuses = [raw.answer() for _ in range(100)]
    assert [answer.status for answer in statuses] == [200] * 100
    found = [answer.json["Item"]["n"]["N"] for answer in statuses if answer.body]
    assert found == [str(n) for n in range(50)]


def test_pipelined_writes_share_commits(raw: Raw, gateway: HttpGateway) -> None:
    raw.send(b"".join(request("PUT", f"/lab/o{n}", "x") for n in range(40)))
    assert [raw.answer().status for _ in range(40)] == [200] * 40
    assert gateway.gathering.writes == 40
    assert gateway.gathering.commits < 20


def test_thousands_of_requests_in_one_go_are_all_answered(raw: Raw) -> None:
    raw.put_item("t/k", {"n": {"N": "1"}})
    one = request("PUT", "/lab/t/", {}, function="GetItems")
    sender = threading.Thread(target=raw.send, args=(one * 3000,))
    sender.start()
    answers = {raw.answer().body for _ in range(3000)}
    assert answers == {
        b'{"LastItemIncluded":"TRUE","NumItems":1,"Items":[{"n":{"N":"1"},"__name":{"S":"k"}}]}'
    }
    sender.join()


def test_what_is_read_ahead_has_a_bound(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "HTTP_BODY_BYTES_MAX", 200_000)
    text = "x" * 90_000
    asked = b"".join(
        request("PUT", f"/lab/t/k{n}", {"Item": {"s": {"S": text}}}, function="PutItem")
        + request("PUT", f"/lab/t/k{n}", {}, function="GetItem")
        for n in range(40)
    )
    sender = threading.Thread(target=raw.send, args=(asked,))
    sender.start()
    for _ in range(40):
        assert raw.answer().status == 200
        assert raw.answer().json == {"Item": {"s": {"S": text}}}
    sender.join()


def test_thousands_of_writes_in_one_go_are_all_done(raw: Raw) -> None:
    asked = [request("PUT", f"/lab/o{n % 10}", str(n)) for n in range(3000)]
    sender = threading.Thread(target=raw.send, args=(b"".join(asked),))
    sender.start()
    assert all(raw.answer().status == 200 for _ in asked)
    sender.join()
    assert [raw.ask("GET", f"/lab/o{n}").body for n in (0, 9)] == [b"2990", b"2999"]


def test_a_body_may_come_in_chunks_and_in_single_bytes(raw: Raw) -> None:
    head = b"PUT /lab/o HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for byte in head + b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nX-trailer: 1\r\n\r\n":
        raw.send(bytes([byte]))
    assert raw.answer().status == 200
    assert raw.ask("GET", "/lab/o").body == b"abcde"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "chunked"])
def test_a_large_object_comes_and_goes_in_pieces(raw: Raw, is_chunked: bool) -> None:
    if is_chunked:
        raw.send(b"PUT /lab/o HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(BIG), 100_000):
            piece = BIG[at : at + 100_000]
            raw.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        raw.send(b"0\r\n\r\n")
        assert raw.answer().status == 200
    else:
        assert raw.ask("PUT", "/lab/o", BIG).status == 200
    raw.send(request("GET", "/lab/o") * 2)
    assert raw.answer().body == BIG
    assert raw.answer().body == BIG
    answer = raw.ask("GET", "/lab/o", Range="bytes=1000000-1999999")
    assert (answer.status, answer.body) == (206, BIG[1_000_000:2_000_000])
    assert answer.headers["Content-Range"] == f"bytes 1000000-1999999/{len(BIG)}"
    assert raw.ask("HEAD", "/lab/o").headers["Content-Length"] == str(len(BIG))
    assert raw.ask("DELETE", "/lab/o").status == 204


def test_what_follows_an_upload_waits_for_it(raw: Raw) -> None:
    raw.send(request("PUT", "/lab/o", BIG) + request("GET", "/lab/o", Range="bytes=-3"))
    assert raw.answer().status == 200
    assert raw.answer().body == BIG[-3:]


def test_the_body_is_asked_for_when_it_is_wanted(raw: Raw) -> None:
    raw.send(b"PUT /lab/o HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert raw.answer().status == 100
    raw.send(b"abc")
    assert raw.answer().status == 200
    big = b"PUT /lab/o HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    raw.send(request("GET", "/lab/o") + big % len(BIG))
    assert raw.answer().body == b"abc"
    assert raw.answer().status == 100
    raw.send(BIG)
    assert raw.answer().status == 200


def test_a_body_that_is_refused_is_not_asked_for(raw: Raw) -> None:
    raw.send(b"PUT /none/o HTTP/1.1\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n")
    answer = raw.answer()
    assert (answer.status, answer.json["ErrorMessage"]) == (404, "Container not found")
    raw.send(b"PUT /lab/.. HTTP/1.1\r\n")
    assert raw.is_over()


def test_head_and_no_content_have_no_body(raw: Raw) -> None:
    raw.ask("PUT", "/lab/o", "four")
    answer = raw.ask("HEAD", "/lab/o")
    assert (answer.status, answer.headers["Content-Length"]) == (200, "4")
    answer = raw.ask("DELETE", "/lab/o")
    assert (answer.status, answer.headers.get("Content-Length")) == (204, None)
    assert raw.ask("HEAD", "/lab/o").status == 404
    assert raw.ask("HEAD", "/healthz").status == 200
    assert raw.ask("GET", "/healthz").body == b"ok\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"hello\r\n\r\n",
        b"GET /lab/o HTTP/9.9\r\n\r\n",
        b"PUT /lab/o HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"PUT /lab/o HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT /lab/o HTTP/1.1\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
        b"PUT /lab/o HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /lab/o HTTP/1.1\r\nbad header\r\n\r\n",
    ],
    ids=["tls", "words", "version", "negative", "smuggled", "endless", "chunk", "header"],
)
def test_what_is_no_http_is_refused(raw: Raw, sent: bytes) -> None:
    raw.send(sent)
    answer = raw.answer()
    assert answer.status == 400
    assert answer.headers["Connection"] == "close"
    assert answer.json["ErrorCode"] == -22


def test_a_refusal_comes_after_the_replies_before_it(raw: Raw) -> None:
    raw.send(request("PUT", "/lab/o", "x") + request("GET", "/lab/o") + b"nonsense\r\n\r\n")
    assert [raw.answer().status for _ in range(3)] == [200, 200, 400]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 400_000,
        b"GET /lab/o HTTP/1.1\r\nX-long: " + b"x" * 400_000,
        b"GET /lab/o HTTP/1.1\r\n" + b"X-one: y\r\n" * 8000,
        CHUNKED + b"1\r\na\r\n0\r\nX: " + b"y" * 400_000,
    ],
    ids=["target", "header", "headers", "trailer"],
)
def test_a_head_has_a_bound(raw: Raw, head: bytes) -> None:
    sender = threading.Thread(target=send_all, args=(raw, head))
    sender.start()
    assert raw.answer().status == 431
    raw.socket.shutdown(2)
    sender.join()


def test_a_body_in_json_has_a_bound(dial: Callable[[], Raw]) -> None:
    most = settings.HTTP_BODY_BYTES_MAX
    raw = dial()
    raw.send(
        b"PUT /lab/t/k HTTP/1.1\r\nX-v3io-function: PutItem\r\nContent-Length: %d\r\n\r\n{"
        % (most + 1)
    )
    assert raw.answer().status == 413
    raw = dial()
    raw.send(
        b"PUT /lab/t/k HTTP/1.1\r\nX-v3io-function: PutItem\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    piece = b"x" * (1 << 20)
    sender = threading.Thread(target=send_until_closed, args=(raw, piece))
    sender.start()
    assert raw.answer().status == 413
    raw.socket.shutdown(2)
    sender.join()


def send_all(raw: Raw, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it may be closed before all is sent
        raw.send(data)


def send_until_closed(raw: Raw, piece: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            raw.send(b"%x\r\n%s\r\n" % (len(piece), piece))


def test_a_client_that_vanishes_leaves_nothing(
    dial: Callable[[], Raw], gateway: HttpGateway, depot: entrepot.Depot
) -> None:
    raw = dial()
    raw.send(b"PUT /lab/o HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + BIG[:2_000_000])
    wait_until(lambda: list((depot.data_path / "files").glob("*")), "the upload has begun")
    raw.close()
    wait_until(lambda: not gateway.connections, "the gateway knows")
    assert dial().ask("GET", "/lab/o").status == 404
    wait_until(lambda: not list((depot.data_path / "files").glob("*")), "its file is gone")


def test_a_vanished_client_does_not_undo_what_it_asked(
    dial: Callable[[], Raw], depot: entrepot.Depot
) -> None:
    raw = dial()
    raw.send(b"".join(request("PUT", f"/lab/o{n}", "x") for n in range(20)))
    raw.close()
    wait_until(lambda: "o19" in depot.container("lab"), "all are there")


def test_who_only_stops_sending_is_answered(raw: Raw) -> None:
    raw.send(request("PUT", "/lab/o", "x") + request("GET", "/lab/o"))
    raw.socket.shutdown(1)
    assert [raw.answer().status, raw.answer().body] == [200, b"x"]
    assert raw.is_over()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /lab",
        b"PUT /lab/o HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc",
        b"PUT /lab/o HTTP/1.1\r\nContent-Length: 500000\r\n\r\nabc",
        b"",
    ],
    ids=["head", "body", "upload", "nothing"],
)
def test_a_client_that_stalls_is_given_up(serve: Callable[..., HttpGateway], sent: bytes) -> None:
    gateway = serve(stall_s=0.2, idle_s=0.2)
    raw = Raw(gateway.host, gateway.port)
    raw.send(sent)
    if sent and b"500000" not in sent:
        assert raw.answer().status == 408
    assert raw.is_over()
    wait_until(lambda: not gateway.connections, "it is forgotten")
    raw.close()


def test_a_client_that_reads_nothing_is_given_up(serve: Callable[..., HttpGateway]) -> None:
    gateway = serve(stall_s=0.3)
    raw = Raw(gateway.host, gateway.port)
    raw.ask("PUT", "/lab/o", BIG * 4)
    raw.send(request("GET", "/lab/o") * 4)
    wait_until(lambda: not gateway.connections, "it is given up")
    raw.close()


def test_there_are_at_most_so_many_connections(serve: Callable[..., HttpGateway]) -> None:
    gateway = serve(connections_max=2)
    first, second = Raw(gateway.host, gateway.port), Raw(gateway.host, gateway.port)
    assert first.ask("GET", "/healthz").status == second.ask("GET", "/healthz").status == 200
    third = Raw(gateway.host, gateway.port)
    assert third.is_over()
    for raw in (first, second, third):
        raw.close()


def test_a_gateway_that_stops_finishes_what_it_has_accepted(
    serve: Callable[..., HttpGateway],
) -> None:
    gateway = serve()
    idle, busy = Raw(gateway.host, gateway.port), Raw(gateway.host, gateway.port)
    assert idle.ask("GET", "/healthz").status == 200
    busy.send(b"PUT /lab/o HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG[:1_000_000])
    wait_until(lambda: len(gateway.connections) == 2, "both are there")
    wait_until(lambda: any(c.is_busy for c in gateway.connections), "one is at work")
    closer = threading.Thread(target=gateway.close)
    closer.start()
    assert idle.is_over()
    busy.send(BIG[1_000_000:])
    answer = busy.answer()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert busy.is_over()
    closer.join()
    gateway.close()
    for raw in (idle, busy):
        raw.close()
