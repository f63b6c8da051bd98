"""Listings: of containers, and of directories; as outputs, and as the XML that a server sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from xml.sax.saxutils import escape

from entrepot import settings
from entrepot.layers.containers import Container
from entrepot.layers.containers.core import Info
from entrepot.layers.entries import Container as Found
from entrepot.layers.streams.core import StreamRecord
from entrepot.v3io._direct.answers import filled
from entrepot.v3io.dataplane.output import Container as ContainerOutput
from entrepot.v3io.dataplane.output import (
    ContainerCommonPrefix,
    ContainerContent,
    GetContainerContentsOutput,
    GetContainersOutput,
)

__all__ = ["XML", "container", "containers_body", "page", "page_body"]

XML: Final = {"Content-Type": "application/xml"}
_FILE_MODE, _DIRECTORY_MODE = "0100664", "040775"
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_BILLION: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def container(found: Found) -> ContainerOutput:
    """Return what is told of a container."""
    return ContainerOutput(found.name, _moment(found.created_ns).isoformat(), found.id)


def page(
    target: Container,
    path: str,
    *,
    marker: str,
    limit: int,
    only_directories: bool,
    has_all: bool,
) -> GetContainerContentsOutput:
    """Return entries of a directory.

    Args:
        target: The container.
        path: The directory.
        marker: The path of the entry behind which to begin.
        limit: Most entries.
        only_directories: Leave out files.
        has_all: Tell of each also its times, owner and mode.

    Raises:
        LimitError: The limit is not positive.
        NotFoundError: There is no such directory, or container.
    """
    behind = marker.rstrip("/").rpartition("/")[2]
    found, more = target.page(path, behind, limit=limit, only_directories=only_directories)
    return filled(
        GetContainerContentsOutput,
        {
            "name": target.name,
            "next_marker": found[-1].path if found else None,
            "max_keys": str(min(limit, settings.PAGE_ITEMS_MAX)),
            "is_truncated": "false" if more is None else "true",
            "contents": [
                filled(ContainerContent, _content(info, has_all=has_all))
                for info in found
                if not info.is_directory
            ],
            "common_prefixes": [
                filled(ContainerCommonPrefix, _prefix(info, has_all=has_all))
                for info in found
                if info.is_directory
            ],
        },
    )


def _content(info: Info, *, has_all: bool) -> dict[str, Any]:
    fields = {"key": info.path, "size": info.size, "last_modified": _stamp(info.modified_ns)}
    if has_all:
        fields |= _details(info, _FILE_MODE)
        if info.kind == "shard":
            fields["last_sequence_id"] = info.last_sequence
    return fields


def _prefix(info: Info, *, has_all: bool) -> dict[str, Any]:
    fields = {"prefix": f"{info.path}/"}
    return fields | _details(info, _DIRECTORY_MODE) if has_all else fields


def _details(info: Info, mode: str) -> dict[str, Any]:
    modified = _stamp(info.modified_ns)
    return {
        "last_modified": modified,
        "access_time": modified,
        "creating_time": _stamp(info.created_ns),
        "mode": mode,
        "gid": "0",
        "uid": "0",
        "inode_number": info.inode,
    }


def _stamp(moment_ns: int) -> str:
    hundredths = moment_ns % _BILLION // 10_000_000
    return f"{_moment(moment_ns):%Y-%m-%dT%H:%M:%S}.{hundredths:02d}Z"


def _moment(moment_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=moment_ns // 1000)


# As XML, in the form that a gateway sends.


def containers_body(output: GetContainersOutput) -> bytes:
    """Return the body of a list of containers."""
    buckets = "".join(
        f"<Bucket><Name>{each.name}</Name><CreationDate>{each.creation_date}</CreationDate>"
        f"<Id>{each.identifier}</Id></Bucket>"
        for each in output.containers
    )
    return (
        "<ListAllMyBucketsResult><Owner><ID>0</ID><DisplayName>entrepot</DisplayName></Owner>"
        f"<Buckets>{buckets}</Buckets></ListAllMyBucketsResult>"
    ).encode()


def page_body(
    output: GetContainerContentsOutput,
    path: str,
    marker: str,
    streams: Mapping[str, StreamRecord],
) -> bytes:
    """Return the body of a page of a directory.

    Args:
        output: The page.
        path: The directory, as it was asked for.
        marker: Likewise.
        streams: What streams among its entries are, by path.
    """
    files = "".join(
        f"<Contents>{_fields(vars(entry), _CONTENT_TAGS)}</Contents>" for entry in output.contents
    )
    directories = "".join(
        f"<CommonPrefixes>{_fields(vars(entry), _PREFIX_TAGS)}"
        f"{_stream(streams.get(entry.prefix[:-1]))}</CommonPrefixes>"
        for entry in output.common_prefixes
    )
    return (
        f"<ListBucketResult><Name>{output.name}</Name><Prefix>{_text(path)}</Prefix>"
        f"<Marker>{_text(marker)}</Marker><Delimiter>/</Delimiter>"
        f"<NextMarker>{_text(output.next_marker or '')}</NextMarker>"
        f"<MaxKeys>{output.max_keys}</MaxKeys><IsTruncated>{output.is_truncated}</IsTruncated>"
        f"{files}{directories}</ListBucketResult>"
    ).encode()


_INFO_TAGS: Final = {
    "last_modified": ("LastModified",),
    "access_time": ("AccessTime",),
    "creating_time": ("CreatingTime",),
    "mode": ("Mode",),
    "gid": ("GID",),
    "uid": ("UID",),
    "inode_number": ("InodeNumber",),
}
_PREFIX_TAGS: Final = {"prefix": ("Prefix",), **_INFO_TAGS}
_CONTENT_TAGS: Final = {
    "key": ("Key",),
    "size": ("Size",),
    **_INFO_TAGS,
    "last_sequence_id": ("LastSequenceId", "LastSequenceID"),  # clients ask for either
}


def _fields(fields: Mapping[str, object], tags: Mapping[str, tuple[str, ...]]) -> str:
    return "".join(
        f"<{tag}>{_text(str(fields[name]))}</{tag}>"
        for name, each in tags.items()
        if name in fields
        for tag in each
    )


def _stream(record: StreamRecord | None) -> str:
    if record is None:
        return ""
    return (
        f"<ShardCount>{record.shards}</ShardCount>"
        f"<RetentionPeriodHours>{record.retention_s // 3600}</RetentionPeriodHours>"
        f"<RetentionPeriodSec>{record.retention_s}</RetentionPeriodSec>"
    )


def _text(text: str) -> str:
    """Return a text for XML, which cannot hold all characters that a name may have."""
    return escape(_UNPRINTABLE.sub("\ufffd", text), {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})
