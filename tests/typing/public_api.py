"""What type checkers say of the public API: read by pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import entrepot
from entrepot.aio import AsyncContainer, AsyncDepot, AsyncSpace, AsyncStream, AsyncTable
from entrepot.layers.objects import ObjectInfo
from entrepot.layers.spaces import Claim, Space, SpaceInfo, VariableInfo


def of_a_depot(depot: entrepot.Depot) -> None:
    assert_type(entrepot.open("lab", memory="4G"), entrepot.Depot)
    assert_type(depot.space("jobs"), Space)
    assert_type(depot.spaces(), list[SpaceInfo])
    assert_type(depot.check(), list[str])
    with entrepot.temporary() as fresh:
        assert_type(fresh, entrepot.Depot)


def of_objects(objects: entrepot.Objects) -> None:
    key = objects.put({"any": "thing"}, name="x")
    assert_type(key, entrepot.ObjectId)
    assert_type(objects.get(key), Any)
    assert_type(objects.put_many([1, 2]), list[entrepot.ObjectId])
    assert_type(objects.list(limit=3), list[ObjectInfo])
    assert_type(objects.get_name("x", wait=True, timeout=1.5), entrepot.ObjectId)
    assert_type(objects.names(), dict[str, entrepot.ObjectId])
    assert_type(objects.exists(key), bool)


def of_spaces(space: entrepot.Space) -> None:
    assert_type(space.store("v", 1), None)
    assert_type(space.fetch("v", timeout=2), Any)
    assert_type(space.try_claim("v"), Claim | None)
    assert_type(space.variables(), list[VariableInfo])
    with space.claim("v") as claim:
        assert_type(claim, Claim)
        assert_type(claim.index, int)
        assert_type(claim.value, Any)


def of_the_data_layer(depot: entrepot.Depot) -> None:
    table, stream = depot.table("users/people"), depot.stream("users/clicks", shards=2)
    assert_type(table, entrepot.Table)
    assert_type(table.get("ann"), dict[str, Any])
    assert_type(table.scan("age > :n", n=15), Iterator[tuple[str, dict[str, Any]]])
    assert_type(table.batch(), entrepot.TableBatch)
    assert_type(stream, entrepot.Stream)
    assert_type(stream.tail(), Iterator[entrepot.Record])
    assert_type(stream.read(0), entrepot.Stretch)
    assert_type(stream.consumer("readers"), entrepot.Consumer)
    container = depot.container("users")
    assert_type(container, entrepot.Container)
    assert_type(container.get("a"), bytes)
    assert_type(container.open("a"), entrepot.ObjectReader)


async def of_the_data_layer_awaited(depot: AsyncDepot) -> None:
    table, stream = await depot.table("users/people"), await depot.stream("users/clicks")
    assert_type(table, AsyncTable)
    assert_type(await table.get("ann"), dict[str, Any])
    assert_type(table.scan(), AsyncIterator[tuple[str, dict[str, Any]]])
    assert_type(stream, AsyncStream)
    assert_type(await stream.read(0), entrepot.Stretch)
    async for record in stream.tail():
        assert_type(record, entrepot.Record)
    async with await stream.consumer("readers") as consumer:
        assert_type(await consumer.read(), list[entrepot.Record])
    assert_type(await depot.container("users"), AsyncContainer)


async def of_the_async_twin() -> None:
    depot = await entrepot.aio.open()
    assert_type(depot, AsyncDepot)
    space = await depot.space("jobs")
    assert_type(space, AsyncSpace)
    assert_type(await space.fetch("v"), Any)
    async with await space.claim("v") as claim:
        assert_type(claim.index, int)
