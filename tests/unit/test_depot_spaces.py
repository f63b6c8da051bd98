"""Spaces, as a program uses them, in both tiers."""

import threading

import numpy as np
import pytest

import entrepot
from entrepot.errors import ClosedError, ConflictError, LimitError, NotFoundError
from entrepot.layers.spaces import core
from entrepot.waiting import Deadline


@pytest.fixture
def depot(tmp_path):
    with entrepot.open(
        "spaces", directory=tmp_path / "memory", data_directory=tmp_path / "data", memory="64M"
    ) as depot:
        yield depot
        assert depot.check() == []
        (session,) = depot.sessions()
        assert not {"waiter", "claim"} & set(session.held)


@pytest.fixture(params=["volatile", "persistent"])
def space(depot, request):
    return depot.space("s", persistent=request.param == "persistent")


def _info(space, variable):
    (info,) = [info for info in space.variables() if info.name == variable]
    return info


def _in_line(space, variable, want=core.FETCH_ONE):
    """Join the line as a waiting process would; return a function that takes what was given."""
    waiter = space.join_line(variable, want)
    assert isinstance(waiter, core.Waiter)
    return lambda: space.loaded(space.leave_line(variable, want, waiter, Deadline(0)))


def test_fifo_gives_the_oldest_lifo_the_newest_single_the_last(space):
    for mode in ("fifo", "lifo", "single"):
        space.declare(mode, mode)
        for value in (1, 2, 3):
            space.store(mode, value)
    assert [space.try_fetch("fifo") for _ in range(4)] == [1, 2, 3, None]
    assert [space.try_fetch("lifo") for _ in range(4)] == [3, 2, 1, None]
    assert [space.try_fetch("single", "none") for _ in range(2)] == [3, "none"]


def test_multi_gives_any_value_and_each_once(space):
    space.declare("m", "multi")
    for value in range(20):
        space.store("m", value)
    assert {space.try_find("m") for _ in range(200)} > {space.try_find("m")}
    assert sorted(space.fetch("m") for _ in range(20)) == list(range(20))


def test_a_mode_stays_what_it_was_declared(space):
    space.declare("v", "lifo")
    space.declare("v", "lifo")
    with pytest.raises(ConflictError, match="lifo"):
        space.declare("v", "fifo")
    with pytest.raises(LimitError, match="stack"):
        space.declare("w", "stack")
    with pytest.raises(entrepot.TypeMismatchError):
        space.declare("w", 1)
    assert [info.name for info in space.variables()] == ["v"]


def test_none_and_the_empty_string_are_values(space):
    for value in (None, "", 0):
        space.store("v", value)
    assert [space.try_fetch("v", "nothing") for _ in range(4)] == [None, "", 0, "nothing"]


def test_one_store_serves_all_finders_and_the_oldest_fetcher_only(space):
    finders = [_in_line(space, "v", core.FIND_ONE) for _ in range(3)]
    fetchers = [_in_line(space, "v") for _ in range(3)]
    assert (_info(space, "v").finders, _info(space, "v").fetchers) == (3, 3)
    large = np.arange(100_000)
    space.store("v", large)
    space.store("v", "second")
    assert all((find() == large).all() for find in finders)
    assert (fetchers[0]() == large).all()
    assert fetchers[1]() == "second"
    assert _info(space, "v").values == 0
    with pytest.raises(entrepot.WaitTimeoutError, match="s/v"):
        fetchers[2]()
    assert _info(space, "v").fetchers == 0


def test_a_cancelled_wait_takes_nothing(space):
    waiters = [space.join_line("v", core.FETCH_ONE) for _ in range(2)]
    space.store("v", np.arange(50_000))
    for waiter in waiters:
        space.cancel_wait(waiter)
        space.cancel_wait(waiter)
    assert _info(space, "v").values == 1
    assert space.fetch("v")[-1] == 49_999


