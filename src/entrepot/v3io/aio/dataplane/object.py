"""Operations on objects, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterable

from entrepot.v3io.aio.dataplane import _model
from entrepot.v3io.dataplane import object as sync
from entrepot.v3io.dataplane import request
from entrepot.v3io.dataplane._texts import alike
from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Content", "Model"]

Content = sync.Content | AsyncIterable[bytes]


class Model(_model.Model):
    """Operations on objects: files in a container."""

    @alike(sync.Model.head)
    async def head(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_head_object,
            {"path": path},
        )

    @alike(sync.Model.get)
    async def get(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        offset: int | None = None,
        num_bytes: int | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_get_object,
            {"path": path, "offset": offset, "num_bytes": num_bytes},
        )

    @alike(sync.Model.put)
    async def put(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        body: Content = None,
        append: bool | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_put_object,
            {"path": path, "body": body, "append": append},
        )

    @alike(sync.Model.delete)
    async def delete(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_delete_object,
            {"path": path},
        )
