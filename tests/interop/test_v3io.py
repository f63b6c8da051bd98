"""v3io's client against our gateway: the original 0.7.2 and our face of it, sync and aio.

One set of cases; a sync client is called through a wrapper that makes what it returns
awaitable. The gateway has a loop and a thread of its own.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import io
from array import array
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest

from support.homes import Home

pytest.importorskip("httptools", reason="pip install 'entrepot[serve]'")

from entrepot.gateways.http import HttpGateway

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

C = "bigdata"
MOMENT = datetime(2020, 1, 2, 3, 4, 5, 678901, UTC)
ATTRIBUTES = {
    "i": 1, "zero": 0, "f": 1.0, "nan": -2.5e-7, "s": "ä\n", "e": "", "b": b"\x00\xff", "t": True, "no": False,
    "li": [1, -2], "lf": [1.0, 2.5], "el": [], "ts": MOMENT, "big": 2**80,
}  # fmt: skip


class Subject(NamedTuple):
    """A client, and what belongs to it."""

    client: Any
    """Its models return awaitables, whichever it is."""
    plain: Any
    """The client itself."""
    error: type[Exception]
    never: Any
    """A `RaiseForStatus` that never raises."""
    is_aio: bool
    is_original: bool
    gateway: HttpGateway


class _Awaitable:
    """A sync client whose calls can be awaited."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return _Awaitable(found)
        if name == "new_cursor":
            return lambda *args, **kwargs: _Awaitable(found(*args, **kwargs))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return found(*args, **kwargs)

        return call


@pytest.fixture
def gateway(home: Home) -> Iterator[HttpGateway]:
    with home.open("64M") as depot:
        depot.create_container(C)
        gateway = HttpGateway(depot)
        gateway.start()
        yield gateway
        gateway.close()


@pytest.fixture(params=["original-sync", "original-aio", "face-sync", "face-aio"])
async def subject(request: pytest.FixtureRequest, gateway: HttpGateway) -> AsyncIterator[Subject]:
    kind, _, manner = request.param.partition("-")
    if kind == "original" and find_spec("v3io") is None:
        pytest.skip("pip install v3io==0.7.2")
    if manner == "aio" and find_spec("aiohttp") is None:
        pytest.skip("pip install aiohttp")
    top = "v3io" if kind == "original" else "entrepot.v3io"
    sync = importlib.import_module(f"{top}.dataplane")
    error = importlib.import_module(f"{top}.dataplane.response").HttpResponseError
    endpoint = f"http://127.0.0.1:{gateway.port}"
    if manner == "sync":
        client = sync.Client(endpoint=endpoint, access_key="key")
        wrapped: Any = _Awaitable(client)
    else:
        module = importlib.import_module(f"{top}.aio.dataplane")
        wrapped = client = module.Client(endpoint=endpoint, access_key="key")
    yield Subject(
        wrapped, client, error, sync.RaiseForStatus.never, manner == "aio", kind == "original", gateway
    )  # fmt: skip
    closing = client.close()
    if inspect.isawaitable(closing):
        await closing
        await asyncio.sleep(0)  # aiohttp closes its sockets a turn later


async def fails(subject: Subject, call: Any, status: int, text: str = "") -> None:
    with pytest.raises(subject.error) as raised:
        await call
    assert raised.value.status_code == status
    assert text in str(raised.value)


# Objects and containers.


async def test_objects_are_put_got_and_deleted(subject: Subject) -> None:
    objects = subject.client.object
    await fails(subject, objects.get(C, "some dir/o"), 404, "No such file")
    for body, expected in (("ä", "ä".encode()), (b"\x00\x01", b"\x00\x01"), ("", b"")):
        assert (await objects.put(C, "some dir/ä b#%.txt", body=body)).status_code == 200
        response = await objects.get(C, "some dir/ä b#%.txt")
        assert (response.status_code, response.body) == (200, expected)
        head = await objects.head(C, "/some dir/ä b#%.txt")
        assert ("Content-Length", str(len(expected))) in list(head.headers.items())
    assert (await objects.delete(C, "some dir/ä b#%.txt")).status_code == 204
    await fails(subject, objects.head(C, "some dir/ä b#%.txt"), 404)
    await fails(subject, objects.delete(C, "some dir/ä b#%.txt"), 404)


