"""Operations on streams, awaited."""

from __future__ import annotations

from entrepot.v3io.aio.dataplane import _model
from entrepot.v3io.aio.dataplane import container as containers
from entrepot.v3io.aio.dataplane import object as objects
from entrepot.v3io.dataplane import output, request
from entrepot.v3io.dataplane import stream as sync
from entrepot.v3io.dataplane._texts import alike
from entrepot.v3io.dataplane.response import Expected, Response
from entrepot.v3io.dataplane.stream import Records

__all__ = ["Model"]


class Model(_model.Model):
    """Operations on streams: records in the order of their arrival, in shards."""

    def __init__(self, client: _model.Connected) -> None:
        super().__init__(client)
        self._containers = containers.Model(client)
        self._objects = objects.Model(client)

    @alike(sync.Model.create)
    async def create(
        self,
        container: str,
        stream_path: str,
        shard_count: int,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        retention_period_hours: int | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_create_stream,
            {
                "stream_path": stream_path,
                "shard_count": shard_count,
                "retention_period_hours": retention_period_hours,
            },
        )

    @alike(sync.Model.update)
    async def update(
        self,
        container: str,
        stream_path: str,
        shard_count: int,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_update_stream,
            {"stream_path": stream_path, "shard_count": shard_count},
        )

    @alike(sync.Model.delete)
    async def delete(
        self,
        container: str,
        stream_path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> Response:
        stream_path = request.ensure_trailing_slash(stream_path)
        marker = None
        while True:
            listing = await self._containers.list(
                container, stream_path, access_key, sync.also(200, raise_for_status), marker=marker
            )
            if listing.status_code >= 300:
                return listing
            entries, marker = sync.listed(listing)
            for key in entries:
                await self._objects.delete(container, key, access_key, raise_for_status)
            if marker is None:
                return await self._objects.delete(
                    container, stream_path, access_key, raise_for_status
                )

    @alike(sync.Model.describe)
    async def describe(
        self,
        container: str,
        stream_path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_describe_stream,
            {"stream_path": stream_path},
            output.DescribeStreamOutput,
        )

    @alike(sync.Model.seek)
    async def seek(
        self,
        container: str,
        stream_path: str,
        shard_id: int,
        seek_type: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        starting_sequence_number: int | None = None,
        timestamp_sec: int | None = None,
        timestamp_nsec: int | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
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

    @alike(sync.Model.put_records)
    async def put_records(
        self,
        container: str,
        stream_path: str,
        records: Records,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_put_records,
            {"stream_path": stream_path, "records": records},
            output.PutRecordsOutput,
        )

    @alike(sync.Model.get_records)
    async def get_records(
        self,
        container: str,
        stream_path: str,
        shard_id: int,
        location: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        limit: int | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_get_records,
            {
                "stream_path": stream_path,
                "shard_id": shard_id,
                "location": location,
                "limit": limit,
            },
            output.GetRecordsOutput,
        )
