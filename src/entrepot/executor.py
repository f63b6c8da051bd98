"""An executor on a space: its tasks are values that workers claim.

::

    executor ─────────> "executor.task" ── claim ──> worker, here or elsewhere
        ^                                                │
        └──── "result" of a space of its own <───────────┘

A worker that dies gives its task back, and another does it. Workers may be started in other
terminals, with `entrepot worker SPACE`; several executors may share them. The space
that takes the results ends with the executor, and what is left of its tasks is dropped then.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import entrepot
from entrepot.errors import (
    EntrepotError,
    LimitError,
    NotFoundError,
    TypeMismatchError,
    WaitTimeoutError,
)
from entrepot.layers import values
from entrepot.layers.spaces import Claim, Space
from entrepot.workers import Crew, Ready, end_with_parent

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["BrokenSpaceExecutor", "RemoteTraceback", "SpaceExecutor", "work"]

P = ParamSpec("P")
R = TypeVar("R")

TASK: Final = "executor.task"
"""No name that a program would give a variable of its own."""
RESULT: Final = "result"
_SPACES_MAX: Final = 100
_LOOK_S: Final = 1.0
"""So often it looks whether tasks were lost, while no result comes."""
_LOST_MAX: Final = 1000
"""Tasks that are looked for at once: the oldest."""
"""Of executors that a worker remembers."""

_numbers = itertools.count(1)


class BrokenSpaceExecutor(BrokenExecutor):
    """A task cannot be done: those who tried it died, or no worker can be started."""


class RemoteTraceback(Exception):  # noqa: N818 not an error: it shows where one came from
    """The traceback of an exception, as the worker saw it. It is the exception's cause."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Parcel:
    """A value that is loaded when it is wanted, so that what is wrong with it is told then.

    Arrays in it lie in shared memory all the same.
    """

    def __init__(self, head: bytes, buffers: list[Any]) -> None:
        self.head = head
        self.buffers = buffers

    @classmethod
    def of(cls, value: object) -> Parcel:
        """Return the parcel of a value.

        Raises:
            TypeMismatchError: It cannot be pickled.
        """
        return cls(*values.dump(value))

    def open(self) -> Any:
        """Return the value.

        Raises:
            TypeMismatchError: It cannot be loaded here.
        """
        return values.undump(self.head, [memoryview(each) for each in self.buffers])

    def __reduce__(self) -> Any:
        return Parcel, (self.head, [pickle.PickleBuffer(each) for each in self.buffers])


Task = tuple[str, int, int, Parcel]
"""Name of the space for the result, number, most tries, (function, arguments, keywords)."""
Result = tuple[int, bool, Parcel]
"""Number of the task, whether it was done, value or (exception, text of its traceback)."""


