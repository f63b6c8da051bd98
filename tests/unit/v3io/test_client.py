"""The client itself: how it is made, its transports, its texts and its logger."""

from __future__ import annotations

import importlib
import inspect
import io
import pydoc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

import entrepot.v3io
from entrepot.v3io.dataplane import Client, RaiseForStatus, container, kv, stream, transport
from entrepot.v3io.dataplane import object as objects
from entrepot.v3io.dataplane.batch import Batch
from entrepot.v3io.dataplane.response import HttpResponseError, Response
from entrepot.v3io.dataplane.transport import Actions, abstract, verifier
from entrepot.v3io.logger import HumanReadableFormatter, Logger
from support.http_server import HttpServer, Reply

MODELS: dict[str, Any] = {"container": container, "object": objects, "kv": kv, "stream": stream}


def test_the_names_of_the_original_are_there() -> None:
    assert entrepot.v3io.__version__ == "0.7.2"
    assert entrepot.v3io.Client is Client
    assert entrepot.v3io.RaiseForStatus is RaiseForStatus is transport.RaiseForStatus
    assert transport.Transport is verifier.Transport
    assert (Actions.encode_only, Actions.encode_and_send, Actions.send_and_receive) == (1, 2, 3)
    for name in ("batch", "kv_array", "kv_cursor", "kv_timestamp", "output", "request", "response"):
        module = importlib.import_module(f"entrepot.v3io.dataplane.{name}")
        assert getattr(entrepot.v3io.dataplane, name) is module


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ("aiohttp", "requests", "numpy", "pandas")
    code = f"import sys, entrepot.v3io; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_endpoint_and_access_key_come_from_the_environment(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V3IO_API", server.url)
    monkeypatch.setenv("V3IO_ACCESS_KEY", "from there")
    with Client() as client:
        client.object.get("b", "p")
    assert server.asked[0].headers["X-v3io-session-key"] == "from there"


def test_an_endpoint_is_needed_where_a_transport_is_asked_for() -> None:
    with pytest.raises(RuntimeError, match="Endpoints must be passed to context or specified"):
        Client(transport_kind="requests")


@pytest.mark.parametrize("kind", ["httpclient", "requests"])
def test_an_access_key_is_needed_for_an_endpoint(kind: str) -> None:
    with pytest.raises(ValueError, match="Access key must be provided in Client"):
        Client(endpoint="x:1", transport_kind=kind)


@pytest.mark.parametrize("endpoint", ["ftp://host", "http://"], ids=["ftp", "no_host"])
def test_an_endpoint_of_another_kind_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        Client(endpoint=endpoint, access_key="k")


@pytest.mark.parametrize("kind", ["pigeon", "Transport", "Actions"])
def test_an_unknown_kind_of_transport_is_refused(kind: str) -> None:
    with pytest.raises(AttributeError):
        Client(endpoint="x:1", access_key="k", transport_kind=kind)


def test_https_is_not_verified() -> None:
    with Client(endpoint="https://host:1", access_key="k") as client:
        context: Any = client._transport._ssl_context  # type: ignore[attr-defined] of httpclient
        assert not context.check_hostname


def test_verifiers_see_the_requests_in_their_order() -> None:
    seen: list[Any] = []

    def verify(request: Any) -> str:
        seen.append(request)
        return f"reply {len(seen)}"

    client = Client(transport_kind=verifier.Transport([verify, verify]))
    assert client.kv.update("b", "t", "k", expression="a=1") == "reply 1"
    assert objects.Model.get(client.object, "b", "p", offset=3) == "reply 2"
    assert (seen[0].method, seen[0].path) == ("POST", "/b/t/k")
    assert seen[0].headers["X-v3io-function"] == "UpdateItem"
    assert "X-v3io-session-key" not in seen[0].headers
    assert seen[0].body == b'{"UpdateMode":"CreateOrReplaceAttributes","UpdateExpression":"a=1"}'
    assert seen[1].encoder_args == {"path": "p", "offset": 3, "num_bytes": None}
    with pytest.raises(IndexError):
        client.object.get("b", "p")


