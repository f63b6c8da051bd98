"""`entrepot serve --http` as a process: workers, keys, TLS, and an end that loses nothing.

Guarantees: what was answered is there; what was accepted is answered before the end; a
worker that dies is replaced; workers end with their parent, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.conditions import PATIENCE_S, is_running, wait_until
from support.homes import Home
from support.http_raw import Raw, request

pytest.importorskip("httptools", reason="pip install 'entrepot[serve]'")

BIG = bytes(range(256)) * 4096 * 4


class Served:
    """A process that serves."""

    def __init__(self, process: subprocess.Popen[str], told: dict[str, str]) -> None:
        self.process = process
        self.url = told["http"]
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        self.host, self.port = host, int(port)

    def dial(self) -> Raw:
        """Connect."""
        return Raw(self.host, self.port)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def command(home: Home, *words: str) -> list[str]:
    places = ["--depot", home.name, "--directory", str(home.root), "--data-dir", str(home.data)]
    return [sys.executable, "-m", "entrepot", words[0], *places, *words[1:]]


def run(home: Home, *words: str) -> Any:
    done = subprocess.run(
        command(home, *words, "--json"), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def tried(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.fixture
def serve(home: Home) -> Iterator[Callable[..., Served]]:
    """Return what starts a server with a container `lab`; all end before the test does."""
    started: list[Served] = []

    def start(*words: str) -> Served:
        where = () if "--http" in words else ("--http", "127.0.0.1:0")
        process = subprocess.Popen(
            command(home, "serve", *where, "--container", "lab", "--json", *words),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        while not line.rstrip().endswith("}"):
            more = process.stdout.readline()
            assert more, f"it ended after {line!r}"
            line += more
        started.append(Served(process, json.loads(line)))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.stop()
        assert served.process.stdout is not None
        served.process.stdout.close()


def test_what_is_accepted_is_answered_before_the_end(serve: Callable[..., Served]) -> None:
    served = serve()
    idle, busy, asked = served.dial(), served.dial(), served.dial()
    assert idle.ask("GET", "/healthz").status == 200
    busy.send(b"PUT /lab/o HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG[:2_000_000])
    asked.send(b"".join(request("PUT", f"/lab/k{n}", "x") for n in range(50)))
    assert asked.answer().status == 200
    served.process.send_signal(signal.SIGTERM)
    assert idle.is_over()
    assert [asked.answer().status for _ in range(49)] == [200] * 49
    busy.send(BIG[2_000_000:])
    assert busy.answer().status == 200
    assert served.process.wait(PATIENCE_S) == 0
    for raw in (idle, busy, asked):
        raw.close()
    again = serve()
    raw = again.dial()
    assert raw.ask("GET", "/lab/o").body == BIG
    assert raw.ask("GET", "/lab/k49").body == b"x"
    raw.close()


def test_the_end_waits_only_so_long(serve: Callable[..., Served]) -> None:
    served = serve("--stop-timeout", "0.2")
    raw = served.dial()
    raw.send(b"PUT /lab/o HTTP/1.1\r\nContent-Length: 9000000\r\n\r\nabc")
    assert served.stop() == 0
    raw.close()


def test_what_was_answered_survives_a_kill(serve: Callable[..., Served], home: Home) -> None:
    served = serve()
    answered: list[int] = []

    def write() -> None:
        raw = served.dial()
        try:
            while True:
                number = len(answered)
                if raw.ask("PUT", f"/lab/o{number}", str(number)).status == 200:
                    answered.append(number)
        except (OSError, AssertionError):
            raw.close()

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(answered) > 30, "some writes are answered")
    served.process.kill()
    served.process.wait(PATIENCE_S)
    writer.join()
    with home.open() as depot:
        container = depot.container("lab")
        assert [int(container.get(f"o{n}")) for n in answered] == answered


def test_several_workers_serve_one_port_and_one_depot(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    log = tmp_path / "access"
    served = serve("--workers", "2", "--access-log", str(log))
    raws = [served.dial() for _ in range(16)]  # the system distributes them by their ports
    for number, raw in enumerate(raws):
        assert raw.ask("PUT", f"/lab/k{number}", str(number)).status == 200
    for number in range(16):
        assert raws[-1 - number].ask("GET", f"/lab/k{number}").body == str(number).encode()

    def counted() -> bool:
        text = raws[0].ask("GET", "/metrics").body.decode()
        put = 'entrepot_http_requests_total{operation="put_object",status="200"} 16.0'
        return put in text and "entrepot_http_writes_total 16.0" in text

    pytest.importorskip("prometheus_client", reason="pip install 'entrepot[serve]'")
    wait_until(counted, "the figures are those of all workers")
    for raw in raws:
        raw.close()
    assert served.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(line["operation"] == "put_object" for line in lines) == 16


def workers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if is_running(int(child))]


def is_answered(served: Served) -> bool:
    try:
        raw = served.dial()
    except OSError:
        return False
    try:
        return raw.ask("GET", "/healthz").status == 200
    except (OSError, AssertionError):
        return False
    finally:
        raw.close()


def test_a_worker_that_dies_is_replaced(serve: Callable[..., Served]) -> None:
    served = serve("--workers", "2")
    before = workers_of(served.process.pid)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now = workers_of(served.process.pid)
        return len(now) == 2 and before[0] not in now

    wait_until(is_replaced, "another one is there")
    wait_until(lambda: is_answered(served), "it serves")
    assert served.stop() == 0


def test_workers_end_with_their_parent(serve: Callable[..., Served]) -> None:
    served = serve("--workers", "2")
    workers = workers_of(served.process.pid)
    served.stop(signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, workers)), "the workers end")
    with pytest.raises(ConnectionRefusedError):
        served.dial()


def test_keys_are_added_listed_and_removed(serve: Callable[..., Served], home: Home) -> None:
    served = serve("--require-key")
    raw = served.dial()
    assert raw.ask("GET", "/lab").status == 401
    added = run(home, "keys", "add", "--container", "lab=r", "--label", "reader")
    assert added["key"].startswith(added["id"])
    assert raw.ask("GET", "/lab", X_v3io_session_key=added["key"]).status == 200
    assert raw.ask("PUT", "/lab/o", "x", X_v3io_session_key=added["key"]).status == 403
    everything = run(home, "keys", "add", "--all")
    assert raw.ask("PUT", "/lab/o", "x", X_v3io_session_key=everything["key"]).status == 200
    listed = run(home, "keys", "ls")
    assert [(key["label"], key["rights"]) for key in listed] == [
        ("reader", {"lab": "r"}),
        ("", "all"),
    ]
    assert "key" not in listed[0]
    run(home, "keys", "rm", added["id"])
    assert raw.ask("GET", "/lab", X_v3io_session_key=added["key"]).status == 401
    raw.close()
    for words in (("rm",), ("rm", "none"), ("add",), ("add", "--container", "lab"), ("ls", "x")):
        done = tried(command(home, "keys", *words))
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_https_is_spoken_with_a_certificate(
    serve: Callable[..., Served], tmp_path: Path, workers: str
) -> None:
    trustme = pytest.importorskip("trustme", reason="pip install trustme")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    served = serve("--tls-cert", str(cert), "--tls-key", str(key), "--workers", workers)
    assert served.url.startswith("https://")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    raw = served.dial()
    raw.socket = context.wrap_socket(raw.socket, server_hostname="localhost")
    assert raw.ask("PUT", "/lab/o", BIG).status == 200
    assert raw.ask("GET", "/lab/o").body == BIG
    raw.send(request("GET", "/lab/o", Connection="close"))
    assert raw.answer().body == BIG
    raw.close()
    assert served.stop() == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--http", "nowhere"), "HOST:PORT"),
        (("--http", "127.0.0.1:0", "--tls-cert", "/none.pem"), "certificate"),
        (("--http", "127.0.0.1:0", "--tls-key", "/none.pem"), "--tls-cert"),
        (("--http", "127.0.0.1:0", "--container", "Not a name"), "container"),
        (("--http", "127.0.0.1:0", "--access-log", "/none/log"), "access log"),
        (("--http", "127.0.0.1:0", "--workers", "0"), "workers"),
    ],
    ids=["address", "certificate", "key", "container", "log", "workers"],
)
def test_what_cannot_be_served_is_told(home: Home, words: tuple[str, ...], text: str) -> None:
    done = tried(command(home, "serve", *words))
    assert done.returncode in (1, 2)
    assert text in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_directory_that_others_can_enter_is_told_as_that(
    home: Home, tmp_path: Path, workers: str
) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    words = command(home, "serve", "--http", "127.0.0.1:0", "--workers", workers)
    done = tried([*words, "--data-dir", str(tmp_path / "open")])
    said = " ".join(done.stderr.split())
    assert done.returncode == 1
    assert "can be entered by other users" in said
    assert "chmod 700" in said
    assert "listen" not in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_in_use_is_told(home: Home, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = tried(command(home, "serve", "--http", where, "--workers", workers))
    assert done.returncode == 1
    assert "another program may listen there" in " ".join(done.stderr.split())