class SpaceExecutor(Executor):
    """Runs functions in worker processes, by way of a space; see `concurrent.futures`.

    ::

        with entrepot.SpaceExecutor("jobs") as pool:
            for square in pool.map(square, range(100)):
                print(square)

    Functions and arguments are pickled; with cloudpickle installed, lambdas too. Big arrays
    lie in shared memory and are not copied. Scripts need the usual
    `if __name__ == "__main__":`.

    Args:
        space: Where the tasks go. By default a new one, that ends with the executor.
        max_workers: How many processes to start; by default one for each core. 0: none, others
            do the work.
        depot: Where the space is; by default this user's.
        progress: Show a bar with how many tasks are done.
        tries_max: A task whose workers died so often fails with BrokenSpaceExecutor.

    Raises:
        LimitError: `max_workers` is negative, or `tries_max` not positive.
    """

    def __init__(
        self,
        space: str | None = None,
        max_workers: int | None = None,
        *,
        depot: entrepot.Depot | None = None,
        progress: bool = False,
        tries_max: int = 3,
    ) -> None:
        if max_workers is None:
            max_workers = len(os.sched_getaffinity(0))
        if max_workers < 0:
            raise LimitError(f"max_workers is {max_workers}, it must be 0 or more")
        if tries_max < 1:
            raise LimitError(f"tries_max is {tries_max}, it must be 1 or more")
        self._pid = os.getpid()
        id = f"{self._pid}-{os.urandom(4).hex()}"
        self._owns_depot = depot is None
        self._depot = entrepot.open() if depot is None else depot
        self._is_private = space is None
        name = space if space is not None else f"executor {id}"
        self.space = self._depot.space(name, owned=self._is_private)
        """Where the tasks go."""
        self._results = self._depot.space(f"results {id}", owned=True)
        self._stop = f"stop {id}"
        self._tries_max = tries_max
        self._workers_count = max_workers
        self._futures: dict[int, _Future[Any]] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._suspected: set[int] = set()
        """The tasks that were not there when they were looked for last."""
        self._is_shut_down = False
        self._has_ended = False
        self._broken = ""
        self._crew: Crew | None = None
        self._bar = _Bar(name) if progress else None
        self._collector = threading.Thread(
            target=self._collect, name="entrepot-executor", daemon=True
        )
        self._collector.start()
        _live.add(self)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have a worker call a function; return the future of its result.

        Raises:
            RuntimeError: The executor was shut down, or belongs to another process.
            TypeMismatchError: The function, or an argument, cannot be pickled.
            BrokenSpaceExecutor: Its workers cannot work.
        """
        parcel = Parcel.of((fn, args, kwargs))
        self._check()
        self._start()
        number = next(_numbers)
        future: _Future[R] = _Future(self, number)
        with self._lock:
            self._futures[number] = future
        if self._bar is not None:
            self._bar.add()
        task: Task = (self._results.name, number, self._tries_max, parcel)
        try:
            future.index = self.space.store_record(TASK, values.encode(task))
        except BaseException:
            self._forget(number)
            raise
        return future

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("this executor belongs to the parent of this process")
        if self._broken:
            raise BrokenSpaceExecutor(self._broken)
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _start(self) -> None:
        """Start the workers, with the first task."""
        with self._lock:
            if self._crew is None and self._workers_count:
                depot = self._depot
                place = depot.name, str(depot.path.parent), str(depot.data_path.parent)
                self._crew = Crew(
                    work,
                    (*place, self.space.name, self._stop),
                    self._workers_count,
                    is_given_up=self._give_up,
                )

    @property
    def has_workers(self) -> bool:
        """Whether it has started workers of its own."""
        return self._crew is not None

    def _give_up(self) -> None:
        self._broken = (
            self._broken or "the workers end before they are ready; their output says why"
        )
        with self._lock:
            numbers = list(self._futures)
        for number in numbers:
            self._resolve(number, BrokenSpaceExecutor(self._broken), is_done=False)

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[R]:
        """Call a function for each item; yield the results in order.

        Args:
            fn: The function.
            iterables: One for each of its arguments.
            timeout: Seconds from now until a result must be there.
            chunksize: So many items make one task, which is faster if there are many.

        Raises:
            TimeoutError: From the iterator, if a result does not come in time.
            ValueError: `chunksize` is not positive.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        items = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(items, chunksize)), [])
        done = super().map(_call_each, itertools.repeat(fn), chunks, timeout=timeout)
        return (result for chunk in done for result in chunk)

    # What comes back.

    def _collect(self) -> None:
        """Give the futures their results, until all is over."""
        while True:
            try:
                result: Result | None = self._results.fetch(RESULT, timeout=_LOOK_S)
            except WaitTimeoutError:
                self._look_for_lost()
                continue
            except EntrepotError as error:
                self._broken = f"results do not come back any more: {error}"
                self._give_up()
                return
            if result is None:
                return
            number, is_done, parcel = result
            try:
                outcome = parcel.open()
            except EntrepotError as error:
                outcome, is_done = error, False
            else:
                if not is_done:
                    outcome = _with_cause(*outcome)
            self._resolve(number, outcome, is_done=is_done)

    def _look_for_lost(self) -> None:
        """Fail the futures whose tasks were deleted, or have expired: nobody will do them.

        A task is suspected first: its result may be on the way.
        """
        with self._lock:
            waiting = {
                future.index: number
                for number, future in itertools.islice(self._futures.items(), _LOST_MAX)
                if future.index is not None
            }
        if not waiting:
            return
        try:
            lost = {waiting[index] for index in self.space.lost(TASK, waiting)}
        except EntrepotError as error:
            self._broken = f"the tasks are gone: {error}"
            self._give_up()
            return
        for number in lost & self._suspected:
            error = BrokenSpaceExecutor("the task was deleted, or has expired, before it was done")
            self._resolve(number, error, is_done=False)
        self._suspected = lost

    def _resolve(self, number: int, outcome: Any, *, is_done: bool) -> None:
        with self._lock:
            future = self._futures.get(number)
        if future is None:
            return  # done twice: who did it first died before it could say so
        if future.set_running_or_notify_cancel():
            if is_done:
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        self._forget(number)

    def _forget(self, number: int) -> None:
        if self._bar is not None:
            self._bar.advance()
        with self._changed:
            self._futures.pop(number, None)
            self._changed.notify_all()

    def withdraw(self, number: int, index: int | None) -> bool:
        """Take back a task that nobody has claimed; tell whether that was so. For futures."""
        if index is None or not self.space.remove(TASK, index):
            return False
        self._forget(number)
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and end when all are done; may be repeated.

        Args:
            wait: Return when that is so; else at once.
            cancel_futures: Cancel what nobody has begun.
        """
        if os.getpid() != self._pid:
            return
        self._is_shut_down = True
        with self._lock:
            futures = list(self._futures.values())
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait:
            self._end()
        else:
            threading.Thread(target=self._end, name="entrepot-executor-end", daemon=True).start()

    def _end(self) -> None:
        with self._changed:
            while self._futures:
                self._changed.wait()
            has_ended, self._has_ended = self._has_ended, True
        if has_ended:
            return
        _live.discard(self)
        with contextlib.suppress(EntrepotError):  # the depot may be gone: then so is all else
            if self._crew is not None:
                self._crew.dismiss()
                for _ in range(self._crew.count):
                    self.space.store(self._stop, None)
            self._results.store(RESULT, None)
        if self._crew is not None:
            self._crew.join()
        self._collector.join()
        if self._bar is not None:
            self._bar.close()
        with contextlib.suppress(EntrepotError):
            self.space.delete(self._stop)
            self._depot.delete_space(self._results.name)
            if self._is_private:
                self._depot.delete_space(self.space.name)
        if self._owns_depot:
            self._depot.close()


class _Future(Future[R]):
    """A future that can be cancelled as long as nobody has claimed its task."""

    def __init__(self, executor: SpaceExecutor, number: int) -> None:
        super().__init__()
        self.index: int | None = None
        """Of the task in its variable."""
        self._executor = executor
        self._number = number

    def cancel(self) -> bool:
        """Cancel the task, if nobody has begun it; tell whether it is cancelled."""
        if self.done():
            return self.cancelled()
        if not self._executor.withdraw(self._number, self.index):
            return False
        super().cancel()
        self.set_running_or_notify_cancel()
        return True


class _Bar:
    """A progress bar: how many tasks there are, and how many are done."""

    def __init__(self, name: str) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress: Progress = Progress(*columns, TimeRemainingColumn())
        self._task: TaskID = self._progress.add_task(name, total=0)
        self._total = itertools.count(1)
        self._progress.start()

    def add(self) -> None:
        self._progress.update(self._task, total=next(self._total))

    def advance(self) -> None:
        self._progress.advance(self._task)

    def close(self) -> None:
        self._progress.stop()


_live: set[SpaceExecutor] = set()


def _end_all() -> None:
    """At the exit of the interpreter: finish what workers do, drop what nobody would do."""
    for executor in list(_live):
        executor.shutdown(cancel_futures=not executor.has_workers)


atexit.register(_end_all)


def _call_each(fn: Callable[..., R], items: list[tuple[Any, ...]]) -> list[R]:
    return [fn(*item) for item in items]


def _with_cause(error: BaseException, text: str) -> BaseException:
    error.__cause__ = RemoteTraceback(text)
    return error


# The worker's side.


def work(
    depot: str | None,
    directory: str | None,
    data_directory: str | None,
    space: str,
    stop: str | None,
    ready: Ready | None = None,
) -> None:
    """Do the tasks of a space, until told to stop, or until the space is gone.

    Args:
        depot: Its name.
        directory: Where depots live in memory; see `entrepot.open`.
        data_directory: Where they live on disk.
        space: The name of the space.
        stop: A variable whose values end a worker each.
        ready: Called when it is able to work.
    """
    end_with_parent()
    with entrepot.open(depot, directory=directory, data_directory=data_directory) as opened:
        tasks = opened.space(space)
        variables = [TASK] if stop is None else [stop, TASK]
        found: dict[str, Space] = {}
        if ready is not None:
            ready()
        while True:
            try:
                claim = tasks.claim_any(variables)
            except NotFoundError:
                return  # the executor is gone, and the space with it
            if claim.variable == stop:
                claim.done()
                return
            _do(opened, claim, found)


def _do(depot: entrepot.Depot, claim: Claim, found: dict[str, Space]) -> None:
    """Do a task, and say what came of it; if this process dies meanwhile, another does it."""
    where, number, tries_max, parcel = claim.value
    claim.value = None
    results = found.get(where)
    try:
        if results is None:
            if len(found) >= _SPACES_MAX:
                found.clear()
            results = found[where] = depot.space(where, create=False)
    except NotFoundError:
        claim.done()  # nobody waits for it any more
        return
    if claim.tries > tries_max:
        error = BrokenSpaceExecutor(
            f"{tries_max} workers died while they did this task: {claim.reason}"
        )
        result: Result = (number, False, Parcel.of((error, claim.reason)))
    else:
        result = number, *_outcome(parcel)
    with contextlib.suppress(NotFoundError):  # who waited has gone meanwhile
        results.store(RESULT, result)
    claim.done()


def _outcome(parcel: Parcel) -> tuple[bool, Parcel]:
    """Call a function; return whether it returned, and what, or what it raised."""
    try:
        fn, args, kwargs = parcel.open()
        value = fn(*args, **kwargs)
    except BaseException as error:
        text = traceback.format_exc()
        if isinstance(error, KeyboardInterrupt):
            raise
        return False, _failure(error, text)
    try:
        return True, Parcel.of(value)
    except TypeMismatchError as error:
        return False, _failure(error, traceback.format_exc())


def _failure(error: BaseException, text: str) -> Parcel:
    """Return an exception as it travels: as itself if it can be pickled, and loaded."""
    error = error.with_traceback(None)
    error.__cause__ = error.__context__ = None
    try:
        parcel = Parcel.of((error, text))
        parcel.open()
    except Exception:  # noqa: BLE001 whatever its class does when it is pickled, or made again
        said = TypeMismatchError(
            f"the task raised {type(error).__name__}: {error}, which cannot be pickled"
        )
        return Parcel.of((said, text))
    return parcel
