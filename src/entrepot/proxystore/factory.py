"""Factories of objects that are in no store: what `Proxy` is made of, if not by a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Factory", "LambdaFactory", "SimpleFactory"]

T = TypeVar("T")


class Factory(Generic[T]):
    """Returns an object when it is called: for subclasses, which have `resolve`."""

    def __init__(self) -> None:
        raise NotImplementedError("derive from Factory")

    def __call__(self) -> T:
        """Return the object."""
        return self.resolve()

    def resolve(self) -> T:
        """Return the object."""
        raise NotImplementedError("a factory has to say how it resolves")


class SimpleFactory(Factory[T]):
    """Holds the object itself, also when it is pickled.

    Args:
        obj: The object.
    """

    def __init__(self, obj: T) -> None:
        self._obj = obj

    def resolve(self) -> T:
        """Return the object."""
        return self._obj


class LambdaFactory(Factory[T]):
    """Calls a function for the object.

    Args:
        target: The function, or whatever can be called.
        *args: Its arguments.
        **kwargs: Its named arguments.
    """

    def __init__(self, target: Callable[..., T], *args: Any, **kwargs: Any) -> None:
        self._target = target
        self._args = args
        self._kwargs = kwargs

    def resolve(self) -> T:
        """Return what the function returns."""
        return self._target(*self._args, **self._kwargs)
