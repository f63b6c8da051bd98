"""Many operations at once: queued one after the other, then sent over several connections."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast

from entrepot.v3io.dataplane import container, kv, object, stream
from entrepot.v3io.dataplane._legacy import Legacy
from entrepot.v3io.dataplane._texts import alike
from entrepot.v3io.dataplane.request import Request
from entrepot.v3io.dataplane.response import Expected, Response
from entrepot.v3io.dataplane.transport import Actions

if TYPE_CHECKING:
    from entrepot.v3io.dataplane.client import Client

__all__ = ["Batch"]

_P = ParamSpec("_P")
_Owner = TypeVar("_Owner")

_QUEUED: Final = "Queued until wait(): it returns nothing here."


class _Steps:
    """An operation of several requests, of which each depends on those before."""

    def __init__(self, run: Callable[[Expected], Response]) -> None:
        self.run = run


class _Queuing:
    """Operations of a model, which are queued.

    Args:
        batch: Queues them.
        model: Whose they are.
    """

    def __init__(self, batch: Batch, model: Any) -> None:  # a model, or the client
        self._batch = batch
        self._model = model


def _queued(
    operation: Callable[Concatenate[Any, _P], Response],
) -> Callable[Concatenate[_Queuing, _P], None]:
    """Return the operation as one that queues."""

    @functools.wraps(operation)
    def queue(self: _Queuing, *args: _P.args, **kwargs: _P.kwargs) -> None:
        kwargs["transport_actions"] = Actions.encode_only
        request = operation(self._model, *args, **kwargs)  # pyright: ignore[reportPrivateUsage] of ours
        self._batch._append(cast("Request", request))  # pyright: ignore[reportPrivateUsage] of ours

    queue.__doc__ = f"{_QUEUED}\n\n{operation.__doc__}"
    return queue


class _Objects(_Queuing):
    put = _queued(object.Model.put)
    get = _queued(object.Model.get)
    delete = _queued(object.Model.delete)


class _Items(_Queuing):
    put = _queued(kv.Model.put)
    get = _queued(kv.Model.get)
    scan = _queued(kv.Model.scan)
    update = _queued(kv.Model.update)
    delete = _queued(kv.Model.delete)


class _Containers(_Queuing):
    list = _queued(container.Model.list)
    get = list


class _Streams(_Queuing):
    create = _queued(stream.Model.create)
    update = _queued(stream.Model.update)
    describe = _queued(stream.Model.describe)
    seek = _queued(stream.Model.seek)
    put_records = _queued(stream.Model.put_records)
    get_records = _queued(stream.Model.get_records)

    @alike(stream.Model.delete, f"{_QUEUED}\n\n{{}}")
    def delete(
        self,
        container: str,
        stream_path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> None:
        def run(expected: Expected) -> Response:
            wanted = expected if raise_for_status is None else raise_for_status
            return self._model.delete(container, stream_path, access_key, wanted)

        self._batch._append(_Steps(run))  # pyright: ignore[reportPrivateUsage] of ours


class _Legacy(_Queuing):
    get_containers = _queued(Legacy.get_containers)
    get_container_contents = _queued(Legacy.get_container_contents)
    get_object = _queued(Legacy.get_object)
    put_object = _queued(Legacy.put_object)
    delete_object = _queued(Legacy.delete_object)
    put_item = _queued(Legacy.put_item)
    update_item = _queued(Legacy.update_item)
    get_item = _queued(Legacy.get_item)
    get_items = _queued(Legacy.get_items)
    create_stream = _queued(Legacy.create_stream)
    describe_stream = _queued(Legacy.describe_stream)
    seek_shard = _queued(Legacy.seek_shard)
    put_records = _queued(Legacy.put_records)
    get_records = _queued(Legacy.get_records)


class Batch(_Legacy):
    """Operations that wait to be sent: `batch.kv.put(…)` queues, `batch.wait()` sends all.

    Args:
        client: Whose transport and access key they use.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(self, client)
        self._transport = client._transport  # pyright: ignore[reportPrivateUsage] of ours
        self._turn = client._batch_turn  # pyright: ignore[reportPrivateUsage] of ours
        self._queue: list[Request | _Steps] = []
        self.container = _Containers(self, container.Model(client))
        self.kv = _Items(self, kv.Model(client))
        self.object = _Objects(self, object.Model(client))
        self.stream = _Streams(self, stream.Model(client))

    @alike(Legacy.delete_stream, f"{_QUEUED}\n\n{{}}")
    def delete_stream(
        self,
        container: str,
        path: str,
        access_key: str | None = None,
        raise_for_status: Expected = None,
    ) -> None:
        self.stream.delete(container, path, access_key, raise_for_status)

    def wait(self, raise_for_status: Expected = None) -> list[Response]:
        """Send what is queued, at most `max_connections` at once, and wait for the replies.

        Parameters:
            raise_for_status (Optional) : list of int, or str
                Statuses that do not raise, or 'never' or 'always', for operations that were not
                given their own.

        Returns:
            A list of Response objects, in the order of the operations.

        Raises:
            HttpResponseError: The status of a reply is not expected. Of the operations after
                that one, up to `max_connections` may have been done; the others are forgotten.
        """
        queue, self._queue = self._queue, []
        responses: list[Response] = []
        flying: deque[Request | _Steps] = deque()
        # One batch of a client at a time: two that held half of the connections each would wait
        # for one another.
        with self._turn:
            try:
                for entry in queue:
                    if len(flying) >= self._transport.max_connections:
                        responses.append(self._land(flying.popleft(), raise_for_status))
                    flying.append(
                        entry if isinstance(entry, _Steps) else self._transport.send_request(entry)
                    )
                while flying:
                    responses.append(self._land(flying.popleft(), raise_for_status))
            except BaseException:
                for entry in flying:
                    if not isinstance(entry, _Steps):
                        self._transport.abandon_request(entry)
                self._transport.restart()
                raise
        return responses

    def _append(self, entry: Request | _Steps) -> None:
        self._queue.append(entry)

    def _land(self, entry: Request | _Steps, raise_for_status: Expected) -> Response:
        if isinstance(entry, _Steps):
            return entry.run(raise_for_status)
        return self._transport.wait_response(entry, raise_for_status)
