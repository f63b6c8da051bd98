"""Big buffers come back where they lie in the arena: the kernel's map of this process proves it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import entrepot
from entrepot import settings

INLINE = settings.INLINE_BYTES_MAX
STRUCTURED = np.dtype([("a", "<i4"), ("b", ">f8", (2,)), ("c", "S3"), ("d", "M8[s]")])

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def shared_depot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[entrepot.Depot]:
    """Return one depot for all tests here: hypothesis runs each many times."""
    home = tmp_path_factory.mktemp("home")
    with entrepot.open(
        "values", directory=home / "memory", data_directory=home / "data", memory="64M"
    ) as depot:
        yield depot


@pytest.fixture
def depot(shared_depot: entrepot.Depot) -> Iterator[entrepot.Depot]:
    """Return the depot, empty; look for leaks when the test is over."""
    yield shared_depot
    gc.collect()
    shared_depot.objects.delete([info.id for info in shared_depot.objects.list()])
    shared_depot.collect()
    assert shared_depot.check() == []
    arena = shared_depot.statistics().arena
    assert (arena.used, arena.limbo, arena.pinned) == (0, 0, 0)


def through(depot: entrepot.Depot, value: object) -> Any:
    """Put a value, get it, and delete it: what was got must outlive the object."""
    id = depot.objects.put(value)
    got = depot.objects.get(id)
    assert depot.objects.delete(id) == 1
    return got


def is_in_arena(depot: entrepot.Depot, address: int, size: int) -> bool:
    """Tell whether these addresses are mapped from the arena's file, as the kernel tells."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(depot.path / "arena")):
            begin, end = (int(part, 16) for part in line.split()[0].split("-"))
            if begin <= address and address + size <= end:
                return True
    return False


def assert_zero_copy(depot: entrepot.Depot, array: Array) -> None:
    assert not array.flags.owndata
    assert not array.flags.writeable
    assert is_in_arena(depot, array.ctypes.data, array.nbytes)


def assert_same(got: Array, array: Array) -> None:
    """Compare types, order of bytes in an item, shapes, and each byte."""
    assert type(got) is np.ndarray
    assert (got.dtype, got.dtype.str, got.shape) == (array.dtype, array.dtype.str, array.shape)
    assert got.tobytes() == array.tobytes()


def sized(dtype: npt.DTypeLike, size: int) -> Array:
    """Return an array of that many items, whose bytes vary."""
    wanted = np.dtype(dtype)
    if wanted.kind in "bU":
        return (np.arange(size) % 3 == 0).astype(wanted)
    return np.resize(np.arange(251, dtype=np.uint8), size * wanted.itemsize).view(wanted)


# Arrays.


@pytest.mark.parametrize("dtype", ["?", "<i8", ">f8", "c16", "M8[ns]", ">m8[s]", "S3", "U3", "V5"])
def test_a_big_array_lies_in_the_arena_alone_and_in_others(
    depot: entrepot.Depot, dtype: str
) -> None:
    array = sized(dtype, 50_000)
    for got in (through(depot, array), through(depot, {"deep": [(array,)]})["deep"][0][0]):
        assert_same(got, array)
        assert_zero_copy(depot, got)
        assert got.ctypes.data % 64 == 0


def test_an_array_of_just_the_inline_bound_is_a_copy_and_one_byte_more_is_none(
    depot: entrepot.Depot,
) -> None:
    inline, seen = (through(depot, np.ones(size, np.uint8)) for size in (INLINE, INLINE + 1))
    assert not is_in_arena(depot, inline.ctypes.data, INLINE)
    assert not inline.flags.writeable
    assert_zero_copy(depot, seen)


def test_inline_arrays_are_aligned_to_16_and_read_only(depot: entrepot.Depot) -> None:
    for size in range(1, 40):
        alone = np.arange(size, dtype=np.complex128)
        nested = through(depot, ["x" * size, {n: alone[:n] for n in range(1, 5)}])[1]
        for got in (through(depot, alone), *nested.values()):
            assert got.ctypes.data % 16 == 0
            assert not got.flags.writeable


