"""What every connector promises, and what each refuses."""

from __future__ import annotations

import array
import contextlib
import errno
import itertools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from entrepot.depot import Depot
from entrepot.errors import (
    ClosedError,
    ConflictError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
)
from entrepot.proxystore.connectors.container import ContainerConnector, ContainerKey
from entrepot.proxystore.connectors.depot import DepotConnector, DepotKey
from entrepot.proxystore.connectors.file import FileConnector, FileKey, _host
from entrepot.proxystore.connectors.mine import Mine
from entrepot.proxystore.connectors.protocols import Connector, DeferrableConnector
from support.conditions import wait_until
from support.connectors import KEYS, KINDS, connector_of, depot_connector
from support.homes import Home


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def connector(kind: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("ENTREPOT_DIR", str(home.root))
    monkeypatch.setenv("ENTREPOT_DATA", str(home.data))
    with connector_of(kind, home) as connector:
        yield connector


BODIES = {
    "empty": b"",
    "small": b"abc",
    "inline": b"x" * 16_000,
    "large": bytes(range(256)) * 4000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_is_put_is_got_until_it_is_evicted(connector: Any, body: bytes) -> None:
    key = connector.put(body)
    assert connector.exists(key)
    assert bytes(connector.get(key)) == body
    connector.evict(key)
    assert not connector.exists(key)
    assert connector.get(key) is None
    connector.evict(key)


def test_every_connector_has_the_shape_of_the_protocols(connector: Any) -> None:
    assert isinstance(connector, Connector)
    assert isinstance(connector, DeferrableConnector)
    assert type(connector).__name__ in repr(connector)


def test_batches_keep_their_order_and_tell_what_is_missing(connector: Any, kind: str) -> None:
    keys = connector.put_batch([b"a", b"b" * 20_000, b"c"])
    connector.evict(keys[2])
    found = connector.get_batch([keys[1], KEYS[kind], keys[0], keys[0], keys[2]])
    assert [None if body is None else bytes(body) for body in found] == [
        b"b" * 20_000,
        None,
        b"a",
        b"a",
        None,
    ]
    assert connector.get_batch([]) == []
    assert connector.put_batch([]) == []


def test_a_promised_key_has_nothing_until_it_is_set(connector: Any) -> None:
    key = connector.new_key()
    assert not connector.exists(key)
    assert connector.get(key) is None
    for body in (b"first", b"second" * 10_000, b"third"):
        connector.set(key, body)
        assert bytes(connector.get(key)) == body
    connector.evict(key)
    connector.set(key, b"again")
    assert bytes(connector.get(key)) == b"again"


@pytest.mark.parametrize(
    "lent",
    [bytearray(b"12345678"), memoryview(b"12345678"), array.array("q", [1]), np.arange(8)[::2]],
    ids=["bytearray", "memoryview", "array", "strided"],
)
def test_whatever_lends_its_bytes_can_be_put(connector: Any, lent: Any) -> None:
    assert bytes(connector.get(connector.put(lent))) == memoryview(lent).tobytes()


@pytest.mark.parametrize("bad", ["text", 3, None, [1]], ids=["str", "int", "none", "list"])
def test_what_is_no_bytes_is_refused_and_leaves_nothing(
    connector: Any, kind: str, bad: Any
) -> None:
    with pytest.raises(TypeError, match="stores bytes"):
        connector.put(bad)
    if kind == "file":
        assert list(Path(connector.store_dir).iterdir()) == []


def test_another_instance_of_the_configuration_sees_the_same(connector: Any) -> None:
    key = pickle.loads(pickle.dumps(connector.put(b"abc")))
    other = type(connector)(**connector.config())
    assert bytes(other.get(key)) == b"abc"
    again = type(connector).from_config(connector.config())
    assert again.exists(type(key)(*list(key)))
    for made in (other, again):
        if not isinstance(made, FileConnector):
            made.close()
    with pytest.raises(TypeError):
        type(connector).from_config({**connector.config(), "unknown": 1})


def test_a_connector_closes_more_than_once(connector: Any) -> None:
    connector.close()
    connector.close()


@pytest.mark.parametrize("kind", ["depot", "container", "file"])
@pytest.mark.parametrize("bad", ["key", ("key",), None, 7], ids=["str", "tuple", "none", "int"])
def test_a_key_of_the_wrong_type_is_a_clear_error(connector: Any, bad: Any) -> None:
    for call in (connector.get, connector.exists, connector.evict):
        with pytest.raises(TypeMismatchError, match="is no key of"):
            call(bad)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "put_batch", "set", "evict", "get", "get_batch", "new"]),
            st.binary(max_size=50),
            st.integers(0, 20),
            st.sampled_from([1, 400, 20_000]),
        ),
        max_size=30,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_a_connector_does_what_a_dict_does(connector: Any, steps: list[Any]) -> None:
    known: dict[Any, bytes | None] = {}
    for step, seed, at, times in steps:
        body = seed * times
        key = list(known)[at % len(known)] if known else None
        if step == "put":
            known[connector.put(body)] = body
        elif step == "put_batch":
            known.update(zip(connector.put_batch([body, seed]), [body, seed], strict=True))
        elif step == "new":
            known[connector.new_key()] = None
        elif key is None:
            continue
        elif step == "set":
            connector.set(key, body)
            known[key] = body
        elif step == "evict":
            connector.evict(key)
            known[key] = None
        elif step == "get":
            found = connector.get(key)
            assert (None if found is None else bytes(found)) == known[key]
        else:
            keys = list(known)
            found = [None if body is None else bytes(body) for body in connector.get_batch(keys)]
            assert found == [known[key] for key in keys]
    for key, body in known.items():
        assert connector.exists(key) == (body is not None)
        connector.evict(key)


