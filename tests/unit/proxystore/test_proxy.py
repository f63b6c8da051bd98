"""A proxy is what it stands for, and fetches it when it is used."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import os
import pickle
import signal
import threading
import weakref
from collections import namedtuple
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entrepot.proxystore.factory import Factory, LambdaFactory, SimpleFactory
from entrepot.proxystore.proxy import (
    Proxy,
    ProxyLocker,
    ProxyOr,
    ProxyResolveError,
    extract,
    get_factory,
    is_proxy,
    is_resolved,
    resolve,
)


class Maker:
    """A factory that can be pickled, and counts."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        return self.value


def test_the_factory_is_called_once_when_something_is_asked() -> None:
    made = Maker([1, 2])
    proxy: Any = Proxy(made)
    assert not is_resolved(proxy)
    assert made.calls == 0
    assert isinstance(proxy, list)
    assert len(proxy) == 2
    assert is_resolved(proxy)
    assert made.calls == 1
    assert get_factory(proxy) is made
    assert extract(proxy) is made.value


USES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "format": (2.5, lambda p: f"{p:.2f}"),
    "str": ([1], str),
    "add": (3, lambda p: p + 1),
    "radd": (3, lambda p: 1 + p),
    "power": (3, lambda p: 2**p),
    "compare": (3, lambda p: 2 < p < 4),
    "equal": ([1], lambda p: p == [1]),
    "index": ({"a": 1}, lambda p: p["a"]),
    "as index": (2, lambda p: range(5)[p]),
    "contains": ([1], lambda p: 1 in p),
    "iterate": ([1, 2], list),
    "sorted": ([2, 1], sorted),
    "reversed": ([2, 1], lambda p: list(reversed(p))),
    "bool": ([], bool),
    "hash": ((1, 2), hash),
    "keywords": ({"a": 1}, lambda p: dict(**p)),
    "call": (len, lambda p: p([1])),
    "attribute": (3 + 4j, lambda p: p.imag),
    "floor": (2.5, math.floor),
    "round": (2.567, lambda p: round(p, 1)),
    "bytes": (b"abc", bytes),
    "path": (Path("/tmp"), os.fspath),
    "array": (np.arange(3), lambda p: np.add(p, 1).tolist()),
    "array of": (np.arange(3), lambda p: np.asarray(p).sum()),
    "matrix": (np.eye(2), lambda p: (p @ p).tolist()),
    "class": ([1], lambda p: p.__class__),
    "callable": (len, callable),
    "unpack": ([1], lambda p: [*p, 3]),
}


@pytest.mark.parametrize(("value", "use"), USES.values(), ids=USES)
def test_a_proxy_does_what_its_object_does(value: Any, use: Callable[[Any], Any]) -> None:
    assert use(Proxy(Maker(value))) == use(value)


def test_changes_go_to_the_object_and_the_proxy_stays_one() -> None:
    value: Any = [1]
    proxy: Any = Proxy(Maker(value))
    proxy += [2]
    proxy[0] = 5
    proxy.append(7)
    del proxy[1]
    assert type(proxy) is Proxy
    assert value == [5, 7]
    holder = type("Holder", (), {})()
    proxy = Proxy(Maker(holder))
    proxy.name = "x"
    assert holder.name == "x"
    del proxy.name
    assert not hasattr(holder, "name")


def test_a_proxy_of_an_iterator_is_one() -> None:
    proxy = Proxy(lambda: iter([1, 2, 3]))
    assert (next(proxy), list(proxy)) == (1, [2, 3])  # pyright: ignore[reportCallIssue, reportArgumentType] the proxy's class says nothing of its object
    with pytest.raises(TypeError, match="iterator"):
        next(Proxy(lambda: [1]))  # pyright: ignore[reportCallIssue, reportArgumentType] see above


def test_a_proxy_is_made_of_a_factory_without_a_store() -> None:
    simple = pickle.loads(pickle.dumps(Proxy(SimpleFactory([1]))))
    called = Proxy(LambdaFactory(dict, [("a", 1)], b=2))
    assert (simple, called) == ([1], {"a": 1, "b": 2})
    with pytest.raises(NotImplementedError):
        Factory()


def test_a_proxy_can_be_entered_and_awaited(tmp_path: Path) -> None:
    with Proxy(lambda: (tmp_path / "f").open("w")) as file:
        file.write("x")

    async def answer() -> int:
        return 5

    async def main() -> int:
        proxy: Awaitable[int] = Proxy(answer)  # pyright: ignore[reportAssignmentType] of one
        return await proxy

    assert asyncio.run(main()) == 5