async def test_parts_of_objects_are_got(subject: Subject) -> None:
    objects = subject.client.object
    await objects.put(C, "o", body="0123456789")
    for offset, count, expected in (
        (2, 3, b"234"),
        (8, None, b"89"),
        (0, 4, b"0123"),
        (0, None, b"0123456789"),
        (5, 99, b"56789"),
    ):
        response = await objects.get(C, "o", offset=offset, num_bytes=count)
        assert response.body == expected
        assert response.status_code == (200 if (offset, count) == (0, None) else 206)
    await fails(subject, objects.get(C, "o", offset=10), 416)


async def test_objects_grow_by_appending(subject: Subject) -> None:
    objects = subject.client.object
    for body in ("ab", b"cd", "e"):
        await objects.put(C, "log", body=body, append=True)
    assert (await objects.get(C, "log")).body == b"abcde"
    await objects.put(C, "log", body=bytes(100_000), append=True)
    await objects.put(C, "log", body=b"end", append=True)
    response = await objects.get(C, "log", offset=100_004)
    assert response.body == b"\x00end"


async def test_large_objects_and_files_are_streamed(subject: Subject) -> None:
    objects = subject.client.object
    data = bytes(range(256)) * 20_000
    # aiohttp warns of so many plain bytes.
    await objects.put(C, "large", body=io.BytesIO(data) if subject.is_aio else data)
    assert (await objects.get(C, "large")).body == data
    await objects.put(C, "file", body=io.BytesIO(data[:300_000]))
    assert (await objects.get(C, "file")).body == data[:300_000]
    assert (await objects.get(C, "large", offset=1000, num_bytes=70_000)).body == data[1000:71_000]


async def test_directories_are_made_and_listed(subject: Subject) -> None:
    client = subject.client
    await client.object.put(C, "top/empty/")
    await client.object.put(C, "top/empty/")
    for number in range(5):
        await client.object.put(C, f"top/o{number}", body="x" * number)
    await client.object.put(C, "top/below/deep/o", body="x")
    output = (await client.container.list(C, "top")).output
    assert output.name == C
    assert [entry.key for entry in output.contents] == [f"top/o{n}" for n in range(5)]
    assert [entry.size for entry in output.contents] == list(range(5))
    assert [entry.prefix for entry in output.common_prefixes] == ["top/below/", "top/empty/"]
    assert (output.is_truncated, output.next_marker) == ("false", "top/o4")
    output = (await client.container.list(C, "/top/", directories_only=True)).output
    assert [entry.prefix for entry in output.common_prefixes] == ["top/below/", "top/empty/"]
    assert output.contents == []
    output = (await client.container.list(C, "top", get_all_attributes=True)).output
    first = output.contents[0]
    assert (first.mode, first.uid, first.gid) == ("0100664", "0", "0")
    assert first.inode_number > 0
    assert first.last_modified.endswith("Z")
    assert output.common_prefixes[0].mode == "040775"
    await fails(subject, client.container.list(C, "none"), 404, "No such file")
    assert (await client.container.list(C, "top/empty")).output.contents == []
    assert [p.prefix for p in (await client.container.list(C, "")).output.common_prefixes] == [
        "top/"
    ]


async def test_listings_go_page_by_page(subject: Subject) -> None:
    client = subject.client
    for number in range(7):
        await client.object.put(C, f"d/{number}" + "/" * (number % 2))
    found: list[str] = []
    marker = None
    while True:
        output = (await client.container.list(C, "d", limit=3, marker=marker)).output
        found += [entry.key for entry in output.contents]
        found += [entry.prefix.rstrip("/") for entry in output.common_prefixes]
        if output.is_truncated == "false":
            break
        marker = output.next_marker
    assert sorted(found) == [f"d/{number}" for number in range(7)]
    assert len(found) == 7


async def test_a_missing_container_is_told_by_all(subject: Subject) -> None:
    client = subject.client
    for call in (
        client.container.list("none", "/"),
        client.object.put("none", "o", body="x"),
        client.object.get("none", "o"),
        client.kv.put("none", "t", "k", {"a": 1}),
        client.kv.get("none", "t", "k"),
        client.stream.create("none", "s", 1),
        client.stream.describe("none", "s"),
    ):
        await fails(subject, call, 404, "Container not found")


