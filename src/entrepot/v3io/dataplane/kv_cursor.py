"""Reading a table item by item, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Cursor", "Pages"]

Item = dict[str, Any]


class _Scans(Protocol):
    """What a cursor reads with: the model of items."""

    def scan(self, container: str, table_path: str, /, **arguments: Any) -> Response: ...


class Pages:
    """Where a scan has come to; it asks for nothing itself.

    Args:
        context: The model of items, or a client.
        container_name: The container.
        access_key: Who asks; the client's access key by default.
        table_path: The table.
        table_name: The table, if the path is that of the container.
        raise_for_status: When a reply raises.
        attribute_names: Names of the attributes, or one name.
        filter_expression: Must be true of an item.
        marker: Where to go on.
        sharding_key: What names of items begin with.
        limit: Most items in all.
        segment: Which part of the table, from 0.
        total_segments: How many parts there are.
        sort_key_range_start: Name after the dot to begin with.
        sort_key_range_end: Name after the dot before which to stop.
    """

    def __init__(
        self,
        context: Any,
        container_name: str,
        access_key: str | None,
        table_path: str,
        table_name: str | None,
        raise_for_status: Expected = None,
        attribute_names: str | Sequence[str] = "*",
        filter_expression: str | None = None,
        marker: str | None = None,
        sharding_key: str | None = None,
        limit: int | None = None,
        segment: int | None = None,
        total_segments: int | None = None,
        sort_key_range_start: str | None = None,
        sort_key_range_end: str | None = None,
    ) -> None:
        self.context = context if hasattr(context, "scan") else context.kv
        self.container_name = container_name
        self.access_key = access_key
        self.table_path = table_path
        self.table_name = table_name
        self.raise_for_status = raise_for_status
        self.attribute_names = attribute_names
        self.filter_expression = filter_expression
        self.marker = marker
        self.sharding_key = sharding_key
        self.limit = limit
        self.segment = segment
        self.total_segments = total_segments
        self.sort_key_range_start = sort_key_range_start
        self.sort_key_range_end = sort_key_range_end
        self._items: list[Item] = []  # of the page, the next one last
        self._taken = 0
        self._ended = False

    def _take(self) -> Item | None:
        """Return the next item of the page that was read."""
        if not self._items or (self.limit is not None and self._taken >= self.limit):
            return None
        self._taken += 1
        return self._items.pop()

    def _take_all(self) -> list[Item]:
        """Return the items that are left of the page that was read."""
        items = self._items[::-1]
        self._items = []
        if self.limit is not None:
            items = items[: max(self.limit - self._taken, 0)]
        self._taken += len(items)
        return items

    def _needs_page(self) -> bool:
        """Whether there may be more items, and none is left of the page that was read."""
        if self.limit is not None and self._taken >= self.limit:
            return False
        return not self._items and not self._ended

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments of the scan for the next page, but container and table path."""
        return {
            "table_name": self.table_name,
            "access_key": self.access_key,
            "raise_for_status": self.raise_for_status,
            "attribute_names": self.attribute_names,
            "filter_expression": self.filter_expression,
            "marker": self.marker,
            "sharding_key": self.sharding_key,
            "limit": None if self.limit is None else self.limit - self._taken,
            "segment": self.segment,
            "total_segments": self.total_segments,
            "sort_key_range_start": self.sort_key_range_start,
            "sort_key_range_end": self.sort_key_range_end,
        }

    def _turn(self, response: Response) -> None:
        """Go to the page of a reply."""
        page = response.output
        if page is None:  # a reply without a body
            self._ended = True
            return
        self._items = page.items[::-1]
        self.marker = page.next_marker
        # A server that sends neither items nor the end would be asked for ever.
        self._ended = page.last or not page.items or not page.next_marker


class Cursor(Pages):
    """Reads the items of a table one after the other, a page at a time.

    The arguments are public attributes; `marker` moves on with each page.
    """

    context: _Scans

    def next_item(self) -> Item | None:
        """Return the attributes of the next item; None at the end.

        Raises:
            HttpResponseError: The status of a reply is not expected.
        """
        if self._needs_page():
            self._turn(self.context.scan(self.container_name, self.table_path, **self._arguments()))
        return self._take()

    def all(self) -> list[Item]:
        """Return the attributes of all items from here to the end.

        Raises:
            HttpResponseError: The status of a reply is not expected.
        """
        items = self._take_all()
        while self._needs_page():
            self._turn(self.context.scan(self.container_name, self.table_path, **self._arguments()))
            items += self._take_all()
        return items
