"""The operations under their older names, with one path in place of table and key.

They do what those of the models do, with the transport that the client has at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrepot.v3io.dataplane import container as containers
from entrepot.v3io.dataplane import kv, kv_cursor, output, request, stream
from entrepot.v3io.dataplane import object as objects
from entrepot.v3io.dataplane._texts import alike, operation
from entrepot.v3io.dataplane.kv import Attributes, Names
from entrepot.v3io.dataplane.object import Content
from entrepot.v3io.dataplane.response import Expected, Response, Responses
from entrepot.v3io.dataplane.stream import Records
from entrepot.v3io.dataplane.transport import abstract

__all__ = ["Legacy"]

_OLD = "{}\n\nAn older name of the client's "


class Legacy:
    """Older names of operations, for a client."""

    _transport: abstract.Transport
    _access_key: str | None

    # Containers and objects.

    @operation("A Response object, whose output is GetContainersOutput.")
    def get_containers(
        self,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        """List the containers."""
        return self._transport.request(
            None,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_get_containers,
            {},
            output.GetContainersOutput,
        )

    @alike(containers.Model.list, _OLD + "container.list.")
    def get_container_contents(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        get_all_attributes: bool | None = None,
        directories_only: bool | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> Response:
        return containers.Model(self).list(
            container,
            path,
            access_key,
            raise_for_status,
            transport_actions,
            get_all_attributes,
            directories_only,
            limit,
            marker,
        )

    @alike(objects.Model.get, _OLD + "object.get.")
    def get_object(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        offset: int | None = None,
        num_bytes: int | None = None,
    ) -> Response:
        return objects.Model(self).get(
            container, path, access_key, raise_for_status, transport_actions, offset, num_bytes
        )

    @alike(objects.Model.put, _OLD + "object.put.")
    def put_object(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        body: Content = None,
        append: bool | None = None,
    ) -> Response:
        return objects.Model(self).put(
            container, path, access_key, raise_for_status, transport_actions, body, append
        )

    @alike(objects.Model.delete, _OLD + "object.delete.")
    def delete_object(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        return objects.Model(self).delete(
            container, path, access_key, raise_for_status, transport_actions
        )

    # Items.

    @alike(kv.Model.put, _OLD + "kv.put.")
    def put_item(
        self,
        container: str,
        path: str,
        attributes: Attributes,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        condition: str | None = None,
    ) -> Response:
        return kv.Model(self).put(
            container,
            *_split(path),
            attributes,
            access_key,
            raise_for_status,
            transport_actions,
            condition,
        )

    @operation(
        "A Responses object, with a Response object for each item.",
        path="Path of the table in the container.",
    )
    def put_items(
        self,
        container: str,
        path: str,
        items: Mapping[str, Attributes],
        access_key: str | None = None,
        raise_for_status: Expected = None,
        condition: str | None = None,
    ) -> Responses:
        """Write items, one after the other. Older than the client's batch, which is faster."""
        model = kv.Model(self)
        responses = Responses()
        for name, attributes in items.items():
            responses.add_response(
                model.put(
                    container,
                    path,
                    name,
                    attributes,
                    access_key,
                    raise_for_status,
                    condition=condition,
                )
            )
        return responses

    @alike(kv.Model.update, _OLD + "kv.update.")
    def update_item(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        attributes: Attributes | None = None,
        expression: str | None = None,
        condition: str | None = None,
        update_mode: str | None = None,
        alternate_expression: str | None = None,
    ) -> Response:
        return kv.Model(self).update(
            container,
            *_split(path),
            access_key,
            raise_for_status,
            transport_actions,
            attributes,
            expression,
            condition,
            update_mode,
            alternate_expression,
        )

    @alike(kv.Model.get, _OLD + "kv.get.")
    def get_item(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        attribute_names: Names = "*",
    ) -> Response:
        return kv.Model(self).get(
            container,
            *_split(path),
            access_key,
            raise_for_status,
            transport_actions,
            attribute_names,
        )

    @alike(kv.Model.scan, _OLD + "kv.scan.")
    def get_items(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        table_name: str | None = None,
        attribute_names: Names = "*",
        filter_expression: str | None = None,
        marker: str | None = None,
        sharding_key: str | None = None,
        limit: int | None = None,
        segment: int | None = None,
        total_segments: int | None = None,
        sort_key_range_start: str | None = None,
        sort_key_range_end: str | None = None,
    ) -> Response:
        return kv.Model(self).scan(
            container,
            path,
            table_name,
            access_key,
            raise_for_status,
            transport_actions,
            attribute_names,
            filter_expression,
            marker,
            sharding_key,
            limit,
            segment,
            total_segments,
            sort_key_range_start,
            sort_key_range_end,
        )

    @alike(kv.Model.new_cursor, _OLD + "kv.new_cursor.")
    def new_items_cursor(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        attribute_names: Names = "*",
        filter_expression: str | None = None,
        marker: str | None = None,
        sharding_key: str | None = None,
        limit: int | None = None,
        segment: int | None = None,
        total_segments: int | None = None,
        sort_key_range_start: str | None = None,
        sort_key_range_end: str | None = None,
    ) -> kv_cursor.Cursor:
        return kv.Model(self).new_cursor(
            container,
            path,
            None,
            access_key,
            raise_for_status,
            attribute_names,
            filter_expression,
            marker,
            sharding_key,
            limit,
            segment,
            total_segments,
            sort_key_range_start,
            sort_key_range_end,
        )

    @alike(kv.Model.delete, _OLD + "kv.delete.")
    def delete_item(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        return kv.Model(self).delete(
            container, *_split(path), access_key, raise_for_status, transport_actions
        )

    @alike(kv.Model.create_schema, _OLD + "kv.create_schema.")
    def create_schema(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        key: str | None = None,
        fields: Sequence[Mapping[str, object]] | None = None,
    ) -> Response:
        return kv.Model(self).create_schema(
            container, path, access_key, raise_for_status, transport_actions, key, fields
        )

    # Streams.

    @alike(stream.Model.create, _OLD + "stream.create.")
    def create_stream(
        self,
        container: str,
        path: str,
        shard_count: int,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        retention_period_hours: int | None = None,
    ) -> Response:
        return stream.Model(self).create(
            container,
            path,
            shard_count,
            access_key,
            raise_for_status,
            transport_actions,
            retention_period_hours,
        )

    @alike(stream.Model.update, _OLD + "stream.update.")
    def update_stream(
        self,
        container: str,
        path: str,
        shard_count: int,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        return stream.Model(self).update(
            container, path, shard_count, access_key, raise_for_status, transport_actions
        )

    @alike(stream.Model.delete, _OLD + "stream.delete.")
    def delete_stream(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> Response:
        return stream.Model(self).delete(container, path, access_key, raise_for_status)

    @alike(stream.Model.describe, _OLD + "stream.describe.")
    def describe_stream(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        return stream.Model(self).describe(
            container, path, access_key, raise_for_status, transport_actions
        )

    @alike(stream.Model.seek, _OLD + "stream.seek. The path ends with the number of the shard.")
    def seek_shard(
        self,
        container: str,
        path: str,
        seek_type: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        starting_sequence_number: int | None = None,
        timestamp_sec: int | None = None,
        timestamp_nsec: int | None = None,
    ) -> Response:
        return stream.Model(self).seek(
            container,
            *_split_shard(path),
            seek_type,
            access_key,
            raise_for_status,
            transport_actions,
            starting_sequence_number,
            timestamp_sec,
            timestamp_nsec,
        )

    @alike(stream.Model.put_records, _OLD + "stream.put_records.")
    def put_records(
        self,
        container: str,
        path: str,
        records: Records,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        return stream.Model(self).put_records(
            container, path, records, access_key, raise_for_status, transport_actions
        )

    @alike(
        stream.Model.get_records,
        _OLD + "stream.get_records. The path ends with the number of the shard.",
    )
    def get_records(
        self,
        container: str,
        path: str,
        location: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        limit: int | None = None,
    ) -> Response:
        return stream.Model(self).get_records(
            container,
            *_split_shard(path),
            location,
            access_key,
            raise_for_status,
            transport_actions,
            limit,
        )


def _split(path: str) -> tuple[str, str]:
    """Return table and key of the path of an item; joined, they are that path again."""
    table, slash, key = path.rpartition("/")
    return table + slash, key


def _split_shard(path: str) -> tuple[str, int]:
    """Return stream and number of the path of a shard."""
    stream_path, number = _split(path.removesuffix("/"))
    if not number.isdecimal():
        raise ValueError(f"{path!r} is not the path of a stream and the number of a shard")
    return stream_path, int(number)