# Items.


async def test_items_keep_the_types_of_their_attributes(subject: Subject) -> None:
    kv = subject.client.kv
    await kv.put(C, "dir/t", "k", ATTRIBUTES)
    response = await kv.get(C, "dir/t", "k")
    assert response.output.item == ATTRIBUTES
    assert {n: type(v) for n, v in response.output.item.items()} == {
        n: type(v) for n, v in ATTRIBUTES.items()
    }
    verifier = response.headers["X-v3io-transaction-verifier"]
    await kv.update(C, "dir/t", "k", attributes={"i": 2}, condition=verifier)
    await fails(
        subject,
        kv.update(C, "dir/t", "k", attributes={"i": 3}, condition=verifier),
        400,
        "16777244",
    )
    await kv.put(C, "dir/t", "k", {"a": array("l", [1, 2]), "d": array("d", [0.5])})
    assert (await kv.get(C, "dir/t", "k")).output.item == {"a": [1, 2], "d": [0.5]}


async def test_attributes_are_got_by_name(subject: Subject) -> None:
    kv = subject.client.kv
    await kv.put(C, "t", "k", {"a": 1, "b": "x", "__hidden": 5})
    assert (await kv.get(C, "t", "k")).output.item == {"a": 1, "b": "x"}
    found = (
        await kv.get(C, "t", "k", attribute_names=["b", "none", "__size", "__name"])
    ).output.item
    assert found == {"b": "x", "__size": 0, "__name": "k"}
    everything = (await kv.get(C, "t", "k", attribute_names=["**"])).output.item
    assert {"a", "b", "__hidden", "__mtime_secs", "__mtime_nsecs", "__gid"} <= set(everything)
    await fails(subject, kv.get(C, "t", "none"), 404, "No such file")
    await subject.client.object.put(C, "t/plain", body="x")
    assert (await kv.get(C, "t", "plain", attribute_names=["__size"])).output.item == {"__size": 1}


async def test_items_are_updated_in_all_ways(subject: Subject) -> None:
    kv = subject.client.kv

    async def item() -> Any:
        return (await kv.get(C, "t", "k")).output.item

    await kv.update(C, "t", "k", expression="n = 1; list = init_array(3, 'int')")
    await kv.update(C, "t", "k", expression="n = n + 1; list[1] = n * 10")
    assert await item() == {"n": 2, "list": [0, 20, 0]}
    await kv.update(C, "t", "k", attributes={"m": 1.5})
    assert await item() == {"n": 2, "list": [0, 20, 0], "m": 1.5}
    await kv.update(C, "t", "k", expression="REMOVE list; n = 10", condition="n == 2")
    await fails(
        subject, kv.update(C, "t", "k", expression="n = 0", condition="n == 2"), 400, "16777244"
    )
    await kv.update(
        C, "t", "k", expression="n = 0", condition="n == 2", alternate_expression="n = n + 0.5"
    )
    assert await item() == {"n": 10.5, "m": 1.5}
    await kv.update(C, "t", "k", attributes={"only": 1}, update_mode="OverWriteAttributes")
    assert await item() == {"only": 1}
    await fails(
        subject,
        kv.update(C, "t", "k", attributes={"a": 1}, update_mode="CreateNewItemOnly"),
        400,
        "369098809",
    )
    await kv.update(C, "t", "k", attributes={"both": 1}, expression="other = 1")
    assert await item() == {"only": 1, "both": 1}
    await kv.put(C, "t", "k", {"a": 1}, condition="not(exists(a))")
    await fails(subject, kv.put(C, "t", "k", {"a": 2}, condition="not(exists(a))"), 400, "16777244")
    assert await item() == {"a": 1}
    await fails(subject, kv.update(C, "t", "k", expression="a = "), 400, "ErrorCode")
    await fails(subject, kv.update(C, "t", "k", expression="a = missing"), 400, "ErrorCode")


async def test_items_are_deleted_as_objects(subject: Subject) -> None:
    kv, objects = subject.client.kv, subject.client.object
    await kv.put(C, "t", "k", {"a": 1})
    broken = subject.is_aio and subject.is_original  # its kv.delete raises AttributeError
    await (objects.delete(C, "t/k") if broken else kv.delete(C, "t", "k"))
    await fails(subject, kv.get(C, "t", "k"), 404)
    await fails(subject, objects.delete(C, "t/k"), 404)


