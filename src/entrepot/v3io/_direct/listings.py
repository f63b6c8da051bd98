"""Listings: of containers, and of directories; as outputs, and as the XML that a server sends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from xml.etree import ElementTree as ET

from entrepot import settings
from entrepot.layers.containers import Container
from entrepot.layers.containers.core import Info
from entrepot.layers.entries import Container as Found
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
_TAGS: Final = {
    "key": "Key",
    "prefix": "Prefix",
    "size": "Size",
    "last_sequence_id": "LastSequenceID",
    "last_modified": "LastModified",
    "access_time": "AccessTime",
    "creating_time": "CreatingTime",
    "mode": "Mode",
    "gid": "GID",
    "uid": "UID",
    "inode_number": "InodeNumber",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def container(found: Found) -> ContainerOutput:
    """Return what is told of a container."""
    return ContainerOutput(
        found.name, _moment(found.created_ns).isoformat(timespec="microseconds"), found.id
    )


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
    return _moment(moment_ns).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(moment_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=moment_ns // 1000)


# As XML.


def containers_body(output: GetContainersOutput) -> bytes:
    """Return the body of a list of containers."""
    root = ET.Element("ListAllMyBucketsResult")
    owner = ET.SubElement(root, "Owner")
    _add(owner, "ID", 0)
    _add(owner, "DisplayName", "")
    buckets = ET.SubElement(root, "Buckets")
    for each in output.containers:
        bucket = ET.SubElement(buckets, "Bucket")
        _add(bucket, "Name", each.name)
        _add(bucket, "CreationDate", each.creation_date)
        _add(bucket, "Id", each.identifier)
    return _document(root)


def page_body(output: GetContainerContentsOutput, path: str, marker: str) -> bytes:
    """Return the body of a page of a directory."""
    root = ET.Element("ListBucketResult")
    _add(root, "Name", output.name)
    _add(root, "Prefix", path)
    _add(root, "Marker", marker)
    _add(root, "Delimiter", "/")
    _add(root, "NextMarker", output.next_marker)
    _add(root, "MaxKeys", output.max_keys)
    _add(root, "IsTruncated", output.is_truncated)
    for tag, entries in (("Contents", output.contents), ("CommonPrefixes", output.common_prefixes)):
        for entry in entries:
            element = ET.SubElement(root, tag)
            for name, value in vars(entry).items():
                _add(element, _TAGS[name], value)
    return _document(root)


def _add(parent: ET.Element, tag: str, value: object) -> None:
    ET.SubElement(parent, tag).text = None if value is None else str(value)


def _document(root: ET.Element) -> bytes:
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)
