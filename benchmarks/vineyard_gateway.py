"""Does an original client of vineyard lose anything when our gateway is its server?

The same client, vineyard 0.24's own, on our gateway and on the real vineyardd, in alternating
turns; and how much memory several such readers of one array need together.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from benchmarks.harness import Contestant, Plan, compare
from benchmarks.peers import NotInstalledError, vineyard_client
from benchmarks.readers import READERS, private_bytes
from benchmarks.report import Bound, Check, at_most, duration

__all__ = ["measure_vineyard_gateway"]

MIB = 1 << 20
LARGE_MIB, QUICK_MIB = 256, 8
REMOTE_MIB, QUICK_REMOTE_MIB = 64, 4
ROWS = 1000
COLUMNS = 30
SLOWER_MAX = 1.2


class Clients(NamedTuple):
    """Clients of one server: on its machine, and over the network."""

    ipc: Any
    rpc: Any


def measure_vineyard_gateway(plan: Plan) -> list[Check]:
    """Return our gateway against the real server, call by call."""
    large, remote = (QUICK_MIB, QUICK_REMOTE_MIB) if plan.quick else (LARGE_MIB, REMOTE_MIB)
    mib = 4 * large + 4 * remote + 128
    try:
        with _theirs(mib) as theirs, _ours(mib) as ours:
            return [
                _readers(ours.ipc, large),
                *_small(ours, theirs, plan),
                *_large(ours, theirs, large, remote, plan),
            ]
    except NotInstalledError as missing:
        plan.note(str(missing))
        return []


@contextmanager
def _ours(mib: int) -> Generator[Clients]:
    from entrepot.vineyard.deploy.local import start_vineyardd

    vineyard: Any = import_module("vineyard")
    port = _free_port()
    with start_vineyardd(size=f"{mib}M", rpc_socket_port=port) as (_, path, _):
        clients = Clients(vineyard.connect(path), _rpc_client(port))
        yield clients
        for client in clients:
            client.close()


@contextmanager
def _theirs(mib: int) -> Generator[Clients]:
    port = _free_port()
    with vineyard_client(mib, port=port) as client:
        remote = _rpc_client(port)
        yield Clients(client, remote)
        remote.close()


def _rpc_client(port: int) -> Any:
    """Connect; what the client prints about that is no part of our output."""
    vineyard: Any = import_module("vineyard")
    sys.stdout.flush()
    shown = os.dup(1)
    os.dup2(2, 1)
    try:
        return vineyard.connect("127.0.0.1", port)
    finally:
        os.dup2(shown, 1)
        os.close(shown)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _small(ours: Clients, theirs: Clients, plan: Plan) -> list[Check]:
    import numpy as np
    import pandas as pd

    small = np.arange(8.0)
    frame = pd.DataFrame({name: np.arange(ROWS, dtype=np.float64) for name in "abc"})
    wide = pd.DataFrame({f"c{at}": np.arange(8.0) for at in range(COLUMNS)})
    check = partial(_check, ours=ours, theirs=theirs, plan=plan)
    checks = [check("exists", partial(_asking, call="exists", value=small))]
    checks += [check("status", _status), check("list 5 objects", _listing)]
    checks += [check("get_meta", partial(_asking, call="get_meta", value=small))]
    for what, value in {
        "an int": 20_261_121,
        "8 doubles": small,
        f"a frame, {ROWS} x 3": frame,
        f"a frame, 8 x {COLUMNS}": wide,
    }.items():
        checks.append(check(f"put {what}", partial(_putting, value=value)))
        checks.append(check(f"get {what}", partial(_getting, value=value)))
    checks.append(check("persist, put_name", partial(_naming, value=small)))
    checks.append(check("get_name", partial(_finding, value=small)))
    checks.append(check("put and delete an int", partial(_deleting, value=1)))
    checks.append(check("put and delete 8 doubles", partial(_deleting, value=small)))
    over_rpc = {"exists": partial(_asking, call="exists", value=small)}
    over_rpc["put an int"] = partial(_putting, value=1)
    over_rpc["put 8 doubles"] = partial(_putting, value=small)
    over_rpc["get 8 doubles"] = partial(_getting, value=small)
    checks += [check(what, make, over_rpc=True) for what, make in over_rpc.items()]
    return checks


def _large(ours: Clients, theirs: Clients, large: int, remote: int, plan: Plan) -> list[Check]:
    import numpy as np

    array, body = np.ones(large * MIB, np.uint8), np.ones(remote * MIB, np.uint8)
    check = partial(_check, ours=ours, theirs=theirs, plan=plan, rounds=40)
    return [
        check(f"put {large} MiB where some were before", partial(_replacing, value=array)),
        check(f"get {large} MiB", partial(_getting, value=array)),
        check(f"put {remote} MiB", partial(_replacing, value=body), over_rpc=True),
        check(f"get {remote} MiB", partial(_getting, value=body), over_rpc=True),
    ]


def _check(
    name: str,
    make: Any,
    *,
    ours: Clients,
    theirs: Clients,
    plan: Plan,
    over_rpc: bool = False,
    rounds: int = 200,
    bound: Bound | None = None,
) -> Check:
    way = 1 if over_rpc else 0
    us, them = compare(
        [make("entrepot", ours[way]), make("vineyard", theirs[way])],
        plan,
        rounds_min=min(rounds, 5),
        rounds_max=rounds,
    )
    for client in (ours.ipc, theirs.ipc):
        client.clear()
    return Check(
        "vineyard gateway",
        f"{'RPC' if over_rpc else 'IPC'}: {name}",
        us.ratio(them),
        "x their time",
        bound or at_most(SLOWER_MAX),
        duration(us.median_s),
        duration(them.median_s),
    )


def _asking(name: str, client: Any, *, call: str, value: Any) -> Contestant:
    return Contestant(name, partial(getattr(client, call), client.put(value)))


def _status(name: str, client: Any) -> Contestant:
    return Contestant(name, lambda: client.status.memory_usage)


def _listing(name: str, client: Any) -> Contestant:
    for number in range(10):
        client.put(number)
    return Contestant(name, lambda: client.list_objects("*", limit=5))


def _getting(name: str, client: Any, *, value: Any) -> Contestant:
    return Contestant(name, partial(client.get, client.put(value)))


def _putting(name: str, client: Any, *, value: Any) -> Contestant:
    """Put a value; what was put is deleted behind each turn."""
    ids: list[Any] = []

    def after() -> None:
        client.delete(ids)
        ids.clear()

    return Contestant(name, lambda: ids.append(client.put(value)), after=after)


def _replacing(name: str, client: Any, *, value: Any) -> Contestant:
    """Put a value where one was before."""
    ids: list[Any] = []

    def before(calls: int) -> None:
        client.delete(ids)
        ids.clear()

    client.delete(client.put(value))
    return Contestant(name, lambda: ids.append(client.put(value)), before=before)


def _deleting(name: str, client: Any, *, value: Any) -> Contestant:
    return Contestant(name, lambda: client.delete(client.put(value)))


def _naming(name: str, client: Any, *, value: Any) -> Contestant:
    id = client.put(value)

    def call() -> None:
        client.persist(id)
        client.put_name(id, "a name")

    return Contestant(name, call)


def _finding(name: str, client: Any, *, value: Any) -> Contestant:
    id = client.put(value)
    client.persist(id)
    client.put_name(id, "a name")
    return Contestant(name, lambda: client.get_name("a name"))


# How many copies do several readers need?


def _readers(client: Any, mib: int) -> Check:
    """Return how many copies of one array there are, with all who look at it."""
    import numpy as np

    before = client.status.memory_usage
    id = client.put(np.ones(mib * MIB, np.uint8))
    shared = client.status.memory_usage - before
    private = private_bytes(_connect, client.ipc_socket, int(id))
    client.delete(id)
    return Check(
        "vineyard gateway",
        f"copies of an array that a writer and {READERS} readers hold together",
        (shared + private) / (mib * MIB),
        "",
        at_most(1.1),
    )


def _connect(path: str, number: int) -> tuple[Any, Any]:
    vineyard: Any = import_module("vineyard")
    return vineyard.connect(path), vineyard.ObjectID(number)
