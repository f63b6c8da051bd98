"""Views of shared memory hold their pin until the last view of them, of any kind, is gone."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import settings
from support.homes import Home

SIZE = 100_000


@pytest.fixture
def depot(home: Home) -> Iterator[entrepot.Depot]:
    with home.open("64M") as depot:
        yield depot
        gc.collect()
        assert pins(depot) == 0


def pins(depot: entrepot.Depot) -> int:
    return depot.attached.arena.pins.count


def put(depot: entrepot.Depot, size: int = SIZE, number: int = 7) -> entrepot.ObjectId:
    return depot.objects.put(np.full(size, number, np.uint8))


HOLDERS: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "the array": lambda array: array,
    "a view": lambda array: array[10:20],
    "a view of a view": lambda array: array[10:1000][::2][3:],
    "another shape": lambda array: array.reshape(100, -1).T[5:],
    "another type": lambda array: array.view(np.uint32)[1:],
    "a memoryview": memoryview,
    "a slice of a memoryview": lambda array: memoryview(array)[100:200][5:],
    "a read-only memoryview": lambda array: memoryview(array).toreadonly()[1:],
    "a cast memoryview": lambda array: memoryview(array).cast("I")[2:],
    "frombuffer": lambda array: np.frombuffer(memoryview(array), np.uint8)[5:],
    "an element by index": lambda array: array[5:6],
    "a pickle buffer": pickle.PickleBuffer,
    "a list of views": lambda array: [array[n : n + 1] for n in range(50)],
}


@pytest.mark.parametrize("what", HOLDERS)
def test_memory_is_not_reused_while_something_looks_at_it(depot: entrepot.Depot, what: str) -> None:
    id = put(depot)
    held = HOLDERS[what](depot.objects.get(id))
    gc.collect()
    assert pins(depot) == 1
    depot.objects.delete(id)
    for number in range(20):
        depot.objects.delete(put(depot, number=number + 10))
    seen = held if isinstance(held, list) else [held]
    assert all(
        set(bytes(memoryview(view).cast("B") if view_is_flat(view) else view.tobytes())) == {7}
        for view in seen
    )
    del held, seen
    gc.collect()
    assert pins(depot) == 0
    depot.collect()
    assert depot.statistics().arena.limbo == 0


def view_is_flat(view: Any) -> bool:
    return not isinstance(view, np.ndarray) or view.flags.c_contiguous


def test_arrow_and_pandas_hold_the_memory_that_they_look_at(depot: entrepot.Depot) -> None:
    pa = pytest.importorskip("pyarrow")
    pd = pytest.importorskip("pandas")
    table = pa.table({"a": np.arange(50_000), "b": np.arange(50_000) / 2})
    frame = pd.DataFrame({"x": np.arange(50_000), "y": np.ones(50_000)})
    ids = [depot.objects.put(table), depot.objects.put(frame)]
    got = depot.objects.get(ids[0])
    column, series = got.column("a").chunk(0).slice(100, 10), depot.objects.get(ids[1])["x"][5:10]
    del got
    gc.collect()
    held = pins(depot)
    assert held > 0
    depot.objects.delete(ids)
    for number in range(20):
        depot.objects.delete(put(depot, 900_000, number))
    assert column.to_pylist() == list(range(100, 110))
    assert list(series) == [5, 6, 7, 8, 9]
    del column, series
    gc.collect()
    assert pins(depot) == 0


def test_a_view_cannot_be_written(depot: entrepot.Depot) -> None:
    array = depot.objects.get(put(depot))
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_process_whose_pins_are_all_set_gets_copies(depot: entrepot.Depot) -> None:
    id = put(depot, 20_000)
    views = [depot.objects.get(id) for _ in range(settings.PINS_PER_SESSION)]
    assert pins(depot) == settings.PINS_PER_SESSION
    copy = depot.objects.get(id)
    assert pins(depot) == settings.PINS_PER_SESSION
    depot.objects.delete(id)
    assert (copy == 7).all()
    assert not copy.flags.writeable
    del views
    gc.collect()
    depot.collect()
    depot.objects.delete(put(depot, 20_000, 9))
    assert (copy == 7).all()


def test_views_live_on_when_the_depot_is_closed(home: Home) -> None:
    depot = home.open("64M")
    view = depot.objects.get(put(depot))
    depot.close()
    with home.open() as again:
        again.objects.delete([info.id for info in again.objects.list()])
        for number in range(20):
            again.objects.delete(put(again, number=number + 10))
        assert (view == 7).all()
        del view
        gc.collect()
        again.collect()
        assert again.statistics().arena.limbo == 0


def test_a_view_of_every_size_shows_its_bytes_and_no_others(depot: entrepot.Depot) -> None:
    for size in [16_385, 20_000, 32_768, 32_769, 65_536, 131_072, 131_073, 1 << 20]:
        array = depot.objects.get(put(depot, size))
        assert array.nbytes == size
        assert (array == 7).all()
        del array


def test_pins_of_views_that_die_in_other_threads_are_cleared(depot: entrepot.Depot) -> None:
    from concurrent.futures import ThreadPoolExecutor

    id = put(depot, 20_000)

    def look(_: int) -> int:
        return sum(int(depot.objects.get(id)[0]) for _ in range(200))

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(look, range(6))) == [1400] * 6
