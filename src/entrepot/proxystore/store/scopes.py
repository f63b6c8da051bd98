"""Borrows that end when a task is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar

from entrepot.proxystore.store.ref import BaseRefProxyError, RefMutProxy, RefProxy, end_borrow

__all__ = ["mark_refs_out_of_scope", "submit"]

P = ParamSpec("P")


class FutureWithCallback(Protocol):
    """A future of any executor."""

    def add_done_callback(self, callback: Callable[[Any], Any], /) -> Any:
        """Call something when the task is done."""
        ...


FutureT = TypeVar("FutureT", bound=FutureWithCallback)


def mark_refs_out_of_scope(*refs: RefProxy[Any] | RefMutProxy[Any]) -> None:
    """End borrows.

    Raises:
        BaseRefProxyError: One is no borrow.
    """
    for ref in refs:
        if type(ref) not in (RefProxy, RefMutProxy):
            raise BaseRefProxyError(f"a {type(ref).__name__} is no borrow")
        end_borrow(ref)


def submit(
    submit_func: Callable[..., FutureT],
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    register_custom_refs: Iterable[Any] = (),
) -> FutureT:
    """Submit a task; end the borrows that it was given when it is done.

    Args:
        submit_func: For instance `pool.submit`.
        args: Its arguments.
        kwargs: Its keyword arguments.
        register_custom_refs: Borrows that are hidden in others.
    """
    kwargs = {} if kwargs is None else kwargs
    given = (*args, *kwargs.values(), *register_custom_refs)
    refs = [ref for ref in given if type(ref) in (RefProxy, RefMutProxy)]
    future = submit_func(*args, **kwargs)
    future.add_done_callback(lambda _: mark_refs_out_of_scope(*refs))
    return future
