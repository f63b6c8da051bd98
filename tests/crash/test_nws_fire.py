"""Clients over TCP and in the depot's own processes take from one variable, and are killed.

Guaranteed:

1. No value is fetched twice.
2. A value is fetched, or still there. One that a client had received when it was killed is
   its own loss: at most one for each kill.
3. A value that a killed worker had claimed is done by another: none is lost at all.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot.gateways.nws import NwsGateway
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]

OVER_TCP, INSIDE = 8, 4
ROUNDS, VALUES_PER_ROUND = 12, 100


def fetch_over_tcp(here: Any, log: str, port: int) -> None:
    """Fetch for ever, and write down what was fetched."""
    import os

    from entrepot.nws.client import NetWorkSpace

    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    fire = NetWorkSpace("fire", "127.0.0.1", port, useUse=True)
    while True:
        os.write(fd, b"%d\n" % fire.fetch("v"))


def fetch_inside(here: Any, log: str) -> None:
    """Fetch for ever, and write down what was fetched."""
    import os

    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    fire = here.depot.space("fire")
    while True:
        os.write(fd, b"%d\n" % fire.fetch("v"))


def claim_inside(here: Any, log: str) -> None:
    """Claim for ever, and write down what was claimed before it is done."""
    import os

    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    fire = here.depot.space("fire")
    while True:
        with fire.claim("v") as claim:
            os.write(fd, b"%d\n" % claim.value)


class Crowd:
    """Clients that are killed and replaced."""

    def __init__(self, peers: Start, tmp_path: Path, chance: random.Random) -> None:
        self.peers = peers
        self.tmp_path = tmp_path
        self.chance = chance
        self.logs: list[Path] = []
        self.members: list[tuple[Peer, Callable[..., None], tuple[Any, ...]]] = []
        self.kills = 0

    def join(self, work: Callable[..., None], *arguments: Any) -> None:
        log = self.tmp_path / f"log-{len(self.logs)}"
        log.touch()
        self.logs.append(log)
        peer = self.peers()
        peer.begin(work, str(log), *arguments)
        self.members.append((peer, work, arguments))

    def kill_one(self) -> None:
        peer, work, arguments = self.members.pop(self.chance.randrange(len(self.members)))
        peer.kill()
        self.kills += 1
        self.join(work, *arguments)

    def kill_all(self) -> None:
        for peer, _, _ in self.members:
            peer.kill()
        self.members.clear()

    def fetched(self) -> Counter[int]:
        return Counter(int(line) for log in self.logs for line in log.read_text().splitlines())


def waiting(depot: entrepot.Depot) -> int:
    return sum(info.fetchers for info in depot.space("fire").variables())


@pytest.mark.parametrize("inside", [fetch_inside, claim_inside], ids=["fetch", "claim"])
def test_each_value_is_fetched_once_while_clients_are_killed(
    home: Home,
    peers: Start,
    tmp_path: Path,
    chance: random.Random,
    inside: Callable[..., None],
) -> None:
    with home.open("128M") as depot:
        gateway = NwsGateway(depot)
        gateway.start()
        space = depot.space("fire")
        crowd = Crowd(peers, tmp_path, chance)
        if inside is fetch_inside:
            for _ in range(OVER_TCP):
                crowd.join(fetch_over_tcp, gateway.port)
        for _ in range(INSIDE):
            crowd.join(inside)
        for start in range(0, ROUNDS * VALUES_PER_ROUND, VALUES_PER_ROUND):
            for number in range(start, start + VALUES_PER_ROUND):
                space.store("v", number)
                if number % (VALUES_PER_ROUND // 2) == 0:
                    crowd.kill_one()
        wait_until(
            lambda: waiting(depot) == len(crowd.members) and not space.variables()[0].values,
            "all is fetched, and all who live wait",
            2 * PATIENCE_S,
        )
        crowd.kill_all()
        gateway.close()
        depot.collect()
        fetched = crowd.fetched()
        left = list(space.ifetch_try("v"))
        assert left == []
        missing = set(range(ROUNDS * VALUES_PER_ROUND)) - set(fetched)
        if inside is fetch_inside:
            assert max(fetched.values()) == 1, "a value was fetched twice"
            assert len(missing) <= crowd.kills
        else:
            assert missing == set()
            assert sum(fetched.values()) - len(fetched) <= crowd.kills
