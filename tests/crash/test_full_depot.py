"""A depot in which every byte is used.

Guaranteed:

1. What does not fit is refused with an OutOfMemoryError that says so, and changes nothing.
2. Getting, fetching and deleting go on, so that room can be made; then everything goes on.
3. The depot can be opened, and what the dead held comes back: at the latest when there is room.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import entrepot
from support.homes import Home, assert_sound
from support.peers import Peer

MEMORY = "16M"


def fill(depot: entrepot.Depot) -> list[int]:
    """Put values of shrinking sizes until not even the smallest fits."""
    ids: list[int] = []
    for size in (15_000, 3_000, 300, 10):
        with contextlib.suppress(entrepot.OutOfMemoryError):
            while True:
                ids.append(depot.objects.put(bytes(size)))
    return ids


def test_objects_of_a_full_depot_can_be_got_and_deleted_one_by_one(home: Home) -> None:
    with home.open(MEMORY) as depot:
        ids = fill(depot)
        assert depot.objects.get(ids[0]) == bytes(15_000)
        for id in ids:
            assert depot.objects.delete(id) == 1
        assert depot.objects.count() == 0
        assert depot.objects.get(depot.objects.put(bytes(15_000))) == bytes(15_000)


def test_values_of_a_full_depot_can_be_fetched(home: Home) -> None:
    with home.open(MEMORY) as depot:
        space = depot.space("s")
        for number in range(100):
            space.store("v", bytes([number]) * 10_000)
        fill(depot)
        for number in range(100):
            assert space.fetch("v", timeout=0) == bytes([number]) * 10_000


def test_a_full_depot_can_be_opened_though_the_dead_held_claims_in_it(
    home: Home, peers: Callable[..., Peer]
) -> None:
    with home.open(MEMORY) as depot:
        space = depot.space("s")
        for _ in range(300):
            space.store("v", bytes(15_000))
        claimer = peers()
        claimer.run(
            lambda here: [here.depot.space("s").try_claim("v") for _ in range(300)] and None
        )
        ids = fill(depot)
        claimer.kill()
        assert peers().run(lambda here: here.depot.objects.count()) == len(ids)
        for id in ids:
            depot.objects.delete(id)
        depot.collect()
        assert [variable.values for variable in space.variables()] == [300]
        assert [variable.claimed for variable in space.variables()] == [0]


def test_a_full_depot_gets_rid_of_a_workspace(home: Home, peers: Callable[..., Peer]) -> None:
    with home.open(MEMORY) as depot:
        space = depot.space("s")
        for _ in range(300):
            space.store("v", bytes(15_000))
        ids = fill(depot)
        depot.delete_space("s")
        assert depot.spaces() == []
        for _ in range(200):
            depot.objects.put(bytes(15_000))
        assert depot.objects.count() == len(ids) + 200
        assert_sound(depot)
