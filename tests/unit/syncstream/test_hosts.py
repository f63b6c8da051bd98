"""syncstream over HTTP: the gateway, Flask and ASGI serve the same; mirrors lose nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import entrepot
from entrepot import settings
from entrepot.gateways.http.server import HttpGateway
from entrepot.layers import access
from entrepot.syncstream import (
    GroupedMessage,
    LineHostBuffer,
    LineHostMirror,
    LineHostReader,
    webtools,
)
from entrepot.syncstream._contract import Asked, answer
from support.http_server import DROP, HttpServer, Reply


@pytest.fixture
def gateway(depot: entrepot.Depot) -> Iterator[HttpGateway]:
    gateway = HttpGateway(depot)
    gateway.start()
    yield gateway
    gateway.close()


@pytest.fixture
def url(gateway: HttpGateway) -> str:
    return f"http://127.0.0.1:{gateway.port}/lines/train"


def shown(items: tuple[Any, ...]) -> list[str]:
    return [str(item) for item in items]


def ask(
    url: str, method: str = "GET", body: bytes | None = None, kind: str = "application/json"
) -> tuple[int, Any, str | None]:
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.loads(reply.read() or b"null"), reply.headers["Allow"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), error.headers["Allow"]


# Mirrors and readers.


def test_lines_warnings_and_errors_arrive_with_their_origin(
    depot: entrepot.Depot, url: str
) -> None:
    with LineHostMirror(url) as mirror:
        print("hello")
        mirror.send_warning(UserWarning("odd"))
        mirror.send_error(error=ValueError("bad"))
        print("half", end="")
    with LineHostReader(url) as reader:
        items = reader.read()
        assert shown(items) == ["hello", "UserWarning: odd", "ValueError: bad", "half"]
        assert [getattr(item, "type", None) for item in items] == [None, "warning", "error", None]
        assert shown(reader.read(1)) == ["half"]
        assert reader.read(0) == ()
        assert (len(reader), reader.maxlen, reader.closed) == (4, settings.LINES_DEFAULT, False)
    entries = depot.lines("train").read().entries
    assert all(entry.host and entry.pid for entry in entries)


def test_mirrors_of_ours_have_partial_lines_of_their_own(url: str) -> None:
    one, other = LineHostMirror(url), LineHostMirror(url, aggressive=True)
    one.write("a1\na2")
    other.write("b1")
    other.write(" goes on\n")
    one.write("\n")
    assert shown(LineHostReader(url).read()) == ["a1", "b1 goes on", "a2"]
    one.close()
    other.close()


def test_writers_without_an_id_share_one_as_they_always_did(url: str) -> None:
    for text in ("a1\na2", "b1\n"):
        body = json.dumps({"type": " str ", "data": {"value": text}}).encode()
        assert ask(url, "POST", body)[0] == 201
    assert shown(LineHostReader(url).read()) == ["a1", "a2b1"]


def test_the_stop_signal_reaches_a_mirror_in_its_next_write(url: str) -> None:
    mirror, reader = LineHostMirror(url), LineHostReader(url)
    mirror.write("one\n")
    assert reader.stop_all_mirrors()
    assert reader.closed
    for text in ("two\n", "tw"):
        with pytest.raises(StopIteration):
            mirror.write(text)
    mirror.send_error(StopIteration("last words"))
    assert reader.reset_states()
    mirror.write("three\n")
    assert shown(reader.read()) == ["one", "StopIteration: last words", "three"]
    assert reader.clear()
    assert len(reader) == 0
    mirror.close()


def test_a_mirror_has_the_members_of_the_original(url: str) -> None:
    mirror = LineHostMirror(url, timeout=5)
    assert mirror.headers["Content-Type"] == "application/json"
    assert "Content-Type" not in mirror.headers_get
    mirror.headers["X"] = "y"
    assert "X" not in mirror.headers
    assert (mirror.write(data="half"), mirror.read(), mirror.read(size=2)) == (4, "half", "lf")
    assert (mirror.last_line.getvalue(), mirror.last_line.tell()) == ("half", 4)
    assert (mirror.readable(), mirror.writable()) == (True, True)
    mirror.clear()
    assert (mirror.read(), mirror.write("")) == ("", 0)
    mirror.write("x")
    mirror.new_line(check=False)
    mirror.send_data("direct\n")
    mirror.check_states()
    again = pickle.loads(pickle.dumps(mirror))
    again.write("pickled\n")
    again.close()
    mirror.send_eof()
    mirror.close()
    mirror.close()
    mirror.send_eof()
    assert (mirror.readable(), mirror.writable()) == (False, False)
    assert shown(LineHostReader(url).read()) == ["x", "direct", "pickled"]
    for call, error in (
        (mirror.read, OSError),
        (lambda: mirror.write("x"), OSError),
        (mirror.new_line, ValueError),
        (mirror.clear, ValueError),
    ):
        with pytest.raises(error):
            call()


@pytest.mark.parametrize("address", ["", None, 5, "ftp://a/b", "nowhere"], ids=repr)
def test_an_address_that_is_none_is_refused(address: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        LineHostMirror(address).write("x\n")


# What goes wrong.


def test_what_cannot_be_sent_is_kept_and_goes_with_the_next_line() -> None:
    with HttpServer() as server:
        mirror = LineHostMirror(f"{server.url}/l", timeout=5)
        good = Reply(200, b'{"data": false, "writers": true}')
        server.replies += [good, DROP, DROP]
        with pytest.raises(ConnectionError, match="kept"):
            mirror.write("one\n")
        assert mirror.read() == "one\n"
        server.replies += [Reply(503, b"<html>busy</html>")]
        with pytest.raises(ConnectionError, match="503"):
            mirror.write("two\n")
        server.replies += [Reply(400, b'{"message": "no way"}')]
        with pytest.raises(ConnectionError, match="no way"):
            mirror.write("three\n")
        mirror.write("four\n")
        sent = json.loads(server.asked[-1].body)
        assert sent["data"]["value"] == "one\ntwo\nthree\nfour\n"
        assert mirror.read() == ""


def test_a_patient_mirror_never_raises_and_counts_what_it_drops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "LINES_QUEUE_CHARS_MAX", 10)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        mirror = LineHostMirror(f"http://127.0.0.1:{free.getsockname()[1]}/l", patient=True)
        for _ in range(5):
            mirror.write("1234\n")
    assert (mirror.read(), mirror.dropped) == ("1234\n1234\n", 15)


def test_a_patient_mirror_lets_the_program_end_and_counts_what_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/l"
    with LineHostMirror(address, patient=True) as mirror:
        print("lost")
    assert mirror.closed
    assert mirror.dropped == len("lost\n")
    mirror = LineHostMirror(address, patient=True)
    for call in (mirror.check_states, mirror.new_line, mirror.send_eof):
        call()
    mirror.send_data("1234")
    mirror.send_error(ValueError("67"))
    mirror.close(ValueError("bad"))
    assert mirror.dropped == len("1234") + len("ValueError: 67") + len("ValueError: bad")


def test_threads_of_a_mirror_write_whole_lines(url: str) -> None:
    with LineHostReader(url) as reader, contextlib.closing(LineHostMirror(url)) as mirror:
        mirror.write("begin\nmain ")
        for text in ("thread\n", "left over"):
            thread = threading.Thread(target=mirror.write, args=(text,))
            thread.start()
            thread.join()
        assert mirror.read() == "left over"
        mirror.write("goes on\n")
        mirror.close()
        assert shown(reader.read()) == ["begin", "thread", "main goes on", "left over"]


def test_a_forked_child_begins_anew_also_while_a_thread_sends(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = LineHostMirror(f"http://127.0.0.1:{silent.getsockname()[1]}/l")
        thread = threading.Thread(target=swallow, args=(mirror,), daemon=True)
        thread.start()
        accepted, _ = silent.accept()
        with accepted:
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    mirror.address = url
                    mirror.write("child\n")
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
        thread.join()
    other = LineHostMirror(url)
    other.write("parent ")
    child = os.fork()
    if not child:
        other.write("child too\n")
        os._exit(0)
    os.waitpid(child, 0)
    other.write("parent\n")
    with LineHostReader(url) as reader:
        assert shown(reader.read()) == ["child", "child too", "parent parent"]


def swallow(mirror: LineHostMirror) -> None:
    """Write to a server that never answers."""
    with contextlib.suppress(ConnectionError):
        mirror.write("never sent\n")


def test_a_text_that_is_too_large_for_one_request_goes_in_pieces(
    depot: entrepot.Depot, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LINES_BODY_BYTES_MAX", 20_000)
    mirror = LineHostMirror(url)
    mirror.write("first\n")
    mirror.write("\U0001f600" * 9000 + "\n")
    mirror.write("last\n")
    assert texts_of(depot) == ["first", "\U0001f600" * 9000, "last"]
    assert (mirror.read(), mirror.dropped) == ("", 0)


def test_what_is_refused_as_too_large_does_not_stand_in_the_way() -> None:
    with HttpServer() as server:
        mirror = LineHostMirror(f"{server.url}/l", timeout=5)
        state = Reply(200, b'{"data": false}')
        server.replies += [state, Reply(413, b'{"message": "too large"}')]
        with pytest.raises(ConnectionError, match="too large"):
            mirror.write("large\n")
        assert (mirror.read(), mirror.dropped) == ("", 6)
        server.replies += [state]
        mirror.write("small\n")
        assert json.loads(server.asked[-1].body)["data"]["value"] == "small\n"


def test_the_address_of_a_buffer_may_have_any_letters(
    depot: entrepot.Depot, gateway: HttpGateway
) -> None:
    for name in ("na\u00efve", "two words", "a%20b"):
        LineHostMirror(f"http://127.0.0.1:{gateway.port}/lines/{name}").write("x\n")
    assert depot.list_lines() == ["a b", "na\u00efve", "two words"]


def texts_of(depot: entrepot.Depot) -> list[str]:
    return [entry.text for entry in depot.lines("train").read().entries]


def test_a_host_that_does_not_answer_in_time_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        mirror = LineHostMirror(f"http://127.0.0.1:{deaf.getsockname()[1]}/l", timeout=0.05)
        with pytest.raises(ConnectionError, match="in time"):
            mirror.write("x\n")


# The contract.

POSTS = [
    (b"", 400),
    (b"{", 400),
    (b"\xff", 400),
    (b"[]", 400),
    (b'"text"', 400),
    (b"{}", 400),
    (b'{"type": 5}', 400),
    (b'{"type": "Str"}', 400),
    (b'{"type": "error"}', 400),
    (b'{"type": "error", "data": {"x": 1}}', 400),
    (
        b'{"type":"error","data":{"/is_syncsdata":true,"/type":"GroupedMessage","data":5}}',
        400,
    ),
    (b"[" * 100_000, 400),
    (b'{"type": "str"}', 201),
    (b'{"type": "str", "data": 5}', 201),
    (b'{"type": "str", "data": {"value": null}}', 201),
    (b'{"type": "str", "data": {"value": 5}}', 201),
    (b'{"type": "str", "data": {"value": "\\ud800"}}', 201),
    (b'{"type": "close"}', 201),
]


@pytest.mark.parametrize(("body", "status"), POSTS, ids=lambda part: repr(part)[:40])
def test_bad_bodies_are_refused_with_a_reason_and_nothing_is_stored(
    depot: entrepot.Depot, body: bytes, status: int
) -> None:
    lines = depot.lines("l")
    found = answer(lines, Asked("POST", False, {}, body, "application/vnd.x+json; charset=utf-8"))
    assert found.status == status, found.body
    assert json.loads(found.body)["message"]
    if status != 201:
        assert lines.info().next == 1
        assert lines.info().partials == 0
    lines.new_line()
    assert answer(lines, Asked("GET", False, {}, b"", "")).status == 200


def test_requests_that_are_none_of_the_api_say_what_is_wrong(url: str) -> None:
    assert ask(f"{url}?n=2")[:2] == (200, {"data": [], "message": "success"})
    for query in ("n=abc", "n=", "n=1.5"):
        status, content, _ = ask(f"{url}?{query}")
        assert (status, "whole number" in content["message"]) == (400, True)
    status, content, allow = ask(url, "PUT", b"{}")
    assert (status, "GET" in (allow or "")) == (405, True)
    assert ask(url, "POST", b"{}", "text/plain")[0] == 415
    assert ask(f"{url}-state")[0] == 400
    assert ask(f"{url}-state", "POST", b"{}")[0] == 400
    assert ask(f"{url}-state", "POST", b'{"state": "other"}')[0] == 201
    assert ask(f"{url}-state?state=other")[1]["data"] is None
    assert ask(f"{url}-state", "DELETE")[0] == 200
    assert ask(f"{url}-state?state=maxlen")[1]["data"] == settings.LINES_DEFAULT


def test_what_is_too_large_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "LINES_BODY_BYTES_MAX", 100)
    body = json.dumps({"type": "str", "data": {"value": "x" * 200}}).encode()
    status, content, _ = ask(url, "POST", body)
    assert (status, "at most 100" in content["message"]) == (413, True)
    monkeypatch.setattr(settings, "LINE_BUFFERS_MAX", 0)
    assert ask(url.replace("train", "other"))[0] == 400


def test_a_closed_buffer_is_gone(depot: entrepot.Depot, url: str) -> None:
    depot.lines("train").close()
    with pytest.raises(ConnectionError, match="closed"):
        LineHostMirror(url).write("x\n")
    assert ask(url)[0] == 410


def test_durable_lines_are_served_too(depot: entrepot.Depot, url: str) -> None:
    lines = depot.lines("train", persistent=True)
    lines.write("kept\n")
    with LineHostMirror(url) as mirror:
        mirror.write("also\n")
    assert [entry.text for entry in lines.read().entries] == ["kept", "also"]
    lines.delete()


def test_a_gateway_with_keys_asks_for_one(depot: entrepot.Depot) -> None:
    text, key = access.new_key(rights={"lines": "r"})
    depot.attached.durable().engine.write(access.add, key)
    gateway = HttpGateway(depot)
    gateway.start()
    try:
        url = f"http://127.0.0.1:{gateway.port}/lines/train"
        with pytest.raises(ConnectionError, match="401"):
            LineHostReader(url).read()
        header = {"X-v3io-session-key": text, "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, headers=header)) as reply:
            assert reply.status == 200
        post = urllib.request.Request(url, b'{"type":"close"}', header, method="POST")
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(post)
        refused.value.close()
    finally:
        gateway.close()


# Applications.


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"other"})


def call_asgi(app: Any, method: str, target: str, *pieces: bytes) -> tuple[int, bytes]:
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"content-type", b"application/json")],
    }
    coming = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces or (b"",))
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return coming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


class WithMiddleware:
    """As Starlette and FastAPI take it."""

    def __init__(self) -> None:
        self.app: Any = _not_found

    def add_middleware(self, kind: Callable[..., Any], **options: Any) -> None:
        self.app = kind(self.app, **options)

    async def __call__(self, *arguments: Any) -> None:
        await self.app(*arguments)


@pytest.mark.parametrize("make", [lambda: _not_found, WithMiddleware], ids=["plain", "framework"])
def test_an_asgi_application_serves_the_buffer_beside_its_own(
    depot: entrepot.Depot, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = LineHostBuffer("/l", maxlen=3, depot=depot)
    app = buffer.serve(make())
    body = b'{"type": "str", "data": {"value": "a\\nb\\nc\\nd\\n"}}'
    assert call_asgi(app, "POST", "/l", body[:10], body[10:])[0] == 201
    status, content = call_asgi(app, "GET", "/l?n=2")
    assert (status, json.loads(content)["data"]) == (200, ["c", "d"])
    assert call_asgi(app, "HEAD", "/l") == (200, b"")
    assert call_asgi(app, "OPTIONS", "/l")[0] == 200
    assert call_asgi(app, "PUT", "/l")[0] == 405
    assert call_asgi(app, "GET", "/other") == (404, b"other")
    monkeypatch.setattr(settings, "LINES_BODY_BYTES_MAX", 5)
    assert call_asgi(app, "POST", "/l", body)[0] == 413
    assert (buffer.read(1), len(buffer), buffer.maxlen) == (("d",), 3, 3)
    buffer.close()


def test_flask_serves_the_buffer_and_answers_in_json(
    depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    flask = pytest.importorskip("flask")
    buffer, second = LineHostBuffer("/a/b", depot=depot), LineHostBuffer("/c", depot=depot)
    app = flask.Flask("lines")
    assert buffer.serve(app) is app
    second.serve(app)
    with pytest.raises(AssertionError):
        buffer.serve(app)
    client = app.test_client()
    error = {"type": "error", "data": {"/is_syncsdata": True, "/type": "GroupedMessage"}}
    error["data"].update(type="error", data=["ValueError: bad"])
    assert client.post("/a/b", json=error).status_code == 201
    assert client.get("/a/b").json["data"] == [error["data"]]
    assert list(buffer.read_serialized(1)[0]["data"]) == ["ValueError: bad"]
    assert client.put("/a/b", json={}).status_code == 405
    assert client.get("/a/b/").status_code == 404
    assert client.get("/c").json["data"] == []
    buffer.stop_all_mirrors()
    assert client.get("/a/b-state?state=closed").json["data"] is True
    buffer.reset_states()
    monkeypatch.setattr(settings, "LINES_BODY_BYTES_MAX", 5)
    assert client.post("/a/b", json=error).status_code == 413
    buffer.new_line()
    buffer.clear()
    for one in (buffer, second):
        one.close()
        one.close()
    assert client.get("/c").status_code == 410


@pytest.mark.parametrize(
    ("route", "app", "error"),
    [
        ("", object(), TypeError),
        (5, object(), TypeError),
        ("/l", object(), TypeError),
        ("l", _not_found, ValueError),
    ],
    ids=["empty", "number", "no application", "no slash"],
)
def test_routes_and_applications_that_cannot_be_are_refused(
    depot: entrepot.Depot, route: Any, app: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        LineHostBuffer(route, depot=depot).serve(app)


def test_a_closed_host_buffer_leaves_lines_of_a_name_to_others(depot: entrepot.Depot) -> None:
    body = b'{"type": "str", "data": {"value": "x\\n"}}'
    post = Asked("POST", False, {}, body, "application/json")
    buffer = LineHostBuffer(name="train", depot=depot)
    app = pytest.importorskip("flask").Flask("closed")
    buffer.serve(app)
    route = "/sync-stream"
    assert app.test_client().post(route, json=json.loads(body)).status_code == 201
    buffer.close()
    assert app.test_client().post(route, json=json.loads(body)).status_code == 410
    again = LineHostBuffer(name="train", depot=depot)
    assert answer(depot.lines("train"), post).status == 201
    assert again.read() == ("x", "x")


def test_flask_makes_json_of_what_a_buffer_returns() -> None:
    flask = pytest.importorskip("flask")
    message = GroupedMessage(ValueError("bad"))
    with flask.Flask("items").app_context():
        reply = flask.jsonify({"items": ("line", message)})
    assert reply.json == {"items": ["line", {"type": "error", "data": ["ValueError: bad"]}]}


@pytest.mark.parametrize(("path", "root"), [("/s", ""), ("/api/s", "/api"), ("/s", "/api/")])
def test_a_buffer_is_found_under_the_root_of_an_application(
    depot: entrepot.Depot, path: str, root: str
) -> None:
    sent: list[Any] = []

    async def other(*_: Any) -> None:
        raise AssertionError("the buffer answers")

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "root_path": root, "headers": []}
    asyncio.run(LineHostBuffer("/s", depot=depot).serve(other)(scope, receive, send))
    assert sent[0]["status"] == 200


def test_a_host_buffer_is_not_written_directly_and_goes_with_its_object(
    depot: entrepot.Depot,
) -> None:
    buffer = LineHostBuffer(depot=depot)
    with pytest.raises(NotImplementedError):
        buffer.write("x")
    assert len(depot.list_lines()) == 1
    del buffer
    assert depot.list_lines() == []


def test_the_pool_of_the_original_is_there_where_urllib3_is(url: str) -> None:
    pytest.importorskip("urllib3")
    with webtools.SafePoolManager() as http, http.request("GET", url) as reply:
        assert json.loads(reply.data)["message"] == "success"
