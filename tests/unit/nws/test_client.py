"""NetWorkSpaces' client in the process and over TCP: what the originals' own tests leave open."""

from __future__ import annotations

import contextlib
import gc
import gzip
import inspect
import io
import mmap
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import settings
from entrepot.gateways.nws import NwsGateway
from entrepot.nws import client as nws
from entrepot.nws._remote import RemoteLink
from entrepot.nws.client import NetWorkSpace, NwsServer
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home

Connect = Callable[..., NetWorkSpace]


class CannotLoadError(Exception):
    """Is raised by what cannot be loaded."""


class Bomb:
    """Can be pickled, and not loaded."""

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise CannotLoadError("on purpose")


class CannotTravel:
    def __reduce__(self) -> Any:
        raise CannotLoadError("it stays here")


@pytest.fixture
def depot(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[entrepot.Depot]:
    monkeypatch.setenv("ENTREPOT_DIR", str(home.root))
    monkeypatch.setenv("ENTREPOT_DATA", str(home.data))
    monkeypatch.setenv("ENTREPOT_DEPOT", home.name)
    with home.open("64M") as made:
        yield made


@pytest.fixture(params=["in-process", "tcp"])
def connect(request: pytest.FixtureRequest, depot: entrepot.Depot) -> Iterator[Connect]:
    opened: list[NetWorkSpace] = []
    gateway = NwsGateway(depot)
    gateway.start()
    where = () if request.param == "in-process" else (gateway.host, gateway.port)

    def open_space(name: str = "w", **options: Any) -> NetWorkSpace:
        opened.append(NetWorkSpace(name, *where, **options))
        return opened[-1]

    yield open_space
    for space in opened:
        space.server.close()
    gateway.close()


def test_every_name_of_the_document_is_there() -> None:
    document = {
        "NetWorkSpace": "currentWs declare deleteVar fetch fetchFile fetchTry fetchTryFile find "
        "findFile findTry findTryFile ifetch ifetchTry ifind ifindTry listVars store storeFile",
        "NwsServer": "close deleteWs listWss mktempWs openWs useWs",
        "NwsValueIterator": "next reset restart writeTo",
    }
    for cls, methods in document.items():
        assert not set(methods.split()) - set(dir(getattr(nws, cls)))
    assert (nws.FIFO, nws.LIFO, nws.MULTI, nws.SINGLE) == ("fifo", "lifo", "multi", "single")
    assert (nws.STRING, nws.DICT, nws.NWS_PORT) == ("string", "dict", 8765)
    assert [nws.WS_NAME, nws.WS_MINE, nws.WS_OWNER, nws.WS_PERSISTENT] == [0, 1, 2, 3]
    assert [nws.WS_NUMVARS, nws.WS_VARLIST] == [4, 5]
    indexes = [nws.V_VARIABLE, nws.V_VALUES, nws.V_FETCHERS, nws.V_FINDERS, nws.V_MODE]
    assert indexes == [0, 1, 2, 3, 4]
    signature = inspect.signature(NetWorkSpace.__init__)
    told = {name: each.default for name, each in signature.parameters.items()}
    assert (told["wsName"], told["serverHost"], told["serverPort"]) == (
        "__default",
        "localhost",
        8765,
    )


def test_spaces_and_servers_say_what_they_are(connect: Connect) -> None:
    space = connect()
    assert str(space) == f"NetWorkspace 'w' [{space.server}]"
    assert str(space.server).startswith("NwsServer ")
    assert space.currentWs() == space.curWs == "w"
    assert space.server._handshake == "2223"


def test_a_value_that_cannot_be_pickled_is_not_stored(connect: Connect) -> None:
    space = connect()
    with pytest.raises(nws.NwsPicklingException, match="while pickling object to store in 'w @ v'"):
        space.store("v", CannotTravel())
    assert space.listVars() == ""


def test_a_value_that_cannot_be_loaded_is_handed_over_as_bytes(connect: Connect) -> None:
    space = connect()
    for take in (space.find, space.fetchTry):
        space.store("v", Bomb())
        with pytest.raises(nws.NwsUnpicklingException, match="retrieved from 'w @ v'") as caught:
            take("v")
        assert isinstance(caught.value.exception, CannotLoadError)
        assert b"_explode" in caught.value.obj
    with pytest.raises(nws.NwsUnpicklingException):
        space.fetch("v")
    assert space.fetchTry("v", "nothing left") == "nothing left"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(nws.NwsPicklingException("w", "v", ValueError("why")), id="pickling"),
        pytest.param(
            nws.NwsUnpicklingException("w", "v", ValueError("why"), b"o"), id="unpickling"
        ),
    ],
)
def test_exceptions_may_go_to_another_process(error: Any) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert str(again.exception) == "why"
    assert getattr(again, "obj", None) == getattr(error, "obj", None)


