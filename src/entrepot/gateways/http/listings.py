"""Listings: the containers, and what is in a directory, in XML."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from entrepot import settings
from entrepot.engine.protocol import Transaction
from entrepot.gateways.http.handles import Handles, path_of
from entrepot.gateways.http.messages import XML, Outcome, Reply, Request, Work, refuse
from entrepot.gateways.http.targets import below, queries
from entrepot.layers import entries
from entrepot.layers.containers import Info
from entrepot.layers.containers import core as objects
from entrepot.layers.streams import core as streams
from entrepot.v3io._protocol import INVALID

__all__ = ["list_containers", "list_directory"]

_BILLION: Final = 1_000_000_000
_FILE_MODE, _DIRECTORY_MODE = "0100664", "040775"
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def _text(text: str) -> str:
    """Return a text for XML, which cannot hold all characters that a name may have."""
    return escape(_UNPRINTABLE.sub("\ufffd", text), {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


def list_containers(handles: Handles, may_read: Callable[[str], bool]) -> Reply:
    """Answer the names of the containers that may be read."""
    found = handles.engine.read(entries.list_containers)
    buckets = "".join(
        f"<Bucket><Name>{each.name}</Name><CreationDate>"
        f"{datetime.fromtimestamp(each.created_ns // 1000 / 1_000_000, UTC).isoformat()}"
        f"</CreationDate><Id>{each.id}</Id></Bucket>"
        for each in found
        if may_read(each.name)
    )
    text = (
        "<ListAllMyBucketsResult><Owner><ID>0</ID><DisplayName>entrepot</DisplayName></Owner>"
        f"<Buckets>{buckets}</Buckets></ListAllMyBucketsResult>"
    )
    return Reply(200, text.encode(), XML)


class _Asked(NamedTuple):
    container: str
    prefix: str
    """As it came."""
    directory: str
    marker: str
    """As it came."""
    limit: int
    has_info: bool
    only_directories: bool


class _Page(NamedTuple):
    entries: Sequence[Info]
    has_more: bool
    streams: dict[str, streams.StreamRecord]


def list_directory(handles: Handles, request: Request) -> Outcome:
    """Answer the entries of a directory."""
    given = queries(request)
    prefix = given.get("prefix", "")
    asked = _Asked(
        request.container,
        prefix,
        below("", prefix),
        given.get("marker", ""),
        _limit(given.get("max-keys", "")),
        given.get("prefix-info", "0") == "1",
        given.get("prefix-only", "0") == "1",
    )
    handles.container(request.container)  # refuses what is no name of one

    def answer() -> Reply:
        return _reply(asked, handles.engine.read(_find, asked))

    # All of a large directory is looked at for the few directories in it.
    return Work(answer) if asked.only_directories else answer()


def _limit(text: str) -> int:
    if not text:
        return settings.PAGE_ITEMS_MAX
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise refuse(400, INVALID, f"max-keys is {text[:20]!r}, which is no positive number")
    return min(int(text), settings.PAGE_ITEMS_MAX)


def _find(tx: Transaction, asked: _Asked) -> _Page:
    behind = asked.marker.rstrip("/").rpartition("/")[2]
    found, has_more = objects.list_page(
        tx,
        asked.container,
        asked.directory,
        behind,
        asked.limit,
        only_directories=asked.only_directories,
    )
    records: dict[str, streams.StreamRecord] = {}
    if asked.has_info:
        number = entries.get_container(tx, asked.container).id
        records = {
            each.path: streams.get_stream(tx, number, path_of(each.path))[1]
            for each in found
            if each.kind == "stream"
        }
    return _Page(found, has_more, records)


def _reply(asked: _Asked, page: _Page) -> Reply:
    last = page.entries[-1].path if page.entries else ""
    files = "".join(_content(each, asked) for each in page.entries if not each.is_directory)
    directories = "".join(
        _directory(each, asked, page.streams.get(each.path))
        for each in page.entries
        if each.is_directory
    )
    text = (
        f"<ListBucketResult><Name>{asked.container}</Name><Prefix>{_text(asked.prefix)}</Prefix>"
        f"<Marker>{_text(asked.marker)}</Marker><Delimiter>/</Delimiter>"
        f"<NextMarker>{_text(last)}</NextMarker><MaxKeys>{asked.limit}</MaxKeys>"
        f"<IsTruncated>{'true' if page.has_more else 'false'}</IsTruncated>"
        f"{files}{directories}</ListBucketResult>"
    )
    return Reply(200, text.encode(), XML)


def _content(entry: Info, asked: _Asked) -> str:
    text = (
        f"<Key>{_text(entry.path)}</Key><Size>{entry.size}</Size>"
        f"<LastModified>{_time(entry.modified_ns)}</LastModified>"
    )
    if asked.has_info:
        text += _info(entry, _FILE_MODE)
        if entry.kind == "shard":
            number = entry.last_sequence
            text += f"<LastSequenceId>{number}</LastSequenceId>"
            text += f"<LastSequenceID>{number}</LastSequenceID>"
    return f"<Contents>{text}</Contents>"


def _directory(entry: Info, asked: _Asked, stream: streams.StreamRecord | None) -> str:
    text = f"<Prefix>{_text(entry.path)}/</Prefix>"
    if asked.has_info:
        text += f"<LastModified>{_time(entry.modified_ns)}</LastModified>"
        text += _info(entry, _DIRECTORY_MODE)
        if stream is not None:
            kept_s = stream.retention_s
            text += f"<ShardCount>{stream.shards}</ShardCount>"
            text += f"<RetentionPeriodHours>{kept_s // 3600}</RetentionPeriodHours>"
            text += f"<RetentionPeriodSec>{kept_s}</RetentionPeriodSec>"
    return f"<CommonPrefixes>{text}</CommonPrefixes>"


def _info(entry: Info, mode: str) -> str:
    return (
        f"<AccessTime>{_time(entry.modified_ns)}</AccessTime>"
        f"<CreatingTime>{_time(entry.created_ns)}</CreatingTime>"
        f"<Mode>{mode}</Mode><GID>0</GID><UID>0</UID><InodeNumber>{entry.inode}</InodeNumber>"
    )


def _time(moment_ns: int) -> str:
    seconds, rest = divmod(moment_ns, _BILLION)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 10_000_000:02d}Z"
