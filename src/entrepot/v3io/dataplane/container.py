"""Operations on containers."""

from __future__ import annotations

from entrepot.v3io.dataplane import model, output, request
from entrepot.v3io.dataplane._texts import operation
from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Model"]


class Model(model.Model):
    """Operations on containers."""

    @operation(
        "A Response object, whose output is GetContainerContentsOutput.",
        path="Path of the directory in the container; '' or '/' is the container itself.",
        limit="Most entries to return; 1000 by default.",
    )
    def list(
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
        """List the files and directories of a directory: one page, in order of their names."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
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