def test_waiting_ends_in_time_and_takes_nothing_later(space):
    for wait in (space.find, space.fetch, space.claim):
        for timeout in (0, 0.01):
            with pytest.raises(entrepot.WaitTimeoutError):
                wait("v", timeout=timeout)
    space.store("v", 1)
    assert space.find("v", timeout=0) == 1
    assert space.fetch("v", timeout=0) == 1


def test_threads_that_fetch_get_each_value_once(space):
    got: list[int] = []
    threads = [
        threading.Thread(target=lambda: got.extend(space.fetch("v") for _ in range(25)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for value in range(100):
        space.store("v", value)
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(100))


def test_a_claim_is_done_or_goes_back_to_its_place(space):
    for value in ("a", "b", "c"):
        space.store("v", value)
    with space.claim("v") as claim:
        assert (claim.value, claim.index) == ("a", 0)
        assert (_info(space, "v").values, _info(space, "v").claimed) == (2, 1)
    with pytest.raises(ZeroDivisionError), space.claim("v") as claim:
        raise ZeroDivisionError
    with pytest.raises(ClosedError):
        claim.done()
    assert space.try_find("v") == "b"
    first, second = space.try_claim("v"), space.try_claim("v")
    assert space.try_claim("v") is None
    second.release()
    first.release()
    assert [space.fetch("v") for _ in range(2)] == ["b", "c"]


def test_a_claim_of_a_single_variable_is_a_lock(space):
    space.declare("lock", "single")
    space.store("lock", 1)
    claim = space.claim("lock")
    assert space.try_fetch("lock") is None
    space.store("lock", 2)
    claim.release()
    assert [space.try_fetch("lock") for _ in range(2)] == [2, None]


def test_a_claim_given_back_goes_to_who_waits(space):
    space.store("v", np.ones(30_000))
    claim = space.claim("v")
    take = _in_line(space, "v")
    claim.release()
    assert take().sum() == 30_000


def test_a_deleted_variable_ends_waits_and_claims_and_begins_anew(space):
    space.store("v", 1)
    claim = space.claim("v")
    take = _in_line(space, "v")
    assert space.delete("v")
    assert not space.delete("v")
    with pytest.raises(NotFoundError, match="deleted"):
        take()
    claim.release()
    assert space.try_fetch("v") is None
    space.store("v", 2)
    with space.claim("v") as claim:
        assert claim.index == 0


def test_iterators_see_each_value_once_and_go_on_after_restart(space):
    for value in range(3):
        space.store("v", value)
    values = space.ifind_try("v")
    assert list(values) == [0, 1, 2]
    space.store("v", 3)
    assert list(values) == []
    values.restart()
    assert list(values) == [3]
    assert space.fetch("v") == 0
    values.reset()
    assert next(values) == 1
    assert list(space.ifetch_try("v")) == [1, 2, 3]
    assert _info(space, "v").values == 0


def test_a_value_given_back_is_not_seen_twice_but_is_fetched(space):
    for value in range(3):
        space.store("v", value)
    claim = space.claim("v")
    values = space.ifind_try("v")
    assert list(values) == [1, 2]
    claim.release()
    values.restart()
    assert list(values) == []
    assert list(space.ifetch_try("v")) == [0, 1, 2]


def test_iterators_follow_the_replacements_of_a_single_variable(space):
    space.declare("v", "single")
    values = space.ifind_try("v")
    seen = []
    for value in (100, 101, 102):
        space.store("v", value)
        values.restart()
        seen += list(values)
    assert seen == [100, 101, 102]


def test_iterators_refuse_lifo_and_multi(space):
    for mode in ("lifo", "multi"):
        space.declare(mode, mode)
        for iterate in (space.ifind, space.ifetch, space.ifind_try, space.ifetch_try):
            with pytest.raises(ConflictError, match=mode):
                next(iterate(mode))


def test_a_waiting_iterator_ends_when_its_variable_is_deleted(space):
    seen: list[int] = []
    reader = threading.Thread(target=lambda: seen.extend(space.ifind("v")))
    reader.start()
    for value in range(5):
        space.store("v", value)
    while len(seen) < 5:
        threading.Event().wait(0.001)
    space.delete("v")
    reader.join()
    assert seen == [0, 1, 2, 3, 4]


class _Unloadable:
    def __reduce__(self):
        return (_refuse, (np.zeros(self.size),))

    def __init__(self, size):
        self.size = size


def _refuse(_array):
    raise ImportError("not here")


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_value_that_cannot_be_loaded_is_put_back(space, size):
    space.store("v", _Unloadable(size))
    for take in (space.fetch, space.try_fetch, space.claim, space.find):
        with pytest.raises(entrepot.TypeMismatchError, match="not here"):
            take("v")
        assert _info(space, "v").values == 1
        assert _info(space, "v").claimed == 0


def test_a_deleted_workspace_refuses_its_old_handles_until_opened_again(depot, space):
    space.store("v", 1)
    take = _in_line(space, "w")
    depot.delete_space("s")
    with pytest.raises(NotFoundError):
        take()
    for use in (
        lambda: space.store("v", 2),
        lambda: space.try_find("v"),
        lambda: space.try_fetch("v"),
        lambda: space.fetch("v", timeout=0),
        space.variables,
    ):
        with pytest.raises(NotFoundError, match="workspace"):
            use()
    with pytest.raises(NotFoundError):
        depot.delete_space("s")
    assert depot.space("s").try_find("v") is None
    with pytest.raises(NotFoundError):
        space.store("v", 2)


def test_spaces_are_found_by_name_in_their_tier(depot):
    depot.space("memory").store("v", 1)
    depot.space("disk", persistent=True).store("v", 2)
    assert depot.space("disk").persistent
    assert depot.space("disk").try_find("v") == 2
    with pytest.raises(ConflictError, match="memory"):
        depot.space("memory", persistent=True)
    for persistent in (False, True):
        with pytest.raises(NotFoundError, match="nope"):
            depot.space("nope", create=False, persistent=persistent)
    listed = [(info.name, info.persistent, info.values) for info in depot.spaces()]
    assert listed == [("disk", True, 1), ("memory", False, 1)]


def test_an_owned_workspace_ends_with_its_owner(tmp_path):
    place = {"directory": tmp_path / "memory", "data_directory": tmp_path / "data"}
    with entrepot.open("owned", memory="64M", **place) as depot:
        depot.space("mine", owned=True).store("v", np.ones(10_000))
        depot.space("ours").store("v", 1)
        assert depot.spaces()[0].owner == depot.sessions()[0].session
    with entrepot.open("owned", **place) as depot:
        assert [info.name for info in depot.spaces()] == ["ours"]
        assert depot.statistics().arena.used == 0


def test_names_of_workspaces_and_variables_may_be_anything_short_enough(depot):
    names = ["", "é\x00", "a/b", "\ud800", "x" * 3000, "x" * 2999 + "y"]
    for name in names:
        space = depot.space(name)
        for variable in names:
            space.store(variable, (name, variable))
    for name in names:
        assert {info.name for info in depot.space(name).variables()} == set(names)
        for variable in names:
            assert depot.space(name).fetch(variable) == (name, variable)
    with pytest.raises(LimitError, match="3001"):
        depot.space("x" * 3001)
    with pytest.raises(entrepot.TypeMismatchError, match="5"):
        depot.space("s").store(5, 1)
    with pytest.raises(entrepot.TypeMismatchError):
        depot.space("s").try_find(["x"])


def test_deleting_a_variable_of_many_values_deletes_them_all(space, depot):
    space.store("v", np.ones(50_000))
    for value in range(2500):
        space.store("v", value) if not space.persistent or value < 50 else None
    space.delete("v")
    tier = depot.attached.durable() if space.persistent else depot.attached.volatile
    from entrepot.layers.spaces.records import TRASH, VALUE

    for prefix in (VALUE, TRASH):
        assert tier.engine.read(lambda tx, p=prefix: tx.range(p.begin, p.end)) == []
