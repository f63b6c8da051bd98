"""vineyard's protocol, as both sides speak it: a length of 8 bytes, then JSON; raw bytes of blobs.

The facts are those of the public protocol of vineyard 0.24.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from entrepot.vineyard._errors import (
    ConnectionErrorException,
    InvalidException,
    VineyardException,
    from_code,
)

__all__ = ["FRAME_BYTES_MAX", "VERSION", "Connection", "FrameError", "pack"]

VERSION: Final = "0.24.2"
FRAME_BYTES_MAX: Final = 256 << 20
_ROOM_BYTES: Final = 1 << 16
"""What is taken for a message before the first byte of it is there."""
_LONG_BYTES: Final = 1 << 20
"""Messages that are longer are looked at before they are read."""
_CONTAINER_BYTES: Final = 64
_ITEM_BYTES: Final = 56
_MEMORY_BYTES_MAX: Final = 1 << 30
_length = struct.Struct("<Q")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)
_KEEPALIVE: Final = {
    option: value
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
    if (option := getattr(socket, name, None)) is not None
}
_BIG: Final = 1 << 63


class FrameError(Exception):
    """What came is no message: the connection is of no more use."""


def pack(message: Mapping[str, Any]) -> bytes:
    """Return a message as it goes over the wire.

    Raises:
        InvalidException: It holds what JSON has no number for: the other side would lose it.
    """
    try:
        body = _encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidException(f"that cannot be sent: {error}") from error
    if b"null" in body:  # what JSON has no number for is written so
        _check_numbers(message)
    return _length.pack(len(body)) + body


def _check_numbers(value: Any) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidException(f"{value} cannot be sent as metadata: put it as a value")
    elif isinstance(value, Mapping):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType] what a user gave
            _check_numbers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:  # pyright: ignore[reportUnknownVariableType] what a user gave
            _check_numbers(item)


def _check_memory(body: bytearray) -> None:
    """Refuse JSON that is short, and long in memory: a list of empty ones has 24 times the bytes.

    Also counted is what stands inside texts, so the bound is far above what programs send.
    """
    size = len(body)
    size += _CONTAINER_BYTES * (body.count(b"{") + body.count(b"["))
    size += _ITEM_BYTES * body.count(b",")
    if size > _MEMORY_BYTES_MAX:
        raise InvalidException(f"the message has too many parts: they may take {size} bytes")


class Connection:
    """A socket on which messages and raw bytes go both ways. For one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._is_tcp = sock.family != socket.AF_UNIX
        if self._is_tcp:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A machine that is gone without a word is noticed: what it held would stay held.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE.items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self.is_open = True

    def close(self) -> None:
        """Close the socket; may be repeated, also by another thread to end a wait."""
        self.is_open = False
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def send(self, message: Mapping[str, Any], *bodies: memoryview) -> None:
        """Send a message, and behind it raw bytes."""
        self.socket.sendall(pack(message))
        self.send_bytes(*bodies)

    def send_bytes(self, *bodies: memoryview) -> None:
        """Send raw bytes."""
        for body in bodies:
            if len(body):
                self.socket.sendall(body)

    def send_descriptor(self, descriptor: int) -> None:
        """Send an open file to a process on this machine, in a message of its own: one byte."""
        socket.send_fds(self.socket, [b"\0"], [descriptor])

    def receive(self) -> dict[str, Any] | None:
        """Return the next message; None when the other side has closed.

        Raises:
            FrameError: It is too long.
            InvalidException: It is no JSON object, or one of too many parts.
        """
        head = bytearray(8)
        if not self._fill(memoryview(head), may_end=True):
            return None
        size = _length.unpack(head)[0]
        if size > FRAME_BYTES_MAX:
            raise FrameError(f"a message of {size} bytes, at most {FRAME_BYTES_MAX} are allowed")
        body = self._body(size)
        if size > _LONG_BYTES:
            _check_memory(body)
        try:
            message = _decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidException(f"that is no JSON: {error}") from error
        if not isinstance(message, dict):
            raise InvalidException("a message is a JSON object")
        return message  # pyright: ignore[reportUnknownVariableType] JSON's keys are strings

    def _body(self, size: int) -> bytearray:
        """Return so many bytes; room is taken as they come: lengths alone fill no memory."""
        body = bytearray()
        try:
            while (at := len(body)) < size:
                body += bytes(min(size - at, max(at, _ROOM_BYTES)))
                with memoryview(body) as whole, whole[at:] as part:
                    self._fill(part)
        except MemoryError as error:  # what is left of the message would be taken for the next
            raise FrameError(f"there is no memory for a message of {size} bytes") from error
        return body

    def receive_bytes(self, memory: memoryview) -> None:
        """Fill memory with raw bytes."""
        self._fill(memory)

    def _fill(self, memory: memoryview, *, may_end: bool = False) -> bool:
        """Fill memory; tell whether there was something: with `may_end`, there may be nothing."""
        at = 0
        while at < len(memory):
            # The other side sends header and body apart: an acknowledgement that the system holds
            # back would cost each message 40 ms.
            if self._is_tcp and _QUICKACK is not None:
                self.socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            count = self.socket.recv_into(memory[at:])
            if not count:
                if may_end and not at:
                    return False
                raise FrameError("the connection ended inside a message")
            at += count
        return True

    def is_gone(self) -> bool:
        """Tell whether the other side has closed, without waiting.

        Not by a look at what can be read: who gives up a wait says so, and then closes.
        """
        poller = select.poll()
        try:
            poller.register(self.socket, select.POLLRDHUP)
            return bool(poller.poll(0))
        except (OSError, ValueError):  # closed on this side
            return True

    # The side that asks.

    def ask(self, request: Mapping[str, Any], reply_type: str) -> dict[str, Any]:
        """Send a request and return the reply.

        Raises:
            VineyardException: What the other side answered, or that it is gone.
        """
        if not self.is_open:
            raise ConnectionErrorException("Client is not connected")
        message = pack(request)
        try:
            self.socket.sendall(message)
            return self.await_reply(reply_type)
        except VineyardException:
            raise
        except BaseException as error:
            self.close()  # a half-read answer cannot be told from the next one
            if isinstance(error, (OSError, FrameError)):
                raise ConnectionErrorException(f"the server is gone: {error}") from error
            raise

    def await_reply(self, reply_type: str) -> dict[str, Any]:
        """Return the next reply.

        Raises:
            VineyardException: What the other side answered instead.
        """
        reply = self.receive()
        if reply is None:
            self.close()
            raise ConnectionErrorException("the server closed the connection")
        if "type" not in reply or reply.get("code"):
            raise from_code(int(reply.get("code", 255)), str(reply.get("message", reply)))
        if reply["type"] != reply_type:
            self.close()
            raise FrameError(f"{reply['type']!r} came for {reply_type!r}")
        return reply