# Files.


def test_the_layout_of_files_is_the_originals(tmp_path: Path) -> None:
    connector = FileConnector(str(tmp_path))
    key = connector.put(b"abc")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        key.filename,
        f"{key.filename}.ready",
    ]
    assert (tmp_path / key.filename).read_bytes() == b"abc"
    assert (tmp_path / f"{key.filename}.ready").read_bytes() == b""


def test_a_file_without_its_marker_is_not_there_yet(tmp_path: Path) -> None:
    connector = FileConnector(str(tmp_path))
    (tmp_path / "half").write_bytes(b"ab")
    assert not connector.exists(FileKey("half"))
    assert connector.get(FileKey("half")) is None


def test_a_marker_without_its_file_is_nothing(tmp_path: Path) -> None:
    connector = FileConnector(str(tmp_path))
    (tmp_path / "gone.ready").touch()
    assert connector.get(FileKey("gone")) is None


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "", ".", ".hidden", "a\0b", "a.ready", "n" * 300]
)
def test_a_file_key_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    connector = FileConnector(str(tmp_path / "store"))
    for call in (connector.get, connector.exists, connector.evict):
        with pytest.raises(LimitError, match="no name of a file"):
            call(FileKey(name))
    with pytest.raises(LimitError):
        connector.set(FileKey(name), b"x")


def test_a_directory_that_vanished_is_said_by_put_and_empty_for_get(tmp_path: Path) -> None:
    connector = FileConnector(str(tmp_path / "store"))
    key = connector.put(b"abc")
    connector.close()
    assert not (tmp_path / "store").exists()
    assert connector.get(key) is None
    assert not connector.exists(key)
    connector.evict(key)
    with pytest.raises(FileNotFoundError, match="has vanished"):
        connector.put(b"x")
    (tmp_path / "store").write_text("a file")
    with pytest.raises(NotADirectoryError, match="is a file"):
        connector.put(b"x")
    assert connector.get(key) is None


def test_closing_clears_only_when_that_is_wanted(tmp_path: Path) -> None:
    kept = FileConnector(str(tmp_path / "kept"), clear=False)
    key = kept.put(b"abc")
    kept.close()
    assert kept.get(key) == b"abc"
    kept.close(clear=True)
    assert not (tmp_path / "kept").exists()
    FileConnector(str(tmp_path / "cleared")).close(clear=False)
    assert (tmp_path / "cleared").is_dir()


def test_a_path_that_is_none_is_refused() -> None:
    with pytest.raises(TypeError):
        FileConnector(3)  # pyright: ignore[reportArgumentType] that is the point


def test_a_store_directory_is_where_it_was_after_a_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    connector = FileConnector("store")
    monkeypatch.chdir("/")
    assert connector.get(connector.put(b"abc")) == b"abc"
    assert connector.config() == {
        "store_dir": str(tmp_path / "store"),
        "clear": True,
        "buffering": -1,
    }


