"""A program that uses v3io: every operation of the client's document, and what can be refused.

It yields its calls and is sent the responses, so that one program runs on clients of both
kinds, in the process and over HTTP; `told` has what it tells of them, which must be the same.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from entrepot.v3io.dataplane import RaiseForStatus

__all__ = ["EXPECTED", "Ask", "program", "run", "run_awaited"]


class Ask(NamedTuple):
    """One call of a client."""

    model: str
    operation: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def on(self, client: Any) -> Any:
        """Call it."""
        operation = getattr(getattr(client, self.model), self.operation)
        return operation(*self.args, raise_for_status=RaiseForStatus.never, **self.kwargs)


Program = Generator[Ask, Any, list[str]]

EXPECTED = Path(__file__).with_suffix(".txt")
"""What it tells, line by line."""
FREE = {-22, -21, -16777244, -369098809}
"""The errors whose texts are each server's own."""

BURGERS: dict[str, dict[str, Any]] = {
    "bob": {"age": 42, "feature": "mustache"},
    "linda": {"age": 41, "feature": "singing"},
    "louise": {"age": 9, "feature": "bunny ears"},
}
TYPED = {
    "i": -(1 << 70),
    "f": 1.0,
    "s": "ä'\"",
    "b": b"\x00\xff",
    "t": True,
    "li": [1, -2],
    "lf": [1.0, 2.5],
    "ts": datetime(1969, 12, 31, 23, 59, 59, 500000, UTC),
    "el": [],
}


def program() -> Program:
    """Yield calls; return what it told of the responses."""
    told: list[str] = []

    def tell(what: str, response: Any, *shown: object) -> None:
        text = f"{what}: {response.status_code}"
        if response.status_code >= 400 and response.body:
            error = json.loads(response.body)
            text += f" {error['ErrorCode']}"
            if error["ErrorCode"] not in FREE:
                text += f" {error['ErrorMessage'].partition(':')[0]}"
        told.append(" ".join([text, *map(repr, shown)]))

    def ask(model: str, operation: str, *args: Any, **kwargs: Any) -> Ask:
        return Ask(model, operation, args, kwargs)

    yield from _objects(ask, tell)
    yield from _items(ask, tell)
    yield from _streams(ask, tell)
    return told


def _objects(ask: Any, tell: Any) -> Generator[Ask, Any, None]:
    put = ("object", "put", "users")
    tell("put", (yield ask(*put, "my-object", body="hello, there")))
    tell("append", (yield ask(*put, "my-object", body=b"!", append=True)))
    response = yield ask("object", "get", "users", "/my-object")
    tell("get", response, response.body.decode())
    for kwargs in (
        {"offset": 7},
        {"offset": 7, "num_bytes": 2},
        {"num_bytes": 5},
        {"offset": 5, "num_bytes": 999},
    ):
        response = yield ask("object", "get", "users", "my-object", **kwargs)
        tell("part", response, response.body, response.headers["Content-Range"])
    tell("beyond", (yield ask("object", "get", "users", "my-object", offset=99)))
    response = yield ask("object", "head", "users", "my-object")
    tell("head", response, response.headers["Content-Length"], response.body)
    tell("no head", (yield ask("object", "head", "users", "nothing")))
    tell("directory", (yield ask(*put, "d/e/")))
    tell("again", (yield ask(*put, "d/e/")))
    tell("file", (yield ask(*put, "d/x", body="x")))
    tell("over a directory", (yield ask(*put, "d/e", body="x")))
    tell("below a file", (yield ask(*put, "d/x/y", body="x")))
    tell("get a directory", (yield ask("object", "get", "users", "d")))
    response = yield ask("object", "head", "users", "d/")
    tell("head of a directory", response, response.headers["Content-Length"])
    response = yield ask("container", "list", "users", "/d/")
    page = response.output
    tell(
        "list",
        response,
        (page.name, page.next_marker, page.max_keys, page.is_truncated),
        [(c.key, c.size) for c in page.contents],
        [p.prefix for p in page.common_prefixes],
    )
    response = yield ask("container", "list", "users", "", limit=1, get_all_attributes=True)
    page = response.output
    entry = page.common_prefixes[0]
    tell("first page", response, page.is_truncated, entry.prefix, entry.mode, entry.gid, entry.uid)
    response = yield ask("container", "list", "users", "", marker=page.next_marker)
    tell("next page", response, [c.key for c in response.output.contents])
    response = yield ask("container", "list", "users", "", directories_only=True)
    tell("directories", response, len(response.output.contents), response.output.next_marker)
    tell("no directory", (yield ask("container", "list", "users", "nowhere")))
    tell("no container", (yield ask("container", "list", "nobody", "")))
    tell("no limit", (yield ask("container", "list", "users", "", limit=0)))
    tell("delete", (yield ask("object", "delete", "users", "my-object")))
    tell("delete again", (yield ask("object", "delete", "users", "my-object")))
    tell("get deleted", (yield ask("object", "get", "users", "my-object")))
    tell("not empty", (yield ask("object", "delete", "users", "d/")))
    tell("empty", (yield ask("object", "delete", "users", "d/e/")))
    tell("up", (yield ask("object", "get", "users", "d/../d/x")))
    tell("long name", (yield ask(*put, "n" * 256, body="x")))


