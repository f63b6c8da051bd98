"""An HTTP server that answers at once: `python -m benchmarks.canned_http`.

It looks for the end of a request and sends what fits the operation: the least that a server
in Python can do, so the ceiling of whatever the original client can reach. Prints its port.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from benchmarks.web_api import BODY, ITEM_JSON

__all__ = ["Canned"]

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"X-v3io-transaction-verifier: __mtime_secs==1795250633 and __mtime_nsecs==518468688\r\n"
    b"Last-Modified: Sat, 21 Nov 2026 08:43:53 GMT\r\nContent-Length: %d\r\n\r\n%s"
)
_ITEM, _NOTHING, _OBJECT = (_HEAD % (len(body), body) for body in (ITEM_JSON, b"", BODY))
_LENGTH = b"Content-Length: "


class Canned(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._read = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        read = self._read + data
        while (end := read.find(b"\r\n\r\n")) >= 0:
            head = read[:end]
            at = head.find(_LENGTH)
            size = int(head[at + len(_LENGTH) :].partition(b"\r\n")[0]) if at >= 0 else 0
            if len(read) < end + 4 + size:
                break
            read = read[end + 4 + size :]
            if b"GetItem" in head:
                self._transport.write(_ITEM)
            else:
                self._transport.write(_NOTHING if b"PutItem" in head else _OBJECT)
        self._read = read


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        sys.exit(asyncio.run(_serve()))
    uvloop.run(_serve())
