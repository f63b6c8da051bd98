"""What does a printed line cost, in the process and over HTTP, beside the original syncstream?

A worker process writes lines, and they are in the buffer of another process, where they can be
read: our LineProcMirror and a writer of a buffer of lines, beside the original mirror, whose
lines are carried by a manager process and received. Then over HTTP: our mirror and the original
one to our gateway, and the original one to the original buffer on Flask, each server in a
process of its own.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any

import entrepot
from benchmarks.harness import Contestant, Plan, Timing, compare
from benchmarks.peers import NotInstalledError
from benchmarks.report import Bound, Check, at_least, duration
from entrepot.syncstream import LineHostMirror, LineProcBuffer

__all__ = ["measure_lines"]

QUESTION = "lines"
LINE = "x" * 100 + "\n"
WRITER, MIRROR, ORIGINAL = "a writer", "LineProcMirror", "original LineProcMirror"
HTTP, HTTP_THEIRS = "our mirror, our gateway", "original mirror, our gateway"
HTTP_ORIGINAL = "original mirror, Flask"
PER_S = 100_000
BATCH = 200

_GATEWAY = """
import sys, threading, entrepot
from entrepot.gateways.http.server import HttpGateway
depot = entrepot.open(sys.argv[1], directory=sys.argv[2])
gateway = HttpGateway(depot)
gateway.start()
print(gateway.port, flush=True)
sys.stdin.read()
gateway.close()
depot.close()
"""
_FLASK = """
import logging, sys, flask, syncstream
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
app = flask.Flask("lines")
syncstream.LineHostBuffer("/lines/train", maxlen=1000).serve(app)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""


def measure_lines(plan: Plan) -> list[Check]:
    """Return our ways to write a line against the original's."""
    with ExitStack() as stack:
        depot = stack.enter_context(entrepot.temporary(memory="64M"))
        writer = depot.lines("benchmark").writer()
        (alone,) = compare([Contestant(WRITER, partial(writer.write, LINE))], plan)
        checks = [
            Check(
                QUESTION,
                "lines a second, one by one, one process",
                1 / alone.median_s / 1000,
                "k/s",
                at_least(PER_S / 1000),
                duration(alone.median_s),
            )
        ]
        buffer = LineProcBuffer(1000, depot=depot)
        stack.callback(buffer.close)
        try:
            original = _original()
        except NotInstalledError as missing:
            original = None
            plan.note(str(missing))
        else:
            for how in ("write", "print"):
                with ExitStack() as workers:
                    ours = workers.enter_context(_worker(buffer.mirror, how))
                    theirs_buffer = original.LineProcBuffer(1000)
                    theirs = workers.enter_context(_worker(theirs_buffer.mirror, how))
                    players = [
                        Contestant(MIRROR, partial(_batch, ours)),
                        Contestant(ORIGINAL, partial(_batch, theirs, theirs_buffer.receive)),
                    ]
                    timed = compare(players, plan, seconds=plan.seconds * 2)
                name = f"{how}: {MIRROR}, {ORIGINAL}"
                checks.append(_against(name, timed[0], timed[1], at_least(20), BATCH))
        return checks + _over_http(plan, depot, original, stack)


def _batch(worker: Connection, receive: Callable[[], object] | None = None) -> None:
    """Have a worker write some lines, and wait until they are in the buffer."""
    worker.send(BATCH)
    if receive is not None:
        for _ in range(BATCH):
            receive()
    worker.recv()


@contextmanager
def _worker(mirror: Any, how: str) -> Generator[Connection]:
    """Yield the link to a process that writes to a mirror."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_write, args=(mirror, how, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.send(0)  # closing it does not suffice: the original's manager has a copy
        process.join(20)
        ours.close()


def _write(mirror: Any, how: str, link: Connection) -> None:
    while count := link.recv():
        for _ in range(count):
            if how == "write":
                mirror.write(LINE)
            else:
                print(LINE[:-1], file=mirror)
        link.send(None)


def _over_http(plan: Plan, depot: entrepot.Depot, original: Any, stack: ExitStack) -> list[Check]:
    arguments = [depot.name, str(depot.path.parent)]
    url = f"http://127.0.0.1:{stack.enter_context(_server(_GATEWAY, arguments))}/lines/train"
    ours = LineHostMirror(url)
    stack.callback(ours.close)
    players = [Contestant(HTTP, partial(ours.write, LINE))]
    if original is not None:
        flask = f"http://127.0.0.1:{stack.enter_context(_server(_FLASK, []))}/lines/train"
        for name, address in ((HTTP_THEIRS, url), (HTTP_ORIGINAL, flask)):
            players.append(Contestant(name, partial(original.LineHostMirror(address).write, LINE)))
    by = {each.name: each for each in compare(players, plan)}
    if original is None:
        return [
            Check(QUESTION, HTTP, by[HTTP].median_s * 1e6, "us", None, duration(by[HTTP].median_s))
        ]
    return [
        _against(f"{HTTP}; {HTTP_ORIGINAL}", by[HTTP], by[HTTP_ORIGINAL], at_least(3)),
        _against(f"{HTTP_THEIRS}; on Flask", by[HTTP_THEIRS], by[HTTP_ORIGINAL], None),
    ]


def _against(name: str, us: Timing, them: Timing, bound: Bound | None, lines: int = 1) -> Check:
    return Check(
        QUESTION,
        name,
        them.ratio(us),
        "x faster",
        bound,
        duration(us.median_s / lines),
        duration(them.median_s / lines),
    )


def _original() -> Any:
    for name in ("syncstream", "flask"):
        if find_spec(name) is None:
            raise NotInstalledError("syncstream", "pip install syncstream==1.2.2 flask")
    return importlib.import_module("syncstream")


@contextmanager
def _server(program: str, arguments: list[str]) -> Generator[int]:
    """Yield the port of a server in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the server has ended")
        yield int(line)
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(20)
        process.stdout.close()
