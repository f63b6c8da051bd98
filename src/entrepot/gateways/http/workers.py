"""Workers: several processes that serve one port of one depot; the system distributes.

The parent binds the port first and does not listen on it: so it is the workers' alone, and
stays theirs while they come and go. Each worker has one end of a pair of sockets: it says
there when it is ready, and stops when the other end is closed, however its parent ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from entrepot.errors import UnavailableError
from entrepot.gateways.http.meter import DIRECTORY_VARIABLE

__all__ = ["READY", "Workers", "python_command", "tell_parent"]

READY: Final = b"ready"
_START_S: Final = 60.0
_KILL_S: Final = 5.0
_log = logging.getLogger(__name__)


class Workers:
    """Processes that are started again when they end."""

    def __init__(
        self, count: int, host: str, port: int, words: Callable[[str, int, int], Sequence[str]]
    ) -> None:
        """Start them, and wait until all serve.

        Args:
            count: How many.
            host: Where they listen.
            port: Likewise; 0 takes a free one.
            words: Returns the command of a worker from host, port and the number of the file
                descriptor on which it talks with us; see `tell_parent`.

        Raises:
            OSError: The port is in use, or may not be used.
            UnavailableError: A worker did not start.
        """
        self._words = words
        self._figures = tempfile.mkdtemp(prefix="entrepot-figures-")
        self._port = _bind(host, port)
        self.host, self.port = self._port.getsockname()[:2]
        self._workers: list[tuple[subprocess.Popen[bytes], socket.socket]] = []
        try:
            for _ in range(count):
                self._workers.append(self._start())
            for process, link in self._workers:
                _await_ready(process, link)
        except BaseException:
            self.close(timeout=0.0)
            raise

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603 our own command
                self._words(self.host, self.port, theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                env={**os.environ, DIRECTORY_VARIABLE: self._figures},
            )
        return process, ours

    @property
    def pids(self) -> list[int]:
        """The processes, those that just ended included."""
        return [process.pid for process, _ in self._workers]

    def tend(self) -> None:
        """Start those again that ended."""
        for number, (process, link) in enumerate(self._workers):
            if process.poll() is not None:
                _log.warning("worker %d ended (%d)", process.pid, process.returncode)
                link.close()
                self._forget(process.pid)
                self._workers[number] = self._start()

    def _forget(self, pid: int) -> None:
        """Drop what a dead worker said of itself; what it counted stays."""
        with contextlib.suppress(ImportError):
            from prometheus_client import multiprocess

            untyped: Any = multiprocess
            untyped.mark_process_dead(pid, self._figures)

    def close(self, *, timeout: float) -> None:
        """Have them stop, and wait; those that take longer are killed. May be repeated."""
        workers, self._workers = self._workers, []
        for process, _ in workers:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout + _KILL_S
        for process, link in workers:
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                _log.warning("worker %d does not stop, and is killed", process.pid)
                process.kill()
                process.wait()
            link.close()
        self._port.close()
        shutil.rmtree(self._figures, ignore_errors=True)


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def _await_ready(process: subprocess.Popen[bytes], link: socket.socket) -> None:
    link.settimeout(_START_S)
    try:
        if link.recv(len(READY)) == READY:
            return
    except OSError:
        pass
    raise UnavailableError(
        f"worker {process.pid} did not start", "what it wrote to the terminal says why"
    )


def tell_parent(number: int, stop: Callable[[], None]) -> None:
    """Say that this worker serves, and have it stop when its parent is gone.

    Args:
        number: The file descriptor that the parent gave.
        stop: Called in a thread.
    """
    link = socket.socket(fileno=number)
    link.set_inheritable(False)
    link.sendall(READY)

    def watch() -> None:
        with link, contextlib.suppress(OSError):
            link.recv(1)  # nothing is ever sent: it returns when the other end is closed
        stop()

    threading.Thread(target=watch, name="entrepot-parent", daemon=True).start()


def python_command() -> list[str]:
    """Return the beginning of a command that runs ours."""
    return [sys.executable, "-m", "entrepot"]
