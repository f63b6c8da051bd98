"""Processes that fork while they use a depot.

Guaranteed:

1. A child is a process of its own: its session, its readers and its locks are not its parent's.
2. Views that it inherited stay valid, also when the parent drops its own and the object is
   deleted; the memory is free when both have let go.
3. Forking while threads write loses nothing, and neither side hangs.
4. A child that never uses the depot costs the depot nothing; how a child ends does not matter.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot.gateways.nws import NwsGateway
from entrepot.nws.client import NwsServer
from support import squares
from support.conditions import PATIENCE_S, wait_until
from support.homes import Home
from support.peers import Peer

Start = Callable[..., Peer]


def in_child(work: Callable[[], object]) -> int:
    """Fork a child that runs `work` and ends as a crash-free program would; return its status."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


# Everything below that forks runs in a peer: it has no threads but those that it starts.


def test_a_child_has_a_session_of_its_own(home: Home, peers: Start) -> None:
    def work(here: Any) -> tuple[int, int]:
        depot = here.depot

        def look() -> None:
            depot.objects.put(1, name="from the child")
            sessions = depot.sessions()
            assert {session.pid for session in sessions} >= {os.getpid(), os.getppid()}
            assert [s.pid for s in sessions if s.is_self] == [os.getpid()]

        status = in_child(look)
        return status, depot.objects.get(name="from the child")

    with home.open("64M"):
        assert peers().run(work) == (0, 1)


@pytest.mark.parametrize("size", [20_000, 300_000])
def test_a_view_that_a_child_inherited_outlives_the_parents_and_the_object(
    home: Home, peers: Start, size: int
) -> None:
    def work(here: Any) -> int:
        depot = here.depot
        id = depot.objects.put(np.full(size, 7, np.uint8))
        seen = depot.objects.get(id)
        parent_is_done, child_may_look = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(child_may_look)
            os.read(parent_is_done, 1)
            code = 0 if (seen == 7).all() else 1
            del seen
            os._exit(code)
        del seen
        depot.objects.delete(id)
        for number in range(50):
            depot.objects.delete(depot.objects.put(np.full(size, number + 10, np.uint8)))
        os.close(child_may_look)
        return os.waitpid(child, 0)[1]

    with home.open("64M"):
        assert peers().run(work) == 0


def test_a_child_may_close_its_copy_of_a_connection(home: Home, peers: Start) -> None:
    def work(here: Any) -> tuple[int, Any]:
        server = NwsServer(host, port)
        space = server.openWs("w")
        space.store("v", "still there")
        return in_child(server.close), space.fetch("v")

    with home.open("64M") as depot:
        gateway = NwsGateway(depot)
        gateway.start()
        host, port = gateway.host, gateway.port
        assert peers().run(work) == (0, "still there")
        gateway.close()


def test_a_child_that_drops_its_views_leaves_those_of_its_parent(home: Home, peers: Start) -> None:
    def work(here: Any) -> tuple[int, bool]:
        depot = here.depot
        id = depot.objects.put(np.full(300_000, 7, np.uint8))
        views = [depot.objects.get(id) for _ in range(5)]

        def drop() -> None:
            views.clear()
            depot.objects.delete(id)
            for number in range(50):
                depot.objects.delete(depot.objects.put(np.full(300_000, number, np.uint8)))

        status = in_child(drop)
        return status, all((view == 7).all() for view in views)

    with home.open("64M"):
        assert peers().run(work) == (0, True)


def test_a_child_of_a_child_sees_what_the_first_one_saw(home: Home, peers: Start) -> None:
    def work(here: Any) -> int:
        depot = here.depot
        id = depot.objects.put(np.full(300_000, 7, np.uint8))
        seen = depot.objects.get(id)

        def inner() -> None:
            depot.objects.delete(id)
            for number in range(50):
                depot.objects.delete(depot.objects.put(np.full(300_000, number, np.uint8)))
            assert (seen == 7).all()

        return in_child(lambda: in_child(inner) == 0 or os._exit(1))

    with home.open("64M"):
        assert peers().run(work) == 0


def test_children_that_never_use_the_depot_leave_no_trace(home: Home, peers: Start) -> None:
    def work(here: Any) -> list[int]:
        here.depot.objects.put(1)
        return [in_child(lambda: None) for _ in range(30)]

    with home.open("64M") as depot:
        version = depot.attached.engine.read(lambda tx: tx.version)
        peer = peers()
        assert peer.run(work) == [0] * 30
        assert len(depot.sessions()) == 2
        assert depot.attached.engine.read(lambda tx: tx.version) <= version + 4


