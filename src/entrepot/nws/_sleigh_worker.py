"""A worker of a sleigh: takes a rank, then tasks, until the ride is over.

python -m entrepot.nws._sleigh_worker HOST PORT WORKSPACE USER_WORKSPACE
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from entrepot.executor import RemoteTraceback
from entrepot.nws._errors import NwsException, NwsPicklingException
from entrepot.nws.client import NetWorkSpace, NwsServer
from entrepot.workers import Ready, end_with_parent

__all__ = ["SleighTaskException", "Task", "work"]


class SleighTaskException(Exception):
    """A task failed; this stands in the place of its result.

    Its cause, and its text, say how.
    """

    def __init__(self, text: str = "", remote: str = "") -> None:
        super().__init__(text)
        self.remote = remote
        """The traceback, as the worker saw it."""
        if remote:
            self.__cause__ = RemoteTraceback(remote)

    def __reduce__(self) -> Any:
        return type(self), (str(self), self.remote)


class Task(NamedTuple):
    """What a worker does."""

    job: int
    tag: int
    kind: str
    """invoke, define or eval."""
    function: Any
    arguments: tuple[Any, ...]
    barrier: str = ""
    """With `eachWorker`: where to wait until every worker has done one."""


class _Output(io.TextIOBase):
    """Stores what a worker prints, line by line."""

    def __init__(self, ride: NetWorkSpace, variable: str) -> None:
        super().__init__()
        self._ride, self._variable, self._text = ride, variable, ""

    def writable(self) -> bool:
        """Tell that it can be printed to."""
        return True

    def write(self, text: str) -> int:
        """Store the lines that are whole."""
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            self._ride.store(self._variable, line)
        return len(text)

    def flush(self) -> None:
        """Keep what is no line yet."""


def work(
    host: str | None,
    port: int,
    ride_name: str,
    user_name: str,
    token: str,
    redirect: bool,
    ready: Ready | None = None,
) -> None:
    """Work for a sleigh."""
    end_with_parent()
    server = NwsServer() if host is None else NwsServer(host, port)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("cloudpickle")  # an extra: results may be functions
    try:
        ride = server.useWs(ride_name, create=False)
        user = server.useWs(user_name, create=False)
        rank: int = ride.fetch("ranks")
        count: int = ride.find("workerCount")
        ride.store("result", ("joined", rank, os.getpid(), socket.gethostname(), token))
        if ready is not None:
            ready()
        if redirect:
            sys.stdout = sys.stderr = _Output(ride, f"output@{rank}")
        names = {
            "SleighRank": rank,
            "SleighNws": ride,
            "SleighUserNws": user,
            "SleighWorkerCount": count,
        }
        vars(sys.modules["__main__"]).update(names)
        _do_tasks(ride, rank, names)
    except NwsException:
        return  # the ride is over: its workspace is gone, or its server
    finally:
        server.close()


def _do_tasks(ride: NetWorkSpace, rank: int, names: dict[str, Any]) -> None:
    while True:
        task: Task | None = ride.fetch("task")
        if task is None:
            return
        task = Task(*task)
        ride.store("result", ("took", rank, task.job, task.tag))
        done = "done", rank, task.job, task.tag
        outcome = _outcome(task, names)
        try:
            ride.store("result", (*done, outcome))
        except NwsPicklingException as error:  # a task may return anything
            ride.store("result", (*done, SleighTaskException(str(error), traceback.format_exc())))
        if task.barrier:
            ride.find(task.barrier)


def _outcome(task: Task, names: dict[str, Any]) -> Any:
    try:
        return _KINDS[task.kind](task, names)
    except (Exception, SystemExit) as error:  # noqa: BLE001 whatever a task raises is its result
        said = "".join(traceback.format_exception_only(error)).strip()
        return SleighTaskException(said, traceback.format_exc())


def _invoke(task: Task, names: dict[str, Any]) -> Any:
    inner = getattr(task.function, "__func__", task.function)
    with contextlib.suppress(AttributeError):  # a builtin has none
        inner.__globals__.update(names)
    return task.function(*task.arguments)


def _define(task: Task, names: dict[str, Any]) -> Any:
    values = task.arguments or (task.function,)
    for value in values:
        name = getattr(value, "__name__", None)
        if name is not None:
            vars(sys.modules["__main__"])[name] = value
    return None


def _eval(task: Task, names: dict[str, Any]) -> Any:
    scope = vars(sys.modules["__main__"])
    scope["SleighArgs"] = scope["SleighArguments"] = task.arguments
    scope.pop("SleighValue", None)
    try:
        code = compile(task.function, "<task>", "eval")
    except SyntaxError:
        exec(compile(task.function, "<task>", "exec"), scope)  # noqa: S102 it is what was asked for
        return scope.get("SleighValue")
    return eval(code, scope)  # noqa: S307 it is what was asked for


_KINDS: dict[str, Callable[[Task, dict[str, Any]], Any]] = {
    "invoke": _invoke,
    "define": _define,
    "eval": _eval,
}


def _end_with_input() -> None:
    """End this process when its input ends: with the one that started it."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="sleigh-parent", daemon=True).start()


def main(words: list[str]) -> None:
    """Work for a sleigh, as a command."""
    host, port, ride, user, token = words
    _end_with_input()
    work(host or None, int(port), ride, user, token, True)