def test_older_names_use_the_transport_that_the_client_has_now(client: Client) -> None:
    client._transport.close()
    client._transport = verifier.Transport([lambda request: request.path])
    assert client.get_object("b", "p") == "/b/p"
    with pytest.raises(RuntimeError, match="closed client"):
        client.object.get("b", "p")  # the models keep theirs


def test_encoding_only_returns_the_request(client: Client, server: HttpServer) -> None:
    request: Any = client.container.list(
        "b", "d", access_key="other", raise_for_status=[404], transport_actions=1, limit=5
    )
    assert not server.asked
    assert (request.container, request.access_key, request.raise_for_status) == (
        "b",
        "other",
        [404],
    )
    assert (request.method, request.path, request.body) == ("GET", "/b", None)
    assert request.query == {"prefix": "d", "max-keys": 5}
    assert request.headers == {"X-v3io-session-key": "other"}
    assert request.encode_path() == "/b?prefix=d&max-keys=5"
    assert repr(request) == "<Request GET /b?prefix=d&max-keys=5>"


class Waiting(abstract.Transport):
    """A transport of a user, which overrides as little as it must."""

    def wait_response(
        self, request: Any, raise_for_status: Any = None, num_retries: int = 1
    ) -> Response:
        return self._accept(
            request, Response(request.output, 404, {}, request.path.encode()), raise_for_status
        )


@pytest.mark.parametrize("action", [None, Actions.encode_and_send, Actions.send_and_receive])
def test_what_is_not_only_encoded_returns_the_reply(
    action: int | None, client: Client, server: HttpServer
) -> None:
    response = client.object.get("b", "p", transport_actions=action)
    assert response.status_code == 200
    assert len(server.asked) == 1


def test_a_transport_of_ones_own_need_only_wait() -> None:
    client = Client(transport_kind=Waiting(Logger(None)))
    assert client.object.get("b", "p", raise_for_status="never").body == b"/b/p"
    with pytest.raises(HttpResponseError):
        client.object.get("b", "p")
    client.batch.object.get("b", "p")
    client.batch.object.get("b", "q")
    assert [r.body for r in client.batch.wait("never")] == [b"/b/p", b"/b/q"]
    assert client._transport.max_connections == 8
    with pytest.raises(NotImplementedError):
        Client(transport_kind=abstract.Transport(Logger(None))).object.get("b", "p")


class Direct(abstract.Transport):
    """A transport that encodes nothing."""

    def __init__(self) -> None:
        super().__init__(Logger(None))
        self.asked: list[tuple[Any, ...]] = []

    def request(
        self,
        container: Any,
        access_key: Any,
        raise_for_status: Any,
        transport_actions: Any,
        encoder: Any,
        encoder_args: Any,
        output: Any = None,
    ) -> Response:
        asked = (container, encoder.__name__, dict(encoder_args))
        if transport_actions == Actions.encode_only:
            return cast("Response", asked)
        self.asked.append(asked)
        return Response(output, 200, {}, b"")

    def wait_response(
        self, request: Any, raise_for_status: Any = None, num_retries: int = 1
    ) -> Response:
        self.asked.append(request)
        return Response(None, 200, {}, b"")


SHARED = {"self", "container", "access_key", "raise_for_status", "transport_actions"}
OPERATIONS = [
    (model, name, function)
    for model, module in MODELS.items()
    for name, function in inspect.getmembers(module.Model, inspect.isfunction)
    if not name.startswith("_")
]
operations = pytest.mark.parametrize(
    ("model", "name", "function"),
    OPERATIONS,
    ids=[f"{model}.{name}" for model, name, _ in OPERATIONS],
)


