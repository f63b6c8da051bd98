"""Sleigh: parallel computing on a workspace, with NetWorkSpaces' API.

::

    from entrepot.nws.sleigh import Sleigh

    sleigh = Sleigh(workerCount=4)
    sleigh.eachElem(abs, range(-10, 0))  # results in the order of the arguments
    sleigh.eachWorker("SleighRank")  # once on each worker
    sleigh.stop()

Workers are processes of this machine, or of others by ssh. One that dies is replaced, and
what it was doing is done again. New programs may prefer `entrepot.SpaceExecutor`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Final, cast

from entrepot.nws import _sleigh_worker
from entrepot.nws._errors import NwsException
from entrepot.nws._sleigh_worker import SleighTaskException, Task
from entrepot.nws.client import NWS_PORT, NetWorkSpace, NwsServer
from entrepot.workers import Crew

__all__ = [
    "Sleigh",
    "SleighException",
    "SleighGatheredException",
    "SleighIllegalValueException",
    "SleighJoinException",
    "SleighNotAllowedException",
    "SleighNwsException",
    "SleighOccupiedException",
    "SleighPending",
    "SleighResultIterator",
    "SleighScriptException",
    "SleighStoppedException",
    "SleighTaskException",
    "defaultSleighOptions",
    "envcmd",
    "launch",
    "rshcmd",
    "scriptcmd",
    "sshcmd",
    "sshforwardcmd",
]


class SleighException(Exception):
    """The base of this module's exceptions."""


class SleighNwsException(SleighException):
    """The server failed."""


class SleighGatheredException(SleighException):
    """The results were gathered before."""


class SleighStoppedException(SleighException):
    """The sleigh was stopped."""


class SleighOccupiedException(SleighException):
    """The sleigh still works on what was submitted before."""


class SleighIllegalValueException(SleighException):
    """An argument cannot be."""


class SleighScriptException(SleighException):
    """The command that starts a worker cannot be run."""


class SleighJoinException(SleighException):
    """The group of workers is closed."""


class SleighNotAllowedException(SleighException):
    """That is not possible here."""


Options = dict[str, Any]
_DEATHS_MAX: Final = 3
"""A task in which so many workers died is given up."""
_LOST_RANKS_S: Final = 0.05

defaultSleighOptions: Options = {  # noqa: N816 as in the original
    "nwsHost": None,
    "nwsPort": NWS_PORT,
    "nwsHostRemote": None,
    "nwsPortRemote": None,
    "nodeList": ["localhost"] * 3,
    "workerCount": 3,
    "launch": "local",
    "user": None,
    "scriptExec": None,
    "scriptName": None,
    "scriptDir": None,
    "modulePath": None,
    "workingDir": None,
    "logDir": None,
    "python": None,
    "wsNameTemplate": "sleigh_ride_%04d",
    "userWsNameTemplate": "sleigh_user_%04d",
    "verbose": False,
    "redirectOutput": True,
}


def envcmd(host: str, options: Options) -> list[str]:
    """Return the command that runs a worker where this is run."""
    python = options.get("python") or sys.executable
    server = options.get("nwsHostRemote") or options.get("nwsHost") or options.get("depot", "")
    port = options.get("nwsPortRemote") or options["nwsPort"]
    command = ["env"]
    if options.get("modulePath"):
        command.append(f"PYTHONPATH={options['modulePath']}")
    return [
        *command, python, "-m", "entrepot.nws.work", str(server), str(port),
        options["wsName"], options["userWsName"], options.get("token", ""),
    ]  # fmt: skip


def _here(host: str, options: Options) -> list[str]:
    """Return the command that runs a worker of this machine, which finds what this one finds."""
    paths = [options["modulePath"]] if options.get("modulePath") else []
    paths += [os.path.realpath(path or ".") for path in sys.path]
    return envcmd(host, {**options, "modulePath": os.pathsep.join(paths)})