@pytest.mark.parametrize("how", ["exit", "os._exit", "closed"])
def test_a_child_may_end_in_any_way(home: Home, peers: Start, how: str) -> None:
    def work(here: Any) -> int:
        depot = here.depot
        child = os.fork()
        if child == 0:
            depot.space("s").store("v", os.getpid())
            if how == "os._exit":
                os._exit(0)
            if how == "closed":
                depot.close()
            raise SystemExit(0)
        pid = depot.space("s").fetch("v", timeout=60)
        assert pid == child
        return os.waitpid(child, 0)[1]

    def run_outside_of_the_loop(here: Any) -> int:
        # SystemExit must reach the interpreter, not the loop that serves the test.
        import threading

        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(work(here)))
        thread.start()
        thread.join()
        return found[0]

    with home.open("64M") as depot:
        peer = peers()
        assert peer.run(run_outside_of_the_loop) == 0
        depot.collect()
        assert len(depot.sessions()) == 2


def test_a_parent_goes_on_when_its_child_is_killed_in_a_write(home: Home, peers: Start) -> None:
    def work(here: Any) -> int:
        from entrepot.engine import failpoints

        depot = here.depot

        def die() -> None:
            failpoints.arm("engine.before_commit")
            depot.objects.put(1, name="never")

        status = in_child(die)
        depot.objects.put(2, name="after")
        return status

    with home.open("64M") as depot:
        assert peers().run(work) == 9
        assert list(depot.objects.names()) == ["after"]


def test_forks_while_threads_write_lose_nothing(home: Home, peers: Start) -> None:
    forks, threads = 40, 3

    def work(here: Any) -> tuple[int, list[int]]:
        import threading

        depot = here.depot
        stop = threading.Event()
        counts = [0] * threads

        def write(number: int) -> None:
            while not stop.is_set():
                depot.space("s").store("v", np.full(30_000, number, np.uint8))
                depot.objects.put(b"x" * 100)
                counts[number] += 1
                depot.space("s").try_fetch("v")

        running = [threading.Thread(target=write, args=(n,)) for n in range(threads)]
        for thread in running:
            thread.start()

        def put_some() -> None:
            for _ in range(20):
                depot.objects.put(b"y" * 100)

        statuses = [in_child(put_some) for _ in range(forks)]
        stop.set()
        for thread in running:
            thread.join()
        return sum(counts), statuses

    with home.open("64M") as depot:
        written, statuses = peers().run(work)
        assert statuses == [0] * forks
        assert depot.objects.count() == written + 20 * forks


def test_forks_while_threads_wait_neither_hang_nor_take_their_values(
    home: Home, peers: Start
) -> None:
    def work(here: Any) -> list[int]:
        from concurrent.futures import ThreadPoolExecutor

        space = here.depot.space("s")
        with ThreadPoolExecutor(3) as pool:
            waits = [pool.submit(space.fetch, "v", timeout=60) for _ in range(3)]
            while space.variables() == [] or space.variables()[0].fetchers < 3:
                pass
            for _ in range(10):
                assert in_child(lambda: space.store("other", 1)) == 0
            for number in range(3):
                assert in_child(lambda n=number: space.store("v", n)) == 0
            return sorted(wait.result() for wait in waits)

    with home.open("64M") as depot:
        assert peers().run(work) == [0, 1, 2]
        assert len([v for v in depot.space("s").variables() if v.name == "other"]) == 1


def test_a_claim_of_the_parent_cannot_be_ended_by_a_child(home: Home, peers: Start) -> None:
    def work(here: Any) -> tuple[int, object]:
        claim = here.depot.space("s").claim("v")

        def end() -> None:
            with pytest.raises(entrepot.ClosedError):
                claim.done()

        status = in_child(end)
        claim.release()
        return status, here.depot.space("s").fetch("v")

    with home.open("64M") as depot:
        depot.space("s").store("v", "task")
        assert peers().run(work) == (0, "task")


def test_a_workspace_of_the_parent_does_not_end_with_a_child(home: Home, peers: Start) -> None:
    def work(here: Any) -> int:
        here.depot.space("mine", owned=True)
        return in_child(lambda: here.depot.space("mine").store("v", 1))

    with home.open("64M") as depot:
        peer = peers()
        assert peer.run(work) == 0
        depot.collect()
        assert depot.space("mine", create=False).fetch("v") == 1


# Other ways to start processes.


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_share_a_depot(home: Home, peers: Start, method: str) -> None:
    def work(here: Any) -> list[int]:
        with multiprocessing.get_context(method).Pool(2) as pool:
            ids = [here.depot.objects.put(number) for number in range(6)]
            of = [(str(home.root), home.name, int(id)) for id in ids]
            return [here.depot.objects.get(id) for id in pool.starmap(squares.square, of)]

    with home.open("64M"):
        assert peers().run(work) == [number * number for number in range(6)]


def test_an_executor_of_processes_gets_arrays_from_the_depot(home: Home, peers: Start) -> None:
    def work(here: Any) -> list[int]:
        ids = [int(here.depot.objects.put(np.full(100_000, n, np.uint32))) for n in range(4)]
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            sums = pool.map(squares.sum_of, [str(home.root)] * 4, [home.name] * 4, ids)
            return list(sums)

    with home.open("64M"):
        assert peers().run(work) == [n * 100_000 for n in range(4)]