@operations
def test_a_transport_gets_the_arguments_under_their_names(
    model: str, name: str, function: Any
) -> None:
    if name == "new_cursor":
        return  # it asks later
    direct = Direct()
    client = Client(transport_kind=direct)
    own = [p for p in inspect.signature(function).parameters.values() if p.name not in SHARED]
    given = {p.name: f"value of {p.name}" for p in own}
    getattr(getattr(client, model), name)(container="b", **given)
    if (model, name) == ("stream", "delete"):
        path = "value of stream_path/"
        assert [(asked[1], asked[2]["path"]) for asked in direct.asked] == [
            ("encode_get_container_contents", path),
            ("encode_delete_object", path),
        ]
    else:
        ((asked_container, encoder, arguments),) = direct.asked
        assert asked_container == "b"
        assert encoder.startswith("encode_")
        assert arguments == given


def test_a_batch_queues_whatever_its_transport_makes_of_an_operation() -> None:
    direct = Direct()
    client = Client(transport_kind=direct)
    client.batch.kv.get("b", "t", "k")
    client.batch.get_item("b", "t/k")
    assert not direct.asked
    assert len(client.batch.wait()) == 2
    arguments = {"table_path": "t", "key": "k", "attribute_names": "*"}
    assert direct.asked[0] == ("b", "encode_get_item", arguments)
    assert direct.asked[1] == ("b", "encode_get_item", arguments | {"table_path": "t/"})


def texts() -> Iterator[tuple[str, Any]]:
    for model, name, function in OPERATIONS:
        yield f"{model}.{name}", function
    for owner in (Client, Batch):
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_") and name not in ("close", "create_batch"):
                yield f"{owner.__name__}.{name}", function


TEXTS = dict(texts())


@pytest.mark.parametrize("name", TEXTS)
def test_help_names_every_parameter_and_what_is_returned(name: str) -> None:
    text = pydoc.plain(pydoc.render_doc(TEXTS[name]))
    for parameter in inspect.signature(TEXTS[name]).parameters.values():
        if parameter.name == "self":
            continue
        needed = "Required" if parameter.default is inspect.Parameter.empty else "Optional"
        assert f"{parameter.name} ({needed}) : " in text
    assert "Returns:" in text


def test_the_logger_shows_levels_and_fields() -> None:
    file = io.StringIO()
    logger = Logger("DEBUG")
    for _ in range(2):  # the second replaces the first
        logger.set_handler("test", file, HumanReadableFormatter())
    try:
        logger.debug("a %s", "b")
        logger.info_with("m", a=1, b="x")
        logger.info_with("bare")
        logger.warn("w")  # noqa: G010 it has no other name
        logger.error_with("e", code=5)
        logger.set_handler("test", io.StringIO(), HumanReadableFormatter())
        logger.info("elsewhere")
    finally:
        for handler in list(logger._logger.handlers):
            if handler.get_name() == "test":
                logger._logger.removeHandler(handler)
    lines = [line[line.index("[") :] for line in file.getvalue().splitlines()]
    assert lines == [
        "[debug] a b",
        "[info] m: {'a': 1, 'b': 'x'}",
        "[info] bare",
        "[warning] w",
        "[error] e: {'code': 5}",
    ]


class Recording:
    """A logger of a user."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def __getattr__(self, level: str) -> Any:
        return lambda message, *args, **fields: self.lines.append((level, message, fields))


def test_a_verbose_transport_logs_requests_and_replies_without_the_access_key(
    server: HttpServer,
) -> None:
    server.replies += [Reply(200, b"hello"), Reply(404, b"no")]
    logger = Recording()
    with Client(logger, server.url, "secret", transport_verbosity="DEBUG") as client:
        client.object.get("b", "p")
        client.object.get("b", "p", raise_for_status="never")
        with pytest.raises(HttpResponseError):
            client.object.get("b", "p", raise_for_status=[404])
    assert [line[:2] for line in logger.lines] == [
        *[("debug_with", "Tx"), ("debug_with", "Rx")] * 3,
        ("warn_with", "Response error: Request failed with status 200: b''"),
    ]
    assert logger.lines[0][2]["path"] == "/b/p"
    assert logger.lines[1][2]["body"] == b"hello"
    assert "secret" not in repr(logger.lines)
