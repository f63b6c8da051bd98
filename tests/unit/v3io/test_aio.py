"""The client for asyncio: the same requests and replies, awaited."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import pydoc
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from entrepot import v3io
from entrepot.v3io import aio
from entrepot.v3io.aio.dataplane import Client, RaiseForStatus
from entrepot.v3io.aio.dataplane import container as aio_container
from entrepot.v3io.aio.dataplane import kv as aio_kv
from entrepot.v3io.aio.dataplane import object as aio_object
from entrepot.v3io.aio.dataplane import stream as aio_stream
from entrepot.v3io.dataplane import RaiseForStatus as SyncRaiseForStatus
from entrepot.v3io.dataplane import container, kv, stream
from entrepot.v3io.dataplane import object as objects
from entrepot.v3io.dataplane.response import HttpResponseError
from support.http_server import CUT, DROP, HttpServer, Reply
from support.v3io_calls import CALLS, Call

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(server: HttpServer) -> AsyncIterator[Client]:
    """Return a client of the server, which tries three times."""
    async with Client(endpoint=server.url, access_key="secret", retry_intervals=(0, 0)) as client:
        yield client


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
async def test_an_operation_sends_what_the_original_sends(
    call: Call, client: Client, server: HttpServer
) -> None:
    server.replies.append(Reply(200, b"", {"X-Of-The-Reply": "1"}))
    response = await call.on(client)
    assert response.status_code == 200
    assert response.headers["x-of-the-reply"] == "1"
    (asked,) = server.asked
    assert (asked.method, asked.target) == (call.method, call.target)
    assert (asked.function, asked.body) == (call.function, call.body_bytes)
    assert asked.headers["X-v3io-session-key"] == "secret"
    for name, value in call.headers.items():
        assert asked.headers[name] == value
    if call.function:
        expected = "application/json" if call.body_bytes else None
        assert asked.headers.get("Content-Type") == expected


async def _pieces() -> AsyncIterator[bytes]:
    for piece in (b"one ", b"by ", b"one"):
        yield piece


async def test_bodies_of_other_kinds_are_sent(client: Client, server: HttpServer) -> None:
    bodies: list[Any] = [_pieces(), io.StringIO("text ä"), iter([b"pie", b"ces"]), {"a": 1}]
    for body in bodies:
        await client.object.put("b", "p", body=body)
    assert [asked.body.decode() for asked in server.asked] == [
        "one by one", "text ä", "pieces", '{"a":1}'
    ]  # fmt: skip


async def test_a_body_that_is_none_is_refused_at_once(client: Client, server: HttpServer) -> None:
    number: Any = 5
    with pytest.raises(TypeError, match=r"^an object's body is a int: give bytes"):
        await client.object.put("b", "p", body=number)
    assert not server.asked


async def test_a_file_is_streamed_and_stays_open(client: Client, server: HttpServer) -> None:
    server.replies += [DROP, Reply()]
    file = io.BytesIO(b"0123456789" * 100_000)
    file.seek(5)
    await client.object.put("b", "p", body=file)
    assert {asked.body for asked in server.asked} == {file.getvalue()[5:]}
    assert not file.closed


TWINS = [
    (f"{name}.{operation}", getattr(ours, operation), function)
    for name, ours, theirs in [
        ("container", aio_container.Model, container.Model),
        ("object", aio_object.Model, objects.Model),
        ("kv", aio_kv.Model, kv.Model),
        ("stream", aio_stream.Model, stream.Model),
    ]
    for operation, function in inspect.getmembers(theirs, inspect.isfunction)
    if not operation.startswith("_")
]


@pytest.mark.parametrize(("name", "ours", "theirs"), TWINS, ids=[twin[0] for twin in TWINS])
def test_twins_have_the_same_parameters_and_texts(name: str, ours: Any, theirs: Any) -> None:
    parameters = dict(inspect.signature(theirs).parameters)
    if name != "kv.delete":
        parameters.pop("transport_actions", None)
    assert list(inspect.signature(ours).parameters.values()) == list(parameters.values())
    assert inspect.iscoroutinefunction(ours) == (name != "kv.new_cursor")
    text = pydoc.plain(pydoc.render_doc(ours))
    assert all(f"{parameter} (" in text for parameter in parameters if parameter != "self")
    assert ("transport_actions (" in text) == (name == "kv.delete")


async def test_a_value_comes_back(client: Client, server: HttpServer) -> None:
    server.replies.append(Reply(200, b'{"Item": {"age": {"N": "42"}}}'))
    response = await client.kv.get("b", "t", "k")
    assert response.output.item == {"age": 42}


async def test_a_status_that_is_not_expected_raises(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(404, b"Container not found")
    with pytest.raises(HttpResponseError, match="Container not found") as caught:
        await client.object.get("b", "p")
    assert caught.value.status_code == 404
    assert (await client.object.get("b", "p", raise_for_status="never")).status_code == 404
    assert (await client.object.get("b", "p", raise_for_status=[404])).status_code == 404
    assert RaiseForStatus is SyncRaiseForStatus


async def test_the_session_key_does_not_follow_a_redirect(
    client: Client, server: HttpServer
) -> None:
    server.replies.append(Reply(308, b"", {"Location": "http://elsewhere/"}))
    with pytest.raises(HttpResponseError, match="change URL to: http://elsewhere/"):
        await client.object.get("b", "p")
    assert len(server.asked) == 1


async def test_deleting_an_item_can_only_be_encoded(client: Client, server: HttpServer) -> None:
    request: Any = await client.kv.delete("b", "t", "k", transport_actions=1)
    assert (request.method, request.path) == ("DELETE", "/b/t/k")
    assert not server.asked


async def test_a_cursor_reads_page_after_page(client: Client, server: HttpServer) -> None:
    def answer(asked: Any) -> Reply:
        start = int(json.loads(asked.body).get("Marker", "0"))
        page: dict[str, Any] = {"Items": [{"n": {"N": str(start)}}]}
        page["LastItemIncluded"] = "TRUE" if start == 4 else "FALSE"
        page["NextMarker"] = str(start + 1)
        return Reply(200, json.dumps(page).encode())

    server.answer = answer
    cursor = client.kv.new_cursor("b", "t", marker="1")
    assert await cursor.next_item() == {"n": 1}
    assert await cursor.all() == [{"n": 2}, {"n": 3}, {"n": 4}]
    assert await cursor.next_item() is None
    assert len(await client.kv.new_cursor("b", "t", limit=2).all()) == 2
    assert len(server.asked) == 6


async def test_deleting_a_stream_deletes_all_that_is_in_it(
    client: Client, server: HttpServer
) -> None:
    page = (
        "<L><NextMarker>s/0</NextMarker><IsTruncated>{}</IsTruncated>"
        "<Contents><Key>s/{}</Key></Contents></L>"
    )
    pages = [page.format("true", 0).encode(), page.format("false", 1).encode()]
    server.answer = lambda asked: Reply(200, pages.pop(0) if asked.method == "GET" else b"")
    await client.stream.delete("b", "s")
    assert [(asked.method, asked.target) for asked in server.asked] == [
        ("GET", "/b?prefix=s%2F"),
        ("DELETE", "/b/s/0"),
        ("GET", "/b?prefix=s%2F&marker=s%2F0"),
        ("DELETE", "/b/s/1"),
        ("DELETE", "/b/s/"),
    ]
    server.answer = lambda asked: Reply(404, b"{}")
    assert (await client.stream.delete("b", "s", raise_for_status="never")).status_code == 404
    with pytest.raises(HttpResponseError):
        await client.stream.delete("b", "s")


@pytest.mark.parametrize("fault", [DROP, CUT], ids=["drop", "cut"])
async def test_a_reply_that_does_not_come_is_asked_for_again(
    fault: Reply, client: Client, server: HttpServer
) -> None:
    server.replies += [fault, fault, Reply(200, b"good")]
    assert (await client.object.get("b", "p")).body == b"good"
    server.answer = lambda asked: fault
    with pytest.raises(aiohttp.ClientError):
        await client.object.get("b", "p")
    server.answer = None
    assert (await client.object.get("b", "p")).status_code == 200


async def test_a_server_that_is_not_there_is_an_error_in_the_end() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{listening.getsockname()[1]}"
    async with Client(endpoint=endpoint, access_key="k", retry_intervals=[0, 0]) as client:
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.object.get("b", "p")


async def test_many_requests_are_under_way_at_once(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(200, asked.target.encode())
    responses = await asyncio.gather(*(client.object.get("b", str(n)) for n in range(50)))
    assert [response.body for response in responses] == [b"/b/%d" % n for n in range(50)]


async def test_a_closed_client_sends_nothing(client: Client, server: HttpServer) -> None:
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="Session is closed"):
        await client.object.get("b", "p")
    assert not server.asked


async def test_an_access_key_is_needed_first_and_then_an_endpoint() -> None:
    with pytest.raises(ValueError, match="Access key must be provided"):
        Client(endpoint="ftp://host")
    with pytest.raises(ValueError, match="is not a URL"):
        Client(endpoint="ftp://host", access_key="k")


async def test_endpoint_and_access_key_come_from_the_environment(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V3IO_API", server.url)
    monkeypatch.setenv("V3IO_ACCESS_KEY", "from there")
    async with Client() as client:
        await client.object.get("b", "p")
    assert server.asked[0].headers["X-v3io-session-key"] == "from there"


async def test_cookies_are_not_kept(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(200, b"", {"Set-Cookie": "a=b"})
    await client.object.get("b", "p")
    await client.object.get("b", "p")
    assert "Cookie" not in server.asked[1].headers


def test_a_client_is_made_where_a_loop_runs() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        Client(endpoint="x:1", access_key="k")
    assert aio.dataplane.Client is Client
    assert aio.dataplane.transport.aiohttp.Transport.__module__.startswith("entrepot")


def test_the_client_for_asyncio_is_found_without_its_own_import() -> None:
    said = "import entrepot.v3io as v3io; print(v3io.aio.dataplane.Client, v3io.dataplane.Client)"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert "entrepot.v3io.aio.dataplane.client.Client" in found.stdout
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        v3io.nope  # noqa: B018 that is the test