def scriptcmd(host: str, options: Options) -> list[str]:
    """Return the command that runs a worker by a script of the user's."""
    if not options.get("scriptName"):
        raise SleighScriptException("scriptcmd needs scriptName")
    script = os.path.join(options.get("scriptDir") or "", options["scriptName"])  # noqa: PTH118 of another machine
    exec_ = options.get("scriptExec")
    return [*([exec_] if isinstance(exec_, str) else exec_ or []), script, *envcmd(host, options)]


def _remote(program: Sequence[str], host: str, options: Options) -> list[str]:
    user = ["-l", options["user"]] if options.get("user") else []
    words = envcmd(host, options)
    if options.get("workingDir"):
        words = ["cd", options["workingDir"], "&&", *words]
    return [*program, *user, host, *words]


def sshcmd(host: str, options: Options) -> list[str]:
    """Return the command that runs a worker on another machine, by ssh."""
    return _remote(["ssh", "-x", "-o", "BatchMode=yes"], host, options)


def rshcmd(host: str, options: Options) -> list[str]:
    """Return the command that runs a worker on another machine, by rsh."""
    return _remote(["rsh"], host, options)


def sshforwardcmd(host: str, options: Options) -> list[str]:
    """As `sshcmd`, for machines that cannot reach the server: the connection is forwarded."""
    port = options["nwsPort"]
    forwarded = {**options, "nwsHostRemote": "localhost", "nwsPortRemote": port}
    server = options.get("nwsHost") or "localhost"
    program = ["ssh", "-x", "-o", "BatchMode=yes", "-R", f"{port}:{server}:{port}"]
    return _remote(program, host, forwarded)


def launch(nwsName: str, nwsHost: str, nwsPort: int, userWsName: str, **_: Any) -> None:
    """Work for a sleigh in this process, until it stops."""
    _sleigh_worker.work(nwsHost, nwsPort, nwsName, userWsName, "", False)


