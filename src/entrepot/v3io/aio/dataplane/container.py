"""Operations on containers, awaited."""

from __future__ import annotations

from entrepot.v3io.aio.dataplane import _model
from entrepot.v3io.dataplane import container as sync
from entrepot.v3io.dataplane import output, request
from entrepot.v3io.dataplane._texts import alike
from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Model"]


class Model(_model.Model):
    """Operations on containers."""

    @alike(sync.Model.list)
    async def list(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        get_all_attributes: bool | None = None,
        directories_only: bool | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> Response:
        return await self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            None,
            request.encode_get_container_contents,
            {
                "path": path,
                "get_all_attributes": get_all_attributes,
                "directories_only": directories_only,
                "limit": limit,
                "marker": marker,
            },
            output.GetContainerContentsOutput,
        )
