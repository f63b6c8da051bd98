"""Names of objects: put, get, wait, move, drop, list; on every tier."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from entrepot import settings
from entrepot.errors import LimitError, NotFoundError, TypeMismatchError, WaitTimeoutError
from entrepot.layers.objects import Objects
from support.conditions import PATIENCE_S

LONGEST = "n" * settings.NAME_BYTES_MAX
NAMES = ["", "plain", "a/b", "tab\tnewline\n", "\x00", "é", "𝄞", "\ud800", "\uffff", LONGEST]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:12])
def test_any_short_text_is_a_name(objects: Objects, name: str) -> None:
    key = objects.put("value", name=name)
    assert objects.get_name(name) == key
    assert objects.get(name=name) == "value"
    assert objects.names() == {name: key}
    assert objects.usage(key).names == [name]
    assert objects.drop_name(name)
    assert objects.names() == {}
    assert objects.exists(key)


def test_a_name_moves_to_the_object_that_got_it_last(objects: Objects) -> None:
    one, two = objects.put(1, name="n"), objects.put(2)
    objects.put_name("n", two)
    assert objects.get_name("n") == two
    assert objects.usage(one).names == []
    three = objects.put(np.ones(50_000), name="n")
    assert objects.get_name("n") == three
    assert objects.usage(two).names == []
    objects.put_name("n", three)
    assert objects.usage(three).names == ["n"]


def test_an_object_has_several_names_and_loses_them_when_deleted(objects: Objects) -> None:
    key, other = objects.put(1), objects.put(2, name="other")
    for name in ("b", "a", "\x00"):
        objects.put_name(name, key)
    assert objects.usage(key).names == ["\x00", "a", "b"]
    objects.delete(key)
    assert objects.names() == {"other": other}
    with pytest.raises(NotFoundError, match="'a'"):
        objects.get_name("a")


def test_a_name_that_was_dropped_is_unknown_and_may_be_given_again(objects: Objects) -> None:
    key = objects.put(1, name="n")
    assert objects.drop_name("n")
    assert not objects.drop_name("n")
    for get in (objects.get_name, lambda name: objects.get(name=name)):
        with pytest.raises(NotFoundError, match="'n'"):
            get("n")
    objects.put_name("n", key)
    assert objects.get_name("n") == key


def test_a_name_is_not_given_to_what_does_not_exist(objects: Objects) -> None:
    gone = objects.put(1)
    objects.delete(gone)
    for number in (gone, 1, 2**64 - 1):
        with pytest.raises(NotFoundError, match=f"{number:016x}"):
            objects.put_name("n", number)
    assert objects.names() == {}


@pytest.mark.parametrize("bad", [None, 5, b"bytes", ["list"], 1.5], ids=repr)
def test_a_name_that_is_no_text_is_refused_by_every_method(objects: Objects, bad: object) -> None:
    key = objects.put(1)
    uses = [
        lambda: objects.put_name(bad, key),
        lambda: objects.get_name(bad),
        lambda: objects.get_name(bad, wait=True, timeout=0),
        lambda: objects.drop_name(bad),
    ]
    if bad is not None:
        uses += [
            lambda: objects.get(name=bad),
            lambda: objects.put(2, name=bad),
            lambda: objects.put(np.ones(50_000), name=bad),
            lambda: objects.create({}, {"m": key}, name=bad),
        ]
    for use in uses:
        with pytest.raises(TypeMismatchError):
            use()
    assert objects.count() == 1


def test_a_name_one_byte_too_long_is_refused_with_its_length(objects: Objects) -> None:
    key = objects.put(1)
    for name in (LONGEST + "n", "é" * (settings.NAME_BYTES_MAX // 2) + "n"):
        for use in (
            lambda name=name: objects.put_name(name, key),
            lambda name=name: objects.put(1, name=name),
            lambda name=name: objects.get_name(name),
            lambda name=name: objects.drop_name(name),
        ):
            with pytest.raises(LimitError, match=str(settings.NAME_BYTES_MAX + 1)):
                use()
    assert objects.count() == 1


def test_a_name_that_needs_the_longest_key_works(objects: Objects) -> None:
    # A zero byte takes two in a key: such a name is refused or works, but does no harm.
    key = objects.put(1)
    name = "\x00" * settings.NAME_BYTES_MAX
    try:
        objects.put_name(name, key)
    except LimitError:
        assert objects.names() == {}
    else:
        assert objects.get_name(name) == key


# Listing.


def test_names_are_listed_in_order_and_chosen_by_pattern_and_limit(objects: Objects) -> None:
    ids = {name: objects.put(name, name=name) for name in ("b/2", "a", "b/1", "B", "c[1]")}
    assert list(objects.names()) == sorted(ids)
    assert objects.names() == ids
    assert list(objects.names("b/?")) == ["b/1", "b/2"]
    assert list(objects.names("b*", limit=1)) == ["b/1"]
    assert list(objects.names("c[[]1]")) == ["c[1]"]
    assert list(objects.names("[a-b]|B", regex=True)) == ["B", "a"]
    assert list(objects.names("b", regex=True)) == [], "the whole name must match"
    assert objects.names(limit=0) == {}
    assert len(objects.names(limit=100)) == 5


def test_more_names_than_a_batch_are_listed_once_each(objects: Objects) -> None:
    key = objects.put(1)
    wanted = {f"{number:05}" for number in range(settings.BATCH_KEYS + 5)}
    objects._engine.write(_give_all, sorted(wanted), key)
    listed = objects.names()
    assert list(listed) == sorted(wanted)
    assert list(objects.names("*4")) == sorted(name for name in wanted if name[-1] == "4")
    assert len(objects.names(limit=settings.BATCH_KEYS + 1)) == settings.BATCH_KEYS + 1


def _give_all(tx, names_to_give, key):
    from entrepot.layers import names

    for name in names_to_give:
        names.put(tx, name, key)


def test_listing_refuses_what_makes_no_sense(objects: Objects) -> None:
    with pytest.raises(LimitError, match="-1"):
        objects.names(limit=-1)
    with pytest.raises(LimitError, match=r"\("):
        objects.names("(", regex=True)
    for pattern in (None, 5, b"*"):
        with pytest.raises(TypeMismatchError):
            objects.names(pattern)
    for limit in ("1", 1.5, True):
        with pytest.raises(TypeMismatchError):
            objects.names(limit=limit)


# Waiting.


def test_whoever_waits_for_a_name_gets_what_it_is_given_to(objects: Objects) -> None:
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(objects.get_name, "later", wait=True) for _ in range(3)]
        value = pool.submit(objects.get, name="later", wait=True, timeout=PATIENCE_S)
        objects.put(0, name="sooner")
        key = objects.put("it", name="later")
        assert [wait.result(PATIENCE_S) for wait in waits] == [key] * 3
        assert value.result(PATIENCE_S) == "it"


def test_put_name_and_create_wake_who_waits_too(objects: Objects) -> None:
    key = objects.put(1)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(objects.get_name, "one", wait=True, timeout=PATIENCE_S)
        two = pool.submit(objects.get, name="two", wait=True, timeout=PATIENCE_S)
        objects.put_name("one", key)
        objects.create({"f": 1}, {"m": key}, name="two")
        assert one.result(PATIENCE_S) == key
        assert two.result(PATIENCE_S) == {"f": 1, "m": 1}


def test_a_name_that_is_there_is_not_waited_for(objects: Objects) -> None:
    key = objects.put(1, name="n")
    assert objects.get_name("n", wait=True, timeout=0) == key
    assert objects.get(name="n", wait=True, timeout=0) == 1


def test_a_wait_for_a_name_ends_in_time(objects: Objects) -> None:
    for timeout in (0, 0.0, 0.01):
        with pytest.raises(WaitTimeoutError, match=f"'n' within {timeout} seconds"):
            objects.get_name("n", wait=True, timeout=timeout)
        with pytest.raises(TimeoutError):
            objects.get(name="n", wait=True, timeout=timeout)


@pytest.mark.parametrize(
    ("timeout", "error"),
    [(-1, LimitError), (float("nan"), LimitError), ("1", TypeMismatchError)],
)
def test_a_time_that_cannot_be_is_refused(objects: Objects, timeout: object, error: type) -> None:
    for wait in (objects.get_name, lambda name, **how: objects.get(name=name, **how)):
        with pytest.raises(error, match=str(timeout)):
            wait("n", wait=True, timeout=timeout)


def test_names_given_at_once_by_threads_stand_for_the_last_of_them(
    objects: Objects, chance: random.Random
) -> None:
    ids = [objects.put(number) for number in range(4)]
    texts = ["x", "y"]
    barrier = threading.Barrier(4)

    def give(key: int, seed: int) -> None:
        mine = random.Random(seed)
        barrier.wait(PATIENCE_S)
        for _ in range(25):
            objects.put_name(mine.choice(texts), key)
            objects.drop_name(mine.choice(texts)) if mine.random() < 0.2 else None

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(give, key, chance.randrange(1 << 30)) for key in ids]:
            done.result(PATIENCE_S)
    listed = objects.names()
    for name, key in listed.items():
        assert objects.usage(key).names.count(name) == 1
    assert sum(len(objects.usage(key).names) for key in ids) == len(listed)
