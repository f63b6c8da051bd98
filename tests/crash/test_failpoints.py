"""A process is killed at each failpoint that an operation passes, one after the other.

Guaranteed, whichever it is:

1. The operation was done as a whole or not at all; a claim and a wait count as not done.
2. What was acknowledged before is there.
3. The depot is sound, and whoever comes next gives back all that the dead process held:
   its slot, pins, extents, claims and places in line.
4. The depot goes on working for those who live.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot.engine import failpoints
from entrepot.layers.spaces.core import FETCH_ONE
from support.homes import Home, assert_sound
from support.peers import Peer

SMALL, PIECE, LARGE, HUGE = 100, 40_000, 300_000, 20_000_000
MEMORY = "64M"
HITS_MAX = 60

WRITES = {"engine.begun", "engine.before_commit", "engine.committed"}


def block(size: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """Return an array of `size` bytes that are the same at each call."""
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def nothing(_: object) -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Operation:
    """Something that a process does, what is there before, and where it may be killed."""

    do: Callable[[entrepot.Depot], object]
    passes: set[str]
    prepare: Callable[[entrepot.Depot], object] = nothing
    at_open: bool = False
    """Whether to be killed while the depot is opened, too."""
    dead_before: Callable[[entrepot.Depot], object] | None = None
    """What another process did that was killed before."""
    tidy: Callable[[Any], object] = nothing
    """What follows the death; it gets what `prepare` returned."""


def put_and_delete(depot: entrepot.Depot) -> None:
    depot.objects.delete(depot.objects.put(block(LARGE)))


def store_three(depot: entrepot.Depot) -> None:
    for number in range(3):
        depot.space("s").store("v", number)


def store_large(depot: entrepot.Depot) -> None:
    depot.space("s").store("v", block(LARGE))


def claim_and_finish(depot: entrepot.Depot) -> None:
    with depot.space("s").claim("v"):
        pass


def claim_and_give_back(depot: entrepot.Depot) -> None:
    depot.space("s").claim("v").release()


def claim_many(depot: entrepot.Depot) -> None:
    for _ in range(1500):
        depot.space("s").try_claim("v")


def join_the_line(depot: entrepot.Depot) -> tuple[entrepot.Space, Any]:
    """This process waits for a value, in so far as others can see."""
    space = depot.space("s")
    return space, space.join_line("v", FETCH_ONE)


def leave_the_line(waits: tuple[entrepot.Space, Any]) -> None:
    """The wait ends; what came goes back to its place."""
    space, waiter = waits
    space.cancel_wait(waiter)


def wait_in_vain(depot: entrepot.Depot) -> None:
    with pytest.raises(entrepot.WaitTimeoutError):
        depot.space("s").fetch("never", timeout=0.001)


def store_many(depot: entrepot.Depot) -> None:
    space = depot.space("s")
    for number in range(1500):
        space.store("v", number)


def make_tree(depot: entrepot.Depot) -> None:
    left, right = depot.objects.put(block(PIECE, 1)), depot.objects.put(block(SMALL, 2))
    depot.objects.create({"a": 1}, {"left": left, "right": right}, name="tree")


def put_item(depot: entrepot.Depot) -> None:
    depot.table("c/t").put("k", {"n": 1})


def put_item_with_body(depot: entrepot.Depot) -> None:
    put_item(depot)
    depot.container("c").put("t/k", bytes(block(LARGE, 4)))


def put_batch(depot: entrepot.Depot) -> None:
    with depot.table("c/t").batch() as batch:
        batch.put("new/left", {"n": 1})
        batch.delete("k")
        batch.update("new/right", "n = 1")


def make_stream(depot: entrepot.Depot) -> None:
    depot.stream("c/s", shards=2)


def append_records(depot: entrepot.Depot) -> None:
    depot.stream("c/s", shards=2).append_many(["a", "b", "c"])


def consume(depot: entrepot.Depot) -> None:
    with depot.stream("c/s").consumer("g") as consumer:
        consumer.read(timeout=0)
        consumer.commit()


def put_body(depot: entrepot.Depot) -> None:
    depot.container("c").put("d/o", bytes(block(LARGE, 3)))


def put_all_of_it(depot: entrepot.Depot) -> None:
    put_item_with_body(depot)
    append_records(depot)
    put_body(depot)
    consume(depot)


OPERATIONS = {
    "open": Operation(
        lambda depot: depot.objects.count(), WRITES | {"session.locked"}, at_open=True
    ),
    "put_small": Operation(lambda depot: depot.objects.put(b"x" * SMALL), WRITES),
    "put_piece": Operation(
        lambda depot: depot.objects.put(block(PIECE)),
        WRITES | {"arena.allocated", "arena.copied"},
    ),
    "put_large": Operation(
        lambda depot: depot.objects.put(block(LARGE)),
        WRITES | {"arena.allocated", "arena.copied"},
    ),
    "put_huge": Operation(
        lambda depot: depot.objects.put(np.ones(HUGE, np.uint8)),
        WRITES | {"arena.reserved", "arena.allocated", "arena.copied"},
    ),
    "put_named": Operation(lambda depot: depot.objects.put(block(PIECE), name="n"), WRITES),
    "put_many": Operation(
        lambda depot: depot.objects.put_many([1, block(PIECE), block(LARGE), b"x" * SMALL]),
        WRITES | {"arena.allocated", "arena.copied"},
    ),
    "grow": Operation(
        lambda depot: depot.objects.put_many([bytes(12_000)] * 500), WRITES | {"engine.growing"}
    ),
    "reuse": Operation(
        lambda depot: depot.objects.put(block(LARGE)),
        WRITES | {"arena.reclaiming"},
        prepare=put_and_delete,
    ),
    "delete": Operation(
        lambda depot: depot.objects.delete(depot.objects.list()[-1].id),
        WRITES,
        prepare=lambda depot: depot.objects.put(block(PIECE)),
    ),
    "delete_tree": Operation(
        lambda depot: depot.objects.delete(depot.objects.get_name("tree")),
        WRITES,
        prepare=make_tree,
    ),
    "get": Operation(
        lambda depot: depot.objects.get(depot.objects.list()[-1].id).sum(),
        set(),
        prepare=lambda depot: depot.objects.put(block(PIECE)),
    ),
    "store": Operation(lambda depot: depot.space("s").store("v", 7), WRITES),
    "store_large": Operation(store_large, WRITES | {"arena.allocated", "arena.copied"}),
    "store_for_a_waiter": Operation(
        store_large, WRITES | {"spaces.handed"}, prepare=join_the_line, tidy=leave_the_line
    ),
    "fetch": Operation(lambda depot: depot.space("s").fetch("v"), WRITES, prepare=store_three),
    "fetch_large": Operation(
        lambda depot: depot.space("s").fetch("v").sum(), WRITES, prepare=store_large
    ),
    "wait": Operation(wait_in_vain, WRITES | {"spaces.waiting"}),
    "claim": Operation(claim_and_finish, WRITES | {"spaces.claimed"}, prepare=store_three),
    "claim_large": Operation(claim_and_finish, WRITES | {"spaces.claimed"}, prepare=store_large),
    "give_back": Operation(claim_and_give_back, WRITES | {"spaces.claimed"}, prepare=store_large),
    "reap": Operation(
        lambda depot: depot.collect(),
        WRITES | {"reaper.halfway"},
        prepare=store_many,
        at_open=True,
        dead_before=claim_many,
    ),
    "delete_space": Operation(lambda depot: depot.delete_space("s"), WRITES, prepare=store_large),
    "store_persistent": Operation(
        lambda depot: depot.space("p", persistent=True).store("v", block(LARGE)),
        WRITES | {"files.written"},
    ),
    "fetch_persistent": Operation(
        lambda depot: depot.space("p", persistent=True).fetch("v").sum(),
        WRITES,
        prepare=lambda depot: depot.space("p", persistent=True).store("v", block(LARGE)),
    ),
    "put_item": Operation(
        lambda depot: depot.table("c/t").update("k", "n = n + 1"), WRITES, prepare=put_item
    ),
    "delete_item": Operation(
        lambda depot: depot.table("c/t").delete("k"), WRITES, prepare=put_item_with_body
    ),
    "put_batch": Operation(put_batch, WRITES, prepare=put_item),
    "append_records": Operation(append_records, WRITES, prepare=make_stream),
    "consume": Operation(consume, WRITES, prepare=append_records),
    "delete_stream": Operation(
        lambda depot: depot.stream("c/s").delete(), WRITES, prepare=append_records
    ),
    "put_body": Operation(
        lambda depot: depot.container("c").put("d/o", bytes(block(LARGE))),
        WRITES | {"files.synced"},
        prepare=put_body,
    ),
    "append_body": Operation(
        lambda depot: depot.container("c").append("new/o", iter([bytes(block(LARGE))])),
        WRITES | {"files.synced"},
        prepare=put_body,
    ),
    "append_to_body": Operation(
        lambda depot: depot.container("c").append("d/o", b"more"), WRITES, prepare=put_body
    ),
    "delete_container": Operation(
        lambda depot: depot.delete_container("c"), WRITES, prepare=put_all_of_it
    ),
    "trim": Operation(
        lambda depot: depot.collect(trim=True),
        WRITES | {"arena.reclaiming"},
        prepare=put_and_delete,
    ),
}


def test_every_failpoint_is_passed_by_an_operation() -> None:
    passed = set().union(*(operation.passes for operation in OPERATIONS.values()))
    assert passed == failpoints.KNOWN


@pytest.fixture
def nursery(peers: Callable[..., Peer]) -> Peer:
    """Return a process without a depot, whose forked children are cheap to kill."""
    peer = peers(opens=False)
    peer.run(lambda here: __import__("numpy").zeros(1).sum() + len(entrepot.__version__) > 0)
    return peer


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_that_is_killed_is_done_or_undone_and_all_is_given_back(
    home: Home, nursery: Peer, name: str
) -> None:
    operation = OPERATIONS[name]
    before: object = None
    outcomes: list[tuple[str, object]] = []
    for nth in range(HITS_MAX):
        with home.open(MEMORY) as depot:
            acknowledged = depot.objects.put(block(PIECE, 99), name="acknowledged")
            depot.space("acknowledged").store("v", block(PIECE, 98))
            prepared = operation.prepare(depot)
            before = before or contents(depot)
            if operation.dead_before is not None:
                assert nursery.run(live_once, home.root, home.data, operation.dead_before) is None
            at = nursery.run(live_once, home.root, home.data, operation.do, nth, operation.at_open)
            operation.tidy(prepared)
            assert_sound(depot)
            after = contents(depot)
            assert np.array_equal(depot.objects.get(acknowledged), block(PIECE, 99))
            depot.objects.delete(depot.objects.put(block(LARGE, 5)))
            depot.space("s").store("goes on", 1)
            assert depot.space("s").try_fetch("goes on") == 1
            depot.destroy()
        if at is None:
            break
        outcomes.append((at, after))
    else:
        raise AssertionError(f"{name} passes more than {HITS_MAX} failpoints")
    for nth, (at, found) in enumerate(outcomes):
        assert found in (before, after), f"killed at {at} (hit {nth}): half done"
    assert operation.passes <= {at for at, _ in outcomes}


def contents(depot: entrepot.Depot) -> dict[str, object]:
    """Return all that a depot holds, without ids: they differ from run to run."""
    objects = sorted(checksum(depot.objects.get(info.id)) for info in depot.objects.list())
    spaces = {}
    for info in depot.spaces():
        space = depot.space(info.name)
        spaces[info.name] = {
            variable.name: [checksum(value) for value in space.ifind_try(variable.name)]
            for variable in space.variables()
            if variable.values
        }
    return {
        "objects": objects,
        "names": sorted(depot.objects.names()),
        "spaces": {name: found for name, found in spaces.items() if found},
        "data": {name: entries_of(depot, name) for name in depot.containers()},
    }


def entries_of(depot: entrepot.Depot, name: str) -> dict[str, object]:
    """Return what a container holds, by path."""
    container, found = depot.container(name), {}
    for info in container.list(recursive=True):
        if info.kind == "stream":
            stream = depot.stream(f"{name}/{info.path}")
            records = [record.data for record in stream.tail(since="earliest", timeout=0)]
            groups = [(group.consumers, group.positions != {}) for group in stream.groups()]
            found[info.path] = stream.info().shards, sorted(records), groups
        elif info.kind == "object":
            attributes = depot.table(name).get(info.path)
            found[info.path] = attributes, zlib.crc32(container.get(info.path))
        elif info.kind == "directory":
            found[info.path] = None
    return found


def checksum(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(checksum, value.values()))
    return zlib.crc32(value if isinstance(value, np.ndarray) else repr(value).encode())


def live_once(
    here: Any,
    root: Any,
    data: Any,
    do: Callable[[entrepot.Depot], object],
    nth: int = -1,
    at_open: bool = False,
) -> str | None:
    """Fork a process that does something and is killed at the nth failpoint that it passes.

    With -1 it is killed at the end. Returns the failpoint, or None if it came to its end.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            hits = iter(range(HITS_MAX + 1000))

            def strike(name: str) -> None:
                if next(hits) == nth:
                    os.write(writing, name.encode())
                    failpoints.kill_self()

            def arm_all() -> None:
                for name in failpoints.KNOWN:
                    failpoints.arm(name, lambda name=name: strike(name))

            if at_open and nth >= 0:
                arm_all()
            depot = entrepot.open(Home.name, directory=root, data_directory=data)
            if nth >= 0:
                arm_all()
            do(depot)
            os.write(writing, b"end")
        except BaseException:  # noqa: BLE001 it must not return into the parent's code
            traceback.print_exc(file=sys.stderr)
            os.write(writing, b"failed")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    os.waitpid(child, 0)
    word = os.read(reading, 100).decode()
    os.close(reading)
    assert word != "failed", "see the trace of the child above"
    return None if word == "end" else word
