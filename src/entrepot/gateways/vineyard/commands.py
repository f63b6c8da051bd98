"""What each command of the protocol does: a request's JSON in, a reply's JSON out.

Commands that send their replies themselves are in `shared` and `remote`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from entrepot.gateways.vineyard.patterns import NAME_BYTES_MAX
from entrepot.gateways.vineyard.requests import field, id_field, ids_field
from entrepot.gateways.vineyard.session import Session
from entrepot.vineyard._errors import (
    AssertionFailedException,
    ConnectionErrorException,
    InvalidException,
    MetaTreeInvalidException,
    MetaTreeSubtreeNotExistsException,
    NotImplementedException,
    ObjectNotSealedException,
)
from entrepot.vineyard._ids import BLOB_BIT, INVALID, ObjectID, text_id
from entrepot.vineyard._meta import BLOB, ObjectMeta, is_signature
from entrepot.vineyard._wire import FRAME_BYTES_MAX, VERSION

__all__ = ["BARE", "COMMANDS"]

Json = dict[str, Any]

_NUMBER_BYTES = 8
"""About what a number takes in a message, with its punctuation."""
_KINDS: dict[str, type] = {
    "typename": str,
    "instance_id": int,
    "signature": int,
    "transient": bool,
    "global": bool,
    "nbytes": int,
    "__timestamp": int,
}
"""What each client reads of every object: of another type, it would fail."""

# Objects.


def create_data(session: Session, request: Json) -> Json:
    """Store an object."""
    meta = _made(session, field(request, "content", dict))
    number = session.store.build([meta])[0]
    return {
        "id": number,
        "signature": meta.signature,
        "instance_id": session.store.instance_id,
    }


def create_datas(session: Session, request: Json) -> Json:
    """Store several objects, all or none."""
    metas = [_made(session, content) for content in field(request, "contents", list)]
    return {
        "num": len(metas),
        "ids": session.store.build(metas),
        "signatures": [meta.signature for meta in metas],
        "instance_ids": [session.store.instance_id] * len(metas),
    }


def _made(session: Session, content: Any) -> ObjectMeta:
    if not isinstance(content, dict):
        raise MetaTreeInvalidException("the content is no JSON object")
    meta = ObjectMeta()
    for key, value in content.items():  # pyright: ignore[reportUnknownVariableType] what a user gave
        if isinstance(value, dict):
            meta.add_member(key, _member(session, value))  # pyright: ignore[reportUnknownArgumentType] what a user gave
        elif key != "id" and (key != "signature" or is_signature(value)):
            _set(meta, key, value)  # pyright: ignore[reportUnknownArgumentType] what a user gave
    if not isinstance(content.get("typename", ""), str):  # pyright: ignore[reportUnknownMemberType] what a user gave
        raise MetaTreeInvalidException("the typename is no text")
    _check_typename(meta.get("typename", ""))
    if meta.get("typename") == BLOB:
        raise AssertionFailedException("a blob is not made by its metadata")
    return meta


def _set(meta: ObjectMeta, key: str, value: Any) -> None:
    try:
        meta[key] = value
    except TypeError as error:
        raise InvalidException(str(error)) from None


def _check_typename(typename: str) -> None:
    if len(typename.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        raise MetaTreeInvalidException(f"the typename is longer than {NAME_BYTES_MAX} bytes")


def _member(session: Session, node: Json) -> ObjectID:
    try:
        id = ObjectID(field(node, "id", str))
    except ValueError:
        raise MetaTreeInvalidException(f"{node.get('id')!r} is no object id") from None
    if session.instance.drafts.get(int(id)) is not None:  # whoever writes it
        raise ObjectNotSealedException(f"the blob {text_id(int(id))} is not sealed yet")
    return id


def get_data(session: Session, request: Json) -> Json:
    """Return the metadata of objects; those that do not exist are left out."""
    ids = [id for id in ids_field(request, "id") if id != INVALID]
    if field(request, "wait", bool, False):
        for seconds in session.slices():
            if session.store.await_objects(ids, seconds):
                break
    return {"content": _trees(session.store.fetch(ids, buffers=False))}


def _trees(metas: dict[int, ObjectMeta]) -> Json | None:
    """Return the trees of objects, each member wherever it is one: what is shared comes often.

    Raises:
        InvalidException: They are too many for a message.
    """
    sizes: dict[int, int] = {}
    left = FRAME_BYTES_MAX
    for id, meta in metas.items():
        left -= _size(meta, sizes)
        if left < 0:
            raise InvalidException(
                f"with all its members, {text_id(id)} is longer than a message may be: "
                f"{FRAME_BYTES_MAX} bytes, with what is asked for besides"
            )
    return {text_id(id): meta.tree() for id, meta in metas.items()} or None


def _size(meta: ObjectMeta, sizes: dict[int, int]) -> int:
    """Return about how many bytes the tree of an object has; `sizes` are those that are known."""
    known = sizes.get(id(meta))
    if known is None:
        fields, members = meta.fields(), meta.members()
        known = sum(
            len(name) + (len(value) if isinstance(value, str) else _NUMBER_BYTES)
            for name, value in fields.items()
        )
        for name, member in members.items():
            is_known = isinstance(member, ObjectMeta)
            known += len(name) + (_size(member, sizes) if is_known else _NUMBER_BYTES)
        sizes[id(meta)] = known
    return known


def list_data(session: Session, request: Json) -> Json:
    """Return the metadata of objects by their type names."""
    metas = session.store.find(
        field(request, "pattern", str),
        regex=field(request, "regex", bool, False),
        limit=field(request, "limit", int, 5),
        buffers=False,
    )
    return {"type": "get_data_reply", "content": _trees(metas)}


def exists(session: Session, request: Json) -> Json:
    """Tell whether there is an object, or a blob that somebody writes."""
    id = id_field(request, "id")
    session.check_depot()
    return {"exists": session.instance.drafts.get(id) is not None or session.store.exists(id)}


def persist(session: Session, request: Json) -> Json:
    """Mark an object as to be kept."""
    id = id_field(request, "id")
    if id & BLOB_BIT:
        raise AssertionFailedException("blobs cannot be persisted")
    session.store.persist(id)
    return {}


def if_persist(session: Session, request: Json) -> Json:
    """Tell whether an object was persisted."""
    id = id_field(request, "id")
    if not id & BLOB_BIT and not session.store.exists(id):
        raise MetaTreeSubtreeNotExistsException(f"there is no object {text_id(id)}")
    return {"persist": session.store.is_persistent(id)}


def label(session: Session, request: Json) -> Json:
    """Give an object labels."""
    keys, labels = field(request, "keys", list), field(request, "values", list)
    if len(keys) != len(labels):
        raise InvalidException("there are not as many labels as keys")
    pairs = {str(key): str(value) for key, value in zip(keys, labels, strict=True)}
    session.store.label(id_field(request, "id"), pairs)
    return {}


def shallow_copy(session: Session, request: Json) -> Json:
    """Store an object again under a new id."""
    id = id_field(request, "id")
    if id & BLOB_BIT:
        raise AssertionFailedException("blobs cannot be copied")
    extra = {key: _extra(key, value) for key, value in field(request, "extra", dict, {}).items()}
    extra.pop("id", None)
    return {"target_id": session.store.shallow_copy(id, extra)}


def _extra(key: str, value: Any) -> Any:
    """Return a field to be added, which others can read.

    Raises:
        AssertionFailedException: It is no plain value.
        InvalidException: It is not what a client takes it for.
        MetaTreeInvalidException: It is a type name that is too long.
    """
    if isinstance(value, (dict, list)):
        raise AssertionFailedException(f"{key!r} is no plain value")
    kind = _KINDS.get(key)
    if kind is not None and (
        not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)
    ):
        raise InvalidException(f"{key!r} is {value!r}, not of type {kind.__name__}")
    if key == "typename":
        _check_typename(value)
    return value


def del_data(session: Session, request: Json) -> Json:
    """Delete objects.

    What this client reads of them stays as it is: it does not say what it still looks at. What
    it has only written is free at once.
    """
    gone = _delete(session, request)
    session.instance.lender.give_back_written(session, [id | BLOB_BIT for id in gone])
    return {}


def del_data_with_feedbacks(session: Session, request: Json) -> Json:
    """Delete objects; tell which blobs are gone: the client does not look at them any more."""
    lender = session.instance.lender
    gone = _delete(session, request)
    # Of a value that was put whole, the bytes are a blob too; it may be a part of something else.
    whole = [id | BLOB_BIT for id in gone if not id & BLOB_BIT]
    parts = [id for id in whole if lender.has(session, id) and not session.store.exists(id)]
    blobs = [id for id in gone if id & BLOB_BIT] + parts
    lender.give_back(session, blobs)
    return {"deleted_bids": list(dict.fromkeys(blobs))}


def _delete(session: Session, request: Json) -> list[int]:
    """Delete objects; return what is gone."""
    return session.store.delete(
        ids_field(request, "id"),
        force=field(request, "force", bool, False),
        deep=field(request, "deep", bool, True),
        trim=field(request, "memory_trim", bool, False),
    )


def clear(session: Session, request: Json) -> Json:
    """Delete everything."""
    session.store.clear()
    return {}


def migrate_object(session: Session, request: Json) -> Json:
    """Return the id of a local copy: all objects are local."""
    return {"object_id": session.store.migrate(id_field(request, "object_id"))}


def memory_trim(session: Session, request: Json) -> Json:
    """Return free memory to the system."""
    return {"trimmed": session.store.trim()}


# Names.


def put_name(session: Session, request: Json) -> Json:
    """Give an object a name."""
    session.store.put_name(id_field(request, "object_id"), field(request, "name", str))
    return {}


def get_name(session: Session, request: Json) -> Json:
    """Return what a name stands for; wait for it, if asked to."""
    name = field(request, "name", str)
    if not field(request, "wait", bool, False):
        return {"object_id": session.store.get_name(name, wait=False)}
    for seconds in session.slices():
        found = session.store.await_name(name, seconds)
        if found is not None:
            return {"object_id": found}
    raise ConnectionErrorException("the client is gone")


def list_name(session: Session, request: Json) -> Json:
    """Return names."""
    names = session.store.list_names(
        field(request, "pattern", str),
        regex=field(request, "regex", bool, False),
        limit=field(request, "limit", int, 5),
    )
    return {"size": len(names), "names": names}


def drop_name(session: Session, request: Json) -> Json:
    """Forget a name."""
    session.store.drop_name(field(request, "name", str))
    return {}


# Streams.


def create_stream(session: Session, request: Json) -> Json:
    """Make a stream."""
    session.store.create_stream(id_field(request, "object_id"))
    return {}


def open_stream(session: Session, request: Json) -> Json:
    """Open a stream."""
    mode = {1: "r", 2: "w"}.get(field(request, "mode", int))
    if mode is None:
        raise AssertionFailedException("a stream is opened to read (1) or to write (2)")
    id = id_field(request, "object_id")
    session.store.open_stream(id, mode)
    session.streams.add((id, mode))
    return {}


def push_chunk(session: Session, request: Json) -> Json:
    """Append to a stream."""
    id, chunk = id_field(request, "id"), id_field(request, "chunk")
    for seconds in session.slices():
        if session.store.try_push_chunk(id, chunk, seconds):
            break
    return {}


def pull_chunk(session: Session, request: Json) -> Json:
    """Wait for the next chunk of a stream. The one before is deleted, its bytes stay lent."""
    id = id_field(request, "id")
    if (id, "r") not in session.streams:  # nobody must open: its writer is told nevertheless
        session.store.hold_stream(id, "r")
        session.streams.add((id, "r"))
    for seconds in session.slices():
        chunk = session.store.try_pull_chunk(id, seconds)
        if chunk is not None:
            return {"chunk": chunk}
    raise ConnectionErrorException("the client is gone")


def stop_stream(session: Session, request: Json) -> Json:
    """End a stream."""
    id, failed = id_field(request, "id"), field(request, "failed", bool, False)
    for other in session.instance.writers_of_chunk(id):
        if other is not session:  # its chunk is the last one, whoever says that it is
            with other.writing:
                (other.store.drop_chunk if failed else other.store.end_chunk)(id)
    session.store.stop_stream(id, failed=failed)
    return {}


def drop_stream(session: Session, request: Json) -> Json:
    """Remove a stream."""
    id = id_field(request, "id")
    session.store.drop_stream(id)
    session.streams -= {(id, "r"), (id, "w")}  # one of the same id is another one
    return {}


# The instance.


def cluster_meta(session: Session, request: Json) -> Json:
    """Tell of the instances: of this one."""
    told = session.store.cluster()[session.store.instance_id]
    told |= {
        "ipc_socket": session.instance.ipc_socket,
        "rpc_endpoint": session.instance.rpc_endpoint,
    }
    return {"type": "cluster_meta", "meta": {f"i{session.store.instance_id}": told}}


def instance_status(session: Session, request: Json) -> Json:
    """Tell how the instance is doing."""
    usage, limit = session.store.memory()
    told = {
        "instance_id": session.store.instance_id,
        "deployment": "local",
        "memory_usage": usage,
        "memory_limit": limit,
    }
    return {"meta": told | session.instance.counts()}


def debug(session: Session, request: Json) -> Json:
    """Tell nothing."""
    return {"type": "debug_reply", "result": None}


def nothing(session: Session, request: Json) -> Json:
    """Do nothing: what memory is used for, this depot knows better."""
    return {}


def refuse(session: Session, request: Json) -> Json:
    """Refuse what this server does not do."""
    raise NotImplementedException(f"this server does not do that: {request['type']}")


def register(session: Session, request: Json) -> Json:
    """Greet a client."""
    store_type = request.get("store_type")
    return {
        "ipc_socket": session.instance.ipc_socket,
        "rpc_endpoint": session.instance.rpc_endpoint,
        "instance_id": session.store.instance_id,
        "session_id": 0,
        "version": VERSION,
        "store_match": store_type in (1, "Normal"),
        "support_rpc_compression": False,
    }


COMMANDS: dict[str, Callable[[Session, Json], Json]] = {
    "register": register,
    "cluster_meta": cluster_meta,
    "debug_command": debug,
    "create_data": create_data,
    "create_datas": create_datas,
    "get_data": get_data,
    "list_data": list_data,
    "exists": exists,
    "persist": persist,
    "if_persist": if_persist,
    "label": label,
    "shallow_copy": shallow_copy,
    "del_data": del_data,
    "del_data_with_feedbacks": del_data_with_feedbacks,
    "clear": clear,
    "migrate_object": migrate_object,
    "memory_trim": memory_trim,
    "put_name": put_name,
    "get_name": get_name,
    "list_name": list_name,
    "drop_name": drop_name,
    "create_stream": create_stream,
    "open_stream": open_stream,
    "push_next_stream_chunk": push_chunk,
    "pull_next_stream_chunk": pull_chunk,
    "stop_stream": stop_stream,
    "drop_stream": drop_stream,
    "instance_status": instance_status,
    "evict": nothing,
    "load": nothing,
    "unpin": nothing,
    "create_gpu_buffer": refuse,
    "get_gpu_buffers": refuse,
    "make_arena": refuse,
    "finalize_arena": refuse,
    "create_disk_buffer": refuse,
    "new_session": refuse,
    "delete_session": refuse,
    "move_buffers_ownership": refuse,
    "acquire_lock": refuse,
    "release_lock": refuse,
}
"""By the type of the request, without `_request`; the reply's type is the same with `_reply`."""

BARE = frozenset(("cluster_meta", "debug_command"))
"""Requests whose type does not end with `_request`."""
