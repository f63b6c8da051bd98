"""The child side of `support.peers`: runs the functions that it is sent, one after the other."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
from multiprocessing.connection import Connection
from types import SimpleNamespace

import cloudpickle

__all__ = ["serve"]


def serve(channel: Connection) -> None:
    """Run functions until the channel is closed; then close the depot, if one is open."""
    here = SimpleNamespace(depot=None, pid=os.getpid())
    while True:
        try:
            fn, arguments = cloudpickle.loads(channel.recv_bytes())
        except (EOFError, ConnectionResetError):
            break
        try:
            answer = (True, fn(here, *arguments))
        except BaseException as error:  # noqa: BLE001 whatever it is, the parent judges it
            error.__traceback__ = None
            error.__context__ = None
            answer = (False, error)
        del fn, arguments
        with contextlib.suppress(BrokenPipeError):  # the test is over
            channel.send_bytes(_pickled(answer))
        del answer
    if here.depot is not None:
        here.depot.close()


def _pickled(answer: tuple[bool, object]) -> bytes:
    try:
        return cloudpickle.dumps(answer)
    except Exception as error:  # noqa: BLE001 the parent shall see it rather than a hang
        return cloudpickle.dumps((False, RuntimeError(f"cannot send {answer!r}: {error!r}")))


if __name__ == "__main__":
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2)
    serve(Connection(int(sys.argv[1])))
