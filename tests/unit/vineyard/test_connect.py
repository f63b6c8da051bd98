"""Which instance `connect` means, and what clients tell of themselves."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot.vineyard as vineyard
from entrepot.vineyard._local import LocalStore
from entrepot.vineyard.core.client import Client, IPCClient
from support.homes import Home

C: Any = vineyard._C
VARIABLES = ("VINEYARD_IPC_SOCKET", "VINEYARD_RPC_ENDPOINT", "VINEYARD_CONFIG")


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "memory").mkdir(mode=0o700)
    monkeypatch.setenv("ENTREPOT_DIR", str(tmp_path / "memory"))
    monkeypatch.setenv("ENTREPOT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ENTREPOT_MEMORY", "64M")


def test_without_any_server_the_users_depot_is_opened() -> None:
    with vineyard.connect() as client:
        assert client.ipc_socket == "depot:default"
        assert isinstance(client, vineyard.IPCClient)
        assert not isinstance(client, vineyard.RPCClient)
        assert client.has_ipc_client()
        assert not client.has_rpc_client()
        assert client.default_client() is client.ipc_client
        with pytest.raises(AssertionError, match="RPC client is not available"):
            client.rpc_client.close()
        id = client.put(5)
        with vineyard.connect(None) as again:
            assert again.get(id) == 5
        client.delete(id)


@pytest.mark.parametrize("name", ["depot:lab", "lab"])
def test_a_socket_may_name_a_depot(name: str) -> None:
    with vineyard.connect(name) as client, vineyard._connect("depot:lab") as raw:
        assert isinstance(raw, vineyard.IPCClient)
        assert raw.get(client.put("x")) == "x"
        client.clear()


def test_the_environment_names_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    with vineyard.envvars("VINEYARD_IPC_SOCKET", "depot:lab"), vineyard.connect() as client:
        assert client.ipc_socket == "depot:lab"
    with vineyard.connect() as client:
        assert client.ipc_socket == "depot:default"


def test_a_file_names_an_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vineyard-config.yaml").write_text("Vineyard:\n  IPCSocket: depot/none.sock\n")
    monkeypatch.setenv("VINEYARD_CONFIG", str(tmp_path))
    with pytest.raises(C.ConnectionFailedException, match=f"{tmp_path}/depot/none.sock"):
        vineyard.connect()


def test_where_nobody_listens_the_connection_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "nothing.sock", str(tmp_path / "file")):
        with pytest.raises(C.ConnectionFailedException, match="Failed to connect"):
            vineyard.connect(wrong)
    for arguments in (("127.0.0.1", 1), ("127.0.0.1", "1"), (("127.0.0.1", 1),), ("127.0.0.1:1",)):
        with pytest.raises(vineyard.ConnectionFailed):
            vineyard.connect(*arguments)
    with pytest.raises(ConnectionError):
        vineyard.connect(endpoint="127.0.0.1:1,127.0.0.1:2")


def test_a_dead_socket_in_the_environment_falls_back_to_the_endpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VINEYARD_IPC_SOCKET", "/nowhere/v.sock")
    with pytest.raises(C.ConnectionFailedException, match="/nowhere"):
        vineyard.connect()
    monkeypatch.setenv("VINEYARD_RPC_ENDPOINT", "127.0.0.1:1")
    with pytest.raises(C.ConnectionFailedException, match=r"127\.0\.0\.1:1"):
        vineyard.connect()


@pytest.mark.parametrize("wrong", [5, 1.5, b"x", {}], ids=repr)
def test_what_is_no_socket_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError):
        vineyard.connect(wrong)
    with pytest.raises(TypeError):
        vineyard.connect(unknown=wrong)


def test_closing_one_client_leaves_the_others_open() -> None:
    first, second = vineyard.connect(), vineyard.connect()
    forked = first.fork()
    first.close()
    first.close()
    assert (first.connected, second.connected, forked.connected) == (False, True, True)
    for call in (
        lambda: first.put(1),
        lambda: first.exists(vineyard.ObjectID(1)),
        lambda: first.status,
    ):
        with pytest.raises(C.ConnectionErrorException, match="not connected"):
            call()
    assert forked.get(second.put(5)) == 5
    second.clear()
    second.close()
    forked.close()


def test_the_module_has_put_and_get_of_its_own() -> None:
    id = vineyard.put(np.arange(3))
    assert vineyard.get(id).tolist() == [0, 1, 2]
    from entrepot.vineyard.core.client import default_client

    default_client().clear()
    default_client().close()


def test_the_status_is_as_in_the_document(client: Client) -> None:
    status = client.status
    assert str(status).splitlines()[0] == "InstanceStatus:"
    assert [line.split(":")[0].strip() for line in str(status).splitlines()[1:]] == [
        "instance_id", "deployment", "memory_usage", "memory_limit",
        "deferred_requests", "ipc_connections", "rpc_connections",
    ]  # fmt: skip
    assert (status.instance_id, status.deployment, status.memory_usage) == (0, "local", 0)
    with pytest.raises(AttributeError):
        status.memory_usage = 5
    with pytest.raises(TypeError):
        vineyard.InstanceStatus()
    told = client.meta[client.instance_id]
    assert {"hostid", "hostname", "nodename", "ipc_socket", "rpc_endpoint", "timestamp"} <= set(
        told
    )
    assert client.version == vineyard.__version__ == "0.24.2"


def test_a_depot_full_of_metadata_has_no_memory_but_not_less(home: Home) -> None:
    with Client(IPCClient(LocalStore(home.open("64M")))) as client:
        with pytest.raises(C.NotEnoughMemoryException) as caught:  # noqa: PT012 until it is full
            while True:
                meta = vineyard.ObjectMeta()
                meta["typename"] = "my::Type"
                meta["text"] = "x" * 1_000_000
                client.create_metadata(meta)
        assert "size are -" not in str(caught.value)
        assert client.status.memory_limit >= 0


def test_ids_of_other_types_are_refused(client: Client) -> None:
    for call in (client.exists, client.get_meta, client.get_object, client.persist, client.delete):
        for wrong in ("o5", 5, None, 1.5):
            with pytest.raises(TypeError):
                call(wrong)
    for wrong in (None, 1.5):
        with pytest.raises(TypeError):
            client.get(wrong)
    id = client.put(5)
    assert client.get(int(id)) == client.get(repr(id)) == client.get(f"o{id!r}") == 5


def test_what_is_missing_is_said(client: Client) -> None:
    gone = vineyard.ObjectID(12345)
    for call in (client.get, client.get_meta, client.get_object, lambda id: client.get_metas([id])):
        with pytest.raises(C.ObjectNotExistsException):
            call(gone)
    for call in (client.persist, client.shallow_copy):
        with pytest.raises(C.MetaTreeSubtreeNotExistsException):
            call(gone)
    with pytest.raises(C.ObjectNotExistsException):
        client.get(name="nobody")
    with pytest.raises(KeyError):
        client.get_name("nobody")
    client.delete(gone)
    client.delete([gone, gone])
    client.drop_name("nobody")
    assert client.list_objects("*[") == client.list_objects("(", regex=True) == []


def test_deleting_members_and_trees(client: Client) -> None:
    a, b = client.put(np.arange(20_000)), client.put("b")
    whole = client.put([a, b])
    client.delete(a)
    assert client.exists(a), "a member of another stays"
    client.delete([a, whole])
    assert not any(map(client.exists, (a, b, whole)))
    a, b = client.put(1), client.put(2)
    whole = client.put([a, b])
    client.delete(whole, deep=False)
    assert (client.exists(a), client.exists(b)) == (True, True)
    whole = client.put([a, b])
    client.delete(a, force=True)
    assert (client.exists(a), client.exists(whole)) == (False, False)
    client.delete(client.get_object(b))
    blob = client.put(b"x" * 100)
    meta = vineyard.ObjectMeta()
    meta["typename"] = "my::Thing"
    meta.add_member("blob", blob)
    client.delete(client.create_metadata(meta), deep=False)
    assert not client.exists(blob), "blobs never outlive what holds them"
    assert client.status.memory_usage == 0


def test_names_want_persisted_objects(client: Client) -> None:
    id = client.put(5)
    with pytest.raises(C.InvalidException, match="persist it first"):
        client.put_name(id, "n")
    with pytest.warns(UserWarning, match="not persisted"):
        client.put(6, name="n")
    client.persist(id)
    client.persist(id)
    for name in ("n", "", "a/b", "ä b", vineyard.ObjectName("o")):
        client.put_name(id, name)
        assert client.get_name(name) == id
        assert client.get(name=name) == 5
    other = client.put(7, persist=True, name="n")
    assert client.get_name("n") == other
    assert set(client.list_names("*", limit=10)) == {"n", "", "a/b", "ä b", "o"}
    assert client.list_names("a.*", regex=True) == {"a/b": id}
    assert len(client.list_names("*")) == 5
    client.drop_name("n")
    with pytest.raises(C.ObjectNotExistsException):
        client.get_name("n")


def test_a_wait_for_a_name_ends_when_it_is_given(client: Client) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(client.get_name("later", wait=True)))
    thread.start()
    id = client.put(5, persist=True, name="later")
    thread.join()
    assert found == [id]


def test_a_shallow_copy_shares_its_bytes(client: Client) -> None:
    id = client.put(np.arange(20_000))
    before = client.status.memory_usage
    copy = client.shallow_copy(id)
    assert copy != id
    assert client.status.memory_usage == before
    client.delete(id)
    assert client.get(copy).tolist() == list(range(20_000))
    tree = client.put([1, 2])
    more = client.shallow_copy(tree, {"extra": 5})
    assert client.get_meta(more)["extra"] == 5
    assert client.get_meta(more).signature == client.get_meta(tree).signature
    assert client.get(more) == (1, 2)


SHALLOW: list[Any] = [
    5,
    float("inf"),
    "text",
    np.arange(3),
    np.arange(20_000),
    np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
    np.zeros((0, 3)),
    np.arange(4, dtype=">i4"),
    {"a": np.arange(20_000)},
]


@pytest.mark.parametrize("number", range(len(SHALLOW)))
def test_a_shallow_copy_of_any_value_takes_more_metadata(client: Client, number: int) -> None:
    value = SHALLOW[number]
    id = client.put(value)
    copy = client.shallow_copy(id, {"owner": "me", "times": 2})
    client.delete(id)
    meta = client.get_meta(copy)
    assert (meta["owner"], meta["times"]) == ("me", 2)
    np.testing.assert_equal(client.get(copy), value)


def test_a_shallow_copy_of_a_large_array_shares_its_bytes_in_spite_of_more_metadata(
    client: Client,
) -> None:
    id = client.put(np.arange(20_000))
    before = client.status.memory_usage
    client.shallow_copy(id, {"owner": "me"})
    assert client.status.memory_usage == before


def test_a_blob_has_no_shallow_copy(client: Client) -> None:
    with pytest.raises(C.AssertionFailedException, match="shallow"):
        client.shallow_copy(client.put(b"abc"))


def test_the_documents_keywords_name_arguments(client: Client) -> None:
    id = client.put(5)
    client.persist(object_id=id)
    client.persist(object=client.get_object(id))
    client.put_name(object_id=id, name="five")
    assert client.get(name="five") == 5
    client.delete(object_id=id, force=False, deep=True)
    assert not client.exists(object_id=id)


def test_a_resolver_may_be_the_second_argument(client: Client) -> None:
    id = client.put(np.arange(3))

    def type_of(obj: Any) -> str:
        return obj.typename

    def keywords_of(obj: Any, **keywords: Any) -> list[str]:
        return sorted(keywords)

    assert client.get(id, type_of) == client.get(id, resolver=type_of) == "vineyard::Tensor<int64>"
    assert client.get(id, keywords_of, more=1) == ["__vineyard_client", "more"]
    assert client.get(id, None).tolist() == [0, 1, 2]


def test_a_client_of_one_kind_says_what_the_other_would_know(client: Client) -> None:
    assert client.rdma_endpoint == ""
    with pytest.raises(AssertionError, match="RPC client is not available"):
        _ = client.remote_instance_id


def test_an_endpoint_may_be_a_path_and_the_arguments_of_the_document(tmp_path: Path) -> None:
    from entrepot.vineyard.deploy import local

    socket = str(tmp_path / "v.sock")
    with local.start_vineyardd(None, None, "16M", socket, False) as (_, path, endpoints):
        assert (path, endpoints) == (socket, None)
        with vineyard.connect(endpoint=socket) as client:
            assert client.is_ipc
            assert client.status.memory_limit == 16 << 20
    with local.start_vineyardd("http://one:2379", size="16M", rpc=False) as (_, _, endpoints):
        assert endpoints == "http://one:2379"


def test_nobody_is_left_out_of_a_list_of_objects(client: Client) -> None:
    for number in range(10):
        client.put(np.full(3, number))
    client.put(b"blob")
    assert len(client.list_objects("*")) == 5
    assert len(client.list_objects("vineyard::Tensor*", limit=100)) == 10
    assert len(client.list_objects("vineyard::(Tensor|Blob).*", regex=True, limit=100)) == 11
    assert len(client.list_metadatas("*", limit=100, nobuffer=True)) == 11
    client.clear()
    assert client.list_objects("*") == []


def test_calls_that_keep_memory_in_order_do_no_harm(client: Client) -> None:
    id = client.put(np.arange(20_000))
    client.evict([id])
    client.load([id])
    client.unpin([id])
    client.sync_meta()
    client.reset()
    assert client.migrate(id) == id
    with pytest.raises(C.ObjectNotExistsException):
        client.evict([vineyard.ObjectID(5)])
    client.delete(id, memory_trim=True)
    assert client.memory_trim() in (True, False)
    with client.with_compression(False), client.with_spread(True):
        assert (client.compression, client.spread) == (False, True)
    assert (client.compression, client.spread) == (True, False)


def test_instances_on_several_machines_say_what_is_missing() -> None:
    from entrepot.vineyard.deploy import distributed

    with pytest.raises(RuntimeError, match="need etcd"), distributed.start_vineyardd(["a", "b"]):
        pass