def test_readers_beside_a_writer_see_one_version_whole(tmp_path: Path) -> None:
    connector = FileConnector(str(tmp_path))
    key = connector.new_key()
    connector.set(key, b"0" * 400_000)
    is_over = threading.Event()

    def write() -> None:
        for digit in itertools.cycle(b"123456789"):
            if is_over.is_set():
                return
            connector.set(key, bytes([digit]) * 400_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            body = connector.get(key)
            assert body is not None
            assert len(body) == 400_000
            assert len(set(body)) == 1
    finally:
        is_over.set()
        writer.join()


# A depot.


def test_a_large_get_is_a_view_that_outlives_the_object(home: Home) -> None:
    body = os.urandom(1 << 20)
    with depot_connector(home) as connector:
        key = connector.put(body)
        first, second = connector.get(key), connector.get(key)
        assert first is not None
        assert second is not None
        assert first.readonly
        at = [np.frombuffer(view, np.uint8).ctypes.data for view in (first, second)]
        assert at[0] == at[1], "a get made a copy"
        connector.evict(key)
        connector.put(os.urandom(1 << 20))
        assert first == body
        del first, second


def test_pieces_are_put_as_one(home: Home) -> None:
    with depot_connector(home) as connector:
        for size in (10, 100_000):
            parts = [memoryview(bytes([n]) * size) for n in range(3)]
            assert connector.get(connector.put_parts(parts)) == b"".join(parts)


def test_clear_removes_what_was_put_here_and_nothing_else(home: Home) -> None:
    with depot_connector(home) as connector, home.open() as depot:
        mine = connector.put(b"mine")
        number = depot.objects.put("another's")
        connector.close(clear=True)
        assert not depot.objects.exists(mine.object_id)
        assert depot.objects.get(number) == "another's"


def test_what_is_put_stays_when_the_connector_closes(home: Home) -> None:
    with depot_connector(home) as connector:
        key = connector.put(b"abc")
    with depot_connector(home) as connector:
        assert connector.get(key) == b"abc"


def test_a_closed_connector_of_a_depot_says_so(home: Home) -> None:
    with depot_connector(home) as connector:
        key = connector.put(b"abc")
        connector.close()
        for call in (connector.get, connector.exists, connector.evict):
            with pytest.raises(ClosedError, match="is closed"):
                call(key)


def test_objects_of_a_depot_and_of_a_connector_are_the_same(home: Home) -> None:
    with depot_connector(home) as connector, home.open() as depot:
        key = connector.put(b"abc")
        assert depot.objects.get(key.object_id) == b"abc"
        assert connector.get(DepotKey(int(depot.objects.put(b"z" * 50_000)))) == b"z" * 50_000
        tree = depot.objects.create({}, {"member": key.object_id})
        with pytest.raises(ConflictError, match="is a member"):
            connector.evict(key)
        with pytest.raises(TypeMismatchError, match="is no bytes"):
            connector.get(DepotKey(int(tree)))
        with pytest.raises(TypeMismatchError, match="is no bytes"):
            connector.get(DepotKey(int(depot.objects.put({"a": 1}))))


def test_an_object_with_a_name_is_evicted_with_it(home: Home) -> None:
    with depot_connector(home) as connector, home.open() as depot:
        key = connector.put(b"abc")
        depot.objects.put_name("mine", key.object_id)
        connector.evict(key)
        assert not connector.exists(key)
        assert depot.objects.names() == {}
        assert depot.check() == []


@pytest.mark.parametrize("number", [0, -1, 1 << 70])
def test_a_number_that_is_no_id_is_refused(home: Home, number: int) -> None:
    with depot_connector(home) as connector, pytest.raises(LimitError, match="must be from 1"):
        connector.get(DepotKey(number))


def test_who_waits_for_a_promised_object_is_woken(home: Home) -> None:
    with depot_connector(home) as connector:
        key = connector.new_key()
        assert not connector.wait(key, 0)
        woken: list[bool] = []
        waiter = threading.Thread(target=lambda: woken.append(connector.wait(key, 60)))
        waiter.start()
        connector.set(key, b"abc")
        waiter.join()
        assert woken == [True]


def test_a_pickled_connector_of_a_depot_is_another_one(home: Home) -> None:
    with depot_connector(home) as connector:
        key = connector.put(b"abc")
        with pickle.loads(pickle.dumps(connector)) as other:
            assert isinstance(other, DepotConnector)
            assert other.get(key) == b"abc"


# Containers.


@pytest.mark.parametrize("kind", ["container"])
def test_a_container_key_cannot_leave_the_directory(connector: ContainerConnector) -> None:
    for name in ("", ".", "..", "a/b"):
        with pytest.raises(LimitError, match="no name of an object"):
            connector.get(ContainerKey(name))


@pytest.mark.parametrize("kind", ["container"])
def test_clear_removes_what_was_put_in_the_container_here(connector: ContainerConnector) -> None:
    other = ContainerConnector(**connector.config())
    mine, others = connector.put(b"mine"), other.put(b"another's")
    connector.close(clear=True)
    assert not other.exists(mine)
    assert other.get(others) == b"another's"
    other.close()
    with pytest.raises(ClosedError, match="is closed"):
        connector.get(mine)


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_another_host_reaches_a_container_through_the_gateway(
    home: Home, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("httptools")
    from entrepot.gateways.http import HttpGateway

    with home.open("64M") as depot:
        gateway = HttpGateway(depot)
        gateway.start()
        endpoint = f"http://127.0.0.1:{gateway.port}"
        monkeypatch.setenv("V3IO_API", endpoint)
        try:
            given = endpoint if by == "argument" else ""
            with ContainerConnector("users", endpoint=given, access_key="a key") as there:
                with pytest.raises(NotFoundError, match="no container 'users'"):
                    there.put(b"too early")
                depot.create_container("users")
                key = there.put(b"x" * 100_000)
                empty = there.put(b"")
                assert depot.container("users").get(f"proxystore/{key.name}") == b"x" * 100_000
                assert there.exists(key)
                assert there.get_batch([key, ContainerKey("no"), empty]) == [
                    b"x" * 100_000,
                    None,
                    b"",
                ]
                there.evict(key)
                assert there.get(key) is None
                there.close(clear=True)
            assert list(depot.container("users").list("proxystore/")) == []
        finally:
            gateway.close()


def test_a_gateway_that_is_not_there_is_said() -> None:
    with (
        ContainerConnector("users", endpoint="http://127.0.0.1:1") as connector,
        pytest.raises(ConnectionError),
    ):
        connector.put(b"abc")


@pytest.fixture
def gateway(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Depot, str]]:
    """A depot, and where its gateway listens."""
    pytest.importorskip("httptools")
    from entrepot.gateways.http import HttpGateway

    monkeypatch.delenv("V3IO_ACCESS_KEY", raising=False)
    monkeypatch.setenv("ENTREPOT_DIR", str(home.root))
    monkeypatch.setenv("ENTREPOT_DATA", str(home.data))
    with home.open("64M") as depot:
        gateway = HttpGateway(depot)
        gateway.start()
        yield depot, f"http://127.0.0.1:{gateway.port}"
        gateway.close()


def test_batches_go_over_several_connections(gateway: tuple[Depot, str]) -> None:
    depot, endpoint = gateway
    depot.create_container("users")
    bodies = [bytes([number]) * number * 1000 for number in range(50)]
    with ContainerConnector("users", endpoint=endpoint, clear=True) as there:
        keys = there.put_batch(bodies)
        assert there.get_batch([*keys, ContainerKey("no")]) == [*bodies, None]
        assert there.get_batch([]) == there.put_batch([]) == []
    assert list(depot.container("users").list("proxystore/")) == []


def test_of_a_batch_that_is_refused_nothing_stays(gateway: tuple[Depot, str]) -> None:
    depot, endpoint = gateway
    with ContainerConnector("users", endpoint=endpoint) as there:
        with pytest.raises(NotFoundError, match="no container 'users'"):
            there.put_batch([b"a", b"b"])
        depot.create_container("users")
        with pytest.raises(TypeError, match="stores bytes"):
            there.put_batch([b"a", 5])  # pyright: ignore[reportArgumentType] what is refused
    assert list(depot.container("users").list("")) == []


def test_a_container_that_cannot_be_is_said_by_its_name(gateway: tuple[Depot, str]) -> None:
    for endpoint in (gateway[1], f"depot:{Home.name}"):
        with (
            ContainerConnector("no such/name", endpoint=endpoint) as there,
            pytest.raises((LimitError, NotFoundError), match="no such/name"),
        ):
            there.put(b"abc")


def test_what_others_evict_from_a_container_is_not_kept_in_mind(
    gateway: tuple[Depot, str],
) -> None:
    depot, endpoint = gateway
    depot.create_container("users")
    with ContainerConnector("users", endpoint=endpoint) as there:
        keys = there.put_batch([b"", b"b", b"c"])
        with ContainerConnector("users", endpoint=endpoint) as other:
            other.evict(keys[1])
        names = [key.name for key in keys]
        assert there._those_there(names) == [names[0], names[2]]


def part_of(connector: FileConnector, host: str, age_s: float = 0) -> Path:
    """Make what a writer leaves that dies; its process id is none."""
    path = Path(connector.store_dir, f".{host}.{2**22 + 1}.abc.part")
    path.write_bytes(b"half")
    os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    return path


def test_parts_of_the_dead_are_swept_and_others_are_not(tmp_path: Path) -> None:
    connector = FileConnector(str(tmp_path / "store"))
    dead = part_of(connector, _host())
    elsewhere = part_of(connector, "0123456789ab")
    old = part_of(connector, "ba9876543210", age_s=2 * 24 * 3600)
    foreign = Path(connector.store_dir, ".of.somebody.else.part")
    foreign.touch()
    FileConnector(connector.store_dir)
    assert not dead.exists()
    assert not old.exists()
    assert elsewhere.exists()
    assert foreign.exists()


def test_who_can_tell_that_a_writer_is_dead_shares_its_process_ids() -> None:
    assert _host() == _host()
    try:
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", TELL_HOST],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user can make no namespaces of process ids")
    assert done.stdout.strip() != _host()


