"""Objects, as a program uses them."""

import gc
import threading
import uuid

import numpy as np
import pytest

import entrepot
from entrepot import settings
from entrepot.errors import TypeMismatchError, WaitTimeoutError


@pytest.fixture
def depot(tmp_path):
    """A fresh depot, which must be sound and leave nothing held when the test is over."""
    with entrepot.open(
        "objects", directory=tmp_path / "memory", data_directory=tmp_path / "data", memory="64M"
    ) as depot:
        yield depot
        if not depot.closed:
            gc.collect()
            assert depot.check() == []
            (session,) = depot.sessions()
            assert {kind: n for kind, n in session.held.items() if kind != "extent"} == {}
            assert session.pinned_bytes == 0


VALUES = [
    None, True, False, 0, -1, 2**63, -(2**70), 1.5, float("inf"), "", "text", "é\x00\ud800", b"",
    b"bytes", (1, [2, {"three": {4}}]), {"a": None}, {1, 2}, bytearray(b"xy"), uuid.UUID(int=7),
    "x" * 100_000, b"y" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize(
    "value", VALUES, ids=[f"{at}-{type(v).__name__}" for at, v in enumerate(VALUES)]
)
def test_any_value_comes_back_equal(depot, value):
    got = depot.objects.get(depot.objects.put(value))
    assert got == value
    assert type(got) is type(value)


DTYPES = ["?", "i1", "u2", ">i4", "i8", "f2", "f4", ">f8", "c16", "U3", "S4", "M8[ns]", "m8[s]"]


@pytest.mark.parametrize("dtype", [*DTYPES, [("a", "i4"), ("b", "M8[s]")], "O", "V5"], ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (4, 5), (60, 700)], ids=str)
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_an_array_comes_back_equal_in_its_order_and_read_only(depot, dtype, shape, order):
    array = np.zeros(shape, dtype, order="F" if order == "F" else "C")
    if array.size and array.dtype.kind in "iufc":
        array.flat[:] = np.arange(array.size) % 100
    if order == "strided" and shape:
        array = np.repeat(array, 2, axis=0)[::2]
    got = depot.objects.get(depot.objects.put(array))
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes() if dtype != "O" else (got == array).all()
    assert got.flags.f_contiguous == array.flags.f_contiguous or order == "strided"
    if dtype != "O" and array.size:
        assert not got.flags.writeable
        assert got.flags.aligned


@pytest.mark.parametrize(
    "size", [settings.INLINE_BYTES_MAX + d for d in (-64, 0, 8)] + [settings.CHUNK_PIECE_BYTES_MAX]
)
def test_sizes_around_the_bounds_come_back(depot, size):
    array = np.arange(size // 8, dtype="i8")
    assert (depot.objects.get(depot.objects.put(array)) == array).all()
    assert depot.objects.get(depot.objects.put(array.tobytes())) == array.tobytes()


def test_a_large_array_comes_back_without_a_copy(depot):
    array = np.arange(1_000_000.0)
    before = depot.statistics().arena.used
    key = depot.objects.put(array)
    one, other = depot.objects.get(key), depot.objects.get(key)
    assert np.shares_memory(one, other)
    assert not one.flags.owndata
    assert depot.statistics().arena.used - before == array.nbytes
    nested = depot.objects.get(depot.objects.put({"deep": [array]}))
    assert not nested["deep"][0].flags.owndata


def test_deleted_bytes_stay_while_anybody_looks_at_them(depot):
    key = depot.objects.put(np.full(1_000_000, 7, "u1"))
    view = memoryview(depot.objects.get(key)[10:].reshape(3, -1))[1:]
    assert depot.objects.delete(key) == 1
    for filler in range(8):  # would reuse the place, if it could
        depot.objects.put(np.full(1_000_000, filler, "u1"))
    depot.collect()
    assert bytes(view.cast("B")[:5]) == b"\x07" * 5
    assert depot.statistics().arena.limbo >= 1_000_000
    del view
    gc.collect()
    assert depot.collect().reclaimed_bytes >= 1_000_000


def test_the_513th_view_is_a_copy_and_as_good(depot):
    key = depot.objects.put(np.arange(10_000))
    views = [depot.objects.get(key) for _ in range(settings.PINS_PER_SESSION + 3)]
    assert all((view == views[0]).all() for view in views)
    assert not np.shares_memory(views[0], views[-1])


def test_dataframes_and_tables_come_back_equal_and_zero_copy(depot):
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "f": np.arange(50_000.0),
            "when": pd.date_range("2020", periods=50_000, freq="s", tz="UTC"),
            "kind": pd.Categorical(["a", "b"] * 25_000),
            "maybe": pd.array([1, None] * 25_000, dtype="Int64"),
            "text": ["x", None] * 25_000,
        },
        index=pd.MultiIndex.from_product([range(50), range(1000)], names=["i", "j"]),
    )
    got = depot.objects.get(depot.objects.put(frame))
    pd.testing.assert_frame_equal(got, frame)
    assert not got["f"].to_numpy().flags.owndata
    table = pa.table({"n": pa.array(range(50_000)), "l": pa.array([[1], None] * 25_000)})
    for thing in (table, table.slice(7, 11), table.to_batches()[0], pa.nulls(3), pa.array(["a"])):
        assert depot.objects.get(depot.objects.put(thing)).equals(thing)


