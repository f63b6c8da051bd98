"""v3io's client for asyncio on a depot, in this process."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

import entrepot
from entrepot.v3io.aio.dataplane import Client, RaiseForStatus
from entrepot.v3io.aio.dataplane.transport import depot
from entrepot.v3io.dataplane.response import HttpResponseError
from support.homes import Home
from support.v3io_calls import find_call
from support.v3io_program import EXPECTED, run_awaited

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(home: Home) -> AsyncIterator[Client]:
    """Return a client that is given nothing: it works on the depot of the environment."""
    async with Client() as client:
        yield client


def store_of(client: Client) -> Any:
    """Return what a client works on."""
    return cast("depot.Transport", client._transport)._store


async def test_a_program_tells_what_it_would_tell_over_http(client: Client) -> None:
    assert await run_awaited(client) == EXPECTED.read_text("utf-8").splitlines()


@pytest.mark.parametrize("endpoint", [None, "depot:", "depot:lab"], ids=["none", "own", "named"])
async def test_a_client_works_on_a_depot_and_needs_no_key(
    endpoint: str | None, home: Home, client: Client
) -> None:
    async with Client(endpoint=endpoint) as other:
        await other.kv.put("users", "t", "k", {"a": 1.0})
        assert (await client.kv.get("users", "t", "k")).output.item == {"a": 1.0}
    with home.open() as lab:
        assert lab.table("users/t").get("k") == {"a": 1.0}


def test_aiohttp_is_not_needed() -> None:
    code = """
import asyncio, sys
sys.modules["aiohttp"] = None
import entrepot.v3io.aio.dataplane as dataplane
async def main():
    async with dataplane.Client() as client:
        await client.object.put("users", "o", body="x")
        print((await client.object.get("users", "o")).body)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "b'x'"


async def test_the_writes_of_many_tasks_share_commits(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.stream.create("users", "s", 1)
    engine = store_of(client).engine
    commits: list[int] = []
    write = engine.write

    def counted(fn: Any, *args: Any) -> Any:
        commits.append(1)
        return write(fn, *args)

    monkeypatch.setattr(engine, "write", counted)
    responses = await asyncio.gather(
        *(client.kv.put("users", "t", f"{n:03}", {"n": n}) for n in range(200)),
        *(client.stream.put_records("users", "s", [{"data": str(n)}]) for n in range(100)),
        client.kv.put("users", "t", "x", {"n": 1}, condition="n == 1", raise_for_status="never"),
    )
    assert [r.status_code for r in responses] == [200] * 300 + [400]
    numbers = [r.output.records[0].sequence_number for r in responses[200:300]]
    assert numbers == list(range(1, 101))
    assert len(commits) == 1
    assert len(await client.kv.new_cursor("users", "t").all()) == 200


async def test_a_task_that_is_cancelled_keeps_no_other_from_writing(client: Client) -> None:
    first = asyncio.create_task(client.kv.put("users", "t", "a", {"n": 1}))
    second = asyncio.create_task(client.kv.put("users", "t", "b", {"n": 1}))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).status_code == 200
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await client.kv.put("users", "t", "c", {"n": 1})).status_code == 200


async def test_an_error_that_is_nobodys_answer_reaches_all_who_wait(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fn: Any, *args: Any) -> Any:
        raise OSError("the disk is gone")

    await client.kv.put("users", "t", "k", {"n": 1})
    with monkeypatch.context() as patched:
        patched.setattr(store_of(client).engine, "write", broken)
        results = await asyncio.gather(
            *(client.kv.put("users", "t", "k", {"n": 2}) for _ in range(3)), return_exceptions=True
        )
    assert [str(result) for result in results] == ["the disk is gone"] * 3
    assert (await client.kv.get("users", "t", "k")).output.item == {"n": 1}


async def test_pieces_that_come_in_time_are_stored(client: Client) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(40):
            yield bytes([number]) * 50_000

    data = b"".join([piece async for piece in pieces()])
    await client.object.put("users", "o", body=pieces())
    await client.object.put("users", "o", body=pieces(), append=True)
    assert (await client.object.get("users", "o")).body == data * 2
    await client.object.put("users", "o", body=io.StringIO("text ä"))
    assert (await client.object.get("users", "o")).body == "text ä".encode()


async def test_large_bodies_go_in_and_out(client: Client) -> None:
    data = bytes(range(256)) * 20_000
    await client.object.put("users", "file", body=cast("Any", io.BytesIO(data)))
    await client.object.put("users", "bytes", body=data)
    await client.object.put("users", "bytes", body="!", append=True)
    assert (await client.object.get("users", "file")).body == data
    found = await client.object.get("users", "bytes", offset=len(data) - 1)
    assert (found.status_code, found.body) == (206, b"\xff!")


async def test_an_unexpected_status_raises(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    async with Client(transport_verbosity="DEBUG", logger_verbosity="DEBUG") as client:
        with pytest.raises(HttpResponseError, match="Container not found"):
            await client.kv.get("users", "t", "k")
        ask = client.object.get("users", "o", raise_for_status=RaiseForStatus.never)
        assert (await ask).status_code == 404
        with pytest.raises(RuntimeError, match="One of expression"):
            await client.kv.update("users", "t", "k")
    told = capsys.readouterr().out
    assert "Response error: Request failed with status 404" in told
    assert "Tx: {'operation': 'encode_get_item'" in told
    assert "Rx: {'status_code': 404" in told


async def test_what_is_only_encoded_looks_as_over_http(client: Client) -> None:
    call = find_call("kv_delete")
    request: Any = await client.kv.delete(*call.args, transport_actions=1)
    assert (request.method, request.encode_path()) == (call.method, call.target)


async def test_a_closed_client_does_nothing(home: Home) -> None:
    client = Client()
    writes = [asyncio.create_task(client.kv.put("users", "t", str(n), {"n": n})) for n in range(10)]
    await asyncio.sleep(0)
    await client.close()
    await client.close()
    assert [(await write).status_code for write in writes] == [200] * 10
    with pytest.raises(RuntimeError, match="Session is closed"):
        await client.kv.get("users", "t", "0")
    with entrepot.open() as lab:
        assert lab.table("users/t").count() == 10
