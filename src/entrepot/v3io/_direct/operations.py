"""Which operation an encoder stands for, and how it is done: alone, or with others."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from entrepot import settings
from entrepot.errors import EntrepotError, UnavailableError
from entrepot.v3io._direct import items, objects, streams
from entrepot.v3io._direct.answers import refused
from entrepot.v3io._direct.store import CLOSED, Store
from entrepot.v3io._direct.works import Alone, Shared
from entrepot.v3io._protocol import refusal_of
from entrepot.v3io.dataplane import request
from entrepot.v3io.dataplane.request import Arguments, Encoder, Output
from entrepot.v3io.dataplane.response import Response

__all__ = ["Work", "complete", "do", "is_read", "is_slow", "prepare"]


class _Operation(NamedTuple):
    name: str
    """For `_protocol.refusal_of`."""
    run: Callable[..., Any]
    check: Callable[[str | None, Arguments], object] | None = None
    """Of a read: what raises before it is done."""


_READS: Final[dict[Encoder, _Operation]] = {
    request.encode_get_item: _Operation("item", items.get_item),
    request.encode_get_items: _Operation("items", items.get_items),
    request.encode_get_containers: _Operation("container", objects.get_containers),
    request.encode_get_container_contents: _Operation("container", objects.get_container_contents),
    request.encode_head_object: _Operation("head", objects.head_object, objects.check_path),
    request.encode_get_object: _Operation("object", objects.get_object, objects.check_path),
    request.encode_describe_stream: _Operation("describe", streams.describe_stream),
    request.encode_seek_shard: _Operation("seek", streams.seek_shard, streams.check_seek),
    request.encode_get_records: _Operation("get", streams.get_records),
}
_WRITES: Final[dict[Encoder, _Operation]] = {
    request.encode_put_item: _Operation("item", items.put_item),
    request.encode_update_item: _Operation("item", items.update_item),
    request.encode_delete_item: _Operation("item", objects.delete_item),
    request.encode_put_object: _Operation("object", objects.put_object),
    request.encode_delete_object: _Operation("object", objects.delete_object),
    request.encode_create_schema: _Operation("object", objects.create_schema),
    request.encode_create_stream: _Operation("create", streams.create_stream),
    request.encode_update_stream: _Operation("update", streams.update_stream),
    request.encode_put_records: _Operation("put", streams.put_records),
}


class Work:
    """An operation that was prepared: its arguments were looked at, and nothing is done yet."""

    __slots__ = ("error", "is_read", "name", "output", "response", "what")

    def __init__(
        self, name: str, output: Output, what: Shared | Alone | None, *, is_read: bool = False
    ) -> None:
        self.name = name
        self.output = output
        self.what = what
        self.is_read = is_read
        self.response: Response | None = None
        """What came of it, when it is done."""
        self.error: BaseException | None = None
        """What came of it, if that is nothing that can be answered."""

    @property
    def is_done(self) -> bool:
        """Whether it is done, or failed."""
        return self.response is not None or self.error is not None

    def result(self) -> Response:
        """Return what came of it, or raise its error."""
        if self.error is not None:
            raise self.error
        assert self.response is not None, "it is done"
        return self.response


def is_read(encoder: Encoder) -> bool:
    """Tell whether an operation changes nothing."""
    return encoder in _READS


def is_slow(store: Store, container: str | None, encoder: Encoder, arguments: Arguments) -> bool:
    """Tell whether an operation moves many bytes, of which it is not known how many."""
    if encoder is request.encode_get_object:
        return not store.is_closed and objects.is_large(store, container, arguments)
    if encoder is not request.encode_put_object:
        return False
    body = arguments.get("body")
    if arguments.get("append"):
        return True
    return body is not None and not (
        isinstance(body, str | bytes | bytearray) and len(body) <= settings.BODY_INLINE_BYTES_MAX
    )


def do(
    store: Store, container: str | None, encoder: Encoder, arguments: Arguments, output: Output
) -> Response:
    """Do an operation.

    Raises:
        RuntimeError: The store is closed.
    """
    operation = _READS.get(encoder)
    if operation is None:
        work = prepare(store, container, encoder, arguments, output)
        if not work.is_done:
            _do_one(store, work)
        return work.result()
    if store.is_closed:
        raise RuntimeError(CLOSED)
    try:
        return operation.run(store, container, arguments)
    except EntrepotError as error:
        return _refusing(store, error, operation.name, output)


def prepare(
    store: Store, container: str | None, encoder: Encoder, arguments: Arguments, output: Output
) -> Work:
    """Look at the arguments of an operation, and keep what it needs.

    Raises:
        RuntimeError: The store is closed.
        TypeError: There is no such operation.
    """
    if store.is_closed:
        raise RuntimeError(CLOSED)
    operation = _READS.get(encoder)
    if operation is not None:
        if operation.check is not None:
            operation.check(container, arguments)
        run = functools.partial(operation.run, store, container, arguments)
        return Work(operation.name, output, Alone(run), is_read=True)
    operation = _WRITES.get(encoder)
    if operation is None:
        raise TypeError(f"{encoder!r} is no operation that a depot does")
    try:
        return Work(operation.name, output, operation.run(store, container, arguments))
    except EntrepotError as error:
        work = Work(operation.name, output, None)
        work.response = _refusing(store, error, operation.name, output)
        return work


def complete(store: Store, works: Sequence[Work]) -> None:
    """Do operations: the writes in their order, as many as can be in one commit.

    Reads that come before the first write are done before it, the others after the last.
    """
    try:
        _complete(store, works)
    except BaseException:
        for work in works:
            if not work.is_done:  # it must not be done once more by whoever waits for it
                work.error = UnavailableError(
                    "what did this operation was interrupted", "it may be done, or not: look"
                )
        raise


def _complete(store: Store, works: Sequence[Work]) -> None:
    sharing: list[Work] = []
    late: list[Work] = []
    has_written = False
    for work in works:
        if work.is_done:
            continue
        if work.is_read:
            if has_written:
                late.append(work)
            else:
                _do_one(store, work)
            continue
        has_written = True
        if isinstance(work.what, Shared):
            sharing.append(work)
        else:
            _commit(store, sharing)
            sharing = []
            _do_one(store, work)
    _commit(store, sharing)
    for work in late:
        _do_one(store, work)


def _commit(store: Store, works: Sequence[Work]) -> None:
    calls = [work.what.call for work in works if isinstance(work.what, Shared)]
    if not calls:
        return
    try:
        store.commits.write_all(calls)
    except EntrepotError as error:  # each call has it, but where the depot is closed
        for call in calls:
            call.error = call.error or error
    for work in works:
        assert isinstance(work.what, Shared), "these can share a commit"
        _settle(store, work, lambda what=work.what: what.answer(what.call.value()))


def _do_one(store: Store, work: Work) -> None:
    what = work.what
    assert what is not None, "what was refused is done"
    if isinstance(what, Shared):
        call = what.call
        _settle(store, work, lambda: what.answer(store.commits.write(call.fn, *call.args)))
    else:
        _settle(store, work, what.run)


def _settle(store: Store, work: Work, run: Callable[[], Response]) -> None:
    """Keep what comes of a work with it."""
    try:
        try:
            work.response = run()
        except EntrepotError as error:
            work.response = _refusing(store, error, work.name, work.output)
    except Exception as error:  # noqa: BLE001 it is raised where its caller waits; others go on
        work.error = error


def _refusing(store: Store, error: EntrepotError, name: str, output: Output) -> Response:
    if store.is_closed:
        raise RuntimeError(CLOSED) from error
    return refused(refusal_of(error, name), output, has_body=name != "head")
