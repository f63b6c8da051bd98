"""Whole numbers that users give: counts, offsets, limits."""

from __future__ import annotations

import operator
from typing import cast

from entrepot.errors import LimitError, TypeMismatchError

__all__ = ["whole"]


def whole(what: str, value: object, least: int | None = None) -> int:
    """Return a number that a user gave as an int; numpy's are taken too.

    Args:
        what: Its name, for the error.
        value: What was given.
        least: What it must be at least.

    Raises:
        LimitError: It is less.
        TypeMismatchError: It is no whole number.
    """
    if type(value) is not int:
        try:
            if isinstance(value, bool):
                raise TypeError
            value = operator.index(cast("int", value))
        except TypeError as error:
            raise TypeMismatchError(
                f"{what} is {value!r}, a {type(value).__name__}", "give a whole number"
            ) from error
    if least is not None and value < least:
        raise LimitError(f"{what} is {value}, it must be {least} or more")
    return value
