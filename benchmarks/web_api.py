"""How near does the web API's gateway bring the original v3io client to its own ceiling?

The original client, unmodified, against `entrepot serve --http` and against a server that
answers at once with canned bytes. What it cannot do faster there is its own time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.harness import Contestant, Plan, compare
from benchmarks.peers import NotInstalledError
from benchmarks.report import Check, at_least, duration

__all__ = ["measure_web_api"]

QUESTION = "web_api"
CONTAINER = "bigdata"
ATTRIBUTES = {"age": 42, "name": "somebody", "score": 1.5}
ITEM_JSON = b'{"Item":{"age":{"N":"42"},"name":{"S":"somebody"},"score":{"N":"1.5"}}}'
BODY = b"x" * 1000
CEILING_PART = 0.7
WIDE = 64
"""Connections of a client that has all of a batch in flight."""

Call = Callable[[Any], object]
CALLS: dict[str, Call] = {
    "get item": lambda client: client.kv.get(CONTAINER, "t", "k"),
    "get object, 1 kB": lambda client: client.object.get(CONTAINER, "o"),
    "put item": lambda client: client.kv.put(CONTAINER, "t", "k", ATTRIBUTES),
}


def measure_web_api(plan: Plan) -> list[Check]:
    """Return what the original client reaches, by operation and size of batch."""
    try:
        with ExitStack() as stack:
            return _measure(plan, stack)
    except NotInstalledError as missing:
        plan.note(str(missing))
        return []


def _measure(plan: Plan, stack: ExitStack) -> list[Check]:
    if find_spec("v3io") is None:
        raise NotInstalledError("original v3io", "pip install v3io==0.7.2")
    ports = [stack.enter_context(_gateway()), stack.enter_context(_canned())]
    narrow = [stack.enter_context(_client(port, 8)) for port in ports]
    wide = [stack.enter_context(_client(port, WIDE)) for port in ports]
    narrow[0].kv.put(CONTAINER, "t", "k", ATTRIBUTES)
    narrow[0].object.put(CONTAINER, "o", body=BODY)
    checks: list[Check] = []
    for name, call in CALLS.items():
        for label, size, clients in (
            ("single", 1, narrow),
            ("batch of 16", 16, narrow),
            ("batch of 64", 64, narrow),
            (f"batch of 64, {WIDE} connections", 64, wide),
        ):
            checks.append(_check(plan, f"{name}, {label}", call, size, clients))
    return checks


def _check(plan: Plan, name: str, call: Call, size: int, clients: list[Any]) -> Check:
    run = partial(call) if size == 1 else partial(_batch, call, size)
    ours, canned = compare(
        [
            Contestant("gateway", partial(run, clients[0])),
            Contestant("canned", partial(run, clients[1])),
        ],
        plan,
    )
    return Check(
        question=QUESTION,
        name=name,
        figure=canned.ratio(ours),
        unit="of the ceiling",
        bound=None if name.startswith("put") else at_least(CEILING_PART),
        ours=duration(ours.median_s / size),
        theirs=duration(canned.median_s / size),
    )


def _batch(call: Call, size: int, client: Any) -> None:
    for _ in range(size):
        call(client.batch)
    client.batch.wait()


@contextmanager
def _client(port: int, connections: int) -> Generator[Any]:
    import v3io.dataplane

    client = v3io.dataplane.Client(
        endpoint=f"127.0.0.1:{port}", access_key="any", max_connections=connections
    )
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _gateway() -> Generator[int]:
    if find_spec("httptools") is None:
        raise NotInstalledError("httptools", "pip install 'entrepot[serve]'")
    with tempfile.TemporaryDirectory() as home:
        words = ["-m", "entrepot", "serve", "--http", "127.0.0.1:0", "--container", CONTAINER]
        words += ["--directory", f"{home}/memory", "--data-dir", f"{home}/data", "--json"]
        words += ["--depot", "benchmark", "--memory", "64M"]
        Path(home, "memory").mkdir(mode=0o700)
        with _process(words) as process:
            assert process.stdout is not None
            text = ""
            while not text.rstrip().endswith("}"):
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError("the gateway has ended")
                text += line
            yield int(json.loads(text)["http"].rpartition(":")[2])


@contextmanager
def _canned() -> Generator[int]:
    with _process(["-m", "benchmarks.canned_http"]) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


@contextmanager
def _process(words: list[str]) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()
