"""Programs of vineyard's users that are killed while they put, write and hand over.

Guaranteed:

1. A frame, a list or metadata with new members is there whole, or not at all.
2. A blob that nobody sealed is free again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from entrepot.vineyard._local import LocalStore
from entrepot.vineyard.core.client import Client, IPCClient
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]
KILLS = 12


def put_frames(here: Any, seed: int) -> None:
    """Put frames, delete some, and leave blobs open: until killed."""
    import itertools

    import numpy as np
    import pandas as pd

    chance = random.Random(seed)
    store = LocalStore(here.depot)
    client = Client(IPCClient(store))
    ids: list[Any] = []
    for number in itertools.count():
        rows = chance.choice([10, 5000, 30_000])
        frame = pd.DataFrame({"a": np.arange(rows), "b": np.arange(rows) * 1.5, "c": ["x"] * rows})
        ids.append(client.put(frame))
        builder = client.create_blob(chance.choice([100, 200_000]))
        builder[0] = 1
        if len(ids) > 5:
            client.delete(ids.pop(chance.randrange(len(ids))))
        if number == 3:
            here.depot.objects.put(seed, name=f"going {seed}")


def test_what_is_put_is_there_whole_or_not_at_all(
    home: Home, peers: Start, chance: random.Random
) -> None:
    with home.open("256M") as depot:
        client = Client(IPCClient(LocalStore(depot)))
        for _ in range(KILLS):
            seed = chance.randrange(1 << 30)
            peer = peers()
            peer.begin(put_frames, seed)
            going = depot.objects.get_name(f"going {seed}", wait=True, timeout=PATIENCE_S)
            for _ in range(chance.randrange(200)):
                depot.objects.exists(going)
            peer.kill()
            depot.objects.delete(going)
            depot.collect()
            assert depot.check() == []
            frames = client.list_objects("vineyard::DataFrame", limit=1000)
            assert frames
            for frame in frames:
                found = client.get(frame.id)
                assert (found["b"] == found["a"] * 1.5).all()
                del found
            client.delete(frames)
            assert client.list_objects("*", limit=1000) == [], "a part was left without its whole"
        depot.collect()
        wait_until(lambda: depot.statistics().arena.unsealed == 0, "what was open is free")
        client.clear()


@pytest.mark.parametrize("failpoint", ["arena.allocated", "arena.copied", "engine.before_commit"])
def test_a_kill_in_the_middle_of_a_put_leaves_nothing(
    home: Home, peers: Start, failpoint: str
) -> None:
    def put(here: Any, name: str) -> None:
        import numpy as np

        from entrepot.engine import failpoints

        client = Client(IPCClient(LocalStore(here.depot)))
        client.put((np.arange(30_000), "warm"))
        failpoints.arm(name)
        client.put((np.arange(50_000), "text", [np.arange(60_000.0)]))

    with home.open("64M") as depot:
        peer = peers()
        peer.begin(put, failpoint)
        peer.wait_for_death()
        depot.collect()
        assert depot.check() == []
        client = Client(IPCClient(LocalStore(depot)))
        assert len(client.list_objects("vineyard::Sequence", limit=100)) == 1
        assert len(client.list_objects("*", limit=100)) == 3
        client.clear()
