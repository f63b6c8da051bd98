"""NetWorkSpaces: the original client on our gateway, our face on both, and the same values.

The original is nwsclient 1.6.3, whose own tests are run too. The original server is known to
fail two of them on Python 3: it forgets to count what replaces the value of a single variable,
and its way of making temporary names.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from support.conditions import PATIENCE_S
from support.homes import Home
from support.nws_originals import NotFetchedError, environment, fetch_originals

pytestmark = pytest.mark.interop


@pytest.fixture(scope="session")
def originals() -> Path:
    try:
        return fetch_originals()
    except NotFetchedError as error:
        pytest.skip(str(error))


@pytest.fixture
def gateway(home: Home, originals: Path) -> Iterator[dict[str, str]]:
    """Serve a depot; return the environment in which programs find all they need."""
    around = environment(
        originals,
        ENTREPOT_DIR=str(home.root),
        ENTREPOT_DATA=str(home.data),
        ENTREPOT_DEPOT=home.name,
        ENTREPOT_MEMORY="128M",
    )
    command = [sys.executable, "-m", "entrepot", "serve", "--nws", "127.0.0.1:0", "--json"]
    server = subprocess.Popen(command, env=around, stdout=subprocess.PIPE, text=True)
    try:
        yield around | {"NWS_HOST": "127.0.0.1", "NWS_PORT": _port(server)}
    finally:
        server.terminate()
        server.wait(PATIENCE_S)
        assert server.stdout is not None
        server.stdout.close()


def _port(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    told = ""
    while True:
        line = server.stdout.readline()
        assert line, "the server has ended"
        told += line
        try:
            return str(json.loads(told)["nws"]).rpartition(":")[2]
        except ValueError:
            continue


def run(kind: str, script: Path, around: dict[str, str], *, inside: bool = False) -> str:
    if inside:
        around = {k: v for k, v in around.items() if k not in ("NWS_HOST", "NWS_PORT")}
    command = [sys.executable, "-m", "support.nws_adapter", kind, str(script)]
    done = subprocess.run(
        command, env=around, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("kind", "inside"),
    [("run", False), ("face", False), ("face", True)],
    ids=["original-on-gateway", "face-on-gateway", "face-in-process"],
)
@pytest.mark.parametrize(("name", "count"), [("test_nws", 26), ("test_file", 9)])
def test_the_tests_of_the_original_pass(
    gateway: dict[str, str], originals: Path, kind: str, inside: bool, name: str, count: int
) -> None:
    said = run(kind, originals / "test" / f"{name}.py", gateway, inside=inside)
    assert f"Ran {count} tests" in said


SAME = """
import os, threading, time
from nws.client import *

where = {}
if "NWS_PORT" in os.environ:
    where = {"serverHost": os.environ["NWS_HOST"], "serverPort": int(os.environ["NWS_PORT"])}

def tried(call, *arguments, **keywords):
    try:
        return call(*arguments, **keywords)
    except Exception as error:
        return type(error).__name__, str(error)

ws, other = NetWorkSpace("w", **where), NetWorkSpace("w", useUse=True, **where)
ws.declare("lifo", "lifo")
print(tried(ws.declare, "lifo", "fifo"), tried(ws.declare, "lifo", "lifo"))
print(tried(ws.declare, "x", "stack"))
for value in ("text", 42, None, [1, 2.5], {"a": (1,)}, ""):
    ws.store("v", value)
    ws.store("lifo", value)
print(ws.listVars(), ws.listVars(format="dict")["v"])
print([ws.fetch("lifo") for _ in range(6)], ws.fetchTry("lifo", "none"))
print([tried(next, getattr(ws, op)("lifo"), "end") for op in ("ifind", "ifindTry", "ifetch")])
found = ws.ifindTry("v")
print(next(found), next(found), other.fetch("v"), other.fetch("v"), list(found))
print(list(found))
ws.store("v", "more")
found.restart()
print(list(found))
found.reset()
print(list(found))
single = ws.ifindTry("single")
ws.declare("single", "single")
for value in (100, 101):
    ws.store("single", value)
    print(next(single))
print(tried(ws.deleteVar, "v"), tried(ws.deleteVar, "v"))
answers = []
threads = [
    threading.Thread(target=lambda op=op: answers.append(tried(getattr(NetWorkSpace("w", useUse=True, **where), op), "gone")))
    for op in ("fetch", "find")
]
for thread in threads:
    thread.start()
while ws.listVars(format="dict").get("gone", (0,) * 5)[2:4] != (1, 1):
    time.sleep(0.005)
ws.deleteVar("gone")
for thread in threads:
    thread.join()
print(answers)
print(tried(NetWorkSpace, "nowhere", create=False, **where))
kept = NetWorkSpace("kept", persistent=True, **where)
kept.store("v", 1)
kept.server.close()
listed = ws.server.listWss("dict")
print(sorted(listed), listed["w"][WS_MINE], listed["w"][WS_VARLIST])
while "kept" in listed and not listed["kept"][WS_PERSISTENT]:
    listed = ws.server.listWss("dict")
print(NetWorkSpace("kept", **where).fetchTry("v"), ws.server.listWss("dict")["kept"][WS_MINE])
name = ws.server.mktempWs("tmp%03d")
print(name.startswith("tmp"), tried(ws.server.mktempWs, "none"))
ws.server.deleteWs("kept")
ws.server.deleteWs(name)
ws.server.close()
while "w" in other.server.listWss("dict"):
    time.sleep(0.005)
print(tried(other.store, "v", 1), tried(other.fetchTry, "v"))
"""


def test_all_ways_to_a_space_behave_the_same(gateway: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "same.py"
    script.write_text(SAME)
    original = run("run", script, gateway)
    assert original.count("\n") == 19
    assert run("face", script, gateway) == original
    assert run("face", script, gateway, inside=True) == original


EXCHANGE = """
import os, sys
from nws.client import *

ws = NetWorkSpace("x", os.environ["NWS_HOST"], int(os.environ["NWS_PORT"]), useUse=True)
print(repr([ws.fetch("down") for _ in range(5)]))
for value in ("from afar", 7, [1, (2.5, "x")], None):
    ws.store("up", value)
"""


@pytest.mark.parametrize("kind", ["run", "face"], ids=["original", "face"])
def test_programs_on_the_depot_and_over_tcp_exchange_values(
    gateway: dict[str, str], home: Home, tmp_path: Path, kind: str
) -> None:
    script = tmp_path / "exchange.py"
    script.write_text(EXCHANGE)
    with home.open() as depot:
        space = depot.space("x")
        down: list[Any] = ["text", 42, [1, {"a": None}], 2.5, True]
        for value in down:
            space.store("down", value)
        assert run(kind, script, gateway).strip() == repr(down)
        up = [space.fetch("up") for _ in range(4)]
        assert up == ["from afar", 7, [1, (2.5, "x")], None]


def test_an_array_of_the_depot_is_loaded_over_tcp(gateway: dict[str, str], home: Home) -> None:
    from entrepot.nws.client import NetWorkSpace

    with home.open() as depot:
        space = depot.space("x")
        value = {"a": np.arange(100_000.0), "b": np.asfortranarray(np.eye(3))}
        space.store("v", value)
        remote = NetWorkSpace("x", "127.0.0.1", int(gateway["NWS_PORT"]), useUse=True)
        found = remote.fetch("v")
        assert np.array_equal(found["a"], value["a"])
        assert found["b"].flags.f_contiguous
        remote.store("v", found["a"])
        assert np.array_equal(space.fetch("v"), value["a"])
        remote.server.close()
        entrepot.Depot.collect(depot)