def _items(ask: Any, tell: Any) -> Generator[Ask, Any, None]:
    table = ("users", "/bobs-burgers")
    for key, attributes in BURGERS.items():
        tell("put item", (yield ask("kv", "put", *table, key, attributes)))
    tell(
        "update item",
        (yield ask("kv", "update", *table, "louise", attributes={"height": 130})),
    )
    names = ["__size", "age", "feature", "height", "nope"]
    response = yield ask("kv", "get", *table, "louise", attribute_names=names)
    tell("get item", response, response.output.item)
    tell("typed", (yield ask("kv", "put", *table, "typed", TYPED)))
    response = yield ask("kv", "get", *table, "typed")
    tell("typed", response, sorted(response.output.item.items()))
    tell("types", response, {n: type(v).__name__ for n, v in response.output.item.items()})
    response = yield ask("kv", "get", *table, "bob", attribute_names=["**"])
    tell("everything", response, sorted(response.output.item)[:3], len(response.output.item))
    verifier = response.headers["X-v3io-transaction-verifier"]
    update = ("kv", "update", *table, "bob")
    tell("verified", (yield ask(*update, expression="age = age + 1", condition=verifier)))
    tell("not any more", (yield ask(*update, expression="age = 0", condition=verifier)))
    tell(
        "alternate",
        (
            yield ask(
                *update, expression="x = 1", condition="age > 99", alternate_expression="y = 2"
            )
        ),
    )
    response = yield ask("kv", "get", *table, "bob")
    tell("updated", response, response.output.item)
    tell("made by it", (yield ask("kv", "update", "new", "t", "k", expression="n = 1")))
    create = {"update_mode": "CreateNewItemOnly"}
    tell("exists", (yield ask(*update, attributes={"a": 1}, **create)))
    tell("exists", (yield ask(*update, expression="a = 1", **create)))
    tell("no mode", (yield ask(*update, attributes={"a": 1}, update_mode="Sometimes")))
    tell("condition", (yield ask("kv", "put", *table, "bob", {"a": 1}, condition="age == 1")))
    tell("expression", (yield ask("kv", "put", *table, "bob", {"a": 1}, condition="age ==")))
    tell("no operand", (yield ask(*update, expression="a = missing + 1")))
    tell("system", (yield ask(*update, attributes={"__name": "x"})))
    tell("system", (yield ask(*update, expression="__size = 1")))
    tell("overwrite", (yield ask(*update, attributes={"z": 1}, update_mode="OverWriteAttributes")))
    response = yield ask("kv", "get", *table, "bob")
    tell("overwritten", response, response.output.item)
    response = yield ask("kv", "get", *table, "gene")
    tell("no item", response, response.output.item)
    tell("no table", (yield ask("kv", "get", "users", "nowhere", "bob")))
    tell("no container", (yield ask("kv", "get", "nobody", "t", "bob")))
    yield from _scans(ask, tell)
    tell("delete item", (yield ask("kv", "delete", *table, "typed")))
    tell("delete item", (yield ask("kv", "delete", *table, "typed")))
    fields = [{"name": "age", "type": "long", "nullable": True}]
    tell("schema", (yield ask("kv", "create_schema", *table, key="id", fields=fields)))
    response = yield ask("object", "get", "users", "bobs-burgers/.#schema")
    tell("schema", response, response.body)


