"""Puts of connectors that are killed midway.

Guaranteed:

1. What is there after a kill is whole; what was acknowledged is there.
2. A depot is sound after it, and nothing of a put that was not acknowledged takes memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entrepot.proxystore.connectors.depot import DepotConnector
from entrepot.proxystore.connectors.file import FileConnector, FileKey
from support.conditions import wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]
KILLS = 8


def set_files(here: Any, directory: str, names: list[str]) -> None:
    """Set keys to bytes that are all alike, again and again: until killed."""
    import itertools

    connector = FileConnector(directory)
    for number in itertools.count():
        name = names[number % len(names)]
        connector.set(FileKey(name), bytes([number % 256]) * 1_000_000)
        (Path(directory) / ".going").touch()


def test_a_file_is_whole_whenever_its_writer_is_killed(
    peers: Start, tmp_path: Path, chance: random.Random
) -> None:
    connector = FileConnector(str(tmp_path / "store"))
    names = ["a", "b", "c"]
    going = tmp_path / "store" / ".going"
    for _ in range(KILLS):
        peer = peers(opens=False)
        peer.begin(set_files, str(tmp_path / "store"), names)
        wait_until(going.exists, "it writes")
        for _ in range(chance.randrange(500)):
            connector.exists(FileKey("a"))
        peer.kill()
        for name in names:
            body = connector.get(FileKey(name))
            assert body is None or (len(body), len(set(body))) == (1_000_000, 1)
        assert any(connector.exists(FileKey(name)) for name in names)
        going.unlink()
    assert FileConnector(str(tmp_path / "store")).store_dir == connector.store_dir
    assert not list((tmp_path / "store").glob(".*.part")), "what the dead left is swept"


def put_and_evict(here: Any, seed: int) -> None:
    """Put, set and evict bytes that are all alike: until killed."""
    import itertools

    chance = random.Random(seed)
    connector = DepotConnector(
        here.depot.name,
        directory=here.depot.path.parent,
        data_directory=here.depot.data_path.parent,
    )
    keys: list[Any] = []
    for number in itertools.count():
        size = chance.choice([100, 30_000, 1_000_000])
        body = bytes([number % 256]) * size
        if chance.random() < 0.5:
            keys.append(connector.put(body))
        else:
            promised = connector.new_key()
            connector.set(promised, body)
            connector.set(promised, body + body)
            keys.append(promised)
        keys += connector.put_batch([body, body])
        while len(keys) > 10:
            connector.evict(keys.pop(chance.randrange(len(keys))))
        if number == 5:
            here.depot.objects.put(seed, name=f"going {seed}")


def test_bytes_in_a_depot_are_whole_whenever_their_writer_is_killed(
    home: Home, peers: Start, chance: random.Random
) -> None:
    with home.open("256M") as depot:
        for _ in range(KILLS):
            seed = chance.randrange(1 << 30)
            peer = peers()
            peer.begin(put_and_evict, seed)
            going = depot.objects.get_name(f"going {seed}", wait=True, timeout=60)
            for _ in range(chance.randrange(2000)):
                depot.objects.exists(going)
            peer.kill()
            depot.objects.delete(going)
            depot.collect()
            assert depot.check() == []
            found = depot.objects.list()
            assert found
            for info in found:
                assert len(set(depot.objects.get(info.id))) == 1
            depot.objects.delete([info.id for info in found])
        depot.collect()
        assert depot.statistics().arena.unsealed == 0


def put_until_killed(here: Any, failpoint: str, size: int) -> None:
    from entrepot.engine import failpoints

    connector = DepotConnector(
        here.depot.name,
        directory=here.depot.path.parent,
        data_directory=here.depot.data_path.parent,
    )
    failpoints.arm(failpoint)
    connector.put(b"x" * size)


@pytest.mark.parametrize("size", [100, 500_000], ids=["small", "large"])
@pytest.mark.parametrize("failpoint", ["arena.allocated", "arena.copied", "engine.before_commit"])
def test_a_put_that_was_not_committed_leaves_nothing(
    home: Home, peers: Start, failpoint: str, size: int
) -> None:
    if size == 100 and failpoint.startswith("arena"):
        return  # small bytes lie in the catalog
    with home.open("64M") as depot:
        peer = peers()
        peer.begin(put_until_killed, failpoint, size)
        peer.wait_for_death()
        depot.collect()
        assert depot.objects.count() == 0
        assert depot.check() == []
        assert depot.statistics().arena.unsealed == 0
