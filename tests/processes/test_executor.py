"""An executor on a space: what comes back, workers that die, tasks that are cancelled."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import entrepot
from entrepot import executor
from entrepot.errors import LimitError, TypeMismatchError
from entrepot.executor import BrokenSpaceExecutor, RemoteTraceback, SpaceExecutor
from support import tasks
from support.conditions import PATIENCE_S, is_running, wait_until
from support.homes import Home


@pytest.fixture
def depot(home: Home) -> Iterator[entrepot.Depot]:
    with home.open("128M") as made:
        yield made


@pytest.fixture
def pool(depot: entrepot.Depot) -> Iterator[SpaceExecutor]:
    with SpaceExecutor(max_workers=2, depot=depot) as made:
        yield made


def place(depot: entrepot.Depot) -> tuple[str, str, str]:
    return depot.name, str(depot.path.parent), str(depot.data_path.parent)


def test_functions_are_called_elsewhere_and_results_come_back(pool: SpaceExecutor) -> None:
    assert pool.submit(tasks.square, 7).result(PATIENCE_S) == 49
    assert pool.submit(tasks.pid).result(PATIENCE_S) != os.getpid()
    assert list(pool.map(tasks.square, range(20))) == [n * n for n in range(20)]
    assert list(pool.map(tasks.square, range(20), chunksize=7)) == [n * n for n in range(20)]
    assert list(pool.map(pow, [2, 3], [4, 2, 9])) == [16, 9]
    with pytest.raises(ValueError, match="chunksize"):
        pool.map(tasks.square, [1], chunksize=0)


def test_a_big_result_is_not_copied(pool: SpaceExecutor) -> None:
    found = pool.submit(tasks.numbers, 1_000_000).result(PATIENCE_S)
    assert np.array_equal(found, np.arange(1_000_000))
    assert not found.flags.owndata
    assert not found.flags.writeable
    assert pool.submit(tasks.total, found).result(PATIENCE_S) == found.sum()


def test_an_exception_comes_back_with_its_traceback(pool: SpaceExecutor) -> None:
    future = pool.submit(tasks.fail, "on purpose")
    error = future.exception(PATIENCE_S)
    assert isinstance(error, ValueError)
    assert str(error) == "on purpose"
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fail" in str(error.__cause__)


def test_what_cannot_be_pickled_is_said_clearly(pool: SpaceExecutor) -> None:
    with pytest.raises(TypeMismatchError, match="cannot be pickled"):
        pool.submit(tasks.square, tasks.lock_of())
    with pytest.raises(TypeMismatchError, match="cannot be pickled"):
        pool.submit(tasks.lock_of).result(PATIENCE_S)
    with pytest.raises(TypeMismatchError, match="CannotTravelError: 1 and 2"):
        pool.submit(tasks.fail_strangely).result(PATIENCE_S)
    assert pool.submit(tasks.square, 2).result(PATIENCE_S) == 4


def test_a_task_whose_worker_was_killed_is_done_by_another(
    pool: SpaceExecutor, tmp_path: Any
) -> None:
    marks = [str(tmp_path / f"mark {number}") for number in range(3)]
    assert list(pool.map(tasks.die_once, marks)) == ["survived"] * 3


def test_a_task_that_kills_its_workers_fails(pool: SpaceExecutor) -> None:
    future = pool.submit(tasks.die_always)
    with pytest.raises(BrokenSpaceExecutor, match="3 workers died"):
        future.result(PATIENCE_S)
    assert pool.submit(tasks.square, 3).result(PATIENCE_S) == 9


def test_a_task_that_nobody_began_can_be_cancelled(depot: entrepot.Depot) -> None:
    with SpaceExecutor("cancelled", max_workers=1, depot=depot) as pool:
        busy = pool.submit(tasks.wait_for, place(depot), "go on")
        signals = depot.space("signals")
        signals.fetch("began", timeout=PATIENCE_S)
        waiting = [pool.submit(tasks.square, number) for number in range(3)]
        assert waiting[1].cancel()
        assert waiting[1].cancelled()
        assert waiting[1].cancel()
        assert not busy.cancel()
        signals.store("go on", 5)
        assert busy.result(PATIENCE_S) == 5
        assert not busy.cancel()
        _, left = concurrent.futures.wait(waiting, PATIENCE_S)
        assert not left
        assert [waiting[0].result(), waiting[2].result()] == [0, 4]
        with pytest.raises(concurrent.futures.CancelledError):
            waiting[1].result()


def test_a_shut_down_executor_takes_no_more_and_leaves_nothing(depot: entrepot.Depot) -> None:
    pool = SpaceExecutor(max_workers=1, depot=depot)
    assert pool.submit(tasks.square, 1).result(PATIENCE_S) == 1
    pids = pool._crew.pids if pool._crew is not None else []
    pool.shutdown()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(tasks.square, 1)
    assert len(pids) == 1
    assert not is_running(pids[0])
    assert depot.spaces() == []


def test_shutting_down_with_cancel_leaves_what_is_begun(depot: entrepot.Depot) -> None:
    pool = SpaceExecutor(max_workers=1, depot=depot)
    busy = pool.submit(tasks.wait_for, place(depot), "go on")
    depot.space("signals").fetch("began", timeout=PATIENCE_S)
    waiting = pool.submit(tasks.square, 1)
    pool.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    depot.space("signals").store("go on", 5)
    assert busy.result(PATIENCE_S) == 5
    pool.shutdown()
    wait_until(lambda: [info.name for info in depot.spaces()] == ["signals"], "nothing is left")


def test_executors_share_a_space_and_get_their_own_results(depot: entrepot.Depot) -> None:
    with (
        SpaceExecutor("shared", max_workers=1, depot=depot) as one,
        SpaceExecutor("shared", max_workers=1, depot=depot) as other,
    ):
        ones = [one.submit(tasks.square, number) for number in range(50)]
        others = [other.submit(tasks.square, number + 1000) for number in range(50)]
        assert [each.result(PATIENCE_S) for each in ones] == [n * n for n in range(50)]
        assert [each.result(PATIENCE_S) for each in others] == [(n + 1000) ** 2 for n in range(50)]


def test_workers_may_be_started_elsewhere(
    depot: entrepot.Depot, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = os.environ | {
        "ENTREPOT_DIR": str(home.root),
        "ENTREPOT_DATA": str(home.data),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with SpaceExecutor("elsewhere", max_workers=0, depot=depot) as pool:
        future = pool.submit(tasks.pid)
        command = [sys.executable, "-m", "entrepot", "worker", "elsewhere", "-d", home.name]
        worker = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            assert future.result(PATIENCE_S) == worker.pid
            worker.send_signal(signal.SIGINT)
            assert worker.wait(PATIENCE_S) == 130
        finally:
            worker.kill()
            worker.wait()
            future.cancel()


def test_a_worker_finds_the_modules_of_its_current_directory(
    depot: entrepot.Depot, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    (here / "cubes_of_mine.py").write_text("def cube(number):\n    return number**3\n")
    # As the command that pip installs: what Python finds is beside the script, not here.
    (elsewhere / "start.py").write_text("from entrepot.cli import main\nmain()\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    monkeypatch.syspath_prepend(str(here))
    cube = importlib.import_module("cubes_of_mine").cube
    with SpaceExecutor("elsewhere", max_workers=0, depot=depot) as pool:
        future = pool.submit(cube, 3)
        command = [sys.executable, str(elsewhere / "start.py"), "worker", "elsewhere"]
        command += ["-d", home.name, "--directory", str(home.root), "--data-dir", str(home.data)]
        with subprocess.Popen(
            command, env=environment, cwd=here, stderr=subprocess.DEVNULL
        ) as worker:
            try:
                assert future.result(PATIENCE_S) == 27
            finally:
                worker.kill()
                future.cancel()


def test_workers_end_with_an_executor_that_is_killed(depot: entrepot.Depot, home: Home) -> None:
    program = (
        "import entrepot, os, sys, time\n"
        "from support import tasks\n"
        "name, root, data = sys.argv[1:]\n"
        "depot = entrepot.open(name, directory=root, data_directory=data)\n"
        "pool = entrepot.SpaceExecutor(max_workers=2, depot=depot)\n"
        "print(pool.submit(tasks.pid).result(), *pool._crew.pids, flush=True)\n"
        "pool.submit(tasks.wait_for, (name, root, data), 'never').result()\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, *place(depot)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        depot.space("signals").fetch("began", timeout=PATIENCE_S)
        parent.kill()
    for pid in pids:
        wait_until(lambda p=pid: not is_running(p), "the worker ended")

    def only_signals_are_left() -> bool:
        depot.collect()
        return [info.name for info in depot.spaces()] == ["signals"]

    wait_until(only_signals_are_left, "what the dead held is given back")


def test_a_child_of_the_process_cannot_use_the_executor(pool: SpaceExecutor) -> None:
    assert pool.submit(tasks.square, 2).result(PATIENCE_S) == 4
    child = os.fork()
    if not child:
        status = 1
        try:
            pool.submit(tasks.square, 2)
        except RuntimeError:
            pool.shutdown()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.submit(tasks.square, 3).result(PATIENCE_S) == 9


def test_it_serves_an_event_loop(pool: SpaceExecutor) -> None:
    async def work() -> list[int]:
        loop = asyncio.get_running_loop()
        waits = [loop.run_in_executor(pool, tasks.square, number) for number in range(5)]
        return await asyncio.gather(*waits)

    assert asyncio.run(work()) == [0, 1, 4, 9, 16]


def test_progress_is_shown_as_tasks_are_done(
    depot: entrepot.Depot, capsys: pytest.CaptureFixture[str]
) -> None:
    with SpaceExecutor("bar", max_workers=1, depot=depot, progress=True) as pool:
        assert sum(pool.map(tasks.square, range(10))) == 285
    assert "10/10" in capsys.readouterr().out


def test_workers_that_cannot_start_break_the_executor(
    depot: entrepot.Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "work", tasks.end_at_once)
    with SpaceExecutor(max_workers=1, depot=depot) as pool:
        future = pool.submit(tasks.square, 1)
        with pytest.raises(BrokenSpaceExecutor, match="before they are ready"):
            future.result(PATIENCE_S)
        with pytest.raises(BrokenSpaceExecutor):
            pool.submit(tasks.square, 1)


def test_arguments_outside_their_bounds_are_refused(depot: entrepot.Depot) -> None:
    with pytest.raises(LimitError):
        SpaceExecutor(max_workers=-1, depot=depot)
    with pytest.raises(LimitError):
        SpaceExecutor(tries_max=0, depot=depot)


@pytest.mark.parametrize("how", ["space", "variable", "expiry"])
def test_tasks_that_were_deleted_fail_their_futures(depot: entrepot.Depot, how: str) -> None:
    pool = SpaceExecutor("jobs", max_workers=0, depot=depot)
    if how == "expiry":
        pool.space.declare(executor.TASK, ttl=0.01)
    futures = [pool.submit(tasks.square, n) for n in range(3)]
    if how == "space":
        depot.delete_space("jobs")
    elif how == "variable":
        pool.space.delete(executor.TASK)
    for future in futures:
        with pytest.raises(BrokenSpaceExecutor):
            future.result(PATIENCE_S)
    pool.shutdown()
