"""Ctrl-C while a process waits.

Guaranteed: the wait ends at once with KeyboardInterrupt, nothing was taken, nobody is left in
line, and the depot goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from entrepot.gateways.nws import NwsGateway
from support.conditions import is_asleep, is_in_futex, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]

WAITS: dict[str, Callable[[Any], object]] = {
    "find": lambda here: here.depot.space("s").find("v"),
    "fetch": lambda here: here.depot.space("s").fetch("v"),
    "fetch with a timeout": lambda here: here.depot.space("s").fetch("v", timeout=100),
    "claim": lambda here: here.depot.space("s").claim("v"),
    "ifetch": lambda here: next(here.depot.space("s").ifetch("v")),
    "get_name": lambda here: here.depot.objects.get_name("n", wait=True),
}


@pytest.mark.parametrize("what", WAITS)
def test_ctrl_c_ends_a_wait_and_leaves_nobody_in_line(home: Home, peers: Start, what: str) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        waiter = peers()
        asked = waiter.begin(WAITS[what])
        if what != "get_name":
            wait_until(space.variables, "the peer is in line")
        wait_until(lambda: is_in_futex(waiter.pid), "the peer sleeps")
        waiter.send(signal.SIGINT)
        assert isinstance(asked.error(), KeyboardInterrupt)
        assert all(v.fetchers + v.finders == 0 for v in space.variables())
        space.store("v", 1)
        assert waiter.run(lambda here: here.depot.space("s").fetch("v")) == 1


def test_a_signal_whose_handler_does_not_raise_does_not_end_a_wait(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        waiter = peers()
        waiter.run(lambda here: signal.signal(signal.SIGUSR1, lambda *_: None) and None)
        asked = waiter.begin(lambda here: here.depot.space("s").fetch("v", timeout=60))
        wait_until(lambda: depot.space("s").variables(), "the peer is in line")
        for _ in range(5):
            wait_until(lambda: is_in_futex(waiter.pid), "the peer sleeps")
            waiter.send(signal.SIGUSR1)
        depot.space("s").store("v", 1)
        assert asked.result() == 1


@pytest.mark.parametrize("way", ["in-process", "tcp"])
def test_ctrl_c_ends_a_wait_of_the_nws_face_and_takes_nothing(
    home: Home, peers: Start, way: str
) -> None:
    def fetch(here: Any, where: tuple[Any, ...]) -> Any:
        import os

        from entrepot.nws.client import NetWorkSpace

        os.environ["ENTREPOT_DIR"] = str(here.depot.path.parent)
        os.environ["ENTREPOT_DATA"] = str(here.depot.data_path.parent)
        os.environ["ENTREPOT_DEPOT"] = here.depot.name
        return NetWorkSpace("w", *where, useUse=True).fetch("v")

    with home.open("64M") as depot, closing(NwsGateway(depot)) as gateway:
        gateway.start()
        watching = depot.space("w")
        waiter = peers()
        asked = waiter.begin(fetch, (gateway.host, gateway.port) if way == "tcp" else ())
        wait_until(lambda: any(v.fetchers for v in watching.variables()), "the peer is in line")
        wait_until(lambda: is_asleep(waiter.pid), "the peer sleeps")
        waiter.send(signal.SIGINT)
        assert isinstance(asked.error(), KeyboardInterrupt)
        wait_until(lambda: not watching.variables()[0].fetchers, "it left the line")
        watching.store("v", 1)
        assert watching.try_fetch("v") == 1


def test_ctrl_c_at_any_moment_of_many_operations_leaves_the_depot_sound(
    home: Home, peers: Start
) -> None:
    def work(here: Any) -> int:
        import itertools

        at_work: list[bool] = []

        def interrupt(*_: Any) -> None:
            if at_work:  # one that comes late means the work, not what is behind it
                raise KeyboardInterrupt

        signal.signal(signal.SIGINT, interrupt)
        done = 0
        try:
            at_work.append(True)
            space, objects = here.depot.space("s"), here.depot.objects
            for number in itertools.count():
                space.store("v", bytes(20_000))
                objects.delete(objects.put(bytes(200_000)))
                with space.claim("v", timeout=60):
                    pass
                done = number
        except KeyboardInterrupt:
            at_work.clear()
            return done

    with home.open("64M") as depot:
        worker = peers()
        for _ in range(30):
            asked = worker.begin(work)
            before = depot.attached.engine.read(lambda tx: tx.version)
            wait_until(
                lambda b=before: depot.attached.engine.read(lambda tx: tx.version) > b, "it works"
            )
            worker.send(signal.SIGINT)
            while not asked.is_done(1.0):  # Python loses one that comes inside a finalizer
                worker.send(signal.SIGINT)
            asked.result()
            assert depot.check() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_ended_by_a_signal_leaves_nobody_in_line(
    home: Home, peers: Start, number: signal.Signals
) -> None:
    def work(here: Any) -> Any:
        signal.signal(number, signal.SIG_DFL)  # who runs tests under nohup has it ignored
        return here.depot.space("s").fetch("v")

    with home.open("64M") as depot:
        with Peer(home) as waiter:
            waiter.begin(work)
            wait_until(lambda: depot.space("s").variables(), "the peer is in line")
            waiter.send(number)
            assert waiter.process.wait(60) == -number
            waiter._is_killed = True
        depot.collect()
        depot.space("s").store("v", 1)
        assert depot.space("s").try_fetch("v") == 1
