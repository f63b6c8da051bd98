"""Small blobs are cut from chunks that a process holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import settings
from support.homes import Home
from support.peers import Peer

PIECE, LARGE = 20_000, 200_000


@pytest.fixture
def depot(home: Home) -> Iterator[entrepot.Depot]:
    with home.open("64M") as depot:
        yield depot


def block(size: int, number: int = 0) -> np.ndarray[Any, Any]:
    return np.full(size, number, np.uint8)


def unsealed(depot: entrepot.Depot) -> int:
    return depot.statistics().arena.unsealed


def test_a_chunk_is_taken_once_for_many_pieces(depot: entrepot.Depot) -> None:
    ids = [depot.objects.put(block(PIECE, number)) for number in range(10)]
    arena = depot.statistics().arena
    assert arena.used + arena.unsealed == settings.CHUNK_BYTES
    assert [int(depot.objects.get(id)[0]) for id in ids] == list(range(10))


def test_a_chunk_whose_beginning_was_freed_and_taken_again_keeps_its_end(
    depot: entrepot.Depot,
) -> None:
    # The large blob begins where the chunk began: both must be known by different keys.
    pieces = [depot.objects.put(block(PIECE)) for _ in range(LARGE // PIECE + 1)]
    depot.objects.delete(pieces)
    depot.collect()
    rest = unsealed(depot)
    large = depot.objects.put(block(LARGE, 7))
    assert depot.check() == []
    assert unsealed(depot) == rest
    later = [depot.objects.put(block(PIECE, number)) for number in range(5)]
    assert (depot.objects.get(large) == 7).all()
    assert [int(depot.objects.get(id)[0]) for id in later] == list(range(5))
    assert depot.check() == []


def test_a_large_draft_that_fails_does_not_free_the_end_of_a_chunk(depot: entrepot.Depot) -> None:
    pieces = [depot.objects.put(block(PIECE)) for _ in range(LARGE // PIECE + 1)]
    depot.objects.delete(pieces)
    depot.collect()
    rest = unsealed(depot)
    with pytest.raises(entrepot.NotFoundError):
        _put_and_fail(depot, block(LARGE))
    assert unsealed(depot) == rest - 20_032, "a piece was cut from the chunk meanwhile"
    assert depot.check() == []


def _put_and_fail(depot: entrepot.Depot, value: np.ndarray[Any, Any]) -> None:
    arena = depot.attached.arena
    with arena.draft([memoryview(value)]):
        depot.objects.put(block(PIECE))  # from the chunk, meanwhile
        raise entrepot.NotFoundError("on purpose")


def test_a_piece_that_fails_gives_its_chunk_back(depot: entrepot.Depot) -> None:
    with pytest.raises(entrepot.NotFoundError):
        _put_and_fail(depot, block(PIECE))
    depot.close()


def test_a_chunk_too_small_for_a_piece_is_given_back(depot: entrepot.Depot) -> None:
    big = settings.CHUNK_PIECE_BYTES_MAX
    ids = [depot.objects.put(block(big, number)) for number in range(20)]
    assert [int(depot.objects.get(id)[0]) for id in ids] == list(range(20))
    assert unsealed(depot) < settings.CHUNK_BYTES
    assert depot.check() == []


def test_the_chunks_of_a_process_that_ends_are_free(
    depot: entrepot.Depot, peers: Callable[..., Peer]
) -> None:
    for how in (Peer.kill, Peer.close):
        peer = peers()
        peer.run(lambda here: int(here.depot.objects.put(np.zeros(20_000, np.uint8))))
        assert unsealed(depot) > 0
        how(peer)
        depot.collect()
        assert unsealed(depot) == 0
    assert depot.statistics().arena.used == 2 * 20_032


def test_pieces_of_two_processes_do_not_share_a_chunk(
    depot: entrepot.Depot, peers: Callable[..., Peer]
) -> None:
    mine = [depot.objects.put(block(PIECE, 1)) for _ in range(3)]
    peer = peers()
    theirs = peer.run(
        lambda here: [int(here.depot.objects.put(np.full(20_000, 2, np.uint8))) for _ in range(3)]
    )
    assert all((depot.objects.get(id) == 1).all() for id in mine)
    assert all((depot.objects.get(id) == 2).all() for id in theirs)
    assert depot.statistics().arena.used + unsealed(depot) == 2 * settings.CHUNK_BYTES
