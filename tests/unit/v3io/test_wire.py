"""What operations send: over the wire, from a batch and by the package requests."""

from __future__ import annotations

import io
import struct
import threading
from array import array
from typing import Any

import pytest

from entrepot.v3io.common.helpers import url_join
from entrepot.v3io.dataplane import Client
from entrepot.v3io.dataplane.response import HttpResponseError
from support.http_server import DROP, Asked, HttpServer, Reply
from support.v3io_calls import BATCHED, CALLS, Call

each_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)


def check(call: Call, asked: Asked) -> None:
    assert (asked.method, asked.target, asked.function) == (
        call.method,
        call.target,
        call.function,
    )
    assert asked.body == call.body_bytes
    assert asked.headers["X-v3io-session-key"] == "secret"
    for name, value in call.headers.items():
        assert asked.headers[name] == value
    if call.function:
        expected = "application/json" if call.body_bytes else None
        assert asked.headers.get("Content-Type") == expected
    if call.name != "get":
        return
    if "Range" not in call.headers:
        assert "Range" not in asked.headers


@each_call
def test_an_operation_sends_what_the_original_sends(
    call: Call, client: Client, server: HttpServer
) -> None:
    response = call.on(client)
    assert response.status_code == 200
    (asked,) = server.asked
    check(call, asked)
    if call.method in ("PUT", "POST"):
        assert asked.headers["Content-Length"] == str(len(call.body_bytes))
    assert asked.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("call", BATCHED, ids=lambda call: call.id)
def test_a_batch_sends_the_same_request(call: Call, client: Client, server: HttpServer) -> None:
    assert call.on(client.batch) is None
    assert not server.asked
    (response,) = client.batch.wait()
    assert response.status_code == 200
    check(call, server.asked[0])


@each_call
def test_the_package_requests_sends_the_same_request(call: Call, server: HttpServer) -> None:
    reply = Reply(200, b"", {"X-Of-The-Reply": "1"})
    server.replies.append(reply)
    with Client(endpoint=server.url, access_key="secret", transport_kind="requests") as client:
        response = call.on(client)
    assert response.headers["X-Of-The-Reply"] == "1"
    check(call, server.asked[0])


def test_appending_sends_no_content_type(client: Client, server: HttpServer) -> None:
    client.object.put("bigdata", "o/x", body="AB", append=True)
    assert "Content-Type" not in server.asked[0].headers


def test_bodies_of_other_kinds_are_sent(client: Client, server: HttpServer) -> None:
    bodies: list[Any] = [
        array("d", [1.5]), memoryview(b"abcd")[::2], {"a": [1, "ä"]}, io.StringIO("text"),
        iter([b"pie", b"ces"]),
    ]  # fmt: skip
    for body in bodies:
        client.object.put("bigdata", "o/x", body=body)
    assert [asked.body for asked in server.asked] == [
        struct.pack("d", 1.5), b"ac", '{"a":[1,"ä"]}'.encode(), b"text", b"pieces"
    ]  # fmt: skip
    kinds = ["octet-stream", "octet-stream", "/json", "octet-stream", "octet-stream"]
    for asked, kind in zip(server.asked, kinds, strict=True):
        assert asked.headers["Content-Type"] == f"application{'' if kind[0] == '/' else '-'}{kind}"


def test_a_file_is_streamed_in_chunks(client: Client, server: HttpServer) -> None:
    contents = bytes(range(256)) * 3000
    client.object.put("bigdata", "o/x", body=io.BytesIO(contents))
    assert server.asked[0].body == contents
    assert "Content-Length" not in server.asked[0].headers


def test_a_file_is_sent_again_from_where_it_was(client: Client, server: HttpServer) -> None:
    server.replies += [DROP, Reply()]
    file = io.BytesIO(b"0123456789")
    file.seek(4)
    client.object.put("bigdata", "o/x", body=file)
    assert [asked.body for asked in server.asked] == [b"456789", b"456789"]


class Pipe(io.RawIOBase):
    """Reads once, and cannot go back."""

    def __init__(self, contents: bytes) -> None:
        super().__init__()
        self._file = io.BytesIO(contents)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        return self._file.read(size)


