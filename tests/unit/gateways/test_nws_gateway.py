"""The gateway of NetWorkSpaces' protocol, byte by byte: what it answers, and what it bears."""

from __future__ import annotations

import gc
import pickle
import re
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot.errors import LimitError
from entrepot.gateways.nws import NwsGateway
from entrepot.nws import _wire
from support.conditions import PATIENCE_S, wait_until

BLANK = b" " * 20
DESCRIPTOR = b"%020d" % 0x01000001
FAILURE = b"0001" + b"0" * 20 + BLANK + b"0" * 40
BIG = np.arange(200_000)


_sockets: list[socket.socket] = []


@pytest.fixture(autouse=True)
def close_sockets() -> Iterator[None]:
    yield
    while _sockets:
        _sockets.pop().close()


class Raw:
    """A client that sends and receives bytes."""

    def __init__(self, gateway: NwsGateway, handshake: bytes = b"1112") -> None:
        self.socket = socket.create_connection((gateway.host, gateway.port), PATIENCE_S)
        _sockets.append(self.socket)
        self.has_cookies = handshake not in (b"0000", b"1111")
        if handshake:
            self.socket.sendall(handshake)
            if handshake[:1] != b"X":
                assert self.receive(4) == b"2223"

    def receive(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self.socket.recv(size - len(found))
            assert piece, f"the connection ended after {found!r}"
            found += piece
        return found

    def send(self, *arguments: bytes | str) -> None:
        parts = [a.encode() if isinstance(a, str) else a for a in arguments]
        self.socket.sendall(_wire.request(parts))

    def short(self, *arguments: bytes | str) -> bytes:
        self.send(*arguments)
        return self.receive(4)

    def long(self, *arguments: bytes | str) -> tuple[bytes, bytes]:
        """Return the head of an answer and its bytes."""
        self.send(*arguments)
        return self.answer()

    def answer(self) -> tuple[bytes, bytes]:
        head = self.receive(84 if self.has_cookies else 44)
        return head, self.receive(int(head[-20:]))

    def has_ended(self) -> bool:
        """Wait until the other side ends the connection, without a word."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def reset(self) -> None:
        """Vanish: with what is unread, as a killed process does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@pytest.fixture
def depot() -> Iterator[entrepot.Depot]:
    with entrepot.temporary(memory="128M") as made:
        yield made
        gc.collect()
        made.collect()
        assert made.check() == []
        (session,) = made.sessions()
        assert set(session.held) <= {"extent", "space"}, session.held


@pytest.fixture
def gateway(depot: entrepot.Depot) -> Iterator[NwsGateway]:
    made = NwsGateway(depot, value_bytes_max=100_000_000)
    made.start()
    yield made
    made.close()


@pytest.fixture
def raw(gateway: NwsGateway) -> Raw:
    made = Raw(gateway)
    assert made.short("open ws", "w", "4711", "no") == b"0000"
    return made


def test_the_exchanges_of_the_protocol_are_answered_to_the_byte(raw: Raw) -> None:
    descriptor = b"%020d" % 0x01000001
    assert raw.short("store", "w", "greeting", descriptor, "hello") == b"0000"
    head, body = raw.long("find", "w", "greeting")
    assert re.fullmatch(rb"0000" + descriptor + rb"\d{20}" + b"0" * 20 + b"%020d" % 5, head)
    assert body == b"hello"
    id = head[24:44]
    assert raw.short("store", "w", "greeting", b"%020d" % 0x01000000, b"K*.") == b"0000"
    head, body = raw.long("ifindTry", "w", "greeting", BLANK, b"%020d" % 0)
    assert (head[24:64], body) == (id + b"0" * 20, b"hello")
    head, body = raw.long("ifindTry", "w", "greeting", id, b"%020d" % 0)
    assert (head[4:24], head[24:64], body) == (
        b"%020d" % 0x01000000,
        id + b"%020d" % 1,
        b"K*.",
    )
    assert raw.long("ifindTry", "w", "greeting", id, b"%020d" % 1) == (FAILURE, b"")
    assert raw.long("fetchTry", "w", "empty") == (FAILURE, b"")
    head, body = raw.long("list vars", "w")
    assert head == b"0000" + b"0" * 20 + BLANK + b"0" * 20 + b"%020d" % len(body)
    assert body == b"empty\t0\t0\t0\tunknown\ngreeting\t2\t0\t0\tfifo"
    assert raw.short("delete var", "w", "greeting") == b"0000"
    assert raw.short("delete var", "w", "greeting") == b"0001"
    assert raw.long("list vars", "other") == (FAILURE, b"")


def test_the_oldest_clients_get_answers_without_cookies(gateway: NwsGateway) -> None:
    for handshake in (b"1111", b"0000"):
        old = Raw(gateway, handshake)
        assert old.short("open ws", "w", "1", "no") == b"0000"
        assert old.long("findTry", "w", "v") == (b"0001" + b"0" * 40, b"")
        assert old.short("store", "w", "v", "7", "x") == b"0000"
        assert old.long("fetch", "w", "v") == (b"0000%020d%020d" % (7, 1), b"x")
        old.socket.close()


def test_numbers_may_be_padded_with_blanks(gateway: NwsGateway, raw: Raw) -> None:
    raw.socket.sendall(b"   3" + b"%20d" % 4 + b"find" + b"%-20d" % 1 + b"w" + b"%20d" % 1 + b"v")
    wait_until(lambda: gateway.counts()["waiting"] == 1, "it waits, as it should")


def test_requests_in_one_packet_are_answered_in_order(raw: Raw) -> None:
    request = _wire.request
    raw.socket.sendall(
        request([b"store", b"w", b"v", b"1", b"one"])
        + request([b"fetch", b"w", b"v"])
        + request([b"list vars", b"w"])
    )
    assert raw.receive(4) == b"0000"
    assert raw.answer()[1] == b"one"
    assert raw.answer()[1] == b"v\t0\t0\t0\tfifo"


def test_a_request_may_come_byte_by_byte(raw: Raw) -> None:
    for byte in _wire.request([b"store", b"w", b"v", b"1", b"x"]):
        raw.socket.sendall(bytes([byte]))
    assert raw.receive(4) == b"0000"


def test_values_of_programs_on_the_depot_travel(depot: entrepot.Depot, raw: Raw) -> None:
    space = depot.space("w")
    values: list[Any] = ["text", b"\xff\x00", 42, None, [1, (2.5, "x")], BIG, BIG[:5], "x" * 50_000]
    for value in values:
        space.store("v", value)
        head, body = raw.long("fetch", "w", "v")
        descriptor = int(head[4:24])
        if isinstance(value, str):
            assert (descriptor, body) == (0x01000001, value.encode())
        elif isinstance(value, bytes):
            assert (descriptor, body) == (0x01000003, value)
        else:
            assert descriptor == 0x01000000
            loaded = pickle.loads(body)
            assert type(loaded) is type(value)
            assert (
                np.array_equal(loaded, value) if isinstance(value, np.ndarray) else loaded == value
            )


def test_values_of_clients_are_loaded_by_programs_on_the_depot(
    depot: entrepot.Depot, raw: Raw
) -> None:
    space = depot.space("w")
    sent = [
        (0x01000001, "grüß".encode(), "grüß"),
        (0x03000001, b"from R \xff", "from R \udcff"),
        (0x03000003, b"\x00\xff", b"\x00\xff"),
        (0x01000000, pickle.dumps({"a": [1]}, 1), {"a": [1]}),
        (0x01000000, b"\x80\x02U\x03\xe9t\xe9q\x00.", "été"),
        (0x01000000, b"", None),
    ]
    for descriptor, body, value in sent:
        assert raw.short("store", "w", "v", str(descriptor), body) == b"0000"
        assert space.find("v") == value
        head, back = raw.long("fetch", "w", "v")
        assert (int(head[4:24]), back) == (descriptor, body), "it goes back as it came"
    raw.short("store", "w", "v", str(0x03000000), b"R's own")
    with pytest.raises(entrepot.TypeMismatchError, match="serialized by R"):
        space.find("v")
    assert raw.long("fetch", "w", "v")[1] == b"R's own"


def test_a_big_value_goes_through_shared_memory_both_ways(depot: entrepot.Depot, raw: Raw) -> None:
    body = np.random.default_rng(1).bytes(3_000_001)
    assert raw.short("store", "w", "v", str(0x01000003), body) == b"0000"
    assert depot.statistics().arena.used >= len(body)
    assert depot.space("w").find("v") == body
    assert raw.long("find", "w", "v")[1] == body
    assert raw.long("fetch", "w", "v")[1] == body


def test_a_big_value_with_an_id_behind_it_is_stored(raw: Raw) -> None:
    assert raw.short("store", "w", "v", "1", "x") == b"0000"
    id = raw.long("fetch", "w", "v")[0][24:44]
    assert raw.short("store", "w", "v", "1", bytes(70_000), id) == b"0000"
    assert raw.short("store", "w", "v", "1", bytes(700_000), b"%020d" % 1) == b"0001"
    assert raw.short("store", "w", "v", "1", b"small", BLANK) == b"0000"
    assert len(raw.long("fetch", "w", "v")[1]) == 70_000
    assert raw.long("fetch", "w", "v")[1] == b"small"


def test_a_value_that_has_no_room_is_refused_and_the_connection_lives(
    depot: entrepot.Depot, raw: Raw
) -> None:
    size = 99_000_000
    depot.space("w").store("full", bytes(60_000_000))
    raw.socket.sendall(_wire.request([b"store", b"w", b"v", b"1"], value_bytes=size))
    raw.socket.sendall(bytes(size))
    assert raw.receive(4) == b"0001"
    assert raw.short("store", "w", "v", "1", "x") == b"0000"
    assert raw.short("store", "unknown", "v", "1", bytes(300_000)) == b"0001"
    assert raw.long("fetch", "w", "v")[1] == b"x"


@pytest.mark.parametrize(
    "frame",
    [
        b"0000",
        b"-001",
        b"xxxx",
        b"0099",
        b"0001" + b"-" * 20,
        b"0001" + b"%020d" % (1 << 40),
        b"0005%020dstore%020dw%020dv%020d1%020d" % (5, 1, 1, 1, 1 << 50),
        b"0003%020dfind%020d" % (4, 70_000),
    ],
    ids=[
        "no-argument", "negative", "no-number", "many", "bad-length", "huge-verb", "huge-value",
        "huge-name",
    ],
)  # fmt: skip
def test_a_wrong_frame_ends_that_connection_only(
    gateway: NwsGateway, raw: Raw, frame: bytes
) -> None:
    wrong = Raw(gateway)
    wrong.socket.sendall(frame)
    assert wrong.has_ended()
    assert raw.short("store", "w", "v", "1", "x") == b"0000"
    wait_until(lambda: gateway.counts()["connections"] == 1, "the wrong one is forgotten")


def test_what_cannot_be_done_is_answered_in_the_form_of_its_verb(raw: Raw) -> None:
    assert raw.short("no such verb") == b"0001"
    assert raw.short("deadman") == b"0001"
    assert raw.short("store", "w", "v", "no descriptor", "x") == b"0001"
    assert raw.short("store", "w", "v", "-1", "x") == b"0001"
    assert raw.short("store", "w", "v", str(1 << 32), "x") == b"0001"
    assert raw.short("store", "w") == b"0001"
    assert raw.short("open ws", "w") == b"0001"
    assert raw.short("open ws", "new", "1", "no", "no") == b"0001"
    assert raw.short("declare var", "w", "v", "__barrier") == b"0001"
    assert raw.short("declare var", "closed", "v", "fifo") == b"0001"
    assert raw.short("delete ws", "nobody's") == b"0001"
    for wrong in (
        ("find",),
        ("find", "closed", "v"),
        ("fetch", "closed", "v"),
        ("ifind", "w", "v"),
        ("ifindTry", "w", "v", "not an id", "0"),
        ("ifindTry", "w", "v", BLANK, "not an index"),
        ("list vars",),
        ("mktemp ws", "no specifier"),
        ("mktemp ws", "%d%d"),
        ("mktemp ws", "%099999999999d"),
        ("mktemp ws", "%(x)d"),
    ):
        assert raw.long(*wrong) == (FAILURE, b""), wrong
    _, name = raw.long("mktemp ws", "a%05db%%")
    assert re.fullmatch(rb"a\d{5}b%__nwss\w{8}", name)
    assert raw.short("store", name, "v", "1", "x") == b"0000"


def test_iterators_refuse_variables_without_an_order(raw: Raw) -> None:
    for mode in ("lifo", "multi"):
        assert raw.short("declare var", "w", mode, mode) == b"0000"
        assert raw.short("store", "w", mode, "1", "x") == b"0000"
        for verb in ("ifind", "ifetch", "ifindTry", "ifetchTry"):
            assert raw.long(verb, "w", mode, BLANK, b"0" * 20) == (FAILURE, b"")


def test_a_fetch_ahead_of_the_oldest_value_fails(raw: Raw) -> None:
    for value in (b"0", b"1", b"2"):
        raw.short("store", "w", "v", "1", value)
    head, _ = raw.long("ifindTry", "w", "v", BLANK, b"0" * 20)
    assert raw.long("ifetchTry", "w", "v", head[24:44], head[44:64]) == (FAILURE, b"")
    head, _ = raw.long("fetch", "w", "v")
    assert raw.long("ifetchTry", "w", "v", head[24:44], head[44:64])[1] == b"1"


def test_all_who_wait_are_served_in_the_order_in_which_they_came(
    depot: entrepot.Depot, gateway: NwsGateway, raw: Raw
) -> None:
    waiting = [Raw(gateway) for _ in range(50)]
    finder = Raw(gateway)
    for number, client in enumerate(waiting):
        assert client.short("use ws", "w", "", "no") == b"0000"
        client.send("fetch", "w", "v")
        wait_until(lambda n=number: gateway.counts()["waiting"] == n + 1, "it waits")
    finder.short("use ws", "w", "", "no")
    finder.send("find", "w", "v")
    wait_until(lambda: gateway.counts()["waiting"] == 51, "the finder waits")
    assert raw.long("list vars", "w")[1] == b"v\t0\t50\t1\tunknown"
    space = depot.space("w")
    for number in range(50):
        if number % 2:
            assert raw.short("store", "w", "v", "1", str(number)) == b"0000"
        else:
            space.store("v", str(number))
    assert finder.answer()[1] == b"0"
    assert [client.answer()[1] for client in waiting] == [b"%d" % n for n in range(50)]


def test_a_request_during_a_wait_ends_the_connection_and_the_wait(
    gateway: NwsGateway, raw: Raw
) -> None:
    waiting = Raw(gateway)
    waiting.short("use ws", "w", "", "no")
    waiting.send("fetch", "w", "v")
    wait_until(lambda: gateway.counts()["waiting"] == 1, "it waits")
    waiting.send("list wss")
    assert waiting.has_ended()
    raw.short("store", "w", "v", "1", "x")
    assert raw.long("list vars", "w")[1] == b"v\t1\t0\t0\tfifo"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_who_vanishes_while_waiting_takes_nothing(gateway: NwsGateway, raw: Raw, how: str) -> None:
    waiting = Raw(gateway)
    waiting.short("use ws", "w", "", "no")
    waiting.send("fetch", "w", "v")
    wait_until(lambda: gateway.counts()["waiting"] == 1, "it waits")
    if how == "reset":
        waiting.reset()
    else:
        waiting.socket.close()
    wait_until(lambda: gateway.counts()["connections"] == 1, "it is gone")
    assert raw.short("store", "w", "v", "1", "x") == b"0000"
    assert raw.long("fetchTry", "w", "v")[1] == b"x"


@pytest.mark.parametrize("size", [5, 2_000_000], ids=["small", "big"])
def test_a_value_that_nobody_read_goes_back(gateway: NwsGateway, raw: Raw, size: int) -> None:
    body = bytes(size)
    raw.short("store", "w", "v", "1", body)
    raw.short("store", "w", "v", "1", b"next")
    dying = Raw(gateway)
    dying.short("use ws", "w", "", "no")
    dying.send("fetch", "w", "v")
    dying.socket.recv(1, socket.MSG_PEEK)  # it came, and is not read
    dying.reset()
    wait_until(lambda: gateway.counts()["connections"] == 1, "it is gone")
    assert raw.long("fetch", "w", "v")[1] == body
    assert raw.long("fetch", "w", "v")[1] == b"next"


def test_a_value_that_was_read_does_not_come_back(gateway: NwsGateway, raw: Raw) -> None:
    raw.short("store", "w", "v", "1", b"x")
    reader = Raw(gateway)
    reader.short("use ws", "w", "", "no")
    assert reader.long("fetch", "w", "v")[1] == b"x"
    reader.socket.close()
    wait_until(lambda: gateway.counts()["connections"] == 1, "it is gone")
    assert raw.long("fetchTry", "w", "v") == (FAILURE, b"")


def test_a_store_that_is_cut_short_stores_nothing(
    depot: entrepot.Depot, gateway: NwsGateway, raw: Raw
) -> None:
    unsealed = depot.statistics().arena.unsealed
    dying = Raw(gateway)
    dying.short("use ws", "w", "", "no")
    dying.socket.sendall(_wire.request([b"store", b"w", b"v", b"1"], value_bytes=5_000_000))
    dying.socket.sendall(bytes(2_000_000))
    dying.socket.close()
    wait_until(lambda: gateway.counts()["connections"] == 1, "it is gone")
    assert raw.long("list vars", "w")[1] == b""
    wait_until(lambda: depot.statistics().arena.unsealed == unsealed, "its memory is free")


def test_a_slow_reader_keeps_nobody_waiting(gateway: NwsGateway, raw: Raw) -> None:
    raw.short("store", "w", "big", "1", bytes(4_000_000))
    slow = Raw(gateway)
    slow.short("use ws", "w", "", "no")
    slow.socket.sendall(_wire.request([b"find", b"w", b"big"]) * 20)
    for number in range(200):
        assert raw.short("store", "w", "v", "1", str(number)) == b"0000"
        assert raw.long("fetch", "w", "v")[1] == b"%d" % number
    for _ in range(20):
        assert len(slow.answer()[1]) == 4_000_000


def test_workspaces_end_with_the_connection_that_owns_them(
    depot: entrepot.Depot, gateway: NwsGateway, raw: Raw
) -> None:
    owner = Raw(gateway)
    for name, persistent in (("gone", "no"), ("kept", "yes")):
        assert owner.short("open ws", name, "me", persistent) == b"0000"
        assert raw.short("open ws", name, "you", "yes") == b"0000"
        assert raw.short("store", name, "v", "1", "x") == b"0000"
    host, port = owner.socket.getsockname()
    label = f"{host}:{port} (me)".encode()
    assert b">gone\t" + label + b"\tFalse\t1\tv\n" in owner.long("list wss")[1]
    assert raw.long("list wss", "gone")[1] == b" gone\t" + label + b"\tFalse\t1\tv\n"
    assert raw.long("list wss", "unknown")[1] == b"\n"
    assert raw.long("list wss", "__default")[1] == b" __default\t[system]\tFalse\t0\t\n"
    owner.socket.close()
    wait_until(lambda: "gone" not in {info.name for info in depot.spaces()}, "it is purged")
    assert raw.short("store", "gone", "v", "1", "x") == b"0001"
    assert raw.long("fetch", "gone", "v") == (FAILURE, b"")
    assert raw.short("open ws", "kept", "you", "no") == b"0000"
    assert raw.long("list wss", "kept")[1] == b" kept\t" + label + b"\tTrue\t1\tv\n"
    assert raw.short("open ws", "gone", "you", "no") == b"0000"
    assert raw.long("fetchTry", "gone", "v") == (FAILURE, b"")


def test_deleting_a_workspace_ends_the_waits_in_it(gateway: NwsGateway, raw: Raw) -> None:
    waiting = Raw(gateway)
    waiting.short("use ws", "w", "", "no")
    waiting.send("find", "w", "v")
    wait_until(lambda: gateway.counts()["waiting"] == 1, "it waits")
    assert raw.short("delete ws", "w") == b"0000"
    assert waiting.answer() == (FAILURE, b"")
    assert raw.short("use ws", "w", "", "no") == b"0000"
    assert waiting.short("store", "w", "v", "1", "x") == b"0001", "it opened another instance"


def test_a_persistent_space_of_the_depot_is_served_too(
    depot: entrepot.Depot, gateway: NwsGateway, raw: Raw
) -> None:
    space = depot.space("disk", persistent=True)
    assert raw.short("open ws", "disk", "1", "no") == b"0000"
    for body in (b"small", bytes(300_000)):
        assert raw.short("store", "disk", "v", "1", body) == b"0000"
        assert raw.long("find", "disk", "v")[1] == body
        assert raw.long("fetch", "disk", "v")[1] == body
    assert raw.long("fetchTry", "disk", "v") == (FAILURE, b"")
    raw.send("fetch", "disk", "v")
    wait_until(lambda: gateway.counts()["waiting"] == 1, "it waits")
    space.store("v", "came")
    assert raw.answer()[1] == b"came"
    assert raw.long("list vars", "disk")[1] == b"v\t0\t0\t0\tfifo"
    assert raw.short("store", "disk", "v", "bad", "x") == b"0001"
    dying = Raw(gateway)
    dying.short("use ws", "disk", "", "no")
    dying.send("fetch", "disk", "v")
    wait_until(lambda: gateway.counts()["waiting"] == 1, "it waits")
    dying.reset()
    wait_until(lambda: space.variables()[0].fetchers == 0, "it left the line")
    depot.delete_space("disk")


def test_newer_clients_negotiate_and_send_what_is_known_of_values(gateway: NwsGateway) -> None:
    new = Raw(gateway, b"X000")
    assert new.receive(4) == b"P000"
    assert new.receive(4) == b"0002"
    offered = b"0016MetadataToServer0000" + b"0018MetadataFromServer0000"
    assert new.receive(len(offered)) == offered
    new.socket.sendall(
        b"R000" + _wire.dictionary({b"MetadataToServer": b"1", b"MetadataFromServer": b"1"})
    )
    assert new.receive(4) == b"A000"
    none = b"0000"
    new.socket.sendall(none + _wire.request([b"open ws", b"w", b"1", b"no"]))
    assert new.receive(8) == b"00000000"
    metadata = _wire.dictionary({b"kind": b"test"})
    new.socket.sendall(metadata + _wire.request([b"store", b"w", b"v", b"1", b"x"]))
    assert new.receive(8) == b"00000000"
    new.socket.sendall(none + _wire.request([b"find", b"w", b"v"]))
    assert new.receive(len(metadata)) == metadata
    assert new.answer()[1] == b"x"
    new.socket.sendall(none + _wire.request([b"findTry", b"w", b"empty"]))
    assert new.receive(8) == b"00010009"
    assert new.receive(9) == b"nwsReason"
    assert new.receive(int(new.receive(4)))
    assert new.answer() == (FAILURE, b"")
    old = Raw(gateway)
    old.short("use ws", "w", "", "no")
    assert old.long("fetch", "w", "v")[1] == b"x"


def test_options_that_were_not_offered_are_refused(gateway: NwsGateway) -> None:
    new = Raw(gateway, b"X000")
    new.receive(4 + 4 + 50)
    new.socket.sendall(b"R000" + _wire.dictionary({b"KillServerOnClose": b"1"}))
    assert new.receive(4) == b"F000"
    assert new.has_ended()


def test_two_gateways_serve_the_same_values(depot: entrepot.Depot, gateway: NwsGateway) -> None:
    other = NwsGateway(depot)
    other.start()
    one, two = Raw(gateway), Raw(other)
    one.short("open ws", "w", "1", "no")
    two.short("open ws", "w", "2", "no")
    two.send("fetch", "w", "v")
    wait_until(lambda: other.counts()["waiting"] == 1, "it waits")
    one.short("store", "w", "v", "1", "x")
    assert two.answer()[1] == b"x"
    other.close()
    assert two.has_ended()
    assert b">w\t" in one.long("list wss")[1]


def test_connections_beyond_the_bound_are_turned_away(depot: entrepot.Depot) -> None:
    gateway = NwsGateway(depot, connections_max=2)
    gateway.start()
    kept = [Raw(gateway), Raw(gateway)]
    third = Raw(gateway, b"")
    assert third.has_ended()
    assert kept[0].short("open ws", "w", "1", "no") == b"0000"
    gateway.close()
    gateway.close()


def test_bounds_of_a_gateway_are_positive(depot: entrepot.Depot) -> None:
    for bound in ("value_bytes_max", "connections_max"):
        with pytest.raises(LimitError):
            NwsGateway(depot, **{bound: 0})


def test_a_port_in_use_is_refused(depot: entrepot.Depot, gateway: NwsGateway) -> None:
    with pytest.raises(OSError, match="in use"):
        NwsGateway(depot, gateway.host, gateway.port)


def test_many_clients_at_once_get_each_value_once(gateway: NwsGateway) -> None:
    def work(first: int) -> list[bytes]:
        client = Raw(gateway)
        client.short("use ws", "w", "", "no")
        for number in range(first, first + 50):
            client.short("store", "w", "v", "1", str(number))
        return [client.long("fetch", "w", "v")[1] for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        got = [body for each in pool.map(work, range(0, 800, 100)) for body in each]
    assert sorted(map(int, got)) == sorted(a + n for a in range(0, 800, 100) for n in range(50))


def test_a_store_that_waits_for_room_keeps_nobody_else(
    depot: entrepot.Depot, gateway: NwsGateway, raw: Raw
) -> None:
    for persistent in (False, True):
        name = f"full{persistent}"
        space = depot.space(name, persistent=persistent)
        space.declare("v", max_values=1)
        space.store("v", b"0")
        for value in (b"1", b"2" * 500_000):
            raw.short("use ws", name, "", "no")
            raw.send("store", name, "v", DESCRIPTOR, value)
            other = Raw(gateway)
            other.short("use ws", name, "", "no")
            other.long("fetch", name, "v")
            assert raw.receive(4) == b"0000"
        depot.delete_space(name)


def test_a_gateway_ends_while_stores_wait_for_room(depot: entrepot.Depot) -> None:
    gateway = NwsGateway(depot)
    gateway.start()
    space = depot.space("full")
    space.declare("v", max_values=1)
    space.store("v", b"0")
    clients = [Raw(gateway) for _ in range(3)]
    for client in clients:
        client.short("use ws", "full", "", "no")
        client.send("store", "full", "v", DESCRIPTOR, b"1" * 300_000)
    assert Raw(gateway).short("use ws", "full", "", "no") == b"0000"
    gateway.close()
    assert space.variables()[0].values == 1


def test_what_a_client_has_read_is_not_given_out_again_when_the_gateway_ends(
    depot: entrepot.Depot,
) -> None:
    gateway = NwsGateway(depot)
    gateway.start()
    space = depot.space("s")
    space.store("v", b"x")
    client = Raw(gateway)
    client.short("use ws", "s", "", "no")
    assert client.long("fetch", "s", "v")[1] == b"x"
    gateway.close()
    assert space.try_fetch("v") is None


def test_a_big_value_that_was_not_read_goes_back_however_late(
    depot: entrepot.Depot, gateway: NwsGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = depot.space("s")
    space.store("v", b"x" * 1_000_000)
    client = Raw(gateway)
    client.short("use ws", "s", "", "no")
    client.send("fetch", "s", "v")
    wait_until(lambda: not space.variables()[0].values, "the value is fetched")
    client.socket.recv(10)
    client.reset()
    wait_until(lambda: space.variables()[0].values == 1, "the value is back")
    monkeypatch.setattr(entrepot.settings, "NWS_KEPT_BYTES_MAX", 1_500_000)
    clients = [Raw(gateway) for _ in range(2)]
    space.store("v", b"y" * 1_000_000)
    for client in clients:
        client.short("use ws", "s", "", "no")
        client.long("fetch", "s", "v")
    assert len(gateway._kept) == 1
    for client in clients:
        client.reset()
    wait_until(lambda: space.variables()[0].values == 1, "the value is back")


def test_connections_that_are_reset_at_once_are_forgotten(gateway: NwsGateway) -> None:
    for _ in range(200):
        Raw(gateway, b"").reset()
    wait_until(lambda: gateway.counts()["connections"] == 0, "all connections are gone")


def test_a_value_that_stops_coming_gives_its_room_back(
    depot: entrepot.Depot, gateway: NwsGateway, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrepot.settings, "NWS_STALL_S", 0.05)
    head = _wire.request([b"store", b"w", b"v", DESCRIPTOR, b""])[:-20]
    raw.socket.sendall(head + b"%020d" % 50_000_000 + b"x" * 1000)
    assert raw.has_ended()
    wait_until(lambda: depot.statistics().arena.unsealed == 0, "the room is free")


def test_numbers_beyond_all_bounds_are_refused(raw: Raw) -> None:
    raw.short("store", "w", "v", DESCRIPTOR, b"x")
    id = raw.long("find", "w", "v")[0][24:44]
    for cookie in ((id, b"%020d" % (1 << 64)), (b"9" * 5000, b"0"), (id, b"9" * 5000)):
        assert raw.long("ifindTry", "w", "v", *cookie) == (FAILURE, b"")


def test_names_that_are_no_text_are_listed(depot: entrepot.Depot, raw: Raw) -> None:
    depot.space("\ud800")
    assert raw.short("use ws", b"\xf6", "1", "no") == b"0000"
    _, body = raw.long("list wss")
    assert "\ud800".encode("utf-8", "surrogatepass") in body


def test_a_space_that_a_program_made_outlives_clients_that_open_it(
    depot: entrepot.Depot, gateway: NwsGateway
) -> None:
    space = depot.space("s")
    space.store("v", 1)
    client = Raw(gateway)
    assert client.short("open ws", "s", "", "no") == b"0000"
    client.socket.close()
    wait_until(lambda: gateway.counts()["connections"] == 0, "all connections are gone")
    assert space.fetch("v", timeout=0) == 1


def test_arrays_of_dates_need_numpy_alone(depot: entrepot.Depot, raw: Raw) -> None:
    space = depot.space("dates")
    value = {"dates": np.array(["2020", "2021"], "M8[s]"), "rows": np.zeros(2, [("a", "i4")])}
    space.store("v", value)
    raw.short("use ws", "dates", "", "no")
    _, body = raw.long("find", "dates", "v")
    assert b"entrepot" not in body
    found = pickle.loads(body)
    assert all(np.array_equal(found[name], value[name]) for name in value)
    stored = space.fetch("v")
    assert all(np.array_equal(stored[name], value[name]) for name in value)
