"""Sleigh: work for a group of workers, in the depot and over TCP."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.gateways.nws import NwsGateway
from entrepot.nws import sleigh as sleighs
from entrepot.nws.client import NwsPicklingException
from entrepot.nws.sleigh import (
    Sleigh,
    SleighGatheredException,
    SleighIllegalValueException,
    SleighNotAllowedException,
    SleighOccupiedException,
    SleighScriptException,
    SleighStoppedException,
    SleighTaskException,
)
from support import tasks
from support.conditions import wait_until
from support.homes import Home


@pytest.fixture(autouse=True)
def own_depot(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTREPOT_DIR", str(home.root))
    monkeypatch.setenv("ENTREPOT_DATA", str(home.data))
    monkeypatch.setenv("ENTREPOT_DEPOT", home.name)
    monkeypatch.setenv("ENTREPOT_MEMORY", "64M")


@pytest.fixture(params=["depot", "tcp"])
def sleigh(request: pytest.FixtureRequest, home: Home) -> Iterator[Sleigh]:
    if request.param == "depot":
        with Sleigh(workerCount=2) as made:
            yield made
        return
    with home.open() as depot:
        gateway = NwsGateway(depot)
        gateway.start()
        with Sleigh(workerCount=2, nwsHost=gateway.host, nwsPort=gateway.port) as made:
            yield made
        gateway.close()


def test_results_come_in_the_order_of_the_elements(sleigh: Sleigh) -> None:
    assert sleigh.eachElem(tasks.square, [range(20)]) == [n * n for n in range(20)]
    assert sleigh.eachElem(ord, "text") == [ord(letter) for letter in "text"]
    assert sleigh.eachElem(pow, [[2, 3, 9], [4, 2]]) == [16, 9]
    assert sleigh.eachElem(pow, [[2, 3]], [2]) == [4, 9]
    assert sleigh.eachElem(pow, [[2, 3]], 5, argPermute=[1, 0]) == [25, 125]
    assert sleigh.eachElem(tasks.square) == []
    assert sleigh.eachElem(tasks.square, [range(50)], loadFactor=2)[-1] == 49 * 49


def test_each_worker_does_its_part_once(sleigh: Sleigh) -> None:
    for _ in range(5):
        assert sorted(sleigh.eachWorker("SleighRank")) == [0, 1]
    assert len(set(sleigh.eachWorker(tasks.pid))) == 2
    assert sleigh.eachWorker("SleighWorkerCount") == [2, 2]
    assert sleigh.eachWorker("SleighUserNws.store('mark', SleighRank)") == [None, None]
    assert sorted(sleigh.userNws.ifindTry("mark")) == [0, 1]
    sleigh.eachWorker("x = SleighArgs[0]; SleighValue = x + 1", 5)
    assert sleigh.eachWorker("x") == [5, 5]
    sleigh.eachWorker(tasks.square, type="define")
    assert sleigh.eachElem("square(SleighArguments[0])", [[3]]) == [9]


def test_a_task_that_fails_puts_its_exception_in_its_place(sleigh: Sleigh) -> None:
    results = sleigh.eachElem("1 / SleighArgs[0]", [[1, 0, 2]])
    assert (results[0], results[2]) == (1, 0.5)
    assert isinstance(results[1], SleighTaskException)
    assert "ZeroDivisionError" in str(results[1])
    assert "Traceback" in results[1].remote


def test_a_worker_that_dies_is_replaced_and_its_task_done_again(
    sleigh: Sleigh, tmp_path: Path
) -> None:
    marks = [str(tmp_path / f"mark {number}") for number in range(3)]
    assert sleigh.eachElem(tasks.die_once, [marks]) == ["survived"] * 3
    wait_until(lambda: sleigh.status() == (2, True), "all ranks are taken again")
    assert sorted(sleigh.eachWorker("SleighRank")) == [0, 1]
    assert [each["rank"] for each in sleigh.workerInfo()] == [0, 1]


def test_work_may_be_waited_for_later(sleigh: Sleigh) -> None:
    pending = sleigh.eachElem(tasks.square, [range(5)], blocking=False)
    for call in (sleigh.eachWorker, lambda fun: sleigh.imap(fun, [1])):
        with pytest.raises(SleighOccupiedException):
            call(tasks.pid)
    wait_until(lambda: pending.check() == 0, "all is done")
    assert pending.wait() == [0, 1, 4, 9, 16]
    with pytest.raises(SleighGatheredException):
        pending.wait()


def test_results_are_iterated_over_as_they_come(sleigh: Sleigh) -> None:
    found = sleigh.imap(tasks.square, range(30), loadFactor=3)
    assert next(found) == 0
    assert found.submitted <= 7
    assert list(found) == [n * n for n in range(1, 30)]
    assert (found.returned, found.buffered, found.stopped) == (30, 0, True)
    endless = sleigh.starmap(pow, ((n, 2) for n in range(10**9)))
    assert [next(endless) for _ in range(3)] == [0, 1, 4]
    endless.stop()
    assert list(endless) == []
    cut = sleigh.imap(tasks.square, range(100), loadFactor=1)
    assert next(cut) == 0
    cut.shutdown()
    assert list(cut) == [1, 4][: cut.submitted - 1]
    assert sleigh.eachElem(tasks.square, [[3]]) == [9]


class Total:
    def __init__(self) -> None:
        self.sum, self.errors = 0, 0

    def result(self, results: list[tuple[int, Any]]) -> None:
        self.sum += sum(value for _, value in results)

    def error(self, results: list[tuple[int, Any]]) -> None:
        self.errors += len(results)

    def value(self) -> tuple[int, int]:
        return self.sum, self.errors


def test_an_accumulator_takes_results_as_they_come(sleigh: Sleigh) -> None:
    assert sleigh.eachElem(tasks.square, [range(4)], accumulator=Total()) == (14, 0)
    failing = sleigh.eachElem("1 // SleighArgs[0]", [[1, 0]], accumulator=Total())
    assert failing == (1, 1)
    seen: list[tuple[int, int]] = []
    assert sleigh.eachElem(tasks.square, [range(4)], accumulator=seen.extend) is None
    assert sorted(seen) == [(0, 0), (1, 1), (2, 4), (3, 9)]


def test_what_workers_print_can_be_read(sleigh: Sleigh) -> None:
    sleigh.eachWorker("print('rank', SleighRank)")
    assert sleigh.nws.fetch("output@0") == "rank 0"


def test_a_stopped_sleigh_refuses_work_and_leaves_nothing(home: Home) -> None:
    sleigh = Sleigh(workerCount=1)
    pids = sleigh.eachWorker(tasks.pid)
    names = {sleigh.nws.curWs, sleigh.userNws.curWs}
    sleigh.stop()
    sleigh.stop()
    for call in (sleigh.eachWorker, sleigh.eachElem):
        with pytest.raises(SleighStoppedException):
            call(tasks.pid)
    with pytest.raises(SleighStoppedException):
        sleigh.status()
    with home.open() as depot:
        assert not names & {info.name for info in depot.spaces()}
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_commands_start_workers_on_nodes(home: Home) -> None:
    def here(host: str, options: dict[str, Any]) -> list[str]:
        assert host == "near"
        path = os.pathsep.join(sys.path)
        return sleighs.envcmd(host, {**options, "modulePath": path})

    with home.open() as depot:
        gateway = NwsGateway(depot)
        gateway.start()
        where = {"nwsHost": gateway.host, "nwsPort": gateway.port}
        with Sleigh(["near"] * 2, launch=here, **where) as sleigh:
            assert sleigh.eachElem(tasks.square, [range(5)]) == [0, 1, 4, 9, 16]
            assert sorted(sleigh.eachWorker("SleighRank")) == [0, 1]
        with pytest.raises(SleighScriptException):
            Sleigh(["near"], launch=lambda host, options: ["/no/such/program"], **where)
        gateway.close()


def test_commands_name_the_machine_and_the_server() -> None:
    options = {**sleighs.defaultSleighOptions, "nwsHost": "server", "user": "me"}
    options |= {"wsName": "ride", "userWsName": "user", "python": "python3"}
    options["token"] = "t"
    words = ["env", "python3", "-m", "entrepot.nws.work", "server", "8765", "ride", "user", "t"]
    assert sleighs.envcmd("node", options) == words
    assert sleighs.sshcmd("node", options)[-12:] == ["-l", "me", "node", *words]
    assert "8765:server:8765" in sleighs.sshforwardcmd("node", options)
    assert sleighs.rshcmd("node", options)[:4] == ["rsh", "-l", "me", "node"]
    script = sleighs.scriptcmd("node", {**options, "scriptDir": "/x", "scriptName": "run.sh"})
    assert script[0] == "/x/run.sh"
    with pytest.raises(SleighScriptException):
        sleighs.scriptcmd("node", options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"workerCount": 0}, SleighIllegalValueException),
        ({"workers": 3}, SleighIllegalValueException),
        ({"launch": "service"}, SleighNotAllowedException),
        ({"launch": sleighs.sshcmd}, SleighIllegalValueException),
    ],
    ids=["none", "unknown", "service", "no-server"],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Sleigh(**options)


def test_work_that_cannot_be_is_refused() -> None:
    with Sleigh(workerCount=1) as sleigh:
        for arguments in ([], [1, 2], 7):
            with pytest.raises(SleighIllegalValueException):
                sleigh.eachElem(tasks.square, arguments)
        with pytest.raises(SleighIllegalValueException):
            sleigh.eachWorker(tasks.square, type="dance")
        with pytest.raises(SleighIllegalValueException):
            sleigh.eachWorker(5)
        assert sleigh.eachElem(tasks.square, [[2]]) == [4]


def test_what_a_task_cannot_give_back_is_said_in_its_place(sleigh: Sleigh) -> None:
    for function, said in ((tasks.generate, "pickling"), (tasks.leave, "SystemExit")):
        (found,) = sleigh.eachElem(function, [[3]])
        assert isinstance(found, SleighTaskException)
        assert said in str(found)
        assert "Traceback" in str(found.__cause__)
    assert sleigh.eachElem(tasks.is_terminal, [[]]) == []
    assert sleigh.eachWorker(tasks.is_terminal) == [False, False]


def test_a_task_that_kills_its_workers_is_given_up(sleigh: Sleigh) -> None:
    found = sleigh.eachElem(tasks.die_always_with, [[1]])
    assert [type(each) for each in found] == [SleighTaskException]
    assert "workers died" in str(found[0])
    assert sleigh.eachElem(tasks.square, [[3]]) == [9]


def test_work_that_fails_on_the_way_leaves_the_sleigh_free(sleigh: Sleigh) -> None:
    def refuse(results: Any) -> None:
        raise KeyError("accumulator")

    with pytest.raises(NwsPicklingException):
        sleigh.eachElem(tasks.square, [[1, threading.Lock()]])
    with pytest.raises(KeyError):
        sleigh.eachElem(tasks.square, [[1, 2]], accumulator=refuse)
    with pytest.raises(NwsPicklingException):
        sleigh.eachWorker(tasks.square, threading.Lock())
    assert sleigh.eachElem(tasks.square, [[1, 2]]) == [1, 4]
    assert len(set(sleigh.eachWorker(tasks.pid))) == 2


def test_an_iteration_that_fails_leaves_the_sleigh_free(sleigh: Sleigh) -> None:
    def numbers() -> Iterator[int]:
        yield 3
        raise KeyError("no more")

    results = sleigh.imap(tasks.square, numbers())
    with pytest.raises(KeyError):
        next(results)
    assert list(results) == []
    assert results.stopped
    assert sleigh.eachElem(tasks.square, [[1, 2]]) == [1, 4]
    with pytest.raises(NwsPicklingException):
        next(sleigh.starmap(tasks.square, [[2], [threading.Lock()]]))
    assert list(sleigh.imap(tasks.square, [1, 2])) == [1, 4]


def test_results_that_are_refused_later_leave_the_sleigh_free(sleigh: Sleigh) -> None:
    def refuse(results: Any) -> None:
        raise KeyError("accumulator")

    pending = sleigh.eachElem(tasks.square, [[1, 2]], blocking=False, accumulator=refuse)
    with pytest.raises(KeyError):
        pending.wait()
    assert sleigh.eachElem(tasks.square, [[1, 2]]) == [1, 4]


def test_ranks_stay_unique_when_a_worker_dies_before_it_has_joined(home: Home) -> None:
    with Sleigh(workerCount=3) as sleigh:
        wait_until(
            lambda: sleigh.nws.listVars(format="dict").get("ranks", ("", 0))[1] < 3,
            "ranks are taken",
        )
        crew = sleigh._crew
        processes = getattr(crew, "_processes", None)
        pids = [p.pid for p in processes.values()] if processes is not None else crew.pids
        os.kill(pids[0], 9)
        for _ in range(3):
            ranks = sleigh.eachWorker("SleighRank")
            assert sorted(ranks) == [0, 1, 2]