def test_what_cannot_be_read_twice_is_not_sent_twice(client: Client, server: HttpServer) -> None:
    server.replies += [DROP, Reply()]
    with pytest.raises(ConnectionError):
        client.object.put("bigdata", "o/x", body=Pipe(b"once"))
    assert [asked.body for asked in server.asked] == [b"once"]


def test_an_access_key_of_one_call_goes_before_that_of_the_client(
    client: Client, server: HttpServer
) -> None:
    client.object.get("bigdata", "o/x", access_key="other")
    assert server.asked[0].headers["X-v3io-session-key"] == "other"


def test_containers_are_listed_at_the_root(client: Client, server: HttpServer) -> None:
    assert client.get_containers().output is None
    assert (server.asked[0].method, server.asked[0].target) == ("GET", "/")


def test_an_endpoint_may_have_a_path(server: HttpServer) -> None:
    with Client(endpoint=f"{server.url}/under//", access_key="k") as client:
        client.object.get("bigdata", "x")
    assert server.asked[0].target == "/under/bigdata/x"


def test_an_endpoint_needs_no_scheme(server: HttpServer) -> None:
    with Client(endpoint=f"127.0.0.1:{server.server_port}", access_key="k") as client:
        assert client.object.get("bigdata", "x").status_code == 200


LEGACY = [
    ("get_container_contents", ("bigdata", "d"), {}, "GET", "/bigdata?prefix=d"),
    ("get_object", ("bigdata", "o/x"), {}, "GET", "/bigdata/o/x"),
    ("put_object", ("bigdata", "o/x"), {"body": "b"}, "PUT", "/bigdata/o/x"),
    ("delete_object", ("bigdata", "o/x"), {}, "DELETE", "/bigdata/o/x"),
    ("put_item", ("bigdata", "t//k", {"a": 1}), {}, "PUT", "/bigdata/t//k"),
    ("update_item", ("bigdata", "t/k"), {"expression": "a=1"}, "POST", "/bigdata/t/k"),
    ("get_item", ("bigdata", "/t/k"), {}, "PUT", "/bigdata/t/k"),
    ("get_items", ("bigdata", "t"), {}, "PUT", "/bigdata/t/"),
    ("delete_item", ("bigdata", "k"), {}, "DELETE", "/bigdata/k"),
    ("create_schema", ("bigdata", "t"), {"key": "id"}, "PUT", "/bigdata/t/.%23schema"),
    ("create_stream", ("bigdata", "s", 1), {}, "POST", "/bigdata/s/"),
    ("update_stream", ("bigdata", "s", 1), {}, "POST", "/bigdata/s/"),
    ("describe_stream", ("bigdata", "s/"), {}, "PUT", "/bigdata/s/"),
    ("seek_shard", ("bigdata", "s/1", "LATEST"), {}, "PUT", "/bigdata/s/1/"),
    ("get_records", ("bigdata", "s/1/", "L"), {}, "PUT", "/bigdata/s/1/"),
    ("put_records", ("bigdata", "s", []), {}, "POST", "/bigdata/s/"),
]


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "method", "target"), LEGACY, ids=[row[0] for row in LEGACY]
)
def test_an_older_name_sends_the_same_request(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    method: str,
    target: str,
    client: Client,
    server: HttpServer,
) -> None:
    getattr(client, name)(*args, **kwargs)
    if name not in ("create_schema", "update_stream", "delete_item"):
        getattr(client.batch, name)(*args, **kwargs)
        client.batch.wait()
    assert {(asked.method, asked.target) for asked in server.asked} == {(method, target)}


def test_an_older_name_wants_the_number_of_the_shard(client: Client) -> None:
    with pytest.raises(ValueError, match="number of a shard"):
        client.get_records("bigdata", "s/", "L")


def test_put_items_tells_whether_all_were_written(client: Client, server: HttpServer) -> None:
    server.replies += [Reply(), Reply(400, b"no"), Reply()]
    items = {"a": {"n": 1}, "b": {"n": 2}}
    responses = client.put_items("bigdata", "t", items, raise_for_status="never", condition="c")
    assert [response.status_code for response in responses.responses] == [200, 400]
    assert not responses.success
    with pytest.raises(HttpResponseError, match="Failed to put items"):
        responses.raise_for_status()
    assert [asked.target for asked in server.asked] == ["/bigdata/t/a", "/bigdata/t/b"]
    assert b'"ConditionExpression":"c"' in server.asked[1].body


