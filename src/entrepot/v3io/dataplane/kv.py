"""Operations on items of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from entrepot.v3io.dataplane import kv_cursor, model, output, request
from entrepot.v3io.dataplane._texts import operation
from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Attributes", "Model", "Names"]

Attributes = Mapping[str, Any]  # users' own values
Names = str | Sequence[str]


class Model(model.Model):
    """Operations on items: named things with attributes, in a table, which is a directory."""

    @operation()
    def put(
        self,
        container: str,
        table_path: str,
        key: str,
        attributes: Attributes,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        condition: str | None = None,
    ) -> Response:
        """Write an item: it has these attributes from now on, and no others."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_put_item,
            {
                "table_path": table_path,
                "key": key,
                "attributes": attributes,
                "condition": condition,
            },
        )

    @operation()
    def update(
        self,
        container: str,
        table_path: str,
        key: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        attributes: Attributes | None = None,
        expression: str | None = None,
        condition: str | None = None,
        update_mode: str | None = None,
        alternate_expression: str | None = None,
    ) -> Response:
        """Change attributes of an item, or write it if it does not exist.

        Needs attributes or an expression. Of both, the attributes are taken, unless there is an
        alternate expression.
        """
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
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

    @operation("A Response object, whose output is GetItemOutput.")
    def get(
        self,
        container: str,
        table_path: str,
        key: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        attribute_names: Names = "*",
    ) -> Response:
        """Read attributes of an item."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_get_item,
            {"table_path": table_path, "key": key, "attribute_names": attribute_names},
            output.GetItemOutput,
        )

    @operation("A Response object, whose output is GetItemsOutput.")
    def scan(
        self,
        container: str,
        table_path: str,
        table_name: str | None = None,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
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
        """Read a page of the items of a table. new_cursor reads them all."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
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

    @operation(
        "A Cursor object: next_item() returns a dict, or None at the end; all() a list.",
        limit="Most items to return in all.",
    )
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
        """Read the items of a table one after the other, a page at a time."""
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

    @operation()
    def delete(
        self,
        container: str,
        table_path: str,
        key: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        """Delete an item."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_delete_item,
            {"table_path": table_path, "key": key},
        )

    @operation(key="Name of the attribute that names an item.")
    def create_schema(
        self,
        container: str,
        table_path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        key: str | None = None,
        fields: Sequence[Mapping[str, object]] | None = None,
    ) -> Response:
        """Write down the attributes that items of a table have, for those who query it."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_create_schema,
            {"table_path": table_path, "key": key, "fields": fields},
        )
