"""A process is stopped (Ctrl-Z, a debugger) in the middle of a write: it holds the lock.

Guaranteed: readers go on; writers get an error that names it instead of hanging; everything
goes on when it continues or is killed, with or without what it was about to write.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import entrepot
from entrepot.engine import failpoints
from support.conditions import is_stopped, wait_until
from support.homes import Home
from support.peers import Asked, Peer


def stop_in_a_write(here: Any) -> None:
    def stop() -> None:
        failpoints.disarm()
        os.kill(os.getpid(), signal.SIGSTOP)

    here.depot.objects.put("its first write also takes ids")
    failpoints.arm("engine.before_commit", stop)
    here.depot.objects.put("half done", name="half done")


@pytest.fixture
def depot(home: Home) -> Iterator[entrepot.Depot]:
    with home.open("64M") as depot:
        depot.objects.put("there", name="there")
        yield depot


@pytest.fixture
def holder(depot: entrepot.Depot, peers: Callable[..., Peer]) -> tuple[Peer, Asked]:
    """Return a peer that is stopped while it holds the write lock."""
    peer = peers()
    asked = peer.begin(stop_in_a_write)
    wait_until(lambda: is_stopped(peer.pid), "the peer has stopped")
    return peer, asked


def test_a_write_names_the_stopped_process_and_what_to_do(
    depot: entrepot.Depot, holder: tuple[Peer, Asked]
) -> None:
    with pytest.raises(entrepot.UnavailableError) as caught:
        depot.objects.put(1)
    assert str(holder[0].pid) in str(caught.value)
    assert f"kill -CONT {holder[0].pid}" in caught.value.hint


def test_reads_go_on_while_a_writer_is_stopped(
    depot: entrepot.Depot, holder: tuple[Peer, Asked]
) -> None:
    assert depot.objects.get(name="there") == "there"
    assert depot.diagnose().stopped_writer == holder[0].pid


def test_a_writer_that_continues_writes_what_it_was_about_to_write(
    depot: entrepot.Depot, holder: tuple[Peer, Asked]
) -> None:
    peer, asked = holder
    with pytest.raises(entrepot.UnavailableError):
        depot.objects.put(1)
    peer.resume()
    asked.result()
    assert depot.objects.get(name="half done") == "half done"
    assert depot.objects.get(depot.objects.put(1)) == 1
    assert depot.diagnose().stopped_writer is None


def test_a_stopped_writer_that_is_killed_has_written_nothing(
    depot: entrepot.Depot, holder: tuple[Peer, Asked]
) -> None:
    peer, _ = holder
    with pytest.raises(entrepot.UnavailableError):
        depot.objects.put(1)
    peer.kill()
    assert depot.objects.get(depot.objects.put(1)) == 1
    assert depot.objects.names() == {"there": depot.objects.get_name("there")}


def test_a_write_that_waits_goes_on_when_the_stopped_writer_does(
    depot: entrepot.Depot, holder: tuple[Peer, Asked], peers: Callable[..., Peer]
) -> None:
    peer, asked = holder
    # Opening writes too: a new process waits for the lock before it has a session.
    other = peers(opens=False)

    def open_and_put(here: Any, name: str, root: Any, data: Any) -> int:
        with entrepot.open(name, directory=root, data_directory=data) as mine:
            return int(mine.objects.put("came through"))

    asking = other.begin(open_and_put, depot.name, depot.path.parent, depot.data_path.parent)
    peer.resume()
    asked.result()
    assert depot.objects.get(asking.result()) == "came through"