def test_every_array_of_a_big_value_is_aligned_to_64_in_the_arena(depot: entrepot.Depot) -> None:
    value = {n: sized("u1", 1000 + 7 * n) for n in range(100)}
    got = through(depot, value)
    for name, array in value.items():
        assert_same(got[name], array)
        assert_zero_copy(depot, got[name])
        assert got[name].ctypes.data % 64 == 0


def test_a_pickle_that_is_itself_big_leaves_its_arrays_where_they_are(
    depot: entrepot.Depot,
) -> None:
    value = {"names": [f"name {n}" for n in range(10_000)], "data": np.arange(10_000)}
    got = through(depot, value)
    assert got["names"] == value["names"]
    assert_same(got["data"], value["data"])
    assert_zero_copy(depot, got["data"])


SHAPED: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda cube: cube,
    "fortran": np.asfortranarray,
    "transposed": lambda cube: cube.T,
    "axes moved": lambda cube: np.moveaxis(cube, 0, 1),
    "strided": lambda cube: cube[::2, :, 1::3],
    "reversed": lambda cube: cube[::-1, ::-1],
    "a window": lambda cube: cube[3:, 1:-1, 2:],
    "a column": lambda cube: cube[:, 0, 0],
    "broadcast": lambda cube: np.broadcast_to(cube[0], (5, *cube[0].shape)),
    "ten axes of one": lambda cube: cube.reshape((1,) * 10 + cube.shape),
    "read-only": lambda cube: np.frombuffer(cube.tobytes(), cube.dtype).reshape(cube.shape),
}


@pytest.mark.parametrize("side", [6, 40], ids=["small", "big"])
@pytest.mark.parametrize("dtype", ["f8", "u1", "m8[s]", "U2", STRUCTURED], ids=str)
@pytest.mark.parametrize("how", SHAPED)
def test_an_array_of_any_order_comes_back_read_only_also_inside_others(
    depot: entrepot.Depot, how: str, dtype: npt.DTypeLike, side: int
) -> None:
    array = SHAPED[how](sized(dtype, side**3).reshape(side, side, side))
    for got in (through(depot, array), through(depot, (array,))[0]):
        assert_same(got, array)
        assert not got.flags.writeable
        if array.nbytes > INLINE:
            assert_zero_copy(depot, got)


