"""Peers: real processes, newly started, that run functions for a test.

::

    peer = Peer(home)  # python -m support.peer_process
    peer.run(lambda here: here.depot.objects.put(1))  # runs there, returns here
    asked = peer.begin(lambda here: here.depot.space("s").fetch("v"))  # and go on
    asked.result()

Functions travel by value (cloudpickle), so they may be lambdas and closures of a test. They
get `here`, where the peer's depot is and anything may be kept between calls.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

import cloudpickle

from support.conditions import PATIENCE_S, is_stopped, wait_until

__all__ = ["Asked", "Peer"]

_TESTS = Path(__file__).parents[1]

_STACKS_S = 2.0
"""So long a peer that does not end has time to print its stacks."""


class Asked:
    """What a peer was asked to do, and has perhaps not done yet."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._answer: tuple[bool, Any] | None = None

    def is_done(self, patience_s: float = 0) -> bool:
        """Tell whether the answer is there, or comes in time."""
        return self._answer is not None or self._peer.channel.poll(patience_s)

    def result(self, patience_s: float = PATIENCE_S) -> Any:
        """Return what the function returned, or raise what it raised."""
        is_good, value = self._wait(patience_s)
        if not is_good:
            raise value
        return value

    def error(self, patience_s: float = PATIENCE_S) -> BaseException:
        """Return what the function raised."""
        is_good, value = self._wait(patience_s)
        assert not is_good, f"nothing was raised, {value!r} returned"
        return value

    def _wait(self, patience_s: float) -> tuple[bool, Any]:
        if self._answer is None:
            if not self._peer.channel.poll(patience_s):
                self._peer.send(signal.SIGUSR2)  # it prints its stacks
                raise AssertionError(f"peer {self._peer.pid} did not answer in {patience_s} s")
            self._answer = cloudpickle.loads(self._peer.channel.recv_bytes())
            self._peer.asked = None
        return self._answer


class Peer:
    """A process that runs functions for a test."""

    def __init__(self, home: Any = None, *, environment: dict[str, str] | None = None) -> None:
        """Start the process; let it open the depot of `home`, if one is given."""
        self.channel, theirs = Pipe()
        paths = [str(_TESTS), *filter(None, sys.path)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "support.peer_process", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})},
        )
        theirs.close()
        self.pid = self.process.pid
        self.asked: Asked | None = None
        self._is_killed = False
        if home is not None:
            self.run(_open, home.name, home.root, home.data)

    channel: Connection

    def begin(self, fn: Callable[..., Any], *arguments: Any) -> Asked:
        """Ask the peer to run fn(here, *arguments), and go on."""
        assert self.asked is None, "the peer is still at work"
        module = sys.modules.get(fn.__module__)
        if module is not None and fn.__module__ not in _BY_REFERENCE:
            cloudpickle.register_pickle_by_value(module)
        self.channel.send_bytes(cloudpickle.dumps((fn, arguments)))
        self.asked = Asked(self)
        return self.asked

    def run(self, fn: Callable[..., Any], *arguments: Any) -> Any:
        """Let the peer run fn(here, *arguments); return what it returns."""
        return self.begin(fn, *arguments).result()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self) -> None:
        """Stop the process, as Ctrl-Z does; return when it has stopped."""
        self.send(signal.SIGSTOP)
        wait_until(lambda: is_stopped(self.pid), "the peer stops")

    def resume(self) -> None:
        """Let a stopped process go on."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process as a crash would; return when it is gone."""
        self._is_killed = True
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def wait_for_death(self) -> None:
        """Wait for the process to be killed, by itself for instance."""
        self._is_killed = True
        assert self.process.wait(PATIENCE_S) == -signal.SIGKILL

    def close(self) -> None:
        """Let the process close its depot and end, as programs do."""
        self.channel.close()
        if self._is_killed:
            self.process.wait(PATIENCE_S)
            return
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STACKS_S)
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"peer {self.pid} did not end") from None
        assert code == 0, f"peer {self.pid} ended with {code}"

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and not self._is_killed:
            self.kill()
        self.close()


_BY_REFERENCE = {"support.peers"}


def _open(here: Any, name: str, root: Path, data: Path) -> None:
    import entrepot

    here.depot = entrepot.open(name, directory=root, data_directory=data)
