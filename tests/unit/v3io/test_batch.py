"""Batches: queued calls, replies in their order."""

from __future__ import annotations

import pytest

from entrepot.v3io.dataplane import Client
from entrepot.v3io.dataplane.response import HttpResponseError
from support.http_server import HttpServer, Reply

LISTING = b"<L><Name>b</Name><NextMarker/><IsTruncated>false</IsTruncated></L>"


def test_replies_come_in_the_order_of_the_calls(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(200, asked.target.encode())
    for number in range(20):
        assert client.batch.object.get("b", str(number)) is None
    responses = client.batch.wait()
    assert type(responses) is list
    assert [response.body for response in responses] == [b"/b/%d" % n for n in range(20)]


def test_nothing_is_sent_before_the_wait(client: Client, server: HttpServer) -> None:
    client.batch.kv.put("b", "t", "k", {"a": 1})
    assert not server.asked
    assert client.create_batch().wait() == []
    assert len(client.batch.wait()) == 1
    assert client.batch.wait() == []


def test_a_container_is_listed_under_both_names(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(200, LISTING)
    client.batch.container.list("b", "d")
    client.batch.container.get("b", "d")
    first, second = client.batch.wait()
    assert (first.output.name, second.output.name) == ("b", "b")
    assert server.asked[0].target == server.asked[1].target


def test_the_first_bad_reply_ends_a_batch(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(404 if asked.target == "/b/0" else 200)
    for number in range(50):
        client.batch.object.get("b", str(number))
    with pytest.raises(HttpResponseError):
        client.batch.wait()
    assert len(server.asked) <= 3  # what was on its way
    assert client.batch.wait() == []


def test_what_a_call_expects_goes_before_what_the_wait_expects(
    client: Client, server: HttpServer
) -> None:
    server.answer = lambda asked: Reply(404)
    client.batch.object.get("b", "p")
    client.batch.object.get("b", "p", raise_for_status=[404])
    assert len(client.batch.wait(raise_for_status="never")) == 2
    client.batch.object.get("b", "p", raise_for_status="never")
    assert len(client.batch.wait(raise_for_status=[200])) == 1
    client.batch.object.get("b", "p", raise_for_status="always")
    with pytest.raises(HttpResponseError):
        client.batch.wait(raise_for_status="never")


def test_a_bad_argument_is_found_when_it_is_queued(client: Client, server: HttpServer) -> None:
    with pytest.raises(RuntimeError, match="One of expression"):
        client.batch.kv.update("b", "t", "k")
    assert client.batch.wait() == []


def test_deleting_a_stream_in_a_batch_with_one_connection_ends(server: HttpServer) -> None:
    server.answer = lambda asked: Reply(200, LISTING if asked.method == "GET" else b"")
    with Client(endpoint=server.url, access_key="k", max_connections=1) as client:
        for _ in range(3):
            client.batch.stream.delete("b", "s")
            client.batch.object.put("b", "p")
        assert len(client.batch.wait()) == 6