def test_what_cannot_be_pickled_is_refused_and_nothing_is_stored(depot):
    before = depot.objects.count()
    with pytest.raises(entrepot.TypeMismatchError, match="lock"):
        depot.objects.put([threading.Lock()])
    with pytest.raises(entrepot.TypeMismatchError):
        depot.objects.put_many([1, threading.Lock()])
    assert depot.objects.count() == before


def test_a_lambda_is_stored_through_cloudpickle(depot):
    pytest.importorskip("cloudpickle")
    assert depot.objects.get(depot.objects.put(lambda x: x + 1))(2) == 3


@pytest.mark.parametrize(
    ("id", "error"),
    [
        (12345, entrepot.NotFoundError),
        (-1, entrepot.LimitError),
        (2**64, entrepot.LimitError),
        ("1", entrepot.TypeMismatchError),
        (1.5, entrepot.TypeMismatchError),
        (None, entrepot.TypeMismatchError),
    ],
)
def test_an_id_that_cannot_be_is_named_in_the_error(depot, id, error):
    with pytest.raises(error):
        depot.objects.get(id)
    if id != 12345:
        with pytest.raises(error):
            depot.objects.exists(id)
        with pytest.raises((error, TypeError)):
            depot.objects.delete(id)
    else:
        assert not depot.objects.exists(id)
        assert depot.objects.delete(id) == 0


def test_ids_print_as_16_digits_and_are_read_back(depot):
    key = depot.objects.put(1)
    assert len(str(key)) == len(f"{key}") == 16
    assert entrepot.ObjectId.parse(str(key)) == key
    for text in ("", "xyz", "0" * 17, "-1"):
        with pytest.raises(entrepot.LimitError):
            entrepot.ObjectId.parse(text)


def test_trees_keep_their_members_and_go_with_them(depot):
    objects = depot.objects
    a, b = objects.put(np.ones(3000)), objects.put("b")
    tree = objects.create({"rows": 2}, {"left": a, "right": b}, typename="test::Pair")
    outer = objects.create({}, {"inner": tree})
    got = objects.get(outer)
    assert got["inner"]["rows"] == 2
    assert (got["inner"]["left"] == 1).all()
    meta = objects.meta(outer)
    assert meta["members"]["inner"]["members"]["left"]["typename"] == "vineyard::Tensor<double>"
    assert objects.size(outer) >= 24_000
    assert objects.usage(tree).parents == [outer]
    with pytest.raises(entrepot.ConflictError, match=str(outer)):
        objects.delete(tree)
    with pytest.raises(entrepot.NotFoundError):
        objects.create({}, {"x": 1})
    with pytest.raises(entrepot.ConflictError):
        objects.create({"x": 1}, {"x": a})
    assert objects.delete(outer, deep=False) == 1
    assert objects.delete(a, force=True) == 2
    assert not objects.exists(tree)
    assert objects.exists(b)
    third = objects.create({}, {"b": b, "again": b})
    assert objects.delete([third, b]) == 2


