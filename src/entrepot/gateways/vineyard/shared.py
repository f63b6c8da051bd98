"""Blobs in shared memory: clients on this machine get the arena's descriptor, and places in it.

The descriptor follows the first message that names the arena, in a message of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from entrepot.errors import EntrepotError
from entrepot.gateways.vineyard.payloads import MEMORY, NOWHERE, created, got, payload
from entrepot.gateways.vineyard.requests import (
    blobs_asked,
    field,
    id_field,
    ids_field,
    sizes_field,
)
from entrepot.gateways.vineyard.session import Session
from entrepot.layers.objects.assembly import BlobDraft
from entrepot.vineyard._errors import (
    ObjectNotExistsException,
    ObjectNotSealedException,
    ObjectSealedException,
    VineyardException,
)
from entrepot.vineyard._ids import BLOB_BIT, EMPTY_BLOB, text_id

__all__ = ["ANSWERS", "COMMANDS"]

Json = dict[str, Any]


def _draft_payload(session: Session, draft: BlobDraft | None, size: int) -> Json:
    if draft is None:
        return payload(EMPTY_BLOB, 0)
    return payload(
        draft.id, size, at=draft.draft.ref.at, file=MEMORY, bound=session.instance.lender.bound
    )


def _send(
    session: Session, payloads: Sequence[Json], reply: Callable[[Sequence[int]], Json]
) -> None:
    """Send a reply and, if it is the first that names it, the arena's descriptor behind it."""
    is_named = any(one["store_fd"] == MEMORY for one in payloads)
    files = [MEMORY] if is_named and not session.has_memory else []
    session.connection.send(reply(files))
    if files:
        session.connection.send_descriptor(session.instance.lender.descriptor)
        session.has_memory = True


def create_buffer(session: Session, request: Json) -> None:
    """Give room for a blob."""
    _create(session, sizes_field({"sizes": [field(request, "size", int)]}), is_list=False)


def create_buffers(session: Session, request: Json) -> None:
    """Give room for several blobs, or for none."""
    _create(session, sizes_field(request), is_list=True)


def _create(session: Session, sizes: list[int], *, is_list: bool) -> None:
    session.begin_writing()
    drafts: list[BlobDraft | None] = []
    try:
        for size in sizes:
            drafts.append(session.begin_blob(size))  # noqa: PERF401 those before a failure are dropped
    except BaseException:
        for draft in drafts:
            if draft is not None:
                session.drop_blob(draft)
        raise
    payloads = [
        _draft_payload(session, draft, size) for draft, size in zip(drafts, sizes, strict=True)
    ]
    _send(session, payloads, lambda files: created(payloads, is_list=is_list, files=files))


def get_buffers(session: Session, request: Json) -> None:
    """Tell where blobs are; those that do not exist are left out."""
    ids = blobs_asked(request)
    is_unsafe = field(request, "unsafe", bool, False)
    session.check_depot()
    lender = session.instance.lender
    drafts = {id: draft for id in ids if (draft := session.instance.drafts.get(id)) is not None}
    if drafts and not is_unsafe:
        raise ObjectNotSealedException(f"Failed to get blob with id {text_id(next(iter(drafts)))}")
    blobs = [id for id in dict.fromkeys(ids) if id & BLOB_BIT and id != EMPTY_BLOB]
    wanted = [id for id in blobs if id not in drafts]
    places = lender.lend(session, wanted, session.bytes_of) if wanted else {}
    payloads: list[Json] = []
    for id in ids:
        if id == EMPTY_BLOB:
            payloads.append(payload(EMPTY_BLOB, 0))
        elif id in drafts:
            payloads.append(_draft_payload(session, drafts[id], len(drafts[id].memory)))
        elif id in places:
            at, size = places[id]
            payloads.append(
                payload(id, size, at=at, file=MEMORY, bound=lender.bound, is_sealed=True)
            )
    _send(session, payloads, lambda files: got(payloads, files))


