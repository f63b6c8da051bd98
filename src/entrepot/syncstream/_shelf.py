"""A buffer of lines that belongs to an object of this face, and goes with it or its process."""

from __future__ import annotations

import io
import os
import weakref
from collections import deque
from typing import NamedTuple

import entrepot
from entrepot.layers.lines import Lines
from entrepot.syncstream._streams import Stream, checked_size, partial_line
from entrepot.syncstream.base import GroupedMessage, item_of

__all__ = ["Address", "Shelf", "Shelved", "items_of"]


class Address(NamedTuple):
    """How other processes find a buffer."""

    depot: str
    directory: str
    data_directory: str
    name: str


class Shelf:
    """Lines of a depot, for a face's object.

    Args:
        maxlen: How many are kept.
        depot: Where; by default this user's depot, opened here.
        name: Of the lines; by default one of its own, removed when this goes.
    """

    def __init__(
        self, maxlen: int, depot: entrepot.Depot | None = None, name: str | None = None
    ) -> None:
        opened = None if depot is not None else entrepot.open()
        found = depot if depot is not None else opened
        assert found is not None
        self.maxlen = maxlen
        own = name is None
        name = f"syncstream/{os.getpid()}-{os.urandom(6).hex()}" if name is None else name
        self.address = Address(
            found.name, str(found.path.parent), str(found.data_path.parent), name
        )
        self.lines: Lines = found.lines(name, max_lines=maxlen)
        if own:
            self.lines.own()
        self._end = weakref.finalize(self, _end, self.lines, opened, own, os.getpid())

    def close(self) -> None:
        """Remove what is ours; may be repeated."""
        self._end()

    def read(self, size: int) -> tuple[str | GroupedMessage, ...]:
        """Return the last items."""
        return items_of(self.lines, size, self.maxlen)

    def count(self) -> int:
        """Return how many items there are."""
        info = self.lines.info()
        return min(info.count + info.partials, self.maxlen)


class Shelved(Stream):
    """A buffer that is read here, and written by its mirrors."""

    _shelf: Shelf

    @property
    def maxlen(self) -> int:
        """How many lines are kept."""
        return self._shelf.maxlen

    def __bool__(self) -> bool:
        return True

    def read(self, size: int | None = None) -> tuple[str | GroupedMessage, ...]:  # pyright: ignore[reportIncompatibleMethodOverride] it reads lines, as the original
        """Return the last items, oldest first; a line that is not finished counts.

        Raises:
            OSError: The buffer is closed.
            TypeError: `size` is no int.
        """
        self.check_open()
        return self._shelf.read(checked_size(size, self.maxlen))

    @property
    def storage(self) -> deque[str | GroupedMessage]:
        """The last lines that are finished; changing it changes nothing."""
        items: deque[str | GroupedMessage] = deque(maxlen=self.maxlen)
        if not self.closed:
            items.extend(map(item_of, self._shelf.lines.read(self.maxlen).entries))
        return items

    @property
    def last_line(self) -> io.StringIO:
        """The latest line that is not finished; writing to it changes nothing."""
        found = [] if self.closed else self._shelf.lines.read(1, partial=True).partials
        return partial_line(found[-1].text if found else "")

    def write(self, data: str) -> int:
        """Raise: mirrors write.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("lines are written to a mirror of this buffer")

    def new_line(self) -> None:
        """Finish the partial lines.

        Raises:
            ValueError: The buffer is closed.
        """
        self.check_usable()
        self._shelf.lines.new_line()

    def clear(self) -> None:
        """Drop all lines.

        Raises:
            ValueError: The buffer is closed.
        """
        self.check_usable()
        self._shelf.lines.clear()


def _end(lines: Lines, opened: entrepot.Depot | None, own: bool, pid: int) -> None:
    if os.getpid() != pid:
        return  # a forked child has a copy of the object; the buffer is its parent's
    try:
        if own:
            lines.delete()
    except entrepot.EntrepotError:
        pass  # the depot was closed or removed before
    finally:
        if opened is not None:
            opened.close()


def items_of(lines: Lines, size: int, maxlen: int) -> tuple[str | GroupedMessage, ...]:
    """Return the last items of a buffer; a line that is not finished counts."""
    most = min(size, maxlen)
    if most <= 0:
        return ()
    stretch = lines.read(most, partial=True)
    items = [item_of(entry) for entry in (*stretch.entries, *stretch.partials)]
    return tuple(items[-most:])