def test_c_code_that_looks_at_the_type_wants_the_object() -> None:
    proxy = Proxy(Maker({"a": 1}))
    with pytest.raises(TypeError):
        json.dumps(proxy)
    assert json.dumps(extract(proxy)) == '{"a": 1}'


def test_a_pickled_proxy_is_its_factory_only() -> None:
    proxy: Any = Proxy(Maker(3), target=np.zeros(100_000), cache_defaults=True)
    body = pickle.dumps(proxy)
    assert len(body) < 400
    again = pickle.loads(body)
    assert type(again) is Proxy
    assert not is_resolved(again)
    assert isinstance(again, np.ndarray)
    assert not is_resolved(again), "the class is known without the object"
    with pytest.raises(TypeError, match="unhashable"):
        hash(again)
    assert not is_resolved(again)
    assert again + 1 == 4


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_is_not_resolved(duplicate: Callable[[Any], Any]) -> None:
    made = Maker([1])
    proxy = Proxy(made)
    resolve(proxy)
    assert not is_resolved(duplicate(proxy))
    assert duplicate(proxy) == [1]


def test_a_stable_hash_is_known_without_the_object_and_others_are_not() -> None:
    number: Any = pickle.loads(pickle.dumps(Proxy(Maker(7), target=7, cache_defaults=True)))
    assert hash(number) == hash(7)
    assert not is_resolved(number)
    text: Any = pickle.loads(pickle.dumps(Proxy(Maker("a"), target="a", cache_defaults=True)))
    assert hash(text) == hash("a")
    assert is_resolved(text)


def test_a_class_that_pickle_cannot_find_does_not_hinder_a_proxy() -> None:
    kind: Any = namedtuple("Elsewhere", "x")
    proxy: Any = Proxy(Maker(5), target=kind(1), cache_defaults=True)
    assert pickle.loads(pickle.dumps(proxy)) == 5


def test_a_factory_that_fails_is_asked_again() -> None:
    answers = iter([KeyError("not yet"), 5])

    def make() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    proxy: Any = Proxy(make)
    with pytest.raises(ProxyResolveError, match="KeyError: 'not yet'") as caught:
        proxy + 1
    assert isinstance(caught.value.cause, KeyError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert proxy + 1 == 6


def test_threads_that_ask_at_the_same_time_get_one_object() -> None:
    begun, go = threading.Event(), threading.Event()

    def make() -> list[int]:
        begun.set()
        go.wait()
        return []

    proxy: Any = Proxy(make)
    threads = [threading.Thread(target=lambda: proxy.append(1)) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    go.set()
    for thread in threads:
        thread.join()
    assert proxy == [1] * 4


def test_a_child_asks_for_what_a_thread_of_its_parent_was_asking_for() -> None:
    begun, go = threading.Event(), threading.Event()

    def make() -> list[int]:
        begun.set()
        go.wait()
        return [7]

    proxy: Any = Proxy(make)
    thread = threading.Thread(target=resolve, args=(proxy,))
    thread.start()
    begun.wait()
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        go.set()
        os._exit(proxy[0])
    go.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_to_tell_a_proxy_fetches_nothing() -> None:
    made = Maker(5)
    assert is_proxy(Proxy(made))
    assert not is_proxy(5)
    assert made.calls == 0


def test_a_factory_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="callable"):
        Proxy(3)  # pyright: ignore[reportArgumentType] that is the point


def test_a_proxy_shows_itself_and_may_be_weakly_referred_to() -> None:
    proxy: Any = Proxy(Maker([1]))
    assert "wrapping" not in repr(proxy)
    assert not is_resolved(proxy)
    resolve(proxy)
    assert "wrapping [1]" in repr(proxy)
    assert weakref.ref(proxy)() is proxy
    assert proxy.__proxy_target__ == proxy.__proxy_wrapped__ == [1]


def test_the_type_of_a_proxy_takes_parameters() -> None:
    proxy = Proxy[int](Maker(3))
    assert not is_resolved(proxy)
    assert ProxyOr[int].__args__ == (Proxy[int], int)


def test_a_locker_resolves_nothing() -> None:
    made = Maker(3)
    locker = ProxyLocker(Proxy(made))
    repr(locker)
    assert not hasattr(locker, "real")
    assert made.calls == 0
    assert locker.unlock() == 3