def get_next_stream_chunk(session: Session, request: Json) -> None:
    """Give room for the next chunk of a stream, when there is some."""
    id, size = id_field(request, "id"), sizes_field({"sizes": [field(request, "size", int)]})[0]
    session.begin_writing()
    for seconds in session.slices():
        lent = session.instance.lender.with_room(
            lambda seconds=seconds: session.store.try_begin_chunk(id, size, seconds)
        )
        if lent is not None:
            break
    else:
        return  # the client is gone
    lent.release()  # what is written is written elsewhere
    one = _draft_payload(session, session.store.chunk_draft(id), size)
    _send(
        session,
        [one],
        lambda files: {
            "type": "get_next_stream_chunk_reply",
            "buffer": one,
            "fd": files[0] if files else NOWHERE,
        },
    )


COMMANDS: dict[str, Callable[[Session, Json], None]] = {
    "create_buffer": create_buffer,
    "create_buffers": create_buffers,
    "get_buffers": get_buffers,
    "get_next_stream_chunk": get_next_stream_chunk,
}
"""Those that send their replies themselves, and a descriptor perhaps."""


def seal(session: Session, request: Json) -> Json:
    """Make a blob visible to all."""
    id = id_field(request, "object_id")
    if id != EMPTY_BLOB:
        session.seal_blob(_unsealed(session, id))
    return {}


def _unsealed(session: Session, id: int) -> BlobDraft:
    draft = session.instance.drafts.get(id)
    if draft is not None:
        return draft
    if session.store.exists(id):
        raise ObjectSealedException(f"the blob {text_id(id)} is sealed")
    raise _missing(id)


def drop_buffer(session: Session, request: Json) -> Json:
    """Give back the room for a blob."""
    id = id_field(request, "id")
    if id != EMPTY_BLOB:
        session.drop_blob(_unsealed(session, id))
    return {}


def shrink_buffer(session: Session, request: Json) -> Json:
    """Keep only the first bytes of a blob."""
    id, size = id_field(request, "id"), field(request, "size", int)
    session.shrink_blob(_unsealed(session, id), size)
    return {}


def release(session: Session, request: Json) -> Json:
    """Note that the client does not look at a blob any more."""
    id = id_field(request, "object_id")
    lender = session.instance.lender
    if not lender.has(session, id) and id != EMPTY_BLOB and not session.store.exists(id):
        raise _missing(id)
    lender.give_back(session, [id])
    return {}


def increase_reference_count(session: Session, request: Json) -> Json:
    """Note that the client looks at blobs."""
    blobs = [id for id in ids_field(request, "ids") if id & BLOB_BIT and id != EMPTY_BLOB]
    wanted = [id for id in blobs if session.instance.drafts.get(id) is None]
    with contextlib.suppress(
        VineyardException, EntrepotError
    ):  # of what has no bytes: there is nothing to keep
        session.instance.lender.lend(session, wanted, session.bytes_of)
    return {}


def is_in_use(session: Session, request: Json) -> Json:
    """Tell whether some client looks at a blob, or writes it."""
    id = id_field(request, "id")
    if session.instance.drafts.get(id) is not None:
        return {"is_in_use": True}
    if not session.store.exists(id):
        raise _missing(id)
    return {"is_in_use": session.instance.lender.is_borrowed(id)}


def is_spilled(session: Session, request: Json) -> Json:
    """Tell that a blob is in memory: nothing is ever moved to a disk."""
    id = id_field(request, "id")
    if session.instance.drafts.get(id) is None and not session.store.exists(id):
        raise _missing(id)
    return {"is_spilled": False}


def _missing(id: int) -> Exception:
    return ObjectNotExistsException(f"there is no blob {text_id(id)}")


ANSWERS: dict[str, Callable[[Session, Json], Json]] = {
    "seal": seal,
    "drop_buffer": drop_buffer,
    "shrink_buffer": shrink_buffer,
    "release": release,
    "increase_reference_count": increase_reference_count,
    "is_in_use": is_in_use,
    "is_spilled": is_spilled,
}
"""Those that return their replies."""
