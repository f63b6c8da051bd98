"""The layers as a gateway holds them: what is asked for often is made once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from entrepot.errors import LimitError
from entrepot.layers.containers import Container
from entrepot.layers.entries import NoContainerError, Path, Place, check_container_name, split
from entrepot.layers.streams import Stream
from entrepot.layers.tables import Table
from entrepot.layers.tier import Tier

__all__ = ["Handles", "path_of"]

_KEPT: Final = 4096


class Handles:
    """Tables, streams and containers of one durable tier. None of them makes a container."""

    def __init__(self, tier: Tier, sweep: Callable[[], None]) -> None:
        """Begin with none.

        Args:
            tier: Where they are.
            sweep: Has what is left of large things removed, later.
        """
        self.tier = tier
        self.engine = tier.engine
        self.sweep = sweep
        keep = functools.lru_cache(maxsize=_KEPT)
        self.place: Callable[[str, str], Place] = keep(_place)
        """Returns a directory of a container."""
        self.table: Callable[[str], Table] = keep(self._table)
        """Returns a container as a table: its keys are paths."""
        self.container: Callable[[str], Container] = keep(self._container)
        self.stream: Callable[[str, str], Stream] = keep(self._stream)

    def _table(self, container: str) -> Table:
        _check(container)
        return Table(self.tier, container, "", makes_container=False)

    def _container(self, container: str) -> Container:
        _check(container)
        return Container(self.tier, container, makes_container=False)

    def _stream(self, container: str, path: str) -> Stream:
        _check(container)
        return Stream(self.tier, container, split(path), makes_container=False)


def _place(container: str, directory: str) -> Place:
    _check(container)
    return Place(container, directory)


def _check(container: str) -> None:
    """Refuse what no container is named, as one that is not there."""
    try:
        check_container_name(container)
    except LimitError as error:
        raise NoContainerError(container) from error


def path_of(path: str) -> Path:
    """Return the directory and the name of a path that was checked."""
    directory, _, name = path.rpartition("/")
    return Path(directory, name)
