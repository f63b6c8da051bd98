"""The connections of a client: whatever fails, there are as many as before."""

from __future__ import annotations

import http.client
import random
import socket
import ssl
import threading
from typing import Any

import pytest

from entrepot.v3io.dataplane import Client
from entrepot.v3io.dataplane.response import HttpResponseError
from entrepot.v3io.dataplane.transport import Actions, httpclient
from entrepot.v3io.logger import Logger
from support.http_server import CUT, DROP, HttpServer, Reply

FAILURES = [
    BrokenPipeError,
    ConnectionRefusedError,
    ConnectionResetError,
    http.client.CannotSendRequest,
    http.client.RemoteDisconnected,
    http.client.IncompleteRead,
    TimeoutError,
    ssl.SSLError,
    OSError,
    ValueError,
    KeyboardInterrupt,
]


class FakeReply:
    """A reply, or a part of one."""

    def __init__(self, status: int, failure: BaseException | None = None) -> None:
        self.code = status
        self.headers = {"Content-Length": "2"}
        self._failure = failure

    def read(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        return b"{}"


class FakeConnection:
    """A connection that fails when its transport's chance wants it."""

    def __init__(self, pool: FakePool) -> None:
        self.pool = pool
        self.closed = 0
        self.busy = False

    def request(self, method: str, path: str, body: Any, headers: Any) -> None:
        assert not self.closed, "a closed connection was used"
        assert not self.busy, "a connection was used whose reply nobody had read"
        self.pool.fail("request")
        self.busy = True

    def getresponse(self) -> FakeReply:
        assert self.busy
        self.pool.fail("getresponse")
        failure = self.pool.failure("read")
        if failure is None:
            self.busy = False
        status = 500 if self.pool.chance.random() < self.pool.bad_statuses else 200
        return FakeReply(status, failure)

    def close(self) -> None:
        self.closed += 1


class FakePool(httpclient.Transport):
    """The transport, with connections that fail by chance."""

    def __init__(self, chance: random.Random, connections: int) -> None:
        self.chance = chance
        self.made: list[FakeConnection] = []
        self.bad_statuses = 0.0
        self.rates = {"request": 0.0, "getresponse": 0.0, "read": 0.0}
        super().__init__(Logger(None), "fake:1", connections)

    def _create_connection(self, host: str, ssl_context: Any) -> Any:
        connection = FakeConnection(self)
        self.made.append(connection)
        return connection

    def failure(self, where: str) -> BaseException | None:
        if self.chance.random() >= self.rates[where]:
            return None
        kind: Any = self.chance.choice(FAILURES)
        return kind(b"") if kind is http.client.IncompleteRead else kind("by chance")

    def fail(self, where: str) -> None:
        failure = self.failure(where)
        if failure is not None:
            raise failure

    def check(self, count: int) -> None:
        """Check that so many connections are open, and the others closed exactly once."""
        assert sum(not connection.closed for connection in self.made) == count
        assert all(connection.closed <= 1 for connection in self.made)


@pytest.fixture(autouse=True)
def _silence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "v3io_py")


@pytest.mark.parametrize("where", ["request", "getresponse", "read", "anywhere"])
@pytest.mark.parametrize("connections", [1, 3, 8])
def test_any_mix_of_failures_leaves_as_many_connections(
    where: str, connections: int, chance: random.Random
) -> None:
    pool = FakePool(chance, connections)
    client = Client(transport_kind=pool, access_key="k")
    others = [client.create_batch(), client.create_batch()]
    pool.bad_statuses = 0.1
    succeeded = failed = 0
    for _ in range(300):
        rate = chance.choice([0, 0.05, 0.3, 0.9])
        pool.rates = {name: rate if where in (name, "anywhere") else 0 for name in pool.rates}
        batch = chance.choice([None, client.batch, *others])
        try:
            if batch is None:
                client.object.put("b", "p", body=b"x")
            else:
                for number in range(chance.randrange(20)):
                    batch.kv.put("b", "t", str(number), {"a": 1})
                batch.wait(raise_for_status=chance.choice(["never", None]))
            succeeded += 1
        except (Exception, KeyboardInterrupt):  # noqa: BLE001 whichever of the above it was
            failed += 1
        pool.check(connections)
    assert succeeded
    assert failed
    client.close()
    client.close()
    pool.check(0)


def test_threads_and_failing_batches_leave_as_many_connections(chance: random.Random) -> None:
    pool = FakePool(chance, 4)
    pool.rates = {"request": 0.1, "getresponse": 0.1, "read": 0.1}
    client = Client(transport_kind=pool, access_key="k")

    def work() -> None:
        batch = client.create_batch()
        for number in range(200):
            try:
                if number % 3:
                    client.kv.get("b", "t", "k")
                else:
                    for key in range(9):
                        batch.kv.get("b", "t", str(key))
                    batch.wait()
            except (Exception, KeyboardInterrupt):  # noqa: BLE001 whichever of the above it was
                continue

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.check(4)
    client.close()
    pool.check(0)


