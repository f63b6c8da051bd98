"""vineyard's protocol by hand: what no client of it would say, and what comes back exactly."""

from __future__ import annotations

import array
import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from support.conditions import PATIENCE_S, wait_until

__all__ = ["REGISTER", "Gateway", "Raw", "serving"]

REGISTER = {
    "password": "",
    "session_id": 0,
    "store_type": 1,
    "type": "register_request",
    "username": "",
    "version": "0.24.2",
}

Json = dict[str, Any]


class Raw:
    """A connection to a server that sends and receives what it is told to."""

    def __init__(self, path: str, *, registers: bool = True) -> None:
        """Connect to the socket at `path`, and register."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(path)
        self.files: dict[int, mmap.mmap] = {}
        """What the server has passed, by `store_fd`."""
        if registers:
            assert self.ask(REGISTER)["type"] == "register_reply"

    def send(self, message: Any) -> None:
        """Send a message: JSON, or bytes in its place."""
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.socket.sendall(struct.pack("<Q", len(body)) + body)

    def ask(self, message: Any) -> Json:
        """Send a message and return the reply, without what may follow it."""
        self.send(message)
        return self.reply()

    def call(self, name: str, /, **fields: Any) -> Json:
        """Ask for a command; return the reply, of which the type is checked and left out."""
        reply = self.ask({"type": f"{name}_request", **fields})
        assert reply.get("type") == f"{name}_reply", (name, fields, reply)
        return {key: value for key, value in reply.items() if key != "type"}

    def code(self, name: str, /, **fields: Any) -> int:
        """Ask for a command that is refused; return the code."""
        reply = self.ask({"type": f"{name}_request", **fields})
        assert set(reply) == {"code", "message"}, (name, fields, reply)
        return reply["code"]

    def reply(self) -> Json:
        """Return the next reply."""
        head = self._exactly(8)
        return json.loads(self._exactly(struct.unpack("<Q", head)[0]))

    def _exactly(self, size: int) -> bytes:
        body = bytearray()
        while len(body) < size:
            part = self.socket.recv(size - len(body))  # a descriptor would be lost here
            if not part:
                raise EOFError(f"the server closed after {len(body)} of {size} bytes")
            body += part
        return bytes(body)

    def is_quiet(self) -> bool:
        """Tell whether the server sent nothing more, and did not close."""
        return not select.select([self.socket], [], [], 0)[0]

    def is_ended(self) -> bool:
        """Tell whether the server closes, without a word."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    # Bytes.

    def buffers(self, name: str, /, **fields: Any) -> Json:
        """Ask for blobs; receive the file that follows, if one is named."""
        reply = self.ask({"type": f"{name}_request", **fields})
        assert "code" not in reply, reply
        named = reply["fds"] if "fds" in reply else [reply["fd"]] if reply["fd"] >= 0 else []
        sizes = {one["store_fd"]: one["map_size"] for one in _payloads(reply)}
        for number in named:
            assert number not in self.files, "a file is passed once"
            self.files[number] = self._file(sizes[number])
        assert self.is_quiet()
        return reply

    def _file(self, map_size: int) -> mmap.mmap:
        body, ancillary, flags, _ = self.socket.recvmsg(100, socket.CMSG_SPACE(4 * 8))
        assert (len(body), len(ancillary), flags & socket.MSG_CTRUNC) == (1, 1, 0)
        level, kind, data = ancillary[0]
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        descriptors = array.array("i", data)
        assert len(descriptors) == 1
        try:
            assert os.fstat(descriptors[0]).st_size >= map_size - 8
            return mmap.mmap(descriptors[0], map_size - 8)
        finally:
            os.close(descriptors[0])

    def bytes_of(self, payload: Json) -> memoryview:
        """Return what a payload names, writable."""
        at, size = payload["data_offset"], payload["data_size"]
        return (
            memoryview(self.files[payload["store_fd"]])[at : at + size] if size else memoryview(b"")
        )

    def create(self, body: bytes, *, seals: bool = True) -> int:
        """Make a blob; return its id."""
        reply = self.buffers("create_buffer", size=len(body))
        self.bytes_of(reply["created"])[:] = body
        if seals:
            assert self.call("seal", object_id=reply["id"]) == {}
        return reply["id"]

    def get(self, *ids: int, unsafe: bool = False) -> list[memoryview]:
        """Return the bytes of blobs."""
        asked = {str(number): id for number, id in enumerate(ids)}
        reply = self.buffers("get_buffers", **asked, num=len(ids), unsafe=unsafe)
        return [self.bytes_of(one) for one in reply["payloads"]]

    def make(self, typename: str = "my::Type", **content: Any) -> int:
        """Make an object; return its id."""
        tree = {
            "typename": typename,
            "instance_id": 0,
            "global": False,
            "transient": True,
            **content,
        }
        return self.call("create_data", content=tree)["id"]

    def close(self) -> None:
        """Leave, without a word."""
        self.socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _payloads(reply: Json) -> list[Json]:
    if "payloads" in reply:
        return reply["payloads"]
    return [reply["created"] if "created" in reply else reply["buffer"]]


class Gateway:
    """A server of a depot, in a process of its own."""

    def __init__(self, depot: Any, path: Path, *, limit: int | None = None) -> None:
        """Start it; return when it listens at `path`."""
        self.path = os.fspath(path)
        words = [sys.executable, "-m", "entrepot", "serve", "--json", "--depot", depot.name]
        words += ["--directory", str(depot.path.parent), "--data-directory"]
        words += [str(depot.data_path.parent), "--ipc", self.path, "--rpc", "127.0.0.1:0"]
        words += [] if limit is None else ["--blob-bytes-max", str(limit)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        told = b""
        while b"}" not in told:
            line = self.process.stdout.readline()
            assert line, "the gateway did not start"
            told += line
        self.told: Json = json.loads(told)
        with Raw(self.path):
            pass

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill it as a crash would."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """Let it end, as at a Ctrl-C."""
        if self.is_running:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def serving(depot: Any, path: Path, **options: Any) -> Iterator[Gateway]:
    """Yield a gateway; look for what it left when it has ended."""
    gateway = Gateway(depot, path, **options)
    try:
        yield gateway
        assert gateway.is_running
        wait_until(lambda: depot.check() == [], "the depot is sound")
    finally:
        gateway.close()