def test_names_stand_for_objects_until_they_are_dropped(depot):
    objects = depot.objects
    key, other = objects.put(1, name="é/ \x00"), objects.put(2)
    assert objects.get_name("é/ \x00") == key
    assert objects.get(name="é/ \x00") == 1
    objects.put_name("é/ \x00", other)
    objects.put_name("b", other)
    assert objects.get_name("é/ \x00") == other
    assert objects.usage(other).names == ["b", "é/ \x00"]
    assert objects.names("b*") == {"b": other}
    assert objects.names("b|c", regex=True, limit=5) == {"b": other}
    assert objects.drop_name("b")
    assert not objects.drop_name("b")
    objects.delete(other)
    with pytest.raises(entrepot.NotFoundError, match="é/"):
        objects.get_name("é/ \x00")
    with pytest.raises(entrepot.NotFoundError):
        objects.put_name("c", 99)
    with pytest.raises(entrepot.LimitError):
        objects.put(1, name="x" * (settings.NAME_BYTES_MAX + 1))
    with pytest.raises(entrepot.TypeMismatchError):
        objects.put_name(5, key)
    with pytest.raises(entrepot.LimitError):
        objects.names("(", regex=True)


def test_long_names_that_share_their_beginning_are_told_apart_and_listed_in_order(depot):
    names = ["n" * 600 + str(n) for n in range(5)] + ["n" * settings.NAME_BYTES_MAX, "n"]
    ids = {name: depot.objects.put(name, name=name) for name in names}
    assert list(depot.objects.names()) == sorted(names)
    assert depot.objects.names() == ids


def test_who_waits_for_a_name_gets_it_or_times_out(depot):
    found = []
    waiter = threading.Thread(
        target=lambda: found.append(depot.objects.get_name("later", wait=True))
    )
    waiter.start()
    key = depot.objects.put(5, name="later")
    waiter.join()
    assert found == [key]
    with pytest.raises(entrepot.WaitTimeoutError, match="never"):
        depot.objects.get_name("never", wait=True, timeout=0.01)
    for timeout, error in ((-1, entrepot.LimitError), ("1", entrepot.TypeMismatchError)):
        with pytest.raises(error):
            depot.objects.get_name("never", wait=True, timeout=timeout)


def test_lists_choose_by_type_and_limit(depot):
    keys = depot.objects.put_many([1, 1.5, np.ones(3), 2, np.ones(3000)])
    assert [info.id for info in depot.objects.list()] == keys
    assert [info.id for info in depot.objects.list("*Tensor<*>")] == [keys[2], keys[4]]
    assert [
        info.id for info in depot.objects.list(r".*<(int|double)>", regex=True, limit=2)
    ] == keys[:2]
    assert depot.objects.list(limit=0) == []
    assert depot.objects.get_many([keys[0], keys[3], keys[0]]) == [1, 2, 1]
    with pytest.raises(entrepot.LimitError):
        depot.objects.list(limit=-1)
    with pytest.raises(entrepot.NotFoundError):
        depot.objects.get_many([keys[0], 77])


def test_a_full_depot_says_who_holds_what_and_works_again_after_a_delete(depot):
    keys: list[entrepot.ObjectId] = []

    def fill():
        while True:
            keys.append(depot.objects.put(np.ones(500_000)))

    with pytest.raises(entrepot.OutOfMemoryError, match=r"no room for \d+ bytes: of 67108864") as e:
        fill()
    assert "delete something" in e.value.hint
    with pytest.raises(MemoryError):
        depot.objects.put(np.ones(500_000))
    views = [depot.objects.get(key) for key in keys]
    depot.objects.delete(keys)
    with pytest.raises(entrepot.OutOfMemoryError, match="looked at"):
        depot.objects.put(np.ones(2_000_000))
    assert all((view == 1).all() for view in views)
    del views
    assert (depot.objects.get(depot.objects.put(np.ones(2_000_000))) == 1).all()
    assert depot.statistics().memory_used <= depot.statistics().memory_max