async def test_tables_are_scanned_with_filters_and_ranges(subject: Subject) -> None:
    kv = subject.client.kv
    for number in range(20):
        await kv.put(
            C, "people", f"{'abcd'[number % 4]}.{number:02d}", {"age": number, "name": f"n{number}"}
        )
    output = (await kv.scan(C, "people")).output
    assert (output.last, len(output.items)) == (True, 20)
    assert output.items[0] == {"__name": "a.00", "age": 0, "name": "n0"}
    output = (
        await kv.scan(
            C, "people/", filter_expression="age >= 15 and ends(name, '7')", attribute_names=["age"]
        )
    ).output
    assert output.items == [{"age": 17}]
    output = (await kv.scan(C, "/", table_name="people", limit=7)).output
    assert (output.last, len(output.items)) == (False, 7)
    rest = (await kv.scan(C, "people", marker=output.next_marker)).output
    assert (rest.last, len(rest.items)) == (True, 13)
    output = (
        await kv.scan(
            C, "people", sharding_key="b", sort_key_range_start="05", sort_key_range_end="13"
        )
    ).output
    assert [item["__name"] for item in output.items] == ["b.05", "b.09"]
    parts = [
        (await kv.scan(C, "people", segment=n, total_segments=3)).output.items for n in range(3)
    ]
    assert sorted(item["age"] for part in parts for item in part) == list(range(20))
    none = (await kv.scan(C, "people", filter_expression="age > 99")).output
    assert (none.last, none.items) == (True, [])
    await fails(subject, kv.scan(C, "none"), 404, "No such file")
    await fails(subject, kv.scan(C, "people", filter_expression="age >"), 400)
    await fails(subject, kv.scan(C, "people", sort_key_range_start="05"), 400)


async def test_cursors_walk_over_all_pages(subject: Subject) -> None:
    kv = subject.client.kv
    table = subject.gateway.depot.table(f"{C}/big")
    with table.batch() as batch:
        for number in range(2500):
            batch.put(f"k{number:05}", {"n": number})
    cursor = kv.new_cursor(C, "big", attribute_names=["n"])
    assert [item["n"] for item in await cursor.all()] == list(range(2500))
    cursor = kv.new_cursor(C, "big", filter_expression="n == 2499", attribute_names=["n", "__name"])
    assert await cursor.next_item() == {"n": 2499, "__name": "k02499"}
    assert await cursor.next_item() is None
    cursor = kv.new_cursor(C, "/", table_name="big", limit=1200)
    assert len(await cursor.all()) == 1200


async def test_schemas_are_stored_beside_items(subject: Subject) -> None:
    kv = subject.client.kv
    fields = [{"name": "age", "type": "long", "nullable": True}]
    await kv.put(C, "t", "k", {"age": 5})
    await kv.create_schema(C, "t", key="name", fields=fields)
    body = (await subject.client.object.get(C, "t/.#schema")).body
    assert (
        body
        == b'{"hashingBucketNum":0,"key":"name","fields":[{"name":"age","type":"long","nullable":true}]}'
    )
    items = (await kv.scan(C, "t", filter_expression="__name != '.#schema'")).output.items
    assert items == [{"__name": "k", "age": 5}]


# Streams.


