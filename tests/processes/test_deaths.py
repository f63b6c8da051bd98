"""Processes end, cleanly or by kill -9, while they hold something.

Guaranteed: whatever a process held comes back when it ends, to whoever is there: its claims,
its places in line with what was handed to it, its workspaces, its memory, its slot, its
readers. A process that waits for such a thing notices within a slice of a wait.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import settings
from entrepot.engine import failpoints
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]


def die(peer: Peer, how: str) -> None:
    """Let a peer end."""
    if how == "killed":
        peer.kill()
    else:
        peer.close()


either_way = pytest.mark.parametrize("how", ["killed", "cleanly"])


@either_way
def test_a_workspace_ends_with_its_owner(home: Home, peers: Start, how: str) -> None:
    with home.open("64M") as depot:
        owner = peers()
        owner.run(lambda here: here.depot.space("mine", owned=True).store("v", bytes(100_000)))
        mine = depot.space("mine")
        assert [info.owner_pid for info in depot.spaces()] == [owner.pid]
        die(owner, how)
        depot.collect()
        assert depot.spaces() == []
        with pytest.raises(entrepot.NotFoundError):
            mine.store("v", 1)
        assert depot.statistics().arena.used == 0


def test_whoever_waits_in_a_workspace_is_told_when_its_owner_is_killed(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        owner, waiter = peers(), peers()
        owner.run(lambda here: here.depot.space("mine", owned=True) and None)
        asked = waiter.begin(lambda here: here.depot.space("mine").fetch("v"))
        wait_until(lambda: depot.space("mine").variables(), "the peer waits")
        owner.kill()
        assert isinstance(asked.error(), entrepot.NotFoundError)


def test_a_second_owner_does_not_take_a_workspace_from_the_first(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        first, second = peers(), peers()
        for peer in (first, second):
            peer.run(lambda here: here.depot.space("mine", owned=True) and None)
        second.kill()
        depot.collect()
        assert [info.owner_pid for info in depot.spaces()] == [first.pid]


@either_way
@pytest.mark.parametrize("size", [10, 300_000])
def test_a_claimed_value_is_back_at_its_place_when_the_claimer_ends(
    home: Home, peers: Start, how: str, size: int
) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        for number in range(3):
            space.store("v", np.full(size, number, np.uint8))
        claimer = peers()
        assert claimer.run(lambda here: int(here.depot.space("s").claim("v").value[0])) == 0
        die(claimer, how)
        depot.collect()
        assert [int(space.fetch("v")[0]) for _ in range(3)] == [0, 1, 2]


def test_a_process_that_waits_gets_what_a_killed_one_had_claimed(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        depot.space("s").store("v", "task")
        claimer, waiter = peers(), peers()
        claimer.run(lambda here: here.depot.space("s").claim("v") and None)
        asked = waiter.begin(lambda here: here.depot.space("s").claim("v", timeout=60).value)
        wait_until(lambda: depot.space("s").variables()[0].fetchers == 1, "the peer waits")
        claimer.kill()
        assert asked.result() == "task"


def test_who_only_tries_gets_what_a_killed_one_had_claimed(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        space.store("v", "task")
        claimer, waiter = peers(), peers()
        claimer.run(lambda here: here.depot.space("s").claim("v") and None)
        assert space.try_claim("v") is None
        claimer.kill()
        wait_until(lambda: space.try_find("v"), "the value is back, though nobody waits")
        waiter.begin(lambda here: here.depot.space("s").fetch("empty"))
        wait_until(lambda: space.waiters("empty"), "the peer waits")
        waiter.kill()
        wait_until(lambda: not space.waiters("empty"), "it is out of the line")
        assert space.try_fetch("v") == "task"


def test_a_workspace_of_a_killed_owner_is_soon_not_listed(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        first, second = peers(), peers()
        for peer in (first, second):
            peer.run(lambda here: here.depot.space("mine", owned=True) and None)
        first.kill()
        wait_until(lambda: not depot.spaces(), "it ends with its owner, though nobody waits")
        second.kill()


def test_a_value_handed_to_a_waiter_that_is_killed_goes_to_the_next(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        first, second = peers(), peers()
        first.begin(lambda here: here.depot.space("s").fetch("v"))
        wait_until(lambda: space.variables() and space.variables()[0].fetchers == 1, "it waits")
        first.stop()
        space.store("v", "handed")
        assert space.try_fetch("v") is None, "it is the first one's"
        asked = second.begin(lambda here: here.depot.space("s").fetch("v", timeout=60))
        wait_until(lambda: space.variables()[0].fetchers == 1, "the second waits")
        first.kill()
        assert asked.result() == "handed"


def test_a_value_handed_to_a_waiter_whose_time_is_over_is_not_lost(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        space = depot.space("s")
        waiter = peers()
        asked = waiter.begin(lambda here: here.depot.space("s").fetch("v", timeout=0.05))
        wait_until(lambda: space.variables() and space.variables()[0].fetchers == 1, "it waits")
        waiter.stop()
        space.store("v", "handed")
        waiter.resume()
        assert asked.result() == "handed"


def test_a_waiter_whose_waker_died_between_commit_and_bell_finds_the_value(
    home: Home, peers: Start
) -> None:
    def store_and_die(here: Any) -> None:
        space = here.depot.space("s")
        failpoints.arm("engine.committed")
        space.store("v", "stored")

    with home.open("64M") as depot:
        waiter, storer = peers(), peers()
        storer.run(lambda here: here.depot.space("s") and None)
        asked = waiter.begin(lambda here: here.depot.space("s").fetch("v", timeout=60))
        wait_until(lambda: depot.space("s").variables(), "the peer waits")
        storer.begin(store_and_die)
        storer.wait_for_death()
        assert asked.result() == "stored"


def test_views_of_a_killed_process_do_not_keep_memory(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        id = depot.objects.put(np.zeros(1_000_000, np.uint8))
        looker = peers()

        def look(here: Any) -> None:
            here.kept = [here.depot.objects.get(id) for _ in range(10)]

        looker.run(look)
        depot.objects.delete(id)
        depot.collect()
        assert depot.statistics().arena.limbo == 1_000_000
        looker.kill()
        depot.collect()
        assert depot.statistics().arena.limbo == 0


def test_readers_that_were_killed_in_a_read_are_forgotten(home: Home, peers: Start) -> None:
    def die_reading(here: Any) -> None:
        engine = here.depot.attached.engine
        engine.read(lambda tx: os.kill(os.getpid(), signal.SIGKILL))

    with home.open("64M") as depot:
        for _ in range(3):
            reader = peers()
            reader.begin(die_reading)
            reader.wait_for_death()
        assert depot.collect().readers == 0, "opening the depot, others forgot the rest"
        assert depot.diagnose().readers == []


def test_each_session_ends_with_its_process(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        some = [peers() for _ in range(4)]
        assert {session.pid for session in depot.sessions()} == {
            os.getpid(),
            *(peer.pid for peer in some),
        }
        for peer, how in zip(some, ["killed", "cleanly"] * 2, strict=True):
            die(peer, how)
        depot.collect()
        assert [session.pid for session in depot.sessions()] == [os.getpid()]


def test_a_dead_session_is_told_from_a_living_one_before_it_is_reaped(
    home: Home, peers: Start
) -> None:
    with home.open("64M") as depot:
        peer = peers()
        peer.run(lambda here: here.depot.space("s", owned=True) and None)
        peer.kill()
        alive = {session.pid: session.alive for session in depot.sessions()}
        assert alive == {os.getpid(): True, peer.pid: False}


def test_a_process_that_waits_reaps_the_dead_without_being_asked(home: Home, peers: Start) -> None:
    with home.open("64M") as depot:
        waiter, victim = peers(), peers()
        victim.run(lambda here: here.depot.space("theirs", owned=True) and None)
        asked = waiter.begin(lambda here: here.depot.space("s").fetch("v", timeout=PATIENCE_S))
        victim.kill()
        wait_until(lambda: len(depot.sessions()) == 2, "the waiter reaps")
        depot.space("s").store("v", 1)
        assert asked.result() == 1


@pytest.mark.parametrize("timeout", [0, 0.05, settings.WAIT_SLICE_S])
def test_shards_of_a_killed_consumer_go_to_one_who_reads_for_short_times(
    home: Home, peers: Start, timeout: float
) -> None:
    def join(here: Any) -> int:
        here.consumer = here.depot.stream("users/clicks").consumer("billing")
        read = here.consumer.read(limit=5)
        here.consumer.commit()
        return len(read)

    with home.open("64M") as depot:
        clicks = depot.stream("users/clicks", shards=2)
        clicks.append_many([b"%d" % number for number in range(20)])
        first = peers()
        assert first.run(join) == 5
        with clicks.consumer("billing") as second:
            first.kill()
            found = list[entrepot.Record]()

            def has_all() -> bool:
                found.extend(second.read(timeout=timeout))
                return len(found) == 15

            wait_until(has_all, "the other one has taken over")
            assert second.shards == [0, 1]
        depot.delete_container("users")