def test_values_of_every_kind_come_back_as_they_were(connect: Connect) -> None:
    space = connect()
    values: list[Any] = [None, "", "grüß", b"", b"\xff\x00", 2**70, {"a": [1, (2.5,)]}]
    values += ["half \ud800", "x" * 100_000, bytes(300_000), bytearray(b"ab"), {1, 2}]
    for value in values:
        space.store("v", value)
        found = space.fetchTry("v", "missing")
        assert type(found) is type(value)
        assert found == value
    array = np.arange(200_000.0)
    space.store("v", array)
    assert np.array_equal(space.fetch("v"), array)


@pytest.mark.parametrize("name", ["a\tb", "a\nb"])
def test_names_that_listings_cannot_show_are_refused(connect: Connect, name: str) -> None:
    space = connect()
    with pytest.raises(ValueError, match="tab or a newline"):
        space.store(name, 1)
    with pytest.raises(ValueError, match="tab or a newline"):
        connect(name)


def test_arguments_of_the_wrong_type_are_refused(connect: Connect) -> None:
    space = connect()
    for call in (space.store, space.declare):
        with pytest.raises(TypeError, match="variable name must be a string"):
            call(5, "fifo")  # pyright: ignore[reportArgumentType] that is the point
    with pytest.raises(TypeError, match="variable mode must be a string"):
        space.declare("v", 5)  # pyright: ignore[reportArgumentType] that is the point
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        connect(foo=1)
    with pytest.raises(ValueError, match="illegal format"):
        space.listVars(format="xml")
    with pytest.raises(ValueError, match="name of the specified workspace is incorrect"):
        space.server.openWs("other", space)


def test_files_of_the_wrong_kind_are_refused(connect: Connect, tmp_path: Path) -> None:
    space = connect()
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open() as text, pytest.raises(TypeError, match="opened for reading"):
        space.storeFile("v", text)
    with path.open("rb") as reading, pytest.raises(TypeError, match="opened for writing"):
        space.findFile("v", reading)
    with pytest.raises(TypeError, match="opened for reading"):
        space.storeFile("v", reading)
    with path.open("rb") as reading:
        assert space.storeFile("v", reading) == 7
        assert space.storeFile("v", reading) == 0
    with (tmp_path / "copy").open("w+b") as copy:
        assert space.fetchFile("v", copy) == 7
        assert space.fetchTryFile("v", copy) is False
    assert (tmp_path / "copy").read_bytes() == b"content"


class Shrinking(io.BytesIO):
    len = 50_000


def test_a_file_that_ends_early_is_filled_up(connect: Connect) -> None:
    space = connect()
    with pytest.warns(UserWarning, match="ended"):
        assert space.storeFile("v", Shrinking(b"x" * 20_000)) == 50_000
    assert space.fetch("v") == b"x" * 20_000 + bytes(30_000)