TELL_HOST = "from entrepot.proxystore.connectors.file import _host; print(_host())"


def test_a_directory_that_cannot_be_swept_can_be_read(tmp_path: Path) -> None:
    connector = FileConnector(str(tmp_path / "store"))
    key = connector.put(b"abc")
    part = part_of(connector, _host())
    part.unlink()
    part.mkdir()  # what unlink() refuses, also to root
    assert FileConnector(connector.store_dir).get(key) == b"abc"


@pytest.mark.parametrize("buffering", [-1, 0])
def test_bytes_that_a_file_does_not_take_are_an_error(tmp_path: Path, buffering: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PUT_TOO_MUCH, str(tmp_path / "store"), str(buffering)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(errno.EFBIG), "[]"]


PUT_TOO_MUCH = """
import os, resource, signal, sys
from entrepot.proxystore.connectors.file import FileConnector
connector = FileConnector(sys.argv[1], buffering=int(sys.argv[2]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    connector.put(b"x" * 4000)
except OSError as error:
    print(error.errno, os.listdir(sys.argv[1]))
"""


def test_a_connector_closes_while_others_put(tmp_path: Path) -> None:
    store = tmp_path / "store"
    others = [FileConnector(str(store)) for _ in range(3)]

    def put(other: FileConnector) -> None:
        with contextlib.suppress(FileNotFoundError):
            while True:
                other.put(b"x")

    threads = [threading.Thread(target=put, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(list(store.iterdir())) > 20, "there is something to clear")
    FileConnector(str(store)).close()
    for thread in threads:
        thread.join()
    assert not store.exists()


def test_closing_clears_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with FileConnector(str(tmp_path / "link")) as connector:
        connector.put(b"abc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ü" * 150, "\ud800"], ids=["long", "surrogate"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    connector = FileConnector(str(tmp_path / "store"))
    with pytest.raises(LimitError, match="no name of a file"):
        connector.exists(FileKey(name))
    with pytest.raises(LimitError, match="no name of a file"):
        connector.set(FileKey(name), b"abc")


@pytest.mark.parametrize("kind", ["depot", "container"], indirect=True)
def test_a_forked_child_clears_nothing_of_its_parent(connector: Any) -> None:
    key = connector.put(b"abc")
    pid = os.fork()
    if not pid:
        code = 1
        try:
            connector.put(b"of the child")
            connector.close(clear=True)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert connector.get(key) == b"abc"
    connector.close(clear=True)


def test_what_others_evict_is_not_kept_in_mind() -> None:
    there = set(range(100_000))
    asked: list[int] = []

    def those_there(numbers: Sequence[int]) -> list[int]:
        asked.append(len(numbers))
        return [number for number in numbers if number in there]

    mine = Mine[int](those_there)
    for number in range(100_000):
        mine.add(number)
        if number % 10:
            there.discard(number)
    assert sum(asked) < 300_000
    mine.discard(0)
    taken = mine.taken()
    assert set(taken) > there - {0}
    assert len(taken) < 30_000
    assert mine.taken() == []
