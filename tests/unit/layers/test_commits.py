"""Group commit: writes that share a transaction, and do not share their fates."""

from __future__ import annotations

import threading
from _thread import interrupt_main

import pytest

from entrepot.engine.protocol import Transaction
from entrepot.errors import LimitError, UnavailableError
from entrepot.layers.commits import Call
from entrepot.layers.tier import Tier
from support.conditions import wait_until


def put(tx: Transaction, key: bytes) -> bytes:
    tx.put(key, b"")
    return key


def refuse(_: Transaction) -> None:
    raise LimitError("refused")


def break_down(_: Transaction) -> None:
    raise ZeroDivisionError


def keys(tier: Tier) -> list[bytes]:
    found = tier.engine.read(lambda tx: [key for key, _ in tx.range(b"\x03", b"\x04")])
    tier.engine.write(lambda tx: [tx.delete(key) for key in found] and None)
    return found


@pytest.mark.parametrize("bad", [refuse, break_down])
def test_a_write_that_fails_does_not_keep_the_others(data_tier: Tier, bad):
    calls = [Call(put, b"\x03a"), Call(bad), Call(put, b"\x03b")]
    data_tier.commits.write_all(calls)
    assert [calls[0].value(), calls[2].value()] == [b"\x03a", b"\x03b"]
    with pytest.raises((LimitError, ZeroDivisionError)):
        calls[1].value()
    with pytest.raises((LimitError, ZeroDivisionError)):
        data_tier.commits.write(bad)
    assert keys(data_tier) == [b"\x03a", b"\x03b"]


def test_a_caller_that_is_interrupted_while_it_waits_keeps_nobody(data_tier: Tier):
    commits = data_tier.commits
    went_on = threading.Event()

    def interrupt(_: Transaction) -> None:
        if not went_on.is_set():
            wait_until(lambda: len(commits._queue) == 1, "the main thread waits")
            went_on.set()
            interrupt_main()

    leader = threading.Thread(target=commits.write, args=(interrupt,))
    leader.start()
    wait_until(lambda: commits._leader is not None and not commits._queue, "the other one leads")
    with pytest.raises(KeyboardInterrupt):
        commits.write(put, b"\x03never or not seen")
    leader.join()
    commits.write(put, b"\x03after")
    assert b"\x03after" in keys(data_tier)
    assert commits._leader is None


def test_who_shares_a_transaction_that_is_interrupted_is_told(data_tier: Tier):
    commits = data_tier.commits
    errors: list[BaseException] = []

    def wait_for_another(_: Transaction) -> None:
        wait_until(lambda: len(commits._queue) >= 2, "two more wait")

    def interrupt(_: Transaction) -> None:
        raise KeyboardInterrupt

    def other() -> None:
        try:
            commits.write(put, b"\x03x")
        except UnavailableError as error:
            errors.append(error)

    first = threading.Thread(target=commits.write, args=(wait_for_another,))
    first.start()
    wait_until(lambda: commits._leader is not None and not commits._queue, "the first one leads")
    second = threading.Thread(target=other)

    def start_second() -> None:
        wait_until(lambda: len(commits._queue) == 1, "the main thread waits")
        second.start()

    starter = threading.Thread(target=start_second)
    starter.start()
    with pytest.raises(KeyboardInterrupt):
        commits.write(interrupt)
    for thread in (starter, first, second):
        thread.join()
    assert len(errors) == 1
    assert keys(data_tier) == []
    commits.write(put, b"\x03after")
    assert keys(data_tier) == [b"\x03after"]