def test_a_compressed_file_is_stored_whole(connect: Connect, tmp_path: Path) -> None:
    path, content = tmp_path / "file.gz", b"much of the same" * 10_000
    path.write_bytes(gzip.compress(content))
    space = connect()
    with gzip.open(path) as compressed:
        assert space.storeFile("v", compressed, 7) == 7
        assert space.storeFile("v", compressed) == len(content) - 7
        assert space.storeFile("v", compressed) == 0
    assert space.fetch("v") + space.fetch("v") == content


def test_a_pipe_is_stored_to_its_end(connect: Connect) -> None:
    space = connect()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(b"all that came")
    with os.fdopen(reading, "rb") as pipe:
        assert space.storeFile("v", pipe, n=4) == 4
        assert space.storeFile("v", pipe) == 9
        assert space.storeFile("v", pipe) == 0
    assert list(space.ifetchTry("v")) == [b"all ", b"that came"]


def test_a_file_whose_size_is_not_told_is_stored_all_the_same(connect: Connect) -> None:
    space = connect()
    with Path("/proc/self/cmdline").open("rb") as file:
        content = file.read()
        file.seek(0)
        assert space.storeFile("v", file) == len(content)
    assert space.fetch("v") == content
    with mmap.mmap(-1, 10) as mapped:
        mapped.write(b"0123456789")
        mapped.seek(3)
        assert space.storeFile("v", mapped) == 7
    assert space.fetch("v") == b"3456789"


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError("the disk is gone")


def test_a_file_that_fails_stores_nothing(connect: Connect) -> None:
    space, other = connect(), connect()
    with pytest.raises(OSError, match="the disk is gone"):
        space.storeFile("v", Broken(bytes(100_000)))
    assert other.fetchTry("v", "nothing") == "nothing"


def test_copies_by_pickle_connect_anew(connect: Connect) -> None:
    space = connect()
    space.store("v", 1)
    copy = pickle.loads(pickle.dumps(space))
    assert copy.fetch("v") == 1
    copy.server.close()
    server = pickle.loads(pickle.dumps(space.server))
    assert "w" in server.listWss("dict")
    server.close()
    assert "w" in space.server.listWss("dict"), "the first one owns it"


def test_a_connection_that_is_dropped_ends_what_it_owns(
    connect: Connect, depot: entrepot.Depot
) -> None:
    keeper = connect("kept")
    space = connect("gone") if keeper.server.nwsSocket is None else None
    if space is None:
        return  # a dropped socket warns, and closes by itself
    dropped = NetWorkSpace("dropped")
    dropped.store("v", 1)
    del dropped
    gc.collect()
    wait_until(lambda: "dropped" not in {info.name for info in depot.spaces()}, "it is purged")


def test_a_closed_connection_says_so(connect: Connect) -> None:
    space = connect()
    space.server.close()
    space.server.close()
    for call in (
        lambda: space.store("v", 1),
        lambda: space.fetchTry("v"),
        space.listVars,
        space.server.listWss,
        lambda: space.server.openWs("x"),
    ):
        with pytest.raises(nws.NwsConnectionDroppedException):
            call()


def test_a_server_that_vanishes_during_a_wait_is_told(depot: entrepot.Depot) -> None:
    gateway = NwsGateway(depot)
    gateway.start()
    space = NetWorkSpace("w", gateway.host, gateway.port, useUse=True)

    def end() -> None:
        wait_until(lambda: gateway.counts()["waiting"] == 1, "it waits")
        gateway.close()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(nws.NwsConnectionDroppedException, match="connection dropped"):
        space.fetch("v")
    thread.join()
    with pytest.raises(nws.NwsConnectionDroppedException):
        space.store("v", 1)
    space.server.close()


