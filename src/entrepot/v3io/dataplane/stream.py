"""Operations on streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from entrepot.v3io.dataplane import container as containers
from entrepot.v3io.dataplane import model, output, request
from entrepot.v3io.dataplane import object as objects
from entrepot.v3io.dataplane._texts import operation
from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Model", "Records", "also", "listed"]

Records = Sequence[Mapping[str, Any]]  # of values of several types


class Model(model.Model):
    """Operations on streams: records in the order of their arrival, in shards."""

    def __init__(self, client: model.Connected) -> None:
        super().__init__(client)
        self._containers = containers.Model(client)
        self._objects = objects.Model(client)

    @operation(shard_count="How many shards it has.")
    def create(
        self,
        container: str,
        stream_path: str,
        shard_count: int,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        retention_period_hours: int | None = None,
    ) -> Response:
        """Make a stream, and the directories that lead to it."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_create_stream,
            {
                "stream_path": stream_path,
                "shard_count": shard_count,
                "retention_period_hours": retention_period_hours,
            },
        )

    @operation()
    def update(
        self,
        container: str,
        stream_path: str,
        shard_count: int,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        """Give a stream more shards."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_update_stream,
            {"stream_path": stream_path, "shard_count": shard_count},
        )

    @operation()
    def delete(
        self,
        container: str,
        stream_path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> Response:
        """Delete a stream: its shards and what else is in its directory, one by one, then that."""
        stream_path = request.ensure_trailing_slash(stream_path)
        marker = None
        while True:
            listing = self._containers.list(
                container, stream_path, access_key, also(200, raise_for_status), marker=marker
            )
            if listing.status_code >= 300:
                return listing
            entries, marker = listed(listing)
            for key in entries:
                self._objects.delete(container, key, access_key, raise_for_status)
            if marker is None:
                return self._objects.delete(container, stream_path, access_key, raise_for_status)

    @operation("A Response object, whose output is DescribeStreamOutput.")
    def describe(
        self,
        container: str,
        stream_path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        """Ask how many shards a stream has, and how long it keeps records."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_describe_stream,
            {"stream_path": stream_path},
            output.DescribeStreamOutput,
        )

    @operation("A Response object, whose output is SeekShardOutput.")
    def seek(
        self,
        container: str,
        stream_path: str,
        shard_id: int,
        seek_type: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        starting_sequence_number: int | None = None,
        timestamp_sec: int | None = None,
        timestamp_nsec: int | None = None,
    ) -> Response:
        """Ask for the location in a shard from which to read."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_seek_shard,
            {
                "stream_path": stream_path,
                "shard_id": shard_id,
                "seek_type": seek_type,
                "starting_sequence_number": starting_sequence_number,
                "timestamp_sec": timestamp_sec,
                "timestamp_nsec": timestamp_nsec,
            },
            output.SeekShardOutput,
        )

    @operation(
        "A Response object, whose output is PutRecordsOutput. A record that was refused is told "
        "there and does not raise."
    )
    def put_records(
        self,
        container: str,
        stream_path: str,
        records: Records,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        """Append records to a stream."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_put_records,
            {"stream_path": stream_path, "records": records},
            output.PutRecordsOutput,
        )

    @operation(
        "A Response object, whose output is GetRecordsOutput; it is without records at the end.",
        limit="Most records to return; 1000 by default.",
    )
    def get_records(
        self,
        container: str,
        stream_path: str,
        shard_id: int,
        location: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        limit: int | None = None,
    ) -> Response:
        """Read records of a shard, oldest first."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_get_records,
            {
                "stream_path": stream_path,
                "shard_id": shard_id,
                "location": location,
                "limit": limit,
            },
            output.GetRecordsOutput,
        )


def also(status: int, expected: Expected) -> Expected:
    """Return what is expected, and a status besides: of a step whose reply nobody sees."""
    return expected if not expected or isinstance(expected, str) else [status, *expected]


def listed(listing: Response) -> tuple[list[str], str | None]:
    """Return the paths of the files in a listing, and the marker of the next page, if any."""
    page: output.GetContainerContentsOutput | None = listing.output
    if page is None or not hasattr(page, "contents"):
        return [], None
    marker = page.next_marker if page.is_truncated == "true" else None
    return [entry.key for entry in page.contents], marker or None