LISTING = (
    "<ListBucketResult><Name>bigdata</Name><NextMarker>{}</NextMarker>"
    "<IsTruncated>{}</IsTruncated>{}</ListBucketResult>"
)


def listing(keys: list[str], *, more: bool) -> Reply:
    contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    text = LISTING.format(keys[-1] if keys else "", str(more).lower(), contents)
    return Reply(200, text.encode())


@pytest.mark.parametrize("batched", [False, True], ids=["at_once", "in_a_batch"])
def test_deleting_a_stream_deletes_all_that_is_in_it(
    batched: bool, client: Client, server: HttpServer
) -> None:
    pages = [listing(["s/0", "s/1"], more=True), listing(["s/2"], more=False)]
    server.answer = lambda asked: pages.pop(0) if asked.method == "GET" else Reply(204)
    if batched:
        client.batch.stream.delete("bigdata", "s")
        (response,) = client.batch.wait([204])
    else:
        response = client.stream.delete("bigdata", "s", raise_for_status=[204])
    assert response.status_code == 204
    assert [(asked.method, asked.target) for asked in server.asked] == [
        ("GET", "/bigdata?prefix=s%2F"),
        ("DELETE", "/bigdata/s/0"),
        ("DELETE", "/bigdata/s/1"),
        ("GET", "/bigdata?prefix=s%2F&marker=s%2F1"),
        ("DELETE", "/bigdata/s/2"),
        ("DELETE", "/bigdata/s/"),
    ]


def test_deleting_a_stream_that_is_missing_says_so(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(404, b'{"ErrorCode": -2}')
    assert client.delete_stream("bigdata", "s", raise_for_status="never").status_code == 404
    with pytest.raises(HttpResponseError) as caught:
        client.stream.delete("bigdata", "s")
    assert caught.value.status_code == 404
    client.batch.delete_stream("bigdata", "s")
    with pytest.raises(HttpResponseError):
        client.batch.wait()
    assert {asked.method for asked in server.asked} == {"GET"}


BAD = [
    ("empty_path", lambda c: c.object.get("bigdata", ""), IndexError, "index"),
    ("key_that_is_no_text", lambda c: c.kv.get("bigdata", "t", 5), TypeError, "join"),
    ("nothing_to_update", lambda c: c.kv.update("b", "t", "k"), RuntimeError, "One of expression"),
    (
        "only_an_alternate",
        lambda c: c.kv.update("b", "t", "k", alternate_expression="a=1"),
        RuntimeError,
        "One of expression",
    ),
    (
        "unknown_seek",
        lambda c: c.stream.seek("b", "s", 0, "early"),
        ValueError,
        r"Unsupported seek_type \(early\) for seek_shard.*SEQUENCE, TIME, EARLIEST, LATEST",
    ),
    ("no_data", lambda c: c.stream.put_records("b", "s", [{"x": 1}]), KeyError, "data"),
]


@pytest.mark.parametrize(
    ("call", "error", "text"), [row[1:] for row in BAD], ids=[r[0] for r in BAD]
)
def test_wrong_arguments_are_refused_before_anything_is_sent(
    call: Any, error: type[Exception], text: str, client: Client, server: HttpServer
) -> None:
    with pytest.raises(error, match=text):
        call(client)
    assert not server.asked


@pytest.mark.parametrize(
    ("base", "parts", "path"),
    [("b", ("x",), "/b/x"), ("/b", ("/x",), "/b/x"), ("b", ("//x", "y"), "/b//x/y")],
    ids=["plain", "rooted", "doubled"],
)
def test_joined_paths_have_one_slash_in_front(base: str, parts: tuple[str], path: str) -> None:
    assert url_join(base, *parts) == path


def test_threads_share_a_client(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(200, asked.target.encode())
    wrong: list[str] = []

    def ask(who: int) -> None:
        for i in range(30):
            path = f"/bigdata/{who}/{i}"
            if client.object.get("bigdata", f"{who}/{i}").body != path.encode():
                wrong.append(path)

    threads = [threading.Thread(target=ask, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert server.connections_made <= 3
