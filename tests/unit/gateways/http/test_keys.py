"""Access keys: when one is needed, what it allows, and in which headers it may come."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import entrepot
from entrepot.errors import LimitError, NotFoundError
from entrepot.gateways.http import HttpGateway
from entrepot.gateways.http.server import is_loopback
from entrepot.layers import access
from support.http_raw import Raw


def add(depot: entrepot.Depot, rights: dict[str, str] | None = None, **options: Any) -> str:
    text, key = access.new_key("", rights, **options)
    depot.attached.durable().engine.write(access.add, key)
    return text


def test_no_key_is_needed_until_there_is_one(raw: Raw, depot: entrepot.Depot) -> None:
    assert raw.ask("PUT", "/lab/o", "x").status == 200
    key = add(depot, everything=True)
    answer = raw.ask("GET", "/lab/o")
    assert (answer.status, answer.json["ErrorCode"]) == (401, -1)
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert "entrepot keys add" in answer.json["ErrorMessage"]
    assert raw.ask("GET", "/lab/o", X_v3io_session_key=key).body == b"x"
    depot.attached.durable().engine.write(access.remove, key.partition("-")[0])
    assert raw.ask("GET", "/lab/o").status == 200


def test_a_key_may_be_required_before_there_is_one(serve: Callable[..., HttpGateway]) -> None:
    gateway = serve(requires_key=True)
    raw = Raw(gateway.host, gateway.port)
    assert raw.ask("GET", "/lab/o").status == 401
    assert raw.ask("GET", "/").status == 401
    assert raw.ask("GET", "/metrics").status == 401
    assert raw.ask("GET", "/healthz").status == 200
    raw.close()


def test_a_key_is_required_where_other_machines_connect(
    serve: Callable[..., HttpGateway],
) -> None:
    gateway = serve(host="0.0.0.0")
    raw = Raw("127.0.0.1", gateway.port)
    assert raw.ask("GET", "/lab/o").status == 401
    raw.close()
    assert is_loopback("localhost")
    assert is_loopback("::1")
    assert not is_loopback("example.org")


def test_rights_are_by_container(raw: Raw, depot: entrepot.Depot) -> None:
    for name in ("other", "third"):
        depot.create_container(name)
    key = add(depot, {"lab": "r", "other": "rw"})

    def status(method: str, target: str, function: str | None = None) -> int:
        body = {} if function else ("x" if method == "PUT" else None)
        return raw.ask(method, target, body, function=function, X_v3io_session_key=key).status

    assert status("PUT", "/other/o") == 200
    assert status("GET", "/other/o") == 200
    assert status("GET", "/lab/o") == 404
    for method, target, function in (
        ("PUT", "/lab/o", None),
        ("DELETE", "/lab/o", None),
        ("PUT", "/lab/d/", None),
        ("PUT", "/lab/k", "PutItem"),
        ("PUT", "/lab/k", "UpdateItem"),
        ("PUT", "/lab/s/", "CreateStream"),
        ("PUT", "/lab/s/", "PutRecords"),
        ("PUT", "/third/k", "GetItem"),
        ("GET", "/third/o", None),
        ("GET", "/none/o", None),
        ("PUT", "/new/", None),
        ("PUT", "/other/", None),
    ):
        assert status(method, target, function) == 403, (method, target, function)
    listed = raw.ask("GET", "/", X_v3io_session_key=key).body
    assert (b"lab" in listed, b"other" in listed, b"third" in listed) == (True, True, False)


@pytest.mark.parametrize(
    "form",
    ["X-v3io-session-key: {}", "Authorization: Bearer {}", "Authorization: AWS {}:sig",
     "Authorization: AWS4-HMAC-SHA256 Credential={}/20260101/x, Signature=y", "basic"],
    ids=["session", "bearer", "aws", "aws4", "basic"],
)  # fmt: skip
def test_keys_come_in_many_forms(raw: Raw, depot: entrepot.Depot, form: str) -> None:
    key = add(depot, everything=True)
    if form == "basic":
        form = "Authorization: Basic " + base64.b64encode(f"user:{key}".encode()).decode()
    raw.send(f"GET /lab HTTP/1.1\r\n{form.format(key)}\r\n\r\n".encode())
    assert raw.answer().status == 200


@pytest.mark.parametrize(
    "header",
    ["X-v3io-session-key: ", "X-v3io-session-key: x", "Authorization: Basic %%",
     "Authorization: Basic eA==", "Authorization: Digest x", "X-v3io-session-key: \xff\xfe",
     "Authorization: AWS4-HMAC-SHA256 nothing"],
    ids=["empty", "short", "no_base64", "no_colon", "unknown", "latin", "aws4"],
)  # fmt: skip
def test_what_is_no_key_is_refused(raw: Raw, depot: entrepot.Depot, header: str) -> None:
    key = add(depot, everything=True)
    raw.send(f"GET /lab HTTP/1.1\r\n{header}\r\n\r\n".encode("latin-1"))
    assert raw.answer().status == 401
    assert raw.ask("GET", "/lab", X_v3io_session_key=f"{key}x").status == 401
    assert raw.ask("GET", "/lab", X_v3io_session_key=key[:-1]).status == 401


def test_a_large_upload_without_a_key_is_refused_at_once(raw: Raw, depot: entrepot.Depot) -> None:
    add(depot, everything=True)
    raw.send(b"PUT /lab/o HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n" + bytes(1000))
    answer = raw.answer()
    assert (answer.status, answer.headers["Connection"]) == (401, "close")


def test_the_depot_does_not_know_the_secret(depot: entrepot.Depot) -> None:
    key = add(depot, {"lab": "r"})
    secret = key.partition("-")[2].encode()
    data: Path = depot.data_path / "catalog" / "data.mdb"
    assert secret not in data.read_bytes()
    (stored,) = depot.attached.durable().engine.read(access.list_keys)
    assert stored.rights == {"lab": "r"}
    assert secret.decode() not in repr(stored)


@pytest.mark.parametrize(
    ("rights", "label"),
    [({}, ""), ({"lab": "w"}, ""), ({"Lab": "r"}, ""), ({"lab": "r"}, "x" * 256)],
    ids=["none", "right", "name", "label"],
)
def test_a_key_without_sense_is_not_made(rights: dict[str, str], label: str) -> None:
    with pytest.raises(LimitError):
        access.new_key(label, rights)


def test_a_key_that_is_not_there_cannot_be_removed(depot: entrepot.Depot) -> None:
    with pytest.raises(NotFoundError, match="entrepot keys ls"):
        depot.attached.durable().engine.write(access.remove, "none")
