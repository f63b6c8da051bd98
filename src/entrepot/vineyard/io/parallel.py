"""Several streams as one object: one for each part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from entrepot.vineyard._meta import Object, ObjectMeta
from entrepot.vineyard.io.stream import StreamCollection

__all__ = ["ParallelStream", "StreamCollection", "make_parallel_stream"]

TYPENAME = "vineyard::ParallelStream"


def make_parallel_stream(client: Any, streams: Sequence[Any]) -> ObjectMeta:
    """Store an object made of streams; return its metadata."""
    meta = ObjectMeta()
    meta["typename"] = TYPENAME
    meta.set_global(True)
    meta["__streams_-size"] = len(streams)
    for number, stream in enumerate(streams):
        meta.add_member(f"__streams_-{number}", stream.id)
    client.create_metadata(meta)
    client.persist(meta.id)
    return client.get_meta(meta.id)


class ParallelStream(list[Any]):
    """The streams of such an object: a list, which knows its id."""

    def __init__(self, meta: ObjectMeta, streams: Sequence[Any]) -> None:
        super().__init__(streams)
        self.meta = meta
        self.id = meta.id


def parallel_stream_resolver(obj: Object, resolver: Any, **keywords: Any) -> ParallelStream:
    """Return the streams."""
    size = int(obj.meta["__streams_-size"])
    members = [obj.member(f"__streams_-{number}") for number in range(size)]
    return ParallelStream(obj.meta, [resolver.run(member, **keywords) for member in members])