def _scans(ask: Any, tell: Any) -> Generator[Ask, Any, None]:
    for key in ("a.1", "a.2", "a.3", "b.1"):
        tell("put", (yield ask("kv", "put", "users", "ranged", key, {"n": int(key[-1]), "__h": 1})))
    scan = ("kv", "scan", "users", "ranged")
    for kwargs in (
        {},
        {"attribute_names": ["n"], "filter_expression": "n > 1"},
        {"attribute_names": "__name", "filter_expression": "__name == 'a.2'"},
        {"limit": 2},
        {"sharding_key": "a"},
        {"sharding_key": "a", "sort_key_range_start": "2", "sort_key_range_end": "3"},
        {"filter_expression": "none == 1"},
    ):
        response = yield ask(*scan, **kwargs)
        output = response.output
        tell("scan", response, output.last, output.items)
    response = yield ask(*scan, limit=3)
    response = yield ask(*scan, limit=3, marker=response.output.next_marker)
    tell("rest", response, response.output.last, response.output.next_marker, response.output.items)
    found: list[Any] = []
    for segment in range(3):
        response = yield ask(*scan, segment=segment, total_segments=3)
        found += response.output.items
    tell("segments", response, sorted(item["__name"] for item in found))
    response = yield ask("kv", "scan", "users", "/", "ranged", attribute_names=["__name"])
    tell("by name", response, response.output.items)
    tell("bad marker", (yield ask(*scan, marker="???")))
    tell("bad filter", (yield ask(*scan, filter_expression="n >> ")))
    tell("one segment", (yield ask(*scan, segment=0)))
    tell("segments", (yield ask(*scan, segment=4, total_segments=3)))
    tell("range alone", (yield ask(*scan, sort_key_range_start="1")))
    tell("limit", (yield ask(*scan, limit=-1)))
    tell("no table", (yield ask("kv", "scan", "users", "nowhere")))
    tell("no container", (yield ask("kv", "scan", "nobody", "nowhere")))


def _streams(ask: Any, tell: Any) -> Generator[Ask, Any, None]:
    at = ("users", "/my-test-stream")
    tell("create", (yield ask("stream", "create", *at, 8)))
    tell("create again", (yield ask("stream", "create", *at, 8)))
    tell("no shards", (yield ask("stream", "create", "users", "other", 0)))
    tell("retention", (yield ask("stream", "create", "users", "o", 1, retention_period_hours=-1)))
    records = [
        {"shard_id": 1, "data": "first shard record #1", "client_info": b"i"},
        {"shard_id": 1, "data": b"first shard record #2", "partition_key": "p"},
        {"shard_id": 2, "data": "second shard record #1"},
        {"shard_id": 77, "data": "nowhere"},
    ]
    response = yield ask("stream", "put_records", *at, records)
    tell("records", response, response.output.failed_record_count)
    for result in response.output.records:
        tell("record", response, sorted(vars(result).items()))
    response = yield ask("stream", "describe", *at)
    tell("describe", response, sorted(vars(response.output).items()))
    response = yield ask("stream", "seek", *at, 1, "EARLIEST")
    first = response.output.location
    response = yield ask("stream", "get_records", *at, 1, first)
    output = response.output
    tell(
        "get records",
        response,
        output.records_behind_latest,
        output.msec_behind_latest,
        [(r.sequence_number, r.data, r.client_info, r.partition_key) for r in output.records],
    )
    response = yield ask("stream", "get_records", *at, 1, output.next_location)
    tell("at the end", response, response.output.records)
    response = yield ask("stream", "get_records", *at, 1, first, limit=1)
    tell("one", response, len(response.output.records), response.output.records_behind_latest)
    yield from _seeks(ask, tell, at)
    yield from _shards(ask, tell, at)
    tell("update", (yield ask("stream", "update", *at, 9)))
    tell("fewer", (yield ask("stream", "update", *at, 3)))
    tell("none", (yield ask("stream", "update", *at, 0)))
    response = yield ask("stream", "describe", *at)
    tell("describe", response, response.output.shard_count)
    tell("delete", (yield ask("stream", "delete", *at)))
    tell("delete", (yield ask("stream", "delete", *at)))
    for operation, args in (
        ("describe", ()),
        ("update", (9,)),
        ("put_records", ([{"data": "x"}],)),
        ("seek", (0, "LATEST")),
        ("get_records", (1, first)),
    ):
        tell(operation, (yield ask("stream", operation, *at, *args)))
        tell(operation, (yield ask("stream", operation, "users", "bobs-burgers", *args)))
        tell(operation, (yield ask("stream", operation, "nobody", "s", *args)))


