"""SharedMemory and ShareableList."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard.core.client import Client
from entrepot.vineyard.shared_memory import ShareableList, SharedMemory

ITEMS: list[Any] = [1, -(2**63), 2.5, True, False, None, "text", "", "é", b"bytes", b""]


def test_a_block_is_written_frozen_and_read(client: Client) -> None:
    block = SharedMemory(client, create=True, size=10)
    assert (block.size, len(block.buf), block.buf.readonly) == (10, 10, False)
    block.buf[:5] = b"hello"
    with pytest.raises(vineyard._C.ObjectNotExistsException):
        SharedMemory(client, block.name)
    assert block.freeze() is block
    with pytest.raises(TypeError, match="read-only"):
        block.buf[0] = 1
    for name in (block.name, f"o{block.name}", vineyard.ObjectID(block.name)):
        found = SharedMemory(client, name)
        assert bytes(found.buf) == b"hello\0\0\0\0\0"
        assert (found.name, found.size) == (block.name, 10)
        with pytest.raises(TypeError, match="read-only"):
            found.buf[0] = 1
    again = pickle.loads(pickle.dumps(vineyard.ObjectID(block.name)))
    assert SharedMemory(client, again).size == 10
    found.unlink()
    with pytest.raises(vineyard._C.ObjectNotExistsException):
        block.unlink()
    assert bytes(block.buf[:5]) == b"hello", "who looks at it keeps it"


def test_a_block_ends_frozen(client: Client) -> None:
    with SharedMemory(client, create=True, size=3) as block:
        block.buf[0] = 7
    assert SharedMemory(client, block.name).buf[0] == 7
    assert repr(block) == f"SharedMemory('{block.name}', size=3)"


def test_a_block_that_is_not_frozen_can_be_given_up(client: Client) -> None:
    block = SharedMemory(client, create=True, size=1_000_000)
    block.unlink()
    assert client.status.memory_usage == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"create": True},
        {"create": True, "size": -1},
        {"size": -1},
        {"create": True, "name": "5", "size": 1},
    ],
    ids=str,
)
def test_what_makes_no_block(client: Client, arguments: Any) -> None:
    with pytest.raises(ValueError, match=r"size|name"):
        SharedMemory(client, **arguments)


def test_a_size_without_create_is_warned_of(client: Client) -> None:
    block = SharedMemory(client, create=True, size=3).freeze()
    with pytest.warns(UserWarning, match="size"):
        SharedMemory(client, block.name, size=5)


def test_a_list_comes_back_as_it_was(client: Client) -> None:
    made = ShareableList(client, ITEMS)
    assert list(made) == ITEMS
    assert [type(item) for item in made] == [type(item) for item in ITEMS]
    assert (len(made), made[-1], made.count(None), made.index(2.5)) == (len(ITEMS), b"", 1, 2)
    made.freeze()
    found = ShareableList(client, name=made.shm.name)
    assert list(found) == ITEMS
    assert found.format == made.format
    with pytest.raises(TypeError, match="read-only"):
        found[0] = 5
    with pytest.raises(IndexError):
        found[len(ITEMS)]
    assert "text" in repr(found)


def test_items_can_be_assigned_before_the_freeze(client: Client) -> None:
    made = ShareableList(client, ["12345678", 5, None])
    made[0] = "é"
    made[1] = 2.5
    made[2] = True
    assert list(made) == ["é", 2.5, True]
    made[0] = 7
    made[0] = "12345678"
    with pytest.raises(ValueError, match="exceeds"):
        made[0] = "123456789"
    with pytest.raises(ValueError, match="64 bits"):
        made[1] = 2**63
    with pytest.raises(IndexError):
        made[3] = 1
    assert list(ShareableList(client, name=made.freeze().shm.name)) == ["12345678", 2.5, True]


def test_what_makes_no_list(client: Client) -> None:
    for wrong in ([[1]], [{}], [1j]):
        with pytest.raises(KeyError):
            ShareableList(client, wrong)
    with pytest.raises(TypeError, match="slice"):
        ShareableList(client, [1, 2])[0:1]  # pyright: ignore[reportArgumentType] on purpose


def test_a_list_may_be_empty(client: Client) -> None:
    assert list(ShareableList(client, [])) == []
    assert list(ShareableList(client, name=ShareableList(client).freeze().shm.name)) == []