class _Commands:
    """Workers that commands run, here or by ssh: watched, and run again when they end.

    Each has a token, by which it is known. Its input ends with us, and it with its input.
    """

    _FAILURES_MAX: Final = 5

    def __init__(
        self,
        commands: list[Callable[[str], list[str]]],
        on_death: Callable[[], object],
        is_given_up: Callable[[], object],
    ) -> None:
        self.tokens: set[str] = set()
        """Of those that run just now."""
        self.joined: set[str] = set()
        """Of those that have said that they are there."""
        self._on_death = on_death
        self._give_up = is_given_up
        self._is_over = False
        self._numbers = itertools.count(1)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        started: list[tuple[Callable[[str], list[str]], str]] = []
        try:
            for command in commands:
                started.append((command, self._run(command)))  # noqa: PERF401 some may run when one fails
        except BaseException:
            self.join(0)
            raise
        for command, token in started:
            threading.Thread(target=self._watch, args=(command, token), daemon=True).start()

    def _run(self, command: Callable[[str], list[str]]) -> str:
        token = f"{os.getpid()}.{next(self._numbers)}"
        words = command(token)
        try:
            process = subprocess.Popen(words, stdin=subprocess.PIPE)  # noqa: S603 the caller's
        except OSError as error:
            raise SleighScriptException(f"{words[0]} cannot be run: {error}") from error
        self._processes[token] = process
        self.tokens.add(token)
        return token

    def _watch(self, command: Callable[[str], list[str]], token: str) -> None:
        failures = 0
        while True:
            process = self._processes[token]
            process.wait()
            if self._is_over:
                return
            self._close(self._processes.pop(token))
            self.tokens.discard(token)
            self._on_death()
            failures = 0 if token in self.joined else failures + 1
            if failures >= self._FAILURES_MAX:
                self._give_up()
                return
            token = self._run(command)

    @staticmethod
    def _close(process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()

    def dismiss(self) -> None:
        self._is_over = True

    def join(self, timeout: float = 10.0) -> None:
        self._is_over = True
        for process in list(self._processes.values()):
            self._close(process)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Sleigh:
    """A group of workers, and the work that is given to them.

    Args:
        nodeList: Names of machines, with a function as `launch`: a worker for each.
        options: As in `defaultSleighOptions`. `launch` is `"local"`, for processes of this
            machine, or a function such as `sshcmd`; `workerCount` is how many, if local.
            Without `nwsHost` the workspace is in this user's depot.

    Raises:
        SleighIllegalValueException: An option cannot be.
        SleighNotAllowedException: This way to launch is not there.
        NwsConnectException: The server cannot be reached.
    """

    def __init__(self, nodeList: Sequence[str] | None = None, **options: Any) -> None:
        for name in options:
            if name not in defaultSleighOptions:
                raise SleighIllegalValueException(f"there is no option {name!r}")
        self.options: Options = {**defaultSleighOptions, **options}
        if nodeList is not None:
            self.options["nodeList"] = list(nodeList)
        launched = self.options["launch"]
        count = self.options["workerCount"]
        if callable(launched):
            count = len(self.options["nodeList"])
        elif launched != "local":
            raise SleighNotAllowedException(
                f"launch is {launched!r}: give 'local', or a function such as sshcmd"
            )
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SleighIllegalValueException(f"workerCount is {count!r}, it must be 1 or more")
        self.workerCount: int = count
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module("cloudpickle")  # an extra: for lambdas
        host = self.options["nwsHost"]
        if host is None and callable(launched):
            raise SleighIllegalValueException("workers elsewhere need nwsHost, a server")
        self.server = NwsServer() if host is None else NwsServer(host, self.options["nwsPort"])
        self.nws: NetWorkSpace = self.server.openWs(
            self.server.mktempWs(self.options["wsNameTemplate"])
        )
        """The workspace of the ride."""
        self.userNws: NetWorkSpace = self.server.openWs(
            self.server.mktempWs(self.options["userWsNameTemplate"])
        )
        """A workspace for the tasks."""
        self.options |= {"wsName": self.nws.curWs, "userWsName": self.userNws.curWs}
        self.options["depot"] = self.server.serverHost
        for rank in range(count):
            self.nws.store("ranks", rank)
        self.nws.declare("workerCount", "single")
        self.nws.store("workerCount", count)
        self._jobs = itertools.count()
        self._job: _Job | None = None
        self._workers: dict[int, dict[str, Any]] = {}
        self._tokens: dict[int, str] = {}
        self._is_stopped = False
        self._has_lost_ranks = False
        try:
            self._crew = self._launch(launched)
        except BaseException:
            self.server.close()
            raise

    def _launch(self, launched: Any) -> Crew | _Commands:
        def note_death(_: object = None) -> None:
            self._tell(("died",))

        def give_up() -> None:
            self._tell(("broken",))

        if callable(launched) or importlib.util.find_spec("cloudpickle") is not None:
            how = cast("Callable[..., list[str]]", launched if callable(launched) else _here)
            nodes: list[str] = self.options["nodeList"]
            nodes = nodes if callable(launched) else ["localhost"] * self.workerCount

            def command_on(host: str) -> Callable[[str], list[str]]:
                return lambda token: how(host, {**self.options, "token": token})

            return _Commands([command_on(host) for host in nodes], note_death, give_up)
        # Functions of the main module reach only workers that can import it.
        place = self.server.serverHost, int(self.server.serverPort)
        return Crew(
            _sleigh_worker.work,
            (*place, self.nws.curWs, self.userNws.curWs, "", bool(self.options["redirectOutput"])),
            self.workerCount,
            name="sleigh-worker",
            on_death=note_death,
            is_given_up=give_up,
        )

    def _tell(self, news: tuple[Any, ...]) -> None:
        """Tell the thread that gathers results; this one is another."""
        with contextlib.suppress(NwsException):  # it was stopped meanwhile
            again = NetWorkSpace(self.nws.curWs, server=self._second_server())
            again.store("result", news)
            again.server.close()

    def _second_server(self) -> NwsServer:
        server = NwsServer(self.server.serverHost, int(self.server.serverPort))
        server.useWs(self.nws.curWs, create=False)
        return server

    # Submitting.

    def eachWorker(
        self,
        fun: Any,
        *args: Any,
        type: str | None = None,
        blocking: bool = True,
        accumulator: Any = None,
    ) -> Any:
        """Do something once on each worker.

        Args:
            fun: A function, or text: an expression, or statements that set `SleighValue`.
            args: Its arguments.
            type: "invoke", "define" or "eval"; by default what fits `fun`.
            blocking: Wait; else return a `SleighPending`.
            accumulator: Called with the results as they come, instead of returning them.

        Returns:
            The results, by when they were taken up; a task that failed has a
            SleighTaskException in its place.
        """
        kind = _kind(fun, type)
        job = self._begin(accumulator)
        barrier = f"barrier{job.number}"
        job.release = lambda: self.nws.store(barrier, True)
        with self.abandoned_on_error(job):
            for tag in range(self.workerCount):
                job.submit(Task(job.number, tag, kind, fun, args, barrier))
        return self._finish(job, blocking)

    def eachElem(
        self,
        fun: Any,
        elementArgs: Any = None,
        fixedArgs: Any = (),
        type: str | None = None,
        blocking: bool = True,
        argPermute: Sequence[int] | None = None,
        loadFactor: float = 0,
        accumulator: Any = None,
    ) -> Any:
        """Do something for each element.

        Args:
            fun: A function, or text, as for `eachWorker`.
            elementArgs: A list of iterables, one for each argument that varies; the shortest
                ends it. One that is no list may be given as it is.
            fixedArgs: A list of arguments that are the same each time.
            type: As for `eachWorker`.
            blocking: As for `eachWorker`.
            argPermute: Indexes into both kinds of arguments: their order.
            loadFactor: Most tasks that are submitted at once for each worker; 0 for no bound.
            accumulator: As for `eachWorker`.

        Returns:
            The results, in the order of the elements.

        Raises:
            SleighIllegalValueException: `elementArgs` is empty, or no list of iterables.
        """
        calls = _calls([[]] if elementArgs is None else elementArgs, fixedArgs, argPermute)
        kind = _kind(fun, type)
        job = self._begin(accumulator)
        tasks = (Task(job.number, tag, kind, fun, arguments) for tag, arguments in enumerate(calls))
        bound = max(1, int(loadFactor * self.workerCount)) if loadFactor and blocking else None
        with self.abandoned_on_error(job):
            for task in tasks:
                while bound is not None and len(job.outstanding) >= bound:
                    self.gather_one()
                job.submit(task)
        return self._finish(job, blocking)

    def imap(
        self, fun: Any, *iterables: Iterable[Any], type: str | None = None, loadFactor: float = 10
    ) -> SleighResultIterator:
        """Call a function for each element; iterate over the results in order, as they come."""
        return self.starmap(fun, zip(*iterables, strict=False), type=type, loadFactor=loadFactor)

    def starmap(
        self, fun: Any, iterable: Iterable[Any], type: str | None = None, loadFactor: float = 10
    ) -> SleighResultIterator:
        """As `imap`, with the arguments of each call in a tuple."""
        if loadFactor <= 0:
            raise SleighIllegalValueException(f"loadFactor is {loadFactor}, it must be positive")
        kind = _kind(fun, type)
        job = self._begin(None)
        bound = max(1, int(loadFactor * self.workerCount))
        return SleighResultIterator(self, job, kind, fun, iter(iterable), bound)

    def _begin(self, accumulator: Any) -> _Job:
        if self._is_stopped:
            raise SleighStoppedException("the sleigh was stopped")
        if self._job is not None:
            raise SleighOccupiedException("the sleigh still works on what was submitted before")
        self._job = _Job(next(self._jobs), self.nws, accumulator)
        return self._job

    def _finish(self, job: _Job, blocking: bool) -> Any:
        pending = SleighPending(self, job)
        return pending.wait() if blocking else pending

    @contextlib.contextmanager
    def abandoned_on_error(self, job: _Job) -> Generator[None]:
        """Give a job up where the block fails, so that the next can begin. For this module."""
        try:
            yield
        except BaseException:
            if self._job is job:
                self._job = None
                with contextlib.suppress(NwsException):  # the server may be what failed
                    while self.nws.fetchTry("task") is not None:
                        pass
                    job.release()
            raise

    # Gathering: for this module.

    def gather(self, job: _Job) -> Any:
        """Wait for all results of a job, and return them."""
        while job.outstanding:
            self.gather_one()
        job.release()
        self._job = None
        return job.results()

    def gather_one(self) -> None:
        """Take the next piece of news: a result, or what became of a worker."""
        what, *rest = self._next_news()
        job = self._job
        if what == "joined":
            rank, pid, host, token = rest
            self._workers[rank] = {"rank": rank, "pid": pid, "host": host, "tasks": 0}
            self._tokens[rank] = token
            if isinstance(self._crew, _Commands):
                self._crew.joined.add(token)
        elif what == "took":
            rank, number, tag = rest
            if job is not None and job.number == number:
                job.taken[tag] = rank
        elif what == "done":
            rank, number, tag, value = rest
            if rank in self._workers:
                self._workers[rank]["tasks"] += 1
            if job is not None and job.number == number:
                job.note(tag, value)
        elif what == "died":
            self._recover()
        else:
            raise SleighJoinException("the workers end as soon as they start")

    def _next_news(self) -> tuple[Any, ...]:
        """Wait for a piece of news; meanwhile, give out ranks that turn out to be nobody's."""
        pause = threading.Event()
        while self._has_lost_ranks:
            news = self.nws.fetchTry("result")
            if news is not None:
                return news
            pause.wait(_LOST_RANKS_S)
            self._recover_ranks()
        return self.nws.fetch("result")

    def _recover_ranks(self) -> None:
        """Give out again the ranks of workers that are dead.

        Who has taken a rank and not said so yet is not known. So ranks of whom nothing was heard
        are given out only when all who live have one that is known, or wait for one.
        """
        alive = self._ranks_alive()
        given = set(self.nws.ifindTry("ranks"))
        lost = [rank for rank in range(self.workerCount) if rank not in given | alive]
        listed = self.nws.listVars(format="dict")
        assert isinstance(listed, dict)
        waiting = listed["ranks"][2] if "ranks" in listed else 0
        is_known = self._count_alive() - len(alive) - waiting <= 0
        self._has_lost_ranks = False
        for rank in lost:
            if is_known or rank in self._workers:
                self._workers.pop(rank, None)
                self.nws.store("ranks", rank)
            else:
                self._has_lost_ranks = True

    def _count_alive(self) -> int:
        crew = self._crew
        return len(crew.pids) if isinstance(crew, Crew) else len(crew.tokens)

    def _recover(self) -> None:
        """Submit again what nobody does any more, and give out the ranks that nobody has."""
        self._recover_ranks()
        job = self._job
        if job is None:
            return
        waiting = {tag for number, tag, *_ in self.nws.ifindTry("task") if number == job.number}
        for tag, task in list(job.outstanding.items()):
            rank = job.taken.get(tag)
            if tag not in waiting and (rank is None or rank not in self._workers):
                if job.taken.pop(tag, None) is not None:
                    job.deaths[tag] = job.deaths.get(tag, 0) + 1
                if job.deaths.get(tag, 0) >= _DEATHS_MAX:
                    said = f"{_DEATHS_MAX} workers died while they did this task"
                    job.note(tag, SleighTaskException(said))
                else:
                    self.nws.store("task", tuple(task))

    def _ranks_alive(self) -> set[int]:
        """Return the ranks of those workers that have joined and live."""
        if isinstance(self._crew, Crew):
            pids = set(self._crew.pids)
            return {rank for rank, worker in self._workers.items() if worker["pid"] in pids}
        return {rank for rank, token in self._tokens.items() if token in self._crew.tokens}

    # Looking, and stopping.

    def status(self, closeGroup: bool = False, timeout: float = 0.0) -> tuple[int, bool]:
        """Return how many workers have joined, and whether all have.

        Raises:
            SleighStoppedException: The sleigh was stopped.
        """
        if self._is_stopped:
            raise SleighStoppedException("the sleigh was stopped")
        deadline = threading.Event()
        while True:
            joined = self.workerCount - len(list(self.nws.ifindTry("ranks")))
            if joined == self.workerCount or timeout <= 0:
                return joined, joined == self.workerCount
            timeout -= 0.05
            deadline.wait(0.05)

    def workerInfo(self) -> list[dict[str, Any]]:
        """Return what is known of each worker: rank, pid, host, how many tasks it has done."""
        if self._job is None and not self._is_stopped:
            waiting = self.nws.listVars(format="dict")
            assert isinstance(waiting, dict)
            for _ in range(waiting.get("result", (0, 0))[1]):
                self.gather_one()
        return [dict(self._workers[rank]) for rank in sorted(self._workers)]

    def stop(self) -> None:
        """End the workers, and delete the workspaces; may be repeated."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._crew.dismiss()
        with contextlib.suppress(NwsException):
            self.nws.store("Sleigh ride over", 1)
            self.server.deleteWs(self.nws.curWs)
            self.server.deleteWs(self.userNws.curWs)
        self._crew.join()
        self.server.close()

    def __enter__(self) -> Sleigh:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Job:
    """What was submitted together."""

    def __init__(self, number: int, ride: NetWorkSpace, accumulator: Any) -> None:
        self.number = number
        self.outstanding: dict[int, Task] = {}
        self.taken: dict[int, int] = {}
        """Tag of a task -> rank of who does it."""
        self.deaths: dict[int, int] = {}
        """Tag of a task -> how many workers died while they did it."""
        self.values: dict[int, Any] = {}
        self.release: Callable[[], object] = lambda: None
        self.submitted = 0
        self._ride = ride
        self._accumulator = accumulator

    def submit(self, task: Task) -> None:
        self.outstanding[task.tag] = task
        self.submitted += 1
        self._ride.store("task", tuple(task))

    def note(self, tag: int, value: Any) -> None:
        if self.outstanding.pop(tag, None) is None:
            return  # done twice, since the first who did it died
        accumulator = self._accumulator
        if accumulator is None:
            self.values[tag] = value
        elif isinstance(value, SleighTaskException) and hasattr(accumulator, "error"):
            accumulator.error([(tag, value)])
        elif hasattr(accumulator, "result"):
            accumulator.result([(tag, value)])
        else:
            accumulator([(tag, value)])

    def results(self) -> Any:
        if self._accumulator is None:
            return [self.values[tag] for tag in sorted(self.values)]
        value = getattr(self._accumulator, "value", None)
        return value() if callable(value) else None


class SleighPending:
    """What was submitted without waiting for it."""

    def __init__(self, sleigh: Sleigh, job: _Job) -> None:
        self._sleigh = sleigh
        self._job = job
        self._is_gathered = False

    def check(self) -> int:
        """Return how many results are still to come."""
        if self._is_gathered:
            return 0
        listed = self._sleigh.nws.listVars(format="dict")
        assert isinstance(listed, dict)
        for _ in range(listed.get("result", (0, 0))[1]):
            self._sleigh.gather_one()
        return len(self._job.outstanding)

    def wait(self) -> Any:
        """Wait for all results, and return them.

        Raises:
            SleighGatheredException: They were returned before.
            SleighStoppedException: The sleigh was stopped meanwhile.
        """
        if self._is_gathered:
            raise SleighGatheredException("the results were gathered before")
        self._is_gathered = True
        try:
            with self._sleigh.abandoned_on_error(self._job):
                return self._sleigh.gather(self._job)
        except NwsException as error:
            raise SleighStoppedException(f"the sleigh was stopped: {error}") from error


class SleighResultIterator(Iterator[Any]):
    """Iterates over results in order. Made by `Sleigh.imap` and `starmap`."""

    def __init__(
        self,
        sleigh: Sleigh,
        job: _Job,
        kind: str,
        function: Any,
        calls: Iterator[Any],
        bound: int,
    ) -> None:
        self._sleigh = sleigh
        self._job = job
        self._kind, self._function, self._calls, self._bound = kind, function, calls, bound
        self._is_fed = True
        self.returned = 0
        """How many results were returned."""
        self.stopped = False
        """Whether nothing more comes."""

    @property
    def submitted(self) -> int:
        """How many tasks were submitted."""
        return self._job.submitted

    @property
    def buffered(self) -> int:
        """How many results have come and were not returned."""
        return len(self._job.values)

    def __iter__(self) -> SleighResultIterator:
        return self

    def __next__(self) -> Any:
        if self.stopped:
            raise StopIteration
        job = self._job
        try:
            with self._sleigh.abandoned_on_error(job):
                self._feed()
                if self.returned < job.submitted:
                    while self.returned not in job.values:
                        self._sleigh.gather_one()
        except BaseException:
            self.stopped = True
            raise
        if self.returned >= job.submitted:
            self._end()
            raise StopIteration
        value = job.values.pop(self.returned)
        self.returned += 1
        return value

    def _feed(self) -> None:
        """Submit as many tasks as may be outstanding."""
        job = self._job
        while self._is_fed and len(job.outstanding) < self._bound:
            arguments = next(self._calls, None)
            if arguments is None:
                self._is_fed = False
                break
            task = Task(job.number, job.submitted, self._kind, self._function, tuple(arguments))
            job.submit(task)

    next = __next__

    def _end(self) -> None:
        if not self.stopped:
            self.stopped = True
            self._sleigh.gather(self._job)

    def shutdown(self) -> None:
        """Submit nothing more; what was submitted is still returned."""
        self._is_fed = False

    def stop(self) -> None:
        """Submit nothing more, and drop what is still to come."""
        self._is_fed = False
        self._end()


def _kind(fun: Any, wanted: str | None) -> str:
    """Return how a worker does something.

    Raises:
        SleighIllegalValueException: It cannot be done so.
    """
    kind = wanted or ("eval" if isinstance(fun, str) else "invoke")
    if kind not in ("invoke", "define", "eval"):
        raise SleighIllegalValueException(f"type is {kind!r}: give invoke, define or eval")
    if kind == "invoke" and not callable(fun):
        raise SleighIllegalValueException(f"{fun!r} cannot be called")
    if kind == "eval" and not isinstance(fun, str):
        raise SleighIllegalValueException("what is evaluated is text")
    return kind


def _calls(
    element_args: Any, fixed_args: Any, permute: Sequence[int] | None
) -> Iterator[tuple[Any, ...]]:
    """Return the arguments of each call.

    Raises:
        SleighIllegalValueException: They are none, or not iterable.
    """
    lists = cast("list[Any]", element_args if isinstance(element_args, list) else [element_args])
    if not lists:
        raise SleighIllegalValueException("elementArgs is empty: give a list of iterables")
    try:
        iterators = [iter(each) for each in lists]
    except TypeError:
        raise SleighIllegalValueException(
            f"elementArgs is {element_args!r}: give a list of iterables, one for each argument"
        ) from None
    is_list = isinstance(fixed_args, (list, tuple))
    fixed = tuple(cast("list[Any]", fixed_args if is_list else [fixed_args]))

    def calls() -> Iterator[tuple[Any, ...]]:
        for elements in zip(*iterators, strict=False):
            arguments = (*elements, *fixed)
            yield arguments if permute is None else tuple(arguments[at] for at in permute)

    return calls()
