"""Operations on items of tables, awaited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from entrepot.v3io.aio.dataplane import _model, kv_cursor
from entrepot.v3io.dataplane import kv as sync
from entrepot.v3io.dataplane import output, request
from entrepot.v3io.dataplane._texts import alike
from entrepot.v3io.dataplane.kv import Attributes, Names
from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Model"]


class Model(_model.Model):
    """Operations on items: named things with attributes, in a table, which is a directory."""

    @alike(sync.Model.put)
    async def put(
        self,
        container: str,
        table_path: str,
        key: str,
        attributes: Attributes,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        condition: str | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_put_item,
            {
                "table_path": table_path,
                "key": key,
                "attributes": attributes,
                "condition": condition,
            },
        )

    @alike(sync.Model.update)
    async def update(
        self,
        container: str,
        table_path: str,
        key: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        attributes: Attributes | None = None,
        expression: str | None = None,
        condition: str | None = None,
        update_mode: str | None = None,
        alternate_expression: str | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_update_item,
            {
                "table_path": table_path,
                "key": key,
                "attributes": attributes,
                "expression": expression,
                "condition": condition,
                "update_mode": update_mode,
                "alternate_expression": alternate_expression,
            },
        )

    @alike(sync.Model.get)
    async def get(
        self,
        container: str,
        table_path: str,
        key: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        attribute_names: Names = "*",
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_get_item,
            {"table_path": table_path, "key": key, "attribute_names": attribute_names},
            output.GetItemOutput,
        )

    @alike(sync.Model.scan)
    async def scan(
        self,
        container: str,
        table_path: str,
        table_name: str | None = None,
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
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_get_items,
            {
                "table_path": table_path,
                "table_name": table_name,
                "attribute_names": attribute_names,
                "filter_expression": filter_expression,
                "marker": marker,
                "sharding_key": sharding_key,
                "limit": limit,
                "segment": segment,
                "total_segments": total_segments,
                "sort_key_range_start": sort_key_range_start,
                "sort_key_range_end": sort_key_range_end,
            },
            output.GetItemsOutput,
        )

    @alike(sync.Model.new_cursor)
    def new_cursor(
        self,
        container: str,
        table_path: str,
        table_name: str | None = None,
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
        return kv_cursor.Cursor(
            self,
            container,
            access_key or self._access_key,
            table_path,
            table_name,
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

    @alike(sync.Model.delete)
    async def delete(
        self,
        container: str,
        table_path: str,
        key: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_delete_item,
            {"table_path": table_path, "key": key},
        )

    @alike(sync.Model.create_schema)
    async def create_schema(
        self,
        container: str,
        table_path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        key: str | None = None,
        fields: Sequence[Mapping[str, object]] | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_create_schema,
            {"table_path": table_path, "key": key, "fields": fields},
        )
