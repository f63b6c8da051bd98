"""Runs the original NetWorkSpaces client, or server, on Python 3.

It was written when text and bytes were the same: here both are text of the 256 characters that
bytes can be, and bytes only on the wire and in files.

    python -m support.nws_adapter run SCRIPT        with the original client
    python -m support.nws_adapter face SCRIPT       with our face of it
    python -m support.nws_adapter serve             the original server; prints its port
"""

from __future__ import annotations

import html
import io
import pickle
import runpy
import socket
import sys
import types
import unittest
from types import SimpleNamespace
from typing import Any

__all__ = ["adapt_client"]


class TextSocket(socket.socket):
    """Sends and receives text."""

    def sendall(self, data: Any, *flags: int) -> None:
        super().sendall(data.encode("latin-1") if isinstance(data, str) else data, *flags)

    def recv(self, *arguments: int) -> str:
        return super().recv(*arguments).decode("latin-1")


class BinaryFile:
    """Takes text for a file of bytes; gives a text file text."""

    def __init__(self, fobj: Any) -> None:
        self._fobj = fobj

    def write(self, text: str) -> None:
        is_binary = "b" in getattr(self._fobj, "mode", "")
        self._fobj.write(text.encode("latin-1") if is_binary else text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fobj, name)


class TextFile(io.StringIO):
    """Knows its length, as such files once did."""

    @property
    def len(self) -> int:
        return len(self.getvalue())


def adapt_client() -> Any:
    """Return the original client's module, able to run."""
    types.StringType = str
    sys.modules["new"] = types  # what sleigh makes functions with was called so
    from nws import client

    client.socket = SimpleNamespace(**{**vars(socket), "socket": TextSocket})
    client.pickle = SimpleNamespace(
        dumps=lambda value, protocol: pickle.dumps(value, protocol).decode("latin-1"),
        loads=lambda text: pickle.loads(text.encode("latin-1")),
    )
    io.StringIO = TextFile
    receive = client.NwsServer._recvN

    def receive_n(self: Any, n: int, fobj: Any = None) -> str:
        return receive(self, n, None if fobj is None else BinaryFile(fobj))

    client.NwsServer._recvN = receive_n
    return client


def use_face() -> None:
    """Bind `nws` to our face."""
    from entrepot.faces import bind

    bind(["nws"])


def serve() -> None:
    """Run the original server on a free port."""
    cgi = types.ModuleType("cgi")  # it left Python; the original makes web pages with it
    cgi.escape = html.escape
    sys.modules["cgi"] = cgi
    import nwss.config
    import nwss.protocol
    import nwss.server
    from twisted.internet import reactor

    nwss.config.nwsLongValueSize = 1 << 40

    class Transport:
        def __init__(self, transport: Any) -> None:
            self._transport = transport

        def write(self, data: Any) -> None:
            self._transport.write(data.encode("latin-1") if isinstance(data, str) else data)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

    class Protocol(nwss.protocol.NwsProtocol):
        """Hands text to the original's states, and bytes to the wire."""

        def makeConnection(self, transport: Any) -> None:  # noqa: N802 as Twisted calls it
            self._received, self._state = bytearray(), self.getInitialState()
            super().makeConnection(Transport(transport))

        def dataReceived(self, data: bytes) -> None:  # noqa: N802 as Twisted calls it
            self._received += data
            call, size = self._state
            at = 0
            while len(self._received) - at >= size:
                piece = bytes(self._received[at : at + size]).decode("latin-1")
                at += size
                self._state = call, size = call(piece)
            del self._received[:at]

    service = nwss.server.NwsService(0)
    factory = nwss.server.NwsFactory(service)
    factory.protocol = Protocol
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


def main(kind: str, *script: str) -> None:
    """Do what was asked for."""
    for old, new in (("assertEquals", "assertEqual"), ("assert_", "assertTrue")):
        setattr(unittest.TestCase, old, getattr(unittest.TestCase, new))
    if kind == "serve":
        serve()
        return
    if kind == "run":
        adapt_client()
    else:
        use_face()
    sys.argv = list(script)
    runpy.run_path(script[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
