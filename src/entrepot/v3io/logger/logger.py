"""A logger whose `…_with` methods take fields, and a formatter that shows them."""

from __future__ import annotations

import logging
from typing import Final, TextIO

__all__ = ["HumanReadableFormatter", "Logger"]

_NAME: Final = "v3io_py"


class HumanReadableFormatter(logging.Formatter):
    """Formats as `time [level] message: {fields}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for one record."""
        fields: object = getattr(record, "with", None)
        told = f": {fields}" if fields else ""
        return f"{self.formatTime(record)} [{record.levelname.lower()}] {record.getMessage()}{told}"


class Logger:
    """The logger `v3io_py` of the standard library, and fields.

    Args:
        level: What it lets through, by name or number; None to leave that as it is.
    """

    def __init__(self, level: str | int | None = "DEBUG") -> None:
        self._logger = logging.getLogger(_NAME)
        if level is not None:
            self._logger.setLevel(level)

    def set_handler(self, handler_name: str, file: TextIO, formatter: logging.Formatter) -> None:
        """Write to a file from now on, in place of the handler of that name, if there is one."""
        for handler in list(self._logger.handlers):
            if handler.get_name() == handler_name:
                self._logger.removeHandler(handler)
        handler = logging.StreamHandler(file)
        handler.set_name(handler_name)
        handler.setFormatter(formatter)
        self._logger.addHandler(handler)

    def debug(self, message: str, *args: object) -> None:
        """Log for whoever looks for a bug."""
        self._logger.debug(message, *args)

    def info(self, message: str, *args: object) -> None:
        """Log what happens."""
        self._logger.info(message, *args)

    def warn(self, message: str, *args: object) -> None:
        """Log what should not happen."""
        self._logger.warning(message, *args)

    def error(self, message: str, *args: object) -> None:
        """Log what failed."""
        self._logger.error(message, *args)

    def debug_with(self, message: str, *args: object, **kw_args: object) -> None:
        """Log for whoever looks for a bug, with fields."""
        self._logger.debug(message, *args, extra={"with": kw_args})

    def info_with(self, message: str, *args: object, **kw_args: object) -> None:
        """Log what happens, with fields."""
        self._logger.info(message, *args, extra={"with": kw_args})

    def warn_with(self, message: str, *args: object, **kw_args: object) -> None:
        """Log what should not happen, with fields."""
        self._logger.warning(message, *args, extra={"with": kw_args})

    def error_with(self, message: str, *args: object, **kw_args: object) -> None:
        """Log what failed, with fields."""
        self._logger.error(message, *args, extra={"with": kw_args})
