"""One program, in the process and over HTTP: it tells the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from entrepot.v3io.aio.dataplane import Client as AsyncClient
from entrepot.v3io.dataplane import Client
from entrepot.v3io.dataplane.response import Response
from support.homes import Home
from support.v3io_program import EXPECTED, run, run_awaited

pytest.importorskip("httptools", reason="pip install 'entrepot[serve]'")

from entrepot.gateways.http import HttpGateway


@pytest.fixture
def url(home: Home) -> Iterator[str]:
    """Return the address of a gateway to a depot with the containers that the program uses."""
    with home.open() as lab:
        for name in ("new", "users"):
            lab.create_container(name)
        gateway = HttpGateway(lab)
        gateway.start()
        yield f"http://{gateway.host}:{gateway.port}"
        gateway.close()


def test_a_program_tells_over_http_what_it_tells_in_the_process(url: str) -> None:
    with Client(endpoint=url, access_key="k") as client:
        assert run(client) == EXPECTED.read_text("utf-8").splitlines()


@pytest.mark.anyio
async def test_a_program_that_awaits_tells_it_too(url: str) -> None:
    async with AsyncClient(endpoint=url, access_key="k") as client:
        assert await run_awaited(client) == EXPECTED.read_text("utf-8").splitlines()


READS: dict[str, Callable[[Client], Response]] = {
    "containers": lambda c: c.get_containers(),
    "root": lambda c: c.container.list("users", ""),
    "directory": lambda c: c.container.list("users", "d/<&>", get_all_attributes=True),
    "streams": lambda c: c.container.list("users", "/st", get_all_attributes=True),
    "shards": lambda c: c.container.list("users", "st/s/", get_all_attributes=True, limit=1),
    "marker": lambda c: c.container.list("users", "st/s", marker="st/s/0"),
    "item": lambda c: c.kv.get("users", "t", "k"),
    "everything": lambda c: c.kv.get("users", "t", "k", attribute_names="**"),
    "items": lambda c: c.kv.scan("users", "t"),
    "page": lambda c: c.kv.scan("users", "st/s", limit=1, attribute_names="__name"),
    "stream": lambda c: c.stream.describe("users", "st/s"),
    "seek": lambda c: c.stream.seek("users", "st/s", 1, "EARLIEST"),
    "records": lambda c: c.stream.get_records("users", "st/s", 1, "AAAAAAAAAAEAAAAAAAAAAQ=="),
    "object": lambda c: c.object.get("users", "o"),
    "part": lambda c: c.object.get("users", "o", offset=1, num_bytes=2),
    "head": lambda c: c.object.head("users", "o"),
    "head_of_directory": lambda c: c.object.head("users", "d"),
    "no_object": lambda c: c.object.get("users", "none", raise_for_status="never"),
    "no_head": lambda c: c.object.head("users", "none", raise_for_status="never"),
    "false": lambda c: c.kv.put("users", "t", "k", {}, condition="n>5", raise_for_status="never"),
    "exists": lambda c: c.kv.update(
        "users",
        "t",
        "k",
        attributes={"n": 1},
        update_mode="CreateNewItemOnly",
        raise_for_status=[400],
    ),
    "no_stream": lambda c: c.stream.describe("users", "t", raise_for_status="never"),
}


@pytest.mark.parametrize("ask", READS.values(), ids=READS)
def test_bodies_and_headers_are_those_of_a_gateway(
    ask: Callable[[Client], Response], url: str
) -> None:
    with Client() as here, Client(endpoint=url, access_key="k") as there:
        here.object.put("users", "o", body="0123")
        here.object.put("users", "d/<&>/sub/x", body="x")
        here.object.put("users", "d/<&>/a\nb", body="x")
        here.kv.put("users", "t", "k", {"n": 1, "f": 1.0, "l": [1], "b": b"x", "__h": True})
        here.stream.create("users", "st/s", 2)
        record = {"data": "x", "shard_id": 1, "client_info": "i", "partition_key": "p"}
        here.stream.put_records("users", "st/s", [record])
        ours, theirs = ask(here), ask(there)
    assert ours.status_code == theirs.status_code
    assert ours.body == theirs.body
    assert repr(ours.output) == repr(theirs.output)
    told = [{n.lower(): v for n, v in r.headers.items() if n != "Date"} for r in (ours, theirs)]
    assert told[0] == told[1]
    assert "Date" in ours.headers
