"""What does a printed line cost, in the process and over HTTP, beside the original syncstream?

The same line by way of: a writer of a buffer of lines; our LineProcMirror; the original one,
with its manager process and a thread that receives. Then over HTTP: our mirror and the original
one to our gateway, and the original one to the original buffer on Flask, each server in a
process of its own.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
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
        players = [Contestant(WRITER, partial(depot.lines("benchmark").writer().write, LINE))]
        buffer = LineProcBuffer(1000, depot=depot)
        stack.callback(buffer.close)
        mirror = buffer.mirror
        stack.callback(mirror.close)
        players.append(Contestant(MIRROR, partial(mirror.write, LINE)))
        try:
            original = _original()
            players.append(stack.enter_context(_manager(original)))
        except NotInstalledError as missing:
            original = None
            plan.note(str(missing))
        by = {each.name: each for each in compare(players, plan)}
        checks = [
            Check(
                QUESTION,
                "lines a second, one by one, one process",
                1 / by[WRITER].median_s / 1000,
                "k/s",
                at_least(PER_S / 1000),
                duration(by[WRITER].median_s),
            )
        ]
        if original is not None:
            checks += [
                _against(f"in-process: {name}, {ORIGINAL}", by[name], by[ORIGINAL], at_least(20))
                for name in (WRITER, MIRROR)
            ]
        return checks + _over_http(plan, depot, original, stack)


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


def _against(name: str, us: Timing, them: Timing, bound: Bound | None) -> Check:
    return Check(
        QUESTION,
        name,
        them.ratio(us),
        "x faster",
        bound,
        duration(us.median_s),
        duration(them.median_s),
    )


def _original() -> Any:
    for name in ("syncstream", "flask"):
        if find_spec(name) is None:
            raise NotInstalledError("syncstream", "pip install syncstream==1.2.2 flask")
    return importlib.import_module("syncstream")


@contextmanager
def _manager(original: Any) -> Generator[Contestant]:
    """Yield the original's mirror, whose lines a thread receives."""
    buffer = original.LineProcBuffer(1000)
    mirror = buffer.mirror
    thread = threading.Thread(target=buffer.wait, daemon=True)
    thread.start()
    try:
        yield Contestant(ORIGINAL, partial(mirror.write, LINE))
    finally:
        mirror.send_eof()
        thread.join(20)


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