@given(data=st.data())
def test_any_array_comes_back_with_the_order_of_its_bytes(
    shared_depot: entrepot.Depot, data: st.DataObject
) -> None:
    plain = (
        hnp.scalar_dtypes()
        | hnp.byte_string_dtypes()
        | hnp.unicode_string_dtypes()
        | hnp.nested_dtypes(max_itemsize=200)
    )
    array = data.draw(
        hnp.arrays(plain, hnp.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=5))
    )
    if array.ndim:
        array = array.transpose(data.draw(st.permutations(range(array.ndim))))
        array = np.asarray(array[data.draw(hnp.basic_indices(array.shape))])
    if array.ndim and array.nbytes and data.draw(st.booleans()):
        array = np.repeat(array, -(-2 * INLINE // array.nbytes), axis=0)
    assert_same(through(shared_depot, array), array)
    assert_same(through(shared_depot, [array])[0], array)


@given(shape=st.lists(st.integers(0, 3), max_size=4).map(tuple), dtype=st.sampled_from(
    [">M8[Y]", ">m8[s]", "<M8[ns]", "V3", "S0", "U0", "V0", ">f8", ">U2"]
))  # fmt: skip
@example(shape=(0,), dtype=">M8[Y]")
@example(shape=(2, 0), dtype=">m8[s]")
def test_an_array_without_bytes_keeps_its_dtype_and_shape(
    shared_depot: entrepot.Depot, shape: tuple[int, ...], dtype: str
) -> None:
    array = np.zeros(shape, dtype)
    assert_same(through(shared_depot, array), array)
    assert_same(through(shared_depot, [array])[0], array)


@pytest.mark.parametrize("size", [5, 50_000], ids=["small", "big"])
@pytest.mark.parametrize("dtype", ["f8", ">i8", "M8[s]", ">m8[ms]", "U2", STRUCTURED], ids=str)
def test_an_array_beside_a_lambda_comes_back_as_without_one(
    depot: entrepot.Depot, dtype: npt.DTypeLike, size: int
) -> None:
    pytest.importorskip("cloudpickle")
    whole = sized(dtype, 2 * size)
    for array in (whole, whole[::2], whole[:0]):
        function, got = through(depot, [lambda: 7, array])
        assert function() == 7
        assert_same(got, array)
        assert not got.size or not got.flags.writeable
        if array.nbytes > INLINE:
            assert_zero_copy(depot, got)


# pandas and Arrow.


@pytest.fixture
def pd() -> Any:
    """Return pandas."""
    return pytest.importorskip("pandas")


@pytest.fixture
def pa() -> Any:
    """Return pyarrow."""
    return pytest.importorskip("pyarrow")


def test_the_blocks_of_a_frame_lie_in_the_arena(depot: entrepot.Depot, pd: Any) -> None:
    rows = 20_000
    frame = pd.DataFrame(
        {
            "f": np.arange(rows) / 2,
            "g": np.arange(rows) / 3,
            "i": np.arange(rows),
            "b": np.arange(rows) % 2 == 0,
            "t": np.arange(rows).astype("M8[ns]"),
            "d": np.arange(rows).astype("m8[s]"),
        }
    )
    for value in (frame, frame[::2], frame.iloc[::-1]):
        got = through(depot, value)
        pd.testing.assert_frame_equal(got, value)
        for name in value:
            assert_zero_copy(depot, got[name].to_numpy())


def test_times_with_a_zone_nullable_ints_and_codes_lie_in_the_arena(
    depot: entrepot.Depot, pd: Any
) -> None:
    times = pd.Series(pd.date_range("2020", periods=20_000, freq="s", tz="Europe/Berlin"))
    ints = pd.Series(np.arange(20_000), dtype="Int64").mask(lambda series: series % 3 == 0)
    kinds = pd.Series(np.arange(40_000) % 300).astype("category")
    got = through(depot, {"times": times, "ints": ints, "kinds": kinds})
    for name, value in {"times": times, "ints": ints, "kinds": kinds}.items():
        pd.testing.assert_series_equal(got[name], value)
    assert_zero_copy(depot, got["times"].array._ndarray)
    assert_zero_copy(depot, got["ints"].array._data)
    assert_zero_copy(depot, got["ints"].array._mask)
    assert_zero_copy(depot, got["kinds"].array.codes)


def test_the_buffers_of_arrow_data_lie_in_the_arena_aligned(depot: entrepot.Depot, pa: Any) -> None:
    rows = 20_000
    table = pa.table(
        {
            "ints": pa.array([None if m % 7 == 0 else m for m in range(rows)]),
            "floats": np.arange(rows) / 2,
            "texts": [f"text {m}" for m in range(rows)],
            "lists": [[m, m + 1] for m in range(rows)],
            "kinds": pa.array(["a", "b"] * (rows // 2)).dictionary_encode(),
        }
    )
    got = through(depot, [table])[0]
    assert got.equals(table)
    looked = 0
    for column in got.columns:
        for buffer in filter(None, column.chunk(0).buffers()):
            assert is_in_arena(depot, buffer.address, buffer.size)
            assert buffer.address % 64 == 0
            assert not buffer.is_mutable
            looked += 1
    assert looked == 8
    assert_zero_copy(depot, got["floats"].chunk(0).to_numpy())


def test_frames_on_arrow_lie_in_the_arena(depot: entrepot.Depot, pa: Any, pd: Any) -> None:
    numbers = pd.Series(pa.array(np.arange(20_000)), dtype=pd.ArrowDtype(pa.int64()))
    texts = pd.Series([f"text {n}" for n in range(20_000)], dtype=pd.ArrowDtype(pa.string()))
    for value in (numbers, texts):
        got = through(depot, value)
        pd.testing.assert_series_equal(got, value)
        (chunk,) = pa.chunked_array(got.array.__arrow_array__()).chunks
        for buffer in filter(None, chunk.buffers()):
            assert is_in_arena(depot, buffer.address, buffer.size)