def test_a_catalog_full_of_trees_lets_them_be_deleted_at_once(depot):
    keys: list[entrepot.ObjectId] = []

    def fill():
        while True:
            keys.extend(depot.objects.put_many([b"x" * 10_000] * 50))
            keys.append(depot.objects.create({}, {str(key): key for key in keys[-50:]}))

    with pytest.raises(entrepot.OutOfMemoryError):
        fill()
    assert len(keys) > 1000
    assert depot.objects.delete(keys) == len(keys)
    assert depot.objects.count() == 0
    assert depot.check() == []


def test_a_catalog_full_of_small_objects_lets_them_be_deleted(depot):
    keys: list[entrepot.ObjectId] = []

    def fill():
        while True:
            keys.extend(depot.objects.put_many([b"x" * 10_000] * 50))

    with pytest.raises(entrepot.OutOfMemoryError):
        fill()
    for key in keys:
        assert depot.objects.delete(key) == 1
    depot.objects.put(b"x" * 10_000)


def test_an_extent_may_begin_where_a_chunk_began_whose_first_pieces_are_gone(depot):
    pieces = [depot.objects.put(np.full(100_000, n, "u1")) for n in range(4)]
    depot.objects.delete(pieces[:3])
    depot.collect()
    inside = depot.objects.put(np.full(250_000, 9, "u1"))
    assert depot.check() == []
    more = [depot.objects.put(np.full(50_000, 5, "u1")) for _ in range(20)]
    assert depot.check() == []
    assert (depot.objects.get(inside) == 9).all()
    assert (depot.objects.get(pieces[3]) == 3).all()
    assert all((depot.objects.get(key) == 5).all() for key in more)


def test_memory_is_reused_and_goes_back_when_trimmed(depot):
    for _ in range(20):
        depot.objects.delete(depot.objects.put(np.ones(2_000_000)))
    assert depot.statistics().arena.reserved <= 3 * 16_000_000 + settings.ARENA_BYTES_STEP_MAX
    depot.collect(trim=True)
    assert depot.statistics().arena.reserved == 0


def test_a_closed_depot_says_so_and_its_views_live_on(tmp_path):
    depot = entrepot.open("closed", directory=tmp_path / "memory", memory="64M")
    key = depot.objects.put(np.arange(100_000))
    space, view = depot.space("s"), depot.objects.get(key)
    depot.close()
    depot.close()
    for use in (
        lambda: depot.objects.get(key),
        lambda: depot.objects.put(1),
        lambda: depot.space("s"),
        depot.statistics,
        lambda: space.store("v", 1),
        lambda: space.try_find("v"),
    ):
        with pytest.raises(entrepot.ClosedError, match="closed"):
            use()
    assert view.sum() == 4_999_950_000
    with entrepot.open("closed", directory=tmp_path / "memory") as again:
        assert (again.objects.get(key) == view).all()
        again.objects.delete(key)
        again.delete_space("s")
        del view
    assert entrepot.names(directory=tmp_path / "memory", data_directory=tmp_path / "data") == []


def test_a_directory_that_is_no_depot_is_refused_and_kept(tmp_path):
    home = tmp_path / "home"
    (home / "thesis").mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    (home / "thesis" / "chapter").write_text("text")
    with pytest.raises(entrepot.ConflictError, match="chapter"):
        entrepot.open("thesis", directory=home, memory="64M")
    assert (home / "thesis" / "chapter").read_text() == "text"


def test_seconds_to_wait_for_a_name_are_no_yes_or_no(depot):
    for wait in (0.1, 5, None, "yes"):
        with pytest.raises(TypeMismatchError, match="timeout=SECONDS"):
            depot.objects.get(name="none", wait=wait)
    with pytest.raises(WaitTimeoutError):
        depot.objects.get(name="none", wait=True, timeout=0)
