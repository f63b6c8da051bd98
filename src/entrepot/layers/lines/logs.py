"""Log records as lines."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entrepot.layers.lines.lines import Lines

__all__ = ["LinesHandler"]


class LinesHandler(logging.Handler):
    """Writes log records to a buffer of lines, each as a line, or as several. See `Lines.handler`.

    It is patient: what cannot be written is tried again later, and no error reaches the program.
    """

    def __init__(self, lines: Lines, label: str = "") -> None:
        super().__init__()
        self.writer = lines.writer(label, patient=True)
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if getattr(self._busy, "inside", False):
            return  # what writing logs would be written for ever
        try:
            text = self.format(record) + "\n"  # what this logs is written
            self._busy.inside = True
            self.writer.write(text)
        except Exception:  # noqa: BLE001 logging has its own way to tell of errors
            self.handleError(record)
        finally:
            self._busy.inside = False

    def flush(self) -> None:
        """Write what waits."""
        self.writer.flush()

    def close(self) -> None:
        """Finish; may be repeated."""
        self.writer.close()
        super().close()