def test_a_connection_that_cannot_be_replaced_keeps_its_place(
    chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = FakePool(chance, 1)
    pool.rates["getresponse"] = 1.0
    client = Client(transport_kind=pool, access_key="k")

    def refuse(host: str, ssl_context: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(pool, "_create_connection", refuse)
        with pytest.raises(MemoryError):
            client.object.get("b", "p")
    # A connection of the standard library connects again; this one only says that it was used.
    with pytest.raises(AssertionError, match="closed connection"):
        client.object.get("b", "p")
    client.close()


def test_a_stale_connection_costs_nothing_but_a_retry(client: Client, server: HttpServer) -> None:
    for _ in range(3):
        client.object.get("b", "p")
    server.hang_up()
    for _ in range(6):
        client.batch.object.put("b", "p", body="x" * 100)
    assert [response.status_code for response in client.batch.wait()] == [200] * 6


def test_a_server_that_closes_after_each_reply_is_asked_again(
    client: Client, server: HttpServer
) -> None:
    server.answer = lambda asked: Reply(200, b"", {"Connection": "close"})
    for _ in range(8):
        client.object.get("b", "p")
    assert server.connections_made == 8


@pytest.mark.parametrize("fault", [DROP, CUT], ids=["drop", "cut"])
def test_a_reply_that_does_not_come_is_asked_for_once_more(
    fault: Reply, client: Client, server: HttpServer
) -> None:
    server.replies += [fault, Reply(200, b"good")]
    assert client.object.get("b", "p").body == b"good"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [(DROP, http.client.RemoteDisconnected), (CUT, http.client.IncompleteRead)],
    ids=["drop", "cut"],
)
def test_a_reply_that_does_not_come_twice_raises(
    fault: Reply, error: type[Exception], client: Client, server: HttpServer
) -> None:
    server.answer = lambda asked: fault
    for _ in range(5):  # more often than there are connections
        with pytest.raises(error):
            client.object.get("b", "p")
    server.answer = None
    assert client.object.get("b", "p").status_code == 200


def test_a_server_that_is_not_there_refuses() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{listening.getsockname()[1]}"
    with Client(endpoint=endpoint, access_key="k", max_connections=2) as client:
        for _ in range(4):
            with pytest.raises(ConnectionRefusedError):
                client.object.get("b", "p")
            client.batch.object.get("b", "p")
            with pytest.raises(ConnectionRefusedError):
                client.batch.wait()


def test_failed_batches_never_use_up_the_connections(client: Client, server: HttpServer) -> None:
    server.answer = lambda asked: Reply(500 if "bad" in asked.target else 200, b"")
    for _ in range(10):
        for name in ("good", "bad", "good", "good", "good", "bad", "good"):
            client.batch.object.get("b", name)
        with pytest.raises(HttpResponseError):
            client.batch.wait()
    assert client.batch.wait() == []
    client.batch.object.get("b", "good")
    assert len(client.batch.wait()) == 1


def test_a_closed_client_sends_nothing(client: Client, server: HttpServer) -> None:
    client.batch.object.get("b", "p")
    client.close()
    client.close()
    for call in (lambda: client.object.get("b", "p"), client.batch.wait, client.get_containers):
        with pytest.raises(RuntimeError, match="Cannot send request on a closed client"):
            call()
    assert not server.asked


def test_closing_wakes_those_who_wait_for_a_connection(server: HttpServer) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def answer(asked: Any) -> Reply:
        entered.set()
        go_on.wait()
        return Reply()

    server.answer = answer
    client = Client(endpoint=server.url, access_key="k", max_connections=1)
    outcomes: list[object] = []

    def ask() -> None:
        try:
            outcomes.append(client.object.get("b", "p").status_code)
        except RuntimeError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    entered.wait()
    client.close()
    go_on.set()
    for thread in threads:
        thread.join()
    # One was on its way, if it waited for the reply by then; the others waited, or came later.
    closed = "Cannot send request on a closed client"
    assert sorted(map(str, outcomes)) in (["200", *[closed] * 3], [closed] * 4)


def test_a_request_that_nobody_waits_for_is_closed_with_the_client(
    chance: random.Random,
) -> None:
    pool = FakePool(chance, 2)
    client = Client(transport_kind=pool, access_key="k")
    made: Any = client.object.get("b", "p", transport_actions=Actions.encode_only)
    sent = pool.send_request(made)
    pool.check(2)
    client.close()
    pool.check(0)
    with pytest.raises(RuntimeError, match="closed client"):
        pool.wait_response(sent)


def test_sending_and_waiting_may_be_two_steps(client: Client, server: HttpServer) -> None:
    transport = client._transport
    made: Any = client.object.get("b", "p", transport_actions=Actions.encode_only)
    sent = transport.send_request(made)
    transport.send_request(sent)  # once more: the first reply is never read
    assert transport.wait_response(sent).status_code == 200
    with pytest.raises(RuntimeError, match="was not sent"):
        transport.wait_response(sent)


def test_timeout_and_retries_are_set_for_all_clients(
    client: Client, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = httpclient.Transport
    assert (kind.get_connection_timeout(), kind.get_request_max_retries()) == (20, 2)
    monkeypatch.setattr(kind, "_connection_timeout_s", 20)
    monkeypatch.setattr(kind, "_request_retries_max", 2)
    kind.set_connection_timeout(0.05)
    kind.set_request_max_retries(0)
    assert (kind.get_connection_timeout(), kind.get_request_max_retries()) == (0.05, 0)
    go_on = threading.Event()

    def answer(asked: Any) -> Reply:
        go_on.wait()
        return Reply()

    server.answer = answer
    with Client(endpoint=server.url, access_key="k") as hasty, pytest.raises(TimeoutError):
        hasty.object.get("b", "p")
    go_on.set()


def test_small_requests_leave_at_once(client: Client, server: HttpServer) -> None:
    client.object.get("b", "p")
    connections = [client._transport._free.get() for _ in range(3)]  # type: ignore[attr-defined] of httpclient
    sockets = [connection.sock for connection in connections if connection.sock is not None]
    for connection in connections:
        client._transport._free.put(connection)  # type: ignore[attr-defined] of httpclient
    assert sockets
    assert all(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in sockets)
