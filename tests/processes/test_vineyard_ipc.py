"""vineyard's protocol on the UNIX socket, frame by frame, against a gateway in its own process."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import settings
from entrepot.gateways.vineyard import Server
from entrepot.gateways.vineyard import session as session_module
from entrepot.gateways.vineyard.lending import Lender
from entrepot.layers.objects.assembly import Assembly
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home, memory_directory
from support.vineyard_raw import REGISTER, Gateway, Raw, serving

EMPTY = 1 << 63
INVALID = (1 << 64) - 1
GONE = EMPTY | 12345
MIB = 1 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[entrepot.Depot, Gateway]]:
    root = memory_directory()
    data = tmp_path_factory.mktemp("data")
    try:
        with entrepot.open("lab", directory=root, data_directory=data, memory="80M") as depot:
            with serving(depot, root / "v.sock", limit=64 * MIB) as gateway:
                yield depot, gateway
            depot.destroy()
        assert [path.name for path in root.iterdir() if path.name != ".lock"] == []
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def depot(served: tuple[entrepot.Depot, Gateway]) -> Iterator[entrepot.Depot]:
    """Return the depot; look whether it is sound and empty after the test."""
    depot, gateway = served
    yield depot
    assert gateway.is_running
    gc.collect()
    with Raw(gateway.path) as raw:
        wait_until(lambda: _connections(raw) == (1, 0), "all others have left")
        raw.call("clear")
    depot.collect()
    assert depot.check() == []
    wait_until(lambda: _is_free(depot), "all memory is free")


def _connections(raw: Raw) -> tuple[int, int]:
    meta = raw.call("instance_status")["meta"]
    return meta["ipc_connections"], meta["deferred_requests"]


def _is_free(depot: entrepot.Depot) -> bool:
    depot.collect()
    arena = depot.statistics().arena
    return (arena.used, arena.limbo, arena.blobs) == (0, 0, 0)


@pytest.fixture
def path(served: tuple[entrepot.Depot, Gateway], depot: entrepot.Depot) -> str:
    return served[1].path


@pytest.fixture
def raw(path: str) -> Iterator[Raw]:
    with Raw(path) as connection:
        yield connection


@pytest.fixture
def other(path: str) -> Iterator[Raw]:
    with Raw(path) as connection:
        yield connection


# The handshake.


def test_the_greeting_tells_where_and_what_the_server_is(
    served: tuple[entrepot.Depot, Gateway], depot: entrepot.Depot
) -> None:
    gateway = served[1]
    with Raw(gateway.path, registers=False) as raw:
        expected = {
            "type": "register_reply",
            "ipc_socket": gateway.path,
            "rpc_endpoint": gateway.told["rpc"],
            "instance_id": 0,
            "session_id": 0,
            "version": "0.24.2",
            "store_match": True,
            "support_rpc_compression": False,
        }
        assert raw.ask(REGISTER) == expected
        assert raw.ask(REGISTER | {"store_type": "Normal"}) == expected  # again, as old clients do
        for store_type in (2, "Plasma", None, True, 1.5, [1]):
            told = raw.ask(REGISTER | {"store_type": store_type})
            assert told == expected | {"store_match": store_type is True and told["store_match"]}
        assert raw.call("exists", id=5) == {"exists": False}
        raw.send({"type": "exit_request"})
        assert raw.is_ended()


def test_a_server_that_ends_leaves_the_socket_of_its_successor(
    path: str, depot: entrepot.Depot
) -> None:
    where = Path(f"{path}2")
    first = Server(depot, ipc=where)
    with pytest.raises(OSError, match="somebody listens there"):
        Server(depot, ipc=where)
    where.unlink()
    second = Server(depot, ipc=where)
    second.start()
    first.close()
    with Raw(os.fspath(where)) as raw:
        assert raw.call("exists", id=5) == {"exists": False}
    second.close()
    assert not where.exists()


@pytest.mark.parametrize("name", ["exists", "create_buffer", "cluster_meta", "nonsense", "seal"])
def test_nothing_is_done_before_a_client_registers(path: str, name: str) -> None:
    with Raw(path, registers=False) as raw:
        kind = name if name == "cluster_meta" else f"{name}_request"
        reply = raw.ask({"type": kind, "id": 5, "size": 5, "object_id": 5})
        told = f"The connection is not registered yet, command is: {kind}"
        assert reply == {"code": 1, "message": told}
        assert raw.ask(REGISTER)["type"] == "register_reply"


# Blobs.


def payload(id: int, size: int, at: int, bound: int, *, is_sealed: bool = False) -> dict[str, Any]:
    return {
        "object_id": id, "store_fd": 1, "data_offset": at, "data_size": size, "map_size": bound,
        "pointer": at, "is_sealed": is_sealed, "is_owner": True, "is_gpu": False,
    }  # fmt: skip


NOTHING = {
    "data_offset": 0, "data_size": 0, "is_gpu": False, "is_owner": True, "is_sealed": False,
    "map_size": 0, "object_id": EMPTY, "pointer": 0, "store_fd": -1,
}  # fmt: skip


def test_a_blob_is_made_sealed_and_seen_by_another_connection(raw: Raw, other: Raw) -> None:
    reply = raw.buffers("create_buffer", size=100)
    id, created = reply["id"], reply["created"]
    assert set(reply) == {"type", "id", "fd", "created"}
    assert (reply["type"], reply["fd"], id >> 63) == ("create_buffer_reply", 1, 1)
    at, bound = created["data_offset"], created["map_size"]
    assert created == payload(id, 100, at, bound)
    assert (at % 64, bound % 4096) == (0, 8)
    raw.bytes_of(created)[:] = bytes(range(100))
    assert raw.call("exists", id=id) == {"exists": True}
    assert raw.call("get_data", id=[id]) == {"content": None}
    assert other.code("get_buffers", **{"0": id}, num=1, unsafe=False) == 14
    assert raw.call("seal", object_id=id) == {}

    found = other.buffers("get_buffers", **{"0": id}, num=1, unsafe=False)
    sealed = payload(id, 100, at, bound, is_sealed=True)
    expected = {"type": "get_buffers_reply", "num": 1, "payloads": [sealed], "0": sealed}
    assert found == expected | {"fds": [1], "compress": False}
    assert bytes(other.bytes_of(found["0"])) == bytes(range(100))
    again = other.buffers("get_buffers", ids=[id], unsafe=True)
    assert again == expected | {"fds": [], "compress": False}
    assert bytes(raw.get(id)[0]) == bytes(range(100))
    node = {"id": f"o{id:016x}", "typename": "vineyard::Blob", "length": 100, "nbytes": 100}
    tree = node | {"transient": True, "instance_id": 0}
    assert other.call("get_data", id=[id]) == {"content": {f"o{id:016x}": tree}}


def test_the_file_is_passed_once_by_whichever_reply_names_it_first(raw: Raw, path: str) -> None:
    id = raw.create(b"seen")
    assert raw.buffers("create_buffer", size=5)["fd"] == -1
    for name, fields in (
        ("create_buffer", {"size": 10}),
        ("create_buffers", {"num": 2, "sizes": [10, 20]}),
        ("get_buffers", {"ids": [id]}),
        ("get_next_stream_chunk", {"id": _stream(raw), "size": 5}),
    ):
        with Raw(path) as fresh:
            # What has no bytes is nowhere: no file comes for it.
            assert fresh.buffers("create_buffer", size=0)["fd"] == -1
            assert fresh.buffers("get_buffers", ids=[EMPTY, GONE])["fds"] == []
            assert fresh.files == {}
            reply = fresh.buffers(name, **fields)
            assert (reply["fds"] if "fds" in reply else [reply["fd"]]) == [1]
            assert list(fresh.files) == [1]
            assert fresh.buffers("create_buffers", num=1, sizes=[7])["fds"] == []


def _stream(raw: Raw) -> int:
    id = raw.make("vineyard::ByteStream", params_="{}")
    assert raw.call("create_stream", object_id=id) == {}
    return id


def test_the_empty_blob_lies_nowhere(raw: Raw) -> None:
    assert raw.ask({"type": "create_buffer_request", "size": 0}) == {
        "type": "create_buffer_reply", "id": EMPTY, "fd": -1, "created": NOTHING,
    }  # fmt: skip
    assert raw.call("seal", object_id=EMPTY) == {}
    assert raw.call("drop_buffer", id=EMPTY) == {}
    assert raw.call("release", object_id=EMPTY) == {}
    assert raw.code("shrink_buffer", id=EMPTY, size=0) == 12
    assert raw.call("exists", id=EMPTY) == {"exists": False}
    assert raw.call("get_buffers", ids=[EMPTY])["payloads"] == [NOTHING]
    node = {"id": f"o{EMPTY:016x}", "typename": "vineyard::Blob", "length": 0, "nbytes": 0}
    tree = {f"o{EMPTY:016x}": node | {"transient": True, "instance_id": 0}}
    for wait in (False, True):
        assert raw.call("get_data", id=[EMPTY], wait=wait) == {"content": tree}
    id = raw.make(x={"id": f"o{EMPTY:016x}", "typename": "vineyard::Blob", "instance_id": 0})
    assert raw.call("get_data", id=[id])["content"][f"o{id:016x}"]["x"] == node | {
        "transient": True, "instance_id": 0,
    }  # fmt: skip
    assert raw.call("del_data", id=[EMPTY, id], deep=True, force=True) == {}
    assert raw.call("exists", id=id) == {"exists": False}


def test_several_blobs_are_made_at_once_or_none(raw: Raw, depot: entrepot.Depot) -> None:
    reply = raw.buffers("create_buffers", num=4, sizes=[10, 0, 20, 10])
    payloads = reply["payloads"]
    assert reply["fds"] == [1]
    assert [one["data_size"] for one in payloads] == [10, 0, 20, 10]
    assert [one["object_id"] for one in payloads] == reply["ids"]
    assert [reply[str(number)] for number in range(4)] == payloads
    assert (reply["num"], payloads[1]) == (4, NOTHING)
    for one in payloads[::2]:
        raw.bytes_of(one)[:] = bytes([one["data_size"]]) * one["data_size"]
        raw.call("seal", object_id=one["object_id"])
    assert [bytes(view) for view in raw.get(*reply["ids"][::2])] == [b"\n" * 10, b"\x14" * 20]
    assert raw.call("create_buffers", num=0, sizes=[]) == {
        "num": 0, "ids": [], "payloads": [], "fds": [],
    }  # fmt: skip
    before = depot.statistics().arena.unsealed
    for more in ([MIB, MIB, 1 << 40], [MIB, 1 << 63], [MIB, (1 << 64) - 1]):
        assert raw.code("create_buffers", num=len(more), sizes=more) == 41
    assert depot.statistics().arena.unsealed <= before


def test_blobs_are_given_in_the_order_in_which_they_are_asked_for(raw: Raw) -> None:
    bodies = [bytes([number]) * (number + 1) for number in range(5)]
    ids = [raw.create(body) for body in bodies]
    order = [3, 0, 4, 4, 1]
    asked = [ids[3], GONE, ids[0], 777, ids[4], ids[4], INVALID, ids[1]]
    reply = raw.call("get_buffers", **{str(at): id for at, id in enumerate(asked)}, num=8)
    assert (reply["num"], len(reply["payloads"])) == (5, 5)
    assert [bytes(raw.bytes_of(one)) for one in reply["payloads"]] == [bodies[at] for at in order]
    assert [reply[str(at)] for at in range(5)] == reply["payloads"]
    assert raw.call("get_buffers", num=0) == {
        "num": 0, "payloads": [], "fds": [], "compress": False,
    }  # fmt: skip


def test_a_blob_that_is_not_sealed_is_had_only_if_that_is_asked_for(raw: Raw, other: Raw) -> None:
    id, sealed = raw.create(b"draft", seals=False), raw.create(b"sealed")
    assert other.code("get_buffers", ids=[sealed, id], unsafe=False) == 14
    assert other.code("get_buffers", ids=[id]) == 14
    assert [bytes(view) for view in other.get(id, sealed, unsafe=True)] == [b"draft", b"sealed"]
    assert [one["is_sealed"] for one in other.call("get_buffers", ids=[id, sealed], unsafe=True)["payloads"]] == [False, True]  # fmt: skip
    for call in ("persist", "shallow_copy"):
        assert raw.code(call, id=id) == 7
    member = {"id": f"o{id:016x}", "typename": "vineyard::Blob", "instance_id": 0}
    refused = raw.ask({"type": "create_data_request", "content": {"typename": "t", "m": member}})
    assert refused["code"] in (14, 27)
    assert other.call("seal", object_id=id) == {}  # whoever has its id may seal it
    assert [bytes(view) for view in raw.get(id)] == [b"draft"]


def test_what_is_dropped_is_gone_and_its_memory_is_free(raw: Raw, other: Raw) -> None:
    for _ in range(5):
        id = raw.buffers("create_buffer", size=40 * MIB)["id"]
        assert other.code("create_buffer", size=40 * MIB) == 41
        assert raw.call("drop_buffer", id=id) == {}
        assert raw.call("exists", id=id) == {"exists": False}
        assert raw.code("seal", object_id=id) == 12
        assert raw.code("drop_buffer", id=id) == 12
    id = raw.create(b"theirs", seals=False)
    assert other.call("drop_buffer", id=id) == {}
    assert raw.code("seal", object_id=id) == 12


def test_blobs_shrink_until_they_are_sealed(raw: Raw, other: Raw) -> None:
    id = raw.create(b"abcdefgh", seals=False)
    before = raw.call("get_buffers", ids=[id], unsafe=True)["0"]
    assert raw.code("shrink_buffer", id=id, size=9) == 1
    assert raw.code("shrink_buffer", id=id, size=-1) == 1
    assert raw.call("shrink_buffer", id=id, size=8) == {}
    assert raw.call("shrink_buffer", id=id, size=3) == {}
    assert raw.code("shrink_buffer", id=id, size=4) == 1
    after = raw.call("get_buffers", ids=[id], unsafe=True)["0"]
    assert after == before | {"data_size": 3}
    raw.call("seal", object_id=id)
    assert raw.code("shrink_buffer", id=id, size=1) == 13
    assert raw.code("shrink_buffer", id=GONE, size=1) == 12
    assert [bytes(view) for view in other.get(id)] == [b"abc"]
    tree = raw.call("get_data", id=[id])["content"][f"o{id:016x}"]
    assert (tree["length"], tree["nbytes"]) == (3, 3)


def test_a_blob_that_is_shrunk_to_nothing_lies_nowhere(raw: Raw, path: str) -> None:
    id = raw.create(b"abcdefgh", seals=False)
    assert raw.call("shrink_buffer", id=id, size=0) == {}
    nowhere = NOTHING | {"object_id": id}
    with Raw(path) as fresh:
        assert fresh.buffers("get_buffers", ids=[id], unsafe=True)["payloads"] == [nowhere]
    raw.call("seal", object_id=id)
    with Raw(path) as fresh:  # no file comes for what has no bytes: nobody would fetch it
        found = fresh.buffers("get_buffers", ids=[id])
        assert (found["fds"], found["payloads"]) == ([], [nowhere | {"is_sealed": True}])
    raw.call("del_data", id=[id])
    assert raw.call("exists", id=id) == {"exists": False}


def test_a_sealed_blob_is_sealed_and_a_foreign_id_is_none(raw: Raw, other: Raw) -> None:
    id, plain = raw.create(b"body"), raw.make()
    assert (raw.code("seal", object_id=id), other.code("seal", object_id=id)) == (13, 13)
    assert raw.code("drop_buffer", id=id) == 13
    for unknown in (GONE, 5, 0, INVALID, plain | EMPTY):
        assert raw.code("seal", object_id=unknown) in (12, 13)
        assert raw.code("drop_buffer", id=unknown) in (12, 13)
        assert raw.code("shrink_buffer", id=unknown, size=1) in (12, 13)
    assert raw.call("exists", id=plain) == {"exists": True}
    assert raw.code("seal", object_id=plain) in (12, 13)
    assert raw.call("get_buffers", ids=[plain])["num"] == 0
    assert [bytes(view) for view in other.get(id)] == [b"body"]


SIZES = {
    "half of all numbers": (1 << 63, 41), "the last number": ((1 << 64) - 1, 41), "no number of 64 bits": (1 << 70, None),
    "more than there is": (1 << 40, 41), "negative": (-1, 1), "very negative": (-(1 << 63), 1), "a truth": (True, 1),
    "a fraction": (5.5, 1), "a float": (5.0, 1), "a text": ("5", 1), "a list": ([5], 1), "nothing": (None, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_impossible_sizes_are_refused_and_the_server_lives(raw: Raw, name: str) -> None:
    size, code = SIZES[name]
    codes = (1, 41) if code is None else (code,)
    assert raw.code("create_buffer", size=size) in codes
    assert raw.code("create_buffers", num=1, sizes=[size]) in codes
    assert raw.code("create_buffers", num=2, sizes=[MIB, size]) in codes
    id = raw.create(b"abc", seals=False)
    assert raw.code("shrink_buffer", id=id, size=size) == 1
    stream = _stream(raw)
    assert raw.code("get_next_stream_chunk", id=stream, size=size) in codes
    raw.call("drop_buffer", id=id)


def test_ids_are_numbers_of_64_bits_to_the_last_one(raw: Raw) -> None:
    for id in (0, 1, (1 << 53) + 1, (1 << 63) - 1, EMPTY + 1, INVALID - 1, INVALID):
        assert raw.call("exists", id=id) == {"exists": False}
        assert raw.call("get_data", id=[id]) == {"content": None}
        assert raw.call("del_data", id=[id], force=True, deep=True) == {}
    made = raw.create(b"x")
    assert made > (1 << 63)
    assert raw.call("exists", id=made) == {"exists": True}
    assert raw.call("exists", id=made - 1) == {"exists": False}
    assert raw.call("exists", id=made + 1) == {"exists": False}
    assert raw.call("get_data", id=[INVALID], sync_remote=True, wait=False) == {"content": None}
    assert raw.call("get_data", id=[INVALID], sync_remote=True, wait=True) == {"content": None}


# Bad input.

FIELDS: dict[str, dict[str, Any]] = {
    "exists": {"id": 5}, "create_buffer": {"size": 5}, "create_buffers": {"sizes": [5]}, "seal": {"object_id": 5},
    "get_buffers": {"ids": [5]}, "drop_buffer": {"id": 5}, "shrink_buffer": {"id": 5, "size": 5}, "release": {"object_id": 5},
    "increase_reference_count": {"ids": [5]}, "is_in_use": {"id": 5}, "is_spilled": {"id": 5}, "get_data": {"id": [5]},
    "create_data": {"content": {"typename": "t"}}, "create_datas": {"contents": [{"typename": "t"}]}, "persist": {"id": 5},
    "if_persist": {"id": 5}, "label": {"id": 5, "keys": ["k"], "values": ["v"]}, "shallow_copy": {"id": 5},
    "del_data": {"id": [5]}, "del_data_with_feedbacks": {"id": [5]}, "migrate_object": {"object_id": 5},
    "list_data": {"pattern": "*"}, "list_name": {"pattern": "*"}, "put_name": {"object_id": 5, "name": "n"},
    "get_name": {"name": "n"}, "drop_name": {"name": "n"}, "create_stream": {"object_id": 5},
    "open_stream": {"object_id": 5, "mode": 1}, "get_next_stream_chunk": {"id": 5, "size": 5},
    "push_next_stream_chunk": {"id": 5, "chunk": 5}, "pull_next_stream_chunk": {"id": 5}, "stop_stream": {"id": 5},
    "drop_stream": {"id": 5},
}  # fmt: skip
OPTIONAL: dict[str, dict[str, Any]] = {
    "get_data": {"wait": False}, "get_buffers": {"unsafe": False}, "get_name": {"wait": False},
    "list_data": {"regex": False, "limit": 5}, "list_name": {"regex": False, "limit": 5},
    "del_data": {"force": False, "deep": True, "memory_trim": False}, "stop_stream": {"failed": False},
    "shallow_copy": {"extra": {}},
}  # fmt: skip
WRONG: list[Any] = [
    None, True, False, -1, 1 << 64, 1 << 70, 1e300, 0.5, "", "x", "\0", "5" * 1000, [], [None], [True], [-1],
    [1 << 64], ["x"], [[]], [{}], {}, {"x": 1}, {"typename": 5}, [{"typename": None}],
]  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_missing_fields_and_fields_of_wrong_types_are_refused(raw: Raw, name: str) -> None:
    good = FIELDS[name]
    for field in good:
        assert raw.code(name, **{key: good[key] for key in good if key != field}) == 1
    for field, value in (good | OPTIONAL.get(name, {})).items():
        for wrong in WRONG:
            if (
                type(wrong) is type(value)
                and not isinstance(wrong, (list, dict))
                and not _is_no_id(wrong)
            ):
                continue
            reply = raw.ask({"type": f"{name}_request", **good, field: wrong})
            told = (name, field, wrong, reply)
            assert "type" in reply or reply["code"] != 255, told
            if type(wrong) is not type(value):
                assert reply.get("code") == 1, told
    raw.call("clear")
    assert raw.call("exists", id=5) == {"exists": False}


def _is_no_id(value: object) -> bool:
    return isinstance(value, int) and not 0 <= value < 1 << 64


MESSAGES: dict[str, tuple[Any, int]] = {
    "half": (b"{", 1), "empty": (b"", 1), "a list": (b"[1]", 1), "a number": (b"5", 1), "null": (b"null", 1),
    "no utf-8": (b'{"type": "\xff"}', 1), "half a surrogate": (b'{"type":"exists_request","id":"\\ud800"}', 1),
    "trailing": (b'{"type":"exists_request","id":5} x', 1), "nan": (b'{"type":"exists_request","id":NaN}', 1),
    "huge number": (b'{"type":"exists_request","id":' + b"9" * 5000 + b"}", 1),
    "huge exponent": (b'{"type":"exists_request","id":1e999}', 1),
    "deep lists": (b'{"type":"exists_request","id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 1),
    "deep objects": (b'{"type":"create_data_request","content":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, 1),
    "rather deep": (b'{"type":"exists_request","id":' + b"[" * 900 + b"]" * 900 + b"}", 1),
    "no type": ({}, 1), "type of a number": ({"type": 5}, 1), "unknown": ({"type": "foo_request"}, 1),
    "unknown and bare": ({"type": "foo"}, 1), "bare": ({"type": "exists", "id": 5}, 1), "nothing": ({"type": ""}, 1),
    "only the end": ({"type": "_request"}, 1), "twice": ({"type": "exists_request_request", "id": 5}, 1),
    "a reply": ({"type": "exists_reply", "id": 5}, 1),
    "gpu": ({"type": "create_gpu_buffer_request", "size": 5}, 6), "disk": ({"type": "create_disk_buffer_request"}, 6),
    "lock": ({"type": "acquire_lock_request", "key": "k"}, 6), "session": ({"type": "new_session_request"}, 6),
    "typename of a number": ({"type": "create_data_request", "content": {"typename": 5}}, 21),
    "no typename": ({"type": "create_data_request", "content": {}}, 21),
    "a blob": ({"type": "create_data_request", "content": {"typename": "vineyard::Blob"}}, 7),
    "no member": ({"type": "create_data_request", "content": {"typename": "t", "m": {"id": "o0000000000000005"}}}, 27),
    "member of no id": ({"type": "create_data_request", "content": {"typename": "t", "m": {"id": "o-5"}}}, 21),
    "member of a long id": ({"type": "create_data_request", "content": {"typename": "t", "m": {"id": "o" + "f" * 17}}}, 21),
    "member of an id of spaces": ({"type": "create_data_request", "content": {"typename": "t", "m": {"id": "o 5_5 "}}}, 21),
    "member without an id": ({"type": "create_data_request", "content": {"typename": "t", "m": {"typename": "t"}}}, 21),
    "content of numbers": ({"type": "create_datas_request", "contents": [5]}, 21),
    "too many blobs": ({"type": "get_buffers_request", "num": 1 << 40}, 1),
    "less than none": ({"type": "get_buffers_request", "num": -1}, 1),
    "not all blobs": ({"type": "get_buffers_request", "num": 2, "0": 5}, 1),
    "no such name": ({"type": "get_name_request", "name": "nope", "wait": False}, 12),
    "no object to name": ({"type": "put_name_request", "object_id": 5, "name": "n"}, 12),
    "a blob to name": ({"type": "put_name_request", "object_id": GONE, "name": "n"}, 1),
    "a stream opened for nothing": ({"type": "open_stream_request", "object_id": 5, "mode": 3}, 7),
    "labels of no object": ({"type": "label_request", "id": 5, "keys": ["a"], "values": ["b"]}, 12),
    "fewer labels": ({"type": "label_request", "id": 5, "keys": ["a"], "values": []}, 1),
    "persist nothing": ({"type": "persist_request", "id": 5}, 27), "persist a blob": ({"type": "persist_request", "id": GONE}, 7),
    "if persist nothing": ({"type": "if_persist_request", "id": 5}, 27), "copy nothing": ({"type": "shallow_copy_request", "id": 5}, 27),
    "migrate nothing": ({"type": "migrate_object_request", "object_id": 5}, 12),
    "release nothing": ({"type": "release_request", "object_id": GONE}, 12), "seal nothing": ({"type": "seal_request", "object_id": GONE}, 12),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_a_bad_message_gets_its_code_and_the_connection_lives(raw: Raw, name: str) -> None:
    message, code = MESSAGES[name]
    reply = raw.ask(message)
    assert reply == {"code": code, "message": reply["message"]}
    assert len(reply["message"]) < 10_000
    assert raw.call("exists", id=5) == {"exists": False}
    assert [bytes(view) for view in raw.get(raw.create(b"fine"))] == [b"fine"]


def packed(message: Any) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack("<Q", len(body)) + body


FRAMES = {
    "one byte too long": struct.pack("<Q", (256 << 20) + 1), "as long as can be": struct.pack("<Q", (1 << 64) - 1),
    "half a length": b"abc", "a length alone": struct.pack("<Q", 100), "half a message": struct.pack("<Q", 100) + b'{"type":',
    "another protocol": b"GET / HTTP/1.1\r\n\r\n", "a long message that never comes": struct.pack("<Q", 256 << 20) + b"{",
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("registers", [True, False], ids=["registered", "unknown"])
def test_a_bad_frame_ends_its_own_connection_only(
    path: str, raw: Raw, name: str, registers: bool
) -> None:
    with Raw(path, registers=registers) as bad:
        id = bad.create(b"left open", seals=False) if registers else 0
        bad.socket.sendall(FRAMES[name])
        bad.socket.shutdown(socket.SHUT_WR)
        assert bad.is_ended()
    wait_until(lambda: not raw.call("exists", id=id)["exists"], "what it wrote is dropped")
    assert [bytes(view) for view in raw.get(raw.create(b"fine"))] == [b"fine"]


LEFT = {
    "without a word": b"", "inside a length": b"abc", "behind a length": struct.pack("<Q", 1000),
    "registered": packed(REGISTER), "inside a message": packed(REGISTER) + struct.pack("<Q", 1000) + b"{",
    "writing": packed(REGISTER) + packed({"type": "create_buffer_request", "size": 5000}),
    "in a wait": packed(REGISTER) + packed({"type": "get_name_request", "name": "never", "wait": True}),
    "with a word": packed(REGISTER) + packed({"type": "exit_request"}), "in nonsense": b"\xff" * 100,
}  # fmt: skip


@pytest.mark.parametrize("state", LEFT)
@pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
def test_clients_that_leave_in_any_state_leave_nothing_open(
    served: tuple[entrepot.Depot, Gateway], path: str, raw: Raw, state: str, resets: bool
) -> None:
    files = Path(f"/proc/{served[1].process.pid}/fd")
    before = len(list(files.iterdir()))
    for _ in range(4):
        leaving = [connected(path) for _ in range(25)]
        for each in leaving:
            each.sendall(LEFT[state])
            if resets:  # what the server has sent is lost, and it is told so
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
    wait_until(lambda: _connections(raw) == (1, 0), "all have left")
    wait_until(lambda: len(list(files.iterdir())) <= before, "their sockets are closed")


def connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(path)
    return made


def test_descriptors_that_clients_send_are_not_kept(
    served: tuple[entrepot.Depot, Gateway], path: str, raw: Raw
) -> None:
    files = Path(f"/proc/{served[1].process.pid}/fd")
    before = len(list(files.iterdir()))
    with connected(path) as sender:
        socket.send_fds(sender, [packed(REGISTER)], [sender.fileno()] * 10)
        assert sender.recv(8)
        assert len(list(files.iterdir())) <= before + 1
    assert raw.call("exists", id=5) == {"exists": False}


def test_a_client_that_there_is_no_memory_for_is_turned_away_and_others_are_not(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(home.open("64M"), ipc=tmp_path / "v.sock")
    server.start()
    with monkeypatch.context() as patch:

        def no_room(*_: object) -> None:
            raise MemoryError

        patch.setattr(server._instance, "welcome", no_room)
        with Raw(server.ipc_socket, registers=False) as refused:
            assert refused.is_ended()
    with Raw(server.ipc_socket) as raw:
        assert raw.call("exists", id=5) == {"exists": False}
    server.close()


def test_lengths_alone_fill_no_memory(
    served: tuple[entrepot.Depot, Gateway], path: str, raw: Raw
) -> None:
    def used() -> int:
        status = Path(f"/proc/{served[1].process.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) * 1024

    before = used()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            bad = stack.enter_context(Raw(path, registers=False))
            # More than a socket keeps: the server reads, so it has taken room.
            bad.socket.sendall(struct.pack("<Q", 256 << 20) + b"{" * MIB)
        wait_until(lambda: _connections(raw)[0] == 4, "they are served")
        assert raw.call("exists", id=5) == {"exists": False}
        assert used() - before < 100 * MIB


@pytest.mark.parametrize(
    "part", [b"{},", b"[],", b'"",', b"0,"], ids=["trees", "lists", "texts", "numbers"]
)
def test_a_message_that_is_short_and_long_in_memory_is_refused(raw: Raw, part: bytes) -> None:
    parts = part * ((40 * MIB if part[-2:-1] in b"}]" else 80 * MIB) // len(part))
    body = b'{"type":"create_data_request","content":{"typename":"my::T","x":[' + parts + b"0]}}"
    assert raw.ask(body)["code"] == 1
    assert raw.call("exists", id=5) == {"exists": False}


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000, 3_000_001])
def test_a_message_of_any_length_is_read_whole(raw: Raw, size: int) -> None:
    text = "".join(chr(97 + number % 26) for number in range(997)) * (size // 997 + 1)
    id = raw.make(text=text[:size])
    assert raw.call("get_data", id=[id])["content"][f"o{id:016x}"]["text"] == text[:size]


def test_a_message_of_many_megabytes_is_answered(raw: Raw) -> None:
    text = "x" * (8 * MIB)
    assert raw.code("exists", id=text) == 1
    assert raw.code("get_name", name=text) in (1, 12)
    assert raw.call("exists", id=5) == {"exists": False}


# Objects.


def test_objects_come_back_whole_with_what_the_server_knows(raw: Raw, other: Raw) -> None:
    blob = raw.create(b"\1\2\3")
    node = {
        "id": f"o{blob:016x}",
        "typename": "vineyard::Blob",
        "instance_id": 0,
        "transient": True,
    }
    fields = {
        "i": 42,
        "f": 1.5,
        "b": True,
        "s": "ä\n",
        "n": None,
        "l": "[1,2]",
        "u": (1 << 64) - 1,
        "low": -(1 << 63),
    }
    reply = raw.call(
        "create_data",
        content=fields
        | {"typename": "my::T", "instance_id": 0, "buffer_": node | {"length": 3, "nbytes": 3}},
    )
    id = reply["id"]
    assert reply == {"id": id, "signature": reply["signature"], "instance_id": 0}
    tree = other.call("get_data", id=[id, GONE], sync_remote=True, wait=False)["content"]
    assert list(tree) == [f"o{id:016x}"]
    found = tree[f"o{id:016x}"]
    stamp = found.pop("__timestamp")
    assert isinstance(stamp, int)
    assert found == fields | {
        "id": f"o{id:016x}", "typename": "my::T", "instance_id": 0, "signature": reply["signature"], "transient": True,
        "global": False, "nbytes": 0, "buffer_": node | {"length": 0, "nbytes": 0},
    }  # fmt: skip
    outer = raw.make("my::Outer", whole=found, placed={"id": f"o{id:016x}"})
    trees = other.call("get_data", id=[outer, id])["content"]
    whole = trees[f"o{outer:016x}"]["whole"]
    assert whole == trees[f"o{outer:016x}"]["placed"] == trees[f"o{id:016x}"]


def test_several_objects_are_made_at_once_or_none(raw: Raw) -> None:
    reply = raw.call("create_datas", num=2, contents=[{"typename": "a"}, {"typename": "b"}])
    assert (reply["num"], len(set(reply["ids"])), reply["instance_ids"]) == (2, 2, [0, 0])
    content = raw.call("get_data", id=reply["ids"])["content"]
    signatures = [content[f"o{id:016x}"]["signature"] for id in reply["ids"]]
    assert signatures == reply["signatures"]
    bad = {"typename": "c", "m": {"id": "o0000000000000005"}}
    assert raw.code("create_datas", num=2, contents=[{"typename": "c"}, bad]) == 27
    assert raw.call("create_datas", num=0, contents=[])["ids"] == []
    raw.send({"type": "list_data_request", "pattern": "*", "regex": False, "limit": 100})
    listed = raw.reply()
    assert (listed["type"], len(listed["content"])) == ("get_data_reply", 2)


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        (5, True),
        (0, True),
        (INVALID, True),
        (-3, False),
        (1 << 64, False),
        ("5", False),
        (1.5, False),
        (True, False),
        (None, False),
    ],
    ids=["small", "zero", "largest", "negative", "too large", "text", "float", "bool", "null"],
)
def test_a_signature_is_kept_if_it_is_one(raw: Raw, given: Any, is_kept: bool) -> None:
    content = {"typename": "my::T", "instance_id": 0, "signature": given}
    one = raw.call("create_data", content=content)
    many = raw.call("create_datas", num=2, contents=[content, content])
    for id, told in zip(
        [one["id"], *many["ids"]], [one["signature"], *many["signatures"]], strict=True
    ):
        assert told == (given if is_kept else id)
        assert raw.call("get_data", id=[id])["content"][f"o{id:016x}"]["signature"] == told


KEYS = ["", "/", "~", "a/b", "~1", "a~0/b", "ä", "\n", ".", "0", " ", "x" * 1000, "__elements_-0"]


def test_keys_of_any_kind_are_kept_with_their_values(raw: Raw) -> None:
    values = {key: number for number, key in enumerate(KEYS)}
    id = raw.make(**values)
    found = raw.call("get_data", id=[id])["content"][f"o{id:016x}"]
    assert {key: found[key] for key in KEYS} == values
    part = {"id": f"o{id:016x}"}
    outer = raw.make(**dict.fromkeys(KEYS, part))
    found = raw.call("get_data", id=[outer])["content"][f"o{outer:016x}"]
    assert all(found[key]["id"] == part["id"] for key in KEYS)
    again = raw.make(**dict.fromkeys(KEYS))
    found = raw.call("get_data", id=[again])["content"][f"o{again:016x}"]
    assert all(found[key] is None for key in KEYS)
    copy = raw.call("shallow_copy", id=again, extra={"/": "new", "k": 3, "~": None})["target_id"]
    tree = raw.call("get_data", id=[copy])["content"][f"o{copy:016x}"]
    assert (tree["/"], tree["k"], tree["~"], tree["signature"]) == (
        "new",
        3,
        None,
        found["signature"],
    )


def test_names_of_any_kind_stand_for_what_they_were_given(raw: Raw, other: Raw) -> None:
    id = raw.make()
    assert raw.code("put_name", object_id=id, name="n") == 1
    assert raw.call("if_persist", id=id) == {"persist": False}
    assert raw.call("persist", id=id) == {}
    assert raw.call("if_persist", id=id) == {"persist": True}
    names = ["n", "/", "~", "a/b", "~1", "ä", " ", "*", "[", "x" * 200]
    for name in names:
        assert raw.call("put_name", object_id=id, name=name) == {}
        assert other.call("get_name", name=name, wait=False) == {"object_id": id}
    told = other.call("list_name", pattern="*", regex=False, limit=100)
    assert told == {"size": len(names), "names": dict.fromkeys(sorted(names), id)}
    assert other.call("list_name", pattern="a.*", regex=True, limit=100)["names"] == {"a/b": id}
    assert other.call("list_name", pattern="(", regex=True, limit=100) == {"size": 0, "names": {}}
    assert other.call("list_name", pattern="*", regex=False, limit=-1)["size"] == 0
    assert len(other.call("list_name", pattern="*", regex=False, limit=2)["names"]) == 2
    for name in names:
        assert raw.call("drop_name", name=name) == {}
        assert raw.call("drop_name", name=name) == {}
        assert other.code("get_name", name=name, wait=False) == 12
    assert other.call("list_name", pattern="*") == {"size": 0, "names": {}}


@pytest.mark.parametrize("name", ["", "\0", "x" * 100_000], ids=["empty", "zero", "long"])
def test_an_odd_name_works_or_is_refused(raw: Raw, name: str) -> None:
    id = raw.make()
    raw.call("persist", id=id)
    reply = raw.ask({"type": "put_name_request", "object_id": id, "name": name})
    if "code" in reply:
        assert reply["code"] == 1
        assert raw.code("get_name", name=name, wait=False) in (1, 12)
    else:
        assert raw.call("get_name", name=name, wait=False) == {"object_id": id}


def test_objects_are_listed_by_their_types(raw: Raw) -> None:
    made = [raw.make(f"my::T{number}") for number in range(7)]
    blob, _ = raw.create(b"x"), raw.create(b"y", seals=False)

    def listed(pattern: str, *, regex: bool = False, **fields: Any) -> set[int]:
        raw.send({"type": "list_data_request", "pattern": pattern, "regex": regex, **fields})
        reply = raw.reply()
        assert reply["type"] == "get_data_reply"
        return {int(key[1:], 16) for key in reply["content"] or {}}

    assert listed("my::*", limit=100) == set(made)
    assert listed("my::T[0-2]", limit=100) == set(made[:3])
    assert listed("my::T[0-2]", regex=True, limit=100) == set(made[:3])
    assert len(listed("my::*")) == 5
    assert listed("vineyard::Blob", limit=100) == {blob}
    assert listed("*", limit=100) == {*made, blob}
    assert listed("(", regex=True, limit=100) == set()
    assert listed("my", regex=True, limit=100) == set()
    assert listed("*", limit=0) == listed("*", limit=-5) == set()
    assert listed("*", limit=1 << 63) == {*made, blob}


@pytest.mark.parametrize("name", ["list_data", "list_name"])
def test_an_exponential_pattern_holds_up_nobody(raw: Raw, other: Raw, name: str) -> None:
    pytest.importorskip("re2", reason="pip install 'entrepot[serve]'")
    text = "a" * 2900 + "!"
    id = raw.make(text)
    raw.call("persist", id=id)
    raw.call("put_name", object_id=id, name=text)
    for pattern in ("(a|aa)+$", "((a|aa)+)+$", "(.*a){900}.*b"):
        raw.send({"type": f"{name}_request", "pattern": pattern, "regex": True, "limit": 9})
        assert other.call("exists", id=id) == {"exists": True}
        reply = raw.reply()
        assert not reply.get("content")
        assert not reply.get("names")
    for pattern in ("(?=a)a", "a" * 5000, "(?:(?:a{1000}){1000}){1000}"):
        assert raw.code(name, pattern=pattern, regex=True, limit=9) == 1
    assert raw.code(name, pattern="*" * 5000, limit=9) == 1
    assert other.call("exists", id=id) == {"exists": True}


def test_a_type_name_of_no_reasonable_length_is_refused(raw: Raw) -> None:
    assert raw.code("create_data", content={"typename": "a" * 20_000, "instance_id": 0}) == 21


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"m": {"a": 1}}, 7),
        ({"m": [1]}, 7),
        ({"typename": 5}, 1),
        ({"typename": "a" * 20_000}, 21),
        ({"instance_id": "x"}, 1),
        ({"instance_id": True}, 1),
        ({"transient": 1}, 1),
        ({"__timestamp": "x"}, 1),
        ({"signature": "x"}, 1),
    ],
    ids=["tree", "list", "type", "long type", "instance", "bool", "transient", "time", "signature"],
)
def test_a_copy_that_nobody_could_read_is_refused(raw: Raw, extra: Any, code: int) -> None:
    assert raw.code("shallow_copy", id=raw.make(), extra=extra) == code


def test_what_a_copy_adds_takes_the_place_of_fields_and_members_but_not_of_the_id(raw: Raw) -> None:
    member = {"id": f"o{raw.make('my::Part'):016x}"}
    id = raw.make("my::T", a=1, m=member, n=member)
    extra = {
        "id": "o0000000000000005",
        "typename": "my::U",
        "a": 2,
        "m": 3,
        "signature": 9,
        "k": None,
    }
    copy = raw.call("shallow_copy", id=id, extra=extra)["target_id"]
    tree = raw.call("get_data", id=[copy])["content"][f"o{copy:016x}"]
    assert {key: tree[key] for key in extra} == extra | {"id": f"o{copy:016x}"}
    assert tree["n"]["typename"] == "my::Part"
    raw.send({"type": "list_data_request", "pattern": "my::U", "regex": False, "limit": 9})
    assert list(raw.reply()["content"]) == [f"o{copy:016x}"]


def test_a_number_that_is_too_large_is_a_wrong_field(raw: Raw) -> None:
    assert raw.code("create_data", content={"typename": "my::T", "x": 1 << 70}) == 1


def test_members_that_are_shared_again_and_again_do_not_fill_the_memory(raw: Raw) -> None:
    id = raw.make()
    for _ in range(64):  # a tree of 2**64 nodes
        part = {"id": f"o{id:016x}"}
        id = raw.make(a=part, b=part)
    assert raw.code("get_data", id=[id]) == 1
    raw.call("persist", id=id)
    text = "x" * MIB
    part = {"id": f"o{raw.make(text=text):016x}"}
    wide = raw.make(**{str(number): part for number in range(300)})
    assert raw.code("get_data", id=[wide]) == 1
    narrow = raw.make(**{str(number): part for number in range(3)})
    tree = raw.call("get_data", id=[narrow])["content"][f"o{narrow:016x}"]
    assert [tree[str(number)]["text"] == text for number in range(3)] == [True] * 3


def test_members_in_members_are_sent_or_refused_by_how_many_they_are(raw: Raw) -> None:
    ids = [raw.make()]
    for _ in range(1500):
        ids.append(raw.make(m={"id": f"o{ids[-1]:016x}"}))
    assert raw.code("get_data", id=[ids[-1]]) == 1
    assert raw.code("shallow_copy", id=ids[-1]) == 1
    tree = raw.call("get_data", id=[ids[200]])["content"][f"o{ids[200]:016x}"]
    assert tree["m"]["m"]["id"] == f"o{ids[198]:016x}"


def test_labels_persistence_copies_and_moves_are_answered(raw: Raw) -> None:
    id, blob = raw.make(x=1), raw.create(b"x")
    assert raw.call("label", id=id, keys=["lk", "m"], values=["lv", "w"]) == {}
    assert raw.call("label", id=id, keys=["m"], values=["new"]) == {}
    found = raw.call("get_data", id=[id])["content"][f"o{id:016x}"]
    assert json.loads(found["__labels"]) == {"lk": "lv", "m": "new"}
    assert raw.call("if_persist", id=blob) == {"persist": False}
    assert raw.call("migrate_object", object_id=id) == {"object_id": id}
    assert list(raw.call("memory_trim")) == ["trimmed"]
    assert raw.ask({"type": "debug_command", "debug": {}}) == {
        "type": "debug_reply",
        "result": None,
    }
    for name, fields in (
        ("evict", {"ids": [blob]}),
        ("load", {"ids": [blob], "pin": True}),
        ("unpin", {"ids": [blob]}),
    ):
        assert raw.call(name, **fields) == {}


def test_deletes_tell_which_blobs_are_gone(raw: Raw) -> None:
    a, b = raw.create(b"a"), raw.create(b"b")
    inner = raw.make(m={"id": f"o{a:016x}", "typename": "vineyard::Blob", "instance_id": 0})
    outer = raw.make(
        inner={"id": f"o{inner:016x}"}, b={"id": f"o{b:016x}", "typename": "vineyard::Blob"}
    )

    def delete(*ids: int, **fields: Any) -> list[int]:
        return raw.call("del_data_with_feedbacks", id=list(ids), **fields)["deleted_bids"]

    assert delete(inner, force=False, deep=True) == []
    assert delete(a, force=False, deep=False) == []
    assert raw.call("exists", id=a) == {"exists": True}
    assert delete(outer, force=False, deep=False) == [b]
    assert raw.call("exists", id=inner) == {"exists": True}
    assert delete(inner, GONE, 5, force=False, deep=True) == [a]
    c = raw.create(b"c")
    held = raw.make(m={"id": f"o{c:016x}", "typename": "vineyard::Blob", "instance_id": 0})
    assert raw.call("del_data", id=[c], force=True, deep=True) == {}
    assert raw.call("exists", id=held) == {"exists": False}


def test_the_instance_tells_of_itself_and_of_its_connections(raw: Raw, path: str) -> None:
    told = raw.ask({"type": "cluster_meta"})
    assert (told["type"], list(told["meta"])) == ("cluster_meta", ["i0"])
    assert set(told["meta"]["i0"]) == {
        "hostid", "hostname", "ipc_socket", "nodename", "rpc_endpoint", "timestamp",
    }  # fmt: skip
    assert told["meta"]["i0"]["ipc_socket"] == path
    status = raw.call("instance_status")["meta"]
    assert {key: status[key] for key in ("deployment", "instance_id", "memory_limit", "ipc_connections")} == {
        "deployment": "local", "instance_id": 0, "memory_limit": 64 * MIB, "ipc_connections": 1,
    }  # fmt: skip
    assert (status["deferred_requests"], status["rpc_connections"]) == (0, 0)
    raw.create(bytes(MIB))
    assert raw.call("instance_status")["meta"]["memory_usage"] - status["memory_usage"] == MIB


# Waiting.


def test_a_wait_for_a_name_blocks_nobody_else_and_ends(path: str, raw: Raw, other: Raw) -> None:
    waiting = Raw(path)
    waiting.send({"type": "get_name_request", "name": "later", "wait": True})
    other.send({"type": "get_name_request", "name": "never", "wait": True})
    wait_until(lambda: _connections(raw) == (3, 2), "two wait")
    id = raw.make()
    raw.call("persist", id=id)
    assert waiting.is_quiet()
    raw.call("put_name", object_id=id, name="later")
    assert waiting.reply() == {"type": "get_name_reply", "object_id": id}
    assert waiting.call("exists", id=id) == {"exists": True}
    waiting.close()
    other.close()  # while it waits
    wait_until(lambda: _connections(raw) == (1, 0), "the server notices that it is gone")


@pytest.mark.parametrize("wait", ["a name", "an object"])
def test_a_client_that_gives_up_a_wait_and_says_so_is_noticed(
    path: str, raw: Raw, wait: str
) -> None:
    request = (
        {"type": "get_name_request", "name": "never", "wait": True}
        if wait == "a name"
        else {"type": "get_data_request", "id": [5], "wait": True}
    )
    with Raw(path) as gone:
        gone.send(request)
        wait_until(lambda: _connections(raw) == (2, 1), "it waits")
        gone.send({"type": "exit_request"})
    wait_until(lambda: _connections(raw) == (1, 0), "the server notices that it is gone")


def test_a_wait_for_a_blob_sleeps_until_its_bell_is_rung(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_SLICE_S", 10_000.0)  # nobody looks by himself
    monkeypatch.setattr(settings, "WAIT_SLICE_S", 10_000.0)
    server = Server(home.open("64M"), ipc=tmp_path / "v.sock")
    server.start()
    with Raw(server.ipc_socket) as raw, Raw(server.ipc_socket) as waiting:
        ids = [raw.create(b"body", seals=False) for _ in range(2)]
        waiting.send({"type": "get_data_request", "id": [*ids, EMPTY], "wait": True})
        wait_until(lambda: _connections(raw) == (2, 1), "it waits")
        for id in ids:
            assert waiting.is_quiet()
            raw.call("seal", object_id=id)
        assert set(waiting.reply()["content"]) == {f"o{id:016x}" for id in (*ids, EMPTY)}
    server.close()


def test_a_wait_for_objects_ends_when_all_are_there_or_the_client_is_gone(
    path: str, raw: Raw
) -> None:
    blob = raw.create(b"later", seals=False)
    gone = Raw(path)
    gone.send({"type": "get_data_request", "id": [5], "wait": True, "sync_remote": False})
    with Raw(path) as waiting:
        waiting.send({"type": "get_data_request", "id": [blob, INVALID], "wait": True})
        wait_until(lambda: _connections(raw)[1] >= 1, "it waits")
        raw.call("seal", object_id=blob)
        assert list(waiting.reply()["content"]) == [f"o{blob:016x}"]
    gone.close()
    wait_until(lambda: _connections(raw) == (1, 0), "the server notices that it is gone")


# Streams.


def test_chunks_go_through_a_stream_in_order(raw: Raw, other: Raw) -> None:
    id = _stream(raw)
    assert raw.code("create_stream", object_id=id) == 11
    assert raw.call("open_stream", object_id=id, mode=2) == {}
    assert other.call("open_stream", object_id=id, mode=1) == {}
    assert (
        raw.code("open_stream", object_id=id, mode=2),
        other.code("open_stream", object_id=id, mode=1),
    ) == (45, 45)
    for number in range(3):
        reply = raw.buffers("get_next_stream_chunk", id=id, size=10 + number)
        assert set(reply) == {"type", "buffer", "fd"}
        assert reply["fd"] == (-1 if number else 1)
        raw.bytes_of(reply["buffer"])[:] = bytes([number]) * (10 + number)
    assert raw.call("stop_stream", id=id, failed=False) == {}
    assert raw.code("stop_stream", id=id, failed=False) == 44
    assert raw.code("get_next_stream_chunk", id=id, size=5) == 44
    assert raw.code("push_next_stream_chunk", id=id, chunk=raw.create(b"late")) == 44
    chunks = []
    for number in range(3):
        chunk = other.call("pull_next_stream_chunk", id=id)["chunk"]
        assert [bytes(view) for view in other.get(chunk)] == [bytes([number]) * (10 + number)]
        assert [other.call("exists", id=old)["exists"] for old in chunks] == [False] * number
        chunks.append(chunk)
    assert (
        other.code("pull_next_stream_chunk", id=id),
        other.code("pull_next_stream_chunk", id=id),
    ) == (42, 42)
    assert raw.call("drop_stream", id=id) == {}
    assert raw.code("drop_stream", id=id) == 12


def test_a_failed_stream_gives_what_was_queued_and_then_its_failure(raw: Raw, other: Raw) -> None:
    id = _stream(raw)
    chunk = raw.make("my::Chunk")
    assert raw.call("push_next_stream_chunk", id=id, chunk=chunk) == {}
    raw.buffers("get_next_stream_chunk", id=id, size=10)
    assert raw.call("stop_stream", id=id, failed=True) == {}
    assert other.call("pull_next_stream_chunk", id=id) == {"chunk": chunk}
    assert other.code("pull_next_stream_chunk", id=id) == 43
    raw.call("drop_stream", id=id)


def test_a_reader_that_waits_is_woken_or_noticed_when_it_leaves(path: str, raw: Raw) -> None:
    id = _stream(raw)
    reader = Raw(path)
    reader.call("open_stream", object_id=id, mode=1)
    reader.send({"type": "pull_next_stream_chunk_request", "id": id})
    wait_until(lambda: _connections(raw) == (2, 1), "it waits")
    chunk = raw.create(b"chunk")
    raw.call("push_next_stream_chunk", id=id, chunk=chunk)
    assert reader.reply() == {"type": "pull_next_stream_chunk_reply", "chunk": chunk}
    reader.send({"type": "pull_next_stream_chunk_request", "id": id})
    wait_until(lambda: _connections(raw) == (2, 1), "it waits again")
    reader.close()
    wait_until(lambda: _connections(raw) == (1, 0), "the server notices that it is gone")
    assert raw.code("push_next_stream_chunk", id=id, chunk=raw.create(b"x")) == 44
    assert raw.call("drop_stream", id=id) == {}


def test_a_writer_waits_while_its_reader_is_slow(path: str, raw: Raw, other: Raw) -> None:
    id = _stream(raw)
    with ThreadPoolExecutor(1) as pool, Raw(path) as writer:
        pool.submit(
            lambda: [
                writer.buffers("get_next_stream_chunk", id=id, size=20 * MIB) for _ in range(6)
            ]
        )
        wait_until(lambda: _connections(raw)[1] == 1, "the writer waits")
        for _ in range(5):
            assert other.call("pull_next_stream_chunk", id=id)["chunk"]
            raw.call("exists", id=id)
    wait_until(lambda: _connections(raw) == (2, 0), "the writer is gone")
    raw.call("drop_stream", id=id)


def test_the_last_chunk_is_handed_over_whoever_ends_the_stream(
    path: str, raw: Raw, other: Raw
) -> None:
    id, failed = _stream(raw), _stream(raw)
    with Raw(path) as writer:
        for at in (id, failed):
            chunk = writer.buffers("get_next_stream_chunk", id=at, size=5)["buffer"]
            writer.bytes_of(chunk)[:] = b"chunk"
        assert other.call("stop_stream", id=id, failed=False) == {}
        assert other.call("stop_stream", id=failed, failed=True) == {}
        assert bytes(raw.get(raw.call("pull_next_stream_chunk", id=id)["chunk"])[0]) == b"chunk"
        assert raw.code("pull_next_stream_chunk", id=id) == 42
        assert raw.code("pull_next_stream_chunk", id=failed) == 43
        assert writer.code("get_next_stream_chunk", id=id, size=5) == 44
    for at in (id, failed):
        raw.call("drop_stream", id=at)


def test_chunks_that_were_read_stay_as_they_are(
    raw: Raw, other: Raw, depot: entrepot.Depot
) -> None:
    id = _stream(raw)
    views = []
    for number in range(8):  # as vineyard's own readers do: all chunks, then a table of them
        chunk = raw.create(bytes([number]) * MIB)
        raw.call("push_next_stream_chunk", id=id, chunk=chunk)
        raw.call("release", object_id=chunk)
        views += other.get(other.call("pull_next_stream_chunk", id=id)["chunk"])
        depot.collect()
    assert [(view[0], view[-1]) for view in views] == [(number, number) for number in range(8)]
    raw.call("drop_stream", id=id)


def test_a_writer_is_told_when_a_reader_leaves_that_never_opened(path: str, raw: Raw) -> None:
    id = _stream(raw)
    raw.call("push_next_stream_chunk", id=id, chunk=raw.create(b"chunk"))
    with Raw(path) as reader:
        reader.call("pull_next_stream_chunk", id=id)
    wait_until(lambda: _connections(raw) == (1, 0), "it has left")
    assert raw.code("get_next_stream_chunk", id=id, size=5) == 44
    assert raw.call("drop_stream", id=id) == {}
    assert raw.code("pull_next_stream_chunk", id=id) == 12


def test_who_leaves_ends_no_later_stream_of_the_same_object(path: str, raw: Raw) -> None:
    id = _stream(raw)
    with Raw(path) as reader:
        reader.call("open_stream", object_id=id, mode=1)
        reader.call("drop_stream", id=id)
        raw.call("create_stream", object_id=id)
        raw.call("open_stream", object_id=id, mode=1)
    wait_until(lambda: _connections(raw) == (1, 0), "it has left")
    raw.call("push_next_stream_chunk", id=id, chunk=raw.create(b"chunk"))
    raw.call("drop_stream", id=id)


# What the clients of other ways in have put.


def test_small_and_large_values_of_the_depot_are_read(raw: Raw, depot: entrepot.Depot) -> None:
    import pickle

    small, large = depot.objects.put(np.arange(3)), depot.objects.put(np.arange(100_000.0))
    words = depot.objects.put({"k": np.arange(50_000), "s": "x" * 100_000})
    text, none = depot.objects.put("text"), depot.objects.put(None)
    empty, void = depot.objects.put(np.zeros((0, 3))), depot.objects.put(b"")
    ids = [int(id) for id in (small, large, words, text, none, empty, void)]
    trees = raw.call("get_data", id=ids)["content"]
    tensor = trees[f"o{ids[0]:016x}"]
    assert (tensor["typename"], tensor["shape_"], tensor["value_type_"]) == (
        "vineyard::Tensor<int64>",
        "[3]",
        "int64",
    )
    assert trees[f"o{ids[3]:016x}"]["value_"] == "text"
    blobs = {id: int(trees[f"o{id:016x}"]["buffer_"]["id"][1:], 16) for id in ids if id != ids[3]}
    views = dict(zip(ids[:2], raw.get(blobs[ids[0]], blobs[ids[1]]), strict=True))
    assert np.frombuffer(views[ids[0]], np.int64).tolist() == [0, 1, 2]
    assert (np.frombuffer(views[ids[1]]) == np.arange(100_000.0)).all()
    found = pickle.loads(raw.get(blobs[ids[2]])[0])
    assert (found["s"], (found["k"] == np.arange(50_000)).all()) == ("x" * 100_000, True)
    assert pickle.loads(raw.get(blobs[ids[4]])[0]) is None
    assert blobs[ids[5]] == EMPTY
    assert pickle.loads(raw.get(blobs[ids[6]])[0]) == b""
    del views, found
    depot.objects.delete([small, large, words, text, none, empty, void])


def test_a_fresh_client_that_sees_bytes_of_no_length_gets_no_file(
    path: str, depot: entrepot.Depot
) -> None:
    empty = int(depot.objects.put(np.zeros((0, 3)))) | EMPTY
    with Raw(path) as fresh:
        reply = fresh.buffers("get_buffers", ids=[empty])
        assert reply["fds"] == []
        assert [one["store_fd"] for one in reply["payloads"]] in ([], [-1])


def test_one_client_looks_at_thousands_of_blobs(
    raw: Raw, other: Raw, depot: entrepot.Depot
) -> None:
    ids = [raw.create(number.to_bytes(4, "big")) for number in range(1500)]
    values = [
        int(id) | EMPTY
        for id in (depot.objects.put(np.arange(number, number + 2)) for number in range(1500))
    ]
    views = other.get(*ids, *values)
    assert [int.from_bytes(view, "big") for view in views[:1500]] == list(range(1500))
    assert [np.frombuffer(view, np.int64)[0] for view in views[1500:]] == list(range(1500))
    assert raw.call("del_data", id=[*ids, *(id ^ EMPTY for id in values)], deep=True) == {}
    assert [int.from_bytes(view, "big") for view in views[:1500]] == list(range(1500))
    assert [np.frombuffer(view, np.int64)[0] for view in views[1500:]] == list(range(1500))
    assert other.call("get_buffers", ids=ids + values)["num"] == 0


# The life of memory.


def free(depot: entrepot.Depot) -> int:
    """Return how many bytes are in blobs, deleted or not, and in what is written."""
    depot.collect()
    arena = depot.statistics().arena
    return arena.used + arena.limbo + arena.unsealed


def test_what_a_client_did_not_seal_is_free_when_it_leaves(
    path: str, raw: Raw, depot: entrepot.Depot
) -> None:
    raw.create(b"warm")
    before = free(depot)
    for _ in range(5):
        with Raw(path) as leaving:
            leaving.buffers("create_buffers", num=2, sizes=[20 * MIB, 10])
            leaving.buffers("get_next_stream_chunk", id=_stream(leaving), size=10 * MIB)
        wait_until(lambda: _connections(raw) == (1, 0), "it has left")
    wait_until(lambda: free(depot) <= before + MIB, "the memory is free")


def test_an_upload_over_the_network_that_breaks_off_is_free_again(
    served: tuple[entrepot.Depot, Gateway], raw: Raw, depot: entrepot.Depot
) -> None:
    host, _, port = served[1].told["rpc"].rpartition(":")
    before = free(depot)
    for _ in range(5):
        sock = socket.create_connection((host, int(port)), PATIENCE_S)
        for message in (
            REGISTER,
            {"type": "create_remote_buffer_request", "size": 20 * MIB, "use_rdma": False},
        ):
            body = json.dumps(message).encode()
            sock.sendall(struct.pack("<Q", len(body)) + body)
            (size,) = struct.unpack("<Q", sock.recv(8, socket.MSG_WAITALL))
            assert json.loads(sock.recv(size, socket.MSG_WAITALL)).get("code") is None
        sock.sendall(bytes(1000))
        sock.close()
        wait_until(lambda: not raw.call("instance_status")["meta"]["rpc_connections"], "it is gone")
        wait_until(lambda: free(depot) <= before + MIB, "the memory is free")


def test_a_deleted_blob_stays_as_it_is_for_who_looks_at_it(
    path: str, raw: Raw, depot: entrepot.Depot
) -> None:
    id = raw.create(b"\7" * (8 * MIB))
    with Raw(path) as looking:
        [view] = looking.get(id)
        assert raw.call("del_data", id=[id]) == {}
        assert looking.call("exists", id=id) == {"exists": False}
        assert looking.call("get_data", id=[id]) == {"content": None}
        assert looking.call("get_buffers", ids=[id])["num"] == 0
        for _ in range(10):
            raw.call("del_data", id=[raw.create(b"\1" * (16 * MIB))])
            depot.objects.delete(depot.objects.put(np.full(2 * MIB, 9.0)))
        assert view[0] == view[-1] == 7
        assert bytes(view) == b"\7" * (8 * MIB)
    wait_until(lambda: free(depot) <= MIB, "the memory is free when it has left")


@pytest.mark.parametrize("writer", ["itself", "another client", "the depot"])
def test_who_deletes_what_it_reads_reads_on(
    raw: Raw, other: Raw, depot: entrepot.Depot, writer: str
) -> None:
    if writer == "the depot":
        id = int(depot.objects.put(np.full(8 * MIB, 7, np.uint8)))
    else:
        maker = raw if writer == "itself" else other
        id = maker.create(b"\7" * (8 * MIB))
        maker.call("release", object_id=id)
    [view] = raw.get(id | EMPTY)
    assert raw.call("del_data", id=[id]) == {}
    assert raw.call("get_buffers", ids=[id | EMPTY])["num"] == 0
    for _ in range(4):
        depot.collect()
        depot.objects.put(np.full(8 * MIB, 9, np.uint8))
    assert bytes(view) == b"\7" * (8 * MIB)


def test_what_a_client_has_only_written_is_free_when_it_deletes_it(
    raw: Raw, depot: entrepot.Depot
) -> None:
    id = raw.create(b"x" * MIB)
    assert free(depot) >= MIB
    raw.call("del_data", id=[id])
    assert depot.statistics().arena.used == 0


@pytest.mark.parametrize("deleter", ["itself", "another client", "the depot"])
def test_a_client_that_never_gives_back_does_not_fill_the_memory(
    raw: Raw, other: Raw, depot: entrepot.Depot, deleter: str
) -> None:
    for number in range(40):
        id = raw.create(bytes([number]) * (8 * MIB))
        [view] = raw.get(id)
        assert view[0] == view[-1] == number
        if deleter == "itself":
            raw.call("del_data", id=[id])
        elif deleter == "another client":
            other.call("del_data", id=[id])
        else:
            depot.objects.delete(id)
        del view


def test_what_clients_keep_of_the_deleted_does_not_keep_out_the_depots_own_users(
    raw: Raw, depot: entrepot.Depot
) -> None:
    for number in range(40):
        id = depot.objects.put(np.full(MIB, float(number)))
        [view] = raw.get(int(id) | EMPTY)
        assert np.frombuffer(view)[-1] == number
        del view
        depot.objects.delete(id)


def test_copies_of_small_values_do_not_fill_the_memory(raw: Raw, depot: entrepot.Depot) -> None:
    body = os.urandom(4 * MIB)
    for _ in range(40):
        id = depot.objects.put({"k": body})
        tree = raw.call("get_data", id=[int(id)])["content"][f"o{int(id):016x}"]
        [view] = raw.get(int(tree["buffer_"]["id"][1:], 16))
        assert body in bytes(view)
        del view
        depot.objects.delete(id)


def test_references_are_counted_by_connection(raw: Raw, path: str, depot: entrepot.Depot) -> None:
    id = raw.create(b"x" * MIB)
    assert raw.call("is_in_use", id=id) == {"is_in_use": True}
    assert raw.call("is_spilled", id=id) == {"is_spilled": False}
    assert raw.call("release", object_id=id) == {}
    assert raw.call("is_in_use", id=id) == {"is_in_use": False}
    assert raw.call("release", object_id=id) == {}
    assert raw.call("increase_reference_count", ids=[id, GONE, 5, EMPTY]) == {}
    assert raw.call("is_in_use", id=id) == {"is_in_use": True}
    with Raw(path) as other:
        other.get(id)
        raw.call("release", object_id=id)
        assert other.call("is_in_use", id=id) == {"is_in_use": True}
        raw.call("del_data", id=[id])
        assert free(depot) >= MIB
        assert other.call("release", object_id=id) == {}
        assert free(depot) < MIB
    for name in ("is_in_use", "is_spilled"):
        assert raw.code(name, id=GONE) == 12


def test_who_leaves_a_full_depot_gives_back_what_it_was_lent(home: Home, tmp_path: Path) -> None:
    with home.open("16M") as depot, serving(depot, tmp_path / "v.sock") as gateway:
        with Raw(gateway.path) as raw, Raw(gateway.path) as other:
            ids = [raw.create(bytes([number]) * 5000) for number in range(200)]
            other.get(*ids)
            drafts = [raw.create(b"x" * 600, seals=False) for _ in range(1000)]
            fill: list[Any] = []
            for size in (700, 1):
                with pytest.raises(entrepot.OutOfMemoryError):  # noqa: PT012 until it is full
                    while True:
                        fill.append(depot.objects.put("x" * size))
            assert raw.code("create_data", content={"typename": "t", "x": "x" * 2000}) == 41
            seals = ({"type": "seal_request", "object_id": id} for id in drafts)
            draft = next(seal["object_id"] for seal in seals if raw.ask(seal).get("code") == 41)
            assert raw.code("get_buffers", ids=[draft]) == 14
            assert raw.call("exists", id=draft) == {"exists": True}
            assert raw.call("drop_buffer", id=draft) == {}
            assert raw.code("drop_buffer", id=draft) == 12
            assert raw.call("del_data", id=ids[:100]) == {}
            assert bytes(other.get(ids[150])[0]) == bytes([150]) * 5000
        wait_until(lambda: depot.sessions()[1].held.get("loan") is None, "all loans have ended")
        assert not depot.sessions()[1].held.get("writer")
        depot.objects.delete(fill)


def test_a_blob_that_is_named_twice_is_used_once(
    raw: Raw, other: Raw, depot: entrepot.Depot
) -> None:
    id = raw.create(b"x" * MIB)
    raw.call("release", object_id=id)
    other.call("increase_reference_count", ids=[id, id, id])
    other.call("release", object_id=id)
    raw.call("del_data", id=[id])
    assert depot.statistics().arena.used == 0


def test_a_request_that_fails_keeps_none_of_its_blobs(
    raw: Raw, other: Raw, depot: entrepot.Depot
) -> None:
    id = raw.create(b"x" * MIB)
    raw.call("release", object_id=id)
    large = int(depot.objects.put({"k": os.urandom(36 * MIB)})) | EMPTY  # a copy has no room
    assert other.code("get_buffers", ids=[id, large]) == 41
    assert raw.call("is_in_use", id=id) == {"is_in_use": False}


def test_a_blob_that_is_lent_while_it_is_sealed_is_lent_once(depot: entrepot.Depot) -> None:
    assembly, lender = Assembly(depot.attached.volatile), Lender(depot)
    draft = assembly.begin_blob(MIB)
    loan = assembly.seal_and_lend(draft)
    assert draft.id in lender.lend("reader", [draft.id], lambda id: None)
    lender.keep("writer", draft.id, loan)
    assembly.delete([draft.id], deep=True, force=False)
    lender.give_back("writer", [draft.id])
    assert depot.statistics().arena.used == MIB
    lender.give_back("reader", [draft.id])
    assert depot.statistics().arena.used == 0


def test_deletes_tell_of_the_bytes_of_a_value_put_whole(raw: Raw, depot: entrepot.Depot) -> None:
    id = int(depot.objects.put(np.arange(100_000)))
    raw.get(id | EMPTY)
    assert raw.call("del_data_with_feedbacks", id=[id]) == {"deleted_bids": [id | EMPTY]}
    assert depot.statistics().arena.used == 0
    id = int(depot.objects.put(np.arange(100_000)))
    raw.get(id | EMPTY)
    tree = raw.make(member={"id": f"o{id | EMPTY:016x}"})
    assert raw.call("del_data_with_feedbacks", id=[id]) == {"deleted_bids": []}
    assert raw.call("del_data_with_feedbacks", id=[tree]) == {"deleted_bids": [id | EMPTY]}


def test_a_blob_that_is_written_exists_for_all(raw: Raw, other: Raw) -> None:
    id = raw.create(b"x", seals=False)
    assert raw.call("exists", id=id) == other.call("exists", id=id) == {"exists": True}
    raw.call("drop_buffer", id=id)
    assert raw.call("exists", id=id) == other.call("exists", id=id) == {"exists": False}


def test_a_blob_that_is_written_is_in_use_and_no_member_whoever_asks(raw: Raw, other: Raw) -> None:
    id = raw.create(b"x", seals=False)
    for who in (raw, other):
        assert who.call("is_in_use", id=id) == {"is_in_use": True}
        assert who.call("is_spilled", id=id) == {"is_spilled": False}
        for node in ({}, {"typename": "vineyard::Blob", "instance_id": 0, "length": 1}):
            content = {"typename": "my::T", "m": {"id": f"o{id:016x}"} | node}
            assert who.code("create_data", content=content) == 14
            assert who.code("create_datas", num=1, contents=[content]) == 14
    raw.call("seal", object_id=id)
    raw.call("release", object_id=id)
    assert other.call("is_in_use", id=id) == {"is_in_use": False}
    assert other.make(m={"id": f"o{id:016x}"})


def test_objects_with_the_empty_blob_come_and_go_at_once(path: str) -> None:
    def work() -> None:
        with Raw(path) as raw:
            for _ in range(300):
                id = raw.make(member={"id": f"o{EMPTY:016x}"})
                raw.call("del_data", id=[id], deep=True)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(work) for _ in range(3)]:
            done.result()


def test_who_seals_while_the_writer_leaves_is_told_clearly(path: str, raw: Raw, other: Raw) -> None:
    raw.get(raw.create(b"file"))
    for _ in range(300):
        with Raw(path) as leaving:
            id = leaving.buffers("create_buffer", size=4096)["id"]
        reply = raw.ask({"type": "seal_request", "object_id": id})
        assert reply.get("code", 0) in (0, 12), reply
        assert other.call("exists", id=id)["exists"] == ("code" not in reply)


def test_a_client_on_a_machine_that_is_gone_will_be_noticed(depot: entrepot.Depot) -> None:
    server = Server(depot, rpc=("127.0.0.1", 0))
    server.start()
    host, _, port = server.rpc_endpoint.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_S):
        wait_until(lambda: len(server._instance.sessions()) == 1, "it is served")
        [session] = server._instance.sessions()
        assert session.connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    server.close()


def test_clients_are_told_that_the_depot_was_removed(tmp_path: Path) -> None:
    root = memory_directory()
    with entrepot.open("gone", directory=root, data_directory=tmp_path, memory="32M") as depot:
        server = Server(depot, ipc=root / "v.sock")
        server.start()
        with Raw(server.ipc_socket) as raw, Raw(server.ipc_socket) as waiting:
            id, stream = raw.create(b"x"), _stream(raw)
            waiting.send({"type": "pull_next_stream_chunk_request", "id": stream})
            wait_until(lambda: _connections(raw) == (2, 1), "it waits")
            with entrepot.open("gone", directory=root, data_directory=tmp_path) as again:
                again.destroy()
            assert raw.code("exists", id=id) == 34
            assert raw.code("get_buffers", ids=[id]) == 34
            assert waiting.reply()["code"] == 34
        server.close()
