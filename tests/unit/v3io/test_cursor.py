"""Cursors: all items of a table, a page at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from entrepot.v3io.dataplane import Client
from entrepot.v3io.dataplane.kv_cursor import Cursor
from entrepot.v3io.dataplane.response import HttpResponseError
from support.http_server import Asked, HttpServer, Reply


class Table:
    """Answers scans of ten items, at most three to a page."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        server.answer = self.answer

    def answer(self, asked: Asked) -> Reply:
        body = json.loads(asked.body)
        start = int(body.get("Marker", "0"))
        end = min(start + min(body.get("Limit", 3), 3), 10)
        page: dict[str, Any] = {"Items": [{"n": {"N": str(n)}} for n in range(start, end)]}
        page["LastItemIncluded"] = "TRUE" if end == 10 else "FALSE"
        if end < 10:
            page["NextMarker"] = str(end)
        return Reply(200, json.dumps(page).encode())

    def asked(self, name: str) -> list[Any]:
        return [json.loads(asked.body).get(name) for asked in self.server.asked]


@pytest.fixture
def table(server: HttpServer) -> Table:
    return Table(server)


def numbers(cursor: Cursor) -> list[int]:
    return [item["n"] for item in cursor.all()]


def test_a_cursor_reads_page_after_page(client: Client, table: Table) -> None:
    cursor = client.kv.new_cursor("b", "t")
    assert not table.server.asked
    assert cursor.next_item() == {"n": 0}
    assert numbers(cursor) == list(range(1, 10))
    assert cursor.next_item() is None
    assert cursor.all() == []
    assert table.asked("Marker") == [None, "3", "6", "9"]


def test_a_cursor_begins_at_its_marker(client: Client, table: Table) -> None:
    assert numbers(client.kv.new_cursor("b", "t", marker="5")) == [5, 6, 7, 8, 9]
    assert table.asked("Marker") == ["5", "8"]


@pytest.mark.parametrize(
    ("limit", "limits"),
    [(0, []), (2, [2]), (3, [3]), (5, [5, 2]), (100, [100, 97, 94, 91])],
    ids=str,
)
def test_a_cursor_asks_for_no_more_than_its_limit(
    limit: int, limits: list[int], client: Client, table: Table
) -> None:
    assert numbers(client.kv.new_cursor("b", "t", limit=limit)) == list(range(min(limit, 10)))
    assert table.asked("Limit") == limits


def test_every_page_is_asked_for_alike(client: Client, table: Table) -> None:
    cursor = client.kv.new_cursor(
        "b",
        "/",
        "t",
        access_key="other",
        attribute_names=["n"],
        filter_expression="n > 1",
        sharding_key="s",
        segment=0,
        total_segments=2,
        sort_key_range_start="a",
        sort_key_range_end="z",
    )
    cursor.all()
    for asked in table.server.asked:
        body = json.loads(asked.body)
        body.pop("Marker", None)
        assert body == {
            "AttributesToGet": "n",
            "TableName": "t",
            "FilterExpression": "n > 1",
            "ShardingKey": "s",
            "Segment": 0,
            "TotalSegment": 2,
            "SortKeyRangeStart": "a",
            "SortKeyRangeEnd": "z",
        }
        assert asked.headers["X-v3io-session-key"] == "other"
    assert (cursor.table_name, cursor.segment, cursor.attribute_names) == ("t", 0, ["n"])


def test_the_older_name_makes_a_cursor_that_works(client: Client, table: Table) -> None:
    cursor = client.new_items_cursor("b", "t", None, None, ["n"], "n > 1", "4")
    assert numbers(cursor) == [4, 5, 6, 7, 8, 9]
    assert table.asked("FilterExpression") == ["n > 1", "n > 1"]
    assert table.server.asked[0].target == "/b/t/"


def test_a_cursor_may_be_made_of_a_client(client: Client, table: Table) -> None:
    assert len(Cursor(client, "b", None, "t", None).all()) == 10


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"LastItemIncluded": "FALSE", "NextMarker": "m", "Items": []}',
        b'{"LastItemIncluded": "FALSE", "Items": [{"n": {"N": "1"}}]}',
        b'{"ErrorCode": -2}',
    ],
    ids=["nothing", "no_items", "no_marker", "error"],
)
def test_a_server_that_never_ends_is_not_asked_for_ever(
    body: bytes, client: Client, server: HttpServer
) -> None:
    server.answer = lambda asked: Reply(200, body)
    assert len(client.kv.new_cursor("b", "t").all()) <= 1
    assert len(server.asked) == 1


def test_a_missing_table_raises_or_is_empty(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(404, b'{"ErrorCode": -2}')
    with pytest.raises(HttpResponseError):
        client.kv.new_cursor("b", "t").next_item()
    assert client.kv.new_cursor("b", "t", raise_for_status="never").all() == []
