"""What a person types to mean something in a depot.

::

    000043c5c6d5e646   the object with this id (16 hex digits; vineyard's clients print an o before)
    iris               the object with this name, or else the space with this name
    jobs/              the space, also where an object has the same name
    jobs/task          a variable of a space
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from entrepot import ObjectId
from entrepot.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entrepot import Depot, Space

__all__ = [
    "ObjectTarget",
    "SpaceTarget",
    "Target",
    "VariableTarget",
    "open_space",
    "require_variable",
    "resolve",
]

ID_PATTERN = re.compile(r"o?([0-9a-fA-F]{16})")


@dataclass(frozen=True, slots=True)
class ObjectTarget:
    """An object, and the name by which it was found."""

    id: ObjectId
    name: str | None


@dataclass(frozen=True, slots=True)
class SpaceTarget:
    """A whole space."""

    space: str


@dataclass(frozen=True, slots=True)
class VariableTarget:
    """A variable of a space; it need not exist yet."""

    space: str
    variable: str


Target: TypeAlias = "ObjectTarget | SpaceTarget | VariableTarget"


def resolve(depot: Depot, text: str) -> Target:
    """Return what `text` means in `depot`: an id before a name before a space.

    Raises:
        NotFoundError: It means nothing there.
    """
    found = _as_id(depot, text) or _as_name(depot, text)
    if found is not None:
        return found
    spaces = {info.name for info in depot.spaces()}
    if text in spaces:
        return SpaceTarget(text)
    if text.endswith("/") and text[:-1] in spaces:
        return SpaceTarget(text[:-1])
    variables = [VariableTarget(space, rest) for space, rest in _splits(text) if space in spaces]
    for target in variables:
        if _has_variable(depot, target):
            return target
    if variables:
        return variables[0]
    hint = _elsewhere(depot, text) or "`entrepot ls` lists what there is"
    raise NotFoundError(f"nothing in depot {depot.name!r} is called {text!r}", hint)


def open_space(depot: Depot, name: str) -> Space:
    """Return a space that is there.

    Raises:
        NotFoundError: It is not.
    """
    try:
        return depot.space(name, create=False)
    except NotFoundError:
        if _as_id(depot, name) or _as_name(depot, name):
            raise NotFoundError(
                f"{name!r} is an object, not a space", f"`entrepot stat {name}` tells about it"
            ) from None
        hint = _elsewhere(depot, name) or "`entrepot spaces` lists them"
        raise NotFoundError(f"there is no space {name!r} in depot {depot.name!r}", hint) from None


def require_variable(depot: Depot, target: VariableTarget) -> None:
    """Refuse a variable that does not exist.

    Raises:
        NotFoundError: The space has no such variable.
    """
    if not _has_variable(depot, target):
        raise NotFoundError(
            f"space {target.space!r} has no variable {target.variable!r}",
            f"`entrepot ls {target.space}` lists its variables",
        )


def _elsewhere(depot: Depot, text: str) -> str | None:
    """Say by which commands one gets at what is neither an object nor a space."""
    container = text.partition("/")[0]
    if container in depot.containers():
        return (
            f"{container!r} is a container: `entrepot container ls {container}` lists what is in "
            "it, and `table`, `stream` and `container` have commands of their own"
        )
    spaces = {info.name for info in depot.spaces()}
    for space, variable in _splits(text):
        if space in spaces:
            return f"`entrepot spaces {space} {variable}` shows the values of a variable"
    if text in depot.list_lines():
        return f"{text!r} is a buffer of lines: `entrepot tail {text}` prints them"
    return None


def _as_id(depot: Depot, text: str) -> ObjectTarget | None:
    """Read 16 hex digits as the id of an object that exists."""
    digits = ID_PATTERN.fullmatch(text)
    if digits is None or not int(digits[1], 16):
        return None
    key = ObjectId.parse(digits[1].lower())
    return ObjectTarget(key, None) if depot.objects.exists(key) else None


def _as_name(depot: Depot, text: str) -> ObjectTarget | None:
    """Read `text` as the name of an object."""
    try:
        return ObjectTarget(depot.objects.get_name(text), text)
    except NotFoundError:
        return None


def _splits(text: str) -> Iterator[tuple[str, str]]:
    """Yield every way to read `text` as SPACE/VARIABLE; both may contain slashes."""
    for match in re.finditer("/", text):
        space, variable = text[: match.start()], text[match.end() :]
        if space and variable:
            yield space, variable


def _has_variable(depot: Depot, target: VariableTarget) -> bool:
    """Whether the variable exists."""
    space = depot.space(target.space, create=False)
    return any(info.name == target.variable for info in space.variables())