async def test_streams_take_records_and_give_them_back(subject: Subject) -> None:
    stream = subject.client.stream
    assert (await stream.create(C, "st/s1", 8)).status_code in (200, 204)
    await fails(subject, stream.create(C, "st/s1", 8), 409, "ResourceInUse")
    output = (await stream.describe(C, "st/s1")).output
    assert (output.shard_count, output.retention_period_hours) == (8, 24)
    records = [
        {"data": "first", "shard_id": 1, "client_info": "some info"},
        {"data": b"\x00\xff", "shard_id": 1, "partition_key": "pk"},
        {"data": "lost", "shard_id": 77},
        {"data": "by key", "partition_key": "pk"},
        {"data": "anywhere"},
    ]
    output = (await stream.put_records(C, "st/s1", records)).output
    assert output.failed_record_count == 1
    assert [r.sequence_number for r in output.records[:3]] == [1, 2, None]
    assert [r.shard_id for r in output.records[:3]] == [1, 1, None]
    assert (output.records[2].error_code, output.records[2].error_message) == (
        -201326594,
        "ShardIDOutOfRangeException",
    )
    assert output.records[0].error_code is None
    location = (await stream.seek(C, "st/s1", 1, "EARLIEST")).output.location
    output = (await stream.get_records(C, "st/s1", 1, location, limit=1)).output
    (record,) = output.records
    assert (record.data, record.client_info, record.partition_key, record.sequence_number) == (
        b"first",
        b"some info",
        None,
        1,
    )
    assert output.records_behind_latest >= 1
    output = (await stream.get_records(C, "st/s1", 1, output.next_location)).output
    assert (output.records[0].data, output.records[0].partition_key) == (b"\x00\xff", "pk")
    assert (output.records_behind_latest, output.msec_behind_latest) == (0, 0)
    end = (await stream.get_records(C, "st/s1", 1, output.next_location)).output
    assert end.records == []
    await stream.put_records(C, "st/s1", [{"data": "later", "shard_id": 1}])
    later = (await stream.get_records(C, "st/s1", 1, end.next_location)).output
    assert later.records[0].data == b"later"


async def test_shards_are_sought_in_all_ways(subject: Subject) -> None:
    stream = subject.client.stream
    await stream.create(C, "s", 2, retention_period_hours=3)
    for number in range(5):
        await stream.put_records(C, "s", [{"data": str(number), "shard_id": 0}])

    async def read(*args: Any, **kwargs: Any) -> list[bytes]:
        location = (await stream.seek(C, "s", 0, *args, **kwargs)).output.location
        return [r.data for r in (await stream.get_records(C, "s", 0, location)).output.records]

    assert await read("EARLIEST") == [b"0", b"1", b"2", b"3", b"4"]
    assert await read("LATEST") == []
    assert await read("SEQUENCE", starting_sequence_number=4) == [b"3", b"4"]
    assert await read("SEQUENCE", starting_sequence_number=6) == []
    assert await read("TIME", timestamp_sec=0) == [b"0", b"1", b"2", b"3", b"4"]
    assert await read("TIME", timestamp_sec=1 << 33, timestamp_nsec=5) == []
    await fails(
        subject,
        stream.seek(C, "s", 0, "SEQUENCE", starting_sequence_number=9),
        400,
        "InvalidArgument",
    )
    await fails(subject, stream.seek(C, "s", 5, "EARLIEST"), 400, "ShardIDOutOfRange")
    await fails(subject, stream.get_records(C, "s", 0, "bm9uc2Vuc2U="), 400, "IllegalLocation")
    await fails(subject, stream.seek(C, "none", 0, "EARLIEST"), 404, "ResourceNotFound")


async def test_streams_grow_and_are_deleted(subject: Subject) -> None:
    stream = subject.client.stream
    await stream.create(C, "s", 2)
    await fails(subject, stream.update(C, "s", 1), 400, "InvalidShardCount")
    await stream.update(C, "s", 4)
    assert (await stream.describe(C, "s")).output.shard_count == 4
    await stream.put_records(C, "s", [{"data": "x", "shard_id": 3}])
    listed = (await subject.client.container.list(C, "s", get_all_attributes=True)).output.contents
    assert [(e.key, e.last_sequence_id) for e in listed] == [
        ("s/0", 0),
        ("s/1", 0),
        ("s/2", 0),
        ("s/3", 1),
    ]
    await stream.delete(C, "s")
    await fails(subject, stream.describe(C, "s"), 404, "ResourceNotFound")
    await fails(subject, stream.delete(C, "s"), 404)
    await stream.create(C, "s", 1)
    assert (await stream.describe(C, "s")).output.shard_count == 1