def test_a_forked_child_waits_and_is_woken_by_its_parent(home: Home, peers: Start) -> None:
    def work(here: Any) -> int:
        space = here.depot.space("s")
        child = os.fork()
        if child == 0:
            os._exit(space.fetch("v", timeout=60))
        while not any(v.fetchers for v in space.variables()):
            pass
        space.store("v", 42)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with home.open("64M"):
        assert peers().run(work) == 42


def test_two_parents_that_fork_at_once_do_not_disturb_each_other(home: Home, peers: Start) -> None:
    def work(here: Any) -> list[int]:
        return [in_child(lambda: here.depot.objects.put(1)) for _ in range(20)]

    with home.open("64M") as depot:
        working = [peers().begin(work) for _ in range(2)]
        assert [asked.result(PATIENCE_S) for asked in working] == [[0] * 20] * 2
        assert depot.objects.count() == 40
        wait_until(lambda: depot.collect() and len(depot.sessions()) == 3, "children are reaped")


def test_a_child_whose_threads_all_begin_at_once_neither_hangs_nor_errs(
    home: Home, peers: Start
) -> None:
    def work(here: Any) -> list[int]:
        depot = here.depot
        depot.space("s", persistent=True).store("v", 0)
        space = depot.space("t")

        def use() -> None:
            import threading

            begin = threading.Barrier(4)
            errors: list[Exception] = []

            def one(what: Callable[[], object]) -> None:
                begin.wait()
                try:
                    what()
                except Exception as error:  # noqa: BLE001 looked at below
                    errors.append(error)

            firsts: list[Callable[[], object]] = [
                depot.objects.count,
                lambda: depot.objects.put(1),
                lambda: space.store("v", 1),
                lambda: depot.space("s").store("v", 1),
            ]
            threads = [threading.Thread(target=one, args=(first,)) for first in firsts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []

        return [in_child(use) for _ in range(20)]

    with home.open("64M") as depot:
        assert peers().run(work) == [0] * 20
        assert depot.objects.count() == 20
        depot.delete_space("s")


def test_what_a_child_claims_first_of_all_is_its_own(home: Home, peers: Start) -> None:
    def work(here: Any) -> tuple[int, list[str]]:
        space = here.depot.space("s")
        space.store("v", 1)

        def claim() -> None:
            claimed = space.try_claim("v")
            here.depot.collect()
            here.depot.attached.reap()
            assert claimed is not None
            claimed.done()

        return in_child(claim), [v.name for v in space.variables() if v.values]

    with home.open("64M"):
        assert peers().run(work) == (0, [])


def test_a_child_that_could_not_open_the_depot_tries_again(home: Home, peers: Start) -> None:
    def work(here: Any) -> int:
        from entrepot.engine.lmdb import LmdbSession

        depot = here.depot
        depot.objects.put(1, name="one")
        space = depot.space("s", persistent=True)

        def use() -> None:
            begin = LmdbSession.begin

            def fail(*_arguments: object) -> None:
                raise entrepot.LimitError("all are taken")

            LmdbSession.begin = fail
            for _ in range(2):
                for first in (depot.objects.count, lambda: space.store("v", 1)):
                    try:
                        first()
                    except entrepot.LimitError:
                        continue
                    raise AssertionError("that was not refused")
            LmdbSession.begin = begin
            depot.objects.put(2, name="two")
            space.store("v", 1)
            depot.close()

        return in_child(use)

    with home.open("64M") as depot:
        assert peers().run(work) == 0
        assert sorted(depot.objects.names()) == ["one", "two"]
        assert depot.space("s").fetch("v", timeout=0) == 1
        depot.delete_space("s")


def test_a_grandchild_of_a_child_that_never_used_the_depot_uses_it(
    home: Home, peers: Start
) -> None:
    def work(here: Any) -> int:
        depot = here.depot

        def outer() -> None:
            files = [os.dup(0) for _ in range(20)]  # they take numbers that are free
            assert in_child(lambda: depot.objects.put(1, name="from far")) == 0
            for file in files:
                os.close(file)  # one that was closed twice would not be there

        return in_child(outer)

    with home.open("64M") as depot:
        assert peers().run(work) == 0
        assert list(depot.objects.names()) == ["from far"]


def test_a_child_neither_ends_nor_frees_what_its_parent_writes(home: Home, peers: Start) -> None:
    def work(here: Any) -> tuple[int, bytes]:
        from entrepot.layers.objects import Assembly

        assembly = Assembly(here.depot.attached.volatile)
        blob = assembly.begin_blob(1000)

        def meddle() -> None:
            try:
                assembly.seal_blob(blob)
            except entrepot.ClosedError:
                assembly.drop_blob(blob)
                return
            raise AssertionError("that was not refused")

        status = in_child(meddle)
        blob.memory[:] = b"x" * 1000
        assembly.seal_blob(blob)
        found = here.depot.objects.get(blob.id)
        here.depot.objects.delete(blob.id)
        return status, found

    with home.open("64M"):
        assert peers().run(work) == (0, b"x" * 1000)
