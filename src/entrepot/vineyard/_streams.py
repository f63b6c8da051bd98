"""Streams of a local store."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from entrepot import settings
from entrepot.errors import ConflictError, EntrepotError, ExistsError, NotFoundError
from entrepot.layers.objects.chunks import (
    READ,
    WRITE,
    Chunks,
    StreamEndedError,
    StreamFailedError,
    StreamStoppedError,
)
from entrepot.vineyard._errors import (
    AssertionFailedException,
    InvalidStreamStateException,
    ObjectExistsException,
    ObjectNotExistsException,
    StreamDrainedException,
    StreamFailedException,
    StreamOpenedException,
    translated,
)

__all__ = ["LocalStreams"]

_MODES = {"r": READ, "w": WRITE}


class LocalStreams:
    """The stream calls of `LocalStore`."""

    depot: Any

    def _chunks(self) -> Chunks:
        share = self.depot.attached.memory_max * 4 // 5
        return Chunks(self.depot.attached.volatile, max(share, settings.MIB))

    def create_stream(self, id: int) -> None:
        """Make a stream with the id of an object."""
        with _streams_errors():
            self._chunks().create(id)

    def open_stream(self, id: int, mode: str) -> None:
        """Open a stream for reading (`r`) or writing (`w`): each once."""
        if mode not in _MODES:
            raise AssertionFailedException(f"a stream is opened with 'r' or 'w', not {mode!r}")
        with _streams_errors():
            self._chunks().open(id, _MODES[mode])

    def push_chunk(self, id: int, chunk: int) -> None:
        """Append an object or a blob; wait while too much waits to be read."""
        with _streams_errors():
            self._chunks().push(id, chunk)

    def pull_chunk(self, id: int) -> int:
        """Wait for the next chunk; return its id."""
        with _streams_errors():
            return self._chunks().pull(id)

    def stop_stream(self, id: int, *, failed: bool) -> None:
        """Say that a stream has ended, or failed."""
        with _streams_errors():
            self._chunks().stop(id, failed=failed)

    def drop_stream(self, id: int) -> None:
        """Remove a stream with the chunks that nobody read."""
        with _streams_errors():
            self._chunks().drop(id)


@contextlib.contextmanager
def _streams_errors() -> Generator[None]:
    try:
        yield
    except StreamEndedError as error:
        raise StreamDrainedException("no more chunks") from error
    except StreamFailedError as error:
        raise StreamFailedException(str(error)) from error
    except StreamStoppedError as error:
        raise InvalidStreamStateException(str(error)) from error
    except ExistsError as error:
        raise ObjectExistsException(str(error)) from error
    except ConflictError as error:
        raise StreamOpenedException("Stream already opened") from error
    except NotFoundError as error:
        raise ObjectNotExistsException(str(error)) from error
    except EntrepotError as error:
        raise translated(error) from error