def test_looks_that_are_in_vain_become_few_and_one_that_is_not_ends_that(
    depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = NwsGateway(depot)
    gateway.start()
    looks: list[int] = []
    with contextlib.closing(RemoteLink(gateway.host, gateway.port, 2)) as link:
        assert link.open("w", owned=False, persistent=False, create=True)
        link._sleeps = link._sleeps_left = 0
        monkeypatch.setattr(settings, "NWS_LOOK_S", 0)
        for number in range(20):
            before = link._sleeps_left
            assert link.store("w", "v", number)
            if not before:
                looks.append(number)
        assert looks == [0, 2, 6, 14]
        monkeypatch.setattr(settings, "NWS_LOOK_S", PATIENCE_S)
        while link._sleeps_left:
            assert link.store("w", "v", "more")
        assert link.store("w", "v", "the last")
        assert link._sleeps == 0
    gateway.close()


def test_nobody_at_a_port_is_said_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(nws.NwsConnectException, match=f"127.0.0.1:{port}"):
        NwsServer("127.0.0.1", port)


def test_a_server_without_cookies_has_no_iterators() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            old, _ = listener.accept()
            with old:
                old.recv(4)
                old.sendall(b"2222")
                old.recv(4096)
                old.sendall(b"0000")
                old.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        space = NetWorkSpace("w", "127.0.0.1", port)
        with pytest.raises(nws.NwsUnsupportedOperationException, match="does not support ifind"):
            next(space.ifind("v"))
        space.server.close()
        thread.join(PATIENCE_S)


def test_a_variable_is_a_text_file(connect: Connect) -> None:
    space = connect()
    with space.makefile("f", "w") as file:
        file.write("one\ntw")
        assert space.findTry("f") == "one\n"
        file.write("o\nthree")
    with space.makefile("f", "a") as file:
        file.writelines([" and more\n", "four"])
    read = space.makefile("f")
    assert read.readline() == "one\n"
    assert read.read(2) == "tw"
    assert list(read) == ["o\n", "three and more\n", "four"]
    assert read.read() == ""
    for mode in ("rb", "x"):
        with pytest.raises(ValueError, match="mode"):
            space.makefile("f", mode)
    with pytest.raises(ValueError, match="open with mode 'r'"):
        read.write("x")
    space.store("f", 5)
    with pytest.raises(ValueError, match="no text"):
        space.makefile("f").read()


def test_old_pythons_can_read_what_is_sent_to_them(depot: entrepot.Depot) -> None:
    gateway = NwsGateway(depot)
    gateway.start()
    server = NwsServer(gateway.host, gateway.port, pickleProtocol=2)
    space = server.openWs("w")
    space.store("v", [1, 2])
    found = io.BytesIO()
    space.fetchFile("v", found)
    assert found.getvalue()[:2] == b"\x80\x02"
    server.close()
    gateway.close()


def test_the_package_has_the_modules_that_programs_import() -> None:
    import entrepot.nws
    from entrepot.nws import util

    assert entrepot.nws.__version__ == "1.6.3"
    assert util.which("sh")
    assert util.which("no such program") == []
    assert util.msc_quote("a b") == '"a b"'
    assert util.msc_argv2str(["a", "b c"]) == 'a "b c"'


def test_a_name_that_cannot_be_has_no_value(connect: Connect) -> None:
    space = connect("refusals")
    assert space.findTry("x" * 4000) is None


def test_a_variable_whose_producers_have_ended_is_an_error_of_its_own() -> None:
    with entrepot.temporary(memory="32M") as depot:
        with depot.space("s").producer("v"):
            pass
        space = NetWorkSpace("s", f"depot:{depot.name}")
        for find in (space.find, space.fetch):
            with pytest.raises(nws.NwsOperationException, match="producers"):
                find("v")
        space.server.close()


def test_iterators_end_with_the_last_producer_as_they_do_in_spaces(
    connect: Connect, depot: entrepot.Depot
) -> None:
    space = connect()
    with depot.space("w").producer("v"):
        space.store("v", 1)
    assert list(space.ifetch("v")) == [1]
    assert list(space.ifind("v")) == []
    assert space.ifind("v").writeTo(io.BytesIO()) == 0
