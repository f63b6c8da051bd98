"""How much faster is a program of vineyard's users when it changes its import?

The face (`entrepot.vineyard`) beside the real vineyard, with the same calls on the same values
in alternating turns; and how much memory several readers of one array need together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import entrepot
from benchmarks.harness import Contestant, Plan, Timing, compare
from benchmarks.peers import NotInstalledError, vineyard_client
from benchmarks.readers import READERS, private_bytes
from benchmarks.report import Bound, Check, at_least, at_most, duration

__all__ = ["measure_vineyard_face"]

MIB = 1 << 20
PUT_MIB = 256
GET_MIB = 1024
QUICK_MIB = 16
ROWS = 1000


def measure_vineyard_face(plan: Plan) -> list[Check]:
    """Return the face against the real vineyard, call by call."""
    put_mib, get_mib = (QUICK_MIB, QUICK_MIB) if plan.quick else (PUT_MIB, GET_MIB)
    with _face(get_mib + 3 * put_mib + 512) as ours:
        checks = [_readers(ours, plan)]
        try:
            with vineyard_client(get_mib + 3 * put_mib + 512) as theirs:
                checks += [
                    *_small(ours, theirs, plan),
                    *_large(ours, theirs, put_mib, get_mib, plan),
                ]
        except NotInstalledError as missing:
            plan.note(str(missing))
        return checks


@contextmanager
def _face(mib: int) -> Generator[Any]:
    """Yield a client of the face, on a depot of its own."""
    from entrepot.vineyard._local import LocalStore
    from entrepot.vineyard.core.client import Client, IPCClient

    with entrepot.temporary(memory=f"{mib * 8 // 7}M") as depot:
        yield Client(IPCClient(LocalStore(depot)))


def _small(ours: Any, theirs: Any, plan: Plan) -> list[Check]:
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({name: np.arange(ROWS, dtype=np.float64) for name in "abc"})
    values = {"an int": 20_261_121, "8 doubles": np.arange(8.0), f"a frame, {ROWS} x 3": frame}
    checks: list[Check] = []
    for what, value in values.items():
        checks.append(_check(f"put {what}", partial(_putting, value=value), ours, theirs, plan))
        checks.append(_check(f"get {what}", partial(_getting, value=value), ours, theirs, plan))
    array = values["8 doubles"]
    checks.append(_check("exists", partial(_asking, "exists", value=array), ours, theirs, plan))
    checks.append(_check("get_meta", partial(_asking, "get_meta", value=array), ours, theirs, plan))
    return checks


def _large(ours: Any, theirs: Any, put_mib: int, get_mib: int, plan: Plan) -> list[Check]:
    import numpy as np

    array = np.ones(put_mib * MIB, np.uint8)
    fresh = _check(
        f"put {put_mib} MiB into fresh pages",
        partial(_putting_fresh, value=array),
        ours,
        theirs,
        plan,
        bound=at_least(0.9),
        rounds=3,
    )
    warm = _check(
        f"put {put_mib} MiB where some were before",
        partial(_putting, value=array),
        ours,
        theirs,
        plan,
        bound=at_least(0.9),
    )
    huge = np.ones(get_mib * MIB, np.uint8)
    got = _check(f"get {get_mib} MiB", partial(_getting, value=huge), ours, theirs, plan)
    for client in (ours, theirs):
        client.clear()
    return [fresh, warm, got]


def _check(
    name: str,
    make: Callable[..., Contestant],
    ours: Any,
    theirs: Any,
    plan: Plan,
    *,
    bound: Bound | None = None,
    rounds: int = 400,
) -> Check:
    timed: list[Timing] = compare(
        [make("entrepot.vineyard", ours), make("vineyard", theirs)],
        plan,
        rounds_min=min(rounds, 5),
        rounds_max=rounds,
    )
    us, them = timed
    return Check(
        "vineyard face",
        name,
        them.ratio(us),
        "x faster",
        bound or at_least(10),
        duration(us.median_s),
        duration(them.median_s),
    )


def _putting(name: str, client: Any, value: Any) -> Contestant:
    """Put a value; what was put is deleted behind each turn."""
    ids: list[Any] = []

    def after() -> None:
        client.delete(ids)
        ids.clear()

    return Contestant(name, lambda: ids.append(client.put(value)), after=after)


def _putting_fresh(name: str, client: Any, value: Any) -> Contestant:
    """Put a value into pages that nobody has touched: freed memory goes back before each turn."""
    ids: list[Any] = []

    def before(calls: int) -> None:
        client.delete(ids, memory_trim=True)
        ids.clear()

    return Contestant(name, lambda: ids.append(client.put(value)), before=before)


def _getting(name: str, client: Any, value: Any) -> Contestant:
    return Contestant(name, partial(client.get, client.put(value)))


def _asking(call: str, name: str, client: Any, value: Any) -> Contestant:
    return Contestant(name, partial(getattr(client, call), client.put(value)))


# How many copies do several readers need?


def _readers(client: Any, plan: Plan) -> Check:
    """Return what the readers of one array need beside it, in units of the array."""
    import numpy as np

    mib = QUICK_MIB if plan.quick else PUT_MIB
    id = client.put(np.ones(mib * MIB, np.uint8))
    depot = client.ipc_client._store.depot
    address = (depot.name, str(depot.path.parent), str(depot.data_path.parent), int(id))
    copies = private_bytes(_connect, *address) / (mib * MIB)
    client.delete(id)
    return Check(
        "vineyard face",
        f"copies of an array that {READERS} readers hold, besides the one shared",
        copies,
        "",
        at_most(0.1),
    )


def _connect(name: str, directory: str, data_directory: str, number: int) -> tuple[Any, Any]:
    from entrepot.vineyard import ObjectID
    from entrepot.vineyard._local import LocalStore
    from entrepot.vineyard.core.client import Client, IPCClient

    depot = entrepot.open(name, directory=directory, data_directory=data_directory)
    return Client(IPCClient(LocalStore(depot))), ObjectID(number)
