"""v3io's client on a depot, in this process."""

from __future__ import annotations

import copy
import io
import os
import pickle
import struct
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import numpy as np
import pytest

import entrepot
import entrepot.v3io as v3io
from entrepot.errors import UnavailableError
from entrepot.v3io.dataplane import Client, RaiseForStatus, output
from entrepot.v3io.dataplane.response import HttpResponseError, Response
from entrepot.v3io.dataplane.transport import Actions, depot
from support.homes import Home
from support.peers import Peer
from support.v3io_calls import BATCHED, CALLS, Call
from support.v3io_program import EXPECTED, run

Start = Callable[..., Peer]


@pytest.fixture
def client(home: Home) -> Iterator[Client]:
    """Return a client that is given nothing: it works on the depot of the environment."""
    with Client() as client:
        yield client


@pytest.fixture
def lab(client: Client, home: Home) -> Iterator[entrepot.Depot]:
    """Return the depot that the client works on."""
    with home.open() as lab:
        yield lab


def writes_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an entry for each commit of the client, from now on."""
    engine: Any = cast("depot.Transport", client._transport)._store.engine
    found: list[int] = []
    write = engine.write

    def counted(fn: Any, *args: Any) -> Any:
        found.append(1)
        return write(fn, *args)

    monkeypatch.setattr(engine, "write", counted)
    return found


# Which depot.


def test_a_program_tells_what_it_would_tell_over_http(client: Client) -> None:
    assert run(client) == EXPECTED.read_text("utf-8").splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"endpoint": "depot:"},
        {"endpoint": "depot:lab"},
        {"transport_kind": "depot"},
        {"transport_kind": "requests", "endpoint": "depot:lab"},
    ],
    ids=["nothing", "endpoint", "named", "kind", "kind_of_http"],
)
def test_a_client_works_on_a_depot_and_needs_no_key(
    arguments: dict[str, Any], lab: entrepot.Depot
) -> None:
    with Client(**arguments) as other:
        assert isinstance(other._transport, depot.Transport)
        other.object.put("users", "o", body="x")
    assert lab.container("users").get("o") == b"x"


def test_the_environment_names_a_depot(
    lab: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V3IO_API", "depot:lab")
    monkeypatch.setenv("ENTREPOT_DEPOT", "another")
    with Client(transport_kind="requests") as named, v3io.Client() as plain:
        named.kv.put("users", "t", "k", {"a": 1})
        assert plain.kv.get("users", "t", "k").output.item == {"a": 1}
    assert lab.table("users/t").get("k") == {"a": 1}


def test_a_depot_is_no_place_of_another_transport() -> None:
    with pytest.raises(ValueError, match="is not that of a depot"):
        Client(endpoint="http://host:1", transport_kind="depot")


def test_values_are_those_of_the_depots_own_api(client: Client, lab: entrepot.Depot) -> None:
    moment = datetime(2020, 1, 2, 3, 4, 5, 678901, UTC)
    values = {"i": 1, "f": 1.0, "b": b"x", "t": True, "l": [1, 2], "d": [1.5], "m": moment}
    lab.table("users/t").put("native", values)
    client.kv.put("users", "t", "ours", values)
    assert lab.table("users/t").get("ours") == values
    assert client.kv.get("users", "t", "native").output.item == values
    lab.stream("users/s", shards=1).append("one", key="k", info=b"i")
    location = client.stream.seek("users", "s", 0, "EARLIEST").output.location
    (record,) = client.stream.get_records("users", "s", 0, location).output.records
    assert (record.data, record.partition_key, record.client_info) == (b"one", "k", b"i")


# Values.

VALUES = {
    "int": 5,
    "big_int": 1 << 80,
    "float": 5.0,
    "nan_free": float("inf"),
    "text": "ä",
    "long_text": "x" * 61200,
    "bytes": b"\x00",
    "bool": False,
    "ints": [1, 2],
    "doubles": [1.0, 2.0],
    "nothing": [],
    "moment": datetime(2020, 1, 2, 3, 4, 5, 678901, UTC),
    "early": datetime(1960, 1, 2, 3, 4, 5, 1, UTC),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_comes_back_as_it_was(value: object, client: Client) -> None:
    client.kv.put("users", "t", "k", {"a": value})
    (found,) = client.kv.get("users", "t", "k").output.item.values()
    assert (type(found), found) == (type(value), value)
    (item,) = client.kv.scan("users", "t", attribute_names=["a"]).output.items
    assert (type(item["a"]), item["a"]) == (type(value), value)


CONVERTED = {
    "bytearray": (bytearray(b"x"), b"x"),
    "array": (array("i", [7]), [7]),
    "mixed": ([1.5, 2], [1.5, 2.0]),
    "numpy_int": (np.int32(7), 7),
    "numpy_float": (np.float32(0.5), 0.5),
    "numpy_bool": (np.bool_(True), True),
    "zone": (
        datetime(2020, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(2020, 1, 1, tzinfo=UTC),
    ),
}


@pytest.mark.parametrize(("given", "found"), CONVERTED.values(), ids=CONVERTED)
def test_a_value_of_another_type_comes_back_as_its_own(
    given: object, found: object, client: Client
) -> None:
    client.kv.put("users", "t", "k", {"a": given})
    value = client.kv.get("users", "t", "k").output.item["a"]
    assert (type(value), value) == (type(found), found)


@pytest.mark.parametrize("value", [None, {}, 1j, ["x"]], ids=["none", "dict", "complex", "texts"])
def test_a_value_of_no_attributes_type_is_refused(value: object, client: Client) -> None:
    with pytest.raises(AttributeError, match=r"^Attribute a has unsupported type <class '"):
        client.kv.put("users", "t", "k", {"b": 1, "a": value})
    assert client.kv.get("users", "t", "k", raise_for_status=[404]).output.item == {}


def test_bodies_of_other_kinds_are_stored(client: Client) -> None:
    large = "ä" * 700_000
    bodies: list[tuple[Any, bytes]] = [
        (array("d", [1.5]), struct.pack("d", 1.5)), (memoryview(b"abcd")[1:], b"bcd"),
        ({"a": [1, "ä"]}, '{"a":[1,"ä"]}'.encode()), (io.StringIO(large), large.encode()),
        (io.StringIO(""), b""), (iter([b"pie", b"ces"]), b"pieces"),
    ]  # fmt: skip
    for body, found in bodies:
        client.object.put("users", "o", body=body)
        assert client.object.get("users", "o").body == found
    client.object.put("users", "o", body=io.StringIO("!"), append=True)
    assert client.object.get("users", "o").body == b"pieces!"


def test_a_name_that_is_no_text_is_refused(client: Client) -> None:
    attributes: Any = {"a": 1, 5: 1}
    for call in (client.kv.put, client.kv.update):
        with pytest.raises(TypeError, match=r"^an attribute is named 5, a int"):
            call("users", "t", "k", attributes=attributes)
    assert client.kv.get("users", "t", "k", raise_for_status=[404]).output.item == {}


def test_names_may_be_joined_or_alone(client: Client) -> None:
    client.kv.put("users", "t", "k", {"a": 1, "b": 2, "__h": 3})
    get = client.kv.get
    assert get("users", "t", "k").output.item == {"a": 1, "b": 2}
    assert get("users", "t", "k", attribute_names="b,__h").output.item == {"b": 2, "__h": 3}
    assert get("users", "t", "k", attribute_names=("*", "__name")).output.item == {
        "a": 1,
        "b": 2,
        "__name": "k",
    }
    assert get("users", "t", "k", attribute_names=[]).output.item == {"a": 1, "b": 2}
    assert get("users", "t", "k", attribute_names=["a", "**"]).output.item["__h"] == 3
    (item,) = client.kv.scan("users", "t").output.items
    assert item == {"a": 1, "b": 2, "__name": "k"}


# Bodies and headers.

PREPARED: list[Callable[[Client], object]] = [
    lambda c: c.object.put("bigdata", "o/x", body="0123456789"),
    lambda c: c.object.put("bigdata", "dir/sub/x", body="x"),
    lambda c: c.kv.put("bigdata", "dir/tbl", "k1", {"n": 100, "i": 1.0, "l": [1], "b": b"x"}),
    lambda c: c.stream.create("bigdata", "st/s1", 2),
    lambda c: c.stream.put_records(
        "bigdata", "st/s1", [{"data": "x", "shard_id": 1, "client_info": "i", "partition_key": "p"}]
    ),
]
LOCATION = "AAAAAAAAAAEAAAAAAAAAAQ=="
READS: list[tuple[str, type, Callable[[Client], Response]]] = [
    ("containers", output.GetContainersOutput, lambda c: c.get_containers()),
    ("root", output.GetContainerContentsOutput, lambda c: c.container.list("bigdata", "")),
    (
        "directory",
        output.GetContainerContentsOutput,
        lambda c: c.container.list("bigdata", "dir", get_all_attributes=True),
    ),
    (
        "shards",
        output.GetContainerContentsOutput,
        lambda c: c.container.list("bigdata", "st/s1/", get_all_attributes=True),
    ),
    ("item", output.GetItemOutput, lambda c: c.kv.get("bigdata", "dir/tbl", "k1")),
    ("items", output.GetItemsOutput, lambda c: c.kv.scan("bigdata", "dir/tbl")),
    (
        "page",
        output.GetItemsOutput,
        lambda c: c.kv.scan("bigdata", "st/s1", limit=1, attribute_names="__name"),
    ),
    ("stream", output.DescribeStreamOutput, lambda c: c.stream.describe("bigdata", "st/s1")),
    ("seek", output.SeekShardOutput, lambda c: c.stream.seek("bigdata", "st/s1", 1, "EARLIEST")),
    (
        "records",
        output.GetRecordsOutput,
        lambda c: c.stream.get_records("bigdata", "st/s1", 1, LOCATION),
    ),
    (
        "appended",
        output.PutRecordsOutput,
        lambda c: c.stream.put_records(
            "bigdata", "st/s1", [{"data": "x"}, {"data": "", "shard_id": 9}]
        ),
    ),
]


@pytest.mark.parametrize(("kind", "ask"), [r[1:] for r in READS], ids=[r[0] for r in READS])
def test_a_body_is_what_the_output_would_be_made_of(
    kind: Any, ask: Callable[[Client], Response], client: Client
) -> None:
    for prepare in PREPARED:
        prepare(client)
    response = ask(client)
    parsed = Response(kind, 200, response.headers, response.body).output
    assert type(response.output) is kind
    assert repr(parsed) == repr(response.output)
    assert response.headers["Content-Length"] == str(len(response.body))
    assert response.headers.get("content-type") in ("application/json", "application/xml")


def test_a_body_is_made_when_somebody_looks(client: Client) -> None:
    client.kv.put("users", "t", "k", {"a": 1.0})
    response = client.kv.get("users", "t", "k")
    assert "body" not in vars(response)
    assert response.body == b'{"Item":{"a":{"N":"1.0"}}}'
    response.body = b"mine"
    assert response.body == b"mine"
    assert response.output.item == {"a": 1.0}
    with pytest.raises(AttributeError, match="no attribute 'bodies'"):
        _ = cast("Any", response).bodies


def test_a_response_can_be_copied_and_pickled(client: Client) -> None:
    client.kv.put("users", "t", "k", {"a": 1})
    response = client.kv.get("users", "t", "k")
    for other in (copy.copy(response), pickle.loads(pickle.dumps(response))):
        assert (other.status_code, other.output.item, other.body) == (200, {"a": 1}, response.body)
        assert other.headers["Content-Length"] == response.headers["Content-Length"]


def test_what_is_written_tells_the_condition_of_its_next_change(client: Client) -> None:
    first = client.kv.put("users", "t", "k", {"a": 1}).headers["X-v3io-transaction-verifier"]
    read = client.kv.get("users", "t", "k").headers
    assert read["X-v3io-transaction-verifier"] == first
    assert read["Last-Modified"].endswith(" GMT")
    client.kv.update("users", "t", "k", attributes={"a": 2}, condition=first)
    with pytest.raises(HttpResponseError, match="-16777244") as caught:
        client.kv.update("users", "t", "k", attributes={"a": 3}, condition=first)
    assert caught.value.status_code == 400
    assert str(caught.value).count("ErrorCode") == 1


# Errors.


def test_an_unexpected_status_raises_what_it_raises_over_http(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    body = b'{"ErrorCode":-2,"ErrorMessage":"Container not found"}'
    with Client() as client, pytest.raises(HttpResponseError) as caught:
        client.kv.get("nobody", "t", "k")
    assert str(caught.value) == f"Request failed with status 404: {body!r}"
    assert caught.value.status_code == 404
    assert "Response error: Request failed with status 404" in capsys.readouterr().out


def test_statuses_raise_as_they_are_told(client: Client) -> None:
    client.object.put("users", "o")
    get = client.object.get
    assert get("users", "no", raise_for_status=RaiseForStatus.never).status_code == 404
    assert get("users", "no", raise_for_status=[200, 404]).status_code == 404
    assert get("users", "o", raise_for_status=[]).status_code == 200
    assert client.object.delete("users", "o", raise_for_status=[204]).status_code == 204
    for expected in (None, [], RaiseForStatus.always, [200]):
        with pytest.raises(HttpResponseError, match="No such file"):
            get("users", "o", raise_for_status=expected)
    client.object.put("users", "o")
    with pytest.raises(HttpResponseError, match="status 200"):
        get("users", "o", raise_for_status=[404])
    with pytest.raises(ValueError, match="not 'never', 'always' or statuses"):
        get("users", "o", raise_for_status="sometimes")


CALLERS_ERRORS: list[tuple[str, Callable[[Any], object], type[Exception], str]] = [
    ("nothing_to_update", lambda c: c.kv.update("b", "t", "k"), RuntimeError, "One of expression"),
    (
        "only_an_alternate",
        lambda c: c.kv.update("b", "t", "k", alternate_expression="a=1"),
        RuntimeError,
        "One of expression",
    ),
    ("no_path", lambda c: c.object.get("b", ""), IndexError, ""),
    ("no_path_to_put", lambda c: c.object.put("b", ""), IndexError, ""),
    ("no_path_to_delete", lambda c: c.object.delete("b", ""), IndexError, ""),
    ("key", lambda c: c.kv.put("b", "t", 5, {"a": 1}), TypeError, ""),
    (
        "seek",
        lambda c: c.stream.seek("b", "s", 0, "NOW"),
        ValueError,
        r"Unsupported seek_type \(NOW",
    ),
    ("no_data", lambda c: c.stream.put_records("b", "s", [{}]), KeyError, "data"),
    ("data", lambda c: c.stream.put_records("b", "s", [{"data": 5}]), TypeError, "data is a int"),
    ("no_dict", lambda c: c.kv.put("b", "t", "k", [1]), AttributeError, ""),
]


@pytest.mark.parametrize(
    ("ask", "error", "text"), [e[1:] for e in CALLERS_ERRORS], ids=[e[0] for e in CALLERS_ERRORS]
)
@pytest.mark.parametrize("is_batched", [False, True], ids=["at_once", "in_a_batch"])
def test_what_cannot_be_encoded_over_http_is_the_callers_error(
    ask: Callable[[Any], object],
    error: type[Exception],
    text: str,
    is_batched: bool,
    client: Client,
) -> None:
    with pytest.raises(error, match=text or None):
        ask(client.batch if is_batched else client)


NEVER: Any = {"raise_for_status": RaiseForStatus.never}
FIVE: Any = 5
BAD: dict[str, tuple[Callable[[Client], Response], int, int]] = {
    "container_name": (lambda c: c.object.put("No Name", "o", **NEVER), 400, -22),
    "no_container_name": (lambda c: c.object.get("No Name", "o", **NEVER), 404, -2),
    "no_such_item": (lambda c: c.kv.get("No Name", "t", "k", **NEVER), 404, -2),
    "parent": (lambda c: c.kv.get("b", "t", "..", **NEVER), 400, -22),
    "empty_key": (lambda c: c.kv.put("b", "t", "", {"a": 1}, **NEVER), 400, -22),
    "empty_key_to_get": (lambda c: c.kv.get("b", "t", "", **NEVER), 400, -22),
    "name": (lambda c: c.kv.put("b", "t", "k", {"": 1}, **NEVER), 400, -22),
    "long_name": (lambda c: c.kv.put("b", "t", "k", {"n" * 256: 1}, **NEVER), 400, -22),
    "condition": (lambda c: c.kv.put("b", "t", "k", {}, condition=FIVE, **NEVER), 400, -22),
    "offset": (lambda c: c.object.get("b", "o", offset=-1, **NEVER), 400, -22),
    "offset_type": (lambda c: c.object.get("b", "o", offset=cast("Any", "x"), **NEVER), 400, -22),
    "shard_type": (
        lambda c: c.stream.put_records("b", "s", [{"data": "", "shard_id": 1.5}], **NEVER),
        400,
        -201326592,
    ),
    "sharding_key": (lambda c: c.kv.scan("b", "t", sharding_key=FIVE, **NEVER), 400, -22),
    "limit": (
        lambda c: c.stream.get_records("b", "s", 0, "x", limit=-1, **NEVER),
        400,
        -201326592,
    ),
    "root_stream": (lambda c: c.stream.create("b", "/", 1, **NEVER), 409, -17),
    "root_of_none": (lambda c: c.stream.describe("b", "/", **NEVER), 404, -2),
}


@pytest.mark.parametrize(("ask", "status", "code"), BAD.values(), ids=BAD)
def test_bad_input_is_answered_as_such(
    ask: Callable[[Client], Response], status: int, code: int, client: Client
) -> None:
    response = ask(client)
    assert (response.status_code, f'"ErrorCode":{code},' in response.body.decode()) == (
        status,
        True,
    )


def test_the_errors_of_a_listing_are_its_output(client: Client) -> None:
    page = client.container.list("nobody", "", raise_for_status="never").output
    assert page.error == {"ErrorCode": -2, "ErrorMessage": "Container not found"}


def test_an_item_that_exists_says_so_twice(client: Client) -> None:
    client.kv.put("b", "t", "k", {"a": 1})
    with pytest.raises(HttpResponseError, match="-369098809") as caught:
        client.kv.update("b", "t", "k", attributes={"a": 1}, update_mode="CreateNewItemOnly")
    assert str(caught.value).count('"ErrorCode"') == 2


def test_a_location_that_retention_dropped_is_illegal(
    client: Client, lab: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: now - 2 * 3600 * 10**9)
        client.stream.create("users", "s", 1, retention_period_hours=1)
        client.stream.put_records("users", "s", [{"data": "old"}])
    location = client.stream.seek("users", "s", 0, "EARLIEST").output.location
    client.stream.put_records("users", "s", [{"data": "new"}])
    with pytest.raises(HttpResponseError, match="IllegalLocationException"):
        client.stream.get_records("users", "s", 0, location)
    location = client.stream.seek("users", "s", 0, "EARLIEST").output.location
    (record,) = client.stream.get_records("users", "s", 0, location).output.records
    assert (record.data, record.sequence_number) == (b"new", 2)


# Objects.


def test_a_file_is_read_piece_by_piece(client: Client) -> None:
    class Counting(io.RawIOBase):
        left, largest = 5_000_000, 0

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            assert size > 0, "it was asked for all at once"
            piece = b"x" * min(size, self.left)
            self.left -= len(piece)
            return piece

    client.object.put("users", "large", body=cast("Any", Counting()))
    client.object.put("users", "large", body=cast("Any", io.BytesIO(b"end")), append=True)
    assert client.object.head("users", "large").headers["Content-Length"] == "5000003"
    response = client.object.get("users", "large", offset=4_999_998)
    assert (response.status_code, response.body) == (206, b"xxend")
    assert response.headers["Content-Range"] == "bytes 4999998-5000002/5000003"


def test_a_directory_is_listed_in_pages_over_all_kinds(client: Client) -> None:
    for number in range(5):
        client.object.put("users", f"d/{number}", body="x" * number)
        client.object.put("users", f"d/{number}s/x")
    seen: list[str] = []
    marker = None
    while True:
        page = client.container.list("users", "d", limit=3, marker=marker).output
        seen += sorted([c.key for c in page.contents] + [p.prefix for p in page.common_prefixes])
        marker = page.next_marker
        if page.is_truncated == "false":
            break
    assert seen == sorted(seen, key=lambda path: path.rstrip("/"))
    assert len(seen) == 10


def test_a_table_is_read_over_many_pages(client: Client) -> None:
    batch = client.create_batch()
    for number in range(2500):
        batch.kv.put("users", "t", f"{number:04}", {"n": number})
    batch.wait()
    cursor = client.kv.new_cursor("users", "t", filter_expression="n >= 100")
    assert [item["n"] for item in cursor.all()] == list(range(100, 2500))
    cursor = client.kv.new_cursor("users", "t", limit=1100, attribute_names=["n"])
    assert cursor.next_item() == {"n": 0}
    assert [item["n"] for item in cursor.all()] == list(range(1, 1100))
    assert (cursor.next_item(), cursor.all()) == (None, [])
    page = client.kv.scan("users", "t", limit=7)
    rest = client.kv.new_cursor("users", "t", marker=page.output.next_marker, limit=2).all()
    assert [item["__name"] for item in rest] == ["0007", "0008"]


# Batches.


def test_the_writes_of_a_batch_are_one_commit(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.stream.create("users", "s", 1)
    commits = writes_of(client, monkeypatch)
    for number in range(20):
        client.batch.kv.put("users", "t", f"k{number}", {"n": number})
        client.batch.object.put("users", f"o{number}", body=str(number))
        client.batch.stream.put_records("users", "s", [{"data": str(number)}])
    client.batch.kv.update("users", "t", "k0", expression="n = n + 100")
    client.batch.kv.delete("users", "t", "k1")
    responses = client.batch.wait()
    assert [r.status_code for r in responses] == [200] * 61 + [204]
    assert len(commits) == 1
    assert [r.output.records[0].sequence_number for r in responses[2:60:3]] == list(range(1, 21))
    assert client.kv.get("users", "t", "k0").output.item == {"n": 100}
    assert client.kv.get("users", "t", "k1", raise_for_status=[404]).status_code == 404


def test_each_write_of_a_batch_fails_on_its_own(client: Client) -> None:
    put = client.batch.kv.put
    put("users", "t", "a", {"n": 1})
    put("users", "t", "b", {"n": 1}, condition="n == 5")
    put("users", "t", "c", {"n": 1}, condition="n ==")
    put("users", "t", "d", {"n": 1}, raise_for_status=[200])
    responses = client.batch.wait(raise_for_status=RaiseForStatus.never)
    assert [r.status_code for r in responses] == [200, 400, 400, 200]
    assert [i["__name"] for i in client.kv.scan("users", "t").output.items] == ["a", "d"]
    put("users", "t", "e", {"n": 1}, condition="n == 5")
    put("users", "t", "f", {"n": 1})
    with pytest.raises(HttpResponseError, match="-16777244"):
        client.batch.wait()
    assert client.batch.wait() == []
    assert client.kv.get("users", "t", "f").output.item == {"n": 1}


def test_reads_of_a_batch_see_what_was_written_before_them(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.kv.put("users", "t", "k", {"n": 0})
    commits = writes_of(client, monkeypatch)
    batch = client.create_batch()
    batch.kv.get("users", "t", "k")
    batch.kv.update("users", "t", "k", expression="n = n + 1")
    batch.kv.get("users", "t", "k")
    batch.container.list("users", "t")
    batch.kv.put("users", "t", "l", {"n": 0})
    before, _, after, listing, _ = batch.wait()
    assert (before.output.item, after.output.item) == ({"n": 0}, {"n": 1})
    assert [c.key for c in listing.output.contents] == ["t/k", "t/l"]
    assert len(commits) == 1


def test_what_fails_in_an_unforeseen_way_keeps_no_other_from_its_answer(client: Client) -> None:
    key: Any = 5
    first: Any = client.kv.get("users", "t", key, transport_actions=Actions.encode_only)
    second: Any = client.kv.put("users", "t", "k", {"n": 1}, transport_actions=Actions.encode_only)
    for request in (first, second):
        client._transport.send_request(request)
    assert client._transport.wait_response(second).status_code == 200
    with pytest.raises(TypeError):
        client._transport.wait_response(first)


def test_an_interrupted_batch_is_not_done_once_more(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.kv.put("users", "t", "k", {"n": 1})
    queued = [
        cast("Any", client.kv.update("users", "t", "k", None, None, 1, expression="n = n + 1"))
        for _ in range(2)
    ]
    for request in queued:
        client._transport.send_request(request)

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        engine: Any = cast("depot.Transport", client._transport)._store.engine
        patched.setattr(engine, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client._transport.wait_response(queued[0])
    with pytest.raises(UnavailableError, match="may be done, or not"):
        client._transport.wait_response(queued[1])
    assert client.kv.get("users", "t", "k").output.item == {"n": 1}


def test_what_is_queued_does_not_change_with_what_it_was_given(client: Client) -> None:
    attributes = {"n": 1}
    client.batch.kv.put("users", "t", "k", attributes)
    attributes["n"] = 2
    client.batch.wait()
    assert client.kv.get("users", "t", "k").output.item == {"n": 1}


def test_large_bodies_keep_their_place_in_a_batch(client: Client) -> None:
    client.batch.object.put("users", "o", body="first")
    client.batch.object.put("users", "o", body=b"x" * 1_000_000)
    client.batch.object.put("users", "o", body="!", append=True)
    client.batch.object.get("users", "o", offset=999_999)
    client.batch.object.put("users", "p", body=b"y" * 1_000_000)
    client.batch.object.put("users", "p", body="last")
    responses = client.batch.wait()
    assert [r.status_code for r in responses] == [200, 200, 200, 206, 200, 200]
    assert responses[3].body == b"x!"
    assert client.object.get("users", "p").body == b"last"


def test_a_stream_is_deleted_in_its_turn(client: Client) -> None:
    client.batch.stream.create("users", "s", 3)
    client.batch.stream.put_records("users", "s", [{"data": "x"}])
    client.batch.stream.delete("users", "s")
    client.batch.delete_stream("users", "s", raise_for_status=[404])
    assert [r.status_code for r in client.batch.wait()] == [204, 200, 204, 404]


@pytest.mark.parametrize("call", BATCHED, ids=lambda call: call.id)
def test_a_batch_answers_as_a_call_does(call: Call, client: Client) -> None:
    for prepare in PREPARED:
        prepare(client)
    batch = client.create_batch()
    call.on(batch)
    (response,) = batch.wait(raise_for_status=RaiseForStatus.never)
    assert response.status_code in (200, 204, 206, 400, 404, 409)
    assert isinstance(response.body, bytes)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.id)
def test_what_is_only_encoded_looks_as_over_http(call: Call, client: Client) -> None:
    kwargs = {**call.kwargs, "transport_actions": Actions.encode_only}
    model = getattr(client, call.model)
    request: Any = getattr(model, call.name)(*call.args, **kwargs)
    assert request.method == call.method
    assert request.encode_path() == call.target
    assert (request.body or b"") == call.body_bytes
    assert request.headers.get("X-v3io-function") == call.function
    assert client.get_containers().output.containers == []


def test_what_is_not_only_encoded_is_done(client: Client) -> None:
    for number, action in enumerate((None, Actions.encode_and_send, Actions.send_and_receive)):
        put = client.kv.put("users", "t", "k", {"a": number}, None, None, action)
        assert put.status_code == 200
        assert client.kv.get("users", "t", "k", None, None, action).output.item == {"a": number}


def test_what_is_only_encoded_is_done_when_somebody_waits(client: Client) -> None:
    client.kv.put("users", "t", "k", {"a": 1})
    queued: Any = client.kv.put("users", "t", "k", {"a": 2}, None, None, Actions.encode_only)
    client._transport.send_request(queued)
    client._transport.abandon_request(queued)
    assert client.kv.get("users", "t", "k").output.item == {"a": 1}
    assert client._transport.wait_response(queued).status_code == 200
    assert client.kv.get("users", "t", "k").output.item == {"a": 2}
    with pytest.raises(TypeError, match="requests that it has made itself"):
        client._transport.send_request(cast("Any", object()))
    with pytest.raises(AttributeError, match="no attribute 'verb'"):
        _ = queued.verb
    assert not queued.rewind_body()


def test_an_operation_that_nobody_knows_is_refused(client: Client) -> None:
    def encode_dance(*_: Any) -> Any:
        raise NotImplementedError

    with pytest.raises(TypeError, match="no operation that a depot does"):
        client._transport.request("users", None, None, None, encode_dance, {})


def test_older_names_do_the_same(client: Client) -> None:
    client.put_items("users", "t", {"a": {"n": 1}, "b": {"n": 2}})
    assert client.get_item("users", "t/a").output.item == {"n": 1}
    found = client.new_items_cursor("users", "t", attribute_names=["n"]).all()
    assert found == [{"n": 1}, {"n": 2}]
    client.create_stream("users", "s", 1)
    client.put_records("users", "s", [{"data": "x"}])
    location = client.seek_shard("users", "s/0", "EARLIEST").output.location
    assert client.get_records("users", "s/0", location).output.records[0].data == b"x"


# Threads, forks, the end.


def test_threads_share_a_client(client: Client) -> None:
    def work(number: int) -> None:
        for at in range(10):
            client.kv.update("users", "t", "count", expression="n = if_not_exists(n, 0) + 1")
            client.kv.put("users", f"t{number}", str(at), {"n": at})
            batch = client.create_batch()
            for each in range(3):
                batch.object.put("users", f"o{number}/{at}/{each}")
            batch.wait()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.kv.get("users", "t", "count").output.item == {"n": 40}
    assert all(len(client.kv.scan("users", f"t{n}").output.items) == 10 for n in range(4))


def test_a_forked_child_uses_the_client_it_inherited(home: Home, peers: Start) -> None:
    def work(_: Any) -> tuple[int, Any]:
        client = Client(endpoint="depot:lab")
        client.kv.put("users", "t", "k", {"n": 1})
        child = os.fork()
        if child == 0:
            code = 1
            try:
                client.batch.kv.update("users", "t", "k", expression="n = n + 1")
                client.batch.wait()
                code = 0 if client.kv.get("users", "t", "k").output.item == {"n": 2} else 2
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        found = client.kv.get("users", "t", "k").output.item
        client.close()
        return status, found

    with home.open():
        environment = {"ENTREPOT_DIR": str(home.root), "ENTREPOT_DATA": str(home.data)}
        assert peers(environment=environment).run(work) == (0, {"n": 2})


def test_a_closed_client_does_nothing(client: Client, home: Home) -> None:
    client.kv.put("users", "t", "k", {"n": 1})
    client.batch.kv.put("users", "t", "k", {"n": 2})
    client.close()
    client.close()
    for ask in (
        lambda: client.kv.get("users", "t", "k"),
        lambda: client.kv.put("users", "t", "k", {"n": 2}),
        lambda: client.batch.kv.put("users", "t", "k", {"n": 2}),
        client.batch.wait,
        client.get_containers,
    ):
        with pytest.raises(RuntimeError, match="Cannot send request on a closed client"):
            ask()
    with home.open() as lab:
        assert lab.table("users/t").get("k") == {"n": 1}


def test_clients_of_one_process_end_on_their_own(client: Client) -> None:
    with Client() as other:
        other.object.put("users", "o", body="x")
    assert client.object.get("users", "o").body == b"x"


def test_a_depot_that_was_removed_is_busy_for_good(client: Client, home: Home) -> None:
    home.open().destroy()
    response = client.kv.get("users", "t", "k", raise_for_status="never")
    assert (response.status_code, b"was removed" in response.body) == (503, True)


def test_each_operation_is_logged_where_that_is_wanted(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(logger_verbosity="DEBUG", transport_verbosity="DEBUG") as client:
        client.object.put("users", "o", body="x")
    told = capsys.readouterr().out
    assert "Tx: {'operation': 'encode_put_object', 'container': 'users', 'path': 'o'" in told
    assert "Rx: {'status_code': 200" in told
