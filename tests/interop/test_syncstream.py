"""The original syncstream 1.2.2 against ours, both ways, and the same script on both."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot import syncstream as ours
from entrepot.gateways.http.server import HttpGateway

theirs = pytest.importorskip("syncstream", reason="pip install syncstream==1.2.2")
flask = pytest.importorskip("flask", reason="pip install flask")
serving = pytest.importorskip("werkzeug.serving")

pytestmark = pytest.mark.interop
PACKAGES = [ours, theirs]


def package_name(package: Any) -> str:
    return package.__name__


@pytest.fixture(autouse=True)
def depot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[entrepot.Depot]:
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "memory"))
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with entrepot.open(memory="64M") as depot:
        yield depot
        depot.destroy()


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serves a host buffer in Flask; returns its address."""
    with ExitStack() as stack:

        def begin(buffer: Any) -> str:
            app = flask.Flask("lines")
            buffer.serve(app)
            server = serving.make_server("127.0.0.1", 0, app, threaded=True)
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/l"

        yield begin


def facts(items: Any) -> list[Any]:
    """Return what can be compared of items: the paths in a traceback are those of the test."""
    return [
        item if isinstance(item, str) else (item.type, item.data[0], item.data[-1])
        for item in items
    ]


def talk(mirror: Any) -> None:
    """Say everything that a mirror can say."""
    print("hello", file=mirror)
    mirror.write("a\nb\r\nc\u2028half")
    mirror.write(" and the rest")
    mirror.new_line()
    mirror.send_warning(UserWarning("odd"))
    mirror.write("before the error")
    try:
        raise ValueError("bad")
    except ValueError as error:
        mirror.send_error(error)
    mirror.send_data("direct")
    mirror.send_eof()
    mirror.aggressive = True
    mirror.write("piece ")
    mirror.write("by piece\n")
    mirror.close()


SAID = [
    "hello", "a", "b", "c", "half and the rest", ("warning", "UserWarning: odd", "UserWarning: odd"),
    "before the error", ("error", "Traceback (most recent call last):", "ValueError: bad"),
    "direct", "piece by piece",
]  # fmt: skip


@pytest.mark.parametrize("reads", PACKAGES, ids=lambda p: f"reads {package_name(p)}")
@pytest.mark.parametrize("writes", PACKAGES, ids=lambda p: f"writes {package_name(p)}")
@pytest.mark.parametrize("holds", PACKAGES, ids=lambda p: f"holds {package_name(p)}")
def test_every_mirror_talks_to_every_buffer(
    holds: Any, writes: Any, reads: Any, serve: Callable[[Any], str]
) -> None:
    buffer = holds.LineHostBuffer("/l", maxlen=30)
    url = serve(buffer)
    talk(writes.LineHostMirror(url))
    assert facts(buffer.read()) == SAID
    with reads.LineHostReader(url) as reader:
        assert facts(reader.read()) == SAID
        assert facts(reader.read(3)) == SAID[-3:]
        assert (reader.maxlen, reader.closed) == (30, False)
        mirror = writes.LineHostMirror(url)
        assert reader.stop_all_mirrors()
        assert reader.closed
        with pytest.raises(StopIteration):
            mirror.write("x\n")
        assert reader.reset_states()
        mirror.write("y\n")
        assert facts(reader.read(1)) == ["y"]
        assert reader.clear()
        assert facts(reader.read()) == []
    if hasattr(buffer, "_shelf"):
        buffer.close()


@pytest.mark.parametrize("writes", PACKAGES, ids=package_name)
def test_the_gateway_serves_mirrors_of_both(depot: entrepot.Depot, writes: Any) -> None:
    gateway = HttpGateway(depot)
    gateway.start()
    try:
        url = f"http://127.0.0.1:{gateway.port}/lines/train"
        mirrors = [writes.LineHostMirror(url) for _ in range(4)]

        def write(number: int) -> None:
            for line in range(25):
                mirrors[number].write(f"{number} {line}\n")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        talk(mirrors[0])
        with theirs.LineHostReader(url) as reader:
            items = facts(reader.read())
        assert items[100:] == SAID
        for number in range(4):
            mine = [item for item in items[:100] if item.startswith(f"{number} ")]
            assert mine == [f"{number} {line}" for line in range(25)]
    finally:
        gateway.close()


PIECES = ["a", "bc", "\n", "x\n", "\r\n", "y\nz", "\n\n", "", "\u2028", "\x0b", "end\r"]


def test_a_random_script_reads_the_same_in_both_buffers_of_threads(chance: random.Random) -> None:
    for _ in range(50):
        maxlen = chance.randrange(1, 6)
        pair = [package.LineBuffer(maxlen) for package in PACKAGES]
        for _ in range(chance.randrange(30)):
            step = chance.choice(["write"] * 6 + ["new_line", "clear", "read"])
            given = (chance.choice(PIECES),) if step == "write" else ()
            if step == "read":
                given = (chance.choice([None, 0, 1, 3, 99]),)
            results = [getattr(buffer, step)(*given) for buffer in pair]
            assert results[0] == results[1], (step, given)
            assert pair[0].read() == pair[1].read()


@pytest.mark.parametrize("package", PACKAGES, ids=package_name)
def test_messages_of_one_are_understood_by_the_other(package: Any) -> None:
    other = ours if package is theirs else theirs
    for given in (None, "a", ["a", "b"], UserWarning("odd"), ValueError("bad")):
        message = package.GroupedMessage(given)
        again = other.GroupedMessage.deserialize(message.serialize())
        assert (again.type, tuple(again.data)) == (message.type, tuple(message.data))
        assert str(again) == str(message)


def test_a_program_of_the_original_runs_on_ours(tmp_path: Path) -> None:
    import subprocess
    import sys

    program = tmp_path / "program.py"
    program.write_text(
        "import syncstream\n"
        "from syncstream import LineBuffer\n"
        "from syncstream.host import LineHostMirror\n"
        "assert LineHostMirror is syncstream.LineHostMirror\n"
        "with (buffer := LineBuffer(2)):\n    print('a'); print('b'); print('c')\n"
        "print(buffer.read(), syncstream.LineBuffer.__module__)\n"
    )
    command = [sys.executable, "-m", "entrepot", "run", "--as", "syncstream", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "('b', 'c') entrepot.syncstream.mproc\n", done.stderr
