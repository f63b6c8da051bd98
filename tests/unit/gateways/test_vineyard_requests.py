"""What the gateway of vineyard's protocol does with requests, without a connection."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from entrepot.gateways.vineyard import remote
from entrepot.gateways.vineyard.requests import blobs_asked
from entrepot.vineyard._errors import InvalidException
from entrepot.vineyard._ids import EMPTY_BLOB


def test_a_blob_that_is_asked_for_often_is_put_together_once() -> None:
    made: Counter[int] = Counter()
    sent: list[Any] = []

    def bytes_of(id: int) -> memoryview:
        made[id] += 1
        return memoryview(bytes([id]))

    session: Any = SimpleNamespace(
        store=SimpleNamespace(bytes_of=bytes_of),
        connection=SimpleNamespace(send=lambda *parts: sent.extend(parts)),
    )
    ids = [7, 8, EMPTY_BLOB, 7, 7]
    remote.get_remote_buffers(session, {"ids": ids})
    assert made == {7: 1, 8: 1}
    reply, *bodies = sent
    assert [one["object_id"] for one in reply["payloads"]] == ids
    assert [bytes(body) for body in bodies] == [b"\x07", b"\x08", b"", b"\x07", b"\x07"]


@pytest.mark.parametrize(
    "request_",
    [{"ids": [5] * 70_000}, {"num": 70_000}, {"num": -1}, {"num": 1}, {"ids": [-1]}],
    ids=["listed", "numbered", "negative", "missing", "no id"],
)
def test_blobs_that_are_too_many_or_none_are_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidException):
        blobs_asked(request_)


def test_blobs_are_asked_for_as_a_list_or_by_numbers() -> None:
    assert blobs_asked({"ids": [5, 6]}) == blobs_asked({"num": 2, "0": 5, "1": 6}) == [5, 6]
    assert blobs_asked({"ids": []}) == blobs_asked({"num": 0}) == []