async def test_consumer_groups_keep_their_state_in_items(subject: Subject) -> None:
    kv = subject.client.kv
    await subject.client.stream.create(C, "s", 1)
    assert (await kv.get(C, "s", "0", attribute_names=["__g_committed"])).output.item == {}
    await kv.update(C, "s", "0", attributes={"__g_committed": 7}, condition="__obj_type == 3")
    assert (await kv.get(C, "s", "0", attribute_names=["__g_committed"])).output.item == {
        "__g_committed": 7
    }
    await fails(subject, kv.get(C, "s", "9", attribute_names=["__g_committed"]), 404)
    await kv.update(
        C, "s", "g-state.json", attributes={"state": "{}"}, condition="not(exists(state))"
    )
    found = (
        await kv.get(C, "s", "g-state.json", attribute_names=["__mtime_secs", "__mtime_nsecs"])
    ).output.item
    condition = (
        f"(__mtime_nsecs == {found['__mtime_nsecs']}) AND (__mtime_secs == {found['__mtime_secs']})"
    )
    await kv.update(C, "s", "g-state.json", attributes={"state": "{1}"}, condition=condition)
    await fails(
        subject,
        kv.update(C, "s", "g-state.json", attributes={"state": "{2}"}, condition=condition),
        400,
        "ErrorCode",
    )


# What a response is, and what only the sync client has.


async def test_what_raises_is_said_by_the_caller(subject: Subject) -> None:
    objects = subject.client.object
    response = await objects.get(C, "none", raise_for_status=subject.never)
    assert response.status_code == 404
    assert response.body == b'{"ErrorCode":-2,"ErrorMessage":"No such file or directory"}'
    assert (await objects.get(C, "none", raise_for_status=[404])).status_code == 404
    await objects.put(C, "o", body="x")
    await fails(subject, objects.get(C, "o", raise_for_status=[404]), 200)
    response = await subject.client.container.list(C, "none", raise_for_status=subject.never)
    assert response.output.error["ErrorCode"] == -2


async def test_many_writes_at_once_are_all_done(subject: Subject) -> None:
    kv = subject.client.kv
    await asyncio.gather(*(kv.put(C, "t", f"k{n}", {"n": n}) for n in range(100)))
    items = (await kv.scan(C, "t", attribute_names=["n"])).output.items
    assert sorted(item["n"] for item in items) == list(range(100))


async def test_batches_are_answered_in_order(subject: Subject) -> None:
    if subject.is_aio:
        pytest.skip("the asynchronous client has no batches")
    client = subject.plain
    for number in range(64):
        client.batch.kv.put(C, "t", f"k{number}", {"n": number})
    assert [r.status_code for r in client.batch.wait()] == [200] * 64
    batch = client.create_batch()
    for number in range(64):
        batch.kv.get(C, "t", f"k{number}")
    batch.object.get(C, "none", raise_for_status=[404])
    batch.container.list(C, "t")
    *gets, missing, listing = batch.wait()
    assert [r.output.item["n"] for r in gets] == list(range(64))
    assert missing.status_code == 404
    assert len(listing.output.contents) == 64


async def test_the_old_names_still_work(subject: Subject) -> None:
    if subject.is_aio:
        pytest.skip("the asynchronous client has no old names")
    client = subject.plain
    (bucket,) = client.get_containers().output.containers
    assert bucket.name == C
    client.put_object(C, "o", body="x")
    assert client.get_object(C, "o").body == b"x"
    client.delete_object(C, "o")
    assert client.put_items(C, "t", {"a": {"n": 1}, "b": {"n": 2}}).success
    client.put_item(C, "t/c", {"n": 3})
    client.update_item(C, "t/c", expression="n = n + 1")
    assert client.get_item(C, "t/c").output.item == {"n": 4}
    assert len(client.get_items(C, "t/").output.items) == 3
    client.delete_item(C, "t/c") if not subject.is_original else client.delete_object(C, "t/c")
    assert len(client.get_container_contents(C, "t").output.contents) == 2
    client.create_schema(C, "t", key="n", fields=[])
    client.create_stream(C, "s/", 2)
    client.update_stream(C, "s/", 3)
    assert client.describe_stream(C, "s/").output.shard_count == 3
    client.put_records(C, "s/", [{"data": "x", "shard_id": 0}])
    location = client.seek_shard(C, "s/0", "EARLIEST").output.location
    assert client.get_records(C, "s/0", location).output.records[0].data == b"x"
    client.delete_stream(C, "s/")
    with pytest.raises(subject.error):
        client.describe_stream(C, "s/")
