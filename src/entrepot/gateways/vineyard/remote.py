"""Blobs over the network: their bytes follow the messages.

They go straight from the socket into shared memory, and back from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from entrepot.gateways.vineyard.payloads import created, got, payload
from entrepot.gateways.vineyard.requests import blobs_asked, field, sizes_field
from entrepot.gateways.vineyard.session import Session
from entrepot.vineyard._errors import NotImplementedException
from entrepot.vineyard._ids import EMPTY_BLOB

__all__ = ["COMMANDS"]

Json = dict[str, Any]


def create_remote_buffer(session: Session, request: Json) -> None:
    """Receive one blob."""
    _check_plain(request)
    _receive(session, sizes_field({"sizes": [field(request, "size", int)]}), is_list=False)


def create_remote_buffers(session: Session, request: Json) -> None:
    """Receive several blobs."""
    _check_plain(request)
    _receive(session, sizes_field(request), is_list=True)


def _check_plain(request: Json) -> None:
    """Refuse compression, which the greeting did not offer: the bytes would be misread."""
    if field(request, "compress", bool, False):
        raise NotImplementedException("this server does not compress: send 'compress': false")


def _receive(session: Session, sizes: list[int], *, is_list: bool) -> None:
    store, connection = session.store, session.connection
    drafts: list[Any] = []
    try:
        for size in sizes:
            draft = session.instance.lender.with_room(lambda size=size: store.begin_blob(size))
            drafts.append(draft)
        payloads = [
            payload(EMPTY_BLOB if draft is None else draft.id, size)
            for draft, size in zip(drafts, sizes, strict=True)
        ]
        reply = created(payloads, is_list=is_list)
        connection.send(reply)  # that is the word to go on
        for draft in drafts:
            if draft is not None:
                connection.receive_bytes(draft.memory)
        for draft in drafts:
            if draft is not None:
                store.seal_blob(draft)
    except BaseException:
        for draft in drafts:
            if draft is not None:
                store.drop_blob(draft)
        raise
    connection.send(reply)


def get_remote_buffers(session: Session, request: Json) -> None:
    """Send blobs; one that is missing is an error, and no bytes are sent."""
    _check_plain(request)
    ids = blobs_asked(request)
    bodies = {EMPTY_BLOB: memoryview(b"")}
    for id in ids:
        if id not in bodies:  # some are put together for this: each once
            bodies[id] = session.store.bytes_of(id)
    payloads = [payload(id, len(bodies[id]), is_sealed=True) for id in ids]
    session.connection.send(got(payloads), *[bodies[id] for id in ids])


COMMANDS: dict[str, Callable[[Session, Json], None]] = {
    "create_remote_buffer": create_remote_buffer,
    "create_remote_buffers": create_remote_buffers,
    "get_remote_buffers": get_remote_buffers,
}
