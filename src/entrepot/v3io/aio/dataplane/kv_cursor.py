"""Reading a table item by item, a page at a time, awaited."""

from __future__ import annotations

from typing import Any, Protocol

from entrepot.v3io.dataplane.kv_cursor import Pages
from entrepot.v3io.dataplane.response import Response

__all__ = ["Cursor"]

Item = dict[str, Any]


class _Scans(Protocol):
    """What a cursor reads with: the model of items."""

    async def scan(self, container: str, table_path: str, /, **arguments: Any) -> Response: ...


class Cursor(Pages):
    """Reads the items of a table one after the other, a page at a time.

    The arguments are public attributes; `marker` moves on with each page.
    """

    context: _Scans

    async def next_item(self) -> Item | None:
        """Return the attributes of the next item; None at the end.

        Raises:
            HttpResponseError: The status of a reply is not expected.
        """
        if self._needs_page():
            self._turn(
                await self.context.scan(self.container_name, self.table_path, **self._arguments())
            )
        return self._take()

    async def all(self) -> list[Item]:
        """Return the attributes of all items from here to the end.

        Raises:
            HttpResponseError: The status of a reply is not expected.
        """
        items = self._take_all()
        while self._needs_page():
            self._turn(
                await self.context.scan(self.container_name, self.table_path, **self._arguments())
            )
            items += self._take_all()
        return items