def _seeks(ask: Any, tell: Any, at: tuple[str, str]) -> Generator[Ask, Any, None]:
    for kwargs in (
        {"seek_type": "LATEST"},
        {"seek_type": "SEQUENCE", "starting_sequence_number": 2},
        {"seek_type": "SEQUENCE", "starting_sequence_number": 3},
        {"seek_type": "SEQUENCE", "starting_sequence_number": 4},
        {"seek_type": "SEQUENCE"},
        {"seek_type": "TIME", "timestamp_sec": 1},
        {"seek_type": "TIME", "timestamp_sec": 1 << 40, "timestamp_nsec": 5},
        {"seek_type": "TIME"},
    ):
        response = yield ask("stream", "seek", *at, 1, **kwargs)
        if response.status_code != 200:
            tell("seek", response)
            continue
        response = yield ask("stream", "get_records", *at, 1, response.output.location)
        tell("seek", response, [r.sequence_number for r in response.output.records])
    tell("seek in no shard", (yield ask("stream", "seek", *at, 8, "EARLIEST")))
    response = yield ask("stream", "seek", *at, 2, "EARLIEST")
    elsewhere = response.output.location
    for shard, location in ((1, "?"), (1, elsewhere), (8, elsewhere)):
        tell("location", (yield ask("stream", "get_records", *at, shard, location)))


def _shards(ask: Any, tell: Any, at: tuple[str, str]) -> Generator[Ask, Any, None]:
    """Do with shards what consumer groups do."""
    shard = ("users", "my-test-stream", "1")
    name = "__group_committed_sequence_number"
    response = yield ask("kv", "get", *shard, attribute_names=[name])
    tell("not committed", response, response.output.item)
    commit = ("kv", "update", *shard)
    condition = {"condition": "__obj_type == 3"}
    tell("commit", (yield ask(*commit, attributes={name: 2}, **condition)))
    response = yield ask("kv", "get", *shard, attribute_names=[name, "__last_sequence_num"])
    tell("committed", response, response.output.item)
    no_shard = ("kv", "update", "users", "bobs-burgers", "bob")
    tell("no shard", (yield ask(*no_shard, attributes={name: 2}, **condition)))
    tell("not there", (yield ask("kv", "get", "users", "my-test-stream", "99")))


def run(client: Any) -> list[str]:
    """Run the program on a client; return what it told."""
    steps = program()
    ask = next(steps)
    while True:
        try:
            ask = steps.send(ask.on(client))
        except StopIteration as end:
            return end.value


async def run_awaited(client: Any) -> list[str]:
    """Run the program on a client for asyncio; return what it told."""
    steps = program()
    ask = next(steps)
    while True:
        try:
            ask = steps.send(await ask.on(client))
        except StopIteration as end:
            return end.value
