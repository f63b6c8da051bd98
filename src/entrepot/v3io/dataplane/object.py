"""Operations on objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import IO

from entrepot.v3io.dataplane import model, request
from entrepot.v3io.dataplane._texts import operation
from entrepot.v3io.dataplane.response import Expected, Response

__all__ = ["Content", "Model"]

Content = str | bytes | IO[bytes] | IO[str] | Iterable[bytes] | Mapping[str, object] | None


class Model(model.Model):
    """Operations on objects: files in a container."""

    @operation("A Response object, without output; its headers tell the size.")
    def head(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        """Look whether an object or a directory exists, and how large it is."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_head_object,
            {"path": path},
        )

    @operation("A Response object, whose body is the contents.")
    def get(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        offset: int | None = None,
        num_bytes: int | None = None,
    ) -> Response:
        """Read an object, or a part of it."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_get_object,
            {"path": path, "offset": offset, "num_bytes": num_bytes},
        )

    @operation(path="Path in the container; one that ends with '/' makes a directory.")
    def put(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
        body: Content = None,
        append: bool | None = None,
    ) -> Response:
        """Write an object, and the directories that lead to it; or add to its end."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_put_object,
            {"path": path, "body": body, "append": append},
        )

    @operation()
    def delete(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
        transport_actions: int | None = None,
    ) -> Response:
        """Delete an object, or an empty directory."""
        return self._transport.request(
            container,
            access_key or self._access_key,
            raise_for_status,
            transport_actions,
            request.encode_delete_object,
            {"path": path},
        )
